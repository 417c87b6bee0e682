"""The API over real connections: what only a server and a client with sockets can show."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from freehold.server.application import WebApplication
from freehold.server.listening import bind
from freehold.server.serving import Stop, serve_one
from tests.server.test_streams import numbers_web, state

__all__ = ["numbers_web"]


@asynccontextmanager
async def listening(server: WebApplication) -> AsyncIterator[int]:
    """The server on a port."""
    bound, stop, ready = bind("127.0.0.1", 0), Stop(), asyncio.Event()
    serving = asyncio.create_task(serve_one(server, bound, stop, ready.set))
    await ready.wait()
    try:
        yield bound.getsockname()[1]
    finally:
        stop()
        await serving


async def connected(port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer ada\r\n\r\n".encode())
    return reader, writer


async def test_requests_of_one_connection(numbers_web: WebApplication) -> None:
    async with listening(numbers_web) as port:
        reader, writer = await connected(port, "/api/functions/numbers.nothing")
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            told = json.loads(await reader.readexactly(int(length.split(b":")[1])))
            assert told["code"] == "FH200"
            writer.write(b"GET /api/functions/x HTTP/1.1\r\nHost: test\r\n\r\n")
        writer.close()


async def test_a_client_that_leaves_ends_its_call(numbers_web: WebApplication) -> None:
    async with listening(numbers_web) as port:
        _, writer = await connected(port, "/api/functions/numbers.stuck")
        await state["begun"].wait()
        writer.close()
        await state["ended"].wait()


@pytest.mark.parametrize("name", ["waiting", "endless"])
async def test_a_client_that_leaves_ends_its_stream(numbers_web: WebApplication, name: str) -> None:
    async with listening(numbers_web) as port:
        reader, writer = await connected(port, f"/api/functions/numbers.{name}")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readline()
        writer.transport.abort()
        await state["ended"].wait()


async def test_a_stream_that_fails_is_not_ended_in_order(numbers_web: WebApplication) -> None:
    async with listening(numbers_web) as port:
        reader, writer = await connected(port, "/api/functions/numbers.failing?after=2")
        text = await reader.read()
        assert b'{"problem":' in text
        assert not text.endswith(b"0\r\n\r\n")
        writer.close()
