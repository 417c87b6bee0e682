"""Adding one to a number, by many callers at once: each contender with a pool of as many connections as the others have."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from benchmarks.contenders.orm import CustomerRow, sessions
from benchmarks.entities import Customer, application
from benchmarks.world import CONTEXT, World
from freehold import Context, Database
from freehold.model.context import new_id
from freehold.postgres.server import ServerAddress

CONNECTIONS = 16
"""Of each contender's pool."""
INCREMENT = """
    update app.customers set payment_days = payment_days + 1
    where organization_id = $1 and id = $2 and deleted_at is null"""


class CoalescedIncrements:
    """One caller of Freehold, which brings the callers' increments together."""

    def __init__(self, database: Database, context: Context) -> None:
        self.database = database
        self.context = context

    async def increment(self, customer_id: UUID) -> None:
        async with self.database.session(self.context) as session:
            await session.increment(Customer, customer_id, payment_days=1)


class SingleUpdates:
    """One caller of asyncpg: a transaction for each increment."""

    def __init__(self, pool: Any, world: World) -> None:  # asyncpg has no type information
        self.pool = pool
        self.organization_id = world.context.organization_id
        self.world = world

    @property
    def context(self) -> tuple[str, str]:
        """The values of the two settings, under a seal of now."""
        return self.world.settings(self.world.context)

    async def increment(self, customer_id: UUID) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(CONTEXT, *self.context)
            if await connection.execute(INCREMENT, self.organization_id, customer_id) != "UPDATE 1":
                raise LookupError(f"there is no customer {customer_id}")


class OrmUpdates:
    """One caller of the ORM."""

    def __init__(self, factory: async_sessionmaker[AsyncSession], world: World) -> None:
        self.factory = factory
        self.organization_id = world.context.organization_id

    async def increment(self, customer_id: UUID) -> None:
        async with self.factory() as session, session.begin():
            await session.execute(
                update(CustomerRow)
                .where(
                    CustomerRow.organization_id == self.organization_id,
                    CustomerRow.id == customer_id,
                    CustomerRow.deleted_at.is_(None),
                )
                .values(payment_days=CustomerRow.payment_days + 1)
                .execution_options(synchronize_session=False)
            )


@asynccontextmanager
async def coalesced(world: World, address: ServerAddress, callers: int) -> AsyncIterator[Sequence[CoalescedIncrements]]:
    """Callers on behalf of one user."""
    async with Database.open(address.url, application, size=CONNECTIONS) as database:
        yield [CoalescedIncrements(database, world.context) for _ in range(callers)]


@asynccontextmanager
async def coalesced_by_user(
    world: World, address: ServerAddress, callers: int
) -> AsyncIterator[Sequence[CoalescedIncrements]]:
    """Callers on behalf of a user each, so that the log has a change for each of them."""
    async with Database.open(address.url, application, size=CONNECTIONS) as database:
        yield [CoalescedIncrements(database, replace(world.context, user_id=new_id())) for _ in range(callers)]


@asynccontextmanager
async def single(world: World, address: ServerAddress, callers: int) -> AsyncIterator[Sequence[SingleUpdates]]:
    """Callers that share a pool of asyncpg's."""
    async with asyncpg.create_pool(**address.as_arguments(), min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        yield [SingleUpdates(pool, world) for _ in range(callers)]


@asynccontextmanager
async def mapped(world: World, address: ServerAddress, callers: int) -> AsyncIterator[Sequence[OrmUpdates]]:
    """Callers that share an engine."""
    async with sessions(world, address, CONNECTIONS) as factory:
        yield [OrmUpdates(factory, world) for _ in range(callers)]
