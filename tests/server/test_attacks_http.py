"""Attacks on HTTP itself, byte by byte, on a server with sockets and with real credentials."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Database, Principal
from freehold.identity.principal import Origin
from freehold.server import Settings
from freehold.server.application import WebApplication
from freehold.server.listening import bind
from freehold.server.serving import Stop, serve_one
from tests.functions.shop import shop
from tests.probe import PATIENCE
from tests.server.attacks import everything

MEGABYTE = 1_000_000


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def values(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]


@dataclass
class Site:
    """A server that listens, and keys of two organizations.

    Args:
        port: where.
        ada, eve: keys.
        hers: Eve's organization, and its slug.
    """

    port: int
    ada: str
    eve: str
    mine: UUID
    hers: UUID
    slug: str

    async def send(self, raw: bytes) -> list[Answer]:
        """Sends exactly these bytes, and reads whatever is answered until the server ends the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(PATIENCE):
                with suppress(ConnectionError):
                    writer.write(raw)
                    await writer.drain()
                return [answer async for answer in answers(reader)]
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, *headers: str, path: str = "/api/functions/whoami", method: str = "GET") -> Answer:
        """One request with these header lines."""
        lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers, "Connection: close", "", ""]
        (answer,) = await self.send("\r\n".join(lines).encode("latin-1"))
        return answer

    def whose(self, answer: Answer) -> UUID | None:
        """For which organization it was answered."""
        return UUID(answer.json["organization"]) if answer.status == 200 else None


async def answers(reader: asyncio.StreamReader) -> AsyncIterator[Answer]:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        yield Answer(int(first.split(" ")[1]), headers, await reader.readexactly(length))


@asynccontextmanager
async def listening(database: Database, settings: Settings) -> AsyncIterator[int]:
    """A server with sockets, in the test's own loop."""
    authenticator = database.authenticator()
    server = WebApplication(shop, database=database, settings=settings, authenticator=authenticator)
    stop, ready = Stop(), asyncio.Event()
    with bind("127.0.0.1", 0) as bound:
        port: int = bound.getsockname()[1]
        task = asyncio.create_task(serve_one(server, bound, stop, ready.set))
        try:
            async with asyncio.timeout(PATIENCE):
                await ready.wait()
            yield port
        finally:
            stop()
            async with asyncio.timeout(PATIENCE):
                await task
            await authenticator.close()


@pytest.fixture
async def site(shop_database: Database, ada: Principal, eve: Principal) -> AsyncIterator[Site]:
    system = shop_database.system("tests")
    keys = [await system.keys.create(each.organization_id, name="k", user_id=each.user_id) for each in (ada, eve)]
    ((slug,),) = [row.values() for row in await _rows(shop_database, eve, "select slug from freehold.organizations")]
    settings = Settings(limits=None, body_timeout=0.5, header_timeout=0.5, body_rate=1_000_000, drain_seconds=1.0)
    async with listening(shop_database, settings) as port:
        yield Site(port, keys[0].secret, keys[1].secret, ada.organization_id, eve.organization_id, slug)


async def _rows(database: Database, caller: Principal, text: str) -> list[Any]:
    async with database.session(caller.context(Origin())) as session:
        return await session.sql(None, text)


async def test_a_key_is_its_organization_s(site: Site) -> None:
    """What the attacks below would change."""
    assert site.whose(await site.ask(f"Authorization: Bearer {site.ada}")) == site.mine
    assert site.whose(await site.ask(f"Authorization: Bearer {site.eve}")) == site.hers
    own = await site.ask(f"Authorization: Bearer {site.eve}", f"Freehold-Organization: {site.slug}")
    assert site.whose(own) == site.hers


SMUGGLED = [
    ["Freehold-Organization: {slug}"],
    ["Freehold-Organization: {id}"],
    ["freehold-organization: {id}"],
    ["FREEHOLD-ORGANIZATION: {id}"],
    ["Freehold-Organization: {mine}", "Freehold-Organization: {id}"],
    ["Freehold-Organization: {id}", "freehold-organization: {mine}"],
    ["Freehold-Organization: {mine}, {id}"],
    ["Freehold-Organization: {mine};{id}"],
    ["Freehold-Organization:\t{id}"],
    ["Freehold-Organization: {mine}\r\n {id}"],
    ["Freehold_Organization: {id}"],
    ["Freehold-Organization : {id}"],
    [" Freehold-Organization: {id}"],
    ["X-Freehold-Organization: {id}"],
    ["X-Organization-Id: {id}"],
    ["X-Forwarded-Organization: {id}"],
    ["X-Forwarded-For: 127.0.0.1", "X-Forwarded-User: eve", "X-Forwarded-Host: {slug}"],
    ["Forwarded: for=127.0.0.1;organization={id}"],
    ["X-HTTP-Method-Override: DELETE"],
    ["X-Original-URL: /api/customers", "X-Rewrite-URL: /api/customers"],
    ["Cookie: organization={id}; Authorization=Bearer {eve}"],
    ["X-Authorization: Bearer {eve}"],
    ["Authorization: Bearer {eve}"],
    ["authorization: Bearer {eve}"],
    ["Proxy-Authorization: Bearer {eve}"],
    ["Authorization_: Bearer {eve}"],
    ["Host: {slug}"],
    ["Connection: Authorization"],
    ["Trailer: Freehold-Organization"],
    ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"],
]


@pytest.mark.parametrize("lines", SMUGGLED, ids=lambda lines: lines[0])
async def test_no_header_leads_into_another_organization(site: Site, lines: list[str]) -> None:
    """The key is Ada's. Before and after the credential, since programs take the first or the last of two."""
    told = {"slug": site.slug, "id": site.hers, "mine": site.mine, "eve": "fh_" + site.eve[3:]}
    if "{eve}" in lines[0] and "uthorization: Bearer" in lines[0] and lines[0][0] in "Aa":
        told["eve"] = site.eve  # two credentials are refused, whosever they are
    made = [line.format(**told) for line in lines]
    mine = f"Authorization: Bearer {site.ada}"
    for headers in ([mine, *made], [*made, mine]):
        answer = await site.ask(*headers)
        assert answer.status in (200, 400, 401, 403)
        assert site.whose(answer) in (None, site.mine)
        assert str(site.hers) not in answer.body.decode().replace(made[0], "") or answer.status != 200


GET = b"GET /api/functions/whoami HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %b\r\n"
POST = b"POST /api/customers HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nAuthorization: Bearer %b\r\n"
BODY = b'{"name":"smuggled"}'
INNER = (
    b"POST /api/customers HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\nContent-Type: application/json\r\n\r\n" + BODY
)


async def test_the_same_request_without_a_lie_is_served(site: Site) -> None:
    (answer,) = await site.send(POST % site.ada.encode() + b"Content-Length: 19\r\n\r\n" + BODY)
    assert answer.status == 201


@pytest.mark.parametrize("size", [60_000, 180_000, 990_000])
async def test_a_long_body_is_no_long_header(site: Site, size: int) -> None:
    """Whatever parts it comes in: the last one of a body is not the beginning of headers."""
    body = b'{"name":"x"' + b" " * size + b"}"
    head = POST % site.ada.encode() + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert [answer.status for answer in await site.send(head + body)] == [201]
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(head)
    await writer.drain()
    await asyncio.sleep(0)  # the headers are read by themselves
    writer.write(body)
    await writer.drain()
    assert (await anext(answers(reader))).status == 201
    writer.close()
    await writer.wait_closed()


LIES: dict[str, bytes] = {
    "two lengths": POST + b"Content-Length: 19\r\nContent-Length: 0\r\n\r\n" + BODY,
    "two lengths in one": POST + b"Content-Length: 19, 19\r\n\r\n" + BODY,
    "a length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "an obscured coding": POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n" + INNER,
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + INNER,
    "a coding with a tab": POST + b"Transfer-Encoding:\tchunked\r\nContent-Length: 0\r\n\r\n" + INNER,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + BODY,
    "a length with a plus": POST + b"Content-Length: +19\r\n\r\n" + BODY,
    "a length in hex": POST + b"Content-Length: 0x13\r\n\r\n" + BODY,
    "an enormous length": POST + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY,
    "a length of spaces": POST + b"Content-Length: 1 9\r\n\r\n" + BODY,
    "an enormous chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + BODY,
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + BODY,
    "a bare line feed": POST.replace(b"\r\n", b"\n") + b"Content-Length: 19\n\n" + BODY,
    "a bare carriage return": POST + b"X: a\rContent-Length: 19\r\n\r\n" + BODY,
    "a folded header": POST + b"X: a\r\n Content-Length: 19\r\n\r\n" + BODY,
    "a NUL in a header": POST + b"X: a\x00b\r\nContent-Length: 19\r\n\r\n" + BODY,
    "no version": b"POST /api/customers\r\n\r\n" + BODY,
    "another version": b"POST /api/customers HTTP/9.9\r\nHost: x\r\n\r\n" + BODY,
    "no name": POST + b": x\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


async def test_a_request_that_can_be_read_in_two_ways_writes_nothing_that_was_not_asked_for(
    site: Site, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """What comes after the request's end must not be taken for a request of the same caller."""
    before = await everything(admin)
    told = await asyncio.gather(*(site.send(raw.replace(b"%b", site.ada.encode())) for raw in LIES.values()))
    for name, found in zip(LIES, told, strict=True):
        assert [answer.status for answer in found if answer.status < 300] == [], name
    after = await everything(admin)
    customers = [table for table in before if "customers" in table]
    assert [after[table] for table in customers] == [before[table] for table in customers]


async def test_a_second_request_has_no_credential_of_the_first(site: Site) -> None:
    """Two requests on one connection: the second one is nobody's."""
    first = (GET % site.ada.encode()) + b"\r\n"
    second = b"GET /api/functions/whoami HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    told = await site.send(first + second)
    assert [answer.status for answer in told] == [200, 401]


async def test_a_hundred_megabytes_are_refused_before_they_are_read(site: Site) -> None:
    head = POST % site.ada.encode() + b"Content-Length: 104857600\r\n\r\n"
    sent, answer = await _poured(site, head, b"x" * MEGABYTE, 100)
    assert answer is None or answer.status == 413
    assert sent < 50


async def test_a_hundred_megabytes_in_chunks_are_refused_when_they_are_too_many(site: Site) -> None:
    head = POST % site.ada.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
    sent, answer = await _poured(site, head, b"f4240\r\n" + b"x" * MEGABYTE + b"\r\n", 100)
    assert answer is None or answer.status == 413
    assert sent < 50


async def _poured(site: Site, head: bytes, part: bytes, times: int) -> tuple[int, Answer | None]:
    """Sends for as long as the server takes it; how many parts it took, and what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    sent = 0
    try:
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                writer.write(head)
                for _ in range(times):
                    writer.write(part)
                    await writer.drain()
                    sent += 1
            return sent, await anext(answers(reader), None)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "raw",
    [
        POST + b"Content-Length: 100\r\n\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        POST,
        b"G",
    ],
    ids=["a body", "a chunk", "headers", "a line"],
)
async def test_what_never_ends_is_given_up(site: Site, raw: bytes) -> None:
    """And meanwhile others are answered."""
    slow = asyncio.create_task(site.send(raw.replace(b"%b", site.ada.encode())))
    await asyncio.sleep(0)
    assert site.whose(await site.ask(f"Authorization: Bearer {site.eve}")) == site.hers
    assert [answer.status for answer in await slow] in ([408], [])


async def test_many_slow_clients_hold_up_nobody(site: Site) -> None:
    raw = (POST + b"Content-Length: 100\r\n\r\n{").replace(b"%b", site.ada.encode())
    slow = [asyncio.create_task(site.send(raw)) for _ in range(60)]
    for _ in range(5):
        assert site.whose(await site.ask(f"Authorization: Bearer {site.eve}")) == site.hers
    for task in slow:
        assert [answer.status for answer in await task] == [408]


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nSet-Cookie: x=1",
        "a%0d%0aSet-Cookie:%20x=1",
        "a\nSet-Cookie: x=1",
        "\u010a",
        "a\x00b",
        "<script>",
        "a" * 5_000,
    ],
)
async def test_what_comes_back_in_headers_makes_no_header(site: Site, value: str) -> None:
    """The request's id, the address in links and locations."""
    mine = f"Authorization: Bearer {site.ada}"
    quoted = value.encode("utf-8").decode("latin-1").replace("\r", "%0d").replace("\n", "%0a").replace(" ", "%20")
    quoted = quoted.replace("\x00", "%00")
    raw = value.encode("utf-8").decode("latin-1")
    for answer in (
        *await site.send(
            f"GET /api/functions/whoami HTTP/1.1\r\nHost: t\r\n{mine}\r\nX-Request-Id: {raw}\r\nConnection: close\r\n\r\n".encode(
                "latin-1"
            )
        ),
        await site.ask(mine, path=f"/api/customers?limit=1&select=name&order=name&name.ne={quoted}"),
        await site.ask(mine, path=f"/api/customers/{quoted}"),
        await site.ask(mine, path=f"/api/{quoted}"),
        await site.ask(mine, f"Origin: http://{quoted[:200]}", path="/api/functions/whoami"),
    ):
        assert answer.values("set-cookie") == []
        assert all("\r" not in text and "\n" not in text for _, text in answer.headers)
        for name in ("x-request-id", "link", "location"):
            assert all("<script" not in text for text in answer.values(name))
            assert all(len(text) < 5_000 for text in answer.values(name))


async def test_the_port_speaks_to_whoever_leaves_at_once(site: Site) -> None:
    """Resets in the middle of requests leave nothing behind: the server answers on."""
    for raw in (
        b"",
        b"GET",
        (POST % site.ada.encode()) + b"Content-Length: 19\r\n\r\n",
        GET % site.ada.encode() + b"\r\n",
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(raw)
        sock: Any = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()
    assert site.whose(await site.ask(f"Authorization: Bearer {site.ada}")) == site.mine
