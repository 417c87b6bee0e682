"""Values on their way between Python, JSON and PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json, to_jsonable_python

from freehold.errors import ValidationError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.moments import jsonable, short, written
from freehold.model.numbers import written as written_json

__all__ = ["Changes", "from_json_shape", "shaped", "stored", "to_json_shape", "to_payload", "to_rows", "to_sql_text"]

MAXIMUM_PAYLOAD = 16_000_000
"""Bytes of what one record's write sends."""


def stored(value: Any) -> Any:
    """An enum's member as the column holds it; anything else as it is."""
    return getattr(value, "value", value) if hasattr(type(value), "__members__") else value


def from_json_shape(field: FieldDescription, value: Any) -> Any:
    """A column's JSON shape (see `kinds`) as the Python value."""
    if field.kind.name == "json":
        # As a document is read from a row: what is stored is not held against the bounds of input.
        return _documents(field.annotation).validate_json(written_json(value))
    if field.kind.name == "bytes":
        value = [bytes.fromhex(item) for item in value] if field.kind.many else bytes.fromhex(value)
    return field.kind.adapter.validate_python(value)


_documents = lru_cache(maxsize=1024)(TypeAdapter[Any])


def to_json_shape(value: Any) -> Any:
    """A scalar value in the JSON shape of its kind: what `from_json_shape` reads."""
    value = stored(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, timedelta):
        return short(value.total_seconds())
    if isinstance(value, datetime | time):
        return written(value)
    if isinstance(value, float):
        return short(value)
    return jsonable(value) if isinstance(value, BaseModel) else to_jsonable_python(value)


def shaped(value: Any) -> Any:
    """A value of any kind, or a mapping or list of such, in its JSON shape."""
    if isinstance(value, Mapping):
        return {name: shaped(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [shaped(item) for item in value]
    return to_json_shape(value)


def to_payload(values: Mapping[str, Any], subject: str) -> str:
    """A record's values as the JSON that PostgreSQL's `jsonb_populate_record` reads.

    Raises:
        ValidationError: it is larger than 16 MB.
    """
    text = to_json({name: to_sql_text(value) for name, value in values.items()}, bytes_mode="hex")
    if len(text) > MAXIMUM_PAYLOAD:
        raise ValidationError.single(
            (), f"is larger than {MAXIMUM_PAYLOAD} bytes in all; split it", "too_long", subject=subject
        )
    return text.decode()


def to_rows(rows: Sequence[Mapping[str, Any]], entity: EntityDescription) -> str:
    """Payloads of many records of an entity as one JSON array; a `Changes` within a payload is one of its own.

    Raises:
        ValidationError: it is larger than 16 MB.
    """
    if entity.spelled:
        rows = [{name: _nested(value) for name, value in row.items()} for row in rows]
    text = to_json(rows, bytes_mode="hex")
    if len(text) > MAXIMUM_PAYLOAD:
        raise ValidationError.single(
            (),
            f"are larger than {MAXIMUM_PAYLOAD} bytes in all; use create_many and the like",
            "too_long",
            subject=f"the {entity.name} records of a unit of work",
        )
    return text.decode()


def _nested(value: Any) -> Any:
    if isinstance(value, Changes):
        return {name: to_sql_text(item) for name, item in value.items()}
    return to_sql_text(value)


class Changes(dict[str, Any]):
    """The changes of a record, within its payload: a dict that is no JSON document."""


def to_sql_text(value: Any) -> Any:
    """What PostgreSQL reads differently from how Pydantic writes it."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, timedelta):
        return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"
    if isinstance(value, BaseModel):
        return jsonable(value)
    if isinstance(value, list):
        return [to_sql_text(item) for item in value]
    return value
