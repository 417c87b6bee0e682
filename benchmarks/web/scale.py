"""How fast the server answers where there is much: the calls of the scale benchmark, over HTTP.

The data, the organizations and how often each call is made are those of `benchmarks.scale`, and so are the times that 95 of
100 calls may take. The callers share one process, and each has a connection of its own.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from random import Random
from time import process_time
from typing import Any
from urllib.parse import quote, urlencode

from examples.renoz.entities import application
from rich.console import Console

from benchmarks import scale_calls
from benchmarks.scale import SETTINGS, Outcome, Scale, administered, opened, run, settle
from benchmarks.scale_calls import ORDERS, PAGE, TODAY, Call, Caller, Tenant, prepare
from benchmarks.scale_data import sizes
from benchmarks.scale_load import Loaded, load, memory, postmaster, processor
from benchmarks.web.contenders import SCALE, Served, served
from benchmarks.web.exchanges import Connection, Said
from benchmarks.web.world import site
from benchmarks.world import machine_of
from freehold.errors import ConcurrencyError
from freehold.postgres.server import ServerAddress

__all__ = ["CALLS", "NAME", "WebCaller", "measure"]

NAME = "http_scale"
TITLE = "Requests at scale"
CUSTOMERS = "/api/customers"


class WebCaller(Caller):
    """One of those who call, over a connection of its own.

    Args:
        tenants: all organizations, the large one first.
        chance: where everything that is drawn comes from.
        connection: to the server.
        tokens: by the ordinal of the organization.
    """

    def __init__(
        self, tenants: Sequence[Tenant], chance: Random, connection: Connection, tokens: Mapping[int, str]
    ) -> None:
        super().__init__(tenants, chance, CALLS)
        self._connection = connection
        self._tokens = tokens

    async def ask(
        self, tenant: Tenant, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Said:
        """Make a request on behalf of an organization's user.

        Raises:
            ConcurrencyError: another caller was faster with the same record.
            RuntimeError: the answer is not one of success.
        """
        said = await self._connection.ask(method, path, self._tokens[tenant.ordinal], body, headers)
        if said.status == 409 and method == "PATCH":
            raise ConcurrencyError("Customer", path.rpartition("/")[2], expected=0, actual=0, current=None)
        if not 200 <= said.status <= 299:
            raise RuntimeError(f"{method} {path}: {said.status} {said.body[:300].decode(errors='replace')}")
        return said


def _page(caller: Caller, after: Callable[[str | None], str | None]) -> str:
    order = caller.chance.choice(ORDERS)
    told = {"limit": PAGE, "order": order, "after": after(order)}
    return f"{CUSTOMERS}?{urlencode({name: value for name, value in told.items() if value is not None})}"


async def _get(caller: Any, tenant: Tenant, _: Any = None) -> Said:
    said: Said = await caller.ask(tenant, "GET", f"{CUSTOMERS}/{caller.customer(tenant)}")
    return said


async def _first_page(caller: Any, tenant: Tenant, _: Any) -> object:
    return await caller.ask(tenant, "GET", _page(caller, lambda _: None))


async def _thousandth_page(caller: Any, tenant: Tenant, _: Any) -> object:
    return await caller.ask(tenant, "GET", _page(caller, tenant.far.get))


async def _customers_with_theirs(caller: Any, tenant: Tenant, _: Any) -> object:
    status = caller.chance.choice(["active", "prospect", "blocked"])
    return await caller.ask(tenant, "GET", f"{CUSTOMERS}?status={status}&order=name&limit=20&include=contacts")


async def _orders_with_theirs(caller: Any, tenant: Tenant, _: Any) -> object:
    since = TODAY - timedelta(days=caller.chance.randrange(30, 600))
    path = f"/api/orders?status=delivered&placed_on.gte={since}&order=placed_on&limit=20&include=customer"
    return await caller.ask(tenant, "GET", path)


async def _history(caller: Any, tenant: Tenant, _: Any) -> object:
    return await caller.ask(tenant, "GET", f"{CUSTOMERS}/{caller.customer(tenant)}/history")


async def _dashboard(caller: Any, tenant: Tenant, _: Any) -> object:
    return await caller.ask(tenant, "GET", f"/api/functions/dashboard?today={TODAY}")


async def _create(caller: Any, tenant: Tenant, _: Any) -> object:
    body = {"number": tenant.next_number(), "name": caller.name(), "status": "active", "customer_since": str(TODAY)}
    return await caller.ask(tenant, "POST", CUSTOMERS, body)


async def _create_activity(caller: Any, tenant: Tenant, _: Any) -> object:
    about, now = str(caller.customer(tenant)), datetime.now(UTC).isoformat()
    return await caller.ask(
        tenant, "POST", "/api/activities", {"customer_id": about, "subject": "Called back", "at": now}
    )


async def _update(caller: Any, tenant: Tenant, read: Said) -> object:
    known = read.json
    headers = {"If-Match": f'"{known["version"]}"'}
    return await caller.ask(
        tenant, "PATCH", f"{CUSTOMERS}/{known['id']}", {"health": caller.chance.randrange(101)}, headers
    )


async def _search(caller: Any, tenant: Tenant, _: Any) -> object:
    return await caller.ask(tenant, "GET", f"/api/functions/search?text={quote(caller.text())}")


async def _search_list(caller: Any, tenant: Tenant, _: Any) -> object:
    path = f"{CUSTOMERS}?search={quote(caller.text())}&status=active&order=name&limit=20"
    return await caller.ask(tenant, "GET", path)


_WORK: Mapping[str, Any] = {
    "get": _get,
    "list, first page": _first_page,
    "list, 1,000th page": _thousandth_page,
    "list, filter and includes": _customers_with_theirs,
    "list, range and includes": _orders_with_theirs,
    "history of a record": _history,
    "dashboard": _dashboard,
    "create a customer": _create,
    "create an activity": _create_activity,
    "update": _update,
    "search": _search,
    "list that is searched": _search_list,
}
CALLS = [
    Call(each.name, each.weight, _WORK[each.name], each.target, each.write, each.middle, each.before and _get)
    for each in scale_calls.CALLS
    if each.name in _WORK
]
"""As often as there, and with the same targets; reads of the past are not offered over HTTP."""


async def measure(scale: Scale, console: Console) -> Outcome:
    """Load what is missing, start the server, then call for the given time."""
    async with opened(scale) as (postgres, database):
        administrator = postgres.connection()
        address = postgres.connection(application.roles.application, administrator.database)
        contexts, loaded = await load(database, address, scale.customers, console)
        await settle(administrator, fresh=loaded.rows > 0)
        tenants = [
            Tenant(ordinal, size, context, database)
            for ordinal, (size, context) in enumerate(zip(sizes(scale.customers), contexts, strict=True))
        ]
        await prepare(tenants)
        with site(address) as here:
            tokens = {tenant.ordinal: here.token(tenant.context) for tenant in tenants}
            async with served(here, SCALE) as listening:
                return await _measured(scale, loaded, tenants, tokens, listening, administrator)


async def _measured(
    scale: Scale,
    loaded: Loaded,
    tenants: Sequence[Tenant],
    tokens: Mapping[int, str],
    server: Served,
    administrator: ServerAddress,
) -> Outcome:
    """Have all callers call, and see what that took of the processor."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(Connection(server.port)) for _ in range(scale.callers)]
        callers = [
            WebCaller(tenants, Random(f"{scale.seed}/{number}"), connection, tokens)
            for number, connection in enumerate(connections)
        ]
        for tenant in tenants:  # whoever cannot be served is found out before anything is measured
            await callers[0].ask(tenant, "GET", f"{CUSTOMERS}/{callers[0].customer(tenant)}")
        asking = await stack.enter_async_context(administered(administrator))
        process = await postmaster(asking)
        before = _processor(process), process_time(), _processor(server.process)
        seconds, measured = await run(scale, callers, CALLS)
        after = _processor(process), process_time(), _processor(server.process)
        postgres, client, http = (late - early for early, late in zip(before, after, strict=True))
        disk = await asking.fetchval("select pg_database_size(current_database())")
        settings = {name: await asking.fetchval("select current_setting($1)", name) for name in SETTINGS}
    memories = memory(process) if process else 0, memory(os.getpid())
    return Outcome(
        scale, loaded, measured, seconds, disk, *memories, postgres, client, await machine_of(administrator), settings,
        NAME, TITLE, server.resident, http,
    )  # fmt: skip


def _processor(process: int | None) -> float:
    return processor(process) if process else 0.0
