"""Examples of values that a schema takes, always the same ones."""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["example_of"]

_FORMATS: Mapping[str, str] = {
    "uuid": "018f3c5e-7a1b-7c2d-8e4f-5a6b7c8d9e0f",
    "date": "2026-03-14",
    "date-time": "2026-03-14T09:26:53+00:00",
    "duration": "PT90S",
    "email": "ada@example.com",
    "uri": "https://example.com/",
}
_DIGITS = ("12.50", "12", "0.5", "09:30", "09:30:00", "0aff", "0")
"""Texts that are tried against a pattern."""


def example_of(schema: Any, shared: Mapping[str, Any], name: str = "") -> Any:
    """A value that a schema takes: of an object the required members, and of others the first ones.

    Args:
        schema: of the manifest.
        shared: the schemas that it refers to.
        name: of the member, which is the example of a text.

    Returns:
        The value; None where none is known.
    """
    return _made(schema, shared, name, frozenset())


def _made(schema: Any, shared: Mapping[str, Any], name: str, within: frozenset[str]) -> Any:
    if not isinstance(schema, Mapping):
        return None
    if "$ref" in schema:
        inner = str(schema["$ref"]).rpartition("/")[2]
        return None if inner in within else _made(shared.get(inner), shared, name, within | {inner})
    if schema.get("default") is not None and name:
        return schema["default"]
    if "enum" in schema or "const" in schema:
        return schema.get("enum", [schema.get("const")])[0]
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return next(
                (made for each in schema[keyword] if (made := _made(each, shared, name, within)) is not None), None
            )
    match schema.get("type"):
        case "object":
            return _object(schema, shared, within)
        case "array":
            item = _made(schema.get("items", {}), shared, name, within)
            return [item] * max(1, schema.get("minItems", 1)) if item is not None else []
        case "string":
            return _text(schema, name)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
    return None


def _object(schema: Mapping[str, Any], shared: Mapping[str, Any], within: frozenset[str]) -> Any:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    shown = required or list(properties)[:1]
    made = {name: _made(properties.get(name), shared, name, within) for name in shown}
    missing = [name for name in required if made[name] is None and not _nullable(properties.get(name))]
    return None if missing else {name: value for name, value in made.items() if value is not None or name in required}


def _nullable(schema: Any) -> bool:
    return isinstance(schema, Mapping) and any(each.get("type") == "null" for each in schema.get("anyOf", [schema]))


def _text(schema: Mapping[str, Any], name: str) -> str | None:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1_000)
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    tried = [f"a {name}".replace("_", " ") if name else "text", "text", "x" * least, *_DIGITS]
    fitting = [text for text in tried if least <= len(text) <= most]
    if "pattern" not in schema:
        return fitting[0] if fitting else None
    try:
        return next((text for text in fitting if re.search(schema["pattern"], text)), None)
    except re.error:
        return None  # the pattern is in Rust's syntax, which has more


def _number(schema: Mapping[str, Any]) -> int | None:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    most = schema.get("maximum", schema.get("exclusiveMaximum", 2**53))
    value = max(1, int(least)) if most >= 1 else int(most)
    return value if least <= value <= most else None
