"""Roles and addresses with which a database is not opened: each has its error, a hint, and leaves no connection behind."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from freehold import Address, Application, Database, errors
from tests.conftest import Server
from tests.probe import plain, scratch, until
from tests.world import Contact, Customer, Order, application

Connection = asyncpg.Connection
PASSWORD = "only for this test"


@pytest.fixture
async def role(admin: Connection, database_name: str) -> AsyncIterator[str]:
    """A role that may do what the application role may, and can log in; tests make it stronger."""
    name = f"probe_{database_name}"
    await admin.execute(f"drop role if exists {name}")
    await admin.execute(f"create role {name} login password '{PASSWORD}'")
    yield name
    await admin.execute(f"drop owned by {name} cascade; drop role {name}")


async def refused(
    address: Address | str, kind: type[errors.FreeholdError], declared: Application = application
) -> errors.FreeholdError:
    with pytest.raises(kind) as caught:
        async with Database.open(address, declared, size=2):
            pytest.fail("it was opened")
    assert type(caught.value) is kind
    assert caught.value.hint
    assert PASSWORD not in f"{caught.value} {caught.value!r}"
    return caught.value


async def nobody_is_left(admin: Connection, role: str) -> None:
    async def gone() -> bool:
        return not await admin.fetchval("select count(*) from pg_stat_activity where usename = $1", role)

    await until(gone, f"connections of {role} are closed")


async def test_a_superuser_is_refused(server: Server, database_name: str) -> None:
    error = await refused(server.admin_address(database_name), errors.RoleError)
    assert "superuser" in str(error)
    assert application.roles.application in str(error.hint)


POWERS = {
    "superuser": ("alter role {role} superuser", "superuser"),
    "BYPASSRLS": ("alter role {role} bypassrls", "BYPASSRLS"),
    "member of the owner": ("grant freehold_owner to {role}", "owner"),
    "member of the owner without inheritance": ("alter role {role} noinherit; grant freehold_owner to {role}", "owner"),
    "member of a superuser": ("grant {admin} to {role}", "can become|superuser|owns"),
    "no schema": ("revoke usage on schema freehold from {role}", "may not use"),
}


@pytest.mark.parametrize("power", POWERS)
async def test_a_role_that_isolation_does_not_bind_is_refused(
    server: Server, database_name: str, admin: Connection, role: str, power: str
) -> None:
    statement, message = POWERS[power]
    await admin.execute(statement.format(role=role, admin=server.admin.user))
    address = replace(server.address(database_name), user=role, password=PASSWORD)
    error = await refused(address, errors.RoleError)
    assert role in str(error)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(str(error))
    await nobody_is_left(admin, role)


async def test_a_member_of_a_role_with_bypassrls_is_refused(
    server: Server, database_name: str, admin: Connection, role: str
) -> None:
    stronger = f"{role}_bypass"
    await admin.execute(f"create role {stronger} bypassrls; grant {stronger} to {role}")
    try:
        error = await refused(replace(server.address(database_name), user=role, password=PASSWORD), errors.RoleError)
        assert stronger in str(error)
    finally:
        await admin.execute(f"drop role {stronger}")


async def test_the_owner_of_a_table_is_refused(server: Server, role: str) -> None:
    async with scratch(server) as name, plain(server.admin_address(name)) as own:
        await own.execute(f"alter table app.orders owner to {role}")
        error = await refused(replace(server.address(name), user=role, password=PASSWORD), errors.RoleError)
        assert "app.orders" in str(error)


async def test_the_owner_of_a_schema_or_a_function_is_refused(server: Server, role: str) -> None:
    """Who owns the gate can replace it, and who owns the schema can drop and make tables."""
    for statement in (
        "alter function freehold.organization_id() owner to {role}",
        "alter schema app owner to {role}",
        "alter schema freehold owner to {role}",
        "grant create on schema freehold to {role}",
    ):
        async with scratch(server) as name, plain(server.admin_address(name)) as own:
            await own.execute(f"grant usage on schema freehold to {role}")
            await own.execute(statement.format(role=role))
            address = replace(server.address(name), user=role, password=PASSWORD)
            await refused(address, errors.RoleError)


async def test_a_database_without_the_schema_is_refused(server: Server, admin: Connection) -> None:
    async with scratch(server, None) as name:
        error = await refused(server.address(name), errors.ConfigurationError)
        assert "freehold" in str(error)
        assert "setup" in str(error.hint)
        left = "select count(*) from pg_stat_activity where datname = $1 and usename = $2"

        async def gone() -> bool:
            return not await admin.fetchval(left, name, application.roles.application)

        await until(gone, "its connections are closed")


async def test_a_database_without_the_application_s_schema_is_refused(server: Server, database_name: str) -> None:
    other = Application("tests", [Customer, Contact, Order], schema="elsewhere")
    error = await refused(server.address(database_name), errors.ConfigurationError, other)
    assert "elsewhere" in str(error)


WRONG: dict[str, tuple[dict[str, Any], type[errors.FreeholdError]]] = {
    "password": ({"password": "wrong"}, errors.ConfigurationError),
    "no password": ({"password": ""}, errors.ConfigurationError),
    "user": ({"user": "nobody_of_that_name"}, errors.ConfigurationError),
    "database": ({"database": "there_is_none"}, errors.ConfigurationError),
    "host": ({"host": "/nonexistent"}, errors.UnavailableError),
    "port": ({"host": "127.0.0.1", "port": 1}, errors.UnavailableError),
    "name": ({"host": "no-such-host.invalid"}, errors.UnavailableError),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_address_is_refused(server: Server, database_name: str, what: str) -> None:
    change, kind = WRONG[what]
    error = await refused(replace(server.address(database_name), **change), kind)
    assert server.password not in str(error)


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "http://localhost/db", "postgresql://u:p@localhost:port/db", "postgresql://[::1/db", 5, None],
)
async def test_an_url_that_is_none_is_refused(url: Any) -> None:
    await refused(url, errors.ConfigurationError)


@pytest.mark.parametrize("options", [{"size": 0}, {"size": -1}, {"wait": 0}, {"timeout": -1}, {"timeout": 0}])
async def test_a_pool_that_cannot_be_is_refused(server: Server, database_name: str, options: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError):
        async with Database.open(server.address(database_name), application, **options):
            pytest.fail("it was opened")


async def test_the_application_role_is_let_in(server: Server, database_name: str, admin: Connection) -> None:
    count = "select count(*) from pg_stat_activity where datname = $1 and usename = $2"
    before = await admin.fetchval(count, database_name, application.roles.application)
    async with Database.open(server.address(database_name), application, size=2) as database:
        assert await database.system("test").find_organization("there-is-none") is None

    async def gone() -> bool:
        return bool(await admin.fetchval(count, database_name, application.roles.application) <= before)

    await until(gone, "closing the database closes its connections")
