"""The scale benchmark over HTTP: its connections, its calls, and what counts as what."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest
from benchmarks.scale_calls import Tenant
from benchmarks.web.exchanges import Connection
from benchmarks.web.scale import CALLS, WebCaller

from benchmarks import scale_calls
from freehold import Context, Database
from freehold.errors import ConcurrencyError
from freehold.model.context import new_id

Answers = list[bytes]


@pytest.fixture
async def answering() -> AsyncIterator[tuple[Callable[..., None], list[bytes], int]]:
    """A server that answers with what it is given."""
    waiting: Answers = []
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
                asked.append(head + await reader.readexactly(int(length or 0)))
                answered = waiting.pop(0)
                writer.write(answered)
                if b"Connection: close" in answered or b"Content-Length" not in answered:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        yield waiting.extend, asked, listener.sockets[0].getsockname()[1]


def answer(status: int, body: bytes, *more: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d Said" % status, b"Content-Length: %d" % len(body), *more, b"", body])


async def test_a_connection_is_kept_and_made_again_where_the_server_closes_it(answering) -> None:
    give, asked, port = answering
    give([answer(200, b'{"a": 1}'), answer(404, b"", b"Connection: close"), answer(200, b"[]")])
    async with Connection(port) as connection:
        assert (await connection.ask("GET", "/one", "secret")).json == {"a": 1}
        assert (await connection.ask("GET", "/two", "secret")).status == 404
        assert (await connection.ask("POST", "/three", "secret", {"b": 2}, {"If-Match": '"1"'})).json == []
    assert asked[0].startswith(b"GET /one HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in asked[0]
    assert b'\r\nIf-Match: "1"\r\n' in asked[2]
    assert b"\r\nContent-Length: 8\r\n" in asked[2]


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_an_answer_whose_end_is_not_known_is_an_error(answering, said: bytes) -> None:
    give, _, port = answering
    give([said])
    async with Connection(port) as connection:
        with pytest.raises(ConnectionError):
            await connection.ask("GET", "/", "secret")


async def test_conflicts_are_counted_and_other_refusals_end_the_benchmark(answering, database: Database) -> None:
    give, asked, port = answering
    tenant = Tenant(3, 100, Context(organization_id=new_id()), database)
    give([answer(409, b"{}"), answer(409, b"{}"), answer(500, b"broken")])
    async with Connection(port) as connection:
        caller = WebCaller([tenant], Random(1), connection, {3: "token-of-three"})
        with pytest.raises(ConcurrencyError):
            await caller.ask(tenant, "PATCH", "/api/customers/1", {"health": 1})
        with pytest.raises(RuntimeError, match="POST /api/customers: 409"):
            await caller.ask(tenant, "POST", "/api/customers", {})
        with pytest.raises(RuntimeError, match="500 broken"):
            await caller.ask(tenant, "GET", "/api/customers/1")
    assert all(b"Bearer token-of-three\r\n" in each for each in asked)


async def test_each_call_is_a_request_as_often_as_in_process(answering, database: Database) -> None:
    give, asked, port = answering
    tenant = Tenant(0, 100, Context(organization_id=new_id()), database)
    weights = {call.name: (call.weight, call.target, call.write) for call in scale_calls.CALLS}
    read = b'{"id": "0194", "version": 4}'
    async with Connection(port) as connection:
        caller = WebCaller([tenant], Random(1), connection, {0: "token"})
        for call in CALLS:
            assert weights.pop(call.name) == (call.weight, call.target, call.write)
            give([answer(200, read)] * (2 if call.before else 1))
            known = await call.before(caller, tenant) if call.before else None
            await call.work(caller, tenant, known)
    assert set(weights) == {"get as of a moment"}
    lines = [each.partition(b"\r\n")[0].decode() for each in asked]
    assert all(line.split()[0] in ("GET", "POST", "PATCH") and line.split()[1].startswith("/api/") for line in lines)
    assert any(b'\r\nIf-Match: "4"\r\n' in each for each in asked)
