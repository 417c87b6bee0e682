"""Attempts of one tenant to reach the other's records, each by another way; none may succeed.

`harbour` is the session of the one who tries. `foreign` is a record of the other organization, whose id, version and
organization are all known to the attacker, and `cursor` a cursor of the other's list.
"""

import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from examples.renoz.calls import active_customers
from examples.renoz.entities import Contact, Customer
from freehold import Page, Session
from freehold.errors import FreeholdError

__all__ = ["ATTEMPTS", "Outcome", "crossing_tenants"]

Attempt = Callable[[Session, Customer, str | None], Awaitable[Any]]  # Any: what it would bring if it succeeded


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt.

    Args:
        attempt: its function.
        error: what it raised.
        answer: what it returned, where it raised nothing.
        milliseconds: how long it took.
    """

    attempt: Attempt
    error: FreeholdError | None
    answer: Any  # Any: see Attempt
    milliseconds: float

    @property
    def title(self) -> str:
        """What was tried, in words."""
        return (inspect.getdoc(self.attempt) or "").rstrip(".")


async def crossing_tenants(harbour: Session, aurora: Session, first_page: Page[Customer]) -> tuple[list[Outcome], bool]:
    """What comes of attempts on the first record of the other's page, and whether that record is still what it was."""
    foreign = first_page[0]
    outcomes = await try_all(harbour, foreign, first_page.next)
    return outcomes, await aurora.get(Customer, foreign.id) == foreign


async def try_all(harbour: Session, foreign: Customer, cursor: str | None) -> list[Outcome]:
    """Makes all attempts, one after the other."""
    outcomes = []
    for attempt in ATTEMPTS:
        start = time.perf_counter()
        error, answer = None, None
        try:
            answer = await attempt(harbour, foreign, cursor)
        except FreeholdError as raised:
            error = raised
        outcomes.append(Outcome(attempt, error, answer, (time.perf_counter() - start) * 1000))
    return outcomes


async def read_it(harbour: Session, foreign: Customer, _cursor: str | None) -> Customer:
    """Read it by its id."""
    return await harbour.get(Customer, foreign.id)


async def change_it(harbour: Session, foreign: Customer, _cursor: str | None) -> Customer:
    """Change it, with the right version."""
    return await harbour.update(
        (Customer, foreign.id, foreign.version),
        name="Ours now",
    )


async def purge_it(harbour: Session, foreign: Customer, _cursor: str | None) -> Customer:
    """Purge it."""
    return await harbour.purge(foreign)


async def read_its_history(harbour: Session, foreign: Customer, _cursor: str | None) -> Any:
    """Read its history."""
    return await harbour.history((Customer, foreign.id))


async def filter_by_organization(harbour: Session, foreign: Customer, _cursor: str | None) -> Page[Customer]:
    """Filter by the other organization."""
    return await harbour.list(
        Customer,
        where={"organization_id": foreign.organization_id},
    )


async def refer_to_it(harbour: Session, foreign: Customer, _cursor: str | None) -> Contact:
    """Refer to it from a record of one's own."""
    return await harbour.create(
        Contact,
        customer_id=foreign.id,
        first_name="Mole",
    )


async def move_a_record(harbour: Session, foreign: Customer, _cursor: str | None) -> Customer:
    """Create a record for the other organization."""
    return await harbour.create(
        Customer,
        number="C-99999",
        name="Mole",
        organization_id=foreign.organization_id,
    )


async def use_its_cursor(harbour: Session, _foreign: Customer, cursor: str | None) -> Page[Customer]:
    """Continue the other's list."""
    return await active_customers(harbour, after=cursor)


async def count_everything(harbour: Session, _foreign: Customer, _cursor: str | None) -> Any:
    """Hand-written SQL without a where."""
    return await harbour.sql(
        None,
        "select count(*) as customers from customers",
    )


async def ask_for_it(harbour: Session, foreign: Customer, _cursor: str | None) -> Any:
    """Hand-written SQL that names the record."""
    return await harbour.sql(
        None,
        "select name from customers where id = :id",
        id=foreign.id,
    )


async def break_out(harbour: Session, _foreign: Customer, _cursor: str | None) -> Any:
    """An injection through a parameter."""
    return await harbour.sql(
        None,
        "select name from customers where name = :name",
        name="' or 1=1 --",
    )


async def write_by_sql(harbour: Session, foreign: Customer, _cursor: str | None) -> Any:
    """Hand-written SQL that writes."""
    return await harbour.sql(
        None,
        "delete from customers where id = :id returning name",
        id=foreign.id,
    )


async def enter_the_other(harbour: Session, foreign: Customer, _cursor: str | None) -> Any:
    """Hand-written SQL that enters the other organization."""
    return await harbour.sql(
        None,
        "select freehold.enter(:its, '{}')",
        its=foreign.organization_id,
    )


async def forge_its_context(harbour: Session, foreign: Customer, _cursor: str | None) -> Any:
    """Hand-written SQL that sets the context itself, without the other's seal."""
    return await harbour.sql(
        None,
        "with forged as materialized (select set_config('freehold.organization_id', :its, true) as id) "
        "select name from forged cross join lateral (select name from customers where forged.id <> '' limit 1) as theirs",
        its=str(foreign.organization_id),
    )


ATTEMPTS: tuple[Attempt, ...] = (
    read_it,
    change_it,
    purge_it,
    read_its_history,
    filter_by_organization,
    refer_to_it,
    move_a_record,
    use_its_cursor,
    count_everything,
    ask_for_it,
    break_out,
    write_by_sql,
    enter_the_other,
    forge_its_context,
)
