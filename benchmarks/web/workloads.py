"""The five pieces of work that servers are compared in, what the project set out to reach, and how an answer is judged."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from benchmarks.contenders.model import PAGE, CustomerModel
from benchmarks.web.checks import Answer, DifferentAnswerError, ask
from benchmarks.web.contenders import Served
from benchmarks.web.driver import Job, Load
from benchmarks.web.peers.model import Metrics
from benchmarks.web.world import LAST, World

__all__ = ["CUSTOMERS", "LIST", "METRICS", "WORKLOADS", "Workload"]

CUSTOMERS = "/api/customers"
LIST = f"{CUSTOMERS}?status=active&order=-created_at&limit={PAGE}"
METRICS = f"/api/functions/customers.metrics?since={quote((LAST - timedelta(days=30)).isoformat())}"
KNOWN = 2_000
"""Customers that a turn is spread over."""
NEW = json.dumps(
    {
        "name": "# ~", "email": "#.~@example.test", "phone": "+49 30 7654321", "status": "active", "kind": "company",
        "industry": "retail", "credit": "1250.50", "payment_days": 14, "website": "https://example.test",
        "notes": "Met at the fair; wants a call in the spring.", "tags": ["vip", "tier-3"], "newsletter": True,
        "last_order_at": "2025-06-01T12:00:00Z",
    }
)  # fmt: skip
"""A new customer; `#` is the turn and `~` the request."""
NEWLY = ("id", "name", "email", "created_at", "updated_at")
"""What differs between records that servers made one after the other."""

Content = Callable[[World, Served], Awaitable[object]]


@dataclass(frozen=True)
class Workload:
    """A piece of work.

    Args:
        name: what ONLY names.
        title: what it is, for people.
        job: what a turn requests; turns are numbered.
        content: has a server do it once, and says what the answer says in a form that compares equal between servers.
        action: what the log says of a request's one write; nothing for reads.
        targets: by peer, how many times its requests per second Freehold is to reach with 16 connections.
    """

    name: str
    title: str
    job: Callable[[World, int], Awaitable[Job]]
    content: Content
    action: str | None = None
    targets: Mapping[str, float] = field(default_factory=dict)

    async def verify(self, world: World, job: Job, load: Load, connections: int) -> None:
        """See that the writes of a turn are in the log, one for each request; those that were under way at its end may be.

        Raises:
            DifferentAnswerError: there are fewer or more.
        """
        if self.action is None:
            return
        text = (
            "select count(*) as there from freehold.log where organization_id = $1 and request_id = $2 and action = $3"
        )
        organization = world.tenants["writes"].context.organization_id
        (row,) = await world.asked(text, organization, job.request_id, self.action)
        if not load.requests <= row["there"] <= load.requests + connections:
            raise DifferentAnswerError(f"{load.requests} requests were answered, and the log has {row['there']} writes")


async def _get_job(world: World, turn: int) -> Job:
    ids = [str(known) for known, _ in await world.customers("reads", KNOWN)]
    return Job("any", CUSTOMERS, world.tenants["reads"].token, ids, seed=turn)


async def _list_job(world: World, turn: int) -> Job:
    return Job("same", LIST, world.tenants["reads"].token, seed=turn)


async def _metrics_job(world: World, turn: int) -> Job:
    return Job("same", METRICS, world.tenants["figures"].token, seed=turn)


async def _create_job(world: World, turn: int) -> Job:
    return Job("create", CUSTOMERS, world.tenants["writes"].token, body=NEW.replace("#", f"turn-{turn}"), seed=turn)


async def _update_job(world: World, turn: int) -> Job:
    """Each turn updates other customers than the one before, of which some updates may still be under way."""
    known = await world.customers("writes", KNOWN, skipped=KNOWN * (turn % 5))
    return Job(
        "update", CUSTOMERS, world.tenants["writes"].token, [str(each) for each, _ in known],
        [version for _, version in known], json.dumps({"credit": "1250.~"}), turn,
    )  # fmt: skip


def record(answer: Answer, status: int = 200) -> dict[str, Any]:
    """The record of an answer, field by field; its tag begins with the version."""
    answer.expect(status)
    found = CustomerModel.model_validate_json(answer.body).model_dump()
    tag = answer.headers.get("etag", "").removeprefix("W/")
    if re.fullmatch(rf'"{found["version"]}(-\w+)?"', tag) is None:
        raise DifferentAnswerError(f"the record has version {found['version']}, the ETag is {tag}")
    return found


async def _one(world: World, server: Served) -> object:
    ((known, _),) = await world.customers("reads", 1, skipped=777)
    return record(await ask(world, server, "reads", "GET", f"{CUSTOMERS}/{known}"))


async def _page(world: World, server: Served) -> object:
    answer = await ask(world, server, "reads", "GET", LIST)
    page = answer.expect(200).json
    records = [CustomerModel.model_validate(each).model_dump() for each in page["data"]]
    if len(records) != PAGE or not page["next"]:
        raise DifferentAnswerError(f"a page of {PAGE} has {len(records)} records, and the next is {page['next']}")
    following = await ask(world, server, "reads", "GET", f"{LIST}&after={quote(page['next'])}")
    return records, [CustomerModel.model_validate(each).model_dump() for each in following.expect(200).json["data"]]


async def _figures(world: World, server: Served) -> object:
    answer = await ask(world, server, "figures", "GET", METRICS)
    return Metrics.model_validate_json(answer.expect(200).body)


async def _created(world: World, server: Served) -> object:
    request_id = uuid4().hex
    body = json.loads(NEW.replace("#", server.name))
    headers = {"X-Request-Id": request_id}
    made = record(await ask(world, server, "writes", "POST", CUSTOMERS, body, headers), 201)
    again = await ask(world, server, "writes", "POST", CUSTOMERS, body)
    read = record(await ask(world, server, "writes", "GET", f"{CUSTOMERS}/{made['id']}"))
    if read != made or again.status != 409:
        raise DifferentAnswerError(f"{made}, and read again {read}; made again: {again.status}")
    same = {name: value for name, value in made.items() if name not in NEWLY}
    return same, await _logged(world, made["id"], "create", request_id)


async def _changed(world: World, server: Served) -> object:
    ((known, version),) = await world.customers("writes", 1, skipped=333)
    request_id = uuid4().hex
    path, expected = f"{CUSTOMERS}/{known}", {"If-Match": f'"{version}"', "X-Request-Id": request_id}
    changed = record(await ask(world, server, "writes", "PATCH", path, {"credit": "77.25"}, expected))
    stale = await ask(world, server, "writes", "PATCH", path, {"credit": "77.25"}, expected)
    if stale.status != 409:
        raise DifferentAnswerError(f"an update from a version that has passed is answered {stale.status}")
    later = changed["updated_at"] > changed["created_at"]
    return changed | {"version": changed["version"] - version, "updated_at": later}, await _logged(
        world, known, "update", request_id
    )


async def _logged(world: World, known: object, action: str, request_id: str) -> list[dict[str, Any]]:
    """What the log says of a record's write: who, and in which request."""
    rows = await world.asked(
        "select actor_id, client_ip, user_agent from freehold.log "
        "where organization_id = $1 and record_id = $2 and action = $3 and request_id = $4",
        world.tenants["writes"].context.organization_id, known, action, request_id,
    )  # fmt: skip
    if len(rows) != 1:
        raise DifferentAnswerError(f"the log has {len(rows)} entries of one {action}")
    return [dict(row) for row in rows]


WORKLOADS = (
    Workload(
        "http_get", "GET one customer", _get_job, _one, targets={"fastapi-sqlalchemy": 3.0, "starlette-asyncpg": 1.5}
    ),
    Workload(
        "http_list", f"GET a page of {PAGE}: a filter and an order", _list_job, _page,
        targets={"fastapi-sqlalchemy": 3.0, "starlette-asyncpg": 1.5},
    ),
    Workload(
        "http_create", "POST a new customer, audited", _create_job, _created, "create",
        targets={"fastapi-sqlalchemy": 2.0, "starlette-asyncpg": 1.2},
    ),
    Workload(
        "http_update", "PATCH a customer from its version, audited", _update_job, _changed, "update",
        targets={"fastapi-sqlalchemy": 2.0, "starlette-asyncpg": 1.2},
    ),
    Workload("http_metrics", "GET the dashboard's figures", _metrics_job, _figures),
)  # fmt: skip
