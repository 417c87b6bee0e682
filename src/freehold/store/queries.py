"""Aggregations and hand-written queries."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, TypeVar

import pydantic
from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.expression import Executable, SelectBase

from freehold.errors import Issue, ValidationError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.entity import Entity
from freehold.model.filters import parse_filter
from freehold.model.issues import shown, validation_error
from freehold.model.numbers import parsed
from freehold.model.pages import parse_limit
from freehold.model.registry import suggestion
from freehold.model.values import from_json_shape
from freehold.model.vocabulary import Vocabulary
from freehold.sql.aggregates import aggregate_statement
from freehold.sql.named import bind_named
from freehold.store.messages import Messenger
from freehold.store.slices import SLICE, in_slices

__all__ = ["Group", "aggregate", "explain", "query"]

ModelT = TypeVar("ModelT", bound=BaseModel)

MAXIMUM_ROWS = 10_000
"""Rows of a hand-written query."""
ADDABLE = ("integer", "float", "decimal", "duration")


@dataclass(frozen=True)
class Group:
    """One group of an aggregation.

    Args:
        keys: the group's values by field.
        count: how many records it has.
        sum, avg, min, max: by field; None where all values are null. Sums of integers are int, averages of integers
            and Decimals are Decimal.
    """

    keys: Mapping[str, Any]  # Any: a field's value
    count: int
    sum: Mapping[str, Any] = field(default_factory=dict)
    avg: Mapping[str, Any] = field(default_factory=dict)
    min: Mapping[str, Any] = field(default_factory=dict)
    max: Mapping[str, Any] = field(default_factory=dict)


async def aggregate(
    messenger: Messenger,
    cls: type[Entity],
    *,
    group_by: Sequence[str],
    measures: Mapping[str, Sequence[str]],
    where: Mapping[str, Any] | None,
    limit: int,
    deleted: bool,
    vocabulary: Vocabulary | None = None,
) -> tuple[Group, ...]:
    """Groups in the order of their keys.

    Raises:
        ValidationError: an unknown or unsuitable field, or more groups than the limit.
    """
    store = messenger.store
    entity = store.registry[cls]
    known = (vocabulary or store.registry).fields[entity.name]
    issues: list[Issue] = []
    keys = _fields(entity, known, "group_by", group_by, issues)
    measured = {
        function: _fields(entity, known, function, names, issues) for function, names in measures.items() if names
    }
    if issues:
        raise ValidationError(issues, subject="aggregate")
    condition = parse_filter(where, entity, vocabulary or store.registry)
    limit = parse_limit(limit)
    groups = await messenger.rows(
        aggregate_statement(entity, keys, measured, condition, limit, store.schemas, deleted=deleted)
    )
    if len(groups) > limit:
        raise ValidationError.single(
            ("limit",),
            f"there are more than {limit} groups; group by less, or filter",
            "too_many_groups",
            subject="aggregate",
        )
    found: list[Group] = []
    async for part in in_slices(groups, lambda group: len(group["j"])):
        found += [_group(keys, measured, from_json(group["j"])) for group in part]
    return tuple(found)


def _fields(
    entity: EntityDescription, known: Mapping[str, FieldDescription], what: str, names: Any, issues: list[Issue]
) -> list[FieldDescription]:
    found: list[FieldDescription] = []
    if isinstance(names, str) or not isinstance(names, Sequence):
        issues.append(Issue((what,), "must be a list of field names", "list_type"))
        return found
    for index, name in enumerate(names):
        field_ = known.get(name) if isinstance(name, str) else None
        if field_ is None:
            issues.append(
                Issue(
                    (what, index),
                    f"{shown(name)} is no field of {entity.name}{suggestion(str(name), known, told=len(issues))}",
                    "unknown_field",
                )
            )
        elif field_.private:
            issues.append(Issue((what, index), f"{name} is private", "private_field"))
        elif field_.kind.many or (what in ("sum", "avg") and (field_.kind.name not in ADDABLE or field_.kind.choices)):
            issues.append(Issue((what, index), f"{name} is no number; {what} does not apply", "wrong_kind"))
        elif not field_.kind.orderable or (what in ("min", "max") and field_.kind.name in ("boolean", "uuid", "bytes")):
            issues.append(Issue((what, index), f"{what} does not apply to {name}", "wrong_kind"))
        else:
            found.append(field_)
    return found


def _group(keys: Sequence[FieldDescription], measures: Mapping[str, Sequence[FieldDescription]], group: Any) -> Group:
    key_values, count, measured = group
    values = {
        function: {field_.name: _measured(function, field_, value) for field_, value in zip(fields, row, strict=True)}
        for (function, fields), row in zip(measures.items(), measured, strict=True)
    }
    named = {
        field_.name: None if value is None else from_json_shape(field_, value)
        for field_, value in zip(keys, key_values, strict=True)
    }
    return Group(named, count, **values)


def _measured(function: str, field_: FieldDescription, value: Any) -> Any:
    if value is None:
        return None
    if field_.kind.name == "duration":
        return timedelta(microseconds=int(Decimal(value) * 1_000_000))
    if function in ("sum", "avg") and field_.kind.name in ("integer", "decimal"):
        return int(value) if function == "sum" and field_.kind.name == "integer" else Decimal(value)
    return value if function in ("sum", "avg") else from_json_shape(field_, value)


async def query(
    messenger: Messenger, model: type[ModelT] | None, statement: Any, values: Mapping[str, Any], limit: int
) -> list[Any]:
    """The rows of a hand-written query, as models or as dicts."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAXIMUM_ROWS:
        raise ValidationError.single(
            ("limit",), f"must be a whole number from 1 to {MAXIMUM_ROWS}", "limit", subject="sql"
        )
    if model is not None and not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise ValidationError.single(
            (), f"must be a Pydantic model or None, not {model!r}"[:120], "model_type", subject="sql"
        )
    text, arguments = _bound(statement, values)
    function = messenger.store.schemas.own("read")
    row = await messenger.look(
        f"select {function}($1, $2, $3, $4::jsonb, $5, $6) as rows",
        [text, arguments, limit + 1, messenger.store.bounds.bytes],
    )  # a quoted name
    rows = row["rows"]
    read = partial(_read, model, rows)
    try:
        found = await asyncio.to_thread(read) if len(rows) > SLICE else read()
    except pydantic.ValidationError as error:
        raise validation_error(error, f"the rows of the query, as {model.__name__ if model else 'JSON'},") from None
    if len(found) > limit:
        raise ValidationError.single(
            ("limit",),
            f"the query has more than {limit} rows; add a LIMIT to it, or pass limit=",
            "too_many_rows",
            subject="sql",
        )
    return found


def _read(model: type[BaseModel] | None, rows: bytes) -> list[Any]:
    """The rows of a query, as models or as dicts."""
    if model is None:
        found: list[Any] = parsed(rows)
        return found
    # With numbers as Decimals: a numeric keeps all its digits, and a float field takes them as well.
    return _rows_of(model).validate_python(json.loads(rows, parse_float=Decimal))


@lru_cache(maxsize=256)
def _rows_of(model: type[ModelT]) -> TypeAdapter[list[ModelT]]:
    """What validates rows of a model; making it takes longer than using it."""
    return TypeAdapter(list[model])  # type: ignore[valid-type]  # the caller's class


async def explain(messenger: Messenger, statement: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """PostgreSQL's plan of a hand-written query, as it prints it in JSON."""
    text, arguments = _bound(statement, values)
    function = messenger.store.schemas.own("explain")
    row = await messenger.look(f"select {function}($1, $2, $3, $4::jsonb) as plan", [text, arguments])  # a quoted name
    plan: Mapping[str, Any] = from_json(row["plan"])[0]
    return plan


def _bound(statement: Any, values: Mapping[str, Any]) -> tuple[str, str]:
    if isinstance(statement, Executable):
        if not isinstance(statement, SelectBase):
            raise ValidationError.single(
                (), "must be a select; use create, update and delete to write", "not_a_select", subject="sql"
            )
        compiled = statement.compile(
            dialect=postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]  # SQLAlchemy's constructor is not annotated
            compile_kwargs={"render_postcompile": True},
        )
        return bind_named(str(compiled), {**compiled.params, **values})
    return bind_named(statement, values)
