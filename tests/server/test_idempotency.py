"""Idempotency keys over HTTP: the same answer, byte for byte, and nothing done twice."""

import asyncio

import httpx
import pytest

from tests.functions.shop import reached
from tests.server.calling import Callers

KEY = {"idempotency-key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


async def created(call: Callers, who: str = "ada", key: dict[str, str] = KEY, name: str = "Acme") -> httpx.Response:
    return await call(who, "POST", "/api/customers", json={"name": name}, headers=key)


async def count(call: Callers, who: str = "ada") -> int:
    return len((await call(who, "GET", "/api/customers")).json()["data"])


async def test_a_repeated_request_gets_the_same_answer(call: Callers) -> None:
    first, again = await created(call), await created(call)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    for name in ("location", "etag", "content-type"):
        assert first.headers[name] == again.headers[name]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await count(call) == 1


async def test_the_quotes_are_no_part_of_the_key(call: Callers) -> None:
    first = await created(call)
    again = await created(call, key={"idempotency-key": "8e03978e-40d5-43dd-bc93-6894a57f9324"})
    assert first.content == again.content
    assert (await created(call, key={"idempotency-key": '"open'})).status_code == 400
    assert (await created(call, key={"idempotency-key": '""'})).status_code == 400
    assert await count(call) == 1


async def test_eight_at_once_are_one(call: Callers) -> None:
    customer = (await created(call, key={})).json()
    body = {"id": customer["id"]}
    answers = await asyncio.gather(
        *(call("ada", "POST", "/api/functions/customers.visit", json=body, headers=KEY) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    (body_of_all,) = {answer.content for answer in answers if answer.status_code == 200}
    read = await call("ada", "GET", f"/api/customers/{customer['id']}")
    assert (read.json()["visits"], read.json()["version"]) == (1, 2)
    again = await call("ada", "POST", "/api/functions/customers.visit", json=body, headers=KEY)
    assert (again.content, again.headers["idempotency-replayed"]) == (body_of_all, "true")


async def test_a_key_is_for_one_request(call: Callers) -> None:
    first = await created(call)
    place = first.headers["location"]
    for method, path, body in (
        ("POST", "/api/customers", {"name": "Other"}),
        ("POST", "/api/customers", {"name": "Acme", "email": None}),
        ("POST", "/api/contacts", {"name": "Acme", "customer_id": first.json()["id"]}),
        ("PATCH", place, {"name": "Acme"}),
        ("DELETE", place, None),
    ):
        response = await call("ada", method, path, json=body, headers={**KEY, "if-match": '"1"'})
        assert (response.status_code, response.json()["code"]) == (422, "FH206")
    assert (await call("ada", "GET", place)).json() == first.json()


async def test_a_key_of_somebody_else_is_another_key(call: Callers) -> None:
    mine, theirs = await created(call), await created(call, "eve")
    assert mine.json()["id"] != theirs.json()["id"]
    assert (await count(call), await count(call, "eve")) == (1, 1)


async def test_a_change_is_repeated_with_its_old_version(call: Callers) -> None:
    place = (await created(call, key={})).headers["location"]
    headers = {**KEY, "if-match": '"1"'}
    first = await call("ada", "PATCH", place, json={"name": "b"}, headers=headers)
    again = await call("ada", "PATCH", place, json={"name": "b"}, headers=headers)
    assert (first.status_code, again.status_code, first.content) == (200, 200, again.content)
    other = await call("ada", "PATCH", place, json={"name": "b"}, headers={**KEY, "if-match": '"2"'})
    assert other.status_code == 422


async def test_what_failed_is_not_remembered(call: Callers) -> None:
    assert (await call("ada", "POST", "/api/customers", json={"name": ""}, headers=KEY)).status_code == 422
    assert (await created(call)).status_code == 201


async def test_a_function_may_demand_a_key(call: Callers) -> None:
    customer = (await created(call, key={})).json()
    response = await call("ada", "POST", "/api/functions/customers.pay", json={"id": customer["id"], "amount": 1})
    assert (response.status_code, reached) == (400, [])


@pytest.mark.parametrize("key", ["x" * 201, "a b\tc", '"a\u00e9"'])
async def test_what_is_no_key_is_refused(call: Callers, key: str) -> None:
    response = await created(call, key={"idempotency-key": key.encode("latin-1")})  # type: ignore[dict-item]  # as it is sent
    assert (response.status_code, await count(call)) == (400, 0)


async def test_a_public_command_takes_none(call: Callers) -> None:
    path = "/api/functions/organizations.exists"
    assert (await call(None, "POST", path, json={"slug": "x"}, headers=KEY)).status_code == 400
    assert (await call(None, "POST", path, json={"slug": "x"})).json() is False


async def test_a_query_has_nothing_to_repeat(call: Callers) -> None:
    for _ in range(2):
        response = await call("ada", "POST", "/api/functions/customers.figures", json={}, headers=KEY)
        assert response.status_code == 200
        assert "idempotency-replayed" not in response.headers
