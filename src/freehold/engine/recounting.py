"""One step of counting: a few records of one organization, whose counters are compared with their rows and set.

Each step is a transaction in a sealed context of the organization. Readers never wait.

Why a concurrent change is neither lost nor counted twice. A transaction that adds, moves or removes a counted row also changes
the counter, through the trigger, and commits both together. So the difference between a counter and its rows is the same in
every snapshot, whatever others commit; only a step changes it, to zero. A step locks the record (FOR NO KEY UPDATE), and then
reads the counter and its rows in one statement, which is one snapshot, and sets the counter. Another transaction has either

- committed before that snapshot: its row is in it. Its counter was written before the commit, so before our lock;
- or not: its row is not in it. It has not written the counter, because it would hold the lock that we have. Its trigger waits
  for our commit, reads the counter that we have set, and adds its row.

The snapshot must be younger than the lock. So the lock is a statement of its own, under READ COMMITTED.

A step never waits for a lock while it holds another: it takes the records that are free (SKIP LOCKED), and each of the others
alone, in a transaction of its own. So it is in no deadlock, and a long transaction on one record holds up nobody else.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from freehold import errors
from freehold.engine.blocks import Roles
from freehold.engine.counters import Counts
from freehold.model.counters import Counter
from freehold.model.description import EntityDescription
from freehold.postgres.connections import Connection, Row
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["BATCH", "Drift", "Session", "batches"]

BATCH = 500
"""Records in one transaction, at most. It takes fewer where their rows are so many that a transaction gets long."""
LONG = 0.25
"""Seconds after which a transaction is long: the next one takes half as many records."""
ORGANIZATIONS = 500
"""Organizations that are asked for at a time."""
LOCK_WAIT = "10s"
"""How long a lock on a record is waited for."""
MOMENT = "200ms"
"""How long a lock on a table is waited for, at a time."""
LIFTS = 60
"""How often such a lock is waited for."""


@dataclass(frozen=True)
class Drift:
    """A counter that is not what it should be.

    Args:
        organization_id: whose.
        entity: the record's.
        record_id: the record's id.
        field: the counter.
        kept: what it said.
        counted: what there is.
    """

    organization_id: UUID
    entity: str
    record_id: UUID
    field: str
    kept: int
    counted: int


@dataclass(frozen=True)
class Session:
    """A connection that acts as the owner, in one organization at a time.

    Args:
        connection: of an administrator.
        schemas, roles: the names in the database.
        request: what the log says of the changes.
        attempts: how often a lock on a record is waited for.
        report: is told what is waited for.
    """

    connection: Connection
    schemas: Schemas
    roles: Roles
    request: str
    attempts: int = 1
    report: Callable[[str], None] = lambda _: None

    @asynccontextmanager
    async def within(self, organization: UUID) -> AsyncIterator[Connection]:
        """A transaction in the context of an organization."""
        own = self.schemas.own
        async with self.connection.transaction():
            await self.connection.execute(
                f"set local transaction isolation level read committed; set local role {quoted(self.roles.owner)}; "
                f"set local lock_timeout = '{LOCK_WAIT}'"
            )
            context = json.dumps({"request_id": self.request})
            await self.connection.fetch(f"select {own('enter')}($1, {own('sealed')}($1, $2))", organization, context)
            yield self.connection

    async def organizations(self, entity: EntityDescription) -> AsyncIterator[UUID]:
        """Those that have records of an entity, in the order of their ids."""
        after = UUID(int=0)
        while True:
            rows = await self._page(self.schemas.table(entity.table), after)
            for row in rows:
                yield row["id"]
            if len(rows) < ORGANIZATIONS:
                return
            after = rows[-1]["id"]

    async def _page(self, table: str, after: UUID) -> list[Row]:
        """The next organizations, one look-up in the table's key for each.

        Row-level security holds for the owner too. A superuser is exempt; for others it is lifted for these look-ups alone,
        under a lock that is never waited for long, because readers wait behind it.
        """
        (who,) = await self.connection.fetch(
            "select rolsuper or rolbypassrls as exempt from pg_roles where rolname = current_user"
        )
        query = _ORGANIZATIONS.format(table=table, limit=ORGANIZATIONS)
        if who["exempt"]:
            return await self.connection.fetch(query, after)
        for attempt in itertools.count(1):
            try:
                async with self.connection.rehearsal():
                    await self.connection.execute(
                        f"set local role {quoted(self.roles.owner)}; set local lock_timeout = '{MOMENT}'; "
                        f"alter table {table} no force row level security"
                    )
                    return await self.connection.fetch(query, after)
            except errors.TimeoutError:
                if attempt == LIFTS:
                    raise
                self.report(f"waiting for a lock on {table}")
                await asyncio.sleep(min(0.1 * attempt, 2.0))
        raise AssertionError("unreachable")


_ORGANIZATIONS = """
with recursive o (id) as (
    (select t.organization_id from {table} as t where t.organization_id > $1 order by t.organization_id limit 1)
    union all
    select (select t.organization_id from {table} as t where t.organization_id > o.id order by t.organization_id limit 1)
    from o where o.id is not null)
select o.id from o where o.id is not null limit {limit}
"""


async def batches(
    session: Session, counts: Counts, organization: UUID, *, write: bool
) -> AsyncIterator[tuple[int, list[Drift]]]:
    """Goes through an organization's records: how many each step has compared, and which counters differ."""
    after, size = UUID(int=0), BATCH
    while True:
        begun = time.monotonic()
        ids, found, busy = await _step(session, counts, organization, after, size, write=write)
        took = time.monotonic() - begun
        for id in busy:
            found += await _alone(session, counts, organization, id)
        yield len(ids), found
        if len(ids) < size:
            return
        after = ids[-1]
        size = max(1, size // 2) if took > LONG else min(BATCH, size * 2)


async def _step(
    session: Session, counts: Counts, organization: UUID, after: UUID, size: int, *, write: bool
) -> tuple[list[UUID], list[Drift], list[UUID]]:
    """Compares the next records and sets those that differ and are free: their ids, what differed, and those that are not free."""
    table = session.schemas.table(counts.counters[0].entity.table)
    ids: list[UUID] = []
    try:
        async with session.within(organization) as connection:
            rows = await connection.fetch(
                f"select t.id from {table} as t where t.organization_id = $1 and t.id > $2 order by t.id limit {size}",
                organization,
                after,
            )
            ids = [row["id"] for row in rows]
            found = await _differing(connection, counts, organization, ids)
            if not (write and found):
                return ids, found, []
            wanted = _distinct(found)
            free = await _lock(connection, table, organization, wanted, "skip locked")
            return ids, await _set(connection, counts, organization, free), [id for id in wanted if id not in set(free)]
    except errors.ValidationError:  # one of them breaks a rule: the others are set, and the error says which one
        async with session.within(organization) as connection:
            return ids, [], _distinct(await _differing(connection, counts, organization, ids))


async def _alone(session: Session, counts: Counts, organization: UUID, id: UUID) -> list[Drift]:
    """Waits for one record, compares it again, and sets what differs."""
    entity = counts.counters[0].entity
    for attempt in range(1, session.attempts + 1):
        try:
            async with session.within(organization) as connection:
                await _lock(connection, session.schemas.table(entity.table), organization, [id], "")
                return await _set(connection, counts, organization, [id])
        except errors.TimeoutError:
            if attempt == session.attempts:
                raise
            session.report(f"waiting for {entity.name} {id}, which another transaction has locked")
        except errors.ValidationError as error:
            raise errors.ConfigurationError(
                f"{entity.name} {id} of organization {organization} cannot be counted: {error.message}",
                hint="change the rule or the rows that are counted, and run it again: it goes on with this record",
            ) from error
    return []


async def _lock(
    connection: Connection, table: str, organization: UUID, ids: Sequence[UUID], waiting: str
) -> list[UUID]:
    """Locks records in the order of their ids, for what comes after in the transaction; those that are locked now."""
    rows = await connection.fetch(
        f"select t.id from {table} as t where t.organization_id = $1 and t.id = any ($2) order by t.id for no key update {waiting}",
        organization,
        ids,
    )
    return [row["id"] for row in rows]


async def _differing(connection: Connection, counts: Counts, organization: UUID, ids: Sequence[UUID]) -> list[Drift]:
    """The counters of these records that differ, read in one statement."""
    rows = await connection.fetch(f"select t.id{counts.columns} from {counts.source}", organization, ids)
    return [drift for row in rows for drift in _drifts(row, counts.counters, organization)]


async def _set(connection: Connection, counts: Counts, organization: UUID, ids: Sequence[UUID]) -> list[Drift]:
    """Sets the counters of locked records that differ; what differed."""
    if not ids:
        return []
    table = counts.schemas.table(counts.counters[0].entity.table)
    sets = ", ".join(f"{quoted(each.field.name)} = n.c{place}" for place, each in enumerate(counts.counters))
    wrong = " or ".join(f"n.k{place} <> n.c{place}" for place in range(len(counts.counters)))
    rows = await connection.fetch(
        f"update {table} as w set {sets} from (select t.id{counts.columns} from {counts.source}) as n "
        f"where w.organization_id = $1 and w.id = n.id and ({wrong}) returning n.*",
        organization,
        ids,
    )
    return [drift for row in rows for drift in _drifts(row, counts.counters, organization)]


def _distinct(found: Iterable[Drift]) -> list[UUID]:
    return sorted({each.record_id for each in found}, key=lambda one: one.int)


def _drifts(row: Row, counters: Sequence[Counter], organization: UUID) -> list[Drift]:
    return [
        Drift(organization, each.entity.name, row["id"], each.field.name, row[f"k{place}"], row[f"c{place}"])
        for place, each in enumerate(counters)
        if row[f"k{place}"] != row[f"c{place}"]
    ]
