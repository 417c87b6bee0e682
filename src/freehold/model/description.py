"""The description of an entity: what every generator, builder and parser reads instead of the class."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from typing import Any

from freehold.model.fields import Counting, Declaration, Index, Unique
from freehold.model.index_keys import IndexKey
from freehold.model.kinds import Kind

__all__ = ["BASE_FIELDS", "EntityDescription", "FieldDescription", "constraint_name", "plural_snake"]

BASE_FIELDS = (
    "id",
    "organization_id",
    "version",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "deleted_at",
)
"""The columns that every entity has from its base (`deleted_at` where deletion is soft)."""

MAXIMUM_IDENTIFIER = 63


@dataclass(frozen=True, eq=False)
class FieldDescription:
    """One column of an entity. There is one object for each; it equals itself alone.

    Args:
        name: of the field and of its column.
        annotation: as written, without `| None`.
        kind: what that is to PostgreSQL and JSON.
        nullable: whether `| None` was written.
        declaration: what `field(...)`, `reference(...)` or `counter(...)` said.
        base: whether it comes from the base (id, version, ...).
        index_key: the generated column that indexes have in its place; None where they have the column itself, or there are none.
    """

    name: str
    annotation: Any  # Any: an annotation
    kind: Kind
    nullable: bool
    declaration: Declaration
    base: bool = False
    index_key: IndexKey | None = None

    @property
    def private(self) -> bool:
        """Whether it is left out of answers unless asked for."""
        return self.declaration.private

    @property
    def relation(self) -> str | None:
        """The relation's name, where the field is a reference."""
        if self.declaration.target is None:
            return None
        return self.name.removesuffix("_id")

    @property
    def index_column(self) -> str:
        """The column that indexes, conditions and orders use."""
        return self.index_key.column if self.index_key else self.name

    @property
    def sql_type(self) -> str:
        """The column's SQL type with its precision."""
        if self.kind.name == "decimal" and self.declaration.digits is not None:
            return f"numeric({self.declaration.digits}, {self.declaration.places})" + ("[]" if self.kind.many else "")
        return self.kind.sql_type


@dataclass(frozen=True, eq=False)
class EntityDescription:
    """An entity as declared. There is one object for each; it equals itself alone.

    Args:
        name: the class's name.
        table: the table's name, without its schema.
        cls: the class.
        fields: base fields and own ones by name, in column order.
        soft_delete: whether deletion marks a row (`deleted_at`) or removes it.
        unique: the composite unique keys.
        indexes: the composite indexes.
        checks: SQL conditions on a row, by name.
        exposed: the actions that are offered as functions, with the permission that each needs; None is no permission.
        samples: values for made-up records, by field: each a value or a function of the record's number.
    """

    name: str
    table: str
    cls: type[Any]  # Any: an Entity, which is declared above this module
    fields: Mapping[str, FieldDescription]
    soft_delete: bool
    unique: tuple[Unique, ...]
    indexes: tuple[Index, ...]
    checks: Mapping[str, str]
    exposed: Mapping[str, str | None]
    samples: Mapping[str, Any] = dataclass_field(default_factory=dict)  # Any: values of the fields, or functions

    def sample(self, number: int) -> dict[str, Any]:
        """The declared values for the made-up record with this number."""
        return {name: given(number) if callable(given) else given for name, given in self.samples.items()}

    @cached_property
    def own(self) -> tuple[FieldDescription, ...]:
        """The fields that the class itself declares."""
        return tuple(field for field in self.fields.values() if not field.base)

    @cached_property
    def given(self) -> tuple[FieldDescription, ...]:
        """The own fields that a new record is given: all but the counters, which the database keeps."""
        return tuple(field for field in self.own if field.declaration.counting is None)

    @cached_property
    def decimals(self) -> tuple[FieldDescription, ...]:
        """The own fields whose values are stored with a declared number of places."""
        return tuple(field for field in self.own if field.kind.name == "decimal")

    @cached_property
    def index_keys(self) -> tuple[IndexKey, ...]:
        """The generated columns that stand in for fields in indexes."""
        return tuple(field.index_key for field in self.own if field.index_key)

    @cached_property
    def spelled(self) -> bool:
        """Whether some field's values are told to PostgreSQL in another way than JSON has them."""
        return any(field.kind.name in ("bytes", "duration", "json") for field in self.own)

    @cached_property
    def counters(self) -> Mapping[str, Counting]:
        """The own fields that the database keeps, with what each counts."""
        return {field.name: counting for field in self.own if (counting := field.declaration.counting) is not None}

    @cached_property
    def references(self) -> tuple[FieldDescription, ...]:
        """The fields that refer to another entity."""
        return tuple(field for field in self.own if field.declaration.target is not None)

    @cached_property
    def private(self) -> tuple[str, ...]:
        """The names of the private fields."""
        return tuple(field.name for field in self.own if field.private)

    @cached_property
    def public(self) -> tuple[FieldDescription, ...]:
        """The fields that an answer has by default."""
        return tuple(field for field in self.fields.values() if not field.private)

    @cached_property
    def searchable(self) -> tuple[FieldDescription, ...]:
        """The own fields that search looks in; private ones never."""
        return tuple(field for field in self.own if field.declaration.search and not field.private)

    @cached_property
    def changeable(self) -> tuple[FieldDescription, ...]:
        """The own fields that an update may change."""
        return tuple(field for field in self.given if not field.declaration.immutable)

    @cached_property
    def incrementable(self) -> tuple[FieldDescription, ...]:
        """The own fields that `increment` adds to: numbers that are exact and may change."""
        return tuple(
            field
            for field in self.changeable
            if field.kind.name in ("integer", "decimal") and not field.kind.many and not field.kind.choices
        )

    @cached_property
    def unique_keys(self) -> Mapping[str, Unique]:
        """The unique keys of single fields and the composite ones, by the names of their indexes."""
        keys = {
            constraint_name(self.table, [f.name], "key"): Unique(
                f.name, ignore_case=[f.name] if f.declaration.ignore_case else ()
            )
            for f in self.own
            if f.declaration.unique
        }
        return keys | {self.key_name(key): key for key in self.unique}

    @property
    def index_names(self) -> list[tuple[str, Any]]:
        """The names that the entity's indexes take in the database, with what each is of: a field's name or a key."""
        names: list[tuple[str, Any]] = [(f"{self.table}_pkey", "the primary key")]
        for field in self.own:
            if field.declaration.unique:
                names.append((constraint_name(self.table, [field.name], "key"), field.name))
            if field.declaration.index:
                names.append((constraint_name(self.table, [field.name], "idx"), field.name))
        keys: tuple[Index | Unique, ...] = (*self.unique, *self.indexes)
        return names + [(self.key_name(key), key) for key in keys]

    @property
    def constraint_names(self) -> list[tuple[str, str]]:
        """The names of its other constraints, with the field or the check that each is of."""
        names = [(constraint_name(self.table, [field.name], "fkey"), field.name) for field in self.references]
        names += [(constraint_name(self.table, [field.name], "check"), field.name) for field in self.own]
        return names + [(constraint_name(self.table, [check], "rule"), check) for check in self.checks]

    def key_name(self, key: Index | Unique) -> str:
        """The name of a composite key's index."""
        partial = [*key.fields, *key.where] if key.where else list(key.fields)
        return constraint_name(self.table, partial, "key" if isinstance(key, Unique) else "idx")


def constraint_name(table: str, parts: list[str], suffix: str) -> str:
    """A constraint's or index's name in PostgreSQL's own style, within its 63 bytes: `customers_email_key`."""
    name = "_".join([table, *parts, suffix])
    if len(name) <= MAXIMUM_IDENTIFIER:
        return name
    # Too long: keep the ends that tell most, and make it unique by a checksum of the whole.
    checksum = sum(ord(char) * 31**place for place, char in enumerate(name)) % 16**6
    return f"{name[: MAXIMUM_IDENTIFIER - 8 - len(suffix)]}_{checksum:06x}_{suffix}"


def plural_snake(name: str) -> str:
    """A class's name as a table's: `OrderLine` to `order_lines`, `Activity` to `activities`."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    if re.search(r"[^aeiou]y$", snake):
        return snake[:-1] + "ies"
    if re.search(r"(s|x|z|ch|sh)$", snake):
        return snake + "es"
    return snake + "s"
