"""The entity that the benchmarks work on: a customer as a CRM has it."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from freehold import Application, Entity, Index, field


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


application = Application("benchmarks", entities=[Customer])
