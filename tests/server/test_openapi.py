"""The OpenAPI document: it is valid, shows what can be called and nothing else, and what it says is what the server does."""

import json
import re
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from freehold import Application, Database, Entity, Principal, Session, field
from freehold.errors import RequestError
from freehold.server.openapi import openapi
from freehold.server.openapi_filters import MOST_FILTERS
from freehold.server.routes import Routes
from tests.functions.shop import shop
from tests.server.calling import Callers
from tests.world import application

DOCUMENT = openapi(shop.manifest())
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


def operation(path: str, method: str, document: dict[str, Any] = DOCUMENT) -> dict[str, Any]:
    return document["paths"][path][method]  # type: ignore[no-any-return]


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        found: Any = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


def check(schema: Any, value: Any) -> None:
    whole = {"$ref": "#/root", "root": schema, "components": DOCUMENT["components"]}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def answers_as_told(path: str, method: str, response: httpx.Response) -> None:
    """The answer is one that the document tells of: status, media type, headers and body."""
    told = operation(path, method)["responses"]
    answer = resolved(told.get(str(response.status_code), told["default"]))
    for header in {"etag", "link", "location", "idempotency-replayed"} & set(response.headers):
        assert header in {name.lower() for name in answer.get("headers", {})}, header
    if response.status_code in (204, 304):
        assert not response.content
        return
    media = response.headers["content-type"].partition(";")[0]
    value = response.json() if media.endswith("json") and "ndjson" not in media else response.text
    check(answer["content"][media]["schema"], value)


@pytest.mark.parametrize(
    "of", [shop, application, Application("none", [])], ids=lambda of: f"{of.name}-{len(of.functions)}"
)
@pytest.mark.parametrize("root", ["", "/crm/v1"])
def test_it_is_valid(of: Application, root: str) -> None:
    document = openapi(of.manifest(), root=root)
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert json.loads(json.dumps(document)) == document
    assert document.get("servers", [{"url": ""}]) == [{"url": root}]


def test_it_is_the_same_each_time() -> None:
    assert json.dumps(openapi(shop.manifest())) == json.dumps(DOCUMENT)
    assert openapi({**shop.manifest(), "name": "other"})["info"]["version"] != DOCUMENT["info"]["version"]


def test_names_of_operations_are_fit_for_generators() -> None:
    names = [operation(path, method)["operationId"] for path, method in OPERATIONS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
    assert operation("/api/customers", "get")["operationId"] == "customers_list"
    assert operation("/api/functions/customers.named", "get")["operationId"] == "customers_named"


def test_it_tells_of_the_addresses_that_are_served_and_of_no_other() -> None:
    routes = Routes(shop.functions, shop.registry)
    for path, methods in DOCUMENT["paths"].items():
        if path == "/api/batch":
            continue
        served, _ = routes.find(path.replace("{id}", "x"))
        assert {method.upper() for method in methods} <= set(served), path
    told = {operation(path, method)["operationId"] for path, method in OPERATIONS}
    assert {each.name.replace(".", "_") for each in shop.functions} <= told
    with pytest.raises(RequestError):
        routes.find("/api/customers/x/nothing")


def test_nothing_private_is_in_it() -> None:
    text = json.dumps(DOCUMENT)
    assert "tax_number" not in text
    assert "vip_has_credit" not in text
    assert "status <> 'vip'" not in text


def test_what_is_not_exposed_is_not_in_it() -> None:
    class Ledger(Entity):
        secret: str = field(max_length=10)

    class Note(Entity, expose=["get"]):
        text: str = field(max_length=10)

    document = openapi(Application("x", [Ledger, Note]).manifest())
    assert list(document["paths"]) == ["/api/batch", "/api/notes/{id}"]
    assert list(document["paths"]["/api/notes/{id}"]) == ["get"]
    assert set(document["components"]["schemas"]) == {"Note", "NotePart", "Problem"}


def test_every_example_is_a_value_of_its_schema() -> None:
    seen = 0
    for path, method in OPERATIONS:
        for content in operation(path, method).get("requestBody", {}).get("content", {}).values():
            if "example" in content:
                check(content["schema"], content["example"])
                seen += 1
    assert seen > 5


def test_filters_are_parameters_of_a_bounded_number() -> None:
    parameters = {resolved(each)["name"]: resolved(each) for each in operation("/api/customers", "get")["parameters"]}
    assert parameters["status"]["schema"]["enum"] == ["prospect", "active", "vip"]
    assert parameters["credit.gte"]["schema"]["pattern"] == r"^-?\d{1,20}(\.\d{1,20})?$"
    assert parameters["name.contains"]["schema"]["maxLength"] == 1000
    assert parameters["limit"]["schema"] == {"default": 50, "maximum": 1000, "minimum": 1, "type": "integer"}
    assert (parameters["status.in"]["style"], parameters["status.in"]["explode"]) == ("form", False)
    assert "-name" in parameters["order"]["schema"]["items"]["enum"]
    assert parameters["include"]["schema"]["items"]["enum"] == ["contacts", "orders", "contacts.count", "orders.count"]
    assert not [name for name in parameters if name.startswith("organization_id")]
    assert len(parameters) <= MOST_FILTERS + 12


def test_what_calls_need_is_told() -> None:
    changed = operation("/api/customers/{id}", "patch")
    names = [resolved(each)["name"] for each in changed["parameters"]]
    assert names == ["id", "If-Match", "Freehold-Organization", "Idempotency-Key"]
    assert resolved(changed["parameters"][1])["required"] is True
    assert {"200", "400", "401", "403", "404", "409", "413", "415", "422", "428", "429", "default"} <= set(
        changed["responses"]
    )
    body = changed["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/CustomerPatch", "minProperties": 1}
    assert operation("/api/functions/hello", "get")["security"] == []
    assert "401" not in operation("/api/functions/hello", "get")["responses"]
    paid = operation("/api/functions/customers.pay", "post")
    assert [each["required"] for each in paid["parameters"] if each.get("name") == "Idempotency-Key"] == [True]
    assert "get" not in DOCUMENT["paths"]["/api/functions/customers.pay"]
    stream = operation("/api/functions/customers.stream", "get")["responses"]["200"]
    assert set(stream["content"]) == {"application/x-ndjson", "text/event-stream"}
    assert "Needs the permission `customers.list`." in operation("/api/customers", "get")["description"]


def test_a_function_in_the_place_of_an_action_has_its_own_parameters() -> None:
    class Note(Entity, expose="all"):
        text: str = field(max_length=10)

    of = Application("x", [Note])

    @of.query(name="notes.list")
    async def listed(session: Session, words: list[str], near: dict[str, float] | None = None) -> list[str]:
        """Notes with words."""
        return words

    @of.command(name="notes.create")
    async def create(session: Session, text: str) -> str:
        """Makes one."""
        return text

    document = openapi(of.manifest())
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    names = [each.get("name") for each in operation("/api/notes", "get", document)["parameters"]]
    assert names == ["words", "near", None]
    near = operation("/api/notes", "get", document)["parameters"][1]
    assert list(near["content"]) == ["application/json"]
    body = operation("/api/notes", "post", document)["requestBody"]["content"]["application/json"]["schema"]
    assert list(body["properties"]) == ["text"]
    assert "/api/functions/notes.list" in document["paths"]


async def test_answers_are_as_it_tells(call: Callers, shop_database: Database, ada: Principal) -> None:
    collection, record = "/api/customers", "/api/customers/{id}"

    async def said(path: str, method: str, status: int, address: str | None = None, **more: Any) -> httpx.Response:
        response = await call(more.pop("who", "ada"), method.upper(), address or path, **more)
        assert response.status_code == status, response.text
        answers_as_told(path, method, response)
        return response

    example = operation(collection, "post")["requestBody"]["content"]["application/json"]["example"]
    made = await said(collection, "post", 201, json=example)
    one, tag = made.headers["location"], {"if-match": made.headers["etag"]}
    await said(collection, "post", 422, json={"name": ""})
    await said(collection, "post", 415, content=b"name=x", headers={"content-type": "text/plain"})
    await said(collection, "post", 400, content=b"{", headers={"content-type": "application/json"})
    await said(collection, "post", 401, who="nobody", json=example)
    await said(collection, "post", 403, who="guest", json=example)
    await said(collection, "get", 200, f"{collection}?total=true&status.in=prospect,vip&order=-created_at,name")
    await said(collection, "get", 200, f"{collection}?select=name&include=contacts,orders.count")
    await said(collection, "get", 422, f"{collection}?colour=red")
    await said(collection, "get", 400, f"{collection}?after=x")
    await said(record, "get", 200, one)
    await said(record, "get", 304, one, headers={"if-none-match": made.headers["etag"]})
    await said(record, "get", 200, f"{one}?select=name")
    await said(record, "get", 404, "/api/customers/018f3c5e-7a1b-7c2d-8e4f-5a6b7c8d9e0f")
    await said(record, "patch", 428, one, json={"name": "Acme"})
    changed = await said(record, "patch", 200, one, json={"name": "Acme"}, headers=tag)
    await said(record, "patch", 409, one, json={"name": "Acme"}, headers=tag)
    await said(record, "patch", 422, one, json={}, headers=tag)
    await said("/api/customers/aggregate", "get", 200, f"{collection}/aggregate?group_by=status&sum=credit")
    gone = await said(record, "delete", 200, one, headers={"if-match": changed.headers["etag"]})
    await said("/api/customers/{id}/restore", "post", 200, f"{one}/restore", headers={"if-match": gone.headers["etag"]})
    await said("/api/customers/{id}/history", "get", 200, f"{one}/history?limit=2")
    order = {"customer_id": made.json()["id"], "number": made.json()["id"][-12:], "total": "5.00"}
    ordered = await said("/api/orders", "post", 201, json=order)
    await said("/api/orders", "post", 409, json=order)
    await said("/api/orders", "get", 200, "/api/orders?include=customer")
    await said(
        "/api/orders/{id}", "delete", 200, ordered.headers["location"], headers={"if-match": ordered.headers["etag"]}
    )
    named = "/api/functions/customers.named"
    await said(named, "get", 200, f"{named}?names=Acme&names=Beta")
    await said(named, "post", 200, json={"names": ["Acme"]})
    await said("/api/functions/customers.sneaky", "get", 403)
    await said("/api/functions/customers.figures", "get", 200, "/api/functions/customers.figures?least=1.5")
    await said("/api/functions/hello", "get", 200, who=None)
    await said("/api/functions/broken", "get", 500)
    await said("/api/functions/sleepy", "get", 504)
    key = {"idempotency-key": "k-1"}
    pay = {"id": made.json()["id"], "amount": "1.50"}
    for _ in range(2):
        await said("/api/functions/customers.pay", "post", 200, json=pay, headers=key)
    await said("/api/functions/customers.pay", "post", 400, json=pay)
    await said("/api/functions/customers.pay", "post", 422, json={**pay, "amount": "2"}, headers=key)
    await said("/api/functions/organizations.exists", "post", 200, json={"slug": "x"}, who=None)
    files = {"content": b"name,credit\nBeta,1.5\n,2\n", "headers": {"content-type": "text/csv"}}
    found = await said("/api/customers/import", "post", 200, **files)
    assert (found.json()["created"], found.json()["refused"]) == (1, 1)
    out = await said("/api/customers/export", "get", 200, "/api/customers/export?fields=name&order=name")
    assert "Beta" in out.text
    await said("/api/customers/export", "get", 200, "/api/customers/export?format=jsonl")
    await said("/api/customers/export", "get", 422, "/api/customers/export?format=xml")
    calls = [
        {"function": "customers.get", "arguments": {"id": made.json()["id"]}},
        {"id": "no", "function": "customers.lst"},
        {"function": "customers.create", "arguments": {"values": {"name": "Gamma"}}, "key": "k-2"},
    ]
    several = await said("/api/batch", "post", 200, json={"calls": calls})
    assert ["problem" in each for each in several.json()["results"]] == [False, True, False]
    await said("/api/batch", "post", 422, json={"calls": []})
    await said("/api/batch", "post", 200, who=None, json={"calls": [{"function": "hello"}]})
