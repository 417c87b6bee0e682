"""A way to the server that breaks when it is told to: before a message, while it is under way, or with its answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from freehold import Address

__all__ = ["Cut", "Wire", "wire"]

Cut = Literal["before", "during", "after"]
"""The server does not get the message; it gets it, and the connection is cut at once; it answers, and the answer is lost."""


class Wire:
    """Connections that are passed on.

    Args:
        address: where the client connects to.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.cuts = 0
        self._marker = b""
        self._decide: Callable[[], Cut | None] = lambda: None

    def cut(self, marker: bytes, decide: Callable[[], Cut | None]) -> None:
        """From now on asks for each message that has a marker in it whether, and how, the connection breaks."""
        self._marker, self._decide = marker, decide

    async def passed(self, client: asyncio.StreamReader, back: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        """What the client sends; until it ends, or the connection is cut."""
        while data := await client.read(1 << 16):
            cut = self._decide() if self._marker and self._marker in data else None
            self.cuts += cut is not None
            if cut == "before":
                return
            if cut == "after":
                lost.set()
            back.write(data)
            await back.drain()
            if cut == "during":
                return

    async def answered(self, server: asyncio.StreamReader, front: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        """What the server sends; until it ends, or an answer is lost."""
        while data := await server.read(1 << 16):
            if lost.is_set():
                return
            front.write(data)
            await front.drain()


@asynccontextmanager
async def wire(target: Address) -> AsyncIterator[Wire]:
    """A way to a server's unix socket.

    Args:
        target: of the server.
    """
    with TemporaryDirectory(prefix="wire-") as folder:
        made = Wire(replace(target, host=folder))
        socket = f".s.PGSQL.{target.port}"
        tasks: set[asyncio.Task[None]] = set()

        async def connected(client: asyncio.StreamReader, front: asyncio.StreamWriter) -> None:
            server, back = await asyncio.open_unix_connection(str(Path(str(target.host)) / socket))
            lost = asyncio.Event()
            ways = {
                asyncio.ensure_future(made.passed(client, back, lost)),
                asyncio.ensure_future(made.answered(server, front, lost)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                for writer in (front, back):
                    writer.transport.abort()

        def accept(client: asyncio.StreamReader, front: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(connected(client, front))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        listening = await asyncio.start_unix_server(accept, str(Path(folder) / socket))
        try:
            yield made
        finally:
            listening.close()
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)
