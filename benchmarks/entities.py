"""The entities that the benchmarks work on: customers as a CRM has them, and their orders."""

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from freehold import Application, Entity, Index, field, reference


class Customer(Entity, soft_delete=True, indexes=[Index("created_at", "id")]):
    """A customer of an organization."""

    name: str = field(min_length=1, max_length=200, index=True)
    email: str | None = field(default=None, max_length=320, unique=True, ignore_case=True)
    phone: str | None = field(default=None, max_length=40)
    status: Literal["prospect", "active", "inactive"] = field(default="prospect", index=True)
    kind: Literal["person", "company"] = field(default="company")
    industry: str | None = field(default=None, max_length=100)
    credit: Decimal = field(default=Decimal(0), digits=12, places=2, ge=0)
    lifetime_value: Decimal = field(default=Decimal(0), digits=14, places=2)
    payment_days: int = field(default=30, ge=0)
    website: str | None = field(default=None, max_length=500)
    notes: str | None = field(default=None, max_length=10_000)
    tags: list[str] = field(default_factory=list)
    newsletter: bool = field(default=False)
    last_order_at: datetime | None = field(default=None)


class Order(Entity):
    """What a customer ordered."""

    customer_id: UUID = reference(Customer)
    number: str = field(max_length=40, unique=True)


class Line(Entity):
    """One article of an order."""

    order_id: UUID = reference(Order, on_delete="cascade")
    position: int = field(ge=0)
    article: str = field(max_length=100)
    quantity: int = field(ge=1)
    price: Decimal = field(digits=12, places=2, ge=0)


application = Application("benchmarks", entities=[Customer, Order, Line])
