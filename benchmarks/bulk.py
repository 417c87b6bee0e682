"""Many records at once: creating a hundred thousand, and changing ten thousand of expected versions.

All contenders work on the same empty table with the same policies, triggers and log, on a server of their own that is
emptied before every turn. In each round every contender does all of the work once, in an order drawn anew, and ratios
are taken within rounds.
"""

import gc
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from benchmarks.contenders.handwritten import CONTEXT, UPDATE
from benchmarks.contenders.orm import CONTEXT as ORM_CONTEXT
from benchmarks.contenders.orm import CustomerRow, TenantSession
from benchmarks.entities import Customer, application
from benchmarks.world import machine_of
from freehold import Context, Database
from freehold.model.context import new_id
from freehold.model.seal import Seal
from freehold.postgres.server import EmbeddedServer

FOLDER = Path(".freehold/bulk")
"""The embedded server's; removing it has the next run begin anew."""
CALL = 1_000
"""Rows of a call that is measured by itself."""
SLOWEST = 0.5
"""Seconds that 95 of 100 such calls are to take at most."""

# asyncpg has no type information.
Connection = Any
Row = Mapping[str, Any]
Way = tuple["Measured", Callable[[int], Sequence[Any]], Callable[[Sequence[Any]], Awaitable[None]]]
"""A contender, what makes its input, and its work."""


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Args:
        rounds: turns of each contender.
        created: rows that a turn creates.
        updated: rows that a turn changes.
        calls: calls of a thousand rows.
        seed: of the order within rounds.
    """

    rounds: int = 5
    created: int = 100_000
    updated: int = 10_000
    calls: int = 60
    seed: int = 20260101


@dataclass
class Measured:
    """The turns of one contender.

    Args:
        name: short and stable, for files.
        label: what it is, for people.
        target: how many times its rate Freehold is to reach.
    """

    name: str
    label: str
    target: float | None = None
    seconds: list[float] = field(default_factory=list)

    def rate(self, rows: int) -> float:
        """Rows per second, median of the rounds."""
        return statistics.median(rows / each for each in self.seconds)

    def ratio(self, other: "Measured") -> float:
        """How many times the rate of another, median of the rounds."""
        return statistics.median(b / a for a, b in zip(self.seconds, other.seconds, strict=True))


@dataclass(frozen=True)
class Outcome:
    """One benchmark's figures, Freehold first."""

    name: str
    title: str
    rows: int
    measured: Sequence[Measured]
    machine: Mapping[str, str]
    calls: Sequence[float] = ()

    @property
    def slowest(self) -> float | None:
        """Seconds that 95 of 100 calls of a thousand rows took at most."""
        return statistics.quantiles(self.calls, n=100, method="inclusive")[94] if len(self.calls) > 1 else None


def rows(count: int, tag: str) -> list[Row]:
    """Customers as input has them, the same every time."""
    return [
        {
            "name": f"Customer {i} of {tag}",
            "email": f"customer{i}@{tag}.test",
            "phone": f"+49 30 {1_000_000 + i * 37 % 8_999_999}",
            "status": ("prospect", "active", "active", "inactive")[i % 4],
            "kind": ("company", "person")[i % 2],
            "industry": ("retail", "software", "health", "transport", "energy")[i % 5],
            "credit": Decimal(i * 7919 % 1_000_000) / 100,
            "lifetime_value": Decimal(i * 104_729 % 100_000_000) / 100,
            "payment_days": (14, 30, 60)[i % 3],
            "website": f"https://customer{i}.example",
            "notes": "Met at the fair; wants a call in the spring. " * (1 + i % 4),
            "tags": ["vip", f"tier-{i % 7}"],
            "newsletter": i % 3 == 0,
            "last_order_at": datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=7 * i),
        }
        for i in range(count)
    ]


class Yard:
    """An organization on an empty table, and all ways into it."""

    def __init__(
        self,
        database: Database,
        context: Context,
        seal: Seal,
        administrator: Connection,
        connection: Connection,
        engine: AsyncEngine,
    ) -> None:
        self.database = database
        self.context = context
        self.administrator = administrator
        self.connection = connection
        self.engine = engine
        self.sessions = async_sessionmaker(engine, sync_session_class=TenantSession, expire_on_commit=False)
        self.seal = seal
        self.sessions.configure(info={"tenant": self.named_tenant})
        self.known: list[tuple[UUID, int]] = []

    @property
    def tenant(self) -> tuple[str, str]:
        """The organization, and the context under a seal of now."""
        return str(self.context.organization_id), self.seal.apply(self.context)

    def named_tenant(self) -> dict[str, str]:
        """The same by name."""
        return dict(zip(("organization_id", "context"), self.tenant, strict=True))

    async def empty(self) -> None:
        """Removes what the last turn made, and has the disk settle."""
        await self.administrator.execute("truncate app.customers, app.orders, app.lines, freehold.log, freehold.units")
        await self.administrator.execute("checkpoint")
        gc.collect()

    def base(self) -> Row:
        """What the base's fields of a new row are, for those who send them."""
        now, user = datetime.now(UTC), self.context.user_id
        return {
            "organization_id": self.context.organization_id, "version": 1,
            "created_at": now, "created_by": user, "updated_at": now, "updated_by": user,
        }  # fmt: skip

    def plain(self, count: int) -> list[Row]:
        """What Freehold is given."""
        return rows(count, "row")

    def complete(self, count: int) -> list[Row]:
        """What SQLAlchemy is given: with ids and the base's fields."""
        base = self.base()
        return [{"id": new_id(), **base, **row} for row in rows(count, "row")]

    def records(self, count: int) -> list[tuple[Any, ...]]:
        """What COPY is given."""
        return [tuple(row.values()) for row in self.complete(count)]

    def nothing(self, _: int) -> list[Row]:
        """What those are given that know what to do."""
        return []

    async def create_many(self, given: Sequence[Row]) -> None:
        async with self.database.session(self.context) as session:
            result = await session.create_many(Customer, given)
            assert result.created == len(given)

    async def copy(self, given: Sequence[tuple[Any, ...]]) -> None:
        """The bare COPY: as a superuser, whom no policy holds up."""
        async with self.administrator.transaction():
            await self.administrator.execute(CONTEXT, *self.tenant)
            await self.administrator.copy_records_to_table(
                "customers", schema_name="app", columns=list(self.complete(1)[0]), records=given
            )

    async def insert_many_values(self, given: Sequence[Row]) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(ORM_CONTEXT, self.named_tenant())
            await connection.execute(insert(CustomerRow).returning(CustomerRow.id), given)

    async def add_all(self, given: Sequence[Row]) -> None:
        """The unit of work. It knows all values, so it sends one statement again and again, without waiting for each answer."""
        async with self.sessions() as session, session.begin():
            session.add_all([CustomerRow(**row) for row in given])

    async def update_many(self, _: Sequence[Row]) -> None:
        changes = [(target, {"credit": 7, "status": "inactive"}) for target in self.known]
        async with self.database.session(self.context) as session:
            result = await session.update_many(Customer, changes)
            assert result.updated == len(changes)

    async def one_by_one(self, _: Sequence[Row]) -> None:
        """As an expert writes it by hand: four messages for each row."""
        update = await self.connection.prepare(UPDATE)
        for id, version in self.known:
            async with self.connection.transaction():
                await self.connection.execute(CONTEXT, *self.tenant)
                assert await update.fetchrow(
                    self.context.organization_id, id, version, Decimal(7), self.context.user_id
                )

    async def fill(self, count: int) -> None:
        """Rows for a turn that changes them."""
        async with self.database.session(self.context) as session:
            result = await session.create_many(Customer, rows(count, "update"))
        self.known = [(outcome.id, 1) for outcome in result.outcomes if outcome.id is not None]


@asynccontextmanager
async def yard() -> AsyncIterator[tuple[Yard, Mapping[str, str]]]:
    """Starts the server."""
    async with await EmbeddedServer.start(FOLDER) as server, Database.embedded(FOLDER, application) as database:
        administrator = server.connection()
        socket = server.connection(application.roles.application, administrator.database)
        system = database.system(reason="benchmarks")
        slug, email = "bulk", "ada@example.test"
        organization = await system.find_organization(slug) or await system.create_organization(name="Bulk", slug=slug)
        user = await system.find_user(email) or await system.create_user(email=email, name="Ada")
        await system.add_member(organization.id, user.id, role="admin")
        context = await system.context(organization=slug, user=email)
        root, plain = [await asyncpg.connect(**each.as_arguments()) for each in (administrator, socket)]
        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(**socket.as_arguments())
        )
        try:
            yield Yard(database, context, Seal(socket.password), root, plain, engine), await machine_of(socket)
        finally:
            await engine.dispose()
            for connection in (root, plain):
                await connection.close()


async def measure_create(plan: Plan) -> Outcome:
    """Creating many records."""
    async with yard() as (here, machine):
        ways: list[Way] = [
            (Measured("freehold", "Freehold, create_many"), here.plain, here.create_many),
            (Measured("copy", "COPY as superuser", 0.5), here.records, here.copy),
            (Measured("sqlalchemy", "SQLAlchemy Core, insertmanyvalues", 3.0), here.complete, here.insert_many_values),
            (Measured("sqlalchemy-orm", "SQLAlchemy ORM, add_all", None), here.complete, here.add_all),
        ]
        await _rounds(plan, ways, plan.created, here.empty)
        calls = []
        await here.empty()
        for number in range(plan.calls):
            given = rows(CALL, f"call-{number}")
            started = perf_counter()
            await here.create_many(given)
            calls.append(perf_counter() - started)
        title = f"Creating {plan.created:,} records, audited"
        return Outcome("bulk_create", title, plan.created, [measured for measured, *_ in ways], machine, calls)


async def measure_update(plan: Plan) -> Outcome:
    """Changing many records of expected versions."""
    async with yard() as (here, machine):
        ways: list[Way] = [
            (Measured("freehold", "Freehold, update_many"), here.nothing, here.update_many),
            (Measured("asyncpg", "asyncpg, one by one", 10.0), here.nothing, here.one_by_one),
        ]

        async def ready() -> None:
            await here.empty()
            await here.fill(plan.updated)
            await here.administrator.execute("vacuum (analyze) app.customers")

        await _rounds(plan, ways, 0, ready)
        title = f"Changing {plan.updated:,} records of expected versions, audited"
        return Outcome("bulk_update", title, plan.updated, [measured for measured, *_ in ways], machine)


async def _rounds(plan: Plan, ways: Sequence[Way], count: int, ready: Callable[[], Awaitable[None]]) -> None:
    """A round that is not counted, then those that are."""
    random = Random(plan.seed)
    order = list(ways)
    for turn in range(plan.rounds + 1):
        random.shuffle(order)
        for measured, prepare, work in order:
            await ready()
            given = prepare(count)
            started = perf_counter()
            await work(given)
            if turn:
                measured.seconds.append(perf_counter() - started)
