"""What somebody made beside the declarations, by hand or by a revision's own SQL: it is left alone, and told once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest

from freehold import Application, Unique, field
from freehold.engine.migrations.work import Checked
from freehold.postgres.connections import connect
from tests.conftest import Server
from tests.engine.migrating import Site, entity
from tests.probe import plain, scratch

Own: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

OBJECTS = {
    "exclusion constraint": "alter table orders add constraint apart exclude using gist (box(point(n, n), point(n, n)) with &&)",
    "expression index": "create index orders_upper on orders (upper(a))",
    "plain index": "create index mine on orders (n)",
    "partial index": "create index orders_part on orders (organization_id, n) where n > 3",
    "hash index": "create index orders_hash on orders using hash (a)",
    "check": "alter table orders add constraint mine_check check (n < 1000000)",
    "unique constraint": "alter table orders add constraint orders_mine_key unique (organization_id, id, n)",
    "generated column": "alter table orders add column double_n bigint generated always as (n * 2) stored",
    "column": "alter table orders add column mine text",
    "column of a type": "create type mood as enum ('good', 'bad'); alter table orders add column mine mood default 'good'",
    "serial column": "alter table orders add column mine serial",
    "identity column": "alter table orders add column mine bigint generated always as identity",
    "table": "create table mine (id bigint generated always as identity primary key, at date default now()); create index on mine (at)",
    "partitioned table": "create table mine (at date) partition by range (at); create table mine_1 partition of mine default; "
    "create index on mine (at)",
    "table with its own policy": "create table mine (n int); alter table mine enable row level security; "
    "create policy mine on mine using (true); grant select on mine to freehold_app",
    "view": "create view mine with (security_invoker) as select a from orders; grant select on mine to freehold_app",
    "materialized view": "create materialized view mine as select a from orders; create index on mine (a)",
    "sequence": "create sequence mine; grant usage on sequence mine to freehold_app",
    "function": "create function mine() returns int language sql as 'select 1'",
    "aggregate": "create aggregate mine (bigint) (sfunc = int8pl, stype = bigint, initcond = '0')",
    "trigger": "create function mine() returns trigger language plpgsql as 'begin return new;end'; "
    "create trigger mine before insert on orders for each row execute function mine()",
    "domain": "create domain mine as text check (value <> '')",
    "composite type": "create type mine as (a int, b text)",
    "range": "create type mine as range (subtype = time)",
    "comment": "comment on table orders is '{engine} it''s'; comment on column orders.a is 'tab\there'",
    "statistics": "create statistics mine on a, n from orders",
    "schema": "create schema mine; create table mine.things (n int); create view mine.orders as select a from orders",
    "contrib": "create extension hstore",
    "contrib elsewhere": "create schema mine; create extension citext schema mine",
    "contrib in use": "create extension citext; alter table orders add column mine citext; create index on orders (mine)",
}  # fmt: skip


def release(**more: tuple[object, object]) -> Application:
    fields = {"a": (str, field(max_length=10, index=True)), "n": (int, field(default=1)), **more}
    return Application("shop", [entity("Order", fields, unique=[Unique("a", "n", ignore_case=("a",))])])


FIRST = release()
SECOND = release(extra=(int, field(default=0, index=True)))


@pytest.fixture
async def site(server: Server, database_name: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


@pytest.fixture
async def own(server: Server, site: Site) -> AsyncIterator[Own]:
    async with plain(server.admin_address(site.name)) as connection:
        yield connection


async def checked(site: Site, app: Application) -> Checked:
    async with connect(site.address) as connection:
        return await site.migrations(app).check(connection)


async def clean(site: Site, app: Application) -> int:
    """Checks that nothing differs but what is somebody's own, and counts that."""
    found = await checked(site, app)
    assert [str(each) for each in found.differences] == []
    assert found.clean
    return len(found.own)


async def there(own: Own) -> list[str]:
    """All that is in the application's schema and in one of somebody's own, as names."""
    rows = await own.fetch(
        "select pg_describe_object(d.classid, d.objid, d.objsubid) as name from pg_depend d join pg_namespace n "
        "on d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid where n.nspname in ('app', 'mine') "
        "union select format('column %s.%s', attrelid::regclass, attname) from pg_attribute where attrelid = 'app.orders'::regclass "
        "and not attisdropped union select format('%s on orders', conname) from pg_constraint where conrelid = 'app.orders'::regclass "
        "union select format('%s on orders', tgname) from pg_trigger where tgrelid = 'app.orders'::regclass and not tgisinternal "
        "union select format('index %s', indexrelid::regclass) from pg_index where indrelid = 'app.orders'::regclass order by 1"
    )
    return [str(row["name"]) for row in rows]


@pytest.mark.parametrize("name", OBJECTS)
async def test_what_was_made_by_hand_is_left_alone(site: Site, own: Own, name: str) -> None:
    await site.new(FIRST)
    await site.up(FIRST)
    await own.execute(f"set search_path = app; {OBJECTS[name]}")
    made = await there(own)
    assert await clean(site, FIRST) <= 3, "each is told once"
    assert (await site.up(FIRST)).empty
    path = await site.new(SECOND)
    assert path is not None
    assert "mine" not in path.read_text()
    await site.up(SECOND)
    assert set(made) <= set(await there(own))
    await clean(site, SECOND)
    await site.down(SECOND, site.id())
    assert set(made) - set(await there(own)) == set()
    await site.up(SECOND)
    await own.execute("delete from freehold.revisions")  # a database that is adopted
    assert (await site.up(SECOND)).stamp
    await clean(site, SECOND)


@pytest.mark.parametrize("name", OBJECTS)
async def test_what_a_revision_makes_by_its_own_sql_is_everywhere(
    site: Site, own: Own, server: Server, name: str
) -> None:
    await site.new(FIRST)
    path = await site.new(FIRST, "own", empty=True)
    assert path is not None
    text = "".join(f"    op.execute({each!r})\n" for each in OBJECTS[name].split("; ")).replace("{engine}", "engine")
    path.write_text(
        path.read_text().replace(
            "def upgrade() -> None:\n", f"from alembic import op\n\ndef upgrade() -> None:\n{text}", 1
        )
    )
    await site.up(FIRST)
    await clean(site, FIRST)
    assert await site.new(FIRST) is None, "nothing is written for it"
    await site.new(SECOND)
    await site.up(SECOND)
    await clean(site, SECOND)
    made = await there(own)
    SECOND_HERE = release(extra=(int, field(default=0, index=True)))
    SECOND_HERE.migrations = site.folder
    async with scratch(server, None) as other:
        fresh = Site(server, other, site.folder)
        await fresh.setup(SECOND_HERE)
        async with plain(server.admin_address(other)) as connection:
            assert await there(connection) == made
        assert await clean(fresh, SECOND_HERE) == await clean(site, SECOND)
        assert (await fresh.up(SECOND_HERE)).empty
