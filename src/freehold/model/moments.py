"""One text for each value in JSON: the one that PostgreSQL writes.

    2026-11-21T09:05:00+00:00        2026-11-21T09:05:00.25+00:00        09:05:00.25        1 and not 1.0

Pydantic writes `Z` for UTC, always six digits of a second, and a point in each float. A value must look the same whether it comes from
PostgreSQL as it is or went through Python, or else its bytes tell where it was; so the serializers of Pydantic are given these forms.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import SchemaSerializer, core_schema

from freehold.model.schemas import Node, rewritten, serializer

__all__ = ["TIME", "jsonable", "of_record", "respelled", "short", "written"]

TIME = r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?$"
"""A time of day in JSON. JSON Schema's own format has a time zone, which ours never has."""


def written(value: datetime | time) -> str:
    """A moment or a time of day as PostgreSQL's JSON has it."""
    text = value.isoformat()
    if not value.microsecond:
        return text
    second, point, rest = text.partition(".")
    return f"{second}{point}{rest[:6].rstrip('0')}{rest[6:]}"


def short(value: float) -> float:
    """A float as PostgreSQL's JSON has it: without a point where it is a whole number, of up to 15 digits."""
    return int(value) if abs(value) < 1e15 and value.is_integer() else value


def jsonable(value: BaseModel) -> Any:
    """A model's JSON values, in these forms. Documents are stored so."""
    return _serializer(type(value)).to_python(value, mode="json", by_alias=True, warnings=False)


@lru_cache(maxsize=1024)
def _serializer(cls: type[BaseModel]) -> SchemaSerializer:
    return serializer(respelled(TypeAdapter(cls).core_schema))


def respelled(schema: Any, enters: Callable[[Any], bool] = lambda _: True) -> Any:
    """A core schema whose values are written so; the given one stays as it is.

    Args:
        schema: of pydantic-core.
        enters: whether the schema of a class (a model, a dataclass) is changed too, or left as it is.
    """
    return rewritten(schema, _spelled, enters)


def of_record(schema: Any, cls: type[Any]) -> Any:
    """The core schema of a record's class, whose durations are numbers of seconds too. Those in documents are as their models say."""
    return rewritten(
        respelled(schema), lambda node: _with(node, _SECONDS.get(node["type"])), lambda inner: inner is cls
    )


def _spelled(node: Node) -> Node | None:
    return _with(node, _FORMATS.get(node["type"]))


def _with(node: Node, form: Any) -> Node | None:
    return None if form is None or "serialization" in node else {**node, "serialization": form}


def _plain(value: Any) -> Any:
    """A value of no declared type: what Pydantic finds in it, it writes in its own forms."""
    if isinstance(value, datetime | time):
        return written(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return jsonable(value) if isinstance(value, BaseModel) else value


def _seconds(value: timedelta) -> float:
    return short(value.total_seconds())


def _format(write: Callable[[Any], Any], told: Any) -> Any:
    return core_schema.plain_serializer_function_ser_schema(write, return_schema=told, when_used="json")


_NUMBER = core_schema.any_schema(metadata={"pydantic_js_updates": {"type": "number"}})
_SECONDS: Mapping[str, Any] = {"timedelta": _format(_seconds, _NUMBER)}
_FORMATS: Mapping[str, Any] = {
    "any": _format(_plain, core_schema.any_schema()),
    "datetime": _format(written, core_schema.str_schema(metadata={"pydantic_js_updates": {"format": "date-time"}})),
    "time": _format(written, core_schema.str_schema(metadata={"pydantic_js_updates": {"pattern": TIME}})),
    "float": _format(short, _NUMBER),
}
