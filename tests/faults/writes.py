"""The ways to write one mark into three tables, all or nothing; and single writes."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeAlias
from uuid import UUID

from freehold import Database, Session, Transaction
from freehold.errors import ConcurrencyError, FreeholdError, OutcomeUnknownError, TimeoutError, UnavailableError
from freehold.store.running import Backoff, run
from tests.faults.ledger import Ledger
from tests.world import Contact, Customer, Order

__all__ = ["WAYS", "Way", "work"]

Way: TypeAlias = Callable[[Database, Session, str, UUID], Awaitable[None]]
"""Writes a mark, and counts it on an account where the mark says so."""

ATTEMPTS = 60


async def unit(database: Database, session: Session, mark: str, account: UUID) -> None:
    """As a unit of work."""
    made = session.unit_of_work()
    customer = made.add(Customer, name=mark, email=f"{mark}@x.test")
    contact = made.add(Contact, customer_id=customer.id, name=mark)
    made.add(Order, customer_id=customer.id, contact_id=contact.id, number=mark, total=1)
    if mark.endswith("account"):
        try:
            read = await session.get(Customer, account)
        except FreeholdError as error:
            error.unanswered = False  # a read leaves nothing in doubt
            raise
        made.update(read, visits=read.visits + 1)
    commit = await made.commit()
    assert commit.position is not None
    assert customer.version == contact.version == 1


async def keyed(database: Database, session: Session, mark: str, account: UUID) -> None:
    """As a unit of work with an idempotency key, which is committed again until it is acknowledged."""
    for attempt in range(ATTEMPTS):
        made = session.unit_of_work(key=mark)
        customer = made.add(Customer, name=mark)
        contact = made.add(Contact, customer_id=customer.id, name=mark)
        made.add(Order, customer_id=customer.id, contact_id=contact.id, number=mark, total=1)
        try:
            commit = await made.commit()
        except FreeholdError as error:
            if error.code[:3] != "FH4" or attempt == ATTEMPTS - 1:
                raise
        else:
            assert not (attempt == 0 and commit.repeated)
            return


async def transaction(database: Database, session: Session, mark: str, account: UUID) -> None:
    """In a transaction."""
    async with session.transaction(deadline=20) as begun:
        await _written(begun, mark, account)


async def repeated(database: Database, session: Session, mark: str, account: UUID) -> None:
    """In a transaction that is repeated."""
    pauses = Backoff(base=0.001, cap=0.01)
    await run(session, lambda begun: _written(begun, mark, account), attempts=20, deadline=20, backoff=pauses)


async def _written(begun: Transaction, mark: str, account: UUID) -> None:
    customer = await begun.create(Customer, name=mark, email=f"{mark}@x.test")
    async with begun.savepoint():
        contact = await begun.create(Contact, customer_id=customer.id, name=mark)
    if mark.endswith("account"):
        read = await begun.get(Customer, account, for_update=True)
        await begun.update(read, visits=read.visits + 1)
    await begun.create(Order, customer_id=customer.id, contact_id=contact.id, number=mark, total=1)


WAYS: dict[str, Way] = {"unit": unit, "keyed": keyed, "transaction": transaction, "repeated": repeated}


async def work(
    database: Database,
    session: Session,
    ledger: Ledger,
    name: str,
    account: UUID,
    chance: Random,
    *,
    cancelled: float = 0.0,
) -> None:
    """Calls one of the ways, at random, and notes what was told.

    Args:
        name: the mark begins with it.
        account: what some of the marks are counted on.
        chance: chooses.
        cancelled: how often the call is cancelled in the middle.
    """
    way = chance.choice(list(WAYS))
    mark = f"{name}-{way}" + ("-account" if way != "keyed" and chance.random() < 0.3 else "")
    call = asyncio.ensure_future(WAYS[way](database, session, mark, account))
    try:
        if chance.random() < cancelled:
            await asyncio.wait([call], timeout=chance.random() * 0.01)
            call.cancel()
        await call
    except (FreeholdError, asyncio.CancelledError) as error:
        ledger.tell(mark, error)
    else:
        ledger.tell(mark, None)
    said = ledger.refused.get(mark) or ledger.doubt.get(mark)
    expected = ConcurrencyError | UnavailableError | TimeoutError | OutcomeUnknownError | asyncio.CancelledError
    assert said is None or isinstance(said, expected), f"{mark}: {said!r}"
    assert not getattr(said, "unanswered", False), f"{mark}: {said!r} is not settled"
