"""Work that is repeated: only where nothing was kept, not without end, and never inside of somebody's transaction."""

import asyncio
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, Transaction, errors
from freehold.store.running import Backoff, run
from tests.conftest import Server, new_context
from tests.probe import blocked
from tests.store.transacting import losing_the_answer
from tests.world import Customer, application

Connection = asyncpg.Connection

AT_ONCE = Backoff(random=lambda: 0.0)


async def test_the_result_comes_after_the_commit(database: Database, acme: Session) -> None:
    async def work(transaction: Transaction) -> Customer:
        made = await transaction.create(Customer, name="a")
        assert not await acme.exists(Customer, {"id": made.id})
        return made

    made = await database.run(acme.context, work)
    assert await acme.get(Customer, made.id) == made


async def test_a_deadlock_is_repeated_and_both_succeed(acme: Session) -> None:
    one, two = await acme.create(Customer, name="1"), await acme.create(Customer, name="2")
    holding = asyncio.Barrier(2)
    tried: list[str] = []

    async def add(first: Customer, second: Customer) -> None:
        met = False

        async def work(transaction: Transaction) -> None:
            nonlocal met
            tried.append(first.name)
            held = await transaction.get(Customer, first.id, for_update=True)
            if not met:
                met = True
                await holding.wait()
            other = await transaction.get(Customer, second.id, for_update=True)
            await transaction.update(held, visits=held.visits + 1)
            await transaction.update(other, visits=other.visits + 1)

        await run(acme, work, attempts=50, backoff=AT_ONCE)

    await asyncio.gather(add(one, two), add(two, one))
    assert len(tried) >= 3  # both may have been ended, and have met again
    assert [each.visits for each in await acme.get_many(Customer, [one.id, two.id])] == [2, 2]
    assert [each.version for each in await acme.get_many(Customer, [one.id, two.id])] == [3, 3]


async def test_write_skew_is_repeated(acme: Session) -> None:
    """Two doctors on call, each of whom may go where the other one stays."""
    doctors = [await acme.create(Customer, name=name, status="active") for name in ("ada", "bob")]
    seen = asyncio.Barrier(2)
    tried: list[str] = []

    async def leave(doctor: Customer) -> bool:
        met = False

        async def work(transaction: Transaction) -> bool:
            nonlocal met
            tried.append(doctor.name)
            on_call = await transaction.count(Customer, {"status": "active"})
            if not met:
                met = True
                await seen.wait()
            if on_call < 2:
                return False
            await transaction.update(doctor, status="prospect")
            return True

        return await run(acme, work, attempts=50, isolation="serializable", backoff=AT_ONCE)

    assert sorted(await asyncio.gather(*map(leave, doctors))) == [False, True]
    assert len(tried) >= 3
    assert await acme.count(Customer, {"status": "active"}) == 1


async def test_read_committed_lets_the_same_through(acme: Session) -> None:
    """What the test above would find where the isolation level did not arrive."""
    doctors = [await acme.create(Customer, name=name, status="active") for name in ("ada", "bob")]
    seen = asyncio.Barrier(2)

    async def leave(doctor: Customer) -> None:
        async def work(transaction: Transaction) -> None:
            assert await transaction.count(Customer, {"status": "active"}) == 2
            await seen.wait()
            await transaction.update(doctor, status="prospect")

        await run(acme, work)

    await asyncio.gather(*map(leave, doctors))
    assert await acme.count(Customer, {"status": "active"}) == 0


async def test_a_connection_that_is_lost_before_the_commit_is_repeated(acme: Session, admin: Connection) -> None:
    tried = 0

    async def work(transaction: Transaction) -> None:
        nonlocal tried
        tried += 1
        await transaction.create(Customer, name=f"{tried}")
        if tried == 1:
            (row,) = await transaction.sql(None, "select pg_backend_pid() as pid")
            await admin.execute("select pg_terminate_backend($1, 10000)", row["pid"])

    await run(acme, work, backoff=AT_ONCE)
    assert tried == 2
    assert [each.name for each in await acme.list(Customer)] == ["2"]


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_commit_whose_answer_is_lost(acme: Session, monkeypatch: pytest.MonkeyPatch, arrives: bool) -> None:
    """Where it was made it is not done again; where it was not, it is."""
    tried = 0

    async def work(transaction: Transaction) -> str:
        nonlocal tried
        tried += 1
        await transaction.create(Customer, name=f"{tried}")
        if tried == 1:
            losing_the_answer(transaction, monkeypatch, arrives=arrives)
        return f"{tried}"

    name = await run(acme, work, backoff=AT_ONCE)
    assert (tried, name) == ((1, "1") if arrives else (2, "2"))
    assert [each.name for each in await acme.list(Customer)] == [name]


async def conflict(transaction: Transaction, message: str = "could not serialize") -> None:
    """What PostgreSQL says of a conflict."""
    text = "do $$ begin raise exception '{}' using errcode = '40001'; end $$"
    await transaction._messenger.channel.fetch(text.format(message), [])


@pytest.mark.parametrize("message", ["could not serialize access", "canceling statement due to conflict with recovery"])
async def test_attempts_are_bounded(acme: Session, message: str) -> None:
    tried = 0

    async def work(transaction: Transaction) -> None:
        nonlocal tried
        tried += 1
        await transaction.create(Customer, name="a")
        await conflict(transaction, message)

    with pytest.raises(errors.SerializationError, match=message) as caught:
        await run(acme, work, attempts=3, backoff=AT_ONCE)
    assert tried == 3
    assert "tried 3 times" in str(caught.value.hint)
    assert any("3 times" in note for note in caught.value.__notes__)
    assert await acme.count(Customer) == 0


async def test_the_deadline_is_of_all_attempts_together(acme: Session) -> None:
    tried = 0

    async def work(transaction: Transaction) -> None:
        nonlocal tried
        tried += 1
        await conflict(transaction)

    pauses = [2.0, 0.0]  # taken from the end
    with pytest.raises(errors.SerializationError) as caught:
        await run(acme, work, attempts=100, deadline=60, backoff=Backoff(base=20, cap=100, random=lambda: pauses.pop()))
    assert tried == 2  # after the next pause it would have passed
    assert any("deadline of 60 s" in note for note in caught.value.__notes__)

    async def slow(transaction: Transaction) -> None:
        nonlocal tried
        tried += 1
        await transaction._messenger.channel.fetch("select pg_sleep(30)", [])

    tried = 0
    with pytest.raises(errors.TimeoutError, match=r"deadline of 0\.2 s"):
        await run(acme, slow, deadline=0.2)
    assert tried == 1


async def test_the_pauses_grow_at_random_to_a_bound() -> None:
    backoff = Backoff(base=0.02, cap=0.1, random=lambda: 1.0)
    assert [backoff.pause(attempt) for attempt in range(1, 6)] == [0.02, 0.04, 0.08, 0.1, 0.1]
    assert Backoff(random=lambda: 0.0).pause(50) == 0
    assert Backoff(random=lambda: 0.5).pause(100) == 1.0
    assert {0 <= Backoff().pause(3) <= 0.08 for _ in range(100)} == {True}


async def test_an_error_of_the_work_is_not_repeated(acme: Session) -> None:
    tried = 0

    async def work(transaction: Transaction) -> None:
        nonlocal tried
        tried += 1
        await transaction.create(Customer, name="a")
        raise error

    for error in (
        KeyError("mine"),
        errors.ConcurrencyError("Customer", 1, expected=1, actual=2, current=None),
        errors.UnavailableError("somebody else's"),
        errors.TimeoutError("slow"),
        asyncio.CancelledError(),
    ):
        tried = 0
        with pytest.raises(type(error)) as caught:
            await run(acme, work, backoff=AT_ONCE)
        assert (tried, caught.value) == (1, error)
    assert await acme.count(Customer) == 0


async def test_a_conflict_in_other_clothes_is_repeated(acme: Session) -> None:
    """Work that raises its own error from it, or that has caught it where no savepoint was."""
    tried = 0

    async def wrapping(transaction: Transaction) -> None:
        nonlocal tried
        tried += 1
        try:
            if tried == 1:
                await conflict(transaction)
        except errors.SerializationError as error:
            raise RuntimeError("of the service") from error

    async def catching(transaction: Transaction) -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            with pytest.raises(errors.SerializationError):
                await conflict(transaction)

    for work in (wrapping, catching):
        tried = 0
        await run(acme, work, backoff=AT_ONCE)
        assert tried == 2


async def test_a_full_pool_is_not_tried_again(server: Server, database_name: str) -> None:
    async with Database.open(server.address(database_name), application, size=1, wait=0.1) as database:
        context = await new_context(database)
        entered, leave = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with database.session(context).transaction():
                entered.set()
                await leave.wait()

        holder = asyncio.ensure_future(hold())
        await entered.wait()
        with pytest.raises(errors.UnavailableError, match="no connection came free") as caught:
            await database.run(context, lambda transaction: transaction.count(Customer))
        assert not hasattr(caught.value, "__notes__")
        leave.set()
        await holder


async def test_a_server_that_is_not_there_yet_is_tried_again(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = acme.store.pool
    begin, failures = pool.begin, [ConnectionRefusedError("not yet")] * 2

    async def refusing(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise errors.UnavailableError("the database cannot be reached") from failures.pop()
        return await begin(*arguments, **options)

    monkeypatch.setattr(pool, "begin", refusing)
    assert await run(acme, lambda transaction: transaction.count(Customer), backoff=AT_ONCE) == 0
    assert failures == []


async def test_it_is_refused_inside_of_a_transaction(database: Database, acme: Session, rival: Session) -> None:
    async def work(transaction: Transaction) -> int:
        return await transaction.count(Customer)

    async def nested(_: Transaction) -> int:
        return await database.run(acme.context, work)

    with pytest.raises(errors.TransactionError, match="run was called inside of a transaction"):
        await database.run(acme.context, nested)
    async with acme.transaction():
        for context in (acme.context, rival.context):
            with pytest.raises(errors.TransactionError, match="inside of a transaction"):
                await database.run(context, work)
            with pytest.raises(errors.TransactionError, match="inside of a transaction"):
                await asyncio.ensure_future(database.run(context, work))
    assert await database.run(acme.context, work) == 0


async def test_another_task_s_transaction_is_none_of_its_business(database: Database, acme: Session) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with acme.transaction():
            entered.set()
            await leave.wait()

    holder = asyncio.ensure_future(hold())
    await entered.wait()
    assert await database.run(acme.context, lambda transaction: transaction.count(Customer)) == 0
    leave.set()
    await holder


async def test_another_database_s_transaction_neither(server: Server, database_name: str, acme: Session) -> None:
    async with Database.open(server.address(database_name), application, size=1) as other, acme.transaction():
        assert await other.run(acme.context, lambda transaction: transaction.count(Customer)) == 0


@pytest.mark.parametrize("arguments", [{"attempts": 0}, {"attempts": True}, {"attempts": 101}, {"attempts": 1.5}])
async def test_bad_attempts(database: Database, acme: Session, arguments: Any) -> None:
    with pytest.raises(errors.ValidationError, match="attempts"):
        await database.run(acme.context, lambda transaction: transaction.count(Customer), **arguments)
    with pytest.raises(errors.ValidationError, match="deadline"):
        await database.run(acme.context, lambda transaction: transaction.count(Customer), deadline=-1)


async def test_a_cancellation_in_a_pause_ends_it(acme: Session, admin: Connection) -> None:
    paused = asyncio.Event()

    def pausing() -> float:
        paused.set()
        return 1.0

    task = asyncio.ensure_future(run(acme, conflict, backoff=Backoff(base=100, cap=100, random=pausing), deadline=1000))
    await paused.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await blocked(admin, 0)
