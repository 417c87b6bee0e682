"""The plans of all statements in an organization that has two thirds of all rows: indexes serve, and the organization is what they are
searched by.

The server itself tells the plans of what it runs (auto_explain), so those of statements inside of functions, triggers and foreign keys are
read as well.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Context, Database, Entity, Include, Session
from freehold.engine.functions import action_call
from freehold.model.description import EntityDescription
from tests.conftest import Server, new_context
from tests.probe import enter, plain, sealed
from tests.sql.messages import Sent
from tests.sql.test_statements import READS
from tests.world import Contact, Customer, Order, application

LARGE, SMALL = 6_000, 750
"""Customers of the large organization, and of each of the four others."""

FILL = """
    with customers as (
        insert into app.customers (id, name, email, status, visits, rating, seen_at, born)
        select ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'c' || i * 7919 % $1, 'c' || i || '@example.test',
            (array['prospect', 'active', 'active', 'active'])[1 + i % 4], i % 50, i % 90,
            case when i % 10 > 0 then timestamptz '2026-01-01 00:00:00+00' + i * interval '1 minute' end, date '1990-01-01' + i % 9000
        from generate_series(1, $1::integer) as i
        returning id, name
    ), contacts as (
        insert into app.contacts (customer_id, name) select id, 'x' || name from customers
    )
    insert into app.orders (customer_id, number, total) select id, 'n' || name, 5 from customers"""

ORDERS = (None, "-id", "name", "-name", "seen_at", "-seen_at")
"""Orders that an index serves; `seen_at` may be null."""
# Not among them: a unique field that ignores case. Its index is over lower(), which is not leakproof, so that row-level security keeps
# filters from it: `index=True` beside `unique=True` gives such a field an index for filters.
FILTERED: dict[str, tuple[type[Entity], dict[str, Any]]] = {
    "equal": (Customer, {"name": "c55"}),
    "one of": (Customer, {"name": {"in": ["c55", "c56"]}}),
    "prefix": (Customer, {"name": {"starts_with": "c555"}}),
    "range": (
        Customer,
        {"seen_at": {"gte": datetime(2026, 1, 2, tzinfo=UTC), "lt": datetime(2026, 1, 2, 0, 10, tzinfo=UTC)}},
    ),
    "id": (Customer, {"id": "00000000-0000-7000-8000-000000000055"}),
    "two of an index": (Customer, {"status": "active", "name": "c55"}),
    "unique": (Order, {"number": "nc55"}),
    "reference": (Order, {"customer_id": "00000000-0000-7000-8000-000000000055"}),
}
MORE = {
    "history of an entity": lambda s, c: s.history(Customer),
    "history of an entity, continued": lambda s, c: s.history(Customer, before=20_000),
    "history of a request": lambda s, c: s.history(request_id="a request"),
    "contacts of a customer": lambda s, c: s.list(Contact, where={"customer_id": c.id}),
    "include both ways": lambda s, c: s.list(
        Customer, limit=5, include={"contacts": Include(include={"customer": True}), "orders": "count"}
    ),
    "aggregate of some": lambda s, c: s.aggregate(Order, where={"customer_id": c.id}, sum=["total"]),
    "sql": lambda s, c: s.sql(None, "select name from customers order by name limit 5"),
    "search": lambda s, c: s.search("c5"),
    "search in one entity": lambda s, c: s.search("c5", in_=Customer),
    "list that is searched": lambda s, c: s.list(Customer, search="c5", order_by="name"),
}
PAST = {
    "get": lambda s, c: s.get(Customer, c.id),
    "get many": lambda s, c: s.get_many(Customer, [c.id]),
    "find": lambda s, c: s.find(Customer, {"id": c.id}),
    "list": lambda s, c: s.list(Customer, order_by="name"),
    "count": lambda s, c: s.count(Customer, {"name": "c55"}),
    "include": lambda s, c: s.list(Customer, limit=2, include=["contacts"]),
}
FILTERS = {
    f"{method} by {name}": lambda s, c, entity=entity, where=where, method=method: getattr(s, method)(entity, where)
    for method in ("count", "exists")
    for name, (entity, where) in FILTERED.items()
} | {
    f"list by {name}": lambda s, c, entity=entity, where=where: s.list(entity, where=where)
    for name, (entity, where) in FILTERED.items()
}


Plan = dict[str, Any]


@pytest.fixture(scope="session")
def plans_name(server: Server) -> str:
    """A database with a large organization and four small ones, made once for the run."""
    name = f"plans_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"

    async def make() -> None:
        await server.create_database(name)
        async with (
            Database.open(server.address(name), application, size=1) as database,
            plain(server.address(name)) as connection,
            plain(server.admin_address(name)) as admin,
        ):
            for number, size in enumerate([LARGE, SMALL, SMALL, SMALL, SMALL]):
                context = await new_context(database, request_id=f"request {number}")
                async with connection.transaction():
                    await enter(connection, context)
                    await connection.execute(FILL.replace("$1", str(size)))
            await admin.execute("vacuum (analyze)")

    asyncio.run(make())
    return name


@pytest.fixture
async def large(server: Server, plans_name: str) -> AsyncIterator[Session]:
    """A session of the large organization."""
    async with (
        Database.open(server.address(plans_name), application, size=2) as database,
        plain(server.admin_address(plans_name)) as admin,
    ):
        id = await admin.fetchval("select organization_id from app.customers group by 1 order by count(*) desc limit 1")
        async with database.session(Context(id)) as session:
            yield session


class Planner:
    """Runs statements as the application role, each undone, and keeps the plans that the server tells."""

    def __init__(self, connection: Any, read: frozenset[str]) -> None:
        self._connection = connection
        self.tables = read
        self.told: list[Plan] = []
        connection.add_log_listener(self._listen)

    def _listen(self, _: Any, message: Any) -> None:
        _, plan, text = message.message.partition("plan:\n")
        if plan:
            self.told.append(json.loads(text))

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """What is done within is undone, and its plans are all that are kept."""
        self.told.clear()
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            yield self._connection.fetch
        finally:
            await transaction.rollback()

    async def plans(self, text: str, *arguments: Any) -> list[Plan]:
        """The plans of a statement and of all that it runs in turn."""
        async with self.undone() as run:
            await run(text, *arguments)
        return list(self.told)


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
async def planner(request: pytest.FixtureRequest, server: Server, plans_name: str) -> AsyncIterator[Planner]:
    async with plain(server.admin_address(plans_name)) as connection:
        try:
            await connection.execute("load 'auto_explain'")
        except asyncpg.PostgresError as error:
            pytest.skip(f"the server cannot tell plans: {error}")
        # What is empty (the months to come) may be read whole. Nothing else may.
        filled = await connection.fetch(
            "select relname from pg_class where relkind in ('r', 'i') and reltuples > 1000 "
            "and relnamespace in ('app'::regnamespace, 'freehold'::regnamespace) "
            # PostgreSQL 15 expects more matches of a common word, and reads search's table whole while it is as small as here.
            "and not (relname = 'search' and current_setting('server_version_num')::int < 160000)"
        )
        for setting in (
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_nested_statements = on",
            "auto_explain.log_level = notice",
            "auto_explain.log_format = json",
            "auto_explain.log_verbose = on",
            f"plan_cache_mode = {request.param}",
            "role = freehold_app",
        ):
            await connection.execute(f"set {setting}")
        yield Planner(connection, frozenset(row["relname"] for row in filled))


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def flaws(told: Plan, tables: frozenset[str]) -> list[str]:
    """What is wrong with a plan."""
    found = []
    for node in nodes(told["Plan"]):
        kind, name = node["Node Type"], node.get("Relation Name", node.get("Index Name"))
        if kind == "Seq Scan" and name in tables:
            found.append(f"{name} is read whole")
        # The words in the index of search begin with the organization's key.
        searched = node.get("Index Name") in tables - {"search_document_idx"}
        if searched and "organization_id = " not in node.get("Index Cond", ""):
            found.append(f"{node.get('Index Name')} is not searched by the organization")
        conditions = [value for key, value in node.items() if key.endswith(("Filter", "Cond"))]
        if any("organization_id()" in str(condition) for condition in conditions):
            found.append(f"the policy of {name} is asked for each row")
    return [f"{flaw}: {told['Query Text']}" for flaw in found]


async def told(large: Session, sent: list[Sent], planner: Planner, reads: dict[str, Any], customer: Any = None) -> str:
    """The flaws of all plans of some reads, a line each; nothing where there are none."""
    customer = customer or (await large.list(Customer, limit=1))[0]
    found = []
    for name, read in reads.items():
        sent.clear()
        await read(large, customer)
        assert sent
        for message in sent:
            plans = await planner.plans(message.text, *message.arguments)
            assert plans
            found += [f"{name}: {flaw}" for plan in plans for flaw in flaws(plan, planner.tables)]
    return "\n".join(found)


def without(field: str, plans: list[Plan]) -> str:
    """Says so where no index is searched by a field."""
    conditions = [node.get("Index Cond", "") for plan in plans for node in nodes(plan["Plan"])]
    return "" if any(re.search(rf"\b{field}\b", condition) for condition in conditions) else f"without {field}"


async def test_reads_use_indexes(large: Session, sent: list[Sent], planner: Planner) -> None:
    assert await told(large, sent, planner, {**READS, **MORE, **FILTERS}) == ""


async def test_filters_on_indexed_fields_search_by_them(large: Session, sent: list[Sent], planner: Planner) -> None:
    # Not `exists`, which may read the organization's rows in the order of their ids where it expects to meet one soon.
    for name, (entity, where) in FILTERED.items():
        sent.clear()
        await large.list(entity, where=where)
        await large.count(entity, where)
        for message in sent:
            plans = await of_itself(planner, message)
            assert not any(without(field, plans) for field in where if field != "status"), f"{name}: {message.text}"


async def test_reads_of_the_past_use_indexes(large: Session, sent: list[Sent], planner: Planner) -> None:
    customer = (await large.list(Customer, limit=1))[0]
    async with large.as_of(datetime.now(UTC)) as past:
        assert await told(past, sent, planner, PAST, customer) == ""


async def pages(large: Session, order: str | None, cursor: str | None = None) -> None:
    """A page, the one after it, and the first one again from there."""
    first = await large.list(Customer, order_by=order, limit=20, after=cursor)
    second = await large.list(Customer, order_by=order, limit=20, after=first.next)
    await large.list(Customer, order_by=order, limit=20, before=second.previous)


async def test_a_page_is_read_from_where_it_begins(large: Session, sent: list[Sent], planner: Planner) -> None:
    for order in ORDERS:
        last = await large.list(Customer, order_by=order, limit=1_000, after=await far(large, order))
        sent.clear()
        await pages(large, order)
        await pages(large, order, last.next)
        first, *later = sent
        assert len(later) == 5
        assert await roundabout(planner, first) == []
        for message in later:
            assert await roundabout(planner, message, later=True) == [], message.text


async def roundabout(planner: Planner, message: Sent, *, later: bool = False) -> list[str]:
    """What makes the plan of a page read more than the page."""
    (plan,) = await of_itself(planner, message)
    found = flaws(plan, planner.tables)
    # Sorted are at most the rows of one page, from two stretches of the index.
    sorts = [node for node in nodes(plan["Plan"]) if "Sort" in node["Node Type"]]
    if sorts and "Append" not in {node["Node Type"] for node in nodes(sorts[0])}:
        found.append("all rows are sorted")
    for node in nodes(plan["Plan"]):
        if node.get("Relation Name") == "customers":
            if node["Node Type"] != "Index Scan":
                found.append(f"{node['Node Type']} in place of an index's order")
            # What else the order compares is in the index's condition, not in a filter over all that lies before.
            elif later and not re.fullmatch(r"\(t\w*\.deleted_at IS NULL\)", node.get("Filter", "")):
                found.append(f"read and thrown away: {node.get('Filter')}")
    return found


async def far(large: Session, order: str | None) -> str | None:
    """A cursor into the middle of the rows."""
    return (await large.list(Customer, order_by=order, limit=1_000)).next


async def of_itself(planner: Planner, message: Sent) -> list[Plan]:
    """The plan of the message itself; what `enter` does has others."""
    return [
        plan for plan in await planner.plans(message.text, *message.arguments) if plan["Query Text"] == message.text
    ]


async def test_writes_and_what_they_set_off_use_indexes(large: Session, planner: Planner) -> None:
    # Among what is set off: the checks of references, and the search for all that refers to a record that is purged.
    registry, schemas = application.registry, application.schemas
    customer, contact, order = (registry[cls] for cls in (Customer, Contact, Order))
    id, referring, bought = UUID(int=77), UUID(int=78), UUID(int=79)
    calls: list[tuple[EntityDescription, str, list[Any]]] = [
        (customer, "create", [json.dumps({"id": str(id), "name": "new"})]),
        (contact, "create", [json.dumps({"id": str(referring), "customer_id": str(id), "name": "new"})]),
        (order, "create", [json.dumps({"id": str(bought), "customer_id": str(id), "number": "new", "total": 1})]),
        (customer, "get", [id]),
        (customer, "update", [id, 1, json.dumps({"name": "newer", "email": "new@example.test"})]),
        (order, "delete", [bought, 1]),
        (customer, "delete", [id, 2]),
        (customer, "restore", [id, 3]),
        (contact, "delete", [referring, 3]),
        (contact, "purge", [referring, 4]),
    ]
    async with planner.undone() as run:
        for entity, action, arguments in calls:
            text = action_call(entity, schemas, action)
            await run(text, large.context.organization_id, sealed(large.context), *arguments)
        await run(action_call(customer, schemas, "purge"), large.context.organization_id, sealed(large.context), id, 4)
    texts = " ".join(plan["Query Text"] for plan in planner.told)
    for part in ("insert into", "update ", "delete from", "FOR KEY SHARE", 'DELETE FROM ONLY "app"."contacts"'):
        assert part in texts
    assert [flaw for plan in planner.told for flaw in flaws(plan, planner.tables)] == []


BROKEN = {
    "drop index app.customers_name_idx, app.customers_status_name_idx": "without name",
    "drop index freehold.log_record_idx, freehold.log_position_idx, freehold.log_request_idx": "is read whole",
    "alter policy tenant on app.customers using (organization_id = freehold.organization_id())": "asked for each row",
}


async def test_what_is_broken_is_seen(large: Session, sent: list[Sent], planner: Planner) -> None:
    customer = (await large.list(Customer, limit=1))[0]
    sent.clear()
    await large.list(Customer, where={"name": "c55"})
    await large.history(customer)
    messages = list(sent)
    for broken, flaw in BROKEN.items():
        async with planner.undone() as run:
            await run("reset role")
            await run(broken)
            await run("set role freehold_app")
            for message in messages:
                await run(message.text, *message.arguments)
        found = [each for plan in planner.told for each in flaws(plan, planner.tables)]
        assert any(flaw in each for each in [*found, without("name", planner.told)]), broken
