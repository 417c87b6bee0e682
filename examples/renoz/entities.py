"""What the CRM keeps. Nine declarations; tables, isolation, audit trail, input schemas and functions come from them.

`expose` says which functions an entity offers by itself, and which permission each needs. Stock and the state of orders are not
among what callers may write: `functions/` has commands for them.

The `ClassVar`s are relations as `include` brings them. They declare nothing; they let type checkers know the names.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel

from examples.renoz.roles import ROLES
from freehold import Application, Entity, Index, Unique, field, reference

__all__ = [
    "Activity",
    "Address",
    "Contact",
    "Customer",
    "CustomerSettings",
    "InventoryItem",
    "Invoicing",
    "Order",
    "OrderLine",
    "Product",
    "Reservation",
    "Specification",
    "application",
]

EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
COUNTRY = "^[A-Z]{2}$"
CURRENCY = "^[A-Z]{3}$"


class Invoicing(BaseModel):
    """How a customer is billed."""

    terms_days: int = 30
    by_email: bool = True
    purchase_order_required: bool = False


class CustomerSettings(BaseModel):
    """What a customer has agreed to; a JSON document that filters reach into."""

    language: Literal["en", "de", "fr", "nl"] = "en"
    invoicing: Invoicing = Invoicing()
    newsletter: bool = False


class Customer(
    Entity,
    soft_delete=True,
    expose="all",
    indexes=[Index("status", "name"), Index("account_manager", where={"status": "active"})],
    checks={
        "blocked_without_credit": "status <> 'blocked' or credit_limit = 0",
        "not_its_own_parent": "parent_id is null or parent_id <> id",
    },
):
    """A company that buys, or may."""

    number: str = field(max_length=20, pattern=r"^[A-Z]-\d{5}$", unique=True, immutable=True)
    name: str = field(min_length=1, max_length=200, search=True, index=True)
    legal_name: str | None = field(default=None, max_length=200, search=True)
    email: str | None = field(default=None, max_length=320, pattern=EMAIL, unique=True, ignore_case=True)
    phone: str | None = field(default=None, max_length=40)
    website: str | None = field(default=None, max_length=200)
    status: Literal["prospect", "active", "inactive", "blocked"] = field(default="prospect", index=True)
    segment: Literal["installer", "retailer", "developer", "public"] = field(default="installer")
    size: Literal["micro", "small", "medium", "large"] = field(default="small")
    account_manager: str | None = field(default=None, max_length=100)
    parent_id: UUID | None = reference("self", on_delete="set_null", default=None, reverse="subsidiaries")
    customer_since: date | None = field(default=None, index=True)
    credit_limit: Decimal = field(default=Decimal(0), digits=12, places=2, ge=0)
    discount_percent: Decimal = field(default=Decimal(0), digits=5, places=2, ge=0, le=100)
    health: int | None = field(default=None, ge=0, le=100, description="0 is about to leave, 100 is delighted")
    tax_number: str | None = field(default=None, max_length=40, private=True)
    tags: list[str] = field(default_factory=list, max_length=20)
    settings: CustomerSettings = field(default=CustomerSettings())

    contacts: ClassVar[tuple["Contact", ...]]
    contacts_count: ClassVar[int]
    addresses: ClassVar[tuple["Address", ...]]
    orders: ClassVar[tuple["Order", ...]]
    orders_count: ClassVar[int]
    activities: ClassVar[tuple["Activity", ...]]
    activities_count: ClassVar[int]
    subsidiaries: ClassVar[tuple["Customer", ...]]
    parent: ClassVar["Customer | None"]


class Contact(
    Entity,
    soft_delete=True,
    expose="all",
    unique=[
        Unique("customer_id", where={"is_primary": True}),
        Unique("customer_id", "email", ignore_case=["email"]),
    ],
    indexes=[Index("last_name", "first_name")],
    checks={"named": "first_name <> '' or last_name <> ''"},
):
    """A person at a customer. Each customer has one primary contact at most."""

    customer_id: UUID = reference(Customer, on_delete="cascade")
    first_name: str = field(default="", max_length=100, search=True)
    last_name: str = field(default="", max_length=100, search=True)
    email: str | None = field(default=None, max_length=320, pattern=EMAIL)
    phone: str | None = field(default=None, max_length=40)
    title: str | None = field(default=None, max_length=100)
    role: Literal["decision_maker", "influencer", "technical", "billing", "other"] = field(default="other")
    is_primary: bool = field(default=False)
    notes: str | None = field(default=None, max_length=5_000, private=True)

    customer: ClassVar[Customer]


class Address(
    Entity,
    unique=[Unique("customer_id", "label")],
    expose={
        "list": "customers.list",
        "get": "customers.get",
        "create": "customers.update",
        "update": "customers.update",
        "delete": "customers.update",
        "history": "customers.history",
    },
):
    """A place where a customer is billed or supplied. Who may change the customer may change it."""

    customer_id: UUID = reference(Customer, on_delete="cascade")
    label: str = field(max_length=60)
    kind: Literal["billing", "shipping", "site"] = field(default="shipping")
    street: str = field(max_length=200)
    city: str = field(max_length=100, search=True)
    postcode: str = field(max_length=20)
    country: str = field(max_length=2, pattern=COUNTRY)

    customer: ClassVar[Customer]


class Specification(BaseModel):
    """What a product's data sheet says."""

    warranty_years: int = 1
    certified: bool = False
    origin: str | None = None


class Product(Entity, soft_delete=True, indexes=[Index("category", "name")], expose="all"):
    """Something that is sold."""

    sku: str = field(min_length=1, max_length=40, unique=True, ignore_case=True, immutable=True)
    name: str = field(min_length=1, max_length=200, search=True, index=True)
    description: str | None = field(default=None, max_length=5_000, search=True)
    category: str = field(max_length=60)
    status: Literal["draft", "active", "discontinued"] = field(default="active")
    price: Decimal = field(digits=12, places=2, ge=0)
    cost: Decimal | None = field(default=None, digits=12, places=2, ge=0, private=True)
    weight_kg: Decimal | None = field(default=None, digits=8, places=3, gt=0)
    reorder_level: int = field(default=0, ge=0)
    specification: Specification = field(default=Specification())

    inventory: ClassVar[tuple["InventoryItem", ...]]


class InventoryItem(
    Entity,
    unique=[Unique("warehouse", "product_id")],
    checks={"reserved_is_there": "reserved <= on_hand"},
    expose=["list", "get", "history", "aggregate", "export"],
):
    """How much of a product lies in a warehouse, and how much of that is reserved for orders."""

    product_id: UUID = reference(Product, on_delete="restrict", reverse="inventory")
    warehouse: str = field(max_length=40)
    on_hand: int = field(default=0, ge=0)
    reserved: int = field(default=0, ge=0)
    counted_on: date | None = field(default=None)

    product: ClassVar[Product]
    reservations: ClassVar[tuple["Reservation", ...]]


class Order(
    Entity,
    indexes=[Index("status", "placed_on")],
    checks={
        "total_adds_up": "total = subtotal + tax",
        "only_credits_refer_back": "credits_id is null or kind = 'credit'",
        "due_after_placed": "due_on is null or placed_on is null or due_on >= placed_on",
    },
    expose=["list", "get", "update", "history", "aggregate", "export"],
):
    """What a customer ordered, or (a credit) what was taken back: its amounts are positive too.

    An order is cancelled, never deleted from sight.
    """

    customer_id: UUID = reference(Customer, on_delete="restrict")
    contact_id: UUID | None = reference(Contact, on_delete="set_null", default=None)
    number: str = field(max_length=20, unique=True, immutable=True)
    kind: Literal["sale", "credit"] = field(default="sale")
    credits_id: UUID | None = reference("self", on_delete="set_null", default=None, reverse="credit_orders")
    status: Literal["draft", "confirmed", "picked", "shipped", "delivered", "cancelled"] = field(default="draft")
    placed_on: date | None = field(default=None, index=True)
    due_on: date | None = field(default=None)
    paid_on: date | None = field(default=None)
    currency: str = field(default="AUD", max_length=3, pattern=CURRENCY)
    subtotal: Decimal = field(default=Decimal(0), digits=14, places=2, ge=0)
    tax: Decimal = field(default=Decimal(0), digits=14, places=2, ge=0)
    total: Decimal = field(default=Decimal(0), digits=14, places=2, ge=0)
    customer_reference: str | None = field(default=None, max_length=60)

    customer: ClassVar[Customer]
    contact: ClassVar[Contact | None]
    credits: ClassVar["Order | None"]
    lines: ClassVar[tuple["OrderLine", ...]]
    lines_count: ClassVar[int]


class OrderLine(
    Entity,
    unique=[Unique("order_id", "position")],
    checks={"amount_adds_up": "amount = round(quantity * unit_price * (100 - discount_percent) / 100, 2)"},
    expose={"list": "orders.list", "get": "orders.get", "aggregate": "orders.aggregate", "export": "orders.export"},
):
    """One product of an order, at the price of the day."""

    order_id: UUID = reference(Order, on_delete="cascade", reverse="lines")
    product_id: UUID = reference(Product, on_delete="restrict")
    position: int = field(ge=1)
    quantity: int = field(gt=0)
    unit_price: Decimal = field(digits=12, places=4, ge=0)
    discount_percent: Decimal = field(default=Decimal(0), digits=5, places=2, ge=0, le=100)
    amount: Decimal = field(digits=14, places=2, ge=0)

    order: ClassVar[Order]
    product: ClassVar[Product]
    reservations: ClassVar[tuple["Reservation", ...]]


class Reservation(
    Entity,
    unique=[Unique("order_line_id", "inventory_item_id")],
    expose={"list": "orders.list", "get": "orders.get"},
):
    """Goods that wait for an order: a line's, in one warehouse. They go with the goods, or when the order is cancelled."""

    order_line_id: UUID = reference(OrderLine, on_delete="restrict", reverse="reservations")
    inventory_item_id: UUID = reference(InventoryItem, on_delete="restrict", reverse="reservations")
    quantity: int = field(gt=0)

    order_line: ClassVar[OrderLine]
    inventory_item: ClassVar[InventoryItem]


class Activity(Entity, indexes=[Index("kind", "at")], expose="all"):
    """A call, a mail, a meeting, a note: what happened with a customer, and what is to be done."""

    customer_id: UUID = reference(Customer, on_delete="cascade")
    contact_id: UUID | None = reference(Contact, on_delete="set_null", default=None)
    order_id: UUID | None = reference(Order, on_delete="set_null", default=None)
    kind: Literal["call", "email", "meeting", "note", "task"] = field(default="note")
    subject: str = field(min_length=1, max_length=200, search=True)
    at: datetime = field(index=True)
    duration: timedelta | None = field(default=None)
    done: bool = field(default=True)
    source_key: str | None = field(
        default=None, max_length=60, unique=True, immutable=True, description="its id in the system it came from"
    )

    customer: ClassVar[Customer]


application = Application(
    "renoz",
    entities=[Customer, Contact, Address, Product, InventoryItem, Order, OrderLine, Reservation, Activity],
    roles=ROLES,
)
