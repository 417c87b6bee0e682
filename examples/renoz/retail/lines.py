"""The lines of the file, and the rules that refuse some of them.

    InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
    536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01T08:26:00,2.55,17850,United Kingdom

An invoice whose number begins with C is a cancellation; its quantities are negative. Every line is either accepted or
refused, and one that is refused tells everything that is wrong with it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

from freehold.errors import Issue
from freehold.transfer.formats import Format
from freehold.transfer.rows import CsvRows, Row
from freehold.transfer.source import Source

__all__ = ["COLUMNS", "Line", "read_lines"]

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
NUMBER = re.compile(r"[CA]?\d{6}")
CUSTOMER = re.compile(r"\d{5}")


@dataclass(slots=True)
class Line:
    """One line. What cannot be read is None, and among the issues."""

    row: Row
    invoice: str
    stock: str
    description: str
    quantity: int | None
    day: date | None
    price: Decimal | None
    customer: str
    country: str
    issues: list[Issue]

    @property
    def is_credit(self) -> bool:
        """Whether it takes back what was sold."""
        return self.invoice.startswith("C")

    @property
    def value(self) -> Decimal:
        """Quantity times price, exactly; negative where it takes back. 0 where one of them cannot be read."""
        return Decimal(0) if self.quantity is None or self.price is None else self.quantity * self.price


def read_lines(path: Path) -> Iterator[Line]:
    """All lines of the file in order, the unreadable ones too.

    Raises:
        FileError: the file is not there, is cut off, or has other columns.
    """
    source = Source(path, Format())
    try:
        rows = CsvRows(source, Format())
        missing = [name for name in COLUMNS if name not in (rows.columns or ())]
        if missing:
            raise source.error(f"has no column {missing[0]}", hint=f"its columns must be {', '.join(COLUMNS)}")
        for row in rows:
            yield _line(row)
    finally:
        source.close()


def _line(row: Row) -> Line:
    if row.problem is not None:
        return Line(row, "", "", "", None, None, None, "", "", [row.problem])
    number, stock, description, quantity, moment, price, customer, country = (row.values[name] for name in COLUMNS)
    line = Line(row, number, stock, description, _whole(quantity), _day(moment), _decimal(price), customer, country, [])
    if not _is_sound(line):
        line.issues.extend(_problems(line))
    return line


def _is_sound(line: Line) -> bool:
    """What most lines are; the others are looked at closely."""
    quantity, price = line.quantity, line.price
    return (
        quantity is not None
        and quantity != 0
        and (quantity < 0) == line.is_credit
        and price is not None
        and price >= 0
        and line.day is not None
        and bool(line.description and line.stock and line.country)
        and CUSTOMER.fullmatch(line.customer) is not None
        and NUMBER.fullmatch(line.invoice) is not None
        and not line.invoice.startswith("A")
    )


def _problems(line: Line) -> Iterator[Issue]:
    """Everything that is wrong with a line."""
    if NUMBER.fullmatch(line.invoice) is None:
        yield Issue(("InvoiceNo",), "is no number of an invoice", "invoice_invalid")
    elif line.invoice.startswith("A"):
        yield Issue(("InvoiceNo",), "adjusts bad debt; it is no sale", "adjustment")
    if not line.customer:
        yield Issue(("CustomerID",), "there is no customer", "customer_missing")
    elif CUSTOMER.fullmatch(line.customer) is None:
        yield Issue(("CustomerID",), "is no number of a customer", "customer_invalid")
    for column, value in (("StockCode", line.stock), ("Description", line.description), ("Country", line.country)):
        if not value:
            yield Issue((column,), "is missing", f"{column.lower()}_missing")
    if line.day is None:
        yield Issue(("InvoiceDate",), "is no moment", "date_invalid")
    yield from _money_problems(line)


def _money_problems(line: Line) -> Iterator[Issue]:
    if line.price is None:
        yield Issue(("UnitPrice",), "is no amount of at most 4 decimal places", "price_invalid")
    elif line.price < 0:
        yield Issue(("UnitPrice",), "is below zero", "price_negative")
    if line.quantity is None:
        yield Issue(("Quantity",), "is no whole number", "quantity_invalid")
    elif line.quantity == 0:
        yield Issue(("Quantity",), "is zero", "quantity_zero")
    elif line.quantity < 0 and not line.is_credit:
        yield Issue(("Quantity",), "is below zero, and the invoice is no cancellation", "quantity_negative")
    elif line.quantity > 0 and line.is_credit:
        yield Issue(("Quantity",), "is above zero in a cancellation", "quantity_positive")


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text) if re.fullmatch(r"-?[0-9]{1,8}(\.[0-9]{1,4})?", text) else None
    except InvalidOperation:
        return None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None
