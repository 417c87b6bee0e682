"""What was seen of floods, printed and written."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.flood import AT_MOST, NAME, TITLE, Flood, Plan
from benchmarks.report import OURS, PEER, charts, save_chart, write_json

__all__ = ["show", "write"]


def show(console: Console, floods: Sequence[Flood]) -> None:
    """Prints a line for each server."""
    table = Table(title=f"{TITLE}: 64 connections and 4, gets of one record", title_justify="left")
    table.add_column("the server")
    for heading in ("p50 alone", "p50 beside", "p95 alone", "p95 beside", "times", "flooder: 200/s", "429/s"):
        table.add_column(heading, justify="right")
    table.add_column("target")
    for flood in floods:
        figures = [flood.middle(figure, of) for figure in ("p50", "p95") for of in ("alone", "beside")]
        mark = f"at most {AT_MOST:g}: {'[green]met' if flood.ratio <= AT_MOST else '[red]not met'}"
        table.add_row(
            flood.label,
            *(f"{figure / 1_000:,.2f} ms" for figure in figures),
            f"{flood.ratio:.2f}",
            f"{flood.served:,.0f}",
            f"{flood.refused:,.0f}",
            mark if flood.limited else "",
        )
    console.print(table)


def write(floods: Sequence[Flood]) -> Sequence[Path]:
    """Writes figures and a chart."""
    rows = [
        {
            "server": flood.label,
            **{
                f"{figure}_{of}_microseconds": round(flood.middle(figure, of))
                for figure in ("p50", "p95", "p99")
                for of in ("alone", "beside")
            },
            "p95_times": round(flood.ratio, 2),
            "p95_times_by_round": [round(each.beside.p95 / each.alone.p95, 2) for each in flood.rounds],
            "flooder_served_per_second": round(flood.served),
            "flooder_refused_per_second": round(flood.refused),
            **({"target_at_most": AT_MOST, "met": flood.ratio <= AT_MOST} if flood.limited else {}),
        }
        for flood in floods
    ]
    figure, axis = charts().subplots(figsize=(6.2, 2.2))
    names = [flood.label for flood in floods]
    axis.barh(names, [flood.middle("p95", "beside") / 1_000 for flood in floods], color=OURS, label="beside the flood")
    axis.barh(names, [flood.middle("p95", "alone") / 1_000 for flood in floods], color=PEER, label="alone")
    axis.set_title("p95 of who works beside a flood (milliseconds)", fontsize=10, loc="left")
    axis.legend(fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    content = {"name": NAME, "title": TITLE, "machine": floods[0].machine, "plan": asdict(Plan()), "results": rows}
    return write_json(NAME, content), save_chart(NAME, figure)
