"""How commands print."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from freehold.errors import FreeholdError

__all__ = ["console", "failing", "print_error", "print_json"]

console = Console(soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


@contextmanager
def failing(*, as_json: bool) -> Iterator[None]:
    """Turns an error of Freehold's into a readable block (or JSON) and exit code 1."""
    try:
        yield
    except FreeholdError as error:
        print_error(error, as_json=as_json)
        raise typer.Exit(1) from None


def print_error(error: FreeholdError, *, as_json: bool) -> None:
    """An error as a readable block, or as JSON."""
    if as_json:
        print_json(error.as_dict())
        return
    stderr = Console(stderr=True, soft_wrap=True)
    stderr.print(f"[bold red]{error.code}[/] {escape(error.message)}")
    if error.hint:
        stderr.print(f"[dim]{escape(error.hint)}[/]")
