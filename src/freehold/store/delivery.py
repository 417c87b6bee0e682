"""Chunks on their way to the database.

While one chunk is at the server the next one is checked and encoded, and no more: so memory is bounded, and both sides
work. Items are read in the caller's own task; what is sent is in another one.

A chunk that fails because of a row is halved until the rows that fail are alone. What fails for another reason (no
connection, no time) ends the call.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from pydantic_core import from_json

from freehold import errors
from freehold.errors import BulkError, DatabaseError, FreeholdError, Issue, SerializationError, ValidationError
from freehold.model.context import new_id
from freehold.store.chunks import Chunk, Item
from freehold.store.messages import Messenger
from freehold.store.outcomes import Outcome, Tally

__all__ = ["Line", "Savepoints", "Send", "about_rows", "deliver", "isolated", "refused"]


class Savepoints(Protocol):
    """A transaction that a call is part of."""

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """What happens inside is undone where it ends in an error."""
        ...


Send = Callable[[Sequence[Item], list[Outcome]], Awaitable[None]]
"""Writes items, and adds to the list what became of each as soon as that is certain."""

ATTEMPTS = 8
"""How often a message is sent that loses against other transactions."""
_ABOUT_ROWS = ("22", "23", "44", "P0")
"""Classes of SQLSTATE that a row's values or a table's trigger are the reason of."""


async def deliver(incoming: AsyncIterator[Chunk], send: Send, tally: Tally, *, whole: bool) -> None:
    """Sends chunk after chunk, and tells what became of them.

    Args:
        incoming: the chunks.
        send: writes the items of one.
        tally: is told.
        whole: whether nothing is committed when the call ends early, so that errors go on as they are.

    Raises:
        BulkError: something ended the call after part of it was committed.
    """
    sending: asyncio.Task[None] | None = None
    try:
        async for chunk in incoming:
            if sending is not None:
                await sending
            sending = asyncio.create_task(_settled(chunk, send, tally))
        if sending is not None:
            await sending
    except Exception as error:
        await _finished(sending)
        if whole or not tally.written or isinstance(error, BulkError):
            raise
        raise BulkError(error, result=tally.result()) from error
    except BaseException:
        if sending is not None:
            sending.cancel()
        await _finished(sending)
        raise


async def _finished(sending: "asyncio.Task[None] | None") -> None:
    """Waits for the chunk that is under way, so that what became of it is told too."""
    if sending is not None:
        await asyncio.wait([sending])
        if not sending.cancelled():
            sending.exception()  # it is the error that goes on, or came after it


async def _settled(chunk: Chunk, send: Send, tally: Tally) -> None:
    outcomes = list(chunk.failed)
    try:
        if chunk.items:
            await send(chunk.items, outcomes)
    finally:
        tally.add(sorted(outcomes, key=lambda outcome: outcome.index))


class Line:
    """The way of one call's statements to the database.

    Args:
        messenger: sends them.
        transaction: the one that all of them run in; None where each is one of its own.
    """

    def __init__(self, messenger: Messenger, transaction: "Savepoints | None" = None) -> None:
        self._messenger = messenger
        self._transaction = transaction
        self._call = f"select * from {messenger.store.schemas.own('write')}($1, $2, $3, $4, $5)"

    async def send(self, statement: str, arguments: bytes) -> Any:
        """The answer of a statement; what it did is committed then, or undone where it failed.

        Where it loses against another transaction it is sent again.

        Args:
            statement: for the engine's function `write`.
            arguments: JSON, its $1.
        """
        self._messenger.check_writes()
        if self._transaction is not None:
            async with self._transaction.savepoint():
                row = await self._messenger.call(self._call, (None, statement, arguments.decode()))
                return from_json(row["answer"])
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._sent(statement, arguments)
            except SerializationError:
                await asyncio.sleep(random.random() * min(1.0, 0.01 * 2**attempt))  # noqa: S311  # jitter, no secret
        return await self._sent(statement, arguments)

    async def _sent(self, statement: str, arguments: bytes) -> Any:
        unit_id = new_id()
        row = await self._messenger.write(self._call, (unit_id, statement, arguments.decode()), unit_id)
        return from_json(row["answer"])


def about_rows(error: FreeholdError) -> bool:
    """Whether a row is the reason of an error, and not the statement, the connection or the time."""
    if isinstance(error, ValidationError):
        return not any(issue.code in ("sql", "arguments") for issue in error.issues)
    if isinstance(error, DatabaseError):
        return error.sqlstate[:2] in _ABOUT_ROWS
    return isinstance(error, errors.UniqueError | errors.ReferenceError)


async def isolated(items: Sequence[Item], outcomes: list[Outcome], send: Send) -> None:
    """Writes items, of which those that fail do so alone."""
    try:
        await send(items, outcomes)
    except FreeholdError as error:
        if not about_rows(error):
            raise
        if len(items) == 1:
            outcomes.append(refused(items[0], error))
            return
    else:
        return
    middle = len(items) // 2
    await isolated(items[:middle], outcomes, send)
    await isolated(items[middle:], outcomes, send)


def refused(item: Item, error: FreeholdError) -> Outcome:
    """The outcome of an item that the database refused: issues are told with the item's index in their paths."""
    if isinstance(error, ValidationError):
        issues = [Issue((item.index, *issue.path), issue.message, issue.code) for issue in error.issues]
        error = ValidationError(issues, subject=error.subject)
    return Outcome(item.index, "failed", item.id if item.version else None, error=error)
