"""Lists walked page by page: the same records in the same order, however they are asked for, now and in the past."""

import json
import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from freehold import Include, Order, Session
from freehold.store.past import PastSession
from tests.store.test_past import clock
from tests.world import Contact, Customer, Level

Connection = asyncpg.Connection

FIELDS = ["name", "email", "status", "level", "credit", "visits", "rating", "born", "seen_at", "opens", "patience"]
LONG = timedelta(days=98_999, microseconds=1)
MODES: list[dict[str, Any]] = [
    {},
    {"with_total": True},
    {"select": ["code"]},
    {"select": ["name", "patience"], "with_total": True},
    {"include": {"contacts": "count"}},
    {"include": {"contacts": Include(order_by="-name", limit=1)}, "private": True},
    {"as_json": True},
    {"as_json": True, "with_total": True, "select": ["id"]},
]


async def fill(session: Session, chance: random.Random) -> None:
    """Customers with few different values and many nulls, at the edges of their types."""

    def one(*values: Any) -> Any:
        return chance.choice(values)

    for number in range(14):
        customer = await session.create(
            Customer,
            name=one("a", "A", "ä", "\U0001f600", 'q"\\\n'),
            email=one(None, f"{chance.random()}@x.test"),
            status=one("prospect", "active"),
            level=one(*Level),
            credit=one(Decimal("0.00"), Decimal("0.10"), Decimal("9999999999.99")),
            visits=one(0, -(2**63), 2**63 - 1, 2**53 + 1),
            rating=one(None, 0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308),
            born=one(None, date.min, date.max, date(2024, 2, 29)),
            seen_at=one(None, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
            opens=one(None, time.min, time.max),
            patience=one(None, timedelta(0), timedelta(microseconds=-1), LONG, -LONG),
            tax_number=one(None, "t"),
        )  # fmt: skip
        for contact in range(number % 3):
            await session.create(Contact, customer_id=customer.id, name=f"k{contact}")


def ids(page: Any) -> list[str]:
    rows = json.loads(page.json) if page.json is not None else [{"id": str(record.id)} for record in page]
    return [row["id"] for row in rows]


async def walk(session: Session | PastSession, wanted: list[str], asked: dict[str, Any], limit: int) -> None:
    """All pages from the first to the last, and back."""
    seen: list[str] = []
    page = await session.list(Customer, limit=limit, **asked)
    while True:
        if asked.get("with_total"):
            assert page.total == len(wanted)
        assert page.next is None or len(ids(page)) == limit
        seen += ids(page)
        assert seen == wanted[: len(seen)]
        if page.next is None:
            break
        page = await session.list(Customer, limit=limit, after=page.next, **asked)
    assert seen == wanted
    back = ids(page)
    while page.previous is not None:
        page = await session.list(Customer, limit=limit, before=page.previous, **asked)
        if not ids(page):
            break
        back = ids(page) + back
    assert back == wanted


def order(chance: random.Random) -> list[Order]:
    names = chance.sample(FIELDS, chance.choice([1, 1, 2, 3]))
    return [Order(name, chance.random() < 0.5, chance.choice([None, "first", "last"])) for name in names]


@pytest.mark.parametrize("seed", range(2))
async def test_every_way_to_ask_walks_the_same_pages(raw: Connection, acme: Session, seed: int) -> None:
    chance = random.Random(seed)
    await fill(acme, chance)
    moment = await clock(raw)
    asked = []
    for _ in range(6):
        question = {"order_by": order(chance), "where": chance.choice([None, {"status": "active"}])}
        wanted = ids(await acme.list(Customer, limit=1000, **question))
        asked.append((wanted, question))
        for mode in MODES:
            await walk(acme, wanted, question | mode, chance.choice([1, 3, 5, len(wanted) or 1]))
    for customer in (await acme.list(Customer, limit=1000)).records:
        await (
            acme.update(customer, name="z", patience=None, credit=1) if chance.random() < 0.5 else acme.purge(customer)
        )
    await fill(acme, chance)
    async with acme.as_of(moment) as past:
        for wanted, question in asked:
            await walk(past, wanted, question | chance.choice(MODES), chance.choice([2, 5]))


async def test_values_are_the_same_in_rows_in_json_and_in_the_past(raw: Connection, acme: Session) -> None:
    await fill(acme, random.Random(7))
    rows = (await acme.list(Customer, limit=1000)).records
    assert (await acme.list(Customer, limit=1000, with_total=True)).records == rows
    moment = await clock(raw)
    for customer in rows:
        await acme.update(
            customer,
            name="z",
            email=None,
            credit=1,
            visits=1,
            rating=1,
            born=None,
            seen_at=None,
            opens=None,
            patience=None,
        )
    async with acme.as_of(moment) as past:
        assert (await past.list(Customer, limit=1000)).records == rows
        assert (await past.list(Customer, limit=1000, with_total=True)).records == rows
    for customer in rows:
        back = await acme.revert((Customer, customer.id, 2), 1)
        same = {name: getattr(customer, name) for name in FIELDS}
        assert {name: getattr(back, name) for name in FIELDS} == same
        *_, made = await acme.history(customer)
        told = {name: value for name, (_, value) in made.diff.items() if name in FIELDS}
        assert told == {name: value for name, value in same.items() if value is not None}


async def test_a_page_after_the_last_has_a_total_and_no_records(acme: Session) -> None:
    for name in "abc":
        await acme.create(Customer, name=name)
    page = await acme.list(Customer, order_by="name", limit=2, with_total=True)
    (last,) = await acme.list(Customer, order_by="name", limit=2, after=page.next)
    await acme.purge(last)
    for mode in MODES:
        empty = await acme.list(Customer, order_by="name", limit=2, after=page.next, **mode)
        assert ids(empty) == []
        assert empty.total == (2 if mode.get("with_total") else None)
        assert (empty.next, empty.previous) == (None, None)
        assert empty.json == (b"[]" if mode.get("as_json") else None)
    none = await acme.list(Customer, where={"name": "nobody"}, with_total=True, as_json=True)
    assert (none.total, none.json) == (0, b"[]")
