"""What goes in and out of the Python peers, as Pydantic models: the fields and bounds of `benchmarks.web.entities`."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.contenders.model import CustomerModel

__all__ = ["CustomerCreate", "CustomerModel", "CustomerPatch", "CustomerQuery", "Metrics", "Page"]

Status = Literal["prospect", "active", "inactive"]
Kind = Literal["person", "company"]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Credit = Annotated[Decimal, Field(max_digits=12, decimal_places=2, ge=0)]
Value = Annotated[Decimal, Field(max_digits=14, decimal_places=2)]


class CustomerCreate(BaseModel):
    """A new customer, as a client sends it."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    email: Annotated[str | None, Field(max_length=320)] = None
    phone: Annotated[str | None, Field(max_length=40)] = None
    status: Status = "prospect"
    kind: Kind = "company"
    industry: Annotated[str | None, Field(max_length=100)] = None
    credit: Credit = Decimal(0)
    lifetime_value: Value = Decimal(0)
    payment_days: Annotated[int, Field(ge=0)] = 30
    website: Annotated[str | None, Field(max_length=500)] = None
    notes: Annotated[str | None, Field(max_length=10_000)] = None
    tags: list[str] = []
    newsletter: bool = False
    last_order_at: datetime | None = None


class CustomerPatch(BaseModel):
    """The fields that a client changes; the others stay as they are. The defaults are never used."""

    model_config = ConfigDict(extra="forbid")

    name: Name = ""
    email: Annotated[str | None, Field(max_length=320)] = None
    phone: Annotated[str | None, Field(max_length=40)] = None
    status: Status = "prospect"
    kind: Kind = "company"
    industry: Annotated[str | None, Field(max_length=100)] = None
    credit: Credit = Decimal(0)
    lifetime_value: Value = Decimal(0)
    payment_days: Annotated[int, Field(ge=0)] = 30
    website: Annotated[str | None, Field(max_length=500)] = None
    notes: Annotated[str | None, Field(max_length=10_000)] = None
    tags: list[str] = []
    newsletter: bool = False
    last_order_at: datetime | None = None


class CustomerQuery(BaseModel):
    """Which page of which customers."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = None
    order: Literal["created_at", "-created_at"] = "created_at"
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: Annotated[str | None, Field(max_length=200)] = None


class Page(BaseModel):
    """Customers, and the cursor of the next page where there may be one."""

    model_config = ConfigDict(from_attributes=True)

    data: list[CustomerModel]
    next: str | None
    previous: str | None = None


class TopCustomer(BaseModel):
    id: UUID
    name: str
    orders: int
    total: Decimal


class Metrics(BaseModel):
    """The dashboard's figures."""

    customers: int
    customers_by_status: dict[str, int]
    new_customers: int
    open_orders: int
    open_total: Decimal
    top_customers: list[TopCustomer]
