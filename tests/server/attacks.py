"""An attacked server: one organization whose every text is marked, another one that tries to see or change any of it."""

import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from freehold import Database, Principal
from freehold.functions.declaration import Function
from freehold.identity.principal import Origin
from freehold.server import Settings
from freehold.server.routes import _PLACES
from tests.functions.shop import ON_PURPOSE
from tests.server.calling import Callers, calling
from tests.world import Contact, Customer, Order

MARK = "zq7mark"
"""Is in every text of the attacked organization, and so may be in nothing that others see."""
HIDDEN = "qz9hidden"
"""Is in the private fields of all organizations, and so may be in nothing at all."""

CHANGES: Mapping[str, Mapping[str, Any]] = {
    "customers": {"name": "x"},
    "contacts": {"name": "x"},
    "orders": {"number": "x"},
}
"""A valid change of each entity. One that is missing fails the tests, so that a new entity is tried too."""

REQUIRED: Mapping[str, Mapping[str, Any]] = {
    "customers": {"name": "x"},
    "contacts": {"name": "x", "customer_id": "<id>"},
    "orders": {"number": "x", "total": 1, "customer_id": "<id>"},
}
"""What a new record of each entity needs; `<id>` is the id that is tried."""


@dataclass
class Attacked:
    """The server, and what is known of the attacked organization.

    Args:
        call: sends requests; `ada` attacks, `eve` is attacked.
        ids: of eve's records, by table; and of her organization and user.
        mine: of ada's records.
        mine_organization: ada's.
        seen: whatever ada was answered.
    """

    call: Callers
    ids: dict[str, UUID]
    mine: dict[str, UUID]
    mine_organization: UUID
    seen: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, who: str | None = "ada", **more: Any) -> httpx.Response:
        """A request; what is answered is kept, but for what eve is answered herself."""
        response = await self.call(who, method, path, **more)
        if who != "eve":
            self.seen.append(f"{method} {path}: {response.headers} {response.text}")
        assert response.status_code < 500 or path.endswith(ON_PURPOSE), self.seen[-1]
        return response


@asynccontextmanager
async def attacked(
    database: Database, ada: Principal, eve: Principal, caplog: pytest.LogCaptureFixture, **more: Principal
) -> AsyncIterator[Attacked]:
    """A server under attack. Whatever was told and logged is searched for marks at the end."""
    theirs, mine = await _filled(database, eve, MARK), await _filled(database, ada, "ours")
    theirs |= {"organization": eve.organization_id, "user": eve.user_id or uuid4()}
    with caplog.at_level(logging.DEBUG, "freehold"):
        settings = Settings(limits=None, log_addresses=True)
        async with calling(database, settings, ada=ada, eve=eve, **more) as call:
            found = Attacked(call, theirs, mine, ada.organization_id)
            yield found
    for seen in found.seen:
        assert MARK not in seen, seen
        assert HIDDEN not in seen, seen
    assert MARK not in caplog.text
    assert HIDDEN not in caplog.text


async def _filled(database: Database, caller: Principal, mark: str) -> dict[str, UUID]:
    """A record of each entity, with the mark in every text."""
    async with database.session(caller.context(Origin())) as session:
        customer = await session.create(
            Customer,
            name=f"{mark} name",
            email=f"{mark}@example.test",
            tags=[mark],
            code=mark,
            tax_number=HIDDEN,
            credit=7,
        )
        contact = await session.create(Contact, customer_id=customer.id, name=f"{mark} contact")
        order = await session.create(Order, customer_id=customer.id, contact_id=contact.id, number=mark, total=5)
        gone = await session.create(Customer, name=f"{mark} gone", tax_number=HIDDEN)
        await session.delete(gone)
        await session.update(customer, name=f"{mark} renamed", tax_number=f"{HIDDEN} too")
    return {"customers": customer.id, "contacts": contact.id, "orders": order.id, "gone": gone.id}


def requests(
    function: Function, table: Mapping[str, str], id: UUID, version: int = 1
) -> Iterator[tuple[str, str, Any]]:
    """All requests by which a function is called with a record's id: method, path, and what else is sent."""
    schema = function.parameters.model_json_schema()
    more: dict[str, Any] = {"headers": {"if-match": f'"{version}"'}}
    if function.idempotent == "key":
        more["headers"]["idempotency-key"] = str(uuid4())
    yield "POST", f"/api/functions/{function.name}", {**more, "json": arguments(function, schema, id)}
    if function.action in _PLACES and function.entity is not None:
        place, last, method = _PLACES[function.action]
        path = {"record": f"/{id}", "below": f"/{id}/{last}", "beside": f"/{last}"}.get(place, "")
        body: dict[str, Any] = {"json": given(function, id)} if function.action in ("create", "update") else {}
        if function.action == "import":
            fields = REQUIRED[table[function.entity]]
            more["headers"].pop("if-match")
            row = ",".join(str(id) if value == "<id>" else str(value) for value in fields.values())
            body = {"content": f"{','.join(fields)}\n{row}\n"}
            more["headers"]["content-type"] = "text/csv"
            path += f"?run={uuid4()}"  # else the second one of the same file is a repetition
        yield method, f"/api/{table[function.entity]}{path}", {**more, **body}


def arguments(function: Function, schema: Mapping[str, Any], id: UUID) -> Any:
    """Valid arguments, with the id wherever one may be."""
    made = sample(schema, schema, id)
    if function.action in ("create", "update"):
        made["values" if function.action == "create" else "changes"] = given(function, id)
    return made


def given(function: Function, id: UUID) -> dict[str, Any]:
    """What is written by `create` and `update` of an entity."""
    known = (REQUIRED if function.action == "create" else CHANGES)[function.name.partition(".")[0]]
    return {name: str(id) if value == "<id>" else value for name, value in known.items()}


def sample(schema: Mapping[str, Any], whole: Mapping[str, Any], id: UUID) -> Any:
    """A value that a JSON Schema allows: what is required, and each id."""
    if "$ref" in schema:
        return sample(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, id)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return sample(next(each for each in schema[choice] if each.get("type") != "null"), whole, id)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        wanted = set(schema.get("required", ()))
        wanted |= {name for name, each in schema.get("properties", {}).items() if "uuid" in str(each)}
        return {name: sample(schema["properties"][name], whole, id) for name in sorted(wanted)}
    if kind == "array":
        return [sample(schema["items"], whole, id)] if "uuid" in str(schema.get("items")) else []
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 1), 1)
    return {"boolean": False, "string": str(id) if schema.get("format") == "uuid" else "1"}.get(str(kind))


_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def masked(response: httpx.Response) -> tuple[int, dict[str, str], str]:
    """An answer without what differs between any two: ids and times."""
    headers = {name: value for name, value in response.headers.items() if name not in ("x-request-id", "date")}
    headers["content-length"] = headers["location"] = ""
    headers["etag"] = re.sub(r"-[0-9a-f]{16}", "-<digest>", headers.get("etag", ""))
    text = _IDS.sub("<id>", response.text)
    return response.status_code, headers, re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+(\+00:00|Z)", "<time>", text)


async def everything(admin: "asyncpg.Connection[asyncpg.Record]") -> dict[str, Any]:
    """How many rows each table has, and the versions of the records: what an attack may not change."""
    tables = await admin.fetch(
        "select format('%I.%I', schemaname, tablename) as name from pg_tables "
        "where schemaname in ('app', 'freehold') and tablename !~ '^log_' order by 1"
    )
    found = {row["name"]: await admin.fetchval(f"select count(*) from {row['name']}") for row in tables}
    for table in ("app.customers", "app.contacts", "app.orders"):
        found[f"{table} versions"] = await admin.fetchval(f"select sum(version) from {table}")
    return found
