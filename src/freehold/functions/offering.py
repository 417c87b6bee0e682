"""What the functions have in common that entities offer."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, create_model

from freehold.errors import CursorError, Issue, ValidationError
from freehold.functions.declaration import Function, Kind, Parameters
from freehold.functions.results import Result
from freehold.model.description import EntityDescription
from freehold.model.entity import Input
from freehold.model.pages import MAXIMUM_CURSOR

__all__ = ["Cursor", "Id", "Limit", "Names", "Version", "article", "function", "offered_input", "refused", "words"]

MAXIMUM_NAMES = 200
"""Names in one list."""

Id = Annotated[UUID, Field(description="The record's id.")]
Version = Annotated[int, Field(ge=1, le=2**31 - 1, description="The version that was read; another one is a conflict.")]
Limit = Annotated[int, Field(ge=1, le=1_000)]


def _split(value: Any) -> Any:
    """Names as callers write them: a list, or one text with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    if isinstance(value, list):
        return [part for item in value for part in (_split(item) if isinstance(item, str) else [item])]
    return value


Names = Annotated[
    list[Annotated[str, Field(max_length=400)]],
    Field(max_length=MAXIMUM_NAMES),
    BeforeValidator(_split, json_schema_input_type=list[str] | str),
]
"""Names of fields, as a list or as one text with commas."""

Cursor = Annotated[str, Field(max_length=MAXIMUM_CURSOR)]


def function(
    entity: EntityDescription,
    action: str,
    call: Callable[..., Any],
    kind: Kind,
    result: Result,
    parameters: Mapping[str, Any],
    summary: str,
    description: str = "",
    **more: Any,
) -> Function:
    """The function of one action of an entity.

    Args:
        entity: whose.
        action: its name.
        call: what is called with a session, and the parameters by name.
        kind: whether it reads or writes.
        result: what it answers with.
        parameters: annotations and defaults, as `pydantic.create_model` takes them.
        summary, description: for people.
        more: as in `Function`.
    """
    title = f"{entity.name}{action.capitalize()}Parameters"
    return Function(
        name=f"{entity.table}.{action}",
        kind=kind,
        call=call,
        takes="session",
        parameters=create_model(title, __base__=Parameters, __module__=__name__, **parameters),
        result=result,
        permission=entity.exposed[action],
        summary=summary,
        description=description,
        entity=entity.name,
        action=action,
        **more,
    )


def offered_input(entity: EntityDescription, schema: Literal["Create", "Patch"]) -> type[Input]:
    """What a caller from outside may give: the entity's schema without private fields."""
    model: type[Input] = getattr(entity.cls, schema)
    if not entity.private:
        return model
    fields: dict[str, Any] = {
        name: (info.annotation, info) for name, info in model.model_fields.items() if name not in entity.private
    }
    return create_model(model.__name__, __base__=Input, __module__=entity.cls.__module__, **fields)


def words(entity: EntityDescription, *, many: bool = False) -> str:
    """How people call an entity's records: "order line", "order lines"."""
    if many:
        return entity.table.replace("_", " ")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", entity.name).lower()


def article(text: str) -> str:
    """A word with its article."""
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def refused(function: str, parts: Mapping[str, Callable[[], object]], error: ValidationError) -> ValidationError:
    """The error that tells of all arguments that are wrong, each by its name, where one of them was found to be.

    Args:
        function: the name of the function that was called.
        parts: what reads each argument, by the argument's name.
        error: that was raised for the first of them.
    """
    issues: list[Issue] = []
    for name, read in parts.items():
        try:
            read()
        except CursorError:
            raise
        except ValidationError as found:
            issues += [Issue((name, *issue.path), issue.message, issue.code) for issue in found.issues]
    if not issues:
        return error
    return ValidationError(issues, subject=function)
