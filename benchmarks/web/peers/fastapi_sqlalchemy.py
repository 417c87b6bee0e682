"""FastAPI with SQLAlchemy's async ORM: a session as a dependency, mapped objects, Pydantic response models."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from sqlalchemy import and_, bindparam, literal_column, select, text, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.sql.dml import ReturningUpdate

from benchmarks.contenders.orm import CustomerRow, TenantSession
from benchmarks.web.entities import METRICS
from benchmarks.web.peers.fastapi_parts import CallerNow, Version, etag, made
from benchmarks.web.peers.model import CustomerCreate, CustomerModel, CustomerPatch, CustomerQuery, Metrics, Page
from benchmarks.web.peers.queries import cursor, position
from benchmarks.web.settings import Settings
from freehold.model.context import new_id

__all__ = ["make"]

ALIVE = and_(CustomerRow.organization_id == bindparam("organization"), CustomerRow.deleted_at.is_(None))
# Made once: the ORM spends a tenth of a read on making a statement.
ONE = select(CustomerRow).where(ALIVE, CustomerRow.id == bindparam("customer"))
VERSION = select(CustomerRow.version).where(ALIVE, CustomerRow.id == bindparam("customer"))
CHANGE = update(CustomerRow).where(
    ALIVE, CustomerRow.id == bindparam("customer"), CustomerRow.version == bindparam("expected")
)
FIGURES = text(METRICS)


async def session(request: Request, caller: CallerNow) -> AsyncIterator[AsyncSession]:
    """The request's session: one transaction, committed when the route has returned."""
    client = request.client.host if request.client else None
    headers = request.headers
    organization, context = caller.settings(headers.get("x-request-id"), client, headers.get("user-agent"))
    sessions: async_sessionmaker[AsyncSession] = request.state.sessions
    async with sessions.begin() as opened:
        opened.info["tenant"] = lambda: {"organization_id": organization, "context": context}
        yield opened


# The scope has the commit come before the answer.
SessionNow = Annotated[AsyncSession, Depends(session, scope="function")]


def make(settings: Settings) -> FastAPI:
    """The application."""

    async def connect() -> Any:  # asyncpg has no type information
        return await asyncpg.connect(**settings.connection)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=connect, pool_size=settings.pool, max_overflow=0, pool_use_lifo=True
        )
        yield {"sessions": async_sessionmaker(engine, expire_on_commit=False, sync_session_class=TenantSession)}
        await engine.dispose()

    app = made(settings, lifespan)
    app.get("/api/customers/{customer_id}", response_model=CustomerModel)(get)
    app.get("/api/customers", response_model=Page)(customers)
    app.post("/api/customers", response_model=CustomerModel, status_code=201)(create)
    app.patch("/api/customers/{customer_id}", response_model=CustomerModel)(change)
    app.get("/api/functions/customers.metrics", response_model=Metrics)(metrics)
    return app


async def get(customer_id: UUID, session: SessionNow, caller: CallerNow, response: Response) -> CustomerRow:
    row = await session.scalar(ONE, {"organization": caller.organization_id, "customer": customer_id})
    if row is None:
        raise HTTPException(404, "there is no such customer")
    return etag(response, row)


async def customers(query: Annotated[CustomerQuery, Query()], session: SessionNow, caller: CallerNow) -> dict[str, Any]:
    statement = select(CustomerRow).where(ALIVE)
    if query.status is not None:
        statement = statement.where(CustomerRow.status == query.status)
    place = tuple_(CustomerRow.created_at, CustomerRow.id)
    down = query.order.startswith("-")
    if query.after is not None:
        after = tuple_(*_position(query.after))
        statement = statement.where(place < after if down else place > after)
    by = (CustomerRow.created_at, CustomerRow.id)
    statement = statement.order_by(*(column.desc() if down else column.asc() for column in by))
    statement = statement.limit(literal_column(str(query.limit)))
    rows = (await session.scalars(statement, {"organization": caller.organization_id})).all()
    following = cursor(rows[-1].created_at, rows[-1].id) if len(rows) == query.limit else None
    return {"data": rows, "next": following}


def _position(after: str) -> tuple[datetime, UUID]:
    try:
        return position(after)
    except ValueError:
        raise HTTPException(422, "after is no cursor") from None


async def create(customer: CustomerCreate, session: SessionNow, caller: CallerNow, response: Response) -> CustomerRow:
    # The ORM wants to know the key before it inserts, and writes null where it knows no default.
    row = CustomerRow(
        id=new_id(),
        organization_id=caller.organization_id,
        created_by=caller.user_id,
        updated_by=caller.user_id,
        **customer.model_dump(),
    )
    session.add(row)
    await _flushed(session)
    response.headers["Location"] = f"/api/customers/{row.id}"
    return etag(response, row)


async def _flushed(session: AsyncSession) -> None:
    try:
        await session.flush()
    except IntegrityError:
        raise HTTPException(409, "there is such a customer already") from None


async def change(
    customer_id: UUID,
    changes: CustomerPatch,
    version: Version,
    session: SessionNow,
    caller: CallerNow,
    response: Response,
) -> CustomerRow:
    """One statement with the version in its condition and the new record in its answer; get and flush would be two."""
    given = changes.model_dump(exclude_unset=True)
    named = {"organization": caller.organization_id, "customer": customer_id}
    values = {f"new_{name}": value for name, value in given.items()}
    row = await session.scalar(changing(tuple(given)), {**named, **values, "expected": version, "user": caller.user_id})
    if row is None:
        found = await session.scalar(VERSION, named)
        raise HTTPException(404 if found is None else 409, "there is no such customer at this version")
    return etag(response, row)


@lru_cache(maxsize=1000)
def changing(names: tuple[str, ...]) -> ReturningUpdate[CustomerRow]:
    """The statement that changes these fields, made once for each set of them."""
    new: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return (
        CHANGE.values(**new, version=CustomerRow.version + 1, updated_by=bindparam("user"))
        .returning(CustomerRow)
        .execution_options(synchronize_session=False)
    )


async def metrics(since: datetime, session: SessionNow) -> dict[str, Any]:
    return dict((await session.execute(FIGURES, {"since": since})).mappings().one())
