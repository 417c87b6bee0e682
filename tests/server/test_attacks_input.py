"""Hostile input: JSON, sizes, filters, texts, patterns. It is refused clearly, quickly, and nothing is done."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from freehold import Database, Principal
from tests.functions.shop import shop
from tests.server.attacks import Attacked, attacked, everything

JSON = {"content-type": "application/json"}
DEEP = 100_000


@pytest.fixture
async def siege(
    shop_database: Database, ada: Principal, eve: Principal, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Attacked]:
    async with attacked(shop_database, ada, eve, caplog) as found:
        yield found


BODIES: dict[str, bytes] = {
    "a name twice": b'{"name": "a", "name": "b"}',
    "a name twice, written in two ways": b'{"name": "a", "n\\u0061me": "b"}',
    "a name twice, deep inside": b'{"name": "a", "profile": {"theme": {"size": 1, "size": 2}}}',
    "deep lists": b'{"name": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep, and not closed": b"[" * DEEP,
    "deep in a name": b'{"tags": [' + b'{"a":[' * (DEEP // 2),
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "half a surrogate": b'{"name": "\\ud800"}',
    "half a surrogate, in a name": b'{"\\udfff": 1, "name": "a"}',
    "a NUL": b'{"name": "a\\u0000b"}',
    "a NUL in a list": b'{"name": "a", "tags": ["\\u0000"]}',
    "a NUL inside of an object": b'{"name": "a", "profile": {"language": "\\u0000"}}',
    "no number": b'{"name": "a", "visits": NaN}',
    "no end": b'{"name": "a", "rating": Infinity}',
    "too large for a float": b'{"name": "a", "rating": 1e999}',
    "an int of many digits": b'{"name": "a", "visits": ' + b"9" * 100_000 + b"}",
    "a decimal of many digits": b'{"name": "a", "credit": "' + b"9" * 100_000 + b'"}',
    "a decimal with an exponent": b'{"name": "a", "credit": "1e999999999"}',
    "no text": b"null",
    "a list": b'[{"name": "a"}]',
    "a text": b'"name"',
    "two values": b'{"name": "a"}{"name": "b"}',
    "a comma": b'{"name": "a",}',
    "a comment": b'{"name": "a" /* b */}',
    "single quotes": b"{'name': 'a'}",
    "a byte order mark": b'\xef\xbb\xbf{"name": "a"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "many names": b"{" + b",".join(b'"a%d":1' % number for number in range(50_000)) + b"}",
    "many issues": b'{"name": "a", "tags": [' + b",".join([b"1"] * 100_000) + b"]}",
    "a long name": b'{"name": "a", "' + b"x" * 500_000 + b'": 1}',
    "a long text": b'{"name": "' + b"x" * 900_000 + b'"}',
    "spaces": b" " * 900_000,
    "no organization of one's own": b'{"name": "a", "__proto__": {"organization_id": 1}}',
    "a class": b'{"name": "a", "__class__": "x", "__dict__": {}}',
}


async def test_a_hostile_body_is_refused_and_does_nothing(
    siege: Attacked, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    before = await everything(admin)
    place = f"/api/customers/{siege.mine['customers']}"
    for name, body in BODIES.items():
        for method, path in (
            ("POST", "/api/customers"),
            ("PATCH", place),
            ("POST", "/api/functions/customers.create"),
            ("POST", "/api/functions/orders.place"),
            ("POST", "/api/functions/customers.figures"),
            ("POST", "/api/functions/hello"),
        ):
            response = await siege.ask(method, path, content=body, headers={**JSON, "if-match": '"2"'})
            assert response.status_code in (400, 413, 415, 422), (name, path, response.text[:300])
            assert len(response.content) < 100_000, (name, path, "an answer as long as the question")
            json.loads(response.content)
    assert await everything(admin) == before


NUMBERS = ("1000000000", "-1", "0", "9" * 400, "1e9", "0x10", "١٠", "null", "NaN", "", "2.5", "true")


async def test_a_limit_is_a_small_number(siege: Attacked) -> None:
    for number in NUMBERS:
        for path in (
            "customers",
            "orders",
            "contacts",
            "customers/aggregate",
            f"customers/{siege.mine['customers']}/history",
        ):
            response = await siege.ask("GET", f"/api/{path}?limit={quote(number)}")
            assert response.status_code == 422, (path, response.text)
        for name in ("customers.list", "customers.aggregate", "customers.named"):
            body = {"limit": 10**9, **({"names": ["x"]} if name == "customers.named" else {})}
            assert (await siege.ask("POST", f"/api/functions/{name}", json=body)).status_code == 422


def nested(depth: int) -> Any:
    where: Any = {"name": "x"}
    for _ in range(depth):
        where = {"not": where}
    return where


def related(depth: int) -> Any:
    where: Any = {"name": "x"}
    for _ in range(depth):
        where = {"manager": where}
    return where


FILTERS: dict[str, Any] = {
    "ten thousand alternatives": {"or": [{"name": f"{number}"} for number in range(10_000)]},
    "ten thousand of one": {"or": [{"name": "a"}] * 10_000},
    "many in one": {"name": {"in": [str(number) for number in range(20_000)]}},
    "many nots": nested(400),
    "deep alternatives": {"or": [{"or": [{"or": [{"name": "x"}] * 30}] * 30}] * 30},
    "an unknown operator": {"name": {"regex": "(a+)+$"}},
    "SQL for a name": {"name; drop table app.customers": 1},
    "SQL for a path": {"profile.theme' or '1'='1": 1},
    "quotes": {'"name"': "x"},
    "a long name": {"x" * 100_000: 1},
    "a list for a value": {"name": [[[[1]]]]},
    "a NUL": {"name": "a\x00b"},
}


async def test_a_hostile_filter_is_refused(siege: Attacked) -> None:
    for name in FILTERS:
        for path, body in (
            ("customers.list", {"where": FILTERS[name]}),
            ("customers.aggregate", {"where": FILTERS[name]}),
            ("contacts.list", {"where": {"customer": FILTERS[name]}}),
            ("customers.list", {"include": {"contacts": {"where": {"customer": FILTERS[name]}}}}),
        ):
            response = await siege.ask("POST", f"/api/functions/{path}", json=body)
            assert response.status_code in (400, 413, 422), response.text[:300]
            assert len(response.content) < 20_000


async def test_relations_do_not_go_on_for_ever(siege: Attacked) -> None:
    for where in (related(50), related(200)):
        response = await siege.ask("POST", "/api/functions/contacts.list", json={"where": where})
        assert response.status_code == 422, response.text[:300]
    include: Any = {}
    for _ in range(30):
        include = {"reports": {"include": include}} if include else {"reports": {}}
    response = await siege.ask("POST", "/api/functions/contacts.list", json={"include": include})
    assert response.status_code == 422


TEXTS = (
    "a" * 50_000 + "!",
    "(a+)+$" * 20 + "b",
    "%" * 900,
    "_" * 900,
    "%_" * 400 + "x",
    "\\" * 999,
    "((((((((((a*)*)*)*)*)*)*)*)*)*)",
    "& | ! ( ) : * <-> ' \"",
    "a" * 999,
    " ".join("ab" for _ in range(300)),
    "x:*&" * 100,
    "';drop table app.customers;--",
    "${jndi:ldap://x}",
    "\u202e\u0301" * 400,
    "ﷺ" * 300,
    "İ" * 300,
)


async def test_a_hostile_text_is_searched_for_as_it_is(siege: Attacked) -> None:
    """No pattern of the caller's is run, and what takes the database long is bounded: by length, and by the time of a call."""
    for text in TEXTS:
        for arguments in (
            {"search": text},
            {"where": {"name": {"contains": text}}},
            {"where": {"name": {"starts_with": text}}},
            {"where": {"email": text}},
            {"where": {"tags": {"has": text}}},
        ):
            response = await siege.ask("POST", "/api/functions/customers.list", json=arguments)
            assert response.status_code in (200, 422), response.text[:300]
            if response.status_code == 200:
                assert response.json()["data"] == []
        response = await siege.ask("POST", "/api/functions/organizations.exists", json={"slug": text})
        assert response.status_code in (200, 422)


ADDRESSES = [
    "/api/customers/%00",
    "/api/customers/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/api/customers/..%2f..%2fmetrics",
    "/api//customers",
    "/api/customers//history",
    "/api/Customers",
    "/api/customers/' or 1=1--",
    "/api/customers/" + "1" * 5_000,
    "/api/functions/" + "a" * 5_000,
    "/api/functions/__class__",
    "/api/functions/customers.list.__globals__",
    "/api/functions/%63ustomers.%6cist%00",
    "/api/%ff%fe",
    "/api/customers/%ff/history",
]


async def test_a_hostile_address_is_nowhere(siege: Attacked) -> None:
    for path in ADDRESSES:
        for method in ("GET", "POST", "PATCH", "DELETE"):
            response = await siege.ask(method, path, headers={"if-match": '"1"'}, json={"name": "x"})
            assert response.status_code in (400, 404, 405, 414), response.text[:300]
            assert len(response.content) < 8_000


async def test_a_query_string_of_everything_is_refused_or_harmless(siege: Attacked) -> None:
    """Each function by GET and POST, with names and values that mean something to some layer."""
    for name in [function.name for function in shop.functions]:
        for key in (
            "__init__",
            "self",
            "session",
            "unit",
            "transaction",
            "context",
            "principal",
            "a" * 500,
            "%00",
            "model_config",
        ):
            response = await siege.ask("GET", f"/api/functions/{name}?{key}=1")
            assert response.status_code in (400, 405, 422, 404), response.text[:300]
            response = await siege.ask("POST", f"/api/functions/{name}", json={key: 1})
            assert response.status_code in (400, 422), response.text[:300]
