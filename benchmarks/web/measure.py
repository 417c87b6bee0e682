"""The measuring: all servers run, and take turns under load.

Before a workload is measured, every server does the work once and must answer the same; then each is warmed up. In each
round every server has one turn, in an order drawn anew from a fixed seed, so what else the machine does meets all of them
alike. Ratios are taken within rounds, and their median is reported.
"""

import asyncio
import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random

from benchmarks.scale_load import processor
from benchmarks.web.checks import DifferentAnswerError, refusals
from benchmarks.web.contenders import CONTENDERS, Contender, Served, served
from benchmarks.web.driver import Load, drive
from benchmarks.web.workloads import WORKLOADS, Workload
from benchmarks.web.world import World

__all__ = ["Field", "Measured", "Plan", "Setting", "Turn", "compared", "measure", "opened"]

WARM_UP = 16
"""Connections while a server is warmed up."""
SETTLING = 0.1
"""Seconds after a turn, for what is under way when the time is over."""


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Args:
        rounds: turns of each server.
        seconds: length of a turn; wrk takes whole seconds.
        connections: at a time.
        seed: of the order within rounds.
    """

    rounds: int = 3
    seconds: float = 1.0
    connections: Sequence[int] = (1, 16, 64)
    seed: int = 20260101


@dataclass(frozen=True)
class Turn:
    """What one server did in one round.

    Args:
        load: as the driver saw it.
        server, postgres: seconds of the processor that the server's process and all of PostgreSQL's took.
        resident: bytes of the server's process in memory, afterwards.
    """

    load: Load
    server: float
    postgres: float
    resident: int


@dataclass
class Measured:
    """All turns of one server in one setting."""

    contender: Contender
    turns: list[Turn] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests per second, median of the rounds."""
        return statistics.median(turn.load.rate for turn in self.turns)

    @property
    def rates(self) -> tuple[float, float]:
        """Requests per second of the slowest and of the fastest round."""
        return min(turn.load.rate for turn in self.turns), max(turn.load.rate for turn in self.turns)

    def latency(self, percent: int) -> float:
        """Microseconds, median of the rounds' percentiles."""
        return statistics.median(turn.load.at(percent) for turn in self.turns)

    @property
    def server(self) -> float:
        """Microseconds of the processor that the server took for a request, median of the rounds."""
        return statistics.median(turn.server / turn.load.requests * 1e6 for turn in self.turns)

    @property
    def postgres(self) -> float:
        """The same of PostgreSQL."""
        return statistics.median(turn.postgres / turn.load.requests * 1e6 for turn in self.turns)

    @property
    def resident(self) -> int:
        return max(turn.resident for turn in self.turns)

    def ratio(self, other: "Measured") -> float:
        """How many times the requests per second of another, median of the rounds."""
        return statistics.median(a.load.rate / b.load.rate for a, b in zip(self.turns, other.turns, strict=True))


@dataclass(frozen=True)
class Setting:
    """All servers in one workload with a number of connections, Freehold first where it is there."""

    workload: Workload
    connections: int
    measured: Sequence[Measured]

    @property
    def ours(self) -> Measured | None:
        return next((each for each in self.measured if each.contender.name == "freehold"), None)


@dataclass(frozen=True)
class Field:
    """Who takes part.

    Args:
        servers: those that listen.
        absent: who is left out, and why.
        turns: numbers each turn of the run.
    """

    servers: Sequence[Served]
    absent: Sequence[tuple[str, str]]
    turns: "count[int]" = field(default_factory=lambda: count(1))


@asynccontextmanager
async def opened(world: World, contenders: Sequence[Contender] = CONTENDERS) -> AsyncIterator[Field]:
    """Start all who can run here, and see that each refuses what it has to.

    Raises:
        DifferentAnswerError: one does not.
    """
    reasons = [(each, await asyncio.to_thread(each.absent)) for each in contenders]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(served(world.site, each)) for each, reason in reasons if not reason]
        for server in servers:
            await refusals(world, server)
        yield Field(servers, [(each.label, reason) for each, reason in reasons if reason])


async def measure(
    world: World, taking_part: Field, plan: Plan, chosen: Callable[[str], bool] = lambda _: True
) -> AsyncIterator[Setting]:
    """Measure the chosen workloads, setting by setting.

    Raises:
        DifferentAnswerError: a server's answer says something else than the first one's, or writes are missing.
        RefusedError: a request under load was not answered with success.
    """
    random = Random(plan.seed)
    for workload in WORKLOADS:
        if not chosen(workload.name):
            continue
        await compared(world, workload, taking_part.servers)
        for server in taking_part.servers:
            await _turn(world, workload, server, next(taking_part.turns), WARM_UP, plan.seconds)
        for connections in plan.connections:
            measured = [Measured(server.contender) for server in taking_part.servers]
            order = list(range(len(measured)))
            for _ in range(plan.rounds):
                random.shuffle(order)
                for place in order:
                    server, turn = taking_part.servers[place], next(taking_part.turns)
                    measured[place].turns.append(await _turn(world, workload, server, turn, connections, plan.seconds))
            yield Setting(workload, connections, measured)


async def compared(world: World, workload: Workload, servers: Sequence[Served]) -> None:
    """Have every server do the work once, and compare what the answers say.

    Raises:
        DifferentAnswerError: they say different things.
    """
    expected: object = None
    for server in servers:
        content = await workload.content(world, server)
        if expected is None:
            expected = content
        elif content != expected:
            raise DifferentAnswerError(
                f"{workload.name}: {server.contender.label} answers\n{content}\n{servers[0].contender.label}\n{expected}"
            )


async def _turn(world: World, workload: Workload, server: Served, turn: int, connections: int, seconds: float) -> Turn:
    """Load one server for a while, and see that what it wrote is there."""
    job = await workload.job(world, turn)
    before = processor(server.process), processor(world.postmaster) if world.postmaster else 0.0
    load = await drive(job, world.site.folder, server.port, connections, seconds)
    after = processor(server.process), processor(world.postmaster) if world.postmaster else 0.0
    await asyncio.sleep(SETTLING)
    await workload.verify(world, job, load, connections)
    return Turn(load, after[0] - before[0], after[1] - before[1], server.resident)
