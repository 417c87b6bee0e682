"""What the log costs: the same single-row update with its trigger and without, on one connection.

Four ways of counting, since the share depends on what it is a share of: an update as applications make it
(`session.update`), a hand-written one in a message and a transaction of its own, the same without waiting for the disk, and
many in a loop inside the server, where neither messages nor commits are counted. The first two are what the project's target is
about; the last is the harshest.
"""

import statistics
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from time import perf_counter
from typing import Any
from uuid import UUID

import asyncpg

from benchmarks.entities import Customer, application
from benchmarks.harness import Plan
from benchmarks.world import CONTEXT, Known, World
from freehold import Database

NAME = "log_trigger"
TITLE = "A single-row update with and without the log"
AT_MOST = 0.25
"""The share of an update that the trigger may cost."""
BATCH = 200

# Every update matches one row by its primary key and returns its new version, as an update of Freehold does.
UPDATE = """
    update app.customers set credit = credit + 1, version = version + 1, updated_at = now()
    where organization_id = $1 and id = $2 returning version"""
LOOP = f"""
    do $loop$
    declare
        organization constant uuid := current_setting('freehold.organization_id')::uuid;
        customers constant uuid[] := array(
            select id from app.customers where organization_id = organization order by id offset %d limit {BATCH});
        customer uuid;
        new_version integer;
    begin
        foreach customer in array customers loop
            update app.customers set credit = credit + 1, version = version + 1, updated_at = now()
            where organization_id = organization and id = customer returning version into new_version;
        end loop;
    end $loop$"""
TRIGGERS = """
    select t.tgname::text
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_namespace n on n.oid = p.pronamespace
    where t.tgrelid = 'app.customers'::regclass and not t.tgisinternal and n.nspname = 'freehold'
      and p.proname ~ 'log' and t.tgtype & 16 <> 0"""

# asyncpg has no type information.
Connection = Any


@dataclass(frozen=True)
class Cost:
    """Microseconds per update, and the share that the log adds: medians of the rounds, each of which is a median itself."""

    way: str
    without: float
    with_log: float
    share: float
    target: float | None

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.share <= self.target


async def measure(world: World, plan: Plan) -> list[Cost]:
    """Switch the trigger off and on in turns, in an order drawn anew for each round.

    Raises:
        RuntimeError: no trigger that logs updates is on the table.
    """
    administrator = await asyncpg.connect(**world.administrator.as_arguments())
    connection = await asyncpg.connect(**world.addresses["socket"].as_arguments())
    try:
        triggers = [row["tgname"] for row in await administrator.fetch(TRIGGERS)]
        if not triggers:
            raise RuntimeError("app.customers has no trigger that logs updates")
        organization_id = world.contexts[1].organization_id
        await connection.execute(CONTEXT.replace("true", "false"), *world.settings(world.contexts[1]))
        rows = await connection.fetch(
            "select id, version from app.customers where organization_id = $1", organization_id
        )
        ids = [row["id"] for row in rows]
        versions = [Known(UUID(bytes=row["id"].bytes), row["version"]) for row in rows]
        random = Random(plan.seed)

        async def transaction() -> int:
            await connection.fetchval(UPDATE, organization_id, random.choice(ids))
            return 1

        async def update() -> int:
            known = random.choice(versions)
            async with database.session(world.contexts[1]) as session:
                record = await session.update((Customer, known.id, known.version), credit=random.randrange(10**6))
            known.version = record.version
            return 1

        async def loop() -> int:
            await connection.execute(LOOP % random.randrange(len(ids) - BATCH))
            return BATCH

        compare = partial(_compare, administrator, triggers, plan)
        async with Database.open(world.addresses["socket"].url, application, size=1) as database:
            costs = [await compare("session.update", update, AT_MOST)]
        costs.append(await compare("by hand, a transaction of its own", transaction, AT_MOST))
        await connection.execute("set synchronous_commit = off")
        costs.append(await compare("the same, not waiting for the disk", transaction))
        costs.append(await compare(f"{BATCH} in a loop inside the server", loop))
        return costs
    finally:
        await connection.close()
        await administrator.close()


async def _compare(
    administrator: Connection,
    triggers: list[str],
    plan: Plan,
    way: str,
    work: Callable[[], Awaitable[int]],
    target: float | None = None,
) -> Cost:
    random = Random(plan.seed)
    times: Mapping[str, list[float]] = {"enable": [], "disable": []}
    order = list(times)
    try:
        for _ in range(plan.rounds):
            random.shuffle(order)
            for switch in order:
                for trigger in triggers:
                    await administrator.execute(f'alter table app.customers {switch} trigger "{trigger}"')
                await _time(work, plan.warm_up / 3)
                times[switch].append(await _time(work, plan.seconds))
    finally:
        for trigger in triggers:
            await administrator.execute(f'alter table app.customers enable trigger "{trigger}"')
    shares = [on / off - 1 for on, off in zip(times["enable"], times["disable"], strict=True)]
    return Cost(
        way,
        statistics.median(times["disable"]) * 1e6,
        statistics.median(times["enable"]) * 1e6,
        statistics.median(shares),
        target,
    )


async def _time(work: Callable[[], Awaitable[int]], seconds: float) -> float:
    """Seconds per update, the median: a disk that stalls now and then is not what is measured."""
    times: list[float] = []
    before = perf_counter()
    deadline = before + seconds
    while before < deadline or not times:
        done = await work()
        after = perf_counter()
        times.append((after - before) / done)
        before = after
    return statistics.median(times)
