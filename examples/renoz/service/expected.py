"""What functions should answer, computed from the sample data in plain Python."""

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal

from examples.renoz.data import Dataset
from examples.renoz.facts import Facts

__all__ = ["by_status", "first_customers", "points_by_month", "subjects"]

VOID = ("draft", "cancelled")


def first_customers(data: Dataset, most: int) -> list[Facts]:
    """The active customers with the highest limits."""
    found = [row for row in data.customers if row["status"] == "active"]
    found.sort(key=lambda row: (-row["credit_limit"], row["number"]))
    return [{"number": row["number"], "name": row["name"]} for row in found[:most]]


def by_status(data: Dataset) -> dict[str, int]:
    """How many customers have each status."""
    return dict(Counter(row["status"] for row in data.customers))


def points_by_month(data: Dataset, until: date, months: int) -> list[Facts]:
    """Orders and their value of the last months."""
    starts = [until.replace(day=1)]
    while len(starts) < months:
        starts.append((starts[-1] - timedelta(days=1)).replace(day=1))
    points = []
    for start in reversed(starts):
        orders = [
            row
            for row in data.orders
            if row["status"] not in VOID and row["placed_on"] <= until and row["placed_on"].replace(day=1) == start
        ]
        total = sum((row["total"] for row in orders), Decimal(0))
        points.append({"start": start, "orders": len(orders), "total": f"{total:.2f}" if orders else "0"})
    return points


def subjects(data: Dataset, number: str) -> list[str]:
    """What was done with a customer, the latest first; at one moment in any order, so they are sorted."""
    return sorted(row["subject"] for row in data.activities if row["customer"] == number)
