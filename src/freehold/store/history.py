"""The changes of a record, from the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import pydantic
from pydantic_core import from_json

from freehold.errors import ValidationError
from freehold.model.description import EntityDescription
from freehold.model.entity import Entity
from freehold.model.pages import parse_limit
from freehold.model.shapes import Shape
from freehold.model.values import from_json_shape
from freehold.sql.reads import row_json
from freehold.sql.statements import Arguments, Statement, in_context
from freehold.store.messages import Messenger, checked_id

__all__ = ["Change", "history"]

UNTOLD = {"id", "organization_id", "version", "created_at", "created_by", "updated_at", "updated_by"}
"""Fields that tell nothing of a change that the change does not tell itself; the diff leaves them out."""


@dataclass(frozen=True)
class Change:
    """One change of a record.

    Args:
        position: its place in the log.
        action: create, update, delete, restore or purge.
        version: the record's version after it (before it, where the record is gone).
        at: when its transaction began.
        actor_id: the user on whose behalf it was made.
        request_id: the request that made it.
        client_ip, user_agent: where that came from.
        diff: the values before and after of each field that changed: `{"credit": (Decimal("5.00"), Decimal("7.50"))}`.
    """

    position: int
    action: str
    version: int
    at: datetime
    actor_id: UUID | None
    request_id: str | None
    client_ip: str | None
    user_agent: str | None
    diff: Mapping[str, tuple[Any, Any]]  # Any: a field's value


async def history(
    messenger: Messenger, target: Any, *, limit: int, before: int | None, private: bool
) -> tuple[Change, ...]:
    """A record's changes, newest first.

    Args:
        messenger: of the session.
        target: a record, or (entity, id).
        limit: changes at most, 1 to 1,000.
        before: only changes at earlier positions: the last one's position continues the list.
        private: whether the diff tells private fields.
    """
    store = messenger.store
    entity, id = _named(messenger, target)
    if before is not None and (isinstance(before, bool) or not isinstance(before, int) or not 0 <= before < 2**63):
        raise ValidationError.single(("before",), "must be the position of a change", "position", subject="history")
    shape = store.shapes.parse(entity, private=private)
    row = await messenger.read(_statement(messenger, shape, id, parse_limit(limit), before))
    return tuple(_change(entity, item) for item in from_json(row["rows"]))


def _named(messenger: Messenger, target: Any) -> tuple[EntityDescription, UUID]:
    registry = messenger.store.registry
    if isinstance(target, Entity):
        return registry[type(target).__entity__.cls], target.id
    if isinstance(target, tuple) and len(target) in (2, 3) and isinstance(target[0], type):
        entity = registry[target[0]]
        return entity, checked_id(target[1], entity.name)
    raise ValidationError.single((), "must be a record, or a tuple (Entity, id)", "target_type", subject="history")


def _statement(messenger: Messenger, shape: Shape, id: UUID, limit: int, before: int | None) -> Statement:
    schemas, arguments = messenger.store.schemas, Arguments()
    entity = shape.entity
    table = schemas.table(entity.table)

    def values(column: str, alias: str) -> str:
        # Through the row type, so that a value has the same JSON shape as in every other answer.
        row = row_json(shape, alias, arguments, schemas)
        return (
            f"(select {row} from jsonb_populate_record(null::{table}, {column}) as {alias} where {column} is not null)"
        )

    earlier = f" and l.position < {arguments.add(before, 'bigint')}" if before is not None else ""
    changes = (
        f"select l.position, l.action, l.version, l.at, l.actor_id, l.request_id, l.client_ip, l.user_agent, "
        f"{values('l.old', 'o')} as old, {values('l.new', 'n')} as new from {schemas.own('log')} as l "
        f"where l.organization_id = e.organization_id and l.entity = {arguments.add(entity.name, 'text')} "
        f"and l.record_id = {arguments.add(id, 'uuid')} and l.kind = 'change'{earlier} order by l.position desc limit {limit}"
    )
    body = f"select coalesce(json_agg(row_to_json(c)), '[]') as rows from ({changes}) as c"
    return Statement(in_context(schemas, body), tuple(arguments.values))


def _change(entity: EntityDescription, row: Mapping[str, Any]) -> Change:
    old, new = row["old"] or {}, row["new"] or {}
    diff = {
        name: (_value(entity, name, old.get(name)), _value(entity, name, new.get(name)))
        for name in entity.fields
        if name not in UNTOLD and (name in old or name in new) and old.get(name) != new.get(name)
    }
    return Change(
        position=row["position"],
        action=row["action"],
        version=row["version"],
        at=datetime.fromisoformat(row["at"]),
        actor_id=UUID(row["actor_id"]) if row["actor_id"] else None,
        request_id=row["request_id"],
        client_ip=row["client_ip"],
        user_agent=row["user_agent"],
        diff=diff,
    )


def _value(entity: EntityDescription, name: str, value: Any) -> Any:
    """A logged value as the field's; as it is in the log where the field's type has changed since."""
    if value is None:
        return None
    try:
        return from_json_shape(entity.fields[name], value)
    except (pydantic.ValidationError, ValueError, TypeError):
        return value
