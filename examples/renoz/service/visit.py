"""The demo's last part: the server with its keys and lines, either for people until they stop it, or for the check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from examples.renoz.data import Dataset
from examples.renoz.service.checks import Case, check_all, uncalled
from examples.renoz.service.client import Client, Seen
from examples.renoz.service.lines import Ran, lines_for, run_line
from examples.renoz.service.playground import clear, prepare
from examples.renoz.service.printing import print_lines, print_seen, print_service, print_stopped
from examples.renoz.service.running import served
from freehold import Database, Session
from freehold.server import Settings
from freehold.server.logs import configure

__all__ = ["Visit", "receive", "visit"]


@dataclass(frozen=True)
class Visit:
    """What a check of the server saw.

    Args:
        address: where it was.
        seen: each call.
        ran: each line.
        uncalled: functions that were not called.
    """

    address: str
    seen: Sequence[Seen]
    ran: Sequence[Ran]
    uncalled: Sequence[str]

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        wrong = [*(each.differences for each in self.seen), *(each.differences for each in self.ran)]
        return not self.uncalled and not any(wrong)

    def as_dict(self) -> dict[str, Any]:
        """What was seen, as JSON-able values; keys are left out."""
        calls = [
            {
                "function": each.function,
                "request": each.request,
                "as": each.caller,
                "status": each.status,
                "told": each.told,
                "milliseconds": round(each.milliseconds, 3),
                "differences": each.differences,
            }
            for each in self.seen
        ]
        lines = [
            {
                "says": each.line.says,
                "status": each.status,
                "milliseconds": round(each.milliseconds, 3),
                "differences": each.differences,
            }
            for each in self.ran
        ]
        return {"address": self.address, "calls": calls, "lines": lines, "uncalled": list(self.uncalled)}


async def receive(database: Database, session: Session, console: Console, *, port: int) -> None:
    """Serves until somebody stops it, with a playground and lines to paste.

    Args:
        database: of the demo.
        session: of Aurora's administrator, who owns the playground.
        console: where addresses, keys and lines are printed.
        port: the first one that is tried.
    """
    settings = Settings(development=True, docs=True, metrics=True)
    try:
        async with served(database, port=port, settings=settings) as service:
            lines = await lines_for(service, await prepare(session))
            print_service(console, service, port)
            print_lines(console, lines)
            console.print("\nServing until Ctrl-C.", style="bold")
            configure(settings)  # from here on each request is told
            await service.until_stopped()
        print_stopped(console)
    finally:
        await clear(session)


async def visit(
    database: Database, session: Session, data: Mapping[str, Dataset], console: Console, *, port: int
) -> Visit:
    """Serves, calls every function over HTTP, runs the lines, and ends.

    Args:
        database: of the demo.
        session: of Aurora's administrator.
        data: what was loaded, by slug.
        console: where all of it is printed.
        port: the first one that is tried.
    """
    try:
        async with served(
            database, port=port, settings=Settings(development=True, access_log=False, docs=True, metrics=True)
        ) as service:
            print_service(console, service, port)
            async with Client(service) as client:
                with console.status("Calling each function"):
                    await check_all(Case(client, data, await prepare(session)))
            lines = await lines_for(service, await prepare(session))  # which begin with version 1
            print_lines(console, lines)
            with console.status("Running the lines"):
                ran = [await run_line(line) for line in lines]
            found = Visit(service.address, client.seen, ran, uncalled(client))
            print_seen(console, found.seen, found.ran, found.uncalled)
    finally:
        await clear(session)
    return found
