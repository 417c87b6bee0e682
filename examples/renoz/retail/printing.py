"""How the import of the Online Retail data is shown."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from examples.renoz.retail.importing import Imported

__all__ = ["Bars", "as_dict", "print_imported"]

REASONS = {
    "customer_missing": "there is no customer",
    "description_missing": "there is no description",
    "quantity_negative": "a quantity below zero, and no cancellation",
    "price_negative": "a price below zero",
    "adjustment": "an adjustment of bad debt",
}


class Bars:
    """Progress bars, one for each thing that is done."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description:<29}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=console, disable=console.quiet)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def advance(self, what: str, done: int, size: int) -> None:
        """Shows how much of something is done; 0 of it in all where nobody knows yet."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=None)
        self._bars.update(self._tasks[what], completed=done, total=size or None)


def print_imported(console: Console, imported: Imported, file: Path) -> None:
    """The totals: they must add up."""
    table = Table("", "lines", "pounds", title=f"The invoice lines of {file.name}", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, totals in (
        ("in the file", imported.file),
        ("accepted", imported.accepted),
        ("refused", imported.refused),
        ("in the database", imported.stored),
    ):
        table.add_row(name, f"{totals.lines:,}", _pounds(totals.value))
    console.print(table)
    reasons = ", ".join(
        f"{count:,} {REASONS.get(code, code.replace('_', ' '))}" for code, count in imported.reasons.items()
    )
    console.print(Text(f"Refused because: {reasons or 'nothing'} (a line may have several reasons)."))
    records = ", ".join(f"{count:,} {name}" for name, count in imported.records.items())
    console.print(
        Text(
            f"In {imported.organizations} organizations: {records}. {imported.linked:,} of {imported.credits:,} credit orders are linked."
        )
    )
    verdict = ("The totals add up.", "bold green") if imported.adds_up else ("The totals do not add up.", "bold red")
    console.print(Text.assemble(verdict))


def _pounds(value: Decimal) -> str:
    """All places that there are, at least two."""
    exact = value.normalize()
    return f"{exact:,f}" if int(exact.as_tuple().exponent) < -2 else f"{exact:,.2f}"


def as_dict(imported: Imported) -> dict[str, Any]:
    """The totals as JSON-able values; amounts are strings, exactly."""
    totals = {
        name: {"lines": found.lines, "pounds": str(found.value.normalize())}
        for name in ("file", "accepted", "refused", "stored")
        for found in [getattr(imported, name)]
    }
    return totals | {
        "reasons": dict(imported.reasons),
        "organizations": imported.organizations,
        "records": dict(imported.records),
        "credits": imported.credits,
        "linked": imported.linked,
        "adds_up": imported.adds_up,
    }
