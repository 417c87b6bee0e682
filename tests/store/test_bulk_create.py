"""Creating many records: what goes in comes back, duplicates, bad rows alone, chunk boundaries."""

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from freehold import Application, Context, Database, Entity, Session, Unique, errors, field
from freehold.model.context import new_id
from freehold.postgres.connections import Pool
from freehold.store.outcomes import BulkProgress, BulkResult, Outcome
from tests.conftest import Server
from tests.probe import scratch
from tests.store.test_writes import VALUES, same
from tests.world import Contact, Customer, Order


def names(count: int) -> Iterator[dict[str, Any]]:
    return ({"name": f"c{number}"} for number in range(count))


def actions(result: BulkResult) -> list[str]:
    return [outcome.action for outcome in result.outcomes]


async def everything(session: Session, entity: Any = Customer) -> list[Any]:
    """All records, with private fields, in the order of their ids."""
    page = await session.list(entity, limit=1_000, order_by="id", private=True)
    return list(page.records)


async def test_a_value_comes_back_as_it_went_in(acme: Session) -> None:
    wanted = [{"name": "x", field: value} for field, values in VALUES.items() for value in values]
    result = await acme.create_many(Customer, wanted)
    assert (result.created, result.failed, len(result.outcomes)) == (len(wanted), 0, len(wanted))
    assert result.request_id == acme.context.request_id
    for given, outcome in zip(wanted, result.outcomes, strict=True):
        assert outcome.id is not None
        read = await acme.get(Customer, outcome.id, private=True)
        for name, value in given.items():
            assert same(getattr(read, name), value), name
        single = await acme.create(Customer, **{**given, "email": None})
        single = await acme.get(Customer, single.id, private=True)
        differs = {"id", "email", "created_at", "updated_at"}
        assert read.model_dump(exclude=differs) == single.model_dump(exclude=differs)
        assert read.created_at == read.updated_at


async def test_every_record_is_audited_under_the_call_s_request(acme: Session) -> None:
    result = await acme.create_many(Customer, names(3), chunk=2)
    history = await acme.history(request_id=acme.context.request_id)
    assert {change.record_id for change in history} == {outcome.id for outcome in result.outcomes}
    assert len(history) == 3
    assert {(change.action, change.version, change.actor_id) for change in history} == {
        ("create", 1, acme.context.user_id)
    }


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 2_001])
async def test_any_number_of_items(acme: Session, count: int) -> None:
    told: list[BulkProgress] = []
    result = await acme.create_many(Customer, names(count), progress=told.append)
    assert (result.created, result.done, len(result.outcomes)) == (count, count, count)
    assert await acme.count(Customer) == count
    assert [each.done for each in told] == [min(n, count) for n in range(1_000, count + 1_000, 1_000) if count]
    assert [outcome.index for outcome in result.outcomes] == list(range(count))
    assert len({outcome.id for outcome in result.outcomes}) == count


async def test_inputs_and_mappings_and_what_is_neither(acme: Session) -> None:
    items: Sequence[Any] = [
        Customer.Create(name="a"),
        {"name": "b"},
        "c",
        None,
        Contact.Create(customer_id=new_id(), name="d"),
    ]
    result = await acme.create_many(Customer, items)
    assert actions(result) == ["created", "created", "failed", "failed", "failed"]
    assert [each.name for each in await everything(acme)] == ["a", "b"]
    assert [[issue.code for issue in each.error.issues] for each in result.failures] == [["input_type"]] * 3  # type: ignore[union-attr]


async def test_what_is_not_valid_is_told_whole_and_the_rest_goes_in(acme: Session) -> None:
    items = [{"name": "a"}, {"name": "", "credit": -1, "colour": "red"}, {"name": "b"}, {}]
    result = await acme.create_many(Customer, items)
    assert actions(result) == ["created", "failed", "created", "failed"]
    first, second = result.failures
    assert isinstance(first.error, errors.ValidationError)
    assert [(issue.path, issue.code) for issue in first.error.issues] == [
        ((1, "name"), "string_too_short"), ((1, "credit"), "greater_than_equal"), ((1, "colour"), "extra_forbidden"),
    ]  # fmt: skip
    assert isinstance(second.error, errors.ValidationError)
    assert [issue.path for issue in second.error.issues] == [(3, "name")]


async def test_a_poisoned_row_is_alone(acme: Session) -> None:
    """Rows that only the database refuses: a rule, a reference, a duplicate, a value that was never validated."""
    await acme.create(Customer, name="there", email="taken@x.test")
    items: list[Any] = [{"name": f"c{n}"} for n in range(100)]
    items[7] = {"name": "poor", "status": "vip"}
    items[50] = {"name": "twin", "email": "TAKEN@x.test"}
    items[51] = {"name": "first", "email": "new@x.test"}
    items[93] = {"name": "second", "email": "New@x.test"}
    items[99] = Customer.Create.model_construct(**{**Customer.Create(name="x").__dict__, "name": "nul\0"})
    result = await acme.create_many(Customer, items)
    assert result.created == 96
    assert [(each.index, type(each.error)) for each in result.failures] == [
        (7, errors.ValidationError), (50, errors.UniqueError), (93, errors.UniqueError), (99, errors.ValidationError),
    ]  # fmt: skip
    assert [getattr(each.error, "fields", None) for each in result.failures[1:3]] == [("email",), ("email",)]
    assert result.failures[0].error.issues[0].path == (7,)  # type: ignore[union-attr]
    assert "vip_has_credit" in str(result.failures[0].error)
    written = {each.name for each in await everything(acme)}
    assert written == {"there", "first", *(f"c{n}" for n in range(99) if n not in (7, 50, 51, 93))}


@pytest.mark.parametrize("chunk", [1, 4, 1_000])
async def test_duplicates_of_several_keys_are_told_by_their_key(server: Server, chunk: int) -> None:
    class Seat(Entity, unique=[Unique("row", "place")]):
        row: int = field()
        place: int = field()
        label: str | None = field(default=None, max_length=20, unique=True)

    declared = Application("seats", [Seat])
    async with (
        scratch(server, declared) as name,
        Database.open(server.address(name, declared), declared, size=2) as database,
    ):
        session = database.session(Context(new_id()))
        items = [{"row": 1, "place": n, "label": f"s{n}"} for n in range(8)]
        items[3]["label"], items[5]["place"] = "s2", 0
        result = await session.create_many(Seat, items, chunk=chunk)
        assert (result.created, await session.count(Seat)) == (6, 6)
        assert [(each.index, each.error.fields) for each in result.failures] == [(3, ("label",)), (5, ("row", "place"))]  # type: ignore[union-attr]
        with pytest.raises(errors.ValidationError, match="name one of its unique keys"):
            await session.create_many(Seat, items, on_duplicate="skip")
        result = await session.create_many(Seat, items, on_duplicate="skip", key=["place", "row"], chunk=chunk)
        assert actions(result) == ["skipped"] * 3 + ["failed"] + ["skipped"] * 4


async def test_a_chunk_is_one_message(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = 0
    real = Pool.fetch

    async def fetch(self: Pool, text: str, arguments: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        return await real(self, text, arguments, **options)

    monkeypatch.setattr(Pool, "fetch", fetch)
    made = await acme.create_many(Customer, [{"name": "x", "email": f"{n}@x.test"} for n in range(30)], chunk=10)
    await acme.update_many(Customer, [((each.id, 1), {"visits": 1}) for each in made.outcomes], chunk=10)  # type: ignore[misc]
    await acme.create_many(
        Customer, [{"name": "y", "email": f"{n}@x.test"} for n in range(30)], on_duplicate="update", chunk=10
    )
    await acme.update_where(Customer, {"visits": 1}, visits=2, chunk=16)
    assert sent == 3 + 3 + 3 + 2
    await acme.create_many(Customer, [{"name": "z", "email": f"{n}@x.test"} for n in range(30)], chunk=10)
    assert sent == 11 + 6  # all are duplicates: once to see that, and once to tell them from the others


async def test_a_chunk_has_a_bound_in_bytes(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.store.chunks.MAXIMUM_BYTES", 2_000)
    told: list[BulkProgress] = []
    sizes = [1, 200, 200, 1, 1, 200]
    items = [{"name": "n" * size, "photo": b"x" * size} for size in sizes]
    result = await acme.create_many(Customer, items, progress=told.append)
    assert result.created == 6
    assert 1 < len(told) <= 4
    assert [len(each.name) for each in await everything(acme)] == sizes
    monkeypatch.setattr("freehold.store.chunks.MAXIMUM_BYTES", 10)
    told.clear()
    assert (await acme.create_many(Customer, items, progress=told.append)).created == 6
    assert [each.done for each in told] == [1, 2, 3, 4, 5, 6]


async def test_memory_does_not_grow_with_the_number_of_items(acme: Session) -> None:
    peaks = []
    for count in (1_000, 1_000, 5_000):
        tracemalloc.start()
        try:
            await acme.create_many(Customer, names(count), chunk=100, on_outcomes=lambda _: None)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[2] < peaks[1] * 1.3


async def test_a_closed_session_and_a_transaction_that_only_reads(acme: Session, database: Database) -> None:
    async with database.session(acme.context) as session:
        pass
    with pytest.raises(errors.IsolationError):
        await session.create_many(Customer, names(3))
    async with acme.transaction(read_only=True) as transaction:
        with pytest.raises(errors.ForbiddenError):
            await transaction.create_many(Customer, names(3))
    assert await acme.count(Customer) == 0


async def test_all_rows_are_refused(acme: Session) -> None:
    await acme.create_many(Customer, [{"name": "x", "email": f"{n}@x.test"} for n in range(40)])
    again = await acme.create_many(Customer, [{"name": "y", "email": f"{n}@X.test"} for n in range(40)])
    assert (again.created, again.failed) == (0, 40)
    assert {type(each.error) for each in again.failures} == {errors.UniqueError}
    missing = await acme.create_many(
        Order, [{"customer_id": new_id(), "number": str(n), "total": 1} for n in range(20)]
    )
    assert {type(each.error) for each in missing.failures} == {errors.ReferenceError}
    assert await acme.count(Customer) == 40


# Other organizations.


async def test_another_organization_is_neither_in_the_way_nor_within_reach(acme: Session, rival: Session) -> None:
    theirs = await rival.create(Customer, name="theirs", email="a@x.test")
    for how in ("error", "skip", "update"):
        result = await acme.create_many(
            Customer,
            [{"name": how, "email": f"{'a' if how == 'error' else how}@x.test"}],
            on_duplicate=how,  # type: ignore[arg-type]  # one of three
            key=None if how == "error" else "email",
        )
        assert result.created == 1
    result = await acme.create_many(
        Order,
        [{"customer_id": theirs.id, "number": "1", "total": 1}, {"customer_id": new_id(), "number": "2", "total": 1}],
    )
    first, second = (str(each.error) for each in result.failures)
    assert first == second
    assert await rival.get(Customer, theirs.id) == theirs
    assert await rival.count(Customer) == 1
    assert {each.organization_id for each in await everything(acme)} == {acme.context.organization_id}


# Duplicates.


async def test_duplicates_are_skipped(acme: Session) -> None:
    there = await acme.create(Order, customer_id=(await acme.create(Customer, name="c")).id, number="1", total=5)
    items = [{"customer_id": there.customer_id, "number": number, "total": 7} for number in ("0", "1", "2", "2", "1")]
    result = await acme.create_many(Order, items, on_duplicate="skip")
    assert actions(result) == ["created", "skipped", "created", "skipped", "skipped"]
    assert [result.outcomes[n].id for n in (1, 3, 4)] == [there.id, result.outcomes[2].id, there.id]
    assert [result.outcomes[n].version for n in (1, 3)] == [1, 1]
    assert await acme.get(Order, there.id) == there
    assert await acme.count(Order) == 3


async def test_duplicates_are_updated(acme: Session) -> None:
    customer = await acme.create(Customer, name="c")
    one, two = [
        await acme.create(Order, customer_id=customer.id, number=number, total=5, placed_on="2026-01-01")
        for number in ("1", "2")
    ]
    items = [
        {"customer_id": customer.id, "number": "1", "total": 6},
        {"customer_id": customer.id, "number": "2", "total": "5.00"},
        {"customer_id": customer.id, "number": "3", "total": 8},
    ]
    result = await acme.create_many(Order, items, on_duplicate="update", key="number")
    assert actions(result) == ["updated", "unchanged", "created"]
    assert [(each.id, each.version) for each in result.outcomes][:2] == [(one.id, 2), (two.id, 1)]
    changed = await acme.get(Order, one.id)
    assert (changed.total, changed.version, changed.placed_on) == (Decimal(6), 2, one.placed_on)
    assert (changed.created_at, changed.created_by) == (one.created_at, one.created_by)
    assert await acme.get(Order, two.id) == two
    assert [change.action for change in await acme.history(two)] == ["create"]
    assert [change.action for change in await acme.history(changed)] == ["update", "create"]


async def test_a_key_that_ignores_case_and_immutable_fields(acme: Session) -> None:
    made = await acme.create(Customer, name="x", email="A@x.test", code="1", tax_number="T")
    result = await acme.create_many(
        Customer,
        [{"name": "y", "email": "a@X.test", "code": "2", "credit": 3}, {"name": "z"}, {"name": "z"}],
        on_duplicate="update",
    )
    assert actions(result) == ["updated", "created", "created"]
    changed = await acme.get(Customer, made.id, private=True)
    assert (changed.name, changed.email, changed.code, changed.credit, changed.tax_number, changed.version) == (
        "y", "a@X.test", "1", Decimal(3), "T", 2,
    )  # fmt: skip
    again = await acme.create_many(Customer, [{"name": "y", "email": "a@X.test"}], on_duplicate="update")
    assert actions(again) == ["unchanged"]
    skipped = await acme.create_many(
        Customer, [{"name": "n", "email": "A@X.TEST"}], on_duplicate="skip", key=("email",)
    )
    assert actions(skipped) == ["skipped"]
    assert (await acme.get(Customer, made.id)).version == 2


async def test_deleted_records_are_not_in_the_way(acme: Session) -> None:
    gone = await acme.delete(await acme.create(Customer, name="x", email="a@x.test"))
    for how in ("skip", "update"):
        result = await acme.create_many(
            Customer, [{"name": "y", "email": f"{how}@x.test"}, {"name": "y", "email": "a@x.test"}], on_duplicate=how
        )  # type: ignore[arg-type]
        assert actions(result)[0] == "created"
    assert await acme.get(Customer, gone.id, deleted=True) == gone
    assert await acme.count(Customer, {"email": "a@x.test"}) == 1


async def test_a_partial_key(acme: Session) -> None:
    customers = (await acme.create_many(Customer, names(2))).outcomes
    a, b = (each.id for each in customers)
    first = await acme.create(Contact, customer_id=a, name="first", is_primary=True)
    items = [
        {"customer_id": a, "name": "other", "is_primary": False},
        {"customer_id": a, "name": "primary", "is_primary": True},
        {"customer_id": a, "name": "another", "is_primary": False},
        {"customer_id": b, "name": "one", "is_primary": True},
        {"customer_id": b, "name": "two", "is_primary": True},
        {"customer_id": b, "name": "three"},
    ]
    result = await acme.create_many(Contact, items, on_duplicate="update", key="customer_id")
    assert actions(result) == ["created", "updated", "created", "superseded", "created", "created"]
    assert (result.outcomes[1].id, result.outcomes[1].version) == (first.id, 2)
    assert result.outcomes[3].id == result.outcomes[4].id
    assert Counter((each.name, each.is_primary) for each in await everything(acme, Contact)) == Counter(
        [("other", False), ("another", False), ("primary", True), ("two", True), ("three", False)]
    )
    assert (await acme.get(Contact, first.id)).name == "primary"


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
async def test_items_of_one_key_that_give_different_fields(acme: Session, chunk: int) -> None:
    await acme.create(Customer, name="old", email="a@x.test", visits=1)
    items: list[dict[str, Any]] = [
        {"name": "n1", "email": "a@x.test", "visits": 5},
        {"name": "n2", "email": "A@x.test", "rating": 0.5},
        {"name": "b1", "email": "b@x.test", "visits": 7},
        {"name": "n3", "email": "a@X.test", "newsletter": True},
        {"name": "b2", "email": "b@x.test", "rating": 1.5},
    ]
    result = await acme.create_many(Customer, items, on_duplicate="update", chunk=chunk)
    assert actions(result) == ["updated", "updated", "created", "updated", "updated"]
    a, b = sorted(await everything(acme), key=lambda each: each.email.lower())
    assert (a.name, a.email, a.visits, a.rating, a.newsletter, a.version) == ("n3", "a@X.test", 5, 0.5, True, 4)
    assert (b.name, b.visits, b.rating, b.version) == ("b2", 7, 1.5, 2)


async def test_fields_that_only_some_items_give(acme: Session) -> None:
    await acme.create_many(
        Customer, [{"name": "x", "email": f"{n}@x.test", "visits": n, "tags": ["t"]} for n in range(4)]
    )
    items: list[dict[str, Any]] = [
        {"name": "y", "email": "0@x.test"},
        {"name": "x", "email": "1@x.test", "visits": 50},
        {"name": "x", "email": "2@x.test", "tags": []},
        {"name": "x", "email": "3@x.test", "visits": 3},
    ]
    result = await acme.create_many(Customer, items, on_duplicate="update")
    assert actions(result) == ["updated", "updated", "updated", "unchanged"]
    assert sorted((each.email, each.name, each.visits, each.tags) for each in await everything(acme)) == [
        ("0@x.test", "y", 0, ["t"]), ("1@x.test", "x", 50, ["t"]), ("2@x.test", "x", 2, []), ("3@x.test", "x", 3, ["t"]),
    ]  # fmt: skip


async def test_another_unique_key_is_an_error_still(acme: Session) -> None:
    customer = await acme.create(Customer, name="c")
    await acme.create(Contact, customer_id=customer.id, name="p", is_primary=True)
    result = await acme.create_many(
        Contact, [{"customer_id": customer.id, "name": "q", "is_primary": True}], on_duplicate="error"
    )
    assert isinstance(result.failures[0].error, errors.UniqueError)


# Sources.


async def test_items_are_read_no_further_than_three_chunks_ahead(acme: Session) -> None:
    read, ahead = 0, []

    def source() -> Iterator[Mapping[str, Any]]:
        nonlocal read
        for item in names(50):
            read += 1
            yield item

    await acme.create_many(Customer, source(), chunk=5, progress=lambda told: ahead.append(read - told.done))
    assert (
        max(ahead) <= 11
    )  # two chunks are on their way, and the first item of another one shows that the third is full
    assert len(ahead) == 10


async def test_an_async_source(acme: Session) -> None:
    async def source() -> AsyncIterator[Mapping[str, Any]]:
        for item in names(7):
            await asyncio.sleep(0)
            yield item

    assert (await acme.create_many(Customer, source(), chunk=3)).created == 7


class Broken(Exception):
    pass


def breaking(after: int) -> Iterator[dict[str, Any]]:
    yield from names(after)
    raise Broken("line 8")


async def test_a_source_that_breaks(acme: Session) -> None:
    with pytest.raises(errors.BulkError) as caught:
        await acme.create_many(Customer, breaking(8), chunk=3)
    assert isinstance(caught.value.__cause__, Broken)
    result = caught.value.result
    assert (result.created, len(result.outcomes)) == (6, 6)
    assert await acme.count(Customer) == 6
    with pytest.raises(Broken):
        await acme.create_many(Customer, breaking(2), chunk=3)
    assert await acme.count(Customer) == 6


async def test_outcomes_are_told_and_not_kept(acme: Session) -> None:
    told: list[Outcome] = []
    result = await acme.create_many(
        Customer, [*names(4), {}, *names(2)], chunk=3, on_outcomes=lambda outcomes: told.extend(outcomes)
    )
    assert (result.created, result.failed, len(result.outcomes)) == (6, 1, 0)
    assert [each.index for each in told] == list(range(7))
    assert [each.index for each in result.failures] == [4]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"items": "text"}, "items"),
        ({"items": 5}, "items"),
        ({"items": {"name": "x"}}, "items"),
        ({"chunk": 0}, "chunk"),
        ({"chunk": 10_001}, "chunk"),
        ({"chunk": True}, "chunk"),
        ({"on_duplicate": "replace"}, "on_duplicate"),
        ({"key": "email"}, "key"),
        ({"on_duplicate": "skip", "key": "name"}, "key"),
        ({"on_duplicate": "skip", "key": 5}, "key"),
        ({"on_duplicate": "skip", "entity": Contact, "key": ("customer_id", "name")}, "key"),
        ({"atomic": 1}, "atomic"),
        ({"progress": 5}, "progress"),
        ({"on_outcomes": asyncio.sleep}, "on_outcomes"),
    ],
)
async def test_a_wrong_argument_is_named(acme: Session, arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await acme.create_many(**{"entity": Customer, "items": [{"name": "x"}], **arguments})
    assert caught.value.issues[0].path == (field,)
    assert await acme.count(Customer) == 0
