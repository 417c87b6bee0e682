"""What surrounds every request."""

import asyncio
import gc
import gzip
import json
import logging
from typing import Any
from uuid import UUID

import pytest

from freehold import Database
from freehold.server import Cors, Settings, exchange
from tests.server.serving import Api, request_of, serving


class Plain:
    """Answers as lean as can be."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_a_request_id_is_made_and_given_back(database: Database) -> None:
    async with serving(database) as (client, _):
        first, second = [(await client.get("/api/echo")).headers["x-request-id"] for _ in range(2)]
        assert UUID(first).version == UUID(second).version == 7
        assert first != second


async def test_a_request_id_is_taken_where_it_is_safe(database: Database) -> None:
    async with serving(database, api=(api := Api())) as (client, server):
        answer = await client.get("/api/echo", headers={"x-request-id": "web-1.2~3", "user-agent": "tests/2"})
        assert answer.headers["x-request-id"] == "web-1.2~3"
        assert api.seen[0].request_id == "web-1.2~3"
        assert api.seen[0].user_agent == "tests/2"
        for hostile in (b"", b"a b", b"a\r\nset-cookie: x", b"x" * 201, "ä".encode(), b"{'$ne': 1}", b"a\x00"):
            _, headers, _ = await request_of(server, "/api/echo", headers=[(b"x-request-id", hostile)])
            assert UUID(headers[b"x-request-id"].decode()).version == 7, hostile


async def test_answers_have_security_headers(database: Database) -> None:
    async with serving(database) as (client, _):
        for path in ("/api/echo", "/api/broken", "/nothing", "/healthz"):
            headers = (await client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "strict-transport-security" not in headers
            assert "authorization" in headers["vary"]
        assert (await client.get("/api/echo")).headers["cache-control"] == "private, no-cache"
        assert (await client.get("/api/secret")).headers.get_list("cache-control") == ["no-store"]
        secure = await client.get("https://test/api/echo")
        assert secure.headers["strict-transport-security"] == "max-age=31536000"
    async with serving(database, Settings(hsts_seconds=0)) as (client, _):
        assert "strict-transport-security" not in (await client.get("https://test/api/echo")).headers


async def test_an_unexpected_exception_is_logged_and_not_told(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(database) as (client, _):
        answer = await client.get("/api/broken", headers={"x-request-id": "r-1"})
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "FH500"
        assert answer.json()["request_id"] == "r-1"
        assert "hunter2" not in answer.text
        assert "RuntimeError" not in answer.text
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1
    assert "r-1" in told[0].getMessage()
    assert told[0].exc_info is not None
    assert "hunter2" in str(told[0].exc_info[1])


async def test_of_our_own_errors_as_little_is_told(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(database) as (client, _):
        answer = await client.get("/api/misconfigured")
        assert (answer.status_code, answer.json()["code"]) == (500, "FH500")
        assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


async def test_an_answer_that_breaks_off_is_not_taken_for_whole(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(database) as (_, server):
        with pytest.raises(Exception, match=r"^$"):  # the web server is told to close the connection
            await request_of(server, "/api/half")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


async def test_a_request_leaves_nothing_for_the_collector(database: Database) -> None:
    async with serving(database, api=Plain()) as (_, server):
        await request_of(server, "/api/x")
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await request_of(server, "/api/x")
            assert gc.collect() < 100
        finally:
            gc.enable()


async def test_errors_of_freehold_are_problems(database: Database) -> None:
    async with serving(database) as (client, _):
        answer = await client.get("/api/absent")
        assert answer.status_code == 404
        assert answer.json() == {
            "type": "urn:freehold:error:FH200",
            "title": "Not found",
            "status": 404,
            "detail": "Customer 1 does not exist",
            "code": "FH200",
            "error": "NotFoundError",
            "hint": None,
            "request_id": answer.headers["x-request-id"],
        }
        answer = await client.get("/api/limited")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")


@pytest.mark.parametrize("path", ["/", "/nothing", "/api", "/apix/echo", "/healthz/", "/metrics/x", "//healthz"])
async def test_what_is_not_there_is_a_problem(database: Database, path: str) -> None:
    async with serving(database) as (_, server):
        status, headers, body = await request_of(server, path)
        assert (status, headers[b"content-type"]) == (404, b"application/problem+json")
        assert path not in json.loads(body)["detail"] or path == "/"


async def test_what_can_only_be_read_says_so(database: Database) -> None:
    async with serving(database) as (client, _):
        answer = await client.post("/healthz")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert answer.json()["code"] == "FH103"
        assert (await client.head("/healthz")).content == b""


async def test_headers_that_are_too_many_or_too_long_are_refused(database: Database) -> None:
    async with serving(database, Settings(header_limit=2_000, header_count=20)) as (_, server):
        assert (await request_of(server, "/api/echo", headers=[(b"a", b"x" * 1_900)]))[0] == 200
        assert (await request_of(server, "/api/echo", headers=[(b"a", b"x" * 2_000)]))[0] == 431
        assert (await request_of(server, "/api/echo", headers=[(b"a", b"x" * 900)] * 3))[0] == 431
        assert (await request_of(server, "/api/echo", headers=[(b"a", b"x")] * 21))[0] == 431


@pytest.mark.parametrize("name", [b"authorization", b"freehold-organization", b"idempotency-key", b"host"])
async def test_a_header_that_two_programs_could_take_differently_is_refused(database: Database, name: bytes) -> None:
    async with serving(database, api=(api := Api())) as (_, server):
        status, _, body = await request_of(server, "/api/echo", headers=[(name, b"one"), (name, b"two")])
        assert status == 400
        assert name.decode() in json.loads(body)["detail"]
        assert not api.seen
        assert (await request_of(server, "/api/echo", headers=[(b"accept", b"a"), (b"accept", b"b")]))[0] == 200


async def test_a_body_that_is_told_too_long_is_not_read(database: Database) -> None:
    asked: list[str] = []

    async def receive() -> Any:
        asked.append("body")
        return {"type": "http.request", "body": b"x", "more_body": True}

    async with serving(database, Settings(body_limit=1_000)) as (client, server):
        status, headers, body = await request_of(
            server, "/api/echo", headers=[(b"content-length", b"1001")], receive=receive
        )
        assert (status, headers[b"connection"]) == (413, b"close")
        assert b"1,000" in body
        assert not asked
        assert (await client.post("/api/echo", content=b"x" * 1_000)).json()["length"] == 1_000


async def test_a_body_whose_length_is_not_told_is_read_to_the_limit(database: Database) -> None:
    parts = 0

    async def receive() -> Any:
        nonlocal parts
        parts += 1
        return {"type": "http.request", "body": b"x" * 400, "more_body": True}

    async with serving(database, Settings(body_limit=1_000)) as (_, server):
        status, _, _ = await request_of(
            server, "/api/echo", headers=[(b"transfer-encoding", b"chunked")], receive=receive
        )
        assert (status, parts) == (413, 3)
        lying = [(b"content-length", b"10"), (b"transfer-encoding", b"chunked")]
        assert (await request_of(server, "/api/echo", headers=lying, receive=receive))[0] == 413


async def test_a_body_that_comes_too_slowly_is_given_up(database: Database) -> None:
    async def receive() -> Any:
        await asyncio.Event().wait()

    settings = Settings(body_timeout=0.02)
    async with serving(database, settings) as (_, server):
        status, headers, body = await request_of(
            server, "/api/echo", headers=[(b"content-length", b"10")], receive=receive
        )
        assert (status, headers[b"connection"]) == (408, b"close")
        assert json.loads(body)["code"] == "FH103"


async def test_a_drip_does_not_buy_time_for_ever(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, clock = 0, 100.0

    async def receive() -> Any:
        nonlocal sent, clock
        sent, clock = sent + 1, clock + 1.0
        return {"type": "http.request", "body": b"x" * 100, "more_body": sent < 50}

    monkeypatch.setattr(exchange, "perf_counter", lambda: clock)
    for rate, expected, reads in ((10_000, 408, 11), (50, 200, 50)):  # at 100 bytes a second
        sent = 0
        async with serving(database, Settings(body_timeout=10, body_rate=rate)) as (_, server):
            headers = [(b"transfer-encoding", b"chunked")]
            answer = await request_of(server, "/api/echo", headers=headers, receive=receive)
            assert (answer[0], sent) == (expected, reads)


async def test_an_answer_that_takes_too_long_is_504(database: Database) -> None:
    api = Api()
    async with serving(database, Settings(request_timeout=0.02), api=api) as (client, server):
        answer = await client.get("/api/slow")
        assert answer.status_code == 504
        assert answer.json()["code"] == "FH400"
        assert not server._edge.running


async def test_what_needs_more_time_can_have_it(database: Database) -> None:
    api = Api()

    class Patient(Api):
        async def slow(self, request: Any, exchange: Any) -> Any:
            exchange.allow(60)
            return await api.slow(request, exchange)

    async with serving(database, Settings(request_timeout=0.02), api=Patient()) as (client, server):
        running = asyncio.create_task(client.get("/api/slow"))
        await api.started.wait()
        (exchange,) = server._edge.running
        assert exchange.deadline - exchange.began > 50
        api.release.set()
        assert (await running).status_code == 200


async def test_a_stream_that_nobody_reads_is_ended(database: Database) -> None:
    async with serving(database, Settings(write_timeout=0.02)) as (_, server):
        stuck = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                stuck.set()
                await asyncio.Event().wait()

        async def receive() -> Any:
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "GET", "path": "/api/endless", "headers": [], "client": None}
        with pytest.raises(Exception, match=r"^$"):
            await server({**scope, "query_string": b"", "scheme": "http"}, receive, send)
        assert stuck.is_set()
        assert not server._edge.running


async def test_who_cancels_from_outside_is_obeyed(database: Database) -> None:
    api = Api()
    async with serving(database, api=api) as (client, server):
        running = asyncio.create_task(client.get("/api/slow"))
        await api.started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not server._edge.running


async def test_too_many_at_once_are_sent_away(database: Database) -> None:
    api = Api()
    async with serving(database, Settings(concurrency=1), api=api) as (client, _):
        running = asyncio.create_task(client.get("/api/slow"))
        await api.started.wait()
        refused = await client.get("/api/echo")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        api.release.set()
        assert (await running).status_code == 200
        assert (await client.get("/api/echo")).status_code == 200


# Addresses


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        ((), "203.0.113.5", "192.0.2.9"),
        (("10.0.0.0/8",), "203.0.113.5", "192.0.2.9"),
        (("192.0.2.0/24",), "203.0.113.5", "203.0.113.5"),
        (("192.0.2.0/24",), "6.6.6.6, 203.0.113.5", "203.0.113.5"),
        (("192.0.2.0/24", "10.0.0.0/8"), "6.6.6.6, 203.0.113.5, 10.1.2.3", "203.0.113.5"),
        (("192.0.2.0/24",), "203.0.113.5, nonsense", "192.0.2.9"),
        (("192.0.2.0/24",), "[2001:db8::1]:443", "2001:db8::1"),
        (("192.0.2.0/24",), "203.0.113.5:1234", "203.0.113.5"),
        (("192.0.2.0/24",), "", "192.0.2.9"),
        (("192.0.2.0/24",), "1.2.3.4," * 2_000, "192.0.2.9"),
    ],
)
async def test_only_trusted_proxies_are_believed(
    database: Database, trusted: tuple[str, ...], forwarded: str, expected: str
) -> None:
    async with serving(database, Settings(trusted_proxies=trusted)) as (client, _):
        answer = await client.get("/api/echo", headers={"x-forwarded-for": forwarded, "x-forwarded-proto": "https"})
        assert answer.json()["ip"] == expected
        believed = trusted and trusted[0] != "10.0.0.0/8"
        assert ("strict-transport-security" in answer.headers) == bool(believed)


async def test_two_headers_of_a_proxy_are_one_list(database: Database) -> None:
    async with serving(database, Settings(trusted_proxies=("192.0.2.9",))) as (_, server):
        headers = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"203.0.113.5")]
        _, _, body = await request_of(server, "/api/echo", headers=headers)
        assert json.loads(body)["ip"] == "203.0.113.5"


# Compression


async def test_long_answers_are_compressed_for_those_who_can_read_it(database: Database) -> None:
    async with serving(database) as (_, server):
        status, headers, body = await request_of(server, "/api/large", headers=[(b"accept-encoding", b"br, gzip")])
        assert (status, headers[b"content-encoding"]) == (200, b"gzip")
        assert int(headers[b"content-length"]) == len(body) < 1_000
        assert json.loads(gzip.decompress(body)) == {"data": ["x" * 100] * 100}
        assert headers[b"etag"] == b'W/"7"'  # the same version in other bytes
        assert b"accept-encoding" in headers[b"vary"]
        for refused in (b"", b"br", b"gzip;q=0", b"x-gzip", b"*"):
            _, headers, body = await request_of(server, "/api/large", headers=[(b"accept-encoding", refused)])
            assert b"content-encoding" not in headers, refused
            assert headers[b"etag"] == b'"7"'
            assert int(headers[b"content-length"]) == len(body)


async def test_what_is_short_or_secret_is_not_compressed(database: Database) -> None:
    accept = [(b"accept-encoding", b"gzip")]
    async with serving(database) as (_, server):
        for path in ("/api/echo", "/api/secret", "/api/absent", "/healthz"):
            assert b"content-encoding" not in (await request_of(server, path, headers=accept))[1]
    async with serving(database, Settings(compression=None)) as (_, server):
        assert b"content-encoding" not in (await request_of(server, "/api/large", headers=accept))[1]


async def test_each_part_of_a_compressed_stream_can_be_read_when_it_comes(database: Database) -> None:
    import zlib

    async with serving(database) as (_, server):
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "GET", "path": "/api/lines", "client": None, "query_string": b""}
        await server({**scope, "headers": [(b"accept-encoding", b"gzip")]}, receive, send)
        headers = dict(sent[0]["headers"])
        assert headers[b"content-encoding"] == b"gzip"
        assert b"content-length" not in headers
        reader = zlib.decompressobj(31)
        assert [reader.decompress(message["body"]) for message in sent[1:4]] == [
            b'{"number": 0}\n',
            b'{"number": 1}\n',
            b'{"number": 2}\n',
        ]


# Other origins


async def test_other_origins_are_let_in_by_configuration_only(database: Database) -> None:
    asking = {
        "origin": "https://app.example",
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization,if-match,x-tenant",
    }
    async with serving(database) as (client, _):
        answer = await client.get("/api/echo", headers={"origin": "https://app.example"})
        assert "access-control-allow-origin" not in answer.headers
    async with serving(database, Settings(cors=Cors(("https://app.example",), headers=("X-Tenant",)))) as (client, _):
        answer = await client.options("/api/echo", headers=asking)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        answer = await client.get("/api/broken", headers={"origin": "https://app.example"})
        assert answer.status_code == 500
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "ETag" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
        for stranger in ("https://app.example.evil.test", "null", "http://app.example"):
            answer = await client.options("/api/echo", headers={**asking, "origin": stranger})
            assert "access-control-allow-origin" not in answer.headers
            assert answer.status_code == 400


# What is shown in development


async def test_times_are_shown_in_development_only(database: Database) -> None:
    async with serving(database, Settings(development=True)) as (client, _):
        timing = (await client.get("/api/staged")).headers["server-timing"]
        assert timing.startswith("parse;dur=1.00, execute;dur=2.00, total;dur=")
    async with serving(database) as (client, _):
        assert "server-timing" not in (await client.get("/api/staged")).headers


async def test_a_prefix_is_taken_off_whoever_has_put_it_there(database: Database) -> None:
    async with serving(database, root_path="/crm") as (client, _):
        assert (await client.get("/crm/api/echo")).status_code == 200
        assert (await client.get("/api/echo")).status_code == 200  # a proxy has taken it off
        assert (await client.get("/crmx/api/echo")).status_code == 404
        assert (await client.get("/crm/healthz")).status_code == 200
