"""Writes of single records. Each is one message and one transaction, through the entity's generated function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import pydantic

from freehold.engine.functions import action_call
from freehold.errors import ConcurrencyError, FreeholdError, NotFoundError, UnavailableError, ValidationError
from freehold.model.context import new_id
from freehold.model.description import EntityDescription
from freehold.model.entity import Entity, Input
from freehold.model.issues import validation_error
from freehold.model.values import to_payload
from freehold.sql.statements import Statement
from freehold.store.messages import Messenger, checked_id, checked_version

__all__ = ["Target", "Writer", "Written", "checked_input"]

EntityT = TypeVar("EntityT", bound=Entity)

IN_DOUBT = (
    "the reply was lost: the write may have been made, or may be made yet; look before you repeat it, "
    "or write in a unit of work, which finds out by itself"
)
"""The hint for a single write: no note of it is kept that could be asked for (docs/decisions/lost-replies.md)."""

Target: TypeAlias = EntityT | tuple[type[EntityT], UUID, int]
"""What an update or deletion is about: a record as it was read, or (entity, id, version)."""


@dataclass(frozen=True, slots=True)
class Written:
    """A record as a write has left it.

    Args:
        id: its id.
        version: its version.
        body: the record as PostgreSQL's JSON, without private fields.
        position: the number of the transaction.
    """

    id: UUID
    version: int
    body: bytes
    position: int


class Writer:
    """The single writes of one session."""

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger
        self._store = messenger.store

    async def create(self, cls: type[EntityT], input: Input | None, values: Mapping[str, Any]) -> EntityT:
        """Inserts one record."""
        entity = self._store.registry[cls]
        checked = checked_input(entity, "Create", input, values)
        payload = to_payload(
            {"id": new_id(), **{name: getattr(checked, name) for name in type(checked).model_fields}}, entity.name
        )
        call = action_call(entity, self._store.schemas, "create")
        row = await self._written(Statement(call, (payload,)))
        return self._record(entity, row)  # type: ignore[return-value]  # of the class that was asked for

    async def update(self, target: Any, input: Input | None, changes: Mapping[str, Any]) -> Entity:
        """Changes one record of an expected version."""
        entity, id, version = self.named(target)
        checked = checked_input(entity, "Patch", input, changes)
        given = {name: getattr(checked, name) for name in checked.model_fields_set}
        if not given:
            raise ValidationError.single(
                (), "names no change; give at least one field", "no_change", subject=f"{entity.name} update"
            )
        return await self._change(entity, "update", id, version, to_payload(given, entity.name))

    async def change(self, action: str, target: Any) -> Entity:
        """Deletes, restores or purges one record of an expected version."""
        entity, id, version = self.named(target)
        self.check_action(entity, action)
        return await self._change(entity, action, id, version)

    async def created(self, entity: EntityDescription, values: Mapping[str, Any]) -> Written:
        """Inserts one record of values that were validated, and answers with JSON.

        Args:
            entity: the record's.
            values: of all its fields.
        """
        payload = to_payload({"id": new_id(), **values}, entity.name)
        call = action_call(entity, self._store.schemas, "create", as_json=True)
        return _told(await self._written(Statement(call, (payload,))))

    async def changed(
        self, entity: EntityDescription, action: str, id: UUID, version: int, changes: Mapping[str, Any] | None = None
    ) -> Written:
        """Updates, deletes, restores or purges one record of an expected version, and answers with JSON.

        Args:
            entity: the record's.
            action: what is done.
            id: the record's.
            version: the one that is expected.
            changes: of an update: values that were validated.

        Raises:
            ConcurrencyError, NotFoundError, ValidationError: as `update` and `change` do.
        """
        arguments = () if changes is None else (to_payload(changes, entity.name),)
        call = action_call(entity, self._store.schemas, action, as_json=True)
        row = await self._written(Statement(call, (id, checked_version(version, entity.name), *arguments)))
        if row["_outcome"] == "done":
            return _told(row)
        if row["_outcome"] != "conflict":
            raise _refused(entity, action, id, row["_outcome"])
        adapter = self._store.shapes.adapter(self._store.shapes.parse(entity))
        (current,) = adapter.validate_json(b"[%b]" % row["body"])
        raise ConcurrencyError(entity.name, id, expected=version, actual=current.version, current=current)

    @staticmethod
    def check_action(entity: EntityDescription, action: str) -> None:
        """Refuses what the entity's deletion does not know."""
        if action in ("restore", "purge") and not entity.soft_delete:
            raise ValidationError.single(
                (),
                f"{entity.name} is deleted for good at once; there is nothing to {action}",
                "no_soft_delete",
                subject=action,
            )

    async def _change(self, entity: EntityDescription, action: str, id: UUID, version: int, *arguments: Any) -> Entity:
        statement = Statement(action_call(entity, self._store.schemas, action), (id, version, *arguments))
        row = await self._written(statement)
        outcome = row[0]
        if outcome == "done":
            return self._record(entity, row[1:])
        if outcome == "conflict":
            current = self._record(entity, row[1:])
            raise ConcurrencyError(entity.name, id, expected=version, actual=current.version, current=current)
        raise _refused(entity, action, id, outcome)

    async def _written(self, statement: Statement) -> Any:  # Any: the driver's row, by place and by name
        """The one row in which a function answers that writes."""
        self._messenger.check_writes()
        try:
            row = await self._messenger.call(statement.text, statement.arguments)
        except UnavailableError as error:
            if error.unanswered:
                error.hint = IN_DOUBT
            raise
        return row

    def named(self, target: Any) -> tuple[EntityDescription, UUID, int]:
        """The entity, id and version that a target names."""
        if isinstance(target, Entity):
            entity = self._store.registry[type(target).__entity__.cls]
            return entity, target.id, target.version
        if isinstance(target, tuple) and len(target) == 3 and isinstance(target[0], type):
            entity = self._store.registry[target[0]]
            return entity, checked_id(target[1], entity.name), checked_version(target[2], entity.name)
        raise ValidationError.single(
            (),
            f"must be a record, or a tuple (Entity, id, version), not {type(target).__name__}",
            "target_type",
            subject="the record to change",
        )

    def _record(self, entity: EntityDescription, row: Sequence[Any]) -> Entity:
        """The record in which a function answered: its public fields."""
        shape = self._store.shapes.parse(entity)
        record: Entity = self._store.reader(shape).read(entity.cls, [row])[0]
        return record


def _told(row: Mapping[str, Any]) -> Written:
    return Written(row["id"], row["version"], row["body"], row["position"])


def _refused(entity: EntityDescription, action: str, id: UUID, outcome: str) -> FreeholdError:
    """The error for a record that is not there, or not in the state that an action needs."""
    if outcome == "state" and action == "restore":
        return ValidationError.single((), f"{entity.name} {id} is not deleted", "not_deleted", subject="restore")
    return NotFoundError(entity.name, id, hint="it is deleted; restore it first" if outcome == "state" else None)


def checked_input(entity: EntityDescription, schema: str, input: Input | None, values: Mapping[str, Any]) -> Input:
    """The input validated against the entity's schema; a ready instance of that schema is taken as it is."""
    model: type[Input] = getattr(entity.cls, schema)
    if input is not None:
        if not isinstance(input, model):
            raise ValidationError.single(
                (), f"must be a {model.__name__}, not {type(input).__name__}", "input_type", subject=entity.name
            )
        if values:
            raise ValidationError.single(
                (), f"give a {model.__name__} or fields by name, not both", "input_twice", subject=entity.name
            )
        return input
    try:
        return model.model_validate(dict(values))
    except pydantic.ValidationError as error:
        raise validation_error(error, entity.name) from None
