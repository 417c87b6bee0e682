"""The sample data: the same rows for the same organization, on every machine and in every run.

A row is what `Entity.Create` takes, except that it refers to another row by that one's natural key (`"customer":
"C-00012"`), since ids are only known when records are made. Time stands still at `TODAY`.
"""

import random
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

from examples.renoz.vocabulary import FIRST_NAMES, LAST_NAMES, ORGANIZATIONS, SUBJECTS, TITLES, Profile

__all__ = ["MONTH_START", "ORGANIZATIONS", "TODAY", "Dataset", "Row", "generate"]

Row = dict[str, Any]  # Any: a field's value; which it is, the entity's input schema checks

TODAY = date(2026, 6, 15)
MONTH_START = TODAY.replace(day=1)
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Dataset:
    """All rows of one organization, in the order in which they can be loaded."""

    profile: Profile
    customers: list[Row] = field(default_factory=list)
    contacts: list[Row] = field(default_factory=list)
    addresses: list[Row] = field(default_factory=list)
    products: list[Row] = field(default_factory=list)
    inventory: list[Row] = field(default_factory=list)
    orders: list[Row] = field(default_factory=list)
    lines: list[Row] = field(default_factory=list)
    activities: list[Row] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many rows there are."""
        parts = (self.customers, self.contacts, self.addresses, self.products, self.inventory, self.orders)
        return sum(map(len, (*parts, self.lines, self.activities)))


@lru_cache(maxsize=8)
def generate(profile: Profile, scale: float = 1.0) -> Dataset:
    """The data of an organization.

    Args:
        profile: which organization.
        scale: 1 is about 3,000 rows; tests take less.
    """
    maker = _Maker(profile, max(int(profile.customers * scale), 12))
    maker.make_products()
    maker.make_customers()
    for customer in maker.data.customers:
        maker.make_contacts(customer)
        maker.make_addresses(customer)
        maker.make_orders(customer)
        maker.make_activities(customer)
    return maker.data


class _Maker:
    """Draws rows from one seeded source of chance."""

    def __init__(self, profile: Profile, customers: int) -> None:
        self.profile = profile
        self.wanted = customers
        self.chance = random.Random(f"renoz/{profile.slug}")
        self.data = Dataset(profile)

    def pick(self, **weights: int) -> str:
        """One of the names, as often as its weight says."""
        return self.chance.choices(list(weights), list(weights.values()))[0]

    def day(self, first: date, last: date) -> date:
        return first + timedelta(days=self.chance.randint(0, max((last - first).days, 0)))

    def money(self, lowest: int, highest: int) -> Decimal:
        return Decimal(self.chance.randint(lowest * 100, highest * 100)).quantize(CENT) / 100

    # -- products -----------------------------------------------------------------------------------------------------

    def make_products(self) -> None:
        for category, (names, lowest, highest) in self.profile.products.items():
            for name in names:
                for place, model in enumerate(self.profile.models):
                    step = (highest - lowest) // len(self.profile.models)
                    self.add_product(category, name, model, lowest + step * place, lowest + step * (place + 1))

    def add_product(self, category: str, name: str, model: str, lowest: int, highest: int) -> None:
        price = self.money(lowest, highest)
        sku = f"{category[:3]}-{_ascii(name)[:10]}-{model}".upper()
        self.data.products.append(
            {
                "sku": sku,
                "name": f"{name} {model}",
                "description": f"{name}, size {model}, for professional use.",
                "category": category,
                "status": self.pick(active=9, discontinued=1),
                "price": price,
                "cost": _cents(price * self.chance.randint(50, 75) / 100),
                "weight_kg": Decimal(self.chance.randint(200, 90_000)) / 1000,
                "reorder_level": self.chance.choice((5, 10, 20)),
                "specification": {
                    "warranty_years": self.chance.choice((1, 2, 5, 10)),
                    "certified": self.chance.random() < 0.7,
                    "origin": self.chance.choice(("AU", "DE", "NL", "KR", None)),
                },
            }
        )
        for warehouse in self.profile.warehouses:
            on_hand = self.chance.randint(0, self.chance.choice((6, 40, 120)))
            self.data.inventory.append(
                {
                    "product": sku,
                    "warehouse": warehouse,
                    "on_hand": on_hand,
                    "reserved": self.chance.randint(0, on_hand // 2),
                    "counted_on": self.day(date(2026, 4, 1), TODAY),
                }
            )

    # -- customers and their people -----------------------------------------------------------------------------------

    def make_customers(self) -> None:
        profile = self.profile
        names = [f"{place} {trade}" for place in profile.places for trade in profile.trades]
        names = [f"{name} {suffix}" for name in names for suffix in profile.suffixes]
        for place, name in enumerate(self.chance.sample(names, self.wanted), start=1):
            self.data.customers.append(self.customer(f"C-{place:05d}", name))

    def customer(self, number: str, name: str) -> Row:
        chance = self.chance
        status = self.pick(prospect=4, active=12, inactive=3, blocked=1)
        heads = [row for row in self.data.customers if row["parent"] is None]  # groups have two levels
        new = status != "blocked" and chance.random() < 0.06
        return {
            "number": number,
            "name": name,
            "legal_name": f"{name} ({self.profile.currency})" if chance.random() < 0.2 else None,
            "email": f"office@{_ascii(name)}.example",
            "phone": f"+{chance.randint(30, 61)} {chance.randint(100, 999)} {chance.randint(1000, 9999)}",
            "website": f"https://{_ascii(name)}.example" if chance.random() < 0.8 else None,
            "status": status,
            "segment": self.pick(installer=6, retailer=3, developer=2, public=1),
            "size": self.pick(micro=3, small=5, medium=3, large=1),
            "account_manager": chance.choice(self.profile.managers),
            "parent": chance.choice(heads)["number"] if heads and chance.random() < 0.08 else None,
            "customer_since": self.day(MONTH_START, TODAY) if new else self.day(date(2021, 1, 1), date(2026, 5, 31)),
            "credit_limit": Decimal(0) if status == "blocked" else Decimal(chance.randint(2, 120) * 500),
            "discount_percent": Decimal(chance.choice((0, 0, 0, "2.50", 5, "7.50", 10))),
            "health": chance.randint(20, 100) if status != "prospect" else None,
            "tax_number": f"{chance.randint(10, 99)} {chance.randint(100_000_000, 999_999_999)}",
            "tags": sorted(
                chance.sample(("key-account", "seasonal", "export", "fleet", "referral"), chance.randint(0, 3))
            ),
            "settings": {
                "language": self.pick(en=6, de=2, fr=1, nl=1),
                "invoicing": {
                    "terms_days": chance.choice((14, 30, 30, 60)),
                    "by_email": chance.random() < 0.8,
                    "purchase_order_required": chance.random() < 0.25,
                },
                "newsletter": chance.random() < 0.4,
            },
        }

    def make_contacts(self, customer: Row) -> None:
        people = [(first, last) for first in FIRST_NAMES for last in LAST_NAMES]
        chosen = self.chance.sample(people, self.chance.choice((1, 1, 2, 2, 3)))
        primary = self.chance.randrange(len(chosen)) if self.chance.random() < 0.95 else None
        domain = customer["email"].split("@")[1]
        for place, (first, last) in enumerate(chosen):
            role = self.pick(decision_maker=3, influencer=2, technical=2, billing=2, other=1)
            self.data.contacts.append(
                {
                    "customer": customer["number"],
                    "first_name": first,
                    "last_name": last,
                    "email": f"{_ascii(first)}.{_ascii(last)}@{domain}",
                    "phone": customer["phone"] if self.chance.random() < 0.5 else None,
                    "title": self.chance.choice(TITLES[role]),
                    "role": role,
                    "is_primary": place == primary,
                    "notes": "Do not call on Fridays." if self.chance.random() < 0.05 else None,
                }
            )

    def make_addresses(self, customer: Row) -> None:
        places = [("Head office", "billing"), ("Warehouse", "shipping"), ("Site", "site")]
        for label, kind in places[: self.chance.choice((1, 1, 1, 2, 3))]:
            city, postcode, country = self.chance.choice(self.profile.cities)
            self.data.addresses.append(
                {
                    "customer": customer["number"],
                    "label": label,
                    "kind": kind,
                    "street": f"{self.chance.randint(1, 240)} {self.chance.choice(LAST_NAMES)} Street",
                    "city": city,
                    "postcode": f"{postcode}{self.chance.randint(10, 99)}",
                    "country": country,
                }
            )

    # -- what happens with them ---------------------------------------------------------------------------------------

    def make_orders(self, customer: Row) -> None:
        if customer["status"] == "prospect":
            return
        contacts = [row["email"] for row in self.data.contacts if row["customer"] == customer["number"]]
        for _ in range(self.chance.choice((0, 1, 1, 2, 3, 4, 5))):
            first = max(customer["customer_since"], TODAY - timedelta(days=540))
            placed = self.day(first, TODAY)
            number = f"SO-{len(self.data.orders) + 1:05d}"
            lines = self.lines(number, customer)
            subtotal = sum((line["amount"] for line in lines), Decimal(0))
            tax = _cents(subtotal * self.profile.tax_percent / 100)
            status = self.order_status((TODAY - placed).days)
            due = placed + timedelta(days=customer["settings"]["invoicing"]["terms_days"])
            paid = status == "delivered" and self.chance.random() < 0.94
            self.data.lines.extend(lines)
            self.data.orders.append(
                {
                    "customer": customer["number"],
                    "contact": (customer["number"], self.chance.choice(contacts)) if contacts else None,
                    "number": number,
                    "status": status,
                    "placed_on": placed,
                    "due_on": due,
                    "paid_on": self.day(placed, min(due, TODAY)) if paid else None,
                    "currency": self.profile.currency,
                    "subtotal": subtotal,
                    "tax": tax,
                    "total": subtotal + tax,
                    "customer_reference": f"PO {self.chance.randint(1000, 9999)}"
                    if self.chance.random() < 0.3
                    else None,
                }
            )

    def order_status(self, days: int) -> str:
        if days < 7:
            return self.pick(draft=2, confirmed=5, picked=1)
        if days < 30:
            return self.pick(confirmed=2, picked=2, shipped=4, cancelled=1)
        return self.pick(delivered=14, shipped=1, cancelled=1)

    def lines(self, order: str, customer: Row) -> list[Row]:
        chosen = self.chance.sample(self.data.products, self.chance.choice((1, 2, 2, 3, 3, 4)))
        rows = []
        for position, product in enumerate(chosen, start=1):
            quantity = self.chance.choice((1, 1, 2, 3, 4, 6, 10, 12))
            discount = customer["discount_percent"] if quantity > 2 else Decimal(0)
            amount = _cents(quantity * product["price"] * (100 - discount) / 100)
            rows.append(
                {
                    "order": order,
                    "product": product["sku"],
                    "position": position,
                    "quantity": quantity,
                    "unit_price": product["price"],
                    "discount_percent": discount,
                    "amount": amount,
                }
            )
        return rows

    def make_activities(self, customer: Row) -> None:
        orders = [row for row in self.data.orders if row["customer"] == customer["number"]]
        contacts = [row for row in self.data.contacts if row["customer"] == customer["number"]]
        for _ in range(self.chance.choice((0, 1, 2, 3, 4, 6))):
            kind = self.pick(call=4, email=4, meeting=2, note=2, task=2)
            day = self.day(TODAY - timedelta(days=360), TODAY)
            timed = kind in ("call", "meeting")
            self.data.activities.append(
                {
                    "customer": customer["number"],
                    "contact": (customer["number"], self.chance.choice(contacts)["email"]) if kind != "note" else None,
                    "order": self.chance.choice(orders)["number"] if orders and self.chance.random() < 0.3 else None,
                    "kind": kind,
                    "subject": self.chance.choice(SUBJECTS[kind]),
                    "at": datetime.combine(day, time(self.chance.randint(7, 17), self.chance.randrange(0, 60, 5)), UTC),
                    "duration": timedelta(minutes=self.chance.choice((5, 10, 30, 60))) if timed else None,
                    "done": kind != "task" or day < TODAY - timedelta(days=20),
                    "source_key": f"crm-{len(self.data.activities) + 1:06d}",
                }
            )


def _cents(value: Decimal) -> Decimal:
    """Rounded as PostgreSQL rounds numeric."""
    return value.quantize(CENT, ROUND_HALF_UP)


def _ascii(text: str) -> str:
    """A text as a part of an address: `Île-de-Ré & Sons` to `ile-de-re-sons`."""
    plain = unicodedata.normalize("NFKD", text.replace("ø", "o").replace("Ø", "O")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
