"""Which actions on an entity are offered as functions: what its `expose=` says."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from freehold.model.description import EntityDescription
from freehold.model.permissions import pattern_problem

__all__ = ["ACTIONS", "Action", "Expose", "ExposureError", "parse_exposed"]

Action = Literal["list", "get", "create", "update", "delete", "restore", "history", "aggregate", "import", "export"]
ACTIONS: tuple[Action, ...] = (
    "list",
    "get",
    "create",
    "update",
    "delete",
    "restore",
    "history",
    "aggregate",
    "import",
    "export",
)

Expose: TypeAlias = Literal["all"] | Iterable[Action] | Mapping[Action, str | None]
"""As it is written: all actions that the entity has, some of them, or some with the permission that each needs."""


class ExposureError(Exception):
    """What is exposed does not fit the entity. The message says what to write instead."""


def parse_exposed(expose: Any, entity: EntityDescription) -> dict[str, str | None]:
    """The exposed actions, in the order of `ACTIONS`, with the permission that each needs; None is no permission.

    Args:
        expose: see `Expose`. An action that names no permission needs the one of its own name: `customers.list`.
        entity: whose.

    Raises:
        ExposureError: an action is unknown or not possible, or a permission is none.
    """
    if expose == "all":
        expose = _possible(entity)
    if isinstance(expose, str) or not isinstance(expose, Iterable):
        raise ExposureError("expose must be 'all', a list such as ['list', 'get'], or a mapping to permissions")
    asked: dict[Any, Any] = (
        dict(expose) if isinstance(expose, Mapping) else {action: f"{entity.table}.{action}" for action in expose}
    )
    for action, permission in asked.items():
        if action not in ACTIONS:
            raise ExposureError(f"expose names {action!r}; write some of {', '.join(ACTIONS)}")
        if action not in _possible(entity):
            raise ExposureError(f"expose names {action!r}, which {_NEEDS[action]}; leave it out")
        if permission is not None and (pattern_problem(permission) or "*" in permission):
            raise ExposureError(
                f"expose: {action} needs a permission's name, such as {entity.table}.{action}, not {permission!r}"[:200]
            )
    return {action: asked[action] for action in ACTIONS if action in asked}


def _possible(entity: EntityDescription) -> list[str]:
    missing = set()
    if not entity.soft_delete:
        missing.add("restore")
    if all(field.private for field in entity.changeable):
        missing.add("update")
    if any(field.private and field.declaration.required for field in entity.given):
        missing |= {"create", "import"}  # nobody outside could give what is required
    return [action for action in ACTIONS if action not in missing]


_NEEDS = {
    "restore": "needs soft_delete=True",
    "update": "needs a field that may change, and is not private",
    "create": "needs a default for each private field, which is never set from outside",
    "import": "needs a default for each private field, which is never set from outside",
}
