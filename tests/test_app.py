"""The composition root: an application, its manifest, and opening and closing a database."""

import asyncio
import json
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import freehold
from freehold import Address, Application, Database, Entity, Order, errors, field
from tests.conftest import Server, new_context
from tests.world import Contact, Customer, application
from tests.world import Order as Sale


def test_the_public_names_are_there() -> None:
    assert sorted(freehold.__all__) == list(freehold.__all__)
    for name in freehold.__all__:
        assert hasattr(freehold, name)
    assert Order is not Sale


def test_the_manifest_is_json_that_says_all(subtests: pytest.Subtests) -> None:
    manifest = application.manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["name"] == "tests"
    assert [entity["name"] for entity in manifest["entities"]] == ["Customer", "Contact", "Order"]
    customer, contact, order = manifest["entities"]
    fields = {field["name"]: field for field in customer["fields"]}
    assert fields["credit"]["type"] == "numeric(12, 2)"
    assert fields["status"]["choices"] == ["prospect", "active", "vip"]
    assert fields["tax_number"]["private"] is True
    assert fields["code"]["immutable"] is True
    assert fields["tags"]["many"] is True
    assert fields["email"]["nullable"] is True
    assert fields["id"]["base"] is True
    assert (customer["soft_delete"], order["soft_delete"]) == (True, False)
    assert {"name": "customer", "target": "Customer", "field": "customer_id", "many": False} in contact["relations"]
    assert {"name": "contacts", "target": "Contact", "field": "customer_id", "many": True} in customer["relations"]
    key = {"name": "customers_email_key", "fields": ["email"], "where": {}, "ignore_case": ["email"]}
    assert customer["unique"] == [key]
    assert customer["create"] == {"$ref": "#/schemas/CustomerCreate"}
    create, patch = manifest["schemas"]["CustomerCreate"], manifest["schemas"]["CustomerPatch"]
    assert create["required"] == ["name"]
    assert create["additionalProperties"] is False
    assert "code" not in patch["properties"]
    assert "id" not in create["properties"]


def test_an_application_s_entities_must_fit_together() -> None:
    with pytest.raises(errors.DeclarationError, match="Customer"):
        Application("x", [Contact])
    with pytest.raises(errors.DeclarationError):
        Application("x", [Customer, Customer])
    for wrong in (int, "Customer", None, Customer.Create):
        with pytest.raises(errors.ConfigurationError):
            Application("x", [wrong])  # type: ignore[list-item]


def test_one_entity_serves_several_applications() -> None:
    one, two = Application("one", [Customer]), Application("two", [Customer, Contact])
    assert one.registry[Customer] is two.registry[Customer]
    assert "contacts" not in one.registry.relations["Customer"]
    assert "contacts" in two.registry.relations["Customer"]


async def test_a_database_is_opened_by_url(server: Server, database_name: str) -> None:
    where = server.address(database_name)
    url = (
        f"postgresql://{where.user}:{quote(str(where.password), safe='')}@/{database_name}"
        f"?host={quote(str(where.host), safe='')}&port={where.port}"
    )
    async with Database.open(url, application, size=1) as database:
        assert database.application is application
        assert await database.system("test").find_organization("there-is-none") is None


def test_a_password_is_in_no_representation() -> None:
    address = Address(url="postgresql://u:secret@h/d", user="u", password="secret", host="h")
    assert "secret" not in f"{address} {address!r} {[address]!r}"


async def test_a_closed_database_answers_nothing(server: Server, database_name: str) -> None:
    async with Database.open(server.address(database_name), application, size=1) as database:
        session = database.session(await new_context(database))
        made = await session.create(Customer, name="x")
    for call in (session.get(Customer, made.id), session.list(Customer), session.update(made, name="y")):
        with pytest.raises(errors.UnavailableError, match="closed"):
            await call


async def test_an_error_in_the_block_closes_the_database(server: Server, database_name: str) -> None:
    opened: list[Database] = []

    async def fail() -> None:
        async with Database.open(server.address(database_name), application, size=1) as database:
            opened.append(database)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with pytest.raises(errors.UnavailableError):
        await opened[0].system("test").find_organization("x")


async def test_processes_share_what_signs_cursors(server: Server, database_name: str) -> None:
    async with Database.open(server.address(database_name), application, size=1) as one:
        context = await new_context(one)
        for n in range(3):
            await one.session(context).create(Customer, name=str(n))
        cursor = (await one.session(context).list(Customer, order_by="name", limit=1)).next
    async with Database.open(server.address(database_name), application, size=1) as two:
        page = await two.session(context).list(Customer, order_by="name", after=cursor)
        assert [each.name for each in page] == ["1", "2"]


async def test_sessions_of_concurrent_tasks_keep_apart(database: Database) -> None:
    contexts = [await new_context(database) for _ in range(4)]

    async def work(number: int) -> None:
        async with database.session(contexts[number]) as session:
            for n in range(5):
                await session.create(Customer, name=f"{number}", visits=n)
                await asyncio.sleep(0)
            page = await session.list(Customer, with_total=True)
            assert (page.total, {each.name for each in page}) == (5, {f"{number}"})

    await asyncio.gather(*map(work, range(4)))


class Note(Entity):
    text: str = field(max_length=100)


async def test_an_embedded_database_is_made_kept_and_found_again(tmp_path: Path) -> None:
    notes = Application("notes", [Note])
    folder = tmp_path / "database"
    async with Database.embedded(folder, notes, size=2) as database:
        context = await new_context(database)
        made = await database.session(context).create(Note, text="kept")
        async with Database.embedded(folder, notes, size=1) as second:  # a second user joins the running server
            assert await second.session(context).get(Note, made.id) == made
        assert await database.session(context).get(Note, made.id) == made
    async with Database.embedded(folder, notes, size=2) as database:
        assert await database.session(context).get(Note, made.id) == made
        with pytest.raises(errors.ForbiddenError):
            await database.session(context).sql(None, "select * from pg_authid")


async def test_records_survive_pickling_and_copying(acme: Any) -> None:
    made = await acme.create(Customer, name="x", tax_number="secret")
    page = await acme.list(Customer)
    for record in (made, page[0]):
        again = pickle.loads(pickle.dumps(record))
        assert again == record
        assert "secret" not in repr(again)
        assert record.model_copy(update={"name": "y"}).name == "y"
