"""The adversary's view from a plain connection of the application role: what an injected statement could do."""

import io
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Context, Session
from freehold.model.context import new_id
from tests.probe import SEALS, enter, hold, run, sealed
from tests.world import Contact, Customer, Order

Connection = asyncpg.Connection
TABLES = ("app.customers", "app.contacts", "app.orders")
READABLE = (*TABLES, "freehold.log", "freehold.organizations", "freehold.users", "freehold.memberships")


@pytest.fixture
async def records(acme: Session, rival: Session) -> dict[str, tuple[Customer, Contact, Order]]:
    """A record of each kind for both organizations."""

    async def fill(session: Session, name: str) -> tuple[Customer, Contact, Order]:
        customer = await session.create(Customer, name=name)
        contact = await session.create(Contact, customer_id=customer.id, name=name)
        return customer, contact, await session.create(Order, customer_id=customer.id, number=name, total=1)

    return {"acme": await fill(acme, "zebra own"), "rival": await fill(rival, "zebra foreign")}


@pytest.mark.parametrize("table", READABLE)
async def test_without_a_context_there_are_no_rows(raw: Connection, records: Any, table: str) -> None:
    assert await raw.fetchval(f"select count(*) from {table}") == 0
    for setting in ("", "null"):
        if setting == "":
            await raw.execute("select set_config('freehold.organization_id', '', false)")
        assert await raw.fetch(f"select * from {table}") == []


async def test_without_a_context_nothing_is_written(raw: Connection, admin: Connection, records: Any) -> None:
    mine = records["acme"][0]
    assert await raw.execute("update app.customers set name = 'x'") == "UPDATE 0"
    assert await raw.execute("delete from app.customers") == "DELETE 0"
    insert = "insert into app.contacts (organization_id, customer_id, name) values"
    for values in (f"(default, '{mine.id}', 'x')", f"('{mine.organization_id}', '{mine.id}', 'x')"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await raw.execute(f"{insert} {values}")
    with pytest.raises(asyncpg.PostgresError) as caught:
        await raw.fetchval("select freehold.enter(null, '{}')")
    assert caught.value.sqlstate == "FH301"
    assert await admin.fetchval("select name from app.customers where id = $1", mine.id) == "zebra own"


@pytest.mark.parametrize("table", READABLE)
async def test_a_context_shows_its_own_rows_only(
    raw: Connection, acme: Session, rival: Session, records: Any, table: str
) -> None:
    column = {"freehold.organizations": "id", "freehold.users": "id"}.get(table, "organization_id")
    async with raw.transaction():
        await enter(raw, acme.context)
        found = {row[column] for row in await raw.fetch(f"select * from {table}")}
    expected = acme.context.user_id if table == "freehold.users" else acme.context.organization_id
    assert found == {expected}
    assert await raw.fetch(f"select * from {table}") == []  # the context ended with its transaction


@pytest.mark.parametrize("table", TABLES)
async def test_foreign_rows_cannot_be_changed(
    raw: Connection, admin: Connection, acme: Session, records: Any, table: str
) -> None:
    foreign = records["rival"][TABLES.index(table)]
    name = "number" if table == "app.orders" else "name"
    before = await admin.fetchrow(f"select * from {table} where id = $1", foreign.id)
    async with raw.transaction():
        await enter(raw, acme.context)
        key = "organization_id = $1 and id = $2"
        values = (foreign.organization_id, foreign.id)
        assert await raw.execute(f"update {table} set {name} = 'stolen' where {key}", *values) == "UPDATE 0"
        assert await raw.execute(f"delete from {table} where {key}", *values) == "DELETE 0"
        assert await raw.fetch(f"select * from {table} where {key} for update", *values) == []
        assert await raw.execute(f"update {table} set {name} = {name}") == "UPDATE 1"  # its own
        assert (
            await raw.execute(
                f"merge into {table} t using (select $1::uuid o, $2::uuid i) s on t.organization_id = s.o and t.id = s.i "
                f"when matched then delete",
                *values,
            )
            == "MERGE 0"
        )
    assert await admin.fetchrow(f"select * from {table} where id = $1", foreign.id) == before


@pytest.mark.parametrize("column", ["organization_id", "id", "created_at", "created_by"])
@pytest.mark.parametrize("table", TABLES)
async def test_a_row_cannot_be_moved(raw: Connection, acme: Session, records: Any, table: str, column: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(raw, acme.context, f"update {table} set {column} = {column}")


async def test_rows_of_another_organization_cannot_be_inserted(raw: Connection, acme: Session, records: Any) -> None:
    customer, contact, _ = records["rival"]
    own = records["acme"][0]
    insert = "insert into app.contacts (organization_id, id, customer_id, name)"
    conflict = "on conflict (organization_id, id)"
    for statement in (
        f"{insert} values ($1, freehold.new_id(), $2, 'x')",
        f"{insert} select $1, freehold.new_id(), customer_id, name from app.contacts where customer_id = $2",
        f"{insert} values ($1, '{contact.id}', $2, 'x') {conflict} do nothing",
        f"{insert} values ($1, '{contact.id}', $2, 'x') {conflict} do update set name = 'x'",
    ):
        for target in (own.id, customer.id):
            if "select" in statement and target != own.id:
                continue  # there is no such row to select
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await run(raw, acme.context, statement, customer.organization_id, target)


async def test_a_reference_leads_to_one_s_own_records_only(raw: Connection, acme: Session, records: Any) -> None:
    for target in (records["rival"][0].id, new_id()):
        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await run(raw, acme.context, "insert into app.contacts (customer_id, name) values ($1, 'x')", target)
        assert caught.value.constraint_name == "contacts_customer_id_fkey"
        assert "zebra" not in str(caught.value)


async def test_a_foreign_id_is_free(raw: Connection, acme: Session, records: Any) -> None:
    """The key has the organization in it: whether another one has a record of this id does not show."""
    foreign, own = records["rival"][1].id, records["acme"][0].id
    (made,) = await run(
        raw,
        acme.context,
        "insert into app.contacts (id, customer_id, name) values ($1, $2, 'x') returning *",
        foreign,
        own,
    )
    assert (made["id"], made["organization_id"]) == (foreign, acme.context.organization_id)
    assert made["created_by"] == acme.context.user_id


@pytest.mark.parametrize(
    "query", ["select * from app.customers", "table freehold.log", "select to_jsonb(c) from app.customers c"]
)
async def test_copying_brings_one_s_own_rows_only(raw: Connection, acme: Session, records: Any, query: str) -> None:
    out = io.BytesIO()
    async with raw.transaction():
        await enter(raw, acme.context)
        await raw.copy_from_query(query, output=out)
        await raw.copy_from_table("customers", schema_name="app", output=out)
    assert b"zebra own" in out.getvalue()
    assert b"zebra foreign" not in out.getvalue()


async def test_nothing_is_copied_in(raw: Connection, acme: Session, records: Any) -> None:
    async def copy() -> None:
        async with raw.transaction():
            await enter(raw, acme.context)
            columns = ["organization_id", "customer_id", "name"]
            customer = records["rival"][0]
            rows = [(customer.organization_id, customer.id, "x")]
            await raw.copy_records_to_table("contacts", schema_name="app", columns=columns, records=rows)

    with pytest.raises(asyncpg.FeatureNotSupportedError):
        await copy()


LOG = (
    "insert into freehold.log (entity, action) values ('x', 'x')",
    "update freehold.log set reason = 'x'",
    "delete from freehold.log",
    "truncate freehold.log",
    "drop table freehold.log",
    "select * from freehold.log for update",
    "select * from freehold.log_default",
    "insert into freehold.log_default (entity, action) values ('x', 'x')",
    "delete from freehold.log_default",
    "do $$ begin lock table freehold.log in exclusive mode; end $$",
    "select nextval('freehold.log_position')",
    "select setval('freehold.log_position', 1)",
    "select last_value from freehold.log_position",
    "select freehold.log_system(null, 'x', null, 'x', null, 'x')",
    "select freehold.outside()",
    "select * from freehold.settings",
    "update freehold.settings set value = 'x'",
    "insert into freehold.organizations (name, slug) values ('x', 'x')",
    "update freehold.organizations set name = 'x'",
    "delete from freehold.users",
    "insert into freehold.memberships (organization_id, user_id, role) select organization_id, user_id, 'owner' from freehold.memberships",
    "update freehold.memberships set role = 'owner'",
)
POWER = (
    "truncate app.customers",
    "truncate app.customers cascade",
    "alter table app.customers disable row level security",
    "alter table app.customers no force row level security",
    "alter table app.customers disable trigger all",
    "alter table app.customers disable trigger log_update",
    "alter table app.customers add column x int",
    "alter table app.customers owner to current_user",
    "drop trigger log_update on app.customers",
    "create trigger mine before insert on app.customers for each row execute function suppress_redundant_updates_trigger()",
    "drop policy tenant on app.customers",
    "create policy mine on app.customers using (true)",
    "alter policy tenant on app.customers using (true)",
    "create rule mine as on select to app.customers do instead select 1",
    "create index on app.customers (name)",
    "drop table app.orders",
    "create table app.mine (a int)",
    "create table freehold.mine (a int)",
    "create table public.mine (a int)",
    "create function freehold.organization_id(x int) returns uuid language sql as 'select null::uuid'",
    "create or replace function freehold.organization_id() returns uuid language sql as 'select null::uuid'",
    "alter function freehold.organization_id() security definer",
    "create schema mine",
    "grant freehold_owner to freehold_app",
    "set role freehold_owner",
    "set session authorization freehold_owner",
    "set session_replication_role = replica",
    "alter role freehold_app bypassrls",
    "alter role freehold_app superuser",
    "copy app.customers to '/tmp/loot'",
    "copy (select 1) to program 'true'",
    "create extension file_fdw",
    "alter system set row_security = off",
    "alter table app.customers set schema public",
    "comment on table app.customers is 'mine'",
    "create statistics mine on name, credit from app.customers",
)


async def test_the_role_may_not(
    raw: Connection, admin: Connection, acme: Session, records: Any, subtests: pytest.Subtests
) -> None:
    for statement in (*LOG, *POWER):
        with subtests.test(statement):
            await hold(raw, acme.context)  # for the connection, since some statements run in no transaction
            with pytest.raises(
                (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError, asyncpg.WrongObjectTypeError)
            ):
                await raw.execute(statement)
            assert await admin.fetchval("select count(*) from app.customers where name like 'zebra%'") >= 2


@pytest.mark.parametrize("target", ["app.customers", "freehold.log", "function freehold.enter"])
async def test_the_role_may_pass_no_privilege_on(raw: Connection, admin: Connection, target: str) -> None:
    state = (
        "select relacl::text as acl from pg_class where relnamespace in ('app'::regnamespace, 'freehold'::regnamespace) "
        "union all select proacl::text from pg_proc where pronamespace = 'freehold'::regnamespace order by 1"
    )
    before = await admin.fetch(state)
    await raw.execute(f"grant all on {target} to public")  # PostgreSQL only warns that there was nothing to grant
    assert await admin.fetch(state) == before


@pytest.mark.parametrize(
    "statement", ["reset all", "reset freehold.organization_id", "set freehold.organization_id = ''"]
)
async def test_without_its_context_a_connection_sees_nothing_again(
    raw: Connection, acme: Session, records: Any, statement: str
) -> None:
    await hold(raw, acme.context)
    assert await raw.fetchval("select count(*) from app.customers") == 1
    await raw.execute(statement)
    assert await raw.fetchval("select count(*) from app.customers") == 0


@pytest.mark.parametrize("value", ["x", "' or true --", "*", "null", "{}"])
async def test_a_context_that_is_no_organization_is_an_error(raw: Connection, records: Any, value: str) -> None:
    await raw.execute("select set_config('freehold.organization_id', $1, false)", value)
    with pytest.raises(asyncpg.PostgresError) as caught:
        await raw.fetch("select * from app.customers")
    assert caught.value.sqlstate == "FH301"


async def test_the_context_of_an_unknown_organization_shows_nothing(raw: Connection, records: Any) -> None:
    for unknown in (UUID(int=0), new_id()):
        for table in READABLE:
            assert await run(raw, Context(organization_id=unknown), f"select * from {table}") == []


async def test_switching_row_security_off_is_an_error_and_no_way_out(
    raw: Connection, acme: Session, records: Any
) -> None:
    await raw.execute("set row_security = off")
    for table in READABLE:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await run(raw, acme.context, f"select * from {table}")


async def test_a_cheap_function_is_not_asked_about_foreign_rows(raw: Connection, acme: Session, records: Any) -> None:
    """What is not leakproof runs after the policy, however cheap it says it is."""
    told: list[str] = []
    raw.add_log_listener(lambda _, message: told.append(str(message)))
    await raw.execute(
        "create function pg_temp.peek(text) returns boolean cost 0.0000001 language plpgsql as "
        "$$ begin raise notice 'saw %', $1; return true; end $$"
    )
    async with raw.transaction():
        await enter(raw, acme.context)
        for statement in (
            "select * from app.customers where pg_temp.peek(name)",
            "select * from (select name from app.customers offset 0) c where pg_temp.peek(name)",
            "update app.customers set visits = visits where pg_temp.peek(name)",
            "select * from app.customers c join app.orders o on pg_temp.peek(c.name || o.number)",
            "select * from freehold.log where pg_temp.peek(new::text)",
        ):
            await raw.execute(statement)
    assert any("zebra own" in line for line in told)
    assert not [line for line in told if "zebra foreign" in line]


async def test_an_error_of_a_condition_tells_of_one_s_own_rows_only(
    raw: Connection, acme: Session, rival: Session, records: Any
) -> None:
    with pytest.raises(asyncpg.DataError) as caught:
        await run(raw, acme.context, "select * from app.customers where name::int = 1")
    assert "zebra own" in str(caught.value)
    assert "foreign" not in str(caught.value)


async def test_views_and_functions_of_the_role_are_under_the_same_policies(
    raw: Connection, acme: Session, records: Any
) -> None:
    await raw.execute("create temp view everything as select * from app.customers")
    await raw.execute(
        "create function pg_temp.everything() returns setof app.customers language sql security definer as "
        "'select * from app.customers'"
    )
    async with raw.transaction():
        await enter(raw, acme.context)
        assert {row["name"] for row in await raw.fetch("select * from everything")} == {"zebra own"}
        assert {row["name"] for row in await raw.fetch("select * from pg_temp.everything()")} == {"zebra own"}


async def test_a_temporary_table_does_not_stand_in_for_a_real_one(raw: Connection, acme: Session, records: Any) -> None:
    await raw.execute("create temp table customers (like app.customers); create temp table log (like freehold.log)")
    async with raw.transaction():
        await enter(raw, acme.context)
        assert {row["name"] for row in await raw.fetch("select * from customers")} == {"zebra own"}
        customer = records["acme"][0]
        row = await raw.fetchrow(
            'select * from freehold.customers_update($1, $2, $3, 1, \'{"name": "zebra changed"}\')',
            acme.context.organization_id,
            sealed(acme.context),
            customer.id,
        )
        assert row is not None
        assert row["_outcome"] == "done"
        assert await raw.fetchval("select count(*) from pg_temp.log") == 0
        assert await raw.fetchval("select count(*) from freehold.log where record_id = $1", customer.id) == 2


@pytest.mark.parametrize("name", ["uuid", "jsonb", "text"])
async def test_a_type_of_the_role_s_own_is_not_used_by_what_runs_as_the_owner(
    raw: Connection, acme: Session, records: Any, name: str
) -> None:
    """A domain in pg_temp with a built-in type's name would run the caller's function as the owner."""
    ran: list[str] = []
    raw.add_log_listener(lambda _, message: ran.append(str(message)))
    await raw.execute(
        f"""create function pg_temp.evil(pg_catalog.{name}) returns boolean language plpgsql as
            $$ begin raise notice 'ran as %', current_user; return true; end $$;
        create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.evil(value))"""
    )
    async with raw.transaction():
        await enter(raw, acme.context)
        await raw.execute("insert into app.contacts (customer_id, name) select id, 'x' from app.customers")
        await raw.execute("update app.customers set visits = 1")
        await raw.execute("update app.contacts set name = 'x'")
        await raw.execute("delete from app.orders")
    await raw.execute("select set_config('freehold.organization_id', '', false)")
    proof = SEALS[-1].prove("tests")
    await raw.execute(
        "select freehold.find_organization('x', $1), freehold.find_user('x', $1), freehold.find_membership('x', 'x', $1)",
        proof,
    )
    await raw.execute("select freehold.extend_log(0)")
    await raw.execute("select freehold.create_user($1 || '@x.test', 'x', $2)", str(new_id()), proof)
    assert [line for line in ran if "freehold_owner" in line] == []
