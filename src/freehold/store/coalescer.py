"""Group commit of increments: while one message is under way, others gather, and the next message takes them all.

Increments of one organization and entity travel in one lane. A lane sends one message at a time: the first increment goes
at once, and those that come while it is under way go together with the next. So nobody waits when nothing is under way,
and however many callers there are, each waits for two messages at most.

Such a message waits for no lock. It leaves out the records that somebody else holds, and their increments go over to the lane's
other track, whose messages wait. So a record that is held for long holds up none but those that were found held.

A message that the database refuses (a rule of one record is broken) wrote nothing. It is halved until only those are refused
that break a rule by themselves. A message that could not be sent fails for all who wait for it.

An increment belongs to the lane, not to its caller: one who is cancelled does not take the others along. One that nobody waits
for (`ack="memory"`) is tried again while the database is away, and told of in the log and in `IncrementFigures` where it
is given up. Memory is bounded: a lane, and all lanes together, take so many; then callers wait, and fail when no room comes free.
"""

import asyncio
import contextvars
import copy
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias
from uuid import UUID

from freehold.errors import FreeholdError, SerializationError, UnavailableError
from freehold.errors import TimeoutError as FreeholdTimeoutError
from freehold.model.context import Context

__all__ = ["Coalescer", "Increment", "IncrementFigures", "Outcome", "Send"]

RECORDS = 500
"""Different records in one message, at most."""
INCREMENTS = 2_000
"""Increments in one message, at most."""
ATTEMPTS = 5
"""Times that a message is sent that lost against another transaction."""
PATIENCE = 30.0
"""Seconds for which an increment is tried again that nobody waits for, while the database is away."""

_log = logging.getLogger("freehold.increments")


@dataclass(eq=False, slots=True)
class Increment:
    """What one caller adds to one record.

    Args:
        context: on whose behalf.
        id: the record's.
        amounts: by field.
        done: what the caller waits for; None where it does not.
        since: when it was tried first, where it has to be tried again.
        settled: whether it is known what became of it.
        held: whether it has gone over to the messages that wait for locks.
    """

    context: Context
    id: UUID
    amounts: dict[str, int | Decimal]
    done: "asyncio.Future[None] | None" = None
    since: float | None = None
    settled: bool = False
    held: bool = False


Outcome: TypeAlias = FreeholdError | Literal["locked"] | None
"""What was wrong with one increment alone; or that its record was locked; or None where it was made."""

Send: TypeAlias = Callable[[Sequence[Increment], bool], Awaitable[Sequence[Outcome]]]
"""Makes increments in one transaction, waiting for locks or not, and tells what became of each.

Raises whatever kept all of them from being made.
"""


@dataclass(frozen=True)
class IncrementFigures:
    """What became of increments since the database was opened.

    Args:
        waiting: are not made yet.
        made: have been made.
        refused: have failed, and their callers know.
        lost: have failed, or may have, without a caller to tell (`ack="memory"`); the program's log says which.
        messages: that were sent.
    """

    waiting: int = 0
    made: int = 0
    refused: int = 0
    lost: int = 0
    messages: int = 0


@dataclass(eq=False)
class _Track:
    """Increments that go one message after the other.

    Args:
        waits: whether its messages wait for locks.
    """

    waits: bool
    queue: deque[Increment] = field(default_factory=deque)
    task: "asyncio.Task[None] | None" = None


@dataclass(eq=False)
class _Lane:
    """The increments of one organization and entity."""

    key: Hashable
    name: str
    send: Send
    room: asyncio.Semaphore
    free: _Track = field(default_factory=lambda: _Track(waits=False))
    held: _Track = field(default_factory=lambda: _Track(waits=True))
    users: int = 0


class Coalescer:
    """Brings increments together.

    Args:
        capacity: increments that may wait, in all.
        share: of one lane.
        wait: seconds a call waits for room.
    """

    def __init__(self, *, capacity: int = 20_000, share: int = 5_000, wait: float = 10.0) -> None:
        self._capacity, self._share, self._wait = capacity, share, wait
        self._room = asyncio.Semaphore(capacity)
        self._lanes: dict[Hashable, _Lane] = {}
        self._closed = False
        self._waiting = self._made = self._refused = self._lost = self._messages = 0

    @property
    def figures(self) -> IncrementFigures:
        """What became of all increments so far."""
        return IncrementFigures(self._waiting, self._made, self._refused, self._lost, self._messages)

    async def add(self, key: Hashable, name: str, increment: Increment, send: Send, *, durable: bool) -> None:
        """Takes up an increment.

        Args:
            key: of its lane.
            name: of the lane, for the log.
            increment: to be made.
            send: makes the increments of the lane.
            durable: whether to wait until it is made.

        Raises:
            UnavailableError: no room came free in time, or the database was closed.
            FreeholdError: what kept it from being made, where it is waited for.
        """
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key, name, send, asyncio.Semaphore(self._share))
        lane.users += 1
        try:
            await self._admit(lane)
        except BaseException:
            self._leave(lane)
            raise
        self._waiting += 1
        if durable:
            increment.done = asyncio.get_running_loop().create_future()
        self._queue(lane, lane.free, increment)
        if increment.done is not None:
            await increment.done

    async def close(self, *, within: float = PATIENCE) -> None:
        """Takes no more increments, and makes those that wait.

        Args:
            within: seconds; what is not made then is given up, and told of.
        """
        self._closed = True
        until = time.monotonic() + within
        while tasks := [track.task for lane in self._lanes.values() for track in (lane.free, lane.held) if track.task]:
            left = until - time.monotonic()
            if left > 0:
                await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                continue
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _admit(self, lane: _Lane) -> None:
        """Waits for room, in the lane and in all."""
        self._check_open()
        if not (lane.room.locked() or self._room.locked()):
            await lane.room.acquire()
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(self._wait):
                await lane.room.acquire()
                try:
                    await self._room.acquire()
                except BaseException:
                    lane.room.release()
                    raise
        except TimeoutError:
            full = self._share if lane.room.locked() else self._capacity
            raise UnavailableError(
                f"no room for an increment came free in {self._wait:g} s; {full:,} wait to be made",
                hint="retry later; nothing was written",
            ) from None
        try:
            self._check_open()
        except BaseException:
            lane.room.release()
            self._room.release()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("the database was closed", hint="open it again")

    def _queue(self, lane: _Lane, track: _Track, increment: Increment) -> None:
        track.queue.append(increment)
        if track.task is None:
            # In a context of its own: it is no part of what its first caller does.
            loop, run = asyncio.get_running_loop(), self._run(lane, track)
            track.task = loop.create_task(run, context=contextvars.Context())

    def _leave(self, lane: _Lane) -> None:
        lane.users -= 1
        if not lane.users:
            del self._lanes[lane.key]

    async def _run(self, lane: _Lane, track: _Track) -> None:
        """Sends until nothing waits."""
        pause = 0.05
        batch: list[Increment] = []
        try:
            while track.queue:
                batch = self._take(lane, track)
                again = await self._flush(lane, track, batch) if batch else []
                batch = []
                if again:
                    track.queue.extendleft(reversed(again))
                    await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # jitter, no secret
                pause = min(pause * 2, 1.0) if again else 0.05
        except asyncio.CancelledError:
            # The database is closed, and time is up.
            error = UnavailableError("the database was closed before the increment was made for sure")
            left = [each for each in (*batch, *track.queue) if not each.settled and each.held == track.waits]
            self._settle_all(lane, left, error)
            track.queue.clear()
            raise
        finally:
            track.task = None

    def _take(self, lane: _Lane, track: _Track) -> list[Increment]:
        """The increments of the next message, without those whose callers have gone."""
        batch: list[Increment] = []
        records: set[UUID] = set()
        while track.queue and len(batch) < INCREMENTS and len(records) < RECORDS:
            increment = track.queue.popleft()
            if increment.done is not None and increment.done.done():
                self._release(lane)
                continue
            records.add(increment.id)
            batch.append(increment)
        batch.sort(key=lambda increment: increment.id.int)  # so that halves have few records in common
        return batch

    async def _flush(self, lane: _Lane, track: _Track, batch: Sequence[Increment]) -> list[Increment]:
        """Makes some increments, and tells their callers; those that are to be tried again."""
        try:
            outcomes = await self._send(lane, track, batch)
        except FreeholdError as error:
            if len(batch) > 1 and _refused(error):
                middle = len(batch) // 2
                again = await self._flush(lane, track, batch[:middle])
                return again + await self._flush(lane, track, batch[middle:])
            again = _repeatable(batch, error)
            self._settle_all(lane, [each for each in batch if each not in again], error)
            return again
        except Exception as error:  # noqa: BLE001  # a defect, told below: nobody may wait for ever because of it
            _log.exception("increments of %s failed", lane.name)
            self._settle_all(lane, batch, UnavailableError(f"the increment failed: {error}"))
            return []
        failed: dict[str, list[Increment]] = {}
        errors: dict[str, FreeholdError] = {}
        for increment, outcome in zip(batch, outcomes, strict=True):
            if outcome == "locked":
                increment.held = True
                self._queue(lane, lane.held, increment)
            elif outcome is None:
                self._settle(lane, increment, None)
            else:
                self._settle(lane, increment, outcome)
                failed.setdefault(outcome.code, []).append(increment)
                errors.setdefault(outcome.code, outcome)
        for code, found in failed.items():
            self._report(lane, found, errors[code])
        return []

    async def _send(self, lane: _Lane, track: _Track, batch: Sequence[Increment]) -> Sequence[Outcome]:
        """One message, again where it lost against another transaction."""
        for attempt in range(ATTEMPTS):
            self._messages += 1
            try:
                return await lane.send(batch, track.waits)
            except SerializationError:
                if attempt == ATTEMPTS - 1:
                    raise
            await asyncio.sleep(random.random() * 0.01 * 2**attempt)  # noqa: S311  # jitter, no secret
        raise AssertionError("unreachable")

    def _settle_all(self, lane: _Lane, increments: Sequence[Increment], error: FreeholdError) -> None:
        for increment in increments:
            self._settle(lane, increment, error)
        self._report(lane, increments, error)

    def _settle(self, lane: _Lane, increment: Increment, error: FreeholdError | None) -> None:
        """Tells the caller, and counts."""
        increment.settled = True
        if error is None:
            self._made += 1
        elif increment.done is None:
            self._lost += 1
        else:
            self._refused += 1
        if increment.done is not None and not increment.done.done():
            if error is None:
                increment.done.set_result(None)
            else:
                increment.done.set_exception(copy.copy(error))  # each caller's traceback is its own
        self._release(lane)

    def _release(self, lane: _Lane) -> None:
        self._waiting -= 1
        lane.room.release()
        self._room.release()
        self._leave(lane)

    @staticmethod
    def _report(lane: _Lane, increments: Sequence[Increment], error: FreeholdError) -> None:
        """Tells in the program's log of increments that failed and that nobody waits for."""
        lost = [increment for increment in increments if increment.done is None]
        if not lost:
            return
        shown = "; ".join(
            f"{each.id} of organization {each.context.organization_id}: "
            + ", ".join(f"{name} {amount:+}" for name, amount in each.amounts.items())
            for each in lost[:10]
        )
        more = f"; and {len(lost) - 10} more" if len(lost) > 10 else ""
        _log.error("%d increments of %s were not made (%s): %s%s", len(lost), lane.name, error.message, shown, more)


def _refused(error: FreeholdError) -> bool:
    """Whether the database refused what was sent: input, state, or an error of its own."""
    return error.code[:3] in ("FH1", "FH2", "FH9") and not isinstance(error, SerializationError)


def _repeatable(batch: Sequence[Increment], error: FreeholdError) -> list[Increment]:
    """The increments of a message that was not made for want of the database, or of a lock, and that are tried again."""
    if not isinstance(error, UnavailableError | FreeholdTimeoutError):
        return []
    now, again = time.monotonic(), []
    for increment in batch:
        if increment.done is None:
            increment.since = now if increment.since is None else increment.since
            if now - increment.since < PATIENCE:
                again.append(increment)
    return again
