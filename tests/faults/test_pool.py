"""The pool's connections: what a broken or cancelled call leaves on one, and what happens when all are busy."""

import asyncio

import asyncpg
import pytest

from freehold import Database, Session, errors
from tests.conftest import Server
from tests.faults.conftest import quiet
from tests.faults.proxy import Fault, Once, Proxy
from tests.probe import blocked, enter, until
from tests.world import Customer, application

Connection = asyncpg.Connection


@pytest.mark.parametrize("mark", [b"BEGIN", b"set local jit", b"ROLLBACK", b"COMMIT"])
async def test_a_call_that_is_cancelled_while_the_driver_looks_up_types(
    way: Proxy, session: Session, acme: Session, admin: Connection, mark: bytes
) -> None:
    """The look-up is a transaction of the driver's own: its connection is not given to the next call with that open."""
    way.decide = hit = Once(mark, Fault("slow", delay=0.05))
    call = asyncio.create_task(session.create(Customer, name="first"))
    if mark == b"ROLLBACK":
        way.decide = once = Once(b"set local jit", Fault("slow", delay=0.05))
        await asyncio.wait_for(once.done.wait(), 20)
        way.decide = hit
        call.cancel()
    else:
        await asyncio.wait_for(hit.done.wait(), 20)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: _rested(session), "its connection is back, or given up")
    second = await session.create(Customer, name="second")
    assert await acme.get(Customer, second.id) == second
    await quiet(admin)


async def test_a_connection_that_breaks_while_it_is_opened_is_given_up(
    way: Proxy, far: Database, session: Session, acme: Session, admin: Connection
) -> None:
    pool = far.store.pool
    way.shut()
    way.down = False
    await until(lambda: _closed(far), "the connections are known to be cut")
    for skip in range(2):
        way.decide = hit = Once(b"", Fault("before"), skip=skip)
        with pytest.raises(errors.UnavailableError) as caught:
            await session.count(Customer)
        assert hit.done.is_set()
        assert not caught.value.unanswered
        way.decide = lambda _: None
    assert await session.count(Customer) == 0
    assert (pool._open, len(pool._idle), len(pool._waiters)) == (1, 1, 0)


async def test_a_full_pool_is_waited_for_and_then_told(
    server: Server, database_name: str, acme: Session, rival: Session, raw: Connection, admin: Connection
) -> None:
    """Units of work that find no connection fail with what is to be done, and those that had one lose nothing."""
    shared = await acme.create(Customer, name="shared")
    async with Database.open(server.address(database_name), application, size=2, wait=0.3) as database:
        session = database.session(acme.context)
        held = raw.transaction()
        await held.start()
        await enter(raw, acme.context)
        await raw.execute("select from app.customers where id = $1 for update", shared.id)

        async def busy(number: int) -> None:
            async with session.unit_of_work() as unit:
                unit.add(Customer, name=f"busy-{number}")
                unit.update((Customer, shared.id, shared.version), visits=number + 1)

        async def waiting(number: int) -> None:
            async with session.unit_of_work() as unit:
                unit.add(Customer, name=f"waiting-{number}")

        calls = [asyncio.create_task(busy(number)) for number in range(2)]
        await blocked(admin, 2)
        outcomes = await asyncio.gather(*(waiting(number) for number in range(20)), return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, errors.UnavailableError)
            assert not outcome.unanswered
            assert outcome.message == "no connection came free in 0.3 s; all 2 are busy"
            assert "raise the pool's size" in str(outcome.hint)
        later = [asyncio.create_task(waiting(number + 100)) for number in range(20)]
        await until(lambda: _queued(database, 20), "they wait for a connection")
        await held.rollback()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in ended) == ["ConcurrencyError", "NoneType"]
        assert await asyncio.gather(*later) == [None] * 20
        pool = database.store.pool
        assert (pool._open, len(pool._idle), len(pool._waiters)) == (2, 2, 0)
    names = {record.name for record in await acme.list(Customer, limit=100)}
    busy_names = {f"busy-{number}" for number, outcome in enumerate(ended) if outcome is None}
    assert names == {"shared", *busy_names, *(f"waiting-{number + 100}" for number in range(20))}
    assert await rival.count(Customer) == 0


async def _queued(database: Database, count: int) -> bool:
    return len(database.store.pool._waiters) == count


async def _rested(session: Session) -> bool:
    pool = session.store.pool
    return pool._open == len(pool._idle)


async def _closed(database: Database) -> bool:
    return all(connection.is_closed() for connection in database.store.pool._idle)
