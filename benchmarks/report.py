"""What a run leaves behind: tables on the terminal, a JSON file and a chart per benchmark."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import bulk, invoices, log_trigger, scale
from benchmarks.harness import Benchmark, Measured, Plan, Setting, Target
from benchmarks.world import World

WIDTH = 160
"""Columns, where the output goes to a file."""
RESULTS = Path(__file__).parent / "results"
OURS, PEER = "#1f6f5c", "#b8c4c2"


def charts() -> Any:
    """What draws the charts: it comes with the benchmarks' own dependencies, and is not there for the tests."""
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.use("svg")
    return pyplot


def conditions(world: World, plan: Plan) -> dict[str, object]:
    """Where and how it was measured; goes into each JSON file."""
    near, far = world.round_trips["socket"], world.round_trips["proxy"]
    return {
        "machine": dict(world.machine),
        "plan": asdict(plan),
        "select_1_microseconds": {path: asdict(trip) for path, trip in world.round_trips.items()},
        "proxy_adds_microseconds": {name: getattr(far, name) - getattr(near, name) for name in ("p25", "p50", "p95")},
    }


def print_conditions(console: Console, world: World) -> None:
    near, far = world.round_trips["socket"], world.round_trips["proxy"]
    console.print(", ".join(f"{name} {value}" for name, value in world.machine.items()), style="dim")
    console.print(
        f"select 1 takes {near.p50:.0f} us on the socket and {far.p50:.0f} us through the proxy "
        f"(p95 {near.p95:.0f} and {far.p95:.0f}): the proxy adds a round trip of {far.p50 - near.p50:.0f} us.",
        style="dim",
    )


def verdict(target: Target | None, ratio: float) -> str:
    if target is None:
        return ""
    return f"{target.ratio:g}x {'[green]met' if ratio >= target.ratio else '[red]not met'}"


def target_of(benchmark: Benchmark[Any, Any], measured: Measured) -> Target | None:
    """The target that concerns this contender in this setting."""
    for target in benchmark.targets:
        if (target.peer, target.path, target.workers) == (measured.contender, measured.path, measured.workers):
            return target
    return None


def print_setting(console: Console, benchmark: Benchmark[Any, Any], setting: Setting) -> None:
    ours = setting.measured[0]
    connections = "1 connection" if setting.workers == 1 else f"{setting.workers} connections"
    table = Table(
        title=f"{benchmark.title}: {setting.path}, {connections} (select 1: {setting.message:.0f} us)",
        title_justify="left",
    )
    table.add_column("contender")
    for heading in ("calls/s", "rounds", "p50 us", "p95 us", "Python us/call"):
        table.add_column(heading, justify="right")
    weighed = ours.memory is not None
    if weighed:
        table.add_column("bytes kept", justify="right")
        table.add_column("peak bytes", justify="right")
    table.add_column("Freehold is", justify="right")
    table.add_column("target")
    for each in setting.measured:
        cells = [
            each.label,
            f"{each.rate:,.0f}",
            "{:,.0f}-{:,.0f}".format(*each.rates),
            f"{each.latency(50):,.0f}",
            f"{each.latency(95):,.0f}",
            f"{each.cpu:,.0f}",
        ]
        if weighed:
            cells += [f"{each.memory.retained:,.0f}", f"{each.memory.peak:,.0f}"] if each.memory else ["", ""]
        ratio = ours.ratio(each)
        cells += ["", ""] if each is ours else [f"{ratio:.2f}x", verdict(target_of(benchmark, each), ratio)]
        table.add_row(*cells, style="bold" if each is ours else None)
    console.print(table)


def write(benchmark: Benchmark[Any, Any], settings: Sequence[Setting], around: Mapping[str, object]) -> Sequence[Path]:
    """Write `results/<name>.json` and `.svg`."""
    rows = [_row(benchmark, setting, each) for setting in settings for each in setting.measured]
    return write_json(
        benchmark.name, {"name": benchmark.name, "title": benchmark.title, **around, "results": rows}
    ), _chart(benchmark, settings)


def _row(benchmark: Benchmark[Any, Any], setting: Setting, each: Measured) -> dict[str, object]:
    ours = setting.measured[0]
    slowest, fastest = each.rates
    row: dict[str, object] = {
        "path": each.path,
        "connections": each.workers,
        "select_1_microseconds": round(setting.message, 1),
        "contender": each.contender,
        "label": each.label,
        "calls_per_second": round(each.rate, 1),
        "calls_per_second_slowest_round": round(slowest, 1),
        "calls_per_second_fastest_round": round(fastest, 1),
        "latency_p50_microseconds": round(each.latency(50), 1),
        "latency_p95_microseconds": round(each.latency(95), 1),
        "python_microseconds_per_call": round(each.cpu, 1),
    }
    if each.memory is not None:
        row["retained_bytes_per_result"] = round(each.memory.retained)
        row["peak_bytes_per_call"] = round(each.memory.peak)
    if each is not ours:
        ratio = ours.ratio(each)
        row["freehold_times_peer"] = round(ratio, 3)
        target = target_of(benchmark, each)
        if target is not None:
            row["target"] = target.ratio
            row["met"] = ratio >= target.ratio
    return row


def write_json(name: str, content: Mapping[str, object]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def _chart(benchmark: Benchmark[Any, Any], settings: Sequence[Setting]) -> Path:
    """A panel per setting; a bar per contender, as long as its calls per second."""
    columns = min(2, len(settings))
    lines = -(-len(settings) // columns)
    figure, axes = charts().subplots(lines, columns, figsize=(6.2 * columns, 0.7 + 2.4 * lines), squeeze=False)
    for axis in axes.flat[len(settings) :]:
        axis.set_visible(False)
    for axis, setting in zip(axes.flat, settings, strict=False):
        ours = setting.measured[0]
        shown = list(reversed(setting.measured))
        bars = axis.barh(
            [each.label for each in shown],
            [each.rate for each in shown],
            color=[OURS if each is ours else PEER for each in shown],
        )
        axis.bar_label(bars, [f"{each.rate:,.0f}" for each in shown], padding=3, fontsize=8)
        axis.set_title(f"{setting.path}, {setting.workers} at a time", fontsize=9, loc="left")
        axis.margins(x=0.15)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{benchmark.title} (calls per second)", fontsize=11)
    return save_chart(benchmark.name, figure)


def save_chart(name: str, figure: Any) -> Path:  # matplotlib is untyped here
    figure.tight_layout()
    path = RESULTS / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    charts().close(figure)
    return path


def print_costs(console: Console, costs: Sequence[log_trigger.Cost]) -> None:
    table = Table(title=f"{log_trigger.TITLE}: one connection", title_justify="left")
    table.add_column("the update")
    for heading in ("us without", "us with", "the log costs"):
        table.add_column(heading, justify="right")
    table.add_column("target")
    for cost in costs:
        mark = (
            "" if cost.target is None else f"at most {cost.target:.0%} {'[green]met' if cost.met else '[red]not met'}"
        )
        table.add_row(cost.way, f"{cost.without:,.0f}", f"{cost.with_log:,.0f}", f"{cost.share:+.0%}", mark)
    console.print(table)


def write_costs(costs: Sequence[log_trigger.Cost], around: Mapping[str, object]) -> Sequence[Path]:
    rows = [
        {
            "update": cost.way,
            "microseconds_without": round(cost.without, 1),
            "microseconds_with": round(cost.with_log, 1),
            "added_share": round(cost.share, 3),
            **({} if cost.target is None else {"target_at_most": cost.target, "met": cost.met}),
        }
        for cost in costs
    ]
    figure, axis = charts().subplots(figsize=(6.2, 2.4))
    names = [cost.way for cost in costs]
    axis.barh(names, [cost.with_log for cost in costs], color=OURS, label="with the log")
    axis.barh(names, [cost.without for cost in costs], color=PEER, label="without")
    axis.set_title(f"{log_trigger.TITLE} (microseconds)", fontsize=10, loc="left")
    axis.legend(fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    content = {"name": log_trigger.NAME, "title": log_trigger.TITLE, **around, "results": rows}
    return write_json(log_trigger.NAME, content), save_chart(log_trigger.NAME, figure)


def print_bulk(console: Console, outcome: bulk.Outcome) -> None:
    table = Table(title=outcome.title, title_justify="left")
    table.add_column("contender")
    for heading in ("rows/s", "seconds", "Freehold is"):
        table.add_column(heading, justify="right")
    table.add_column("target")
    ours = outcome.measured[0]
    for each in outcome.measured:
        ratio = ours.ratio(each)
        mark = (
            ""
            if each.target is None
            else f"{each.target:g}x {'[green]met' if ratio >= each.target else '[red]not met'}"
        )
        seconds = f"{min(each.seconds):.2f}-{max(each.seconds):.2f}"
        shown = "" if each is ours else f"{ratio:.2f}x"
        style = "bold" if each is ours else None
        table.add_row(each.label, f"{each.rate(outcome.rows):,.0f}", seconds, shown, mark, style=style)
    console.print(table)
    if outcome.slowest is not None:
        met = "[green]met" if outcome.slowest <= bulk.SLOWEST else "[red]not met"
        console.print(
            f"a call of {bulk.CALL:,} records: p95 {outcome.slowest * 1e3:,.0f} ms of {len(outcome.calls)}; "
            f"at most {bulk.SLOWEST * 1e3:g} ms {met}"
        )


def write_bulk(outcome: bulk.Outcome, plan: bulk.Plan) -> Sequence[Path]:
    ours = outcome.measured[0]
    rows = [
        {
            "contender": each.name,
            "label": each.label,
            "rows_per_second": round(each.rate(outcome.rows)),
            "seconds": [round(seconds, 3) for seconds in each.seconds],
            **({} if each is ours else {"freehold_times_peer": round(ours.ratio(each), 3)}),
            **({} if each.target is None else {"target": each.target, "met": ours.ratio(each) >= each.target}),
        }
        for each in outcome.measured
    ]
    content: dict[str, object] = {
        "name": outcome.name, "title": outcome.title, "machine": dict(outcome.machine), "plan": asdict(plan), "results": rows,
    }  # fmt: skip
    if outcome.slowest is not None:
        content["call_of_a_thousand_p95_seconds"] = round(outcome.slowest, 4)
    figure, axis = charts().subplots(figsize=(6.2, 0.9 + 0.4 * len(rows)))
    shown = list(reversed(outcome.measured))
    rates = [each.rate(outcome.rows) for each in shown]
    bars = axis.barh([each.label for each in shown], rates, color=[OURS if each is ours else PEER for each in shown])
    axis.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=8)
    axis.set_title(f"{outcome.title} (records per second)", fontsize=10, loc="left")
    axis.margins(x=0.15)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return write_json(outcome.name, content), save_chart(outcome.name, figure)


def print_import(console: Console, outcome: invoices.Outcome) -> None:
    lines, told = outcome.imported["file"]["lines"], outcome.imported
    file = "the real file" if outcome.real else "a sample of its shape: the real file is not there"
    console.print(f"{invoices.TITLE}: {file}, {lines:,} lines into {told['organizations']} organizations", style="bold")
    for name in ("file", "accepted", "refused", "stored"):
        console.print(f"  {name:<9} {told[name]['lines']:>9,} lines {Decimal(told[name]['pounds']):>17,f} pounds")
    phases = ", ".join(f"{what} after {seconds:.1f} s" for what, seconds in outcome.phases.items())
    console.print(f"  {phases}", style="dim")
    fast, small = outcome.seconds <= invoices.LONGEST, outcome.peak <= invoices.MOST_MEMORY
    console.print(
        f"  {outcome.seconds:.1f} s ({lines / outcome.seconds:,.0f} lines/s), at most {invoices.LONGEST:g} s "
        f"{'[green]met' if fast else '[red]not met'}[/]; {outcome.peak / 2**20:,.0f} MiB of memory at the peak of the importing "
        f"process, at most {invoices.MOST_MEMORY / 2**20:g} MiB {'[green]met' if small else '[red]not met'}"
    )


def write_import(outcome: invoices.Outcome) -> Sequence[Path]:
    """Write `results/import.json`."""
    content = {"name": invoices.NAME, "title": invoices.TITLE, **asdict(outcome)}
    content |= {"target_seconds": invoices.LONGEST, "target_peak": invoices.MOST_MEMORY}
    content["met"] = outcome.seconds <= invoices.LONGEST and outcome.peak <= invoices.MOST_MEMORY
    return [write_json(invoices.NAME, content)]


def print_scale(console: Console, outcome: scale.Outcome) -> None:
    loaded, of = outcome.loaded, outcome.scale
    if loaded.rows:
        console.print(
            f"loaded {loaded.rows:,} rows in {loaded.seconds:,.0f} s: {loaded.rows / loaded.seconds:,.0f} rows/s; at most "
            f"{loaded.server_bytes / 2**20:,.0f} MiB of memory in the server and {loaded.client_bytes / 2**20:,.0f} in the client",
            style="dim",
        )
    console.print(
        f"{outcome.bytes_on_disk / 2**30:.1f} GiB on disk; {', '.join(f'{name} {value}' for name, value in outcome.settings.items())}; "
        f"memory at the end: server {outcome.server_bytes / 2**20:,.0f} MiB, client {outcome.client_bytes / 2**20:,.0f} MiB",
        style="dim",
    )
    server, client = map(outcome.processor_milliseconds, (outcome.server_processor, outcome.client_processor))
    console.print(
        f"a call takes {server:.2f} ms of the processor in the server and {client:.2f} ms in the client", style="dim"
    )
    if outcome.http_processor:
        http = outcome.processor_milliseconds(outcome.http_processor)
        console.print(
            f"and {http:.2f} ms in the HTTP server, which has {outcome.http_bytes / 2**20:,.0f} MiB in memory",
            style="dim",
        )
    table = Table(
        title=f"{outcome.title}: {of.customers:,} customers, {of.callers} callers, {outcome.calls / outcome.seconds:,.0f} calls/s",
        title_justify="left",
    )
    table.add_column("call")
    for heading in ("calls", "calls/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "p95 large", "p95 others"):
        table.add_column(heading, justify="right")
    table.add_column("target")
    for each in outcome.measured:
        if each.times:
            parts = [scale.percentile(sorted(times), 95) for times in (each.large, each.others)]
            figures = (*map(each.at, (50, 95, 99, 100)), *parts)
            target = (
                ""
                if each.met is None
                else f"p95 {each.call.target:g} ms {'[green]met' if each.met else '[red]not met'}"
            )
            rate = f"{len(each.times) / outcome.seconds:,.0f}"
            shown = ("" if figure == 0 else f"{figure:,.1f}" for figure in figures)
            table.add_row(each.call.name, f"{len(each.times):,}", rate, *shown, target)
    console.print(table)


def write_scale(outcome: scale.Outcome, machine: Mapping[str, str]) -> Sequence[Path]:
    """Write `results/<name>.json` and `.svg`."""
    measured = [each for each in outcome.measured if each.times]
    rows = [
        {
            "call": each.call.name,
            "writes": each.call.write,
            "calls": len(each.times),
            "calls_per_second": round(len(each.times) / outcome.seconds, 1),
            **{f"latency_p{p}_milliseconds": round(each.at(p), 2) for p in (50, 95, 99)},
            "latency_max_milliseconds": round(each.at(100), 2),
            "latency_p95_milliseconds_large_organization": round(scale.percentile(sorted(each.large), 95), 2),
            "latency_p95_milliseconds_other_organizations": round(scale.percentile(sorted(each.others), 95), 2),
            "conflicts": each.conflicts,
            **({} if each.met is None else {"target_p95_milliseconds": each.call.target, "met": each.met}),
        }
        for each in measured
    ]
    content = {
        "name": outcome.name,
        "title": outcome.title,
        "machine": dict(machine),
        "settings": outcome.settings,
        "plan": asdict(outcome.scale),
        "loaded": asdict(outcome.loaded),
        "bytes_on_disk": outcome.bytes_on_disk,
        "memory_bytes": {"server": outcome.server_bytes, "client": outcome.client_bytes, "http": outcome.http_bytes},
        "processor_milliseconds_per_call": {
            "server": round(outcome.processor_milliseconds(outcome.server_processor), 3),
            "client": round(outcome.processor_milliseconds(outcome.client_processor), 3),
            "http": round(outcome.processor_milliseconds(outcome.http_processor), 3),
        },
        "calls_per_second": round(outcome.calls / outcome.seconds, 1),
        "results": rows,
    }
    return write_json(outcome.name, content), _scale_chart(outcome, measured)


def _scale_chart(outcome: scale.Outcome, measured: Sequence[scale.Measured]) -> Path:
    """A bar per kind of call, as long as its 95th percentile, with a mark at its target."""
    shown = list(reversed(measured))
    figure, axis = charts().subplots(figsize=(6.2, 0.9 + 0.3 * len(shown)))
    names = [each.call.name for each in shown]
    bars = axis.barh(names, [each.at(95) for each in shown], color=OURS)
    axis.bar_label(bars, [f"{each.at(95):,.1f}" for each in shown], padding=3, fontsize=8)
    for place, each in enumerate(shown):
        if each.call.target is not None:
            axis.plot([each.call.target] * 2, [place - 0.4, place + 0.4], color="#b5483a")
    axis.set_title(f"{outcome.title} (p95 in milliseconds, and the target)", fontsize=10, loc="left")
    axis.margins(x=0.15)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return save_chart(outcome.name, figure)
