"""The commands that entities offer: each writes one record, in one message, and answers with it as it is then."""

from typing import Any
from uuid import UUID

from pydantic import Field
from pydantic_core import PydanticUndefined

from freehold.errors import ValidationError
from freehold.functions.declaration import Function
from freehold.functions.offering import Id, Version, article, function, offered_input, words
from freehold.functions.results import Answer, result_of
from freehold.model.description import EntityDescription
from freehold.model.entity import Input
from freehold.model.registry import Registry
from freehold.store.session import Session
from freehold.store.writer import Written

__all__ = ["create", "delete", "restore", "update"]


def create(entity: EntityDescription, registry: Registry) -> Function:  # noqa: ARG001  # all are called alike
    """`customers.create(values)`."""
    kept = {field.name: field.declaration for field in entity.given if field.private}

    async def call(session: Session, values: Input) -> Answer:
        given = dict(values.__dict__)
        for name, declaration in kept.items():  # what nobody sets from outside begins as it was declared to
            made = declaration.default_factory() if declaration.default_factory else declaration.default
            given[name] = None if made is PydanticUndefined else made
        written = await session.writer.created(entity, given)
        return Answer(written.body, version=written.version, created=written.id, position=written.position)

    one = article(words(entity))
    values = (offered_input(entity, "Create"), Field(description=f"The values of {one}."))
    return function(entity, "create", call, "command", result_of(entity.cls), {"values": values}, f"Creates {one}.")


def update(entity: EntityDescription, registry: Registry) -> Function:  # noqa: ARG001
    """`customers.update(id, version, changes)`."""

    async def call(session: Session, id: UUID, version: int, changes: Input) -> Answer:
        given = {name: changes.__dict__[name] for name in changes.model_fields_set}
        if not given:
            raise ValidationError.single(
                ("changes",), "names no change; give at least one field", "no_change", subject=f"{entity.table}.update"
            )
        return _answer(await session.writer.changed(entity, "update", id, version, given))

    one = words(entity)
    changes = (offered_input(entity, "Patch"), Field(description="The fields that change, with their new values."))
    summary = f"Changes {article(one)}, where it has the version that was read."
    return function(
        entity,
        "update",
        call,
        "command",
        result_of(entity.cls),
        {"id": (Id, ...), "version": (Version, ...), "changes": changes},
        summary,
        f"Answers with the {one} as it is then. Where somebody else has changed it meanwhile, nothing happens.",
    )


def delete(entity: EntityDescription, registry: Registry) -> Function:  # noqa: ARG001
    """`customers.delete(id, version)`."""
    later = "It can be restored." if entity.soft_delete else "It is gone for good."
    return _change(
        entity, "delete", f"Deletes {article(words(entity))}, where it has the version that was read.", later
    )


def restore(entity: EntityDescription, registry: Registry) -> Function:  # noqa: ARG001
    """`customers.restore(id, version)`."""
    return _change(entity, "restore", f"Brings a deleted {words(entity)} back.")


def _change(entity: EntityDescription, action: str, summary: str, description: str = "") -> Function:
    async def call(session: Session, id: UUID, version: int) -> Answer:
        return _answer(await session.writer.changed(entity, action, id, version))

    parameters: dict[str, Any] = {"id": (Id, ...), "version": (Version, ...)}
    return function(entity, action, call, "command", result_of(entity.cls), parameters, summary, description)


def _answer(written: Written) -> Answer:
    return Answer(written.body, version=written.version, position=written.position)
