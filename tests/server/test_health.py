"""Whether the server lives, and whether it can serve."""

from typing import Any

import pytest

from freehold import Application, Database
from freehold.errors import ConfigurationError
from freehold.postgres.connections import connect
from freehold.server import Settings, asgi
from tests.conftest import Server
from tests.probe import scratch
from tests.server.serving import request_of, serving
from tests.world import application


async def test_a_server_that_serves_is_live_and_ready(database: Database) -> None:
    async with serving(database) as (client, _):
        for path in ("/healthz", "/readyz"):
            answer = await client.get(path)
            assert (answer.status_code, answer.text) == (200, "ok\n")
            assert answer.headers["cache-control"] == "no-store"


async def test_a_server_that_is_about_to_stop_is_live_and_not_ready(database: Database) -> None:
    async with serving(database) as (client, server):
        assert "connection" not in (await client.get("/readyz")).headers
        server.announce_stop()
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "FH401")
        assert (await client.get("/healthz")).status_code == 200
        answer = await client.get("/api/echo")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")


async def test_a_server_whose_tables_are_gone_is_not_ready(server: Server) -> None:
    async with (
        scratch(server) as name,
        Database.open(server.address(name), application, size=1) as database,
        serving(database) as (client, _),
    ):
        async with connect(server.admin_address(name)) as admin:
            await admin.execute("alter table app.orders drop column placed_on")
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert "FH001" in answer.json()["detail"]
        assert "orders" not in answer.text  # strangers may ask
        assert (await client.get("/healthz")).status_code == 200


async def test_a_server_without_its_database_is_not_ready(server: Server) -> None:
    async with (
        scratch(server) as name,
        Database.open(server.address(name), application, size=1) as database,
        serving(database) as (client, _),
    ):
        async with connect(server.admin) as admin:
            await admin.execute(f'drop database "{name}" with (force)')
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["detail"][:12]) == (503, "the database")
        assert (await client.get("/healthz")).status_code == 200


async def test_a_server_opens_and_closes_its_own_database(server: Server, database_name: str) -> None:
    made = asgi(application, url=server.address(database_name))
    async with made.lifespan():
        database = made.database
        assert (await request_of(made, "/readyz"))[0] == 200
    with pytest.raises(ConfigurationError, match="not started"):
        _ = made.database
    assert database.store.pool.figures.open == 0
    async with made.lifespan():  # and can be started again
        assert (await request_of(made, "/readyz"))[0] == 200


async def test_a_database_that_was_given_stays_open(database: Database) -> None:
    async with asgi(application, database=database).lifespan():
        pass
    assert await database.system("tests").find_organization("nobody") is None


async def test_what_cannot_start_says_why(server: Server) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    made = asgi(application, url="postgresql://nobody@127.0.0.1:1/nothing")
    await made({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "FH401" in sent[0]["message"]


def test_a_server_has_one_database() -> None:
    for given in ({}, {"url": "postgresql://x", "database": object()}):
        with pytest.raises(ConfigurationError, match="one of the two"):
            asgi(Application("none", []), settings=Settings(), **given)  # type: ignore[arg-type]


async def test_before_the_lifespan_nothing_is_ready(database: Database) -> None:
    made = asgi(application, database=database)
    assert (await request_of(made, "/readyz"))[0] == 503
    assert (await request_of(made, "/healthz"))[0] == 200
