"""Whose turn it is on the one connection of a transaction.

One call runs at a time. Savepoints are a stack, and a task stands on one of its levels: on that of the innermost savepoint
inside of which it was started, or which it has opened itself. While another task has a savepoint open above that level, a
call waits until it is closed, so that none of its work is undone together with somebody else's.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

from freehold.errors import FreeholdError, TimeoutError

__all__ = ["Level", "Turns"]


class Level:
    """A transaction, or one of its savepoints.

    Args:
        depth: 0 for the transaction itself.
    """

    __slots__ = ("depth", "failure", "open", "undo")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.open = True
        self.failure: FreeholdError | None = None
        """What PostgreSQL has refused on this level; it takes nothing more then, until it is undone."""
        self.undo: list[Callable[[], None]] = []
        """What the program takes back where the level is undone."""


_standing: ContextVar[tuple[tuple["Turns", Level], ...]] = ContextVar("_standing", default=())


class Turns:
    """The levels of one transaction, and who may send on which."""

    def __init__(self) -> None:
        self.levels = [Level(0)]
        self._busy = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def top(self) -> Level:
        """The innermost savepoint that is open, or the transaction itself."""
        return self.levels[-1]

    def level(self) -> Level:
        """The level on which the running task stands."""
        for turns, level in reversed(_standing.get()):
            if turns is self:
                return level
        return self.levels[0]

    def stand(self, level: Level) -> None:
        """Lets the running task, and the tasks that it starts from now on, stand on a level."""
        others = tuple(pair for pair in _standing.get() if pair[0] is not self)
        _standing.set(others if level.depth == 0 else (*others, (self, level)))

    def opened(self) -> Level:
        """A new level above all others."""
        level = Level(len(self.levels))
        self.levels.append(level)
        return level

    def close(self, level: Level) -> None:
        """Takes a level away, and all that are above it."""
        while len(self.levels) > level.depth:
            self.levels.pop().open = False

    def take_back(self, level: Level) -> None:
        """Takes back, the last first, what was done on a level and on all that are above it."""
        for each in reversed(self.levels[level.depth :]):
            while each.undo:
                each.undo.pop()()

    @asynccontextmanager
    async def turn(self, seconds: float) -> AsyncIterator[Level]:
        """The running task's turn on its level, when nothing runs and no other task has a savepoint above it.

        A level that was closed meanwhile is answered too: it is the caller's to look.

        Raises:
            TimeoutError: it did not come in time.
        """
        level = self.level()
        if self._busy or (level.open and level is not self.top):
            await self._wait(seconds, level)
        async with self._taken():
            yield level

    @asynccontextmanager
    async def last(self, seconds: float) -> AsyncIterator[None]:
        """The turn of whoever ends a level, as soon as nothing runs, whatever is open above it."""
        if self._busy:
            await self._wait(seconds, None)
        async with self._taken():
            yield

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
            self.wake()

    async def _wait(self, seconds: float, level: Level | None) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._busy or (level is not None and level.open and level is not self.top):
            waiter = loop.create_future()
            self._waiting.append(waiter)
            await asyncio.wait([waiter], timeout=max(end - loop.time(), 0))
            if not waiter.done():
                self._waiting.remove(waiter)
                raise TimeoutError(
                    f"the transaction was busy with other tasks' calls for {seconds:g} s",
                    seconds=seconds,
                    hint="a task that waits for another one's savepoint must not be waited for inside of it",
                )

    def wake(self) -> None:
        """Lets all who wait look again."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
