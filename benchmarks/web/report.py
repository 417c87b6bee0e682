"""What a comparison of servers leaves behind: a table for each setting, a JSON file and a chart for each workload."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from shutil import which
from subprocess import run

from rich.console import Console
from rich.table import Table

from benchmarks.report import OURS, PEER, charts, save_chart, write_json
from benchmarks.web.contenders import POOL
from benchmarks.web.driver import driver_name
from benchmarks.web.measure import Field, Measured, Plan, Setting
from benchmarks.web.world import World

__all__ = ["TARGETED", "conditions", "print_conditions", "print_setting", "target_of", "write"]

TARGETED = 16
"""Connections with which targets are to be reached."""
LIBRARIES = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "pyjwt", "cryptography")


def conditions(world: World, taking_part: Field, plan: Plan) -> dict[str, object]:
    """Where and how it was measured; goes into each JSON file."""
    node = which("node")
    versions = {name: version(name) for name in LIBRARIES}
    if node:
        versions["node"] = run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "machine": {**world.machine, **versions},
        "plan": asdict(plan),
        "driver": driver_name(),
        "pool": POOL,
        "left_out": dict(taking_part.absent),
    }


def print_conditions(console: Console, around: Mapping[str, object]) -> None:
    machine, absent = around["machine"], around["left_out"]
    assert isinstance(machine, dict)
    assert isinstance(absent, dict)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), style="dim")
    console.print(f"driver: {around['driver']}; {POOL} connections to PostgreSQL for each server", style="dim")
    for label, reason in absent.items():
        console.print(f"left out: {label}: {reason}")


def target_of(setting: Setting, each: Measured) -> float | None:
    """What Freehold is to reach against a peer in this setting."""
    return setting.workload.targets.get(each.contender.name) if setting.connections == TARGETED else None


def print_setting(console: Console, setting: Setting) -> None:
    connections = "1 connection" if setting.connections == 1 else f"{setting.connections} connections"
    table = Table(title=f"{setting.workload.title}: {connections}", title_justify="left")
    table.add_column("server")
    headings = (
        "requests/s",
        "rounds",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "server us",
        "PostgreSQL us",
        "MiB",
        "Freehold is",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("target")
    ours = setting.ours
    for each in setting.measured:
        cells = [
            each.contender.label,
            f"{each.rate:,.0f}",
            "{:,.0f}-{:,.0f}".format(*each.rates),
            *(f"{each.latency(percent) / 1000:,.2f}" for percent in (50, 95, 99)),
            *(f"{each.server:,.0f}" if each.server else "", f"{each.postgres:,.0f}" if each.postgres else ""),
            f"{each.resident / 2**20:,.0f}" if each.resident else "",
        ]
        if ours is not None and each is not ours:
            ratio, target = ours.ratio(each), target_of(setting, each)
            met = "" if target is None else f"{target:g}x {'[green]met' if ratio >= target else '[red]not met'}"
            cells += [f"{ratio:.2f}x", met]
        table.add_row(*cells, style="bold" if each is ours else None)
    console.print(table)


def write(settings: Sequence[Setting], around: Mapping[str, object]) -> Sequence[Path]:
    """Write `results/<name>.json` and `.svg` of one workload."""
    workload = settings[0].workload
    rows = [_row(setting, each) for setting in settings for each in setting.measured]
    content = {"name": workload.name, "title": workload.title, **around, "results": rows}
    return write_json(workload.name, content), _chart(settings)


def _row(setting: Setting, each: Measured) -> dict[str, object]:
    slowest, fastest = each.rates
    row: dict[str, object] = {
        "connections": setting.connections,
        "server": each.contender.name,
        "label": each.contender.label,
        "requests_per_second": round(each.rate, 1),
        "requests_per_second_slowest_round": round(slowest, 1),
        "requests_per_second_fastest_round": round(fastest, 1),
        **{f"latency_p{percent}_milliseconds": round(each.latency(percent) / 1000, 3) for percent in (50, 95, 99)},
        "server_processor_microseconds_per_request": round(each.server, 1),
        "postgresql_processor_microseconds_per_request": round(each.postgres, 1),
        "server_resident_bytes": each.resident,
    }
    ours = setting.ours
    if ours is not None and each is not ours:
        ratio, target = ours.ratio(each), target_of(setting, each)
        row["freehold_times_peer"] = round(ratio, 3)
        if target is not None:
            row |= {"target": target, "met": ratio >= target}
    return row


def _chart(settings: Sequence[Setting]) -> Path:
    """A panel per number of connections; a bar per server, as long as its requests per second."""
    figure, axes = charts().subplots(1, len(settings), figsize=(5.4 * len(settings), 3.2), squeeze=False)
    for axis, setting in zip(axes.flat, settings, strict=True):
        shown = list(reversed(setting.measured))
        rates = [each.rate for each in shown]
        colours = [OURS if each is setting.ours else PEER for each in shown]
        bars = axis.barh([each.contender.label for each in shown], rates, color=colours)
        axis.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=8)
        axis.set_title(f"{setting.connections} at a time", fontsize=9, loc="left")
        axis.margins(x=0.18)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    workload = settings[0].workload
    figure.suptitle(f"{workload.title} (requests per second)", fontsize=11)
    return save_chart(workload.name, figure)
