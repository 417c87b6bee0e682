"""What a read brings: which fields, which relations, and the class that its rows become.

The shape of a plain read is the entity itself. With `include` it is a subclass of the entity that has the relations as
fields; with `select` it is a smaller frozen model.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, TypeAdapter, create_model

from freehold.errors import Issue, ValidationError
from freehold.model.bounds import USUAL_BOUNDS
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.entity import EntityMeta
from freehold.model.filters import Filter, parse_filter
from freehold.model.issues import shown
from freehold.model.moments import of_record, respelled
from freehold.model.pages import Include, Sort, parse_limit, parse_order
from freehold.model.registry import Registry, Relation, suggestion
from freehold.model.schemas import serializer
from freehold.model.vocabulary import Vocabulary
from freehold.model.weights import SCALAR, heaviest

__all__ = ["Included", "Selection", "Shape", "Shapes"]

MAXIMUM_INCLUDE_DEPTH = 5
"""Levels of nested includes."""
MAXIMUM_INCLUDES = 30
"""Relations in one read."""
CACHED_CLASSES = 500


class Selection(BaseModel):
    """A record of which only some fields were read."""

    model_config = ConfigDict(
        frozen=True, ser_json_bytes="hex", val_json_bytes="hex", ser_json_timedelta="float", protected_namespaces=()
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:  # Any: Pydantic's schemas
        """The schema with values written as PostgreSQL writes them."""
        return of_record(handler(source), cls)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:  # Any: Pydantic's
        cls.__pydantic_serializer__ = serializer(respelled(cls.__pydantic_core_schema__))


@dataclass(frozen=True)
class Included:
    """A relation that comes along."""

    relation: Relation
    condition: Filter
    sorts: tuple[Sort, ...]
    limit: int
    shape: "Shape"
    count: bool
    most: int | None = None
    """Bytes that its list may have; None where that many records cannot have more."""

    @property
    def records(self) -> int:
        """Records that it brings for each record that it is included in, at most."""
        if self.count:
            return 0
        return self.shape.records * (self.limit if self.relation.many else 1)

    @property
    def weight(self) -> int:
        """Bytes of its JSON at most, by the declarations."""
        if self.count:
            return len(self.name) + SCALAR
        weight = self.shape.weight * self.limit if self.relation.many else self.shape.weight
        return len(self.name) + (weight if self.most is None else min(weight, self.most))

    @property
    def name(self) -> str:
        """The field that it becomes."""
        return f"{self.relation.name}_count" if self.count else self.relation.name


@dataclass(frozen=True, eq=False)
class Shape:
    """What one level of a read brings. The shape of a plain read is one object, for which statements are kept.

    Args:
        entity: of the records.
        fields: their columns.
        included: their relations.
        selected: whether the caller named the fields, so that the rows are no entities.
    """

    entity: EntityDescription
    fields: tuple[FieldDescription, ...]
    included: tuple[Included, ...] = ()
    selected: bool = False

    @cached_property
    def records(self) -> int:
        """Records of each row at most, with those of its relations."""
        return 1 + sum(item.records for item in self.included)

    @cached_property
    def weight(self) -> int:
        """Bytes of a row's JSON at most, by the declarations."""
        return sum(map(heaviest, self.fields)) + sum(item.weight for item in self.included)

    @property
    def plain(self) -> bool:
        """Whether its rows are an entity's own columns and nothing else."""
        return not self.included and not self.selected

    def tells(self, sorts: Iterable[Sort]) -> bool:
        """Whether its rows have all the fields of an order."""
        return all(sort.field in self.fields for sort in sorts)

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """Equal for shapes whose rows have the same class."""
        names = tuple(field.name for field in self.fields) if self.selected else ()
        return (
            self.entity.name,
            names,
            tuple((item.name, item.relation.many, None if item.count else item.shape.key) for item in self.included),
        )


class Shapes:
    """Parses shapes and keeps the classes made for them (the 500 last used).

    Args:
        registry: the entities.
        absent: columns that reads do not bring, as (table, column): at the moment that they are about, there were none.
        most: bytes that one answer may have.
    """

    def __init__(
        self, registry: Registry, absent: Collection[tuple[str, str]] = (), *, most: int = USUAL_BOUNDS.bytes
    ) -> None:
        self._registry = registry
        self.most = most
        self._absent = absent
        self._adapters: OrderedDict[tuple[Any, ...], tuple[type[BaseModel], TypeAdapter[Any]]] = OrderedDict()
        self._plain = {entity.name: Shape(entity, self.fields(entity)) for entity in registry.entities.values()}
        self._whole = {
            entity.name: Shape(entity, self.fields(entity, private=True)) for entity in registry.entities.values()
        }

    def fields(self, entity: EntityDescription, *, private: bool = False) -> tuple[FieldDescription, ...]:
        """The fields of an entity that reads bring."""
        fields = tuple(entity.fields.values()) if private else entity.public
        return tuple(field for field in fields if (entity.table, field.name) not in self._absent)

    def parse(
        self,
        entity: EntityDescription,
        *,
        select: Any = None,
        include: Any = None,
        private: bool = False,
        vocabulary: Vocabulary | None = None,
    ) -> Shape:
        """Reads `select` and `include`.

        Args:
            entity: of the records.
            select: fields by name; None is all that are not private.
            include: relations by name.
            private: whether private fields come along.
            vocabulary: the fields and relations that may be named; None is all.

        Raises:
            ValidationError: with every issue: unknown fields or relations, too deep, too many.
        """
        if select is None and include is None:
            return (self._whole if private else self._plain)[entity.name]
        parser = _Parser(vocabulary or self._registry, self)
        shape = parser.shape(entity, select, include, private, (), ())
        if parser.issues:
            raise ValidationError(parser.issues, subject=f"{entity.name} read")
        return shape

    def adapter(self, shape: Shape) -> TypeAdapter[Any]:
        """Turns a JSON array of the shape's rows into objects."""
        return self._made(shape)[1]

    def _made(self, shape: Shape) -> tuple[type[BaseModel], TypeAdapter[Any]]:
        made = self._adapters.get(shape.key)
        if made is None:
            cls = self._make_class(shape)
            made = self._adapters[shape.key] = (cls, TypeAdapter(list[cls]))  # type: ignore[valid-type]  # a class made at run time
            if len(self._adapters) > CACHED_CLASSES:
                self._adapters.popitem(last=False)
        else:
            self._adapters.move_to_end(shape.key)
        return made

    def _make_class(self, shape: Shape) -> type[BaseModel]:
        relations = {item.name: self._annotation(item) for item in shape.included}
        present = self.fields(shape.entity, private=True)
        if shape.selected:
            fields: dict[str, Any] = {
                field.name: (
                    field.annotation | None if field.nullable or field not in present else field.annotation,
                    ...,
                )
                for field in shape.fields
            }
            fields |= {name: (annotation, ...) for name, annotation in relations.items()}
            return create_model(
                f"{shape.entity.name}Selection", __base__=Selection, __module__=shape.entity.cls.__module__, **fields
            )
        absent = {field.name: field.annotation | None for field in shape.entity.fields.values() if field not in present}
        if not relations and not absent:
            return shape.entity.cls
        namespace: dict[str, Any] = {
            "__annotations__": {**absent, **relations},
            "__module__": shape.entity.cls.__module__,
            "__shape__": True,
            **dict.fromkeys(absent),
        }
        return cast("type[BaseModel]", EntityMeta(shape.entity.name, (shape.entity.cls,), namespace))

    def _annotation(self, item: Included) -> Any:
        if item.count:
            return int
        cls = self._made(item.shape)[0]
        return tuple[cls, ...] if item.relation.many else cls | None  # type: ignore[valid-type]  # a class made at run time


class _Parser:
    def __init__(self, vocabulary: Vocabulary, shapes: Shapes) -> None:
        self.vocabulary = vocabulary
        self.shapes = shapes
        self.issues: list[Issue] = []
        self.relations = 0

    def shape(
        self,
        entity: EntityDescription,
        select: Any,
        include: Any,
        private: bool,
        path: tuple[str | int, ...],
        trail: tuple[Relation, ...],
    ) -> Shape:
        fields = self.shapes.fields(entity, private=private)
        if select is not None:
            fields = self.fields(entity, select, (*path, "select"))
        included = tuple(
            self.relation(entity, name, how, (*path, "include", name), trail) for name, how in self.named(include, path)
        )
        return Shape(entity, fields, tuple(item for item in included if item is not None), select is not None)

    def fields(
        self, entity: EntityDescription, select: Any, path: tuple[str | int, ...]
    ) -> tuple[FieldDescription, ...]:
        if isinstance(select, str | Mapping) or not isinstance(select, Iterable):
            self.issues.append(Issue(path, f"must be a list of field names, not {type(select).__name__}", "list_type"))
            return ()
        names, known = list(select), self.vocabulary.fields[entity.name]
        for index, name in enumerate(names):
            if (not isinstance(name, str) or name not in known) and len(self.issues) < 50:
                self.issues.append(
                    Issue(
                        (*path, index),
                        f"{shown(name)} is no field of {entity.name}{suggestion(str(name), known, told=len(self.issues))}",
                        "unknown_field",
                    )
                )
        if not names:
            self.issues.append(Issue(path, "names no field", "too_short"))
        # The id is always there: a record that cannot be named cannot be used.
        chosen = {name for name in names if isinstance(name, str)}
        return tuple(field for field in entity.fields.values() if field.name == "id" or field.name in chosen)

    def named(self, include: Any, path: tuple[str | int, ...]) -> list[tuple[str, Any]]:
        if include is None:
            return []
        if isinstance(include, Mapping):
            return [(str(name), how) for name, how in include.items()]
        if isinstance(include, Sequence) and not isinstance(include, str | bytes):
            return [(str(name), True) for name in include]
        self.issues.append(
            Issue(
                (*path, "include"),
                f'must be a mapping such as {{"contacts": True}}, not {type(include).__name__}',
                "mapping_type",
            )
        )
        return []

    def relation(
        self, entity: EntityDescription, name: str, how: Any, path: tuple[str | int, ...], trail: tuple[Relation, ...]
    ) -> Included | None:
        how = Include() if how is True else Include(count=True) if how == "count" else how
        relation = self.vocabulary.relations[entity.name].get(name)
        self.relations += 1
        problem = self.problem(entity, relation, name, how, trail)
        if problem or relation is None:
            if problem and len(self.issues) < 50:
                self.issues.append(Issue(path, *problem))
            return None
        target = relation.target
        try:
            condition = parse_filter(how.where, target, self.vocabulary)
            sorts = parse_order(how.order_by, target, self.vocabulary)
            limit = parse_limit(how.limit)
        except ValidationError as error:
            self.issues.extend(Issue((*path, *issue.path), issue.message, issue.code) for issue in error.issues)
            return None
        shape = self.shape(target, how.select, how.include, False, path, (*trail, relation))
        most = self.shapes.most if relation.many and limit * shape.weight > self.shapes.most else None
        return Included(relation, condition, sorts, limit, shape, how.count, most)

    def problem(
        self, entity: EntityDescription, relation: Relation | None, name: str, how: Any, trail: tuple[Relation, ...]
    ) -> tuple[str, str] | None:
        if relation is None:
            known = self.vocabulary.relations[entity.name]
            return (
                f"{shown(name)} is no relation of {entity.name}{suggestion(name, known, told=len(self.issues))}",
                "unknown_relation",
            )
        if not isinstance(how, Include):
            return f'must be True, "count" or an Include, not {type(how).__name__}', "include_type"
        if len(trail) >= MAXIMUM_INCLUDE_DEPTH:
            return f"is nested deeper than {MAXIMUM_INCLUDE_DEPTH} includes", "too_deep"
        if self.relations > MAXIMUM_INCLUDES:
            return f"is one of more than {MAXIMUM_INCLUDES} includes in one read", "too_many"
        if how.count and not relation.many:
            return f"{name} is a single record; only a relation to many has a count", "count_of_one"
        counted = f"{name}_count"
        if how.count and (counted in entity.fields or counted in self.vocabulary.relations[entity.name]):
            return (
                f"the count would be {counted}, which {entity.name} has already; read that, or use count",
                "count_taken",
            )
        if not how.count and not relation.field.declaration.revisit and _returns(relation, trail):
            return (
                f"goes back to {relation.target.name}, where the include came from; read these records by themselves, "
                f"or declare {relation.field.name} with revisit=True",
                "goes_back",
            )
        return None


def _returns(relation: Relation, trail: tuple[Relation, ...]) -> bool:
    """Whether a relation leads back to where an include came from.

    It does where it is the last step the other way round, and where it brings many records of an entity that is on the way
    already. A single record multiplies nothing; and a reference of an entity to itself is followed in one direction
    as far as includes are nested: `manager.manager`, `reports.reports`.
    """
    if not trail:
        return False
    last = trail[-1]
    if relation.field is last.field and relation.many != last.many:
        return True
    passed = {trail[0].source.name, *(step.target.name for step in trail)}
    return relation.many and relation.source is not relation.target and relation.target.name in passed
