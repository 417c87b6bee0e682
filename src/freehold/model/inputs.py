"""What input must satisfy beyond its type, so that PostgreSQL can hold it and nothing unbounded comes in.

An entity's own class only types its fields: rows that are already stored are read as they are. The derived classes
`Create` and `Patch` and the values of filters go through the bounds here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError, from_json, to_json

from freehold.model.numbers import Choice, decimal, faithful, unsigned_real, whole
from freehold.model.values import shaped

__all__ = ["MAXIMUM_DOCUMENT", "MAXIMUM_ITEMS", "MAXIMUM_TEXT", "prepared", "without_nul"]

MAXIMUM_TEXT = 100_000
"""Characters of a string whose field says no `max_length`."""
MAXIMUM_ITEMS = 1_000
"""Items of a list whose field says no `max_length`."""
MAXIMUM_DOCUMENT = 1_000_000
"""Bytes of a JSON document."""
MAXIMUM_BYTES = 1_000_000
"""Bytes of a bytes value whose field says no `max_length`."""
MAXIMUM_DURATION = timedelta(days=99_000)
"""Either way. Durations travel as a number of seconds, which a double tells to the microsecond up to 2**33 (99,420 days)."""
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1


def without_nul(value: str) -> str:
    """Refuses the one character that PostgreSQL's text cannot hold."""
    if "\x00" in value:
        raise PydanticCustomError("nul_character", "contains a NUL character, which PostgreSQL cannot store; remove it")
    return value


def _without_zone(value: time) -> time:
    if value.tzinfo is not None:
        raise PydanticCustomError("time_zone", "is a time of day with a time zone; give it without, or use a datetime")
    return value


def _in_utc(value: datetime) -> datetime:
    """The same moment in UTC, as PostgreSQL keeps it: JSON cannot say an offset with seconds, which old local times have."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("datetime_range", "lies outside of the years 1 to 9999 in UTC") from None


def _bounded_duration(value: timedelta) -> timedelta:
    if abs(value) > MAXIMUM_DURATION:
        raise PydanticCustomError(
            "duration_too_long",
            "is longer than {most} days; keep two datetimes instead",
            {"most": MAXIMUM_DURATION.days},
        )
    return value


def _bounded_document(value: Any) -> Any:
    try:
        text = to_json(value, inf_nan_mode="constants")
    except ValueError as error:
        raise PydanticCustomError("json_value", "is not a JSON document: {reason}", {"reason": str(error)}) from None
    if len(text) > MAXIMUM_DOCUMENT:
        raise PydanticCustomError(
            "document_too_long",
            "is larger than {most} bytes of JSON; split it or store it elsewhere",
            {"most": MAXIMUM_DOCUMENT},
        )
    if isinstance(value, BaseModel):
        _check_leaves(value.model_dump())
        return value
    _check_leaves(value)
    return value if _plain(value) else from_json(to_json(shaped(value)))  # as it is read later


def _plain(value: Any) -> bool:
    """Whether a document has JSON's own types only."""
    if type(value) is dict:
        return all(type(name) is str and _plain(item) for name, item in value.items())
    return all(map(_plain, value)) if type(value) is list else value is None or type(value) in (str, int, float, bool)


def _check_leaves(value: Any) -> None:
    if isinstance(value, str):
        without_nul(value)
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise PydanticCustomError("finite_number", "contains NaN or infinity, which JSON cannot hold")
    elif isinstance(value, datetime) and value.utcoffset() is None:
        raise PydanticCustomError("timezone_aware", "contains a datetime without a time zone; give an aware one")
    elif isinstance(value, datetime) and (value.utcoffset() or timedelta()) % timedelta(minutes=1):
        raise PydanticCustomError("time_zone", "contains a datetime whose offset has seconds; give it in UTC")
    elif isinstance(value, time):
        _without_zone(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_leaves(key)
            _check_leaves(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _check_leaves(item)


def _refuse_bool_as_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "is a boolean where a number is wanted")
    return value


_VALIDATORS: dict[Any, tuple[Any, ...]] = {
    str: (AfterValidator(without_nul),),
    int: (BeforeValidator(whole),),
    float: (BeforeValidator(unsigned_real),),
    Decimal: (BeforeValidator(decimal),),
    datetime: (AfterValidator(_in_utc),),
    time: (AfterValidator(_without_zone),),
    timedelta: (BeforeValidator(_refuse_bool_as_number), AfterValidator(_bounded_duration)),
}


def _lowered(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def prepared(
    annotation: Any,
    bounds: Mapping[str, Any] | None = None,
    *,
    digits: int | None = None,
    places: int | None = None,
    lowercase: bool = False,
) -> Any:
    """The annotation that input is validated against (without None).

    Args:
        annotation: a type as written in an entity.
        bounds: the field's own: min_length, max_length, pattern, ge, gt, le, lt.
        digits, places: of a Decimal, or of a list's Decimals.
        lowercase: whether a str becomes small letters, before its bounds are looked at.
    """
    bounds = dict(bounds or {})
    length = _default_length(annotation)
    if length is not None:
        bounds.setdefault("max_length", length)
    if get_origin(annotation) is list:
        (item,) = get_args(annotation)
        items = prepared(item, digits=digits, places=places)
        return Annotated[list[items], Field(**bounds)]  # type: ignore[valid-type]  # made at run time
    if annotation is int:
        if "gt" not in bounds:
            bounds.setdefault("ge", SMALLEST_INTEGER)
        if "lt" not in bounds:
            bounds.setdefault("le", LARGEST_INTEGER)
    if annotation is float:
        bounds["allow_inf_nan"] = False
    if annotation is Decimal:
        bounds |= {"allow_inf_nan": False, "max_digits": digits, "decimal_places": places}
    validators = _VALIDATORS.get(annotation, ()) or _choice(annotation)
    if lowercase:
        validators = (*validators, BeforeValidator(_lowered))
    if _is_document(annotation):
        # The numbers of a model are read by the types that it gives them: see `exact`.
        untyped = not (isinstance(annotation, type) and issubclass(annotation, BaseModel))
        validators = (*([BeforeValidator(faithful)] if untyped else []), AfterValidator(_bounded_document))
    base = AwareDatetime if annotation is datetime else annotation
    if not bounds and not validators:
        return base
    return Annotated[(base, Field(**bounds), *validators)]


def _choice(annotation: Any) -> tuple[Any, ...]:
    """What is checked before one of the values of a Literal or an enum is looked for."""
    if get_origin(annotation) is Literal:
        return (BeforeValidator(Choice(get_args(annotation))),)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return (BeforeValidator(Choice(list(annotation), annotation)),)
    return ()


def _is_document(annotation: Any) -> bool:
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return is_model or annotation is dict or get_origin(annotation) is dict


def _default_length(annotation: Any) -> int | None:
    """The bound on the length of a value whose field says none: characters, items or bytes."""
    if annotation is str:
        return MAXIMUM_TEXT
    if annotation is bytes:
        return MAXIMUM_BYTES
    return MAXIMUM_ITEMS if get_origin(annotation) is list else None
