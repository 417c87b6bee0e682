"""All statements: each can be prepared, enters its context first, and finds its rows on a connection that had none before."""

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Address, Context, Database, Include, Session, Transaction
from tests.conftest import Server, new_context
from tests.probe import plain, sealed
from tests.sql.messages import Sent
from tests.world import Contact, Customer, Order


def locking(read: Callable[[Transaction, Customer], Awaitable[Any]]) -> Callable[[Session, Customer], Awaitable[Any]]:
    """A read in a transaction of its own."""

    async def run(session: Session, customer: Customer) -> Any:
        async with session.transaction() as transaction:
            return await read(transaction, customer)

    return run


READS = {
    "get": lambda s, c: s.get(Customer, c.id),
    "get with private fields": lambda s, c: s.get(Customer, c.id, private=True),
    "get of a deleted record": lambda s, c: s.get(Customer, c.id, deleted=True),
    "get as JSON": lambda s, c: s.get(Customer, c.id, as_json=True),
    "get with relations as JSON": lambda s, c: s.reader.get_body(
        s.store.shapes.parse(s.store.registry[Customer], include={"orders": "count", "contacts": Include(limit=1)}),
        c.id,
    ),
    "get of some fields as JSON": lambda s, c: s.reader.get_body(
        s.store.shapes.parse(s.store.registry[Customer], select=["name"]), c.id
    ),
    "get many": lambda s, c: s.get_many(Customer, [c.id, UUID(int=5)]),
    "list": lambda s, c: s.list(Customer),
    "list in an order with nulls": lambda s, c: s.list(Customer, order_by=["-rating", "born"], limit=2),
    "list as JSON": lambda s, c: s.list(Customer, as_json=True),
    "list in an order that the rows do not tell": lambda s, c: s.list(
        Customer, select=["name"], order_by="-rating", as_json=True
    ),
    "list with a total": lambda s, c: s.list(Customer, with_total=True, limit=1),
    "list with deleted records": lambda s, c: s.list(Customer, deleted=True),
    "list of some fields": lambda s, c: s.list(Customer, select=["name"]),
    "list by index": lambda s, c: s.list(Customer, where={"name": "c1"}),
    "search": lambda s, c: s.search("c1"),
    "list by search": lambda s, c: s.list(Customer, search="c", order_by="name", with_total=True),
    "count by search": lambda s, c: s.count(Customer, search="c"),
    "list by prefix": lambda s, c: s.list(Customer, where={"name": {"starts_with": "c"}}, order_by="name"),
    "list by a key of a document": lambda s, c: s.list(Customer, where={"profile.theme.color": "red"}),
    "list across a reference": lambda s, c: s.list(Order, where={"customer.name": "c1"}),
    "list across a reversed reference": lambda s, c: s.list(Customer, where={"orders.total": {"gt": 1}}),
    "list across three references": lambda s, c: s.list(Contact, where={"customer.orders.contact.name": "x"}),
    "list with or and not": lambda s, c: s.list(
        Customer, where={"or": [{"not": {"visits": 0}}, {"contacts.name": "x"}]}
    ),
    "include a reference": lambda s, c: s.list(Order, include=["customer"]),
    "include a list": lambda s, c: s.list(Customer, include={"orders": Include(order_by="-total", limit=2)}),
    "include a count": lambda s, c: s.list(Customer, include={"orders": "count", "contacts": True}),
    "include of an include": lambda s, c: s.list(
        Customer, include={"orders": Include(include={"contact": True}, where={"contact.name": "x"})}, with_total=True
    ),
    "find": lambda s, c: s.find(Customer, {"id": c.id}),
    "exists": lambda s, c: s.exists(Customer, {"orders.total": {"gt": 1}}),
    "exists at all": lambda s, c: s.exists(Customer),
    "count": lambda s, c: s.count(Customer, {"status": "prospect"}),
    "count of all": lambda s, c: s.count(Customer),
    "count across": lambda s, c: s.count(Customer, {"contacts.customer.orders.total": {"gt": 1}}),
    "aggregate": lambda s, c: s.aggregate(Order, sum=["total"], max=["placed_on"]),
    "aggregate by group": lambda s, c: s.aggregate(
        Customer, group_by=["status", "level"], avg=["credit"], where={"visits": 1}
    ),
    "history": lambda s, c: s.history(c),
    "history before a position": lambda s, c: s.history((Customer, c.id), before=10**12, private=True),
    "get, locked": locking(lambda t, c: t.get(Customer, c.id, for_update=True)),
    "get many, locked": locking(lambda t, c: t.get_many(Customer, [c.id, UUID(int=5)], for_update=True, nowait=True)),
    "find, locked": locking(lambda t, c: t.find(Customer, {"id": c.id}, for_update=True)),
    "list, locked": locking(lambda t, c: t.list(Customer, order_by="name", limit=2, for_update=True, skip_locked=True)),
    "list with an include, locked": locking(
        lambda t, c: t.list(
            Customer, limit=2, include={"orders": Include(limit=1), "contacts": "count"}, for_update=True
        )
    ),
    "sql": lambda s, c: s.sql(None, "select name, :x as x from customers order by name", x=5),
    "explain": lambda s, c: s.explain("select count(*) from customers"),
}
PAGED = {
    "walk in order": "name",
    "walk in a mixed order": ["-status", "rating"],
    "walk through nulls": ["-born", "opens"],
}


@pytest.fixture
async def filled(database: Database) -> AsyncIterator[tuple[Session, Customer]]:
    """A session of an organization with some records, in a database that has others' as well."""
    contexts = [await new_context(database), await new_context(database)]
    for context in contexts:
        async with database.session(context) as session:
            customers = [await session.create(Customer, name=f"c{number}", visits=1) for number in range(3)]
            contact = await session.create(Contact, customer_id=customers[0].id, name="x")
            for number, customer in itertools.product(range(2), customers):
                await session.create(
                    Order,
                    customer_id=customer.id,
                    contact_id=contact.id,
                    number=f"{number}-{customer.name}",
                    total=number + 1,
                )
    async with database.session(contexts[0]) as session:
        yield session, (await session.list(Customer, limit=1))[0]


async def all_reads(session: Session, customer: Customer) -> None:
    for read in READS.values():
        await read(session, customer)
    for order in PAGED.values():
        first = await session.list(Customer, order_by=order, limit=1)
        second = await session.list(Customer, order_by=order, limit=1, after=first.next)
        assert second.previous is not None
        await session.list(Customer, order_by=order, limit=1, before=second.previous)


async def on_a_new_connection(address: Address, message: Sent) -> list[tuple[Any, ...]]:
    async with plain(address) as connection:
        await connection.set_type_codec("json", schema="pg_catalog", format="binary", encoder=bytes, decoder=bytes)
        return [tuple(row.values()) for row in await connection.fetch(message.text, *message.arguments)]


@pytest.mark.parametrize("name", READS)
async def test_a_read_is_one_message_that_needs_nothing_before_it(
    server: Server, database_name: str, filled: tuple[Session, Customer], sent: list[Sent], name: str
) -> None:
    session, customer = filled
    await READS[name](session, customer)
    (message,) = sent
    assert message.answer
    assert message.arguments[0] == session.context.organization_id
    assert await on_a_new_connection(server.address(database_name), message) == message.answer


@pytest.mark.parametrize("order", PAGED.values(), ids=PAGED)
async def test_a_page_needs_nothing_before_it(
    server: Server, database_name: str, filled: tuple[Session, Customer], sent: list[Sent], order: Any
) -> None:
    session, _ = filled
    first = await session.list(Customer, order_by=order, limit=1)
    second = await session.list(Customer, order_by=order, limit=1, after=first.next)
    assert (await session.list(Customer, order_by=order, limit=1, before=second.previous)).records == first.records
    for message in sent:
        assert message.answer
        assert await on_a_new_connection(server.address(database_name), message) == message.answer


async def test_a_connection_keeps_no_context(
    server: Server, database_name: str, filled: tuple[Session, Customer], sent: list[Sent]
) -> None:
    session, customer = filled
    await all_reads(session, customer)
    async with plain(server.address(database_name)) as connection:
        for message in sent:
            await connection.fetch(message.text, *message.arguments)
            assert await connection.fetchval("select freehold.organization_id()") is None
            assert await connection.fetchval("select count(*) from app.customers") == 0


async def test_another_organization_on_the_same_connection_gets_its_own(
    server: Server, database: Database, database_name: str, filled: tuple[Session, Customer], sent: list[Sent]
) -> None:
    session, customer = filled
    await all_reads(session, customer)
    empty = Context(UUID(int=2**127 + 5))
    messages = [message for message in sent if message.entered]
    async with plain(server.address(database_name)) as connection:
        for message in messages:
            # Seven times, so that the server may have changed to a plan for any arguments.
            for _ in range(7):
                await connection.fetch(message.text, *message.arguments)
            rows = await connection.fetch(message.text, empty.organization_id, sealed(empty), *message.arguments[2:])
            assert str(customer.id) not in str(rows)
            assert "c1" not in str(rows)


Plan = dict[str, Any]


async def plan_of(connection: "asyncpg.Connection[asyncpg.Record]", message: Sent, text: str, *, generic: bool) -> Plan:
    """The plan for these arguments, or for any."""
    if not generic:
        row = await connection.fetchval(f"explain (format json, verbose) {text}", *message.arguments)
    else:
        await connection.execute("set plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare planned as {text}")
        arguments = ", ".join(["null"] * len(message.arguments))
        row = await connection.fetchval(f"explain (format json, verbose) execute planned({arguments})")
        await connection.execute("deallocate planned")
    (found,) = json.loads(row)
    plan: Plan = found["Plan"]
    return plan


def route(plan: Plan, wanted: str) -> list[Plan] | None:
    """The nodes from the top down to the scan of a function."""
    if plan.get("Function Name") == wanted:
        return [plan]
    for child in plan.get("Plans", []):
        found = route(child, wanted)
        if found:
            return [plan, *found]
    return None


def problem(plan: Plan) -> str | None:
    """What is wrong with a plan: something that depends on the context is made before `enter` has run."""
    nodes = route(plan, "enter")
    if nodes is None:
        return "enter is not scanned"
    *above, scan = nodes
    if not above or above[-1]["Node Type"] != "Nested Loop" or scan.get("Parent Relationship") != "Outer":
        return "enter is not the outer side of a nested loop"
    for node in above:
        if "One-Time Filter" in node:
            return "a one-time filter is tested before enter"
        if any(child.get("Parent Relationship") == "InitPlan" for child in node.get("Plans", [])):
            return "an InitPlan stands above enter"
    return None


@pytest.mark.parametrize("generic", [False, True], ids=["for these arguments", "for any arguments"])
async def test_the_context_is_entered_before_anything_asks_for_it(
    server: Server, database_name: str, filled: tuple[Session, Customer], sent: list[Sent], generic: bool
) -> None:
    session, customer = filled
    await all_reads(session, customer)
    texts = {message.text: message for message in sent if message.entered}
    assert len(texts) > 25
    async with plain(server.address(database_name)) as connection:
        for text, message in texts.items():
            assert problem(await plan_of(connection, message, text, generic=generic)) is None, text


async def test_a_body_that_is_pulled_up_is_caught(
    server: Server, database_name: str, filled: tuple[Session, Customer], sent: list[Sent]
) -> None:
    session, customer = filled
    await all_reads(session, customer)
    seen = []
    async with plain(server.address(database_name)) as connection:
        for message in sent:
            if message.entered:
                bare = message.text.replace(" offset 0", "")
                seen.append(problem(await plan_of(connection, message, bare, generic=False)))
    assert any(seen)


async def test_every_statement_can_be_prepared(
    server: Server, database_name: str, filled: tuple[Session, Customer], sent: list[Sent]
) -> None:
    session, customer = filled
    await all_reads(session, customer)
    changed = await session.update(customer, visits=2)
    order = await session.create(Order, customer_id=changed.id, number="new", total=1)
    await session.delete(order)
    spare = await session.create(Customer, name="spare")
    deleted = await session.delete(spare)
    restored = await session.restore(deleted)
    await session.purge(restored)
    async with plain(server.address(database_name)) as connection:
        for message in sent:
            prepared = await connection.prepare(message.text)
            assert len(prepared.get_parameters()) == len(message.arguments)


async def test_many_records_are_locked_in_the_order_of_their_ids(
    filled: tuple[Session, Customer], sent: list[Sent]
) -> None:
    session, customer = filled
    await READS["get many, locked"](session, customer)
    assert "order by t.id for update of t nowait" in sent[-1].text
