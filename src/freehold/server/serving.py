"""One process that serves: from the start of the application to its last answer.

To stop, in this order: `/readyz` says 503 and each connection ends with its next answer, while new ones are still accepted
(`announce_seconds`); the port is closed; what runs is finished (`drain_seconds`), then cancelled; the database is closed.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from freehold.server.application import WebApplication
from freehold.server.listening import explained
from freehold.server.protocol import protocol_of

__all__ = ["Stop", "loop_factory", "serve_one", "signals"]


class Stop:
    """Asks a process to stop serving: once to finish what runs, twice to give it up."""

    def __init__(self) -> None:
        self._asked = 0
        self._first = asyncio.Event()
        self._second = asyncio.Event()

    def __call__(self) -> None:
        """Asks once more."""
        self._asked += 1
        self._first.set()
        if self._asked > 1:
            self._second.set()

    async def asked(self) -> None:
        """Waits until it should stop."""
        await self._first.wait()

    async def insisted(self) -> None:
        """Waits until it should stop at once."""
        await self._second.wait()


class _Web(uvicorn.Server):
    """uvicorn's server, whose signals and lifespan are seen to here."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to accept connections."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what was made until now stays: there is no point in looking through it again and again
        self._ready()


async def serve_one(
    server: WebApplication, bound: socket.socket, stop: Stop, ready: Callable[[], None] = lambda: None
) -> None:
    """Serves until it is asked to stop, and until what runs then has ended.

    Args:
        server: the application.
        bound: where to listen. It is closed.
        stop: when to stop.
        ready: is called when connections are accepted.

    Raises:
        FreeholdError: it cannot start.
    """
    settings = server.settings
    async with server.lifespan():
        web = _Web(_config(server), ready)
        serving = asyncio.create_task(web.serve([bound]))
        await _beside(serving, stop.asked())
        if not serving.done():
            server.announce_stop()
            await _beside(serving, stop.insisted(), timeout=settings.announce_seconds)
            web.should_exit = True
            await _beside(serving, stop.insisted())
            if not serving.done():
                web.force_exit = True
                server.give_up()
        try:
            await serving
        except OSError as error:
            raise explained(error, *bound.getsockname()[:2]) from error


async def _beside(
    serving: "asyncio.Task[None]", waited: Coroutine[Any, Any, None], *, timeout: float | None = None
) -> None:
    """Waits for something, or for the end of serving."""
    other = asyncio.create_task(waited)
    try:
        await asyncio.wait([serving, other], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        other.cancel()


def _config(server: WebApplication) -> uvicorn.Config:
    settings = server.settings
    return uvicorn.Config(
        server,
        http=protocol_of(settings),
        ws="none",
        lifespan="off",  # it is run around the server, so that what goes wrong in it is an error and no line in a log
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type]  # it waits for parts of seconds too
        timeout_graceful_shutdown=settings.drain_seconds,  # type: ignore[arg-type]  # the same
    )


@contextmanager
def signals(stop: Stop) -> Iterator[None]:
    """Has SIGTERM and SIGINT ask to stop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError):
                loop.remove_signal_handler(number)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop: uvloop where it is there."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
