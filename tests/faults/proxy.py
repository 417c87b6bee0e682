"""A way to the server that breaks where it is told to.

It stands on a unix socket before the server's and knows the protocol's frames: a request is what a client sends up to the frame after which
it waits (Sync, Query, an answer to authentication), a reply is all up to ReadyForQuery. For each request it asks what is to
happen to it, so a test either names the message that is hit, or leaves it to a seeded chance.
"""

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Literal

from freehold import Address

__all__ = ["POINTS", "Chance", "Fault", "Once", "Point", "Proxy", "proxy"]

Point = Literal["before", "torn", "late", "sent", "lost", "part", "slow"]
"""Where a connection breaks:

- `before`: the request does not reach the server;
- `torn`: a part of it does;
- `late`: the client's side is cut at once, and the request reaches the server afterwards, whole;
- `sent`: it reaches the server, and both sides are cut while the server works;
- `lost`: the server has replied, and nothing of the reply arrives;
- `part`: a part of the reply arrives;
- `slow`: nothing breaks; request and reply take their time.
"""
POINTS: tuple[Point, ...] = ("before", "torn", "late", "sent", "lost", "part", "slow")

_WAITS = {ord("S"): b"Z", ord("Q"): b"Z", ord("H"): b"TnE", ord("p"): b"RE"}
"""Frames after which a client waits for the server: Sync, Query, Flush, answers to authentication. With those that end the reply."""
_CANCEL = 80877102
_WORK = (b'"user_id"', b"commit", b"begin", b"savepoint")


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    Args:
        point: where.
        share: of the request, or of the reply, that arrives where it is a part.
        delay: seconds by which a request is late or slow.
        hold: a late request is held until this is set, in place of the delay.
    """

    point: Point
    share: float = 0.5
    delay: float = 0.01
    hold: asyncio.Event | None = None


Decide = Callable[[bytes], Fault | None]
"""What is to happen to a request; None lets it pass."""


class Once:
    """Hits the first request that has a mark in it, and no other.

    Args:
        mark: the bytes.
        fault: what happens to it.
        skip: how many of those are let pass before.
    """

    def __init__(self, mark: bytes, fault: Fault, skip: int = 0) -> None:
        self._mark, self._fault, self._skip = mark, fault, skip
        self.done = asyncio.Event()

    def __call__(self, request: bytes) -> Fault | None:
        """What is to happen to a request."""
        if self.done.is_set() or self._mark not in request:
            return None
        if self._skip:
            self._skip -= 1
            return None
        self.done.set()
        return self._fault


class Chance:
    """Hits requests at random: the same ones for the same seed, as far as the order of messages is the same.

    Args:
        seed: of the randomness.
        share: of the requests with a context, and of those that begin and end transactions, that are hit.
        points: where, each as often as the others: a round of all of them is dealt in an order by chance, then another.
        elsewhere: share of the others that are hit: a connection that is opened is a dozen of them.
    """

    def __init__(
        self, seed: object, share: float, points: tuple[Point, ...] = POINTS, elsewhere: float = 0.005
    ) -> None:
        self._random = Random(str(seed))
        self._share, self._points, self._elsewhere = share, points, elsewhere
        self._dealt: list[Point] = []

    def __call__(self, request: bytes) -> Fault | None:
        """What is to happen to a request."""
        share = self._share if any(mark in request for mark in _WORK) else self._elsewhere
        chance = self._random
        if chance.random() >= share:
            return None
        if not self._dealt:
            self._dealt = chance.sample(self._points, len(self._points))
        return Fault(self._dealt.pop(), share=chance.random(), delay=chance.choice((0.0, 0.001, 0.005, 0.02)))


class Proxy:
    """Connections that are passed on.

    Args:
        address: where the client connects to.
        back: the server's socket.
    """

    def __init__(self, address: Address, back: Path) -> None:
        self.address = address
        self.faults: Counter[Point] = Counter()
        """How often what has happened."""
        self.decide: Decide = lambda _: None
        self.down = False
        """Whether connections are refused, and those that are there are cut."""
        self._back = back
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: set[_Link] = set()

    @property
    def cuts(self) -> int:
        """How many connections were cut."""
        return sum(count for point, count in self.faults.items() if point != "slow")

    def shut(self) -> None:
        """Cuts all connections, and lets no new ones in until `down` is False."""
        self.down = True
        for link in list(self._links):
            link.cut()

    def accept(self, client: asyncio.StreamReader, front: asyncio.StreamWriter) -> None:
        """Takes up a connection."""
        task = asyncio.ensure_future(self._serve(client, front))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Waits until the server has answered all that was late."""
        while late := [link.late for link in self._links if link.late is not None]:
            await asyncio.wait(late)
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Ends all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, front: asyncio.StreamWriter) -> None:
        try:
            if self.down:
                return
            server, back = await asyncio.open_unix_connection(str(self._back), limit=1 << 24)
        except OSError:
            return
        finally:
            if self.down:
                front.transport.abort()
        link = _Link(self, client, front, server, back)
        self._links.add(link)
        try:
            await link.run()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._links.discard(link)
            link.cut()


class _Link:
    """One connection: a request, its reply, the next request."""

    def __init__(
        self,
        proxy: Proxy,
        client: asyncio.StreamReader,
        front: asyncio.StreamWriter,
        server: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        self._proxy, self._client, self._front, self._server, self._back = proxy, client, front, server, back
        self._withheld: bytearray | None = None  # the reply, where it is not passed on
        self._last = b"Z"
        self._replied = asyncio.Event()
        self.late: asyncio.Task[None] | None = None

    def cut(self) -> None:
        """Ends both sides; what was not sent yet is lost."""
        self._front.transport.abort()
        self._back.transport.abort()

    async def run(self) -> None:
        """Passes on what is sent, until a side ends or is cut."""
        greeting = await self._greeting()
        self._back.write(greeting)
        if struct.unpack("!i", greeting[4:8])[0] == _CANCEL:
            await self._back.drain()
            self._back.close()
            return
        ways = {asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._replies())}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if self.late is not None:
                await self.late
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _greeting(self) -> bytes:
        size = await self._client.readexactly(4)
        return size + await self._client.readexactly(struct.unpack("!i", size)[0] - 4)

    async def _requests(self) -> None:
        request = bytearray()
        while True:
            frame = await _frame(self._client)
            request += frame
            if frame[0] not in _WAITS:
                if frame[0] == ord("X"):
                    return
                continue
            self._last = _WAITS[frame[0]]
            whole, request = bytes(request), bytearray()
            fault = self._proxy.decide(whole)
            if fault is not None:
                self._proxy.faults[fault.point] += 1
            if not await self._passed(whole, fault):
                return

    async def _passed(self, request: bytes, fault: Fault | None) -> bool:
        """Whether the connection goes on."""
        point = None if fault is None else fault.point
        if fault is None or point == "slow":
            await asyncio.sleep(0 if fault is None else fault.delay)
            await self._sent(request)
        elif point == "torn":
            await self._sent(request[: int(fault.share * len(request))])
        elif point == "sent":
            await self._sent(request)
        elif point == "late":
            self.late = asyncio.ensure_future(self._delayed(request, fault))
        elif point in ("lost", "part"):
            self._withheld = bytearray()
            await self._sent(request)
            await self._replied.wait()
            if point == "part":
                self._front.write(self._withheld[: int(fault.share * len(self._withheld))])
                with contextlib.suppress(OSError):
                    await self._front.drain()
        if fault is not None and point != "slow":
            self._front.close()  # what was written before arrives
        return fault is None or point == "slow"

    async def _delayed(self, request: bytes, fault: Fault) -> None:
        self._withheld = bytearray()
        if fault.hold is not None:
            await fault.hold.wait()
        else:
            await asyncio.sleep(fault.delay)
        with contextlib.suppress(OSError):
            await self._sent(request)
            await self._replied.wait()

    async def _sent(self, data: bytes) -> None:
        self._back.write(data)
        await self._back.drain()

    async def _replies(self) -> None:
        try:
            while True:
                frame = await _frame(self._server)
                if self._withheld is None:
                    self._front.write(frame)
                    await self._front.drain()
                    continue
                self._withheld += frame
                if frame[0] in self._last:
                    self._replied.set()
        except (OSError, asyncio.IncompleteReadError):
            if self._withheld is not None:
                self._replied.set()  # the server has ended the connection; what it said is all there is
                await asyncio.sleep(0)
            raise


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """A letter, a length, and what it is the length of."""
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


@asynccontextmanager
async def proxy(target: Address) -> AsyncIterator[Proxy]:
    """A way to a server's unix socket.

    Args:
        target: of the server.
    """
    name = f".s.PGSQL.{target.port}"
    with TemporaryDirectory(prefix="fh-") as folder:
        made = Proxy(replace(target, host=folder), Path(str(target.host)) / name)
        listening = await asyncio.start_unix_server(made.accept, str(Path(folder) / name), limit=1 << 24)
        try:
            yield made
        finally:
            listening.close()
            await made.close()
