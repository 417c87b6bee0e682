"""Whether servers do the same work: each is asked the same before anything is measured, and refuses the same."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from benchmarks.web.contenders import Served
from benchmarks.web.world import World

__all__ = ["Answer", "DifferentAnswerError", "ask", "refusals"]

TIMEOUT = 30.0


class DifferentAnswerError(AssertionError):
    """A server does not do the work, or not the same as the others."""


@dataclass(frozen=True)
class Answer:
    """What a server answered; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def expect(self, status: int) -> "Answer":
        """Itself.

        Raises:
            DifferentAnswerError: it has another status.
        """
        if self.status != status:
            raise DifferentAnswerError(f"{self.status} instead of {status}: {self.body[:500].decode(errors='replace')}")
        return self


async def ask(
    world: World, server: Served, tenant: str, method: str, path: str, body: object = None,
    headers: Mapping[str, str] | None = None, token: str | None = None,
) -> Answer:  # fmt: skip
    """Make one request.

    Args:
        world: whose tenants there are.
        server: who is asked.
        tenant: on whose behalf.
        method, path: of the request.
        body: sent as JSON.
        headers: in addition.
        token: instead of the tenant's; an empty one is not sent.
    """
    sent = dict(headers or {})
    credential = world.tenants[tenant].token if token is None else token
    if credential:
        sent["Authorization"] = f"Bearer {credential}"
    if body is not None:
        sent["Content-Type"] = "application/json"
    given = None if body is None else json.dumps(body).encode()
    return await asyncio.to_thread(_exchange, server.port, method, path, given, sent)


def _exchange(port: int, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, path, body, {"User-Agent": "benchmarks", **headers})
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): text for name, text in response.getheaders()}, response.read())
    finally:
        connection.close()


async def refusals(world: World, server: Served) -> None:
    """See that a server checks what all have to check.

    Raises:
        DifferentAnswerError: it does not.
    """
    ((known, version),) = await world.customers("reads", 1)
    path = f"/api/customers/{known}"
    good = world.tenants["reads"].token
    head, claims, signature = good.split(".")
    other = world.tenants["writes"].token.split(".")[1]
    expected = {"If-Match": f'"{version}"'}
    cases: Sequence[tuple[str, Answer, Sequence[int]]] = [
        ("no token", await ask(world, server, "reads", "GET", path, token=""), [401]),
        ("another's claims", await ask(world, server, "reads", "GET", path, token=f"{head}.{other}.{signature}"), [401]),
        ("no signature", await ask(world, server, "reads", "GET", path, token=f"{head}.{claims}."), [401]),
        ("another organization's record", await ask(world, server, "writes", "GET", path), [404]),
        ("its update", await ask(world, server, "writes", "PATCH", path, {"credit": "1"}, expected), [404]),
        ("an unknown field", await ask(world, server, "writes", "POST", "/api/customers", {"name": "a", "b": 1}), [400, 422]),
        ("an empty name", await ask(world, server, "writes", "POST", "/api/customers", {"name": ""}), [400, 422]),
        ("a negative credit", await ask(world, server, "reads", "PATCH", path, {"credit": "-1"}, expected), [400, 422]),
        ("an unknown status", await ask(world, server, "reads", "GET", "/api/customers?status=rich"), [400, 422]),
        ("a limit of 100,000", await ask(world, server, "reads", "GET", "/api/customers?limit=100000"), [400, 422]),
    ]  # fmt: skip
    for name, answer, statuses in cases:
        if answer.status not in statuses:
            raise DifferentAnswerError(f"{server.contender.label} answers {name} with {answer.status}, not {statuses}")
