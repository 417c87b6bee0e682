"""Calls each function of the CRM over HTTP and compares what comes back with what the sample data says it must be.

What is written is written to the playground, and goes with it. At the end, the calls are compared with what the application
declares: a function that nobody called is a difference too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from examples.renoz import expectations
from examples.renoz.data import TODAY, Dataset
from examples.renoz.entities import Customer, application
from examples.renoz.service.client import Client
from examples.renoz.service.expected import by_status, first_customers, points_by_month, subjects
from examples.renoz.service.playground import Playground

__all__ = ["check_all", "uncalled"]

PAGE = "/api/customers?status=active&order=-credit_limit,number&limit=4&total=true"


@dataclass(frozen=True)
class Case:
    """What is checked.

    Args:
        client: calls.
        data: of the organizations, by slug.
        playground: what may be written.
    """

    client: Client
    data: Mapping[str, Dataset]
    playground: Playground

    @property
    def customer(self) -> str:
        """The playground's customer's address."""
        return f"/api/customers/{self.playground.customer.id}"


async def check_all(case: Case) -> None:
    """Makes all calls; what they saw is with the client."""
    await _server(case)
    await _queries(case)
    await _reads(case)
    await _writes(case)
    await _many(case)
    await _orders(case)
    await _stock(case)
    await _refusals(case)
    await _strangers(case)


def uncalled(client: Client) -> list[str]:
    """The functions that nobody called: those of the CRM's own, and those that customers offer."""
    called = {seen.function for seen in client.seen if seen.status < 400}
    return [
        function.name
        for function in application.functions
        if (function.action is None or function.entity == Customer.__name__) and function.name not in called
    ]


async def _server(case: Case) -> None:
    ask = case.client.ask
    await ask("/healthz", "GET", "/healthz", caller=None)
    await ask("/readyz", "GET", "/readyz", caller=None)
    await ask("/metrics", "GET", "/metrics", caller=None)
    described = {"openapi": "3.1.0", "missing": []}
    await ask("/api/openapi.json", "GET", "/api/openapi.json", caller=None, expect=described, take=_described)
    await ask("/api/docs", "GET", "/api/docs", caller=None)


async def _queries(case: Case) -> None:
    """The queries of the CRM's own, compared with the data."""
    query = case.client.query
    aurora, harbour = case.data["aurora"], case.data["harbour"]
    summary = expectations.expect_summary(aurora)
    await query("customers.summary", params={"number": "C-00008"}, expect=summary)
    best = expectations.expect_best(harbour)["rows"]
    await query("customers.top", params={"most": 5}, caller="harbour", expect=best)
    figures = expectations.expect_figures(harbour)
    await query("dashboard", params={"today": TODAY}, caller="harbour", expect=figures)
    points = points_by_month(harbour, TODAY, 18)
    asked = {"by": "month", "points": 18, "until": TODAY}
    await query("orders.sparkline", params=asked, caller="harbour", expect=points)
    await query("search", params={"text": "battry"}, expect=["battery"], take=lambda body: body["words"])
    await _feed(case)


async def _feed(case: Case) -> None:
    """The feed, walked page by page and as a stream: both tell the same, and all that was done with a customer."""
    query, number = case.client.query, "C-00008"
    wanted = subjects(case.data["aurora"], number)
    told: list[Any] = []
    cursor = None
    while cursor is not None or not told:
        params = {"customer": number, "limit": 10} | ({"after": cursor} if cursor else {})
        page = await query("activities.feed", params=params, caller="viewer")
        told += page.body["data"]
        cursor = page.body["next"]
    await query(
        "activities.stream",
        params={"customer": number},
        expect={"same": True, "subjects": wanted},
        take=lambda items: {
            "same": items == told,
            "subjects": sorted(item["title"] for item in items if item["source"] == "activity"),
        },
    )


async def _reads(case: Case) -> None:
    """What customers offer to readers. The two organizations have records of the same numbers."""
    ask = case.client.ask
    for caller, data in case.data.items():
        rows = first_customers(data, 4)
        await ask("customers.list", "GET", PAGE, caller=caller, expect=rows, take=_numbers)
    await ask("customers.list", "GET", f"{PAGE}&include=contacts", expect=True, take=_with_contacts)
    own = case.customer
    record = await ask("customers.get", "GET", own, expect={"number": "D-00001", "version": 1})
    await ask("customers.get", "GET", own, headers={"If-None-Match": record.version}, status=304)
    counts = by_status(case.data["harbour"])
    path = "/api/customers/aggregate?group_by=status"
    await ask("customers.aggregate", "GET", path, caller="harbour", expect=counts, take=_counts)
    await ask("customers.history", "GET", f"{own}/history", expect=["create"], take=_actions)
    size = len(case.data["harbour"].customers)
    path = "/api/customers/export?format=jsonl&fields=number,name"
    await ask("customers.export", "GET", path, caller="harbour", expect=size, take=len)
    path = "/api/customers/export?format=csv&fields=number&status=active"
    active = sorted(row["number"] for row in case.data["harbour"].customers if row["status"] == "active")
    await ask("customers.export", "GET", path, caller="harbour", expect=active, take=_lines)


async def _writes(case: Case) -> None:
    """A customer's life: made once, changed, deleted, restored, in its versions."""
    ask, own = case.client.ask, "/api/customers"
    values = {"number": "D-00003", "name": "Kelvin & Co", "credit_limit": "10.00"}
    once = {"Idempotency-Key": str(uuid4())}
    made = await ask("customers.create", "POST", own, body=values, headers=once, status=201, expect=values)
    again = {"id": made.body.get("id"), "version": 1}
    await ask("customers.create", "POST", own, body=values, headers=once, status=201, expect=again)
    await ask(
        "customers.create", "POST", own, body={**values, "name": "x"}, headers=once, status=422, expect=_code("FH206")
    )
    path = f"{own}/{made.body.get('id')}"
    changed = await ask(
        "customers.update", "PATCH", path, body={"tags": ["fleet"]}, headers={"If-Match": made.version}, expect={"version": 2}
    )  # fmt: skip
    late = {"If-Match": made.version}
    conflict = {"code": "FH201", "expected": 1, "actual": 2}
    await ask("customers.update", "PATCH", path, body={"tags": []}, headers=late, status=409, expect=conflict)
    gone = await ask("customers.delete", "DELETE", path, headers={"If-Match": changed.version}, expect={"version": 3})
    await ask("customers.get", "GET", path, status=404, expect=_code("FH200"))
    await ask("customers.restore", "POST", f"{path}/restore", headers={"If-Match": gone.version}, expect={"version": 4})


async def _many(case: Case) -> None:
    """Many at once: an import, a batch, and a status for several."""
    ask, command = case.client.ask, case.client.command
    rows = b"number,name,status\nD-00010,Ten,active\nD-00011,Eleven,active\nD-00012,Twelve,lost\n"
    media = {"Content-Type": "text/csv"}
    path = f"/api/customers/import?format=csv&run={uuid4()}"
    counted = {"rows": 3, "created": 2, "refused": 1}
    await ask("customers.import", "POST", path, content=rows, headers=media, expect=counted)
    items = [{"id": str(case.playground.customer.id), "version": version} for version in (1, 1)]
    counted = {"changed": 1, "failed": 1}
    done = await command("customers.set_status", {"customers": items, "status": "inactive"}, expect=counted)
    version = done.body["results"][0]["version"]
    await command("customers.set_status", {"customers": [{**items[0], "version": version}], "status": "active"})
    calls = [
        {"id": "a", "function": "customers.get", "arguments": {"id": items[0]["id"]}},
        {"id": "b", "function": "customers.get", "arguments": {"id": str(uuid4())}},
    ]
    told = ["result", "problem"]
    await ask("/api/batch", "POST", "/api/batch", body={"calls": calls}, expect=told, take=_of_batch)


async def _orders(case: Case) -> None:
    """An order from draft to delivered, and one that is cancelled."""
    command, numbers = case.client.command, iter(("D-11", "D-12"))
    lines = [{"sku": "DEMO-1", "quantity": 1}]

    async def placed() -> dict[str, Any]:
        arguments = {"customer": "D-00001", "number": next(numbers), "lines": lines, "tax_percent": 10}
        made = await command("orders.place", arguments, expect={"status": "draft", "total": "27.50"})
        return {"id": made.body["id"], "version": made.body["version"]}

    order = await placed()
    patch = {"changes": {"customer_reference": "PO 7"}}
    order["version"] = (await command("orders.update", {**order, **patch}, expect={"version": 2})).body["version"]
    once = {"Idempotency-Key": str(uuid4())}
    first = await command("orders.confirm", order, headers=once, expect={"status": "confirmed", "version": 3})
    await command("orders.confirm", order, headers=once, expect=first.body)
    for version, (verb, status) in enumerate(
        (("pick", "picked"), ("ship", "shipped"), ("deliver", "delivered")), start=3
    ):
        await command(
            f"orders.{verb}", {**order, "version": version}, expect={"status": status, "version": version + 1}
        )
    other = await placed()
    await command("orders.cancel", other, expect={"status": "cancelled"})
    several = {"orders": [{**other, "version": 2}, order], "status": "confirmed"}
    await command("orders.set_status", several, expect={"changed": 0, "failed": 2})


async def _stock(case: Case) -> None:
    """Two orders for the last pieces, and a count."""
    command = case.client.command
    count = {"sku": "DEMO-1", "warehouse": "demo", "on_hand": 3}
    await command("inventory_items.count", count, expect={"on_hand": 3, "reserved": 0})
    fits, short = ({"id": str(order.id), "version": 1} for order in (case.playground.fits, case.playground.short))
    await command("orders.confirm", fits, headers=_new_key(), expect={"status": "confirmed"})
    await command("orders.confirm", short, headers=_new_key(), status=422, expect="too_little_stock", take=_first_issue)
    await command("inventory_items.count", {**count, "on_hand": 1}, status=422, expect="reserved", take=_first_issue)
    several = {"orders": [{**fits, "version": 2}], "status": "cancelled"}
    await command("orders.set_status", several, expect={"changed": 1, "failed": 0})


async def _refusals(case: Case) -> None:
    """What is wrong is told, and nothing happens."""
    ask, command, own = case.client.ask, case.client.command, case.customer
    wrong = {"number": "12", "name": "", "colour": "red"}
    await ask("customers.create", "POST", "/api/customers", body=wrong, status=422, expect=_code("FH100"))
    await ask("customers.list", "GET", "/api/customers?tax_number=1", status=422, expect=_code("FH100"))
    await ask("customers.update", "PATCH", own, body={"name": "x"}, status=428, expect=_code("FH103"))
    order = f"/api/orders/{case.playground.short.id}"
    state = {"status": "delivered"}
    await ask(
        "orders.update", "PATCH", order, body=state, headers={"If-Match": '"1"'}, status=422, expect=_code("FH100")
    )
    await ask("orders.delete", "DELETE", order, headers={"If-Match": '"1"'}, status=405)
    await command(
        "orders.confirm", {"id": str(case.playground.short.id), "version": 1}, status=400, expect=_code("FH103")
    )
    await case.client.query("customers.sumary", status=404, expect=_code("FH200"))


async def _strangers(case: Case) -> None:
    """Who is not known, not allowed, or of another organization."""
    ask, own = case.client.ask, case.customer
    stranger = "fhdev_abcdefgh_" + "0" * 43
    await ask("customers.get", "GET", own, caller=None, status=401, expect=_code("FH302"))
    await ask("customers.get", "GET", own, caller=stranger, status=401, expect=_code("FH302"))
    await ask(
        "customers.delete",
        "DELETE",
        own,
        caller="viewer",
        headers={"If-Match": '"1"'},
        status=403,
        expect=_code("FH300"),
    )
    elsewhere = {"Freehold-Organization": "aurora"}
    await ask("customers.get", "GET", own, caller="harbour", headers=elsewhere, status=403)
    attempts: list[tuple[str, str, dict[str, Any]]] = [
        ("get", "GET", {}),
        ("update", "PATCH", {"body": {"name": "Ours now"}, "headers": {"If-Match": '"1"'}}),
        ("delete", "DELETE", {"headers": {"If-Match": '"1"'}}),
    ]
    for name, method, more in attempts:
        await ask(f"customers.{name}", method, own, caller="harbour", status=404, expect=_code("FH200"), **more)
    theirs = {"id": str(case.playground.short.id), "version": 1}
    await case.client.command(
        "orders.confirm", theirs, caller="harbour", headers=_new_key(), status=404, expect=_code("FH200")
    )
    await ask("customers.get", "GET", own, expect={"name": "Demo & Daughters"})


def _code(code: str) -> dict[str, str]:
    return {"code": code}


def _new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def _numbers(body: Any) -> Any:
    return [{"number": row["number"], "name": row["name"]} for row in body["data"]]


def _with_contacts(body: Any) -> bool:
    return all(isinstance(row["contacts"], list) for row in body["data"])


def _counts(body: Any) -> Any:
    groups = body["data"] if isinstance(body, dict) else body
    return {group["keys"]["status"]: group["count"] for group in groups}


def _actions(body: Any) -> Any:
    return [change["action"] for change in body["data"]]


def _described(body: Any) -> Any:
    """The document's version, and the functions of the CRM's own that it does not describe."""
    own = [function.name for function in application.functions if function.action is None]
    missing = [name for name in own if f"/api/functions/{name}" not in body["paths"]]
    return {"openapi": body["openapi"], "missing": missing}


def _of_batch(body: Any) -> Any:
    return [next(name for name in ("result", "problem") if name in item) for item in body["results"]]


def _lines(body: Any) -> Any:
    return sorted(body.splitlines()[1:])


def _first_issue(body: Any) -> Any:
    return body["issues"][0]["code"]
