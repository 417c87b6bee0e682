"""Compares declared counters with the rows that they count, and sets those that differ.

Two callers: `count_anew` after a set-up or a migration that declared a counter, and `freehold counters reconcile`. Triggers keep
a counter from the transaction on that made them, so it differs only for rows that were there before, or where somebody went
around the triggers: a restore of data alone, a replication role, an administrator outside of any context.

It goes through the organizations of each entity, and through their records in steps: see `freehold.engine.recounting`.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

from freehold.engine.blocks import Roles
from freehold.engine.counters import Counts, declared, setting
from freehold.engine.recounting import Drift, Session, batches
from freehold.engine.roles import empower_owner
from freehold.errors import ConfigurationError
from freehold.model.counters import Counter
from freehold.model.description import EntityDescription
from freehold.model.registry import Registry, suggestion
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["Drift", "Progress", "count_anew", "reconcile", "uncounted"]

EVERY = 2.0
"""Seconds between two reports."""
ATTEMPTS = 6
"""How often a lock is waited for, where rows are counted after a set-up or a migration."""


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Args:
        entity: whose records are being compared.
        organizations: of this entity's records that have been begun.
        records: that have been compared, of all entities.
    """

    entity: str
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
        ConfigurationError: there is no such entity, or it has no counter; or a right counter would break a rule.
        TimeoutError: a record that is to be mended was locked for 10 seconds. What was mended before stays.
    """
    groups = _chosen(registry, entity)
    await empower_owner(connection, roles)
    session = Session(connection, schemas, roles, "freehold counters reconcile")
    async for drift in _compared(session, groups, write=write, progress=progress or (lambda _: None)):
        yield drift


async def uncounted(connection: Connection, registry: Registry, schemas: Schemas) -> list[EntityDescription]:
    """The entities whose rows some declared counter has not counted yet.

    Args:
        connection: of an administrator.
        registry: the declarations.
        schemas: the names in the database, which has been set up.
    """
    wanted = [each for each in registry.entities.values() if registry.counters_of(each)]
    if not wanted:
        return []
    rows = await connection.fetch(
        f"select name, value from {schemas.own('settings')} where name = any ($1)", [setting(each) for each in wanted]
    )
    noted = {row["name"]: row["value"] for row in rows}
    return [each for each in wanted if noted.get(setting(each)) != declared(each, registry.counters_of(each))]


async def count_anew(
    connection: Connection, registry: Registry, schemas: Schemas, roles: Roles, report: Callable[[str], None]
) -> bool:
    """Counts the rows that were there before their counters were declared, and notes that it is done.

    To be called after the triggers are committed, while holding the lock of set-ups and migrations. Where it was ended before
    the note, the next call begins again: what is counted already it only reads.

    Args:
        connection: of an administrator who may act as the owner.
        registry: the declarations.
        schemas, roles: the names in the database.
        report: is told in words how far it is.

    Returns:
        Whether there was anything to count.

    Raises:
        ConfigurationError: a record's counter would break a rule.
        TimeoutError: a record was locked for a minute.
    """
    left = await uncounted(connection, registry, schemas)
    if not left:
        return False
    groups = _grouped([each for entity in left for each in registry.counters_of(entity)])
    session = Session(connection, schemas, roles, "freehold counters", ATTEMPTS, report)
    told, changed = time.monotonic(), 0

    def progress(now: Progress) -> None:
        nonlocal told
        if time.monotonic() >= told + EVERY:
            told = time.monotonic()
            report(
                f"counting: {now.records:,} records, {changed:,} counters set; {now.entity} of organization {now.organizations:,}"
            )

    report(f"counting the rows for {', '.join(each.name for group in groups for each in group)}")
    async for _ in _compared(session, groups, write=True, progress=progress):
        changed += 1
    async with connection.transaction():
        await connection.execute(f"set local role {quoted(roles.owner)}")
        for entity in left:
            await connection.fetch(
                f"insert into {schemas.own('settings')} values ($1, $2) on conflict (name) do update set value = excluded.value",
                setting(entity),
                declared(entity, registry.counters_of(entity)),
            )
    report(f"counted: {changed:,} counters set")
    return True


def _grouped(counters: Iterable[Counter]) -> list[list[Counter]]:
    """Counters by the entity that has them."""
    groups: dict[str, list[Counter]] = {}
    for counter in counters:
        groups.setdefault(counter.entity.name, []).append(counter)
    return list(groups.values())


def _chosen(registry: Registry, name: str | None) -> list[list[Counter]]:
    """The counters of one entity, or of all."""
    if name is not None and name not in registry.entities:
        raise ConfigurationError(f"there is no entity {name!r} here{suggestion(name, registry.entities)}")
    groups = _grouped(registry.counters)
    if name is None:
        return groups
    if found := [group for group in groups if group[0].entity.name == name]:
        return found
    raise ConfigurationError(f"{name} has no counter{suggestion(name, [group[0].entity.name for group in groups])}")


async def _compared(
    session: Session, groups: Sequence[Sequence[Counter]], *, write: bool, progress: Callable[[Progress], None]
) -> AsyncIterator[Drift]:
    """All counters that differ, of all organizations."""
    records = 0
    for counters in groups:
        counts, entity, begun = Counts(counters, session.schemas), counters[0].entity, 0
        async for organization in session.organizations(entity):
            begun += 1
            async for seen, found in batches(session, counts, organization, write=write):
                records += seen
                for drift in found:
                    yield drift
                progress(Progress(entity.name, begun, records))
