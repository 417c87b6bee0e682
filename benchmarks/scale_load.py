"""Loads the data of the scale benchmark, as the application's role, with a bar that shows rate and memory."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from benchmarks.scale_data import ARRAYS, ORGANIZATIONS, STATEMENTS, STOCK, Chunk, chunks, number
from benchmarks.world import CONTEXT
from freehold import Context, Database
from freehold.model.seal import Seal
from freehold.postgres.server import ServerAddress

__all__ = ["Loaded", "load", "member", "memory", "postmaster", "processor"]

LOADERS = 2
"""Chunks under way at once."""
SECONDS = 1.0
"""Between two looks at the memory."""
QUIET = 15.0
"""Seconds between two lines where there is no terminal to draw a bar on."""
PROCESSES = Path("/proc")
THERE = (
    "select number from app.customers where organization_id = $1 and number = any ($2::text[]) and deleted_at is null"
)
STOCKED = "select exists (select from app.products where organization_id = $1)"

Connection = Any  # asyncpg has no type information


@dataclass(frozen=True)
class Loaded:
    """What a load did: rows inserted, seconds taken, and the most memory seen, in bytes."""

    rows: int
    seconds: float
    server_bytes: int
    client_bytes: int


async def member(database: Database, ordinal: int) -> Context:
    """The context of an organization's one user; both are made where they are not there."""
    slug, email = f"scale-{ordinal:02d}", "ada@example.test"
    system = database.system(reason="benchmarks")
    organization = await system.find_organization(slug)
    if organization is None:
        organization = await system.create_organization(name=f"Scale {ordinal}", slug=slug)
    user = await system.find_user(email) or await system.create_user(email=email, name="Ada")
    await system.add_member(organization.id, user.id, role="admin")
    return await system.context(organization=slug, user=email, request_id="load", user_agent="benchmarks")


class Loader:
    """Inserts chunks on one connection each.

    Args:
        address: of the application's role.
        seal: seals the contexts.
        contexts: by the organization's ordinal.
    """

    def __init__(self, address: ServerAddress, seal: Seal, contexts: Sequence[Context]) -> None:
        self._address = address
        self._seal = seal
        self._contexts = contexts
        self.rows = 0
        self.customers = 0

    @asynccontextmanager
    async def _entered(self, connection: Connection, organization: int) -> AsyncIterator[Context]:
        context = self._contexts[organization]
        async with connection.transaction():
            await connection.execute(CONTEXT, str(context.organization_id), self._seal.apply(context))
            yield context

    async def missing(self, connection: Connection, wanted: Sequence[Chunk]) -> list[Chunk]:
        """The chunks that are not there: a chunk is one transaction, so its first customer speaks for all of it.

        What chunks refer to, the organizations' products, is made where it is missing.
        """
        by_organization: dict[int, list[Chunk]] = {}
        for chunk in wanted:
            by_organization.setdefault(chunk.organization, []).append(chunk)
        there: set[tuple[int, str]] = set()
        for organization, some in by_organization.items():
            async with self._entered(connection, organization) as context:
                numbers = [number(chunk.first) for chunk in some]
                rows = await connection.fetch(THERE, context.organization_id, numbers)
                there |= {(organization, row["number"]) for row in rows}
                if not await connection.fetchval(STOCKED, context.organization_id):
                    for statement in STOCK:
                        await connection.execute(statement, context.organization_id, f"{organization:03x}")
        return [chunk for chunk in wanted if (chunk.organization, number(chunk.first)) not in there]

    async def work(self, pending: "asyncio.Queue[Chunk]") -> None:
        """Insert chunks until there are no more."""
        connection = await asyncpg.connect(**self._address.as_arguments())
        try:
            while not pending.empty():
                await self.insert(connection, pending.get_nowait())
        finally:
            await connection.close()

    async def insert(self, connection: Connection, chunk: Chunk) -> None:
        """Insert a chunk, in one transaction."""
        rows = 0
        async with self._entered(connection, chunk.organization) as context:
            given = (context.organization_id, f"{chunk.organization:03x}", chunk.first, chunk.end, *ARRAYS)
            for statement in STATEMENTS:
                prepared = await connection.prepare(statement)
                await prepared.fetch(*given)
                rows += int(prepared.get_statusmsg().rpartition(" ")[2])
        self.rows += rows
        self.customers += chunk.end - chunk.first


async def load(
    database: Database, address: ServerAddress, customers: int, console: Console
) -> tuple[list[Context], Loaded]:
    """Bring in what is missing.

    Args:
        database: whose organizations are made.
        address: of the application's role.
        customers: in all organizations together.
        console: shows how far it is.
    """
    contexts = [await member(database, ordinal) for ordinal in range(ORGANIZATIONS)]
    loader = Loader(address, Seal(address.password), contexts)
    connection = await asyncpg.connect(**address.as_arguments())
    try:
        missing = await loader.missing(connection, chunks(customers))
        pending: asyncio.Queue[Chunk] = asyncio.Queue()
        for chunk in missing:
            pending.put_nowait(chunk)
        started = perf_counter()
        server = await postmaster(connection)
        with Watch(loader, sum(chunk.end - chunk.first for chunk in missing), server, console) as watch:
            async with asyncio.TaskGroup() as group:
                workers = [group.create_task(loader.work(pending)) for _ in range(LOADERS)]
                showing = group.create_task(watch.show())
                await asyncio.wait(workers)
                showing.cancel()
        return contexts, Loaded(loader.rows, perf_counter() - started, watch.server, watch.client)
    finally:
        await connection.close()


class Watch:
    """Shows rate and memory of a load while it runs, and remembers the most memory seen.

    Args:
        loader: what is shown.
        customers: that it is to bring in.
        server: the postmaster's process.
        console: where; a line now and then where it is no terminal.
    """

    def __init__(self, loader: Loader, customers: int, server: int | None, console: Console) -> None:
        self._loader = loader
        self._customers = customers
        self._postmaster = server
        self._console = console
        self._started = perf_counter()
        self._progress = Progress(
            TextColumn("loading"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal or not customers,
        )
        self._bar = self._progress.add_task("", total=customers)
        self.server = 0
        self.client = 0

    def __enter__(self) -> "Watch":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        self._progress.stop()

    async def show(self) -> None:
        """Look again and again, until cancelled."""
        printed = perf_counter()
        while True:
            said = self._look()
            if not self._console.is_terminal and perf_counter() - printed > QUIET:
                printed = perf_counter()
                self._console.print(f"{self._loader.customers:,} of {self._customers:,} customers, {said}", style="dim")
            await asyncio.sleep(SECONDS)

    def _look(self) -> str:
        server = memory(self._postmaster) if self._postmaster else 0
        client = memory(os.getpid())
        self.server, self.client = max(self.server, server), max(self.client, client)
        rate = self._loader.rows / max(perf_counter() - self._started, 0.001)
        said = f"{rate:,.0f} rows/s, memory: server {server / 2**20:,.0f} MiB, client {client / 2**20:,.0f} MiB"
        self._progress.update(self._bar, completed=self._loader.customers, description=said)
        return said


async def postmaster(connection: Connection) -> int | None:
    """The process whose children serve connections; None where it is not on this machine."""
    return _parent(connection.get_server_pid())


def memory(process: int) -> int:
    """Bytes of a process and its children, each shared page counted once; 0 where the system does not tell."""
    children = [int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit()]
    return sum(_proportional(one) for one in children if one == process or _parent(one) == process)


def processor(process: int) -> float:
    """Seconds of the processor that a process and its children, as long as they run, have taken; 0 where the system does not tell."""
    ticks = 0
    for entry in PROCESSES.iterdir():
        if entry.name.isdigit() and (int(entry.name) == process or _parent(int(entry.name)) == process):
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _proportional(process: int) -> int:
    with contextlib.suppress(OSError):
        for line in (PROCESSES / str(process) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _parent(process: int) -> int | None:
    with contextlib.suppress(OSError):
        # The command's name, in parentheses, may hold spaces.
        return int((PROCESSES / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
    return None
