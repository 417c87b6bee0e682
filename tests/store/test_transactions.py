"""Interactive transactions: what happens in one is kept as a whole or not at all, and nothing of it is left anywhere."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, Transaction, errors
from freehold.model.context import new_id
from freehold.postgres.connections import Pool
from freehold.postgres.transactions import Terms
from freehold.store.running import Backoff, run
from tests.conftest import Server, new_context
from tests.probe import blocked, plain, until
from tests.world import Contact, Customer, Order, application

Connection = asyncpg.Connection


@pytest.fixture(autouse=True)
async def at_rest(database: Database, admin: Connection) -> AsyncIterator[None]:
    """After each test: the pool has all its connections again, and none of them is in a transaction."""
    yield
    await rest(database.store.pool, admin)


async def rest(pool: Pool, admin: Connection) -> None:
    async def settled() -> bool:
        return pool._open == len(pool._idle) and not pool._waiters

    await until(settled, "all connections are back in the pool")
    assert [each for each in pool._idle if each.is_in_transaction()] == []
    await until(lambda: idle(admin), "no connection of the pool is in a transaction on the server")


async def idle(admin: Connection) -> bool:
    found = await admin.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%' "
        "and application_name = 'freehold'"
    )
    return not found


async def pid(transaction: Transaction) -> int:
    (row,) = await transaction.sql(None, "select pg_backend_pid() as pid")
    return int(row["pid"])


async def names(session: Session) -> list[str]:
    return [each.name for each in await session.list(Customer, order_by="name")]


async def test_a_transaction_is_seen_as_a_whole(acme: Session, rival: Session) -> None:
    async with acme.transaction() as transaction:
        customer = await transaction.create(Customer, name="a")
        order = await transaction.create(Order, customer_id=customer.id, number="1", total=1)
        assert await transaction.get(Customer, customer.id) == customer
        assert (await transaction.list(Order, include={"customer": True}))[0].customer.name == "a"
        assert await transaction.count(Order) == 1
        assert await names(acme) == []
        assert await names(rival) == []
    assert await names(acme) == ["a"]
    assert await acme.get(Order, order.id) == order
    assert await names(rival) == []
    assert [change.action for change in await acme.history(customer)] == ["create"]


async def test_an_exception_undoes_everything_and_goes_on(acme: Session) -> None:
    made = await acme.create(Customer, name="a")
    with pytest.raises(KeyError, match="mine"):
        async with acme.transaction() as transaction:
            await transaction.update(made, name="b")
            await transaction.create(Customer, name="c")
            raise KeyError("mine")
    assert await acme.get(Customer, made.id) == made
    assert await names(acme) == ["a"]
    assert len(await acme.history(Customer)) == 1


async def test_every_call_of_a_session_runs_in_it(acme: Session) -> None:
    before = await acme.create(Customer, name="before")
    async with acme.transaction() as transaction:
        made = await transaction.create(Customer, name="Zenobia")
        made = await transaction.update(made, name="Zenobia Ltd", visits=3)
        gone = await transaction.delete(await transaction.create(Customer, name="gone"))
        assert (await transaction.restore(gone)).deleted_at is None
        assert await transaction.purge((Customer, gone.id, 3))
        assert (await transaction.search("zenob", in_=Customer))[0].record == made
        assert [change.action for change in await transaction.history(made)] == ["update", "create"]
        assert (await transaction.aggregate(Customer, sum=["visits"]))[0].sum == {"visits": 3}
        assert await transaction.exists(Customer, {"name": "Zenobia Ltd"})
        assert await transaction.find(Customer, {"visits": 3}) == made
        assert await transaction.get_many(Customer, [made.id, before.id]) == [made, before]
        assert (await transaction.revert(made, 1)).name == "Zenobia"
    assert (await acme.get(Customer, made.id)).version == 3


async def test_hand_written_queries_leave_it_as_it_was(acme: Session) -> None:
    """They make their transaction read-only, which this one is only while they run."""
    async with acme.transaction() as transaction:
        made = await transaction.create(Customer, name="a")
        assert await transaction.sql(None, "select name from customers") == [{"name": "a"}]
        assert "Plan" in await transaction.explain("select name from customers")
        with pytest.raises(errors.ValidationError, match="nme"):
            await transaction.sql(None, "select nme from customers")
        with pytest.raises(errors.ForbiddenError):
            await transaction.sql(None, "with x as (delete from customers returning 1) select * from x")
        made = await transaction.update(made, name="b")
    assert await acme.get(Customer, made.id) == made


async def test_reads_of_the_past_in_a_transaction(acme: Session) -> None:
    made = await acme.create(Customer, name="a")
    async with acme.transaction() as transaction:
        changed = await transaction.update(made, name="b")
        async with transaction.as_of(made.created_at) as past:
            assert await past.get(Customer, made.id) == made
        assert await transaction.update(changed, name="c")
        with pytest.raises(errors.ValidationError, match="no moment in the past"):
            async with transaction.savepoint(), transaction.as_of(datetime.now(UTC) + timedelta(days=1)):
                pass
        assert (await transaction.get(Customer, made.id)).name == "c"


async def test_answers_do_not_end_a_transaction(acme: Session) -> None:
    made = await acme.create(Customer, name="a")
    changed = await acme.update(made, name="b")
    async with acme.transaction() as transaction:
        with pytest.raises(errors.ConcurrencyError) as caught:
            await transaction.update(made, name="c")
        assert caught.value.current == changed
        for call in (transaction.get(Customer, new_id()), transaction.delete((Customer, new_id(), 1))):
            with pytest.raises(errors.NotFoundError):
                await call
        with pytest.raises(errors.ValidationError):
            await transaction.create(Customer, name="")
        with pytest.raises(errors.ValidationError):
            await transaction.list(Customer, where={"nme": 1})
        await transaction.update(changed, name="d")
    assert await names(acme) == ["d"]


async def test_after_a_call_that_was_refused_nothing_is_kept(acme: Session) -> None:
    await acme.create(Customer, name="a", email="a@x.test")
    with pytest.raises(errors.TransactionError, match=r"nothing was kept.*email exists already") as left:
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="b")
            with pytest.raises(errors.UniqueError) as first:
                await transaction.create(Customer, name="c", email="A@x.test")
            for call in (names(transaction), transaction.create(Customer, name="d")):
                with pytest.raises(
                    errors.TransactionError, match=r"takes no more calls.*email exists already"
                ) as caught:
                    await call
                assert caught.value.__cause__ is first.value
                assert "savepoint" in str(caught.value.hint)
    assert left.value.__cause__ is first.value
    assert await names(acme) == ["a"]


async def test_values_that_the_driver_refuses_do_not_end_it(acme: Session) -> None:
    async with acme.transaction() as transaction:
        with pytest.raises(errors.ValidationError, match="a value is not valid"):
            await transaction._messenger.channel.fetch("select $1::integer", ["x"])
        await transaction.create(Customer, name="a")
    assert await names(acme) == ["a"]


class Refused(Exception):
    pass


async def test_savepoints(acme: Session) -> None:
    async with acme.transaction() as transaction:
        kept = await transaction.create(Customer, name="kept")
        with pytest.raises(Refused):
            async with transaction.savepoint():
                await transaction.update(kept, name="undone")
                raise Refused
        assert await transaction.get(Customer, kept.id) == kept
        async with transaction.savepoint():
            await transaction.create(Customer, name="outer")
            with pytest.raises(Refused):
                async with transaction.savepoint():
                    await transaction.create(Customer, name="inner")
                    async with transaction.savepoint():
                        await transaction.create(Customer, name="innermost")
                    raise Refused
            async with transaction.savepoint():
                await transaction.create(Customer, name="other inner")
        with pytest.raises(Refused):
            async with transaction.savepoint():
                async with transaction.savepoint():
                    await transaction.create(Customer, name="released, and undone with its outer one")
                raise Refused
    assert await names(acme) == ["kept", "other inner", "outer"]


async def test_a_savepoint_saves_from_a_refused_call(acme: Session) -> None:
    async with acme.transaction() as transaction:
        await transaction.create(Customer, name="a", email="a@x.test")
        with pytest.raises(errors.UniqueError):
            async with transaction.savepoint():
                await transaction.create(Customer, name="b")
                await transaction.create(Customer, name="c", email="a@x.test")
        with pytest.raises(errors.TransactionError, match=r"the savepoint was rolled back.*exists already"):
            async with transaction.savepoint():
                await transaction.create(Customer, name="d")
                with pytest.raises(errors.UniqueError):
                    await transaction.create(Customer, name="e", email="a@x.test")
        await transaction.create(Customer, name="f")
    assert await names(acme) == ["a", "f"]


async def test_a_refused_call_after_a_savepoint_ends_what_is_around_it(acme: Session) -> None:
    """The savepoint's release travels with the next script, so that on the server it is open still."""
    async with acme.transaction() as transaction:
        await transaction.create(Customer, name="a", email="a@x.test")
        with pytest.raises(errors.UniqueError):
            async with transaction.savepoint():
                async with transaction.savepoint():
                    await transaction.create(Customer, name="b")
                await transaction.create(Customer, name="c", email="a@x.test")
        async with transaction.savepoint():
            await transaction.create(Customer, name="d")
    assert await names(acme) == ["a", "d"]
    with pytest.raises(errors.UniqueError):
        async with acme.transaction() as transaction:
            async with transaction.savepoint():
                await transaction.create(Customer, name="e")
            await transaction.create(Customer, name="f", email="a@x.test")
    assert await names(acme) == ["a", "d"]


async def test_a_transaction_in_a_transaction_is_refused(acme: Session) -> None:
    async with acme.transaction() as transaction:
        with pytest.raises(errors.TransactionError, match="inside of another") as caught:
            async with transaction.transaction():
                pass
        assert "transaction.savepoint()" in str(caught.value.hint)
        await transaction.create(Customer, name="a")
    assert await names(acme) == ["a"]


async def test_after_its_end_it_takes_no_calls(acme: Session) -> None:
    async with acme.transaction() as transaction:
        pass
    with pytest.raises(errors.TransactionError, match="has ended"):
        await transaction.create(Customer, name="a")
    with pytest.raises(errors.TransactionError, match="has ended"):
        async with transaction.savepoint():
            pass
    with pytest.raises(Refused):
        async with acme.transaction() as transaction:
            raise Refused
    with pytest.raises(errors.TransactionError, match="was rolled back"):
        await names(transaction)
    assert await names(acme) == []


async def test_a_closed_session_begins_none_and_its_transaction_goes_no_further(database: Database) -> None:
    context = await new_context(database)
    with pytest.raises(errors.IsolationError, match="closed"):
        async with database.session(context) as session, session.transaction() as transaction:
            await session.__aexit__(None, None, None)
            await transaction.create(Customer, name="a")
    with pytest.raises(errors.IsolationError, match="closed"):
        async with session.transaction():
            pass
    assert await names(database.session(context)) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"isolation": "chaos"}, "isolation"),
        ({"isolation": None}, "isolation"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": True}, "deadline"),
        ({"deadline": "1"}, "deadline"),
        ({"deadline": 100_000}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
    ],
)
async def test_bad_terms(acme: Session, arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        async with acme.transaction(**arguments):
            pass
    assert [issue.field for issue in caught.value.issues] == [named]


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_the_isolation_level(acme: Session, isolation: Any) -> None:
    made = await acme.create(Customer, name="a")
    async with acme.transaction(isolation=isolation) as transaction:
        (row,) = await transaction.sql(None, "select current_setting('transaction_isolation') as level")
        assert row == {"level": isolation.replace("_", " ")}
        assert (await transaction.get(Customer, made.id)).name == "a"
        await acme.update(made, name="b")
        assert (await transaction.get(Customer, made.id)).name == ("b" if isolation == "read_committed" else "a")


async def test_a_read_only_transaction(acme: Session) -> None:
    made = await acme.create(Customer, name="a")
    async with acme.transaction(read_only=True) as transaction:
        assert await transaction.get(Customer, made.id) == made
        assert await transaction.sql(None, "select name from customers") == [{"name": "a"}]
        with pytest.raises(errors.ForbiddenError, match="the transaction only reads"):
            async with transaction.savepoint():
                await transaction.update(made, name="b")
        with pytest.raises(errors.ForbiddenError, match="the transaction only reads"):
            await transaction.get(Customer, made.id, for_update=True)
        assert await names(transaction) == ["a"]
    assert await acme.get(Customer, made.id) == made


async def test_calls_of_concurrent_tasks_take_turns(acme: Session) -> None:
    async with acme.transaction() as transaction:
        made = await asyncio.gather(*(transaction.create(Customer, name=f"{n}") for n in range(8)))
        assert await asyncio.gather(*(transaction.get(Customer, each.id) for each in made)) == made
    assert await names(acme) == [f"{n}" for n in range(8)]


async def test_a_savepoint_of_one_task_undoes_nothing_of_another(acme: Session) -> None:
    opened, done = asyncio.Event(), asyncio.Event()

    async with acme.transaction() as transaction:

        async def undone() -> None:
            async with transaction.savepoint():
                await transaction.create(Customer, name="undone")
                opened.set()
                await done.wait()
                raise Refused

        async def kept() -> None:
            await opened.wait()
            done.set()
            await transaction.create(Customer, name="kept")
            async with transaction.savepoint():
                await transaction.create(Customer, name="kept too")

        results = await asyncio.gather(undone(), kept(), return_exceptions=True)
        assert [type(result) for result in results] == [Refused, type(None)]
    assert await names(acme) == ["kept", "kept too"]


async def test_tasks_inside_of_a_savepoint_belong_to_it(acme: Session) -> None:
    async with acme.transaction() as transaction:
        other = await transaction.create(Customer, name="a")
        with pytest.raises(Refused):
            async with transaction.savepoint():
                made = await asyncio.gather(*(transaction.create(Customer, name=f"{n}") for n in range(3)))
                found = await asyncio.gather(*(transaction.get(Customer, each.id) for each in [*made, other]))
                assert found == [*made, other]
                raise Refused
    assert await names(acme) == ["a"]


async def test_a_task_that_outlives_its_savepoint_writes_nothing(acme: Session) -> None:
    late = asyncio.Event()
    async with acme.transaction() as transaction:

        async def lag() -> None:
            await late.wait()
            await transaction.create(Customer, name="late")

        with pytest.raises(Refused):
            async with transaction.savepoint():
                task = asyncio.ensure_future(lag())
                await asyncio.sleep(0)
                raise Refused
        late.set()
        with pytest.raises(errors.TransactionError, match="savepoint in which this task was started has ended"):
            await task
        await transaction.create(Customer, name="a")
    assert await names(acme) == ["a"]


async def test_gets_of_a_savepoint_are_not_sent_by_others(acme: Session) -> None:
    """A get outside would wait for the savepoint, and one inside for that get."""
    made = await acme.create(Customer, name="a")
    opened, asked = asyncio.Event(), asyncio.Event()
    async with acme.transaction() as transaction:

        async def inside() -> Customer:
            async with transaction.savepoint():
                opened.set()
                await asked.wait()
                return await transaction.get(Customer, made.id)

        async def outside() -> Customer:
            await opened.wait()
            asked.set()
            return await transaction.get(Customer, made.id)

        async with asyncio.timeout(10):
            assert await asyncio.gather(outside(), inside()) == [made, made]


async def test_waiting_for_a_savepoint_of_another_task_is_bounded(database: Database, acme: Session) -> None:
    session = database.session(acme.context, timeout=0.2)
    opened, never = asyncio.Event(), asyncio.Event()
    async with session.transaction() as transaction:

        async def hold() -> None:
            async with transaction.savepoint():
                opened.set()
                await never.wait()

        task = asyncio.ensure_future(hold())
        await opened.wait()
        with pytest.raises(errors.TimeoutError, match="busy with other tasks"):
            await transaction.create(Customer, name="a")
        never.set()
        await task
        await transaction.create(Customer, name="b")
    assert await names(acme) == ["b"]


async def test_a_statement_s_bound_ends_the_transaction_unless_in_a_savepoint(
    database: Database, admin: Connection
) -> None:
    session = database.session(await new_context(database), timeout=0.2)
    made = await session.create(Customer, name="a")
    async with session.transaction() as transaction:
        await transaction.create(Customer, name="b")
        async with admin.transaction():
            await admin.execute("select 1 from app.customers where id = $1 for update", made.id)
            with pytest.raises(errors.TimeoutError, match="longer than") as caught:
                async with transaction.savepoint():
                    await transaction.update(made, name="c")
        assert not caught.value.unanswered
        await transaction.create(Customer, name="d")
    assert await names(session) == ["a", "b", "d"]


async def test_cancellation_in_the_middle_leaves_nothing(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="a")
    async with admin.transaction():
        await admin.execute("select 1 from app.customers where id = $1 for update", made.id)

        async def work() -> None:
            async with acme.transaction() as transaction:
                await transaction.create(Customer, name="b")
                async with transaction.savepoint():
                    await transaction.update(made, name="c")

        task = asyncio.ensure_future(work())
        await blocked(admin, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await blocked(admin, 0)  # while the lock is held still: nobody waits for it any more
    assert await names(acme) == ["a"]


async def test_a_cancelled_call_that_is_caught_keeps_nothing(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="a")
    with pytest.raises(errors.TransactionError, match="a call was cancelled"):
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="b")
            async with admin.transaction():
                await admin.execute("select 1 from app.customers where id = $1 for update", made.id)
                task = asyncio.ensure_future(transaction.update(made, name="c"))
                await blocked(admin, 1)
                task.cancel()
                await asyncio.wait([task])
    assert await names(acme) == ["a"]
    async with acme.transaction() as transaction:
        with pytest.raises(asyncio.CancelledError):
            async with transaction.savepoint():
                await transaction.create(Customer, name="d")
                raise asyncio.CancelledError
        await transaction.create(Customer, name="e")
    assert await names(acme) == ["a", "e"]


async def test_a_cancellation_during_the_commit_does_not_cut_it(
    acme: Session, admin: Connection, server: Server, database_name: str
) -> None:
    async with plain(server.admin_address(database_name)) as holder, holder.transaction():
        await holder.execute("lock table freehold.units in access exclusive mode")

        async def work() -> None:
            async with acme.transaction() as transaction:
                await transaction.create(Customer, name="a")

        task = asyncio.ensure_future(work())
        await blocked(admin, 1)
        task.cancel()
        for _ in range(50):  # a cancellation of the statement would have arrived by then
            await admin.execute("select 1")
        assert not task.done()
        await holder.execute("rollback")
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await names(acme) == ["a"]


async def test_a_deadline_that_passes_between_calls(acme: Session, admin: Connection, database: Database) -> None:
    """The connection comes back and the locks are free, though the block goes on."""
    made = await acme.create(Customer, name="a")
    with pytest.raises(errors.TimeoutError, match=r"deadline of 0\.2 s.*rolled back"):
        async with acme.transaction(deadline=0.2) as transaction:
            await transaction.update(made, name="b")
            await rest(database.store.pool, admin)
            assert (await acme.update(made, name="c")).version == 2
            with pytest.raises(errors.TimeoutError, match=r"deadline of 0\.2 s"):
                await transaction.get(Customer, made.id)
            with pytest.raises(errors.TimeoutError, match=r"deadline of 0\.2 s"):
                async with transaction.savepoint():
                    pass
    assert await names(acme) == ["c"]


async def test_a_deadline_that_passes_in_a_call(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="a")
    async with admin.transaction():
        await admin.execute("select 1 from app.customers where id = $1 for update", made.id)
        with pytest.raises(errors.TimeoutError, match=r"deadline of 0\.3 s"):
            async with acme.transaction(deadline=0.3) as transaction:
                await transaction.create(Customer, name="b")
                await transaction.update(made, name="c")
        await blocked(admin, 0)
    assert await names(acme) == ["a"]


async def test_the_server_ends_what_the_program_forgets(acme: Session, admin: Connection) -> None:
    """Of a program that does not even get to its own deadline."""
    with pytest.raises(errors.TimeoutError, match=r"deadline of 0\.5 s"):
        async with acme.transaction(deadline=0.5) as transaction:
            held: Any = transaction._messenger.channel
            held._timer.cancel()
            await transaction.create(Customer, name="a")
            backend = held._driver.get_server_pid()

            async def gone() -> bool:
                return not await admin.fetchval("select count(*) from pg_stat_activity where pid = $1", backend)

            await until(gone, "the server ended the connection")
            await transaction.create(Customer, name="b")
    assert await names(acme) == []


async def test_a_call_just_before_the_connection_ends(
    acme: Session, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has said its last words, and the driver has not seen the end of the connection."""

    async def confused(*_: Any, **__: Any) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")

    with pytest.raises(errors.UnavailableError, match="lost in the middle"):
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="a")
            for name in ("fetch", "fetchval", "execute"):
                monkeypatch.setattr(transaction._messenger.channel._driver, name, confused, raising=False)  # type: ignore[attr-defined]
            await names(transaction)
    monkeypatch.undo()
    (connection,) = database.store.pool._idle or [None]
    if connection is not None:
        for name in ("fetch", "fetchval"):
            monkeypatch.setattr(connection, name, confused, raising=False)
        with pytest.raises(errors.UnavailableError):
            await names(acme)
    monkeypatch.undo()
    assert await names(acme) == []


async def test_the_server_s_bounds(acme: Session, raw: Connection) -> None:
    read = "select name, setting::bigint as ms from pg_settings where name in ('statement_timeout', "
    read += "'idle_in_transaction_session_timeout', 'transaction_timeout')"
    async with acme.transaction(deadline=7) as transaction:
        bounds = {row["name"]: row["ms"] for row in await transaction.sql(None, read)}
    assert set(bounds.values()) == {8_000}
    assert len(bounds) == (3 if raw.get_server_version().major >= 17 else 2)


def test_the_role_s_bounds_stay_where_they_are_tighter() -> None:
    told = Terms(deadline=7).script(3, {"statement_timeout": 2_500, "idle_in_transaction_session_timeout": 60_000})
    assert told.endswith("set local statement_timeout = 2500; set local idle_in_transaction_session_timeout = 8000")
    told = Terms(read_only=True).script(3, {"statement_timeout": 0, "transaction_timeout": 0})
    assert told.endswith("read only; set local statement_timeout = 4000; set local transaction_timeout = 31000")


async def terminate(admin: Connection, backend: int) -> None:
    await admin.execute("select pg_terminate_backend($1, 10000)", backend)


async def test_a_connection_that_is_lost_between_calls(acme: Session, admin: Connection) -> None:
    with pytest.raises(errors.UnavailableError, match="lost in the middle of a transaction, of which nothing was kept"):
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="a")
            await terminate(admin, await pid(transaction))
            with pytest.raises(errors.UnavailableError) as caught:
                await transaction.create(Customer, name="b")
            assert not caught.value.unanswered
            with pytest.raises(errors.UnavailableError, match="lost in the middle"):
                await names(transaction)
    assert await names(acme) == []


async def test_a_connection_that_is_lost_in_a_call(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="a")
    async with admin.transaction():
        await admin.execute("select 1 from app.customers where id = $1 for update", made.id)

        async def work() -> None:
            async with acme.transaction() as transaction:
                backends.append(await pid(transaction))
                async with transaction.savepoint():
                    await transaction.update(made, name="b")

        backends: list[int] = []
        task = asyncio.ensure_future(work())
        await blocked(admin, 1)
        await terminate(admin, backends[0])
        with pytest.raises(errors.UnavailableError, match="nothing was kept"):
            await task
    assert await names(acme) == ["a"]


async def test_a_connection_that_is_lost_before_the_commit(acme: Session, admin: Connection) -> None:
    with pytest.raises(errors.UnavailableError, match="nothing of"):
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="a")
            await terminate(admin, await pid(transaction))
    assert await names(acme) == []


def losing_the_answer(transaction: Transaction, monkeypatch: pytest.MonkeyPatch, *, arrives: bool) -> None:
    """Cuts the connection at the commit: after it was done, or before it arrives."""
    driver = transaction._messenger.channel._driver  # type: ignore[attr-defined]
    execute = driver.execute

    async def cut(text: str, **options: Any) -> str:
        if text.endswith("commit"):
            if arrives:
                await execute(text, **options)
            driver.terminate()
            raise ConnectionResetError("cut")
        return str(await execute(text, **options))

    monkeypatch.setattr(driver, "execute", cut, raising=False)


async def test_the_answer_to_a_commit_that_was_made_is_lost(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    async with acme.transaction() as transaction:
        await transaction.create(Customer, name="a")
        losing_the_answer(transaction, monkeypatch, arrives=True)
    assert await names(acme) == ["a"]


async def test_a_commit_after_a_savepoint_took_the_context_along(acme: Session, admin: Connection) -> None:
    """The transaction has an id, so that it is noted, and has entered no organization any more."""
    async with acme.transaction() as transaction:
        with pytest.raises(Refused):
            async with transaction.savepoint():
                await transaction.create(Customer, name="a")
                raise Refused
    assert await names(acme) == []


async def test_the_answer_to_a_commit_that_was_not_made_is_lost(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.UnavailableError, match="lost at the commit, and nothing of the transaction was kept"):
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="a")
            losing_the_answer(transaction, monkeypatch, arrives=False)
    assert await names(acme) == []
    async with acme.transaction(read_only=True) as transaction:
        await names(transaction)
        losing_the_answer(transaction, monkeypatch, arrives=False)


async def test_a_connection_that_is_ended_in_its_commit(
    acme: Session, admin: Connection, server: Server, database_name: str
) -> None:
    async with plain(server.admin_address(database_name)) as holder, holder.transaction():
        await holder.execute("lock table freehold.units in access exclusive mode")
        backends: list[int] = []

        async def work() -> None:
            async with acme.transaction() as transaction:
                await transaction.create(Customer, name="a")
                backends.append(await pid(transaction))

        task = asyncio.ensure_future(work())
        await blocked(admin, 1)
        await terminate(admin, backends[0])
        await blocked(admin, 1)  # it asks what became of it
        await holder.execute("rollback")
        with pytest.raises(errors.UnavailableError, match="nothing of the transaction was kept"):
            await task
    assert await names(acme) == []


async def test_a_transaction_that_wrote_is_noted_and_one_that_read_is_not(acme: Session, admin: Connection) -> None:
    count = "select count(*) from freehold.units where organization_id = $1"
    async with acme.transaction() as transaction:
        await names(transaction)
    assert await admin.fetchval(count, acme.context.organization_id) == 0
    async with acme.transaction() as transaction:
        await transaction.create(Customer, name="a")
    assert await admin.fetchval(count, acme.context.organization_id) == 1


async def test_a_commit_that_is_refused(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that comes with the commit itself, as of a deferred constraint."""
    with pytest.raises(errors.ValidationError, match="division"):
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="a")
            driver = transaction._messenger.channel._driver  # type: ignore[attr-defined]
            execute = driver.execute
            monkeypatch.setattr(
                driver, "execute", lambda text, **options: execute(text.replace("commit", "select 1/0; commit"), **options), raising=False
            )  # fmt: skip
    assert await names(acme) == []


async def test_a_full_pool_waits_and_then_says_so(server: Server, database_name: str, admin: Connection) -> None:
    async with Database.open(server.address(database_name), application, size=1, wait=0.2) as database:
        session = database.session(await new_context(database))
        async with session.transaction() as transaction:
            await transaction.create(Customer, name="a")
            with pytest.raises(errors.UnavailableError, match=r"no connection came free in 0\.2 s"):
                async with session.transaction():
                    pass
            with pytest.raises(errors.UnavailableError, match=r"no connection came free in 0\.1 s"):
                async with session.transaction(deadline=0.1):
                    pass

        async def work(n: int) -> None:
            async with session.transaction() as transaction:
                await transaction.create(Customer, name=f"{n}")

        await asyncio.gather(*(work(n) for n in range(4)))
        assert await names(session) == ["0", "1", "2", "3", "a"]
        await rest(database.store.pool, admin)


async def test_a_cancelled_begin_leaves_nothing(acme: Session, database: Database, admin: Connection) -> None:
    async def work() -> None:
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="a")

    for turns in range(12):
        task = asyncio.ensure_future(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    await rest(database.store.pool, admin)
    assert await names(acme) == []


async def test_nothing_is_left_on_the_connection(server: Server, database_name: str) -> None:
    async with Database.open(server.address(database_name), application, size=1) as database:
        session = database.session(await new_context(database))
        other = database.session(await new_context(database))
        state = "select current_setting('transaction_read_only') as r, current_setting('transaction_isolation') as i, "
        state += (
            "current_setting('statement_timeout') as t, current_setting('idle_in_transaction_session_timeout') as d"
        )
        read = database.store.pool.fetch_row
        before = dict(await read(state, []) or {})
        async with session.transaction(isolation="serializable", read_only=True, deadline=3) as transaction:
            await names(transaction)
        with pytest.raises(Refused):
            async with session.transaction(isolation="repeatable_read", deadline=3) as transaction:
                await transaction.create(Customer, name="a")
                raise Refused
        assert dict(await read(state, []) or {}) == before
        left = "select current_setting('freehold.organization_id', true) as o, freehold.organization_id() as id"
        assert dict(await read(left, []) or {}) in ({"o": "", "id": None}, {"o": None, "id": None})
        assert await names(other) == []


async def test_another_organization_s_rows_are_not_reached(acme: Session, rival: Session, admin: Connection) -> None:
    theirs = await rival.create(Customer, name="theirs", email="x@x.test")
    async with acme.transaction() as transaction:
        for call in (
            transaction.get(Customer, theirs.id, for_update=True),
            transaction.update(theirs, name="mine"),
            transaction.purge(theirs),
        ):
            with pytest.raises(errors.NotFoundError):
                await call
        assert await transaction.get_many(Customer, [theirs.id], for_update=True) == []
        assert await transaction.find(Customer, {"name": "theirs"}, for_update=True) is None
        assert len(await transaction.list(Customer, for_update=True)) == 0
        assert await transaction.create(Customer, name="mine", email="x@x.test")
        with pytest.raises(errors.IsolationError, match="one organization"):
            async with transaction.savepoint():
                prefix = rival._messenger._prefix
                await transaction._messenger.channel.fetch("select freehold.enter($1, $2)", prefix)
        # Nothing of theirs is locked: the rival goes on at once.
        async with asyncio.timeout(5):
            assert (await rival.update(theirs, name="still theirs")).version == 2
    assert await names(rival) == ["still theirs"]


async def test_contacts_follow_their_customer_in_one_transaction(acme: Session) -> None:
    """A parent and its child are made in two calls, and the second one fails."""
    with pytest.raises(errors.UniqueError):
        async with acme.transaction() as transaction:
            customer = await transaction.create(Customer, name="a")
            await transaction.create(Contact, customer_id=customer.id, name="x", is_primary=True)
            await transaction.create(Contact, customer_id=customer.id, name="y", is_primary=True)
    assert (await acme.count(Customer), await acme.count(Contact)) == (0, 0)


async def test_money_is_never_lost_whatever_is_cut_off(server: Server, database_name: str, admin: Connection) -> None:
    """Transfers between accounts, of which half are cancelled or lose their connection at some moment."""
    chance = random.Random(7)
    async with Database.open(server.address(database_name), application, size=4, wait=30) as database:
        session = database.session(await new_context(database))
        accounts = [await session.create(Customer, name=f"{n}", visits=100) for n in range(3)]
        done: list[str] = []

        async def transfer(number: int) -> None:
            source, target = chance.sample(accounts, 2)

            async def work(transaction: Transaction) -> None:
                found = await transaction.get_many(Customer, [source.id, target.id], for_update=True)
                await transaction.update(found[0], visits=found[0].visits - 1)
                async with transaction.savepoint():
                    await transaction.create(Order, customer_id=source.id, number=f"{number}", total=1)
                    await transaction.update(found[1], visits=found[1].visits + 1)

            await run(session, work, attempts=20, backoff=Backoff(random=chance.random))
            done.append(f"{number}")

        async def disturb(task: "asyncio.Future[None]") -> None:
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                task.cancel()
            else:
                await admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'freehold' "
                    "and datname = current_database() and state <> 'idle' order by random() limit 1"
                )

        for batch in range(25):
            tasks = [asyncio.ensure_future(transfer(batch * 4 + n)) for n in range(4)]
            for task in tasks[:2]:
                await disturb(task)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}, results
        await rest(database.store.pool, admin)
        orders = {order.number for order in await session.list(Order, limit=1_000)}
        assert set(done) <= orders  # what was acknowledged is there; a commit that was cancelled may be
        found = await session.get_many(Customer, [each.id for each in accounts])
        assert sum(each.visits for each in found) == 300
        assert sum(each.version - 1 for each in found) == 2 * len(orders)
        changes = await session.history(Customer, limit=1_000)
        assert len(changes) == 2 * len(orders) + len(accounts)
