"""Interactive transactions: what happens in one is kept as a whole or not at all, and nothing of it is left anywhere."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, errors
from freehold.model.context import new_id
from tests.conftest import Server, new_context
from tests.probe import sealed
from tests.store.transacting import Refused, names, rest
from tests.world import Contact, Customer, Order, application

Connection = asyncpg.Connection


@pytest.fixture(autouse=True)
async def at_rest(database: Database, admin: Connection) -> AsyncIterator[None]:
    """After each test: the pool has all its connections again, and none of them is in a transaction."""
    yield
    await rest(database.store.pool, admin)


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
                theirs_entered = (rival.context.organization_id, sealed(rival.context))
                await transaction._messenger.channel.fetch("select freehold.enter($1, $2)", theirs_entered)
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
