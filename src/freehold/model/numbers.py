"""Numbers that stay what was written.

Readers of JSON make a binary float of a number with a point: `99999999999999.99` becomes `…99.98` before a Decimal sees it. So numbers
that a float does not hold are looked up in the text that they came from (`lossy`), and what validates a Decimal or an int takes
them from there. Where there are none, which is nearly always, nothing is looked up.

    Decimal, int      exactly what was written, or refused
    float             the nearest float; a number beyond all floats is refused
    anything          a number is refused where a float is another one: 0.1 and its 17 digits 0.10000000000000001 are one float

`true` is no number. A text is a number as JSON writes it, with a plus sign or a bare point if need be: no `1_234`, no digits of other
scripts, no blanks.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError, PydanticKnownError, core_schema

from freehold.model.schemas import Node, rewritten

__all__ = [
    "NUMBER", "Choice", "decimal", "exact", "exact_tree", "faithful", "lossy", "parsed", "real", "spellings", "unsigned_real",
    "whole", "written",
]  # fmt: skip

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number in a text."""

Lossy = Mapping[float, frozenset[Decimal]]
"""What was written, by the float that it becomes: of floats for which that differs."""

_NONE: Lossy = {}
# A float holds 15 digits, and powers of ten up to the 307th. What is matched in a string by mistake costs time only.
_SUSPECT = re.compile(rb"(?:^|[\[:,\s])-?(?:[\d.]{16,}|[\d.]+[eE][+-]?\d{3,})")
_LARGEST_EXPONENT = 4_000
"""Digits of a whole number that is written with an exponent: Python would write them all out."""
_NOT_FINITE = frozenset({"nan", "snan", "inf", "infinity"})


def lossy(text: bytes) -> Lossy:
    """The numbers of a JSON text that a float does not hold.

    Raises:
        ValueError: it is no JSON.
    """
    if not _SUSPECT.search(text):
        return _NONE
    found: dict[float, set[Decimal]] = {}

    def note(token: str) -> float:
        number = float(token)
        found.setdefault(number, set()).add(_as_decimal(token))
        return number

    json.loads(text, parse_float=note)
    return {number: frozenset(told) for number, told in found.items() if told != {Decimal(repr(number))}}


def _as_decimal(token: str) -> Decimal:
    try:
        return Decimal(token)
    except InvalidOperation:  # an exponent beyond all bounds
        return Decimal(repr(float(token) or float("inf")))


def parsed(text: bytes | str, **options: Any) -> Any:
    """A JSON text as Python's values: its numbers with a point are floats, and Decimals where a float is another number.

    Args:
        text: the JSON.
        options: of `json.loads`.

    Raises:
        ValueError: it is no JSON.
    """
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return json.loads(text, parse_float=_number if _SUSPECT.search(raw) else None, **options)


def _number(token: str) -> float | Decimal:
    number, exactly = float(token), _as_decimal(token)
    return number if exactly == Decimal(repr(number)) else exactly


def written(value: Any, *, ascii: bool = False, indent: int | None = None) -> str:
    """What `parsed` gave as JSON again, the numbers as they were.

    Args:
        value: of dicts, lists, texts, numbers; anything else is its text.
        ascii: whether other characters are escaped. A lone surrogate is no text otherwise.
        indent: blanks of a level; None is one line. With Decimals it is one line always.
    """
    try:
        separators = (",", ":") if indent is None else None
        return json.dumps(value, ensure_ascii=ascii, separators=separators, indent=indent)
    except TypeError:  # a Decimal, or anything else
        return _written(value, ascii)


def _written(value: Any, ascii: bool) -> str:
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(name, ensure_ascii=ascii)}:{_written(item, ascii)}' for name, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(_written(item, ascii) for item in value)}]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=ascii, default=str)


def _as_written(value: float, info: ValidationInfo) -> float | Decimal:
    """A number of a JSON text, as it was written."""
    told = (info.context or _NONE).get(value) if info.mode == "json" else None
    if told is None:
        return value
    if len(told) > 1:
        raise PydanticCustomError(
            "number_precision", "is one of several numbers that differ in their last digits only; give it as a string"
        )
    (number,) = told
    return number


def _check_text(value: str, code: Any) -> None:
    if not NUMBER.fullmatch(value) and value.lstrip("+-").lower() not in _NOT_FINITE:
        raise PydanticKnownError(code)


def decimal(value: Any, info: ValidationInfo) -> Any:
    """Before a Decimal is validated."""
    if isinstance(value, str):
        _check_text(value, "decimal_parsing")
    if info.mode != "json" or isinstance(value, bool):
        return value
    if isinstance(value, float):
        value = _as_written(value, info)
        return value if isinstance(value, Decimal) else Decimal(repr(value))
    # A strict model takes these from JSON, and not from Python.
    return Decimal(value) if isinstance(value, int | str) else value


def whole(value: Any, info: ValidationInfo) -> Any:
    """Before an int is validated."""
    if type(value) is int:
        return value
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "is a boolean where an integer is wanted")
    if isinstance(value, str):
        _check_text(value, "int_parsing")
    if isinstance(value, float):
        value = _as_written(value, info)
    if isinstance(value, Decimal) and value.is_finite():
        if value.adjusted() > _LARGEST_EXPONENT:
            raise PydanticKnownError("int_parsing_size")
        if value != value.to_integral_value():
            raise PydanticKnownError("int_from_float")
    return value


def real(value: Any, info: ValidationInfo) -> Any:
    """Before a float is validated."""
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "is a boolean where a number is wanted")
    if isinstance(value, str):
        _check_text(value, "float_parsing")
    if isinstance(value, float) and info.mode == "json" and value in (float("inf"), float("-inf")):
        raise PydanticKnownError("finite_number")
    return value


def unsigned_real(value: Any, info: ValidationInfo) -> Any:
    """The same for what is stored: minus zero is zero. JSON in PostgreSQL, and so the log, has no other one."""
    value = real(value, info)
    if isinstance(value, str):
        return 0.0 if NUMBER.fullmatch(value) and float(value) == 0 else value
    return 0.0 if isinstance(value, float) and value == 0 else value


class Choice:
    """Before one of several values is validated: `true` is not 1, though Python finds them equal.

    Args:
        values: of a Literal or an enum.
        members: of the enum.
    """

    def __init__(self, values: Collection[Any], members: type[Enum] | None = None) -> None:
        self._values = [value.value if isinstance(value, Enum) else value for value in values]
        self._members = members

    def __call__(self, value: Any, info: ValidationInfo) -> Any:
        """The value, or an error."""
        if isinstance(value, Enum):
            return value
        if isinstance(value, float):
            value = _as_written(value, info)
        if isinstance(value, bool | int | float | Decimal):
            alike = [
                each for each in self._values if each == value and isinstance(each, bool) == isinstance(value, bool)
            ]
            if not alike and value in self._values:
                self._refuse()
            if not alike:
                return value  # an enum may know what to do with it
            return self._members(alike[0]) if self._members is not None and info.mode == "json" else alike[0]
        numbers = any(type(each) is int for each in self._values)
        if isinstance(value, str) and numbers and value not in self._values and not NUMBER.fullmatch(value):
            self._refuse()
        if isinstance(value, str) and value in self._values and self._members is not None and info.mode == "json":
            return self._members(value)  # a strict model takes it from JSON, and not from Python
        return value

    def _refuse(self) -> None:
        *most, last = [repr(value) for value in self._values]
        expected = f"{', '.join(most)} or {last}" if most else last
        raise PydanticKnownError("enum" if self._members is not None else "literal_error", {"expected": expected})


def faithful(value: Any, info: ValidationInfo) -> Any:
    """Before anything is validated that may hold numbers of any kind: refuses those that a float is not."""
    if info.mode == "json" and info.context:
        _check_faithful(value, info.context)
    return value


def _check_faithful(value: Any, context: Lossy) -> None:
    if isinstance(value, float):
        if any(number not in spellings(value) for number in context.get(value, ())):
            raise PydanticCustomError(
                "number_precision", "has a number with more digits than a float holds; give it as a string"
            )
    elif isinstance(value, Mapping):
        for item in value.values():
            _check_faithful(item, context)
    elif isinstance(value, list):
        for item in value:
            _check_faithful(item, context)


def spellings(value: float) -> tuple[Decimal, ...]:
    """The numbers as which programs write a float: the shortest one, the one with 17 digits, and all of its digits."""
    return Decimal(repr(value)), Decimal(f"{value:.17g}"), Decimal(value)


def exact_tree(value: Any, info: ValidationInfo) -> Any:
    """Before values of any kind are validated that are read by their kinds later: a number that a float is not is a Decimal."""
    return _exactly(value, info) if info.mode == "json" and info.context else value


def _exactly(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, float):
        return _as_written(value, info)
    if isinstance(value, Mapping):
        return {name: _exactly(item, info) for name, item in value.items()}
    return [_exactly(item, info) for item in value] if isinstance(value, list) else value


_BEFORE: Mapping[str, Callable[[Any, ValidationInfo], Any]] = {
    "decimal": decimal, "int": whole, "float": real, "any": faithful,
}  # fmt: skip
_OURS = frozenset({decimal, whole, real, unsigned_real, faithful, exact_tree})


def exact(schema: Any) -> Any:
    """A core schema that takes numbers as this module says, in whatever model of the application they are."""
    return rewritten(schema, _exact)


def _exact(node: Node) -> Node | None:
    kind = node["type"]
    if kind == "function-before":
        function = node["function"]["function"]
        return node if isinstance(function, Choice) or function in _OURS else None
    before = _BEFORE.get(kind)
    if kind == "literal":
        before = Choice(node["expected"])
    elif kind == "enum":
        before = Choice(node["members"], node["cls"])
    elif (kind == "dict" and "values_schema" not in node) or (kind == "list" and "items_schema" not in node):
        before = faithful
    if before is None:
        return None
    # What is referred to keeps its name, outermost.
    named = {"ref": node["ref"]} if "ref" in node else {}
    inner = {key: value for key, value in node.items() if key != "ref"}
    return {**core_schema.with_info_before_validator_function(before, inner), **named}
