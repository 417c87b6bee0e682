"""What stands below `/api`: a request becomes a call, and its answer a response.

In order: the address is looked up, the credential verified, the body read, the call run, the answer sent. What is refused is
raised as an error of Freehold's, and told as a problem, here where the caller's own words for it are known, else by what
surrounds this (`freehold.server.edge`). This is the path of every request, and is written to do little: headers are looked up
in the dictionary that the exchange has, and a record's or page's bytes are sent as PostgreSQL wrote them.
"""

import asyncio
from time import perf_counter
from typing import Any

from starlette.types import Receive, Scope, Send

from freehold.app import Application
from freehold.database import Database
from freehold.errors import FreeholdError, RequestError
from freehold.functions.batch import Batch, results
from freehold.functions.pipeline import Call, Limiter, Timings
from freehold.identity.principal import Principal
from freehold.server.answering import file_headers, send_answer, send_json, send_methods
from freehold.server.departures import Departures, Presence
from freehold.server.exchange import Exchange, exchange_of
from freehold.server.explaining import explained, told_current
from freehold.server.mounting import Authenticates
from freehold.server.problems import problem_details, problem_members, status_of
from freehold.server.reading import ClientLeftError, body_parts, expected_version, idempotency_key, json_body
from freehold.server.routes import Asked, Route, Routes
from freehold.server.settings import Settings
from freehold.server.streaming import send_stream

__all__ = ["Api"]


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
        self._registry = application.registry
        self._authenticator = authenticator
        self._settings = settings
        self._pipeline = database.pipeline(limiter=limiter, timeout=settings.request_timeout)
        self._batch = Batch(
            self._pipeline, application.functions, most=settings.batch_size, most_bytes=application.bounds.batch
        )
        self._routes = Routes(application.functions, application.registry)
        self._departures = Departures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request that came through the server's edge."""
        exchange = exchange_of(scope)
        raw = scope.get("raw_path", b"")
        if b"%2" in raw and b"%2f" in raw.lower():
            raise RequestError("there is nothing at this address", status=404, hint="no name has a slash in it")
        try:
            if exchange.path == "/api/batch":
                await self._batched(exchange, receive, send)
                return
            methods, id = self._routes.find(exchange.path)
            route = methods.get(exchange.method)
            if route is None:
                await send_methods(exchange, methods, send)
                return
            exchange.state["function"] = route.function
            try:
                await self._called(route, id, exchange, scope, receive, send)
            except FreeholdError as error:
                await self._refuse(error, route, id, exchange, send)
        except ClientLeftError:
            pass  # there is nobody to tell

    async def _called(
        self, route: Route, id: str, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        function, state = route.function, exchange.state
        timings = state["timings"] = Timings()
        principal = None if function.public else await self._authenticated(exchange, timings)
        if function.timeout is not None:
            exchange.allow(function.timeout)
        asked = await self._asked(route, id, exchange, scope, receive)
        with self._watched(exchange, receive) as presence:
            presence.reading = function.content
            call = Call(
                function,
                route.read(asked),
                principal,
                exchange.origin,
                idempotency_key(exchange.headers) if function.kind == "command" else None,
                timings,
                body_parts(receive, presence) if function.content else None,
            )
            try:
                answer = await self._pipeline.run(call)
                if answer.stream is not None:
                    await send_stream(answer, exchange, send, presence, file_headers(route, answer.media))
                    return
            except asyncio.CancelledError:
                _check_there(presence, exchange)
                raise
        _check_there(presence, exchange)
        await send_answer(answer, route, exchange, scope, send)

    def _watched(self, exchange: Exchange, receive: Receive) -> Presence:
        task: Any = exchange.task or asyncio.current_task()  # a request is a task of the server's
        return self._departures.watched(task, receive)

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
        elif route.function.content:
            exchange.body_limit = self._settings.import_limit
            asked.media = exchange.headers.get(b"content-type", b"")
        return asked

    async def _batched(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """Several calls of one caller, each with its own result. See `freehold.functions.batch`."""
        if exchange.method != "POST":
            await send_methods(exchange, ("POST",), send)
            return
        timings = exchange.state["timings"] = Timings()
        exchange.state["function"] = "batch"
        principal = None
        if b"authorization" in exchange.headers:
            principal = await self._authenticated(exchange, timings)
        if b"idempotency-key" in exchange.headers:
            raise RequestError("a batch has no idempotency key", hint='give each of its commands its own: "key": "…"')
        body = await json_body(exchange, receive)
        with self._watched(exchange, receive) as presence, timings.stage("execute"):
            try:
                outcomes = await self._batch.run(body, principal, exchange.origin)
            except asyncio.CancelledError:
                _check_there(presence, exchange)
                raise
        _check_there(presence, exchange)

        def told(error: FreeholdError) -> dict[str, Any]:
            return problem_members(error, **told_current(error, None, principal, self._registry))

        await send_json(results(outcomes, told), send)

    async def _refuse(self, error: FreeholdError, route: Route, id: str, exchange: Exchange, send: Send) -> None:
        """Tells of an error in the caller's own words: by the names in the body and the address."""
        if exchange.status or status_of(error) == 500:
            raise error
        told = explained(error, route, id)
        own = None if route.entity is None else route.entity.name
        more = told_current(told, own, exchange.principal, self._registry)
        problem = problem_details(told, request_id=exchange.request_id, instance=exchange.path, **more)
        await send({"type": "http.response.start", "status": problem.status, "headers": problem.all_headers})
        body = b"" if exchange.method == "HEAD" else problem.body
        await send({"type": "http.response.body", "body": body})


def _check_there(presence: Presence, exchange: Exchange) -> None:
    """Whether a call's client is there still; where it has left, the call was cancelled for that, or is about to be.

    Raises:
        ClientLeftError: it has left.
    """
    if presence.left and exchange.task is not None:
        exchange.task.uncancel()
        raise ClientLeftError from None
