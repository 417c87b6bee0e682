"""Whatever is asked with another organization's ids, values, cursors and keys is answered as for absent ones."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from freehold import Database, Principal
from freehold.server import Settings
from tests.functions.shop import reached, shop
from tests.server.attacks import MARK, Attacked, arguments, attacked, everything, masked, requests
from tests.server.calling import calling

TABLES = {entity.name: entity.table for entity in shop.registry.entities.values()}


@pytest.fixture
async def siege(
    shop_database: Database, ada: Principal, eve: Principal, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Attacked]:
    async with attacked(shop_database, ada, eve, caplog) as found:
        yield found


def takes_an_id(name: str) -> bool:
    return "uuid" in json.dumps(shop.functions[name].parameters.model_json_schema())


async def test_every_function_takes_another_s_ids_for_absent_ones(
    siege: Attacked, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Each function that the application has, by each address: also those that are yet to be written."""
    for function in shop.functions:
        tried = siege.ids.values() if takes_an_id(function.name) else [siege.ids["customers"]]
        for theirs in tried:
            before = await everything(admin)
            answers = []
            for id in (theirs, uuid4()):
                asked = [await siege.ask(method, path, **more) for method, path, more in requests(function, TABLES, id)]
                answers.append([masked(response) for response in asked])
            assert answers[0] == answers[1], function.name
            if all(status >= 300 for status, _, _ in answers[0]):
                assert await everything(admin) == before, function.name


async def test_a_batch_is_no_way_around(siege: Attacked) -> None:
    """All functions in batches, with another's ids and with absent ones."""
    named = [function for function in shop.functions if takes_an_id(function.name)]
    for theirs in siege.ids.values():
        answers = []
        for id in (theirs, uuid4()):
            calls: list[dict[str, Any]] = []
            for function in named:
                asked = arguments(function, function.parameters.model_json_schema(), id)
                calls.append({"function": function.name, "arguments": asked})
                if function.kind == "command":
                    calls[-1]["key"] = str(uuid4())
            answers.append(masked(await siege.ask("POST", "/api/batch", json={"calls": calls})))
        assert answers[0] == answers[1]
        assert answers[0][0] == 200


@pytest.mark.parametrize(
    "call",
    [
        {"function": "whoami", "organization_id": "{organization}"},
        {"function": "whoami", "organization": "{organization}"},
        {"function": "whoami", "principal": {"organization_id": "{organization}"}},
        {"function": "whoami", "arguments": {"organization_id": "{organization}"}},
        {"function": "whoami", "headers": {"Freehold-Organization": "{organization}"}},
    ],
)
async def test_a_call_in_a_batch_names_no_organization(siege: Attacked, call: dict[str, Any]) -> None:
    sent = json.loads(json.dumps(call).replace("{organization}", str(siege.ids["organization"])))
    response = await siege.ask("POST", "/api/batch", json={"calls": [sent, {"function": "whoami"}]})
    assert response.status_code == 422 or "result" not in response.json()["results"][0]
    assert str(siege.ids["organization"]) not in response.text


async def test_with_ids_of_one_s_own_the_same_requests_do_something(siege: Attacked) -> None:
    """The test above would pass with requests that are never right."""
    done = set()
    for name in ("get", "history", "update", "delete", "restore"):
        for table in TABLES.values():
            function = shop.functions.get(f"{table}.{name}")
            if function is None:
                continue
            for method, path, more in requests(function, TABLES, siege.mine[table], version=99):
                done.add((await siege.ask(method, path, **more)).status_code)
    assert done <= {200, 409, 422}
    assert 409 in done
    visit = shop.functions["customers.visit"]
    ((method, path, more),) = requests(visit, TABLES, siege.mine["customers"])
    assert (await siege.ask(method, path, **more)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/contacts", {"name": "x", "customer_id": "customers"}),
        ("POST", "/api/contacts", {"name": "x", "customer_id": "mine:customers", "manager_id": "contacts"}),
        ("POST", "/api/orders", {"number": "n1", "total": 1, "customer_id": "customers"}),
        (
            "POST",
            "/api/orders",
            {"number": "n2", "total": 1, "customer_id": "mine:customers", "contact_id": "contacts"},
        ),
        ("PATCH", "/api/orders/mine:orders", {"customer_id": "customers"}),
        ("PATCH", "/api/orders/mine:orders", {"contact_id": "contacts"}),
        ("PATCH", "/api/contacts/mine:contacts", {"manager_id": "contacts"}),
        ("PATCH", "/api/contacts/mine:contacts", {"customer_id": "customers"}),
    ],
)
async def test_a_reference_to_another_s_record_is_one_to_nothing(
    siege: Attacked, method: str, path: str, body: dict[str, Any], admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    before = await everything(admin)
    for table, id in siege.mine.items():
        path = path.replace(f"mine:{table}", str(id))
    answers = []
    for theirs in (siege.ids, {table: uuid4() for table in siege.ids}):
        ids = {**{f"mine:{table}": id for table, id in siege.mine.items()}, **theirs}
        sent = {name: str(ids.get(value, value)) for name, value in body.items()}
        answers.append(masked(await siege.ask(method, path, json=sent, headers={"if-match": '"1"'})))
    assert answers[0] == answers[1]
    assert answers[0][0] in (409, 422)
    assert await everything(admin) == before


QUERIES = [
    "/api/customers?id={customers}",
    "/api/customers?id.in={customers},{mine}",
    "/api/customers?created_by={user}",
    "/api/customers?contacts.some={where_contact}",
    "/api/contacts?customer_id={customers}",
    "/api/contacts?customer_id.ne={customers}",
    "/api/contacts?customer.id={customers}&include=customer",
    "/api/orders?contact_id={contacts}&include=customer,contact",
    "/api/orders?customer.email={email}",
    "/api/orders?number={number}",
    "/api/customers?email={email}&total=true",
    "/api/customers?email.contains={email}",
    "/api/customers?name.gte=a&order=name&total=true",
    "/api/customers?where={where_or}",
    "/api/customers?search={number}",
    "/api/customers?deleted=true&id={gone}",
    "/api/customers?include=contacts,orders&order=-created_at",
    "/api/customers/aggregate?group_by=name&where={where_id}",
    "/api/customers/aggregate?sum=credit&max=name&id={customers}",
    "/api/orders/aggregate?group_by=customer_id&sum=total",
    "/api/functions/customers.named?names={number}%20renamed&names={email}",
    "/api/functions/customers.figures",
    "/api/functions/organizations.exists?slug={organization}",
]


@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_finds_nothing_by_another_s_values(siege: Attacked, query: str) -> None:
    def asked(ids: dict[str, Any], mark: str) -> str:
        where = json.dumps({"or": [{"id": str(ids["customers"])}, {"email": f"{mark}@example.test"}]})
        return query.format(
            **{name: str(id) for name, id in ids.items()},
            mine=siege.mine["customers"],
            email=f"{mark}@example.test",
            number=mark,
            where_or=where,
            where_id=json.dumps({"id": str(ids["customers"])}),
            where_contact=json.dumps({"id": str(ids["contacts"])}),
        )

    answers = []
    for ids, mark in ((siege.ids, MARK), ({name: uuid4() for name in siege.ids}, "nobody")):
        response = await siege.call("ada", "GET", asked(ids, mark))
        method = "POST" if response.status_code == 405 else "GET"
        response = await siege.call("ada", method, asked(ids, mark))
        # What the question itself says may come back in it: in the link to the next page, say.
        status, headers, text = masked(response)
        answers.append((status, {**headers, "link": ""}, text.replace(mark, "<mark>")))
        assert f"{MARK} " not in response.text
    assert answers[0] == answers[1]


async def test_values_that_another_organization_has_are_free(siege: Attacked) -> None:
    """A unique key across organizations would tell what others have."""
    made = await siege.call("ada", "POST", "/api/customers", json={"name": "x", "email": f"{MARK}@example.test"})
    assert made.status_code == 201
    order = {"number": MARK, "total": 1, "customer_id": str(siege.mine["customers"])}
    assert (await siege.call("ada", "POST", "/api/orders", json=order)).status_code == 201
    again = await siege.call("ada", "POST", "/api/orders", json=order)
    assert again.status_code == 409
    assert str(siege.ids["orders"]) not in again.text


async def test_another_s_cursor_leads_nowhere(siege: Attacked) -> None:
    for number in range(3):
        await siege.ask("POST", "/api/customers", "eve", json={"name": f"{MARK} {number}"})
        await siege.ask("POST", "/api/customers", json={"name": f"ours {number}"})
    path = "/api/customers?order=name&limit=2"
    cursor = (await siege.ask("GET", path, "eve")).json()["next"]
    for name in ("after", "before"):
        response = await siege.ask("GET", f"{path}&{name}={cursor}")
        assert (response.status_code, response.json()["code"]) == (400, "FH101"), response.text


async def test_an_edited_cursor_is_refused_or_stays_within_its_organization(siege: Attacked) -> None:
    for number in range(5):
        await siege.ask("POST", "/api/customers", json={"name": f"ours {number}"})
    path = "/api/customers?order=name&limit=2"
    cursor: str = (await siege.ask("GET", path)).json()["next"]
    edited = [
        cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        for place in range(0, len(cursor), 4)
    ]
    edited += [cursor[:-1], cursor + "A", cursor[::-1], "", "A", "%00", "%ff", "null", "1", "a" * 5_000, cursor * 2]
    for each in edited:
        response = await siege.ask("GET", f"{path}&after={each}")
        assert response.status_code in (400, 422) or (each == "" and response.status_code == 200), each


async def test_another_s_idempotency_key_is_a_new_one(siege: Attacked) -> None:
    """Also within an organization: keys are a caller's own."""
    body = {"name": "the same"}
    headers = {"idempotency-key": "a-key-that-both-use"}
    first = await siege.ask("POST", "/api/customers", "eve", json=body, headers=headers)
    mine = await siege.ask("POST", "/api/customers", json=body, headers=headers)
    assert (first.status_code, mine.status_code) == (201, 201)
    assert mine.json()["id"] != first.json()["id"]
    assert mine.json()["organization_id"] != first.json()["organization_id"]
    assert "idempotency-replayed" not in mine.headers
    other = await siege.ask("POST", "/api/customers", json={"name": "another"}, headers=headers)
    assert other.status_code == 422
    assert str(first.json()["id"]) not in other.text


@pytest.mark.parametrize("others", [False, True])
async def test_without_its_permission_a_function_does_nothing(
    shop_database: Database, ada: Principal, others: bool, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """With no permission at all, and with all that there are but the one."""
    needed = [function for function in shop.functions if function.permission is not None]
    all_of_them = frozenset(function.permission or "" for function in needed)
    clerks = {f"clerk{number}": _clerk(ada, all_of_them - {each.permission or ""} if others else frozenset())
              for number, each in enumerate(needed)}  # fmt: skip
    async with calling(shop_database, Settings(limits=None), ada=ada, **clerks) as call:
        id = (await call("ada", "POST", "/api/customers", json={"name": "x"})).json()["id"]
        before = await everything(admin)
        for clerk, function in zip(clerks, needed, strict=True):
            for method, path, more in requests(function, TABLES, id):
                response = await call(clerk, method, path, **more)
                assert (response.status_code, response.json()["code"]) == (403, "FH300"), response.text
        assert await everything(admin) == before
    assert reached == []


def _clerk(ada: Principal, permissions: frozenset[str]) -> Principal:
    return replace(ada, role="clerk", permissions=permissions)


def test_the_walk_finds_every_id() -> None:
    """It looks for their format in the schema: a parameter of ids without one would be passed over."""
    for function in shop.functions:
        properties = function.parameters.model_json_schema().get("properties", {})
        for name, schema in properties.items():
            assert not (name == "id" or name.endswith("_id")) or "uuid" in json.dumps(schema), (function.name, name)
