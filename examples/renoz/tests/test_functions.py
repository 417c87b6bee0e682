"""The CRM's figures, feed and search, and who may have them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from examples.renoz.entities import Activity, Contact, Customer, Order, application
from examples.renoz.tests.conftest import Desk, versioned
from freehold import errors

pytestmark = pytest.mark.freehold(isolation="rollback")

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)


async def ordered(desk: Desk, customer: Customer, day: date, total: int, **more: Any) -> Order:
    number = await desk.session.count(Order)
    values = {"placed_on": day, "subtotal": total, "total": total, "status": "delivered", **more}
    return await desk.session.create(Order, customer_id=customer.id, number=f"N-{number}", **values)


async def two_customers(desk: Desk) -> tuple[Customer, Customer]:
    made = [
        await desk.session.create(Customer, number=f"C-0000{n}", name=name, tax_number=f"secret-{n}")
        for n, name in enumerate(("Acme Solar", "Borealis"), 1)
    ]
    return made[0], made[1]


async def test_a_summary_is_of_ones_own_customer(desk: Desk, other: Desk) -> None:
    acme, _ = await two_customers(desk)
    await ordered(desk, acme, date(2026, 3, 2), 100)
    await ordered(desk, acme, date(2026, 3, 9), 50, status="cancelled")
    told = await desk.call("customers.summary", "viewer", number="C-00001")
    assert (told["name"], told["lifetime_value"], told["orders"], told["open_orders"]) == ("Acme Solar", "100.00", 2, 0)
    for caller, number in ((desk, "C-99999"), (other, "C-00001")):
        with pytest.raises(errors.NotFoundError):
            await caller.call("customers.summary", number=number)


async def test_the_dashboard_is_of_a_day(desk: Desk, other: Desk) -> None:
    acme, _ = await two_customers(desk)
    await ordered(desk, acme, date(2026, 3, 2), 100, due_on=date(2026, 3, 10))
    on = {day: await desk.call("dashboard", today=day) for day in ("2026-03-10", "2026-03-11", "2026-04-01")}
    assert [each["overdue"] for each in on.values()] == ["0", "100.00", "100.00"]
    assert [each["ordered_this_month"] for each in on.values()] == ["100.00", "100.00", "0"]
    assert (await other.call("dashboard", today="2026-03-11"))["customers"] == 0
    assert (await desk.call("dashboard"))["customers"] == 2


@pytest.mark.parametrize(
    ("by", "points", "expected"),
    [
        ("day", 3, [("2026-03-13", 0, "0"), ("2026-03-14", 0, "0"), ("2026-03-15", 1, "7.00")]),
        ("week", 3, [("2026-02-23", 0, "0"), ("2026-03-02", 2, "110.00"), ("2026-03-09", 1, "7.00")]),
        ("month", 2, [("2026-02-01", 1, "5.00"), ("2026-03-01", 3, "117.00")]),
    ],
)
async def test_a_sparkline_has_no_gaps(
    desk: Desk, other: Desk, by: str, points: int, expected: list[tuple[str, int, str]]
) -> None:
    acme, borealis = await two_customers(desk)
    for day, total in ((date(2026, 2, 1), 5), (date(2026, 3, 2), 100), (date(2026, 3, 8), 10), (date(2026, 3, 15), 7)):
        await ordered(desk, acme, day, total)
    await ordered(desk, acme, date(2026, 3, 16), 1_000)  # a day later than asked
    await ordered(desk, acme, date(2026, 3, 15), 1_000, status="cancelled")
    asked: dict[str, Any] = {"by": by, "points": points, "until": "2026-03-15"}
    told = await desk.call("orders.sparkline", customer="C-00001", **asked)
    assert [(point["start"], point["orders"], point["total"]) for point in told] == expected
    await ordered(desk, borealis, date(2026, 3, 15), 2, kind="credit")
    everybody = await desk.call("orders.sparkline", **asked)
    assert Decimal(everybody[-1]["total"]) == Decimal(told[-1]["total"]) - 2
    assert {point["orders"] for point in await other.call("orders.sparkline", **asked)} == {0}
    with pytest.raises(errors.NotFoundError):
        await other.call("orders.sparkline", customer="C-00001")
    wrongs: list[dict[str, Any]] = [{"points": 367}, {"points": 0}, {"by": "hour"}, {"by": "day'; drop table orders"}]
    for wrong in wrongs:
        with pytest.raises(errors.ValidationError):
            await desk.call("orders.sparkline", **{**asked, **wrong})


async def test_the_best_customers_have_their_share(desk: Desk) -> None:
    acme, borealis = await two_customers(desk)
    await ordered(desk, acme, date(2026, 3, 2), 25)
    await ordered(desk, borealis, date(2026, 3, 2), 75)
    best = await desk.call("customers.top", "viewer", most=1)
    assert [(row["name"], row["share_percent"]) for row in best] == [("Borealis", "75.0")]


async def test_the_feed_merges_activities_and_changes(desk: Desk, other: Desk) -> None:
    acme, borealis = await two_customers(desk)
    ada = desk.session.context.user_id
    order = await ordered(desk, acme, date(2026, 3, 2), 25, status="draft")
    await desk.session.update(order, status="confirmed", customer_reference="PO 7")
    await desk.session.update(acme, tax_number="secret-77", phone="+1")
    person = await desk.session.create(
        Contact, customer_id=acme.id, first_name="Grace", last_name="Hopper", notes="secret"
    )
    for day in range(3):
        await desk.session.create(
            Activity, customer_id=acme.id, kind="call", subject=f"call {day}", at=MONDAY + timedelta(days=day)
        )
    await desk.session.create(
        Activity, customer_id=borealis.id, subject="ahead", at=datetime.now(UTC) + timedelta(days=9)
    )
    page = await desk.call("activities.feed", "viewer", customer="C-00001")
    told = [(item["entity"], item["action"], item["title"]) for item in page["data"]]
    assert told == [
        ("Contact", "create", "Grace Hopper"),
        ("Customer", "update", "Acme Solar"),
        ("Order", "update", "N-0"),
        ("Order", "create", "N-0"),
        ("Customer", "create", "Acme Solar"),
        ("Activity", "call", "call 2"),
        ("Activity", "call", "call 1"),
        ("Activity", "call", "call 0"),
    ]
    assert {item["customer"] for item in page["data"]} == {"C-00001"}
    assert {item["actor"] for item in page["data"]} == {str(ada)}
    assert page["data"][0]["id"] == str(person.id)
    assert page["data"][1]["fields"] == ["phone"]  # what is private is not even named
    assert (page["data"][2]["status"], page["data"][2]["fields"]) == (
        ["draft", "confirmed"],
        ["customer_reference", "status"],
    )
    assert "secret" not in str(page)
    everything = await desk.call("activities.feed")
    assert everything["data"][0]["title"] == "ahead"
    assert len(everything["data"]) == 10
    assert (await other.call("activities.feed"))["data"] == []
    with pytest.raises(errors.NotFoundError):
        await other.call("activities.feed", customer="C-00001")


async def test_the_feed_is_walked_without_loss_and_streamed(desk: Desk, other: Desk) -> None:
    acme, _ = await two_customers(desk)
    start = datetime.now(UTC)
    for n in range(7):  # some before, some behind the changes, some at the same moment
        at = start + timedelta(hours=(n // 2) - 2)
        await desk.session.create(Activity, customer_id=acme.id, subject=f"note {n}", at=at)
        await desk.session.update((Customer, acme.id, n + 1), credit_limit=n + 1)
    whole = (await desk.call("activities.feed", limit=200))["data"]
    assert len(whole) == 7 + 7 + 2
    for limit in (1, 3, 15):
        walked: list[Any] = []
        page = {"next": None}
        while not walked or page["next"]:
            page = await desk.call("activities.feed", limit=limit, after=page["next"])
            walked += page["data"]
        assert walked == whole
    assert await desk.call("activities.stream", "viewer") == whole
    assert await desk.call("activities.stream", most=5) == whole[:5]
    cursor = (await desk.call("activities.feed", limit=1))["next"]
    wrong: list[tuple[Desk, dict[str, Any]]] = [
        (other, {"after": cursor}),
        (desk, {"after": cursor, "customer": "C-00001"}),
        (desk, {"after": cursor[:-2]}),
        (desk, {"after": "garbage"}),
    ]
    for caller, arguments in wrong:
        with pytest.raises(errors.CursorError):
            await caller.call("activities.feed", **arguments)


async def test_a_search_looks_at_what_the_caller_may_list(desk: Desk, other: Desk) -> None:
    acme, _ = await two_customers(desk)
    await desk.stocked()
    await desk.session.create(Contact, customer_id=acme.id, last_name="Solaris")
    found = await desk.call("search", "viewer", text="sol")
    assert sorted((each["entity"], each["title"]) for each in found["found"]) == [
        ("Contact", "Solaris"),
        ("Customer", "Acme Solar"),
    ]
    assert found["found"][0]["parts"][0]["pieces"]
    assert (await desk.call("search", "admin", text="secret"))["found"] == []  # private fields are not searched
    assert (await other.call("search", text="sol"))["found"] == []
    granted = application.grants.permissions("warehouse") | {"search"}
    narrow = desk.principal("warehouse")
    allowed = type(narrow)(narrow.organization_id, narrow.user_id, "warehouse", granted, "key:1")
    assert (await desk.database.call("search", {"text": "sol"}, principal=allowed))["found"] == []
    nothing = type(narrow)(narrow.organization_id, narrow.user_id, "warehouse", frozenset({"search"}), "key:1")
    with pytest.raises(errors.ForbiddenError, match="grants no list"):
        await desk.database.call("search", {"text": "sol"}, principal=nothing)


async def test_many_customers_get_a_status_each_with_its_own_result(desk: Desk, other: Desk) -> None:
    acme, borealis = await two_customers(desk)
    await desk.session.update(acme, credit_limit=5)  # so that version 1 is of yesterday
    foreign = await other.session.create(Customer, number="C-00001", name="Theirs")
    items = [{"id": acme.id, "version": 1}, *versioned([borealis, foreign])]
    done = await desk.call("customers.set_status", "sales", customers=items, status="active")
    codes = [result["problem"] and result["problem"]["code"] for result in done["results"]]
    assert (codes, done["changed"], done["failed"]) == (["FH201", None, "FH200"], 1, 2)
    assert done["results"][1]["version"] == 2
    blocked = await desk.call("customers.set_status", customers=[{"id": acme.id, "version": 2}], status="blocked")
    assert blocked["changed"] == 1
    assert (await desk.session.get(Customer, acme.id)).credit_limit == 0
    assert (await other.session.get(Customer, foreign.id)).status == "prospect"
    for wrong in ([], [{"id": acme.id}], [{"id": acme.id, "version": 0}], items * 400):
        with pytest.raises(errors.ValidationError):
            await desk.call("customers.set_status", customers=wrong, status="active")
    with pytest.raises(errors.ForbiddenError):
        await desk.call("customers.set_status", "viewer", customers=items, status="inactive")


READING = {
    "activities.feed",
    "activities.stream",
    "customers.summary",
    "customers.top",
    "dashboard",
    "orders.sparkline",
    "search",
}
SELLING = {
    "customers.set_status",
    "orders.cancel",
    "orders.confirm",
    "orders.place",
    "orders.set_status",
    "orders.update",
}
MOVING = {"inventory_items.count", "orders.deliver", "orders.pick", "orders.set_status", "orders.ship"}
MAY = {
    "owner": READING | SELLING | MOVING,
    "sales": READING | SELLING,
    "warehouse": MOVING,
    "viewer": READING,
    "stranger": set[str](),
}
"""What each role may call, of the functions of the CRM's own."""

ONE = {"id": UUID(int=7), "version": 1}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "customers.set_status": {"customers": [ONE], "status": "active"},
    "customers.summary": {"number": "C-1"},
    "inventory_items.count": {"sku": "x", "warehouse": "north", "on_hand": 1},
    "orders.place": {"customer": "C-1", "number": "W-1", "lines": [{"sku": "x", "quantity": 1}]},
    "orders.set_status": {"orders": [ONE], "status": "shipped"},
    "orders.update": {**ONE, "changes": {"customer_reference": "x"}},
    "search": {"text": "x"},
    **{f"orders.{verb}": ONE for verb in ("confirm", "pick", "ship", "deliver", "cancel")},
}
"""What each function can be called with, where it needs something. None of the records is there."""


@pytest.mark.parametrize("role", MAY)
async def test_a_role_calls_what_it_may_and_nothing_else(desk: Desk, role: str) -> None:
    reached = set()
    own = {function.name for function in application.functions if function.action is None}
    assert own == MAY["owner"]
    for name in sorted(own):
        status = {"status": "confirmed"} if (name, role) == ("orders.set_status", "sales") else {}
        key = name if name == "orders.confirm" else None
        try:
            await desk.call(name, role, key=key, **{**ARGUMENTS.get(name, {}), **status})
        except errors.ForbiddenError:
            continue
        except errors.NotFoundError:
            pass
        reached.add(name)
    assert reached == MAY[role]


def test_what_is_not_for_callers_is_not_offered() -> None:
    names = {function.name for function in application.functions}
    for never in (
        "orders.delete",
        "orders.create",
        "order_lines.update",
        "inventory_items.update",
        "reservations.create",
    ):
        assert never not in names
    assert application.registry[Order].exposed["update"] == "orders.update"
