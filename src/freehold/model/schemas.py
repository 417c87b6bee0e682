"""Pydantic's core schemas, changed.

A core schema is a tree of nodes: mappings with a `type`, `{"type": "decimal"}`. Under some keys of a node lie mappings whose keys are
names of fields or of choices, which an application chooses. They have no `type` of their own, so that a field may be called as any
key of a node: `default`, `config`, `type`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import SchemaSerializer, SchemaValidator

__all__ = ["Change", "rewritten", "serializer", "validator"]

Node = Mapping[str, Any]  # Any: Pydantic's schemas
Change = Callable[[Node], Node | None]
"""What stands in place of a node; None where it stays, and is looked into."""

_OPAQUE = frozenset(
    {"cls", "config", "default", "default_factory", "discriminator", "expected", "function", "members", "metadata", "serialization"}
)  # fmt: skip
"""Keys of a node under which no node lies that validates."""


def rewritten(schema: Any, change: Change, enters: Callable[[Any], bool] = lambda _: True) -> Any:
    """A core schema with changed nodes; the given one stays as it is.

    Args:
        schema: of pydantic-core.
        change: is asked for each node, from the outside in.
        enters: whether the schema of a class (a model, a dataclass) is looked into.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(rewritten(item, change, enters) for item in schema)
    if not isinstance(schema, Mapping):
        return schema
    if not isinstance(schema.get("type"), str):
        return {name: rewritten(item, change, enters) for name, item in schema.items()}
    changed = change(schema)
    if changed is not None:
        return changed
    if "cls" in schema and not enters(schema["cls"]):
        return schema
    return {key: item if key in _OPAQUE else rewritten(item, change, enters) for key, item in schema.items()}


def validator(schema: Any) -> SchemaValidator:
    """What validates by a schema, and not by what the classes in it have been built with."""
    return SchemaValidator(schema, None, _use_prebuilt=False)


def serializer(schema: Any) -> SchemaSerializer:
    """What writes by a schema, and not by what the classes in it have been built with."""
    return SchemaSerializer(schema, None, _use_prebuilt=False)
