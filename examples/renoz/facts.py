"""The results of the tour's calls as plain values: what is printed, what `--json` writes, what `--check` compares."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from examples.renoz.attempts import Outcome
from examples.renoz.costs import Cost
from examples.renoz.entities import Customer, Order
from examples.renoz.source import body_of
from freehold import Group, Page, SearchPage
from freehold.doctor import Proof, Report
from freehold.errors import CommitError, ConcurrencyError, ValidationError
from freehold.model.words import Fragment
from freehold.store.history import Change

__all__ = [
    "VOLATILE",
    "Facts",
    "differences",
    "plain",
    "tell_attempts",
    "tell_changes",
    "tell_conflict",
    "tell_costs",
    "tell_customers",
    "tell_groups",
    "tell_hits",
    "tell_issues",
    "tell_model",
    "tell_models",
    "tell_orders",
    "tell_placed",
    "tell_problems",
    "tell_proof",
    "tell_report",
    "tell_tree",
    "tell_versions",
]

Facts = dict[str, Any]  # Any: a JSON value
VOLATILE = {
    "hits",
    "checks",
    "findings",
    "attempts_made",
    "groups",
    "ms",
    "at",
    "call",
    "says",
    "message",
    "microseconds",
    "per_second",
    "from",
}
"""Facts that differ from run to run, or that only explain another."""
CENT = Decimal("0.01")
ABSENT = "nothing"


def tell_customers(page: Page[Customer]) -> Facts:
    """A list page."""
    rows = [_picked(row, "number", "name", "segment", "account_manager", "credit_limit") for row in page]
    return {
        "total": page.total,
        "previous": page.previous is not None,
        "next": page.next is not None,
        "customers": rows,
    }


def tell_hits(page: SearchPage[Any]) -> Facts:
    """What a search found, with the parts in which it was found."""
    return {
        "words": list(page.words),
        "matched": all(hit.fragments for hit in page),
        "found": len(page),
        "hits": [{"entity": hit.entity, "parts": [_parts(fragment) for fragment in hit.fragments]} for hit in page],
    }


def _parts(fragment: Fragment) -> Facts:
    return {"field": fragment.field, "segments": [[segment.text, segment.matched] for segment in fragment.segments]}


def tell_report(report: Report) -> Facts:
    """The doctor's findings."""
    own = [
        finding for finding in report.findings if not finding.code.startswith("FD1")
    ]  # those are the server's settings
    worst = {level: sum(finding.level == level for finding in own) for level in ("error", "warning")}
    return {**worst, "checks": report.checks, "findings": [finding.as_dict() for finding in report.findings]}


def tell_proof(proof: Proof) -> Facts:
    """The proof's attempts, by group."""
    groups: dict[str, int] = {}
    for outcome in proof.outcomes:
        groups[outcome.group] = groups.get(outcome.group, 0) + 1
    return {
        "held": proof.held,
        "leaked": len(proof.leaks),
        "leaks": [leak.as_dict() for leak in proof.leaks],
        "unproved": len(proof.unproved),
        "attempts_made": len(proof.outcomes),
        "groups": groups,
    }


def tell_orders(page: Page[Order]) -> Facts:
    """A list page of orders with their customers."""
    rows = [
        _picked(row, "number", "status", "due_on", "total")
        | {"customer": row.customer.name, "terms_days": row.customer.settings.invoicing.terms_days}
        for row in page
    ]
    return {"total": page.total, "orders": rows}


def tell_tree(page: Page[Customer]) -> Facts:
    """Customers with what belongs to them."""
    return {"customers": [_branch(customer) for customer in page]}


def _branch(customer: Customer) -> Facts:
    contacts = [
        {"name": f"{row.first_name} {row.last_name}", **_picked(row, "title", "is_primary")}
        for row in customer.contacts
    ]
    orders = [
        _picked(order, "number", "placed_on", "status", "total")
        | {"lines": [_picked(line, "quantity", "amount") | {"product": line.product.name} for line in order.lines]}
        for order in customer.orders
    ]
    return _picked(customer, "number", "name") | {
        "activities": customer.activities_count,
        "contacts": contacts,
        "orders": orders,
    }


def tell_groups(groups: Sequence[Group]) -> Facts:
    """Orders by status."""
    return {
        "groups": [
            {
                "status": group.keys["status"],
                "orders": group.count,
                "sum": group.sum["total"],
                "average": group.avg["total"].quantize(CENT),
                "first": group.min["placed_on"],
                "last": group.max["placed_on"],
            }
            for group in groups
        ]
    }


def tell_model(result: BaseModel | None) -> Facts:
    """The one row of a hand-written query."""
    return {"found": False} if result is None else result.model_dump()


def tell_models(results: Sequence[BaseModel]) -> Facts:
    """The rows of a hand-written query."""
    return {"rows": [result.model_dump() for result in results]}


def tell_issues(error: ValidationError | None) -> Facts:
    """What was wrong with an input."""
    issues = error.issues if error else ()
    return {"issues": [{"field": item.field, "code": item.code, "message": item.message} for item in issues]}


def tell_conflict(error: ConcurrencyError | None) -> Facts:
    """A version conflict."""
    if error is None:
        return {"conflict": False}
    return {
        "conflict": True,
        "expected": error.expected,
        "actual": error.actual,
        "current": _picked(error.current, "number", "name", "version", "credit_limit"),
        "message": str(error),
    }


def tell_placed(order: Order) -> Facts:
    """An order, its customer and how many lines it has."""
    return {
        "order": _picked(order, "number", "version", "total"),
        "customer": order.customer.number,
        "lines": order.lines_count,
    }


def tell_problems(error: CommitError | None) -> Facts:
    """What is wrong with a unit of work."""
    problems = error.problems if error else ()
    return {
        "problems": [
            {"entity": each.entity, "code": each.error.code, "message": each.error.message} for each in problems
        ]
    }


def tell_versions(records: Sequence[Customer] | Customer) -> Facts:
    """A record, in one version or several."""
    versions = [records] if isinstance(records, Customer) else records
    return {"versions": [_picked(record, "version", "number", "name", "credit_limit") for record in versions]}


def tell_changes(changes: Sequence[Change]) -> Facts:
    """A record's history: of each change, what a person wants to know."""
    told = ("number", "name", "credit_limit", "tags")
    return {
        "changes": [
            {
                "version": change.version,
                "action": change.action,
                "by": change.actor_id,
                "at": change.at,
                "from": f"{change.user_agent}, request …{(change.request_id or '')[-12:]}",
                "diff": {name: list(change.diff[name]) for name in told if name in change.diff},
            }
            for change in changes
        ]
    }


def tell_attempts(result: tuple[Sequence[Outcome], bool]) -> Facts:
    """What came of each attempt, and whether the record is what it was."""
    outcomes, untouched = result
    return {
        "attempts": [
            {
                "title": item.title,
                "call": body_of(item.attempt),
                "came_back": _came_back(item),
                "says": item.error.message if item.error else "",
                "ms": round(item.milliseconds, 2),
            }
            for item in outcomes
        ],
        "untouched": untouched,
    }


def _came_back(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{type(outcome.error).__name__} {outcome.error.code}"
    answer = list(outcome.answer) if isinstance(outcome.answer, Page | list | tuple) else [outcome.answer]
    return ", ".join(f"{name}: {value}" for row in answer for name, value in dict(row).items()) or "nothing"


def tell_costs(costs: Sequence[Cost]) -> Facts:
    """The measured calls."""
    return {
        "calls": [
            {
                "title": (item.call.__doc__ or "").rstrip("."),
                "call": body_of(item.call),
                "microseconds": round(item.microseconds),
                "per_second": round(item.per_second),
            }
            for item in costs
        ]
    }


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Where two facts differ, each as `path: expected …, got …`; volatile ones are passed over."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        names = sorted((expected.keys() | actual.keys()) - VOLATILE)
        pairs = [(str(name), expected.get(name, ABSENT), actual.get(name, ABSENT)) for name in names]
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return [f"{path or 'all'}: expected {len(expected)} items, got {len(actual)}"]
        pairs = [(str(place), wanted, got) for place, (wanted, got) in enumerate(zip(expected, actual, strict=True))]
    else:
        return [] if expected == actual else [f"{path or 'all'}: expected {expected!r}, got {actual!r}"]
    return [found for name, wanted, got in pairs for found in differences(wanted, got, f"{path}.{name}".lstrip("."))]


def _picked(record: Any, *names: str) -> Facts:
    """Some fields of a record."""
    return {name: getattr(record, name) for name in names}


def plain(facts: Any) -> Any:
    """The facts as JSON values."""
    return to_jsonable_python(facts)
