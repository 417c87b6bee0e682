"""A transaction that holds one connection from its begin to its end.

Authority: the server. What it reports of a statement decides whether the level on which the statement ran (the transaction,
or its innermost savepoint) goes on; where it reported nothing, it is asked. A level that has failed takes no more calls
until it is undone, and a transaction that has failed is never sent a COMMIT.

Ends: it commits, it rolls back, its connection is lost, or its deadline passes. Whichever comes first gives the connection
back, once. After the deadline that happens without a call, so that somebody who waits elsewhere holds no locks meanwhile;
the server has the same bounds, and a second more, for a program that does not even get to that.

Failures: a connection on which a ROLLBACK fails is closed and not given back. A COMMIT whose answer does not arrive is neither
done nor undone as far as this module knows: `commit` returns the error, and its caller finds out.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from freehold.errors import ForbiddenError, FreeholdError, TimeoutError, TransactionError, UnavailableError
from freehold.model.registry import Constraint
from freehold.postgres.address import Driver
from freehold.postgres.clock import ServerClock, Values, made
from freehold.postgres.sqlstate import DRIVER_ERRORS, UNTIMELY, translated
from freehold.postgres.turns import Level, Turns

__all__ = ["HeldTransaction", "Terms"]

T = TypeVar("T")
Row = Mapping[str, Any]  # Any: a column's value

PATIENCE = 5.0
"""Seconds for a rollback, and for what a cancelled task still waits for."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a transaction begins with.

    Args:
        isolation: PostgreSQL's level, in its words.
        read_only: whether it refuses to write.
        deadline: seconds from its begin to its end.
    """

    isolation: str = "read committed"
    read_only: bool = False
    deadline: float = 30.0

    def script(self, timeout: float, bounds: Mapping[str, int]) -> str:
        """What begins it, in one message.

        Args:
            timeout: seconds that a statement may take.
            bounds: what the role is bound by already, which stays where it is tighter; see `Driver.bounds`.
        """
        own = {"statement_timeout": min(timeout, self.deadline)}
        settings = [
            f"set local {name} = {_tighter(own.get(name, self.deadline), role)}" for name, role in bounds.items()
        ]
        access = "read only" if self.read_only else "read write"
        return "; ".join([f"begin isolation level {self.isolation} {access}", *settings])


def _tighter(seconds: float, role: int) -> int:
    """A bound of the server's in milliseconds: a second more than the program's own; the role's where that is less, and not 0."""
    own = int((seconds + 1) * 1000)
    return min(own, role) if role else own


class HeldTransaction:
    """A transaction on a connection of its own; `Pool.begin` makes it.

    Args:
        driver: its connection, on which it has begun.
        constraints: what the names of constraints in errors stand for.
        terms: how it began.
        clock: the server's time, which is doubted where a call is refused because of it.
        timeout: seconds a statement may take, unless the call says otherwise.
        release: gives the connection back.
    """

    def __init__(
        self,
        driver: Driver,
        constraints: Mapping[str, Constraint],
        terms: Terms,
        clock: ServerClock,
        *,
        timeout: float,
        release: Callable[[Driver], None],
    ) -> None:
        self.terms = terms
        self.lost: FreeholdError | None = None
        """How the connection was lost, before the transaction could end."""
        self._driver = driver
        self._constraints = constraints
        self._clock = clock
        self._timeout = timeout
        self._release = release
        self._turns = Turns()
        self._over: FreeholdError | None = None
        self._released = False
        self._owed = 0  # the depth of a savepoint whose release is still to be sent
        loop = asyncio.get_running_loop()
        self._end = loop.time() + terms.deadline
        self._timer = loop.call_at(self._end, self._expire)
        self._expiry: asyncio.Task[None] | None = None

    @property
    def failure(self) -> FreeholdError | None:
        """The call that failed in the transaction itself, outside of every savepoint: it can only be rolled back then."""
        return self._turns.levels[0].failure

    @property
    def ended(self) -> bool:
        """Whether it takes no more calls on any level: it was committed, rolled back or lost, or its deadline has passed."""
        return self._over is not None

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return self._now() - self._end + self.terms.deadline

    @property
    def group(self) -> object:
        """Calls of one group may be sent as one: those of tasks that stand on the same level."""
        return self._turns.level()

    async def fetch_row(
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> Row | None:
        """The first row of a statement's answer; None where there is none. See `fetch`."""
        rows = await self.fetch(text, arguments, timeout=timeout, most=most)
        return rows[0] if rows else None

    async def fetch(
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> "list[asyncpg.Record]":
        """A statement in this transaction, and all rows of its answer; waits while another call runs.

        Args:
            text: the statement.
            arguments: bound as $1, $2, ...
            timeout: seconds; then it is cancelled on the server. Never beyond the transaction's deadline.
            most: bytes of its answer; then it is cancelled too. None is no bound.

        Raises:
            TooLargeError: the answer is larger than its bound.
            TransactionError: a call on the same level has failed before, or the transaction has ended.
            TimeoutError: the statement's bound or the transaction's deadline has passed.
            FreeholdError: whatever PostgreSQL or the connection reported, translated.
        """
        async with self._turns.turn(self._left(timeout)) as level:
            self._check(level)
            bound = self._left(timeout)
            answer = self._driver.answer(text, made(arguments), timeout=bound, most=most)
            return await self._tried(level, answer, bound)

    async def look(
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> Row | None:
        """The first row of a statement that makes its transaction read-only. All that it set is undone behind it."""
        row = None
        with contextlib.suppress(_Looked):
            async with self.savepoint():
                row = await self.fetch_row(text, arguments, timeout=timeout, most=most)
                raise _Looked
        return row

    @asynccontextmanager
    async def savepoint(self, *, ends: str = "", opening: str = "") -> AsyncIterator[None]:
        """Rolls back to here where the block ends in an exception, which goes on; keeps what happened otherwise.

        Args:
            ends: statements that are run in it first, and last where it is kept.
            opening: statements that are run in it first too.

        Raises:
            TransactionError: as in `fetch`; at the end, where a call inside has failed and its error was not let out.
        """
        async with self._turns.turn(self._left()) as parent:
            self._check(parent)
            await self._send(parent, f"{self._release_owed()}savepoint {_name(parent.depth + 1)}; {ends}{opening}")
            level = self._turns.opened()
        self._turns.stand(level)
        try:
            yield
            await self._keep(ends)
        except BaseException:
            await _uninterrupted(self._undo(level))
            raise
        finally:
            self._turns.stand(parent)

    def on_undo(self, take_back: Callable[[], None]) -> None:
        """Has something taken back where the savepoint in which the running task is, or the transaction, is undone."""
        self._turns.level().undo.append(take_back)

    async def commit(self, note: str = "") -> FreeholdError | None:
        """Ends the transaction and keeps what happened in it.

        Args:
            note: statements that are sent together with the COMMIT, before it. They have no parameters, and their text can be read by
                others afterwards: nothing secret is in them.

        Returns:
            None where it is committed. An error where the answer did not come: then it may be committed, or not.

        Raises:
            TransactionError: a call has failed, or the transaction had ended; nothing was kept.
            TimeoutError: the deadline had passed; nothing was kept.
            FreeholdError: what PostgreSQL said in refusing it; nothing was kept.
        """
        try:
            async with self._turns.turn(self._left()) as level:
                self._check(level, "and nothing was kept")
                self._over = TransactionError("the transaction has ended", hint="begin another one")
                return await _uninterrupted(self._committed(note))
        except BaseException:
            await self.rollback()
            raise

    async def rollback(self) -> None:
        """Ends the transaction and undoes what happened in it. Does nothing where it has ended; raises nothing."""
        if self._over is None:
            self._over = TransactionError("the transaction was rolled back", hint="begin another one")
        try:
            await _uninterrupted(self._rolled_back())
        finally:
            self._turns.take_back(self._turns.levels[0])

    async def _keep(self, ends: str) -> None:
        async with self._turns.turn(self._left()) as level:
            self._check(level, "and the savepoint was rolled back")
            if ends:
                self._owed = 0  # what is inside of this level is released with it
                await self._send(level, f"{ends}release savepoint {_name(level.depth)}")
            else:  # sent together with what comes next: it changes nothing that could be seen
                self._owed = level.depth
            self._turns.close(level)
            self._turns.top.undo += level.undo

    async def _undo(self, level: Level) -> None:
        """Rolls back to where a level began, whatever is open above it."""
        try:
            async with self._turns.last(PATIENCE):
                if level.open and self._over is None:
                    name = _name(level.depth)
                    self._owed = 0  # it was inside of this level, and goes with it
                    await self._send(level, f"rollback to savepoint {name}; release savepoint {name}")
        except FreeholdError as error:
            self._lose(error)
        finally:
            self._turns.take_back(level)
            self._turns.close(level)

    def _release_owed(self) -> str:
        owed, self._owed = self._owed, 0
        return f"release savepoint {_name(owed)}; " if owed else ""

    async def _send(self, level: Level, script: str) -> None:
        await self._tried(level, self._driver.execute(script, timeout=PATIENCE), PATIENCE)

    async def _tried(self, level: Level, call: Awaitable[T], bound: float) -> T:
        """What a call of the driver answers. Notes on its level what is to be known of its failure."""
        try:
            return await call
        except asyncio.CancelledError:
            level.failure = level.failure or TransactionError("a call was cancelled")
            raise
        except DRIVER_ERRORS as error:
            failure = self._translated(error, bound)
            if not failure.unanswered or isinstance(error, asyncio.TimeoutError):
                level.failure = level.failure or failure
            if failure.unanswered:
                await self._settle(level, failure)
                failure.unanswered = False  # without a COMMIT, nothing was done
            raise self.lost or failure from error

    async def _settle(self, level: Level, failure: FreeholdError) -> None:
        """Asks the server how the transaction stands, after an error that it did not report, or that ended the connection."""
        try:
            await self._driver.fetchval("select 1", timeout=PATIENCE)
        except asyncpg.InFailedSQLTransactionError:
            level.failure = level.failure or failure
        except DRIVER_ERRORS:
            self._lose(failure)

    def _lose(self, error: FreeholdError) -> None:
        """Notes that the connection is gone, and with it all that happened in the transaction."""
        if self._over is None:
            self.lost = self._over = (
                self._late()
                if self._now() >= self._end
                else UnavailableError(
                    f"the connection was lost in the middle of a transaction, of which nothing was kept: {error.message}",
                    hint="repeat the whole transaction, as database.run does",
                )
            )
        self._driver.terminate()
        self._give_back()

    async def _committed(self, note: str) -> FreeholdError | None:
        try:
            status = await self._driver.execute(f"{note}commit", timeout=self._timeout)
        except DRIVER_ERRORS as error:
            raised = translated(error, self._constraints, self._timeout)
            if not raised.unanswered:
                raise raised from error
            raised.__cause__ = error
            self._driver.terminate()
            return raised
        except BaseException:
            self._driver.terminate()
            raise
        finally:
            if self._driver.is_closed() or not self._driver.is_in_transaction():
                self._give_back()
        if status != "COMMIT":
            raise TransactionError("the database has rolled the transaction back in place of committing it")
        return None

    async def _rolled_back(self) -> None:
        try:
            async with self._turns.last(PATIENCE):
                if not self._released and not self._driver.is_closed():
                    await self._driver.execute("rollback", timeout=PATIENCE)
        except (*DRIVER_ERRORS, FreeholdError):
            self._driver.terminate()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        """Gives the connection back, once."""
        if not self._released:
            self._released = True
            self._timer.cancel()
            self._release(self._driver)

    def _expire(self) -> None:
        if self._over is None:
            self._over = self._late()
            self._expiry = asyncio.get_running_loop().create_task(self._rolled_back())
            self._turns.wake()

    def _check(self, level: Level, therefore: str = "and it takes no more calls") -> None:
        """Whether a call may be made on a level."""
        if self._over is None and self._now() >= self._end:
            raise self._late()
        if self._over is not None:
            raise type(self._over)(self._over.message, hint=self._over.hint) from self._over
        if not level.open:
            raise TransactionError(
                "the savepoint in which this task was started has ended",
                hint="wait for the tasks that are started inside of 'async with transaction.savepoint()' before its end",
            )
        if level.failure is not None:
            what = "savepoint" if level.depth else "transaction"
            raise TransactionError(
                f"a call in the {what} has failed, {therefore}: {level.failure.message}",
                hint="let the error leave the block, or put 'async with transaction.savepoint():' around what may fail",
            ) from level.failure

    def _translated(self, error: BaseException, bound: float) -> FreeholdError:
        found = translated(error, self._constraints, bound)
        if getattr(error, "sqlstate", None) == UNTIMELY:
            self._clock.doubt()
        if isinstance(error, asyncio.TimeoutError):
            found = self._late() if self._now() >= self._end else found
            found.unanswered, found.hint = True, "what it did is rolled back with its savepoint or its transaction"
        if self.terms.read_only and getattr(error, "sqlstate", None) == "25006":
            return ForbiddenError("the transaction only reads", hint="begin it without read_only=True to write")
        return found

    def _late(self) -> TimeoutError:
        deadline = self.terms.deadline
        return TimeoutError(
            f"the transaction's deadline of {round(deadline, 3):g} s has passed, and it was rolled back",
            seconds=deadline,
            hint="do less in it, or give it a later deadline",
        )

    def _left(self, timeout: float | None = None) -> float:
        """Seconds that a call may take: its own bound, and not beyond the deadline."""
        return max(min(self._timeout if timeout is None else timeout, self._end - self._now()), 0.001)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _Looked(Exception):  # noqa: N818  # no error: what leaves the savepoint to undo it
    """Ends a savepoint whose effect is not wanted."""


def _name(depth: int) -> str:
    return f"freehold_{depth}"


async def _uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Waits for work to its end. A cancellation goes on afterwards, and gives it not much longer."""
    task, cancelled, patience = asyncio.ensure_future(work), None, None
    while not task.done():
        try:
            await asyncio.wait([task], timeout=patience)
            if patience is not None and not task.done():
                task.cancel()
        except asyncio.CancelledError as error:
            cancelled, patience = error, PATIENCE
    if cancelled is not None:
        _ = task.cancelled() or task.exception()  # so that nobody misses it
        raise cancelled
    return task.result()
