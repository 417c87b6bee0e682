"""The base of every declared entity, and its metaclass.

A class body becomes three Pydantic models: the entity itself (what a read returns), `Create` (what a record is made
from) and `Patch` (what changes it). All checks of a declaration happen here, so that a wrong one fails at import.
"""

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, dataclass_transform
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, create_model, model_validator
from pydantic._internal._model_construction import ModelMetaclass
from pydantic.errors import PydanticUserError

from freehold.errors import DeclarationError
from freehold.model.declarations import (
    bounds_problem,
    counter_problem,
    default_problem,
    key_problem,
    options_problem,
    repeated_name,
    samples_problem,
    undeclared_problem,
)
from freehold.model.description import BASE_FIELDS, EntityDescription, FieldDescription, plural_snake
from freehold.model.exposure import Expose, ExposureError, parse_exposed
from freehold.model.fields import UNREAD, Declaration, Index, Unique, counter, field, reference
from freehold.model.index_keys import IndexKey
from freehold.model.inputs import prepared
from freehold.model.kinds import KindError, kind_of, split_optional
from freehold.model.moments import of_record, respelled
from freehold.model.names import (
    LONGEST_NAME,
    SNAKE,
    bare_word_problem,
    class_problem,
    field_problem,
    relation_problem,
    table_problem,
)
from freehold.model.numbers import exact
from freehold.model.schemas import serializer, validator

__all__ = ["Entity", "Input"]

MAXIMUM_INDEXED_TEXT = 600
"""Characters of an indexed string: four bytes each must fit in a B-tree entry of about 2,700 bytes."""

OPTIONS = ("table", "soft_delete", "unique", "indexes", "checks", "expose", "samples")


class Input(BaseModel):
    """The base of the derived input schemas: unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_bytes="hex", val_json_bytes="hex", ser_json_timedelta="float"
    )

    if TYPE_CHECKING:  # the fields are only known at run time

        def __init__(self, **values: Any) -> None: ...


def _drop_unread(record: "Entity") -> "Entity":
    """Takes the private fields out again that a read did not bring, so that nobody takes their default for their value."""
    values = record.__dict__
    for name in type(record).__entity__.private:
        if values.get(name) is UNREAD:
            del values[name]
    return record


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field, reference, counter))
class EntityMeta(ModelMetaclass):
    """Takes the declarations out of the class body before Pydantic sees it."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> type:
        for option in options:
            if option not in OPTIONS:
                close = difflib.get_close_matches(option, OPTIONS, 1)
                raise DeclarationError(
                    f"{name}: {option!r} is no option of an entity"
                    + (f"; did you mean {close[0]!r}?" if close else f"; options are {', '.join(OPTIONS)}")
                )
        declared: dict[str, Declaration] = {}
        for base in bases:
            declared |= getattr(base, "__declared__", {})
        for key, value in list(namespace.items()):
            if isinstance(value, Declaration):
                problem = None if key in BASE_FIELDS else field_problem(key, name)
                if problem:
                    raise DeclarationError(f"{name}.{key}: {problem}")
                declared[key] = value
                namespace[key] = value.as_row_field()
        namespace["__declared__"] = declared
        if any(declaration.private for declaration in declared.values()):
            namespace["__drop_unread__"] = model_validator(mode="after")(_drop_unread)
        try:
            with warnings.catch_warnings():
                # A field that shadows something is refused by its name below, which says more than a warning.
                warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
                return super().__new__(mcs, name, bases, namespace, **options)
        except (PydanticUserError, NameError) as error:
            raise DeclarationError(f"{name}: {str(error).splitlines()[0]}") from error


class Entity(BaseModel, metaclass=EntityMeta):
    """A declared type whose records belong to an organization.

        class Customer(Entity, soft_delete=True):
            name: str = field(min_length=1, max_length=200)
            email: str | None = field(default=None, max_length=320, unique=True, ignore_case=True)

    Class options: `table` (the table's name; by default the plural of the class's name), `soft_delete`, `unique`
    (composite keys), `indexes` (composite indexes), `checks` (SQL conditions by name), `expose` (the actions that are offered
    as functions: `"all"`, names of them, or a mapping from names to the permission that each needs) and `samples` (values for
    made-up records, by field: a value, or a function of the record's number; for `freehold.testing.Factory` and the proof of
    isolation, where checks ask for more than they find out).

    A private field that a read did not ask for, and a relation that it did not include, are not there: to touch one is
    an AttributeError that says how to ask.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        ser_json_bytes="hex",
        val_json_bytes="hex",
        ser_json_timedelta="float",
        protected_namespaces=(),
    )

    __declared__: ClassVar[dict[str, Declaration]] = {}
    __entity__: ClassVar[EntityDescription]
    Create: ClassVar[type[Input]]
    Patch: ClassVar[type[Input]]

    id: UUID = field()
    organization_id: UUID = field()
    version: int = field()
    created_at: datetime = field()
    created_by: UUID | None = field(default=None)
    updated_at: datetime = field()
    updated_by: UUID | None = field(default=None)
    deleted_at: datetime | None = field(default=None)

    def __init_subclass__(
        cls,
        *,
        table: str | None = None,
        soft_delete: bool = False,
        unique: Sequence[Unique] = (),
        indexes: Sequence[Index] = (),
        checks: Mapping[str, str] | None = None,
        expose: Expose = (),
        samples: Mapping[str, Any] | None = None,  # Any: values of the fields, or functions that make them
    ) -> None:
        """Accepts the class options for type checkers; `__pydantic_init_subclass__` uses them when the fields are known."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:  # Any: Pydantic's schemas
        """The schema with values written as PostgreSQL writes them. A duration is a number of seconds."""
        return of_record(handler(source), cls)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:  # Any: checked by __init_subclass__ before
        if "__shape__" not in cls.__dict__:  # a read's shape of an entity is no declaration
            cls._declare(options)
        # What lies in it writes as its schema says here, and not as its own class would.
        cls.__pydantic_serializer__ = serializer(respelled(cls.__pydantic_core_schema__))

    @classmethod
    def _declare(cls, options: Mapping[str, Any]) -> None:
        cls.__entity__ = _describe(cls, **options)
        cls.Create = _input_model(cls, "Create", cls.__entity__.given, patch=False)
        cls.Patch = _input_model(cls, "Patch", cls.__entity__.changeable, patch=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, which are not validated here: `UnitOfWork.save` writes what differs, and validates it.

        Args:
            update: the other values, by field.
            deep: whether lists and documents are copied too.
        """
        copied = super().model_copy(update=update, deep=deep)
        # What was read, for save to compare with. Pydantic passes over keys that are no fields.
        copied.__dict__["__read__"] = self.__dict__.get("__read__", self.__dict__)
        return copied

    if not TYPE_CHECKING:  # only reached where an attribute is missing; type checkers must still see missing ones

        def __getattr__(self, name: str) -> Any:
            """Says how to ask for what a read did not bring."""
            description = type(self).__entity__
            if name in description.private:
                raise AttributeError(
                    f"{description.name}.{name} is private and was not asked for: read with private=True"
                )
            if not name.startswith("_"):
                raise AttributeError(
                    f"{description.name} has no {name!r} here; a relation is there after include={{{name!r}: True}}, a count after "
                    f"include={{{name.removesuffix('_count')!r}: 'count'}}"
                )
            return super().__getattr__(name)


def _describe(
    cls: type[Entity],
    *,
    table: str | None = None,
    soft_delete: bool = False,
    unique: Sequence[Unique] = (),
    indexes: Sequence[Index] = (),
    checks: Mapping[str, str] | None = None,
    expose: Expose = (),
    samples: Mapping[str, Any] | None = None,
) -> EntityDescription:
    redeclared = sorted(set(BASE_FIELDS) & set(inspect.get_annotations(cls)))
    if redeclared:
        raise DeclarationError(
            f"{cls.__name__}.{redeclared[0]}: the name is the base's; write another, such as external_{redeclared[0]}"
        )
    if cls.__private_attributes__:
        raise DeclarationError(
            f"{cls.__name__}.{next(iter(cls.__private_attributes__))}: an entity has no private attributes: a read brings fields only; "
            "write ClassVar for what belongs to the class"
        )
    problem = (
        class_problem(cls.__name__)
        or options_problem(soft_delete, unique, indexes, checks)
        or samples_problem(samples, cls.model_fields)
    )
    if problem:
        raise DeclarationError(f"{cls.__name__}: {problem}")
    fields: dict[str, FieldDescription] = {}
    composed = {name for key in (*unique, *indexes) for name in key.fields}
    for name, info in cls.model_fields.items():
        base = name in BASE_FIELDS
        if name == "deleted_at" and not soft_delete:
            continue
        problem = (None if base else field_problem(name, cls.__name__)) or undeclared_problem(info)
        if problem:
            raise DeclarationError(f"{cls.__name__}.{name}: {problem}")
        # A plain annotation declares a field without options.
        factory = cast("Callable[[], Any] | None", info.default_factory)
        declaration = cls.__declared__.get(name) or Declaration(default=info.default, default_factory=factory)
        described = _describe_field(cls, name, info.annotation, declaration, base=base)
        indexed = declaration.index or declaration.unique or name in composed
        fields[name] = replace(described, index_key=_index_key(described)) if indexed else described
    description = EntityDescription(
        name=cls.__name__,
        table=table or plural_snake(cls.__name__),
        cls=cls,
        fields=fields,
        soft_delete=soft_delete,
        unique=tuple(unique),
        indexes=tuple(indexes),
        checks=_checks(cls, checks or {}),
        exposed={},
        samples=dict(samples or {}),
    )
    problem = table_problem(description.table)
    if problem:
        raise DeclarationError(f"{cls.__name__}: table={description.table!r} {problem}")
    try:
        description = replace(description, exposed=parse_exposed(expose, description))
    except ExposureError as error:
        raise DeclarationError(f"{cls.__name__}: {error}") from None
    if not description.given:
        raise DeclarationError(
            f"{cls.__name__} declares no field; write at least one, such as name: str = field(max_length=200)"
        )
    keys: tuple[Index | Unique, ...] = (*description.unique, *description.indexes)
    for key in keys:
        _check_key(description, key)
    problem = repeated_name(description)
    if problem:
        raise DeclarationError(f"{cls.__name__}: {problem}")
    return description


def _describe_field(
    cls: type[Entity], name: str, annotation: Any, declaration: Declaration, *, base: bool
) -> FieldDescription:
    where = f"{cls.__name__}.{name}"
    bare, nullable = split_optional(annotation)
    try:
        kind = kind_of(bare, prepared)
    except (KindError, PydanticUserError) as error:
        raise DeclarationError(f"{where}: {error}") from None
    described = FieldDescription(name, bare, kind, nullable, declaration, base)
    if not base:
        problem = (
            counter_problem(described) or _problem(described) or bounds_problem(described) or default_problem(described)
        )
        if problem:
            raise DeclarationError(f"{where}: {problem}")
    return described


def _index_key(field: FieldDescription) -> IndexKey | None:
    """The column that stands in for an indexed field; None where its own operators can use an index."""
    digits, places = field.declaration.digits, field.declaration.places
    if field.kind.name != "decimal" or field.kind.many or digits is None or places is None:
        return None
    return IndexKey(field.name, digits, places)


def _problem(field: FieldDescription) -> str | None:
    """What is wrong with a field's options, and what to write instead."""
    declaration, kind = field.declaration, field.kind
    if declaration.target is not None and (problem := _reference_problem(field)):
        return problem
    if kind.name == "decimal" and (declaration.digits is None or declaration.places is None):
        return "a Decimal needs its digits and places; write field(digits=12, places=2)"
    if kind.name == "decimal" and not 0 <= (declaration.places or 0) <= (declaration.digits or -1) <= 1000:
        return "digits must be from 1 and places to 1000, and places not negative; write field(digits=12, places=2)"
    if kind.name != "decimal" and (declaration.digits is not None or declaration.places is not None):
        return "digits and places are for a Decimal; leave them out"
    if (declaration.index or declaration.unique) and not kind.orderable:
        shape = "a list" if kind.many else "a JSON document"
        return f"{shape} cannot be ordered in an index; leave out index and unique, or index a scalar field"
    if (declaration.index or declaration.unique) and kind.name in ("text", "bytes") and not kind.choices:
        longest = declaration.bounds.get("max_length")
        if longest is None or longest > MAXIMUM_INDEXED_TEXT:
            return (
                f"an indexed field needs max_length of at most {MAXIMUM_INDEXED_TEXT}; write field(max_length=200, ...)"
            )
    if declaration.ignore_case and not (declaration.unique and kind.name == "text"):
        return "ignore_case belongs to unique=True on a str; write field(unique=True, ignore_case=True)"
    if declaration.lowercase and (kind.name != "text" or kind.many or kind.choices):
        return "lowercase belongs to a str; leave it out"
    if declaration.lowercase and declaration.ignore_case:
        return "lowercase makes ignore_case idle: there are no other cases; leave ignore_case out"
    if declaration.search and kind.name != "text":
        return "only str and list[str] fields can be searched; leave out search=True"
    if declaration.search and declaration.private:
        return "a private field is never searched; leave out search=True or private=True"
    if declaration.default is None and not field.nullable:
        return (
            f"the default is None, but the type does not allow it; write {field.name}: ... | None = field(default=None)"
        )
    return None


def _reference_problem(field: FieldDescription) -> str | None:
    target = field.declaration.target
    if field.kind.name != "uuid" or field.kind.many:
        return f"a reference is a UUID; write {field.name}: UUID = reference(...)"
    if not field.name.endswith("_id") or field.name == "_id":
        return f"a reference's name ends in _id; write {field.name}_id: UUID = reference(...)"
    if not isinstance(target, str) and not (isinstance(target, type) and issubclass(target, Entity)):
        return f"reference({target!r}) is no entity; write reference(Customer), or its name reference('Customer')"
    if field.declaration.on_delete not in ("restrict", "cascade", "set_null"):
        return f"on_delete={field.declaration.on_delete!r} is unknown; write 'restrict', 'cascade' or 'set_null'"
    if field.declaration.on_delete == "set_null" and not field.nullable:
        return f"on_delete='set_null' needs a field that may be null; write {field.name}: UUID | None = reference(..., default=None)"
    for what, name in (("relation", field.relation), ("reverse", field.declaration.reverse)):
        problem = None if name is None else relation_problem(name)
        if problem:
            return f"the {what} {name!r}: {problem}"
    return None


def _check_key(description: EntityDescription, key: Index | Unique) -> None:
    if not key.fields:
        raise DeclarationError(f"{description.name}: {key!r} names no field")
    ignored = key.ignore_case if isinstance(key, Unique) else ()
    for name in (*key.fields, *key.where, *ignored):
        field = description.fields.get(name)
        if field is None:
            close = difflib.get_close_matches(name, description.fields, 1)
            raise DeclarationError(
                f"{description.name}: {key!r} names {name!r}, which is no field"
                + (f"; did you mean {close[0]!r}?" if close else f"; fields are {', '.join(description.fields)}")
            )
        if name in key.fields and not field.kind.orderable:
            raise DeclarationError(f"{description.name}: {key!r}: {name} cannot be ordered in an index; leave it out")
        longest = field.declaration.bounds.get("max_length", MAXIMUM_INDEXED_TEXT + 1)
        if (
            name in key.fields
            and field.kind.name == "text"
            and not field.kind.choices
            and longest > MAXIMUM_INDEXED_TEXT
        ):
            raise DeclarationError(
                f"{description.name}: {key!r}: {name} needs max_length of at most {MAXIMUM_INDEXED_TEXT}; write field(max_length=200)"
            )

    problem = key_problem(description, key)
    if problem:
        raise DeclarationError(f"{description.name}: {problem}")


def _checks(cls: type[Entity], named: Mapping[str, str]) -> dict[str, str]:
    checks = dict(named)
    for name, declaration in cls.__declared__.items():
        if declaration.check and name in checks:
            raise DeclarationError(f"{cls.__name__}.{name}: two checks are named {name!r}; rename the one in checks=")
        if declaration.check:
            checks[name] = declaration.check
    for name, condition in checks.items():
        problem = bare_word_problem(condition, frozenset(cls.model_fields))
        if not SNAKE.fullmatch(name):
            problem = f"needs a name in snake case of at most {LONGEST_NAME} characters"
        if problem:
            raise DeclarationError(f"{cls.__name__}: the check {name!r}: {problem}")
    return checks


def _input_model(cls: type[Entity], suffix: str, fields: Sequence[FieldDescription], *, patch: bool) -> type[Input]:
    definitions: dict[str, Any] = {}
    for field_ in fields:
        annotation = input_annotation(field_)
        if patch:
            # A field that is not given stays out of model_fields_set; its default is never used or validated.
            definitions[field_.name] = (annotation, Field(default=None, description=field_.declaration.description))
        elif field_.declaration.default_factory is not None:
            factory = Field(
                default_factory=field_.declaration.default_factory, description=field_.declaration.description
            )
            definitions[field_.name] = (annotation, factory)
        else:
            definitions[field_.name] = (
                annotation,
                Field(default=field_.declaration.default, description=field_.declaration.description),
            )
    model = create_model(f"{cls.__name__}{suffix}", __base__=Input, __module__=cls.__module__, **definitions)
    if any(field_.kind.document is not None for field_ in fields):
        model.__pydantic_validator__ = validator(exact(model.__pydantic_core_schema__))
    return model


def input_annotation(field_: FieldDescription) -> Any:
    """The annotation that input of a field is validated against, with all its bounds."""
    declaration = field_.declaration
    annotation = prepared(
        field_.annotation,
        declaration.bounds,
        digits=declaration.digits,
        places=declaration.places,
        lowercase=declaration.lowercase,
    )
    return annotation | None if field_.nullable else annotation
