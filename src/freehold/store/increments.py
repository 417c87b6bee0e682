"""Adding to numbers of records: `session.increment`.

An increment is no versioned update: it names no version, makes none, and cannot conflict. What many callers add to one
record is summed and written once (see `freehold.store.coalescer`), per actor, so that the log names who did it.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, cast
from uuid import UUID

import pydantic
from pydantic import ConfigDict, Field, create_model
from pydantic_core import from_json, to_json

from freehold.engine.increments import increment_call
from freehold.errors import FreeholdError, Issue, NotFoundError, ValidationError
from freehold.model.context import Context, new_id
from freehold.model.description import EntityDescription
from freehold.model.entity import Entity
from freehold.model.inputs import prepared
from freehold.model.issues import TOLD, validation_error
from freehold.model.registry import suggestion
from freehold.store.coalescer import Increment, Outcome
from freehold.store.messages import Messenger, checked_id
from freehold.store.store import Store

__all__ = ["increment"]

Amounts = dict[str, int | Decimal]


async def increment(messenger: Messenger, cls: type[Entity], id: Any, ack: Any, amounts: Mapping[str, Any]) -> None:
    """Adds to numbers of a record, together with what others add. See `Session.increment`."""
    store, context = messenger.store, messenger.context
    entity, one = _checked(messenger, cls, id, amounts)
    if ack not in ("durable", "memory"):
        raise ValidationError.single(
            ("ack",), f"must be 'durable' or 'memory', not {ack!r}"[:120], "ack", subject="increment"
        )
    messenger.check_writes()
    if store.increments is None or messenger.channel is not store.pool:
        return await _increment_at_once(messenger, entity, one)
    send = partial(_send, store, entity, messenger.timeout)
    key = (context.organization_id, entity.name, messenger.timeout)
    return await store.increments.add(key, entity.name, one, send, durable=ack == "durable")


async def _increment_at_once(messenger: Messenger, entity: EntityDescription, one: Increment) -> None:
    """Makes an increment by itself: in the transaction that the messenger's calls run in, where there is one."""
    unit_id = new_id()
    row = await messenger.call(
        increment_call(entity, messenger.store.schemas), lambda: _arguments(messenger.store, unit_id, [one], wait=True)
    )
    for outcome in _outcomes(entity, [one], row["answer"]):
        if isinstance(outcome, FreeholdError):
            raise outcome


def _checked(
    messenger: Messenger, cls: type[Entity], id: Any, amounts: Mapping[str, Any]
) -> tuple[EntityDescription, Increment]:
    entity = messenger.store.registry[cls]
    return entity, Increment(messenger.context, checked_id(id, entity.name), _amounts(entity, amounts))


def _amounts(entity: EntityDescription, given: Mapping[str, Any]) -> Amounts:
    """What is added, by field.

    Raises:
        ValidationError: a field cannot be incremented, or an amount is no number that fits it.
    """
    subject = f"{entity.name} increment"
    fields = [field.name for field in entity.incrementable]
    issues: list[Issue] = []
    for name in given:
        if name not in fields and len(issues) < TOLD:
            issues.append(_refusal(entity, name, fields, told=len(issues)))
    if issues:
        raise ValidationError(issues, subject=subject)
    if not given:
        raise ValidationError.single((), "names no field; give at least one amount", "no_change", subject=subject)
    try:
        checked = _model(entity).model_validate(dict(given))
    except pydantic.ValidationError as error:
        raise validation_error(error, subject) from None
    return {name: getattr(checked, name) for name in given}


def _refusal(entity: EntityDescription, name: str, fields: Sequence[str], *, told: int) -> Issue:
    if name in entity.counters:
        return Issue((name,), "is a counter, which the database keeps; change the records that it counts", "counter")
    if name in entity.fields:
        one = f"increment adds to int and Decimal fields that may change: {', '.join(fields) or 'there is none'}"
        return Issue((name,), f"cannot be incremented; {one}", "not_a_number")
    return Issue((name,), f"is no field of {entity.name}{suggestion(name, fields, told=told)}", "extra_forbidden")


@lru_cache(maxsize=4096)
def _model(entity: EntityDescription) -> type[pydantic.BaseModel]:
    """Validates amounts: of the field's type, without its bounds, which are the sum's."""
    fields: dict[str, Any] = {
        field.name: (
            prepared(field.annotation, digits=field.declaration.digits, places=field.declaration.places),
            Field(default=None),
        )
        for field in entity.incrementable
    }
    return create_model(f"{entity.name}Increment", __config__=ConfigDict(extra="forbid"), **fields)


async def _send(
    store: Store, entity: EntityDescription, timeout: float | None, increments: Sequence[Increment], wait: bool
) -> Sequence[Outcome]:
    """Makes increments of one organization and entity, as one unit of work."""
    messenger = Messenger(store, increments[0].context, timeout)
    unit_id = new_id()
    row = await messenger.write(
        increment_call(entity, store.schemas), lambda: _arguments(store, unit_id, increments, wait=wait), unit_id
    )
    return _outcomes(entity, increments, row["answer"])


def _arguments(
    store: Store, unit_id: UUID, increments: Sequence[Increment], *, wait: bool
) -> tuple[UUID, list[UUID], str, bool]:
    """The unit's id, the records' ids, what is added to each on behalf of each actor under its seal, and whether to wait for locks."""
    actors: dict[UUID | None, list[Increment]] = {}
    for each in increments:
        actors.setdefault(each.context.user_id, []).append(each)
    groups = [
        {
            "context": store.seal.apply(_context(together, unit_id)),
            "rows": [{"id": id, **amounts} for id, amounts in _summed(together).items()],
        }
        for together in actors.values()
    ]
    ids = sorted({each.id for each in increments}, key=lambda one: one.int)
    return unit_id, ids, to_json(groups).decode(), wait


def _context(increments: Sequence[Increment], unit_id: UUID) -> Context:
    """What the log says of increments of one actor: their request, or where they are of several the unit of work."""
    first = increments[0].context
    if all(each.context is first or each.context == first for each in increments):
        return first
    return Context(first.organization_id, first.user_id, request_id=str(unit_id))


def _summed(increments: Sequence[Increment]) -> dict[UUID, Amounts]:
    """What is added to each record."""
    summed: dict[UUID, Amounts] = {}
    for each in increments:
        amounts = summed.setdefault(each.id, {})
        for name, amount in each.amounts.items():
            amounts[name] = amounts.get(name, 0) + amount
    return summed


def _outcomes(entity: EntityDescription, increments: Sequence[Increment], answer: Any) -> Sequence[Outcome]:
    """What became of each increment: it was made unless its record was not there, or was locked."""
    told = cast("Mapping[str, list[str]]", from_json(answer))
    if not told:
        return [None] * len(increments)
    absent, deleted, locked = (set(map(UUID, told.get(name, ()))) for name in ("absent", "deleted", "locked"))

    def outcome(id: UUID) -> Outcome:
        if id in locked:
            return "locked"
        if id in absent:
            return NotFoundError(entity.name, id)
        return NotFoundError(entity.name, id, hint="it is deleted; restore it first") if id in deleted else None

    return [outcome(each.id) for each in increments]
