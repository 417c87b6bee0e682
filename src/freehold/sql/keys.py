"""Unique keys as SQL: what their indexes are over, word for word, so that PostgreSQL knows them again."""

from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.fields import Unique
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = ["compared", "conflict_target", "covered", "equal", "folded"]


def compared(key: Unique, alias: str, field: str, schemas: Schemas) -> str:
    """What a key compares of a row: the column, or its text without the differences of case."""
    column = f"{alias}.{quoted(field)}"
    return folded(column, schemas) if field in key.ignore_case else column


def folded(expression: str, schemas: Schemas) -> str:
    """A text without the differences of case."""
    return f"{schemas.own('folded')}({expression})"


def equal(field: FieldDescription, alias: str, given: str) -> str:
    """The condition that a row of the table has the same value as a row that was given, as an index can answer it."""
    key, column = field.index_key, f"{given}.{quoted(field.name)}"
    return f"{alias}.{quoted(field.index_column)} = {key.expression(column) if key else column}"


def covered(key: Unique, alias: str) -> str:
    """The condition that a key is about a row: none of its fields is null, and the row is one of those that it names."""
    conditions = [f"{alias}.{quoted(name)} is not null" for name in key.fields]
    return " and ".join(conditions + _partial(key, f"{alias}."))


def conflict_target(entity: EntityDescription, key: Unique, schemas: Schemas) -> str:
    """The key's index as ON CONFLICT infers it: columns, expressions and condition."""
    columns = ", ".join(["organization_id", *(_inferred(entity, key, name, schemas) for name in key.fields)])
    conditions = _partial(key, "") + (["deleted_at is null"] if entity.soft_delete else [])
    return f"({columns})" + (f" where {' and '.join(conditions)}" if conditions else "")


def _inferred(entity: EntityDescription, key: Unique, field: str, schemas: Schemas) -> str:
    if field in key.ignore_case:
        return f"({folded(quoted(field), schemas)})"
    return quoted(entity.fields[field].index_column)


def _partial(key: Unique, prefix: str) -> list[str]:
    return [
        f"{prefix}{quoted(name)} is null" if value is None else f"{prefix}{quoted(name)} = {literal(value)}"
        for name, value in key.where.items()
    ]
