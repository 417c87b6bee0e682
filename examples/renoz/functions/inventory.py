"""Commands about inventory."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from examples.renoz.entities import InventoryItem, Product, application
from freehold import Transaction
from freehold.errors import NotFoundError, ValidationError

__all__ = ["count"]


@application.command(name="inventory_items.count", idempotent=True, attempts=3)
async def count(
    transaction: Transaction,
    sku: str,
    warehouse: Annotated[str, Field(min_length=1, max_length=40)],
    on_hand: Annotated[int, Field(ge=0, le=10_000_000)],
) -> InventoryItem:
    """Says how much of a product was counted in a warehouse.

    Args:
        sku: the product's.
        warehouse: where.
        on_hand: what is there, with what is reserved.
    """
    product = await transaction.find(Product, {"sku": sku})
    if product is None:
        raise NotFoundError("Product", sku)
    today = datetime.now(UTC).date()
    place = {"product_id": product.id, "warehouse": warehouse}
    item = await transaction.find(InventoryItem, place, for_update=True)
    if item is None:
        return await transaction.create(InventoryItem, **place, on_hand=on_hand, counted_on=today)
    if on_hand < item.reserved:
        message = f"is {on_hand}, and {item.reserved} are reserved for orders; cancel some of these first"
        raise ValidationError.single(("on_hand",), message, "reserved", subject=f"{sku} in {warehouse}")
    return await transaction.update(item, on_hand=on_hand, counted_on=today)
