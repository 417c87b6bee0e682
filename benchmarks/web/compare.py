"""The comparison of servers as a whole: measured, printed and written."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks.web import report
from benchmarks.web.measure import Plan, Setting, measure, opened
from benchmarks.web.world import world

__all__ = ["compare"]


async def compare(plan: Plan, console: Console, chosen: Callable[[str], bool]) -> list[Path]:
    """Measure the chosen workloads on all servers.

    Returns:
        The files that were written.

    Raises:
        DifferentAnswerError: a server does not do the same work as the others.
        RefusedError: a request under load was not answered with success.
    """
    measured: dict[str, list[Setting]] = {}
    async with world() as here, opened(here) as taking_part:
        around = report.conditions(here, taking_part, plan)
        report.print_conditions(console, around)
        async for setting in measure(here, taking_part, plan, chosen):
            report.print_setting(console, setting)
            measured.setdefault(setting.workload.name, []).append(setting)
        return [path for settings in measured.values() for path in report.write(settings, around)]
