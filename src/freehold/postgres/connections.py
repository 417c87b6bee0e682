"""Connections and their pool.

The pool hands a connection to one call at a time, most recently used first, so that few stay warm. A call is one
message and leaves nothing on the connection: context settings are local to its transaction, which ends with it. So
there is nothing to reset, and a cancelled or failed call cannot leak another's context.

Waiting is bounded: a call that gets no connection in time fails with UnavailableError. A statement is bounded by the
driver's timer, which cancels it on the server, and by the role's own statement_timeout.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from types import TracebackType
from typing import Any

import asyncpg

from freehold.errors import ConfigurationError, TooLargeError, UnavailableError, ValidationError
from freehold.model.registry import Constraint
from freehold.postgres.address import Address, Driver
from freehold.postgres.clock import ServerClock, Values, made
from freehold.postgres.observing import Observer, PoolFigures, query_logger
from freehold.postgres.sqlstate import DRIVER_ERRORS, UNTIMELY, translated, without_effect
from freehold.postgres.transactions import HeldTransaction, Terms

__all__ = ["Address", "Connection", "Pool", "connect"]

Row = Mapping[str, Any]  # Any: a column's value


class Connection:
    """One connection for set-up work: scripts and statements of the engine."""

    def __init__(self, driver: Driver, constraints: Mapping[str, Constraint] | None = None) -> None:
        self._driver = driver
        self._constraints = constraints or {}

    @property
    def closed(self) -> bool:
        """Whether the server or the network has ended it."""
        return bool(self._driver.is_closed())

    async def execute(self, script: str) -> None:
        """Runs a script of one or more statements without arguments."""
        try:
            await self._driver.execute(script)
        except DRIVER_ERRORS as error:
            raise translated(error, self._constraints) from error

    async def fetch(self, text: str, *arguments: Any) -> list[Row]:
        """All rows of a statement."""
        try:
            return list(await self._driver.fetch(text, *arguments))
        except DRIVER_ERRORS as error:
            raise translated(error, self._constraints) from error

    async def copy_out(self, text: str) -> bytes:
        """What COPY sends of a query, as text."""
        sent = BytesIO()
        try:
            await self._driver.copy_from_query(text, output=sent)
        except DRIVER_ERRORS as error:
            raise translated(error, self._constraints) from error
        return sent.getvalue()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commits what happens inside, or rolls it back."""
        try:
            async with self._driver.transaction():
                yield
        except DRIVER_ERRORS as error:  # of the commit itself: what calls raise inside is translated already
            raise translated(error, self._constraints) from error

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator[None]:
        """Undoes what happens inside, also where all went well."""
        transaction = self._driver.transaction()
        try:
            await transaction.start()
        except DRIVER_ERRORS as error:
            raise translated(error, self._constraints) from error
        try:
            yield
        finally:
            if not self._driver.is_closed():
                await transaction.rollback()


@asynccontextmanager
async def connect(address: Address) -> AsyncIterator[Connection]:
    """A connection of its own, closed at the end."""
    driver = await address.open()
    try:
        await address.verify(driver)
        yield Connection(driver)
    finally:
        await driver.close(timeout=5)


async def _settle(connection: Driver, seconds: float = 5) -> None:
    """Waits until what was begun has ended on the server, or ends the connection.

    The driver asks the server to cancel and goes on at once; the server may end the statement later, and ignores a
    cancellation that comes before the statement. Whoever hears of a timeout must not see the statement's effect appear
    afterwards, and who gets the connection next must not wait for it.

    Where the driver refuses the values after the server has parsed the statement, the transaction of the parse is still
    open, with its locks, and a pooler holds a server connection for it: the next statement ends it.
    """
    if connection.is_closed():
        return
    try:
        await connection.fetchval("select 1", timeout=seconds)
    except DRIVER_ERRORS:
        connection.terminate()


class Pool:
    """Connections to one database as one role.

    Args:
        address: where and who.
        constraints: what the names of constraints in errors stand for.
        size: connections at most.
        wait: seconds a call waits for one.
        timeout: seconds a statement may take, unless the call says otherwise.
    """

    def __init__(
        self,
        address: Address,
        constraints: Mapping[str, Constraint],
        *,
        size: int = 10,
        wait: float = 10.0,
        timeout: float = 30.0,
    ) -> None:
        if size < 1 or wait <= 0 or timeout <= 0:
            raise ConfigurationError(f"a pool needs size >= 1, wait > 0 and timeout > 0, not {size}, {wait}, {timeout}")
        self._address = address
        self._constraints = constraints
        self._size = size
        self._wait = wait
        self._timeout = timeout
        self._idle: deque[Driver] = deque()
        self._waiters: deque[asyncio.Future[Driver | None]] = deque()
        self._recoveries: set[asyncio.Task[None]] = set()
        self._open = 0
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._observer: Callable[[Any], None] | None = None
        self.clock = ServerClock()
        """The server's time."""

    def observe(self, observer: Observer) -> None:
        """Has somebody told of each message, from now on. It costs nothing where nobody is."""

        told = query_logger(observer)
        self._observer = told
        for connection in self._idle:
            connection.add_query_logger(told)

    @property
    def address(self) -> Address:
        """Where its connections lead, and who connects."""
        return self._address

    @property
    def figures(self) -> PoolFigures:
        """How it is used at the moment."""
        waiting = sum(not waiter.done() for waiter in self._waiters)
        return PoolFigures(self._size, self._open, len(self._idle), waiting)

    @property
    def room(self) -> bool:
        """Whether another call would have a connection at once."""
        return self.figures.spare > 0

    async def __aenter__(self) -> "Pool":
        self._settle_in(asyncio.get_running_loop())
        first = await self._acquire()
        try:
            await self._address.verify(first)
        except BaseException:
            first.terminate()
            self._release(first)
            raise
        self._release(first)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def fetch_row(
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> Row | None:
        """One message: a statement, and the first row of its answer. See `fetch`."""
        rows = await self.fetch(text, arguments, timeout=timeout, most=most)
        return rows[0] if rows else None

    async def fetch(
        self,
        text: str,
        arguments: Values,
        *,
        timeout: float | None = None,
        most: int | None = None,
        again: bool = False,
    ) -> "list[asyncpg.Record]":
        """One message: a statement, and all rows of its answer.

        Args:
            text: the statement.
            arguments: bound as $1, $2, ...
            timeout: seconds; then it is cancelled on the server.
            most: bytes of its answer, for a statement that only reads; then it is cancelled too. None is no bound.
            again: whether it is sent for the second time, with a corrected time.

        Raises:
            TooLargeError: the answer is larger than its bound.
            FreeholdError: whatever PostgreSQL or the connection reported, translated.
        """
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._settle_in(loop)
        connection = self._warm() or await self._acquire()
        bound = self._timeout if timeout is None else timeout
        try:
            rows = await connection.answer(text, made(arguments), timeout=bound, most=most)
        except asyncio.CancelledError:
            self._recover_behind(connection)
            raise
        except DRIVER_ERRORS as error:
            if getattr(error, "severity", None) is None:  # the server did not say it, so its part may not have ended
                await _settle(connection)
            if getattr(error, "sqlstate", None) == UNTIMELY and not again:
                await self._correct(connection)
                return await self.fetch(text, arguments, timeout=timeout, most=most, again=True)
            self._release(connection)
            found = translated(error, self._constraints, bound)
            if isinstance(found, ValidationError | TooLargeError):
                found.unanswered = False  # the driver has refused the values, and sent nothing; or nothing was written
            raise found from error
        except BaseException:
            self._release(connection)
            raise
        self._release(connection)
        return rows

    async def measure(self) -> None:
        """Asks for the server's time."""
        await self._correct(self._warm() or await self._acquire())

    async def _correct(self, connection: Driver) -> None:
        """Learns the server's time, on a connection that goes back then."""
        try:
            await self.clock.measure(connection, self._timeout)
        except BaseException as error:
            connection.terminate()
            if isinstance(error, DRIVER_ERRORS):
                raise without_effect(translated(error, self._constraints, self._timeout)) from error
            raise
        finally:
            self._release(connection)

    async def look(
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> Row | None:
        """The first row of a statement that makes its transaction read-only. Here the transaction ends with it."""
        return await self.fetch_row(text, arguments, timeout=timeout, most=most)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Does nothing: here each message is a transaction by itself."""
        yield

    def on_undo(self, take_back: Callable[[], None]) -> None:
        """Does nothing: what a message has done is committed with it."""

    @property
    def group(self) -> object:
        """Calls of one group may be sent as one: here all may."""
        return None

    async def begin(self, terms: Terms, *, timeout: float | None = None) -> HeldTransaction:
        """A transaction that holds a connection until it is committed or rolled back.

        Args:
            terms: how it begins.
            timeout: seconds each of its statements may take; None is the pool's bound.

        Raises:
            UnavailableError: no connection came free in time, or the server cannot be reached.
        """
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._settle_in(loop)
        bound = self._timeout if timeout is None else timeout
        connection = self._warm() or await self._acquire(min(self._wait, terms.deadline))
        try:
            if self.clock.due:
                await self.clock.measure(connection, bound)
            script = terms.script(bound, await connection.bounds(bound))
            await connection.execute(script, timeout=min(bound, terms.deadline))
        except BaseException as error:
            connection.terminate()  # whether it has begun is not known
            self._release(connection)
            if isinstance(error, DRIVER_ERRORS):
                raise without_effect(translated(error, self._constraints, bound)) from error
            raise
        return HeldTransaction(connection, self._constraints, terms, self.clock, timeout=bound, release=self._release)

    async def close(self) -> None:
        """Closes the idle connections now and the others as soon as their calls end."""
        self._closing = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(UnavailableError("the database was closed"))
        self._waiters.clear()
        await asyncio.gather(*self._recoveries)
        while self._idle:
            connection = self._idle.popleft()
            self._open -= 1
            try:
                await connection.close(timeout=5)
            except DRIVER_ERRORS:
                connection.terminate()

    def _settle_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes the first loop as the pool's. Connections belong to a loop, and would hang or break in another."""
        if self._loop is not None:
            raise ConfigurationError(
                "the database was opened in another event loop than this call runs in",
                hint="open it in the loop that uses it, once for each asyncio.run; in tests, give tests and fixtures the same loop scope",
            )
        self._loop = loop

    def _warm(self) -> "Driver | None":
        """The connection that was used last, if one is idle."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open -= 1  # the server or the network ended it while it was idle
        return None

    async def _acquire(self, wait: float | None = None) -> Driver:
        warm = self._warm()
        if warm is not None:
            return warm
        if self._closing:
            raise UnavailableError("the database was closed", hint="open it again")
        if self._open < self._size:
            return await self._connect()
        return await self._queue(self._wait if wait is None else wait)

    async def _connect(self) -> Driver:
        self._open += 1
        try:
            connection = await self._address.open()
            if self._observer is not None:
                connection.add_query_logger(self._observer)
            return connection
        except BaseException:
            self._open -= 1
            self._wake(None)
            raise

    async def _queue(self, wait: float) -> Driver:
        waiter: asyncio.Future[Driver | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(wait):
                connection = await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._pass_on(waiter.result())  # it was handed over in the same moment: give it to the next
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(error, asyncio.TimeoutError):
                raise UnavailableError(
                    f"no connection came free in {wait:g} s; all {self._size} are busy",
                    hint="raise the pool's size, or shorten what holds connections",
                ) from None
            raise
        return connection if connection is not None else await self._acquire(wait)

    def _release(self, connection: Driver) -> None:
        if connection.is_closed():
            self._open -= 1
            self._wake(None)
        elif self._closing or connection.is_in_transaction():
            # What begins a transaction and does not end it, such as the driver's own look-up of types when it is cancelled, would
            # leave the next call's write uncommitted.
            self._open -= 1
            connection.terminate()
            self._wake(None)
        else:
            self._pass_on(connection)

    def _recover_behind(self, connection: Driver) -> None:
        """Makes a connection fit for use after its call was cancelled, without holding up the cancellation."""

        async def recover() -> None:
            try:
                await _settle(connection, seconds=2)
            finally:
                self._release(connection)

        recovery = asyncio.get_running_loop().create_task(recover())
        self._recoveries.add(recovery)
        recovery.add_done_callback(self._recoveries.discard)

    def _pass_on(self, connection: "Driver | None") -> None:
        if not self._wake(connection) and connection is not None:
            self._idle.append(connection)

    def _wake(self, connection: "Driver | None") -> bool:
        """Hands a connection (or, with None, the right to open one) to who has waited longest."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False
