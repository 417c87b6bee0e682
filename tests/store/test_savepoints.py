"""Savepoints: what is undone with them, and what other tasks do meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from freehold import Database, Session, errors
from tests.store.transacting import Refused, names, rest
from tests.world import Customer

Connection = asyncpg.Connection


@pytest.fixture(autouse=True)
async def at_rest(database: Database, admin: Connection) -> AsyncIterator[None]:
    """After each test: the pool has all its connections again, and none of them is in a transaction."""
    yield
    await rest(database.store.pool, admin)


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
