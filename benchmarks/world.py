"""Where the benchmarks run: three organizations of 20,000 customers, their database's socket, a proxy to it."""

import asyncio
import contextlib
import os
import platform
import statistics
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from uuid import UUID

import asyncpg

from benchmarks.entities import application
from freehold import Context, Database
from freehold.model.seal import Seal
from freehold.postgres.server import EmbeddedServer, ServerAddress

ORGANIZATIONS = 3
CUSTOMERS = 20_000
ROUND_TRIP = 500.0
"""Microseconds that the proxy is to add to a round trip."""
TUNINGS = 5
PINGS = 1000

# Deterministic, and spread like a CRM's: ids and times ascend together, the other values cycle.
LOAD = """
    insert into app.customers (
        organization_id, id, name, email, phone, status, kind, industry, credit, lifetime_value, payment_days, website,
        notes, tags, newsletter, last_order_at, version, created_at, updated_at)
    select
        $1::uuid,
        (lpad(to_hex(1735689600000 + i * 60000), 12, '0') || '7000800' || $2::text || lpad(to_hex(i), 12, '0'))::uuid,
        'Customer ' || i || ' of organization ' || $2::text,
        'customer' || i || '@example' || $2::text || '.test',
        '+49 30 ' || 1000000 + i * 37 % 8999999,
        (array['prospect', 'active', 'active', 'inactive'])[1 + i % 4],
        (array['company', 'person'])[1 + i % 2],
        (array['retail', 'software', 'health', 'transport', 'energy'])[1 + i % 5],
        (i * 7919 % 1000000)::numeric / 100,
        (i * 104729::bigint % 100000000)::numeric / 100,
        (array[14, 30, 60])[1 + i % 3],
        'https://customer' || i || '.example',
        repeat('Met at the fair; wants a call in the spring. ', 1 + i % 4),
        array['vip', 'tier-' || i % 7],
        i % 3 = 0,
        timestamptz '2025-01-01 00:00:00+00' + i * interval '7 minutes',
        1,
        timestamptz '2025-01-01 00:00:00+00' + i * interval '1 minute',
        timestamptz '2025-01-01 00:00:00+00' + i * interval '1 minute'
    from generate_series(1, $3::int) i"""
CONTEXT = "select set_config('freehold.organization_id', $1, true), set_config('freehold.context', $2, true)"

COUNT = "select count(*) from app.customers where organization_id = $1"
KNOWN = "select id, version from app.customers where organization_id = $1 order by id"


@dataclass(slots=True)
class Known:
    """What the benchmarks know of a loaded customer; updates keep it current."""

    id: UUID
    version: int


@dataclass(frozen=True)
class RoundTrip:
    """Microseconds of `select 1` on one connection."""

    p25: float
    p50: float
    p95: float


@dataclass(frozen=True)
class World:
    """What every contender gets.

    Args:
        addresses: by path, "socket" and "proxy": how the application's role connects.
        administrator: how the superuser connects, for what no contender does.
        round_trips: by path, measured before the benchmarks.
        contexts: who acts, by organization.
        customers: of the first organization, oldest first.
        machine: what the figures were measured on.
        seal: seals contexts; hand-written code that shares the tables and policies tells the same settings.
    """

    addresses: Mapping[str, ServerAddress]
    administrator: ServerAddress
    round_trips: Mapping[str, RoundTrip]
    contexts: Sequence[Context]
    customers: Sequence[Known]
    machine: Mapping[str, str]
    seal: Seal

    @property
    def context(self) -> Context:
        """The context that all contenders work in."""
        return self.contexts[0]

    def settings(self, context: Context) -> tuple[str, str]:
        """The values of the two settings that policies look at."""
        return str(context.organization_id), self.seal.apply(context)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Start the server in a folder, load what is missing, put the proxy in front, and measure the way to both."""
    async with await EmbeddedServer.start(folder) as server, Database.embedded(folder, application) as database:
        administrator = server.connection()
        socket = server.connection(application.roles.application, administrator.database)
        seal = Seal(socket.password)
        contexts = [await _member(database, number) for number in range(1, ORGANIZATIONS + 1)]
        for number, context in enumerate(contexts, start=1):
            await _load(socket, number, context, seal)
        await _settle(administrator)
        customers = await _customers(socket, contexts[0], seal)
        async with _proxy(socket) as (proxy, measured):
            addresses = {"socket": socket, "proxy": proxy}
            yield World(addresses, administrator, measured, contexts, customers, await machine_of(socket), seal)


async def _member(database: Database, number: int) -> Context:
    """The organization of this number, and the one user of them all as its member."""
    slug, email = f"benchmark-{number}", "ada@example.test"
    system = database.system(reason="benchmarks")
    organization = await system.find_organization(slug)
    if organization is None:
        organization = await system.create_organization(name=f"Benchmark {number}", slug=slug)
    user = await system.find_user(email) or await system.create_user(email=email, name="Ada")
    await system.add_member(organization.id, user.id, role="admin")
    return await system.context(
        organization=slug, user=email, request_id="benchmark", client_ip="192.0.2.1", user_agent="benchmarks"
    )


async def _load(address: ServerAddress, number: int, context: Context, seal: Seal) -> None:
    """Fill an organization, as the application's role; one that is full already is left as it is."""
    connection = await asyncpg.connect(**address.as_arguments())
    try:
        async with connection.transaction():
            await connection.execute(CONTEXT, str(context.organization_id), seal.apply(context))
            there = await connection.fetchval(COUNT, context.organization_id)
            if there == 0:
                await connection.execute(LOAD, context.organization_id, str(number), CUSTOMERS)
            elif there != CUSTOMERS:
                raise RuntimeError(f"benchmark-{number} has {there} customers, not {CUSTOMERS}: remove the folder")
    finally:
        await connection.close()


async def _customers(address: ServerAddress, context: Context, seal: Seal) -> list[Known]:
    """What an organization has by now: earlier runs have updated some."""
    connection = await asyncpg.connect(**address.as_arguments())
    try:
        async with connection.transaction():
            await connection.execute(CONTEXT, str(context.organization_id), seal.apply(context))
            rows = await connection.fetch(KNOWN, context.organization_id)
    finally:
        await connection.close()
    return [Known(UUID(bytes=row["id"].bytes), row["version"]) for row in rows]


async def _settle(administrator: ServerAddress) -> None:
    """Have the statistics that autovacuum would make within minutes, and little of its work during the rounds."""
    connection = await asyncpg.connect(**administrator.as_arguments())
    try:
        await connection.execute("alter table app.customers enable trigger user")  # a killed run leaves some disabled
        await connection.execute("vacuum (analyze) app.customers")
        await connection.execute("checkpoint")
    finally:
        await connection.close()


@asynccontextmanager
async def _proxy(address: ServerAddress) -> AsyncIterator[tuple[ServerAddress, dict[str, RoundTrip]]]:
    """Put the proxy in front, and turn its delay until it adds what it should; report both ways as measured.

    It is tuned by the lower quartile, which other work on the machine disturbs least.
    """
    with TemporaryDirectory(prefix="freehold-bench-") as folder:
        front = replace(address, host=folder)
        delay = ROUND_TRIP / 2
        for _ in range(TUNINGS):
            async with _proxy_process(address, front, delay):
                near, far = await round_trips([address, front])
            delay = max(0.0, delay - (far.p25 - near.p25 - ROUND_TRIP) / 2)
        async with _proxy_process(address, front, delay):
            near, far = await round_trips([address, front])
            yield front, {"socket": near, "proxy": far}


@asynccontextmanager
async def _proxy_process(back: ServerAddress, front: ServerAddress, delay: float) -> AsyncIterator[None]:
    script = Path(__file__).with_name("proxy.py")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", str(script), _socket(back), _socket(front), f"{delay:.0f}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the proxy did not start")
        yield
    finally:
        process.stdin.close()
        await process.wait()


def _socket(address: ServerAddress) -> str:
    return f"{address.host}/.s.PGSQL.{address.port}"


async def round_trips(addresses: Sequence[ServerAddress], count: int = PINGS) -> list[RoundTrip]:
    """Time `select 1` on one connection to each address, in turns of ten, so that the machine's moods meet all."""
    connections = [await asyncpg.connect(**address.as_arguments()) for address in addresses]
    times: list[list[float]] = [[] for _ in addresses]
    try:
        for _ in range(count // 10):
            for connection, taken in zip(connections, times, strict=True):
                await connection.fetchval("select 1")
                for _ in range(10):
                    started = perf_counter()
                    await connection.fetchval("select 1")
                    taken.append((perf_counter() - started) * 1e6)
    finally:
        for connection in connections:
            await connection.close()
    return [RoundTrip(cuts[4], cuts[9], cuts[18]) for cuts in (statistics.quantiles(taken, n=20) for taken in times)]


async def machine_of(address: ServerAddress) -> dict[str, str]:
    """What a reader needs to judge the figures."""
    connection = await asyncpg.connect(**address.as_arguments())
    try:
        server = await connection.fetchval("select current_setting('server_version')")
        settings = {
            name: await connection.fetchval("select current_setting($1)", name)
            for name in ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        }
    finally:
        await connection.close()
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": server,
        **settings,
        **{name: version(name) for name in ("asyncpg", "pydantic", "sqlalchemy", "advanced-alchemy")},
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
