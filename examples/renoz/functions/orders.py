"""Commands about orders: placing one, and its way from draft to delivered, with the stock that it needs.

An order's status changes here and nowhere else: `orders.update` takes what else may change. Each step is one transaction
in which the order and the inventory of its products are locked; see `stock`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from examples.renoz.entities import CURRENCY, Customer, Order, OrderLine, Product, application
from examples.renoz.functions.results import Problem, StatusResult, StatusResults, Versioned, results_of
from examples.renoz.functions.stock import Share, Stock, hold_stock
from freehold import Transaction, UnitOfWork
from freehold.errors import ConcurrencyError, ForbiddenError, FreeholdError, Issue, NotFoundError, ValidationError
from freehold.model.permissions import permits

__all__ = ["Confirmation", "Line", "OrderChanges", "Reserved", "Step", "place", "set_orders_status", "update"]

Step = Literal["confirmed", "picked", "shipped", "delivered", "cancelled"]

FROM: Mapping[str, Sequence[str]] = {
    "confirmed": ("draft",),
    "picked": ("confirmed",),
    "shipped": ("confirmed", "picked"),
    "delivered": ("shipped",),
    "cancelled": ("draft", "confirmed", "picked"),
}
"""What an order may be before each step."""

VERBS: Mapping[str, str] = {
    "confirmed": "confirm",
    "picked": "pick",
    "shipped": "ship",
    "delivered": "deliver",
    "cancelled": "cancel",
}
MOST = 100
CENT = Decimal("0.01")


class Line(BaseModel):
    """What is ordered of one product."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sku: str = Field(min_length=1, max_length=40)
    quantity: int = Field(ge=1, le=1_000_000)


class OrderChanges(BaseModel):
    """What may change of an order without a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    contact_id: UUID | None = None
    due_on: date | None = None
    paid_on: date | None = None
    customer_reference: str | None = Field(default=None, max_length=60)


class Reserved(BaseModel):
    """What waits for an order in one warehouse."""

    model_config = ConfigDict(frozen=True)
    line: int
    sku: str
    warehouse: str
    quantity: int


class Confirmation(BaseModel):
    """A confirmed order, and what was reserved for it."""

    model_config = ConfigDict(frozen=True)
    id: UUID
    number: str
    status: str
    version: int
    reserved: list[Reserved]


@application.command(name="orders.place")
async def place(
    unit: UnitOfWork,
    customer: str,
    number: Annotated[str, Field(min_length=1, max_length=20)],
    lines: Annotated[list[Line], Field(min_length=1, max_length=200)],
    currency: Annotated[str, Field(pattern=CURRENCY)] = "AUD",
    tax_percent: Annotated[Decimal, Field(ge=0, le=100)] = Decimal(0),
    reference: Annotated[str | None, Field(max_length=60)] = None,
) -> Order:
    """Drafts an order at the prices of today and with the customer's discount. Nothing is reserved before it is confirmed.

    Args:
        customer: the customer's number.
        number: the order's, which nobody has used.
        lines: products and quantities.
        currency: of the amounts.
        tax_percent: on all of them.
        reference: what the customer calls it.
    """
    buyer = await unit.find(Customer, {"number": customer})
    if buyer is None:
        raise NotFoundError("Customer", customer)
    if buyer.status == "blocked":
        raise ValidationError.single(("customer",), "is blocked; it orders nothing", "blocked", subject="orders.place")
    products = await _products(unit, lines)
    amounts = [
        _cents(line.quantity * product.price * (100 - buyer.discount_percent) / 100) for line, product in products
    ]
    subtotal = sum(amounts, Decimal(0))
    tax = _cents(subtotal * tax_percent / 100)
    order = unit.add(
        Order, customer_id=buyer.id, number=number, currency=currency, customer_reference=reference,
        placed_on=_today(), subtotal=subtotal, tax=tax, total=subtotal + tax,
    )  # fmt: skip
    for position, ((line, product), amount) in enumerate(zip(products, amounts, strict=True), start=1):
        unit.add(
            OrderLine, order_id=order.id, product_id=product.id, position=position, quantity=line.quantity,
            unit_price=product.price, discount_percent=buyer.discount_percent, amount=amount,
        )  # fmt: skip
    return order


@application.command(name="orders.update")
async def update(transaction: Transaction, id: UUID, version: int, changes: OrderChanges) -> Order:
    """Changes an order's contact, days or reference. Its status has commands of its own, and its amounts come from its lines.

    Args:
        id: the order's.
        version: the one that was seen.
        changes: what is not there stays.
    """
    return await transaction.update((Order, id, version), **changes.model_dump(exclude_unset=True))


@application.command(name="orders.confirm", idempotent="key", attempts=3)
async def confirm(transaction: Transaction, id: UUID, version: int) -> Confirmation:
    """Confirms a draft, and reserves its goods: all of them or none.

    Where too little is free, each line that is short is told, and nothing is reserved. Of two that want the last piece one gets
    it.

    Args:
        id: the order's.
        version: the one that was seen.
    """
    order, stock = await _held(transaction, id, version)
    shares = await _step(transaction, order, stock, "confirmed")
    reserved = [
        Reserved(
            line=share.line.position,
            sku=share.line.product.sku,
            warehouse=share.item.warehouse,
            quantity=share.quantity,
        )
        for share in shares
    ]
    return Confirmation(id=order.id, number=order.number, status=order.status, version=order.version, reserved=reserved)


@application.command(name="orders.pick", attempts=3)
async def pick(transaction: Transaction, id: UUID, version: int) -> Order:
    """Notes that the goods of a confirmed order have been picked.

    Args:
        id: the order's.
        version: the one that was seen.
    """
    return await _moved(transaction, id, version, "picked")


@application.command(name="orders.ship", attempts=3)
async def ship(transaction: Transaction, id: UUID, version: int) -> Order:
    """Ships an order: what was reserved for it leaves the warehouses.

    Args:
        id: the order's.
        version: the one that was seen.
    """
    return await _moved(transaction, id, version, "shipped")


@application.command(name="orders.deliver", attempts=3)
async def deliver(transaction: Transaction, id: UUID, version: int) -> Order:
    """Notes that a shipped order has arrived.

    Args:
        id: the order's.
        version: the one that was seen.
    """
    return await _moved(transaction, id, version, "delivered")


@application.command(name="orders.cancel", attempts=3)
async def cancel(transaction: Transaction, id: UUID, version: int) -> Order:
    """Cancels an order that has not left yet. What was reserved for it is free again.

    Args:
        id: the order's.
        version: the one that was seen.
    """
    return await _moved(transaction, id, version, "cancelled")


@application.command(name="orders.set_status", attempts=5)
async def set_orders_status(
    transaction: Transaction,
    orders: Annotated[list[Versioned], Field(min_length=1, max_length=MOST)],
    status: Step,
) -> StatusResults:
    """Takes many orders one step further. Each has its own result: one that cannot be moved does not hold up the others.

    It needs the permission of the step as well: `orders.ship` where they are shipped.

    Args:
        orders: up to 100, each in the version that was seen.
        status: what all of them become.
    """
    wanted = f"orders.{VERBS[status]}"
    if not permits(transaction.context.permissions, wanted):
        raise ForbiddenError(
            f"orders that become {status} need the permission {wanted}", hint="ask an administrator of the organization"
        )
    ids = list(dict.fromkeys(item.id for item in orders))
    held = {order.id: order for order in await transaction.get_many(Order, ids, for_update=True)}
    await hold_stock(transaction, list(held))  # all of it before the first step: later steps wait for nobody

    async def move(item: Versioned) -> Order:
        order, stock = await _held(transaction, item.id, item.version)
        await _step(transaction, order, stock, status)
        return order

    done = await transaction.each(orders, move, tolerate=1.0)
    problems = {failure.index: _problem(failure.error) for failure in done.failures}
    moved = iter(done.results)
    return results_of(
        [
            StatusResult(id=item.id, problem=problems[index])
            if index in problems
            else StatusResult(id=item.id, version=next(moved).version)
            for index, item in enumerate(orders)
        ]
    )


async def _moved(transaction: Transaction, id: UUID, version: int, status: Step) -> Order:
    order, stock = await _held(transaction, id, version)
    await _step(transaction, order, stock, status)
    return order


async def _held(transaction: Transaction, id: UUID, version: int) -> tuple[Order, Stock]:
    """An order of an expected version and its stock, locked.

    Raises:
        NotFoundError, ConcurrencyError: it is not there, or was changed since.
    """
    order = await transaction.get(Order, id, for_update=True)
    if order.version != version:
        raise ConcurrencyError("Order", id, expected=version, actual=order.version, current=order)
    return order, await hold_stock(transaction, [id])


async def _step(transaction: Transaction, order: Order, stock: Stock, status: Step) -> list[Share]:
    """Takes an order one step further, with what that does to the stock.

    Raises:
        ValidationError: it is not where the step begins, or its goods are not there.
    """
    if order.status not in FROM[status]:
        message = f"is {order.status}; only one that is {' or '.join(FROM[status])} becomes {status}"
        raise ValidationError.single(("status",), message, "step", subject=order.number)
    shares: list[Share] = []
    async with transaction.unit_of_work() as unit:
        if order.kind == "sale":
            if status == "confirmed":
                shares = stock.reserve(unit, order)
            elif status in ("shipped", "cancelled"):
                stock.release(unit, order, gone=status == "shipped")
        placed = {"placed_on": _today()} if order.placed_on is None else {}
        unit.update(order, status=status, **placed)
    return shares


async def _products(unit: UnitOfWork, lines: Sequence[Line]) -> list[tuple[Line, Product]]:
    """The products of lines.

    Raises:
        ValidationError: some are not sold; each is told.
    """
    wanted = sorted({line.sku for line in lines})
    page = await unit.list(Product, where={"sku": {"in": wanted}, "status": "active"}, limit=1_000)
    known = {product.sku: product for product in page}
    issues = [
        Issue(("lines", index, "sku"), f"{line.sku} is no product that is sold", "unknown_product")
        for index, line in enumerate(lines)
        if line.sku not in known
    ]
    if issues:
        raise ValidationError(issues, subject="orders.place")
    return [(line, known[line.sku]) for line in lines]


def _problem(error: Exception) -> Problem:
    if isinstance(error, FreeholdError):
        return Problem.of(error)
    raise error  # the program's own fault: nothing is kept


def _today() -> date:
    return datetime.now(UTC).date()


def _cents(value: Decimal) -> Decimal:
    """Rounded as PostgreSQL rounds numeric."""
    return value.quantize(CENT, ROUND_HALF_UP)
