"""Orders and their stock: nothing is reserved twice, nothing is lost, and of two that want the last piece one gets it."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from examples.renoz.entities import InventoryItem, Order, OrderLine, Product, Reservation
from examples.renoz.functions.orders import confirm
from examples.renoz.functions.stock import allocate
from examples.renoz.tests.conftest import Desk, versioned
from freehold import Transaction, errors

alone = pytest.mark.freehold(isolation="rollback")
"""Marks tests in which nothing happens at the same time: they need no database of their own."""


async def confirmed(desk: Desk, order: Order, version: int | None = None) -> Any:
    """Confirms an order, as the server does."""
    return await desk.call(
        "orders.confirm", key=f"confirm {order.id} {version}", id=order.id, version=version or order.version
    )


@alone
async def test_what_is_confirmed_is_reserved(desk: Desk) -> None:
    product, rare = await desk.stocked(north=5, south=3), await desk.stocked(south=1)
    order = await desk.drafted((product, 4), (rare, 1), (product, 2))
    done = await confirmed(desk, order)
    assert (done["status"], done["version"]) == ("confirmed", 2)
    assert [(share["line"], share["warehouse"], share["quantity"]) for share in done["reserved"]] == [
        (1, "north", 4),
        (2, "south", 1),
        (3, "south", 2),
    ]
    assert await desk.stock(product) == {"north": (5, 4), "south": (3, 2)}
    assert await desk.session.aggregate(Reservation, sum=["quantity"]) != ()
    assert (await desk.session.aggregate(Reservation, sum=["quantity"]))[0].sum["quantity"] == 7


@alone
async def test_a_line_is_split_where_no_warehouse_has_all_of_it(desk: Desk) -> None:
    product = await desk.stocked(north=2, south=3)
    done = await confirmed(desk, await desk.drafted((product, 5)))
    assert sorted((share["warehouse"], share["quantity"]) for share in done["reserved"]) == [("north", 2), ("south", 3)]


@alone
async def test_each_line_that_is_short_is_told_and_nothing_is_reserved(desk: Desk) -> None:
    plenty, few, none = await desk.stocked(north=9), await desk.stocked(north=1), await desk.stocked()
    order = await desk.drafted((plenty, 3), (few, 2), (none, 1))
    with pytest.raises(errors.ValidationError) as caught:
        await confirmed(desk, order)
    assert [(issue.path, issue.code) for issue in caught.value.issues] == [
        (("lines", 2, "quantity"), "too_little_stock"),
        (("lines", 3, "quantity"), "too_little_stock"),
    ]
    assert "2 of SKU-1 are wanted, 1 are free" in str(caught.value)
    assert await desk.stock(plenty) == {"north": (9, 0)}
    assert await desk.session.count(Reservation) == 0
    assert (await desk.session.get(Order, order.id)).status == "draft"


async def test_of_two_that_want_the_last_piece_one_gets_it(desk: Desk) -> None:
    product = await desk.stocked(north=1)
    orders = [await desk.drafted((product, 1)) for _ in range(2)]
    done = await asyncio.gather(*(confirmed(desk, order) for order in orders), return_exceptions=True)
    assert sum(isinstance(each, dict) for each in done) == 1
    assert [each.issues[0].code for each in done if isinstance(each, errors.ValidationError)] == ["too_little_stock"]
    assert await desk.stock(product) == {"north": (1, 1)}
    assert await desk.session.count(Order, {"status": "confirmed"}) == 1


async def test_sixteen_confirmations_at_once_lose_nothing(desk: Desk) -> None:
    first, second = await desk.stocked(north=12, south=8), await desk.stocked(north=20)
    lines = [((first, 2), (second, 1)), ((second, 1), (first, 2))]  # each other order the other way round
    orders = [await desk.drafted(*lines[number % 2]) for number in range(16)]
    done = await asyncio.gather(*(confirmed(desk, order) for order in orders), return_exceptions=True)
    served = [each for each in done if isinstance(each, dict)]
    refused = [each for each in done if isinstance(each, errors.ValidationError)]
    assert (len(served), len(refused)) == (10, 6)  # nobody met a deadlock: 20 of the first, two each
    assert sum(reserved for _, reserved in (await desk.stock(first)).values()) == 20
    assert await desk.stock(second) == {"north": (20, 10)}
    told = sum(share["quantity"] for each in served for share in each["reserved"])
    (kept,) = await desk.session.aggregate(Reservation, sum=["quantity"])
    assert told == kept.sum["quantity"] == 30
    for item in await desk.session.list(InventoryItem):
        assert 0 <= item.reserved <= item.on_hand


async def test_an_order_is_confirmed_once(desk: Desk) -> None:
    product = await desk.stocked(north=10)
    order = await desk.drafted((product, 1))
    done = await asyncio.gather(
        *(desk.call("orders.confirm", key=f"key {n}", id=order.id, version=1) for n in range(4)), return_exceptions=True
    )
    assert sum(isinstance(each, dict) for each in done) == 1
    assert sum(isinstance(each, errors.ConcurrencyError) for each in done) == 3
    assert await desk.stock(product) == {"north": (10, 1)}
    with pytest.raises(errors.ValidationError, match="is confirmed; only one that is draft becomes confirmed"):
        await confirmed(desk, order, version=2)


async def test_a_repeated_confirmation_answers_the_same(desk: Desk) -> None:
    product = await desk.stocked(north=10)
    order = await desk.drafted((product, 1))
    done = await asyncio.gather(*(confirmed(desk, order) for _ in range(3)), return_exceptions=True)
    first = next(each for each in done if isinstance(each, dict))
    assert await confirmed(desk, order) == first
    assert await desk.stock(product) == {"north": (10, 1)}
    with pytest.raises(errors.RequestError, match="idempotency key"):
        await desk.call("orders.confirm", id=order.id, version=1)


@alone
async def test_a_cancelled_order_frees_its_goods_and_a_shipped_one_takes_them_along(desk: Desk) -> None:
    product = await desk.stocked(north=5)
    kept, dropped = await desk.drafted((product, 2)), await desk.drafted((product, 3))
    for order in (kept, dropped):
        await confirmed(desk, order)
    assert await desk.stock(product) == {"north": (5, 5)}
    await desk.call("orders.cancel", id=dropped.id, version=2)
    assert await desk.stock(product) == {"north": (5, 2)}
    await desk.call("orders.pick", id=kept.id, version=2)
    shipped = await desk.call("orders.ship", id=kept.id, version=3)
    assert (shipped["status"], shipped["version"]) == ("shipped", 4)
    assert await desk.stock(product) == {"north": (3, 0)}
    assert await desk.session.count(Reservation) == 0
    with pytest.raises(errors.ValidationError, match="is shipped; only one that is draft or confirmed or picked"):
        await desk.call("orders.cancel", id=kept.id, version=4)
    assert (await desk.call("orders.deliver", id=kept.id, version=4))["status"] == "delivered"


async def test_a_line_that_comes_meanwhile_waits_and_is_not_left_out(desk: Desk) -> None:
    product = await desk.stocked(north=5)
    order = await desk.drafted((product, 1))
    late = {
        "order_id": order.id,
        "product_id": product.id,
        "position": 2,
        "quantity": 1,
        "unit_price": 10,
        "amount": 10,
    }
    async with desk.session.transaction() as transaction:
        await confirm(transaction, order.id, 1)
        adding = asyncio.create_task(desk.session.create(OrderLine, **late))
        await blocked(transaction)
    await adding
    lines = await desk.session.list(OrderLine, where={"order_id": order.id}, include={"reservations": "count"})
    assert sorted((line.position, getattr(line, "reservations_count")) for line in lines) == [(1, 1), (2, 0)]  # noqa: B009


async def blocked(transaction: Transaction) -> None:
    """Returns when somebody waits for a lock of the transaction."""
    waiting = "select count(*) as n from pg_locks where not granted"
    while True:
        (row,) = await transaction.sql(None, waiting)
        if row["n"]:
            return


@alone
async def test_inventory_is_counted_under_the_same_lock(desk: Desk) -> None:
    product = await desk.stocked(north=5)
    await confirmed(desk, await desk.drafted((product, 4)))
    with pytest.raises(errors.ValidationError, match="4 are reserved for orders"):
        await desk.call("inventory_items.count", sku=product.sku, warehouse="north", on_hand=3)
    counted = await desk.call("inventory_items.count", sku=product.sku, warehouse="north", on_hand=7)
    assert (counted["on_hand"], counted["reserved"]) == (7, 4)
    made = await desk.call("inventory_items.count", sku=product.sku, warehouse="south", on_hand=2)
    assert (made["on_hand"], made["reserved"], made["version"]) == (2, 0, 1)
    with pytest.raises(errors.NotFoundError):
        await desk.call("inventory_items.count", sku="nothing", warehouse="north", on_hand=3)


@alone
async def test_reserved_goods_cannot_go_with_their_order(desk: Desk) -> None:
    product = await desk.stocked(north=5)
    order = await desk.drafted((product, 4))
    await confirmed(desk, order)
    with pytest.raises(errors.ReferenceError):
        await desk.session.delete((Order, order.id, 2))
    assert await desk.stock(product) == {"north": (5, 4)}


@alone
async def test_many_orders_are_moved_each_with_its_own_result(desk: Desk, other: Desk) -> None:
    product = await desk.stocked(north=5)
    fits, short, stale = [await desk.drafted((product, quantity)) for quantity in (4, 2, 1)]
    empty = await desk.drafted()
    await desk.session.update(stale, customer_reference="changed meanwhile")
    foreign = await other.drafted((await other.stocked(north=9), 1))
    items = [*versioned([fits, short]), {"id": stale.id, "version": 1}, *versioned([empty, foreign])]
    done = await desk.call("orders.set_status", orders=items, status="confirmed")
    codes = [result["problem"] and result["problem"]["code"] for result in done["results"]]
    assert codes == [None, "FH100", "FH201", "FH100", "FH200"]
    assert [result["version"] for result in done["results"]] == [2, None, None, None, None]
    assert (done["changed"], done["failed"]) == (1, 4)
    assert done["results"][1]["problem"]["issues"][0]["code"] == "too_little_stock"
    assert str(foreign.id) in done["results"][4]["problem"]["message"]  # told as any absent one
    assert await desk.stock(product) == {"north": (5, 4)}
    assert (await other.session.get(Order, foreign.id)).status == "draft"


async def test_bulk_steps_in_opposite_order_do_not_wait_in_a_circle(desk: Desk) -> None:
    products = [await desk.stocked(north=50) for _ in range(3)]
    orders = [await desk.drafted(*((product, 1) for product in products)) for _ in range(8)]
    done = await asyncio.gather(
        desk.call("orders.set_status", orders=versioned(orders), status="confirmed"),
        desk.call("orders.set_status", orders=versioned(orders[::-1]), status="confirmed"),
        *(confirmed(desk, order) for order in orders),
        return_exceptions=True,
    )
    bulk = sum(each["changed"] for each in done[:2] if isinstance(each, dict))
    single = sum(isinstance(each, dict) for each in done[2:])
    assert all(isinstance(each, dict | errors.ConcurrencyError) for each in done)
    assert bulk + single == 8
    for product in products:
        assert await desk.stock(product) == {"north": (50, 8)}


@alone
async def test_a_step_needs_its_own_permission(desk: Desk) -> None:
    order = await desk.drafted((await desk.stocked(north=1), 1))
    for role, status in (
        ("sales", "shipped"),
        ("warehouse", "confirmed"),
        ("viewer", "cancelled"),
        ("nobody", "picked"),
    ):
        with pytest.raises(errors.ForbiddenError):
            await desk.call("orders.set_status", role, orders=versioned([order]), status=status)
    for role, name in (("sales", "orders.ship"), ("warehouse", "orders.cancel"), ("viewer", "orders.confirm")):
        with pytest.raises(errors.ForbiddenError, match=name):
            await desk.call(name, role, key="k", id=order.id, version=1)
    assert await desk.session.get(Order, order.id) == order


@alone
async def test_a_placed_order_has_the_prices_of_the_day(desk: Desk, other: Desk) -> None:
    product = await desk.stocked(north=5)
    customer = (await desk.drafted()).customer_id
    discount = await desk.session.list(Order, where={"customer_id": customer}, include={"customer": True})
    buyer = await desk.session.update(discount[0].customer, discount_percent="2.50", status="active")
    order = await desk.call(
        "orders.place",
        "sales",
        customer=buyer.number,
        number="W-1",
        lines=[{"sku": product.sku, "quantity": 3}],
        tax_percent="10",
    )
    assert (order["status"], order["subtotal"], order["tax"], order["total"]) == ("draft", "29.25", "2.93", "32.18")
    lines = [{"sku": "none", "quantity": 1}, {"sku": "SKU-77", "quantity": 1}]
    with pytest.raises(errors.ValidationError, match=r"lines\.0\.sku.*lines\.1\.sku") as caught:
        await desk.call("orders.place", customer=buyer.number, number="W-2", lines=lines)
    assert len(caught.value.issues) == 2
    with pytest.raises(errors.NotFoundError):  # the number is not one of theirs
        await other.call("orders.place", customer=buyer.number, number="W-3", lines=[{"sku": "x", "quantity": 1}])
    await desk.session.update(buyer, status="blocked", credit_limit=0)
    with pytest.raises(errors.ValidationError, match="is blocked"):
        await desk.call(
            "orders.place", customer=buyer.number, number="W-4", lines=[{"sku": product.sku, "quantity": 1}]
        )
    assert await desk.session.count(Order, {"number": {"starts_with": "W-"}}) == 1


@alone
async def test_the_state_of_an_order_cannot_be_written(desk: Desk) -> None:
    order = await desk.drafted()
    for changes in ({"status": "delivered"}, {"total": "1.00"}, {"version": 7}, {"customer_id": order.id}):
        with pytest.raises(errors.ValidationError):
            await desk.call("orders.update", id=order.id, version=1, changes=changes)
    done = await desk.call("orders.update", "sales", id=order.id, version=1, changes={"customer_reference": "PO 7"})
    assert (done["customer_reference"], done["version"], done["status"]) == ("PO 7", 2, "draft")


@alone
async def test_another_organizations_orders_are_not_there(desk: Desk, other: Desk) -> None:
    product = await desk.stocked(north=5)
    order = await desk.drafted((product, 1))
    for name in ("orders.confirm", "orders.pick", "orders.ship", "orders.deliver", "orders.cancel"):
        with pytest.raises(errors.NotFoundError):
            await other.call(name, key=f"{name}", id=order.id, version=1)
    with pytest.raises(errors.NotFoundError):
        await other.call("orders.update", id=order.id, version=1, changes={"customer_reference": "theirs"})
    assert await desk.session.get(Order, order.id) == order
    assert await desk.stock(product) == {"north": (5, 0)}


def test_nothing_is_shared_out_twice() -> None:
    def line(position: int, product: Product, quantity: int) -> OrderLine:
        return OrderLine.model_construct(position=position, product_id=product.id, quantity=quantity)

    product = Product.model_construct(id=UUID(int=1))
    items = {
        product.id: [
            InventoryItem.model_construct(id=UUID(int=ord(name)), warehouse=name, on_hand=on_hand, reserved=reserved)
            for name, on_hand, reserved in (("a", 5, 3), ("b", 4, 0), ("c", 1, 1))
        ]
    }
    shares, short = allocate([line(1, product, 3), line(2, product, 4), line(3, product, 3)], items)
    assert [(share.line.position, share.item.warehouse, share.quantity) for share in shares] == [
        (1, "b", 3),
        (3, "a", 2),
        (3, "b", 1),
    ]
    assert [(line.position, free) for line, free in short] == [(2, 3)]
