"""Templates and copies on a server, and servers by URL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import quote

import pytest

from freehold import Address, Application, Database, Entity, errors, field
from freehold.postgres.connections import connect
from freehold.testing.databases import Databases
from freehold.testing.organizations import Organizations
from freehold.testing.plugin import TestDatabases
from freehold.testing.server import PASSWORD, URL, Server, server
from tests.testing.test_plugin import names
from tests.world import Customer, application


@asynccontextmanager
async def started(server: Server) -> AsyncIterator[Databases]:
    databases = await Databases.start(server)
    try:
        yield databases
    finally:
        await databases.stop()


def url(address: Address) -> str:
    user, password, host = (quote(str(part), safe="") for part in (address.user, address.password, address.host))
    return f"postgresql://{user}:{password}@/{address.database}?host={host}&port={address.port}"


async def test_the_server_of_a_url(freehold_databases: TestDatabases, monkeypatch: pytest.MonkeyPatch) -> None:
    known = freehold_databases.server
    monkeypatch.setenv(URL, url(known.admin) if known.admin.url is None else known.admin.url)
    monkeypatch.setenv(PASSWORD, known.password)
    for durable in (False, True):
        async with server() as found, started(replace(found, durable=durable)) as databases:
            name = await databases.copy(application)
            async with Database.open(found.address(name, application), application, size=1) as database:
                assert await (await Organizations(database)()).count(Customer) == 0
            other = await databases.copy(application)
        assert not {name, other} & await names(freehold_databases)


async def test_a_role_with_another_password_is_left_alone(
    freehold_databases: TestDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    freehold_databases.drop(freehold_databases.copy(application))  # so that the role is there
    known = freehold_databases.server
    async with started(replace(known, password="another password")) as databases:
        with pytest.raises(errors.ConfigurationError, match="the tests do not know its password"):
            await databases.copy(application)
    async with connect(known.address("postgres", application)):
        pass  # the password is what it was


async def test_a_copy_has_the_settings_of_its_template(freehold_databases: TestDatabases) -> None:
    text = """
        select d.datname::text as name, s.setconfig as settings from pg_db_role_setting s
        join pg_database d on d.oid = s.setdatabase join pg_roles r on r.oid = s.setrole
        where r.rolname = $1 and d.datname = any ($2) order by d.datname"""
    made, copied = freehold_databases.empty(), freehold_databases.copy(application)
    server = freehold_databases.server
    await application.setup(server.admin_address(made), {application.roles.application: server.password})
    async with connect(server.admin) as connection:
        rows = await connection.fetch(text, application.roles.application, [made, copied])
    assert len(rows) == 2
    assert sorted(rows[0]["settings"]) == sorted(rows[1]["settings"])
    assert len(rows[0]["settings"]) >= 8
    freehold_databases.drop(made)
    freehold_databases.drop(copied)


class Unlike(Entity):
    name: str = field(max_length=19)


async def test_two_workers_make_one_template_and_can_do_without_it(freehold_databases: TestDatabases) -> None:
    unlike = Application("unlike", [Unlike])
    before = await names(freehold_databases)
    async with started(freehold_databases.server) as one, started(freehold_databases.server) as two:
        made = await asyncio.gather(one.copy(unlike), two.copy(unlike))
        (template,) = {name for name in await names(freehold_databases) - before - set(made) if "template" in name}
        async with connect(freehold_databases.server.admin) as connection:
            await connection.execute(f'drop database "{template}"')
        again = await one.copy(unlike)
        assert {*made, again, template} <= await names(freehold_databases)
    async with connect(freehold_databases.server.admin) as connection:
        await connection.execute(f'drop database "{template}"')
    assert not {*made, again} & await names(freehold_databases)
