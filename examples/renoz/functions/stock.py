"""What orders do to inventory. Everybody locks in one order, so that nobody waits in a circle.

First the orders, then the inventory of their products, each by id. Whoever holds an order's row is alone with it: lines can
neither be added nor changed meanwhile, as their reference needs the row too. What is free is read under the lock, so two
orders never reserve the same piece.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from examples.renoz.entities import InventoryItem, Order, OrderLine, Reservation
from freehold import Entity, Transaction, UnitOfWork
from freehold.errors import Issue, ValidationError

__all__ = ["Share", "Stock", "all_of", "allocate", "hold_stock"]

EntityT = TypeVar("EntityT", bound=Entity)


@dataclass(frozen=True)
class Share:
    """A line's goods in one warehouse.

    Args:
        line: of the order.
        item: where they lie.
        quantity: how many.
    """

    line: OrderLine
    item: InventoryItem
    quantity: int


@dataclass(frozen=True)
class Stock:
    """The inventory that orders are about, locked until the transaction ends.

    Args:
        lines: of the orders, by order, in their positions; with their products.
        items: by product.
        reservations: by order line.
    """

    lines: Mapping[UUID, Sequence[OrderLine]]
    items: Mapping[UUID, Sequence[InventoryItem]]
    reservations: Mapping[UUID, Sequence[Reservation]]

    def reserve(self, unit: UnitOfWork, order: Order) -> list[Share]:
        """Adds to a unit of work what the order reserves.

        Raises:
            ValidationError: too little is there; each line that is short is told.
        """
        lines = self.lines.get(order.id, ())
        if not lines:
            raise ValidationError.single((), "has no lines; add what is ordered", "no_lines", subject=order.number)
        shares, short = allocate(lines, self.items)
        if short:
            issues = [_too_little(line, free) for line, free in short]
            raise ValidationError(issues, subject=order.number, hint="nothing was reserved; order less, or count again")
        for share in shares:
            unit.add(Reservation, order_line_id=share.line.id, inventory_item_id=share.item.id, quantity=share.quantity)
        for item, quantity in _sums((share.item.id, share.quantity) for share in shares).items():
            there = self._item(item)
            unit.update(there, reserved=there.reserved + quantity)
        return shares

    def release(self, unit: UnitOfWork, order: Order, *, gone: bool) -> None:
        """Adds to a unit of work that the order reserves nothing any more.

        Args:
            unit: collects it.
            order: whose.
            gone: whether the goods have left the warehouse.
        """
        held = [each for line in self.lines.get(order.id, ()) for each in self.reservations.get(line.id, ())]
        for reservation in held:
            unit.delete(reservation)
        for item, quantity in _sums((each.inventory_item_id, each.quantity) for each in held).items():
            there = self._item(item)
            left = {"on_hand": there.on_hand - quantity} if gone else {}
            unit.update(there, reserved=there.reserved - quantity, **left)

    def _item(self, id: UUID) -> InventoryItem:
        return next(item for items in self.items.values() for item in items if item.id == id)


async def hold_stock(transaction: Transaction, orders: Sequence[UUID]) -> Stock:
    """Locks the inventory of all products of orders, whose rows the transaction holds already."""
    lines = await all_of(transaction, OrderLine, {"order_id": {"in": orders}}, include={"product": True})
    products = sorted({line.product_id for line in lines})
    items = await all_of(transaction, InventoryItem, {"product_id": {"in": products}}, for_update=True)
    reservations = await all_of(transaction, Reservation, {"order_line_id": {"in": [line.id for line in lines]}})
    lines.sort(key=lambda line: line.position)
    return Stock(_by(lines, "order_id"), _by(items, "product_id"), _by(reservations, "order_line_id"))


def allocate(
    lines: Sequence[OrderLine], items: Mapping[UUID, Sequence[InventoryItem]]
) -> tuple[list[Share], list[tuple[OrderLine, int]]]:
    """Where the goods of lines are taken from: from the warehouse with most of them, and from the next where that is too few.

    Args:
        lines: in the order in which they are served.
        items: by product.

    Returns:
        The shares, and the lines that are short with what is free for each.
    """
    free = {item.id: item.on_hand - item.reserved for several in items.values() for item in several}
    shares: list[Share] = []
    short: list[tuple[OrderLine, int]] = []
    for line in lines:
        places = sorted(items.get(line.product_id, ()), key=lambda item: (-free[item.id], item.warehouse))
        there = sum(free[item.id] for item in places)
        if there < line.quantity:
            short.append((line, there))
            continue
        wanted = line.quantity
        for item in places:
            quantity = min(wanted, free[item.id])
            if quantity:
                shares.append(Share(line, item, quantity))
                free[item.id] -= quantity
                wanted -= quantity
    return shares, short


async def all_of(
    transaction: Transaction, entity: type[EntityT], where: Mapping[str, Any], **more: Any
) -> list[EntityT]:
    """All records that match, in the order of their ids, a thousand at a time.

    Args:
        transaction: that reads.
        entity: their class.
        where: a filter.
        more: `include` or `for_update`, as `list` takes them.
    """
    found: list[EntityT] = []
    cursor = None
    while True:
        page = await transaction.list(entity, where=where, order_by="id", limit=1_000, after=cursor, **more)
        found += page
        cursor = page.next
        if cursor is None:
            return found


def _too_little(line: OrderLine, free: int) -> Issue:
    message = f"{line.quantity} of {line.product.sku} are wanted, {max(free, 0)} are free"
    return Issue(("lines", line.position, "quantity"), message, "too_little_stock")


def _sums(amounts: Iterable[tuple[UUID, int]]) -> dict[UUID, int]:
    sums: dict[UUID, int] = {}
    for id, amount in amounts:
        sums[id] = sums.get(id, 0) + amount
    return sums


def _by(records: Iterable[EntityT], name: str) -> dict[UUID, list[EntityT]]:
    found: dict[UUID, list[EntityT]] = {}
    for record in records:
        found.setdefault(getattr(record, name), []).append(record)
    return found
