"""What is wrong with a unit of work that failed: all of it, record by record."""

from collections.abc import Sequence

from pydantic_core import from_json, to_json

from freehold import errors
from freehold.engine.functions import entity_function_name
from freehold.errors import (
    CommitError,
    ConcurrencyError,
    FreeholdError,
    NotFoundError,
    Problem,
    ValidationError,
)
from freehold.model.entity import Entity
from freehold.postgres.sqlstate import reported
from freehold.sql.units import diagnosis_statement
from freehold.store.batches import Batch
from freehold.store.messages import Messenger
from freehold.store.pending import Pending
from freehold.store.reader import Reader

__all__ = ["problems_of"]


async def problems_of(
    messenger: Messenger, reader: Reader, batches: Sequence[Batch], payloads: Sequence[str], error: FreeholdError
) -> FreeholdError:
    """The error to raise for a unit of work that failed.

    Args:
        messenger: sends the changes again, to try each by itself.
        reader: reads what is there of records that are not as expected.
        batches: the unit's changes.
        payloads: their rows, as JSON.
        error: what the unit failed with, for where nothing is found.

    Returns:
        Where the database cannot be asked, an error that says so.
    """
    store = messenger.store
    parts = [
        f'{{"function":{to_json(entity_function_name(batch.pendings[0].entity, f"{batch.action}_all")).decode()},"rows":{rows}}}'
        for batch, rows in zip(batches, payloads, strict=True)
    ]
    try:
        row = await messenger.call(diagnosis_statement(store.schemas), [f"[{','.join(parts)}]"])
        found = from_json(row["problems"])
        wrong = [(batches[each["batch"]].pendings[each["row"]], each) for each in found]
        unexpected = [(pending.entity.cls, pending.id) for pending, each in wrong if each["state"] == "FH201"]
        current = await reader.current(unexpected)
    except FreeholdError as failure:
        if failure.unanswered:  # it was asked what is wrong: the unit itself had been refused before
            failure.unanswered, failure.hint = False, "nothing was written; retry"
        return failure
    problems = []
    for pending, each in wrong:
        stale = each["state"] == "FH201"
        cause = _unexpected(pending, current.get(pending.id)) if stale else reported(each, store.registry.constraints)
        if not _follows(pending, cause, [other for other, _ in wrong]):
            problems.append(Problem(pending.entity.name, pending.id, cause))
    if not problems:
        return error
    return problems[0].error if len(problems) == 1 else CommitError(problems)


def _follows(pending: Pending, cause: FreeholdError, wrong: Sequence[Pending]) -> bool:
    """Whether a record is refused only because one that it refers to was."""
    if not isinstance(cause, errors.ReferenceError):
        return False
    value = pending.values.get(cause.field)
    return any(other.action == "create" and other.id == value and other is not pending for other in wrong)


def _unexpected(pending: Pending, current: Entity | None) -> FreeholdError:
    entity = pending.entity.name
    if current is None:
        return NotFoundError(entity, pending.id)
    if pending.action == "restore" and current.deleted_at is None:
        return ValidationError.single((), f"{entity} {pending.id} is not deleted", "not_deleted", subject="restore")
    if pending.action in ("update", "delete") and current.deleted_at is not None:
        return NotFoundError(entity, pending.id, hint="it is deleted; restore it first")
    if current.version != pending.version:
        return ConcurrencyError(entity, pending.id, expected=pending.version, actual=current.version, current=current)
    return ValidationError.single(
        (),
        f"{entity} {pending.id} is touched by a deletion of the same unit of work too (on_delete); commit one after the other",
        "touched_twice",
        subject=pending.action,
    )
