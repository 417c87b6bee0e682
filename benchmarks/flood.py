"""One organization floods a server, another one works on it: what the other notices.

The flooder calls on 64 connections, in a closed loop without any pause, also after refusals. The other has 4 connections. Its p95 beside
the flood is compared with that of the same server alone, within rounds. The same is done to a server without limits, to show what the
limits are for.
"""

import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from benchmarks.flood_server import Customer, Told, application
from benchmarks.web.driver import Job, Load, drive
from benchmarks.world import machine_of
from freehold import Database
from freehold.postgres.server import EmbeddedServer, ServerAddress

__all__ = ["AT_MOST", "NAME", "TITLE", "Flood", "Plan", "measure"]

NAME = "flood"
TITLE = "One organization floods the server, another one works on it"
FOLDER = Path(".freehold/flood")
AT_MOST = 2.0
"""How many times as long the other one's requests may take at the 95th percentile."""
CUSTOMERS = 2_000
STARTED = 30.0
"""Seconds in which a server must listen."""
AHEAD = 0.5
"""Seconds that the flood is under way before the other one is measured."""


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Args:
        rounds: of each server: the other one alone, then beside the flood.
        seconds: length of each half of a round.
        flooding: connections of the flooder.
        working: connections of the other one.
        pool: connections of the server to PostgreSQL.
    """

    rounds: int = 5
    seconds: float = 3.0
    flooding: int = 64
    working: int = 4
    pool: int = 10


@dataclass(frozen=True)
class Round:
    """What was seen of one server: the other one alone, beside the flood, and the flooder."""

    alone: Load
    beside: Load
    flooder: Load


@dataclass
class Flood:
    """All rounds of one server."""

    label: str
    limited: bool
    rounds: list[Round] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)

    def middle(self, figure: str, of: str) -> float:
        """The median over rounds of a figure of `alone`, `beside` or `flooder`."""
        return float(statistics.median(getattr(getattr(each, of), figure) for each in self.rounds))

    @property
    def ratio(self) -> float:
        """How many times as long the other one's p95 is beside the flood, median of the rounds."""
        return statistics.median(each.beside.p95 / each.alone.p95 for each in self.rounds)

    @property
    def refused(self) -> float:
        """The flooder's refusals per second, median of the rounds."""
        return statistics.median(each.flooder.refused / each.flooder.seconds for each in self.rounds)

    @property
    def served(self) -> float:
        """The flooder's answers of success per second, median of the rounds."""
        return statistics.median(
            (each.flooder.requests - each.flooder.refused) / each.flooder.seconds for each in self.rounds
        )


@dataclass(frozen=True)
class Caller:
    """An organization's key and customers."""

    key: str
    customers: list[UUID]

    def job(self) -> Job:
        """Gets of its customers, one at a time."""
        return Job("any", "/api/customers", self.key, [str(id) for id in self.customers])


async def measure(plan: Plan) -> list[Flood]:
    """Flood a server with limits and one without, in turns."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await EmbeddedServer.start(FOLDER))
        database = await stack.enter_async_context(Database.embedded(FOLDER, application))
        address = server.connection(application.roles.application, server.connection().database)
        files = Path(stack.enter_context(TemporaryDirectory(prefix="freehold-flood-")))
        flooder, other = await _caller(database, "flooder"), await _caller(database, "other")
        floods = [Flood("with limits", True), Flood("without", False)]
        ports = [await stack.enter_async_context(_served(files, address, plan, each.limited)) for each in floods]
        for flood, port in zip(floods, ports, strict=True):
            flood.machine = dict(await machine_of(address))
            await _check(port, flooder, other)
            await drive(other.job(), _folder(files, "warm"), port, 16, 1.0, refusals=True)
        for _ in range(plan.rounds):
            for flood, port in zip(floods, ports, strict=True):
                flood.rounds.append(await _round(files, port, plan, flooder, other))
        return floods


async def _round(files: Path, port: int, plan: Plan, flooder: Caller, other: Caller) -> Round:
    mine, theirs = _folder(files, "other"), _folder(files, "flooder")
    alone = await drive(other.job(), mine, port, plan.working, plan.seconds)
    length = plan.seconds + 2 * AHEAD + 1
    flooding = asyncio.create_task(drive(flooder.job(), theirs, port, plan.flooding, length, refusals=True))
    try:
        await asyncio.sleep(AHEAD)
        beside = await drive(other.job(), mine, port, plan.working, plan.seconds)
    finally:
        flood = await flooding
    await asyncio.sleep(1.2)  # until nobody counts as flooding any more
    return Round(alone, beside, flood)


def _folder(files: Path, name: str) -> Path:
    """Two drivers at a time have files of their own."""
    folder = files / name
    folder.mkdir(exist_ok=True)
    return folder


async def _caller(database: Database, name: str) -> Caller:
    """An organization, its customers, and a new key."""
    slug, email = f"flood-{name}", f"ada@{name}.test"
    system = database.system("benchmarks")
    organization = await system.find_organization(slug) or await system.create_organization(name=name, slug=slug)
    user = await system.find_user(email) or await system.create_user(email=email, name="Ada")
    await system.add_member(organization.id, user.id, role="admin")
    session = database.session(await system.context(organization=slug, user=email))
    if await session.count(Customer) < CUSTOMERS:
        await session.create_many(Customer, [{"name": f"Customer {number}"} for number in range(CUSTOMERS)])
    page = await session.list(Customer, limit=1_000)
    made = await system.keys.create(organization.id, name="flood", user_id=user.id)
    return Caller(made.secret, [record.id for record in page])


@asynccontextmanager
async def _served(files: Path, address: ServerAddress, plan: Plan, limited: bool) -> AsyncIterator[int]:
    told = Told(plan.pool, limited, address.as_arguments())
    settings = files / f"{limited}.json"
    settings.touch(mode=0o600)
    settings.write_text(json.dumps(asdict(told)))
    with (files / f"{limited}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.flood_server", str(settings), stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        async with asyncio.timeout(STARTED):
            line = await process.stdout.readline() if process.stdout else b""
        if not line:
            raise RuntimeError((files / f"{limited}.log").read_text(errors="replace")[-1_000:])
        yield int(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _check(port: int, flooder: Caller, other: Caller) -> None:
    """See that each gets its own, and nothing of the other's."""
    for caller, of, expected in ((flooder, flooder, 200), (other, other, 200), (flooder, other, 404)):
        path = f"/api/customers/{of.customers[0]}"
        status = await asyncio.to_thread(_status, port, path, caller.key)
        if status != expected:
            raise RuntimeError(f"the flooded server answers {status} where it should be {expected}")


def _status(port: int, path: str, key: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=STARTED)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        return connection.getresponse().status
    finally:
        connection.close()
