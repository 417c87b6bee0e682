"""What is in the file: read once, before anything is written.

Customers, products and orders are known by their numbers, and there are few of them; the lines are many, and are read again
when they are written. What stays in memory grows with the orders and not with the lines.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from examples.renoz.retail.lines import Line
from freehold.errors import Issue

__all__ = ["Country", "Found", "Survey", "Totals", "amount_of", "slug_of", "survey"]

CENT = Decimal("0.01")


@dataclass(slots=True)
class Totals:
    """How many lines, and what they are worth: exactly, and with what was taken back subtracted."""

    lines: int = 0
    value: Decimal = Decimal(0)

    def add(self, line: Line) -> None:
        """One line more."""
        self.lines += 1
        self.value += line.value


@dataclass(slots=True)
class Found:
    """An order: who ordered, when, and the sum of its amounts."""

    customer: str
    day: date
    total: Decimal = Decimal(0)


@lru_cache(maxsize=1_000)
def slug_of(name: str) -> str:
    """The slug of a country's organization."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-") or "unnamed"


@dataclass(slots=True)
class Country:
    """What the file has of one country, which becomes an organization.

    Args:
        name: as the file has it.
        customers: by number, since when.
        products: by stock code without its case: the code, the description and the price as they are told last.
        orders: by invoice number.
        lines: of all orders.
    """

    name: str
    lines: int = 0
    customers: dict[str, date] = field(default_factory=dict)
    products: dict[str, tuple[str, str, Decimal]] = field(default_factory=dict)
    orders: dict[str, Found] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """Its organization's slug."""
        return slug_of(self.name)

    @property
    def user_name(self) -> str:
        """Who imports."""
        return "Importer"

    @property
    def user_email(self) -> str:
        """Whose name is in the log."""
        return f"import@{self.slug}.example"


@dataclass(slots=True)
class Survey:
    """What is in the file.

    Args:
        countries: by slug; also those all of whose lines are refused.
        accepted, refused: the lines; together they are the file.
        reasons: how often each was given; a line may have several.
    """

    countries: dict[str, Country] = field(default_factory=dict)
    accepted: Totals = field(default_factory=Totals)
    refused: Totals = field(default_factory=Totals)
    reasons: Counter[str] = field(default_factory=Counter)
    _invoices: dict[str, tuple[str, str]] = field(default_factory=dict)

    def judge(self, line: Line) -> bool:
        """Whether a line is accepted: it breaks no rule, and its invoice is of one customer in one country, the first line's."""
        if not line.issues:
            owner = (slug_of(line.country), line.customer)
            if self._invoices.setdefault(line.invoice, owner) != owner:
                line.issues.append(Issue(("InvoiceNo",), "is of another customer in lines before", "invoice_of_two"))
        return not line.issues


def survey(lines: Iterable[Line], refuse: Callable[[Line], None]) -> Survey:
    """Reads all lines.

    Args:
        lines: of the file.
        refuse: is told each line that is refused.
    """
    found = Survey()
    for line in lines:
        if found.judge(line):
            found.accepted.add(line)
            _note(found, line)
        else:
            found.refused.add(line)
            if line.country:
                _country(found, line.country)
            found.reasons.update(issue.code for issue in line.issues)
            refuse(line)
    return found


def _country(found: Survey, name: str) -> Country:
    slug = slug_of(name)
    country = found.countries.get(slug)
    if country is None:
        country = found.countries[slug] = Country(name)
    return country


def _note(found: Survey, line: Line) -> None:
    """What an accepted line tells of its customer, product and order."""
    country = _country(found, line.country)
    if line.day is None or line.price is None:  # an accepted line has both
        return
    country.lines += 1
    country.customers.setdefault(line.customer, line.day)
    code = line.stock.casefold()
    before = country.products.get(code)
    price = line.price if line.price or before is None else before[2]
    country.products[code] = (before[0] if before else line.stock, line.description, price)
    order = country.orders.get(line.invoice)
    if order is None:
        order = country.orders[line.invoice] = Found(line.customer, line.day)
    order.total += amount_of(line)


def amount_of(line: Line) -> Decimal:
    """A line's amount in whole pence, positive also where it takes back."""
    return abs(line.value).quantize(CENT, ROUND_HALF_UP)
