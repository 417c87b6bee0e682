"""What a database needs from time to time while a program has it open.

The log gets partitions for the months to come, and marks of what had been committed, which reads of the past need. Its positions go
on where they were when the data has come from another server. Each program asks for that when it opens the database, and once a minute from
then on. Nothing depends on it: a change whose month has no partition lies in the log's default partition, and what could not
be done is done a minute later.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from freehold.errors import FreeholdError
from freehold.postgres.connections import Connection, Pool
from freehold.sql.identifiers import Schemas

__all__ = ["PERIOD", "Upkeep", "keep_log"]

PERIOD = 60.0
"""Seconds between two times, about: programs that started together drift apart."""

_log = logging.getLogger("freehold.upkeep")


async def keep_log(connection: Connection, schemas: Schemas) -> None:
    """Does at set-up what takes longer: looks for the greatest position, and makes months whatever the default partition holds.

    Args:
        connection: of an administrator who may act as the owner.
        schemas: where the log is.
    """
    await connection.fetch(f"select {schemas.own('settle_log')}(true), {schemas.own('extend_log')}(3)")


class Upkeep:
    """Keeps the log of one database.

    Args:
        pool: of the program.
        schemas: where the log is.
    """

    def __init__(self, pool: Pool, schemas: Schemas) -> None:
        self._pool = pool
        self._statement = f"select {schemas.own('keep_log')}()"

    async def poll(self) -> float:
        """Does what is due.

        Returns:
            Seconds until it should be called again.
        """
        try:
            await self._pool.fetch(self._statement, [])
        except FreeholdError as error:
            _log.warning("the log was not kept: %s; it is tried again", error)
        return PERIOD * random.uniform(0.75, 1.25)  # noqa: S311  # jitter, no secret

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Polls at once, and then until the block ends."""
        pause = await self.poll()
        task = asyncio.create_task(self._run(pause))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            pause = await self.poll()
