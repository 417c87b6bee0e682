"""advanced-alchemy's repository as its documentation uses it, on the mapped class and sessions of `orm.py`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from advanced_alchemy.filters import LimitOffset, OrderBy
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from benchmarks.contenders.model import CUSTOMERS, PAGE, Edit
from benchmarks.contenders.orm import CustomerRow, sessions
from benchmarks.world import World
from freehold.postgres.server import ServerAddress


class CustomerRepository(SQLAlchemyAsyncRepository[CustomerRow]):
    """The repository of the mapped class."""

    model_type = CustomerRow


class Repository:
    """One worker; a session and a repository per call."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], world: World) -> None:
        self.sessions = sessions
        self.user_id = world.context.user_id
        self.organization_id = world.context.organization_id
        self.alive = select(CustomerRow).where(
            CustomerRow.organization_id == world.context.organization_id, CustomerRow.deleted_at.is_(None)
        )

    async def point_read(self, customer_id: UUID) -> CustomerRow:
        async with self.sessions.begin() as session:
            return await CustomerRepository(session=session).get((self.organization_id, customer_id))

    async def list_entities(self, _: None) -> Sequence[CustomerRow]:
        async with self.sessions.begin() as session:
            return await CustomerRepository(session=session).get_many(
                LimitOffset(limit=PAGE, offset=0),
                OrderBy("created_at", "desc"),
                OrderBy("id", "desc"),
                statement=self.alive,  # type: ignore[arg-type]  # it has the generics of SQLAlchemy 2.0
            )

    async def list_json(self, _: None) -> bytes:
        rows = await self.list_entities(None)
        return CUSTOMERS.dump_json(CUSTOMERS.validate_python(rows, from_attributes=True))

    async def update(self, edit: Edit) -> CustomerRow:
        """The repository reads the record before it writes; `version_id_col` guards the flush."""
        changed = CustomerRow(
            organization_id=self.organization_id,
            id=edit.id,
            version=edit.version,
            credit=edit.credit,
            updated_by=self.user_id,
        )
        async with self.sessions.begin() as session:
            return await CustomerRepository(session=session).update(changed, auto_refresh=False)


@asynccontextmanager
async def repository(world: World, address: ServerAddress, workers: int) -> AsyncIterator[Sequence[Repository]]:
    """Workers that share an engine."""
    async with sessions(world, address, workers) as factory:
        yield [Repository(factory, world) for _ in range(workers)]
