"""How transactions end: by a deadline, a cancellation, a connection that is lost, and a commit whose answer does not come."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, Transaction, errors
from freehold.postgres.transactions import Terms
from freehold.store.running import Backoff, run
from tests.conftest import Server, new_context
from tests.probe import blocked, plain, until
from tests.store.transacting import Refused, losing_the_answer, names, pid, rest, terminate
from tests.wire import Cut, wire
from tests.world import Customer, Order, application

Connection = asyncpg.Connection


@pytest.fixture(autouse=True)
async def at_rest(database: Database, admin: Connection) -> AsyncIterator[None]:
    """After each test: the pool has all its connections again, and none of them is in a transaction."""
    yield
    await rest(database.store.pool, admin)


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


@pytest.mark.parametrize("arrives", [True, False])
async def test_nobody_can_be_asked_about_a_commit(
    acme: Session, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    async def gone(*_: Any, **__: Any) -> None:
        raise errors.UnavailableError("the database cannot be reached")

    monkeypatch.setattr("freehold.store.messages.SETTLING", 0.05)
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="a")
            losing_the_answer(transaction, monkeypatch, arrives=arrives)
            monkeypatch.setattr(acme.store.pool, "fetch_row", gone)
    monkeypatch.undo()
    settled = await acme.settle(caught.value.unit_id)  # type: ignore[arg-type]
    assert (settled is not None) is arrives
    assert await names(acme) == (["a"] if arrives else [])


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


async def test_commits_on_a_connection_that_breaks(server: Server, database_name: str, admin: Connection) -> None:
    """Before, during or after the message of the commit: what the block says is what is there, and `run` does it once."""
    chance = random.Random(11)
    cuts: list[Cut | None] = ["before", "during", "after", None]
    async with (
        wire(server.address(database_name)) as way,
        Database.open(way.address, application, size=3) as database,
    ):
        session = database.session(await new_context(database))
        way.cut(b"; commit", lambda: chance.choice(cuts))
        kept: set[str] = set()
        refused: list[str] = []

        async def alone(name: str) -> None:
            try:
                async with session.transaction() as transaction:
                    await transaction.create(Customer, name=name)
                kept.add(name)
            except errors.UnavailableError as error:
                refused.append(error.message)

        async def repeated(name: str) -> None:
            await run(session, lambda t: t.create(Customer, name=name), attempts=100, backoff=Backoff(base=0.001))
            kept.add(name)

        for n in range(20):
            await asyncio.gather(alone(f"alone {n}"), alone(f"other {n}"), repeated(f"repeated {n}"))
        assert way.cuts > 20
        assert all("nothing of" in message for message in refused)
        way.cut(b"", lambda: None)
        found = [each.name for each in await session.list(Customer, limit=1_000)]
        assert sorted(found) == sorted(kept)
        assert len([name for name in kept if name.startswith("repeated")]) == 20
        await rest(database.store.pool, admin)
