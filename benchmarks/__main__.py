"""Compares Freehold with its peers: `python -m benchmarks [ONLY ...]`. See docs/benchmarks.md."""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from rich.console import Console

from benchmarks import log_trigger, report
from benchmarks.harness import Plan, run
from benchmarks.workloads import WORKLOADS
from benchmarks.world import world

FOLDER = Path(".freehold/benchmarks")
"""The embedded server's; removing it has the next run begin anew."""


def arguments() -> argparse.Namespace:
    """What the command line asks for; without anything, all of it."""
    names = [benchmark.name for benchmark in WORKLOADS] + [log_trigger.NAME]
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compares Freehold with its peers.")
    parser.add_argument("only", nargs="*", metavar="ONLY", help=f"benchmarks to run, of: {', '.join(names)} (all)")
    parser.add_argument("--rounds", type=int, default=plan.rounds, help="turns of each contender (%(default)s)")
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="length of a turn (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=plan.warm_up, help="seconds before the rounds (%(default)s)")
    parser.add_argument("--connections", type=int, nargs="*", default=plan.workers, help="at a time (1 8)")
    parser.add_argument("--paths", nargs="*", choices=plan.paths, default=plan.paths, help="ways to the server (all)")
    parser.add_argument("--seed", type=int, default=plan.seed, help="of the order of turns (%(default)s)")
    given = parser.parse_args()
    unknown = sorted(set(given.only) - set(names))
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}; there are {', '.join(names)}")
    return given


async def main(only: Sequence[str], plan: Plan) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = report.WIDTH
    started = perf_counter()
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
    console.print(f"{perf_counter() - started:.0f} s; written: {', '.join(path.name for path in written)}", style="dim")
    console.print(f"in {report.RESULTS}", style="dim")


if __name__ == "__main__":
    given = arguments()
    asyncio.run(
        main(
            given.only,
            Plan(given.rounds, given.seconds, given.warm_up, given.connections, given.paths, given.seed),
        )
    )
