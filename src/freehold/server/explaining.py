"""Errors in the words of who sent the request: by the names in its body and its address."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from freehold.errors import ConcurrencyError, FreeholdError, Issue, NotFoundError, ValidationError
from freehold.functions.results import result_of
from freehold.identity.principal import Principal
from freehold.model.entity import Entity
from freehold.model.registry import Registry
from freehold.model.vocabulary import readable
from freehold.server.routes import Route

__all__ = ["explained", "told_current"]


def explained(error: FreeholdError, route: Route, id: str) -> FreeholdError:
    """The error as the caller is to read it.

    Args:
        error: as it was raised.
        route: that was called.
        id: in the address. One that is none names no record, like any other that is not there.
    """
    if type(error) is not ValidationError:
        return error
    if id and route.entity is not None and any(issue.path == ("id",) for issue in error.issues):
        return NotFoundError(route.entity.name, id if len(id) <= 100 else id[:99] + "…")
    wrapped = route.wrapped
    if wrapped is None or all(issue.path[:1] != (wrapped,) for issue in error.issues):
        return error
    issues = [
        Issue(issue.path[1:], issue.message, issue.code) if issue.path[:1] == (wrapped,) else issue
        for issue in error.issues
    ]
    return ValidationError(issues, subject=error.subject, hint=error.hint)


def told_current(
    error: FreeholdError, own: str | None, principal: Principal | None, registry: Registry
) -> Mapping[str, Any]:
    """The record as it is now, for whoever may see it, where the error is a conflict about it.

    Args:
        error: any.
        own: the entity whose record was to be changed here: who changes one is answered with it anyway.
        principal: who calls.
        registry: the entities.
    """
    if not isinstance(error, ConcurrencyError):
        return {}
    current = error.current
    if not isinstance(current, Entity) or principal is None:
        return {}
    entity = registry[type(current)]
    if own != entity.name and not readable(entity, principal.permissions):
        return {}
    return {"current": from_json(result_of(type(current)).write(current))}
