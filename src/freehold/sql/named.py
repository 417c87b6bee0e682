"""Hand-written SQL with named parameters.

`:name` outside of strings, quoted identifiers and comments is a parameter. Nothing is ever put into the text: each
parameter becomes an element of one JSON array, cast to the type of its value.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
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
KEPT = 20_000
"""Characters of one that is remembered."""

# What is not looked into, then a parameter. Order matters: casts (::) and array slices (a:b) are passed over first.
_TOKENS = re.compile(
    r"""
      '(?:[^']|'')*'                              # a string
    | "(?:[^"]|"")*"                              # an identifier
    | --[^\n]*                                    # a comment to the end of the line
    | [^\W\d][\w$]*                               # a name, in which $ quotes nothing
    | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$    # a dollar-quoted string
    | ::
    | :=
    | (?<![:\w\]]):(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
# JSON writes a NUL so, after an even number of backslashes.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
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
    if not isinstance(text, str):
        raise ValidationError.single((), "must be the text of a select", "string_type", subject="sql")
    pieces = _pieces(text) if len(text) <= KEPT else _read(text)
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

    bound = "".join([placed(piece) if is_name else piece for is_name, piece in pieces])
    for name in values:
        if name not in order:
            told = suggestion(name, order, told=len(issues))
            issues.append(Issue((name,), f"is no parameter of the statement{told}", "unknown_parameter"))
    elements = [] if issues else [_element(name, values[name], issues) for name in order]
    if issues:
        raise ValidationError(issues, subject="sql")
    return bound, f"[{','.join(elements)}]"


def _element(name: str, value: Any, issues: list[Issue]) -> str:
    """A value as JSON."""
    try:
        element = to_json(to_sql_text(_plain(value)), inf_nan_mode="strings", bytes_mode="hex")
    except ValueError as error:  # Pydantic's serialisation errors are ones too
        reason = "a lone surrogate" if "surrogates" in str(error) else "what is no JSON"
        issues.append(Issue((name,), f"contains {reason} and cannot be bound", "unbindable"))
        return "null"
    if _NUL.search(element):
        issues.append(
            Issue((name,), "contains a NUL character, which PostgreSQL cannot store; remove it", "nul_character")
        )
    return element.decode()


def _read(text: str) -> tuple[tuple[bool, str], ...]:
    """The text in pieces, each with whether it is the name of a parameter.

    Raises:
        ValidationError: it cannot be a statement.
    """
    if not text.strip():
        raise ValidationError.single((), "must be the text of a select", "string_type", subject="sql")
    if len(text) > MAXIMUM_STATEMENT or "\x00" in text:
        raise ValidationError.single(
            (), f"must have at most {MAXIMUM_STATEMENT} characters and no NUL", "string_too_long", subject="sql"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationError.single(
            (), "contains a lone surrogate, which is no text", "string_unicode", subject="sql"
        ) from None
    return tuple(_split(re.sub(r"[;\s]+$", "", text)))


_pieces = lru_cache(maxsize=256)(_read)
"""An application has its statements in its code: each is read once."""


def _split(text: str) -> Iterator[tuple[bool, str]]:
    start = position = 0  # of the text that is taken as it is
    while position < len(text):
        escape = _ESCAPE_STRING.match(text, position)
        if escape and (position == 0 or not (text[position - 1].isalnum() or text[position - 1] == "_")):
            position = escape.end()
        elif text.startswith("/*", position):
            position = _comment_end(text, position)
        elif (token := _TOKENS.match(text, position)) is None:
            position += 1
        else:
            if token["name"]:
                yield False, text[start:position]
                yield True, token["name"]
                start = token.end()
            position = token.end()
    yield False, text[start:]


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
        return "null"  # takes the type of its place, which a parameter of no type would not
    if isinstance(value, dict | BaseModel):
        return f"($1->{position})"
    if isinstance(value, list | tuple | set | frozenset):
        elements = {_type_of(item) for item in value if item is not None}
        if len(elements) > 1:
            raise TypeError("is a list of several types; give one type")
        if not value:
            return "'{}'"  # an empty array of whatever type its place wants
        element = elements.pop() if elements else "text"
        return f"(array(select jsonb_array_elements_text($1->{position})::{element}))"
    return f"($1->>{position})::{_type_of(value)}"


def _type_of(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, datetime) and value.tzinfo is None:
        raise TypeError("is a datetime without a time zone; give an aware one")
    if isinstance(value, time) and value.tzinfo is not None:
        raise TypeError("is a time of day with a time zone; give it without, or use a datetime")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise TypeError("does not fit in 64 bits; give a Decimal")
    for python, sql in _TYPES:
        if isinstance(value, python):
            return sql
    raise TypeError(f"is a {type(value).__name__}, which cannot be bound")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else value
