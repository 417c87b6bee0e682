"""The commands of `freehold migrate`."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape

from freehold.app import Application
from freehold.cli.loading import load_application
from freehold.cli.options import AdministratorUrl, Json, Target, Yes
from freehold.cli.output import console, failing, print_json
from freehold.engine.advisory import WAIT
from freehold.engine.migrations.authoring import author
from freehold.engine.migrations.execution import LOCK_WAIT
from freehold.engine.migrations.mending import mending_hint
from freehold.engine.migrations.steps import Step
from freehold.engine.migrations.undertaking import Work, script
from freehold.engine.migrations.work import Migrations, Standing
from freehold.engine.migrations.writing import DELETED
from freehold.errors import ConfigurationError
from freehold.postgres.connections import Address, Connection, connect

__all__ = ["migrate"]

migrate = typer.Typer(help="Revisions of the tables: write them, run them, look at them.", no_args_is_help=True)

FolderPath = Annotated[
    Path | None, typer.Option("--folder", help="The revisions' folder; else the application's, else ./migrations.")
]
Sql = Annotated[bool, typer.Option("--sql", help="Print the SQL and run nothing.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for another set-up or migration that runs.", min=0)]
LockWait = Annotated[float, typer.Option(help="Seconds to try for a lock that a step needs.", min=0.1)]
T = TypeVar("T")


def _migrations(application: Application, folder: Path | None) -> Migrations:
    return Migrations(application.plan(), folder or application.migrations or Path("migrations"))


def _run(url: str, what: Callable[[Connection], Awaitable[T]]) -> T:
    async def connected() -> T:
        async with connect(Address(url=url)) as connection:
            return await what(connection)

    return asyncio.run(connected())


@migrate.command()
def new(
    target: Target,
    title: Annotated[str, typer.Argument(help="What the revision does, in a few words.")],
    url: AdministratorUrl,
    folder: FolderPath = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="What was renamed: table.old=new, or old=new for a table. May be repeated.")
    ] = None,
    no_rename: Annotated[bool, typer.Option("--no-rename", help="Nothing was renamed: drop and add.")] = False,
    empty: Annotated[
        bool, typer.Option("--empty", help="Write a revision without operations, for SQL of your own.")
    ] = False,
    deleted: Annotated[
        str | None,
        typer.Option(help="What becomes of deleted records where soft_delete is switched off: purge, or live."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a revision that leads from the newest one to the declarations.

    The database is only used to find out what PostgreSQL makes of both; nothing in it is changed.
    """
    with failing(as_json=as_json):
        migrations = _migrations(load_application(target), folder)
        pairs = [_pair(text) for text in rename or []]
        if deleted not in (None, *DELETED):
            raise ConfigurationError(f"--deleted {deleted}: it takes {' or '.join(DELETED)}")
        ask = (lambda question: typer.confirm(question)) if os.isatty(0) and not as_json else None
        path = _run(
            url,
            lambda connection: author(
                connection, migrations.plan, migrations.folder, title,
                renames=pairs, never_renamed=no_rename, ask=ask, empty=empty, deleted=deleted,
            ),
        )  # fmt: skip
        if as_json:
            print_json({"file": path, "changed": path is not None})
        elif path is None:
            console.print("The revisions lead to the declarations already; nothing was written.")
        else:
            console.print(f"Written: {escape(os.path.relpath(path))}. Read it, edit it, and run freehold migrate up.")


def _pair(text: str) -> tuple[str, str]:
    old, equals, renamed = text.partition("=")
    if not (old and equals and renamed):
        raise ConfigurationError(f"--rename {text}: it takes table.old=new, or old=new for a table")
    return old, renamed


@migrate.command()
def up(
    target: Target,
    url: AdministratorUrl,
    folder: FolderPath = None,
    to: Annotated[str | None, typer.Option(help="The last revision to run; without it all.")] = None,
    yes: Yes = False,
    sql: Sql = False,
    wait: Wait = WAIT,
    lock_wait: LockWait = LOCK_WAIT,
    as_json: Json = False,
) -> None:
    """Run the revisions that the database has not, and make derived objects again that are not as declared."""
    with failing(as_json=as_json):
        migrations = _migrations(load_application(target), folder)
        _perform(
            migrations, url, lambda connection: migrations.work_up(connection, to=to),
            yes=yes, sql=sql, wait=wait, lock_wait=lock_wait, as_json=as_json,
        )  # fmt: skip


@migrate.command()
def down(
    target: Target,
    url: AdministratorUrl,
    folder: FolderPath = None,
    to: Annotated[
        str | None, typer.Option(help="The revision to be at afterwards, or 'base'; without it the one before.")
    ] = None,
    yes: Yes = False,
    sql: Sql = False,
    wait: Wait = WAIT,
    lock_wait: LockWait = LOCK_WAIT,
    as_json: Json = False,
) -> None:
    """Undo revisions, newest first."""

    async def planned(connection: Connection) -> Work:
        if to is not None:
            return await migrations.work_down(connection, to=None if to == "base" else to)
        standing = await migrations.status(connection)
        place = migrations.folder.index(standing.current)
        if standing.half and standing.half[0] != standing.current:
            place += 1  # what was done of the next one is undone
        before = migrations.folder.revisions[place - 2].id if place > 1 else None
        return await migrations.work_down(connection, to=before)

    with failing(as_json=as_json):
        migrations = _migrations(load_application(target), folder)
        _perform(migrations, url, planned, yes=yes, sql=sql, wait=wait, lock_wait=lock_wait, as_json=as_json)


def _perform(
    migrations: Migrations, url: str, planned: Callable[[Connection], Awaitable[Work]], *,
    yes: bool, sql: bool, wait: float, lock_wait: float, as_json: bool,
) -> None:  # fmt: skip
    """Plans, shows, asks and runs."""

    def report(text: str) -> None:
        if not as_json:
            console.print(f"  {escape(text)}", highlight=False)

    async def perform() -> None:
        async with _both(url) as (connection, observer):
            if sql:
                typer.echo(script(await planned(connection), migrations.plan))
                return
            async with migrations.locked(connection, wait=wait):
                work = await planned(connection)
                if work.empty:
                    _say(as_json, {"changed": False}, "There is nothing to do.")
                    return
                if not as_json:
                    _show(work)
                _allow(work, yes=yes, as_json=as_json)
                left = await migrations.run(connection, observer, work, report=report, lock_wait=lock_wait)
        revisions = [revision.id for revision, _, _ in work.revisions]
        _say(
            as_json,
            {
                "changed": True,
                "revisions": revisions,
                "stamped": work.stamp,
                "differences": [asdict(each) for each in left],
            },
            f"Done: {len(revisions)} revision{'' if len(revisions) == 1 else 's'}.",
        )
        if left and not as_json:
            console.print(f"[yellow]The database still differs in {len(left)}:[/] freehold migrate check says in what.")

    asyncio.run(perform())


@asynccontextmanager
async def _both(url: str) -> AsyncIterator[tuple[Connection, Connection]]:
    async with connect(Address(url=url)) as connection, connect(Address(url=url)) as observer:
        yield connection, observer


def _allow(work: Work, *, yes: bool, as_json: bool) -> None:
    """Asks before data goes."""
    destructive = [step.change for step in work.steps if step.destructive]
    if not destructive or yes:
        return
    if as_json or not os.isatty(0):
        raise ConfigurationError(
            f"data would go: {'; '.join(destructive)}", hint="nothing was done; look at the plan, and say --yes"
        )
    typer.confirm(f"Data goes: {'; '.join(destructive)}. Go on?", abort=True)


def _say(as_json: bool, value: Any, text: str) -> None:
    if as_json:
        print_json(value)
    else:
        console.print(escape(text))


@migrate.command()
def status(target: Target, url: AdministratorUrl, folder: FolderPath = None, as_json: Json = False) -> None:
    """Say where the database is, and which revisions it has not."""
    with failing(as_json=as_json):
        standing = _run(url, _migrations(load_application(target), folder).status)
        if as_json:
            print_json(_standing(standing))
            return
        at = standing.current or (
            "before the first revision" if standing.adopted else "no revision: none was run here yet"
        )
        console.print(f"The database is at {escape(at)}; the newest is {escape(standing.head or 'none')}.")
        if standing.half:
            console.print(
                f"Half done: {standing.half[0]}, on the way {standing.half[1]}. freehold migrate {standing.half[1]} goes on, "
                f"freehold migrate {'down' if standing.half[1] == 'up' else 'up'} leads back."
            )
        for revision in standing.pending:
            console.print(f"  {escape(revision.id)}  {escape(revision.title)}", highlight=False)


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "current": standing.current,
        "head": standing.head,
        "pending": [{"revision": each.id, "title": each.title, "file": each.path} for each in standing.pending],
        "half_done": standing.half,
    }


@migrate.command()
def check(target: Target, url: AdministratorUrl, folder: FolderPath = None, as_json: Json = False) -> None:
    """Fail, and say where, when the database differs from revisions and declarations."""
    with failing(as_json=as_json):
        migrations = _migrations(load_application(target), folder)
        found = _run(url, migrations.check)
        hints = [mending_hint(each, migrations.plan) for each in found.differences]
        if as_json:
            listed = [{**asdict(each), "hint": hint} for each, hint in zip(found.differences, hints, strict=True)]
            print_json(
                {
                    "clean": found.clean,
                    **_standing(found.standing),
                    "differences": listed,
                    "own": [asdict(each) for each in found.own],
                }
            )
        else:
            if found.standing.pending:
                console.print(f"{len(found.standing.pending)} revisions are not run yet: freehold migrate up")
            if found.standing.half:
                console.print(f"Half done: {found.standing.half[0]}: freehold migrate {found.standing.half[1]}")
            for each, hint in zip(found.differences, hints, strict=True):
                console.print(f"{escape(str(each))}\n  [dim]{escape(hint)}[/]", highlight=False)
            if found.own:
                names = ", ".join(f"{each.kind} {each.object}" for each in found.own)
                console.print(f"[dim]Not declared, and left alone: {escape(names)}[/]", highlight=False)
            if found.clean:
                console.print("The database is as declared.")
        if not found.clean:
            raise typer.Exit(1)


@migrate.command()
def plan(target: Target, url: AdministratorUrl, folder: FolderPath = None, as_json: Json = False) -> None:
    """Show what up would do: what changes, which locks it takes, what goes, what is rewritten. Nothing is run."""
    with failing(as_json=as_json):
        work = _run(url, _migrations(load_application(target), folder).work_up)
        if as_json:
            print_json(_work(work))
        elif work.empty:
            console.print("There is nothing to do.")
        else:
            _show(work)


def _work(work: Work) -> dict[str, Any]:
    return {
        "stamp": work.stamp,
        "notes": list(work.notes),
        "engine": [asdict(mending) for mending in work.before],
        "revisions": [
            {
                "revision": revision.id,
                "title": revision.title,
                "groups": [[_step(step) for step in g.steps] for g in groups],
            }
            for revision, groups, _ in work.revisions
        ],
        "derived": [asdict(mending) for mending in work.mendings],
        "counting": list(work.counting),
    }


def _step(step: Step) -> dict[str, Any]:
    told = {
        each.name: getattr(step, each.name) for each in fields(step) if each.name not in ("before", "undo", "operation")
    }
    return told | {"sql": step.statements}


def _show(work: Work) -> None:
    for note in work.notes:
        console.print(f"[dim]{escape(note)}[/]")
    for mending in work.before:
        console.print(f"first: {escape(mending.change)}", highlight=False)
    for revision, groups, _ in work.revisions:
        console.print(f"{work.direction} {escape(revision.id)}: [bold]{escape(revision.title)}[/]", highlight=False)
        for group in groups:
            for place, step in enumerate(group.steps):
                number = str(group.number + 1) if place == 0 else ""
                console.print(f"  {number:>2} {escape(step.change)}", highlight=False)
                for text, style in ((step.lock, "dim"), (_careful(step), "yellow")):
                    if text:
                        console.print(f"     [{style}]{escape(text)}[/]", highlight=False)
    for mending in work.mendings:
        console.print(
            f"derived: {escape(mending.change)}" + (f" [dim]({escape(mending.lock)})[/]" if mending.lock else ""),
            highlight=False,
        )
    if work.counting:
        console.print(f"counters: count the rows of {escape(', '.join(work.counting))}, in steps", highlight=False)


def _careful(step: Step) -> str:
    said = ["data goes"] if step.destructive else []
    said += ["rewrites the table"] if step.rewrites else ["looks at every row"] if step.scans else []
    return "; ".join([*said, step.warning] if step.warning else said)
