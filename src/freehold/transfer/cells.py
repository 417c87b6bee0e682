"""Values of a file as an entity's input takes them.

What Pydantic reads from text by itself (numbers, booleans, UUIDs, times) is left to it: the entity's `Create` validates every row.
Here is what it would read differently from what is meant, or not at all: dates and moments (digits alone would be seconds
since 1970), bytes, durations, lists, JSON documents, and moments without a time zone.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from freehold.model.description import FieldDescription
from freehold.model.kinds import Kind
from freehold.model.numbers import NUMBER, parsed, spellings
from freehold.transfer.formats import Format, unguarded

__all__ = ["ABSENT", "CellError", "Converter", "from_json", "from_text"]

ABSENT: Any = object()
"""Stands for a cell that says nothing: the field's default counts."""

LONGEST_DURATION = 12
"""Digits of a number of seconds that are tried: Python would write out a number of a billion digits."""

Converter = Callable[[Any], Any]
"""A cell's value as the field's; raises CellError."""


class CellError(ValueError):
    """A cell that is no value of its field.

    Args:
        message: why.
        code: the same for a program.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def from_text(field: FieldDescription, form: Format, *, nullable: bool) -> Converter:
    """The converter of a CSV's cells.

    The null cell (`Format.null`) is null. An empty cell is null too where no null cell is declared and the field may be null. Otherwise it
    says nothing; only beside a null cell a str field has it as the empty string, and a bytes field as no bytes.
    """
    kind, null = field.kind, form.null
    text = kind.name == "text" and not kind.many
    empty: Any = "" if text else b"" if kind.name == "bytes" and not kind.many else ABSENT
    convert = None if text else _many(kind, form) if kind.many else _single(kind, form, from_cell=True)

    def converted(cell: str) -> Any:
        if cell == null:
            return None
        if not cell:
            if null is not None:
                return empty
            return None if nullable else ABSENT
        if convert is None:
            return unguarded(cell) if form.guard else cell
        return convert(cell.strip())

    return converted


def from_json(field: FieldDescription, form: Format, *, nullable: bool) -> Converter:  # noqa: ARG001  # as from_text
    """The converter of JSON values: as exports and HTTP write them. Whether the field may be null, its validation tells."""
    kind = field.kind
    convert = _single(kind, form, from_cell=False)
    if kind.name == "json":
        return _typed if kind.document is not None else _untyped
    if kind.many:
        return lambda value: [convert(item) for item in value] if isinstance(value, list) else value
    return lambda value: None if value is None else convert(value)


def _many(kind: Kind, form: Format) -> Converter:
    """A list in one cell: a JSON array, or items with semicolons between them."""
    of_json, of_text = _single(kind, form, from_cell=False), _single(kind, form, from_cell=True)

    def converted(cell: str) -> Any:
        if cell.startswith("["):
            return [of_json(item) for item in _document(cell)]
        return [of_text(item.strip()) for item in cell.split(";") if item.strip()]

    return converted


def _single(kind: Kind, form: Format, *, from_cell: bool) -> Converter:
    """The converter of one value; of a cell's text, or of a JSON value."""
    if kind.name == "json":
        read = _typed if kind.document is not None else _untyped
        return (lambda cell: read(_document(cell))) if from_cell else read
    if kind.name == "integer" and kind.choices and from_cell:
        return _integer
    if kind.name == "datetime":
        zone = None if form.timezone is None else ZoneInfo(form.timezone)
        return lambda value: _moment(value, zone, form.dates)
    if kind.name == "date" and form.dates is not None:
        return lambda value: _dated(value, form.dates or "")
    if kind.name == "float":
        return lambda value: float(value) if isinstance(value, Decimal) else value
    return {"date": _date, "bytes": _bytes, "duration": _duration}.get(kind.name, _same)


def _same(value: Any) -> Any:
    return value


def _integer(value: str) -> Any:
    try:
        return int(value) if NUMBER.fullmatch(value) else value
    except ValueError:
        return value  # validation says what it should be


def _date(value: Any) -> Any:
    if not isinstance(value, str):
        raise CellError("is no date such as 2026-06-15", "date_invalid")
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise CellError("is no date such as 2026-06-15", "date_invalid") from None


def _dated(value: Any, form: str) -> date:
    """A date that is written in another form than ISO 8601's."""
    try:
        if any(sign.isdigit() and not sign.isascii() for sign in value):
            raise ValueError
        return datetime.strptime(value, form).date()  # noqa: DTZ007  # a date has no time zone
    except (ValueError, TypeError):
        shown = date(2026, 6, 15).strftime(form)
        raise CellError(f"is no date such as {shown}, as the format {form} has it", "date_invalid") from None


def _moment(value: Any, zone: ZoneInfo | None, dates: str | None) -> Any:
    try:
        moment = _dated_moment(value, dates) if dates is not None else datetime.fromisoformat(value)
    except (ValueError, TypeError, AttributeError):
        raise CellError("is no moment such as 2026-06-15T09:30:00+02:00", "datetime_invalid") from None
    if moment.tzinfo is not None:
        return moment
    if zone is None:
        raise CellError("has no time zone; say with timezone= (--timezone) in which one it is", "timezone_missing")
    return _located(moment, zone)


def _dated_moment(value: str, dates: str) -> datetime:
    """A date in another form, and after a space the time as ISO 8601 has it, or none for midnight."""
    words = value.split(" ")
    length = dates.count(" ") + 1
    day = _dated(" ".join(words[:length]), dates)
    rest = " ".join(words[length:])
    return datetime.fromisoformat(f"{day.isoformat()} {rest}" if rest else day.isoformat())


def _located(moment: datetime, zone: ZoneInfo) -> datetime:
    """A local time as the one moment that it is in a zone.

    When clocks are put forward, an hour of local times is left out; when they are put back, each time of an hour comes twice.
    """
    first, second = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return first
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0) == moment.replace(fold=0):
        told = f"comes twice in {zone.key}, whose clocks are put back then; write it with its offset"
        raise CellError(told, "time_ambiguous")
    raise CellError(f"does not exist in {zone.key}, whose clocks are put forward then", "time_absent")


def _bytes(value: Any) -> Any:
    try:
        return bytes.fromhex(value.removeprefix("\\x"))  # PostgreSQL writes it so
    except (ValueError, TypeError, AttributeError):
        raise CellError("is not hexadecimal", "bytes_invalid") from None


def _duration(value: Any) -> Any:
    """Seconds, as exports write them; other spellings are ISO 8601's, which Pydantic reads."""
    try:
        seconds = Decimal(value)
        if (
            isinstance(value, bool)
            or (isinstance(value, str) and not NUMBER.fullmatch(value))
            or seconds.adjusted() > LONGEST_DURATION
        ):
            return value
        return timedelta(seconds=int(seconds), microseconds=int(seconds % 1 * 1_000_000))
    except (ArithmeticError, ValueError, TypeError):
        return value


def _document(cell: str) -> Any:
    try:
        return parsed(cell, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise CellError("is no JSON", "json_invalid") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _typed(value: Any) -> Any:
    """A document of a model. Numbers with a point were read as Decimals; they are floats where these are the same numbers."""
    if isinstance(value, Decimal):
        return nearest if Decimal(repr(nearest := float(value))) == value else value
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    return [_typed(item) for item in value] if isinstance(value, list) else value


def _untyped(value: Any) -> Any:
    """A document without a model, whose numbers with a point are floats."""
    if isinstance(value, Decimal):
        if value not in spellings(float(value)):
            raise CellError(
                "has a number with more digits than a float holds; write it as a string", "number_precision"
            )
        return float(value)
    if isinstance(value, dict):
        return {key: _untyped(item) for key, item in value.items()}
    return [_untyped(item) for item in value] if isinstance(value, list) else value
