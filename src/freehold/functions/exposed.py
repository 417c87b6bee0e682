"""The functions that entities offer by their declarations: `customers.list`, `customers.create` and so on.

What they read and write goes from PostgreSQL to the caller as it is: no record becomes an object on the way. A caller may name
what `freehold.model.vocabulary` offers it, and nothing else.
"""

from collections.abc import Callable, Mapping
from typing import Any

from freehold.functions.declaration import Function
from freehold.functions.files import export, import_
from freehold.functions.reading import aggregate, get, history, list_
from freehold.functions.writing import create, delete, restore, update
from freehold.model.description import EntityDescription
from freehold.model.registry import Registry

__all__ = ["exposed"]

_MADE: Mapping[str, Callable[[EntityDescription, Registry], Function]] = {
    "list": list_,
    "get": get,
    "create": create,
    "update": update,
    "delete": delete,
    "restore": restore,
    "history": history,
    "aggregate": aggregate,
    "import": import_,
    "export": export,
}


def exposed(registry: Registry) -> list[Function]:
    """The functions of all actions that entities expose.

    Args:
        registry: the entities.
    """
    entities: Any = registry.entities.values()
    return [_MADE[action](entity, registry) for entity in entities for action in entity.exposed]
