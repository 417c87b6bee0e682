"""Freehold, as its manual says: a session per call, no connection in the caller's hands."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from benchmarks.contenders.model import PAGE, Edit
from benchmarks.entities import Customer, application
from benchmarks.world import World
from freehold import Context, Database
from freehold.postgres.server import ServerAddress

NEWEST = ["-created_at", "-id"]


class Freehold:
    """One worker; its sessions share the pool of the contender."""

    def __init__(self, database: Database, context: Context) -> None:
        self.database = database
        self.context = context

    async def point_read(self, customer_id: UUID) -> Customer:
        async with self.database.session(self.context) as session:
            return await session.get(Customer, customer_id)

    async def list_entities(self, _: None) -> Sequence[Customer]:
        async with self.database.session(self.context) as session:
            page = await session.list(Customer, order_by=NEWEST, limit=PAGE)
            return page.records

    async def list_json(self, _: None) -> bytes:
        async with self.database.session(self.context) as session:
            page = await session.list(Customer, order_by=NEWEST, limit=PAGE, as_json=True)
            assert page.json is not None  # it was asked for
            return page.json

    async def update(self, edit: Edit) -> Customer:
        async with self.database.session(self.context) as session:
            return await session.update((Customer, edit.id, edit.version), credit=edit.credit)


@asynccontextmanager
async def freehold(world: World, address: ServerAddress, workers: int) -> AsyncIterator[Sequence[Freehold]]:
    """Workers that share a database handle."""
    async with Database.open(address.url, application, size=workers) as database:
        yield [Freehold(database, world.context) for _ in range(workers)]
