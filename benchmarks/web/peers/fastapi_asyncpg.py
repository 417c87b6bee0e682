"""FastAPI with asyncpg by hand: a pool, prepared statements, a transaction per request, Pydantic response models."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response

from benchmarks.web.peers.callers import CONTEXT
from benchmarks.web.peers.fastapi_parts import CallerNow, Version, etag, made
from benchmarks.web.peers.model import CustomerCreate, CustomerModel, CustomerPatch, CustomerQuery, Metrics, Page
from benchmarks.web.peers.pools import opened
from benchmarks.web.peers.queries import CREATE, GET, METRICS, VERSION, cursor, given, page, patch
from benchmarks.web.settings import Settings

__all__ = ["make"]

Record = dict[str, Any]


async def transaction(request: Request, caller: CallerNow) -> AsyncIterator[Any]:
    """A connection in a transaction of the caller's. Any: asyncpg has no type information."""
    client = request.client.host if request.client else None
    headers = request.headers
    context = caller.settings(headers.get("x-request-id"), client, headers.get("user-agent"))
    async with request.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(CONTEXT, *context)
        yield connection


# The scope has the commit come before the answer.
TransactionNow = Annotated[Any, Depends(transaction, scope="function")]


def make(settings: Settings) -> FastAPI:
    """The application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with opened(settings) as pool:
            yield {"pool": pool}

    app = made(settings, lifespan)
    app.get("/api/customers/{customer_id}", response_model=CustomerModel)(get)
    app.get("/api/customers", response_model=Page)(customers)
    app.post("/api/customers", response_model=CustomerModel, status_code=201)(create)
    app.patch("/api/customers/{customer_id}", response_model=CustomerModel)(change)
    app.get("/api/functions/customers.metrics", response_model=Metrics)(metrics)
    return app


async def get(customer_id: UUID, connection: TransactionNow, caller: CallerNow, response: Response) -> Record:
    row = await connection.fetchrow(GET, caller.organization_id, customer_id)
    if row is None:
        raise HTTPException(404, "there is no such customer")
    return etag(response, dict(row))


async def customers(query: Annotated[CustomerQuery, Query()], connection: TransactionNow, caller: CallerNow) -> Record:
    try:
        statement, parameters = page(caller.organization_id, query)
    except ValueError:
        raise HTTPException(422, "after is no cursor") from None
    rows = await connection.fetch(statement, *parameters)
    following = cursor(rows[-1]["created_at"], rows[-1]["id"]) if len(rows) == query.limit else None
    return {"data": [dict(row) for row in rows], "next": following}


async def create(customer: CustomerCreate, connection: TransactionNow, response: Response) -> Record:
    try:
        row = await connection.fetchrow(CREATE, *given(customer))
    except asyncpg.UniqueViolationError:
        raise HTTPException(409, "there is such a customer already") from None
    response.headers["Location"] = f"/api/customers/{row['id']}"
    return etag(response, dict(row))


async def change(
    customer_id: UUID,
    changes: CustomerPatch,
    version: Version,
    connection: TransactionNow,
    caller: CallerNow,
    response: Response,
) -> Record:
    statement, parameters = patch(caller.organization_id, customer_id, version, caller.user_id, changes)
    row = await connection.fetchrow(statement, *parameters)
    if row is None:
        found = await connection.fetchval(VERSION, caller.organization_id, customer_id)
        raise HTTPException(404 if found is None else 409, "there is no such customer at this version")
    return etag(response, dict(row))


async def metrics(since: datetime, connection: TransactionNow) -> Record:
    return dict(await connection.fetchrow(METRICS, since))
