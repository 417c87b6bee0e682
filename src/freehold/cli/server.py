"""The commands for embedded servers."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from freehold.cli.options import Json
from freehold.cli.output import console, failing, print_json
from freehold.errors import ConfigurationError
from freehold.postgres.server import EmbeddedServer
from freehold.postgres.strays import Home, homes, remove

__all__ = ["server"]


class _Server(TyperGroup):
    """`freehold server PATH` is `freehold server run PATH`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Any: typer has a copy of click's
        """Reads the arguments."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


server = typer.Typer(cls=_Server, no_args_is_help=True, help="Embedded PostgreSQL servers.")


@server.command("run")
def run(
    path: Annotated[Path, typer.Argument(help="The server's folder; made when it is not there.")],
    as_json: Json = False,
) -> None:
    """Run the embedded PostgreSQL of a folder until interrupted, and say how to connect with psql."""

    async def running() -> None:
        done = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, done.set)
        async with await EmbeddedServer.start(path) as embedded:
            where = embedded.connection()
            if as_json:
                print_json({"host": where.host, "port": where.port, "user": where.user, "database": where.database})
            else:
                console.print(
                    f"PostgreSQL runs in {escape(str(path))}. Connect with its password, which lies in that folder:"
                )
                console.print(
                    f"  psql -h {escape(where.host)} -p {where.port} -U {where.user} {where.database}", highlight=False
                )
                console.print("Press Ctrl-C to leave; the server stops when its last user has left.")
            await done.wait()

    with failing(as_json=as_json):
        asyncio.run(running())


@server.command("clean")
def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove the data of embedded servers whose project folder is gone.

    Data of a project that is there, or on which a server runs, is never removed. The exit code is 0, and 1 where somebody said no.
    """
    with failing(as_json=as_json):
        found = list(homes())
        gone = [home for home in found if home.state == "gone"]
        if not as_json:
            _show(found)
        removed: list[Home] = []
        if gone and (yes or not as_json):
            if not yes and not _agreed(len(gone)):
                raise typer.Exit(1)
            removed = [home for home in gone if remove(home)]
        if as_json:
            told = [
                {"path": str(home.path), "project": home.project and str(home.project), "state": home.state}
                for home in found
            ]
            print_json({"found": told, "removed": [str(home.path) for home in removed]})
        elif removed:
            console.print(f"{len(removed)} removed.")


def _show(found: list[Home]) -> None:
    for home in found:
        whose = f"of {home.project}" if home.project else "of an unknown project: start it once, and it is noted"
        console.print(
            f"{home.state:<8} {home.size / 1e6:>8,.1f} MB  {escape(str(home.path))} {escape(whose)}", highlight=False
        )
    if not any(home.state == "gone" for home in found):
        console.print("There is nothing to remove.")


def _agreed(count: int) -> bool:
    if not os.isatty(0):
        raise ConfigurationError(
            f"{count} folders can be removed, and nobody is there to ask",
            hint="give --yes, or run the command in a terminal",
        )
    return typer.confirm(f"Remove the {count} whose project is gone?")
