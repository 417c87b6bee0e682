"""What is written of requests, and what is not."""

import io
import json
import logging
import sys
from uuid import UUID

from freehold import Database
from freehold.identity.principal import Principal
from freehold.server import Settings
from freehold.server.logs import JsonFormatter, TextFormatter, configure
from freehold.server.reply import AbortedError
from tests.server.serving import Api, serving

ID = UUID("0198c0de-0000-7000-8000-000000000001")


class Known(Api):
    async def echo(self, request, exchange):  # type: ignore[no-untyped-def]
        request.scope["state"]["principal"] = Principal(ID, None, "admin", frozenset(), "key:7")
        return await super().echo(request, exchange)


async def lines(database: Database, settings: Settings) -> list[dict[str, object]]:
    stream = io.StringIO()
    configure(settings, stream)
    async with serving(database, settings, api=Known()) as (client, _):
        await client.post(
            "/api/echo?password=hunter2",
            content=b"hunter2",
            headers={"authorization": "Bearer hunter2", "x-request-id": "r-1", "user-agent": "hunter2"},
        )
        await client.get("/hunter2")
        await client.get("/api/absent")
    for handler in logging.getLogger("freehold.access").handlers:
        handler.close()
    assert "hunter2" not in stream.getvalue()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_request_is_a_line_of_json(database: Database) -> None:
    told, unknown, absent = await lines(database, Settings())
    assert {name: told[name] for name in told if name not in ("time", "milliseconds", "bytes")} == {
        "level": "info",
        "logger": "freehold.access",
        "request_id": "r-1",
        "method": "POST",
        "function": "echo",
        "status": 200,
        "organization_id": str(ID),
        "credential": "key:7",
    }
    assert isinstance(told["milliseconds"], float)
    assert told["bytes"] == len('{"length":7,"scheme":"http","ip":"192.0.2.9"}')
    assert (unknown["function"], unknown["status"]) == ("-", 404)
    assert "organization_id" not in unknown
    assert (absent["function"], absent["status"]) == ("absent", 404)


async def test_addresses_are_told_where_that_is_asked_for(database: Database) -> None:
    told, *_ = await lines(database, Settings(log_addresses=True))
    assert told["client_ip"] == "192.0.2.9"


async def test_requests_need_not_be_told(database: Database) -> None:
    assert await lines(database, Settings(access_log=False)) == []


async def test_text_is_for_people(database: Database) -> None:
    stream = io.StringIO()
    settings = Settings(development=True)
    configure(settings, stream)
    async with serving(database, settings) as (client, _):
        await client.get("/api/echo?password=hunter2")
        await client.get("/api/broken")
    text = stream.getvalue()
    assert " INFO    GET echo 200 " in text
    assert "Traceback" in text
    assert "?" not in text.splitlines()[0]


def test_an_exception_is_one_line_of_json_with_its_traceback() -> None:
    try:
        raise RuntimeError("lone \ud800 surrogate\nnew line")
    except RuntimeError:
        record = logging.LogRecord("freehold.server", logging.ERROR, "", 0, "it \ud800 broke", None, sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "it \\ud800 broke"
    assert "Traceback" in json.loads(line)["exception"]
    assert TextFormatter().format(record)


def test_what_is_told_already_is_not_told_again() -> None:
    stream = io.StringIO()
    configure(Settings(), stream)
    log = logging.getLogger("uvicorn.error")
    for error in (AbortedError(), ValueError("new")):
        log.error("Exception in ASGI application", exc_info=error)
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: new" in json.loads(line)["exception"]
