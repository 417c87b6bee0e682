"""Races, forced: the administrator holds the row, so that all calls wait for it at once, and then lets go."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, errors
from tests.conftest import Server, new_context
from tests.probe import blocked
from tests.world import Contact, Customer, Order, application

Connection = asyncpg.Connection
WRITERS = 6


@pytest.fixture
async def wide(server: Server, database_name: str) -> AsyncIterator[Session]:
    """A session with a connection for every writer."""
    async with Database.open(server.address(database_name), application, size=WRITERS) as database:
        yield database.session(await new_context(database))


@asynccontextmanager
async def held(admin: Connection, table: str, id: Any) -> AsyncIterator[None]:
    """The row is locked until the block ends."""
    transaction = admin.transaction()
    await transaction.start()
    try:
        assert await admin.fetch(f"select 1 from app.{table} where id = $1 for update", id)
        yield
    finally:
        await transaction.rollback()


async def race(admin: Connection, table: str, id: Any, *calls: Awaitable[Any]) -> list[Any]:
    """What calls bring that all wait for one row's lock at the same time."""
    async with held(admin, table, id):
        results = asyncio.gather(*calls, return_exceptions=True)
        await blocked(admin, len(calls))
    return await results


def split(results: list[Any]) -> tuple[list[Any], list[BaseException]]:
    """The successes and the failures."""
    failed = [result for result in results if isinstance(result, BaseException)]
    return [result for result in results if not isinstance(result, BaseException)], failed


async def logged(admin: Connection, id: Any) -> list[tuple[str, int]]:
    rows = await admin.fetch("select action, version from freehold.log where record_id = $1 order by position", id)
    return [(row["action"], row["version"]) for row in rows]


async def test_of_updates_that_read_one_version_exactly_one_succeeds(wide: Session, admin: Connection) -> None:
    made = await wide.create(Customer, name="0")
    results = await race(
        admin, "customers", made.id, *(wide.update(made, name=str(n), visits=n) for n in range(1, WRITERS + 1))
    )
    (winner,), losers = split(results)
    assert winner.version == 2
    assert winner.name == str(winner.visits)
    assert len(losers) == WRITERS - 1
    for error in losers:
        assert isinstance(error, errors.ConcurrencyError)
        assert (error.expected, error.actual, error.current) == (1, 2, winner)
    assert await wide.get(Customer, made.id) == winner
    assert await logged(admin, made.id) == [("create", 1), ("update", 2)]
    change, creation = await wide.history(made)
    assert change.diff == {"name": ("0", winner.name), "visits": (0, winner.visits)}
    assert creation.diff["name"] == (None, "0")


async def test_retrying_on_conflict_loses_no_update(wide: Session, admin: Connection) -> None:
    made = await wide.create(Customer, name="counter")

    async def increment(times: int) -> None:
        current = made
        while times:
            try:
                current = await wide.update(current, visits=current.visits + 1)
                times -= 1
            except errors.ConcurrencyError as error:
                current = error.current

    await asyncio.gather(*(increment(5) for _ in range(WRITERS)))
    last = await wide.get(Customer, made.id)
    assert (last.visits, last.version) == (5 * WRITERS, 5 * WRITERS + 1)
    versions = [version for _, version in await logged(admin, made.id)]
    assert versions == list(range(1, 5 * WRITERS + 2))
    changes = await wide.history(made, limit=1000)
    assert [change.diff["visits"] for change in changes[:-1]] == [(n - 1, n) for n in range(5 * WRITERS, 0, -1)]


async def test_update_against_soft_delete(wide: Session, admin: Connection) -> None:
    made = await wide.create(Customer, name="x")
    results = await race(admin, "customers", made.id, wide.update(made, name="y"), wide.delete(made))
    (winner,), (loser,) = split(results)
    if winner.deleted_at is None:
        assert isinstance(loser, errors.ConcurrencyError)
        assert (loser.actual, loser.current) == (2, winner)
    else:
        assert isinstance(loser, errors.NotFoundError)
        assert "restore" in str(loser.hint)
    expected = "update" if winner.deleted_at is None else "delete"
    assert await logged(admin, made.id) == [("create", 1), (expected, 2)]


async def test_update_against_hard_delete(wide: Session, admin: Connection) -> None:
    customer = await wide.create(Customer, name="x")
    made = await wide.create(Order, customer_id=customer.id, number="1", total=1)
    results = await race(admin, "orders", made.id, wide.update(made, total=2), wide.delete(made))
    (winner,), (loser,) = split(results)
    if winner.version == 2:
        assert isinstance(loser, errors.ConcurrencyError)
        assert await logged(admin, made.id) == [("create", 1), ("update", 2)]
    else:
        assert isinstance(loser, errors.NotFoundError)
        assert await logged(admin, made.id) == [("create", 1), ("delete", 1)]


Change = Callable[[Session, Customer], Awaitable[Any]]


@pytest.mark.parametrize(
    ("change", "action", "version"),
    [
        (lambda s, c: s.delete(c), "delete", 2),
        (lambda s, c: s.purge(c), "purge", 1),
    ],
    ids=["delete", "purge"],
)
async def test_removals_of_one_record_succeed_once(
    wide: Session, admin: Connection, change: Change, action: str, version: int
) -> None:
    made = await wide.create(Customer, name="x")
    results = await race(admin, "customers", made.id, *(change(wide, made) for _ in range(WRITERS)))
    (_,), losers = split(results)
    assert {type(error) for error in losers} == {errors.NotFoundError}
    assert await logged(admin, made.id) == [("create", 1), (action, version)]


async def test_restorations_of_one_record_succeed_once(wide: Session, admin: Connection) -> None:
    gone = await wide.delete(await wide.create(Customer, name="x"))
    results = await race(admin, "customers", gone.id, *(wide.restore(gone) for _ in range(WRITERS)))
    (winner,), losers = split(results)
    assert (winner.version, winner.deleted_at) == (3, None)
    assert {type(error) for error in losers} == {errors.ValidationError}
    assert await logged(admin, gone.id) == [("create", 1), ("delete", 2), ("restore", 3)]


async def test_of_creations_with_one_unique_value_exactly_one_succeeds(wide: Session, admin: Connection) -> None:
    async with admin.transaction():  # an insertion that others must wait for
        await admin.execute(
            "insert into app.customers (organization_id, name, email, status, level, tags, scores, profile) "
            "values ($1, 'first', 'A@x.test', 'active', 'low', '{}', '{}', '{}')",
            wide.context.organization_id,
        )
        creations = asyncio.gather(
            *(wide.create(Customer, name=str(n), email="a@X.test") for n in range(WRITERS)), return_exceptions=True
        )
        await blocked(admin, WRITERS)
        await admin.execute("delete from app.customers where organization_id = $1", wide.context.organization_id)
    (winner,), losers = split(await creations)
    for error in losers:
        assert isinstance(error, errors.UniqueError)
        assert (error.entity, error.fields) == ("Customer", ("email",))
    assert [each.id for each in await wide.list(Customer)] == [winner.id]
    created = "select count(*) from freehold.log where organization_id = $1 and action = 'create' and record_id = $2"
    assert await admin.fetchval(created, wide.context.organization_id, winner.id) == 1


async def test_a_reference_to_what_goes_at_the_same_time_fails_on_one_side(wide: Session, admin: Connection) -> None:
    customer = await wide.create(Customer, name="x")
    results = await race(
        admin,
        "customers",
        customer.id,
        wide.purge(customer),
        wide.create(Order, customer_id=customer.id, number="1", total=1),
    )
    (winner,), (loser,) = split(results)
    assert isinstance(loser, errors.ReferenceError)
    assert await wide.count(Order) == (1 if isinstance(winner, Order) else 0)
    assert await wide.exists(Customer, {"id": customer.id}) is isinstance(winner, Order)


async def test_a_conflict_shows_no_private_field(acme: Session) -> None:
    made = await acme.create(Customer, name="x", tax_number="secret")
    await acme.update(made, name="y")
    with pytest.raises(errors.ConcurrencyError) as caught:
        await acme.update(made, name="z")
    assert "secret" not in f"{caught.value!r} {caught.value.current!r} {caught.value.as_dict()}"
    with pytest.raises(AttributeError, match="private"):
        _ = caught.value.current.tax_number


async def test_writers_of_different_records_do_not_wait_for_each_other(wide: Session, admin: Connection) -> None:
    one, other = [
        await wide.create(Contact, customer_id=(await wide.create(Customer, name="x")).id, name="x") for _ in "ab"
    ]
    async with held(admin, "contacts", one.id):
        task = asyncio.ensure_future(wide.update(one, name="y"))
        await blocked(admin, 1)
        assert (await wide.update(other, name="y")).version == 2
        assert (await wide.get(Contact, one.id)).name == "x"  # readers do not wait either
    assert (await task).version == 2
