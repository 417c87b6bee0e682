"""The harness: contenders doing the same work, in turns, in one process.

One benchmark is measured on each path (the socket, the proxy) and at each number of concurrent workers. Within such a
setting every contender is opened, checked and warmed up first; then come the rounds. In a round each contender runs
once, for a fixed time, in an order that is drawn anew for each round from a fixed seed. So whatever the machine does
meanwhile meets all of them alike, and a ratio is taken *within* rounds (its median is reported), never between figures
that were measured minutes apart.
"""

import asyncio
import gc
import statistics
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from time import perf_counter, process_time
from typing import Generic, TypeVar

from benchmarks.world import World, round_trips
from freehold.postgres.server import ServerAddress

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")
Call = Callable[[Argument], Awaitable[Answer]]

PINGS = 40
"""Messages that are timed before each round."""


@dataclass(frozen=True)
class Contender(Generic[Argument, Answer]):
    """One way to do the work.

    Args:
        name: short and stable, for files.
        label: what it is, for people.
        workers: opens `n` workers on an address; each is a call, and runs in a task of its own.
    """

    name: str
    label: str
    workers: Callable[[World, ServerAddress, int], AbstractAsyncContextManager[Sequence[Call[Argument, Answer]]]]


@dataclass(frozen=True)
class Target:
    """What the project set out to reach: at least `ratio` times the calls per second of `peer`."""

    peer: str
    path: str
    workers: int
    ratio: float


@dataclass(frozen=True)
class Benchmark(Generic[Argument, Answer]):
    """A piece of work, and who does it. The first contender is Freehold; the others are its peers.

    Args:
        name: what ONLY names.
        title: what the work is, for people.
        contenders: who does it.
        arguments: the endless arguments of one worker's calls: (world, worker, workers).
        content: what an answer says, in a form that compares equal between contenders.
        settle: called with the argument and the answer of each call.
        targets: what is to be reached.
        retained: how many results are kept to weigh them.
        workers: numbers of concurrent workers, where they are the benchmark's own and not the plan's.
        weighed: whether the memory of results and calls is measured.
    """

    name: str
    title: str
    contenders: Sequence[Contender[Argument, Answer]]
    arguments: Callable[[World, int, int], Iterator[Argument]]
    content: Callable[[Argument, Answer], object]
    settle: Callable[[Argument, Answer], None] | None = None
    targets: Sequence[Target] = ()
    retained: int = 500
    workers: Sequence[int] = ()
    weighed: bool = True


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Args:
        rounds: turns of each contender.
        seconds: length of a turn.
        warm_up: seconds that each contender runs before the first round.
        workers: numbers of concurrent workers.
        paths: names of the world's addresses.
        seed: of the order within rounds.
    """

    rounds: int = 11
    seconds: float = 0.25
    warm_up: float = 0.3
    workers: Sequence[int] = (1, 8)
    paths: Sequence[str] = ("socket", "proxy")
    seed: int = 20260101


@dataclass(frozen=True)
class Turn:
    """What one contender did in one round. CPU is that of this process: the client's side alone."""

    calls: int
    seconds: float
    cpu: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        return self.calls / self.seconds


@dataclass
class Memory:
    """Bytes of Python memory, by tracemalloc: what a kept result holds, and the most that a running call needs."""

    retained: float
    peak: float


@dataclass
class Measured:
    """All turns of one contender in one setting."""

    contender: str
    label: str
    path: str
    workers: int
    turns: list[Turn] = field(default_factory=list)
    memory: Memory | None = None

    @property
    def rate(self) -> float:
        """Calls per second, median of the rounds."""
        return statistics.median(turn.rate for turn in self.turns)

    @property
    def rates(self) -> tuple[float, float]:
        """Calls per second of the slowest and of the fastest round."""
        return min(turn.rate for turn in self.turns), max(turn.rate for turn in self.turns)

    @property
    def cpu(self) -> float:
        """Microseconds of the client's CPU per call, median of the rounds."""
        return statistics.median(turn.cpu / turn.calls * 1e6 for turn in self.turns)

    def latency(self, percentile: int) -> float:
        """Microseconds, over all calls of all rounds."""
        latencies = [latency for turn in self.turns for latency in turn.latencies]
        return statistics.quantiles(latencies, n=100, method="inclusive")[percentile - 1] * 1e6

    def ratio(self, other: "Measured") -> float:
        """How many times the calls per second of another, median of the rounds."""
        return statistics.median(a.rate / b.rate for a, b in zip(self.turns, other.turns, strict=True))


@dataclass(frozen=True)
class Setting:
    """All contenders on one path with a number of workers.

    Args:
        path: name of the address.
        workers: how many at a time.
        message: microseconds of `select 1` on one connection while nothing else runs, median of the rounds: what a
            single message costs here and now. Machines differ in it by more than contenders do.
        measured: the contenders, Freehold first.
    """

    path: str
    workers: int
    message: float
    measured: Sequence[Measured]


class DifferentAnswerError(AssertionError):
    """Two contenders do not do the same work."""


async def run(benchmark: Benchmark[Argument, Answer], world: World, plan: Plan) -> AsyncIterator[Setting]:
    """Measure a benchmark, setting by setting.

    Raises:
        DifferentAnswerError: a contender's answer says something else than the first one's.
    """
    random = Random(plan.seed)
    for path in plan.paths:
        numbers = benchmark.workers or plan.workers
        for workers in numbers:
            weigh = benchmark.weighed and path == plan.paths[0] and workers == numbers[0]
            yield await _setting(benchmark, world, plan, path, workers, random, weigh)


async def _setting(
    benchmark: Benchmark[Argument, Answer],
    world: World,
    plan: Plan,
    path: str,
    workers: int,
    random: Random,
    weigh: bool,
) -> Setting:
    address = world.addresses[path]
    measured = [Measured(each.name, each.label, path, workers) for each in benchmark.contenders]
    arguments = [benchmark.arguments(world, worker, workers) for worker in range(workers)]
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(contender.workers(world, address, workers))
            for contender in benchmark.contenders
        ]
        await _compare(benchmark, opened, arguments[0])
        for calls, result in zip(opened, measured, strict=True):
            if weigh:
                result.memory = await _memory(benchmark, calls[0], arguments[0])
            await _turn(benchmark, calls, arguments, plan.warm_up)
        order = list(range(len(opened)))
        messages = []
        for _ in range(plan.rounds):
            messages.append((await round_trips([address], count=PINGS))[0].p50)
            random.shuffle(order)
            for index in order:
                measured[index].turns.append(await _turn(benchmark, opened[index], arguments, plan.seconds))
    return Setting(path, workers, statistics.median(messages), measured)


async def _compare(
    benchmark: Benchmark[Argument, Answer],
    opened: Sequence[Sequence[Call[Argument, Answer]]],
    arguments: Iterator[Argument],
) -> None:
    """Have every contender do one and the same call, and compare what the answers say."""
    argument = next(arguments)
    expected: object = None
    for contender, calls in zip(benchmark.contenders, opened, strict=True):
        answer = await calls[0](argument)
        content = benchmark.content(argument, answer)
        if benchmark.settle is not None:
            benchmark.settle(argument, answer)
        if expected is None:
            expected = content
        elif content != expected:
            raise DifferentAnswerError(
                f"{benchmark.name}: {contender.label} answers\n{content}\n{benchmark.contenders[0].label}\n{expected}"
            )


async def _turn(
    benchmark: Benchmark[Argument, Answer],
    calls: Sequence[Call[Argument, Answer]],
    arguments: Sequence[Iterator[Argument]],
    seconds: float,
) -> Turn:
    """Let all workers of a contender call for a while; calls under way at the end are finished and counted."""
    latencies: list[float] = []
    gc.collect()
    started, cpu = perf_counter(), process_time()
    deadline = started + seconds
    await asyncio.gather(
        *(
            _work(call, source, benchmark.settle, deadline, latencies)
            for call, source in zip(calls, arguments, strict=True)
        )
    )
    elapsed = perf_counter() - started
    return Turn(len(latencies), elapsed, process_time() - cpu, latencies)


async def _work(
    call: Call[Argument, Answer],
    arguments: Iterator[Argument],
    settle: Callable[[Argument, Answer], None] | None,
    deadline: float,
    latencies: list[float],
) -> None:
    started = perf_counter()
    while started < deadline:
        argument = next(arguments)
        answer = await call(argument)
        if settle is not None:
            settle(argument, answer)
        ended = perf_counter()
        latencies.append(ended - started)
        started = ended


async def _memory(
    benchmark: Benchmark[Argument, Answer], call: Call[Argument, Answer], arguments: Iterator[Argument]
) -> Memory:
    """Weigh kept results, and the highest point of a single call, with everything warm that is made only once."""
    for _ in range(20):
        await _settled(benchmark, call, next(arguments))
    gc.collect()
    tracemalloc.start()
    try:
        peaks = []
        for _ in range(20):
            argument = next(arguments)
            tracemalloc.reset_peak()
            before, _peak = tracemalloc.get_traced_memory()
            await _settled(benchmark, call, argument)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        gc.collect()
        before, _peak = tracemalloc.get_traced_memory()
        kept = [await _settled(benchmark, call, next(arguments)) for _ in range(benchmark.retained)]
        gc.collect()
        after, _peak = tracemalloc.get_traced_memory()
        return Memory((after - before) / len(kept), statistics.median(peaks))
    finally:
        tracemalloc.stop()


async def _settled(benchmark: Benchmark[Argument, Answer], call: Call[Argument, Answer], argument: Argument) -> Answer:
    answer = await call(argument)
    if benchmark.settle is not None:
        benchmark.settle(argument, answer)
    return answer
