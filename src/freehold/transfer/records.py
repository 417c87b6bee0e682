"""A chunk of mapped rows becomes records."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import pydantic

from freehold import errors
from freehold.errors import FreeholdError, Issue, UniqueError, ValidationError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.fields import Unique
from freehold.model.issues import validation_error
from freehold.model.values import stored
from freehold.store.bulk_create import named_key
from freehold.store.session import Session
from freehold.transfer.chunks import Answer
from freehold.transfer.lookups import NOT_FOUND, Lookups
from freehold.transfer.mapping import Mapped

__all__ = ["OnDuplicate", "write_records"]

MISSING: Any = object()
OnDuplicate = Literal["error", "skip", "update"]

TURN = 32
"""Rows after which other tasks have their turn."""


async def write_records(
    session: Session,
    entity: EntityDescription,
    rows: Sequence[Mapped],
    lookups: Lookups,
    *,
    key: str | tuple[str, ...] | None,
    on_duplicate: OnDuplicate,
) -> Answer:
    """Writes the rows that can be, and says what became of each.

    Rows that refer to records of their own entity may stand in one chunk with those: what cannot be looked up yet is tried
    again when the others are written.
    """
    answer = Answer()
    for row in rows:  # an attempt that was undone has left its own
        row.issues[:] = [issue for issue in row.issues if issue.code != NOT_FOUND]
    pending = [(place, row) for place, row in enumerate(rows) if not row.issues]
    unique = None if on_duplicate == "error" else named_key(entity, key)
    while pending:
        await lookups.resolve(session, [row for _, row in pending])
        if unique is not None:
            for _, row in pending:
                row.issues.extend(_keyless(entity, unique, row))
        ready = [(place, row) for place, row in pending if not row.issues]
        waiting = [(place, row) for place, row in pending if row.issues and _may_come(row, entity)]
        await _create(session, entity, ready, answer, key=key, on_duplicate=on_duplicate)
        if not ready or not waiting:
            break
        for _, row in waiting:
            row.issues.clear()
        pending = waiting
    for place, row in enumerate(rows):
        if (
            place % TURN == TURN - 1
        ):  # validating a row anew for all that is wrong with it takes long where all rows are wrong
            await asyncio.sleep(0)
        if row.issues:
            answer.refuse(place, [*row.issues, *_more_issues(entity, row)])
    answer.refused.sort(key=lambda refused: refused[0])
    return answer


def _may_come(row: Mapped, entity: EntityDescription) -> bool:
    """Whether all that a row lacks are records of its own entity, which its own chunk may make."""
    own = {column.field.name for column in row.wanted if column.reference and column.reference.target is entity}
    return all(issue.code == NOT_FOUND and issue.path[0] in own for issue in row.issues)


def _keyless(entity: EntityDescription, key: Unique, row: Mapped) -> list[Issue]:
    """What keeps a row from being known by its key: each run of the import would create it again."""
    if row.issues:
        return []
    shown = ", ".join(key.fields)
    values = {name: _value(entity.fields[name], row) for name in (*key.fields, *key.where)}
    issues = [
        Issue(
            (name,),
            f"is empty, and the key ({shown}) needs it: without it each import would create the record again",
            "empty_key",
        )
        for name in key.fields
        if values[name] is None
    ]
    return issues + [
        Issue((name,), f"must be {wanted!r}: only such records are known by the key ({shown})", "outside_key")
        for name, wanted in key.where.items()
        if values[name] is not MISSING and stored(values[name]) != stored(wanted)
    ]


def _value(field: FieldDescription, row: Mapped) -> Any:
    """What the record will have in a field; MISSING where that cannot be said here, and is refused or made elsewhere."""
    declaration = field.declaration
    value = row.values.get(field.name, MISSING if declaration.required else declaration.default)
    if value is None or value is MISSING or (declaration.default_factory is not None and field.name not in row.values):
        return None if value is None else MISSING
    try:
        return field.kind.adapter.validate_python(value)
    except pydantic.ValidationError:
        return MISSING


async def _create(
    session: Session,
    entity: EntityDescription,
    rows: Sequence[tuple[int, Mapped]],
    answer: Answer,
    *,
    key: str | tuple[str, ...] | None,
    on_duplicate: OnDuplicate,
) -> None:
    if not rows:
        return
    inputs = [row.values for _, row in rows]
    named = None if on_duplicate == "error" else key
    result = await session.create_many(entity.cls, inputs, on_duplicate=on_duplicate, key=named)
    for outcome in result.outcomes:
        if outcome.error is None:
            answer.count(outcome.action)
        else:
            answer.refuse(rows[outcome.index][0], _issues(outcome.error, outcome.index))


def _issues(error: FreeholdError, index: int) -> list[Issue]:
    """What is wrong with a row, by field."""
    if isinstance(error, ValidationError):
        # The paths of a bulk call begin with the item's place in it.
        return [
            Issue(issue.path[1:] if issue.path[:1] == (index,) else issue.path, issue.message, issue.code)
            for issue in error.issues
        ]
    fields: Sequence[Any] = ()
    if isinstance(error, UniqueError):
        fields = error.fields
    elif isinstance(error, errors.ReferenceError):
        fields = (error.field,)
    return [Issue((", ".join(fields),) if fields else (), error.message, error.code)]


def _more_issues(entity: EntityDescription, row: Mapped) -> list[Issue]:
    """What else is wrong with a row that is refused anyway, so that everything is told at once."""
    if row.row.problem is not None:
        return []
    told = {issue.path[0] for issue in row.issues if issue.path} | {column.field.name for column in row.wanted}
    try:
        entity.cls.Create.model_validate(row.values)
    except pydantic.ValidationError as error:
        return [
            issue
            for issue in validation_error(error, entity.name).issues
            if issue.path[:1] and issue.path[0] not in told
        ]
    return []
