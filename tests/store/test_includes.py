"""Includes, counts, pages and aggregations, against what plain Python makes of a small data set."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from freehold import Database, Include, Session, errors
from freehold import Order as Sort
from tests.conftest import new_context
from tests.probe import hidden
from tests.world import Contact, Customer, Level, Order


@dataclass(frozen=True)
class Data:
    """Everything in one organization; another has the like."""

    session: Session
    customers: list[Customer]
    contacts: list[Contact]
    orders: list[Order]


STATUSES = ("prospect", "active", "vip")


async def fill(session: Session, admin: asyncpg.Connection) -> Data:
    customers = [
        await session.create(
            Customer,
            name=f"name {n % 4}",
            email=f"{n}@x.test" if n % 3 else None,
            status=STATUSES[n % 3],
            level=Level.HIGH if n % 2 else Level.LOW,
            credit=Decimal(n * 7 % 5) + Decimal("0.25"),
            visits=n * 13 % 7,
            rating=None if n % 4 == 0 else n / 8,
            newsletter=(None, True, False)[n % 3],
            patience=timedelta(minutes=n) if n % 2 else None,
            seen_at=datetime(2024, 1, 1 + n % 3, tzinfo=UTC) if n % 4 else None,
        )
        for n in range(9)
    ]
    contacts: list[Contact] = []
    for n in range(20):
        contacts.append(
            await session.create(
                Contact,
                customer_id=customers[n % 6].id,
                name=f"contact {n % 5}",
                is_primary=n < 6,
                manager_id=contacts[n // 2].id if n > 4 else None,
            )
        )
    orders = [
        await session.create(
            Order,
            customer_id=customers[n % 5].id,
            contact_id=contacts[n].id if n % 2 else None,
            number=f"n{n:02}",
            total=Decimal(n * 11 % 6) + Decimal("0.10"),
        )
        for n in range(14)
    ]
    for number in (2, 7, 11):
        await hidden(admin, contacts[number])
        contacts[number] = await session.get(Contact, contacts[number].id, deleted=True)
    for number in (3, 8):
        await hidden(admin, customers[number])
        customers[number] = await session.get(Customer, customers[number].id, deleted=True)
    return Data(session, customers, contacts, orders)


@pytest.fixture
async def data(database: Database, admin: asyncpg.Connection) -> Data:
    await fill(database.session(await new_context(database)), admin)  # the others, who must not be counted
    return await fill(database.session(await new_context(database)), admin)


def alive(records: list[Any]) -> list[Any]:
    return [record for record in records if getattr(record, "deleted_at", None) is None]


def by_id(records: list[Any]) -> dict[Any, Any]:
    return {record.id: record for record in records}


def plain(record: Any, *relations: str) -> dict[str, Any]:
    """A record's own fields, without what it includes."""
    return {name: value for name, value in record.__dict__.items() if name not in relations}


async def test_references_and_reversed_ones_come_along(data: Data) -> None:
    page = await data.session.list(Customer, include=["contacts", "orders"], order_by="id")
    assert [plain(each, "contacts", "orders") for each in page] == [plain(each) for each in alive(data.customers)]
    for customer in page:
        assert list(customer.contacts) == [c for c in alive(data.contacts) if c.customer_id == customer.id]
        assert list(customer.orders) == [o for o in data.orders if o.customer_id == customer.id]
        assert isinstance(customer, Customer)


async def test_a_deleted_record_is_not_included(data: Data) -> None:
    living_customers, living_contacts = by_id(alive(data.customers)), by_id(alive(data.contacts))
    orders = await data.session.list(Order, include=["customer", "contact"], order_by="number")
    assert [plain(each, "customer", "contact") for each in orders] == [plain(each) for each in data.orders]
    for order in orders:
        assert order.customer == living_customers.get(order.customer_id)
        assert order.contact == living_contacts.get(order.contact_id)
    assert any(order.customer is None for order in orders)
    assert any(order.contact is None and order.contact_id is not None for order in orders)


async def test_deleted_children_stay_hidden_also_where_deleted_parents_are_asked_for(data: Data) -> None:
    page = await data.session.list(Customer, deleted=True, include=["contacts"], order_by="id")
    assert [each.id for each in page] == [each.id for each in data.customers]
    for customer in page:
        assert list(customer.contacts) == [c for c in alive(data.contacts) if c.customer_id == customer.id]


@pytest.mark.parametrize("limit", [1, 2, 50])
@pytest.mark.parametrize("descending", [False, True])
async def test_an_include_has_its_own_filter_order_and_limit(data: Data, limit: int, descending: bool) -> None:
    include = Include(where={"total": {"gt": 1}}, order_by=Sort("total", descending=descending), limit=limit)
    page = await data.session.list(Customer, include={"orders": include}, order_by="id")
    for customer in page:
        # Ties are broken by id, in the direction of the order.
        matching = [order for order in data.orders if order.customer_id == customer.id and order.total > 1]
        expected = sorted(matching, key=lambda order: (order.total, order.id), reverse=descending)[:limit]
        assert list(customer.orders) == expected


async def test_includes_nest(data: Data) -> None:
    living = alive(data.contacts)
    people, customers = by_id(living), by_id(alive(data.customers))
    include = {
        "contacts": Include(
            order_by="-name",
            include={
                "manager": Include(include={"customer": Include(select=["name"])}),
                "reports": Include(limit=2, order_by="-id", include={"orders": "count"}),
                "orders": Include(where={"total": {"lt": 4}}, include=["customer"]),
            },
        )
    }
    page = await data.session.list(Customer, include=include, order_by="id")
    assert len(page) == 7
    for customer in page:
        expected = [c for c in living if c.customer_id == customer.id]
        expected.sort(key=lambda c: (c.name, c.id), reverse=True)
        assert [c.id for c in customer.contacts] == [c.id for c in expected]
        for contact in customer.contacts:
            manager = people.get(contact.manager_id)
            assert (contact.manager is None) is (manager is None)
            if manager is not None:
                assert plain(contact.manager, "customer") == plain(manager)
                chief = customers.get(manager.customer_id)
                told = contact.manager.customer
                assert (told and told.model_dump()) == (chief and {"id": chief.id, "name": chief.name})
            reports = sorted((c for c in living if c.manager_id == contact.id), key=lambda c: c.id, reverse=True)[:2]
            assert [plain(r, "orders_count") for r in contact.reports] == [plain(r) for r in reports]
            for report in contact.reports:
                assert report.orders_count == len([o for o in data.orders if o.contact_id == report.id])
            orders = [o for o in data.orders if o.contact_id == contact.id and o.total < 4]
            assert [plain(o, "customer") for o in contact.orders] == [plain(o) for o in orders]
            assert [o.customer for o in contact.orders] == [customers.get(o.customer_id) for o in orders]


async def test_counts(data: Data) -> None:
    include: dict[str, Any] = {
        "orders": "count",
        "contacts": Include(count=True, where={"name": {"in": ["contact 0", "contact 1"]}}),
    }
    for customer in await data.session.list(Customer, include=include):
        assert customer.orders_count == len([o for o in data.orders if o.customer_id == customer.id])
        named = [
            c for c in alive(data.contacts) if c.customer_id == customer.id and c.name in ("contact 0", "contact 1")
        ]
        assert customer.contacts_count == len(named)
        with pytest.raises(AttributeError, match="include"):
            _ = customer.contacts


async def test_find_includes_too(data: Data) -> None:
    found = await data.session.find(
        Order, {"number": "n01"}, include={"customer": Include(include={"orders": "count"})}
    )
    assert found is not None
    assert found.customer.orders_count == len([o for o in data.orders if o.customer_id == found.customer_id])


async def test_json_says_what_the_entities_say(data: Data) -> None:
    include: dict[str, Any] = {"contacts": Include(include={"manager": True, "orders": "count"}), "orders": "count"}
    for options in ({}, {"include": include}, {"select": ["name", "credit", "level", "patience"]}, {"private": True}):
        records = await data.session.list(Customer, order_by="id", deleted=True, **options)
        raw = await data.session.list(Customer, order_by="id", deleted=True, as_json=True, **options)
        assert raw.records == ()
        assert raw.json is not None
        loaded = json.loads(raw.json)
        assert len(loaded) == len(records) == 9
        dumped = [json.loads(record.model_dump_json(exclude_unset=True)) for record in records]
        assert normal(loaded) == normal(dumped)
    one = await data.session.get(Customer, data.customers[0].id)
    assert normal(json.loads(await data.session.get(Customer, one.id, as_json=True))) == normal(
        json.loads(one.model_dump_json())
    )


def normal(value: Any) -> Any:
    """JSON with instants in one way of writing, and without what is null."""
    if isinstance(value, dict):
        return {name: normal(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, str) and value[:2] == "20" and "T" in value:
        return datetime.fromisoformat(value).timestamp()
    return value


async def test_a_read_is_one_statement_whatever_it_includes(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, sent = data.session._messenger.store.pool, []
    for name in ("fetch",):
        method = getattr(pool, name)

        async def counted(*args: Any, method: Callable[..., Any] = method, **options: Any) -> Any:
            sent.append(args)
            return await method(*args, **options)

        monkeypatch.setattr(pool, name, counted)
    include = {"contacts": Include(include={"manager": Include(include=["customer", "reports"]), "orders": "count"})}
    await data.session.list(Customer, include=include, with_total=True)
    assert len(sent) == 1


ORDERS: list[Any] = [
    "name",
    ["-name", "credit"],
    ["status", "-visits", "name"],
    ["rating"],
    ["-rating"],
    [Sort("rating", nulls="first"), "-credit"],
    [Sort("rating", descending=True, nulls="last")],
    ["-email", "visits"],
    [Sort("seen_at", nulls="first"), Sort("rating", descending=True, nulls="last"), "-id"],
    ["newsletter", "patience"],
    "-id",
    None,
]


def sort_key(order: Any) -> Callable[[Any], Any]:
    """The order as Python sorts by it."""
    items = [order] if isinstance(order, str | Sort) else list(order or [])
    items = [Sort(item.removeprefix("-"), item.startswith("-")) if isinstance(item, str) else item for item in items]
    if "id" not in [item.field for item in items]:
        items.append(Sort("id", items[-1].descending if items else False))

    class Key:
        def __init__(self, record: Any) -> None:
            self.record = record

        def __lt__(self, other: "Key") -> bool:
            for item in items:
                mine, theirs = getattr(self.record, item.field), getattr(other.record, item.field)
                if mine == theirs:
                    continue
                if mine is None or theirs is None:
                    nulls = item.nulls or ("first" if item.descending else "last")
                    return bool((mine is None) is (nulls == "first"))
                return bool(mine > theirs if item.descending else mine < theirs)
            return False

    return Key


@pytest.mark.parametrize("order", ORDERS, ids=str)
async def test_pages_in_both_directions_bring_every_record_once(data: Data, order: Any) -> None:
    expected = [each.id for each in sorted(alive(data.customers), key=sort_key(order))]
    for size, as_json, extra in itertools.product((1, 2, 3, 7, 8), (False, True), ({}, {"include": ["contacts"]})):
        forward: list[Any] = []
        cursor, pages = None, []
        while True:
            page = await data.session.list(Customer, order_by=order, limit=size, after=cursor, as_json=as_json, **extra)
            ids = [each["id"] for each in json.loads(page.json)] if as_json else [str(each.id) for each in page]
            forward += ids
            pages.append((ids, page.previous))
            cursor = page.next
            if cursor is None:
                break
        assert forward == [str(id) for id in expected]
        assert pages[0][1] is None
        for (before, _), (_, previous) in itertools.pairwise(pages):
            page = await data.session.list(
                Customer, order_by=order, limit=size, before=previous, as_json=as_json, **extra
            )
            ids = [each["id"] for each in json.loads(page.json)] if as_json else [str(each.id) for each in page]
            assert ids == before


def grouped(records: list[Any], *names: str) -> dict[tuple[Any, ...], list[Any]]:
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for record in records:
        groups.setdefault(tuple(getattr(record, name) for name in names), []).append(record)
    return groups


def values(records: list[Any], name: str) -> list[Any]:
    return [value for record in records if (value := getattr(record, name)) is not None]


@pytest.mark.parametrize(
    "group_by", [[], ["status"], ["newsletter"], ["level", "status"], ["name"], ["seen_at"], ["rating"]], ids=str
)
async def test_aggregates(data: Data, group_by: list[str]) -> None:
    where = {"visits": {"gt": 0}}
    expected = grouped([each for each in alive(data.customers) if each.visits > 0], *group_by)
    groups = await data.session.aggregate(
        Customer,
        group_by=group_by,
        sum=["credit", "visits", "rating", "patience"],
        avg=["credit", "visits", "rating"],
        min=["credit", "name", "seen_at", "rating"],
        max=["visits", "email", "patience", "rating"],
        where=where,
    )

    def key(group: Any) -> tuple[Any, ...]:
        return tuple(Level(v) if n == "level" else v for n, v in group.keys.items())

    assert {key(group) for group in groups} == set(expected)
    assert len(groups) == len(expected)
    for group in groups:
        records = expected[key(group)]
        assert group.count == len(records)
        assert group.sum["credit"] == sum(values(records, "credit"))
        assert group.sum["visits"] == sum(values(records, "visits"))
        assert isinstance(group.sum["visits"], int)
        assert group.avg["credit"] == pytest.approx(sum(values(records, "credit")) / len(records))
        assert isinstance(group.avg["credit"], Decimal)
        assert float(group.avg["visits"]) == pytest.approx(sum(values(records, "visits")) / len(records))
        ratings = values(records, "rating")
        assert group.sum["rating"] == (pytest.approx(sum(ratings)) if ratings else None)
        assert group.avg["rating"] == (pytest.approx(sum(ratings) / len(ratings)) if ratings else None)
        patience = values(records, "patience")
        assert group.sum["patience"] == (sum(patience, timedelta()) if patience else None)
        assert group.max["patience"] == max(patience, default=None)
        assert group.min["credit"] == min(values(records, "credit"))
        assert group.min["name"] == min(values(records, "name"))
        assert group.min["seen_at"] == min(values(records, "seen_at"), default=None)
        assert group.max["email"] == max(values(records, "email"), default=None)
        assert (group.min["rating"], group.max["rating"]) == (min(ratings, default=None), max(ratings, default=None))


async def test_an_aggregate_of_nothing(data: Data) -> None:
    nothing = {"name": "nobody"}
    (group,) = await data.session.aggregate(Customer, sum=["credit"], max=["name"], where=nothing)
    assert (dict(group.keys), group.count, group.sum, group.max) == ({}, 0, {"credit": None}, {"name": None})
    assert await data.session.aggregate(Customer, group_by=["status"], where=nothing) == ()


async def test_groups_come_in_order_and_within_their_limit(data: Data) -> None:
    groups = await data.session.aggregate(Order, group_by=["number"])
    assert [group.keys["number"] for group in groups] == sorted(order.number for order in data.orders)
    assert len(await data.session.aggregate(Order, group_by=["number"], limit=14)) == 14
    with pytest.raises(errors.ValidationError, match="more than 13 groups"):
        await data.session.aggregate(Order, group_by=["number"], limit=13)


async def test_aggregates_across_references(data: Data) -> None:
    living = {each.id for each in alive(data.customers) if each.status == "active"}
    (group,) = await data.session.aggregate(Order, sum=["total"], where={"customer.status": "active"})
    expected = [order for order in data.orders if order.customer_id in living]
    assert (group.count, group.sum["total"]) == (
        len(expected),
        sum(order.total for order in expected) if expected else None,
    )


FILTERS: dict[str, tuple[dict[str, Any], Callable[[Customer, Data], bool]]] = {
    "choice": ({"status": {"in": ["active", "vip"]}}, lambda c, d: c.status in ("active", "vip")),
    "enum": ({"level": Level.HIGH}, lambda c, d: c.level is Level.HIGH),
    "enum value": ({"level": "high"}, lambda c, d: c.level is Level.HIGH),
    "null": ({"email": None}, lambda c, d: c.email is None),
    "not equal includes null": ({"email": {"ne": "1@x.test"}}, lambda c, d: c.email != "1@x.test"),
    "not in includes null": ({"rating": {"not_in": [0.125]}}, lambda c, d: c.rating != 0.125),
    "greater leaves null out": ({"rating": {"gt": 0.3}}, lambda c, d: c.rating is not None and c.rating > 0.3),
    "not greater has null": (
        {"not": {"rating": {"gt": 0.3}}},
        lambda c, d: not (c.rating is not None and c.rating > 0.3),
    ),
    "between": ({"visits": {"between": [2, 4]}}, lambda c, d: 2 <= c.visits <= 4),
    "two at once": (
        {"visits": {"gte": 2, "lt": 5}, "status": "active"},
        lambda c, d: 2 <= c.visits < 5 and c.status == "active",
    ),
    "or": ({"or": [{"visits": 0}, {"newsletter": True}]}, lambda c, d: c.visits == 0 or c.newsletter is True),
    "some order": (
        {"orders.total": {"gt": 4}},
        lambda c, d: any(o.customer_id == c.id and o.total > 4 for o in d.orders),
    ),
    "no order": ({"not": {"orders.total": {"gt": 0}}}, lambda c, d: not any(o.customer_id == c.id for o in d.orders)),
    "some living contact": (
        {"contacts.name": "contact 1"},
        lambda c, d: any(p.customer_id == c.id and p.name == "contact 1" for p in alive(d.contacts)),
    ),
    "duration": (
        {"patience": {"gt": timedelta(minutes=3)}},
        lambda c, d: c.patience is not None and c.patience > timedelta(minutes=3),
    ),
}


async def test_filters(data: Data, subtests: pytest.Subtests) -> None:
    for name, (where, matches) in FILTERS.items():
        with subtests.test(name):
            expected = {each.id for each in alive(data.customers) if matches(each, data)}
            assert {each.id for each in await data.session.list(Customer, where=where)} == expected
            assert await data.session.count(Customer, where) == len(expected)
            assert await data.session.exists(Customer, where) is bool(expected)
            page = await data.session.list(Customer, where=where, limit=1, with_total=True)
            assert page.total == len(expected)
