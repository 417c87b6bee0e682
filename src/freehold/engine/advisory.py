"""One set-up or migration at a time in a database.

The lock belongs to the connection that does the work: while a statement of a killed program still runs on the server,
nobody else begins. Who waits asks again and again instead of waiting in the server, because an index that is built
concurrently waits for every transaction that is open, and would wait for that one too.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from freehold import errors
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas

__all__ = ["WAIT", "exclusive"]

WAIT = 120.0
"""Seconds to wait for another set-up or migration."""

_HOLDER = """
select format('%s (%s, %s, since %s UTC)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'unnamed'),
    to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')) as holder
from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.database = (select oid from pg_database where datname = current_database())
    and (l.classid::bigint << 32 | l.objid::bigint) = hashtext($1)::bigint and l.pid <> pg_backend_pid()
"""


@asynccontextmanager
async def exclusive(connection: Connection, schemas: Schemas, *, wait: float = WAIT) -> AsyncIterator[None]:
    """Holds the lock of a database's schema while something is done.

    Args:
        connection: that does it.
        schemas: what is locked; two applications in one database do not wait for each other.
        wait: seconds, at most.

    Raises:
        TimeoutError: another program holds it for longer; the message says which.
    """
    key = f"{schemas.engine}.install"
    until = time.monotonic() + wait
    pause = 0.02
    while not (await connection.fetch("select pg_try_advisory_lock(hashtext($1)) as done", key))[0]["done"]:
        if time.monotonic() >= until:
            rows = await connection.fetch(_HOLDER, key)
            holder = str(rows[0]["holder"]) if rows else "a process that has just ended"
            raise errors.TimeoutError(
                f"another set-up or migration has been running for more than {wait:g} s: process {holder}",
                seconds=wait,
                hint="wait for it, or end it: select pg_terminate_backend(<process>); the next run goes on where it was",
            )
        await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # jitter, no secret
        pause = min(pause * 1.5, 1.0)
    try:
        yield
    finally:
        if not connection.closed:
            await connection.fetch("select pg_advisory_unlock(hashtext($1))", key)
