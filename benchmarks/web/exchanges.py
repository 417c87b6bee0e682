"""A connection to a server over HTTP/1.1 that is kept, for callers that wait for each answer."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

__all__ = ["Connection", "Said"]

LARGEST = 2**20
"""Bytes of a head."""


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A connection of one caller's; it is made again where the server has closed it.

    Args:
        port: on the loopback address.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._streams is not None:
            self._streams[1].close()

    async def ask(
        self, method: str, path: str, token: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Said:
        """Send a request and wait for all of the answer.

        Raises:
            ConnectionError: there is none, or not one with Content-Length.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=LARGEST)
        reader, writer = self._streams
        given = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}"]
        lines += [f"{name}: {text}" for name, text in (headers or {}).items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(given)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + given)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0].strip()
            if not length.isdigit():
                raise ConnectionError(f"{method} {path}: an answer without Content-Length")
            said = Said(int(head[9:12]), await reader.readexactly(int(length)))
        except asyncio.IncompleteReadError:
            raise ConnectionError(f"{method} {path}: the server closed the connection") from None
        if b"\r\nconnection: close" in head:
            writer.close()
            self._streams = None
        return said
