"""Deleting and restoring many records, all-or-none calls, and bulk calls inside of transactions."""

import asyncio
from typing import Any

import asyncpg
import pytest

from freehold import Session, errors
from freehold.model.context import new_id
from tests import counted
from tests.probe import blocked, enter
from tests.store.test_bulk_create import Broken, actions, breaking, everything, names
from tests.store.test_bulk_update import made
from tests.world import Contact, Customer, Order

Connection = asyncpg.Connection


async def contacts(session: Session, customer: Customer, *contact_names: str) -> list[Contact]:
    return [await session.create(Contact, customer_id=customer.id, name=name) for name in contact_names]


async def test_each_of_its_expected_version(acme: Session, rival: Session) -> None:
    theirs = await rival.create(Customer, name="theirs")
    first, moved, gone, last = await made(acme, 4)
    current = await acme.update(moved, name="moved")
    await acme.delete(gone)
    items: Any = [first, moved, gone, (new_id(), 1), (theirs.id, 1), "nothing", (last.id, last.version), (last.id, 2)]
    result = await acme.delete_many(Customer, items)
    assert actions(result) == ["deleted", *["failed"] * 5, "deleted", "failed"]
    assert [type(each.error) for each in result.failures] == [
        errors.ConcurrencyError, errors.NotFoundError, errors.NotFoundError, errors.NotFoundError, errors.ValidationError,
        errors.NotFoundError,
    ]  # fmt: skip
    assert (result.outcomes[0].id, result.outcomes[0].version) == (first.id, 2)
    assert await everything(acme) == [await acme.get(Customer, moved.id, private=True)]
    assert (await acme.get(Customer, moved.id)) == current
    assert await rival.get(Customer, theirs.id) == theirs
    (deletion, _) = await acme.history(first)
    assert (deletion.action, deletion.version, deletion.request_id) == ("delete", 2, acme.context.request_id)


async def test_what_refers_to_them_follows_and_comes_back(acme: Session) -> None:
    one, two = await made(acme, 2)
    ada, eve = await contacts(acme, one, "Ada", "Eve")
    (zoe,) = await contacts(acme, two, "Zoe")
    zoe = await acme.update(zoe, manager_id=ada.id)
    result = await acme.delete_many(Customer, [one])
    assert (result.deleted, result.failed) == (1, 0)
    assert sorted((each.entity, each.action, each.id) for each in result.touched) == sorted(
        [("Contact", "deleted", ada.id), ("Contact", "deleted", eve.id), ("Contact", "released", zoe.id)]
    )
    assert (await acme.get(Contact, zoe.id)).manager_id is None
    assert [each.id for each in await everything(acme, Contact)] == [zoe.id]
    back = await acme.restore_many(Customer, [(one.id, 2), (two.id, 1)])
    assert actions(back) == ["restored", "failed"]
    assert back.failures[0].error.issues[0].code == "not_deleted"  # type: ignore[union-attr]
    assert sorted((each.entity, each.action, each.id) for each in back.touched) == sorted(
        [("Contact", "restored", ada.id), ("Contact", "restored", eve.id), ("Contact", "rejoined", zoe.id)]
    )
    assert (await acme.get(Contact, zoe.id)).manager_id == ada.id
    assert (await acme.get(Customer, one.id)).version == 3


async def test_a_record_that_is_held_is_alone(acme: Session) -> None:
    records = await made(acme, 9)
    order = await acme.create(Order, customer_id=records[4].id, number="1", total=1)
    for hard in (False, True):
        result = await acme.delete_many(Customer, [(each.id, 1) for each in records[3:6]], hard=hard, tolerate=1)
        assert isinstance(result.outcomes[1].error, errors.ReferenceError)
    assert actions(result) == ["failed", "failed", "failed"]
    assert await acme.count(Customer) == 7
    assert await acme.get(Order, order.id) == order


async def test_records_are_removed_for_good(acme: Session) -> None:
    one, two = await made(acme, 2)
    (ada,) = await contacts(acme, one, "Ada")
    gone = await acme.delete(two)
    result = await acme.delete_many(Customer, [one, gone], hard=True)
    assert [(each.action, each.version) for each in result.outcomes] == [("deleted", 1), ("deleted", 2)]
    assert [(each.entity, each.action, each.id) for each in result.touched] == [("Contact", "deleted", ada.id)]
    assert await acme.count(Customer, deleted=True) == await acme.count(Contact, deleted=True) == 0
    assert [change.action for change in await acme.history((Contact, ada.id))] == ["purge", "create"]


async def test_an_entity_whose_deletion_is_not_soft(acme: Session) -> None:
    (customer,) = await made(acme, 1)
    orders = [
        await acme.create(Order, customer_id=customer.id, number=str(number), total=number) for number in range(3)
    ]
    result = await acme.delete_many(Order, orders[:2])
    assert [(each.action, each.version) for each in result.outcomes] == [("deleted", 1)] * 2
    assert await everything(acme, Order) == orders[2:]
    with pytest.raises(errors.ValidationError):
        await acme.restore_many(Order, [(orders[0].id, 1)])


async def test_a_place_that_was_taken(acme: Session) -> None:
    first, second = await acme.create(Customer, name="a", email="a@x.test"), await acme.create(Customer, name="b")
    await acme.delete_many(Customer, [first, second])
    await acme.create(Customer, name="c", email="A@x.test")
    result = await acme.restore_many(Customer, [(first.id, 2), (second.id, 2)])
    assert actions(result) == ["failed", "restored"]
    assert isinstance(result.failures[0].error, errors.UniqueError)


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001])
async def test_any_number_of_items(acme: Session, count: int) -> None:
    ids = [each.id for each in (await acme.create_many(Customer, names(count))).outcomes]
    assert (await acme.delete_many(Customer, [(id, 1) for id in ids])).deleted == count
    assert await acme.count(Customer) == 0
    assert (await acme.restore_many(Customer, [(id, 2) for id in ids])).restored == count
    assert await acme.count(Customer, {"version": 3}) == count


async def test_what_matches_is_deleted_whole(acme: Session, rival: Session) -> None:
    theirs = await rival.create(Customer, name="c0")
    records = await made(acme, 11)
    (ada,) = await contacts(acme, records[3], "Ada")
    result = await acme.delete_where(Customer, {"name": {"ne": "c5"}}, chunk=4)
    assert (result.deleted, len(result.outcomes)) == (10, 10)
    assert [each.id for each in result.touched] == [ada.id]
    assert [each.name for each in await everything(acme)] == ["c5"]
    assert (await acme.delete_where(Customer, {"name": "c5"}, hard=True)).deleted == 1
    assert await acme.count(Customer, deleted=True) == 10
    assert await rival.get(Customer, theirs.id) == theirs


async def test_a_deletion_by_filter_leaves_what_is_held(acme: Session) -> None:
    records = await made(acme, 7)
    await acme.create(Order, customer_id=records[2].id, number="1", total=1)
    result = await acme.delete_where(Customer, {"name": {"starts_with": "c"}}, chunk=3)
    assert (result.deleted, result.failed) == (6, 1)
    assert isinstance(result.failures[0].error, errors.ReferenceError)
    assert [each.id for each in await everything(acme)] == [records[2].id]


# What others keep beside the records.


async def test_counters_are_kept(shelf: Session) -> None:
    result = await shelf.create_many(counted.Resource, [{"name": name} for name in ("one", "two")])
    one, two = (outcome.id for outcome in result.outcomes)
    marks = [{"resource_id": (one, two)[n % 2], "kind": ("plain", "star")[n % 3 == 0]} for n in range(10)]
    made = await shelf.create_many(counted.Bookmark, marks, chunk=4)

    async def counts() -> list[tuple[int, int]]:
        found = await shelf.list(counted.Resource, order_by="name")
        return [(each.marks, each.stars) for each in found]

    assert await counts() == [(5, 2), (5, 2)]
    await shelf.update_many(counted.Bookmark, [((each.id, 1), {"resource_id": one}) for each in made.outcomes])  # type: ignore[misc]
    assert await counts() == [(10, 4), (0, 0)]
    assert (await shelf.update_where(counted.Resource, {"marks": {"gt": 5}}, views=7)).updated == 1
    assert (await shelf.delete_where(counted.Bookmark, {"kind": "star"}, chunk=3)).deleted == 4
    assert await counts() == [(6, 0), (0, 0)]


# All or none.


async def test_all_or_none(acme: Session) -> None:
    items = [{"name": f"c{n}"} if n % 10 else {"name": ""} for n in range(25)]
    items[7] = {"name": "poor", "status": "vip"}
    with pytest.raises(errors.ToleranceError) as caught:
        await acme.create_many(Customer, items, atomic=True, chunk=6)
    assert [each.index for each in caught.value.failures] == [0, 7, 10, 20]
    assert (caught.value.total, await acme.count(Customer)) == (25, 0)
    assert await acme.history(Customer) == ()
    result = await acme.create_many(Customer, names(25), atomic=True, chunk=6)
    assert (result.created, await acme.count(Customer)) == (25, 25)


@pytest.mark.parametrize(("tolerate", "kept"), [(0.29, False), (0.3, True), (0.31, True), (0, False), (1, True)])
async def test_a_share_may_fail(acme: Session, tolerate: float, kept: bool) -> None:
    records = await made(acme, 10)
    items: Any = [((each.id, 1 if n not in (0, 4, 9) else 5), {"visits": 1}) for n, each in enumerate(records)]
    if kept:
        result = await acme.update_many(Customer, items, tolerate=tolerate, chunk=3)
        assert (result.updated, result.failed) == (7, 3)
    else:
        with pytest.raises(errors.ToleranceError) as caught:
            await acme.update_many(Customer, items, tolerate=tolerate, chunk=3)
        assert [each.index for each in caught.value.failures] == [0, 4, 9]
        assert caught.value.failures[0].error.actual == 1
    assert await acme.count(Customer, {"visits": 1}) == (7 if kept else 0)


async def test_a_deletion_that_may_not_fail(acme: Session) -> None:
    records = await made(acme, 3)
    with pytest.raises(errors.ToleranceError):
        await acme.delete_many(Customer, [records[0], (records[1].id, 7), records[2]], tolerate=0)
    assert await acme.count(Customer, {"version": 1}) == 3


async def test_a_source_that_breaks_undoes_all(acme: Session) -> None:
    with pytest.raises(Broken):
        await acme.create_many(Customer, breaking(8), chunk=3, atomic=True)
    assert await acme.count(Customer) == 0


async def test_a_cancelled_call_leaves_nothing(acme: Session, raw: Connection, admin: Connection) -> None:
    records = await made(acme, 9)
    async with raw.transaction():
        await enter(raw, acme.context)
        await raw.execute("select from app.customers where id = $1 for update", records[7].id)
        call = asyncio.create_task(acme.delete_many(Customer, records, chunk=3))
        await blocked(admin, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await blocked(admin, 0)
    assert await acme.count(Customer) == 9


# Inside of a transaction.


async def test_in_a_transaction_all_belongs_to_it(acme: Session) -> None:
    async def work() -> None:
        async with acme.transaction() as transaction:
            created = await transaction.create_many(Customer, [*names(4), {}], chunk=2)
            assert (created.created, created.failed) == (4, 1)
            await transaction.update_many(Customer, [((created.outcomes[0].id, 1), {"visits": 1})])  # type: ignore[list-item]
            assert (await transaction.update_where(Customer, {"visits": 1}, visits=2)).updated == 1
            assert (await transaction.delete_where(Customer, {"visits": 2})).deleted == 1
            assert await transaction.count(Customer) == 3
            assert await acme.count(Customer) == 0
            raise Broken

    with pytest.raises(Broken):
        await work()
    assert await acme.history(Customer) == ()


async def test_in_a_transaction_a_bad_row_does_not_end_it(acme: Session) -> None:
    async with acme.transaction() as transaction:
        result = await transaction.create_many(
            Customer,
            [{"name": "a", "email": "a@x.test"}, {"name": "b", "email": "A@x.test"}, {"name": "c", "status": "vip"}],
        )
        assert actions(result) == ["created", "failed", "failed"]
        with pytest.raises(errors.ToleranceError):
            await transaction.create_many(Customer, [{"name": "d"}, {"name": "e", "email": "a@X.test"}], atomic=True)
        await transaction.create(Customer, name="f")
    assert [each.name for each in await everything(acme)] == ["a", "f"]


async def test_items_that_the_transaction_itself_reads(acme: Session) -> None:
    await made(acme, 10)

    async def source(transaction: Session) -> Any:
        after = None
        while True:
            page = await transaction.list(Customer, order_by="id", limit=2, after=after)
            for each in page:
                yield each, {"visits": 5}
            after = page.next
            if after is None:
                return

    async with acme.transaction() as transaction:
        assert (await transaction.update_many(Customer, source(transaction), chunk=3)).updated == 10
    assert await acme.count(Customer, {"visits": 5}) == 10


@pytest.mark.parametrize("tolerate", [-0.1, 1.1, "0.3", True])
async def test_a_wrong_share_is_named(acme: Session, tolerate: Any) -> None:
    calls: list[Any] = [acme.update_many, acme.delete_many, acme.restore_many]
    for call in calls:
        with pytest.raises(errors.ValidationError) as caught:
            await call(Customer, [], tolerate=tolerate)
        assert caught.value.issues[0].path == ("tolerate",)
