"""The pool of both peers with asyncpg."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from benchmarks.web.settings import Settings

__all__ = ["opened"]


@asynccontextmanager
async def opened(settings: Settings, *, documents: bool = True) -> AsyncIterator[Any]:
    """A pool whose connections are open before the first request. Any: asyncpg has no type information.

    A connection that is given back is not reset, which would be a message more: all that requests set is gone with their
    transaction.

    Args:
        settings: where the database is.
        documents: whether JSON is read into objects.
    """

    async def prepare(connection: Any) -> None:
        if documents:
            await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")

    async def nothing(_: Any) -> None:
        """In place of asyncpg's reset."""

    async with asyncpg.create_pool(
        **settings.connection, min_size=settings.pool, max_size=settings.pool, init=prepare, reset=nothing
    ) as pool:
        yield pool
