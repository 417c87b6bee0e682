"""The commands about declared counters."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from freehold.app import Application
from freehold.cli.loading import load_application
from freehold.cli.options import AdministratorUrl, Json, Target
from freehold.cli.output import console, failing, print_json
from freehold.engine.reconcile import Drift, Progress
from freehold.engine.reconcile import reconcile as reconciled
from freehold.postgres.connections import Address, connect

__all__ = ["counters"]

SHOWN = 1_000
"""Counters that are told one by one."""

counters = typer.Typer(help="Declared counters.", no_args_is_help=True)


@counters.callback()
def about() -> None:
    """Declared counters."""


@counters.command()
def reconcile(
    target: Target,
    url: AdministratorUrl,
    entity: Annotated[
        str | None, typer.Argument(metavar="ENTITY", help="Only the counters of this entity's records.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Mend what differs.")] = False,
    as_json: Json = False,
) -> None:
    """Compare counters with what they count, in all organizations.

    The exit code is 1 where some differ and are not mended. With --write each is compared again under a lock and set; the log tells of it.
    """
    with failing(as_json=as_json):
        records, number, found = asyncio.run(_found(url, load_application(target), entity, write=write))
        if as_json:
            print_json(
                {"records": records, "differ": number, "mended": write, "drift": [asdict(each) for each in found]}
            )
        else:
            _print(records, number, found, write=write)
        if number and not write:
            raise typer.Exit(1)


async def _found(
    url: str, application: Application, entity: str | None, *, write: bool
) -> tuple[int, int, list[Drift]]:
    """How many records were looked at, how many counters differ, and the first ones of these."""
    stderr = Console(stderr=True)
    found: list[Drift] = []
    number = records = 0
    with stderr.status("begins", spinner="line") as status:

        def report(progress: Progress) -> None:
            nonlocal records
            records = progress.records
            place = f"{progress.entity}, organization {progress.organizations:,}"
            status.update(f"{place}: {records:,} records, {number:,} counters differ")

        async with connect(Address(url=url)) as connection:
            async for drift in reconciled(
                connection,
                application.registry,
                application.schemas,
                application.roles,
                entity=entity,
                write=write,
                progress=report,
            ):
                number += 1
                if len(found) < SHOWN:
                    found.append(drift)
    return records, number, found


def _print(records: int, number: int, found: list[Drift], *, write: bool) -> None:
    if not number:
        console.print(f"{records:,} records: all counters are right.")
        return
    table = Table("organization", "record", "counter", "said", "there are")
    for each in found:
        table.add_row(
            str(each.organization_id),
            str(each.record_id),
            f"{each.entity}.{each.field}",
            f"{each.kept:,}",
            f"{each.counted:,}",
        )
    console.print(table)
    if number > len(found):
        console.print(f"and {number - len(found):,} more")
    end = "they are right now." if write else "mend them with --write."
    console.print(f"{records:,} records: {number:,} counters differ{'ed' if write else ''}; {end}")
