"""Chunks on their way to the database.

While chunks are at the server the next one is checked and encoded, and no more: so memory is bounded, and both sides
work. Items are read in the caller's own task; what is sent is in others. Where each chunk is a transaction of its own and the
records do not depend on each other, two are at the server at once, on two connections, if one is free.

Two chunks that are on their way at once wait for each other nowhere but at unique keys: there it is decided by chance which
one fails. So a chunk whose items take what items of another one take goes after it. That is told by comparing values in
Python; where the database finds more of them equal (its rules for the case of letters are its own), either may fail, and
exactly one does.

A chunk that fails because of a row is halved until the rows that fail are alone. What fails for another reason (no
connection, no time) ends the call.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from pydantic_core import from_json

from freehold import errors
from freehold.errors import BulkError, DatabaseError, FreeholdError, Issue, SerializationError, ValidationError
from freehold.model.context import new_id
from freehold.store.chunks import Chunk, Item
from freehold.store.messages import Messenger
from freehold.store.outcomes import Outcome, Report, Tally

__all__ = ["Line", "Savepoints", "Send", "about_rows", "deliver", "isolated", "refused"]


class Savepoints(Protocol):
    """A transaction that a call is part of."""

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """What happens inside is undone where it ends in an error."""
        ...


Send = Callable[[Sequence[Item], Report], Awaitable[None]]
"""Writes items, and adds to the report what became of each as soon as that is certain."""

ABREAST = 2
"""Chunks that are on their way at once, at most."""
ATTEMPTS = 8
"""How often a message is sent that loses against other transactions."""
_ABOUT_ROWS = ("22", "23", "44", "P0")
"""Classes of SQLSTATE that a row's values or a table's trigger are the reason of."""


async def deliver(
    incoming: AsyncIterator[Chunk], send: Send, tally: Tally, *, whole: bool, room: Callable[[], bool] | None = None
) -> None:
    """Sends chunk after chunk, and tells what became of them, in their order.

    Args:
        incoming: the chunks.
        send: writes the items of one.
        tally: is told.
        whole: whether nothing is committed when the call ends early, so that errors go on as they are.
        room: whether a second chunk may be on its way at the moment, where its items do not meet those of the first;
            None: never.

    Raises:
        BulkError: something ended the call after part of it was committed.
    """
    flights: deque[_Flight] = deque()
    try:
        async for chunk in incoming:
            if room is not None:
                await asyncio.sleep(0)  # what was sent takes its connection
            while flights and not (room is not None and _abreast(chunk, flights) and room()):
                await _land(flights, tally)
            flights.append(_Flight(chunk, send))
        while flights:
            await _land(flights, tally)
    except Exception as error:
        await _ended(flights, tally)
        if whole or not tally.written or isinstance(error, BulkError):
            raise
        raise BulkError(error, result=tally.result()) from error
    except BaseException:
        for flight in flights:
            flight.task.cancel()
        await _ended(flights, tally)
        raise


def _abreast(chunk: Chunk, flights: Collection["_Flight"]) -> bool:
    """Whether a chunk may be on its way beside those that are."""
    return len(flights) < ABREAST and not any(chunk.meets(flight.chunk) for flight in flights)


class _Flight:
    """A chunk on its way, and what became of its items.

    Args:
        chunk: it.
        send: writes its items.
    """

    def __init__(self, chunk: Chunk, send: Send) -> None:
        self.chunk = chunk
        self._report = Report(chunk.failed)
        self.task = asyncio.create_task(self._fly(send))

    async def _fly(self, send: Send) -> None:
        if self.chunk.items:
            await send(self.chunk.items, self._report)

    def tell(self, tally: Tally) -> None:
        """Tells what is known of it."""
        tally.settle(self._report)


async def _land(flights: deque[_Flight], tally: Tally) -> None:
    """Waits for the end of the first chunk, and tells what became of it; one that failed stays among them."""
    await flights[0].task
    flights.popleft().tell(tally)


async def _ended(flights: Collection[_Flight], tally: Tally) -> None:
    """Waits for the chunks that are under way, so that what became of them is told too."""
    if flights:
        await asyncio.wait([flight.task for flight in flights])
    for flight in flights:
        if not flight.task.cancelled():
            flight.task.exception()  # it is the error that goes on, or came after it
        with contextlib.suppress(Exception):  # of the caller's own function: another error ends the call already
            flight.tell(tally)


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


async def isolated(items: Sequence[Item], report: Report, send: Send) -> None:
    """Writes items, of which those that fail do so alone."""
    try:
        await send(items, report)
    except FreeholdError as error:
        if not about_rows(error):
            raise
        if len(items) == 1:
            report.add(refused(items[0], error))
            return
    else:
        return
    middle = len(items) // 2
    await isolated(items[:middle], report, send)
    await isolated(items[middle:], report, send)


def refused(item: Item, error: FreeholdError) -> Outcome:
    """The outcome of an item that the database refused: issues are told with the item's index in their paths."""
    if isinstance(error, ValidationError):
        issues = [Issue((item.index, *issue.path), issue.message, issue.code) for issue in error.issues]
        error = ValidationError(issues, subject=error.subject)
    return Outcome(item.index, "failed", item.id if item.version else None, error=error)
