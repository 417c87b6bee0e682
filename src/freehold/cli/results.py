"""How the answer of a function is printed: as tables for people, as JSON for programs."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from freehold.cli.output import console
from freehold.functions.results import Answer
from freehold.model.numbers import parsed, written

__all__ = ["print_result"]

COLUMNS = 8
"""Columns of a table at most; --json shows all, and --select chooses."""
WIDTH = 60
"""Characters of a cell."""
_LATER = ("organization_id", "created_at", "created_by", "updated_at", "updated_by", "deleted_at", "version")
"""Fields that are shown only where there is room."""


def print_result(answer: Answer, *, as_json: bool) -> None:
    """Prints what a function answered.

    Args:
        answer: not a stream.
        as_json: whether programs read it.
    """
    if answer.media != "application/json":
        sys.stdout.buffer.write(answer.body)
        return
    value = parsed(answer.body)
    if as_json:
        sys.stdout.write(written(value, ascii=True, indent=2) + "\n")
    elif answer.page:
        _print_page(value)
    else:
        _print_value(value)
    if answer.repeated and not as_json:
        console.print("An earlier call with this key had done it.", style="dim")


def _print_page(page: Mapping[str, Any]) -> None:
    rows = page["data"]
    _print_rows(rows)
    if "total" in page:
        console.print(f"{len(rows):,} of {page['total']:,}.", style="dim", highlight=False)
    if page["next"] is not None:
        console.print(Text(f"There are more: after={page['next']}", style="dim"))


def _print_value(value: Any) -> None:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        _print_rows(value)
    elif isinstance(value, dict) and value:
        table = Table(show_header=False, box=None)
        for name, item in value.items():
            table.add_row(Text(name, style="bold"), _cell(item))
        console.print(table)
    elif value is None:
        console.print("Done.")
    else:
        console.print(Text(_shown(value)))


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        console.print("There are none.")
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    plain = [name for name in names if name not in _LATER]
    shown = (plain + [name for name in names if name in _LATER])[:COLUMNS] if len(names) > COLUMNS else names
    table = Table(*map(escape, shown))
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in shown))
    console.print(table)
    if len(shown) < len(names):
        console.print(
            f"{len(names) - len(shown)} more fields: --json shows them, --select chooses.", style="dim", highlight=False
        )


def _cell(value: Any) -> Text:
    text = " ".join(_shown(value).split())
    return Text(text if len(text) <= WIDTH else text[: WIDTH - 1] + "…")


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else written(value)
