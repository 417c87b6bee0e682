"""An order with five lines, and the customer's credit after it: seven rows in three tables, made together by each contender."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from benchmarks.contenders.handwritten import CONTEXT
from benchmarks.contenders.model import Edit
from benchmarks.contenders.orm import Base, CustomerRow, sessions
from benchmarks.entities import Customer, Line, Order, application
from benchmarks.world import World
from freehold import Context, Database
from freehold.model.context import new_id
from freehold.postgres.server import ServerAddress

LINES = [
    ("kettle", 1, Decimal("31.50")),
    ("cup", 6, Decimal("4.20")),
    ("tea", 2, Decimal("7.95")),
    ("tray", 1, Decimal(12)),
    ("spoon", 6, Decimal("1.10")),
]

EDIT = """
    update app.customers set credit = $4, version = version + 1, updated_at = now(), updated_by = $5
    where organization_id = $1 and id = $2 and version = $3 and deleted_at is null returning version"""
ORDER = "insert into app.orders (organization_id, id, customer_id, number, created_by, updated_by) values ($1, $2, $3, $4, $5, $5)"
LINE = """
    insert into app.lines (organization_id, id, order_id, position, article, quantity, price, created_by, updated_by)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $8)"""
ALL_LINES = """
    insert into app.lines (organization_id, id, order_id, position, article, quantity, price, created_by, updated_by)
    select $1, l.id, $2, l.position, l.article, l.quantity, l.price, $8, $8
    from unnest($3::uuid[], $4::bigint[], $5::text[], $6::bigint[], $7::numeric[]) l (id, position, article, quantity, price)"""


@dataclass(frozen=True, slots=True)
class Placed:
    """What a contender answers with: the customer's new version, and the order."""

    version: int
    order_id: UUID


class FreeholdUnits:
    """One worker; its sessions share the pool of the contender."""

    def __init__(self, database: Database, context: Context) -> None:
        self.database = database
        self.context = context

    async def place(self, edit: Edit) -> Placed:
        async with self.database.session(self.context) as session, session.unit_of_work() as unit:
            order = unit.add(Order, customer_id=edit.id, number=new_id().hex)
            for position, (article, quantity, price) in enumerate(LINES):
                unit.add(Line, order_id=order.id, position=position, article=article, quantity=quantity, price=price)
            unit.update((Customer, edit.id, edit.version), credit=edit.credit)
        return Placed(edit.version + 1, order.id)


class HandWrittenUnits:
    """One worker with its connection."""

    def __init__(self, connection: Any, world: World) -> None:  # asyncpg has no type information
        self.connection = connection
        self.user_id = world.context.user_id
        self.organization_id = world.context.organization_id
        self.world = world

    @property
    def context(self) -> tuple[str, str]:
        """The values of the two settings, under a seal of now."""
        return self.world.settings(self.world.context)

    async def place(self, edit: Edit) -> Placed:
        """A statement for each table."""
        order = new_id()
        async with self.connection.transaction():
            await self._begin(edit, order)
            articles, quantities, prices = zip(*LINES, strict=True)
            ids, positions = [new_id() for _ in LINES], list(range(len(LINES)))
            values = (ids, positions, articles, quantities, prices, self.user_id)
            await self.connection.execute(ALL_LINES, self.organization_id, order, *values)
        return Placed(edit.version + 1, order)

    async def place_each(self, edit: Edit) -> Placed:
        """The lines by `executemany`."""
        order = new_id()
        async with self.connection.transaction():
            await self._begin(edit, order)
            rows = [
                (self.organization_id, new_id(), order, position, *line, self.user_id)
                for position, line in enumerate(LINES)
            ]
            await self.connection.executemany(LINE, rows)
        return Placed(edit.version + 1, order)

    async def place_one_by_one(self, edit: Edit) -> Placed:
        """A statement for each row, as it is mostly written."""
        order = new_id()
        async with self.connection.transaction():
            await self._begin(edit, order)
            for position, line in enumerate(LINES):
                values = (self.organization_id, new_id(), order, position, *line, self.user_id)
                await self.connection.execute(LINE, *values)
        return Placed(edit.version + 1, order)

    async def _begin(self, edit: Edit, order: UUID) -> None:
        await self.connection.execute(CONTEXT, *self.context)
        changed = (self.organization_id, edit.id, edit.version, edit.credit, self.user_id)
        if await self.connection.fetchval(EDIT, *changed) is None:
            raise LookupError(f"customer {edit.id} is not at version {edit.version}")
        await self.connection.execute(ORDER, self.organization_id, order, edit.id, new_id().hex, self.user_id)


class OrderRow(Base):
    """The table of orders, mapped."""

    __tablename__ = "orders"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    number: Mapped[str]
    created_by: Mapped[UUID | None]
    updated_by: Mapped[UUID | None]


class LineRow(Base):
    """The table of lines, mapped."""

    __tablename__ = "lines"

    organization_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID]
    position: Mapped[int]
    article: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[Decimal]
    created_by: Mapped[UUID | None]
    updated_by: Mapped[UUID | None]


class OrmUnits:
    """One worker; its sessions share the pool of the contender."""

    def __init__(self, factory: async_sessionmaker[AsyncSession], world: World) -> None:
        self.sessions = factory
        self.user_id = world.context.user_id
        self.organization_id = world.context.organization_id

    async def place(self, edit: Edit) -> Placed:
        """The ORM's own unit of work: read the customer, add the rest, flush."""
        own: dict[str, Any] = {
            "organization_id": self.organization_id,
            "created_by": self.user_id,
            "updated_by": self.user_id,
        }
        order = OrderRow(id=new_id(), customer_id=edit.id, number=new_id().hex, **own)
        async with self.sessions.begin() as session:
            customer = await session.get_one(CustomerRow, (self.organization_id, edit.id))
            if customer.version != edit.version:
                raise StaleDataError(f"customer {edit.id} is not at version {edit.version}")
            customer.credit = edit.credit
            customer.updated_by = self.user_id
            session.add(order)
            await session.flush()  # nothing relates the classes, so it says itself what comes first
            session.add_all(
                LineRow(id=new_id(), order_id=order.id, position=n, article=a, quantity=q, price=p, **own)
                for n, (a, q, p) in enumerate(LINES)
            )
        return Placed(customer.version, order.id)


@asynccontextmanager
async def freehold_units(world: World, address: ServerAddress, workers: int) -> AsyncIterator[Sequence[FreeholdUnits]]:
    """Workers that share a database handle."""
    async with Database.open(address.url, application, size=workers) as database:
        yield [FreeholdUnits(database, world.context) for _ in range(workers)]


@asynccontextmanager
async def handwritten_units(
    world: World, address: ServerAddress, workers: int
) -> AsyncIterator[Sequence[HandWrittenUnits]]:
    """Workers that each hold a connection."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(workers):
            connection = await asyncpg.connect(**address.as_arguments())
            stack.push_async_callback(connection.close)
            opened.append(HandWrittenUnits(connection, world))
        yield opened


@asynccontextmanager
async def orm_units(world: World, address: ServerAddress, workers: int) -> AsyncIterator[Sequence[OrmUnits]]:
    """Workers that share an engine."""
    async with sessions(world, address, workers) as factory:
        yield [OrmUnits(factory, world) for _ in range(workers)]
