"""Connections that break at random: what was acknowledged is there, what was refused is not, and nothing is half there."""

import asyncio
from random import Random

import asyncpg
import pytest

from freehold import Database, Session
from tests.faults.conftest import quiet
from tests.faults.ledger import ROUNDS, SEED, Ledger
from tests.faults.proxy import POINTS, Chance, Proxy
from tests.faults.writes import work
from tests.world import Customer

Connection = asyncpg.Connection


@pytest.mark.parametrize(("cancelled", "timeout"), [(0.0, 10.0), (0.2, 10.0), (0.0, 0.02)])
async def test_hundreds_of_cuts_leave_what_was_told(
    way: Proxy, far: Database, acme: Session, rival: Session, admin: Connection, cancelled: float, timeout: float
) -> None:
    """Units of work and transactions, while every eighth message breaks its connection, in all the ways that there are."""
    session = far.session(acme.context, timeout=timeout)
    account = await acme.create(Customer, name="account")
    ledger = Ledger(others={"account"})
    way.decide = Chance(f"{SEED}/{cancelled}/{timeout}", 0.12)
    chance = Random(f"{SEED}/{cancelled}/{timeout}")

    async def caller(number: int) -> None:
        turn = 0
        while turn < 40 * ROUNDS or min(ledger.counts[:2]) <= 20:  # chance may break fewer of them
            await work(far, session, ledger, f"{number}-{turn}", account.id, chance, cancelled=cancelled)
            turn += 1

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(caller(number))
    way.decide = lambda _: None
    await way.settled()
    await quiet(admin)
    written = await ledger.check(admin, acme)
    counted = sum(mark.endswith("account") for mark in ledger.done | written)
    final = await acme.get(Customer, account.id)
    assert (final.visits, final.version) == (counted, counted + 1)
    assert all(way.faults[point] > 5 for point in POINTS), way.faults
    assert min(ledger.counts[:2]) > 20, ledger.counts
    assert await rival.count(Customer) == 0
