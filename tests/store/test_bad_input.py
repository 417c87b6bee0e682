"""Bad input to every call of a session: its error, naming what to change, before anything is done."""

import contextlib
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import column, delete, select, table

from freehold import Context, Database, Entity, Include, Order, Session, errors, field
from freehold.model.context import new_id
from tests.conftest import new_context
from tests.probe import shown
from tests.world import Contact, Customer


class Stranger(Entity):
    """An entity of no application."""

    name: str = field(max_length=10)


class Row(BaseModel):
    name: str
    visits: int


LAST = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))
FIRST = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))


def nested(depth: int, inner: dict[str, Any]) -> dict[str, Any]:
    for _ in range(depth):
        inner = {"not": inner}
    return inner


def included(depth: int) -> dict[str, Any]:
    """Contacts of the customer of contacts of ... so deep."""
    name = "contacts" if depth % 2 else "customer"
    return {name: Include(include=included(depth - 1))} if depth else {}


Call = Callable[[Session], Awaitable[Any]]
LIST: Callable[..., Call] = lambda **options: lambda s: s.list(Customer, **options)  # noqa: E731  # a table of calls reads better
SQL: Callable[..., Call] = lambda text, **values: lambda s: s.sql(None, text, **values)  # noqa: E731

# What each call must be told: a word of the error's text.
INVALID: dict[str, tuple[Call, str]] = {
    **{
        f"limit {limit!r}": (LIST(limit=limit), "limit")
        for limit in (0, -1, 10**9, 1001, True, "5", None, 5.0, [5], math.inf)
    },
    **{
        f"id {id!r:.9}": (lambda s, id=id: s.get(Customer, id), "id")  # type: ignore[misc]
        for id in (
            None,
            "",
            "x",
            5,
            5.5,
            True,
            b"x" * 16,
            [],
            {},
            object(),
            "x" * 10_000_000,
            "'; select 1; --",
            Customer,
        )
    },
    "get_many with a wrong id": (lambda s: s.get_many(Customer, [new_id(), "x"]), "id"),
    "get_many with a string": (lambda s: s.get_many(Customer, str(new_id())), "id"),
    "get_many with None": (lambda s: s.get_many(Customer, None), "ids"),  # type: ignore[arg-type]
    "get_many with a number": (lambda s: s.get_many(Customer, 5), "ids"),  # type: ignore[arg-type]
    "get_many with too many": (lambda s: s.get_many(Customer, [new_id()] * 1001), "1000"),
    "unknown field": (LIST(where={"nme": "x"}), "did you mean 'name'"),
    "unknown relation": (LIST(where={"contact.name": "x"}), "contact"),
    "unknown key": (LIST(where={"profile.theme.colour": "red"}), "color"),
    "unknown operator": (LIST(where={"name": {"like": "x"}}), "like"),
    "wrong operator": (LIST(where={"newsletter": {"gt": True}}), "newsletter"),
    "no operator": (LIST(where={"name": {}}), "name"),
    "wrong type": (LIST(where={"visits": "many"}), "visits"),
    "NaN": (LIST(where={"rating": math.nan}), "rating"),
    "infinity": (LIST(where={"rating": {"lt": math.inf}}), "rating"),
    "NaN as a Decimal": (LIST(where={"credit": Decimal("nan")}), "credit"),
    "NUL": (LIST(where={"name": "a\x00"}), "NUL"),
    "NUL in a prefix": (LIST(where={"name": {"starts_with": "\x00"}}), "NUL"),
    "NUL in a choice": (LIST(where={"name": {"in": ["a", "\x00"]}}), "NUL"),
    "surrogate": (LIST(where={"name": "\ud800"}), "name"),
    "10 MB": (LIST(where={"name": "x" * 10_000_000}), "name"),
    "10 MB of bytes": (LIST(where={"photo": b"x" * 10_000_000}), "photo"),
    "large integer": (LIST(where={"visits": 2**63}), "64 bits"),
    "huge integer": (LIST(where={"visits": {"gt": 10**400}}), "visits"),
    "huge decimal": (LIST(where={"credit": {"lt": Decimal("1e200000")}}), "credit"),
    "naive datetime": (LIST(where={"seen_at": {"gt": datetime(2024, 1, 1)}}), "seen_at"),  # noqa: DTZ001
    "year 10000 in UTC": (LIST(where={"seen_at": {"lt": LAST}}), "seen_at"),
    "year 0 in UTC": (LIST(where={"seen_at": {"gt": FIRST}}), "seen_at"),
    "longest duration": (LIST(where={"patience": {"lt": timedelta.max}}), "patience"),
    "deep nesting": (LIST(where=nested(13, {"name": "x"})), "deeper"),
    "very deep nesting": (LIST(where=nested(900, {"name": "x"})), "deeper"),
    "many conditions": (LIST(where={"or": [{"name": str(n)} for n in range(201)]}), "200"),
    "many choices": (LIST(where={"name": {"in": ["x"] * 1001}}), "1000"),
    "many hops": (LIST(where={"contacts.manager.manager.manager.manager.name": "x"}), "4"),
    "where is a list": (LIST(where=["name"]), "mapping"),
    "where is a string": (LIST(where="name = 'x'"), "mapping"),
    "where is a number": (LIST(where=5), "mapping"),
    "key is no string": (LIST(where={5: "x"}), "5"),
    "or is a mapping": (LIST(where={"or": {"name": "x"}}), "list of filters"),
    "between of one": (LIST(where={"visits": {"between": [1]}}), "two"),
    "in is a string": (LIST(where={"name": {"in": "abc"}}), "list"),
    "null in a choice": (LIST(where={"name": {"in": [None]}}), "name"),
    "count where": (lambda s: s.count(Customer, {"nme": 1}), "nme"),
    "exists where": (lambda s: s.exists(Customer, {"nme": 1}), "nme"),
    "find where": (lambda s: s.find(Customer, {"nme": 1}), "nme"),
    "unknown order": (LIST(order_by="nme"), "did you mean 'name'"),
    "order of a list": (LIST(order_by="tags"), "tags"),
    "order of a document": (LIST(order_by=["profile"]), "profile"),
    "private order": (LIST(order_by="tax_number"), "private"),
    "repeated order": (LIST(order_by=["name", "-name"]), "twice"),
    "order across": (LIST(order_by="contacts.name"), "contacts.name"),
    "order of a number": (LIST(order_by=[5]), "int"),
    "order is a mapping": (LIST(order_by={"name": "asc"}), "list"),
    "order is a number": (LIST(order_by=5), "list"),
    "orders": (LIST(order_by=["name"] * 9), "8"),
    "order with a dash too many": (LIST(order_by="--name"), "name"),
    "order as SQL": (LIST(order_by="name desc; drop table app.customers"), "no field"),
    "nulls": (LIST(order_by=Order("name", nulls="middle")), "nulls"),  # type: ignore[arg-type]
    "unknown include": (LIST(include=["contact"]), "did you mean 'contacts'"),
    "include of a field": (LIST(include=["name"]), "name"),
    "include is a string": (LIST(include="contacts"), "mapping"),
    "include is a number": (LIST(include=5), "mapping"),
    "include of False": (LIST(include={"contacts": False}), "contacts"),
    "include of a word": (LIST(include={"contacts": "all"}), "contacts"),
    "include of a mapping": (LIST(include={"contacts": {"limit": 5}}), "contacts"),
    "include with a wrong limit": (LIST(include={"contacts": Include(limit=0)}), "contacts"),
    "include with a wrong order": (LIST(include={"contacts": Include(order_by="nme")}), "contacts"),
    "include with a wrong filter": (LIST(include={"contacts": Include(where={"nme": 1})}), "contacts"),
    "include with a wrong select": (LIST(include={"contacts": Include(select=["nme"])}), "contacts"),
    "count of one": (lambda s: s.list(Contact, include={"customer": "count"}), "customer"),
    "deep include": (LIST(include=included(7)), "deeper"),
    "unknown select": (LIST(select=["nme"]), "did you mean 'name'"),
    "empty select": (LIST(select=[]), "select"),
    "select is a string": (LIST(select="name"), "list"),
    "select of a number": (LIST(select=[5]), "5"),
    "select is a number": (LIST(select=5), "list"),
    "after and before": (LIST(after="x", before="y"), "after"),
    "unknown group": (lambda s: s.aggregate(Customer, group_by=["nme"]), "did you mean 'name'"),
    "group by a list": (lambda s: s.aggregate(Customer, group_by=["tags"]), "tags"),
    "group by a document": (lambda s: s.aggregate(Customer, group_by=["profile"]), "profile"),
    "group by private": (lambda s: s.aggregate(Customer, group_by=["tax_number"]), "private"),
    "sum of text": (lambda s: s.aggregate(Customer, sum=["name"]), "name"),
    "sum of dates": (lambda s: s.aggregate(Customer, sum=["born"]), "born"),
    "average of booleans": (lambda s: s.aggregate(Customer, avg=["newsletter"]), "newsletter"),
    "least document": (lambda s: s.aggregate(Customer, min=["profile"]), "profile"),
    "greatest private": (lambda s: s.aggregate(Customer, max=["tax_number"]), "private"),
    "sum is a string": (lambda s: s.aggregate(Customer, sum="credit"), "list"),
    "sum is a number": (lambda s: s.aggregate(Customer, sum=5), "sum"),  # type: ignore[arg-type]
    "group is None": (lambda s: s.aggregate(Customer, group_by=None), "group_by"),  # type: ignore[arg-type]
    "aggregate limit": (lambda s: s.aggregate(Customer, group_by=["name"], limit=0), "limit"),
    "aggregate where": (lambda s: s.aggregate(Customer, where={"nme": 1}), "nme"),
    "create without a field": (lambda s: s.create(Customer), "name"),
    "create with an unknown one": (lambda s: s.create(Customer, name="x", nme="y"), "nme"),
    "create with another's input": (
        lambda s: s.create(Customer, Contact.Create(customer_id=new_id(), name="x")),
        "CustomerCreate",
    ),
    "create with a dict": (lambda s: s.create(Customer, {"name": "x"}), "dict"),  # type: ignore[arg-type]
    "update of an id": (lambda s: s.update(new_id(), name="x"), "record"),  # type: ignore[arg-type]
    "update of a pair": (lambda s: s.update((Customer, new_id()), name="x"), "version"),  # type: ignore[arg-type]
    "update of nothing": (lambda s: s.update(None, name="x"), "record"),  # type: ignore[type-var]
    "update by a wrong id": (lambda s: s.update((Customer, "x", 1), name="x"), "id"),  # type: ignore[arg-type]
    "delete of a class": (lambda s: s.delete(Customer), "record"),  # type: ignore[arg-type]
    "sql of nothing": (SQL(""), "select"),
    "sql of spaces": (SQL(" \n "), "select"),
    "sql of a comment": (SQL("-- nothing"), "select"),
    "sql of a number": (SQL(5), "select"),
    "sql of bytes": (SQL(b"select 1"), "select"),
    "sql with NUL": (SQL("select '\x00'"), "NUL"),
    "sql of 10 MB": (SQL("select '" + "x" * 10_000_000 + "'"), "200000"),
    "several statements": (SQL("select 1; select 2"), "one select"),
    "unclosed": (SQL("select 'x"), "sql"),
    "unclosed comment": (SQL("select 1 /*"), "sql"),
    "brackets": (SQL("select 1)"), "syntax"),
    "unknown column": (SQL("select nme from customers"), "nme"),
    "unknown table": (SQL("select * from custommers"), "custommers"),
    "missing parameter": (SQL("select :name as name"), "name"),
    "unused parameter": (SQL("select 1 as n", name="x"), "name"),
    "object as a parameter": (SQL("select :name as name", name=object()), "name"),
    "mixed list": (SQL("select :names as names", names=[1, "x"]), "names"),
    "naive parameter": (SQL("select :at as at", at=datetime(2024, 1, 1)), "at"),  # noqa: DTZ001
    "NUL in a parameter": (SQL("select :name as name", name="a\x00b"), "NUL"),
    "huge integer parameter": (SQL("select :n as n", n=2**63), ""),
    "division": (SQL("select 1 / 0 as n"), "zero"),
    "numbered parameter": (SQL("select $2 as n"), "$2"),
    "sql limit": (lambda s: s.sql(None, "select 1 as n", limit=0), "limit"),
    "sql limit too large": (lambda s: s.sql(None, "select 1 as n", limit=10_001), "limit"),
    "sql limit of a boolean": (lambda s: s.sql(None, "select 1 as n", limit=True), "limit"),
    "too many rows": (lambda s: s.sql(None, "select generate_series(1, 6) as n", limit=5), "more than 5 rows"),
    "model that is none": (lambda s: s.sql(dict, "select 1 as n"), "model"),  # type: ignore[type-var]
    "model that is an instance": (lambda s: s.sql(Row(name="x", visits=1), "select 1 as n"), "model"),  # type: ignore[call-overload]
    "row that does not fit": (lambda s: s.sql(Row, "select 'x' as name, 'y' as visits"), "visits"),
    "row that lacks a field": (lambda s: s.sql(Row, "select 'x' as name"), "visits"),
    "SQLAlchemy delete": (lambda s: s.sql(None, delete(table("customers", column("id")))), "select"),
    "explain of what is none": (lambda s: s.explain("selec 1"), "syntax"),
    "explain and run": (lambda s: s.explain("select 1) as q; select 1; --"), "sql"),
    "history limit": (lambda s: s.history((Customer, new_id()), limit=0), "limit"),
}


async def test_bad_input_is_a_validation_error_that_names_it(
    acme: Session, rival: Session, subtests: pytest.Subtests
) -> None:
    foreign = await rival.create(Customer, name="zebra", email="zebra@x.test", tax_number="zebra")
    for what, (call, word) in INVALID.items():
        with subtests.test(what):
            with pytest.raises(errors.ValidationError) as caught:
                await call(acme)
            error = caught.value
            assert word in str(error)
            assert error.issues
            assert all(issue.code and issue.message for issue in error.issues)
            assert error.as_dict()["issues"]
            assert len(str(error)) < 4000
            assert "zebra" not in shown(error)
            assert str(foreign.id) not in shown(error)
    made = await acme.create(Customer, name="x")  # the session serves on, and nothing was done
    assert (await acme.list(Customer, deleted=True)).records == (made,)


async def test_all_issues_come_at_once(acme: Session) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await acme.create(
            Customer, name="", credit=-1, visits="x", nme=1, profile={"theme": {"size": "x"}}, tags=["a", 5]
        )
    assert {issue.path for issue in caught.value.issues} == {
        ("name",),
        ("credit",),
        ("visits",),
        ("nme",),
        ("profile", "theme", "size"),
        ("tags", 1),
    }
    with pytest.raises(errors.ValidationError) as caught:
        await acme.list(Customer, where={"nme": 1, "or": [{"visits": "x"}, {"name": {"lik": "x"}}]})
    assert [issue.path for issue in caught.value.issues] == [
        ("nme",),
        ("or", 0, "visits", "eq"),
        ("or", 1, "name", "lik"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "insert into customers (name) values ('x') returning *",
        "with gone as (delete from customers returning *) select * from gone",
        "select nextval('freehold.log_position')",
        "select * from customers for update",
        "select freehold.customers_create(freehold.organization_id(), '{}', '{}')",
    ],
)
async def test_a_query_that_writes_is_refused(acme: Session, text: str) -> None:
    with pytest.raises((errors.ForbiddenError, errors.ValidationError)):
        await acme.sql(None, text)
    assert await acme.count(Customer, deleted=True) == 0


async def test_a_query_that_makes_a_large_object_leaves_none(acme: Session, admin: asyncpg.Connection) -> None:
    """PostgreSQL refuses it from 16 on; before, it counts as reading, and is undone with all that a query does."""
    before = await admin.fetchval("select count(*) from pg_largeobject_metadata")
    with contextlib.suppress(errors.ForbiddenError):
        await acme.sql(None, "select lo_create(0)")
    assert await admin.fetchval("select count(*) from pg_largeobject_metadata") == before


@pytest.mark.parametrize("cls", [Stranger, Customer.Create, Entity, BaseModel, int, "Customer", None, 5])
async def test_a_class_that_is_not_registered_is_refused(acme: Session, cls: Any) -> None:
    calls: list[Awaitable[Any]] = [
        acme.get(cls, new_id()),
        acme.get(cls, new_id(), as_json=True),
        acme.get_many(cls, [new_id()]),
        acme.find(cls, {}),
        acme.list(cls),
        acme.count(cls),
        acme.exists(cls),
        acme.aggregate(cls),
        acme.create(cls, name="x"),
    ]
    if isinstance(cls, type):
        calls += [
            acme.update((cls, new_id(), 1), name="x"),
            acme.delete((cls, new_id(), 1)),
            acme.history((cls, new_id())),
        ]  # type: ignore[type-var]
    for call in calls:
        with pytest.raises(errors.ConfigurationError, match=getattr(cls, "__name__", str(cls))):
            await call


async def test_a_record_of_a_class_that_is_not_registered_is_refused(acme: Session) -> None:
    now = datetime.now(UTC)
    record = Stranger(
        id=new_id(), organization_id=acme.context.organization_id, version=1, created_at=now, updated_at=now, name="x"
    )
    for call in (acme.update(record, name="y"), acme.delete(record), acme.history(record)):
        with pytest.raises(errors.ConfigurationError, match="Stranger"):
            await call


# Sessions and contexts.


@pytest.mark.parametrize("context", [None, "acme", {}, {"organization_id": "x"}, 5, UUID(int=1), Context])
def test_a_session_needs_a_context(database: Database, context: Any) -> None:
    with pytest.raises(errors.IsolationError) as caught:
        database.session(context)
    assert caught.value.hint


@pytest.mark.parametrize("timeout", [0, -1, 3601, math.inf, math.nan, "5", [5], True])
async def test_a_session_s_timeout_is_checked(database: Database, timeout: Any) -> None:
    context = await new_context(database)
    with pytest.raises(errors.ValidationError, match="timeout"):
        database.session(context, timeout=timeout)


@pytest.mark.parametrize(
    "values",
    [
        {"organization_id": "x"},
        {"organization_id": 5},
        {"organization_id": str(UUID(int=1))},
        {"user_id": "x"},
        {"role": None},
        {"role": "x" * 101},
        {"request_id": "a\x00"},
        {"request_id": 5},
        {"client_ip": "x" * 46},
        {"role": "\ud800"},
        {"request_id": "\udfff"},
        {"user_agent": 5},
        {"permissions": "admin"},
        {"permissions": None},
    ],
    ids=str,
)
def test_a_context_is_checked(values: dict[str, Any]) -> None:
    with pytest.raises(errors.ValidationError, match=next(iter(values))):
        Context(**{"organization_id": UUID(int=1), **values})


def test_a_context_needs_an_organization() -> None:
    with pytest.raises(errors.IsolationError):
        Context(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("agent", ["\ud800", "\x00\x00", '"}\\', "x" * 10_000, "\U0001f600" * 600])
async def test_a_user_agent_that_strangers_choose_does_no_harm(database: Database, agent: str) -> None:
    context = await new_context(database, user_agent=agent)
    async with database.session(context) as session:
        made = await session.create(Customer, name="x")
        (change,) = await session.history(made)
        assert change.actor_id == context.user_id
        assert change.user_agent is None or len(change.user_agent) <= 512


async def test_a_closed_session_answers_nothing(database: Database, acme: Session) -> None:
    made = await acme.create(Customer, name="x")
    async with database.session(acme.context) as session:
        assert await session.get(Customer, made.id) == made
    for call in (
        session.get(Customer, made.id),
        session.get(Customer, made.id, as_json=True),
        session.get_many(Customer, [made.id]),
        session.find(Customer, {}),
        session.list(Customer),
        session.count(Customer),
        session.exists(Customer),
        session.aggregate(Customer),
        session.sql(None, "select 1 as n"),
        session.explain("select 1 as n"),
        session.create(Customer, name="y"),
        session.update(made, name="y"),
        session.delete(made),
        session.restore(made),
        session.purge(made),
        session.history(made),
    ):
        with pytest.raises(errors.IsolationError, match="closed"):
            await call
    assert await acme.get(Customer, made.id) == made
    assert await acme.count(Customer, deleted=True) == 1


# Values at the edge that are no errors.


@pytest.mark.parametrize(
    "where",
    [
        {"born": {"between": [date.min, date.max]}},
        {"seen_at": {"gt": datetime.min.replace(tzinfo=UTC)}},
        {"seen_at": {"lt": datetime.max.replace(tzinfo=UTC)}},
        {"patience": {"between": [-timedelta(days=99_000), timedelta(days=99_000)]}},
        {"credit": {"lt": Decimal("1e40")}},
        {"visits": {"between": [-(2**63), 2**63 - 1]}},
        {"rating": {"lt": 1.7976931348623157e308}},
        {"name": {"in": []}},
        {"name": {"contains": ""}},
        {"name": {"starts_with": "\U0010ffff"}},
        {"name": {"starts_with": "\ud7ff"}},
        {"name": {"contains": "%_\\'\""}},
        {"or": []},
        {"and": []},
        {"not": {}},
        {},
        None,
    ],
    ids=lambda where: str(where)[:60],
)
async def test_a_filter_at_the_edge_is_answered(acme: Session, where: Any) -> None:
    await acme.create(Customer, name="x", born=date(2000, 1, 1), seen_at=datetime(2000, 1, 1, tzinfo=UTC))
    page = await acme.list(Customer, where=where, with_total=True)
    assert page.total == len(page) <= 1


# Cursors.


async def test_a_cursor_that_is_none_is_refused(acme: Session) -> None:
    for n in range(3):
        await acme.create(Customer, name=str(n))
    good = (await acme.list(Customer, limit=1)).next
    assert good
    for wrong in (
        "",
        "x",
        good[:-1],
        good + "x",
        good.upper(),
        f".{good}",
        "x" * 100_000,
        5,
        b"x",
        good.encode(),
        ["x"],
        "\x00",
    ):
        for direction in ("after", "before"):
            with pytest.raises(errors.CursorError) as caught:
                await acme.list(Customer, limit=1, **{direction: wrong})
            assert caught.value.hint


async def test_a_cursor_belongs_to_its_list(acme: Session, rival: Session) -> None:
    customer = await acme.create(Customer, name="x")
    for n in range(3):
        await acme.create(Customer, name=str(n))
        await acme.create(Contact, customer_id=customer.id, name=str(n))
        await rival.create(Customer, name=str(n))
    options: dict[str, Any] = {"order_by": "name", "where": {"status": "prospect"}, "limit": 1}
    good = (await acme.list(Customer, **options)).next
    assert len(await acme.list(Customer, **{**options, "limit": 3}, after=good)) == 3
    assert (
        len(await acme.list(Customer, **options, include=["contacts"], select=["name"], with_total=True, after=good))
        == 1
    )
    for other in (
        {"order_by": "-name"},
        {"order_by": ["name", "credit"]},
        {"order_by": None},
        {"where": {"status": "active"}},
        {"where": None},
        {"deleted": True},
    ):
        with pytest.raises(errors.CursorError):
            await acme.list(Customer, **{**options, **other}, after=good)
    with pytest.raises(errors.CursorError):
        await rival.list(Customer, **options, after=good)
    contacts = (await acme.list(Contact, limit=1)).next
    with pytest.raises(errors.CursorError):
        await acme.list(Customer, limit=1, after=contacts)


# What is right.


async def test_hand_written_queries(acme: Session) -> None:
    """What is right is answered: models, dicts, every kind of parameter, SQLAlchemy, plans."""
    await acme.create(Customer, name="O'Hara", visits=3, tags=["a"])
    assert await acme.sql(Row, "select name, visits from customers where name = :name", name="O'Hara") == [
        Row(name="O'Hara", visits=3)
    ]
    customers = table("customers", column("name"), column("visits"))
    chosen = select(customers.c.name, customers.c.visits).where(customers.c.visits.in_([3, 4]))
    assert await acme.sql(Row, chosen) == [Row(name="O'Hara", visits=3)]
    values = {
        "b": True, "i": 2**63 - 1, "f": 0.5, "d": Decimal("1.50"), "t": "é'; --", "u": UUID(int=5), "day": date(2024, 2, 29),
        "at": datetime(2024, 1, 1, tzinfo=UTC), "raw": b"\x00\xff", "long": timedelta(days=-1, seconds=1), "none": None,
    }  # fmt: skip
    text = "select " + ", ".join(f":{name} as {name}" for name in values)
    (row,) = await acme.sql(None, text, **values)
    assert (row["b"], row["i"], row["f"], row["t"], row["u"]) == (True, 2**63 - 1, 0.5, "é'; --", str(UUID(int=5)))
    assert (row["d"], row["day"], row["raw"], row["none"]) == (1.5, "2024-02-29", "\\x00ff", None)
    assert await acme.sql(None, "select 1 as n where 'a' = any (:tags)", tags=["a", "b"]) == [{"n": 1}]
    assert await acme.sql(None, "select ':name' as \"a:b\", 'x'::text as t, (array[1,2])[1:1] as s -- :none") == [
        {"a:b": ":name", "t": "x", "s": [1]}
    ]
    assert await acme.sql(None, "select 1 as n;") == [{"n": 1}]
    assert len(await acme.sql(None, "select generate_series(1, 5) as n", limit=5)) == 5
    assert await acme.sql(None, "select 1 as n where false") == []
    plan = await acme.explain("select * from customers where name = :name", name="x")
    assert "Plan" in plan
    assert "organization_id" in str(plan)
    await acme.explain("delete from customers returning *")  # a plan is made, and not run
    assert await acme.count(Customer) == 1
