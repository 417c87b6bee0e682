"""References that a file tells by a unique field of the record they lead to.

The values of a chunk are looked up together, and what was found is kept for later chunks, up to a bound. What was not found
is asked for again: a later row may refer to what an earlier one has made.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import pydantic

from freehold.errors import Issue
from freehold.sql.identifiers import quoted
from freehold.sql.keys import folded
from freehold.store.session import Session
from freehold.transfer.mapping import Column, Mapped, Reference

__all__ = ["NOT_FOUND", "Lookups"]

NOT_FOUND = "reference_not_found"
"""The code of the issue that a record is not there."""

MAXIMUM_KEPT = 50_000
"""Records that are remembered for each column."""
MAXIMUM_ASKED = 1_000
"""Values of one look-up."""
LONGEST = 600
"""Characters of an indexed string."""


class Lookups:
    """The look-ups of one import."""

    def __init__(self) -> None:
        self._known: dict[Column, dict[Any, UUID]] = {}

    def forget(self) -> None:
        """Forgets what was found: it may have been made in a transaction that was undone."""
        self._known.clear()

    async def resolve(self, session: Session, rows: Sequence[Mapped]) -> None:
        """Puts ids in place of what rows tell of records; a row whose record is not there gets an issue."""
        for column in dict.fromkeys(column for row in rows for column in row.wanted):
            reference = column.reference
            if reference is not None:
                await self._resolve(session, column, reference, [row for row in rows if column in row.wanted])

    async def _resolve(self, session: Session, column: Column, reference: Reference, rows: Sequence[Mapped]) -> None:
        values = [_checked(reference, row.wanted[column]) for row in rows]
        known = self._known.setdefault(column, {})
        missing = [value for value in dict.fromkeys(values) if value is not None and value not in known]
        if len(known) + len(missing) > MAXIMUM_KEPT:
            known.clear()
            missing = [value for value in dict.fromkeys(values) if value is not None]
        for start in range(0, len(missing), MAXIMUM_ASKED):
            known |= await _found(session, reference, missing[start : start + MAXIMUM_ASKED])
        for row, value in zip(rows, values, strict=True):
            id = known.get(value)
            if id is not None:
                row.values[column.field.name] = id
                continue
            told = f"{row.wanted[column]!s:.80}"
            message = f"there is no {reference.target.name} whose {reference.by.name} is {told}"
            row.issues.append(Issue((column.field.name,), message, NOT_FOUND))


def _checked(reference: Reference, value: object) -> Any:
    """The value as the unique field has it, or None where it cannot be one."""
    try:
        checked = reference.by.kind.adapter.validate_python(value)
    except pydantic.ValidationError:
        return None
    if isinstance(checked, str):
        checked = checked.lower() if reference.by.declaration.lowercase else checked
        return checked if len(checked) <= LONGEST else None
    return checked


async def _found(session: Session, reference: Reference, values: Iterable[Any]) -> dict[Any, UUID]:
    """The ids of the records that are there, by the values that were asked for."""
    by, target = reference.by, reference.target
    if any(by.name in key.ignore_case for key in target.unique_keys.values() if key.fields == (by.name,)):
        schemas = session.store.schemas
        column, alive = quoted(by.name), " and t.deleted_at is null" if target.soft_delete else ""
        statement = (
            f"select v as given, t.id from unnest(cast(:given as text[])) as v join {quoted(target.table)} as t "
            f"on {folded(f't.{column}', schemas)} = {folded('v', schemas)}{alive}"
        )
        found = await session.sql(None, statement, limit=10_000, given=list(values))
        return {row["given"]: UUID(row["id"]) for row in found}
    where = {by.name: {"in": list(values)}}
    page = await session.list(target.cls, where=where, select=[by.name], private=by.private, limit=MAXIMUM_ASKED)
    return {getattr(row, by.name): row.id for row in page}
