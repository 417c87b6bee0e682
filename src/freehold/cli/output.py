"""How commands print."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from freehold.errors import FreeholdError

__all__ = ["console", "failing", "print_json"]

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
        _fail(error, as_json=as_json)


def _fail(error: FreeholdError, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json(error.as_dict())
    else:
        stderr = Console(stderr=True, soft_wrap=True)
        stderr.print(f"[bold red]{error.code}[/] {escape(error.message)}")
        if error.hint:
            stderr.print(f"[dim]{escape(error.hint)}[/]")
    raise typer.Exit(1)
