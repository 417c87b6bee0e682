"""The demo: `python -m examples.renoz.demo [--check] [--path DIR] [--port N] [--json]`, or `make demo`.

Starts the embedded server, makes the schema and two organizations, loads their data, and walks through the tour. Then it
imports half a million invoice lines of a real wholesaler, or a sample of their shape where they are not there. In the end it
serves the CRM over HTTP until Ctrl-C; with `--check` or `--json` it calls each function instead, and ends. Every part can be
repeated: a second run finds what is there and changes nothing of it.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from examples.renoz.data import ORGANIZATIONS, Dataset, generate
from examples.renoz.entities import application
from examples.renoz.load import Advance, enter, load
from examples.renoz.printing import FOLDER, make_console, print_end, print_error, print_head, print_step, progress
from examples.renoz.retail.importing import Imported, import_retail
from examples.renoz.retail.printing import Bars, as_dict, print_imported
from examples.renoz.retail.sample import VARIABLE, retail_file
from examples.renoz.service.playground import clear
from examples.renoz.service.running import PORT
from examples.renoz.service.visit import Visit, receive, visit
from examples.renoz.tour import Result, World, walk
from freehold import Database, FreeholdError
from freehold.errors import ConfigurationError

__all__ = ["main", "prepare", "take_tour"]


async def prepare(database: Database, stack: AsyncExitStack, *, scale: float, console: Console) -> World:
    """Makes the organizations and loads what they lack.

    Args:
        database: an open one with this application's schema.
        stack: closes the sessions.
        scale: of the data; 1 is about 3,000 records for each organization.
        console: shows how far the load is.
    """
    sessions = {}
    data = {profile.slug: generate(profile, scale) for profile in ORGANIZATIONS}
    with progress(console) as bars:
        for slug, dataset in data.items():
            context = await enter(database, dataset.profile)
            sessions[slug] = await stack.enter_async_context(database.session(context))
            await load(sessions[slug], dataset, _bar(bars, dataset))
    return World(sessions, data, database)


def _bar(bars: Progress, dataset: Dataset) -> Advance:
    task = bars.add_task(f"{dataset.profile.name:<17}", total=dataset.size, created=0)

    def advance(found: int, created: int) -> None:
        bars.update(task, advance=found + created, created=bars.tasks[task].fields["created"] + created)

    return advance


async def take_tour(world: World, console: Console, *, check: bool = False) -> list[Result]:
    """Walks through the tour and prints each step as it is taken."""
    results = []
    with console.status("Taking the next step"):
        async for result in walk(world, check=check):
            results.append(result)
            profile = world.data[result.step.tenant].profile
            print_step(console, len(results), result, f"{profile.user_name} of {profile.name}")
    return results


async def import_invoices(database: Database, folder: Path, console: Console) -> Imported:
    """Imports the Online Retail data, and prints the totals."""
    file, real = retail_file(folder.parent)
    console.print()
    console.rule("A wholesaler's year: an organization for each country", align="left", style="cyan")
    if not real:
        console.print(f"A sample: the real data is not there ({VARIABLE} says where it is).", style="dim")
    with Bars(console) as bars:
        imported = await import_retail(database, file, progress=bars.advance)
    print_imported(console, imported, file)
    return imported


@dataclass(frozen=True)
class Demonstrated:
    """What came of the demo.

    Args:
        results: of the tour's steps.
        imported: what was imported.
        visit: what the check of the server saw; None where it was served for people.
        seconds: that it took until then.
    """

    results: list[Result]
    imported: Imported
    visit: Visit | None
    seconds: float

    @property
    def failed(self) -> list[Result]:
        """The steps that are not as expected."""
        return [result for result in self.results if result.differences]

    @property
    def passed(self) -> bool:
        """Whether all of it is as expected."""
        return not self.failed and self.imported.adds_up and (self.visit is None or self.visit.passed)


async def run(folder: Path, console: Console, *, check: bool, stay: bool, port: int) -> Demonstrated:
    """The whole demo.

    Args:
        folder: the server's.
        console: where it is shown.
        check: compare each answer with what the data says.
        stay: serve until somebody stops it, in place of calling each function.
        port: the first one that is tried.
    """
    start = time.perf_counter()
    print_head(console, folder)
    async with AsyncExitStack() as stack:
        try:
            with console.status("Starting PostgreSQL"):
                database = await stack.enter_async_context(Database.embedded(folder, application))
        except ConfigurationError as error:
            if type(error) is ConfigurationError:  # the folder is of an earlier version of this example
                error.add_note(f"The demo makes its data anew in another folder: --path {folder}-2")
            raise
        world = await prepare(database, stack, scale=1.0, console=console)
        session = world.sessions["aurora"]
        await clear(session)  # of a demo that was killed while it served
        results = await take_tour(world, console, check=check)
        imported = await import_invoices(database, folder, console)
        if not stay:
            seen = await visit(database, session, world.data, console, port=port)
            return Demonstrated(results, imported, seen, time.perf_counter() - start)
        done = Demonstrated(results, imported, None, time.perf_counter() - start)
        print_end(console, done.seconds, done.failed, checked=check, folder=folder)
        await receive(database, session, console, port=port)
        return done


def as_json(
    results: Sequence[Result], seconds: float, imported: Imported | None = None, seen: Visit | None = None
) -> str:
    """The steps' results and timings for a script."""
    steps = [
        {
            "name": result.step.name,
            "title": result.step.title,
            "organization": result.step.tenant,
            "code": result.step.code,
            "sql": result.step.sql,
            "milliseconds": round(result.milliseconds, 3),
            "milliseconds_again": None if result.again is None else round(result.again, 3),
            "result": result.facts,
            "differences": result.differences,
        }
        for result in results
    ]
    passed = not any(result.differences for result in results) and (imported is None or imported.adds_up)
    report = {
        "passed": passed and (seen is None or seen.passed),
        "seconds": round(seconds, 3),
        "import": None if imported is None else as_dict(imported),
        "server": None if seen is None else seen.as_dict(),
    }
    return json.dumps(report | {"steps": steps}, indent=2, ensure_ascii=False)


def main(
    check: Annotated[
        bool,
        typer.Option("--check", help="Verify each step against the data, call each function; exit 1 if any differs."),
    ] = False,
    path: Annotated[Path, typer.Option("--path", metavar="DIR", help="The server's folder.")] = FOLDER,
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="The first port that is tried.")] = PORT,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the results and timings as JSON, and nothing else; then end.")
    ] = False,
) -> None:
    """A CRM for two organizations on the embedded PostgreSQL: loads them, shows what Freehold does, and serves it."""
    console = make_console(quiet=json_)
    stay = not (check or json_)
    try:
        done = asyncio.run(run(path, console, check=check, stay=stay, port=port))
    except FreeholdError as error:
        if json_:
            typer.echo(json.dumps({"passed": False, "error": error.as_dict()}, indent=2))
        else:
            print_error(make_console(stderr=True), error)
        raise typer.Exit(1) from None
    if json_:
        typer.echo(as_json(done.results, done.seconds, done.imported, done.visit))
    if not stay:
        print_end(console, done.seconds, done.failed, checked=check, folder=path, served=done.visit)
    if done.failed or (not stay and not done.passed):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
