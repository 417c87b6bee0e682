"""The tables of the declarations, as SQLAlchemy Core metadata: what is created here, and what migrations compare with."""

import enum
import json
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from freehold.model.description import EntityDescription, FieldDescription, constraint_name
from freehold.model.fields import Index as DeclaredIndex
from freehold.model.fields import Unique
from freehold.model.index_keys import IndexKey
from freehold.model.registry import Registry
from freehold.sql.identifiers import Schemas, literal, quoted
from freehold.sql.keys import folded

__all__ = ["build_tables", "declared_default"]

# Text sorts by code point: the same on every server and in memory, no index breaks when a C library is upgraded, and a
# prefix is a range.
COLLATION = "C"

_ON_DELETE = {"restrict": "NO ACTION", "cascade": "CASCADE", "set_null": "SET NULL ({column})"}


def build_tables(registry: Registry, schemas: Schemas) -> MetaData:
    """The metadata of all entities' tables, with keys, references, checks and indexes."""
    metadata = MetaData(schema=schemas.application)
    for entity in registry.entities.values():
        _build_table(entity, registry, schemas, metadata)
    return metadata


def _build_table(entity: EntityDescription, registry: Registry, schemas: Schemas, metadata: MetaData) -> Table:
    table = Table(
        entity.table,
        metadata,
        *(_column(field, schemas) for field in _ordered(entity)),
        *(_key_column(key) for key in entity.index_keys),
        PrimaryKeyConstraint("organization_id", "id", name=f"{entity.table}_pkey"),
        *_references(entity, registry, schemas),
        *_checks(entity),
    )
    for field in entity.own:
        column = table.c[field.index_column]
        if field.declaration.unique:
            key = _caseless(field.name, schemas) if field.declaration.ignore_case else column
            name = constraint_name(entity.table, [field.name], "key")
            Index(name, table.c.organization_id, key, unique=True, postgresql_where=_alive(entity))
        if field.declaration.index:
            # With the id at the end the index serves pages sorted by the field as well.
            Index(constraint_name(entity.table, [field.name], "idx"), table.c.organization_id, column, table.c.id)
    composites: tuple[DeclaredIndex | Unique, ...] = (*entity.unique, *entity.indexes)
    for composite in composites:
        _composite(entity, composite, table, schemas)
    return table


def _ordered(entity: EntityDescription) -> list[FieldDescription]:
    """The organization first: it is in every key."""
    return sorted(entity.fields.values(), key=lambda field: field.name != "organization_id")


def _column(field: FieldDescription, schemas: Schemas) -> Column[Any]:
    defaults = {
        "organization_id": f"{schemas.own('organization_id')}()",
        "id": f"{schemas.own('new_id')}()",
        "version": "1",
        "created_at": f"{schemas.own('now')}()",
        "updated_at": f"{schemas.own('now')}()",
        "created_by": f"{schemas.own('actor_id')}()",
        "updated_by": f"{schemas.own('actor_id')}()",
    }
    default = defaults.get(field.name) if field.base else declared_default(field)
    return Column(
        field.name,
        _type(field),
        nullable=field.nullable,
        server_default=None if default is None else _as_text(default),
        comment=field.declaration.description,
    )


def _key_column(key: IndexKey) -> Column[Any]:
    """The generated column that stands in for a Decimal in indexes."""
    kind = postgresql.BIGINT() if key.sql == "bigint" else Text(collation=COLLATION)
    return Column(key.column, kind, Computed(_as_text(key.expression(quoted(key.field))), persisted=True))


def declared_default(field: FieldDescription) -> str | None:
    """The default as SQL, where it is a constant: for rows that raw SQL or an older release of the application inserts."""
    kind, declaration = field.kind, field.declaration
    if declaration.default_factory in (list, dict):
        return f"'{{}}'::{field.sql_type}"
    value = declaration.default.value if isinstance(declaration.default, enum.Enum) else declaration.default
    if value is None or declaration.required or declaration.default_factory is not None or kind.many:
        return None
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if kind.name == "json":
        return f"{literal(json.dumps(value))}::jsonb"
    if isinstance(value, str | bool | int) and kind.name in ("text", "boolean", "integer"):
        return literal(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, timedelta):
        return f"'{value.total_seconds():f} seconds'::interval"
    if isinstance(value, bytes):
        return f"decode('{value.hex()}', 'hex')"
    shown = value.isoformat() if isinstance(value, date | time) else str(value)
    return f"{literal(shown)}::{field.sql_type}" if kind.name in _CONSTANT else None


_CONSTANT = {"float", "decimal", "date", "datetime", "time", "uuid"}
"""Kinds whose constants PostgreSQL reads as Python writes them."""


def _type(field: FieldDescription) -> TypeEngine[Any]:
    kind, declaration = field.kind, field.declaration
    types: dict[str, TypeEngine[Any]] = {
        "text": Text(collation=COLLATION),
        "integer": postgresql.BIGINT(),
        "float": postgresql.DOUBLE_PRECISION(),
        "decimal": postgresql.NUMERIC(declaration.digits, declaration.places),
        "boolean": postgresql.BOOLEAN(),
        "date": postgresql.DATE(),
        "datetime": postgresql.TIMESTAMP(timezone=True),
        "time": postgresql.TIME(),
        "duration": postgresql.INTERVAL(),
        "uuid": postgresql.UUID(),
        "bytes": postgresql.BYTEA(),
        "json": postgresql.JSONB(),
    }
    scalar = postgresql.INTEGER() if field.name == "version" and field.base else types[kind.name]
    return postgresql.ARRAY(scalar) if kind.many else scalar


def _references(entity: EntityDescription, registry: Registry, schemas: Schemas) -> list[ForeignKeyConstraint]:
    found = []
    for field in entity.references:
        relation = registry.relations[entity.name][str(field.relation)]
        target = f"{schemas.application}.{relation.target.table}"
        found.append(
            ForeignKeyConstraint(
                ["organization_id", field.name],
                [f"{target}.organization_id", f"{target}.id"],
                name=constraint_name(entity.table, [field.name], "fkey"),
                ondelete=_ON_DELETE[field.declaration.on_delete].format(column=quoted(field.name)),
            )
        )
    return found


def _checks(entity: EntityDescription) -> list[CheckConstraint]:
    found = []
    for field in entity.own:
        condition = " and ".join(_bounds(field))
        if condition:
            found.append(
                CheckConstraint(_as_text(condition), name=constraint_name(entity.table, [field.name], "check"))
            )
    for name, condition in entity.checks.items():
        found.append(CheckConstraint(_as_text(condition), name=constraint_name(entity.table, [name], "rule")))
    found.append(CheckConstraint("version >= 1", name=f"{entity.table}_version_check"))
    return found


def _as_text(condition: str) -> Any:
    return text(condition.replace(":", "\\:"))


def _bounds(field: FieldDescription) -> list[str]:
    """What the declaration demands of a value, as SQL, so that raw SQL is held to it too."""
    column, bounds, kind = quoted(field.name), field.declaration.bounds, field.kind
    conditions: list[str] = []
    length = {"text": f"char_length({column})", "bytes": f"octet_length({column})"}.get(kind.name)
    if kind.many:
        length = f"cardinality({column})"
        conditions.append(f"array_position({column}, null) is null")
    if length:
        conditions += [f"{length} >= {int(bounds['min_length'])}"] if bounds.get("min_length") else []
        conditions += [f"{length} <= {int(bounds['max_length'])}"] if "max_length" in bounds else []
    # By the column's own collation, which knows the cases of ASCII letters only: never stricter than input.
    conditions += [f"{column} = lower({column})"] if field.declaration.lowercase else []
    operators = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    for name, operator in operators.items():
        if name in bounds and not kind.many:
            conditions.append(f"{column} {operator} {literal(str(bounds[name]))}::{kind.sql}")
    if kind.choices:
        allowed = ", ".join(literal(choice) for choice in kind.choices)
        cast = "::bigint[]" if kind.name == "integer" else ""  # the numbers by themselves are an integer[]
        conditions.append(f"{column} <@ array[{allowed}]{cast}" if kind.many else f"{column} in ({allowed})")
    if kind.name == "float" and not kind.many:
        conditions.append(f"{column} not in ('NaN', 'Infinity', '-Infinity')")
    if kind.name in ("date", "datetime") and not kind.many:
        last = "9999-12-31" if kind.name == "date" else "9999-12-31 23:59:59.999999+00"
        first = "0001-01-01" if kind.name == "date" else "0001-01-01 00:00:00+00"
        conditions.append(f"{column} between '{first}' and '{last}'")
    return conditions


def _composite(entity: EntityDescription, key: DeclaredIndex | Unique, table: Table, schemas: Schemas) -> None:
    conditions = [
        f"{quoted(name)} is null" if value is None else f"{quoted(name)} = {literal(value)}"
        for name, value in key.where.items()
    ]
    unique = isinstance(key, Unique)
    if unique and entity.soft_delete:
        conditions.append("deleted_at is null")
    ignored = key.ignore_case if isinstance(key, Unique) else ()
    columns = [
        _caseless(name, schemas) if name in ignored else table.c[entity.fields[name].index_column]
        for name in key.fields
    ]
    where = _as_text(" and ".join(conditions)) if conditions else None
    Index(entity.key_name(key), table.c.organization_id, *columns, unique=unique, postgresql_where=where)


def _caseless(name: str, schemas: Schemas) -> Any:
    """A column without the differences of case, sorted by code point."""
    return text(f"({folded(quoted(name), schemas)})")


def _alive(entity: EntityDescription) -> Any:
    return text("deleted_at is null") if entity.soft_delete else None
