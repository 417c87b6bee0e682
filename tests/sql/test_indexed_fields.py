"""Each kind of indexed field, each operator and each order use the field's index, as the application role, under row-level security.

PostgreSQL keeps a condition out of an index where its operator is not leakproof. That no operator is, whatever it is made of, is what the
plans say here; and Decimals answer the same by their generated column as by their own.
"""

import asyncio
import enum
import os
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context as Rounding
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold import Application, Context, Database, Entity, Index, Session, Unique, field
from freehold.model.filters import operators_of
from freehold.model.index_keys import IndexKey
from tests.conftest import Server, new_context
from tests.probe import enter, plain
from tests.sql.messages import Sent
from tests.sql.test_plans import Planner, nodes, of_itself, planner, roundabout  # noqa: F401  # a fixture

ROWS = 100_000


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Weight(enum.IntEnum):
    LIGHT = 1
    HEAVY = 2


class Customer(
    Entity,  # named like the table that the planner's helpers know
    soft_delete=True,
    indexes=[Index("status", "score"), Index("size")],
    unique=[Unique("batch", "part")],
):
    text: str = field(max_length=20, index=True)
    small: str = field(max_length=20, index=True, lowercase=True)
    whole: int = field(index=True)
    ratio: float = field(index=True)
    price: Decimal = field(digits=12, places=2, index=True)
    widest: Decimal = field(digits=18, places=6, index=True)
    huge: Decimal | None = field(digits=40, places=9, index=True)
    code: Decimal = field(digits=9, places=0, unique=True)
    flag: bool = field(index=True)
    day: date = field(index=True)
    moment: datetime | None = field(index=True)
    clock: time = field(index=True)
    span: timedelta = field(index=True)
    token: UUID = field(index=True)
    raw: bytes = field(max_length=20, index=True)
    color: Color = field(index=True)
    weight: Weight = field(index=True)
    kind: Literal["a", "b"] = field(index=True)
    level: Literal[1, 2] = field(index=True)
    status: str = field(max_length=10)
    score: Decimal = field(digits=8, places=3)
    size: Decimal = field(digits=20, places=0)
    batch: Decimal = field(digits=8, places=0)
    part: Decimal = field(digits=8, places=1)


application = Application("indexed", [Customer])

# Values of many kinds repeat; the rare one of each is looked for.
FILL = f"""
    insert into app.customers (text, small, whole, ratio, price, widest, huge, code, flag, day, moment, clock, span, token, raw,
        color, weight, kind, level, status, score, size, batch, part)
    select 't' || i, 's' || i, i, i, i / 4.0, i / 1000000.0, case when i % 10 > 0 then (i - 50000) * 12345678901234567890.0 end, i,
        i = 55, date '1900-01-01' + i % 60000, timestamptz '2026-01-01 00:00:00+00' + i * interval '1 minute',
        time '00:00' + i % 80000 * interval '1 second', i * interval '1 second',
        ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid,
        decode(lpad(to_hex(i), 8, '0'), 'hex'), case when i = 55 then 'red' else 'blue' end, case when i = 55 then 1 else 2 end,
        case when i = 55 then 'a' else 'b' end, case when i = 55 then 1 else 2 end, 's' || i % 10, i / 10.0, i, i / 100, i % 100 / 10.0
    from generate_series(1, {ROWS}) as i"""

# Of each field two values between which few rows lie, and the other fields that its index needs.
VALUES: dict[str, tuple[Any, Any]] = {
    "text": ("t5555", "t55551"),
    "small": ("s5555", "s55551"),
    "whole": (55, 60),
    "ratio": (55.0, 60.0),
    "price": (Decimal("13.75"), Decimal("15.001")),
    "widest": (Decimal("0.000055"), Decimal("0.00006")),
    "huge": (Decimal(-49_941) * Decimal("12345678901234567890"), Decimal(-49_931) * Decimal("12345678901234567890.5")),
    "code": (Decimal(55), Decimal("60.5")),
    "flag": (True, True),
    "day": (date(1900, 1, 10), date(1900, 1, 12)),
    "moment": (datetime(2026, 1, 1, 0, 55, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC)),
    "clock": (time(0, 0, 55), time(0, 1)),
    "span": (timedelta(seconds=55), timedelta(seconds=60)),
    "token": (UUID("00000000-0000-7000-8000-000000000037"), UUID("00000000-0000-7000-8000-00000000003f")),
    "raw": (bytes([0, 0, 0, 55]), bytes([0, 0, 0, 60])),
    "color": (Color.RED, Color.RED),
    "weight": (Weight.LIGHT, Weight.LIGHT),
    "kind": ("a", "a"),
    "level": (1, 1),
    "score": (Decimal("55.5"), Decimal("65.0001")),
    "size": (Decimal("55"), Decimal("65.5")),
    "part": (Decimal("0.5"), Decimal("0.61")),
}
BESIDE: dict[str, dict[str, Any]] = {"score": {"status": "s5"}, "part": {"batch": 7}}


@pytest.fixture(scope="module")
def plans_name(server: Server) -> str:
    """A database with one organization of many rows."""
    name = f"indexed_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"

    async def make() -> None:
        await server.create_database(name, application)
        async with (
            Database.open(server.address(name), application, size=1) as database,
            plain(server.address(name)) as connection,
            plain(server.admin_address(name)) as admin,
        ):
            context = await new_context(database)
            async with connection.transaction():
                await enter(connection, context)
                await connection.execute(FILL)
            await admin.execute("vacuum (analyze)")

    asyncio.run(make())
    return name


@pytest.fixture
async def large(server: Server, plans_name: str) -> AsyncIterator[Session]:
    async with (
        Database.open(server.address(plans_name, application), application, size=2) as database,
        plain(server.admin_address(plans_name)) as admin,
    ):
        id = await admin.fetchval("select organization_id from app.customers limit 1")
        async with database.session(Context(id)) as session:
            yield session


def conditions(name: str) -> dict[str, Any]:
    """A condition by each operator that an index can answer."""
    low, high = VALUES[name]
    operands = {"eq": low, "in": [low, high], "gt": high, "gte": high, "lt": low, "lte": low, "between": [low, high]}
    operands["starts_with"] = low
    allowed = operators_of(Customer.__entity__.fields[name].kind)
    found = {operator: {operator: operand} for operator, operand in operands.items() if operator in allowed}
    if "between" in found:  # one side alone has most of the rows
        found |= {"gt": {"gt": low, "lt": high}, "gte": {"gte": low, "lt": high}}
        found |= {"lt": {"gte": low, "lt": high}, "lte": {"gte": low, "lte": high}}
    return found


def searched(plans: list[dict[str, Any]], column: str) -> bool:
    """Whether an index is searched by a column."""
    every = [node for plan in plans for node in nodes(plan["Plan"])]
    return any(column in node.get("Index Cond", "").replace('"', "") for node in every)


def test_all_indexed_fields_are_tried() -> None:
    entity = Customer.__entity__
    indexed = {f.name for f in entity.own if f.declaration.index or f.declaration.unique}
    assert indexed | {"score", "size", "part"} == set(VALUES)
    kinds = {(f.kind.name, bool(f.kind.choices)) for f in entity.own}
    assert {name for name, _ in kinds} == {
        "text", "integer", "float", "decimal", "boolean", "date", "datetime", "time", "duration", "uuid", "bytes",
    }  # fmt: skip


async def test_each_operator_uses_the_index(large: Session, sent: list[Sent], planner: Planner) -> None:  # noqa: F811
    async with planner.undone() as run:
        generic = "generic" in (await run("show plan_cache_mode"))[0][0]
    without = []
    for name in VALUES:
        # Two values, half of the rows each: while the value is unknown, PostgreSQL rightly reads all rows.
        if generic and (Customer.__entity__.fields[name].kind.choices or name == "flag"):
            continue
        column = Customer.__entity__.fields[name].index_column
        for operator, condition in conditions(name).items():
            if generic and name in BESIDE and operator == "in":
                continue  # the other field alone leaves few enough rows
            sent.clear()
            found = await large.count(Customer, {name: condition, **BESIDE.get(name, {})})
            assert 0 < found < 200, (name, operator, found)
            (message,) = sent
            if not searched(await of_itself(planner, message), column):
                without.append((name, operator))
    assert without == []


async def test_each_order_uses_the_index(large: Session, sent: list[Sent], planner: Planner) -> None:  # noqa: F811
    # A unique index ends without the id, which every order ends in.
    for name in [own.name for own in Customer.__entity__.own if own.declaration.index]:
        for order in (name, f"-{name}"):
            cursor = (await large.list(Customer, order_by=order, limit=1_000)).next
            sent.clear()
            second = await large.list(Customer, order_by=order, limit=20, after=cursor)
            await large.list(Customer, order_by=order, limit=20, before=second.previous)
            for message in sent:
                assert await roundabout(planner, message, later=True) == [], (order, message.text)


EXACT = Rounding(prec=100)
DECIMALS = st.decimals(min_value=-(10**7), max_value=10**7, allow_nan=False, places=5) | st.decimals(
    allow_nan=False, allow_infinity=False
)


@given(
    digits=st.integers(1, 30),
    places=st.integers(0, 6),
    stored=st.lists(st.integers(-(10**8), 10**8), min_size=1),
    value=DECIMALS,
)
@settings(max_examples=300)
def test_keys_compare_like_the_numbers(digits: int, places: int, stored: list[int], value: Decimal) -> None:
    digits = max(digits, places)
    key = IndexKey("n", digits, places)
    for whole in stored:
        whole %= 10**digits
        number = Decimal(whole).scaleb(-places, EXACT)
        itself = key.equal(number)
        assert (itself <= key.at_most(value)) == (number <= value)
        assert (itself >= key.at_least(value)) == (number >= value)
        assert (itself == key.equal(value)) == (number == value)


async def test_the_database_makes_the_same_keys(large: Session) -> None:
    for name in ("price", "widest", "huge", "code"):
        key = Customer.__entity__.fields[name].index_key
        assert key is not None
        rows = await large.sql(
            None, f'select "{name}"::text as n, "{key.column}" as k from customers where "{name}" is not null limit 500'
        )
        assert len(rows) == 500
        assert [row["k"] for row in rows] == [key.equal(Decimal(row["n"])) for row in rows]
