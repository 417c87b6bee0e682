"""What stands below `/api`: a request becomes a call, and its answer a response.

In order: the address is looked up, the credential verified, the body read, the call run, the answer sent. What is refused is
raised as an error of Freehold's, and told as a problem by what surrounds this (`freehold.server.edge`). This is the path of
every request, and is written to do little: headers are looked up in the dictionary that the exchange has, and a record's or
page's bytes are sent as PostgreSQL wrote them.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from starlette.types import Receive, Scope, Send

from freehold.app import Application, Database
from freehold.errors import ConcurrencyError, FreeholdError, RequestError
from freehold.functions.pipeline import Call, Limiter, Timings
from freehold.functions.results import Answer
from freehold.identity.principal import Principal
from freehold.server.departures import Departures
from freehold.server.exchange import Exchange, exchange_of
from freehold.server.explaining import explained, told_current
from freehold.server.mounting import Authenticates
from freehold.server.problems import problem_details, status_of
from freehold.server.reading import (
    ClientLeftError,
    expected_version,
    idempotency_key,
    json_body,
    matches,
    page_link,
)
from freehold.server.routes import Asked, Methods, Route, Routes
from freehold.server.settings import Settings
from freehold.server.streaming import send_stream

__all__ = ["Api"]

_log = logging.getLogger("freehold.server")

Headers = list[tuple[bytes, bytes]]
_JSON = (b"content-type", b"application/json")
_EMPTY = (b"content-length", b"0")


class Api:
    """An ASGI application for the addresses below `/api`.

    Args:
        application: whose functions are served.
        database: where they run.
        authenticator: who verifies credentials.
        settings: of the server.
        limiter: who may call now; None lets everybody.

    Raises:
        ConfigurationError: a table or function cannot have an address.
    """

    def __init__(
        self,
        application: Application,
        database: Database,
        authenticator: Authenticates,
        settings: Settings,
        limiter: Limiter | None = None,
    ) -> None:
        self._application = application
        self._authenticator = authenticator
        self._pipeline = database.pipeline(limiter=limiter, timeout=settings.request_timeout)
        self._routes = Routes(application.functions, application.registry)
        self._departures = Departures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request that came through the server's edge."""
        exchange = exchange_of(scope)
        if b"%2" in scope.get("raw_path", b"") and b"%2f" in scope["raw_path"].lower():
            raise RequestError("there is nothing at this address", status=404, hint="no name has a slash in it")
        methods, id = self._routes.find(exchange.path)
        route = methods.get(exchange.method)
        if route is None:
            await _unrouted(exchange, methods, send)
            return
        exchange.state["function"] = route.function
        try:
            await self._called(route, id, exchange, scope, receive, send)
        except ClientLeftError:
            return
        except FreeholdError as error:
            await self._refuse(error, route, id, exchange, send)

    async def _called(
        self, route: Route, id: str, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        function, state = route.function, exchange.state
        timings = state["timings"] = Timings()
        principal = None
        if not function.public:
            principal = await self._authenticated(exchange, timings)
        call = Call(
            function,
            route.read(await self._asked(route, id, exchange, scope, receive)),
            principal,
            exchange.origin,
            idempotency_key(exchange.headers) if function.kind == "command" else None,
            timings,
        )
        if function.timeout is not None:
            exchange.allow(function.timeout)
        task = exchange.task or asyncio.current_task()
        with self._departures.watched(task, receive) as presence:  # type: ignore[arg-type]  # a request is a task
            try:
                answer = await self._pipeline.run(call)
                if answer.stream is not None:
                    await send_stream(answer, exchange, send, presence)
                    return
            except asyncio.CancelledError:
                if not presence.left or exchange.task is None:
                    raise
                exchange.task.uncancel()
                raise ClientLeftError from None
        await _send(answer, route, exchange, scope, send)

    async def _authenticated(self, exchange: Exchange, timings: Timings) -> Principal:
        start = perf_counter()
        headers = exchange.headers
        authorization, organization = headers.get(b"authorization"), headers.get(b"freehold-organization")
        principal = await self._authenticator.authenticate(
            None if authorization is None else authorization.decode("latin-1"),
            None if organization is None else organization.decode("latin-1"),
        )
        exchange.state["principal"] = principal
        timings["authenticate"] = perf_counter() - start
        return principal

    async def _asked(self, route: Route, id: str, exchange: Exchange, scope: Scope, receive: Receive) -> Asked:
        asked = Asked(id, scope["query_string"])
        if route.versioned:
            asked.version = expected_version(exchange.headers)
        if route.has_body:
            asked.body = await json_body(exchange, receive)
        return asked

    async def _refuse(self, error: FreeholdError, route: Route, id: str, exchange: Exchange, send: Send) -> None:
        """Tells of an error in the caller's own words: by the names in the body and the address."""
        if exchange.status or status_of(error) == 500:
            raise error
        told = explained(error, route, id)
        more: Mapping[str, Any] = {}
        if isinstance(told, ConcurrencyError):
            more = told_current(told, route, exchange.principal, self._application.registry)
        problem = problem_details(told, request_id=exchange.request_id, instance=exchange.path, **more)
        await send({"type": "http.response.start", "status": problem.status, "headers": problem.all_headers})
        body = b"" if exchange.method == "HEAD" else problem.body
        await send({"type": "http.response.body", "body": body})


async def _unrouted(exchange: Exchange, methods: Methods, send: Send) -> None:
    """Answers a method that is not served at an address: `OPTIONS` with those that are, others with 405."""
    allow = (b"allow", ", ".join(sorted({*methods, "OPTIONS"})).encode())
    if exchange.method == "OPTIONS":
        await send({"type": "http.response.start", "status": 204, "headers": [allow]})
        await send({"type": "http.response.body", "body": b""})
        return
    error = RequestError(f"{exchange.method[:20]} is not served at this address", status=405)
    error.hint = f"use {' or '.join(sorted(set(methods) - {'HEAD'}))}"
    problem = problem_details(error, request_id=exchange.request_id, instance=exchange.path)
    await send({"type": "http.response.start", "status": 405, "headers": [*problem.all_headers, allow]})
    await send({"type": "http.response.body", "body": problem.body})


async def _send(answer: Answer, route: Route, exchange: Exchange, scope: Scope, send: Send) -> None:
    body = answer.body
    status, headers = 200, [_JSON]
    if answer.media != "application/json":
        headers = [(b"content-type", answer.media.encode())]
    if answer.version is not None and route.entity is not None:
        tag = _tag(answer.version, answer.body, exact=route.exact and not scope["query_string"])
        headers.append((b"etag", tag))
        asked = exchange.headers.get(b"if-none-match")
        if asked is not None and route.action == "get" and matches(asked, tag):
            await send({"type": "http.response.start", "status": 304, "headers": headers[1:]})
            await send({"type": "http.response.body", "body": b""})
            return
    if answer.created is not None and route.action == "create":
        status = 201
        place = f"{scope.get('root_path', '')}/api/{route.entity.table}/{answer.created}" if route.entity else ""
        headers.append((b"location", place.encode()))
    if answer.page:
        _link(answer, exchange, scope, headers)
    if answer.repeated:
        headers.append((b"idempotency-replayed", b"true"))
    seconds = answer.cache if answer.cache is not None else route.function.cache
    if seconds is not None:
        headers.append((b"cache-control", b"private, max-age=%d" % seconds))
    if body == b"null" and route.action == "delete":
        status, body = 204, b""
        headers = headers[1:]
    else:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else body})


def _tag(version: int, body: bytes, *, exact: bool) -> bytes:
    """The ETag: the version, and where that does not tell all of what is shown, a digest of it too."""
    if exact:
        return b'"%d"' % version
    return b'"%d-%b"' % (version, hashlib.blake2b(body, digest_size=8).hexdigest().encode())


def _link(answer: Answer, exchange: Exchange, scope: Scope, headers: Headers) -> None:
    path = scope.get("root_path", "") + exchange.path
    links = []
    for name, relation, cursor in ((b"after", b"next", answer.next), (b"before", b"prev", answer.previous)):
        if cursor is not None and (made := page_link(path, scope["query_string"], name, cursor)) is not None:
            links.append(b'<%b>; rel="%b"' % (made, relation))
    if links:
        headers.append((b"link", b", ".join(links)))
