"""PostgreSQL's errors as Freehold's: each from a statement that causes it, and none with values of rows in its text."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from freehold import errors
from freehold.model.registry import Constraint
from freehold.postgres.connections import Pool
from freehold.postgres.sqlstate import translated
from tests.conftest import Server
from tests.probe import plain
from tests.world import application

Connection = asyncpg.Connection

SET_UP = """
create table parents (id int constraint parents_pkey primary key, name text not null);
create table children (
    id int constraint children_pkey primary key,
    parent_id int constraint children_parent_fkey references parents (id),
    kept_id int constraint children_kept_fkey references parents (id) on delete restrict,
    amount int constraint children_amount_check check (amount > 0),
    during int4range, constraint children_during_excl exclude using gist (during with &&)
);
insert into parents values (1, 'secret one'), (2, 'secret two'), (3, 'secret three');
insert into children values (1, 1, null, 1, '[1,5)'), (2, null, 2, 1, null);
create function raised(state text) returns int language plpgsql as
    $$ begin raise exception 'told by %', state using errcode = state; end $$;
create table guarded (id int, owner text); alter table guarded enable row level security;
create policy nobody on guarded for insert with check (false); create policy everybody on guarded for select using (true);
grant usage, create on schema public to freehold_app;
grant all on parents, children to freehold_app; grant insert, select on guarded to freehold_app;
"""

CONSTRAINTS = {
    "children_parent_fkey": Constraint("reference", "Child", ("parent_id",), "Parent"),
    "parents_pkey": Constraint("unique", "Parent", ("id",)),
    "children_amount_check": Constraint("check", "Child", ("amount",)),
}

STATEMENTS: dict[str, tuple[str, type[errors.FreeholdError], str]] = {
    "unique": ("insert into parents values (1, 'secret')", errors.UniqueError, "Parent with this id exists"),
    "unique, unknown": ("insert into children values (1)", errors.UniqueError, "children_pkey"),
    "reference": (
        "insert into children values (3, 9)",
        errors.ReferenceError,
        "Child.parent_id: there is no such Parent",
    ),
    "reference, unknown": ("insert into children values (3, null, 9)", errors.ReferenceError, "children"),
    "referred to": ("delete from parents where id = 1", errors.ReferenceError, "Parent cannot go: Child records refer"),
    "restricted": ("delete from parents where id = 2", errors.ReferenceError, "cannot go"),
    "check": ("insert into children values (3, null, null, -7)", errors.ValidationError, "children_amount_check"),
    "not null": ("insert into parents (id) values (9)", errors.ValidationError, "name: must not be null"),
    "exclusion": (
        "insert into children values (4, null, null, 1, '[2,3)')",
        errors.ValidationError,
        "children_during_excl",
    ),
    "privilege": ("select * from freehold.settings", errors.ForbiddenError, "settings"),
    "row-level security": (
        "insert into guarded values (1, 'secret')",
        errors.IsolationError,
        "outside of its organization",
    ),
    "no context": ("select freehold.enter(null, '{}')", errors.IsolationError, "needs an organization"),
    "syntax": ("selec 1", errors.ValidationError, "at character 1"),
    "column": ("select nme from parents", errors.ValidationError, "nme"),
    "table": ("select * from nowhere", errors.ValidationError, "nowhere"),
    "schema": ("select * from nowhere.parents", errors.ValidationError, "nowhere"),
    "function": ("select nothing_of_that_name()", errors.ValidationError, "nothing_of_that_name"),
    "operator": ("select 1 + true", errors.ValidationError, "operator"),
    "ambiguous": ("select id from parents p, children c", errors.ValidationError, "ambiguous"),
    "grouping": ("select name, count(*) from parents", errors.ValidationError, "GROUP BY"),
    "type": ("select 1::nothing", errors.ValidationError, "nothing"),
    "cast": ("select true::timestamptz", errors.ValidationError, "cast"),
    "union": ("select 1 union select true", errors.ValidationError, "UNION"),
    "division": ("select 1 / 0", errors.ValidationError, "division by zero"),
    "number": ("select 'x'::int", errors.ValidationError, "integer"),
    "range": ("select 99999999999::int", errors.ValidationError, "range"),
    "date": ("select '2024-02-30'::date", errors.ValidationError, "date"),
    "JSON": ("select '{'::json", errors.ValidationError, "json"),
    "subquery": ("select (select id from parents) as id", errors.DatabaseError, "more than one row"),
    "serialization": ("select raised('40001')", errors.SerializationError, "committed meanwhile"),
    "deadlock": ("select raised('40P01')", errors.SerializationError, "locks"),
    "disk full": ("select raised('53100')", errors.UnavailableError, "disk is full"),
    "memory": ("select raised('53200')", errors.UnavailableError, "memory"),
    "connections": ("select raised('53300')", errors.UnavailableError, "no connection free"),
    "shutdown": ("select raised('57P01')", errors.UnavailableError, "shutting down"),
    "crash": ("select raised('57P02')", errors.UnavailableError, "crashed"),
    "start": ("select raised('57P03')", errors.UnavailableError, "starting up"),
    "idle": ("select raised('57P05')", errors.UnavailableError, "idle"),
    "connection": ("select raised('08006')", errors.UnavailableError, "cannot serve"),
    "input and output": ("select raised('58030')", errors.UnavailableError, "cannot serve"),
    "cancelled": ("select raised('57014')", errors.TimeoutError, "cancelled"),
    "unknown": ("select raised('XX000')", errors.DatabaseError, "told by"),
}


@pytest.fixture(scope="module")
def prepared(server: Server) -> Iterator[str]:
    """A database with tables that break in every way, for all tests of the module."""

    name = f"prepared_{os.getpid()}"

    async def make() -> None:
        await server.create_database(name)
        async with plain(server.admin_address(name)) as connection:
            await connection.execute(SET_UP)

    async def drop() -> None:
        async with plain(server.admin) as connection:
            await connection.execute(f"drop database {name} with (force)")

    asyncio.run(make())
    yield name
    asyncio.run(drop())


async def test_an_error_of_the_server_is_ours(server: Server, prepared: str, subtests: pytest.Subtests) -> None:
    for what in STATEMENTS:
        with subtests.test(what):
            statement, kind, message = STATEMENTS[what]
            async with Pool(server.address(prepared), CONSTRAINTS, size=1) as pool:
                await pool.fetch_row("select set_config('search_path', 'public', false)", [])
                with pytest.raises(kind) as caught:
                    await pool.fetch_row(statement, [])
                assert type(caught.value) is kind
                assert message in str(caught.value)
                assert caught.value.as_dict()["code"] == kind.code
                assert "secret" not in f"{caught.value} {caught.value.as_dict()} {vars(caught.value)}"
                assert await pool.fetch_row("select 1", [])


async def test_what_can_be_retried_says_so(server: Server, prepared: str) -> None:
    async with Pool(server.address(prepared), {}, size=1) as pool:
        for state in ("40001", "40P01"):
            with pytest.raises(errors.SerializationError) as caught:
                await pool.fetch_row(f"select public.raised('{state}')", [])
            assert "repeat the whole transaction" in str(caught.value.hint)
            assert caught.value.sqlstate == state


async def test_a_statement_in_a_read_only_transaction_is_forbidden(server: Server, prepared: str) -> None:
    async with Pool(server.address(prepared), {}, size=1) as pool:
        await pool.fetch_row("select set_config('default_transaction_read_only', 'on', false)", [])
        with pytest.raises(errors.ForbiddenError, match="only reads"):
            await pool.fetch_row("insert into public.parents values (9, 'x')", [])


async def test_a_lock_that_is_not_free_is_a_timeout(server: Server, prepared: str) -> None:
    async with (
        plain(server.admin_address(prepared)) as own,
        Pool(server.address(prepared), {}, size=1) as pool,
        own.transaction(),
    ):
        await own.execute("select * from public.parents where id = 3 for update")
        with pytest.raises(errors.TimeoutError, match="lock"):
            await pool.fetch_row("select * from public.parents where id = 3 for update nowait", [])
        await pool.fetch_row("select set_config('lock_timeout', '50ms', false)", [])
        with pytest.raises(errors.TimeoutError, match="lock"):
            await pool.fetch_row("select * from public.parents where id = 3 for update", [])


async def test_the_server_s_own_timeout_is_a_timeout(server: Server, prepared: str) -> None:
    async with Pool(server.address(prepared), {}, size=1, timeout=20) as pool:
        await pool.fetch_row("select set_config('statement_timeout', '50ms', false)", [])
        with pytest.raises(errors.TimeoutError):
            await pool.fetch_row("select pg_sleep(10)", [])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["x"], "select $1::int"),
        ([1], "select $1::text"),
        ([2**70], "select $1::bigint"),
        ([object()], "select $1::uuid"),
        ([], "select $1::int"),
        ([1, 2], "select $1::int"),
    ],
    ids=["text for int", "int for text", "too large", "no uuid", "too few", "too many"],
)
async def test_an_argument_that_cannot_be_sent_is_invalid(
    server: Server, prepared: str, arguments: list[Any], text: str
) -> None:
    async with Pool(server.address(prepared), {}, size=1) as pool:
        with pytest.raises(errors.ValidationError) as caught:
            await pool.fetch_row(text, arguments)
        assert type(caught.value) is errors.ValidationError
        assert await pool.fetch_row("select 1", [])


@pytest.mark.parametrize(
    "error", [OSError("gone"), ConnectionResetError(), asyncpg.InterfaceError("closed"), asyncpg.InternalClientError()]
)
def test_an_error_of_the_connection_is_unavailable(error: BaseException) -> None:
    assert type(translated(error, {})) is errors.UnavailableError


def test_a_timeout_of_the_driver_names_its_bound() -> None:
    error = translated(TimeoutError(), {}, 2.5)
    assert type(error) is errors.TimeoutError
    assert "2.5 s" in str(error)
    assert error.seconds == 2.5


def test_every_constraint_of_an_application_has_a_name_in_the_registry() -> None:
    known = set(application.registry.constraints)
    assert {"customers_email_key", "contacts_customer_id_is_primary_key", "orders_customer_id_fkey"} <= known


async def test_the_registry_knows_every_constraint_of_the_database(admin: Connection) -> None:
    rows = await admin.fetch(
        "select k.conname::text as name from pg_constraint k where k.connamespace = 'app'::regnamespace and k.contype in ('c', 'f') "
        "union select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid "
        "where c.relnamespace = 'app'::regnamespace and i.indisunique and not i.indisprimary"
    )
    names = {row["name"] for row in rows}
    versions = {f"{entity.table}_version_check" for entity in application.registry.entities.values()}
    assert names - versions <= set(application.registry.constraints)
    assert len(names) > 15
