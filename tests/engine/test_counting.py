"""Rows that were there before their counter: they are counted in steps, whatever else goes on, and a killed run goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from freehold import Application, Context, Database, Session, counter
from freehold.engine import recounting
from freehold.engine.migrations.undertaking import script
from freehold.engine.reconcile import uncounted
from freehold.errors import ConfigurationError, FreeholdError
from freehold.postgres.connections import connect
from tests.conftest import Server, new_context
from tests.engine.migrating import Site
from tests.engine.test_counters_migrations import AFTER, BEFORE, OTHER, library
from tests.probe import blocked, enter, plain, scratch

BOOKS = 7
"""Records in each organization: four steps of two."""

Hook = Callable[[UUID, list[UUID]], Awaitable[None]]


@pytest.fixture
async def site(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A database with books, marks and no counter, and a revision that adds one."""
    monkeypatch.setattr(recounting, "BATCH", 2)
    async with scratch(server, None) as name:
        site = Site(server, name, tmp_path / "migrations")
        await site.setup(BEFORE)
        await site.new(BEFORE)
        await site.up(BEFORE)
        await site.new(AFTER)
        yield site


@pytest.fixture
async def sessions(site: Site) -> AsyncIterator[list[Session]]:
    """Of two organizations, one of which no table of organizations knows."""
    async with Database.open(site.server.address(site.name), BEFORE, size=2) as database:
        contexts = [await new_context(database), Context(organization_id=uuid4())]
        made = [database.session(context) for context in contexts]
        book, mark = classes(BEFORE)
        for session in made:
            for number in range(BOOKS):
                one = await session.create(book, title=f"book {number}")
                for _ in range(number % 3 + 1):
                    await session.create(mark, book_id=one.id)
                await session.delete(await session.create(mark, book_id=one.id))
        yield made


def classes(app: Application) -> tuple[Any, Any]:
    return tuple(app.registry.entities[name].cls for name in ("Book", "Mark"))  # type: ignore[return-value]


def at_each_step(monkeypatch: pytest.MonkeyPatch, name: str, hook: Hook) -> None:
    """Has something happen before a part of each step."""
    part = getattr(recounting, name)

    async def hooked(connection: Any, counts: Any, organization: UUID, ids: list[UUID]) -> Any:
        if ids:  # none where others have locked all records of the step
            await hook(organization, ids)
        return await part(connection, counts, organization, ids)

    monkeypatch.setattr(recounting, name, hooked)


async def wrong(site: Site) -> list[tuple[int, int]]:
    """What counters say and what there is, where they differ."""
    async with plain(site.server.admin_address(site.name)) as admin:
        rows = await admin.fetch(
            "select b.marks as said, (select count(*) from app.marks m where m.book_id = b.id and m.deleted_at is null) as number "
            "from app.books b"
        )
        assert len(rows) == 2 * BOOKS
        return [(row["said"], row["number"]) for row in rows if row["said"] != row["number"]]


async def pending(site: Site, app: Application) -> list[str]:
    async with connect(site.address) as connection:
        return [each.name for each in await uncounted(connection, app.registry, app.schemas)]


async def test_all_rows_are_counted_in_steps_and_told(site: Site, sessions: list[Session]) -> None:
    assert (await site.planned(AFTER)).counting == ("Mark",)
    await site.up(AFTER)
    assert await wrong(site) == []
    assert "counted: 14 counters set" in site.said
    assert "counting the rows for Book.marks" in site.said
    assert (await site.planned(AFTER)).empty
    assert await pending(site, AFTER) == []


async def test_what_is_written_meanwhile_is_counted_once_and_no_read_waits(
    site: Site, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a step has locked its records, rows that they count are added, moved and deleted, by transactions that began
    before it and after it; and records are read."""
    server, writers, reads = site.server, [], 0
    book, mark = classes(BEFORE)

    async def change(context: Context, *statements: str) -> None:
        async with plain(server.address(site.name)) as connection, connection.transaction():
            await enter(connection, context)
            for statement in statements:
                await connection.execute(statement)

    async def meanwhile(organization: UUID, ids: list[UUID]) -> None:
        nonlocal reads
        session = next(each for each in sessions if each._messenger.context.organization_id == organization)
        context = session._messenger.context
        first, others = ids[0], f"(select id from app.books where id not in ('{ids[0]}'))"
        begun = [
            (f"insert into app.marks (book_id) values ('{first}')",),
            (
                f"update app.marks set book_id = '{first}', version = version + 1 where id = "
                f"(select id from app.marks where book_id in {others} and deleted_at is null order by id limit 1)",
            ),
            ("insert into app.marks (book_id) select id from app.books order by id desc limit 1",),
        ]
        for statements in begun:
            writers.append(asyncio.create_task(change(context, *statements)))
        async with plain(server.admin_address(site.name)) as admin:
            await blocked(admin, 1)
        reads += len(await session.list(book)) + len(await session.list(mark))

    at_each_step(monkeypatch, "_set", meanwhile)
    await site.up(AFTER)
    await asyncio.gather(*writers)
    assert len(writers) >= 3 * 8
    assert reads
    assert await wrong(site) == []


async def test_what_is_written_between_the_steps_is_counted_once(
    site: Site, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of records that were counted already, and of others that were not."""
    added = 0

    async def between(organization: UUID, ids: list[UUID]) -> None:
        nonlocal added
        session = next(each for each in sessions if each._messenger.context.organization_id == organization)
        book, mark = classes(BEFORE)
        for one in await session.list(book):
            if one.id not in ids:
                await session.create(mark, book_id=one.id)
                added += 1

    at_each_step(monkeypatch, "_set", between)
    await site.up(AFTER)
    assert added >= 2 * BOOKS
    assert await wrong(site) == []


async def test_a_run_that_was_killed_goes_on(
    site: Site, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    async def kill(organization: UUID, ids: list[UUID]) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            async with plain(site.server.admin_address(site.name)) as admin:
                await admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
                    "and pid in (select pid from pg_locks where locktype = 'advisory')"
                )

    with monkeypatch.context() as killed:
        at_each_step(killed, "_set", kill)
        with pytest.raises((FreeholdError, OSError)):
            await site.up(AFTER)
    assert len(await wrong(site)) == 2 * BOOKS - 4
    assert await pending(site, AFTER) == ["Mark"]
    assert (await site.planned(AFTER)).counting == ("Mark",)
    site.said.clear()
    await site.up(AFTER)
    assert await wrong(site) == []
    assert f"counted: {2 * BOOKS - 4} counters set" in site.said
    assert (await site.planned(AFTER)).empty


async def test_a_locked_record_holds_up_no_other(
    site: Site, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record waits alone: whoever has locked it can lock each of the others, and there is no deadlock."""
    book, _ = classes(BEFORE)
    held, *others = await sessions[0].list(book, order_by="id")
    server = site.server
    async with plain(server.admin_address(site.name)) as admin, plain(server.admin_address(site.name)) as other:
        migrating = asyncio.Event()

        async def begun(organization: UUID, ids: list[UUID]) -> None:
            if not migrating.is_set():
                transaction = other.transaction()
                await transaction.start()
                await other.execute("select from app.books where id = $1 for update", held.id)
                migrating.set()

        at_each_step(monkeypatch, "_differing", begun)
        running = asyncio.create_task(site.up(AFTER))
        await migrating.wait()
        await blocked(admin, 1)
        await other.execute("select from app.books where id = any ($1) for update", [each.id for each in others])
        await other.execute("commit")
        await running
    assert await wrong(site) == []


async def test_a_counter_that_would_break_a_rule_is_named_and_the_others_are_set(
    site: Site, sessions: list[Session]
) -> None:
    await site.up(AFTER)
    async with plain(site.server.admin_address(site.name)) as admin:
        await admin.execute("alter table app.books add constraint few check (marks < 3) not valid")
        await admin.execute("set session_replication_role = replica")
        await admin.execute("update app.books set marks = 0")
        await admin.execute("update freehold.settings set value = '' where name = 'counters.Mark'")
    with pytest.raises(ConfigurationError, match=r"Book .* cannot be counted"):
        await site.up(AFTER)
    assert 0 < len(await wrong(site)) < 2 * BOOKS
    async with plain(site.server.admin_address(site.name)) as admin:
        await admin.execute("alter table app.books drop constraint few")
    await site.up(AFTER)
    assert await wrong(site) == []


async def test_an_administrator_who_is_no_superuser_counts_all_organizations(server: Server, tmp_path: Path) -> None:
    names = {"owner_role": "count_owner", "application_role": "count_app"}
    before, after = library(**names), library(counters={"marks": counter("Mark")}, **names)
    async with scratch(server, None) as name, plain(server.admin_address(name)) as own:
        await own.execute("create role count_admin login createrole password 'count_admin'")
        try:
            await own.execute(f'alter database "{name}" owner to count_admin')
            site = Site(server, name, tmp_path / "migrations", user="count_admin")
            await site.setup(before)
            await site.new(before)
            await site.up(before)
            await own.execute(
                "with b as (insert into app.books (organization_id, id, title, version) "
                "select gen_random_uuid(), gen_random_uuid(), 'x', 1 from generate_series(1, 3) returning *) "
                "insert into app.marks (organization_id, id, book_id, version) "
                "select organization_id, gen_random_uuid(), id, 1 from b, generate_series(1, 2)"
            )
            await site.new(after)
            await site.up(after)
            assert [row["marks"] for row in await own.fetch("select marks from app.books")] == [2, 2, 2]
            assert await own.fetchval("select relforcerowsecurity from pg_class where relname = 'books'")
            assert await site.differences(after) == []
        finally:
            await own.execute(f'alter database "{name}" owner to postgres')
            for role in ("count_app", "count_owner", "count_admin"):
                await own.execute(f"drop owned by {role} cascade; drop role {role}")


async def test_set_up_counts_too_and_goes_on_after_a_failure(
    site: Site, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database without revisions, whose counter gets another condition."""
    await site.up(AFTER)
    passwords, told = {OTHER.roles.application: site.server.password}, []

    async def fail(organization: UUID, ids: list[UUID]) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as failing:
        at_each_step(failing, "_set", fail)
        with pytest.raises(RuntimeError, match="killed"):
            await OTHER.setup(site.address, passwords)
    assert await pending(site, OTHER) == ["Mark"]
    assert await OTHER.setup(site.address, passwords, report=told.append)
    assert told == ["counting the rows for Book.marks", f"counted: {2 * BOOKS} counters set"]
    assert {said for said, _ in await wrong(site)} == {0}
    assert not await OTHER.setup(site.address, passwords)


async def test_a_script_says_what_is_left_to_do(site: Site, sessions: list[Session]) -> None:
    work = await site.planned(AFTER)
    assert "-- afterwards run 'freehold migrate up': it counts the rows of Mark" in script(work, AFTER.plan())
