"""Changing many records: of expected versions, and by filter."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from freehold import Session, errors
from freehold.model.context import new_id
from tests.probe import blocked, enter
from tests.store.test_bulk_create import Broken, actions, everything, names
from tests.store.test_writes import VALUES, same
from tests.world import Contact, Customer, Order

Connection = asyncpg.Connection


async def made(session: Session, count: int, **values: Any) -> list[Customer]:
    await session.create_many(Customer, [{"name": f"c{n}", **values} for n in range(count)])
    return [each for each in await everything(session) if each.name.startswith("c")]


async def test_a_value_can_be_changed_to_every_other(acme: Session) -> None:
    fields = [name for name in VALUES if name != "code"]
    most = max(map(len, VALUES.values()))
    records = dict(zip(fields, await made(acme, len(fields)), strict=True))
    for turn in range(most):
        given = {name: VALUES[name][turn % len(VALUES[name])] for name in fields}
        result = await acme.update_many(
            Customer, [((records[name].id, records[name].version), {name: value}) for name, value in given.items()]
        )
        assert result.failed == 0
        for (name, value), outcome in zip(given.items(), result.outcomes, strict=True):
            before = records[name]
            records[name] = read = await acme.get(Customer, before.id, private=True)
            assert same(getattr(read, name), value)
            assert outcome.action == ("unchanged" if getattr(before, name) == value else "updated")
            assert outcome.version == read.version == before.version + (outcome.action == "updated")
            fixed = {"version", "updated_at", name}
            assert read.model_dump(exclude=fixed) == before.model_dump(exclude=fixed)


async def test_each_of_its_expected_version(acme: Session, rival: Session) -> None:
    theirs = await rival.create(Customer, name="theirs")
    first, moved, gone, same_, last = await made(acme, 5, credit=1)
    current = await acme.update(moved, name="moved")
    await acme.delete(gone)
    absent = new_id()
    result = await acme.update_many(
        Customer,
        [
            (first, {"credit": 2}),
            (moved, Customer.Patch(credit=2)),
            (gone, {"credit": 2}),
            (same_, {"credit": "1.00"}),
            ((absent, 1), {"credit": 2}),
            ((theirs.id, 1), {"credit": 2}),
            (last, {"credit": 2, "visits": 3}),
        ],
    )
    assert actions(result) == ["updated", "failed", "failed", "unchanged", "failed", "failed", "updated"]
    conflict, deleted, missing, foreign = (each.error for each in result.failures)
    assert isinstance(conflict, errors.ConcurrencyError)
    assert (conflict.expected, conflict.actual, conflict.current) == (1, 2, current)
    assert isinstance(deleted, errors.NotFoundError)
    assert deleted.hint == "it is deleted; restore it first"
    assert isinstance(missing, errors.NotFoundError)
    assert str(missing).replace(str(absent), "") == str(foreign).replace(str(theirs.id), "")
    assert [(each.credit, each.version) for each in await everything(acme)] == [
        (2, 2), (1, 2), (1, 1), (2, 2),
    ]  # fmt: skip
    assert await rival.get(Customer, theirs.id) == theirs
    assert [change.action for change in await acme.history(same_)] == ["create"]
    (change, _) = await acme.history(last)
    assert change.diff == {"credit": (Decimal(1), Decimal(2)), "visits": (0, 3)}
    assert (change.actor_id, change.request_id) == (acme.context.user_id, acme.context.request_id)


async def test_what_is_not_valid_is_told_and_the_rest_goes_in(acme: Session) -> None:
    one, two, three = await made(acme, 3)
    await acme.create(Customer, name="x", email="taken@x.test")
    items: Any = [
        (one, {"visits": 1}),
        (two, {"email": "TAKEN@x.test"}),
        (three, {"status": "vip"}),
        (one, {}),
        (one, {"code": "immutable", "visits": "many"}),
        (one, 5),
        ((one.id, 0), {"visits": 1}),
        (("no id", 1), {"visits": 1}),
        one,
        (Order, {"visits": 1}),
    ]
    result = await acme.update_many(Customer, items)
    assert actions(result) == ["updated", *["failed"] * 9]
    assert isinstance(result.failures[0].error, errors.UniqueError)
    codes = [[issue.code for issue in each.error.issues] for each in result.failures[1:]]  # type: ignore[union-attr]
    assert codes == [
        ["check"], ["no_change"], ["int_parsing", "extra_forbidden"], ["input_type"], ["version"], ["uuid_type"],
        ["pair_type"], ["target_type"],
    ]  # fmt: skip
    assert [(each.visits, each.version) for each in await everything(acme) if each.name != "x"] == [
        (1, 2),
        (0, 1),
        (0, 1),
    ]


async def test_records_of_other_shapes(acme: Session) -> None:
    await made(acme, 2)
    (included,) = await acme.list(Customer, include=["contacts"], limit=1, order_by="id")
    (selected,) = await acme.list(Customer, select=["id", "version"], order_by="-id", limit=1)
    items: Any = [
        (included, {"visits": 1}),
        (selected, {"visits": 1}),
        ((selected.id, selected.version), {"visits": 1}),
    ]
    result = await acme.update_many(Customer, items)
    assert actions(result) == ["updated", "failed", "updated"]
    assert result.failures[0].error.issues[0].code == "target_type"  # type: ignore[union-attr]


async def test_two_items_about_one_record_are_written_in_turn(acme: Session) -> None:
    (record,) = await made(acme, 1)
    result = await acme.update_many(
        Customer, [(record, {"visits": 1}), (record, {"visits": 2}), ((record.id, 2), {"visits": 3})]
    )
    assert actions(result) == ["updated", "failed", "updated"]
    assert (result.failures[0].error.expected, result.failures[0].error.actual) == (1, 2)  # type: ignore[union-attr]
    assert [change.version for change in await acme.history(record)] == [3, 2, 1]


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001])
async def test_any_number_of_items(acme: Session, count: int) -> None:
    ids = [each.id for each in (await acme.create_many(Customer, names(count))).outcomes]
    result = await acme.update_many(Customer, [((id, 1), {"visits": 7}) for id in ids])
    assert (result.updated, result.failed) == (count, 0)
    assert await acme.count(Customer, {"visits": 7, "version": 2}) == count


async def test_a_writer_that_was_there_first_wins(acme: Session, raw: Connection, admin: Connection) -> None:
    """The other one has changed the record when the bulk call comes, and commits while it waits."""
    first, second = await made(acme, 2)
    async with raw.transaction():
        await enter(raw, acme.context)
        await raw.execute("update app.customers set visits = 9, version = 2 where id = $1", first.id)
        call = asyncio.create_task(acme.update_many(Customer, [(second, {"visits": 1}), (first, {"visits": 1})]))
        await blocked(admin, 1)
    result = await call
    assert actions(result) == ["updated", "failed"]
    error = result.failures[0].error
    assert isinstance(error, errors.ConcurrencyError)
    assert (error.expected, error.actual, error.current.visits) == (1, 2, 9)


async def test_calls_that_meet_wait_for_each_other(
    acme: Session, raw: Connection, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls about the same records in opposite order would deadlock if they locked them as they come."""
    monkeypatch.setattr("freehold.store.delivery.ATTEMPTS", 1)
    records = await made(acme, 50)
    async with raw.transaction():
        await enter(raw, acme.context)
        await raw.execute("select from app.customers where id = $1 for update", records[25].id)
        calls = [
            asyncio.create_task(acme.update_many(Customer, [(each, {"visits": n}) for each in order]))
            for n, order in enumerate((records, records[::-1]), 1)
        ]
        await blocked(admin, 2)
    results = await asyncio.gather(*calls)
    assert sorted(result.updated for result in results) == [0, 50]
    assert await acme.count(Customer, {"version": 2}) == 50


async def test_a_deadlock_is_retried(acme: Session, raw: Connection, admin: Connection) -> None:
    """Somebody locks two records in another order; one of the two loses, and the bulk call goes on."""
    first, second = await made(acme, 2)
    transaction = raw.transaction()
    await transaction.start()
    await enter(raw, acme.context)
    await raw.execute("update app.customers set visits = 9 where id = $1", second.id)
    call = asyncio.create_task(acme.update_many(Customer, [(first, {"visits": 1}), (second, {"visits": 1})]))
    await blocked(admin, 1)
    try:
        await raw.execute("update app.customers set visits = 9 where id = $1", first.id)
        await transaction.rollback()
    except asyncpg.DeadlockDetectedError:
        await transaction.rollback()
    assert (await call).updated == 2
    assert [each.visits for each in await everything(acme)] == [1, 1]


# By filter.


async def test_what_matches_is_changed(acme: Session, rival: Session) -> None:
    theirs = await rival.create(Customer, name="c1", visits=1)
    records = await made(acme, 25)
    await acme.update_many(Customer, [(each, {"visits": n % 5}) for n, each in enumerate(records) if n % 5])
    gone = await acme.delete((Customer, records[1].id, 2))
    result = await acme.update_where(Customer, {"visits": {"gte": 1, "lt": 4}}, rating=0.5, visits=3, chunk=4)
    assert (result.updated, result.unchanged, result.failed) == (14, 0, 0)
    assert [outcome.index for outcome in result.outcomes] == list(range(14))
    assert [outcome.id for outcome in result.outcomes] == [
        each.id for n, each in enumerate(records) if n % 5 in (1, 2, 3) and n != 1
    ]
    assert {outcome.version for outcome in result.outcomes} == {3}
    assert await acme.count(Customer, {"rating": 0.5, "visits": 3}) == 14
    again = await acme.update_where(Customer, {"visits": {"in": [3]}}, Customer.Patch(rating=0.5), chunk=5)
    assert (again.updated, again.unchanged) == (0, 14)
    assert await acme.count(Customer, {"version": 3}) == 14
    assert await acme.get(Customer, gone.id, deleted=True) == gone
    assert await rival.get(Customer, theirs.id) == theirs


@pytest.mark.parametrize("field", sorted(set(VALUES) - {"code"}))
async def test_a_filter_and_a_change_with_every_value(acme: Session, field: str) -> None:
    for value in VALUES[field]:
        (record,) = await made(acme, 1)
        await acme.update_where(Customer, {"id": record.id}, Customer.Patch(**{field: value}))
        read: Any = await acme.get(Customer, record.id, private=True)
        assert same(getattr(read, field), value)
        if field not in ("tags", "scores", "profile"):
            where = {"id": record.id, field: {"in": [value, value]} if value is not None else None}
            assert (await acme.update_where(Customer, where, code_free(field))).updated == 1
        await acme.purge(await acme.get(Customer, record.id))


def code_free(field: str) -> Any:
    """A change of another field than this one."""
    return Customer.Patch(visits=77) if field != "visits" else Customer.Patch(rating=7.5)


async def test_a_filter_across_references(acme: Session) -> None:
    one, two = await made(acme, 2)
    await acme.create(Contact, customer_id=one.id, name="Ada")
    result = await acme.update_where(Customer, {"contacts.name": {"starts_with": "A"}}, visits=1)
    assert [outcome.id for outcome in result.outcomes] == [one.id]
    result = await acme.update_where(Contact, {"customer.visits": 1}, name="Eve")
    assert result.updated == 1
    assert (await acme.get(Customer, two.id)).version == two.version


async def test_rows_that_cannot_be_changed_are_alone(acme: Session) -> None:
    records = await made(acme, 10)
    result = await acme.update_where(Customer, {"name": {"starts_with": "c"}}, email="one@x.test", chunk=4)
    assert (result.updated, result.failed) == (1, 9)
    assert [outcome.id for outcome in result.outcomes] == [each.id for each in records]
    assert {type(each.error) for each in result.failures} == {errors.UniqueError}
    assert await acme.count(Customer, {"version": 2}) == 1


@pytest.mark.parametrize("where", [{}, {"and": []}, {"not": {"or": []}}, {"or": [{}, {"name": "x"}]}])
async def test_all_records_are_meant_only_where_it_is_said(acme: Session, where: dict[str, Any]) -> None:
    await made(acme, 3)
    for call in (acme.update_where(Customer, where, visits=1), acme.delete_where(Customer, where)):
        with pytest.raises(errors.ValidationError) as caught:
            await call
        assert caught.value.issues[0].path == ("where",)
    assert await acme.count(Customer, {"visits": 0}) == 3
    assert (await acme.update_where(Customer, where, visits=1, everything=True)).updated == 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"where": {"colour": "red"}, "visits": 1},
        {"where": {"name": "x"}},
        {"where": {"name": "x"}, "visits": "many"},
        {"where": {"name": "x"}, "code": "immutable"},
        {"where": {"name": "x"}, "patch": Contact.Patch(name="x")},
        {"where": {"name": "x"}, "patch": Customer.Patch(name="x"), "visits": 1},
        {"where": {"name": "x"}, "visits": 1, "chunk": 0},
        {"where": "name", "visits": 1},
    ],
)
async def test_a_wrong_argument_changes_nothing(acme: Session, arguments: dict[str, Any]) -> None:
    await acme.create(Customer, name="x")
    where, patch = arguments.pop("where"), arguments.pop("patch", None)
    with pytest.raises(errors.ValidationError):
        await acme.update_where(Customer, where, patch, **arguments)
    assert await acme.count(Customer, {"version": 1}) == 1


async def test_a_source_that_breaks(acme: Session) -> None:
    records = await made(acme, 7)

    def source() -> Iterator[Any]:
        yield from ((each, {"visits": 1}) for each in records)
        raise Broken

    with pytest.raises(errors.BulkError) as caught:
        await acme.update_many(Customer, source(), chunk=3)
    assert caught.value.result.updated == 6
    assert await acme.count(Customer, {"visits": 1}) == 6


async def test_a_cancelled_call_leaves_whole_chunks(acme: Session, raw: Connection, admin: Connection) -> None:
    records = await made(acme, 9)
    async with raw.transaction():
        await enter(raw, acme.context)
        await raw.execute("select from app.customers where id = $1 for update", records[5].id)
        call = asyncio.create_task(acme.update_many(Customer, [(each, {"visits": 1}) for each in records], chunk=3))
        await blocked(admin, 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await blocked(admin, 0)
    assert [each.visits for each in await everything(acme)] == [1, 1, 1, 0, 0, 0, 0, 0, 0]
