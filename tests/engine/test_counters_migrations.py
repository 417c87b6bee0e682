"""Counters that come, change and go by revisions: they begin right, and nothing is left of those that are gone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from freehold import Application, Database, counter, field, reference
from tests.conftest import Server, new_context
from tests.engine.migrating import Site, entity
from tests.probe import plain, scratch


def library(*, counters: Any = None, soft_delete: bool = False, table: str | None = None, **roles: str) -> Application:
    """Books and their marks, with counters on the books."""
    declared = {name: (int, value) for name, value in (counters or {}).items()}
    book = entity("Book", {"title": (str, field(max_length=20)), **declared})
    mark = entity(
        "Mark",
        {
            "book_id": (UUID, reference(book, on_delete="cascade", reverse="held")),
            "kind": (str, field(default="plain", max_length=10)),
        },
        soft_delete=soft_delete,
        table=table,
    )
    return Application("library", [mark, book], **roles)  # type: ignore[arg-type]  # names only


BEFORE = library(soft_delete=True)
AFTER = library(counters={"marks": counter("Mark")}, soft_delete=True)
OTHER = library(counters={"marks": counter("Mark", where={"kind": "star"})}, soft_delete=True)


@pytest.fixture
async def site(server: Server, database_name: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


async def reach(site: Site, app: Application) -> None:
    """A revision for what is new, run."""
    await site.new(app)
    await site.up(app)
    assert await site.differences(app) == []


async def fill(site: Site, app: Application) -> list[UUID]:
    """A book in each of two organizations, with a plain mark, a star and a deleted mark."""
    book, mark = (app.registry.entities[name].cls for name in ("Book", "Mark"))
    made = []
    async with Database.open(site.server.address(site.name), app, size=2) as database:
        for _ in range(2):
            session = database.session(await new_context(database))
            one = await session.create(book, title="one")
            for kind in ("plain", "star"):
                await session.create(mark, book_id=one.id, kind=kind)
            await session.delete(await session.create(mark, book_id=one.id))
            made.append(one.id)
    return made


async def marks(site: Site) -> list[int]:
    async with plain(site.server.admin_address(site.name)) as admin:
        return [row["marks"] for row in await admin.fetch("select marks from app.books order by id")]


async def leftovers(site: Site) -> list[str]:
    """What is in the database because of counters."""
    async with plain(site.server.admin_address(site.name)) as admin:
        rows = await admin.fetch(
            "select proname::text as name from pg_proc where proname like '%tally%' union all "
            "select tgname::text from pg_trigger where tgname like 'tally%' union all "
            "select name from freehold.settings where name like 'counters.%'"
        )
        return [row["name"] for row in rows]


async def test_a_counter_that_comes_begins_with_what_there_is(site: Site) -> None:
    await site.setup(BEFORE)
    await reach(site, BEFORE)
    assert await leftovers(site) == []
    await fill(site, BEFORE)
    await reach(site, AFTER)
    assert await marks(site) == [2, 2]
    await fill(site, AFTER)
    assert await marks(site) == [2, 2, 2, 2]
    assert (await site.planned(AFTER)).empty


async def test_another_condition_counts_anew_and_up_again_does_not(site: Site) -> None:
    await site.setup(AFTER)
    await reach(site, AFTER)
    await fill(site, AFTER)
    await reach(site, OTHER)
    assert await marks(site) == [1, 1]
    async with plain(site.server.admin_address(site.name)) as admin:
        await admin.execute("set session_replication_role = replica")
        await admin.execute("update app.books set marks = 9")
        await admin.execute("set session_replication_role = origin")
        await admin.execute("drop trigger tally_update on app.marks")
    await site.up(OTHER)
    assert await site.differences(OTHER) == []
    assert await marks(site) == [9, 9]  # nothing was declared anew: this is for `freehold counters reconcile`


async def test_one_that_goes_leaves_nothing(site: Site) -> None:
    await site.setup(AFTER)
    await reach(site, AFTER)
    await fill(site, AFTER)
    assert len(await leftovers(site)) == 7
    await reach(site, BEFORE)
    assert await leftovers(site) == []
    await fill(site, BEFORE)


async def test_down_and_up_again(site: Site) -> None:
    await site.setup(BEFORE)
    await reach(site, BEFORE)
    await reach(site, AFTER)
    await fill(site, AFTER)
    await site.down(AFTER, site.id(0))
    assert await leftovers(site) == []
    await fill(site, BEFORE)
    await site.up(AFTER)
    assert await marks(site) == [2, 2, 2, 2]


async def test_triggers_that_somebody_dropped_come_back(site: Site) -> None:
    await site.setup(AFTER)
    await reach(site, AFTER)
    async with plain(site.server.admin_address(site.name)) as admin:
        await admin.execute("drop function freehold.marks_tally_create() cascade")
        await admin.execute("grant update (marks) on app.books to freehold_app")
    assert {each.kind for each in await site.differences(AFTER)} >= {"function", "trigger", "grant"}
    await site.up(AFTER)
    assert await site.differences(AFTER) == []


async def test_a_table_with_another_name_is_counted_on(site: Site) -> None:
    await site.setup(AFTER)
    await reach(site, AFTER)
    await fill(site, AFTER)
    renamed = library(counters={"marks": counter("Mark")}, soft_delete=True, table="notches")
    await site.new(renamed, renames=[("marks", "notches")])
    await site.up(renamed)
    assert await site.differences(renamed) == []
    await fill(site, renamed)
    assert await marks(site) == [2, 2, 2, 2]


async def test_set_up_of_a_new_database_is_as_declared(site: Site) -> None:
    await site.setup(AFTER)
    assert await site.differences(AFTER) == []
    await site.setup(AFTER)
    await fill(site, AFTER)
    assert await marks(site) == [2, 2]
