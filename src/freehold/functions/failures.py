"""The errors that calls can meet, as the manifest has them."""

import inspect
from typing import Any

from docstring_parser import DocstringStyle, parse

from freehold import errors
from freehold.errors import FreeholdError
from freehold.functions.declaration import Function
from freehold.functions.statuses import status_of

__all__ = ["described_errors", "errors_of"]

_ALWAYS: tuple[type[FreeholdError], ...] = (
    errors.RequestError,
    errors.LimitError,
    errors.TimeoutError,
    errors.UnavailableError,
    errors.InternalError,
)
_WRITES: tuple[type[FreeholdError], ...] = (
    errors.NotFoundError,
    errors.UniqueError,
    errors.ReferenceError,
    errors.SerializationError,
    errors.IdempotencyError,
    errors.OutcomeUnknownError,
)
_ACTIONS: dict[str, tuple[type[FreeholdError], ...]] = {
    "list": (errors.CursorError,),
    "get": (errors.NotFoundError,),
    "create": (),
    "update": (errors.ConcurrencyError,),
    "delete": (errors.ConcurrencyError,),
    "restore": (errors.ConcurrencyError,),
    "history": (errors.NotFoundError,),
    "aggregate": (),
    "import": (errors.FileError,),
    "export": (),
}
"""What is particular to the functions of entities."""


def described_errors() -> list[dict[str, Any]]:
    """All errors with a code of their own, in the order of their codes."""
    found = [getattr(errors, name) for name in errors.__all__]
    classes = [each for each in found if isinstance(each, type) and issubclass(each, FreeholdError)]
    return [
        {"code": each.code, "name": each.__name__, "status": status_of(each), "meaning": _meaning(each)}
        for each in sorted(classes, key=lambda each: each.code)
        if each is not FreeholdError
    ]


def errors_of(function: Function) -> list[str]:
    """The codes of what a call of a function can raise: by its kind, and by the `Raises:` of its docstring."""
    found: set[type[FreeholdError]] = set(_ALWAYS)
    if function.names:
        found.add(errors.ValidationError)
    if not function.public:
        found |= {errors.AuthenticationError, errors.ForbiddenError}
    if function.result.page:
        found.add(errors.CursorError)
    if function.kind == "command":
        found |= {*_WRITES, errors.ValidationError}
        if function.takes in ("unit", "transaction"):
            found |= {errors.ConcurrencyError, errors.CommitError}
    if function.action is not None:
        found |= set(_ACTIONS[function.action])
    else:
        found |= {errors.NotFoundError, *_told(function)}
    return sorted(each.code for each in found)


def _told(function: Function) -> set[type[FreeholdError]]:
    documented = parse(inspect.getdoc(function.call) or "", style=DocstringStyle.GOOGLE)
    named = {name.strip() for told in documented.raises for name in (told.type_name or "").split(",")}
    found = (getattr(errors, name.rpartition(".")[2], None) for name in named)
    return {each for each in found if isinstance(each, type) and issubclass(each, FreeholdError)}


def _meaning(error: type[FreeholdError]) -> str:
    """The first paragraph of its docstring, as one line."""
    return " ".join((inspect.getdoc(error) or "").split("\n\n")[0].split())
