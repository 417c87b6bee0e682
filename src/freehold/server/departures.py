"""Calls whose clients have left are cancelled.

An ASGI server tells of a client's end only where somebody asks for it, which takes a task. Most calls have ended before it
could matter. So nobody asks at first: one watch looks at the calls every now and then, and asks for those that it has seen
before. It runs while there are calls, and costs a call nothing but an entry in a set.
"""

import asyncio
from types import TracebackType

from starlette.types import Receive

from freehold.errors import RequestError

__all__ = ["Departures", "Presence"]

PAUSE = 0.25
"""Seconds between two looks."""


class Presence:
    """One client, for as long as a call of it runs.

        with departures.watched(task, receive) as presence: ...

    Args:
        departures: where it is noted.
        task: is cancelled when the client has left.
        receive: of the request, whose body was read.
    """

    __slots__ = ("_departures", "_listener", "_receive", "_task", "left", "reading", "seen")

    def __init__(self, departures: "Departures", task: "asyncio.Task[object]", receive: Receive) -> None:
        self._departures = departures
        self._task = task
        self._receive = receive
        self._listener: asyncio.Task[None] | None = None
        self.seen = False
        self.left = False
        self.reading = False
        """Whether the call itself reads the request, and so hears of the client's end."""

    def __enter__(self) -> "Presence":
        self._departures.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._departures.discard(self)
        if self._listener is not None:
            self._listener.cancel()

    def listen(self) -> None:
        """Waits for the client's end from now on."""
        if self._listener is None and not self.reading:
            self._listener = asyncio.get_running_loop().create_task(self._listened())

    async def _listened(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass  # what is left of a body that nobody reads
        except RequestError:
            return  # so is what is wrong with that body: the call is answered, and the connection ends with it
        self.left = True
        self._task.cancel()


class Departures:
    """Watches the clients of all calls that run.

    Args:
        pause: seconds between two looks.
    """

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._there: set[Presence] = set()
        self._watch: asyncio.Task[None] | None = None

    def watched(self, task: "asyncio.Task[object]", receive: Receive) -> Presence:
        """Watches a client while the block runs."""
        return Presence(self, task, receive)

    def add(self, presence: Presence) -> None:
        """Begins to watch a client."""
        self._there.add(presence)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.get_running_loop().create_task(self._look())

    def discard(self, presence: Presence) -> None:
        """Ends it."""
        self._there.discard(presence)

    async def _look(self) -> None:
        while self._there:
            for presence in self._there:
                if presence.seen:
                    presence.listen()
                presence.seen = True
            await asyncio.sleep(self._pause)
