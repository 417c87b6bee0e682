"""What one answer may hold: no read, however it asks, brings more records or bytes than its bounds."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import AnswerBounds, Application, Context, Database, Entity, Include, Session, reference
from freehold.errors import ConfigurationError, TooLargeError, ValidationError
from freehold.model.registry import Registry, Relation
from freehold.model.shapes import MAXIMUM_INCLUDE_DEPTH, Shapes
from freehold.model.weights import heaviest
from tests.conftest import Server, new_context
from tests.world import Contact, Customer, Order

MANY = 60
BOUNDED = Application("tests", [Customer, Contact, Order], bounds=AnswerBounds(bytes=10_000, rows=2_000))
"""Some records fit, all of them do not."""


@pytest.fixture
async def bounded(server: Server, database_name: str) -> AsyncIterator[Database]:
    async with Database.open(server.address(database_name), BOUNDED, size=2) as database:
        yield database


@pytest.fixture
async def context(bounded: Database) -> Context:
    """An organization with records that are more than one answer."""
    context = await new_context(bounded)
    session = bounded.session(context)
    rows = [
        {"name": f"needle {'x' * 180} {n:03}", "tags": ["y" * 1_000] * 3, "code": f"c{n}", "status": "active"}
        for n in range(MANY)
    ]
    await session.create_many(Customer, rows)
    first = (await session.list(Customer, limit=1)).records[0]
    await session.create_many(Order, [{"customer_id": first.id, "number": f"n{n}", "total": n} for n in range(MANY)])
    return context


Read = Callable[[Session, Customer, int], Awaitable[Any]]


async def past(session: Session, n: int) -> Any:
    moment = (await session.history(Customer, limit=1))[0].at  # by the server's clock
    async with session.as_of(moment + timedelta(microseconds=1)) as back:
        return await back.list(Customer, limit=n)


async def held(session: Session, n: int) -> Any:
    async with session.transaction() as transaction:
        return await transaction.list(Customer, limit=n)


async def ids(session: Session) -> list[Any]:
    return [row["id"] for row in await session.sql(None, "select id from customers order by id")]


READS: dict[str, Read] = {
    "list": lambda s, c, n: s.list(Customer, limit=n),
    "list as JSON": lambda s, c, n: s.list(Customer, limit=n, as_json=True),
    "list with a total": lambda s, c, n: s.list(Customer, limit=n, with_total=True),
    "list of some fields": lambda s, c, n: s.list(Customer, limit=n, select=["tags"]),
    "list that is searched": lambda s, c, n: s.list(Customer, limit=n, search="needle"),
    "list with an include": lambda s, c, n: s.list(
        Customer, limit=1, where={"id": c.id}, include={"orders": Include(limit=n)}
    ),
    "find with an include": lambda s, c, n: s.find(Customer, {"id": c.id}, include={"orders": Include(limit=n)}),
    "list in a transaction": lambda s, c, n: held(s, n),
    "list of the past": lambda s, c, n: past(s, n),
    "search": lambda s, c, n: s.search("needle", in_=Customer, limit=n),
    "history": lambda s, c, n: s.history(Customer, limit=n),
    "aggregate": lambda s, c, n: s.aggregate(
        Customer, group_by=["name"], where={"code": {"in": [f"c{i}" for i in range(n)]}}
    ),
    "sql": lambda s, c, n: s.sql(None, "select id, tags from customers order by id limit :n", n=n),
}


async def many(session: Session, n: int) -> Any:
    return await session.get_many(Customer, (await ids(session))[:n])


READS["get many"] = lambda s, c, n: many(s, n)


@pytest.mark.parametrize("name", READS)
async def test_no_read_brings_more_bytes_than_an_answer_may_have(
    bounded: Database, context: Context, name: str
) -> None:
    session, read = bounded.session(context), READS[name]
    customer = (await session.list(Customer, limit=1)).records[0]
    await read(session, customer, 1)
    opened = bounded.store.pool.figures.open
    for _ in range(3):
        with pytest.raises(TooLargeError, match="10,000 bytes") as caught:
            await read(session, customer, MANY)
        assert caught.value.most == 10_000
        assert "select" in str(caught.value.hint)
        assert await session.count(Customer) == MANY  # the connection serves on
    await read(session, customer, 1)
    assert bounded.store.pool.figures.open <= max(opened, 2)


@pytest.mark.parametrize("name", ["list with an include", "find with an include", "sql"])
async def test_what_is_one_value_is_refused_where_it_is_made(bounded: Database, context: Context, name: str) -> None:
    """A list inside of a record, and the rows of a hand-written query, are refused by the database before they are whole."""
    session = bounded.session(context)
    customer = (await session.list(Customer, limit=1)).records[0]
    with pytest.raises(TooLargeError) as caught:
        await READS[name](session, customer, MANY)
    assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
    assert caught.value.__cause__.sqlstate == "FH104"


async def test_what_a_refused_read_has_taken_is_bounded(bounded: Database, context: Context) -> None:
    """The statement is cancelled soon after the bound, and not read to its end."""
    session = bounded.session(context)
    received: list[int] = []
    driver = bounded.store.pool._idle[-1]
    inner = driver._meter._inner

    class Counting:
        def data_received(self, data: bytes) -> None:
            received.append(len(data))
            inner.data_received(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    driver._meter._inner = Counting()
    endless = "select n, repeat('x', 1000) as text from generate_series(1, 1000000) as n"
    with pytest.raises(TooLargeError):
        await bounded.store.pool.fetch(endless, [], most=10_000)
    assert sum(received) < 100_000_000  # of 1 GB
    assert await session.count(Customer) == MANY


async def test_a_cancelled_read_is_cancelled_and_not_too_large(bounded: Database, context: Context) -> None:
    session = bounded.session(context)
    waiting = asyncio.create_task(session.sql(None, "select pg_sleep(30)"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await session.count(Customer) == MANY


async def test_a_write_is_never_refused_for_its_answer(bounded: Database, context: Context) -> None:
    session = bounded.session(context)
    made = await session.create(Customer, name="long", tags=["z" * 10_000])
    changed = await session.update(made, visits=1)
    assert (await session.delete(changed)).deleted_at is not None
    with pytest.raises(TooLargeError):
        await session.get(Customer, made.id, deleted=True)


async def test_a_read_whose_limits_allow_too_many_records_is_refused_before_it_is_made(
    bounded: Database, context: Context
) -> None:
    session = bounded.session(context)
    nested = {"contacts": Include(limit=10, include={"orders": Include(limit=20)})}
    await session.list(Customer, limit=9, include=nested, select=["name"])
    with pytest.raises(ValidationError, match="may bring 2,110 records, and an answer holds 2,000; lower the limits"):
        await session.list(Customer, limit=10, include={**nested})
    counted = {"contacts": "count", "orders": "count"}
    assert len(await session.list(Customer, limit=10, include=counted, select=["code"])) == 10
    with pytest.raises(ValidationError, match="may bring"):
        await session.list(Customer, limit=1_000, include={"contacts": Include(limit=2, include=["manager"])})


def paths(registry: Registry, start: str, depth: int) -> Iterator[tuple[Relation, ...]]:
    """All paths of relations from an entity."""
    if not depth:
        yield ()
        return
    for relation in registry.relations[start].values():
        for rest in paths(registry, relation.target.name, depth - 1):
            yield (relation, *rest)


def asked(path: tuple[Relation, ...]) -> dict[str, Include]:
    """The include of a path."""
    return {path[0].name: Include(limit=1, include=asked(path[1:]) if path[1:] else None)}


def strict() -> Registry:
    """The entities of a shop in which no reference may be revisited."""

    class Buyer(Entity):
        name: str

    class Clerk(Entity):
        buyer_id: UUID = reference(Buyer)
        chief_id: UUID | None = reference("self", default=None, reverse="staff")

    class Sale(Entity):
        buyer_id: UUID = reference(Buyer)
        clerk_id: UUID | None = reference(Clerk, default=None)

    return Registry([Buyer, Clerk, Sale])


def multiplies(path: tuple[Relation, ...]) -> bool:
    """Whether a path comes back: over the reference that it came by, or to many of what it has passed."""
    passed = {path[0].source.name}
    for before, step in itertools.pairwise((None, *path)):
        assert step is not None
        if before is not None and step.field is before.field and step.many != before.many:
            return True
        itself = step.source.name == step.target.name
        if before is not None and step.many and not itself and step.target.name in passed:
            return True
        passed.add(step.target.name)
    return False


def test_no_include_goes_back_to_where_it_came_from() -> None:
    registry = strict()
    shapes, refused, taken = Shapes(registry), 0, 0
    for start, depth in itertools.product(registry.entities, range(1, MAXIMUM_INCLUDE_DEPTH + 1)):
        for path in paths(registry, start, depth):
            if multiplies(path):
                refused += 1
                with pytest.raises(ValidationError, match="goes back to"):
                    shapes.parse(registry.entities[start], include=asked(path))
            else:
                taken += 1
                shapes.parse(registry.entities[start], include=asked(path))
    assert refused > 100
    assert taken > 50


@pytest.mark.parametrize(
    "path",
    [
        "Clerk chief chief chief",
        "Clerk staff staff",
        "Sale clerk buyer",
        "Buyer clerks sales",
        "Sale clerk chief buyer",
    ],
)
def test_ways_that_go_on_are_taken(path: str) -> None:
    registry = strict()
    start, *names = path.split()
    include: dict[str, Include] | None = None
    for name in reversed(names):
        include = {name: Include(include=include)}
    Shapes(registry).parse(registry.entities[start], include=include)


def test_a_reference_that_may_be_revisited_is() -> None:
    registry = Registry([Customer, Contact, Order])
    shapes = Shapes(registry)
    back = {"contacts": Include(include={"customer": True, "manager": Include(include=["reports"])})}
    shapes.parse(registry.entities["Customer"], include=back)
    with pytest.raises(ValidationError, match="declare customer_id with revisit=True"):
        shapes.parse(registry.entities["Order"], include={"customer": Include(include=["orders"])})
    shapes.parse(registry.entities["Order"], include={"customer": Include(include={"orders": "count"})})


def test_lists_that_cannot_be_too_large_are_not_measured() -> None:
    registry = Registry([Customer, Contact, Order])
    usual, narrow = Shapes(registry), Shapes(registry, most=10_000)
    (included,) = usual.parse(registry.entities["Customer"], include=["orders"]).included
    assert included.most is None
    (included,) = narrow.parse(registry.entities["Customer"], include=["orders"]).included
    assert included.most == 10_000
    customer = registry.entities["Customer"].fields
    assert heaviest(customer["tags"]) > 100_000_000  # a thousand texts of any usual length
    assert heaviest(customer["code"]) < 200


@pytest.mark.parametrize(
    "wrong", [{"bytes": 0}, {"bytes": 2**31}, {"rows": True}, {"batch": 1.5}, {"page": "1"}, {"rows": 10}]
)
def test_bounds_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        AnswerBounds(**wrong)
