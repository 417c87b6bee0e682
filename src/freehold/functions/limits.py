"""Limits: how often callers may call, and how an organization that floods the program leaves room for others.

A call passes rates first (`freehold.functions.buckets`), which look at nothing but numbers, then it takes a place
(`freehold.functions.places`, where the states and bounds are told). Both belong to one process and cost no message.

**Whose calls are counted together.** An organization's: those of its id. An actor's: those of a credential within an organization. Of
public functions nobody is known, so the client's address counts (of IPv6, the first 64 bits, which one client has for itself), and all
strangers together are one organization where places are given.

**A refused call** took no token from any bucket, and tells after how many seconds it may come again: exactly, where a rate refused it and
nobody else uses it up; a moment in which a queue empties itself, where there was no place.

**A stream** has a place only while it makes its next item. Between items it has none, however long its client takes, and then
comes before its organization's other calls. A file that is sent is no different: there is no place while its next part is on its way.
As both hold other things, their number is bounded too.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType

from freehold.errors import ConfigurationError, LimitError
from freehold.functions.buckets import Buckets
from freehold.functions.declaration import Function, Rate
from freehold.functions.pipeline import Call
from freehold.functions.places import Clock, Line, Places

__all__ = ["CallLimiter", "LimitFigures", "Limits"]

STRANGERS = "strangers"
"""The line of calls of which nobody is known."""

DRAINED = 1.0
"""Seconds after which a full queue has surely emptied itself, if nobody asks meanwhile."""

LONGEST_TURN = 30.0
"""Seconds that a stream waits for its next turn. It has begun, so it is not refused for a queue that is full."""


OF_STRANGERS = Rate(600, per=60)


@dataclass(frozen=True, slots=True)
class Limits:
    """What callers may ask of one process.

    Args:
        rates: how often an organization or an actor may call, all functions together: `(Rate(1000, per=60, by="organization"),)`.
            None by default; functions have their own besides (`rate_limit=`).
        strangers: how often one address may call public functions; None for any number. Default 600 times a minute.
            Behind a proxy that is not trusted all clients have one address.
        processes: how many programs share the rates, when calls are spread over them; each grants its part. Default 1. The
            workers of one `freehold serve` are counted by itself.
        buckets: for how many callers each rate is kept. Default 10,000, about 2 MB when all are in use.
        places: calls at work at once; None (the default) is the number of the pool's connections.
        alone: what part of the places an organization may have while no other one calls. Default 0.8.
        beside: the same beside others. Default 0.5.
        flooding: the same for one whose queue was full within the last second, beside others. Default 0.1.
        queue: calls of an organization that wait for a place, beside others. Default 32.
        queue_alone: the same while no other one calls. Default 256.
        wait: seconds that a call waits for a place, beside others. Default 0.25.
        wait_alone: the same while no other organization calls: it is in nobody's way. Default 5.
        pause: seconds for which a refusal is held back, so that who calls again at once costs little; 0 for not at all. Default 0.25.
        streams: streams and files of an organization that are on their way to or from clients. Default 20.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    rates: tuple[Rate, ...] = ()
    strangers: Rate | None = OF_STRANGERS
    processes: int = 1
    buckets: int = 10_000
    places: int | None = None
    alone: float = 0.8
    beside: float = 0.5
    flooding: float = 0.1
    queue: int = 32
    queue_alone: int = 256
    wait: float = 0.25
    wait_alone: float = 5.0
    pause: float = 0.25
    streams: int = 20

    def __post_init__(self) -> None:
        for field in fields(self):
            problem = _problem(field.name, getattr(self, field.name))
            if problem:
                raise ConfigurationError(f"Limits: {field.name} {problem}, not {getattr(self, field.name)!r}"[:300])
        if not self.flooding <= self.beside <= self.alone:
            raise ConfigurationError("Limits: flooding must be at most beside, and beside at most alone")


_BOUNDS: Mapping[str, tuple[float, float]] = {
    "processes": (1, 10_000),
    "buckets": (1, 10_000_000),
    "places": (1, 10_000),
    "queue": (0, 2_000),
    "queue_alone": (0, 2_000),
    "streams": (1, 10_000),
    "alone": (0, 1),
    "beside": (0, 1),
    "flooding": (0, 1),
    "wait": (0.001, 10),
    "wait_alone": (0.001, 30),
    "pause": (0, 5),
}
_PARTS = frozenset({"alone", "beside", "flooding", "wait", "wait_alone", "pause"})


def _problem(name: str, value: object) -> str | None:
    if name == "rates":
        good = isinstance(value, tuple) and all(isinstance(rate, Rate) for rate in value)
        return None if good else "must be a tuple of rates"
    if name == "strangers":
        return None if value is None or isinstance(value, Rate) else "must be a rate or None"
    if name == "places" and value is None:
        return None
    least, most = _BOUNDS[name]
    known = (int, float) if name in _PARTS else (int,)
    good = isinstance(value, known) and not isinstance(value, bool) and least <= value <= most
    return None if good else f"must be from {least:g} to {most:g}"


@dataclass(frozen=True, slots=True)
class LimitFigures:
    """What a limiter has done and does now.

    Args:
        admitted: calls let in.
        waited: those of them that waited for a place.
        refused: calls refused, by reason: `rate`, `queue` (it was full), `wait` (no place came free in time), `streams`.
        working: calls at work.
        waiting: calls that wait for a place.
        held: refusals that are held back.
        streams: open streams.
        organizations: how many called within the last second.
    """

    admitted: int
    waited: int
    refused: Mapping[str, int]
    working: int
    waiting: int
    held: int
    streams: int
    organizations: int


class CallLimiter:
    """Decides who may call now, for one process and its event loop. See `freehold.functions.pipeline.Limiter`.

    Args:
        limits: what callers may ask.
        connections: of the pool; the number of places where the limits do not say.
        clock: the event loop; tests have their own.
    """

    def __init__(self, limits: Limits = Limits(), *, connections: int = 10, clock: Clock | None = None) -> None:
        self.limits = limits
        self._places = Places(
            limits.places or connections,
            alone=limits.alone,
            beside=limits.beside,
            flooding=limits.flooding,
            queue=limits.queue,
            queue_alone=limits.queue_alone,
            wait=limits.wait,
            wait_alone=limits.wait_alone,
            pause=limits.pause,
            clock=clock,
        )
        self._general = [self._buckets(rate) for rate in limits.rates]
        self._strangers = [] if limits.strangers is None else [self._buckets(limits.strangers)]
        self._of_functions: dict[Function, list[Buckets]] = {}
        self._streams: dict[Hashable, int] = {}
        self._refused = {"rate": 0, "queue": 0, "wait": 0, "streams": 0}
        self._admitted = self._waited = 0

    @property
    def figures(self) -> LimitFigures:
        """What it has done, and does now."""
        places = self._places
        refused = MappingProxyType(dict(self._refused))
        streams = sum(self._streams.values())
        return LimitFigures(
            self._admitted,
            self._waited,
            refused,
            places.working,
            places.waiting,
            places.held,
            streams,
            places.organizations,
        )

    async def admit(self, call: Call) -> "Place":
        """Lets a call in, at once or when a place comes free.

        Returns:
            Its place; whoever has it must `end` it.

        Raises:
            LimitError: it may not call now.
        """
        principal = call.principal
        key: Hashable = STRANGERS if principal is None or call.function.public else principal.organization_id
        if self._general or call.function.rates or key is STRANGERS:
            wait, rate = self._counted(call)
            if rate is not None:
                raise await self._refusal(key, "rate", partial(_too_often, call.function.name, rate, wait))
        places = self._places
        line = places.line(key)
        if not places.free(line):
            if places.crowded(line):
                raise await self._refusal(key, "queue", _too_many)
            if not await places.turn(line):
                self._refused["wait"] += 1
                raise _too_many()
            self._waited += 1
        self._admitted += 1
        return Place(self, places, line)

    def opened(self, key: Hashable) -> None:
        """Counts a stream.

        Raises:
            LimitError: the organization has too many of them open.
        """
        there = self._streams.get(key, 0)
        if there >= self.limits.streams:
            self._refused["streams"] += 1
            raise LimitError(
                f"{there} streams and files are on their way, and no more may be",
                retry_after=DRAINED,
                hint="finish those that are",
            )
        self._streams[key] = there + 1

    def closed(self, key: Hashable) -> None:
        """Counts the end of a stream."""
        left = self._streams[key] - 1
        if left:
            self._streams[key] = left
        else:
            del self._streams[key]

    def _counted(self, call: Call) -> tuple[float, Rate | None]:
        """Takes a token from each bucket that the call has; or from none, and says which rate refuses it longest."""
        now = self._places.time()
        asked = list(self._asked(call))
        longest, refusing = 0.0, None
        for buckets, key in asked:
            wait = buckets.wait(key, now)
            if wait > longest:
                longest, refusing = wait, buckets.rate
        if refusing is None:
            for buckets, key in asked:
                buckets.take(key, now)
        return longest, refusing

    def _asked(self, call: Call) -> Iterator[tuple[Buckets, Hashable]]:
        principal = call.principal
        if principal is None or call.function.public:
            address = _network(call.origin.client_ip)
            for buckets in (*self._strangers, *self._own(call.function)):
                yield buckets, address
            return
        for buckets in (*self._general, *self._own(call.function)):
            whole = buckets.rate.by == "organization"
            yield buckets, principal.organization_id if whole else (principal.organization_id, principal.credential)

    def _own(self, function: Function) -> Sequence[Buckets]:
        if not function.rates:
            return ()
        made = self._of_functions.get(function)
        if made is None:
            made = self._of_functions[function] = [self._buckets(rate) for rate in function.rates]
        return made

    def _buckets(self, rate: Rate) -> Buckets:
        return Buckets(rate, processes=self.limits.processes, capacity=self.limits.buckets)

    async def _refusal(self, key: Hashable, reason: str, told: Callable[[float], LimitError]) -> LimitError:
        self._refused[reason] += 1
        return await self._places.refuse(self._places.line(key), told)


class Place:
    """A call's place, and what it gives back.

    Args:
        limiter: who gave it.
        places: where it is one of.
        line: whose it is; kept by the places as long as it has a call at work.
    """

    __slots__ = ("_inside", "_limiter", "_line", "_places", "_stream")

    def __init__(self, limiter: CallLimiter, places: Places, line: Line) -> None:
        self._limiter = limiter
        self._places = places
        self._line = line
        self._inside = True
        self._stream = False

    def end(self) -> None:
        """Gives back all that the call has. It may be called again."""
        self.pause()
        if self._stream:
            self._stream = False
            self._limiter.closed(self._line.key)

    def stream(self) -> None:
        """Counts the call as an open stream, without a place until it asks for one again.

        Raises:
            LimitError: the organization has too many of them open.
        """
        self._limiter.opened(self._line.key)
        self._stream = True
        self.pause()

    def pause(self) -> None:
        """Gives the place back until it is needed again."""
        if self._inside:
            self._inside = False
            self._places.leave(self._line)

    async def resume(self) -> None:
        """Takes a place again, before other calls of the organization.

        Raises:
            LimitError: none came free.
        """
        line = self._line = self._places.line(self._line.key)
        if not self._places.free(line) and not await self._places.turn(line, first=True, wait=LONGEST_TURN):
            raise _too_many()
        self._inside = True


def _too_often(name: str, rate: Rate, wait: float, held: float) -> LimitError:
    whose = "of an organization" if rate.by == "organization" else "of a caller"
    left = max(wait - held, 0.001)
    return LimitError(
        f"{name}: more calls {whose} than {rate.requests:,} in {rate.per:g} s",
        retry_after=math.ceil(left * 1_000) / 1_000,
        hint="ask again after so many seconds, or less often",
    )


def _too_many(_held: float = 0.0) -> LimitError:
    return LimitError(
        "the organization has more calls under way than it may beside others",
        retry_after=DRAINED,
        hint="ask again after so many seconds, with fewer calls at once",
    )


@lru_cache(maxsize=4_096)
def _network(address: str | None) -> str:
    """What one client has for itself: an IPv4 address, or the first 64 bits of an IPv6 one."""
    if address is None or ":" not in address:
        return address or ""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return parsed.exploded[:19]
    return str(getattr(parsed, "ipv4_mapped", parsed))
