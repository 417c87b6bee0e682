"""Changes from the log: of a record, of an entity, of an actor or of a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import pydantic

from freehold.errors import ValidationError
from freehold.model.description import EntityDescription
from freehold.model.entity import Entity
from freehold.model.issues import shown
from freehold.model.numbers import parsed
from freehold.model.pages import parse_limit
from freehold.model.values import from_json_shape
from freehold.sql.changes import Wanted, changes_statement
from freehold.store.messages import Messenger, checked_id
from freehold.store.slices import in_slices

__all__ = ["Change", "history", "named_record"]

UNTOLD = {"id", "organization_id", "version", "created_at", "created_by", "updated_at", "updated_by"}
"""Fields that tell nothing of a change that the change does not tell itself; the diff leaves them out."""


@dataclass(frozen=True)
class Change:
    """One change of a record.

    Args:
        position: its place in the log.
        entity: the name of the record's entity.
        record_id: the record's id.
        action: create, update, delete, restore or purge.
        version: the record's version after it (before it, where the record is gone).
        at: when its transaction began.
        actor_id: the user on whose behalf it was made.
        request_id: the request that made it.
        client_ip, user_agent: where that came from.
        diff: the values before and after of each field that changed: `{"credit": (Decimal("5.00"), Decimal("7.50"))}`. A field has the name
            that it has now. A value that its type of now cannot hold is as it was then, as the log's JSON has it.
        dropped: the same of columns that are not there any more, under the names that they had; with `private` only, because nobody
            knows any more which of them were private.
    """

    position: int
    entity: str
    record_id: UUID
    action: str
    version: int
    at: datetime
    actor_id: UUID | None
    request_id: str | None
    client_ip: str | None
    user_agent: str | None
    diff: Mapping[str, tuple[Any, Any]]  # Any: a field's value
    dropped: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


async def history(
    messenger: Messenger,
    target: Any,
    *,
    actor_id: Any,
    request_id: Any,
    limit: int,
    before: int | None,
    private: bool,
) -> tuple[Change, ...]:
    """Changes, newest first. See `Session.history`.

    Args:
        messenger: of the session.
        target: a record, (entity, id), an entity, or None for all.
        actor_id, request_id: only changes of this actor, or of this request.
        limit: changes at most, 1 to 1,000.
        before: only changes at earlier positions: the last one's position continues the list.
        private: whether the diff tells private fields.
    """
    store = messenger.store
    if before is not None and (isinstance(before, bool) or not isinstance(before, int) or not 0 <= before < 2**63):
        raise _error("before", "must be the position of a change", "position")
    if request_id is not None and (
        not isinstance(request_id, str) or not 1 <= len(request_id) <= 200 or "\x00" in request_id
    ):
        raise _error("request_id", f"must be a request's id, not {shown(request_id)}", "string_type")
    record_id, entities = None, list(store.registry.entities.values())
    if isinstance(target, type):
        entities = [store.registry[target]]
    elif target is not None:
        entity, record_id = named_record(messenger, target)
        entities = [entity]
    elif actor_id is None and request_id is None:
        raise ValidationError.single(
            (), "needs a record, an entity, actor_id= or request_id=", "missing", subject="history"
        )
    wanted = Wanted(
        shapes=[store.shapes.parse(entity, private=private) for entity in entities],
        record_id=record_id,
        actor_id=None if actor_id is None else checked_id(actor_id, "actor_id"),
        request_id=request_id,
        before=before,
        limit=parse_limit(limit),
        gone=private,
    )
    rows = await messenger.rows(changes_statement(wanted, store.schemas))
    changes: list[Change] = []
    async for part in in_slices(rows, lambda row: len(row["j"])):
        told = [parsed(row["j"]) for row in part]
        changes += [_change(store.registry.entities[each["entity"]], each) for each in told]
    return tuple(changes)


def named_record(messenger: Messenger, target: Any) -> tuple[EntityDescription, UUID]:
    """The entity and id of a record, or of a tuple that names one."""
    registry = messenger.store.registry
    if isinstance(target, Entity):
        return registry[type(target).__entity__.cls], target.id
    if isinstance(target, tuple) and len(target) in (2, 3) and isinstance(target[0], type):
        entity = registry[target[0]]
        return entity, checked_id(target[1], entity.name)
    raise ValidationError.single(
        (), "must be a record, a tuple (Entity, id) or an entity", "target_type", subject="history"
    )


def _error(field: str, message: str, code: str) -> ValidationError:
    return ValidationError.single((field,), message, code, subject="history")


def _change(entity: EntityDescription, row: Mapping[str, Any]) -> Change:
    old, new = row["old"] or {}, row["new"] or {}
    values = {
        name: (_value(entity, name, old.get(name)), _value(entity, name, new.get(name)))
        for name in entity.fields
        if name not in UNTOLD and (name in old or name in new) and old.get(name) != new.get(name)
    }
    was, became = old.get("") or {}, new.get("") or {}
    # The same value can be spelled in two ways in a document.
    diff = {name: (before, after) for name, (before, after) in values.items() if before != after}
    return Change(
        position=row["position"],
        entity=entity.name,
        record_id=UUID(row["record_id"]),
        action=row["action"],
        version=row["version"],
        at=datetime.fromisoformat(row["at"]),
        actor_id=UUID(row["actor_id"]) if row["actor_id"] else None,
        request_id=row["request_id"],
        client_ip=row["client_ip"],
        user_agent=row["user_agent"],
        diff=diff,
        dropped={
            name: (was.get(name), became.get(name))
            for name in sorted({*was, *became})
            if was.get(name) != became.get(name)
        },
    )


def _value(entity: EntityDescription, name: str, value: Any) -> Any:
    """A logged value as the field's; as it is in the log where the field's type has changed since."""
    if value is None:
        return None
    try:
        return from_json_shape(entity.fields[name], value)
    except (pydantic.ValidationError, ValueError, TypeError):
        return value
