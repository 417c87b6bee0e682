"""The driver alone, with the statements that Freehold sends: the most that work on the program's side could still gain.

It makes nothing of the answers, and checks no input.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from benchmarks.contenders.freehold import NEWEST
from benchmarks.contenders.model import PAGE, Edit
from benchmarks.entities import Customer, application
from benchmarks.world import World
from freehold import Database
from freehold.engine.functions import action_call
from freehold.model.filters import EVERYTHING
from freehold.model.pages import parse_order
from freehold.postgres.server import ServerAddress
from freehold.sql.reads import list_rows_statement

# asyncpg has no type information.
Connection = Any
Row = Any


class Driver:
    """One worker with its connection."""

    def __init__(self, connection: Connection, world: World, page: str, change: str) -> None:
        self.connection = connection
        self.world = world
        self.page = page
        self.change = change

    @property
    def entered(self) -> tuple[UUID, str]:
        """The organization, and the context under a seal of now."""
        return self.world.context.organization_id, self.world.seal.apply(self.world.context)

    async def list_rows(self, _: None) -> Sequence[Row]:
        rows: Sequence[Row] = await self.connection.fetch(self.page, *self.entered)
        return rows[:PAGE]

    async def update(self, edit: Edit) -> Row:
        changes = json.dumps({"credit": str(edit.credit)})
        return await self.connection.fetchrow(self.change, *self.entered, edit.id, edit.version, changes)


@asynccontextmanager
async def driver(world: World, address: ServerAddress, workers: int) -> AsyncIterator[Sequence[Driver]]:
    """Workers that each hold a connection."""
    entity = application.registry[Customer]
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(address.url, application, size=1))
        store = database.session(world.context).store
        shape, order = store.shapes.parse(entity), parse_order(NEWEST, entity)
        page = list_rows_statement(shape, EVERYTHING, order, PAGE, store.schemas).text
        opened = []
        for _ in range(workers):
            connection = await asyncpg.connect(**address.as_arguments())
            stack.push_async_callback(connection.close)
            opened.append(Driver(connection, world, page, action_call(entity, store.schemas, "update")))
        yield opened
