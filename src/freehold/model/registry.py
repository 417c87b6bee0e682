"""The entities of one application and the relations between them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from freehold.errors import ConfigurationError, DeclarationError, Issue, ValidationError
from freehold.model.counters import Counter, resolve_counters
from freehold.model.description import EntityDescription, FieldDescription, constraint_name
from freehold.model.entity import Entity
from freehold.model.issues import shown, suggestion

__all__ = ["Constraint", "Registry", "Relation", "suggestion"]


@dataclass(frozen=True)
class Relation:
    """A way from one entity to another.

    Args:
        name: as filters and includes say it.
        source: the entity it starts from.
        target: the entity it leads to.
        field: the reference's field, on the source (forward) or on the target (reversed).
        many: whether it is the reversed way, from one to many.
    """

    name: str
    source: EntityDescription
    target: EntityDescription
    field: FieldDescription
    many: bool


@dataclass(frozen=True)
class Constraint:
    """What a constraint's name in an error of PostgreSQL stands for.

    Args:
        kind: unique, reference or check.
        entity: the name of the entity whose table it is on.
        fields: what it is about.
        target: the entity that a reference points to.
    """

    kind: str
    entity: str
    fields: tuple[str, ...]
    target: str | None = None


class Registry:
    """Entities by name, with their relations resolved.

    Args:
        entities: the classes; each reference must lead to one of them.

    Raises:
        DeclarationError: two entities share a name or table, a reference leads nowhere, relations clash, or a counter
            counts what does not refer to it.
    """

    def __init__(self, entities: Iterable[type[Entity]]) -> None:
        self.entities: dict[str, EntityDescription] = {}
        tables: dict[str, str] = {}
        for cls in entities:
            description = getattr(cls, "__entity__", None)
            if not isinstance(description, EntityDescription):
                raise ConfigurationError(f"{cls!r} is no entity; list classes that derive from Entity")
            if description.name in self.entities:
                raise DeclarationError(f"two entities are named {description.name}; rename one")
            if description.table in tables:
                raise DeclarationError(
                    f"{description.name} and {tables[description.table]} share the table {description.table}; write table='...'"
                )
            self.entities[description.name] = description
            tables[description.table] = description.name
        self._check_names()
        self.fields = {entity.name: entity.fields for entity in self.entities.values()}
        self.relations = self._relate()
        self.counters = resolve_counters(self.entities, self._target, suggestion)

    def _check_names(self) -> None:
        """Indexes share one space of names with each other and with tables."""
        owners = {entity.table: entity.name for entity in self.entities.values()}
        for entity in self.entities.values():
            for name, _ in entity.index_names:
                other = owners.setdefault(name, entity.name)
                if other != entity.name:
                    raise DeclarationError(
                        f"{entity.name} and {other} share the name {name} in the database; rename a field or write table='...'"
                    )

    def __getitem__(self, cls: type[Entity]) -> EntityDescription:
        """The description of an entity of this application.

        Raises:
            ConfigurationError: the class is not registered here.
        """
        description: EntityDescription | None = getattr(cls, "__entity__", None)
        if description is None or self.entities.get(description.name) is not description:
            raise ConfigurationError(
                f"{getattr(cls, '__name__', cls)!s} is no entity of this application",
                hint="add it to Application(entities=[...])",
            )
        return description

    def relation(self, entity: EntityDescription, name: str) -> Relation | None:
        """The relation of an entity by its name."""
        return self.relations[entity.name].get(name)

    def counters_of(self, entity: EntityDescription) -> list[Counter]:
        """The counters that an entity's records are counted in."""
        return [counter for counter in self.counters if counter.counted is entity]

    @cached_property
    def constraints(self) -> Mapping[str, Constraint]:
        """Constraints and unique indexes by their names in the database, and by `table.name`: two tables may have one of one name."""
        found: dict[str, Constraint] = {}
        for entity in self.entities.values():
            named = self._constraints(entity)
            found |= named | {f"{entity.table}.{name}": constraint for name, constraint in named.items()}
        return found

    def _constraints(self, entity: EntityDescription) -> dict[str, Constraint]:
        found: dict[str, Constraint] = {}
        for name, key in entity.unique_keys.items():
            found[name] = Constraint("unique", entity.name, key.fields)
        for field in entity.references:
            name = constraint_name(entity.table, [field.name], "fkey")
            found[name] = Constraint("reference", entity.name, (field.name,), self._target(entity, field).name)
        for field in entity.own:
            found[constraint_name(entity.table, [field.name], "check")] = Constraint(
                "check", entity.name, (field.name,)
            )
        for check in entity.checks:
            fields = (check,) if check in entity.fields else ()
            found[constraint_name(entity.table, [check], "rule")] = Constraint("check", entity.name, fields)
        return found

    def _target(self, entity: EntityDescription, field: FieldDescription) -> EntityDescription:
        target = field.declaration.target
        name = entity.name if target == "self" else target if isinstance(target, str) else target.__name__
        found = self.entities.get(name)
        if found is None or not (isinstance(target, str) or found.cls is target):
            raise DeclarationError(
                f"{entity.name}.{field.name}: reference to {name!r}, no entity of this application{suggestion(name, self.entities)}"
            )
        return found

    def _relate(self) -> dict[str, dict[str, Relation]]:
        relations: dict[str, dict[str, Relation]] = {name: {} for name in self.entities}
        for entity in self.entities.values():
            for field in entity.references:
                target = self._target(entity, field)
                self._add(relations, Relation(str(field.relation), entity, target, field, many=False))
                self._add(
                    relations, Relation(field.declaration.reverse or entity.table, target, entity, field, many=True)
                )
        return relations

    @staticmethod
    def _add(relations: dict[str, dict[str, Relation]], relation: Relation) -> None:
        where = relations[relation.source.name]
        field = f"{(relation.target if relation.many else relation.source).name}.{relation.field.name}"
        if relation.name in where or relation.name in relation.source.fields:
            raise DeclarationError(
                f"{field}: the relation {relation.name!r} of {relation.source.name} exists already; "
                + ("write reference(..., reverse='another_name')" if relation.many else "rename the field")
            )
        where[relation.name] = relation


def unknown(
    path: tuple[str | int, ...], what: str, name: str, known: Iterable[str], subject: str, *, told: int = 0
) -> ValidationError:
    """The error for a name that an input used and that is not there. `told` as of `suggestion`."""
    return ValidationError(
        [
            Issue(
                path,
                f"{shown(name)} is no {what}{suggestion(name, known, told=told)}",
                f"unknown_{what.replace(' ', '_')}",
            )
        ],
        subject=subject,
    )
