"""A clock that the test winds, and calls whose length the test decides."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from freehold import Principal, Rate, Session
from freehold.functions.declaration import Function, Options, declare
from freehold.functions.limits import CallLimiter, Limits, Place
from freehold.functions.pipeline import Call
from freehold.identity.principal import Origin
from freehold.model.context import new_id


class Timer:
    """A callback that is due; may be cancelled."""

    def __init__(self, callback: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.callback, self.arguments, self.cancelled = callback, arguments, False

    def cancel(self) -> None:
        self.cancelled = True


class Clockwork:
    """A clock that stands still until it is wound."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._due: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., Any], *arguments: Any) -> Any:
        timer = Timer(callback, arguments)
        heapq.heappush(self._due, (self.now + delay, next(self._numbers), timer))
        return timer

    async def wind(self, seconds: float) -> None:
        """Lets time pass, and those run who are woken."""
        await settled()
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._due)
            if not timer.cancelled:
                timer.callback(*timer.arguments)
                await settled()
        self.now = end
        await settled()

    @property
    def pending(self) -> int:
        """Timers that nobody has cancelled."""
        return sum(not timer.cancelled for _, _, timer in self._due)


async def settled() -> None:
    """Lets all tasks run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def plain(session: Session) -> int:
    return 1


def function(*rates: Rate, public: bool = False) -> Function:
    """A query with rates."""
    if public:
        return declare(strangers, "query", Options(public=True, rate_limit=rates))
    return declare(plain, "query", Options(rate_limit=rates))


async def strangers() -> int:
    return 1


def caller(organization: UUID | None = None, name: str = "user:1") -> Principal:
    return Principal(organization or new_id(), None, "admin", frozenset({"*"}), name)


def call(principal: Principal | None, function: Function, address: str | None = None) -> Call:
    return Call(function, principal=principal, origin=Origin(client_ip=address))


@dataclass
class Hall:
    """A limiter, and calls that stay in until they are let out."""

    clock: Clockwork = field(default_factory=Clockwork)
    limits: Limits = field(default_factory=Limits)
    connections: int = 10
    served: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limiter = CallLimiter(self.limits, connections=self.connections, clock=self.clock)  # type: ignore[arg-type]
        self.inside: list[tuple[str, Place]] = []
        self.function = function()

    def ask(self, principal: Principal, name: str = "") -> "asyncio.Task[Place]":
        """A call that stays in when it is admitted."""

        async def admitted() -> Place:
            place = await self.limiter.admit(call(principal, self.function))
            self.served.append(name)
            self.inside.append((name, place))
            return place

        return asyncio.create_task(admitted())

    async def out(self, name: str | None = None) -> None:
        """Lets one call out: the first one, or the first one of a name."""
        index = next(index for index, (whose, _) in enumerate(self.inside) if name in (None, whose))
        self.inside.pop(index)[1].end()
        await settled()
