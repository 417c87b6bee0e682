"""The plans of all statements in an organization that has two thirds of all rows: indexes serve, and the organization is what they are
searched by.

The server itself tells the plans of what it runs (auto_explain), so those of statements inside of functions, triggers and foreign keys are
read as well.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from freehold import Context, Database, Include, Session
from tests.conftest import Server, new_context
from tests.probe import enter, plain
from tests.sql.messages import Sent
from tests.sql.test_statements import READS
from tests.world import Contact, Customer, Order, application

LARGE, SMALL = 8_000, 1_000
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

LIST = {
    f"list by {order}, page {page}": (order, page)
    for order in (None, "id", "-id", "name", "-name", "-seen_at", "seen_at")
    for page in ("first", "later", "before")
}
FILTERED: dict[str, dict[str, Any]] = {
    "equal": {"name": "c55"},
    "one of": {"name": {"in": ["c55", "c56"]}},
    "prefix": {"name": {"starts_with": "c55"}},
    "range": {"seen_at": {"gte": datetime(2026, 1, 2, tzinfo=UTC), "lt": datetime(2026, 1, 2, 1, tzinfo=UTC)}},
    "unique": {"email": "C55@example.test"},
    "id": {"id": "00000000-0000-7000-8000-000000000055"},
    "two of an index": {"status": "active", "name": "c55"},
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
    "count of some": lambda s, c: s.count(Customer, {"name": {"starts_with": "c55"}}),
    "exists of some": lambda s, c: s.exists(Customer, {"name": "c55"}),
}
ALLOWED: dict[str, str] = {}
"""Reads that look at all of the organization's rows, and why."""

Connection = "asyncpg.Connection[asyncpg.Record]"
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

    async def plans(self, text: str, *arguments: Any) -> list[Plan]:
        """The plans of a statement and of all that it runs in turn."""
        self.told.clear()
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            await self._connection.fetch(text, *arguments)
        finally:
            await transaction.rollback()
        return list(self.told)


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
async def planner(request: pytest.FixtureRequest, server: Server, plans_name: str) -> AsyncIterator[Planner]:
    async with plain(server.admin_address(plans_name)) as connection:
        try:
            await connection.execute("load 'auto_explain'")
        except asyncpg.PostgresError as error:
            pytest.skip(f"the server cannot tell plans: {error}")
        # What is empty (months to come) may be read whole.
        filled = await connection.fetch(
            "select relname from pg_class where relkind in ('r', 'i') and reltuples > 1000 and relnamespace::regnamespace::text in ('app', 'freehold')"
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
        if node.get("Index Name") in tables and "organization_id = " not in node.get("Index Cond", ""):
            found.append(f"{node.get('Index Name')} is not searched by the organization")
        conditions = [value for key, value in node.items() if key.endswith(("Filter", "Cond"))]
        if any("organization_id()" in str(condition) for condition in conditions):
            found.append(f"the policy of {name} is asked for each row")
    return [f"{flaw}: {told['Query Text']}" for flaw in found]


async def test_show(large: Session, sent: list[Sent], planner: Planner) -> None:
    customer = (await large.list(Customer, limit=1))[0]
    for name, read in {
        **READS,
        **MORE,
        **{"find " + k: (lambda s, c, w=w: s.list(Customer, where=w, limit=2)) for k, w in FILTERED.items()},
    }.items():
        sent.clear()
        if name == "sql":
            continue
        await read(large, customer)
        for message in sent:
            plans = await planner.plans(message.text, *message.arguments)
            assert plans
            for plan in plans:
                for flaw in flaws(plan, planner.tables):
                    print(name, "|", flaw[:150])
    for name, (order, page) in LIST.items():
        sent.clear()
        first = await large.list(Customer, order_by=order, limit=20)
        if page != "first":
            second = await large.list(Customer, order_by=order, limit=20, after=first.next)
        if page == "before":
            await large.list(Customer, order_by=order, limit=20, before=second.previous)
        message = sent[-1]
        for plan in await planner.plans(message.text, *message.arguments):
            for flaw in flaws(plan, planner.tables):
                print(name, "|", flaw[:150])
            print(
                name,
                [node["Node Type"] for node in nodes(plan["Plan"])][-4:],
                [node.get("Index Cond", "")[-200:] for node in nodes(plan["Plan"]) if "Index" in node["Node Type"]],
                [node.get("Filter", "")[-200:] for node in nodes(plan["Plan"]) if "Index" in node["Node Type"]],
            )
