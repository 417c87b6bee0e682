"""Values that a field accepts, by number: what a proof or a test puts into records.

Value 1 and value 2 of a field differ as long as its bounds leave room; then they repeat. A mark is in every text that has
room for it, so that it is known again wherever it appears.
"""

import enum
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_args, get_origin
from uuid import UUID

import pydantic
from pydantic import BaseModel, TypeAdapter

from freehold.doctor.patterns import matching
from freehold.model.description import FieldDescription
from freehold.model.inputs import LARGEST_INTEGER, MAXIMUM_DURATION, MAXIMUM_TEXT, SMALLEST_INTEGER, prepared
from freehold.model.kinds import Kind, KindError, kind_of, split_optional

__all__ = ["NoValueError", "value"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_ABSENT = object()


class NoValueError(Exception):
    """The declaration does not say enough to make a value. The message says why."""


def value(field: FieldDescription, number: int, mark: str = "") -> Any:
    """The value of a field with this number, valid by all that its declaration says.

    Args:
        field: of an entity.
        number: from 0 on.
        mark: a word of small letters and digits for texts, where their bounds leave room for it.

    Raises:
        NoValueError: there is none, or it cannot be found.
    """
    bounds, declaration = field.declaration.bounds, field.declaration
    digits, places, lowercase = declaration.digits, declaration.places, declaration.lowercase
    annotation = prepared(field.annotation, bounds, digits=digits, places=places, lowercase=lowercase)
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    reason = f"no {field.kind.name} was found that its bounds accept"
    for candidate in _candidates(field, number, mark):
        try:
            return adapter.validate_python(candidate)
        except pydantic.ValidationError as error:
            reason = f"{candidate!r:.80} was tried: {error.errors()[0]['msg']}"
    raise NoValueError(reason)


def _candidates(field: FieldDescription, number: int, mark: str) -> Iterator[Any]:
    kind, bounds = field.kind, field.declaration.bounds
    if kind.many:
        single = replace(kind, many=False)
        length = bounds.get("min_length", min(1, bounds.get("max_length", 1)))
        digits, places = field.declaration.digits, field.declaration.places
        item = _Wanted(field.name, single, {}, digits, places, mark)
        yield [next(_scalars(item, number + place)) for place in range(length)]
        return
    declared = field.declaration
    yield from _scalars(_Wanted(field.name, kind, bounds, declared.digits, declared.places, mark), number)


@dataclass(frozen=True)
class _Wanted:
    """What a single value must be."""

    name: str
    kind: Kind
    bounds: Mapping[str, Any]
    digits: int | None = None
    places: int | None = None
    mark: str = ""


def _scalars(wanted: _Wanted, number: int) -> Iterator[Any]:
    kind = wanted.kind
    if kind.choices:
        yield kind.choices[number % len(kind.choices)]
    elif kind.name == "text":
        yield from _texts(wanted, number)
    elif kind.name == "bytes":
        least, most = wanted.bounds.get("min_length", 0), wanted.bounds.get("max_length", 1_000_000)
        length = min(max(least, 4), most)
        yield (number % 256**length).to_bytes(length, "big") if length else b""
    elif kind.name == "boolean":
        yield number % 2 == 0
    elif kind.name == "uuid":
        yield UUID(bytes=hashlib.sha256(f"{wanted.name} {number}".encode()).digest()[:16], version=4)
    elif kind.name == "float":
        yield _float(wanted.bounds, number)
    elif kind.name == "json":
        yield _document(kind.python, number, wanted.mark)
    else:
        yield _stepped(wanted, number)


def _texts(wanted: _Wanted, number: int) -> Iterator[str]:
    pattern = wanted.bounds.get("pattern")
    least, most = wanted.bounds.get("min_length", 0), wanted.bounds.get("max_length", MAXIMUM_TEXT)
    if wanted.mark:
        marked = f"{wanted.mark}{number}"
        shapes = (
            f"{marked} {wanted.name.replace('_', ' ')}",
            marked,
            f"{marked}@{wanted.mark}.test",
            f"https://{marked}.test",
        )
        yield from (shape.ljust(least, "x") for shape in shapes if len(shape) <= most)
    if pattern is not None:
        yield from (text for text in matching(pattern, number) if least <= len(text) <= most)
        return
    words = f"{wanted.name.replace('_', ' ')} {number}"
    if len(words) > most:
        words = _numeral(number, max(least, min(most, 1)))[-most:] if most else ""
    yield words.rjust(least, "x")


def _numeral(number: int, length: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(length, "0")


def _float(bounds: Mapping[str, Any], number: int) -> float:
    low, high = (bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt")))
    if low is not None and high is not None:
        if "ge" in bounds and "le" in bounds and low == high:
            return float(low)
        return float(low) + (float(high) - float(low)) * (number % 1_000_000 + 1) / 1_000_002
    if high is not None:
        return float(high) - number - 1
    return (0.0 if low is None else float(low)) + number + 1


@dataclass(frozen=True)
class _Scale:
    """Values of a kind as whole numbers.

    Args:
        lowest, highest: that a column of the kind holds.
        start, step: where numbering begins, and by how much it goes on, where bounds allow.
        up: a bound as an exact number.
        back: a whole number as a value.
    """

    lowest: int
    highest: int
    start: int
    step: int
    up: Callable[[Any], Fraction]
    back: Callable[[int], Any]


def _since_epoch(moment: datetime) -> Fraction:
    aware = moment if moment.utcoffset() is not None else moment.replace(tzinfo=UTC)
    return Fraction((aware - _EPOCH) // _MICROSECOND)


def _time_of_day(moment: time) -> Fraction:
    return Fraction(((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1_000_000 + moment.microsecond)


def _scale(wanted: _Wanted) -> _Scale:
    name = wanted.kind.name
    if name == "integer":
        return _Scale(SMALLEST_INTEGER, LARGEST_INTEGER, 1, 1, Fraction, int)
    if name == "decimal":
        unit = 10 ** (wanted.places or 0)
        most = 10 ** (wanted.digits or 28) - 1
        return _Scale(
            -most,
            most,
            unit,
            unit,
            lambda bound: Fraction(bound) * unit,
            lambda number: Decimal(f"{number}e-{wanted.places or 0}"),  # exact, whatever the precision of the context
        )
    if name == "date":
        begin = date(2026, 1, 1).toordinal()
        return _Scale(1, date.max.toordinal(), begin, 1, lambda bound: Fraction(bound.toordinal()), date.fromordinal)
    if name == "datetime":
        last = _since_epoch(datetime.max.replace(tzinfo=UTC))
        begin = int(_since_epoch(datetime(2026, 1, 1, 9, tzinfo=UTC)))
        hour = 3_600_000_000
        return _Scale(0, int(last), begin, hour, _since_epoch, lambda number: _EPOCH + number * _MICROSECOND)
    if name == "time":
        day, minute = 86_400_000_000, 60_000_000
        return _Scale(
            0, day - 1, 9 * 60 * minute, minute, _time_of_day, lambda number: (_EPOCH + number * _MICROSECOND).time()
        )
    most = MAXIMUM_DURATION // _MICROSECOND
    return _Scale(
        -most,
        most,
        60_000_000,
        60_000_000,
        lambda bound: Fraction(bound // _MICROSECOND),
        lambda number: number * _MICROSECOND,
    )


def _stepped(wanted: _Wanted, number: int) -> Any:
    """A value of an ordered kind: in steps that read well, or, where the bounds are narrow, one after the other."""
    scale, bounds = _scale(wanted), wanted.bounds
    low, high = scale.lowest, scale.highest
    if "ge" in bounds:
        low = max(low, -(-scale.up(bounds["ge"]) // 1))
    if "gt" in bounds:
        low = max(low, scale.up(bounds["gt"]) // 1 + 1)
    if "le" in bounds:
        high = min(high, scale.up(bounds["le"]) // 1)
    if "lt" in bounds:
        high = min(high, -(-scale.up(bounds["lt"]) // 1) - 1)
    if low > high:
        raise NoValueError("its bounds leave no value")
    start = min(max(scale.start, low), high)
    for step in (scale.step, -scale.step):
        if low <= start + number * step <= high:
            return scale.back(start + number * step)
    return scale.back(low + number % (high - low + 1))


def _document(python: Any, number: int, mark: str = "") -> Any:
    """A JSON document: a mapping with the mark, or the model with what it demands."""
    if not (isinstance(python, type) and issubclass(python, BaseModel)):
        return {"mark": mark} if mark else {}
    values = {}
    for name, info in python.model_fields.items():
        if info.is_required():
            # A model's bounds are known to Pydantic alone: what it says of itself is used, the rest is tried.
            told = {
                key: bound
                for rule in info.metadata
                for key in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")
                if (bound := getattr(rule, key, None)) is not None
            }
            values[info.validation_alias if isinstance(info.validation_alias, str) else name] = _part(
                name, info.annotation, told, number
            )
    return values


def _part(name: str, annotation: Any, bounds: Mapping[str, Any], number: int) -> Any:
    bare, optional = split_optional(annotation)
    if optional:
        return None
    origin = get_origin(bare) or bare
    if origin in (list, tuple, set, frozenset):
        arguments = [argument for argument in get_args(bare) if argument is not Ellipsis]
        length = bounds.get("min_length", 0)
        return [_part(name, arguments[0] if arguments else int, {}, number + place) for place in range(length)]
    try:
        kind = kind_of(bare)
    except (KindError, pydantic.PydanticUserError):
        raise NoValueError(f"its document needs a {getattr(bare, '__name__', bare)} for {name}") from None
    if kind.document is not None or kind.name == "json":
        return _document(kind.python, number)
    digits, places = (12, 2) if kind.name == "decimal" else (None, None)
    candidate = next(_scalars(_Wanted(name, kind, bounds, digits, places), number), _ABSENT)
    if candidate is _ABSENT:
        raise NoValueError(f"no text was found for {name} of its document")
    return candidate.value if isinstance(candidate, enum.Enum) else candidate
