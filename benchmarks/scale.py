"""How fast calls are where there is much: a million customers in 50 organizations, one with half of them, 16 callers.

Each caller draws its calls from a source of chance of its own, with a fixed seed: nine of ten read, half of them are made
in the large organization and the others in any of the 49. The next call begins when the one before has ended, so a slow
call slows its caller and everything that shares the processor.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any

import asyncpg
from examples.renoz.entities import application
from rich.console import Console

from benchmarks.scale_calls import CALLS, Call, Caller, Tenant, prepare
from benchmarks.scale_data import CUSTOMERS, sizes
from benchmarks.scale_load import Loaded, load, memory, postmaster, processor
from benchmarks.world import machine_of
from freehold import Database
from freehold.errors import ConcurrencyError
from freehold.postgres.server import EmbeddedServer, ServerAddress

__all__ = [
    "NAME",
    "SETTINGS",
    "TITLE",
    "Measured",
    "Outcome",
    "Scale",
    "administered",
    "measure",
    "opened",
    "percentile",
    "run",
    "settle",
]

NAME = "scale"
TITLE = "Calls at scale"
FOLDER = Path(".freehold/scale")
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}
"""What whoever runs a database of this size would set; all else is as the embedded server has it."""


@dataclass(frozen=True)
class Scale:
    """How much there is, and how it is measured.

    Args:
        customers: in all organizations; each number has a folder, and so a database, of its own.
        callers: calls at a time.
        seconds: measured.
        warm_up: seconds before.
        seed: of the callers' chance.
    """

    customers: int = CUSTOMERS
    callers: int = 16
    seconds: float = 60.0
    warm_up: float = 10.0
    seed: int = 7

    @property
    def folder(self) -> Path:
        return FOLDER if self.customers == CUSTOMERS else FOLDER.with_name(f"{FOLDER.name}-{self.customers}")


@dataclass
class Measured:
    """The milliseconds that the calls of one kind took, in the large organization and in the others."""

    call: Call
    large: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    conflicts: int = 0

    @property
    def times(self) -> list[float]:
        return sorted(self.large + self.others)

    def at(self, percent: float) -> float:
        return percentile(self.times, percent)

    @property
    def met(self) -> bool | None:
        return None if self.call.target is None or not self.times else self.at(95) <= self.call.target


@dataclass(frozen=True)
class Outcome:
    """All that a run says.

    Args:
        scale: what was asked for.
        loaded: what this run had to load.
        measured: by kind of call.
        seconds: in which all calls were made.
        bytes_on_disk: of the database.
        server_bytes, client_bytes: memory after the last call.
        server_processor, client_processor: seconds of the processor that the calls took, measured or not.
        machine: what the figures were measured on.
        settings: of the server.
        name, title: of the benchmark, for files and for people.
        http_bytes, http_processor: the same of the HTTP server, where calls went through one.
    """

    scale: Scale
    loaded: Loaded
    measured: Sequence[Measured]
    seconds: float
    bytes_on_disk: int
    server_bytes: int
    client_bytes: int
    server_processor: float
    client_processor: float
    machine: Mapping[str, str]
    settings: Mapping[str, str]
    name: str = NAME
    title: str = TITLE
    http_bytes: int = 0
    http_processor: float = 0.0

    def processor_milliseconds(self, seconds: float) -> float:
        """Of each call; those of the warm-up are taken to cost the same."""
        return 1000 * seconds / max(self.calls * (1 + self.scale.warm_up / self.scale.seconds), 1)

    @property
    def calls(self) -> int:
        return sum(len(each.times) for each in self.measured)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many percent of the ordered values do not exceed; 0 where there are none."""
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


async def measure(scale: Scale, console: Console) -> Outcome:
    """Load what is missing, then call for the given time."""
    async with opened(scale) as (server, database):
        administrator = server.connection()
        address = server.connection(application.roles.application, administrator.database)
        contexts, loaded = await load(database, address, scale.customers, console)
        await settle(administrator, fresh=loaded.rows > 0)
        tenants = [
            Tenant(ordinal, size, context, database)
            for ordinal, (size, context) in enumerate(zip(sizes(scale.customers), contexts, strict=True))
        ]
        await prepare(tenants)
        async with administered(administrator) as connection:
            process = await postmaster(connection)
            before = processor(process) if process else 0.0, process_time()
            callers = [Caller(tenants, Random(f"{scale.seed}/{number}")) for number in range(scale.callers)]
            seconds, measured = await run(scale, callers, CALLS)
            taken = (processor(process) if process else 0.0) - before[0], process_time() - before[1]
            disk = await connection.fetchval("select pg_database_size(current_database())")
            settings = {name: await connection.fetchval("select current_setting($1)", name) for name in SETTINGS}
            machine = await machine_of(address)
            memories = memory(process) if process else 0, memory(os.getpid())
        return Outcome(scale, loaded, measured, seconds, disk, *memories, *taken, machine, settings)


@asynccontextmanager
async def opened(scale: Scale) -> AsyncIterator[tuple[EmbeddedServer, Database]]:
    """The folder's server with the settings, and its database with a connection for each caller."""
    async with await EmbeddedServer.start(scale.folder) as server:
        await _set(server.connection())  # some take effect with the next start
    async with (
        await EmbeddedServer.start(scale.folder) as server,
        Database.embedded(scale.folder, application, size=scale.callers) as database,
    ):
        yield server, database


async def _set(administrator: ServerAddress) -> None:
    async with administered(administrator) as connection:
        for name, value in SETTINGS.items():
            await connection.execute(f"alter system set {name} = '{value}'")


async def settle(administrator: ServerAddress, *, fresh: bool) -> None:
    """After a load, have the statistics that autovacuum would make within minutes."""
    async with administered(administrator) as connection:
        if fresh:
            await connection.execute("vacuum (analyze)")
        await connection.execute("checkpoint")


@asynccontextmanager
async def administered(administrator: ServerAddress) -> AsyncIterator[Any]:
    """A connection of the superuser's. Any: asyncpg has no type information."""
    connection = await asyncpg.connect(**administrator.as_arguments())
    try:
        yield connection
    finally:
        await connection.close()


async def run(scale: Scale, callers: Sequence[Caller], calls: Sequence[Call]) -> tuple[float, list[Measured]]:
    """All callers at once: first unmeasured, then measured. Tells the seconds, and what was measured of each kind of call."""
    measured = {call.name: Measured(call) for call in calls}
    for seconds, kept in ((scale.warm_up, None), (scale.seconds, measured)):
        started = perf_counter()
        async with asyncio.TaskGroup() as group:
            for caller in callers:
                group.create_task(_call(caller, started + seconds, kept))
    return perf_counter() - started, list(measured.values())


async def _call(caller: Caller, deadline: float, measured: dict[str, Measured] | None) -> None:
    while perf_counter() < deadline:
        call, tenant = caller.draw()
        argument = await call.before(caller, tenant) if call.before else None
        started = perf_counter()
        conflict = False
        try:
            await call.work(caller, tenant, argument)
        except ConcurrencyError:  # another caller was faster with the same record; small organizations have few
            conflict = True
        taken = (perf_counter() - started) * 1000
        if measured is not None:
            found = measured[call.name]
            (found.large if tenant.ordinal == 0 else found.others).append(taken)
            found.conflicts += conflict
