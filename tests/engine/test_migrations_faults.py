"""What goes wrong with migrations: killed runs, locks, two starters, revisions that are nonsense, databases of other releases."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from freehold import Application, Database, errors, field
from freehold.postgres.connections import Connection, connect
from tests.conftest import Server
from tests.engine.migrating import Site, entity, first, second, shop
from tests.probe import PATIENCE, plain, scratch, until

BEFORE = {
    "a": (str, field(max_length=10)),
    "b": (str | None, field(default=None, max_length=10)),
    "gone": (int, field(default=0)),
}
AFTER = {
    "a": (str, field(max_length=20, index=True)),
    "b": (str, field(max_length=10, unique=True)),
    "c": (int, field(default=1, ge=0)),
}


@pytest.fixture
async def site(server: Server, database_name: str, tmp_path: Path) -> AsyncIterator[Site]:
    # A database of the tests' own was made before this one, and with it the roles.
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


@pytest.fixture
async def own(server: Server, site: Site) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    async with plain(server.admin_address(site.name)) as connection:
        yield connection


class KilledError(Exception):
    """Stands for the end of the process."""


async def rows(site: Site) -> None:
    async with plain(site.server.admin_address(site.name)) as own:
        for number in range(3):
            await own.execute(
                "insert into app.orders (organization_id, a, b) values (gen_random_uuid(), 'x', $1)", str(number)
            )


SMALL = {"a": (str, field(max_length=10)), "b": (str, field(max_length=10, unique=True)), "c": (int, field(default=1))}

SMALLER = shop(**SMALL | {"c": (int, field(default=2))})


async def revisions(site: Site) -> int:
    async with plain(site.server.admin_address(site.name)) as own:
        return int(await own.fetchval("select count(*) from freehold.revisions"))


async def parts(site: Site) -> int:
    async with plain(site.server.admin_address(site.name)) as own:
        return int(await own.fetchval("select count(*) from freehold.migration_groups"))


EDGES = ("set local lock_timeout", "insert into", "drop index", "create unique index", "delete from")
"""What begins and ends each part of a run; a kill between these is one at the part's beginning, because it is rolled back."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["up", "edited", "down"])
@pytest.mark.parametrize("after", [False, True], ids=["before the statement", "after it"])
async def test_a_run_that_is_killed_anywhere_goes_on_and_back(
    site: Site, server: Server, monkeypatch: pytest.MonkeyPatch, after: bool, way: str
) -> None:
    await site.new(shop(**BEFORE))
    await site.up(shop(**BEFORE))
    await site.new(shop(**SMALL), never_renamed=True)
    await rows(site)
    work = await site.planned(shop(**SMALL))
    execute = Connection.execute
    killed_at = counted = 0

    async def dying(self: Connection, script: str) -> None:
        nonlocal counted
        counted += script.lower().startswith(EDGES)
        if counted == killed_at:
            if after:
                await execute(self, script)
            self._driver.terminate()
            raise KilledError
        await execute(self, script)

    stride = 1 if way == "up" else 4
    original = (written := next(site.folder.glob("0002*"))).read_text()
    while counted >= killed_at:
        killed_at, counted = killed_at + stride, 0
        written.write_text(original)
        async with copied(site, killed_at) as copy:
            with monkeypatch.context() as patched, contextlib.suppress(KilledError, errors.FreeholdError):
                patched.setattr(Connection, "execute", dying)
                await copy.run(shop(**SMALL), functools.partial(answered, work))
            if way == "down":
                if await revisions(copy) == 1 and not await parts(copy):
                    continue  # nothing was done yet
                await copy.down(shop(**SMALL), copy.id())
                found = await copy.differences(shop(**BEFORE))  # a copy has no settings of roles until the first 'up'
                assert [each for each in found if each.kind != "setting"] == [], killed_at
                assert await parts(copy) == 0
                await copy.up(shop(**SMALL))
                continue
            if way == "edited" and await revisions(copy) == 1:  # else it was done before it was killed
                written.write_text(original.replace('sa.text("1")', 'sa.text("2")'))
                assert written.read_text() != original
                await copy.up(SMALLER)
                assert await copy.differences(SMALLER) == [], killed_at
                continue
            await copy.up(shop(**SMALL))
            assert await copy.differences(shop(**SMALL)) == [], killed_at
            async with plain(server.admin_address(copy.name)) as own:
                assert await own.fetchval("select count(*) from app.orders where a = 'x' and c = 1") == 3
                assert await own.fetchval("select count(*) from freehold.revisions") == 2
                assert await own.fetchval("select count(*) from freehold.migration_groups") == 0
    assert killed_at > 10


@asynccontextmanager
async def copied(site: Site, number: int) -> AsyncIterator[Site]:
    """The site with a copy of its database."""
    name = f"{site.name}_{number}"
    async with connect(site.server.admin) as connection:
        await connection.execute(f'create database "{name}" template "{site.name}"')
    try:
        yield Site(site.server, name, site.folder)
    finally:
        async with connect(site.server.admin) as connection:
            await connection.execute(f'drop database if exists "{name}" with (force)')


async def answered(value: Any, *_: Any) -> Any:
    return value


async def test_two_starters_do_it_once(site: Site, own: "asyncpg.Connection[asyncpg.Record]") -> None:
    await site.new(first())
    works = await asyncio.gather(*(site.up(first()) for _ in range(3)))
    assert sorted(len(work.revisions) for work in works) == [0, 0, 1]
    assert await own.fetchval("select count(*) from freehold.revisions") == 1
    assert await site.differences(first()) == []


async def test_who_waits_too_long_hears_for_whom(site: Site, server: Server) -> None:
    await site.new(first())
    async with connect(server.admin_address(site.name)) as other, site.migrations(first()).locked(other):
        with pytest.raises(
            errors.TimeoutError, match=r"another set-up or migration.*process \d+ \(\w+, freehold, since"
        ) as caught:
            await site.up(first(), wait=0.2)
        assert "pg_terminate_backend" in str(caught.value.hint)
        with pytest.raises(errors.TimeoutError):
            await site.up(first(), wait=0)
    assert len((await site.up(first(), wait=0)).revisions) == 1


async def test_a_lock_that_never_comes_free_names_who_holds_it(
    site: Site, own: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await site.new(shop(**BEFORE))
    await site.up(shop(**BEFORE))
    await site.new(shop(**AFTER), never_renamed=True)
    await rows(site)
    pid = await own.fetchval("select pg_backend_pid()")
    async with own.transaction():
        await own.execute("select 1 from app.orders limit 1")
        with pytest.raises(
            errors.MigrationError, match=rf"did not come free.*process {pid} \(postgres, probe, idle in transaction"
        ) as caught:
            await site.up(shop(**AFTER), lock_wait=1.0)
        assert "pg_terminate_backend" in str(caught.value.hint)
        assert any("waiting for a lock" in text for text in site.said)
        assert await own.fetchval("select count(*) from freehold.revisions") == 1
    await site.up(shop(**AFTER))
    assert await site.differences(shop(**AFTER)) == []


async def test_a_lock_that_comes_free_is_waited_for(site: Site, own: "asyncpg.Connection[asyncpg.Record]") -> None:
    await site.new(shop(**BEFORE))
    await site.up(shop(**BEFORE))
    await site.new(shop(**AFTER), never_renamed=True)
    await rows(site)
    transaction = own.transaction()
    await transaction.start()
    await own.execute("select 1 from app.orders limit 1")
    run = asyncio.create_task(site.up(shop(**AFTER)))

    async def told() -> bool:
        return run.done() or any("waiting for a lock" in text for text in site.said)

    await until(told, "the run waits")
    assert not run.done()
    await transaction.commit()
    await asyncio.wait_for(run, PATIENCE * 3)
    assert await site.differences(shop(**AFTER)) == []


async def test_an_index_that_was_left_unfinished_is_built_anew(
    site: Site, own: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await site.new(shop(**BEFORE))
    await site.up(shop(**BEFORE))
    await site.new(shop(**AFTER), never_renamed=True)
    rows = "select o, 'x', 'same' from gen_random_uuid() o, generate_series(1, 2)"
    await own.execute(f"insert into app.orders (organization_id, a, b) {rows}")
    with pytest.raises(asyncpg.UniqueViolationError):  # as a killed build leaves it
        await own.execute("create unique index concurrently orders_b_key on app.orders (organization_id, b)")
    assert await own.fetchval("select not indisvalid from pg_index where indexrelid = 'app.orders_b_key'::regclass")
    await own.execute("delete from app.orders where id = (select id from app.orders limit 1)")
    await site.up(shop(**AFTER))
    assert any("left unfinished" in text for text in site.said)
    assert await site.differences(shop(**AFTER)) == []


NONSENSE = {
    "def upgrade(": ("def upgrade(:\n    pass\n", r"line \d+: "),
    "raise": ("def upgrade() -> None:\n    raise RuntimeError('no')\n", r"line \d+ raises RuntimeError: no"),
    "unknown": ("def upgrade() -> None:\n    op.add_colum('x')\n", r"line \d+ raises AttributeError: .*add_colum"),
    "bind": ("def upgrade() -> None:\n    op.get_bind()\n", "has no connection"),
    "sql": ("def upgrade() -> None:\n    op.execute('selec 1')\n", "cannot be run up: .*selec"),
    "missing": ("", r"has no function upgrade\(\)"),
    "import": ("import there_is_no_such_module\n", r"line \d+ raises ModuleNotFoundError"),
    "column": ("def upgrade() -> None:\n    op.drop_column('orders', 'nothing')\n", "cannot be run up: .*nothing"),
}


@pytest.mark.parametrize("case", NONSENSE)
async def test_a_revision_that_is_nonsense_is_named(
    site: Site, own: "asyncpg.Connection[asyncpg.Record]", case: str
) -> None:
    await site.new(shop(**BEFORE))
    await site.up(shop(**BEFORE))
    text, message = NONSENSE[case]
    head = f"from alembic import op\nrevision = '2'\ndown_revision = '{site.id()}'\n"
    (site.folder / "2_nonsense.py").write_text(head + text)
    before = await own.fetchval("select count(*) from freehold.revisions")
    with pytest.raises(errors.MigrationError, match=rf"2_nonsense\.py.*{message}") as caught:
        await site.up(shop(**BEFORE))
    assert caught.value.hint
    assert await own.fetchval("select count(*) from freehold.revisions") == before
    (site.folder / "2_nonsense.py").unlink()
    assert await site.differences(shop(**BEFORE)) == []


async def test_two_heads_and_unknown_predecessors_are_refused(site: Site) -> None:
    await site.new(shop(**BEFORE))
    empty = "\ndef upgrade() -> None:\n    pass\n\ndef downgrade() -> None:\n    pass\n"
    for name in ("x", "y"):
        (site.folder / f"{name}.py").write_text(f"revision = '{name}'\ndown_revision = '{site.id()}'\n{empty}")
        if name == "x":
            assert site.id(-1) == "x"
    with pytest.raises(errors.MigrationError, match=r"(?s)two heads: x\.py and y\.py.*down_revision") as caught:
        await site.up(shop(**BEFORE))
    assert "\n" in str(caught.value)
    (site.folder / "y.py").write_text(f"revision = 'y'\ndown_revision = 'nobody'\n{empty}")
    with pytest.raises(errors.MigrationError, match="nobody"):
        await site.up(shop(**BEFORE))
    (site.folder / "y.py").write_text(f"revision = 'x'\ndown_revision = 'x'\n{empty}")
    with pytest.raises(errors.MigrationError, match="do not fit together"):
        await site.up(shop(**BEFORE))
    (site.folder / "y.py").write_text(f"revision = 'y'\ndown_revision = ('x', '{site.id.__name__}')\n{empty}")
    with pytest.raises(errors.MigrationError):
        await site.up(shop(**BEFORE))


async def test_a_database_that_is_newer_than_the_code_is_refused(site: Site) -> None:
    await site.new(first())
    path = await site.new(second())
    await site.up(second())
    await site.setup(second())
    assert path is not None
    path.unlink()
    for act in (site.up, site.down, site.planned):
        with pytest.raises(errors.MigrationError, match="newer than this code"):
            await act(first())
    # The previous release serves all the same: what it needs is there.
    async with Database.open(site.server.address(site.name), first(), size=1):
        pass


async def test_a_database_that_is_older_than_the_code_is_refused_on_opening(site: Site) -> None:
    await site.setup(first())
    with pytest.raises(
        errors.ConfigurationError, match=r"(?s)older than the code: it lacks customers\.note.*migrate up"
    ):
        async with Database.open(site.server.address(site.name), second(), size=1):
            pass
    with pytest.raises(errors.ConfigurationError, match="freehold migrate"):
        await site.setup(second())


HARM = [
    "alter table app.orders disable row level security",
    "alter table app.orders no force row level security",
    "drop policy tenant on app.orders",
    "alter policy tenant on app.orders using (true) with check (true)",
    "create policy open on app.orders using (true)",
    "drop policy tenant on freehold.log",
    "create policy open on freehold.log for select using (true)",
    "drop trigger log_update on app.orders",
    "alter table app.orders disable trigger log_delete",
    "create or replace function freehold.organization_id() returns uuid language sql as 'select gen_random_uuid()'",
    "drop function freehold.orders_update",
    "alter function freehold.outside() security definer",
    "create function freehold.back_door() returns int language sql security definer as 'select 1'",
    "grant truncate, trigger on app.orders to freehold_app",
    "grant select on app.orders to public",
    "grant update (created_by) on app.orders to freehold_app",
    "grant update on freehold.log to freehold_app",
    "grant select on freehold.log_default to public",
    "grant select on freehold.seals to freehold_app",
    "revoke select on app.orders from freehold_app",
    "revoke usage on schema app from freehold_app",
    "grant create on schema app to freehold_app",
    "grant execute on function freehold.outside() to public",
    "revoke execute on function freehold.orders_get from freehold_app",
    "alter table app.orders owner to postgres",
    "alter function freehold.enter owner to postgres",
    "create rule quiet as on delete to app.orders do instead nothing",
    "alter default privileges in schema app grant select on tables to public",
    "do $$ begin execute format('alter role freehold_app in database %I set search_path = pg_temp', current_database()); end $$",
    "do $$ begin execute format('alter role freehold_app in database %I set row_security = off', current_database()); end $$",
]


async def test_what_was_done_by_hand_is_found_named_and_mended(
    site: Site, own: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    app = shop(**BEFORE)
    await site.new(app)
    await site.up(app)
    for harm in HARM:
        await own.execute(harm)
        found = await site.differences(app)
        assert found, harm
        assert not (await site.up(app)).empty, harm
        assert await site.differences(app) == [], harm
    for harm in HARM:
        if not harm.startswith(("alter policy", "alter table app.orders disable trigger", "revoke usage")):
            await own.execute(harm)
    await site.up(app)
    assert await site.differences(app) == []
    assert (await site.up(app)).empty


async def test_what_is_of_ones_own_stays_and_is_told(site: Site, own: "asyncpg.Connection[asyncpg.Record]") -> None:
    app = shop(**BEFORE)
    await site.new(app)
    await site.up(app)
    await own.execute(
        "create view app.mine as select 1 as one; create table app.notes (id int); create index more on app.orders (a)"
    )
    await site.up(app)
    assert {each.object for each in await site.differences(app)} >= {"app.mine", "app.notes", "app.orders.more"}
    assert (await site.up(app)).empty
    assert await own.fetchval("select to_regclass('app.mine') is not null and to_regclass('app.notes') is not null")


async def test_without_the_roles_it_says_who_makes_them(site: Site) -> None:
    app = Application("shop", [entity("Order", BEFORE)], owner_role="nobody_owner", application_role="nobody_app")
    for act in (site.new, site.up):
        with pytest.raises(
            errors.ConfigurationError, match=r"(?s)no role nobody_app and no role nobody_owner.*freehold setup"
        ):
            await act(app)
