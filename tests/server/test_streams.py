"""Streams over HTTP: framing, backpressure, errors in the middle, clients that leave."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_core import from_json

from freehold import Application, Database, Principal, Session
from freehold.errors import ValidationError
from freehold.identity.principal import Origin
from freehold.server import Settings
from freehold.server.application import WebApplication
from freehold.server.reply import AbortedError
from tests.conftest import Server, new_context
from tests.server.calling import Callers, Tokens
from tests.world import Contact, Customer, Order

numbers = Application("numbers", [Customer, Contact, Order])
state: dict[str, Any] = {}


@numbers.query(name="numbers.failing", stream=True, requires=None)
async def failing(session: Session, after: int, own: bool = False) -> AsyncIterator[int]:
    """Fails after some items."""
    for number in range(after):
        yield number
    if own:
        raise ValidationError.single(("after",), "that is all", "ended")
    raise RuntimeError("secret-of-the-stream")


@numbers.query(name="numbers.endless", stream=True, requires=None)
async def endless(session: Session) -> AsyncIterator[str]:
    """Goes on until the client leaves."""
    try:
        number = 0
        while True:
            state["made"] = number = number + 1
            yield "x" * 100
    finally:
        state["ended"].set()


@numbers.query(name="numbers.waiting", stream=True, requires=None)
async def waiting(session: Session) -> AsyncIterator[int]:
    """Makes one item and waits for ever."""
    try:
        yield 1
        await asyncio.Event().wait()
    finally:
        state["ended"].set()


@numbers.query(name="numbers.stuck", requires=None, timeout=60)
async def stuck(session: Session) -> int:
    """Never answers."""
    state["begun"].set()
    try:
        await asyncio.Event().wait()
    finally:
        state["ended"].set()
    return 1


class Admissions:
    """Counts who was let in and has not left: a limiter, and what it gives."""

    def __init__(self) -> None:
        self.inside = 0
        self.streams = 0

    async def admit(self, call: Any) -> "Admissions":
        self.inside += 1
        return self

    def end(self) -> None:
        self.inside = 0

    def stream(self) -> None:
        self.streams += 1

    def pause(self) -> None: ...

    async def resume(self) -> None: ...


class Exchange:
    """One request to the server, message by message."""

    def __init__(self, server: Any, path: str, headers: dict[str, str] | None = None, query: str = "") -> None:
        self.sent: list[Any] = []
        self.taken = asyncio.Semaphore(0)
        self.left = asyncio.Event()
        self.slow = False
        all_headers = {"authorization": "Bearer ada", **(headers or {})}
        scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": query.encode(),
            "scheme": "http", "headers": [(name.encode(), value.encode()) for name, value in all_headers.items()],
            "client": ("192.0.2.9", 5), "server": ("test", 80), "http_version": "1.1",
        }  # fmt: skip
        self._begun = False
        self.task = asyncio.create_task(server(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        if self.slow:
            await self.taken.acquire()


@pytest.fixture
async def numbers_web(server: Server, database_name: str) -> AsyncIterator[WebApplication]:
    """The server, which was not started yet."""
    state.update(made=0, ended=asyncio.Event(), begun=asyncio.Event())
    async with Database.open(server.address(database_name), numbers, size=2) as database:
        context = await new_context(database)
        ada = Principal(context.organization_id, context.user_id, "admin", frozenset({"*"}), "user:ada")
        settings = Settings(compression=None)
        yield WebApplication(numbers, database=database, settings=settings, authenticator=Tokens({"ada": ada}))


@pytest.fixture
async def numbers_server(numbers_web: WebApplication) -> AsyncIterator[WebApplication]:
    """The server."""
    async with numbers_web.lifespan():
        yield numbers_web


def body(exchange: Exchange) -> bytes:
    return b"".join(message.get("body", b"") for message in exchange.sent[1:])


async def test_items_are_lines_or_events(call: Callers, shop_database: Database, ada: Principal) -> None:
    async with shop_database.session(ada.context(Origin())) as session:
        for name in ("a", "b"):
            await session.create(Customer, name=name)
    path = "/api/functions/customers.stream"
    lines = await call("ada", "GET", path)
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [from_json(line)["name"] for line in lines.text.splitlines()] == ["a", "b"]
    events = await call("ada", "POST", path, json={"most": 1}, headers={"accept": "text/event-stream"})
    assert events.headers["content-type"].startswith("text/event-stream")
    first, last, rest = events.text.split("\n\n")
    assert from_json(first.removeprefix("data: "))["name"] == "a"
    assert (last, rest) == ("event: end\ndata: {}", "")
    head = await call("ada", "HEAD", path)
    assert (head.status_code, head.content) == (200, b"")


async def test_what_fails_before_the_first_item_is_a_problem(numbers_server: WebApplication) -> None:
    exchange = Exchange(numbers_server, "/api/functions/numbers.failing")
    await exchange.task
    assert exchange.sent[0]["status"] == 422
    assert b"after" in body(exchange)


@pytest.mark.parametrize(("accept", "start"), [("*/*", b"{"), ("text/event-stream", b"event: problem\ndata: {")])
@pytest.mark.parametrize("own", [False, True])
async def test_an_error_in_the_middle_is_told_and_ends_the_connection(
    numbers_server: WebApplication, caplog: pytest.LogCaptureFixture, accept: str, start: bytes, own: bool
) -> None:
    path = "/api/functions/numbers.failing"
    with caplog.at_level(logging.WARNING, "freehold.server"):
        exchange = Exchange(numbers_server, path, {"accept": accept}, f"after=2&own={str(own).lower()}")
        with pytest.raises(AbortedError):
            await exchange.task
    text = body(exchange)
    last = text.rstrip().split(b"\n\n" if b"event" in start else b"\n")[-1]
    assert last.startswith(start)
    told = from_json(last[last.index(b"{") :])
    told = told.get("problem", told)
    assert told["code"] == ("FH100" if own else "FH500")
    assert b"secret" not in text
    assert exchange.sent[-1]["more_body"] is True  # it was not ended in order
    assert any(told["request_id"] in record.getMessage() for record in caplog.records)


async def test_nothing_is_made_that_nobody_takes(numbers_server: WebApplication) -> None:
    exchange = Exchange(numbers_server, "/api/functions/numbers.endless")
    exchange.slow = True
    for taken in range(1, 6):
        while len(exchange.sent) < taken:
            await asyncio.sleep(0)
        for _ in range(50):  # whatever could go on, has gone on
            await asyncio.sleep(0)
        assert len(exchange.sent) == taken
        assert state["made"] <= taken
        exchange.taken.release()
    exchange.left.set()
    exchange.slow = False
    exchange.taken.release()
    await exchange.task
    assert state["ended"].is_set()


async def test_a_stream_ends_when_the_client_has_left(numbers_server: WebApplication) -> None:
    exchange = Exchange(numbers_server, "/api/functions/numbers.waiting")
    while len(exchange.sent) < 2:
        await asyncio.sleep(0)
    exchange.left.set()
    await exchange.task
    assert state["ended"].is_set()
    assert all(message["type"] != "http.response.body" or message.get("more_body") for message in exchange.sent)


async def test_a_call_is_cancelled_when_the_client_has_left(numbers_server: WebApplication) -> None:
    limiter = Admissions()
    numbers_server._api._pipeline._limiter = limiter  # type: ignore[union-attr]  # its own API
    exchange = Exchange(numbers_server, "/api/functions/numbers.stuck")
    await state["begun"].wait()
    assert limiter.inside == 1
    exchange.left.set()
    await exchange.task
    assert state["ended"].is_set()
    assert (exchange.sent, limiter.inside) == ([], 0)


async def test_a_stream_ends_its_admission_when_it_ends(numbers_server: WebApplication) -> None:
    limiter = Admissions()
    numbers_server._api._pipeline._limiter = limiter  # type: ignore[union-attr]
    exchange = Exchange(numbers_server, "/api/functions/numbers.waiting")
    while len(exchange.sent) < 2:
        await asyncio.sleep(0)
    assert (limiter.inside, limiter.streams) == (1, 1)
    exchange.left.set()
    await exchange.task
    assert limiter.inside == 0
