"""What a moment has told it tells for ever: transactions that overlap it, and data that came from another server."""

import random
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session
from tests.conftest import Server, new_context
from tests.probe import enter, plain, scratch
from tests.store.test_past import clock
from tests.world import Customer, application

Connection = asyncpg.Connection
RECORDS = 5


async def told(session: Session, moment: Any) -> dict[str, int]:
    async with session.as_of(moment) as past:
        return {customer.name: customer.visits for customer in await past.list(Customer)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("at_once", [True, False], ids=["asked at once", "asked later"])
async def test_transactions_that_overlap_moments_are_told_whole_and_always_alike(
    server: Server, database_name: str, raw: Connection, acme: Session, seed: int, at_once: bool
) -> None:
    """Each transaction adds its own power of two to some records: so a record's value says which transactions it has seen."""
    chance = random.Random(seed)
    for number in range(RECORDS):
        await acme.create(Customer, name=str(number), visits=0)
    touched: dict[int, set[str]] = {}
    moments: list[tuple[Any, dict[str, int], dict[str, int] | None]] = []
    async with AsyncExitStack() as stack:
        free = [await stack.enter_async_context(plain(server.address(database_name))) for _ in range(4)]
        running: dict[int, tuple[Connection, Any, set[str]]] = {}
        committed: set[int] = set()
        for step in range(60):
            locked = set().union(*(mine for _, _, mine in running.values()))
            match chance.choice(["begin", "write", "write", "commit", "ask"]):
                case "begin" if free:
                    connection = free.pop()
                    transaction = connection.transaction()
                    await transaction.start()
                    await enter(connection, acme.context)
                    number = len(touched)
                    running[number], touched[number] = (connection, transaction, set()), set()
                case "write" if running:
                    number = chance.choice(list(running))
                    name = str(chance.randrange(RECORDS))
                    connection, _, mine = running[number]
                    if name not in (locked - mine) and name not in touched[number]:
                        await connection.execute(
                            "update app.customers set visits = visits + $1, version = version + 1 where name = $2",
                            2**number, name,
                        )  # fmt: skip
                        mine.add(name)
                        touched[number].add(name)
                case "commit" if running:
                    number = chance.choice(list(running))
                    connection, transaction, _ = running.pop(number)
                    await transaction.commit()
                    committed.add(number)
                    free.append(connection)
                case "ask":
                    moment = await clock(raw)
                    truth = {str(r): sum(2**n for n in committed if str(r) in touched[n]) for r in range(RECORDS)}
                    first = await told(acme, moment) if at_once else None
                    moments.append((moment, truth, first))
                    assert first in (None, truth), step
                case _:
                    pass
        for connection, transaction, _ in running.values():
            await transaction.commit()
            del connection
    for moment, truth, _ in moments:
        again = await told(acme, moment)
        seen = {n for n in touched for name, value in again.items() if value & 2**n}
        assert again == {str(r): sum(2**n for n in seen if str(r) in touched[n]) for r in range(RECORDS)}, "whole"
        assert all(again[name] & value == value for name, value in truth.items()), "what was committed is seen"
        if at_once:
            assert again == truth
        assert await told(acme, moment) == again


async def test_moments_need_few_marks(server: Server, database_name: str, raw: Connection, acme: Session) -> None:
    customer = await acme.create(Customer, name="a")
    moment = await clock(raw)
    await acme.update(customer, name="b")
    async with plain(server.admin_address(database_name)) as admin:
        for _ in range(3):
            assert await told(acme, moment) == {"a": customer.visits}
        assert await admin.fetchval("select count(*) from freehold.marks where at >= $1", moment) == 1
    async with acme.transaction() as transaction, transaction.as_of(await clock_of(transaction)) as past:
        assert [each.name for each in await past.list(Customer)] == ["b"]


async def clock_of(session: Any) -> Any:
    """The latest moment that a transaction may ask for."""
    (row,) = await session.sql(None, "select now() as now")
    return datetime.fromisoformat(row["now"])


MOVED = """
update freehold.settings set value = '1' where name = 'server';
update freehold.log set xid = '4000000000000'::xid8;
update freehold.marks set seen = '4000000000001:4000000000001:';
select setval('freehold.log_position', 1)
"""


@pytest.mark.parametrize("how", ["open", "setup"])
async def test_data_of_another_server_tells_its_past_and_goes_on_behind_its_positions(server: Server, how: str) -> None:
    """A dump brings xids that this server has not given out yet; a replica that takes over has no sequences."""
    async with scratch(server) as name, plain(server.admin_address(name)) as admin:
        async with Database.open(server.address(name), application, size=1) as database:
            session = database.session(context := await new_context(database))
            customer = await session.create(Customer, name="a")
            moment = await clock(admin)
            customer = await session.update(customer, name="b")
            assert (await told(session, moment)).keys() == {"a"}
        reached = await admin.fetchval("select max(position) from freehold.log")
        await admin.execute(MOVED)
        if how == "setup":
            await application.setup(server.admin_address(name), {application.roles.application: server.password})
        async with Database.open(server.address(name), application, size=1) as database:
            session = database.session(context)
            later = await clock(admin)
            assert (await told(session, later)).keys() == {"b"}
            customer = await session.update(customer, name="c")
            (change, *_) = await session.history(customer)
            assert (change.version, change.position) == (3, reached + 1)
            assert (await told(session, later)).keys() == {"b"}
            assert (await told(session, moment)).keys() == {"a"}
