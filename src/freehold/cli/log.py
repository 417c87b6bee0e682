"""The commands about the log."""

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.filesize import decimal as filesize
from rich.table import Table

from freehold.cli.loading import load_application
from freehold.cli.options import AdministratorUrl, Json, Target, Yes
from freehold.cli.output import console, failing, print_json
from freehold.engine.prune import Partition, log_begins, old_partitions, prune_log
from freehold.errors import ConfigurationError
from freehold.postgres.connections import Address, connect
from freehold.sql.identifiers import Schemas

__all__ = ["log"]

log = typer.Typer(help="The log of all changes.", no_args_is_help=True)


@log.callback()
def about() -> None:
    """The log of all changes."""


@log.command()
def prune(
    target: Target,
    url: AdministratorUrl,
    before: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="Drop the months that end before this date's month.")
    ],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Drop the oldest months of the log.

    History, reverting and reads of the past reach back to the first month that stays; earlier moments are refused from then on.
    """
    with failing(as_json=as_json):
        schemas = load_application(target).schemas
        found = asyncio.run(_found(url, schemas, before))
        if found and not yes:
            _agree(found, before, as_json=as_json)
        dropped, begins = asyncio.run(_dropped(url, schemas, before))
        if as_json:
            print_json({"dropped": [partition.name for partition in dropped], "begins": begins and begins.isoformat()})
        else:
            names = ", ".join(partition.name for partition in dropped) or "nothing; there is no earlier month"
            console.print(f"Dropped {names}. The log begins with {begins:%Y-%m}.")


def _agree(found: Sequence[Partition], before: datetime, *, as_json: bool) -> None:
    if as_json or not os.isatty(0):
        raise ConfigurationError(
            f"{len(found)} months of the log would be dropped for good", hint="give --yes to agree to it"
        )
    table = Table("month", "changes, about", "size", title="To be dropped for good")
    for partition in found:
        table.add_row(
            partition.name.removeprefix("log_").replace("_", "-"), f"{partition.rows:,}", filesize(partition.bytes)
        )
    console.print(table)
    typer.confirm(f"Drop what was before {before:%Y-%m}?", abort=True)


async def _found(url: str, schemas: Schemas, before: datetime) -> Sequence[Partition]:
    async with connect(Address(url=url)) as connection:
        return await old_partitions(connection, schemas, before.date())


async def _dropped(url: str, schemas: Schemas, before: datetime) -> tuple[Sequence[Partition], datetime | None]:
    async with connect(Address(url=url)) as connection:
        return await prune_log(connection, schemas, before.date()), await log_begins(connection, schemas)
