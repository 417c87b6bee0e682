"""How moments and times of day are written in JSON: as PostgreSQL writes them.

    2026-11-21T09:05:00+00:00        2026-11-21T09:05:00.25+00:00        09:05:00.25

Pydantic writes `Z` for UTC, and always six digits of a second. A record must look the same whether it comes from PostgreSQL as
it is or went through Python, or else its bytes tell where it was; so the serializers of Pydantic are given this form.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, time
from typing import Any

from pydantic_core import core_schema

__all__ = ["TIME", "respelled", "written"]

TIME = r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?$"
"""A time of day in JSON. JSON Schema's own format has a time zone, which ours never has."""


def written(value: datetime | time) -> str:
    """A moment or a time of day as PostgreSQL's JSON has it."""
    text = value.isoformat()
    if not value.microsecond:
        return text
    second, point, rest = text.partition(".")
    return f"{second}{point}{rest[:6].rstrip('0')}{rest[6:]}"


def respelled(schema: Any, enters: Callable[[Any], bool]) -> Any:
    """A core schema whose moments and times are written so; the given one stays as it is.

    Args:
        schema: of pydantic-core.
        enters: whether the schema of a class (a model, a dataclass) is changed too, or left as it is.
    """
    if isinstance(schema, list):
        return [respelled(item, enters) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    kind = schema.get("type")
    if kind in _FORMATS and "serialization" not in schema:
        return {**schema, "serialization": _FORMATS[kind]}
    if "cls" in schema and not enters(schema["cls"]):
        return schema
    return {key: value if key in _PLAIN else respelled(value, enters) for key, value in schema.items()}


_PLAIN = frozenset({"default", "expected", "metadata", "members", "config", "serialization", "cls", "function"})
"""Keys of a core schema under which no schema lies."""


def _format(**told_of: str) -> Any:
    told = core_schema.str_schema(metadata={"pydantic_js_updates": told_of})
    return core_schema.plain_serializer_function_ser_schema(written, return_schema=told, when_used="json")


_FORMATS: Mapping[Any, Any] = {"datetime": _format(format="date-time"), "time": _format(pattern=TIME)}
