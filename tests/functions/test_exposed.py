"""The functions that entities offer: every action, permissions, and what stays hidden."""

from decimal import Decimal
from typing import Any

import pytest

from freehold import Database, Principal, errors
from tests.functions.shop import shop


async def called(database: Database, name: str, principal: Principal | None, /, **arguments: Any) -> Any:
    return await database.call(name, arguments, principal=principal)


async def test_every_action_has_a_function_for_people() -> None:
    names = {function.name for function in shop.functions if function.entity == "Customer"}
    actions = {"list", "get", "create", "update", "delete", "restore", "history", "aggregate"}
    assert {f"customers.{action}" for action in actions} <= names
    assert "orders.restore" not in shop.functions  # orders are deleted for good
    for function in shop.functions:
        if function.action is not None:
            assert function.summary.endswith(".")
            assert function.permission == function.name
    schema = shop.functions["customers.list"].parameters.model_json_schema()
    assert all("description" in told for told in schema["properties"].values())
    assert "deleted" not in shop.functions["orders.list"].parameters.model_fields
    assert "search" not in shop.functions["orders.list"].parameters.model_fields


async def test_a_record_is_made_read_changed_deleted_and_brought_back(shop_database: Database, ada: Principal) -> None:
    made = await called(shop_database, "customers.create", ada, values={"name": "Acme", "credit": "5", "tags": ["a"]})
    assert (made["version"], made["credit"], made["status"], made["tags"]) == (1, "5.00", "prospect", ["a"])
    assert "tax_number" not in made
    assert await called(shop_database, "customers.get", ada, id=made["id"]) == made
    changed = await called(shop_database, "customers.update", ada, id=made["id"], version=1, changes={"credit": "7.5"})
    assert (changed["version"], changed["credit"], changed["name"]) == (2, "7.50", "Acme")
    with pytest.raises(errors.ConcurrencyError) as caught:
        await called(shop_database, "customers.update", ada, id=made["id"], version=1, changes={"credit": "9"})
    assert (caught.value.actual, caught.value.current.credit) == (2, Decimal("7.50"))
    deleted = await called(shop_database, "customers.delete", ada, id=made["id"], version=2)
    assert deleted["deleted_at"] is not None
    with pytest.raises(errors.NotFoundError):
        await called(shop_database, "customers.get", ada, id=made["id"])
    restored = await called(shop_database, "customers.restore", ada, id=made["id"], version=3)
    assert (restored["version"], restored["deleted_at"]) == (4, None)
    history = await called(shop_database, "customers.history", ada, id=made["id"])
    assert [change["action"] for change in history["data"]] == ["restore", "delete", "update", "create"]
    assert history["data"][2]["diff"] == {"credit": {"before": "5.00", "after": "7.50"}}
    page = await called(shop_database, "customers.list", ada, where={"name": "Acme"}, total=True)
    assert (page["data"], page["total"], page["next"]) == ([restored], 1, None)
    (group,) = (await called(shop_database, "customers.aggregate", ada, group_by=["status"], sum=["credit"]))["data"]
    assert group == {
        "keys": {"status": "prospect"}, "count": 1, "sum": {"credit": "7.50"}, "avg": {}, "min": {}, "max": {}
    }  # fmt: skip


async def test_a_record_looks_the_same_whatever_answers_with_it(shop_database: Database, ada: Principal) -> None:
    values = {
        "name": "Acme", "seen_at": "2026-01-02T03:04:05.250+02:00", "opens": "08:30:00.5", "born": "2000-01-01",
        "patience": 90, "photo": "00ff", "credit": "1e1", "scores": ["1.5"], "rating": 0.5, "tags": ["x"],
        "external": "00000000-0000-0000-0000-000000000007", "level": "high",
    }  # fmt: skip
    made = await called(shop_database, "customers.create", ada, values=values)
    assert made["seen_at"] == "2026-01-02T01:04:05.25+00:00"
    assert (made["opens"], made["photo"], made["credit"]) == ("08:30:00.5", "00ff", "10.00")
    (listed,) = (await called(shop_database, "customers.list", ada))["data"]
    (named,) = (await called(shop_database, "customers.named", ada, names=["Acme"]))["data"]
    fetched = await called(shop_database, "customers.get", ada, id=made["id"])
    assert made == fetched == listed == named
    visited = await called(shop_database, "customers.visit", ada, id=made["id"])
    assert visited == await called(shop_database, "customers.get", ada, id=made["id"])
    (change,) = (await called(shop_database, "customers.history", ada, id=made["id"], limit=1))["data"]
    assert change["at"] == visited["updated_at"]
