"""The plans of increments, and of what keeps counters, in an organization that has two thirds of all rows."""

import asyncio
import json
import os
from typing import Any
from uuid import UUID

import pytest

from freehold import Context, Database
from freehold.engine.increments import increment_call
from freehold.model.context import new_id
from tests.conftest import Server, new_context
from tests.counted import Resource, application
from tests.probe import enter, plain, sealed
from tests.sql.test_plans import Planner, flaws, planner  # noqa: F401  # a fixture

FILL = """
    with resources as (
        insert into app.resources (id, name)
        select ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'r' || i from generate_series(1, $1::integer) as i
        returning id
    ), bookmarks as (
        insert into app.bookmarks (resource_id, kind) select id, 'star' from resources
    )
    insert into app.notes (resource_id, text) select id, 'n' from resources"""
IDS = [UUID(f"00000000-0000-7000-8000-{number:012x}") for number in (5, 50, 500)]


@pytest.fixture(scope="module")
def plans_name(server: Server) -> str:
    """A database with a large organization and four small ones."""
    name = f"counter_plans_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"

    async def make() -> None:
        await server.create_database(name, application)
        async with (
            Database.open(server.address(name), application, size=1) as database,
            plain(server.address(name)) as connection,
            plain(server.admin_address(name)) as admin,
        ):
            for size in (6_000, 750, 750, 750, 750):
                context = await new_context(database)
                async with connection.transaction():
                    await enter(connection, context)
                    await connection.execute(FILL.replace("$1", str(size)))
            await admin.execute("vacuum (analyze)")

    asyncio.run(make())
    return name


async def test_increments_and_counters_use_indexes(server: Server, plans_name: str, planner: Planner) -> None:  # noqa: F811
    async with plain(server.admin_address(plans_name)) as admin:
        organization = await admin.fetchval(
            "select organization_id from app.resources group by 1 order by count(*) desc limit 1"
        )
    told = sealed(Context(organization))
    groups: list[dict[str, Any]] = [{"context": told, "rows": [{"id": str(id), "views": 1} for id in IDS]}]
    call = increment_call(Resource.__entity__, application.schemas)
    async with planner.undone() as run:
        for wait in (False, True):
            await run(call, organization, told, new_id(), IDS, json.dumps(groups), wait)
        await run(call, organization, told, new_id(), [*IDS, new_id()], json.dumps(groups), False)
        for statement in (
            "insert into app.bookmarks (resource_id) select unnest($1::uuid[])",
            "update app.bookmarks set kind = 'plain' where resource_id = any ($1)",
            "delete from app.bookmarks where resource_id = any ($1)",
            "delete from app.notes where resource_id = any ($1)",
        ):
            await run(statement, IDS)
        await run("insert into app.notes (resource_id, text) values ($1, 'one')", IDS[0])
    texts = " ".join(plan["Query Text"] for plan in planner.told)
    for part in (
        'update "app"."resources" as t set "views"',
        '"marks" = t."marks"',
        '"notes" = t."notes"',
        "for no key update",
    ):
        assert part in texts
    assert [flaw for plan in planner.told for flaw in flaws(plan, planner.tables)] == []
