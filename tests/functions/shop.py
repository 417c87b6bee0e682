"""An application with functions of every kind, over the entities of `tests.world`."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from freehold import Application, Page, Rate, Session, System, Transaction, UnitOfWork
from tests.world import Contact, Customer, Order

shop = Application(
    "tests",
    [Customer, Contact, Order],
    roles={"admin": ["*"], "sales": ["customers.*", "*.list"], "guest": ["*.get", "*.list"]},
)


class Figures(BaseModel):
    """What the shop looks at in the morning."""

    customers: int
    credit: Decimal
    best: str | None = None


class Line(BaseModel):
    """One line of an order that is placed."""

    number: str = Field(min_length=1, max_length=30)
    total: Decimal


ON_PURPOSE = ("broken", "sleepy", "mistake", "impatient")
"""Functions below that fail, or take longer than they may; they answer 5xx as they should."""

reached: list[str] = []
"""What the functions below have come to, for tests of what must not be reached."""


@shop.query(name="customers.figures")
async def figures(session: Session, least: Decimal = Decimal(0)) -> Figures:
    """The organization's figures.

    Counts what is there now.

    Args:
        least: only customers with this much credit.
    """
    (group,) = await session.aggregate(Customer, sum=["credit"], where={"credit": {"gte": least}})
    return Figures(customers=group.count, credit=group.sum["credit"] or Decimal(0))


@shop.query(name="customers.named")
async def named(
    session: Session, names: list[str], limit: Annotated[int, Field(ge=1, le=100)] = 50, order: str | None = None
) -> Page[Customer]:
    """Customers by name."""
    return await session.list(Customer, where={"name": {"in": names}}, limit=limit, order_by=order)


@shop.query(requires=None)
async def whoami(session: Session) -> dict[str, str]:
    """Who asks, as the server knows."""
    return {"organization": str(session.context.organization_id), "role": session.context.role}


@shop.query(name="customers.sneaky", requires="customers.list")
async def sneaky(session: Session) -> Customer:
    """Tries to write."""
    return await session.create(Customer, name="sneaky")


@shop.query(name="customers.sneaky_sql", requires="customers.list")
async def sneaky_sql(session: Session) -> int:
    """Tries to write by hand."""
    await session.sql(None, "insert into customers (name) values ('sneaky') returning 1 as one")
    return 1


@shop.query(name="customers.sneaky_unit", requires="customers.list")
async def sneaky_unit(session: Session) -> None:
    """Tries to write in a unit of work."""
    async with session.unit_of_work() as unit:
        unit.add(Customer, name="sneaky")


@shop.query(name="customers.sneaky_transaction", requires="customers.list")
async def sneaky_transaction(session: Session) -> None:
    """Tries to write in a transaction."""
    async with session.transaction() as transaction:
        await transaction.create(Customer, name="sneaky")


@shop.query(name="customers.sneaky_many", requires="customers.list")
async def sneaky_many(session: Session) -> None:
    """Tries to write many."""
    await session.create_many(Customer, [{"name": "sneaky"}])


@shop.query(name="customers.sneaky_count", requires="customers.list")
async def sneaky_count(session: Session, id: UUID) -> None:
    """Tries to count."""
    await session.increment(Customer, id, visits=1)


@shop.command(name="orders.place")
async def place(unit: UnitOfWork, customer: str, lines: list[Line], fail: bool = False) -> Customer:
    """Makes a customer and orders, all or nothing.

    Args:
        customer: the name.
        lines: what is ordered.
        fail: whether it raises when all is collected.
    """
    made = unit.add(Customer, name=customer)
    for line in lines:
        unit.add(Order, customer_id=made.id, number=line.number, total=line.total)
    if fail:
        raise RuntimeError("the till is on fire: secret-of-the-till")
    return made


@shop.command(name="customers.visit", attempts=3)
async def visit(transaction: Transaction, id: UUID, fail: bool = False) -> Customer:
    """Counts a visit under a lock."""
    customer = await transaction.get(Customer, id, for_update=True)
    customer = await transaction.update(customer, visits=customer.visits + 1)
    if fail:
        raise RuntimeError("after the write")
    return customer


@shop.command(name="customers.pay", idempotent="key", rate_limit=Rate(5, per=60, by="actor"))
async def pay(transaction: Transaction, id: UUID, amount: Decimal) -> Decimal:
    """Adds to a customer's credit; each call needs an idempotency key."""
    reached.append("pay")
    customer = await transaction.get(Customer, id, for_update=True)
    return (await transaction.update(customer, credit=customer.credit + amount)).credit


@shop.query(name="customers.stream", stream=True)
async def stream(session: Session, most: int = 1_000) -> AsyncIterator[Customer]:
    """All customers, one by one."""
    after, left = None, most
    while left > 0:
        page = await session.list(Customer, order_by="name", limit=min(left, 10), after=after)
        for customer in page:
            reached.append(customer.name)
            yield customer
        after, left = page.next, left - len(page)
        if after is None:
            return


@shop.query(public=True)
async def hello(name: str = "you") -> str:
    """Greets."""
    return f"hello, {name}"


@shop.command(public=True, name="organizations.exists")
async def organization_exists(system: System, slug: str) -> bool:
    """Whether there is an organization of this name."""
    return await system.find_organization(slug) is not None


@shop.query(timeout=0.2, requires=None)
async def sleepy(session: Session) -> str:
    """Takes longer than it may."""
    try:
        await asyncio.sleep(60)
    finally:
        reached.append("woken")
    return "rested"


@shop.command(name="customers.mistake")
async def mistake(unit: UnitOfWork) -> int:
    """Writes, and returns something else than it declares."""
    unit.add(Customer, name="mistake")
    return "secret-of-the-mistake"  # type: ignore[return-value]  # that is the point


class Confidential(Figures):
    """Figures with more than is declared."""

    margin: str = "secret-of-the-margin"


@shop.query(requires=None)
async def more_than_declared(session: Session) -> Figures:
    """Returns a kind of figures that has more."""
    return Confidential(customers=1, credit=Decimal(1))


@shop.query(requires=None)
async def impatient(session: Session) -> str:
    """Waits for something of its own that takes too long."""
    raise TimeoutError("the printer does not answer")


@shop.query(requires=None)
async def broken(session: Session) -> int:
    """Returns something else than it declares."""
    return "secret-of-the-broken"  # type: ignore[return-value]  # that is the point


gates: list[asyncio.Event] = []
"""What `gated` waits for, where a test has put something here."""


@shop.query(requires=None)
async def gated(session: Session) -> str:
    """Waits until a test lets it go."""
    for gate in gates:
        await gate.wait()
    return "through"
