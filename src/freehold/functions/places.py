"""Places: how many calls are at work at once, and whose turn it is.

**Authority.** A process has a number of places, by default as many as its pool has connections, and a call works only while it has
one. So calls seldom wait for a connection, and who waits does so here, where it is known for whom. Nothing is coordinated between
processes: each is fair by itself.

**States of an organization.** What it may have depends on who else is there:

    alone     nobody else has called in the last second: most of the places, never all, so that a newcomer finds one free
    beside    another organization is there: half of the places
    flooding  beside another, and more calls waited than may, within the last second: a tenth of the places

An equal share would not do for the last one. A process that is busy gives each of two organizations half of its time, and who had all of
it before waits twice as long. Who asks for more than can be given is made to leave room for those who do not.

**Bounds.** Calls that find no place wait in their organization's queue, in order, for a bounded time. A queue is bounded, and so are
all queues together. A place that comes free goes to the organization whose turn it is, round robin, and to that one's call that has
waited longest: a long queue stands before nobody else's.

**Refusing is slow on purpose.** Who calls again at once when refused would keep the program busy with refusals. So a refusal is
held back for a moment, and an organization's refusals leave one after the other at a bounded rate. A held refusal has no place.

**Cancellation.** A call waits in two places: for its turn, and for its refusal. Where it is cancelled while it waits for its turn it
leaves the queue; where the place was given in the same moment, the place goes on to the next. Whoever has a place gives it back
in a `finally`. A place is counted when it is given, not when the call wakes up, so that no two calls get the same one.

A place given back wakes the next call, whatever bound has changed by the passing of time. That is enough: an organization with a
queue has a call at work, or all places are taken, so something will be given back.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from freehold.errors import ConfigurationError, LimitError

__all__ = ["Clock", "Line", "Places"]

LINGER = 1.0
"""Seconds for which an organization counts as being there after its last call, and as flooding after its last excess."""

REFUSALS = 250
"""An organization's refusals per second; each costs about as much as a short call."""

LONGEST_PAUSE = 2.0
"""Seconds for which a refusal is held at most. Those that would be held longer are told at once."""

CROWD = 400
"""Calls that wait, of all organizations together; and refusals that are held. A server has room for more requests than both."""


class Clock(Protocol):
    """What knows the time: an event loop."""

    def time(self) -> float:
        """Seconds since some beginning."""
        ...

    def call_later(self, delay: float, callback: Callable[..., Any], *arguments: Any) -> asyncio.TimerHandle:
        """Calls back after so many seconds."""
        ...


class Line:
    """The calls of one organization.

    Args:
        key: whose they are.
    """

    __slots__ = ("flooding", "key", "refusal", "waiting", "working")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.working = 0
        self.waiting: deque[asyncio.Future[bool]] = deque()
        self.flooding = float("-inf")  # until when it is
        self.refusal = float("-inf")  # when the last held refusal leaves


class Places:
    """The places of a process. The parts are those of `freehold.functions.limits.Limits`.

    Args:
        total: places.
        alone, beside, flooding: what part of them an organization may have, by its state.
        queue, queue_alone: calls of an organization that may wait, beside others and alone.
        wait, wait_alone: seconds that a call may wait, beside others and alone.
        pause: seconds for which a refusal is held.
        clock: the event loop; tests have their own.
    """

    def __init__(
        self,
        total: int,
        *,
        alone: float,
        beside: float,
        flooding: float,
        queue: int,
        queue_alone: int,
        wait: float,
        wait_alone: float,
        pause: float,
        clock: Clock | None = None,
    ) -> None:
        if total < 1:
            raise ConfigurationError(f"there must be at least 1 place for calls, not {total}")
        self.total = total
        self.working = 0
        self.waiting = 0
        self.held = 0
        self._alone, self._beside, self._flooding = (_part(total, part) for part in (alone, beside, flooding))
        self._queue, self._queue_alone = queue, queue_alone
        self._wait, self._wait_alone, self._pause = wait, wait_alone, pause
        self._clock = clock
        self._lines: dict[Hashable, Line] = {}
        self._quiet: OrderedDict[Hashable, float] = OrderedDict()  # of lines without calls: since when
        self._ring: deque[Line] = deque()  # lines with calls that wait, whose turn is next first

    @property
    def organizations(self) -> int:
        """How many have called within the last second."""
        return len(self._lines)

    def time(self) -> float:
        """What the clock says."""
        if self._clock is None:
            self._clock = asyncio.get_running_loop()
        return self._clock.time()

    def line(self, key: Hashable) -> Line:
        """The line of an organization, which is there from now on."""
        now = self.time()
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
            self._quiet[key] = now
        elif key in self._quiet:
            self._quiet[key] = now
            self._quiet.move_to_end(key)
        self._forget(now)
        return line

    def free(self, line: Line) -> bool:
        """Takes a place, where one is free for the line and none of its calls wait."""
        if line.waiting or self.working >= self.total or line.working >= self._most(line):
            return False
        if line.working == 0:
            self._here(line)
        line.working += 1
        self.working += 1
        return True

    def crowded(self, line: Line) -> bool:
        """Whether so many calls wait already that no other one of the line may. A line that is full by itself floods."""
        most = self._queue if len(self._lines) > 1 else self._queue_alone
        if len(line.waiting) >= most:
            line.flooding = self.time() + LINGER
            return True
        return self.waiting >= CROWD

    async def turn(self, line: Line, *, first: bool = False, wait: float | None = None) -> bool:
        """Waits for a place.

        Args:
            line: whose call it is.
            first: whether it comes before the others of its line.
            wait: seconds; None is the usual bound.

        Returns:
            Whether it has one; else the time is over.
        """
        future = self._enqueue(line, first)
        if wait is None:
            wait = self._wait if len(self._lines) > 1 else self._wait_alone
        clock = self._clock or asyncio.get_running_loop()
        timer = clock.call_later(wait, _expire, future)
        try:
            granted = await future
        except BaseException:
            if future.done() and not future.cancelled() and future.result():
                self.leave(line)  # it was given in the same moment
            raise
        finally:
            timer.cancel()
            self.waiting -= 1
            self._withdraw(line, future)
        return granted

    def leave(self, line: Line) -> None:
        """Gives a place back; the next call gets it."""
        line.working -= 1
        self.working -= 1
        if self._ring:
            self._pass_on()
        if line.working == 0 and not line.waiting:
            self._gone(line)

    async def refuse(self, line: Line, told: Callable[[float], LimitError]) -> LimitError:
        """Holds a refusal back.

        Args:
            line: whose call is refused.
            told: makes the error, of the seconds for which it was held.

        Returns:
            What to raise.
        """
        now = self.time()
        due = max(now + self._pause, line.refusal + 1 / REFUSALS)
        if self._pause <= 0 or due - now > LONGEST_PAUSE or self.held >= CROWD:
            return told(0.0)
        line.refusal = due
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        clock = self._clock or asyncio.get_running_loop()
        timer = clock.call_later(due - now, _expire, future)
        self.held += 1
        try:
            await future
        finally:
            timer.cancel()
            self.held -= 1
        return told(self.time() - now)

    def _most(self, line: Line) -> int:
        """How many places the line may have now."""
        if len(self._lines) == 1:
            return self._alone
        return self._flooding if line.flooding > self.time() else self._beside

    def _enqueue(self, line: Line, first: bool) -> asyncio.Future[bool]:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not line.waiting:
            self._ring.append(line)
            self._here(line)
        if first:
            line.waiting.appendleft(future)
        else:
            line.waiting.append(future)
        self.waiting += 1
        return future

    def _withdraw(self, line: Line, future: asyncio.Future[bool]) -> None:
        """Takes a call that does not wait any more out of the queue, if it is still there."""
        if future in line.waiting:
            line.waiting.remove(future)
            if not line.waiting:
                self._ring.remove(line)
        if line.working == 0 and not line.waiting:
            self._gone(line)

    def _pass_on(self) -> None:
        """Gives free places to calls that wait, round robin between organizations."""
        while self.working < self.total:
            for _ in range(len(self._ring)):  # those that are passed over have calls at work, so they are few
                line = self._ring.popleft()
                granted = line.working < self._most(line) and self._grant(line)
                if line.waiting:
                    self._ring.append(line)
                if granted:
                    break
            else:
                return

    def _grant(self, line: Line) -> bool:
        """Gives a place to the line's next call."""
        while line.waiting:
            future = line.waiting.popleft()
            if not future.done():  # a cancelled one has not woken up yet
                line.working += 1
                self.working += 1
                future.set_result(True)
                return True
        return False

    def _here(self, line: Line) -> None:
        """It has calls, and is not forgotten before they are gone."""
        self._quiet.pop(line.key, None)

    def _gone(self, line: Line) -> None:
        """Its last call is gone."""
        self._quiet[line.key] = self.time()
        self._quiet.move_to_end(line.key)

    def _forget(self, now: float) -> None:
        """Forgets who has not called for a while, two at most: so there is never much to do at once."""
        for _ in range(2):
            if not self._quiet:
                return
            key, since = next(iter(self._quiet.items()))
            if since + LINGER >= now:
                return
            del self._quiet[key], self._lines[key]


def _part(total: int, part: float) -> int:
    return min(max(int(total * part + 1e-9), 1), total)


def _expire(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)
