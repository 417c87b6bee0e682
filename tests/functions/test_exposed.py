"""The functions that entities offer: every action, permissions, and what stays hidden."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic_core import from_json

from freehold import Answer, Database, Principal, errors
from freehold.functions.arguments import Arguments
from freehold.functions.pipeline import Call
from freehold.postgres.connections import Pool
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


async def test_each_call_is_one_message(
    shop_database: Database, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await called(shop_database, "customers.create", ada, values={"name": "Acme"})
    fetch, sent = Pool.fetch, []

    async def counted(pool: Pool, text: str, *rest: Any, **more: Any) -> Any:
        sent.append(text)
        return await fetch(pool, text, *rest, **more)

    monkeypatch.setattr(Pool, "fetch", counted)
    for name, arguments in (
        ("get", {"id": made["id"]}),
        ("get", {"id": made["id"], "include": {"orders": "count"}}),
        ("list", {"where": {"status": "prospect"}, "total": True, "include": {"contacts": {"include": ["manager"]}}}),
        ("aggregate", {"group_by": ["status"]}),
        ("history", {"id": made["id"]}),
        ("create", {"values": {"name": "Bolt"}}),
        ("update", {"id": made["id"], "version": 1, "changes": {"visits": 1}}),
        ("delete", {"id": made["id"], "version": 2}),
        ("restore", {"id": made["id"], "version": 3}),
    ):
        sent.clear()
        await called(shop_database, f"customers.{name}", ada, **arguments)
        assert len(sent) == 1, name


async def test_an_answer_tells_what_headers_need(shop_database: Database, ada: Principal) -> None:
    async def answer(name: str, **arguments: Any) -> Answer:
        call = Call(shop.functions[f"customers.{name}"], Arguments.of_values(arguments), ada)
        return await shop_database.pipeline().run(call)

    made = await answer("create", values={"name": "Acme"})
    assert (made.version, str(made.created)) == (1, from_json(made.body)["id"])
    changed = await answer("update", id=made.created, version=1, changes={"visits": 1})
    assert (changed.version, changed.created) == (2, None)
    assert (changed.position or 0) > (made.position or 0) > 0
    read = await answer("get", id=made.created)
    assert (read.version, read.body) == (2, changed.body)
    assert (await answer("get", id=made.created, select=["name"])).version == 2
    assert (await answer("get", id=made.created, include=["orders"])).version is None  # it says nothing of the orders
    await answer("create", values={"name": "Bolt"})
    page = await answer("list", limit=1, order="name")
    assert (page.page, page.next is not None, page.previous) == (True, True, None)
    history = await answer("history", id=made.created, limit=1)
    older = await answer("history", id=made.created, limit=1, after=history.next)
    assert [from_json(each.body)["data"][0]["action"] for each in (history, older)] == ["update", "create"]
    assert older.next is None


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
