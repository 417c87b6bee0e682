"""Hand-written SQL with named parameters.

`:name` outside of strings, quoted identifiers and comments is a parameter. Nothing is ever put into the text: each
parameter becomes an element of one JSON array, cast to the type of its value.
"""

import json
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json

from freehold.errors import Issue, ValidationError
from freehold.model.registry import suggestion
from freehold.model.values import to_sql_text

__all__ = ["bind_named"]

MAXIMUM_STATEMENT = 200_000
"""Characters of a hand-written statement."""

# What is not looked into, then a parameter. Order matters: casts (::) and array slices (a:b) are passed over first.
_TOKENS = re.compile(
    r"""
      '(?:[^']|'')*'                              # a string
    | "(?:[^"]|"")*"                              # an identifier
    | --[^\n]*                                    # a comment to the end of the line
    | \$(?P<tag>[A-Za-z_\x80-\uffff]*)\$.*?\$(?P=tag)\$   # a dollar-quoted string
    | ::
    | :=
    | (?<![:\w\]]):(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE_STRING = re.compile(r"[eE]'(?:[^'\\]|''|\\.)*'", re.DOTALL)

_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "bigint"),
    (float, "double precision"),
    (Decimal, "numeric"),
    (str, "text"),
    (datetime, "timestamptz"),
    (date, "date"),
    (time, "time"),
    (timedelta, "interval"),
    (UUID, "uuid"),
    (bytes, "bytea"),
)


def bind_named(text: str, values: Mapping[str, Any]) -> tuple[str, str]:
    """Turns named parameters into references to a JSON array that is bound as $1.

    Args:
        text: the statement, one, without a closing semicolon being needed.
        values: by parameter name; str, int, float, Decimal, bool, date, datetime, time, timedelta, UUID, bytes, lists
            of these, dicts and Pydantic models (as jsonb), or None.

    Returns:
        The text with `($1->>0)::type` in place of each parameter, and the array as JSON.

    Raises:
        ValidationError: a parameter has no value, a value no parameter, or its type cannot be bound.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValidationError.single((), "must be the text of a select", "string_type", subject="sql")
    if len(text) > MAXIMUM_STATEMENT or "\x00" in text:
        raise ValidationError.single(
            (), f"must have at most {MAXIMUM_STATEMENT} characters and no NUL", "string_too_long", subject="sql"
        )
    issues: list[Issue] = []
    order: dict[str, int] = {}

    def placed(name: str) -> str:
        if name not in values:
            issues.append(Issue((name,), f"has no value; pass {name}=...", "missing"))
            return "null"
        position = order.setdefault(name, len(order))
        try:
            return _reference(position, values[name])
        except TypeError as error:
            issues.append(Issue((name,), str(error), "unbindable"))
            return "null"

    bound = _replace(text.strip().rstrip(";"), placed)
    issues.extend(
        Issue((name,), f"is no parameter of the statement{suggestion(name, order)}", "unknown_parameter")
        for name in values
        if name not in order
    )
    if issues:
        raise ValidationError(issues, subject="sql")
    array = to_json([to_sql_text(_plain(values[name])) for name in order], inf_nan_mode="strings", bytes_mode="hex")
    if b"\\u0000" in array:
        _refuse_nul({name: values[name] for name in order})
    return bound, array.decode()


def _replace(text: str, placed: Any) -> str:
    parts: list[str] = []
    position = 0
    while position < len(text):
        escape = _ESCAPE_STRING.match(text, position)
        if escape and (position == 0 or not (text[position - 1].isalnum() or text[position - 1] == "_")):
            parts.append(escape.group())
            position = escape.end()
            continue
        if text.startswith("/*", position):
            end = _comment_end(text, position)
            parts.append(text[position:end])
            position = end
            continue
        token = _TOKENS.match(text, position)
        if token is None:
            parts.append(text[position])
            position += 1
            continue
        parts.append(placed(token["name"]) if token["name"] else token.group())
        position = token.end()
    return "".join(parts)


def _comment_end(text: str, start: int) -> int:
    """Where a block comment ends; they nest in PostgreSQL."""
    depth, position = 0, start
    while position < len(text):
        if text.startswith("/*", position):
            depth, position = depth + 1, position + 2
        elif text.startswith("*/", position):
            depth, position = depth - 1, position + 2
            if depth == 0:
                return position
        else:
            position += 1
    return len(text)


def _reference(position: int, value: Any) -> str:
    if value is None:
        return f"($1->>{position})"
    if isinstance(value, dict | BaseModel):
        return f"($1->{position})"
    if isinstance(value, list | tuple | set | frozenset):
        items = list(value)
        element = _type_of(items[0]) if items else "text"
        if any(item is not None and _type_of(item) != element for item in items):
            raise TypeError("is a list of several types; give one type")
        return f"(array(select jsonb_array_elements_text($1->{position})::{element}))"
    return f"($1->>{position})::{_type_of(value)}"


def _type_of(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, datetime) and value.tzinfo is None:
        raise TypeError("is a datetime without a time zone; give an aware one")
    for python, sql in _TYPES:
        if isinstance(value, python):
            return sql
    raise TypeError(f"is a {type(value).__name__}, which cannot be bound")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else value


def _refuse_nul(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if "\x00" in json.dumps(value, default=str, ensure_ascii=False).encode().decode(
            "unicode_escape", errors="ignore"
        ):
            raise ValidationError.single(
                (name,),
                "contains a NUL character, which PostgreSQL cannot store; remove it",
                "nul_character",
                subject="sql",
            )
