"""What a database and the declarations differ in, as PostgreSQL prints both."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from freehold.engine.catalog import Difference, differences
from freehold.postgres.connections import connect
from tests.conftest import Server
from tests.probe import plain, scratch
from tests.world import application

Connection = asyncpg.Connection


@pytest.fixture
async def name(server: Server) -> AsyncIterator[str]:
    async with scratch(server) as name:
        yield name


@pytest.fixture
async def own(server: Server, name: str) -> AsyncIterator[Connection]:
    async with plain(server.admin_address(name)) as connection:
        yield connection


async def found(server: Server, name: str) -> list[Difference]:
    async with connect(server.admin_address(name)) as connection:
        return await differences(connection, application.plan(), application.schemas, application.roles)


async def test_a_new_database_differs_in_nothing(server: Server, name: str, own: Connection) -> None:
    assert await found(server, name) == []
    assert await own.fetch("select 1 from pg_namespace where nspname like 'fh_shadow%'") == []


async def test_an_empty_database_lacks_everything(server: Server) -> None:
    async with scratch(server, None) as name, plain(server.admin_address(name)) as own:
        await own.execute(f'grant create on database "{name}" to freehold_owner')
        listed = await found(server, name)
        assert {each.what for each in listed} == {"missing"}
        assert {"table", "column", "policy", "function", "grant", "trigger"} <= {each.kind for each in listed}


CHANGES = {
    "alter table app.customers disable row level security": ("security", "app.customers", "different"),
    "alter table app.customers no force row level security": ("security", "app.customers", "different"),
    "drop policy tenant on app.orders": ("policy", "app.orders.tenant", "missing"),
    "alter policy tenant on app.orders using (true)": ("policy", "app.orders.tenant", "different"),
    "create policy more on app.orders using (true)": ("policy", "app.orders.more", "unexpected"),
    "drop policy tenant on freehold.log": ("policy", "freehold.log.tenant", "missing"),
    "alter table app.orders disable trigger log_update": ("trigger", "app.orders.log_update", "different"),
    "drop trigger log_update on app.orders": ("trigger", "app.orders.log_update", "missing"),
    "create or replace function freehold.organization_id() returns uuid language sql as 'select gen_random_uuid()'": (
        "function", "freehold.organization_id()", "different",
    ),
    "drop function freehold.orders_get": ("function", "freehold.orders_get(uuid,text,uuid)", "missing"),
    "create function freehold.more() returns int language sql as 'select 1'": (
        "function", "freehold.more()", "unexpected",
    ),
    "grant truncate on app.orders to freehold_app": ("grant", "table app.orders to freehold_app", "different"),
    "grant select on app.orders to public": ("grant", "table app.orders to public", "unexpected"),
    "grant update (created_by) on app.orders to freehold_app": (
        "grant", "table app.orders.created_by to freehold_app", "unexpected",
    ),
    "revoke select on app.orders from freehold_app": ("grant", "table app.orders to freehold_app", "different"),
    "grant select on freehold.log_default to freehold_app": (
        "grant", "table freehold.log_default to freehold_app", "unexpected",
    ),
    "grant execute on function freehold.outside() to freehold_app": (
        "grant", "function freehold.outside() to freehold_app", "unexpected",
    ),
    "grant create on schema app to freehold_app": ("grant", "schema app to freehold_app", "different"),
    "alter table app.orders owner to postgres": ("owner", "app.orders", "different"),
    "alter table app.orders add column extra text": ("column", "app.orders.extra", "unexpected"),
    "alter table app.orders drop column placed_on": ("column", "app.orders.placed_on", "missing"),
    "alter table app.orders alter column number drop not null": ("column", "app.orders.number", "different"),
    "alter table app.orders alter column number type text collate \"default\"": (
        "column", "app.orders.number", "different",
    ),
    "drop index app.orders_number_key": ("index", "app.orders.orders_number_key", "missing"),
    "create index more on app.orders (total)": ("index", "app.orders.more", "unexpected"),
    "alter table app.orders drop constraint orders_number_check": (
        "constraint", "app.orders.orders_number_check", "missing",
    ),
    "create table app.more (id int)": ("table", "app.more", "unexpected"),
    "create view app.seen as select * from app.orders": ("view", "app.seen", "unexpected"),
    "create rule quiet as on delete to app.orders do instead nothing": ("rule", "app.orders.quiet", "unexpected"),
    "alter default privileges in schema app grant select on tables to public": (
        "default grant", "schema app by postgres", "unexpected",
    ),
    "do $$ begin execute format('alter role freehold_app in database %I set work_mem = 1024', current_database()); end $$": (
        "setting", "freehold_app.work_mem", "unexpected",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change)[:60])
async def test_a_change_is_found_and_named(server: Server, name: str, own: Connection, change: str) -> None:
    await own.execute(change)
    assert CHANGES[change] in [(each.kind, each.object, each.what) for each in await found(server, name)]


async def test_rows_and_months_of_the_log_are_no_differences(server: Server, name: str, own: Connection) -> None:
    await own.execute("select freehold.extend_log(12)")
    assert await found(server, name) == []
