"""What a connection makes of bytes: each request is answered, refused with a problem, or ends the connection, however the bytes are cut."""

import asyncio
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from freehold.server import Settings
from freehold.server.edge import Edge
from freehold.server.exchange import exchange_of
from freehold.server.protocol import protocol_of
from freehold.server.reading import raw_body

HEAD = b"POST /a HTTP/1.1\r\nHost: test\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = HEAD + b"Content-Length: 2\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: test\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what it was asked, once it has read all of it."""
    body = await raw_body(exchange_of(scope), receive)
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    told = json.dumps({"path": scope["path"], "headers": headers, "body": body.decode()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]})
    await send({"type": "http.response.body", "body": told})


async def said(parts: Sequence[bytes], **bounds: Any) -> tuple[list[tuple[int, Any]], bool]:
    """The answers to bytes that come in these parts, each read when the one before was dealt with; and whether the connection has ended."""
    made = Settings(**bounds)
    config = uvicorn.Config(Edge(echo, made), log_config=None, ws="none", lifespan="off", server_header=False)
    config.load()
    protocol, wire = protocol_of(made)(config, ServerState(), {}), Wire()
    protocol.connection_made(wire)
    for part in parts:
        if not wire.closed:
            protocol.data_received(part)
            for _ in range(20):
                await asyncio.sleep(0)
    closed = wire.closed
    protocol.connection_lost(None)
    rest, answers = wire.sent, []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            continue
        lines = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
        length = int(lines[b"content-length"])
        status = int(head.split(b" ")[1])
        if status >= 400:
            assert lines[b"content-type"] == b"application/problem+json"
            assert json.loads(rest[:length])["status"] == status
        answers.append((status, json.loads(rest[:length])))
        rest = rest[length:]
    return answers, closed


BROKEN: dict[str, tuple[int, bytes]] = {
    "a chunk's size that is none": (400, CHUNKED + b"xyz\r\nab\r\n0\r\n\r\n"),
    "a chunk's size with a sign": (400, CHUNKED + b"-2\r\nab\r\n0\r\n\r\n"),
    "a chunk's size with 0x": (400, CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n"),
    "a chunk's size that overflows": (400, CHUNKED + b"f" * 20 + b"\r\nab\r\n0\r\n\r\n"),
    "a space after the size": (400, CHUNKED + b"2 \r\nab\r\n0\r\n\r\n"),
    "a chunk that is too long": (400, CHUNKED + b"2\r\nabc\r\n0\r\n\r\n"),
    "bare line feeds between chunks": (400, CHUNKED + b"2\nab\n0\n\n"),
    "a bare line feed in an extension": (400, CHUNKED + b"2;a\nab\r\n0\r\n\r\n"),
    "a later chunk's size": (400, CHUNKED + b"2\r\nab\r\nzz\r\nab\r\n0\r\n\r\n"),
    "a trailer field that is none": (400, CHUNKED + b"2\r\nab\r\n0\r\nA B: c\r\n\r\n"),
    "an unknown coding": (501, HEAD + b"Transfer-Encoding: gzip\r\n\r\n"),
    "an unknown coding below chunked": (501, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    "a coding that looks like chunked": (501, HEAD + b"Transfer-Encoding: xchunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    "identity as a coding": (501, HEAD + b"Transfer-Encoding: identity\r\n\r\n"),
    "a coding after chunked": (400, HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    "chunked twice": (400, HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    "two codings": (400, HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "no coding": (400, HEAD + b"Transfer-Encoding: \r\n\r\n"),
    "chunks in HTTP/1.0": (400, CHUNKED.replace(b"1.1", b"1.0") + b"2\r\nab\r\n0\r\n\r\n"),
    "a length and chunks": (400, LENGTH + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    "two equal lengths": (400, LENGTH + b"Content-Length: 2\r\n\r\nab"),
    "two lengths in one": (400, HEAD + b"Content-Length: 2, 2\r\n\r\nab"),
    "a negative length": (400, HEAD + b"Content-Length: -2\r\n\r\nab"),
    "a length that overflows": (400, HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nab"),
    "a folded header": (400, HEAD + b"X: a\r\n b\r\n\r\n"),
    "a bare carriage return": (400, HEAD + b"X: a\rb\r\n\r\n"),
    "bare line feeds": (400, b"GET / HTTP/1.1\nHost: test\n\n"),
    "a NUL": (400, HEAD + b"X: a\0b\r\n\r\n"),
    "a space before the colon": (400, HEAD + b"X : a\r\n\r\n"),
    "no name": (400, HEAD + b": a\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\nX: a\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "an address that is none": (400, b"GET a:b HTTP/1.1\r\nHost: test\r\n\r\n"),
    "an address with a NUL": (400, b"GET /\0 HTTP/1.1\r\nHost: test\r\n\r\n"),
    "an address that is too long": (414, b"GET /" + b"a" * 33_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n"),
    "another protocol": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "an unknown method": (501, b"FROB / HTTP/1.1\r\nHost: test\r\n\r\n"),
    "a method in lower case": (501, b"get / HTTP/1.1\r\nHost: test\r\n\r\n"),
    "a tunnel": (501, b"CONNECT a:1 HTTP/1.1\r\nHost: test\r\n\r\n"),
    "HTTP/2 by its preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/2 by its number": (505, b"GET / HTTP/2.0\r\nHost: test\r\n\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\nHost: test\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /\r\n\r\n"),
    "an expectation": (417, LENGTH + b"Expect: a unicorn\r\n\r\nab"),
    "a compressed body": (415, LENGTH + b"Content-Encoding: gzip\r\n\r\nab"),
    "a compressed body in chunks": (415, CHUNKED[:-2] + b"Content-Encoding: br\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    "a body that is compressed twice": (
        400,
        LENGTH + b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n\r\nab",
    ),
    "a length after the body": (400, CHUNKED + b"2\r\nab\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "a coding after the body": (400, CHUNKED + b"2\r\nab\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "many trailer fields": (431, CHUNKED + b"2\r\nab\r\n0\r\n" + b"A: b\r\n" * 3_000 + b"\r\n"),
}


@pytest.mark.parametrize(("status", "raw"), BROKEN.values(), ids=BROKEN.keys())
async def test_what_breaks_the_rules_gets_a_problem(status: int, raw: bytes) -> None:
    """By itself, and after a request of the same connection that is served before it."""
    answers, closed = await said([raw])
    assert [answer for answer, _ in answers] == [status]
    assert closed or status in (415, 417) or b"Content-Encoding" in raw  # those can be followed by the next request
    after, _ = await said([NEXT, raw])
    assert [answer for answer, _ in after] == [200, status]


@pytest.mark.parametrize(("status", "raw"), [each for each in BROKEN.values() if len(each[1]) < 300])
async def test_it_does_not_matter_where_it_is_cut(status: int, raw: bytes) -> None:
    """Only that a method is unknown, and no garbage, is known where the whole line is there."""
    for place in range(1, len(raw)):
        answers, _ = await said([raw[:place], raw[place:]])
        assert [answer for answer, _ in answers] in ([status], [400] if status == 501 else [status]), place


async def test_a_request_that_is_being_answered_is_not_lost_by_what_comes_after_it() -> None:
    answers, closed = await said([NEXT + b"rubbish\r\n\r\n"])
    assert [answer for answer, _ in answers] == [200]
    assert closed


async def test_no_second_answer_is_sent_for_what_comes_after_the_first() -> None:
    """The length says at once that the body is refused; that its rest is broken changes nothing."""
    answers, closed = await said([CHUNKED + b"5\r\nhello\r\n", b"zz\r\n"], body_limit=3)
    assert [answer for answer, _ in answers] == [413]
    assert closed


SECRETS = [
    b"Authorization: Bearer eve",
    b"X-Forwarded-For: 10.0.0.1",
    b"X-Forwarded-Proto: https",
    b"Idempotency-Key: k",
    b"Freehold-Organization: hers",
    b"If-Match: 1",
    b"Content-Encoding: gzip",
    b"Content-Type: text/csv",
    b"Host: other",
    b"Expect: a unicorn",
    b"Connection: upgrade\r\nUpgrade: h2c",
]


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("line", SECRETS)
async def test_trailer_fields_are_no_headers(line: bytes, *, cut: bool) -> None:
    """In one part, where they are parsed before the request is handled, and in two."""
    body = b"2;a=b\r\nab\r\n0\r\n"
    raw = CHUNKED + body
    parts = [raw, line + b"\r\n\r\n"] if cut else [raw + line + b"\r\n\r\n"]
    ((status, told),), _ = await said(parts)
    assert status == 200
    assert told["headers"] == {"host": "test", "transfer-encoding": "chunked"}
    assert told["body"] == "ab"


@pytest.mark.parametrize("size", [100, 4_096, 60_000])
async def test_chunk_extensions_are_bounded(size: int) -> None:
    """However they are spread over the parts and the chunks; and those that never end."""
    chunk = b"1;" + b"a" * 5_000 + b"\r\nx\r\n"
    for raw in (CHUNKED + chunk * 40, CHUNKED + b"1;" + b"a" * 200_000):
        parts = [CHUNKED, *(raw[place : place + size] for place in range(len(CHUNKED), len(raw), size))]
        answers, closed = await said(parts)
        assert [answer for answer, _ in answers] == [431]
        assert closed


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=70).map(lambda each: each.hex().encode()), max_size=30),
    cuts=st.lists(st.integers(1, 3_000), max_size=12),
    zeros=st.integers(0, 3),
)
def test_chunks_are_a_body_however_they_are_cut(chunks: list[bytes], cuts: list[int], zeros: int) -> None:
    """Long bodies of the smallest chunks too: what they need themselves is no extension."""
    many = chunks + [b"x"] * 4_000
    raw = CHUNKED + b"".join(b"%b%x\r\n%b\r\n" % (b"0" * zeros, len(each), each) for each in many)
    raw += b"0\r\nX-Sum: 1\r\n\r\n" + NEXT
    places = sorted({0, *(cut for cut in cuts if cut < len(raw)), len(raw)})
    parts = [raw[start:end] for start, end in pairwise(places)]
    answers, _ = asyncio.run(said(parts))
    assert [status for status, _ in answers] == [200, 200]
    assert answers[0][1]["body"] == b"".join(many).decode()
    assert answers[1][1]["path"] == "/next"


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0, h2c"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_wish_for_another_protocol_is_not_heard(protocol: bytes, size: int) -> None:
    """The request is served with its body, and so is the one after it."""
    wish = b"Connection: keep-alive, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQ\r\nUpgrade: " + protocol
    raw = (LENGTH + wish + b"\r\n\r\nab" + NEXT.replace(b"\r\n\r\n", b"\r\n" + wish + b"\r\n\r\n")) * 3
    answers, closed = await said([raw[place : place + size] for place in range(0, len(raw), size)])
    assert [(status, told["path"], told["body"]) for status, told in answers] == [
        (200, "/a", "ab"),
        (200, "/next", ""),
    ] * 3
    assert {told["headers"]["connection"] for _, told in answers} == {"keep-alive"}
    assert not closed


async def test_a_body_without_a_declared_length_is_bounded_in_versions_without_chunks() -> None:
    """HTTP/2 and 3 need no header for a body."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    async def drained(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass

    scope = {"type": "http", "http_version": "2", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    await Edge(drained, Settings(body_limit=1_000))(scope, receive, send)
    assert sent[0]["status"] == 413
