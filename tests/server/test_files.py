"""Batches, imports and exports over HTTP."""

import asyncio
from typing import Any

import pytest
from pydantic_core import from_json

from freehold import Database, Principal
from freehold.server import Settings
from tests.server.calling import Callers, calling


async def names(call: Callers, who: str = "ada") -> list[str]:
    page = (await call(who, "GET", "/api/customers?order=name")).json()
    return [row["name"] for row in page["data"]]


async def test_a_file_comes_in_and_goes_out(call: Callers) -> None:
    text = b"name,credit\nAcme,5.00\nBolt,\n,7.00\n"
    response = await call("ada", "POST", "/api/customers/import", content=text, headers={"content-type": "text/csv"})
    told = response.json()
    assert (response.status_code, told["rows"], told["created"], told["refused"]) == (200, 3, 2, 1)
    assert await names(call) == ["Acme", "Bolt"]
    assert await names(call, "eve") == []

    file = await call("ada", "GET", "/api/customers/export?fields=name,credit&order=name")
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.headers["content-disposition"] == 'attachment; filename="customers.csv"'
    assert file.text.splitlines() == ["name,credit", "Acme,5.00", "Bolt,0.00"]
    lines = await call("ada", "GET", "/api/customers/export?format=jsonl&name=Bolt&fields=name")
    assert [from_json(line) for line in lines.text.splitlines()] == [{"name": "Bolt"}]
    assert (await call("eve", "GET", "/api/customers/export?fields=name")).text.splitlines() == ["name"]


async def test_the_type_of_a_file_tells_its_format(call: Callers) -> None:
    headers = {"content-type": "application/x-ndjson"}
    response = await call("ada", "POST", "/api/customers/import", content=b'{"name": "Acme"}\n', headers=headers)
    assert (response.status_code, response.json()["created"]) == (200, 1)


async def test_an_import_takes_no_key_and_needs_its_permission(call: Callers) -> None:
    path, text = "/api/customers/import", b"name\nAcme\n"
    assert (await call("guest", "POST", path, content=text)).status_code == 403
    assert (await call("ada", "POST", path, content=text, headers={"idempotency-key": "k"})).status_code == 400
    assert (await call(None, "POST", path, content=text)).status_code == 401
    assert await names(call) == []


async def test_a_file_that_is_too_long_is_not_imported(shop_database: Database, ada: Principal) -> None:
    async with calling(shop_database, Settings(import_limit=10_000, body_limit=100), ada=ada) as call:
        rows = b"name\n" + b"".join(b"Customer %d\n" % number for number in range(500))
        assert (await call("ada", "POST", "/api/customers/import", content=rows)).status_code == 200
        assert len(await names(call)) == 50
        response = await call("ada", "POST", "/api/customers/import", content=rows * 10)
        assert (response.status_code, len(await names(call))) == (413, 50)
        response = await call("ada", "POST", "/api/customers", json={"name": "x" * 100})
        assert response.status_code == 413


async def test_an_export_that_is_refused_is_a_problem(call: Callers) -> None:
    for query in ("fields=nothing", "colour=red", "fields=tax_number"):
        response = await call("ada", "GET", f"/api/customers/export?{query}")
        assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")


async def test_several_calls_in_one_request(call: Callers) -> None:
    calls = [
        {"id": "a", "function": "customers.create", "arguments": {"values": {"name": "Acme"}}},
        {"id": "b", "function": "customers.create", "arguments": {"values": {"name": ""}}},
        {"id": "c", "function": "customers.list", "arguments": {"select": ["name"]}},
        {"id": "d", "function": "nothing"},
        {"id": "e", "function": "broken"},
    ]
    response = await call("ada", "POST", "/api/batch", json={"calls": calls})
    made, refused, listed, absent, broken = response.json()["results"]
    assert (response.status_code, made["id"], made["version"], made["result"]["name"]) == (200, "a", 1, "Acme")
    assert (refused["problem"]["status"], refused["problem"]["code"]) == (422, "FH100")
    assert [row["name"] for row in listed["result"]["data"]] == ["Acme"]
    assert absent["problem"]["status"] == 404
    assert (broken["problem"]["status"], "secret" in response.text) == (500, False)


async def test_a_batch_of_nobody_calls_what_is_public(call: Callers) -> None:
    calls: list[Any] = [{"function": "hello"}, {"function": "customers.list"}]
    hello, listed = (await call(None, "POST", "/api/batch", json={"calls": calls})).json()["results"]
    assert (hello["result"], listed["problem"]["status"]) == ("hello, you", 401)
    assert (await call("nobody", "POST", "/api/batch", json={"calls": calls})).status_code == 401


async def test_a_batch_is_bounded_and_read_strictly(call: Callers) -> None:
    one = {"function": "hello"}
    assert (await call("ada", "POST", "/api/batch", json={"calls": [one] * 51})).status_code == 422
    assert (await call("ada", "POST", "/api/batch", json={"calls": []})).status_code == 422
    assert (await call("ada", "GET", "/api/batch")).status_code == 405
    headers = {"idempotency-key": "k"}
    assert (await call("ada", "POST", "/api/batch", json={"calls": [one]}, headers=headers)).status_code == 400


async def test_a_conflict_in_a_batch_tells_the_current_record_to_whoever_may_see_it(call: Callers) -> None:
    record = (await call("ada", "POST", "/api/customers", json={"name": "Acme"})).json()
    arguments = {"id": record["id"], "version": 7, "changes": {"name": "x"}}
    calls = [{"function": "customers.update", "arguments": arguments}]
    (mine,) = (await call("ada", "POST", "/api/batch", json={"calls": calls})).json()["results"]
    assert (mine["problem"]["code"], mine["problem"]["current"]["name"]) == ("FH201", "Acme")
    (theirs,) = (await call("eve", "POST", "/api/batch", json={"calls": calls})).json()["results"]
    assert (theirs["problem"]["code"], "Acme" in str(theirs)) == ("FH200", False)


@pytest.mark.parametrize("after", [0, 1])
async def test_a_client_that_leaves_in_the_middle_of_a_file_imports_nothing(call: Callers, after: int) -> None:
    parts = [b"name\nAcme\n", b"Bolt\n"][:after]
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0)
        return (
            {"type": "http.request", "body": parts.pop(), "more_body": True} if parts else {"type": "http.disconnect"}
        )

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/api/customers/import"
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "scheme": "http", "headers": [(b"authorization", b"Bearer ada"), (b"transfer-encoding", b"chunked")],
        "client": ("192.0.2.9", 5), "server": ("test", 80), "http_version": "1.1",
    }  # fmt: skip
    await call.server(scope, receive, send)
    assert sent == []
    assert await names(call) == []


async def test_a_file_that_waits_for_its_turn_is_not_read_by_the_watch(call: Callers) -> None:
    """Who watches for the client's end reads the request too, and would take parts of the file."""
    api: Any = call.server._api
    api._departures._pause = 0
    parts = [b"Bolt\n", b"name\nAcme\n"]

    class Late:
        async def admit(self, call: Any) -> "Late":
            for _ in range(20):  # the watch has looked by then, more than once
                await asyncio.sleep(0)
            return self

        def end(self) -> None: ...

        def stream(self) -> None: ...

        def pause(self) -> None: ...

        async def resume(self) -> None: ...

    api._pipeline._limiter = Late()

    async def content() -> Any:
        while parts:
            await asyncio.sleep(0)
            yield parts.pop()

    response = await call("ada", "POST", "/api/customers/import", content=content())
    assert (response.status_code, response.json().get("created")) == (200, 2)
