"""asyncpg as an expert writes it by hand: a connection held per worker, and four messages for each piece of work."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from benchmarks.contenders.model import CUSTOMERS, FIELDS, PAGE, CustomerModel, Edit
from benchmarks.world import World
from freehold.postgres.server import ServerAddress

# asyncpg has no type information, so its connections and records are Any here.
Connection = Any

COLUMNS = ", ".join(FIELDS)
CONTEXT = "select set_config('freehold.organization_id', $1, true), set_config('freehold.context', $2, true)"
GET = f"select {COLUMNS} from app.customers where organization_id = $1 and id = $2 and deleted_at is null"
# The limit stands in the text: as a parameter it would have the server plan the statement anew for every call.
LIST = f"""
    select {COLUMNS} from app.customers where organization_id = $1 and deleted_at is null
    order by created_at desc, id desc limit {PAGE}"""
LIST_AS_JSON = f"select coalesce(json_agg(customer), '[]')::text from ({LIST}) customer"
UPDATE = f"""
    update app.customers set credit = $4, version = version + 1, updated_at = now(), updated_by = $5
    where organization_id = $1 and id = $2 and version = $3 and deleted_at is null
    returning {COLUMNS}"""


class HandWritten:
    """One worker with its connection."""

    def __init__(self, connection: Connection, world: World) -> None:
        self.connection = connection
        self.user_id = world.context.user_id
        self.organization_id = world.context.organization_id
        self.world = world

    @property
    def context(self) -> tuple[str, str]:
        """The values of the two settings, under a seal of now."""
        return self.world.settings(self.world.context)

    async def point_read(self, customer_id: UUID) -> CustomerModel:
        async with self.connection.transaction():
            await self.connection.execute(CONTEXT, *self.context)
            row = await self.connection.fetchrow(GET, self.organization_id, customer_id)
        return CustomerModel.model_validate(dict(row))

    async def list_entities(self, _: None) -> Sequence[CustomerModel]:
        async with self.connection.transaction():
            await self.connection.execute(CONTEXT, *self.context)
            rows = await self.connection.fetch(LIST, self.organization_id)
        return CUSTOMERS.validate_python([dict(row) for row in rows])

    async def list_json(self, _: None) -> bytes:
        return CUSTOMERS.dump_json(list(await self.list_entities(None)))

    async def list_json_in_sql(self, _: None) -> bytes:
        async with self.connection.transaction():
            await self.connection.execute(CONTEXT, *self.context)
            text: str = await self.connection.fetchval(LIST_AS_JSON, self.organization_id)
        return text.encode()

    async def update(self, edit: Edit) -> CustomerModel:
        async with self.connection.transaction():
            await self.connection.execute(CONTEXT, *self.context)
            row = await self.connection.fetchrow(
                UPDATE, self.organization_id, edit.id, edit.version, edit.credit, self.user_id
            )
            if row is None:
                raise LookupError(f"customer {edit.id} is not at version {edit.version}")
        return CustomerModel.model_validate(dict(row))


@asynccontextmanager
async def handwritten(world: World, address: ServerAddress, workers: int) -> AsyncIterator[Sequence[HandWritten]]:
    """Workers that each hold a connection."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(workers):
            connection = await asyncpg.connect(**address.as_arguments())
            stack.push_async_callback(connection.close)
            opened.append(HandWritten(connection, world))
        yield opened
