"""The command for development."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from freehold.cli.loading import default_application, load_application
from freehold.cli.options import Json, OwnTarget
from freehold.cli.output import console, failing, print_error, print_json
from freehold.errors import FreeholdError
from freehold.postgres.server import EmbeddedServer
from freehold.server.application import WebApplication
from freehold.server.development import Known, prepared
from freehold.server.listening import address_of, bind
from freehold.server.logs import configure
from freehold.server.reload import Reloader, Watch
from freehold.server.serving import Stop, loop_factory, serve_one
from freehold.server.settings import Settings

__all__ = ["dev"]


@dataclass(frozen=True, slots=True)
class Developed:
    """What the process serves; it is sent to it.

    Args:
        target: the application, as the command names it.
        folder: of the embedded server.
        as_json: whether what it says is for programs.
    """

    target: str
    folder: Path
    as_json: bool


def dev(
    target: OwnTarget = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 for any that is free.")] = 8000,
    folder: Annotated[Path, typer.Option(help="The embedded server's folder; made when it is not there.")] = Path(
        ".freehold/dev"
    ),
    as_json: Json = False,
) -> None:
    """Serve an application for development, until Ctrl-C.

    It starts an embedded PostgreSQL, brings its schema to what is declared, prints keys for development, and starts anew when a
    Python file below the current folder changes.
    """
    with failing(as_json=as_json), bind(host, port) as bound, asyncio.Runner() as runner:
        named = target or default_application()
        load_application(named)  # what is wrong with it at first is told without starting anything
        if not as_json:
            console.print(f"PostgreSQL starts in {escape(str(folder))} …", highlight=False)
        server = runner.run(EmbeddedServer.start(folder))  # held here, so that it goes on while the process is replaced
        try:
            work = partial(_work, Developed(named, folder, as_json))
            told = partial(_tell_changes, as_json=as_json)
            Reloader(work, bound, Watch([Path.cwd()]), told=told, failed=partial(print_error, as_json=as_json)).run()
        finally:
            runner.run(server.stop())


def _tell_changes(changed: Sequence[Path], *, as_json: bool) -> None:
    if not as_json:
        named = ", ".join(os.path.relpath(path) for path in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        console.print(f"Changed: {escape(named)}{more}. Starting anew.", highlight=False)


def _work(developed: Developed, bound: socket.socket, pipe: Connection, first: bool) -> None:
    """The process that serves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too; the other one tells it when to end
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            runner.run(_serve(developed, bound, pipe, first))
        except FreeholdError as error:
            pipe.send(error)
            raise SystemExit(1) from None


async def _serve(developed: Developed, bound: socket.socket, pipe: Connection, first: bool) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)

    def hear() -> None:  # the other process says nothing: what there is to hear is that it is gone
        loop.remove_reader(pipe.fileno())
        stop()

    loop.add_reader(pipe.fileno(), hear)
    settings = Settings(development=True, drain_seconds=3.0, docs=True, metrics=True)
    configure(settings)
    application = load_application(developed.target)
    async with prepared(developed.folder, application, report=partial(_report, developed)) as made:
        authenticator = made.database.authenticator(development=made.keys)
        server = WebApplication(application, database=made.database, settings=settings, authenticator=authenticator)

        def ready() -> None:
            pipe.send("ready")
            if first:
                _tell(address_of(bound), made.known, developed)

        try:
            await serve_one(server, bound, stop, ready)
        finally:
            await authenticator.close()
            loop.remove_reader(pipe.fileno())


def _report(developed: Developed, text: str) -> None:
    if not developed.as_json:
        console.print(f"  {escape(text)}", highlight=False)


def _tell(address: str, known: Sequence[Known], developed: Developed) -> None:
    """Says what is where, and who can call."""
    if developed.as_json:
        keys = [{"organization": k.organization, "user": k.email, "role": k.role, "key": k.key} for k in known]
        print_json({"address": address, "keys": keys})
    else:
        for name, path in (
            ("documentation", "/api/docs"),
            ("description", "/api/openapi.json"),
            ("figures", "/metrics"),
        ):
            console.print(f"  {name:<14} [bold]{escape(address)}{path}[/]", highlight=False)
        console.print("  Keys, for development only:")
        for each in known:
            console.print(
                f"    {escape(each.organization)}  {escape(each.email)}  {escape(each.role)}  [bold]{escape(each.key)}[/]",
                highlight=False,
            )
        console.print("It starts anew when the code changes. Ctrl-C stops it.")
    sys.stdout.flush()
