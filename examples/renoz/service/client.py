"""Calls over HTTP, each noted with what came back and whether that is what it should be."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import httpx

from examples.renoz.facts import Facts, differences, plain
from examples.renoz.service.running import Service

__all__ = ["Client", "Reply", "Seen"]

SECONDS = 30.0
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{23}(?=[0-9a-f]{4})")
"""All of an id but its end."""
TOLD = ("number", "status", "version", "on_hand", "reserved", "changed", "failed")
"""What is told of an answer, where it has it."""


@dataclass(frozen=True)
class Seen:
    """One call.

    Args:
        function: that was called; what else was asked, by its path.
        request: method and path.
        caller: whose key was sent.
        status: of the answer.
        told: what came back, in short.
        milliseconds: how long it took.
        differences: from what was expected.
    """

    function: str
    request: str
    caller: str
    status: int
    told: str
    milliseconds: float
    differences: list[str]


@dataclass(frozen=True)
class Reply:
    """An answer.

    Args:
        response: as it came.
        body: its JSON; of a stream a list of its items; else the text.
    """

    response: httpx.Response
    body: Any  # Any: JSON

    @property
    def version(self) -> str:
        """The record's version, as `If-Match` takes it."""
        return str(self.response.headers.get("etag", ""))


@dataclass
class Client:
    """Calls a server with the demo's keys, and keeps what it saw.

    Args:
        service: the server.
    """

    service: Service
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Nothing of the environment: a proxy would not reach this machine's own address.
        self._http = httpx.AsyncClient(base_url=self.service.address, timeout=SECONDS, trust_env=False)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(
        self,
        function: str,
        method: str,
        path: str,
        *,
        caller: str | None = "aurora",
        status: int = 200,
        expect: Any = None,
        take: Callable[[Any], Any] = lambda body: body,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        content: bytes | None = None,
    ) -> Reply:
        """Makes a call and notes it.

        Args:
            function: that is called, for the note.
            method, path: of the request.
            caller: whose key is sent; None for none.
            status: that is expected.
            expect: what is expected of the answer: of a mapping, these names; None for anything.
            take: what of the answer is compared with it.
            headers: to send besides.
            body: to send as JSON.
            content: to send as it is.
        """
        sent = dict(headers or {})
        if caller is not None:
            sent["Authorization"] = f"Bearer {self.service.keys.get(caller, caller)}"
        start = perf_counter()
        given: dict[str, Any] = {"json": body} if body is not None else {"content": content}
        try:
            response = await self._http.request(method, path, headers=sent, **given)
        except httpx.HTTPError as error:  # no answer is a difference like others
            response = httpx.Response(0, text=f"{type(error).__name__}: {error}")
        milliseconds = (perf_counter() - start) * 1000
        reply = Reply(response, _parsed(response))
        wrong = [] if response.status_code == status else [f"expected status {status}, got {response.status_code}"]
        if expect is not None and not wrong:
            wrong = _compared(expect, take, reply.body)
        name = "nobody" if caller is None else caller if caller in self.service.keys else "a stranger"
        request = f"{method} {IDS.sub('…', unquote(path))}"
        self.seen.append(Seen(function, request, name, response.status_code, _told(reply), milliseconds, wrong))
        return reply

    async def query(self, function: str, **more: Any) -> Reply:
        """Calls a query: its arguments are `params`."""
        params = more.pop("params", {})
        query = "&".join(f"{name}={value}" for name, value in params.items())
        return await self.ask(function, "GET", f"/api/functions/{function}{'?' if query else ''}{query}", **more)

    async def command(self, function: str, arguments: Any, **more: Any) -> Reply:
        """Calls a command."""
        return await self.ask(function, "POST", f"/api/functions/{function}", body=arguments, **more)


def _compared(expect: Any, take: Callable[[Any], Any], body: Any) -> list[str]:
    try:
        taken = take(body)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return [f"the answer has another shape: {type(error).__name__} {error}"]
    if isinstance(expect, Mapping) and isinstance(taken, Mapping):
        taken = {name: taken[name] for name in expect if name in taken}
    return differences(_alike(plain(expect)), _alike(taken))


def _alike(value: Any) -> Any:
    """JSON in which equal moments and amounts are equal texts."""
    if isinstance(value, dict):
        return {name: _alike(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_alike(item) for item in value]
    return value.removesuffix("Z") + "+00:00" if isinstance(value, str) and value.endswith("Z") else value


def _parsed(response: httpx.Response) -> Any:
    media = response.headers.get("content-type", "").partition(";")[0]
    try:
        if media == "application/x-ndjson":
            return [json.loads(line) for line in response.text.splitlines()]
        return response.json() if media.endswith("json") and response.content else response.text
    except ValueError:  # what it says that it is, it is not: a difference wherever something is expected of it
        return response.text


def _told(reply: Reply) -> str:
    """What came back, in a few words."""
    body: Facts | list[Any] | str = reply.body
    if isinstance(body, list):
        return f"{len(body)} items"
    if isinstance(body, str):
        return body.split("\n", 1)[0][:60] or "nothing"
    if "code" in body:
        issues = body.get("issues")
        first = (
            f"{issues[0].get('code')} at {'.'.join(map(str, issues[0].get('path', [])))}"
            if issues
            else body.get("detail", "")
        )
        return f"{body['code']} {first}"
    if isinstance(body.get("data"), list):
        total = f" of {body['total']}" if "total" in body else ""
        return f"a page of {len(body['data'])}{total}{', and more' if body.get('next') else ''}"
    known = [name for name in TOLD if isinstance(body.get(name), str | int)]
    known = known or [name for name, value in body.items() if isinstance(value, str | int)]
    return ", ".join(f"{name} {body[name]}" for name in known) or ", ".join(body)
