"""A server that is killed in the middle of writes, again and again: what was acknowledged is there when it is back."""

import asyncio
from collections import Counter
from random import Random

import pytest

from freehold import Database
from tests.conftest import new_context
from tests.faults.conftest import quiet
from tests.faults.killing import KILLS, mortal
from tests.faults.ledger import ROUNDS, SEED, Ledger
from tests.faults.writes import work
from tests.probe import plain, until
from tests.world import Customer, application


@pytest.mark.timeout(60 + 60 * ROUNDS)
async def test_a_server_that_is_killed_again_and_again() -> None:
    """Units of work and transactions, while processes of the server are killed at random moments."""
    chance = Random(f"kills {SEED}")
    totals: Counter[str] = Counter()
    async with mortal() as server, Database.open(server.address, application, size=6) as database:
        session = database.session(await new_context(database))
        account = await session.create(Customer, name="account")
        ledger, kinds = Ledger(others={"account"}), list(KILLS) * (2 * ROUNDS)
        chance.shuffle(kinds)
        for number, kind in enumerate(kinds):
            ended = asyncio.Event()

            async def caller(name: str, ended: asyncio.Event = ended) -> None:
                turn = 0
                while not ended.is_set():
                    turn += 1
                    await work(database, session, ledger, f"{name}-{turn}", account.id, chance)
                    await asyncio.sleep(0.002)

            async with asyncio.TaskGroup() as group:
                for caller_number in range(6):
                    group.create_task(caller(f"{number}-{caller_number}"))
                await asyncio.sleep(chance.random() * 0.15)
                totals[kind] += await server.kill(kind, chance)
                await until(server.serves, "the server is back")
                ended.set()
            async with plain(server.server.admin_address(server.database)) as admin:
                await quiet(admin)
                written = await ledger.check(admin, session)
            counted = sum(mark.endswith("account") for mark in ledger.done | written)
            final = await session.get(Customer, account.id)
            assert (final.visits, final.version) == (counted, counted + 1)
    assert sum(totals.values()) >= len(kinds) * 3 // 4, totals
    assert min(ledger.counts[:2]) > 20, ledger.counts
