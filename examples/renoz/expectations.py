"""What the tour should find, computed from the sample data in plain Python: no database, and no code of the calls.

Each function takes the data of the organization whose step it is about, and answers in the shape of `facts`.
"""

from collections import Counter
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from examples.renoz.attempts import ATTEMPTS
from examples.renoz.calls import TOUR_NUMBER
from examples.renoz.costs import MEASURED
from examples.renoz.data import MONTH_START, TODAY, Dataset, Row
from examples.renoz.facts import Facts
from freehold.model.words import words

__all__ = [
    "expect_attempts",
    "expect_back",
    "expect_best",
    "expect_changes",
    "expect_conflict",
    "expect_costs",
    "expect_figures",
    "expect_first_page",
    "expect_found",
    "expect_groups",
    "expect_issues",
    "expect_late_payers",
    "expect_narrowed",
    "expect_next_page",
    "expect_placed",
    "expect_problems",
    "expect_proof",
    "expect_report",
    "expect_summary",
    "expect_then",
    "expect_tree",
]

CENT = Decimal("0.01")
OPEN = ("confirmed", "picked", "shipped")
VOID = ("draft", "cancelled")


def _cents(value: Decimal) -> Decimal:
    return value.quantize(CENT, ROUND_HALF_UP)


def _picked(row: Row, *names: str) -> Facts:
    return {name: _cents(row[name]) if isinstance(row[name], Decimal) else row[name] for name in names}


def _total(rows: list[Row]) -> Decimal:
    return sum((row["total"] for row in rows), Decimal("0.00"))


# -- lists ------------------------------------------------------------------------------------------------------------


def _page(data: Dataset, first: int, last: int) -> Facts:
    found = [row for row in data.customers if row["status"] == "active" and row["credit_limit"] >= 25_000]
    found.sort(key=lambda row: (-row["credit_limit"], row["name"]))
    rows = [
        _picked(row, "number", "name", "segment", "account_manager", "credit_limit") for row in found[first - 1 : last]
    ]
    return {"total": len(found), "previous": first > 1, "next": len(found) > last, "customers": rows}


def expect_first_page(data: Dataset) -> Facts:
    """The active customers with the highest limits."""
    return _page(data, 1, 6)


def expect_next_page(data: Dataset) -> Facts:
    """Those after them."""
    return _page(data, 7, 12)


def expect_late_payers(data: Dataset) -> Facts:
    """Unpaid deliveries with batteries, to customers on short terms that are no key accounts."""
    customers = {row["number"]: row for row in data.customers}
    batteries = {row["sku"] for row in data.products if row["category"] == "battery"}
    with_batteries = {row["order"] for row in data.lines if row["product"] in batteries}
    found = [
        row
        for row in data.orders
        if row["paid_on"] is None
        and row["status"] in ("shipped", "delivered")
        and row["number"] in with_batteries
        and customers[row["customer"]]["settings"]["invoicing"]["terms_days"] <= 30
        and "key-account" not in customers[row["customer"]]["tags"]
    ]
    found.sort(key=lambda row: (row["due_on"], row["number"]))
    return {"total": len(found), "orders": [_late(row, customers[row["customer"]]) for row in found[:5]]}


def _late(order: Row, customer: Row) -> Facts:
    terms = customer["settings"]["invoicing"]["terms_days"]
    return _picked(order, "number", "status", "due_on", "total") | {"customer": customer["name"], "terms_days": terms}


def expect_tree(data: Dataset) -> Facts:
    """The first key accounts to whom something was delivered, with what belongs to them."""
    served = {row["customer"] for row in data.orders if row["status"] == "delivered"}
    found = [row for row in data.customers if "key-account" in row["tags"] and row["number"] in served]
    found.sort(key=lambda row: str(row["number"]))
    return {"customers": [_branch(data, row) for row in found[:2]]}


def _branch(data: Dataset, customer: Row) -> Facts:
    number = customer["number"]
    contacts = [row for row in data.contacts if row["customer"] == number]
    contacts.sort(key=lambda row: (not row["is_primary"], row["last_name"], row["first_name"]))
    orders = sorted((row for row in data.orders if row["customer"] == number), key=lambda row: str(row["number"]))
    orders.sort(key=lambda row: row["placed_on"] or date.min, reverse=True)  # stable: numbers stay in order
    return _picked(customer, "number", "name") | {
        "activities": sum(row["customer"] == number for row in data.activities),
        "contacts": [
            {"name": f"{row['first_name']} {row['last_name']}", **_picked(row, "title", "is_primary")}
            for row in contacts[:2]
        ],
        "orders": [
            _picked(row, "number", "placed_on", "status", "total") | {"lines": _lines(data, row["number"])}
            for row in orders[:2]
        ],
    }


def _lines(data: Dataset, order: str) -> list[Facts]:
    names = {row["sku"]: row["name"] for row in data.products}
    lines = sorted((row for row in data.lines if row["order"] == order), key=lambda row: int(row["position"]))
    return [_picked(row, "quantity", "amount") | {"product": names[row["product"]]} for row in lines[:2]]


# -- figures ----------------------------------------------------------------------------------------------------------


def expect_groups(data: Dataset) -> Facts:
    """Orders by status, in the order of the statuses' names."""
    by_status = {status: [row for row in data.orders if row["status"] == status] for status in _statuses(data.orders)}
    return {"groups": [_group(status, rows) for status, rows in by_status.items()]}


def _statuses(rows: list[Row]) -> list[str]:
    return sorted({row["status"] for row in rows})


def _group(status: str, rows: list[Row]) -> Facts:
    return {
        "status": status,
        "orders": len(rows),
        "sum": _total(rows),
        "average": (_total(rows) / len(rows)).quantize(CENT),
        "first": min(row["placed_on"] for row in rows),
        "last": max(row["placed_on"] for row in rows),
    }


def expect_summary(data: Dataset) -> Facts:
    """The customer C-00008."""
    (customer,) = (row for row in data.customers if row["number"] == "C-00008")
    mine = {
        name: [row for row in rows if row["customer"] == "C-00008"]
        for name, rows in (("contacts", data.contacts), ("orders", data.orders), ("activities", data.activities))
    }
    primary = next((row for row in mine["contacts"] if row["is_primary"]), None)
    return _picked(customer, "number", "name", "status") | {
        "primary_contact": primary and f"{primary['first_name']} {primary['last_name']}",
        "primary_email": primary and primary["email"],
        "lifetime_value": _total([row for row in mine["orders"] if row["status"] not in VOID]),
        "orders": len(mine["orders"]),
        "open_orders": sum(row["status"] in OPEN for row in mine["orders"]),
        "last_order": max((row["placed_on"] for row in mine["orders"]), default=None),
        "activities": len(mine["activities"]),
        "last_activity": max((row["at"] for row in mine["activities"]), default=None),
    }


def expect_figures(data: Dataset) -> Facts:
    """The dashboard of the day on which time stands still."""
    valued = [row for row in data.orders if row["status"] not in VOID]
    with_primary = {row["customer"] for row in data.contacts if row["is_primary"]}
    due = [row for row in data.orders if row["status"] in ("shipped", "delivered") and row["paid_on"] is None]
    stock = Counter[str]()
    for row in data.inventory:
        stock[row["product"]] += row["on_hand"] - row["reserved"]
    return {
        "customers": len(data.customers),
        "customers_by_status": dict(Counter(row["status"] for row in data.customers)),
        "new_this_month": sum(row["customer_since"] >= MONTH_START for row in data.customers),
        "without_primary_contact": sum(row["number"] not in with_primary for row in data.customers),
        "lifetime_value": _total(valued),
        "ordered_this_month": _total([row for row in valued if row["placed_on"] >= MONTH_START]),
        "open_orders": sum(row["status"] in OPEN for row in data.orders),
        "overdue": _total([row for row in due if row["due_on"] < TODAY]),
        "open_tasks": sum(row["kind"] == "task" and not row["done"] for row in data.activities),
        "low_stock": sum(
            row["status"] == "active" and stock[row["sku"]] < row["reorder_level"] for row in data.products
        ),
    }


def expect_best(data: Dataset) -> Facts:
    """The five customers that ordered most."""
    orders: dict[str, list[Row]] = {}
    for row in data.orders:
        if row["status"] not in VOID:
            orders.setdefault(row["customer"], []).append(row)
    names = {row["number"]: row["name"] for row in data.customers}
    values = {number: _total(rows) for number, rows in orders.items()}
    ranked = sorted(values, key=lambda number: (-values[number], number))
    whole = sum(values.values(), Decimal(0))
    rows = [
        {
            "rank": 1 + sum(value > values[number] for value in values.values()),
            "number": number,
            "name": names[number],
            "lifetime_value": values[number],
            "share_percent": (100 * values[number] / whole).quantize(Decimal("0.1"), ROUND_HALF_UP),
            "orders": len(orders[number]),
        }
        for number in ranked[:5]
    ]
    return {"rows": rows}


# -- writes, errors and attempts --------------------------------------------------------------------------------------


def expect_issues(_data: Dataset) -> Facts:
    """Everything that is wrong with the input, in the order of the fields."""
    codes = {
        "number": "string_pattern_mismatch",
        "name": "missing",
        "status": "literal_error",
        "credit_limit": "greater_than_equal",
        "health": "less_than_equal",
        "colour": "extra_forbidden",
    }
    return {"issues": [{"field": field, "code": code} for field, code in codes.items()]}


def expect_placed(data: Dataset) -> Facts:
    """The two active products whose numbers come first."""
    products = sorted((row for row in data.products if row["status"] == "active"), key=lambda row: str(row["sku"]))[:2]
    total = str(sum((_cents(row["price"]) for row in products), Decimal(0)))
    return {"order": {"number": "T-1", "version": 1, "total": total}, "customer": TOUR_NUMBER, "lines": 2}


def expect_problems(_data: Dataset) -> Facts:
    """An order with this number is there, and its customer cannot go."""
    return {"problems": [{"entity": "Customer", "code": "FH203"}, {"entity": "Order", "code": "FH202"}]}


def expect_conflict(_data: Dataset) -> Facts:
    """Version 1 was expected, version 2 is there."""
    current = {"number": TOUR_NUMBER, "name": "Kelvin & Co", "version": 2, "credit_limit": "2000.00"}
    return {"conflict": True, "expected": 1, "actual": 2, "current": current}


def expect_found(data: Dataset) -> Facts:
    """The word that was meant, in five records."""
    meant = [row for row in data.products if "battery" in row["name"]]
    return {"words": ["battery"], "matched": True, "found": min(5, len(meant))}


def expect_narrowed(data: Dataset) -> Facts:
    """Active customers with a word that begins with "sol", by number."""
    texts = {row["number"]: f"{row['name']} {row.get('legal_name') or ''}" for row in data.customers}
    found = [
        row
        for row in sorted(data.customers, key=lambda row: str(row["number"]))
        if row["status"] == "active" and any(word.text.startswith("sol") for word in words(texts[row["number"]]))
    ]
    return {
        "total": len(found),
        "previous": False,
        "next": len(found) > 4,
        "customers": [
            _picked(row, "number", "name", "segment", "account_manager", "credit_limit") for row in found[:4]
        ],
    }


def expect_report(_data: Dataset) -> Facts:
    """Nothing is wrong."""
    return {"error": 0, "warning": 0}


def expect_proof(_data: Dataset) -> Facts:
    """Everything was tried, and nothing leaked."""
    return {"held": True, "leaked": 0, "leaks": [], "unproved": 0}


def expect_then(_data: Dataset) -> Facts:
    """Version 2 is there, and version 1 was."""
    return {"versions": [_version(2, "2000.00"), _version(1, "1000.00")]}


def expect_back(_data: Dataset) -> Facts:
    """Version 3 has the values of version 1."""
    return {"versions": [_version(3, "1000.00")]}


def _version(version: int, credit_limit: str) -> Facts:
    return {"version": version, "number": TOUR_NUMBER, "name": "Kelvin & Co", "credit_limit": credit_limit}


def expect_changes(data: Dataset) -> Facts:
    """Seven changes, newest first; a deletion and a restoration touch no field that is told."""
    told: dict[str, list[Any]] = {"number": [None, TOUR_NUMBER], "name": [None, "Kelvin & Co"], "tags": [None, []]}
    gone = {name: [new, None] for name, (_, new) in told.items()}
    steps: list[tuple[int, str, Facts]] = [
        (6, "purge", gone | {"credit_limit": ["1500.00", None], "tags": [["referral"], None]}),
        (6, "restore", {}),
        (5, "delete", {}),
        (4, "update", {"credit_limit": ["1000.00", "1500.00"], "tags": [[], ["referral"]]}),
        (3, "update", {"credit_limit": ["2000.00", "1000.00"]}),
        (2, "update", {"credit_limit": ["1000.00", "2000.00"]}),
        (1, "create", told | {"credit_limit": [None, "1000.00"]}),
    ]
    by = data.profile.user_name
    return {
        "changes": [{"version": version, "action": action, "by": by, "diff": diff} for version, action, diff in steps]
    }


def expect_attempts(data: Dataset) -> Facts:
    """None succeeds, and what is answered is one's own."""
    absent = "NotFoundError FH200"
    came_back = [
        absent,
        absent,
        absent,
        "nothing",
        "nothing",
        "ReferenceError FH203",
        "ValidationError FH100",
        "CursorError FH101",
        f"customers: {len(data.customers)}",
        "nothing",
        "nothing",
        "ForbiddenError FH300",
        "IsolationError FH301",
        "IsolationError FH301",
    ]
    titles = [(attempt.__doc__ or "").rstrip(".") for attempt in ATTEMPTS]
    rows = [{"title": title, "came_back": answer} for title, answer in zip(titles, came_back, strict=True)]
    return {"attempts": rows, "untouched": True}


def expect_costs(_data: Dataset) -> Facts:
    """Which calls were measured; how long they took differs."""
    return {"calls": [{"title": (call.__doc__ or "").rstrip(".")} for call in MEASURED]}
