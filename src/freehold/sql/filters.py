"""Filters compiled to SQL conditions.

See `freehold.model.filters` for what they mean. A condition may come out null where it means false; `not` is written
as `is not true`, so nulls never turn into matches.
"""

from decimal import Decimal
from typing import cast

from pydantic import BaseModel

from freehold.model.description import EntityDescription
from freehold.model.filters import And, Compare, Filter, Not, Or, Target
from freehold.model.index_keys import IndexKey
from freehold.model.kinds import split_optional
from freehold.model.registry import Relation
from freehold.sql.identifiers import Schemas, quoted
from freehold.sql.statements import Arguments

__all__ = ["condition", "joined", "visible"]

_COMPARISONS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def visible(entity: EntityDescription, alias: str, *, deleted: bool = False) -> str:
    """The condition that a row belongs to the context's organization and is not deleted."""
    condition_ = f"{alias}.organization_id = e.organization_id"
    return f"{condition_} and {alias}.deleted_at is null" if entity.soft_delete and not deleted else condition_


def joined(relation: Relation, outer: str, inner: str) -> str:
    """The condition that an inner row is related to an outer one."""
    column = quoted(relation.field.name)
    return f"{inner}.{column} = {outer}.id" if relation.many else f"{inner}.id = {outer}.{column}"


def condition(filter_: Filter, alias: str, arguments: Arguments, schemas: Schemas) -> str:
    """The SQL condition of a filter on the rows of a table's alias."""
    match filter_:
        case And(items):
            return " and ".join(f"({condition(item, alias, arguments, schemas)})" for item in items) or "true"
        case Or(items):
            return " or ".join(f"({condition(item, alias, arguments, schemas)})" for item in items) or "false"
        case Not(item):
            return f"({condition(item, alias, arguments, schemas)}) is not true"
        case Compare(target, operator, value):
            return _across(target.relations, target, operator, value, alias, arguments, schemas)


def _across(
    relations: tuple[Relation, ...],
    target: Target,
    operator: str,
    value: object,
    alias: str,
    arguments: Arguments,
    schemas: Schemas,
) -> str:
    if not relations:
        return _compare(target, operator, value, alias, arguments)
    relation, *rest = relations
    inner = arguments.alias()
    found = _across(tuple(rest), target, operator, value, inner, arguments, schemas)
    return (
        f"exists (select 1 from {schemas.rows(relation.target)} as {inner} where {visible(relation.target, inner)} "
        f"and {joined(relation, alias, inner)} and {found})"
    )


def _compare(target: Target, operator: str, value: object, alias: str, arguments: Arguments) -> str:
    if operator in ("ne", "not_in"):
        opposite = _compare(target, "eq" if operator == "ne" else "in", value, alias, arguments)
        return f"({opposite}) is not true"
    key = target.field.index_key
    if key is not None and operator != "is_null":
        return _compare_key(key, operator, value, alias, arguments)
    kind = target.kind
    column = _column(target, alias, arguments)
    sql_type = kind.sql_type
    if operator == "is_null":
        return f"{column} is null" if value else f"{column} is not null"
    if operator == "in":
        return f"{column} = any ({arguments.add(value, f'{kind.sql}[]')})"
    if operator == "between":
        low, high = cast("list[object]", value)
        return f"{column} between {arguments.add(low, sql_type)} and {arguments.add(high, sql_type)}"
    if operator == "contains":
        if kind.many:
            return f"{arguments.add(value, kind.sql)} = any ({column})"
        return f"strpos({column}, {arguments.add(value, 'text')}) > 0"
    if operator == "starts_with":
        return _starts_with(column, str(value), arguments)
    return f"{column} {_COMPARISONS[operator]} {arguments.add(value, sql_type)}"


def _compare_key(key: IndexKey, operator: str, value: object, alias: str, arguments: Arguments) -> str:
    """A condition on a Decimal as one on the column that its index has: the same rows, found by the index."""
    column = f"{alias}.{quoted(key.column)}"
    if operator == "in":
        keys = [key.equal(item) for item in cast("list[Decimal]", value)]
        return f"{column} = any ({arguments.add(keys, f'{key.sql}[]')})"
    if operator == "between":
        low, high = cast("list[Decimal]", value)
        bounds = arguments.add(key.at_least(low), key.sql), arguments.add(key.at_most(high), key.sql)
        return f"{column} between {bounds[0]} and {bounds[1]}"
    number = cast("Decimal", value)
    bound = {"eq": key.equal, "gt": key.at_most, "lte": key.at_most, "gte": key.at_least, "lt": key.at_least}[operator]
    return f"{column} {_COMPARISONS[operator]} {arguments.add(bound(number), key.sql)}"


def _starts_with(column: str, prefix: str, arguments: Arguments) -> str:
    """A range, not LIKE: columns sort by code point, so it means the same, and its operators are leakproof: it keeps its index."""
    low = f"{column} >= {arguments.add(prefix, 'text')}"
    after = _successor(prefix)
    return low if after is None else f"{low} and {column} < {arguments.add(after, 'text')}"


def _successor(prefix: str) -> str | None:
    """The smallest string, by code point, that is greater than all that start with the prefix."""
    for end in range(len(prefix), 0, -1):
        code = ord(prefix[end - 1])
        if code < 0x10FFFF:
            following = 0xE000 if code + 1 == 0xD800 else code + 1  # surrogates are no characters
            return prefix[: end - 1] + chr(following)
    return None


def _stored_keys(target: Target) -> list[str]:
    """The keys as the document is stored: by their aliases, where its model has some."""
    names: list[str] = []
    document = target.field.kind.document
    for key in target.keys:
        if document is None:  # the parser resolves keys through models only
            break
        info = document.model_fields[key]
        names.append(info.serialization_alias or key)
        bare, _ = split_optional(info.annotation)
        document = bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None
    return names


def _column(target: Target, alias: str, arguments: Arguments) -> str:
    column = f"{alias}.{quoted(target.field.name)}"
    if not target.keys:
        return column
    path = arguments.add(_stored_keys(target), "text[]")
    text = f"({column} #>> {path})"
    if target.kind.name == "text":
        return f'{text} collate "C"'
    if target.kind.name == "json":
        return f"nullif({column} #> {path}, 'null')"
    # A cast only where the stored value has the type that the declaration says: raw SQL may have stored another. Integers as
    # numeric: JSON's have no bound.
    types = {"integer": ("number",), "float": ("number",), "decimal": ("number", "string"), "boolean": ("boolean",)}
    allowed = ", ".join(f"'{name}'" for name in types.get(target.kind.name, ("string",)))
    sql = "numeric" if target.kind.name == "integer" else target.kind.sql
    return f"(case when jsonb_typeof({column} #> {path}) in ({allowed}) then {text}::{sql} end)"
