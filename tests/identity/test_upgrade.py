"""A database of the release before there were credentials gets them, by set-up and by a migration, and keeps its members."""

from pathlib import Path

import asyncpg
import pytest

from freehold import Database
from freehold.engine.blocks import blocks
from freehold.identity.system import SQL
from tests.conftest import Server, new_context
from tests.engine.migrating import Site
from tests.probe import plain, scratch
from tests.world import application

NEW = ("credentials.sql", "directory.sql")


async def taken_back(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Drops what these releases have added."""
    texts = [
        text
        for package, file in SQL
        if file in NEW
        for text in blocks(package, file, application.schemas, application.roles).values()
    ]
    made = [
        line.split('"."')[-1]
        for text in texts
        for line in text.splitlines()
        if line.startswith("create or replace function")
    ]
    names = [name.split(".")[1].split("(")[0].strip('"') for name in made]
    assert len(names) > 20
    rows = await connection.fetch(
        "select oid::regprocedure::text as name from pg_proc where pronamespace = 'freehold'::regnamespace and proname = any ($1)",
        names,
    )
    for row in rows:
        await connection.execute(f"drop function {row['name']}")
    await connection.execute("drop table freehold.keys, freehold.invitations, freehold.externals, freehold.revocations")
    await connection.execute("delete from freehold.settings where name = 'installed'")


@pytest.mark.parametrize("way", ["setup", "migrate"])
async def test_a_database_of_the_release_before_gets_credentials(server: Server, tmp_path: Path, way: str) -> None:
    async with scratch(server) as name, plain(server.admin_address(name)) as admin:
        site = Site(server, name, tmp_path)
        async with Database.open(server.address(name), application, size=2) as database:
            context = await new_context(database)
        await taken_back(admin)
        if way == "setup":
            await site.setup(application)
        else:
            assert any("freehold.keys" in difference.object for difference in await site.differences(application))
            await site.up(application)
        assert await site.differences(application) == []
        async with Database.open(server.address(name), application, size=2) as database:
            system = database.system("after")
            assert context.user_id is not None
            made = await system.keys.create(context.organization_id, name="x", user_id=context.user_id)
            (kept,) = (await system.keys.list(context.organization_id)).records
            assert kept == made.key
