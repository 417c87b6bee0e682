"""Every way in which the application role, or the database, could be stronger than isolation allows is refused on opening."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import asyncpg
import pytest

from freehold import Address, Database, Entity, errors
from freehold.app import Application
from freehold.engine.roles import HARMLESS
from tests.conftest import Server
from tests.probe import plain, scratch
from tests.world import application

Connection = asyncpg.Connection


@pytest.fixture(scope="module")
def name(server: Server, database_name: str) -> Iterator[str]:
    made = f"{database_name}_powers"
    asyncio.run(server.create_database(made))
    yield made
    asyncio.run(dropped(server, made))


async def dropped(server: Server, name: str) -> None:
    async with plain(server.admin) as admin:
        await admin.execute(f'drop database if exists "{name}" with (force)')


@pytest.fixture
async def own(server: Server, name: str) -> AsyncIterator[Connection]:
    """An administrator's connection to the database of this module."""
    async with plain(server.admin_address(name)) as connection:
        yield connection


@pytest.fixture
async def role(server: Server, own: Connection, name: str) -> AsyncIterator[str]:
    """A role that has what the application role has, by membership; tests make it stronger."""
    made = f"powers_{name}"
    await own.execute(f"create role {made} login password '{server.password}'; grant freehold_app to {made}")
    yield made
    await own.execute(f"drop owned by {made} cascade; drop role {made}")


async def opened(address: Address) -> None:
    async with Database.open(address, application, size=1):
        pass


async def refused(server: Server, name: str, role: str) -> errors.RoleError:
    with pytest.raises(errors.RoleError) as caught:
        await opened(replace(server.address(name), user=role))
    assert caught.value.hint
    return caught.value


async def test_what_has_the_rights_of_the_application_role_is_let_in(server: Server, name: str, role: str) -> None:
    await opened(replace(server.address(name), user=role))
    await opened(server.address(name))


async def predefined(own: Connection) -> list[str]:
    rows = await own.fetch("select rolname from pg_roles where oid < 16384 and rolname like 'pg\\_%' order by 1")
    return [row["rolname"] for row in rows if row["rolname"] != "pg_database_owner"]  # nobody can be made its member


async def test_a_member_of_a_role_of_postgresql_s_own_is_refused(
    server: Server, name: str, role: str, own: Connection, subtests: pytest.Subtests
) -> None:
    """All that the server has: those of a later version are refused as well, until somebody has looked at them."""
    found = await predefined(own)
    assert {"pg_read_all_data", "pg_execute_server_program", "pg_signal_backend", "pg_monitor"} < set(found)
    for group in found:
        with subtests.test(group):
            await own.execute(f"grant {group} to {role}")
            if group in HARMLESS:
                await opened(replace(server.address(name), user=role))
            else:
                assert group in str(await refused(server, name, role))
            await own.execute(f"revoke {group} from {role}")


WAYS = {
    "inherited": ("", ""),
    "not inherited": ("alter role {role} noinherit", ""),
    "to be given away": ("", "with admin option"),
    "settable only": ("", "with inherit false, set true"),
    "neither inherited nor settable": ("", "with admin true, inherit false, set false"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("steps", [0, 1, 3])
async def test_a_chain_of_memberships_is_followed_however_it_is_granted(
    server: Server, name: str, role: str, own: Connection, way: str, steps: int
) -> None:
    before, options = WAYS[way]
    if "set " in options and own.get_server_version() < (16,):
        before, options = "alter role {role} noinherit", "with admin option"  # what PostgreSQL 15 has of it
    await own.execute(before.format(role=role) or "select 1")
    chain = [role, *(f"{role}_{step}" for step in range(steps)), "pg_read_all_data"]
    for group in chain[1:-1]:
        await own.execute(f"create role {group}")
    for member, group in itertools.pairwise(chain):
        await own.execute(f"grant {group} to {member} {options}")
    try:
        assert "pg_read_all_data" in str(await refused(server, name, role))
    finally:
        await own.execute("; ".join(f"drop role {group}" for group in chain[1:-1]) or "select 1")


ATTRIBUTES = ("superuser", "bypassrls", "createrole", "replication")


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("whose", ["its own", "a group's"])
async def test_an_attribute_that_leads_around_isolation_is_refused(
    server: Server, name: str, role: str, own: Connection, attribute: str, whose: str
) -> None:
    """CREATEROLE: on PostgreSQL 15 it makes itself a member of the owner."""
    if whose == "its own":
        await own.execute(f"alter role {role} {attribute}")
        assert attribute.upper() in str(await refused(server, name, role)).upper()
        return
    await own.execute(f"create role {role}_strong {attribute}; grant {role}_strong to {role}")
    try:
        assert f"{role}_strong" in str(await refused(server, name, role))
    finally:
        await own.execute(f"drop role {role}_strong")


MORE = {
    "the owner": ("grant freehold_owner to {role}", "revoke freehold_owner from {role}", "owner"),
    "the database": ("alter database {name} owner to {role}", "alter database {name} owner to {admin}", "the database"),
    "a sequence": (
        "alter sequence freehold.log_position owner to {role}",
        "alter sequence freehold.log_position owner to freehold_owner",
        "log_position",
    ),
    "the keys": ("grant select on freehold.seals to {role}", "revoke all on freehold.seals from {role}", "seals"),
    "the keys, for everybody": (
        "grant select on freehold.seals to public",
        "revoke all on freehold.seals from public",
        "seals",
    ),
    "a column of the keys": (
        "grant select (outer_key) on freehold.seals to {role}",
        "revoke all (outer_key) on freehold.seals from {role}",
        "seals",
    ),
    "the settings": (
        "grant insert on freehold.settings to freehold_app",
        "revoke all on freehold.settings from freehold_app",
        "settings",
    ),
    "a partition of the log": (
        "grant select on freehold.log_default to {role}",
        "revoke all on freehold.log_default from {role}",
        "log_default",
    ),
    "truncate": ("grant truncate on app.orders to {role}", "revoke truncate on app.orders from {role}", "orders"),
    "trigger": ("grant trigger on app.orders to public", "revoke trigger on app.orders from public", "orders"),
    "references": ("grant references on app.orders to {role}", "revoke references on app.orders from {role}", "orders"),
    "a file": (
        "grant execute on function pg_read_file(text) to {role}",
        "revoke execute on function pg_read_file(text) from {role}",
        "pg_read_file",
    ),
    "a file, for everybody": (
        "grant execute on function lo_import(text) to public",
        "revoke execute on function lo_import(text) from public",
        "lo_import",
    ),
    "passwords": ("grant select on pg_authid to {role}", "revoke select on pg_authid from {role}", "pg_authid"),
    "samples of all rows": (
        "grant select on pg_statistic to public",
        "revoke select on pg_statistic from public",
        "pg_statistic",
    ),
    "no triggers": (
        "grant set on parameter session_replication_role to {role}",
        "revoke set on parameter session_replication_role from {role}",
        "session_replication_role",
    ),
    "a function of a superuser's": (
        "create function app.report() returns setof app.customers language sql security definer as 'select * from app.customers'",
        "drop function app.report()",
        "app.report()",
    ),
    "a view of a superuser's": (
        "create view app.overview as select * from app.customers; grant select on app.overview to freehold_app",
        "drop view app.overview",
        "app.overview",
    ),
    "a copy by a superuser": (
        "create materialized view app.copied as select * from app.customers; grant select on app.copied to freehold_app",
        "drop materialized view app.copied",
        "app.copied",
    ),
    "a schema": (
        "grant create on schema app to public",
        "revoke create on schema app from public",
        "may create objects",
    ),
}


@pytest.mark.parametrize("what", MORE)
async def test_a_right_that_leads_around_isolation_is_refused(
    server: Server, name: str, role: str, own: Connection, what: str
) -> None:
    grant, undo, told = MORE[what]
    names = {"role": role, "name": name, "admin": server.admin.user}
    await own.execute(grant.format(**names))
    try:
        assert told in str(await refused(server, name, role))
    finally:
        await own.execute(undo.format(**names))
    await opened(server.address(name))


async def test_the_right_to_maintain_is_refused_where_there_is_one(
    server: Server, name: str, role: str, own: Connection
) -> None:
    if own.get_server_version() >= (17,):
        await own.execute(f"grant maintain on app.orders to {role}")
        assert "orders" in str(await refused(server, name, role))
    else:
        await opened(replace(server.address(name), user=role))


WEAKER = {
    "row-level security off": (
        "alter table app.customers disable row level security",
        "row-level security of app.customers",
    ),
    "not forced": ("alter table app.orders no force row level security", "row-level security of app.orders"),
    "the log's off": ("alter table freehold.log disable row level security", "row-level security of freehold.log"),
    "no policy": ("drop policy tenant on app.contacts", "policy tenant on app.contacts"),
    "another policy": ("alter policy tenant on app.contacts using (true)", "policy tenant on app.contacts"),
    "another check": ("alter policy tenant on app.contacts with check (true)", "policy tenant on app.contacts"),
    "a policy more": ("create policy more on app.orders for select using (true)", "policy more on app.orders"),
    "a policy more on users": (
        "create policy more on freehold.users for select using (true)",
        "policy more on freehold.users",
    ),
    "a policy of users": ("alter policy tenant on freehold.users using (true)", "policy tenant on freehold.users"),
    "a policy for everybody": ("alter policy system on freehold.users to public", "policy system on freehold.users"),
    "the gate": (
        "create or replace function freehold.organization_id() returns uuid language sql stable as "
        "$$ select nullif(current_setting('freehold.organization_id', true), '')::uuid $$",
        "organization_id",
    ),
    "the seal's check": (
        "create or replace function freehold.vouched(organization text, sealed text) returns boolean language sql as 'select true'",
        "vouched",
    ),
    "the gate's rights": ("alter function freehold.organization_id() security invoker", "organization_id"),
    "a caller's names": ("alter function freehold.open_unit(uuid, text, bytea, json) reset search_path", "open_unit"),
    "system work": (
        "create or replace function freehold.authorized(proof text) returns text language sql as $$ select 'x' $$",
        "authorized",
    ),
}


@pytest.mark.parametrize("what", WEAKER)
async def test_what_is_not_as_it_was_set_up_is_refused_until_it_is_again(
    server: Server, name: str, own: Connection, what: str
) -> None:
    script, told = WEAKER[what]
    await own.execute(script)
    with pytest.raises(errors.RoleError) as caught:
        await opened(server.address(name))
    assert told in str(caught.value)
    assert "freehold setup" in str(caught.value.hint)
    if "create policy more" in script:
        await own.execute(f"drop policy more on {script.split()[4]}")
    await application.setup(server.admin_address(name), {application.roles.application: server.password})
    await opened(server.address(name))


async def test_a_policy_that_only_narrows_is_let_be(server: Server, name: str, own: Connection) -> None:
    await own.execute("create policy less on app.orders as restrictive for select using (number <> 'secret')")
    await opened(server.address(name))
    await own.execute("drop policy less on app.orders")


async def test_a_database_of_an_earlier_release_says_what_to_do(server: Server) -> None:
    async with scratch(server) as name, plain(server.admin_address(name)) as own:
        await own.execute("drop function freehold.altered(text[])")
        with pytest.raises(errors.ConfigurationError, match="earlier release") as caught:
            await opened(server.address(name))
        assert "freehold setup" in str(caught.value.hint)


async def test_schemas_whose_names_are_keywords_are_compared_too(server: Server) -> None:
    class Part(Entity):
        name: str

    odd = Application("odd", [Part], schema="order", engine_schema="user")
    async with scratch(server, odd) as name, plain(server.admin_address(name)) as own:
        async with Database.open(server.address(name, odd), odd, size=1):
            pass
        await own.execute('create policy more on "user".users using (true)')
        with pytest.raises(errors.RoleError, match="policy more on"):
            async with Database.open(server.address(name, odd), odd, size=1):
                pass
