"""What the commands about organizations, users and their credentials share: system work, look-ups, and how lists are told."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from pydantic import BaseModel
from rich.markup import escape
from rich.table import Table

from freehold.cli.loading import load_application
from freehold.cli.output import console, failing, print_json
from freehold.database import Database
from freehold.errors import NotFoundError
from freehold.identity.records import Listing, Organization, User
from freehold.identity.system import System
from freehold.model.moments import jsonable

__all__ = [
    "After",
    "Email",
    "Limit",
    "OrganizationSlug",
    "found_organization",
    "found_user",
    "perform",
    "tell",
    "tell_list",
]

ResultT = TypeVar("ResultT")
RecordT = TypeVar("RecordT", bound=BaseModel)

OrganizationSlug = Annotated[
    str, typer.Option("--organization", help="The organization's slug.", envvar="FREEHOLD_ORGANIZATION")
]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The user's address.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000, help="How many at most.")]
After = Annotated[UUID | None, typer.Option("--after", help="The last id of the list before: what follows it.")]


def perform(
    target: str, url: str, what: str, work: Callable[[System], Awaitable[ResultT]], *, as_json: bool
) -> ResultT:
    """Does system work for a command, whose name the log keeps as the reason.

    Args:
        target: the application, as the command names it.
        url: of the application role.
        what: the command.
        work: is given the system.
        as_json: how an error is told.
    """

    async def performed() -> ResultT:
        application = load_application(target)
        async with Database.open(url, application, size=1, secret=os.environ.get("FREEHOLD_SEAL")) as database:
            return await work(database.system(f"freehold {what}"))

    with failing(as_json=as_json):
        return asyncio.run(performed())
    raise AssertionError("failing leaves the program")  # for the type checker, which cannot know


async def found_organization(system: System, slug: str) -> Organization:
    """The organization with a slug.

    Raises:
        NotFoundError: there is none.
    """
    found = await system.find_organization(slug)
    if found is None:
        raise NotFoundError("Organization", slug, hint="'freehold organization list' tells which there are")
    return found


async def found_user(system: System, email: str) -> User:
    """The user with an address.

    Raises:
        NotFoundError: there is none.
    """
    found = await system.find_user(email)
    if found is None:
        raise NotFoundError("User", email, hint="'freehold user list' tells which there are")
    return found


def tell(record: BaseModel | dict[str, Any], sentence: str, *, as_json: bool) -> None:
    """Says what was done.

    Args:
        record: for programs.
        sentence: for people.
        as_json: who reads it.
    """
    if as_json:
        print_json(jsonable(record) if isinstance(record, BaseModel) else record)
    else:
        console.print(escape(sentence), highlight=False)


_NAMES = frozenset({"id", "slug", "email", "prefix"})


def tell_list(name: str, found: Listing[RecordT], columns: Sequence[str], *, as_json: bool) -> None:
    """Prints a list.

    Args:
        name: of what is listed.
        found: the page.
        columns: the attributes that people are shown.
        as_json: who reads it.
    """
    if as_json:
        listed = [jsonable(record) for record in found.records]
        print_json({name: listed, "next": None if found.next is None else str(found.next)})
        return
    if not found.records:
        console.print("There are none.")
        return
    table = Table()
    for column in columns:
        # What is named in other commands stays whole, however narrow the window is.
        whole = max(len(_shown(getattr(record, column))) for record in found.records) if column in _NAMES else None
        table.add_column(column.replace("_", " "), no_wrap=column in _NAMES, min_width=whole)
    for record in found.records:
        table.add_row(*(escape(_shown(getattr(record, column))) for column in columns))
    console.print(table)
    if found.next is not None:
        console.print(f"There are more: --after {found.next}", highlight=False)


def _shown(value: Any) -> str:  # Any: an attribute of whatever is listed
    if value is None:
        return ""
    if isinstance(value, frozenset):
        return " ".join(sorted(value)) or "nothing"
    return f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else str(value)
