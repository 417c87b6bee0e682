"""Compares Freehold with its peers, and shows what it does at scale: `python -m benchmarks [ONLY ...]`. See docs/benchmarks.md."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from rich.console import Console

from benchmarks import bulk, flood, flood_report, invoices, log_trigger, report, scale
from benchmarks.harness import Plan, run
from benchmarks.web import scale as web_scale
from benchmarks.web.compare import compare as compare_servers
from benchmarks.web.measure import Plan as ServersPlan
from benchmarks.web.workloads import WORKLOADS as SERVED
from benchmarks.workloads import WORKLOADS
from benchmarks.world import world

BULK = {"bulk_create": bulk.measure_create, "bulk_update": bulk.measure_update}
FOLDER = Path(".freehold/benchmarks")
"""The embedded server's; removing it has the next run begin anew."""


ALL_SERVED = "http"
"""Names all comparisons of servers."""


def arguments() -> argparse.Namespace:
    """What the command line asks for; without anything, all of it."""
    names = [benchmark.name for benchmark in WORKLOADS] + [log_trigger.NAME, *BULK, invoices.NAME, scale.NAME]
    names += [flood.NAME, ALL_SERVED, *(workload.name for workload in SERVED), web_scale.NAME]
    plan, served = Plan(), ServersPlan()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compares Freehold with its peers.")
    parser.add_argument("only", nargs="*", metavar="ONLY", help=f"benchmarks to run, of: {', '.join(names)} (all)")
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"turns of each contender ({plan.rounds}; {served.rounds} where servers are compared)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"length of a turn ({plan.seconds:g}; {served.seconds:g} where servers are compared)",
    )
    parser.add_argument("--warm-up", type=float, default=plan.warm_up, help="seconds before the rounds (%(default)s)")
    parser.add_argument(
        "--connections", type=int, nargs="*",
        help=f"at a time ({_spaced(plan.workers)}; {_spaced(served.connections)} where servers are compared)",
    )  # fmt: skip
    parser.add_argument("--paths", nargs="*", choices=plan.paths, default=plan.paths, help="ways to the server (all)")
    parser.add_argument("--seed", type=int, default=plan.seed, help="of the order of turns (%(default)s)")
    parser.add_argument(
        "--customers", type=int, default=scale.Scale.customers, help="of the benchmark scale (%(default)s)"
    )
    parser.add_argument("--callers", type=int, default=scale.Scale.callers, help="of the benchmark scale (%(default)s)")
    parser.add_argument("--measured", type=float, default=scale.Scale.seconds, help="its seconds (%(default)s)")
    parser.add_argument(
        "--records",
        type=int,
        default=bulk.Plan.created,
        help="of bulk_create; bulk_update changes a tenth (%(default)s)",
    )
    given = parser.parse_args()
    unknown = sorted(set(given.only) - set(names))
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}; there are {', '.join(names)}")
    if not 1_000 <= given.customers <= 2_000_000:
        parser.error("--customers is a number from 1,000 to 2,000,000")
    return given


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


async def main(only: Sequence[str], plan: Plan, many: bulk.Plan, size: scale.Scale, servers: ServersPlan) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = report.WIDTH
    started = perf_counter()
    written: list[Path] = []
    served = {ALL_SERVED, *(workload.name for workload in SERVED)}
    if not only or set(only) - {scale.NAME, web_scale.NAME, invoices.NAME, flood.NAME, *BULK, *served}:
        written += await _compare(only, plan, console)
    for name, measure in BULK.items():
        if not only or name in only:
            figures = await measure(many)
            report.print_bulk(console, figures)
            written += report.write_bulk(figures, many)
    if not only or served & set(only):
        written += await compare_servers(
            servers, console, lambda name: not only or bool({name, ALL_SERVED} & set(only))
        )
    if not only or flood.NAME in only:
        floods = await flood.measure(flood.Plan())
        flood_report.show(console, floods)
        written += flood_report.write(floods)
    if not only or invoices.NAME in only:
        imported = await invoices.measure()
        report.print_import(console, imported)
        written += report.write_import(imported)
    if not only or scale.NAME in only:
        outcome = await scale.measure(size, console)
        report.print_scale(console, outcome)
        written += report.write_scale(outcome, outcome.machine)
    if not only or web_scale.NAME in only:
        requested = await web_scale.measure(size, console)
        report.print_scale(console, requested)
        written += report.write_scale(requested, requested.machine)
    console.print(f"{perf_counter() - started:.0f} s; written: {', '.join(path.name for path in written)}", style="dim")
    console.print(f"in {report.RESULTS}", style="dim")


async def _compare(only: Sequence[str], plan: Plan, console: Console) -> list[Path]:
    """The benchmarks against peers, and that of the log's trigger."""
    written: list[Path] = []
    async with world(FOLDER) as here:
        around = report.conditions(here, plan)
        report.print_conditions(console, here)
        for benchmark in WORKLOADS:
            if only and benchmark.name not in only:
                continue
            settings = []
            async for setting in run(benchmark, here, plan):
                report.print_setting(console, benchmark, setting)
                settings.append(setting)
            written += report.write(benchmark, settings, around)
        if not only or log_trigger.NAME in only:
            costs = await log_trigger.measure(here, plan)
            report.print_costs(console, costs)
            written += report.write_costs(costs, around)
    return written


if __name__ == "__main__":
    given = arguments()
    asked = {name: value for name in ("rounds", "seconds") if (value := getattr(given, name)) is not None}
    connections = given.connections
    plan = Plan(warm_up=given.warm_up, paths=given.paths, seed=given.seed, **asked)
    servers = ServersPlan(seed=given.seed, **asked)
    if connections is not None:
        plan, servers = replace(plan, workers=connections), replace(servers, connections=connections)
    asyncio.run(
        main(
            given.only,
            plan,
            bulk.Plan(min(plan.rounds, 5), given.records, max(given.records // 10, 1), seed=given.seed),
            scale.Scale(given.customers, given.callers, given.measured, seed=given.seed),
            servers,
        )
    )
