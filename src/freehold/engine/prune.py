"""Dropping the oldest part of the log, a month at a time.

What the log told from then on can be told afterwards too; what it told before is gone. The moment from which it tells is
kept, in the same transaction, so that a read of an earlier moment is refused and never answered wrongly: such a read
either holds the partition that is dropped, and is waited for, or begins after the moment has been moved.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from freehold.errors import TimeoutError, ValidationError  # noqa: A004  # Freehold's own, which connections raise
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["Partition", "log_begins", "old_partitions", "prune_log"]

ATTEMPT = 150
"""Milliseconds that one attempt waits for the log."""
PAUSE = 0.35
"""Seconds between attempts, in which the others go on."""

_PARTITIONS = """
select c.relname::text as name, pg_total_relation_size(c.oid) as bytes, greatest(c.reltuples, 0)::bigint as rows
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = to_regclass($1) and c.relname ~ '^log_[0-9]{4}_[0-9]{2}$' and c.relname < $2
order by c.relname
"""


@dataclass(frozen=True)
class Partition:
    """A month of the log.

    Args:
        name: of the table.
        bytes: that it takes, with its indexes.
        rows: about how many changes it holds, as PostgreSQL estimates.
    """

    name: str
    bytes: int
    rows: int


def first_of_month(before: date) -> datetime:
    """The start of a date's month, in UTC.

    Raises:
        ValidationError: it is in the future.
    """
    start = datetime(before.year, before.month, 1, tzinfo=UTC)
    if start > datetime.now(UTC):
        raise ValidationError.single(("before",), "must not be in a month to come", "in_future", subject="log prune")
    return start


async def old_partitions(connection: Connection, schemas: Schemas, before: date) -> Sequence[Partition]:
    """The months that end before the month of a date.

    Args:
        connection: of an administrator.
        schemas: where the log is.
        before: a date; its own month stays.
    """
    start = first_of_month(before)
    rows = await connection.fetch(_PARTITIONS, schemas.own("log"), f"log_{start:%Y_%m}")
    return [Partition(str(row["name"]), int(row["bytes"]), int(row["rows"])) for row in rows]


async def prune_log(
    connection: Connection, schemas: Schemas, before: date, *, wait: float = 10.0
) -> Sequence[Partition]:
    """Drops the months that end before the month of a date; all or none of them.

    Args:
        connection: of an administrator who may act as the owner.
        schemas: where the log is.
        before: a date; its own month stays.
        wait: seconds to wait for reads of the log to end.

    Returns:
        What was dropped.

    Raises:
        TimeoutError: the log was not free in time; nothing was dropped.
    """
    until = time.monotonic() + wait
    while True:
        try:
            return await _attempt(connection, schemas, before)
        except TimeoutError as error:
            if time.monotonic() >= until:
                raise TimeoutError(
                    f"somebody read the log for all of {wait:g} s; nothing was dropped",
                    seconds=wait,
                    hint="try again when long reads of the log, such as a dump, have ended",
                ) from error
            await asyncio.sleep(PAUSE)


async def _attempt(connection: Connection, schemas: Schemas, before: date) -> Sequence[Partition]:
    """Drops the months if the log is free at once: who waits for its lock holds up every write behind."""
    start = first_of_month(before)
    async with connection.transaction():
        await connection.execute(f"set local lock_timeout = '{ATTEMPT}ms'")
        await connection.fetch("select pg_advisory_xact_lock(hashtext($1))", f"{schemas.engine}.extend_log")
        dropped = await old_partitions(connection, schemas, before)
        await connection.fetch(
            f"insert into {schemas.own('settings')} as s values ('log_begins', $1) on conflict (name) "
            "do update set value = case when s.value::timestamptz > excluded.value::timestamptz then s.value else excluded.value end",
            start.isoformat(),
        )
        for partition in dropped:
            await connection.execute(f"drop table {quoted(schemas.engine)}.{quoted(partition.name)}")
        await connection.fetch(f"delete from {schemas.own('log_default')} where at < $1", start)
        await connection.fetch(f"delete from {schemas.own('marks')} where at < $1", start)
    return dropped


async def log_begins(connection: Connection, schemas: Schemas) -> datetime | None:
    """The moment from which the log tells; None where nothing was pruned."""
    rows = await connection.fetch(f"select {schemas.own('log_begins')}() as begins")
    begins: datetime | None = rows[0]["begins"]
    return begins
