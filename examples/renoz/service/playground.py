"""Records of the demo's own, which whoever tries the server may change: a customer, a product, and two orders for it.

Their numbers begin with `D-` and `DEMO-`, and so do those of what the lines make. All of that goes again: when the server
stops, and before the next tour, whose figures are those of the sample data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from examples.renoz.entities import Customer, InventoryItem, Order, OrderLine, Product
from examples.renoz.functions.orders import cancel
from freehold import Entity, Session

__all__ = ["Playground", "clear", "prepare"]

EntityT = TypeVar("EntityT", bound=Entity)


@dataclass(frozen=True)
class Playground:
    """What there is to play with.

    Args:
        customer: in version 1.
        product: of which three pieces are there.
        fits, short: drafts of two pieces each: the first takes what the second would need.
    """

    customer: Customer
    product: Product
    fits: Order
    short: Order


async def prepare(session: Session) -> Playground:
    """Makes the records anew."""
    await clear(session)
    async with session.unit_of_work() as unit:
        customer = unit.add(Customer, number="D-00001", name="Demo & Daughters", status="active", credit_limit=1_000)
        product = unit.add(Product, sku="DEMO-1", name="Demo cell", category="demo", price="25.00")
        unit.add(InventoryItem, product_id=product.id, warehouse="demo", on_hand=3)
        orders = []
        for number in ("D-1", "D-2"):
            order = unit.add(Order, customer_id=customer.id, number=number, subtotal=50, total=50)
            line = {"product_id": product.id, "position": 1, "quantity": 2, "unit_price": 25, "amount": 50}
            unit.add(OrderLine, order_id=order.id, **line)
            orders.append(order)
    return Playground(customer, product, *orders)


async def clear(session: Session) -> None:
    """Removes them, and what was made with them."""
    customers = await _all(session, Customer, {"number": {"starts_with": "D-"}})
    products = await _all(session, Product, {"sku": {"starts_with": "DEMO-"}})
    played = {
        "or": [
            {"customer_id": {"in": [customer.id for customer in customers]}},
            {"lines.product_id": {"in": [product.id for product in products]}},
            {"number": {"starts_with": "D-"}},
        ]
    }
    for order in await _all(session, Order, played):
        if order.status in ("draft", "confirmed", "picked"):  # what it reserved is free again
            async with session.transaction() as transaction:
                order = await cancel(transaction, order.id, order.version)
        await session.delete(order)
    for customer in customers:
        await session.purge(customer)
    if products:
        await session.delete_where(InventoryItem, {"product_id": {"in": [product.id for product in products]}})
    for product in products:
        await session.purge(product)


async def _all(session: Session, entity: type[EntityT], where: Mapping[str, Any]) -> list[EntityT]:
    found: list[EntityT] = []
    cursor = None
    while True:
        deleted = entity.__entity__.soft_delete
        page = await session.list(entity, where=where, limit=1_000, after=cursor, deleted=deleted)
        found += page
        cursor = page.next
        if cursor is None:
            return found
