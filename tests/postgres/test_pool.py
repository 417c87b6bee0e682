"""The pool: never more connections than its size, none lost, and nothing left running on the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from freehold import Database, errors
from freehold.postgres.connections import Address, Pool
from tests.conftest import Server, new_context
from tests.probe import blocked, until
from tests.world import Contact, Customer, application

Connection = asyncpg.Connection

OWN = (
    "select pid, wait_event, query from pg_stat_activity where query like '%' || $1 || '%' and pid <> pg_backend_pid()"
)
"""The connections whose last statement has a mark in it."""


@asynccontextmanager
async def pool_of(address: Address, **options: Any) -> AsyncIterator[Pool]:
    async with Pool(address, {}, **options) as pool:
        yield pool


@pytest.fixture
def address(server: Server, database_name: str) -> Address:
    return server.address(database_name)


@pytest.fixture
def mark() -> str:
    """A word to find a test's statements by."""
    return f"mark_{uuid4().hex}"


async def rows(admin: Connection, mark: str) -> list[Any]:
    return list(await admin.fetch(OWN, mark))


async def running(admin: Connection, mark: str, count: int) -> None:
    """Waits until so many statements with the mark sleep: `active` alone they are while they are still being parsed."""

    async def reached() -> bool:
        return len([row for row in await rows(admin, mark) if row["wait_event"] == "PgSleep"]) == count

    await until(reached, f"{count} statements run")


def sleep(mark: str, seconds: float = 60) -> str:
    return f"select pg_sleep({seconds}) /* {mark} */"


async def serves(pool: Pool) -> bool:
    """Whether a call is answered."""
    row = await pool.fetch_row("select 1 as n", [])
    return row is not None and row["n"] == 1


async def sound(pool: Pool) -> None:
    """Waits until the pool's count is the connections that it has, all idle, and nobody waits."""

    async def settled() -> bool:
        return pool._open == len(pool._idle) and not [waiter for waiter in pool._waiters if not waiter.done()]

    await until(settled, "the pool counts its connections right")


async def test_no_more_connections_than_its_size(address: Address, admin: Connection, mark: str) -> None:
    async with pool_of(address, size=3) as pool:
        pids = set()

        async def call() -> None:
            row = await pool.fetch_row(f"select pg_backend_pid() as pid, pg_sleep(0.002) /* {mark} */", [])
            assert row is not None
            pids.add(row["pid"])

        await asyncio.gather(*(call() for _ in range(60)))
        assert len(pids) == 3
        assert len(await rows(admin, mark)) == 3
        await sound(pool)


async def test_calls_one_after_the_other_share_a_connection(address: Address) -> None:
    async with pool_of(address, size=3) as pool:
        pids = {(await pool.fetch_row("select pg_backend_pid() as pid", []))["pid"] for _ in range(10)}  # type: ignore[index]
        assert len(pids) == 1
        assert pool._open == 1


async def test_waiting_for_a_connection_is_bounded(address: Address, admin: Connection, mark: str) -> None:
    async with pool_of(address, size=1, wait=0.1) as pool:
        busy = asyncio.ensure_future(pool.fetch_row(sleep(mark), []))
        await running(admin, mark, 1)
        with pytest.raises(errors.UnavailableError, match=r"0\.1 s.*1 are busy") as caught:
            await pool.fetch_row("select 1", [])
        assert caught.value.hint
        busy.cancel()
        await asyncio.wait([busy])
        assert await serves(pool)
        await sound(pool)


async def test_those_who_wait_are_served_in_turn(address: Address, admin: Connection, mark: str) -> None:
    async with pool_of(address, size=1) as pool:
        served: list[int] = []
        busy = asyncio.ensure_future(pool.fetch_row(sleep(mark), []))
        await running(admin, mark, 1)

        async def call(number: int) -> None:
            await pool.fetch_row("select 1", [])
            served.append(number)

        calls = [asyncio.ensure_future(call(number)) for number in range(5)]
        await asyncio.sleep(0)
        busy.cancel()
        await asyncio.gather(*calls)
        assert served == [0, 1, 2, 3, 4]


async def test_a_cancelled_waiter_loses_no_connection(address: Address, admin: Connection, mark: str) -> None:
    async with pool_of(address, size=2) as pool:
        busy = [asyncio.ensure_future(pool.fetch_row(sleep(mark), [])) for _ in range(2)]
        await running(admin, mark, 2)
        waiting = [asyncio.ensure_future(pool.fetch_row("select 1", [])) for _ in range(6)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        for task in busy:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False] * 3
        await asyncio.gather(*busy, return_exceptions=True)
        await sound(pool)
        assert await asyncio.gather(*(serves(pool) for _ in range(4))) == [True] * 4


async def test_a_waiter_that_is_cancelled_as_it_is_served_passes_the_connection_on(address: Address) -> None:
    async with pool_of(address, size=1) as pool:
        for _ in range(20):
            held = await pool._acquire()
            first, second = [asyncio.ensure_future(serves(pool)) for _ in range(2)]
            await asyncio.sleep(0)
            pool._release(held)  # hands it to the first, which has not run yet
            first.cancel()
            async with asyncio.timeout(5):
                assert await second
            assert first.cancelled() or first.cancelling()
            await sound(pool)


async def test_a_task_that_is_cancelled_cancels_its_statement(address: Address, admin: Connection, mark: str) -> None:
    async with pool_of(address, size=2) as pool:
        task = asyncio.ensure_future(pool.fetch_row(sleep(mark), []))
        await running(admin, mark, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await running(admin, mark, 0)
        for _ in range(5):  # nor does the cancellation hit who comes next on the connection
            assert await serves(pool)
        await sound(pool)


async def test_a_cancellation_that_is_lost_holds_nobody_up(
    address: Address, admin: Connection, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ignores a cancellation that reaches it before the statement does. The connection is given up then, not
    handed to the next call, and the server ends the statement when it finds nobody at the other end."""

    async def lost(connection: Connection, waiter: Any, cancel_waiter: Any = None) -> None:
        waiter.set_result(None)

    monkeypatch.setattr(asyncpg.Connection, "_cancel", lost)
    async with pool_of(address, size=1, timeout=60) as pool:
        task = asyncio.ensure_future(pool.fetch_row(sleep(mark), []))
        await running(admin, mark, 1)
        task.cancel()
        async with asyncio.timeout(1):
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(10):
            assert await serves(pool)
        await running(admin, mark, 0)
        await sound(pool)


async def test_a_statement_that_takes_too_long_is_cancelled_on_the_server(
    address: Address, admin: Connection, mark: str
) -> None:
    async with pool_of(address, size=1, timeout=0.2) as pool:
        with pytest.raises(errors.TimeoutError) as caught:
            await pool.fetch_row(sleep(mark), [])
        assert caught.value.seconds == 0.2
        assert caught.value.hint
        await running(admin, mark, 0)
        assert await serves(pool)
        assert await pool.fetch_row("select pg_sleep(0.3)", [], timeout=10)
        with pytest.raises(errors.TimeoutError):
            await pool.fetch_row(sleep(mark), [], timeout=0.05)
        await sound(pool)


async def test_a_write_that_takes_too_long_is_rolled_back(database: Database, admin: Connection) -> None:
    session = database.session(await new_context(database), timeout=0.2)
    made = await session.create(Customer, name="x")
    async with admin.transaction():
        await admin.execute("select 1 from app.customers where id = $1 for update", made.id)
        with pytest.raises(errors.TimeoutError):
            await session.update(made, name="y")
        await blocked(admin, 0)
    assert await session.get(Customer, made.id) == made


async def test_a_timeout_does_not_promise_what_is_not_known(
    database: Database, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is over, but the cancellation reaches the server when the write is done already."""
    over, reaches = asyncio.Event(), asyncio.Event()
    cancel = asyncpg.Connection._cancel

    async def late(connection: Connection, *waiters: Any) -> None:
        over.set()
        await reaches.wait()
        await cancel(connection, *waiters)

    async def written() -> bool:
        return bool(await admin.fetchval("select version from app.customers where id = $1", made.id) == 2)

    monkeypatch.setattr(asyncpg.Connection, "_cancel", late)
    session = database.session(await new_context(database), timeout=0.5)
    made = await session.create(Customer, name="x")
    async with admin.transaction():
        await admin.execute("select 1 from app.customers where id = $1 for update", made.id)
        update = asyncio.ensure_future(session.update(made, name="y"))
        await blocked(admin, 1)
        await over.wait()
    await until(written, "the write is made all the same")
    assert not update.done()  # who hears of the timeout sees no effect appear afterwards
    reaches.set()
    with pytest.raises(errors.TimeoutError) as caught:
        await update
    assert "rolled back" not in str(caught.value)
    assert "read whether it was made" in str(caught.value)


@pytest.mark.parametrize("while_", ["idle", "active"])
async def test_a_connection_that_the_server_ends_is_replaced(
    address: Address, admin: Connection, mark: str, while_: str
) -> None:
    async with pool_of(address, size=1) as pool:
        for _ in range(3):
            if while_ == "active":
                task = asyncio.ensure_future(pool.fetch_row(sleep(mark), []))
                await running(admin, mark, 1)
            else:
                await pool.fetch_row(f"select 1 /* {mark} */", [])
            (row,) = await rows(admin, mark)
            assert await admin.fetchval("select pg_terminate_backend($1, 5000)", row["pid"])
            if while_ == "active":
                with pytest.raises(errors.UnavailableError) as caught:
                    await task
                assert caught.value.hint
            else:
                connection = pool._idle[0]
                await until(lambda c=connection: asyncio.sleep(0, c.is_closed()), "the driver notices")  # type: ignore[misc]
            assert await serves(pool)
            assert pool._open == 1
        await sound(pool)


async def test_who_waits_is_served_when_the_busy_connection_dies(
    address: Address, admin: Connection, mark: str
) -> None:
    async with pool_of(address, size=1) as pool:
        busy = asyncio.ensure_future(pool.fetch_row(sleep(mark), []))
        await running(admin, mark, 1)
        waiting = [asyncio.ensure_future(serves(pool)) for _ in range(3)]
        await asyncio.sleep(0)
        (row,) = await rows(admin, mark)
        await admin.fetchval("select pg_terminate_backend($1, 5000)", row["pid"])
        assert await asyncio.gather(*waiting) == [True] * 3
        assert isinstance((await asyncio.gather(busy, return_exceptions=True))[0], errors.UnavailableError)
        await sound(pool)


async def test_who_waits_is_told_when_no_connection_can_be_opened_any_more(
    address: Address, admin: Connection, mark: str
) -> None:
    async with pool_of(address, size=1, wait=20) as pool:
        busy = asyncio.ensure_future(pool.fetch_row(sleep(mark), []))
        await running(admin, mark, 1)
        waiting = [asyncio.ensure_future(pool.fetch_row("select 1", [])) for _ in range(3)]
        await asyncio.sleep(0)
        pool._address = replace(address, database="there_is_none")
        (row,) = await rows(admin, mark)
        await admin.fetchval("select pg_terminate_backend($1, 5000)", row["pid"])
        async with asyncio.timeout(5):
            results = await asyncio.gather(busy, *waiting, return_exceptions=True)
        assert [type(result) for result in results] == [errors.UnavailableError] + [errors.ConfigurationError] * 3
        pool._address = address
        assert await serves(pool)
        await sound(pool)


async def test_closing_tells_those_who_wait_and_lets_the_busy_finish(
    address: Address, admin: Connection, mark: str
) -> None:
    pool = Pool(address, {}, size=1)
    busy = asyncio.ensure_future(pool.fetch_row(f"select 1 as n, pg_sleep(0.3) /* {mark} */", []))
    await running(admin, mark, 1)
    waiting = [asyncio.ensure_future(pool.fetch_row("select 1", [])) for _ in range(3)]
    await asyncio.sleep(0)
    await pool.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {errors.UnavailableError}
    row = await busy
    assert row is not None
    assert row["n"] == 1
    with pytest.raises(errors.UnavailableError, match="closed"):
        await pool.fetch_row("select 1", [])
    await pool.close()  # twice is as good as once

    async def gone() -> bool:
        return not await rows(admin, mark)

    await until(gone, "the busy connection is closed too")
    assert pool._open == 0


async def test_a_failed_statement_leaves_the_connection_fit(address: Address) -> None:
    async with pool_of(address, size=1) as pool:
        pid = "select pg_backend_pid() as pid"
        before = await pool.fetch_row(pid, [])
        for statement, arguments in (
            ("select 1 / 0", []),
            ("nonsense", []),
            ("select $1::uuid", ["x"]),
            ("select $1", []),
        ):
            with pytest.raises(errors.FreeholdError):
                await pool.fetch_row(statement, arguments)
        assert await pool.fetch_row(pid, []) == before
        await sound(pool)


async def test_two_hundred_calls_of_two_organizations_over_three_connections(
    server: Server, database_name: str
) -> None:
    """Interleaved, with cancellations and conflicts among them: no answer has a row of the other."""
    async with Database.open(server.address(database_name), application, size=3) as database:
        sessions = [database.session(await new_context(database)) for _ in range(2)]
        mine = []
        for number, session in enumerate(sessions):
            made = [await session.create(Customer, name=f"org {number}", visits=n) for n in range(10)]
            for customer in made:
                await session.create(Contact, customer_id=customer.id, name=f"org {number}")
            mine.append(made)

        async def call(turn: int) -> None:
            side = turn % 2
            session, records = sessions[side], mine[side]
            record, other = records[turn % 10], mine[1 - side][turn % 10]
            match turn % 7:
                case 0:
                    assert await session.get(Customer, record.id) == record
                case 1:
                    page = await session.list(Customer, limit=100, include=["contacts"], with_total=True)
                    assert page.total == 10
                    assert {each.id for each in page} == {each.id for each in records}
                    assert {child.name for each in page for child in each.contacts} == {f"org {side}"}
                case 2:
                    found = await session.sql(None, "select name, pg_sleep(0.001) from customers")
                    assert [row["name"] for row in found] == [f"org {side}"] * 10
                case 3:
                    with pytest.raises(errors.NotFoundError):
                        await session.get(Customer, other.id)
                case 4:
                    with pytest.raises(errors.ConcurrencyError) as caught:
                        await session.update((Customer, record.id, 5), name="x")
                    assert caught.value.current == record
                case 5:
                    assert await session.count(Contact, {"customer.name": f"org {1 - side}"}) == 0
                case _:
                    task = asyncio.ensure_future(session.sql(None, "select pg_sleep(1), name from customers"))
                    await asyncio.sleep(0.005)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task

        await asyncio.gather(*(call(turn) for turn in range(200)))
        await sound(database._store.pool)
        assert database._store.pool._open == 3


async def test_values_that_the_driver_refuses_leave_no_lock_of_the_parse(address: Address, admin: Connection) -> None:
    """The server has parsed the statement by then, in a transaction that nobody would end."""
    async with pool_of(address, size=1) as pool:
        with pytest.raises(errors.ValidationError):
            await pool.fetch_row("select name from app.customers where visits = $1", [object()])
        held = "select count(*) from pg_locks l join pg_stat_activity a using (pid) where a.usename = $1 and l.relation = $2::regclass"
        assert await admin.fetchval(held, address.user, "app.customers") == 0
        await sound(pool)


async def test_values_that_the_driver_refuses_were_not_sent(database: Database) -> None:
    for arguments in (["x"], [], [1, 2]):
        with pytest.raises(errors.ValidationError) as caught:
            await database.store.pool.fetch("select $1::integer", arguments)
        assert not caught.value.unanswered
