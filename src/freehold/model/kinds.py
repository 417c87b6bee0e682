"""What a declared type is to PostgreSQL, to JSON and to a filter.

A `Kind` is derived from a Python annotation once, at import. It knows the column's SQL type, whether values have an
order that an index can hold, how the column is written as JSON, and how a Python value is checked and bound.

JSON shapes: a Decimal is a string (no precision is lost in a float), bytes are hexadecimal, a timedelta is a number of
seconds; the rest is what PostgreSQL and Pydantic agree on by themselves.
"""

import enum
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

__all__ = ["SCALARS", "Kind", "KindError", "kind_of", "split_optional"]

MAXIMUM_ENUM_LENGTH = 200
"""Characters of the longest value of an enum or Literal."""


class KindError(Exception):
    """An annotation that no column can hold. The message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A column's type.

    Args:
        name: of the kind: text, integer, float, decimal, boolean, date, datetime, time, duration, uuid, bytes, json.
        sql: the SQL type, without array brackets.
        python: the Python type of a single value.
        orderable: whether an index can order it (and so a filter compare it, and a list be sorted by it).
        many: whether it is a list of such values (a PostgreSQL array).
        choices: the allowed values of an enum or Literal, as they are stored.
        adapter: validates a Python value of the whole annotation (without None).
    """

    name: str
    sql: str
    python: Any  # Any: an annotation, which may be a class, a Literal or a generic alias
    orderable: bool
    many: bool = False
    choices: tuple[str | int, ...] = ()
    adapter: TypeAdapter[Any] = field(compare=False, repr=False, default_factory=lambda: TypeAdapter(Any))

    @property
    def sql_type(self) -> str:
        """The column's SQL type: `numeric`, `text[]`."""
        return f"{self.sql}[]" if self.many else self.sql

    @property
    def comparable(self) -> bool:
        """Whether a filter may use gt, lt and between: ordered, single, and not an enumeration."""
        return self.orderable and not self.choices and self.name != "boolean"

    @property
    def document(self) -> type[BaseModel] | None:
        """The Pydantic model of a JSON document that is typed by one."""
        if (
            self.name == "json"
            and not self.many
            and isinstance(self.python, type)
            and issubclass(self.python, BaseModel)
        ):
            return self.python
        return None

    def as_json(self, column: str) -> str:
        """The SQL expression that turns a column into its JSON shape."""
        return _JSON_SHAPES.get((self.name, self.many), "{0}").format(column)


_JSON_SHAPES = {
    ("decimal", False): "{0}::text",
    ("decimal", True): "{0}::text[]",
    ("bytes", False): "encode({0}, 'hex')",
    ("bytes", True): "case when {0} is not null then "
    "array(select encode(b, 'hex') from unnest({0}) with ordinality u (b, n) order by n) end",
    ("duration", False): "extract(epoch from {0})::float8",
    ("duration", True): "case when {0} is not null then "
    "array(select extract(epoch from d)::float8 from unnest({0}) with ordinality u (d, n) order by n) end",
}

SCALARS: dict[Any, tuple[str, str]] = {
    str: ("text", "text"),
    bool: ("boolean", "boolean"),
    int: ("integer", "bigint"),
    float: ("float", "double precision"),
    Decimal: ("decimal", "numeric"),
    datetime: ("datetime", "timestamptz"),
    date: ("date", "date"),
    time: ("time", "time"),
    timedelta: ("duration", "interval"),
    UUID: ("uuid", "uuid"),
    bytes: ("bytes", "bytea"),
}

ALLOWED = (
    "str, int, float, Decimal, bool, date, datetime, time, timedelta, UUID, bytes, an Enum or Literal, "
    "list[...] of one of these, a Pydantic model or dict[str, Any] for a JSON document, and each of them `| None`"
)


def split_optional(annotation: Any) -> tuple[Any, bool]:
    """Takes `T | None` apart: (T, True). Anything else is (annotation, False)."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1 and len(get_args(annotation)) == 2:
            return members[0], True
    return annotation, False


def kind_of(annotation: Any, prepare: Callable[[Any], Any] = lambda a: a) -> Kind:
    """The kind of an annotation that has no `| None`.

    Args:
        annotation: a type as written in an entity.
        prepare: turns the annotation into what input is validated against (bounds on strings, aware datetimes).

    Raises:
        KindError: no column can hold it.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(prepare(annotation))
    if get_origin(annotation) is list:
        (item,) = get_args(annotation) or (Any,)
        element = _scalar_kind(item, adapter)
        if element is None or element.name == "json":
            raise KindError(f"a list holds scalars, not {_shown(item)}; use a Pydantic model for a JSON document")
        return Kind(
            element.name, element.sql, item, orderable=False, many=True, choices=element.choices, adapter=adapter
        )
    kind = _scalar_kind(annotation, adapter)
    if kind is None:
        raise KindError(f"{_shown(annotation)} has no column type; allowed are {ALLOWED}")
    return kind


def _scalar_kind(annotation: Any, adapter: TypeAdapter[Any]) -> Kind | None:
    if annotation in SCALARS:
        name, sql = SCALARS[annotation]
        return Kind(name, sql, annotation, orderable=True, adapter=adapter)
    if get_origin(annotation) is Literal:
        return _choices_kind(annotation, get_args(annotation), adapter)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _choices_kind(annotation, tuple(member.value for member in annotation), adapter)
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    if is_model or annotation is dict or get_origin(annotation) is dict:
        return Kind("json", "jsonb", annotation, orderable=False, adapter=adapter)
    return None


def _choices_kind(annotation: Any, values: tuple[Any, ...], adapter: TypeAdapter[Any]) -> Kind:
    if values and all(isinstance(value, str) and len(value) <= MAXIMUM_ENUM_LENGTH for value in values):
        return Kind("text", "text", annotation, orderable=True, choices=values, adapter=adapter)
    if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return Kind("integer", "bigint", annotation, orderable=True, choices=values, adapter=adapter)
    raise KindError(
        f"the values of {_shown(annotation)} must be all strings (of at most {MAXIMUM_ENUM_LENGTH} characters) or all integers"
    )


def _shown(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
