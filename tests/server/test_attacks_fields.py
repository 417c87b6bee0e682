"""What nobody may set from outside, and private fields, of which nobody may learn anything, not even that they are there."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from freehold import Database, Principal
from freehold.identity.principal import Origin
from tests.functions.shop import shop
from tests.server.attacks import CHANGES, HIDDEN, MARK, REQUIRED, Attacked, attacked, everything
from tests.world import Customer

ENTITIES = list(shop.registry.entities.values())
OWN = ("organization_id", "version", "created_at", "created_by", "updated_at", "updated_by", "deleted_at", "id", "role")
PRIVATE = [(entity.table, field.name) for entity in ENTITIES for field in entity.fields.values() if field.private]


@pytest.fixture
async def siege(
    shop_database: Database, ada: Principal, eve: Principal, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Attacked]:
    async with attacked(shop_database, ada, eve, caplog) as found:
        yield found


async def test_fields_that_are_not_the_caller_s_to_set_are_refused(
    siege: Attacked, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """In bodies, in arguments of functions, nested in them, and whatever the value is: also one's own."""
    before = await everything(admin)
    for entity in ENTITIES:
        id = siege.mine[entity.table]
        private = [name for table, name in PRIVATE if table == entity.table]
        for name in (*OWN, *private):
            for value in (str(siege.ids["organization"]), str(siege.mine[entity.table]), 7, None):
                new = {**REQUIRED[entity.table], name: value}
                change = {**CHANGES[entity.table], name: value}
                if "customer_id" in new:
                    new["customer_id"] = str(siege.mine["customers"])
                for method, path, body in (
                    ("POST", f"/api/{entity.table}", new),
                    ("PATCH", f"/api/{entity.table}/{id}", change),
                    ("POST", f"/api/functions/{entity.table}.create", {"values": new}),
                    ("POST", f"/api/functions/{entity.table}.update", {"id": str(id), "version": 1, "changes": change}),
                    ("POST", f"/api/functions/{entity.table}.create", {"values": REQUIRED[entity.table], name: value}),
                ):
                    response = await siege.ask(method, path, json=body, headers={"if-match": '"1"'})
                    assert response.status_code == 422, (method, path, name, value, response.text)
                    told = [issue["path"][-1] for issue in response.json()["issues"] if issue["path"]]
                    assert name in told, (path, response.text)
    assert await everything(admin) == before


async def test_no_query_names_fields_of_the_context(siege: Attacked) -> None:
    for query in ("organization_id", "role", "permissions", "user_id"):
        response = await siege.ask("GET", f"/api/functions/whoami?{query}={siege.ids['organization']}")
        assert response.status_code == 422, query
        response = await siege.ask("POST", "/api/functions/whoami", json={query: str(siege.ids["organization"])})
        assert response.status_code == 422, query
    listed = await siege.ask("GET", f"/api/customers?organization_id={siege.ids['organization']}")
    assert listed.status_code == 422 or listed.json()["data"] == []


def uses(field: str) -> list[tuple[str, str, Any]]:
    """Every way to name a field of customers that a caller could try."""
    quoted = json.dumps({field: HIDDEN})
    nested = json.dumps({"customer": {field: HIDDEN}})
    either = json.dumps({"or": [{"name": "x"}, {"and": [{"not": {field: {"is_null": False}}}]}]})
    gets = [
        f"customers?{field}={HIDDEN}",
        f"customers?{field}.contains=x",
        f"customers?{field}.is_null=true",
        f"customers?{field}.key=x",
        f"customers?where={quoted}",
        f"customers?where={either}",
        f"customers?order={field}",
        f"customers?order=-{field},name",
        f"customers?select={field}",
        f"customers?select=name,{field}",
        f"customers?include={field}",
        f"customers/{{id}}?select={field}",
        f"customers/{{id}}?include={field}",
        f"customers/aggregate?group_by={field}",
        f"customers/aggregate?sum={field}",
        f"customers/aggregate?avg={field}",
        f"customers/aggregate?min={field}",
        f"customers/aggregate?max={field}",
        f"customers/aggregate?where={quoted}",
        f"contacts?customer.{field}={HIDDEN}",
        f"contacts?where={nested}",
        f"contacts?order=customer.{field}",
        f"contacts?include=customer.{field}",
        f"contacts?include={json.dumps({'customer': {'select': [field]}})}",
        f"customers?include={json.dumps({'contacts': {'where': {'customer': {field: 'x'}}}})}",
        f"customers?include={json.dumps({'contacts': {'order': ['customer.' + field]}})}",
        f"contacts/aggregate?group_by=customer.{field}",
        f"orders?contact.customer.{field}.in=a,b",
        f"customers/{{id}}?{field}=x",
        f"customers/{{id}}/history?{field}=x",
    ]
    posts: list[tuple[str, Any]] = [
        ("customers.list", {"where": {field: {"eq": None}}}),
        ("customers.list", {"order": [field]}),
        ("customers.list", {"select": [field]}),
        ("customers.list", {"include": {"contacts": {"where": {"customer": {field: 1}}}}}),
        ("customers.get", {"id": "{id}", "select": [field]}),
        ("customers.aggregate", {"group_by": [field], "where": {field: 1}}),
        ("contacts.list", {"where": {"or": [{"customer": {field: {"ne": "x"}}}]}}),
        ("contacts.list", {"include": {"customer": {"select": ["name", field]}}}),
    ]
    return [("GET", f"/api/{path}", None) for path in gets] + [
        ("POST", f"/api/functions/{name}", body) for name, body in posts
    ]


async def test_a_private_field_is_answered_like_one_that_is_not_there(siege: Attacked) -> None:
    """Also by the suggestion for a mistyped name: the unknown name is as close to the private one as it can be."""
    ((table, private),) = PRIVATE
    unknown = private[:-1] + ("x" if private[-1] != "x" else "y")
    assert table == "customers"
    for (method, path, body), (_, other_path, other_body) in zip(uses(private), uses(unknown), strict=True):
        answers = []
        for where, sent, name in ((path, body, private), (other_path, other_body, unknown)):
            where = where.replace("{id}", str(siege.mine["customers"]))
            sent = None if sent is None else json.loads(json.dumps(sent).replace("{id}", str(siege.mine["customers"])))
            response = await siege.call("ada", method, where, **({} if sent is None else {"json": sent}))
            told = response.json()
            told.pop("request_id", None)
            answers.append((response.status_code, json.dumps(told).replace(name, "<name>")))
        assert answers[0] == answers[1], (path, body)
        assert answers[0][0] in (400, 422), (path, answers[0])


async def test_a_mistyped_private_name_is_not_set_right(siege: Attacked) -> None:
    ((_, private),) = PRIVATE
    for near in (private[:-1], private + "s", private.replace("_", ""), private.upper()):
        for path in (f"/api/customers?{near}=x", f"/api/customers?order={near}", f"/api/customers?select={near}"):
            response = await siege.ask("GET", path)
            assert response.status_code == 422
            assert private not in response.text.replace(near, "")
        response = await siege.ask("POST", "/api/customers", json={"name": "x", near: "x"})
        assert response.status_code == 422
        assert private not in response.text.replace(near, "")


async def test_no_answer_has_a_private_value(siege: Attacked, shop_database: Database, ada: Principal) -> None:
    """Whoever asks, by whatever address, of one's own records: the fixture looks for the values."""
    id = siege.mine["customers"]
    async with shop_database.session(ada.context(Origin())) as session:
        assert HIDDEN in ((await session.get(Customer, id, private=True)).tax_number or "")
    place = f"/api/customers/{id}"
    for path in (
        "/api/customers?include=contacts,orders&total=true&deleted=true",
        f"/api/customers?search={HIDDEN}",
        place,
        f"{place}?include=contacts",
        f"{place}/history",
        f"/api/customers/{siege.mine['gone']}/history",
        "/api/contacts?include=customer",
        "/api/orders?include=customer,contact",
        "/api/customers/aggregate?group_by=name&max=name",
        "/api/functions/customers.stream",
        "/api/customers/export",
        "/api/customers/export?format=jsonl&deleted=true",
        "/api/functions/customers.named?names=ours%20renamed",
    ):
        response = await siege.ask("GET", path)
        if HIDDEN not in path:
            assert response.status_code == 200, response.text
        siege.seen[-1] = siege.seen[-1].replace(path, "")  # the question may be told
    tag = {"if-match": '"1"'}
    assert (await siege.ask("PATCH", place, json={"name": "y"}, headers=tag)).status_code == 409
    assert (await siege.ask("DELETE", place, headers=tag)).status_code == 409
    changed = await siege.ask("PATCH", place, json={"name": "y"}, headers={"if-match": '"2"'})
    assert changed.status_code == 200
    visited = await siege.ask("POST", "/api/functions/customers.visit", json={"id": str(id)})
    order = f"/api/orders/{siege.mine['orders']}"
    assert (await siege.ask("DELETE", order, headers={"if-match": '"1"'})).status_code == 200
    gone = await siege.ask("DELETE", place, headers={"if-match": f'"{visited.json()["version"]}"'})
    assert (visited.status_code, gone.status_code) == (200, 200)
    back = {"if-match": f'"{gone.json()["version"]}"'}
    assert (await siege.ask("POST", f"{place}/restore", headers=back)).status_code == 200
    assert (await siege.ask("GET", f"/api/customers?search={HIDDEN}")).json()["data"] == []
    siege.seen.pop()


async def test_no_file_sets_or_tells_what_is_not_the_caller_s(
    siege: Attacked, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """By columns, by a map to fields, and by the key that records are known by."""
    ((_, private),) = PRIVATE
    before = await everything(admin)
    for name in ("organization_id", "version", "created_by", "deleted_at", private):
        for query, header in (
            ("", f"name,{name}"),
            (f"?map={json.dumps({'x': name})}", "name,x"),
            (f"?key={name}", "name"),
        ):
            sent = f"{header}\nx,{siege.ids['organization']}\n" if "," in header else "name\nx\n"
            response = await siege.ask(
                "POST", f"/api/customers/import{query}", content=sent, headers={"content-type": "text/csv"}
            )
            told = response.json()
            assert (
                response.status_code == 422 or (told["created"], told["updated"]) == (0, 0) or name in told["left_out"]
            )
            if response.status_code == 200 and told["created"]:
                found = (await siege.ask("GET", "/api/customers?name=x")).json()["data"]
                assert {row["organization_id"] for row in found} == {str(siege.mine_organization)}
    for query in (
        f"fields=name,{private}",
        f"order={private}",
        f"where={json.dumps({private: HIDDEN})}",
        f"{private}=x",
    ):
        response = await siege.ask("GET", f"/api/customers/export?{query}")
        assert response.status_code == 422, response.text
        siege.seen.pop()
    assert (await everything(admin))["app.customers versions"] >= before["app.customers versions"]


async def test_an_import_updates_nothing_of_another_organization(
    siege: Attacked, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """The record that has the row's key is another's: the row makes one of the caller's own."""
    file = f"email,name\n{MARK}@example.test,taken over\n"
    path = "/api/customers/import?key=email&on_duplicate=update"
    response = await siege.call("ada", "POST", path, content=file, headers={"content-type": "text/csv"})
    assert (response.json()["created"], response.json()["updated"]) == (1, 0)
    theirs = await admin.fetchrow("select name, version from app.customers where id = $1", siege.ids["customers"])
    assert (theirs["name"], theirs["version"]) == (f"{MARK} renamed", 2)
    lines = f"number,total,customer_id\nx,1,{siege.ids['customers']}\n"
    refused = await siege.ask("POST", "/api/orders/import", content=lines, headers={"content-type": "text/csv"})
    assert (refused.json()["created"], refused.json()["refused"]) == (0, 1)
