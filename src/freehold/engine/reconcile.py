"""Holding declared counters against the rows that they count, and mending those that differ.

Triggers keep counters in every transaction of the application. They drift only where somebody went around them: with triggers
switched off (a restore of data alone, a replication role), or as an administrator outside of any context.

It goes organization by organization, each in a sealed context of its own, and in batches of records, each a transaction of
its own. A counter and what it counts are read in one statement, so of one moment: what is under way beside it is not taken for
drift. Where it mends, it locks the records that differ and compares again: whoever counts on them waits, and adds to what is
right.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from freehold.engine.blocks import Roles
from freehold.engine.counters import counted
from freehold.engine.install import empower_owner
from freehold.errors import ConfigurationError
from freehold.model.counters import Counter
from freehold.model.registry import Registry, suggestion
from freehold.postgres.connections import Connection, Row
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["Drift", "Progress", "reconcile"]

BATCH = 500
"""Records in one transaction."""
ORGANIZATIONS = 500
"""Organizations that are asked for at a time."""
LOCK_WAIT = "10s"
"""How long a lock on records is waited for."""


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
class Progress:
    """How far it is.

    Args:
        organizations: that have been begun.
        records: that have been looked at.
    """

    organizations: int
    records: int


async def reconcile(
    connection: Connection,
    registry: Registry,
    schemas: Schemas,
    roles: Roles,
    *,
    entity: str | None = None,
    write: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> AsyncIterator[Drift]:
    """Yields the counters that differ, those that are mended as they were before.

    Args:
        connection: of an administrator who may act as the owner.
        registry: the declarations.
        schemas, roles: the names in the database.
        entity: only the counters of this one's records.
        write: whether to mend them.
        progress: called after each batch.

    Raises:
        ConfigurationError: there is no such entity, or it has no counter.
        TimeoutError: records that are to be mended were locked for 10 seconds. What was mended before stays.
    """
    groups = _chosen(registry, entity)
    await empower_owner(connection, roles)
    organizations = records = 0
    async for organization in _organizations(connection, schemas, roles):
        organizations += 1
        for counters in groups:
            after: UUID | None = UUID(int=0)
            while after is not None:
                async with connection.transaction():
                    await _enter(connection, schemas, roles, organization)
                    seen, after, found = await _compare(connection, schemas, counters, organization, after)
                    if write and found:
                        found = await _mend(
                            connection, schemas, counters, organization, [each.record_id for each in found]
                        )
                records += seen
                if progress is not None:
                    progress(Progress(organizations, records))
                for drift in found:
                    yield drift


def _chosen(registry: Registry, name: str | None) -> list[list[Counter]]:
    """The counters by the entity that has them."""
    if name is not None and name not in registry.entities:
        raise ConfigurationError(f"there is no entity {name!r} here{suggestion(name, registry.entities)}")
    groups = {
        each.name: counters
        for each in registry.entities.values()
        if (counters := [counter for counter in registry.counters if counter.entity is each])
    }
    if name is not None and name not in groups:
        raise ConfigurationError(f"{name} has no counter{suggestion(name, groups)}")
    return list(groups.values()) if name is None else [groups[name]]


async def _organizations(connection: Connection, schemas: Schemas, roles: Roles) -> AsyncIterator[UUID]:
    """All organizations, in the order of their ids."""
    after = UUID(int=0)
    while True:
        async with connection.transaction():
            await connection.execute(f"set local role {quoted(roles.owner)}")
            rows = await connection.fetch(
                f"select id from {schemas.own('organizations')} where id > $1 order by id limit {ORGANIZATIONS}", after
            )
        for row in rows:
            yield row["id"]
        if len(rows) < ORGANIZATIONS:
            return
        after = rows[-1]["id"]


async def _enter(connection: Connection, schemas: Schemas, roles: Roles, organization: UUID) -> None:
    await connection.execute(f"set local role {quoted(roles.owner)}; set local lock_timeout = '{LOCK_WAIT}'")
    context = '{"request_id": "freehold counters reconcile"}'
    await connection.fetch(f"select {schemas.own('enter')}($1, {schemas.own('sealed')}($1, $2))", organization, context)


async def _compare(
    connection: Connection, schemas: Schemas, counters: Sequence[Counter], organization: UUID, after: UUID
) -> tuple[int, UUID | None, list[Drift]]:
    """A batch of records: how many, the last one where more may follow, and the counters that differ."""
    table = schemas.table(counters[0].entity.table)
    rows = await connection.fetch(
        f"select t.id{_numbers(counters, schemas)} from {table} as t where t.organization_id = $1 and t.id > $2 "
        f"order by t.id limit {BATCH}",
        organization,
        after,
    )
    found = [drift for row in rows for drift in _drifts(row, counters, organization)]
    return len(rows), rows[-1]["id"] if len(rows) == BATCH else None, found


async def _mend(
    connection: Connection, schemas: Schemas, counters: Sequence[Counter], organization: UUID, ids: Sequence[UUID]
) -> list[Drift]:
    """Locks records, compares again, and sets what differs; what differed."""
    table, wanted = schemas.table(counters[0].entity.table), sorted(set(ids), key=lambda one: one.int)
    chosen = f"from {table} as t where t.organization_id = $1 and t.id = any ($2)"
    await connection.fetch(f"select {chosen} order by t.id for no key update", organization, wanted)
    sets = ", ".join(f"{quoted(each.field.name)} = n.c{place}" for place, each in enumerate(counters))
    wrong = " or ".join(f"n.k{place} <> n.c{place}" for place in range(len(counters)))
    rows = await connection.fetch(
        f"update {table} as w set {sets} from (select t.id{_numbers(counters, schemas)} {chosen}) as n "
        f"where w.organization_id = $1 and w.id = n.id and ({wrong}) returning n.*",
        organization,
        wanted,
    )
    return [drift for row in rows for drift in _drifts(row, counters, organization)]


def _numbers(counters: Sequence[Counter], schemas: Schemas) -> str:
    """Columns: what each counter says, and what there is."""
    return "".join(
        f", t.{quoted(each.field.name)} as k{place}, {counted(each, schemas, 't')} as c{place}"
        for place, each in enumerate(counters)
    )


def _drifts(row: Row, counters: Sequence[Counter], organization: UUID) -> list[Drift]:
    return [
        Drift(organization, each.entity.name, row["id"], each.field.name, row[f"k{place}"], row[f"c{place}"])
        for place, each in enumerate(counters)
        if row[f"k{place}"] != row[f"c{place}"]
    ]
