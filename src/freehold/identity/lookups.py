"""Answers of the database that are asked for again and again, and must not be old.

Authority: the database. An answer is as old as the moment at which its question was sent, and none is given out that is
older than 0.8 seconds by then. Once it is half as old, whoever uses it has it asked for again, behind the request, so
that an answer in steady use never has to be waited for; one that nobody uses is not asked for again.

Questions of one moment travel in one message, and two messages at most are under way: neither many callers nor somebody
who guesses credentials makes more. Answers that there is nothing are kept apart, so that guesses push nothing else out.
Where the database cannot be reached there is an error, and never an old answer.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from freehold.errors import FreeholdError, UnavailableError

__all__ = ["FRESH", "Lookups"]

FRESH = 0.8
"""Seconds that an answer may be old."""
AHEAD = 0.4
"""Seconds from which on it is asked for again, behind the request."""
BATCH = 100
"""Questions of one message."""
SENDERS = 2
"""Messages under way."""
KEPT = 20_000
"""Answers of each kind."""
MOST_WAITING = 10_000
PATIENCE = 10.0
"""Seconds that a caller waits."""

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class _Answer(Generic[ValueT]):
    value: ValueT | None
    asked_at: float


@dataclass(frozen=True, slots=True)
class _Question(Generic[ValueT]):
    answered: "asyncio.Future[ValueT | None]"
    asked_at: float


class Lookups(Generic[KeyT, ValueT]):
    """Answers by question.

    Args:
        load: answers questions, each with None where there is nothing, in one message.
        clock: seconds from any moment.
    """

    def __init__(
        self,
        load: Callable[[Sequence[KeyT]], Awaitable[Sequence[ValueT | None]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._clock = clock
        self._known: OrderedDict[KeyT, _Answer[ValueT]] = OrderedDict()
        self._absent: OrderedDict[KeyT, _Answer[ValueT]] = OrderedDict()
        self._waiting: dict[KeyT, asyncio.Future[ValueT | None]] = {}
        self._sent: dict[KeyT, _Question[ValueT]] = {}
        self._senders: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def get(self, key: KeyT) -> ValueT | None:
        """The answer to a question, asked at most 0.8 seconds ago.

        Raises:
            UnavailableError: it cannot be had in time.
            FreeholdError: what the database reported.
        """
        answer = self._known.get(key) or self._absent.get(key)
        now = self._clock()
        if answer is not None and now - answer.asked_at < FRESH:
            if now - answer.asked_at > AHEAD and key not in self._sent and len(self._waiting) < MOST_WAITING:
                self._ask(key)
            if answer.value is not None:
                self._known.move_to_end(key)
            return answer.value
        question = self._sent.get(key)
        if question is not None and now - question.asked_at < FRESH:
            return await self._wait(question.answered)
        return await self.ask(key)

    async def ask(self, key: KeyT) -> ValueT | None:
        """The answer as it is now: it is asked for in any case. Raises what `get` does."""
        if len(self._waiting) >= MOST_WAITING:
            raise UnavailableError("too many callers wait for the database", hint="retry later")
        return await self._wait(self._ask(key))

    async def close(self) -> None:
        """Ends what is under way."""
        for sender in (senders := list(self._senders)):
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()

    async def _wait(self, answered: "asyncio.Future[ValueT | None]") -> ValueT | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(answered)
        except TimeoutError:
            raise UnavailableError("the database does not answer who this is", hint="retry later") from None

    def _ask(self, key: KeyT) -> "asyncio.Future[ValueT | None]":
        waiting = self._waiting.get(key)
        if waiting is not None:
            return waiting
        loop = asyncio.get_running_loop()
        self._waiting[key] = answered = loop.create_future()
        answered.add_done_callback(_heard)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._send)  # with all that is asked until then
        return answered

    def _send(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._senders) < SENDERS:
            keys = list(self._waiting)[:BATCH]
            futures = [self._waiting.pop(key) for key in keys]
            asked_at = self._clock()
            for key, future in zip(keys, futures, strict=True):
                self._sent[key] = _Question(future, asked_at)
            sender = asyncio.get_running_loop().create_task(self._answer(keys, futures, asked_at))
            self._senders.add(sender)
            sender.add_done_callback(self._ended)

    def _ended(self, sender: "asyncio.Task[None]") -> None:
        self._senders.discard(sender)
        self._send()

    async def _answer(
        self, keys: Sequence[KeyT], futures: "Sequence[asyncio.Future[ValueT | None]]", asked_at: float
    ) -> None:
        try:
            values = await self._load(keys)
        except FreeholdError as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
        else:
            for key, future, value in zip(keys, futures, values, strict=True):
                self._keep(key, _Answer(value, asked_at))
                if not future.done():
                    future.set_result(value)
        finally:
            for key, future in zip(keys, futures, strict=True):
                future.cancel()  # does nothing where there is an answer
                if (question := self._sent.get(key)) is not None and question.answered is future:
                    del self._sent[key]

    def _keep(self, key: KeyT, answer: _Answer[ValueT]) -> None:
        before = self._known.get(key) or self._absent.get(key)
        if before is not None and before.asked_at > answer.asked_at:
            return  # two messages may come back in another order
        self._known.pop(key, None)
        self._absent.pop(key, None)
        kept = self._absent if answer.value is None else self._known
        kept[key] = answer
        if len(kept) > KEPT:
            kept.popitem(last=False)


def _heard(answered: "asyncio.Future[object]") -> None:
    """An error that nobody waits for was of a question behind a request: whoever comes next asks again."""
    if not answered.cancelled():
        answered.exception()
