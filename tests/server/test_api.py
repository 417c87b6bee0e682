"""The API over HTTP: addresses, methods, versions, pages, problems."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from freehold import Database, Principal
from freehold.identity.principal import Origin
from tests.functions.shop import reached
from tests.server.calling import Callers, calling
from tests.world import Customer


async def made(call: Callers, who: str = "ada", **values: Any) -> dict[str, Any]:
    response = await call(who, "POST", "/api/customers", json={"name": "Acme", **values})
    assert response.status_code == 201, response.text
    return response.json()  # type: ignore[no-any-return]


def moments(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its moments in one notation."""
    return {
        name: value.replace("Z", "+00:00") if name.endswith("_at") and value else value
        for name, value in record.items()
    }


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    told: dict[str, Any] = response.json()
    assert (told["status"], told["code"], told["type"]) == (status, code, f"urn:freehold:error:{code}")
    assert told["request_id"] == response.headers["x-request-id"]
    assert told["title"]
    return told


async def test_a_record_is_made_read_changed_and_deleted(call: Callers) -> None:
    response = await call("ada", "POST", "/api/customers", json={"name": "Acme", "credit": "5"})
    record = response.json()
    place = response.headers["location"]
    assert (response.status_code, place) == (201, f"/api/customers/{record['id']}")
    assert response.headers["content-type"] == "application/json"
    tag = response.headers["etag"]

    read = await call("ada", "GET", place)
    assert read.json() == record
    assert read.headers["etag"] == tag
    assert read.headers["cache-control"] == "private, no-cache"

    changed = await call("ada", "PATCH", place, json={"name": "Acme Ltd"}, headers={"if-match": tag})
    assert (changed.status_code, changed.json()["name"], changed.json()["version"]) == (200, "Acme Ltd", 2)

    gone = await call("ada", "DELETE", place, headers={"if-match": changed.headers["etag"]})
    assert gone.status_code == 200
    problem(await call("ada", "GET", place), 404, "FH200")
    back = await call("ada", "POST", f"{place}/restore", headers={"if-match": gone.headers["etag"]})
    assert (back.status_code, back.json()["version"]) == (200, 4)
    changes = (await call("ada", "GET", f"{place}/history?limit=2")).json()
    assert [change["action"] for change in changes["data"]] == ["restore", "delete"]


async def test_a_list_is_a_page_with_links(call: Callers) -> None:
    for name in "abc":
        await made(call, name=name)
    response = await call("ada", "GET", "/api/customers?order=-name&limit=2&select=name")
    page = response.json()
    assert [row["name"] for row in page["data"]] == ["c", "b"]
    link = response.headers["link"]
    assert link == f'</api/customers?order=-name&limit=2&select=name&after={page["next"]}>; rel="next"'
    following = await call("ada", "GET", link[1 : link.index(">")])
    assert [row["name"] for row in following.json()["data"]] == ["a"]
    assert following.headers["link"].endswith('rel="prev"')
    assert "etag" not in response.headers


async def test_links_and_places_are_below_the_prefix(shop_database: Database, ada: Principal) -> None:
    async with calling(shop_database, root_path="/crm", ada=ada) as call:
        response = await call("ada", "POST", "/crm/api/customers", json={"name": "Acme"})
        assert response.headers["location"].startswith("/crm/api/customers/")
        await made_below(call)
        response = await call("ada", "GET", "/crm/api/customers?limit=1")
        assert response.headers["link"].startswith("</crm/api/customers?limit=1&after=")


async def made_below(call: Callers) -> None:
    assert (await call("ada", "POST", "/crm/api/customers", json={"name": "b"})).status_code == 201


async def test_functions_are_called_by_name(call: Callers) -> None:
    await made(call, credit="7")
    figures = {"customers": 1, "credit": "7.00", "best": None}
    assert (await call("ada", "GET", "/api/functions/customers.figures?least=5")).json() == figures
    posted = await call("ada", "POST", "/api/functions/customers.figures", json={"least": "5"})
    assert posted.json() == figures
    assert (await call("ada", "POST", "/api/functions/customers.figures")).json() == figures
    assert (await call(None, "GET", "/api/functions/hello?name=Ada")).json() == "hello, Ada"
    assert call.tokens.asked == 4


async def test_a_public_function_ignores_a_credential(call: Callers) -> None:
    assert (await call("nobody", "GET", "/api/functions/hello")).status_code == 200
    assert call.tokens.asked == 0


async def test_head_tells_what_get_would(call: Callers) -> None:
    record = await made(call)
    place = f"/api/customers/{record['id']}"
    got, head = await call("ada", "GET", place), await call("ada", "HEAD", place)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/customers", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/api/customers", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/api/customers/018f0000-0000-7000-8000-000000000000", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("GET", "/api/functions/orders.place", "OPTIONS, POST"),
        ("get", "/api/customers", "GET, HEAD, OPTIONS, POST"),
    ],
)
async def test_a_method_that_is_not_served_is_told_with_those_that_are(
    call: Callers, method: str, path: str, allow: str
) -> None:
    response = await raw(call, method, path)
    problem(response, 405, "FH103")
    assert response.headers["allow"] == allow


async def test_options_tells_the_methods(call: Callers) -> None:
    response = await call(None, "OPTIONS", "/api/customers")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/nothing",
        "/api/customers/",
        "/api/customers//history",
        "/api/customers/018f0000-0000-7000-8000-000000000000/",
        "/api/customers/018f0000-0000-7000-8000-000000000000/nothing",
        "/api/customers/018f0000-0000-7000-8000-000000000000/history/more",
        "/api/functions/",
        "/api/Customers",
        "/api/customers%2f018f0000-0000-7000-8000-000000000000",
        "/api/../healthz",
    ],
)
async def test_what_is_nowhere_is_not_found(call: Callers, path: str) -> None:
    assert (await raw(call, "GET", path)).status_code == 404


async def test_an_unknown_function_is_told_with_a_suggestion(call: Callers) -> None:
    told = problem(await call("ada", "GET", "/api/functions/customers.figure"), 404, "FH200")
    assert "customers.figures" in told["hint"]


async def test_percent_encoded_names_are_names(call: Callers) -> None:
    await made(call)
    assert len((await raw(call, "GET", "/api/%63ustomers", "ada")).json()["data"]) == 1


async def test_nobody_is_refused(call: Callers) -> None:
    for who in (None, "nobody"):
        response = await call(who, "GET", "/api/customers")
        problem(response, 401, "FH302")
        assert response.headers["www-authenticate"] == "Bearer"
        assert (await call(who, "POST", "/api/customers", json={"name": "x"})).status_code == 401
    assert (await call("ada", "GET", "/api/customers")).json()["data"] == []


async def test_who_lacks_the_permission_is_refused(call: Callers) -> None:
    problem(await call("guest", "POST", "/api/customers", json={"name": "x"}), 403, "FH300")
    assert (await call("guest", "GET", "/api/customers")).json()["data"] == []


async def test_the_organization_is_not_chosen_by_a_header(call: Callers, eve: Principal) -> None:
    headers = {"freehold-organization": str(eve.organization_id)}
    problem(await call("ada", "GET", "/api/customers", headers=headers), 403, "FH300")


async def test_a_known_copy_is_not_sent_again(call: Callers, shop_database: Database, ada: Principal) -> None:
    place = f"/api/customers/{(await made(call))['id']}"
    tag = (await call("ada", "GET", place)).headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = await call("ada", "GET", place, headers={"if-none-match": known})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", tag)
    assert (await call("ada", "GET", place, headers={"if-none-match": '"x"'})).status_code == 200
    assert (await call("ada", "GET", place + "?select=name", headers={"if-none-match": tag})).status_code == 200


async def test_what_changes_without_a_version_changes_the_tag(
    call: Callers, shop_database: Database, ada: Principal
) -> None:
    record = await made(call)
    place = f"/api/customers/{record['id']}"
    tag = (await call("ada", "GET", place)).headers["etag"]
    async with shop_database.session(ada.context(Origin())) as session:
        await session.increment(Customer, record["id"], visits=1)
    response = await call("ada", "GET", place, headers={"if-none-match": tag})
    assert (response.status_code, response.json()["visits"], response.json()["version"]) == (200, 1, 1)
    # The version is the same: what was read before may still be changed.
    assert (await call("ada", "PATCH", place, json={"name": "b"}, headers={"if-match": tag})).status_code == 200


async def test_where_the_version_tells_all_it_is_the_tag(call: Callers) -> None:
    customer = await made(call)
    response = await call("ada", "POST", "/api/contacts", json={"customer_id": customer["id"], "name": "Bo"})
    assert response.headers["etag"] == '"1"'
    read = await call("ada", "GET", response.headers["location"])
    assert read.headers["etag"] == '"1"'


async def test_an_included_record_is_not_hidden_by_a_tag(call: Callers) -> None:
    customer = await made(call)
    place = f"/api/customers/{customer['id']}?include=contacts"
    tag = (await call("ada", "GET", place)).headers.get("etag")
    await call("ada", "POST", "/api/contacts", json={"customer_id": customer["id"], "name": "Bo"})
    response = await call("ada", "GET", place, headers={} if tag is None else {"if-none-match": tag})
    assert (response.status_code, len(response.json()["contacts"])) == (200, 1)


async def test_a_change_needs_the_version(call: Callers) -> None:
    place = f"/api/customers/{(await made(call))['id']}"
    for method, path in (("PATCH", place), ("DELETE", place), ("POST", f"{place}/restore")):
        for headers in ({}, {"if-match": "*"}):
            told = problem(await call("ada", method, path, json={"name": "x"}, headers=headers), 428, "FH103")
            assert "If-Match" in told["hint"]
    for tag in ("1", '"abc"', '"1", "2"', '"1" x', '""', '"-1"', '"1-xyz"'):
        response = await call("ada", "PATCH", place, json={"name": "x"}, headers={"if-match": tag})
        problem(response, 400, "FH103")
    too_large = await call("ada", "PATCH", place, json={"name": "x"}, headers={"if-match": '"9999999999"'})
    assert too_large.status_code == 422
    assert (await call("ada", "GET", place)).json()["version"] == 1


async def test_a_weak_tag_names_its_version(call: Callers) -> None:
    place = f"/api/customers/{(await made(call))['id']}"
    response = await call("ada", "PATCH", place, json={"name": "b"}, headers={"if-match": 'W/"1"'})
    assert response.json()["version"] == 2


async def test_a_conflict_tells_the_current_record(call: Callers) -> None:
    record = await made(call, tags=["a"])
    place = f"/api/customers/{record['id']}"
    newest = (await call("ada", "PATCH", place, json={"name": "b"}, headers={"if-match": '"1"'})).json()
    for method, path in (("PATCH", place), ("DELETE", place)):
        told = problem(await call("ada", method, path, json={"name": "c"}, headers={"if-match": '"1"'}), 409, "FH201")
        assert (told["expected"], told["actual"], moments(told["current"])) == (1, 2, moments(newest))
    posted = {"id": record["id"], "version": 1, "changes": {"name": "d"}}
    told = problem(await call("ada", "POST", "/api/functions/customers.update", json=posted), 409, "FH201")
    assert moments(told["current"]) == moments(newest)
    assert (await call("ada", "GET", place)).json() == newest


async def test_all_that_is_wrong_with_a_body_is_told_by_its_names(call: Callers) -> None:
    body = {"name": "", "credit": "x", "colour": 1}
    told = problem(await call("ada", "POST", "/api/customers", json=body), 422, "FH100")
    assert {tuple(issue["path"]) for issue in told["issues"]} == {("name",), ("credit",), ("colour",)}
    assert "values" not in told["detail"]
    place = f"/api/customers/{(await made(call))['id']}"
    told = problem(await call("ada", "PATCH", place, json=body, headers={"if-match": '"1"'}), 422, "FH100")
    assert {tuple(issue["path"]) for issue in told["issues"]} == {("name",), ("credit",), ("colour",)}
    told = problem(await call("ada", "POST", "/api/customers", json=[]), 422, "FH100")
    assert told["issues"][0]["path"] == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "a"}, "id": "018f0000-0000-7000-8000-000000000000"',
        b'{"name": "a"}}',
        b'{"name": "a", "name": "b"}',
        b"{",
        b"\xff\xfe",
        '{"name": "a"}'.encode("utf-16"),
        b'{"name": NaN}',
        b"[" * 10_000,
    ],
)
async def test_a_body_that_is_no_json_changes_nothing(call: Callers, body: bytes) -> None:
    record = await made(call)
    place = f"/api/customers/{record['id']}"
    headers = {"content-type": "application/json", "if-match": '"1"'}
    for method, path in (("PATCH", place), ("POST", "/api/customers")):
        problem(await call("ada", method, path, content=body, headers=headers), 400, "FH103")
    page = (await call("ada", "GET", "/api/customers")).json()
    assert page["data"] == [record]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": ""},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_a_body_of_another_kind_is_refused(call: Callers, headers: dict[str, str]) -> None:
    response = await call("ada", "POST", "/api/customers", content=b'{"name": "x"}', headers=headers)
    problem(response, 415, "FH103")
    plain = {"content-type": 'application/json; charset="UTF-8"'}
    assert (await call("ada", "POST", "/api/customers", content=b'{"name": "x"}', headers=plain)).status_code == 201


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("x=" + "y" * 16_384, 414),
        ("&".join(["least=1"] * 201), 400),
        ("least=%ff", 400),
        ("least=1&least=2", 422),
        ("colour=red", 422),
        ("least=abc", 422),
    ],
)
async def test_a_query_string_is_read_strictly(call: Callers, query: str, status: int) -> None:
    assert (await raw(call, "GET", f"/api/functions/customers.figures?{query}", "ada")).status_code == status


async def test_an_id_in_the_query_string_does_not_count(call: Callers) -> None:
    one, other = await made(call, name="one"), await made(call, name="other")
    response = await call("ada", "GET", f"/api/customers/{one['id']}?id={other['id']}")
    problem(response, 400, "FH103")


@pytest.mark.parametrize("id", ["x", "1", "018f", "aggregates", "'; drop table customers; --", "x" * 5_000])
async def test_what_is_no_id_names_no_record(call: Callers, id: str) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        response = await call("ada", method, f"/api/customers/{id}", json={"name": "x"}, headers={"if-match": '"1"'})
        problem(response, 404, "FH200")


async def test_another_organization_s_record_is_an_absent_one(call: Callers) -> None:
    record = await made(call)
    place = f"/api/customers/{record['id']}"

    async def told(id: str, method: str, path: str) -> str:
        response = await call("eve", method, path.format(id), json={"name": "x"}, headers={"if-match": '"1"'})
        problem(response, 404, "FH200")
        return response.text.replace(id, "ID").replace(response.headers["x-request-id"], "REQUEST")

    for method, path in (
        ("GET", "/api/customers/{}"),
        ("HEAD", "/api/customers/{}"),
        ("PATCH", "/api/customers/{}"),
        ("DELETE", "/api/customers/{}"),
        ("GET", "/api/customers/{}/history"),
        ("POST", "/api/customers/{}/restore"),
        ("GET", "/api/customers/{}?include=contacts"),
    ):
        if method == "HEAD":
            assert (await call("eve", method, path.format(record["id"]))).status_code == 404
            continue
        assert await told(record["id"], method, path) == await told(str(uuid4()), method, path)
    assert (await call("ada", "GET", place)).json() == record


async def test_a_cursor_is_one_organization_s(call: Callers) -> None:
    for name in "ab":
        await made(call, name=name)
    cursor = (await call("ada", "GET", "/api/customers?limit=1")).json()["next"]
    problem(await call("eve", "GET", f"/api/customers?limit=1&after={cursor}"), 400, "FH101")
    problem(await call("ada", "GET", f"/api/customers?limit=1&after={cursor}x"), 400, "FH101")


async def test_errors_of_the_program_tell_nothing(call: Callers) -> None:
    body = {"customer": "Acme", "lines": [], "fail": True}
    for method, path, sent in (
        ("POST", "/api/functions/orders.place", body),
        ("GET", "/api/functions/broken", None),
    ):
        response = await call("ada", method, path, json=sent)
        told = problem(response, 500, "FH500")
        assert "secret" not in response.text
        assert told["hint"] is None or "log" in told["hint"]


async def test_a_time_limit_is_told(call: Callers) -> None:
    problem(await call("ada", "GET", "/api/functions/sleepy"), 504, "FH400")
    assert reached == ["woken"]


async def raw(call: Callers, method: str, path: str, who: str | None = None) -> httpx.Response:
    """A request whose address is sent as it is written."""
    from urllib.parse import unquote

    headers = [(b"authorization", f"Bearer {who}".encode())] if who else []
    plain, _, query = path.partition("?")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": unquote(plain), "raw_path": plain.encode(), "root_path": "",
        "query_string": query.encode(), "scheme": "http", "headers": headers, "client": ("192.0.2.9", 5),
        "server": ("test", 80), "http_version": "1.1",
    }  # fmt: skip
    await call.server(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)
