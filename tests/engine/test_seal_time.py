"""A seal holds for a short time, and is in no text that others can read."""

import hmac
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from freehold import Context, Database, Session
from freehold.errors import FreeholdError, UnavailableError
from freehold.model.context import new_id
from freehold.model.seal import AHEAD, LIFETIME
from freehold.postgres.clock import ServerClock
from tests.conftest import Server, new_context
from tests.probe import SEALS, enter, plain, scratch, sealed
from tests.world import Customer, application

Connection = asyncpg.Connection

SEAL = re.compile("[0-9a-f]{64}")
HALF = LIFETIME / 2


def aged(context: Context, seconds: float) -> str:
    """A seal that was made so many seconds ago."""
    return SEALS[-1].later(-seconds).apply(context)


def undated(context: Context) -> str:
    """A seal as the release before made it."""
    vouched = f"{context.organization_id}{context.as_setting}".encode()
    return hmac.digest(SEALS[-1]._key, vouched, "sha256").hex() + context.as_setting


async def names(raw: Connection, context: Context, told: str) -> list[str]:
    async with raw.transaction():
        await raw.execute("select freehold.enter($1, $2)", context.organization_id, told)
        return [row["name"] for row in await raw.fetch("select name from app.customers")]


@pytest.mark.parametrize("age", [0, HALF, LIFETIME - 10, -AHEAD + 5])
async def test_a_seal_holds_for_its_time(raw: Connection, acme: Session, age: float) -> None:
    await acme.create(Customer, name="x")
    assert await names(raw, acme.context, aged(acme.context, age)) == ["x"]


@pytest.mark.parametrize("age", [LIFETIME + 2, 3600, 10 * 365 * 86400, -AHEAD - 5, -3600])
async def test_a_seal_does_not_hold_before_and_after_it(raw: Connection, acme: Session, age: float) -> None:
    await acme.create(Customer, name="x")
    with pytest.raises(asyncpg.PostgresError) as caught:
        await names(raw, acme.context, aged(acme.context, age))
    assert caught.value.sqlstate == "FH309"
    assert not SEAL.search(str(vars(caught.value)))


@pytest.mark.parametrize("age", [LIFETIME + 2, -AHEAD - 5])
async def test_the_proof_of_system_work_holds_for_its_time(raw: Connection, database: Database, age: float) -> None:
    text = "select freehold.find_organization('nobody', $1)"
    assert await raw.fetchval(text, SEALS[-1].prove("tests")) is None
    with pytest.raises(asyncpg.PostgresError) as caught:
        await raw.fetchval(text, SEALS[-1].later(-age).prove("tests"))
    assert caught.value.sqlstate == "FH309"


async def test_the_time_of_a_seal_cannot_be_moved(raw: Connection, acme: Session) -> None:
    old = aged(acme.context, LIFETIME + 30)
    for forged in (
        old[:64] + sealed(acme.context)[64:],  # another time
        old[:64] + old[74:],  # none
        old[:64] + str(int(time.time())) + old[64:],  # one more
    ):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await names(raw, acme.context, forged)
        assert caught.value.sqlstate == "FH301"


async def test_an_open_transaction_does_not_keep_a_seal_alive(raw: Connection, acme: Session) -> None:
    """The beginning of each message counts, not that of the transaction."""
    async with raw.transaction():
        await enter(raw, acme.context)
        assert await raw.fetchval("select count(*) from app.customers") == 0
        await raw.execute("select set_config('freehold.context', $1, true)", aged(acme.context, LIFETIME + 2))
        with pytest.raises(asyncpg.PostgresError) as caught:
            await raw.fetchval("select count(*) from app.customers")
    assert caught.value.sqlstate == "FH309"


async def test_what_an_own_query_reads_is_worth_nothing_later(acme: Session, raw: Connection) -> None:
    """A hand-written query may read its own seal: that of now."""
    (row,) = await acme.sql(None, "select current_setting('freehold.context') as sealed")
    assert abs(int(row["sealed"][64:74]) - time.time()) < LIFETIME


async def test_seals_of_the_release_before_count_for_a_day_after_the_upgrade(server: Server) -> None:
    """The release before made them without a time. What it has installed is taken to be what is here but for the note."""
    passwords = {application.roles.application: server.password}
    async with scratch(server) as name, plain(server.admin_address(name)) as admin, plain(server.address(name)) as raw:
        context = Context(new_id())
        for fresh in (True, False):  # a new installation knows none of them, also when it is set up again
            await admin.execute("delete from freehold.settings where name = 'installed'")
            await application.setup(server.admin_address(name), passwords)
            with pytest.raises(asyncpg.PostgresError) as caught:
                await names(raw, context, undated(context))
            assert caught.value.sqlstate == "FH301", fresh
        await admin.execute("delete from freehold.settings where name in ('installed', 'undated_until')")
        await application.setup(server.admin_address(name), passwords)
        assert await names(raw, context, undated(context)) == []
        async with Database.open(server.address(name), application, size=1) as database:
            assert await database.session(context).count(Customer) == 0
        await admin.execute(
            "update freehold.settings set value = (value::timestamptz - interval '1 day')::text where name = 'undated_until'"
        )
        with pytest.raises(asyncpg.PostgresError) as caught:
            await names(raw, context, undated(context))
        assert caught.value.sqlstate == "FH301"


async def unit(session: Session) -> None:
    async with session.unit_of_work() as work:
        work.add(Customer, name="unit")


async def transaction(session: Session) -> None:
    async with session.transaction() as held:
        await held.create(Customer, name="held")
        async with held.savepoint():
            await held.count(Customer)


async def within(session: Session, work: Callable[[Any], Awaitable[Any]]) -> Any:
    async with session.transaction() as held:
        return await work(held)


async def past(session: Session) -> None:
    async with session.as_of(datetime.now(UTC)) as then:
        await then.count(Customer)


Way = Callable[[Database, Session], Awaitable[Any]]
WAYS: dict[str, Way] = {
    "create": lambda _, session: session.create(Customer, name="x"),
    "list": lambda _, session: session.list(Customer),
    "get": lambda _, session: session.exists(Customer, {"id": new_id()}),
    "count": lambda _, session: session.count(Customer),
    "sql": lambda _, session: session.sql(None, "select name from customers"),
    "explain": lambda _, session: session.explain("select 1 as one"),
    "search": lambda _, session: session.search("x"),
    "history": lambda _, session: session.history(Customer),
    "create_many": lambda _, session: session.create_many(Customer, [{"name": "many"}]),
    "update_where": lambda _, session: session.update_where(Customer, {"name": "x"}, name="y"),
    "unit of work": lambda _, session: unit(session),
    "as_of": lambda _, session: past(session),
    "transaction": lambda _, session: transaction(session),
    "system": lambda database, _: database.system("tests").find_organization("nobody"),
    "members": lambda database, session: database.administration(session.context).members(),
}
"""Every kind of message that carries a seal."""


@pytest.mark.parametrize("way", [way for way in WAYS if way != "explain"])  # it reads nothing, and so is not refused
@pytest.mark.parametrize("ahead", [3600, -3600, AHEAD + 5, -LIFETIME - 5])
async def test_a_clock_that_jumps_is_corrected(database: Database, way: str, ahead: float) -> None:
    """The message that was refused is sent again; in a transaction it is measured before it begins, as it is once an hour."""
    context = await new_context(database)
    session = database.session(context)
    await session.create(Customer, name="x")
    clock = database.store.pool.clock
    right = clock._ahead
    clock._ahead += ahead
    if way == "transaction":
        clock.doubt()
    await WAYS[way](database, session)
    assert abs(clock._ahead - right) < AHEAD / 2


async def test_a_transaction_in_which_the_clock_jumps_keeps_nothing_and_is_repeated(
    database: Database, acme: Session
) -> None:
    clock = database.store.pool.clock

    async def jumping(held: Any) -> int:
        await held.create(Customer, name="lost")
        clock._ahead += 3600
        return int(await held.count(Customer))

    with pytest.raises(UnavailableError, match="seal was made"):
        await within(acme, jumping)
    attempts = 0

    async def work(held: Any) -> int:
        nonlocal attempts
        attempts += 1
        await held.create(Customer, name=f"attempt {attempts}")
        if attempts == 1:
            clock._ahead += 3600
        return int(await held.count(Customer))

    assert await database.run(acme.context, work) == 1
    assert attempts == 2
    assert [each.name for each in await acme.list(Customer)] == ["attempt 2"]


async def test_a_program_whose_clock_is_wrong_serves(
    server: Server, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = time.time
    monkeypatch.setattr(time, "time", lambda: wrong() - 86_400)
    async with Database.open(server.address(database_name), application, size=1) as database:
        context = await new_context(database)
        assert await database.session(context).count(Customer) == 0


def test_until_it_is_measured_the_clock_is_the_program_s() -> None:
    clock = ServerClock()
    assert clock.due
    assert abs(clock.now() - time.time()) < 1


async def test_a_long_transaction_enters_anew_before_it_commits(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last call may have been long ago, and what it left would be refused."""
    for renewed in (-1.0, 3600.0):
        monkeypatch.setattr("freehold.store.transaction.RENEWED", renewed)
        block = acme.transaction()
        held = await block.__aenter__()
        await held.create(Customer, name="x")
        await held._messenger.channel.fetch(
            "select set_config('freehold.context', $1, true)", [aged(acme.context, LIFETIME + 2)]
        )
        if renewed < 0:
            await block.__aexit__(None, None, None)
        else:
            with pytest.raises(UnavailableError, match="seal was made"):
                await block.__aexit__(None, None, None)
    assert await acme.count(Customer) == 1


async def test_a_transaction_whose_every_write_was_undone_commits(acme: Session) -> None:
    """With the savepoint its context went too, and the commit has none to note the unit in."""

    async def undone(held: Any) -> None:
        async with held.savepoint():
            await held.create(Customer, name="x")
            raise KeyError

    async with acme.transaction() as held:
        with pytest.raises(KeyError):
            await undone(held)
    assert await acme.count(Customer) == 0


async def test_nobody_reads_a_seal_in_the_text_of_a_statement(
    server: Server, database_name: str, acme: Session, subtests: pytest.Subtests
) -> None:
    """The text of a connection's last statement stays to be read by everybody who has its role."""
    async with (
        plain(server.address(database_name)) as raw,
        Database.open(server.address(database_name), application, size=1) as database,
    ):
        context = await new_context(database)
        told = {str(context.organization_id), str(context.user_id), context.request_id}
        for way, run in WAYS.items():
            with subtests.test(way):
                await run(database, database.session(context))
                for row in await raw.fetch("select query from pg_stat_activity where pid <> pg_backend_pid()"):
                    assert not SEAL.search(row["query"]), row["query"]
                    assert not any(name in row["query"] for name in told), row["query"]


REFUSED_AT_COMMIT = """
create function app.refused() returns trigger language plpgsql as $$ begin raise exception 'not so'; end $$;
create constraint trigger refused after insert on app.customers deferrable initially deferred
    for each row when (new.name = 'refused at the commit') execute function app.refused();
"""


async def test_the_server_s_log_gets_no_seal(server: Server) -> None:
    """All that can be logged of a statement is, and is sent to the client too."""
    lines: list[str] = []
    async with scratch(server) as name, plain(server.admin_address(name)) as admin:
        await admin.execute(REFUSED_AT_COMMIT)
        for setting in (
            "log_statement = 'all'",
            "log_min_duration_statement = 0",
            "log_min_error_statement = 'debug5'",
            "client_min_messages = 'log'",
        ):
            await admin.execute(f'alter role freehold_app in database "{name}" set {setting}')
        async with Database.open(server.address(name), application, size=1) as database:
            (driver,) = database.store.pool._idle
            driver.add_log_listener(lambda _, message: lines.append(str(message.as_dict())))
            context = await new_context(database)
            for run in WAYS.values():
                await run(database, database.session(context))
            with pytest.raises(FreeholdError):
                async with database.session(context).transaction() as held:
                    await held.create(Customer, name="refused at the commit")
    told = "\n".join(lines)
    assert "commit" in told
    assert "customers_create" in told
    assert not SEAL.search(told)
    assert str(context.organization_id) not in told
