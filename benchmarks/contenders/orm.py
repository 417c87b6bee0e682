"""SQLAlchemy's async ORM as an expert writes it: a session per call, the tenant set as each transaction begins."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
from sqlalchemy import (
    ARRAY,
    Connection,
    DateTime,
    MetaData,
    Numeric,
    Text,
    bindparam,
    event,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, SessionTransaction, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from benchmarks.contenders.model import CUSTOMERS, PAGE, Edit
from benchmarks.world import World
from freehold.postgres.server import ServerAddress

CONTEXT = text("""
    select set_config('freehold.organization_id', :organization_id, true),
           set_config('freehold.context', :context, true)""")


class Base(DeclarativeBase):
    """The mapped classes of this contender."""

    metadata = MetaData(schema="app")
    type_annotation_map: ClassVar = {
        datetime: DateTime(timezone=True),
        Decimal: Numeric,
        str: Text,
        list[str]: ARRAY(Text),
    }


class CustomerRow(Base):
    """The table of `benchmarks.entities.Customer`, mapped."""

    __tablename__ = "customers"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    status: Mapped[str]
    kind: Mapped[str]
    industry: Mapped[str | None]
    credit: Mapped[Decimal]
    lifetime_value: Mapped[Decimal]
    payment_days: Mapped[int]
    website: Mapped[str | None]
    notes: Mapped[str | None]
    tags: Mapped[list[str]]
    newsletter: Mapped[bool]
    last_order_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column()
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    created_by: Mapped[UUID | None]
    updated_by: Mapped[UUID | None]
    deleted_at: Mapped[datetime | None]

    __mapper_args__ = {"version_id_col": version, "eager_defaults": True}  # noqa: RUF012  # the ORM's own type


class TenantSession(Session):
    """A session whose transactions begin by saying whose they are."""


@event.listens_for(TenantSession, "after_begin")
def set_tenant(session: Session, _: SessionTransaction, connection: Connection) -> None:
    connection.execute(CONTEXT, session.info["tenant"]())


class Orm:
    """One worker; its sessions share the pool of the contender."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], world: World) -> None:
        self.sessions = sessions
        self.user_id = world.context.user_id
        self.organization_id = world.context.organization_id
        alive = (CustomerRow.organization_id == world.context.organization_id, CustomerRow.deleted_at.is_(None))
        # Statements are made once, and the limit stands in the text as in `handwritten.py`: a tenth (point read) to a fifth
        # faster than `session.get` and statements made for each call.
        self.one = select(CustomerRow).where(*alive, CustomerRow.id == bindparam("customer"))
        self.newest = (
            select(CustomerRow)
            .where(*alive)
            .order_by(CustomerRow.created_at.desc(), CustomerRow.id.desc())
            .limit(literal_column(str(PAGE)))
        )
        self.edit = (
            update(CustomerRow)
            .where(*alive, CustomerRow.id == bindparam("customer"), CustomerRow.version == bindparam("expected"))
            .values(credit=bindparam("value"), version=CustomerRow.version + 1, updated_by=self.user_id)
            .returning(CustomerRow)
            .execution_options(synchronize_session=False)
        )

    async def point_read(self, customer_id: UUID) -> CustomerRow:
        async with self.sessions.begin() as session:
            return (await session.scalars(self.one, {"customer": customer_id})).one()

    async def list_entities(self, _: None) -> Sequence[CustomerRow]:
        async with self.sessions.begin() as session:
            return (await session.scalars(self.newest)).all()

    async def list_json(self, _: None) -> bytes:
        rows = await self.list_entities(None)
        return CUSTOMERS.dump_json(CUSTOMERS.validate_python(rows, from_attributes=True))

    async def update(self, edit: Edit) -> CustomerRow:
        """One statement: the version in its condition, the new record in its answer."""
        values = {"customer": edit.id, "expected": edit.version, "value": edit.credit}
        async with self.sessions.begin() as session:
            row = (await session.scalars(self.edit, values)).one_or_none()
            if row is None:
                raise StaleDataError(f"customer {edit.id} is not at version {edit.version}")
            return row

    async def get_and_flush(self, edit: Edit) -> CustomerRow:
        """The ORM's own unit of work: read the record, change it, and let `version_id_col` guard the flush."""
        async with self.sessions.begin() as session:
            row = await session.get_one(CustomerRow, (self.organization_id, edit.id))
            if row.version != edit.version:
                raise StaleDataError(f"customer {edit.id} is not at version {edit.version}")
            row.credit = edit.credit
            row.updated_by = self.user_id
            return row


@asynccontextmanager
async def sessions(
    world: World, address: ServerAddress, workers: int
) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """A session factory over a pool with one connection per worker."""

    async def connect() -> Any:  # asyncpg has no type information
        return await asyncpg.connect(**address.as_arguments())

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_size=workers, max_overflow=0)

    def tenant() -> dict[str, str]:
        return dict(zip(("organization_id", "context"), world.settings(world.context), strict=True))

    try:
        yield async_sessionmaker(
            engine, expire_on_commit=False, sync_session_class=TenantSession, info={"tenant": tenant}
        )
    finally:
        await engine.dispose()


@asynccontextmanager
async def orm(world: World, address: ServerAddress, workers: int) -> AsyncIterator[Sequence[Orm]]:
    """Workers that share an engine."""
    async with sessions(world, address, workers) as factory:
        yield [Orm(factory, world) for _ in range(workers)]
