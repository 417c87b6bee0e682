"""Starlette with asyncpg by hand, lean: input validated by Pydantic, JSON made by PostgreSQL and passed on as it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.web.peers.callers import CONTEXT, Caller, NotAuthenticatedError, Verify, verifier
from benchmarks.web.peers.model import CustomerCreate, CustomerPatch, CustomerQuery
from benchmarks.web.peers.pools import opened
from benchmarks.web.peers.queries import CREATE, GET, METRICS, VERSION, cursor, given, page, patch
from benchmarks.web.settings import Settings

__all__ = ["make"]

Model = TypeVar("Model", bound=BaseModel)
MOMENT = TypeAdapter(datetime)
GET_JSON = f"select version, row_to_json(c)::text as body from ({GET}) c"
CREATE_JSON = f"with c as ({CREATE}) select id, version, row_to_json(c)::text as body from c"
# Takes less of the processor in sum than an aggregate of the page with its last key.
PAGE_JSON = "select row_to_json(c)::text as body, created_at, id from ({}) c"
METRICS_JSON = f"select row_to_json(m)::text from ({METRICS}) m"


class Customers:
    """The routes.

    Args:
        verify: who calls.
    """

    def __init__(self, verify: Verify) -> None:
        self._verify = verify

    @asynccontextmanager
    async def _entered(self, request: Request) -> AsyncIterator[tuple[Any, Caller]]:
        """A connection in a transaction of the caller's. Any: asyncpg has no type information."""
        headers = request.headers
        try:
            caller = self._verify(headers.get("authorization"))
        except NotAuthenticatedError:
            raise HTTPException(401, "not authenticated", {"WWW-Authenticate": "Bearer"}) from None
        client = request.client.host if request.client else None
        context = caller.settings(headers.get("x-request-id"), client, headers.get("user-agent"))
        async with request.state.pool.acquire() as connection, connection.transaction():
            await connection.execute(CONTEXT, *context)
            yield connection, caller

    async def get(self, request: Request) -> Response:
        customer_id = _id(request)
        async with self._entered(request) as (connection, caller):
            row = await connection.fetchrow(GET_JSON, caller.organization_id, customer_id)
        if row is None:
            raise HTTPException(404, "there is no such customer")
        return _record(row)

    async def list(self, request: Request) -> Response:
        query = _validated(CustomerQuery, dict(request.query_params))
        async with self._entered(request) as (connection, caller):
            try:
                statement, parameters = page(caller.organization_id, query)
            except ValueError:
                raise HTTPException(422, "after is no cursor") from None
            rows = await connection.fetch(PAGE_JSON.format(statement), *parameters)
        last = rows[-1] if len(rows) == query.limit else None
        following = "null" if last is None else f'"{cursor(last["created_at"], last["id"])}"'
        return _answer(f'{{"data":[{",".join([row["body"] for row in rows])}],"next":{following},"previous":null}}')

    async def create(self, request: Request) -> Response:
        customer = _validated(CustomerCreate, await request.body())
        async with self._entered(request) as (connection, _):
            try:
                row = await connection.fetchrow(CREATE_JSON, *given(customer))
            except asyncpg.UniqueViolationError:
                raise HTTPException(409, "there is such a customer already") from None
        return _record(row, 201, {"Location": f"/api/customers/{row['id']}"})

    async def change(self, request: Request) -> Response:
        customer_id, version = _id(request), _version(request)
        changes = _validated(CustomerPatch, await request.body())
        async with self._entered(request) as (connection, caller):
            statement, parameters = patch(caller.organization_id, customer_id, version, caller.user_id, changes)
            text = f"with c as ({statement}) select version, row_to_json(c)::text as body from c"
            row = await connection.fetchrow(text, *parameters)
            if row is None:
                found = await connection.fetchval(VERSION, caller.organization_id, customer_id)
                raise HTTPException(404 if found is None else 409, "there is no such customer at this version")
        return _record(row)

    async def metrics(self, request: Request) -> Response:
        try:
            since = MOMENT.validate_python(request.query_params.get("since"))
        except ValidationError:
            raise HTTPException(422, "since is a time") from None
        async with self._entered(request) as (connection, _):
            return _answer(await connection.fetchval(METRICS_JSON, since))


def make(settings: Settings) -> Starlette:
    """The application."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with opened(settings, documents=False) as pool:
            yield {"pool": pool}

    routes = Customers(verifier(settings))
    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/api/customers", routes.list, methods=["GET"]),
            Route("/api/customers", routes.create, methods=["POST"]),
            Route("/api/customers/{customer_id}", routes.get, methods=["GET"]),
            Route("/api/customers/{customer_id}", routes.change, methods=["PATCH"]),
            Route("/api/functions/customers.metrics", routes.metrics, methods=["GET"]),
        ],
    )


def _validated(model: type[Model], given: bytes | dict[str, str]) -> Model:
    try:
        return model.model_validate_json(given) if isinstance(given, bytes) else model.model_validate(given)
    except ValidationError as error:
        raise HTTPException(422, error.json(include_url=False, include_input=False)) from None


def _id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["customer_id"])
    except ValueError:
        raise HTTPException(422, "a customer's id is a UUID") from None


def _version(request: Request) -> int:
    given = request.headers.get("if-match")
    text = (given or "").strip('"')
    if not text.isdecimal():
        raise HTTPException(428 if given is None else 400, 'If-Match names the expected version: "3"')
    return int(text)


def _record(row: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return _answer(row["body"], status, {"ETag": f'"{row["version"]}"', **(headers or {})})


def _answer(body: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")
