"""Functions that take the place of those that entities offer, at the same addresses; and what cannot be served."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from freehold import Application, Database, Entity, Page, Principal, Session, Transaction, field
from freehold.errors import ConfigurationError
from freehold.functions.registry import Functions
from freehold.server.routes import Routes
from tests.conftest import Server, new_context
from tests.server.calling import Callers, calling
from tests.world import Contact, Customer, Order

own = Application("own", [Customer, Contact, Order])


@own.query(name="customers.list", cache=30)
async def listed(session: Session, starting: str = "", limit: int = 10) -> Page[Customer]:
    """Customers whose names begin so."""
    return await session.list(Customer, where={"name": {"starts_with": starting}}, limit=limit)


@own.command(name="customers.create")
async def create(transaction: Transaction, name: str, nick: str = "") -> Customer:
    """A customer, with a name made of two."""
    return await transaction.create(Customer, name=f"{name} {nick}".strip())


@own.command(name="customers.update")
async def update(transaction: Transaction, id: UUID, name: str) -> Customer:
    """Names a customer, whatever version it has."""
    customer = await transaction.get(Customer, id, for_update=True)
    return await transaction.update(customer, name=name)


@own.command(name="contacts.delete")
async def delete(transaction: Transaction, id: UUID, version: int) -> None:
    """Tells nothing of what is gone."""
    await transaction.delete((Contact, id, version))


@pytest.fixture
async def call(server: Server, database_name: str) -> AsyncIterator[Callers]:
    async with Database.open(server.address(database_name), own, size=2) as database:
        context = await new_context(database)
        ada = Principal(context.organization_id, context.user_id, "admin", frozenset({"*"}), "user:ada")
        async with calling(database, ada=ada) as callers:
            yield callers


async def test_a_function_of_one_s_own_stands_at_the_address(call: Callers) -> None:
    made = await call("ada", "POST", "/api/customers", json={"name": "Acme", "nick": "Ltd"})
    assert (made.status_code, made.json()["name"]) == (200, "Acme Ltd")
    assert made.headers["etag"].startswith('"1')
    page = await call("ada", "GET", "/api/customers?starting=Ac")
    assert [row["name"] for row in page.json()["data"]] == ["Acme Ltd"]
    assert page.headers["cache-control"] == "private, max-age=30"
    refused = await call("ada", "GET", "/api/customers?name=Acme")
    assert refused.json()["issues"][0]["path"] == ["name"]


async def test_a_body_s_names_are_parameters(call: Callers) -> None:
    made = (await call("ada", "POST", "/api/customers", json={"name": "Acme"})).json()
    place = f"/api/customers/{made['id']}"
    assert (await call("ada", "PATCH", place, json={"name": "Bolt"})).json()["name"] == "Bolt"
    for body in ({"name": "x", "id": made["id"]}, ["name"], "name"):
        assert (await call("ada", "PATCH", place, json=body)).status_code == 400
    assert (await call("ada", "PATCH", place)).status_code == 400
    assert (await call("ada", "PATCH", place, json={})).status_code == 422
    told = (await call("ada", "PATCH", place, json={"name": "x", "version": 1})).json()
    assert told["issues"][0]["path"] == ["version"]
    assert (await call("ada", "GET", f"{place}?select=name")).json()["name"] == "Bolt"


async def test_what_returns_nothing_answers_null(call: Callers) -> None:
    customer = (await call("ada", "POST", "/api/customers", json={"name": "Acme"})).json()
    contact = (await call("ada", "POST", "/api/contacts", json={"customer_id": customer["id"], "name": "Bo"})).json()
    place = f"/api/contacts/{contact['id']}"
    assert (await call("ada", "DELETE", place)).status_code == 428
    gone = await call("ada", "DELETE", place, headers={"if-match": '"1"'})
    assert (gone.status_code, gone.json()) == (200, None)
    assert (await call("ada", "GET", place)).status_code == 404


class Batch(Entity, table="batch", expose="all"):
    name: str = field(max_length=20)


def test_a_table_that_stands_in_the_way_is_refused() -> None:
    application = Application("wrong", [Batch])
    with pytest.raises(ConfigurationError, match="'batch' cannot be served"):
        Routes(application.functions, application.registry)
    Routes(Functions(), application.registry)


def test_a_function_of_the_wrong_kind_is_refused() -> None:
    application = Application("wrong", [Customer, Contact, Order])

    @application.command(name="customers.list")
    async def wrong(transaction: Transaction) -> int:
        """Writes where one reads."""
        return 1

    with pytest.raises(ConfigurationError, match=r"customers\.list is a command"):
        Routes(application.functions, application.registry)
