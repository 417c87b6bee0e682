"""The entities that most tests use: every kind of field, every kind of relation."""

import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from freehold import Application, Entity, Index, Unique, field, reference


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Theme(BaseModel):
    color: str = "red"
    size: int | None = None
    ratio: Decimal | None = None
    dark: bool = False


class Profile(BaseModel):
    theme: Theme = Theme()
    language: str | None = None


class Customer(
    Entity,
    soft_delete=True,
    indexes=[Index("status", "name")],
    checks={"vip_has_credit": "status <> 'vip' or credit > 0"},
    expose="all",
):
    name: str = field(min_length=1, max_length=200, search=True, index=True)
    email: str | None = field(default=None, max_length=320, unique=True, ignore_case=True)
    status: Literal["prospect", "active", "vip"] = field(default="prospect", index=True)
    level: Level = field(default=Level.LOW)
    credit: Decimal = field(default=Decimal(0), digits=12, places=2, ge=0)
    visits: int = field(default=0)
    rating: float | None = field(default=None)
    born: date | None = field(default=None)
    seen_at: datetime | None = field(default=None, index=True)
    opens: time | None = field(default=None)
    patience: timedelta | None = field(default=None)
    photo: bytes | None = field(default=None, max_length=1000)
    newsletter: bool | None = field(default=None)
    tags: list[str] = field(default_factory=list)
    scores: list[Decimal] = field(default_factory=list, digits=8, places=3)
    profile: Profile = field(default=Profile())
    external: UUID | None = field(default=None)
    code: str | None = field(default=None, max_length=20, immutable=True)
    tax_number: str | None = field(default=None, max_length=40, private=True)


class Contact(Entity, soft_delete=True, unique=[Unique("customer_id", where={"is_primary": True})], expose="all"):
    customer_id: UUID = reference(Customer, on_delete="cascade", revisit=True)
    name: str = field(max_length=100, index=True)
    is_primary: bool = field(default=False)
    manager_id: UUID | None = reference("self", on_delete="set_null", default=None, reverse="reports", revisit=True)


class Order(Entity, expose="all"):
    customer_id: UUID = reference(Customer, on_delete="restrict")
    contact_id: UUID | None = reference(Contact, on_delete="set_null", default=None)
    number: str = field(max_length=30, unique=True)
    total: Decimal = field(digits=12, places=2)
    placed_on: date | None = field(default=None)


application = Application("tests", [Customer, Contact, Order])
