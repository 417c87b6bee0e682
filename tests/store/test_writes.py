"""Writes of single records: what goes in comes back, rules hold also for raw SQL, and an error leaves nothing half done."""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Session, errors
from freehold.model.context import new_id
from tests.probe import blocked, run
from tests.world import Contact, Customer, Level, Order, Profile, Theme

Connection = asyncpg.Connection

VALUES: dict[str, list[Any]] = {
    "name": [
        "a",
        "Ω" * 200,
        "𝔘𝔫𝔦 \u200f\u202e ␀",
        "'; drop table app.customers; --",
        '\\"\n\t\r\x01\x7f',
        " ",
        "e\u0301",
        "null",
    ],
    "email": [None, "", "x" * 320],
    "status": ["prospect", "active"],
    "level": [Level.LOW, Level.HIGH],
    "credit": [Decimal(0), Decimal("0.01"), Decimal("9999999999.99")],
    "visits": [0, -1, 2**63 - 1, -(2**63)],
    "rating": [None, 0.0, -0.0, 0.1, 1e308, -1e308, 5e-324, 1 / 3],
    "born": [None, date.min, date.max, date(2024, 2, 29)],
    "seen_at": [
        None,
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2024, 3, 31, 2, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    ],
    "opens": [None, time.min, time.max, time(12, 30, 0, 5)],
    "patience": [
        None,
        timedelta(0),
        timedelta(microseconds=1),
        timedelta(days=-3, seconds=-4, microseconds=-5),
        timedelta(days=98_999, hours=23, microseconds=999_999),
        -timedelta(days=98_999, hours=23, microseconds=999_999),
        -timedelta(microseconds=1),
        timedelta(hours=36),
    ],
    "photo": [None, b"", b"\x00\xff\\x00", bytes(range(256)) * 3],
    "newsletter": [None, True, False],
    "tags": [[], ["a"], ["", "a,b", '"', "{}", "NULL", "null", "\\", "é😀"], ["x"] * 1000],
    "scores": [[], [Decimal("0.001"), Decimal("-99999.999")], [Decimal("1.5")] * 3],
    "profile": [
        Profile(),
        Profile(language="日本", theme=Theme(color='"', size=-1, ratio=Decimal("0.30"), dark=True)),
    ],
    "external": [None, UUID(int=0), UUID(int=2**128 - 1)],
    "code": [None, "", "c" * 20],
    "tax_number": [None, "", "t" * 40],
}


def same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, type(other))


async def test_a_value_comes_back_as_it_went_in(acme: Session, subtests: pytest.Subtests) -> None:
    for field, value in [(name, value) for name, values in VALUES.items() for value in values]:
        with subtests.test(f"{field}: {value!r:.40}"):
            made = await acme.create(Customer, **{"name": "x", field: value})
            private = field == "tax_number"
            for read in (
                await acme.get(Customer, made.id, private=True),
                (await acme.list(Customer, where={"id": made.id}, private=True))[0],
                Customer.model_validate_json(await acme.get(Customer, made.id, private=True, as_json=True)),
                *([] if private else [made, Customer.model_validate_json(made.model_dump_json())]),
            ):
                assert same(getattr(read, field), value)
            (creation,) = await acme.history(made, private=True)
            old, new = creation.diff.get(field, (None, None))
            assert old is None
            assert same(new, value)


@pytest.mark.parametrize("field", sorted(set(VALUES) - {"code"}))
async def test_a_value_can_be_changed_to_every_other(acme: Session, field: str) -> None:
    record: Any = await acme.create(Customer, name="x")
    first = (await acme.get(Customer, record.id, private=True)).__dict__
    before = first[field]
    fixed = set(first) - {field, "version", "updated_at"}
    for version, value in enumerate(VALUES[field], 2):
        record = await acme.update(record, **{field: value})
        read = await acme.get(Customer, record.id, private=True)
        assert same(getattr(read, field), value)
        assert read.version == version
        assert {name: getattr(read, name) for name in fixed} == {name: first[name] for name in fixed}
        (change, *_) = await acme.history(record, private=True, limit=1)
        assert change.diff == ({} if before == value else {field: (before, value)})
        before = value


async def test_what_the_base_gives(acme: Session) -> None:
    made = await acme.create(Customer, name="x")
    user = acme.context.user_id
    assert made.id.version == 7
    assert (made.organization_id, made.version) == (acme.context.organization_id, 1)
    assert (made.created_by, made.updated_by, made.deleted_at) == (user, user, None)
    assert made.created_at == made.updated_at
    assert abs(made.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    changed = await acme.update(made, name="y")
    assert (changed.id, changed.created_at, changed.created_by) == (made.id, made.created_at, made.created_by)
    assert changed.updated_at > made.updated_at


async def test_inputs_are_taken_whole(acme: Session) -> None:
    made = await acme.create(Customer, Customer.Create(name="x", credit="1.50", level="high"))
    assert (made.credit, made.level) == (Decimal("1.50"), Level.HIGH)
    changed = await acme.update(made, Customer.Patch(email="a@x.test", level=Level.LOW))
    assert (changed.email, changed.level, changed.credit) == ("a@x.test", Level.LOW, Decimal("1.50"))
    again = await acme.update((Customer, made.id, 2), Customer.Patch(email=None))
    assert (again.email, again.version) == (None, 3)


async def test_an_immutable_field_is_given_once(acme: Session) -> None:
    made = await acme.create(Customer, name="x", code="A1")
    with pytest.raises(errors.ValidationError) as caught:
        await acme.update(made, code="A2")
    assert [issue.path for issue in caught.value.issues] == [("code",)]
    assert (await acme.get(Customer, made.id)) == made


# Private fields.


async def test_a_private_field_is_in_no_answer_that_did_not_ask(acme: Session) -> None:
    secret = "DE-SECRET-1"
    made = await acme.create(Customer, name="x", tax_number=secret)
    changed = await acme.update(made, tax_number=f"{secret}2")
    contact = await acme.create(Contact, customer_id=made.id, name="x")
    answers = [
        made,
        changed,
        await acme.get(Customer, made.id),
        await acme.get(Customer, made.id, as_json=True),
        await acme.get_many(Customer, [made.id]),
        await acme.find(Customer, {"tax_number": f"{secret}2"}),
        (await acme.list(Customer)).records,
        (await acme.list(Customer, as_json=True)).json,
        (await acme.list(Customer, select=["name"])).records,
        (await acme.list(Contact, include=["customer"])).records,
        (await acme.list(Contact, include=["customer"], as_json=True)).json,
        await acme.history(made),
        await acme.delete(contact),
        await acme.delete(changed),
        await acme.restore((Customer, made.id, 3)),
        await acme.purge((Customer, made.id, 4)),
        await acme.history((Customer, made.id)),
    ]
    for answer in answers:
        assert answer
        assert secret not in repr(answer)
    with pytest.raises(AttributeError, match="private=True"):
        _ = made.tax_number
    assert "tax_number" not in made.model_dump()


async def test_a_private_field_is_told_where_asked(acme: Session) -> None:
    made = await acme.create(Customer, name="x", tax_number="T")
    assert (await acme.get(Customer, made.id, private=True)).tax_number == "T"
    assert b'"tax_number":"T"' in await acme.get(Customer, made.id, private=True, as_json=True)
    assert [each.tax_number for each in await acme.get_many(Customer, [made.id], private=True)] == ["T"]
    assert [each.tax_number for each in await acme.list(Customer, private=True)] == ["T"]
    found = await acme.find(Customer, {"name": "x"}, private=True)
    assert found is not None
    assert found.tax_number == "T"
    assert (await acme.history(made, private=True))[0].diff["tax_number"] == (None, "T")


# Soft deletion.


async def test_a_deleted_record_is_found_only_where_asked(acme: Session) -> None:
    alive = await acme.create(Customer, name="alive", credit=1)
    gone = await acme.delete(await acme.create(Customer, name="gone", credit=2))
    assert gone.deleted_at is not None
    assert gone.version == 2
    with pytest.raises(errors.NotFoundError):
        await acme.get(Customer, gone.id)
    with pytest.raises(errors.NotFoundError):
        await acme.get(Customer, gone.id, as_json=True)
    assert await acme.get(Customer, gone.id, deleted=True) == gone
    assert await acme.get_many(Customer, [gone.id, alive.id]) == [alive]
    assert await acme.get_many(Customer, [gone.id, alive.id], deleted=True) == [gone, alive]
    assert await acme.find(Customer, {"name": "gone"}) is None
    assert await acme.find(Customer, {"name": "gone"}, deleted=True) == gone
    assert not await acme.exists(Customer, {"id": gone.id})
    assert await acme.exists(Customer, {"id": gone.id}, deleted=True)
    assert (await acme.count(Customer), await acme.count(Customer, deleted=True)) == (1, 2)
    page = await acme.list(Customer, with_total=True)
    assert (page.records, page.total) == ((alive,), 1)
    page = await acme.list(Customer, with_total=True, deleted=True, order_by="name")
    assert (page.records, page.total) == ((alive, gone), 2)
    assert (await acme.aggregate(Customer, sum=["credit"]))[0].sum["credit"] == 1
    assert (await acme.aggregate(Customer, sum=["credit"], deleted=True))[0].sum["credit"] == 3
    assert len(await acme.history(gone)) == 2


async def test_a_deleted_record_changes_no_more_until_it_is_restored(acme: Session) -> None:
    gone = await acme.delete(await acme.create(Customer, name="x", email="a@x.test"))
    for call in (acme.update(gone, name="y"), acme.delete(gone)):
        with pytest.raises(errors.NotFoundError, match="restore it first"):
            await call
    back = await acme.restore(gone)
    assert (back.version, back.deleted_at, back.email) == (3, None, "a@x.test")
    assert (await acme.update(back, name="y")).version == 4
    with pytest.raises(errors.ValidationError, match="not deleted"):
        await acme.restore((Customer, back.id, 4))
    with pytest.raises(errors.ConcurrencyError):
        await acme.delete(back)


async def test_a_stale_version_restores_and_purges_nothing(acme: Session) -> None:
    made = await acme.create(Customer, name="x")
    gone = await acme.delete(made)
    for call in (acme.restore(made), acme.purge(made)):
        with pytest.raises(errors.ConcurrencyError) as caught:
            await call
        assert (caught.value.expected, caught.value.actual, caught.value.current) == (1, 2, gone)
    assert await acme.get(Customer, made.id, deleted=True) == gone


async def test_what_is_purged_is_gone_but_for_its_history(acme: Session) -> None:
    made = await acme.create(Customer, name="x")
    assert await acme.purge(made) == made
    assert not await acme.exists(Customer, deleted=True)
    for call in (acme.purge(made), acme.restore(made), acme.delete(made), acme.update(made, name="y")):
        with pytest.raises(errors.NotFoundError):
            await call
    assert [change.action for change in await acme.history(made)] == ["purge", "create"]
    assert (await acme.history(made))[0].diff["name"] == ("x", None)


async def test_what_is_deleted_for_good_at_once_cannot_be_restored(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    order = await acme.create(Order, customer_id=customer.id, number="1", total=1)
    assert await acme.delete(order) == order
    for call in (acme.restore(order), acme.purge(order)):
        with pytest.raises(errors.ValidationError, match="deleted for good"):
            await call
    assert [change.action for change in await acme.history(order)] == ["delete", "create"]


# Unique keys.


async def test_a_unique_value_is_taken_once_whatever_its_case(acme: Session) -> None:
    first = await acme.create(Customer, name="x", email="Ada@X.test")
    other = await acme.create(Customer, name="y")
    for call in (acme.create(Customer, name="z", email="aDA@x.TEST"), acme.update(other, email="ada@x.test")):
        with pytest.raises(errors.UniqueError) as caught:
            await call
        assert (caught.value.entity, caught.value.fields) == ("Customer", ("email",))
        assert "ada" not in str(caught.value).lower()
    assert (await acme.update(first, email="ADA@X.TEST")).email == "ADA@X.TEST"
    await acme.create(Customer, name="without")  # null is no value
    order = {"customer_id": first.id, "total": 1}
    await acme.create(Order, number="a", **order)
    await acme.create(Order, number="A", **order)  # this one minds the case
    with pytest.raises(errors.UniqueError):
        await acme.create(Order, number="a", **order)


async def test_a_deleted_record_frees_its_unique_value(acme: Session) -> None:
    gone = await acme.delete(await acme.create(Customer, name="x", email="a@x.test"))
    taker = await acme.create(Customer, name="y", email="A@x.test")
    with pytest.raises(errors.UniqueError):
        await acme.restore(gone)
    assert await acme.get(Customer, gone.id, deleted=True) == gone
    await acme.delete(taker)
    assert (await acme.restore(gone)).email == "a@x.test"
    with pytest.raises(errors.UniqueError):
        await acme.restore((Customer, taker.id, 2))


async def test_a_customer_has_one_primary_contact(acme: Session) -> None:
    one, two = [await acme.create(Customer, name=name) for name in "ab"]
    first = await acme.create(Contact, customer_id=one.id, name="x", is_primary=True)
    await acme.create(Contact, customer_id=two.id, name="x", is_primary=True)
    others = [await acme.create(Contact, customer_id=one.id, name="x") for _ in "ab"]
    for call in (
        acme.create(Contact, customer_id=one.id, name="y", is_primary=True),
        acme.update(others[0], is_primary=True),
    ):
        with pytest.raises(errors.UniqueError) as caught:
            await call
        assert caught.value.fields == ("customer_id",)
    await acme.delete(first)
    await acme.update(others[0], is_primary=True)


# References.


async def test_what_is_referred_to_may_not_go_where_the_reference_restricts(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    order = await acme.create(Order, customer_id=customer.id, number="1", total=1)
    with pytest.raises(errors.ReferenceError) as caught:
        await acme.purge(customer)
    assert (caught.value.entity, caught.value.field) == ("Order", "customer_id")
    assert await acme.get(Customer, customer.id) == customer
    assert len(await acme.history(customer)) == 1
    await acme.delete(order)
    await acme.purge(customer)


async def test_what_depends_goes_along(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    contacts = [await acme.create(Contact, customer_id=customer.id, name="x") for _ in "abc"]
    gone = await acme.delete(contacts[2])
    kept = await acme.create(Contact, customer_id=(await acme.create(Customer, name="y")).id, name="y")
    await acme.purge(customer)
    assert await acme.get_many(Contact, [each.id for each in contacts], deleted=True) == []
    assert await acme.get(Contact, kept.id) == kept
    for contact in (*contacts, gone):
        change = (await acme.history(contact))[0]
        assert (change.action, change.actor_id) == ("purge", acme.context.user_id)
        assert change.request_id == acme.context.request_id


async def test_what_is_gone_is_forgotten_where_the_reference_may_be_null(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    manager = await acme.create(Contact, customer_id=customer.id, name="boss")
    report = await acme.create(Contact, customer_id=customer.id, name="x", manager_id=manager.id)
    order = await acme.create(Order, customer_id=customer.id, contact_id=manager.id, number="1", total=1)
    await acme.purge(manager)
    now = await acme.get(Order, order.id)
    assert (now.contact_id, now.customer_id, now.organization_id) == (None, customer.id, order.organization_id)
    assert (now.version, now.updated_by) == (2, acme.context.user_id)
    assert (await acme.get(Contact, report.id)).manager_id is None
    change = (await acme.history(order))[0]
    assert (change.action, change.diff) == ("update", {"contact_id": (manager.id, None)})
    assert change.actor_id == acme.context.user_id


async def test_a_reference_that_leads_nowhere_is_named(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    for field in ("customer_id", "contact_id"):
        with pytest.raises(errors.ReferenceError) as caught:
            await acme.create(Order, **{"customer_id": customer.id, "number": "1", "total": 1, field: new_id()})
        assert (caught.value.entity, caught.value.field) == ("Order", field)


# Rules, through the session and through raw SQL.

RULES: dict[str, tuple[dict[str, Any], str, str]] = {
    "empty text": ({"name": ""}, "name = ''", "customers_name_check"),
    "long text": ({"name": "x" * 201}, "name = repeat('x', 201)", "customers_name_check"),
    "negative": ({"credit": "-0.01"}, "credit = -0.01", "customers_credit_check"),
    "no choice": ({"status": "other"}, "status = 'other'", "customers_status_check"),
    "no member": ({"level": "other"}, "level = 'other'", "customers_level_check"),
    "long bytes": ({"photo": b"x" * 1001}, "photo = decode(repeat('00', 1001), 'hex')", "customers_photo_check"),
    "not a number": ({"rating": float("nan")}, "rating = 'NaN'", "customers_rating_check"),
    "infinite": ({"rating": float("-inf")}, "rating = '-Infinity'", "customers_rating_check"),
    "endless date": ({"born": "infinity"}, "born = 'infinity'", "customers_born_check"),
    "date before year 1": ({"born": "0000-12-31"}, "born = '0001-12-31 BC'", "customers_born_check"),
    "endless time": ({"seen_at": "infinity"}, "seen_at = '-infinity'", "customers_seen_at_check"),
    "late time": (
        {"seen_at": "10000-01-01T00:00:00Z"},
        "seen_at = '10000-01-01 00:00:00+00'",
        "customers_seen_at_check",
    ),
    "null in a list": ({"tags": ["a", None]}, "tags = array['a', null]", "customers_tags_check"),
    "named rule": ({"status": "vip"}, "status = 'vip'", "customers_vip_has_credit_rule"),
    "version": ({"version": 0}, "version = 0", "customers_version_check"),
}


@pytest.mark.parametrize("rule", RULES)
async def test_a_rule_holds_for_the_session_and_for_raw_sql(acme: Session, raw: Connection, rule: str) -> None:
    values, assignment, constraint = RULES[rule]
    made = await acme.create(Customer, name="x")
    for call in (acme.create(Customer, **{"name": "y", **values}), acme.update(made, **values)):
        with pytest.raises(errors.ValidationError) as caught:
            await call
        assert next(iter(values)) in str(caught.value) or "vip_has_credit" in str(caught.value)
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        await run(raw, acme.context, f"update app.customers set {assignment}")
    assert raised.value.constraint_name == constraint
    assert (await acme.list(Customer)).records == (made,)
    assert len(await acme.history(made)) == 1


async def test_a_named_rule_is_named_in_the_error(acme: Session) -> None:
    made = await acme.create(Customer, name="x", status="vip", credit=1)
    with pytest.raises(errors.ValidationError, match="vip_has_credit") as caught:
        await acme.update(made, credit=0)
    assert caught.value.issues[0].code == "check"


# Nothing half done.

Wrong = Callable[[Session, Customer, Customer], Awaitable[Any]]

WRONG: dict[str, tuple[type[errors.FreeholdError], Wrong]] = {
    "unknown field": (errors.ValidationError, lambda s, a, b: s.update(a, nme="x")),
    "wrong type": (errors.ValidationError, lambda s, a, b: s.update(a, visits="many")),
    "several wrong": (errors.ValidationError, lambda s, a, b: s.update(a, visits="many", name="", credit=-1)),
    "empty": (errors.ValidationError, lambda s, a, b: s.update(a)),
    "empty patch": (errors.ValidationError, lambda s, a, b: s.update(a, Customer.Patch())),
    "null": (errors.ValidationError, lambda s, a, b: s.update(a, name=None)),
    "unique": (errors.UniqueError, lambda s, a, b: s.update(a, name="new", email=b.email)),
    "rule": (errors.ValidationError, lambda s, a, b: s.update(a, name="new", status="vip")),
    "reference": (errors.ReferenceError, lambda s, a, b: s.create(Contact, customer_id=new_id(), name="x")),
    "restricted": (errors.ReferenceError, lambda s, a, b: s.purge(b)),
    "stale": (errors.ConcurrencyError, lambda s, a, b: s.update((Customer, a.id, 7), name="new")),
    "stale delete": (errors.ConcurrencyError, lambda s, a, b: s.delete((Customer, a.id, 2**31 - 1))),
    "stale purge": (errors.ConcurrencyError, lambda s, a, b: s.purge((Customer, a.id, 2))),
    "not deleted": (errors.ValidationError, lambda s, a, b: s.restore(a)),
    "absent": (errors.NotFoundError, lambda s, a, b: s.delete((Customer, new_id(), 1))),
    "large": (errors.ValidationError, lambda s, a, b: s.update(a, name="x" * 10_000_000)),
    "NUL": (errors.ValidationError, lambda s, a, b: s.update(a, name="a\x00b")),
    "surrogate": (errors.ValidationError, lambda s, a, b: s.update(a, name="a\ud800b")),
    "too many digits": (errors.ValidationError, lambda s, a, b: s.update(a, credit="10000000000")),
    "too many places": (errors.ValidationError, lambda s, a, b: s.update(a, credit="0.001")),
    "64 bits": (errors.ValidationError, lambda s, a, b: s.update(a, visits=2**63)),
    "boolean for a number": (errors.ValidationError, lambda s, a, b: s.update(a, visits=True)),
    "naive": (errors.ValidationError, lambda s, a, b: s.update(a, seen_at="2024-01-01T00:00:00")),
    "year 10000": (errors.ValidationError, lambda s, a, b: s.update(a, seen_at="9999-12-31T23:59:59-12:00")),
    "year 0": (errors.ValidationError, lambda s, a, b: s.update(a, seen_at="0001-01-01T00:00:00+14:00")),
    "long duration": (errors.ValidationError, lambda s, a, b: s.update(a, patience=timedelta.max)),
    "zone": (errors.ValidationError, lambda s, a, b: s.update(a, opens=time(1, tzinfo=UTC))),
    "NUL in a document": (errors.ValidationError, lambda s, a, b: s.update(a, profile={"language": "\x00"})),
    "NUL in a list": (errors.ValidationError, lambda s, a, b: s.update(a, tags=["\x00"])),
    "another class's patch": (errors.ValidationError, lambda s, a, b: s.update(a, Contact.Patch(name="x"))),
    "patch and fields": (errors.ValidationError, lambda s, a, b: s.update(a, Customer.Patch(name="x"), name="y")),
    "create for patch": (errors.ValidationError, lambda s, a, b: s.update(a, Customer.Create(name="x"))),
}


@pytest.mark.parametrize("what", WRONG)
async def test_an_error_leaves_nothing_half_done(acme: Session, admin: Connection, what: str) -> None:
    one = await acme.create(Customer, name="one", tags=["a"])
    two = await acme.create(Customer, name="two", email="two@x.test")
    await acme.create(Order, customer_id=two.id, number="1", total=1)
    organization = acme.context.organization_id
    state = (
        "select to_jsonb(c)::text as t from app.customers c where organization_id = $1 union all "
        "select to_jsonb(c)::text from app.contacts c where organization_id = $1 union all "
        "select to_jsonb(l)::text from freehold.log l where organization_id = $1 order by 1"
    )
    before = await admin.fetch(state, organization)
    kind, call = WRONG[what]
    with pytest.raises(kind) as caught:
        await call(acme, one, two)
    assert type(caught.value) is kind
    assert await admin.fetch(state, organization) == before
    assert len(str(caught.value)) < 2000
    assert await acme.get_many(Customer, [one.id, two.id]) == [one, two]


@pytest.mark.parametrize("version", [0, -1, True, 2**31, 2**40, 1.0, "1", None, 10**30])
@pytest.mark.parametrize("call", ["update", "delete", "purge", "restore"])
async def test_a_version_that_cannot_be_is_refused(acme: Session, version: Any, call: str) -> None:
    made = await acme.create(Customer, name="x")
    target = (Customer, made.id, version)
    changes = {"name": "y"} if call == "update" else {}
    with pytest.raises(errors.ValidationError) as caught:
        await getattr(acme, call)(target, **changes)
    assert caught.value.issues[0].path == ("version",)
    assert await acme.get(Customer, made.id) == made


async def test_a_version_from_the_future_is_a_conflict(acme: Session) -> None:
    made = await acme.create(Customer, name="x")
    with pytest.raises(errors.ConcurrencyError) as caught:
        await acme.update((Customer, made.id, 2**31 - 1), name="y")
    assert (caught.value.expected, caught.value.actual, caught.value.current) == (2**31 - 1, 1, made)


async def test_a_timeout_writes_nothing(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="x")
    impatient = type(acme)(acme._messenger.store, acme.context, timeout=0.2)
    async with admin.transaction():
        await admin.execute("select 1 from app.customers where id = $1 for update", made.id)
        with pytest.raises(errors.TimeoutError) as caught:
            await impatient.update(made, name="y")
        assert caught.value.seconds == 0.2
        await blocked(admin, 0)  # the statement is cancelled while the row is still locked
    assert await acme.get(Customer, made.id) == made
    assert len(await acme.history(made)) == 1
    assert (await acme.update(made, name="z")).version == 2


async def test_letters_of_all_alphabets_have_cases(acme: Session) -> None:
    await acme.create(Customer, name="x", email="ÉLAN@ß.test")
    with pytest.raises(errors.UniqueError):
        await acme.create(Customer, name="y", email="élan@ß.test")
    await acme.create(Customer, name="z", email="elan@ß.test")


async def test_a_copy_of_a_record_does_not_change_what_others_say_was_given(acme: Session) -> None:
    for name in ("one", "two"):
        await acme.create(Customer, name=name)
    one, two = (await acme.list(Customer, order_by="name")).records
    given = set(two.model_fields_set)
    copied = one.model_copy(update={"unheard_of": 1})
    assert "unheard_of" in copied.model_fields_set
    assert one.model_fields_set == two.model_fields_set == given
