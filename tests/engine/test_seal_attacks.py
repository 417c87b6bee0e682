"""The seal and the log's pruning under attack, and in unlucky hands."""

import asyncio
import json
from datetime import UTC, date, datetime

import asyncpg
import pytest
from typer.testing import CliRunner

from freehold import Database, Session
from freehold.cli.commands import commands
from freehold.engine.prune import prune_log
from freehold.errors import ConfigurationError, FreeholdError, HistoryError, TimeoutError
from freehold.model.seal import Seal
from freehold.postgres.connections import connect
from freehold.sql.identifiers import Schemas
from tests.conftest import Server, new_context
from tests.probe import blocked, enter, plain, scratch, sealed
from tests.store.test_past import clock
from tests.world import Customer, application

Connection = asyncpg.Connection

JANUARY = (
    "create table freehold.log_2020_01 partition of freehold.log "
    "for values from ('2020-01-01 00:00+00') to ('2020-02-01 00:00+00')"
)


async def test_a_kept_plan_keeps_no_organization(raw: Connection, acme: Session, rival: Session) -> None:
    await acme.create(Customer, name="ours")
    await rival.create(Customer, name="theirs")
    await raw.execute("set plan_cache_mode = force_generic_plan")
    await raw.execute("prepare kept as select name from app.customers")
    await raw.execute(
        "prepare logged as select distinct new->>'name' as name from freehold.log where entity = 'Customer'"
    )
    for session, name in ((acme, "ours"), (rival, "theirs"), (acme, "ours")):
        for statement in ("execute kept", "execute logged"):
            async with raw.transaction():
                await enter(raw, session.context)
                assert [row["name"] for row in await raw.fetch(statement)] == [name]
            assert await raw.fetch(statement) == []


async def test_a_seal_is_for_its_context_to_the_last_letter(raw: Connection, acme: Session) -> None:
    """The same connection, so that nothing is kept of the context that was right."""
    await acme.create(Customer, name="ours")
    right, id = sealed(acme.context), str(acme.context.organization_id)
    assert await count(raw, id, right) == 1
    for organization, context in (
        (id, right + " "),
        (id, right[:64].upper() + right[64:]),
        (id, " " + right),
        (id, right[:64]),
        (id, right[:64] + right[64:].replace('"', '" ', 1)),
        (id[:-1], right[:64] + id[-1] + right[64:]),
        (id + right[64], right[:64] + right[65:]),
        ("{" + id + "}", right),
        (id.replace("-", ""), right),
    ):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await count(raw, organization, context)
        assert caught.value.sqlstate == "FH301"
    assert await count(raw, id, right) == 1


async def count(raw: Connection, organization: str, context: str) -> int:
    async with raw.transaction():
        await raw.execute(
            "select set_config('freehold.organization_id', $1, true), set_config('freehold.context', $2, true)",
            organization,
            context,
        )
        found: int = await raw.fetchval("select count(*) from app.customers")
        return found


async def test_a_seal_holds_for_text_of_every_script(database: Database, acme: Session) -> None:
    agent = "é ß 漢字 العربية \U0001f600 \\u0000 \\ \" ' % {} $1 \u2028 \ufeff" + "x" * 600
    context = await new_context(database, client_ip="::1", user_agent=agent, request_id="\U0001f600" * 200)
    session = database.session(context)
    customer = await session.create(Customer, name="a")
    (change,) = await session.history(customer)
    assert (change.user_agent, change.request_id) == (agent[:512], "\U0001f600" * 200)


async def test_the_application_role_cannot_set_a_context_for_connections_to_come(raw: Connection) -> None:
    for setting in ("freehold.organization_id", "freehold.context"):
        with pytest.raises(asyncpg.PostgresError):
            await raw.execute(f"alter role current_user set {setting} = 'x'")


async def test_a_context_of_the_past_is_believed_with_its_seal_only(raw: Connection, acme: Session) -> None:
    forged = sealed(acme.context)[:64] + acme.context.setting(as_of="2020-01-01T00:00:00+00:00")
    for context, state in ((forged, "FH301"), (sealed(acme.context), "FH100")):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await raw.fetch("select * from freehold.enter_past($1, $2)", acme.context.organization_id, context)
        assert caught.value.sqlstate == state


@pytest.mark.parametrize(
    "before", ["", "61865521127"]
)  # PostgreSQL words it otherwise where it overflows before it is no number
@pytest.mark.parametrize("type", ["int", "numeric", "float8", "uuid", "timestamptz"])
async def test_an_error_does_not_quote_the_seal(acme: Session, before: str, type: str) -> None:
    with pytest.raises(FreeholdError) as caught:
        await acme.sql(None, f"select ('{before}' || current_setting('freehold.context'))::{type} as x")
    assert sealed(acme.context)[:64] not in f"{caught.value} {caught.value.as_dict()}"


async def test_a_stolen_login_does_not_make_itself_a_member_of_any_organization(
    raw: Connection, acme: Session, rival: Session
) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await raw.execute(
            "select freehold.add_member($1, $2, 'admin', 'x')", rival.context.organization_id, acme.context.user_id
        )


def test_a_secret_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Seal("\udcff" * 10)


async def test_a_new_secret_counts_although_the_clock_went_back(server: Server) -> None:
    passwords = {application.roles.application: server.password}
    async with scratch(server) as name, plain(server.admin_address(name)) as admin:
        await application.setup(server.admin_address(name), passwords, secret="the second one")
        await admin.execute("update freehold.seals set made_at = made_at + interval '1 hour'")
        await application.setup(server.admin_address(name), passwords, secret="the third one")
        async with Database.open(server.address(name), application, size=1, secret="the third one"):
            pass


async def test_set_ups_with_two_secrets_at_once_leave_both_or_the_later(server: Server) -> None:
    passwords = {application.roles.application: server.password}
    secrets = ("the second one", "the third one")
    async with scratch(server) as name:
        await asyncio.gather(
            *(application.setup(server.admin_address(name), passwords, secret=secret) for secret in secrets)
        )
        for secret in secrets:
            async with Database.open(server.address(name), application, size=1, secret=secret):
                pass


async def test_the_beginning_of_the_log_is_read_as_it_was_written(server: Server) -> None:
    async with scratch(server) as name, plain(server.admin_address(name)) as admin:
        await admin.execute(f"alter database \"{name}\" set datestyle = 'SQL, DMY'")
        async with connect(server.admin_address(name)) as connection:
            for before in (date(2025, 1, 1), date(2025, 3, 1)):
                await prune_log(connection, Schemas(), before)
        async with plain(server.address(name)) as raw:
            assert await raw.fetchval("select freehold.log_begins()") == datetime(2025, 3, 1, tzinfo=UTC)


async def test_pruning_that_may_not_wait_does_not(server: Server) -> None:
    async with (
        scratch(server) as name,
        plain(server.admin_address(name)) as reader,
        connect(server.admin_address(name)) as connection,
    ):
        await reader.execute(JANUARY)
        async with reader.transaction():
            await reader.fetch("select from freehold.log")
            pruning = asyncio.create_task(prune_log(connection, Schemas(), date(2020, 3, 1), wait=0.0004))
            done, _ = await asyncio.wait([pruning], timeout=1)
            pruning.cancel()
            (end,) = await asyncio.gather(pruning, return_exceptions=True)
    assert done
    assert isinstance(end, TimeoutError)


async def test_pruning_that_waits_for_a_reader_holds_nobody_up(server: Server) -> None:
    """A dump reads the log for hours."""
    async with (
        scratch(server) as name,
        plain(server.admin_address(name)) as reader,
        plain(server.admin_address(name)) as admin,
        connect(server.admin_address(name)) as connection,
        Database.open(server.address(name), application, size=1) as database,
    ):
        await admin.execute(JANUARY)
        session = database.session(await new_context(database))
        async with reader.transaction():
            await reader.fetch("select from freehold.log")
            pruning = asyncio.create_task(prune_log(connection, Schemas(), date(2020, 3, 1)))
            await blocked(admin, 1)
            writing = asyncio.create_task(session.create(Customer, name="a"))
            done, _ = await asyncio.wait([writing], timeout=1.5)
            pruning.cancel()
            await asyncio.gather(pruning, writing, return_exceptions=True)
    assert done


async def test_a_past_that_is_open_while_the_log_is_pruned_is_refused_from_then_on(server: Server) -> None:
    async with (
        scratch(server) as name,
        plain(server.admin_address(name)) as admin,
        connect(server.admin_address(name)) as connection,
        Database.open(server.address(name), application, size=1) as database,
    ):
        await admin.execute(JANUARY)
        await admin.execute("update freehold.column_names set added_at = '2019-01-01'")
        session = database.session(await new_context(database))
        customer = await session.create(Customer, name="a")
        async with session.as_of(datetime(2020, 1, 5, tzinfo=UTC)) as past:
            assert await past.count(Customer) == 0
            await prune_log(connection, Schemas(), date(2020, 3, 1))
            for read in (
                past.count(Customer),
                past.list(Customer),
                past.get(Customer, customer.id),
                past.aggregate(Customer, group_by=["status"]),
                past.exists(Customer),
            ):
                with pytest.raises(HistoryError):
                    await read
        async with session.as_of(await clock(admin)) as past:
            assert await past.count(Customer) == 1


def test_pruning_less_than_before_tells_where_the_log_begins(server: Server, database_name: str) -> None:
    name = f"{database_name}_prune"
    asyncio.run(server.create_database(name))
    where = server.admin_address(name)
    url = f"postgresql://{where.user}:{where.password}@/{name}?host={where.host}&port={where.port}"
    told = []
    try:
        for before in ("2020-04-20", "2020-02-20"):
            arguments = ["log", "prune", "tests.world:application", "--url", url, "--before", before, "--json", "--yes"]
            told.append(json.loads(CliRunner().invoke(commands, arguments).stdout)["begins"])
    finally:
        asyncio.run(drop(server, name))
    assert told == ["2020-04-01T00:00:00+00:00"] * 2


async def drop(server: Server, name: str) -> None:
    async with connect(server.admin) as connection:
        await connection.execute(f'drop database if exists "{name}" with (force)')
