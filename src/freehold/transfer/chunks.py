"""Chunks that are written exactly once, whatever breaks."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from freehold.errors import Issue, OutcomeUnknownError, SerializationError, UnavailableError
from freehold.store.session import Session

__all__ = ["Answer", "ChunkWriter", "Work", "chunk_writer"]


@dataclass(slots=True)
class Answer:
    """What became of a chunk's rows: kept with the note that it was written.

    Args:
        actions: how many rows were created, updated, ...
        refused: the places in the chunk of the rows that were not, each with what is wrong: path, message, code.
    """

    actions: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[int, list[tuple[Sequence[str | int], str, str]]]] = field(default_factory=list)

    def count(self, action: str) -> None:
        """One row more."""
        self.actions[action] = self.actions.get(action, 0) + 1

    def refuse(self, place: int, issues: Sequence[Issue]) -> None:
        """A row that was not written. Of very much that is wrong with it, the first is kept."""
        issues = issues[:MOST_ISSUES]
        self.refused.append((place, [(issue.path, issue.message, issue.code) for issue in issues]))

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON-able values."""
        return {"actions": self.actions, "refused": self.refused}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Answer":
        """The answer that a note keeps."""
        return cls(dict(told["actions"]), [(place, issues) for place, issues in told["refused"]])


Work = Callable[[Session], Awaitable[Answer]]
"""Writes a chunk in the transaction that it is given; may be called again when that failed."""
ChunkWriter = Callable[[UUID, Work], Awaitable[tuple[Answer, bool]]]
"""Has a chunk written under an id. Answers what became of it, and whether that had happened before."""


SQL = ("freehold.transfer", "transfer.sql")
"""The room's table and functions, for the installer."""

MOST_ISSUES = 20
"""Issues of one row that are kept."""
ATTEMPTS = 8
LONGEST_PAUSE = 8.0
CHUNK_DEADLINE = 120.0
"""Seconds in which a chunk must be written."""
DRY_RUN_DEADLINE = 3600.0
"""Seconds in which a dry run must end: it is one transaction."""


class _Undone(Exception):  # noqa: N818  # the end of a dry run, no error
    """Ends a transaction whose work is not wanted."""


@asynccontextmanager
async def chunk_writer(session: Session, *, dry_run: bool, forget: Callable[[], None]) -> AsyncIterator[ChunkWriter]:
    """What writes chunks: each in a transaction of its own, or in a dry run all in one that is undone at the end.

    A chunk whose transaction is lost, or ends in a deadlock, is tried again: it is claimed in its transaction, so that a commit
    whose reply was lost is found out.

    Args:
        session: who writes.
        dry_run: whether nothing is to stay.
        forget: is called before a chunk is tried again: what it read may never have been committed.
    """
    if not dry_run:

        async def write(chunk: UUID, work: Work) -> tuple[Answer, bool]:
            return await _tried(session, chunk, work, forget)

        yield write
        return
    try:
        async with session.transaction(deadline=DRY_RUN_DEADLINE) as transaction:

            async def write_dry(chunk: UUID, work: Work) -> tuple[Answer, bool]:
                return await _claimed(transaction, chunk, work)

            yield write_dry
            raise _Undone
    except _Undone:
        pass


async def _tried(session: Session, chunk: UUID, work: Work, forget: Callable[[], None]) -> tuple[Answer, bool]:
    attempt = 1
    while True:
        try:
            async with session.transaction(deadline=CHUNK_DEADLINE) as transaction:
                return await _claimed(transaction, chunk, work)
        except (UnavailableError, OutcomeUnknownError, SerializationError):
            if attempt == ATTEMPTS:
                raise
        forget()
        await asyncio.sleep(random.uniform(0, min(LONGEST_PAUSE, 0.1 * 2**attempt)))  # noqa: S311  # jitter, no secret
        attempt += 1


async def _claimed(transaction: Session, chunk: UUID, work: Work) -> tuple[Answer, bool]:
    """Writes a chunk unless it was written before."""
    messenger = transaction._messenger
    schemas = messenger.store.schemas
    entered = f"select c.* from {schemas.entry} cross join lateral"
    claim = await messenger.call(f"{entered} {schemas.own('claim_chunk')}($3) as c", (chunk,))
    if not claim["fresh"]:
        return Answer.of(from_json(claim["told"])), True
    answer = await work(transaction)
    told = to_json(answer.as_dict(), inf_nan_mode="constants")
    await messenger.call(f"{entered} {schemas.own('settle_chunk')}($3, $4) as c", (chunk, told))
    return answer, False
