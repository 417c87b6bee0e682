"""The plans of bulk statements in a large organization: indexes serve, whatever of many rows is looked for."""

import json
from typing import Any

import pytest

from freehold import Entity, Session
from freehold.model.fields import Unique
from freehold.model.filters import parse_filter
from freehold.sql.writes import (
    Duplicates,
    changed_text,
    insert_text,
    matching,
    matching_text,
    moved_text,
    removed_text,
    update_text,
)
from tests.probe import sealed
from tests.sql.test_plans import Planner, flaws, large, planner, plans_name  # noqa: F401  # fixtures
from tests.world import Contact, Customer, Order, application

SCHEMAS, REGISTRY = application.schemas, application.registry
CUSTOMER, CONTACT, ORDER = (REGISTRY[cls] for cls in (Customer, Contact, Order))
IDS = [f"00000000-0000-7000-8000-{number:012x}" for number in (5, 500, 5_000)]
NEW = [f"00000000-0000-7000-8000-{number:012x}" for number in (50_001, 50_002, 50_003)]
VALUES = {"status": "active", "level": "low", "credit": 0, "visits": 0, "tags": [], "scores": [], "profile": {}}
ROWS = [{"id": id, "name": "n", "email": f"{id}@x.test", **VALUES} for id in NEW]
BOUGHT = [{"id": id, "customer_id": IDS[0], "number": f"nc{place}", "total": 5} for place, id in enumerate(NEW)]
MANY = [{"id": id, "version": 1, "changes": {"visits": 1}} for id in IDS]


def by_filter(entity: type[Entity], where: dict[str, Any]) -> Any:
    return matching(parse_filter(where, REGISTRY[entity], REGISTRY), SCHEMAS)


NAMED = by_filter(Customer, {"name": {"in": ["c55", "c56"]}, "contacts.name": {"ne": "x"}})
WHERE = {"where": NAMED.values, "changes": {"visits": 3}, "limit": 100, "after": IDS[0], "ids": IDS}
THEIRS = by_filter(Contact, {"customer_id": {"in": IDS}})
REMOVED = {"where": [IDS], "limit": 100, "after": "00000000-0000-0000-0000-000000000000"}
NUMBER, EMAIL = Unique("number"), Unique("email", ignore_case=["email"])

STATEMENTS: dict[str, tuple[str, Any]] = {
    "insert": (insert_text(CUSTOMER, SCHEMAS), {"rows": ROWS}),
    "insert what is new": (insert_text(CUSTOMER, SCHEMAS, Duplicates(None, "skip")), {"rows": ROWS}),
    "skip": (insert_text(ORDER, SCHEMAS, Duplicates(NUMBER, "skip")), {"rows": BOUGHT}),
    "update duplicates": (insert_text(ORDER, SCHEMAS, Duplicates(NUMBER, "update", ("total",))), {"rows": BOUGHT}),
    "update duplicates that give different fields": (
        insert_text(ORDER, SCHEMAS, Duplicates(NUMBER, "update", ("total", "placed_on"), mixed=True)),
        {"rows": BOUGHT, "given": {id: ["total"] for id in NEW}},
    ),
    "update duplicates whatever their case": (
        insert_text(CUSTOMER, SCHEMAS, Duplicates(EMAIL, "update", ("name",))), {"rows": ROWS},
    ),
    "update": (update_text(CUSTOMER, SCHEMAS, ("visits",)), MANY),
    "update a key": (update_text(CUSTOMER, SCHEMAS, ("email",)), MANY),
    "update what matches": (changed_text(CUSTOMER, SCHEMAS, NAMED, ("visits",), after=True, named=False), WHERE),
    "update these of what matches": (
        changed_text(CUSTOMER, SCHEMAS, NAMED, ("visits",), after=False, named=True), WHERE,
    ),
    "what matches": (matching_text(CUSTOMER, SCHEMAS, NAMED, after=True), WHERE),
    "delete": (moved_text(ORDER, SCHEMAS, "delete"), MANY),
    "restore": (moved_text(CUSTOMER, SCHEMAS, "restore"), MANY),
    "delete what matches": (removed_text(CONTACT, SCHEMAS, THEIRS, "delete", after=False, named=False), REMOVED),
    "delete what matches for good": (removed_text(CONTACT, SCHEMAS, THEIRS, "purge", after=True, named=False), REMOVED),
}  # fmt: skip


@pytest.mark.parametrize("name", STATEMENTS)
async def test_bulk_statements_use_indexes(large: Session, planner: Planner, name: str) -> None:  # noqa: F811  # fixtures
    statement, arguments = STATEMENTS[name]
    context = large.context
    plans = await planner.plans(
        'select * from "freehold"."write"($1, $2, null, $3, $4)',
        context.organization_id, sealed(context), statement, json.dumps(arguments),
    )  # fmt: skip
    assert statement in {plan["Query Text"] for plan in plans}
    assert [flaw for plan in plans for flaw in flaws(plan, planner.tables)] == []
