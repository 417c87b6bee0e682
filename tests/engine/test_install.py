"""Creating the schema: once, by one of many at a time, wholly or not at all, and under the names that the application says."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from freehold import Application, Database, Entity, Session, errors, field
from freehold.postgres.connections import connect
from tests.conftest import Server, new_context
from tests.probe import plain, scratch
from tests.world import Contact, Customer, Order, application

Connection = asyncpg.Connection

OBJECTS = """
select 'table' as kind, c.oid, c.relname::text as name, c.xmin::text as written from pg_class c where c.relnamespace = any ($1)
union all select 'function', p.oid, p.oid::regprocedure::text, p.xmin::text from pg_proc p where p.pronamespace = any ($1)
union all select 'trigger', t.oid, t.tgname::text, t.xmin::text
    from pg_trigger t join pg_class c on c.oid = t.tgrelid where c.relnamespace = any ($1)
union all select 'policy', p.oid, p.polname::text, p.xmin::text
    from pg_policy p join pg_class c on c.oid = p.polrelid where c.relnamespace = any ($1)
union all select 'constraint', k.oid, k.conname::text, k.xmin::text from pg_constraint k where k.connamespace = any ($1)
order by 1, 2, 3
"""


async def objects(connection: Connection, *schemas: str) -> list[Any]:
    """All that is in the schemas, with the transaction that wrote it last."""
    names = list(schemas or ("app", "freehold"))
    oids = [
        row["oid"] for row in await connection.fetch("select oid from pg_namespace where nspname = any ($1)", names)
    ]
    return [tuple(row) for row in await connection.fetch(OBJECTS, oids)]


def named(found: list[Any]) -> list[tuple[str, str]]:
    """What is there, without its oids. The names of NOT NULL constraints and internal triggers are made of oids."""
    return sorted((kind, name) for kind, _, name, _ in found if not any(char.isdigit() for char in name))


async def set_up(server: Server, name: str, declared: Application = application) -> bool:
    return await declared.setup(server.admin_address(name), {declared.roles.application: server.password})


@pytest.fixture
async def empty(server: Server) -> AsyncIterator[str]:
    """A database without any schema of ours."""
    async with scratch(server, None) as name:
        yield name


@pytest.fixture
async def own(server: Server, empty: str) -> AsyncIterator[Connection]:
    async with plain(server.admin_address(empty)) as connection:
        yield connection


async def test_a_second_setup_does_nothing(server: Server, empty: str, own: Connection) -> None:
    assert await set_up(server, empty) is True
    before = await objects(own)
    settings = await own.fetch("select * from freehold.settings order by name")
    assert len(before) > 100
    assert await set_up(server, empty) is False
    assert await objects(own) == before
    assert await own.fetch("select * from freehold.settings order by name") == settings


async def test_a_setup_that_has_to_repeat_keeps_tables_and_rows(server: Server, empty: str, own: Connection) -> None:
    await set_up(server, empty)
    async with Database.open(server.address(empty), application, size=1) as database:
        session = database.session(await new_context(database))
        made = await session.create(Customer, name="x")
        seals = await own.fetch("select * from freehold.seals")
        await own.execute("update freehold.settings set value = 'older' where name = 'installed'")
        assert await set_up(server, empty) is True
        assert await session.get(Customer, made.id) == made
        assert (await session.update(made, name="y")).version == 2
        assert len(await session.history(made)) == 2
        assert await own.fetch("select * from freehold.seals") == seals
    assert await set_up(server, empty) is False


async def test_a_setup_brings_back_what_isolation_needs(server: Server, empty: str, own: Connection) -> None:
    await set_up(server, empty)
    before = named(await objects(own))
    await own.execute(
        """alter table app.customers disable row level security; alter table app.orders no force row level security;
        drop policy tenant on app.contacts; drop trigger log_update on app.contacts; drop function freehold.orders_update;
        grant all on app.customers to freehold_app; grant update on freehold.log to public;
        grant execute on function freehold.outside() to public; alter policy tenant on app.orders using (true);
        update freehold.settings set value = 'older' where name = 'installed'"""
    )
    assert await set_up(server, empty) is True
    assert named(await objects(own)) == before
    unsecured = (
        "select relname::text from pg_class where relkind = 'r' and not (relrowsecurity and relforcerowsecurity)"
    )
    assert await own.fetch(f"{unsecured} and relnamespace = 'app'::regnamespace") == []
    assert await own.fetchval(
        "select bool_and(qual like '%organization_id()%') from pg_policies where schemaname = 'app'"
    )
    for privilege, table in (("truncate", "app.customers"), ("update", "freehold.log"), ("trigger", "app.customers")):
        assert not await own.fetchval("select has_table_privilege('freehold_app', $1, $2)", table, privilege)
    assert not await own.fetchval("select has_function_privilege('freehold_app', 'freehold.outside()', 'execute')")


async def test_setups_that_race_on_an_empty_database_make_it_once(server: Server, empty: str, own: Connection) -> None:
    results = await asyncio.gather(*(set_up(server, empty) for _ in range(4)))
    assert sorted(results) == [False, False, False, True]
    reference = await objects(own)
    async with scratch(server) as other, plain(server.admin_address(other)) as connection:
        assert named(await objects(connection)) == named(reference)
    async with Database.open(server.address(empty), application, size=1) as database:
        session = database.session(await new_context(database))
        assert (await session.create(Customer, name="x")).version == 1


async def test_setups_that_race_make_new_roles_once(server: Server, empty: str) -> None:
    declared = Application("race", [Customer, Contact, Order], owner_role="race_owner", application_role="race_app")
    try:
        results = await asyncio.gather(*(set_up(server, empty, declared) for _ in range(3)), return_exceptions=True)
        assert sorted(map(str, results)) == ["False", "False", "True"]
        async with Database.open(server.address(empty, declared), declared, size=1) as database:
            assert await database.system("test").find_organization("x") is None
    finally:
        await drop_roles(server, empty, declared)


async def drop_roles(server: Server, name: str, declared: Application) -> None:
    """Roles belong to the whole server: they must not stay behind."""
    async with connect(server.admin_address(name)) as connection:
        for role in (declared.roles.owner, declared.roles.application):
            if await connection.fetch("select 1 from pg_roles where rolname = $1", role):
                await connection.execute(f"drop owned by {role} cascade; drop role {role}")


class Broken(Entity, checks={"wrong": "there_is_no_such_column > 0"}):
    name: str = field(max_length=10)


async def test_a_setup_that_fails_leaves_nothing(server: Server, empty: str, own: Connection) -> None:
    with pytest.raises(errors.FreeholdError, match="there_is_no_such_column"):
        await set_up(server, empty, Application("tests", [Customer, Contact, Order, Broken]))
    assert await objects(own) == []
    assert await own.fetch("select 1 from pg_namespace where nspname in ('app', 'freehold')") == []
    assert await set_up(server, empty) is True


async def test_a_setup_that_fails_leaves_what_was_there(server: Server, empty: str, own: Connection) -> None:
    await set_up(server, empty)
    before = await objects(own)
    with pytest.raises(errors.FreeholdError, match="there_is_no_such_column"):
        await set_up(server, empty, Application("tests", [Customer, Contact, Order, Broken]))
    assert await objects(own) == before
    assert await set_up(server, empty) is False


def orders_with(**fields: Any) -> Application:
    """The application with other fields of its orders."""
    declared = {"number": str, "total": Decimal} | {name: kind for name, (kind, _) in fields.items()}
    body: dict[str, Any] = {
        "number": field(max_length=30, unique=True),
        "total": field(digits=12, places=2),
        **{name: declaration for name, (_, declaration) in fields.items()},
    }
    cls = type(Entity)("Order", (Entity,), {"__annotations__": declared, "__module__": __name__, **body})
    return Application("changed", [cls], schema="app")


async def test_a_changed_declaration_is_refused_with_the_columns_named(
    server: Server, empty: str, own: Connection
) -> None:
    assert await set_up(server, empty, orders_with())
    before = await objects(own)
    with pytest.raises(errors.ConfigurationError) as caught:
        await set_up(server, empty, orders_with(discount=(Decimal, field(digits=5, places=2)), note=(str, field())))
    assert "orders.discount is declared but not in the database" in str(caught.value)
    assert "orders.note is declared but not in the database" in str(caught.value)
    assert "number" not in str(caught.value)
    assert caught.value.hint
    assert await objects(own) == before
    await own.execute("alter table app.orders add column extra text")
    with pytest.raises(errors.ConfigurationError, match=r"orders\.extra is in the database but not declared"):
        await set_up(server, empty, orders_with(note=(str, field())))


@pytest.mark.parametrize(
    "changed",
    [
        {"total": (Decimal, field(digits=14, places=4))},
        {"total": (int, field())},
        {"number": (str | None, field(default=None, max_length=30, unique=True))},
    ],
    ids=["precision", "type", "null"],
)
async def test_a_changed_type_is_refused_too(server: Server, empty: str, changed: dict[str, Any]) -> None:
    await set_up(server, empty, orders_with())
    with pytest.raises(errors.ConfigurationError, match=next(iter(changed))):
        await set_up(server, empty, orders_with(**changed))


async def test_a_new_entity_is_added_beside_the_others(server: Server, empty: str, own: Connection) -> None:
    smaller = Application("tests", [Customer, Contact])
    await set_up(server, empty, smaller)
    tables = await own.fetch(
        "select oid from pg_class where relnamespace = 'app'::regnamespace and relkind = 'r' order by oid"
    )
    assert await set_up(server, empty) is True
    assert await own.fetchval("select to_regclass('app.orders') is not null")
    assert (
        await own.fetch(
            "select oid from pg_class where relnamespace = 'app'::regnamespace and relkind = 'r' order by oid"
        )
    )[: len(tables)] == tables


async def test_two_applications_in_one_database_keep_apart(server: Server, empty: str, own: Connection) -> None:
    first, second = [
        Application(
            name,
            [Customer, Contact, Order],
            engine_schema=f"{name}_engine",
            schema=f"{name}_data",
            owner_role=f"{name}_owner",
            application_role=f"{name}_app",
        )
        for name in ("north", "south")
    ]
    try:
        for declared in (first, second):
            assert await set_up(server, empty, declared) is True
        for declared in (first, second):
            assert await set_up(server, empty, declared) is False
        assert await own.fetch("select 1 from pg_namespace where nspname in ('app', 'freehold')") == []
        async with (
            Database.open(server.address(empty, first), first, size=1) as north,
            Database.open(server.address(empty, second), second, size=1) as south,
        ):
            ours, theirs = north.session(await new_context(north)), south.session(await new_context(south))
            made = await ours.create(Customer, name="north one", tags=["x"])
            await theirs.create(Customer, name="south one")
            assert [each.name for each in await ours.list(Customer, include=["contacts"])] == ["north one"]
            assert await ours.sql(None, "select name from customers") == [{"name": "north one"}]
            assert await theirs.sql(None, "select name from customers") == [{"name": "south one"}]
            assert [change.action for change in await ours.history(await ours.update(made, name="n"))] == [
                "update",
                "create",
            ]
            assert await theirs.history(made) == ()
            for query in ("select * from south_data.customers", "select * from south_engine.log"):
                with pytest.raises(errors.ForbiddenError):
                    await ours.sql(None, query)
        with pytest.raises(errors.RoleError):
            async with Database.open(server.address(empty, first), second, size=1):
                pass
    finally:
        for declared in (first, second):
            await drop_roles(server, empty, declared)


@pytest.mark.parametrize("name", ["Big", "1st", "with space", "pg_mine", "x" * 32, "", 'a"b', "ä"])
def test_a_schema_s_name_is_checked(name: str) -> None:
    for names in ({"engine_schema": name}, {"schema": name}):
        with pytest.raises(errors.ConfigurationError):
            Application("x", [Customer, Contact, Order], **names)


def test_the_two_schemas_differ() -> None:
    with pytest.raises(errors.ConfigurationError, match="differ"):
        Application("x", [Customer, Contact, Order], engine_schema="one", schema="one")


def test_the_plan_is_the_same_each_time() -> None:
    assert application.plan().digest == application.plan().digest
    assert application.plan().statements() == application.plan().statements()
    other = Application("tests", [Customer, Contact, Order], schema="elsewhere")
    assert other.plan().digest != application.plan().digest


async def test_the_role_s_connections_start_with_what_answers_depend_on(
    server: Server, acme: Session, database_name: str
) -> None:
    async with plain(server.address(database_name)) as raw:
        shown = {
            name: await raw.fetchval(f"show {name}")
            for name in ("TimeZone", "DateStyle", "IntervalStyle", "statement_timeout", "search_path")
        }
    assert shown["TimeZone"] == "UTC"
    assert shown["DateStyle"].startswith("ISO")
    assert shown["IntervalStyle"] == "postgres"
    assert shown["statement_timeout"] != "0"
    assert shown["search_path"].endswith("pg_temp")


async def test_an_administrator_without_superusers_rights_can_change_the_password(server: Server) -> None:
    own = Application("roles", [Customer, Contact, Order], owner_role="roles_owner", application_role="roles_app")
    async with scratch(server, None) as name, plain(server.admin) as admin:
        try:
            await admin.execute("create role roles_admin login createrole password 'a'")
            await admin.execute(f'alter database "{name}" owner to roles_admin')
            address = server.admin_address(name)
            administrator = type(address)(
                host=address.host, port=address.port, user="roles_admin", password="a", database=name
            )
            for password in ("the first", "the second"):
                await own.setup(administrator, {"roles_app": password})
                served = type(address)(
                    host=address.host, port=address.port, user="roles_app", password=password, database=name
                )
                async with Database.open(served, own, size=1):
                    pass
        finally:
            await admin.execute(f'drop database if exists "{name}" with (force)')
            await admin.execute("drop role if exists roles_app, roles_owner, roles_admin")
