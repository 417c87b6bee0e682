"""Work on many items of which some may fail."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from freehold import Failure, Session, errors
from tests.probe import blocked
from tests.world import Customer

Connection = asyncpg.Connection


class Refused(Exception):
    pass


async def names(session: Session) -> list[str]:
    return [each.name for each in await session.list(Customer, order_by="name")]


async def test_what_succeeds_is_kept_and_what_fails_is_told(acme: Session) -> None:
    await acme.create(Customer, name="first", email="a@x.test")
    rows: list[dict[str, Any]] = [
        {"name": "1"},
        {"name": "2", "email": "A@x.test"},
        {"name": ""},
        {"name": "4", "email": "b@x.test"},
    ]
    async with acme.transaction() as transaction:
        result = await transaction.each(rows, lambda row: transaction.create(Customer, **row), tolerate=0.5)
    assert [each.name for each in result.results] == ["1", "4"]
    assert [(each.index, each.item, type(each.error)) for each in result.failures] == [
        (1, rows[1], errors.UniqueError),
        (2, rows[2], errors.ValidationError),
    ]
    assert result.total == 4
    assert await names(acme) == ["1", "4", "first"]


@pytest.mark.parametrize(
    ("count", "failing", "tolerate", "kept"),
    [
        (4, 2, 0.5, True),
        (4, 3, 0.5, False),
        (5, 2, 0.5, True),
        (5, 3, 0.5, False),
        (10, 3, 0.3, True),
        (10, 4, 0.3, False),
        (100, 29, 0.29, True),  # 0.29 * 100 is less than 29 in floating point
        (100, 30, 0.29, False),
        (100, 7, 0.07, True),
        (3, 0, 0, True),
        (3, 1, 0, False),
        (3, 3, 1, True),
        (3, 3, 0.99, False),
        (0, 0, 0, True),
    ],
)
async def test_the_border(acme: Session, count: int, failing: int, tolerate: float, kept: bool) -> None:
    async def work(n: int) -> int:
        if n < failing:
            raise Refused(n)
        return n

    async with acme.transaction() as transaction:
        before = await transaction.create(Customer, name="before")
        if kept:
            result = await transaction.each(range(count), work, tolerate=tolerate)
            assert result.results == tuple(range(failing, count))
            assert [each.item for each in result.failures] == list(range(failing))
            return
        with pytest.raises(errors.ToleranceError) as caught:
            await transaction.each(range(count), work, tolerate=tolerate)
        assert all(isinstance(each, Failure) and isinstance(each.error, Refused) for each in caught.value.failures)
        assert (len(caught.value.failures), caught.value.total) == (failing, count)
        assert await transaction.get(Customer, before.id) == before  # the transaction goes on


async def test_above_the_border_everything_is_rolled_back(acme: Session) -> None:
    async with acme.transaction() as transaction:
        await transaction.create(Customer, name="before")

        async def work(name: str) -> None:
            await transaction.create(Customer, name=name)
            if name == "c":
                raise Refused

        with pytest.raises(errors.ToleranceError, match=r"1 of 3 items failed.*rolled back"):
            await transaction.each(["a", "b", "c"], work)
        await transaction.create(Customer, name="after")
    assert await names(acme) == ["after", "before"]
    with pytest.raises(errors.ToleranceError):
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name="before")
            await transaction.each(["a", "b", "c"], work)
    assert await names(acme) == ["after", "before"]


async def test_the_items_may_come_from_anywhere(acme: Session) -> None:
    async def double(n: int) -> int:
        return 2 * n

    async def slowly() -> AsyncIterator[int]:
        for n in range(3):
            await asyncio.sleep(0)
            yield n

    def lazily() -> Iterator[int]:
        yield from range(3)

    async with acme.transaction() as transaction:
        for items in (slowly(), lazily(), [0, 1, 2], range(3)):
            assert (await transaction.each(items, double)).results == (0, 2, 4)


async def test_items_that_fail_to_come_undo_everything(acme: Session) -> None:
    async def broken() -> AsyncIterator[str]:
        yield "a"
        raise Refused

    with pytest.raises(Refused):
        async with acme.transaction() as transaction:
            await transaction.each(broken(), lambda name: transaction.create(Customer, name=name), tolerate=1)
    assert await names(acme) == []


async def test_an_error_that_is_caught_in_the_work_is_a_failure_all_the_same(acme: Session) -> None:
    """PostgreSQL has refused the call: what the item did before it cannot be kept."""
    await acme.create(Customer, name="first", email="a@x.test")
    async with acme.transaction() as transaction:

        async def work(name: str) -> None:
            await transaction.create(Customer, name=name)
            with pytest.raises(errors.UniqueError):
                await transaction.create(Customer, name=name, email="a@x.test")

        result = await transaction.each(["a", "b"], work, tolerate=1)
        assert [type(each.error) for each in result.failures] == [errors.TransactionError] * 2
        assert result.results == ()
    assert await names(acme) == ["first"]


async def test_work_may_have_savepoints_and_items_of_its_own(acme: Session) -> None:
    async with acme.transaction() as transaction:

        async def inner(name: str) -> None:
            await transaction.create(Customer, name=name)
            if name.endswith("2"):
                raise Refused

        async def outer(name: str) -> int:
            found = await transaction.each([f"{name}{n}" for n in range(4)], inner, tolerate=0.25 if name == "a" else 0)
            return len(found.failures)

        result = await transaction.each(["a", "b"], outer, tolerate=0.5)
        assert result.results == (1,)
        assert isinstance(result.failures[0].error, errors.ToleranceError)
    assert await names(acme) == ["a0", "a1", "a3"]


async def test_a_cancellation_is_no_failure(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="a")
    done: list[str] = []
    async with admin.transaction():
        await admin.execute("select 1 from app.customers where id = $1 for update", made.id)

        async def work(name: str) -> None:
            await transaction.update(made, name=name)
            done.append(name)

        async def run() -> None:
            nonlocal transaction
            async with acme.transaction() as transaction:
                await transaction.each(["b", "c"], work, tolerate=1)

        transaction: Any = None
        task = asyncio.ensure_future(run())
        await blocked(admin, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await names(acme), done) == (["a"], [])


async def test_a_conflict_a_lost_connection_and_the_deadline_are_none_either(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="a")
    tried: list[int] = []
    taken: list[int] = []

    def counted() -> Iterator[int]:
        for n in range(3):
            taken.append(n)
            yield n

    async def conflict(n: int) -> None:
        tried.append(n)
        await acme.update(await acme.get(Customer, made.id), visits=n + 1)
        await transaction.get(Customer, made.id, for_update=True)

    with pytest.raises(errors.SerializationError):
        async with acme.transaction(isolation="repeatable_read") as transaction:
            await names(transaction)
            await transaction.each(range(3), conflict, tolerate=1)
    assert tried == [0]

    async def lose(n: int) -> None:
        tried.append(n)
        (row,) = await transaction.sql(None, "select pg_backend_pid() as pid")
        await admin.execute("select pg_terminate_backend($1, 10000)", row["pid"])
        await names(transaction)

    tried.clear()
    with pytest.raises(errors.UnavailableError, match="lost"):
        async with acme.transaction() as transaction:
            await transaction.each(counted(), lose, tolerate=1)
    assert (tried, taken) == ([0], [0])

    async def late(n: int) -> None:
        tried.append(n)
        await names(transaction)
        await transaction._messenger.channel.fetch("select pg_sleep(30)", [])

    tried.clear()
    taken.clear()
    with pytest.raises(errors.TimeoutError, match="deadline"):
        async with acme.transaction(deadline=0.3) as transaction:
            await transaction.each(counted(), late, tolerate=1)
    assert (tried, taken) == ([0], [0])


@pytest.mark.parametrize("tolerate", [-0.1, 1.1, True, "0.5", None, float("nan")])
async def test_a_bad_share(acme: Session, tolerate: Any) -> None:
    async with acme.transaction() as transaction:
        with pytest.raises(errors.ValidationError, match="tolerate"):
            await transaction.each([1], lambda _: transaction.count(Customer), tolerate=tolerate)


@pytest.mark.parametrize("items", ["abc", b"abc", 3, None])
async def test_bad_items(acme: Session, items: Any) -> None:
    async with acme.transaction() as transaction:
        with pytest.raises(errors.ValidationError, match="items"):
            await transaction.each(items, lambda _: transaction.count(Customer))
