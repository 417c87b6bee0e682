"""What `/metrics` tells (Prometheus). The hot path adds to plain numbers; names and formats come in when somebody asks.

Labels are of bounded sets: functions that the application has, classes of status, stages, workers. Never ids, paths or
anything that a caller chose.

Several workers listen on one port, so a scrape meets any one of them. Each writes its figures into a folder that they share,
once a second, and the one that is asked adds up what is there. A worker that replaces another takes over its file, and so its
counters go on and do not begin anew.
"""

import json
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from freehold.server.exchange import Exchange

__all__ = ["Metrics", "SharedFigures"]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""
NAMES = 2_000
"""Functions that are told apart; there are not as many, and if there were, the others would be one."""
STALE = 15.0
"""Seconds after which a worker that has written nothing is taken for gone."""

Numbers = dict[str, float]


@dataclass(slots=True)
class _Figures:
    """The requests of one function: how many by class of status (1xx to 5xx), and how many by time."""

    statuses: list[int] = field(default_factory=lambda: [0] * 6)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def add(self, other: "_Figures") -> None:
        self.statuses = [mine + more for mine, more in zip(self.statuses, other.statuses, strict=True)]
        self.buckets = [mine + more for mine, more in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds


@dataclass(slots=True)
class _Counts:
    """What only grows."""

    functions: dict[str, _Figures] = field(default_factory=dict)
    stages: dict[str, list[float]] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=dict)

    def add(self, other: "_Counts") -> None:
        for name, figures in other.functions.items():
            self.functions.setdefault(name, _Figures()).add(figures)
        for stage, (calls, seconds) in other.stages.items():
            mine = self.stages.setdefault(stage, [0, 0.0])
            mine[0] += calls
            mine[1] += seconds
        for name, number in other.numbers.items():
            self.numbers[name] = self.numbers.get(name, 0) + number

    def as_dict(self) -> dict[str, Any]:
        return {
            "functions": {name: [f.statuses, f.buckets, f.seconds] for name, f in self.functions.items()},
            "stages": self.stages,
            "numbers": self.numbers,
        }

    @classmethod
    def of(cls, value: dict[str, Any]) -> "_Counts":
        functions = {name: _Figures(*figures) for name, figures in value["functions"].items()}
        return cls(functions, {name: list(stage) for name, stage in value["stages"].items()}, dict(value["numbers"]))


class SharedFigures:
    """The folder in which workers of one server keep their figures.

    Args:
        folder: made by the process that starts the workers, and removed by it.
        worker: the number of this one.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder = folder
        self.worker = worker

    def keep(self, figures: dict[str, Any]) -> None:
        """Writes this worker's figures. Who reads meanwhile sees those before, or these."""
        written = self._folder / f".{self.worker}.{os.getpid()}"
        written.write_text(json.dumps({**figures, "at": time.time()}), encoding="utf-8")
        written.replace(self._folder / f"{self.worker}.json")

    def own(self) -> dict[str, Any] | None:
        """What a worker of this number has left."""
        return self._read(self._folder / f"{self.worker}.json")

    def others(self) -> dict[int, dict[str, Any]]:
        """The figures of the other workers, by number."""
        paths = [path for path in sorted(self._folder.glob("*.json")) if path.stem != str(self.worker)]
        return {int(path.stem): found for path in paths if (found := self._read(path)) is not None}

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found


class Metrics:
    """The figures of one process.

    Args:
        gauges: what is so at the moment, by name; `pool_idle` becomes `freehold_pool_idle`.
        totals: what has become more outside of requests, by name; `increments_lost` becomes `freehold_increments_lost_total`.
        shared: where the workers of one server keep theirs; None where this process is the only one.
    """

    def __init__(
        self,
        gauges: Callable[[], Numbers],
        totals: Callable[[], Numbers],
        shared: SharedFigures | None = None,
    ) -> None:
        self._gauges = gauges
        self._totals = totals
        self._shared = shared
        self._counts = _Counts()
        left = None if shared is None else shared.own()
        self._before = _Counts() if left is None else _Counts.of(left["counts"])
        self._limited = 0
        self._bytes = 0

    def __call__(self, exchange: Exchange) -> None:
        """Counts a request that has been answered."""
        seconds = perf_counter() - exchange.began
        functions = self._counts.functions
        name = exchange.function or "none"
        figures = functions.get(name)
        if figures is None:
            figures = functions.setdefault(name if len(functions) < NAMES else "other", _Figures())
        figures.statuses[min(exchange.status // 100, 5)] += 1
        figures.buckets[bisect_left(BUCKETS, seconds)] += 1
        figures.seconds += seconds
        self._bytes += exchange.sent
        if exchange.status == 429:
            self._limited += 1
        stages = self._counts.stages
        for stage, taken in exchange.timings.items():
            sums = stages.get(stage)
            if sums is None:
                sums = stages[stage] = [0, 0.0]
            sums[0] += 1
            sums[1] += taken

    def keep(self) -> None:
        """Writes the figures where the other workers find them."""
        if self._shared is not None:
            self._shared.keep({"counts": self._all().as_dict(), "gauges": self._gauges()})

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """What is told to who asks.

        Args:
            accept: of the request: OpenMetrics or Prometheus's text.

        Returns:
            The text and its media type.
        """
        registry = CollectorRegistry()
        registry.register(_Told(list(self._families())))
        encode, media = choose_encoder(accept)
        return encode(registry), media

    def _all(self) -> _Counts:
        """The counts of this worker's number."""
        counts = _Counts()
        counts.add(self._before)
        counts.add(self._counts)
        numbers = {**self._totals(), "requests_limited": self._limited, "response_bytes": self._bytes}
        counts.add(_Counts(numbers=numbers))
        return counts

    def _families(self) -> Iterator[Metric]:
        others = {} if self._shared is None else self._shared.others()
        counts, gauges = self._all(), {0 if self._shared is None else self._shared.worker: self._gauges()}
        for worker, found in others.items():
            counts.add(_Counts.of(found["counts"]))
            if time.time() - found["at"] < STALE:
                gauges[worker] = found["gauges"]
        yield from _request_families(counts)
        yield from _number_families(counts, gauges)


class _Told:
    """A collector of what was collected."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _request_families(counts: _Counts) -> Iterator[Metric]:
    requests = CounterMetricFamily("freehold_requests", "Requests answered.", labels=["function", "status"])
    seconds = HistogramMetricFamily("freehold_request_seconds", "Time to answer.", labels=["function"])
    for name, figures in sorted(counts.functions.items()):
        for kind, number in enumerate(figures.statuses):
            if number:
                requests.add_metric([name, f"{kind}xx" if kind else "none"], number)
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), figures.buckets, strict=True):
            total += count
            buckets.append((bound, total))
        seconds.add_metric([name], buckets, figures.seconds)
    yield requests
    yield seconds
    taken = CounterMetricFamily("freehold_stage_seconds", "Time by stage of a call.", labels=["stage"])
    calls = CounterMetricFamily("freehold_stage_calls", "Calls that went through a stage.", labels=["stage"])
    for stage, (passed, sums) in sorted(counts.stages.items()):
        taken.add_metric([stage], sums)
        calls.add_metric([stage], passed)
    yield taken
    yield calls


def _number_families(counts: _Counts, gauges: dict[int, Numbers]) -> Iterator[Metric]:
    for name, number in sorted(counts.numbers.items()):
        yield CounterMetricFamily(f"freehold_{name}", _ABOUT.get(name, name), value=number)
    for name in sorted({name for found in gauges.values() for name in found}):
        family = GaugeMetricFamily(f"freehold_{name}", _ABOUT.get(name, name), labels=["worker"])
        for worker, found in sorted(gauges.items()):
            if name in found:
                family.add_metric([str(worker)], found[name])
        yield family


_ABOUT = {
    "requests_limited": "Requests refused because a caller asked for more than it may.",
    "response_bytes": "Bytes of answers' bodies.",
    "requests_in_flight": "Requests under way.",
    "pool_size": "Connections to PostgreSQL at most.",
    "pool_open": "Connections to PostgreSQL.",
    "pool_idle": "Connections to PostgreSQL that nobody uses.",
    "pool_waiting": "Calls that wait for a connection.",
    "increments_waiting": "Increments not yet written.",
    "increments_lost": "Increments that were acknowledged and could not be written.",
    "calls_working": "Calls that have a place.",
    "calls_waiting": "Calls that wait for a place.",
    "calls_admitted": "Calls that were let in.",
    "calls_queued": "Calls that were let in after they had waited for a place.",
    "calls_refused_rate": "Calls refused because of a rate.",
    "calls_refused_queue": "Calls refused because too many of their organization waited.",
    "calls_refused_wait": "Calls refused because no place came free in time.",
    "calls_refused_streams": "Streams refused because too many of their organization were open.",
    "refusals_held": "Refusals that are held back for a moment.",
    "streams_open": "Streams that are being read.",
    "organizations_active": "Organizations that have called within the last second.",
    "memory_bytes": "Resident memory.",
    "cpu_seconds": "Processor time used.",
}
