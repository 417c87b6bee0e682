"""Hand-written SQL leaves nothing on its connection, and does nothing to others."""

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, errors
from freehold.engine.settings import CLOSED
from tests.conftest import Server, new_context
from tests.probe import plain
from tests.world import Customer, application

Connection = asyncpg.Connection
SECURITY = Path(__file__).parents[2] / "docs" / "security.md"

STATE = {
    "locks": "select locktype, objid, mode from pg_locks where pid = pg_backend_pid() and locktype = 'advisory' order by 1, 2, 3",
    "settings": "select name, setting from pg_settings where source = 'session' order by 1",
    "own settings": "select coalesce(current_setting('freehold.context', true), ''), coalesce(current_setting('mine.own', true), '')",
    "statements": "select name from pg_prepared_statements where name !~ '^freehold_'",
    "cursors": "select name from pg_cursors where name <> ''",
    "channels": "select pg_listening_channels() as channel",
    "large objects": "select count(*) from pg_largeobject_metadata",
    "temporary objects": "select count(*) from pg_class where relnamespace = pg_my_temp_schema()",
    "transaction": "select pg_current_xact_id_if_assigned() is null as none",
}

LEAVING = (
    "select pg_advisory_lock(7)",
    "select pg_advisory_lock(7, 8), pg_advisory_lock(7, 8)",
    "select pg_advisory_lock_shared(7)",
    "select pg_try_advisory_lock(7)",
    "select pg_try_advisory_lock_shared(7)",
    "select pg_advisory_xact_lock(7)",
    "select set_config('statement_timeout', '1', false)",
    "select set_config('search_path', 'pg_catalog', false), set_config('DateStyle', 'German', false)",
    "select set_config('application_name', 'somebody else', false)",
    "select set_config('mine.own', 'x', false)",
    "select set_config(name, current_setting(name), false) from unnest(array['freehold.organization_id', 'freehold.context']) name",
    "select set_config('default_transaction_read_only', 'on', false), set_config('row_security', 'off', false)",
    "select set_config('log_parameter_max_length_on_error', '-1', false)",
    "select pg_notify('freehold', 'x')",
    "select lo_create(0)",
    "select lo_from_bytea(0, 'x')",
    "listen freehold",
    "prepare mine as select 1",
    "deallocate all",
    "declare mine cursor with hold for select 1",
    "create temp table mine (n int)",
    "select 1 into temp mine",
    "set statement_timeout = 1",
    "lock table customers",
    "do $$ begin perform pg_advisory_lock(7); end $$",
    "discard all",
    "select query_to_xml('select pg_advisory_lock(7)', true, false, '')",
    "select query_to_xml('select set_config(''statement_timeout'', ''1'', false)', true, false, '')",
)
ENDS = {
    "": "{statement}",
    "and fails": "select * from ({statement}) as x cross join (select 1 / (select count(*) from pg_class where relname = 'no such')) as y",
    "and is cut off": "select * from ({statement}) as x cross join generate_series(1, 100)",
}


@pytest.fixture
async def alone(server: Server, database_name: str) -> AsyncIterator[Database]:
    """The worker's database on one connection."""
    async with Database.open(server.address(database_name), application, size=1) as database:
        yield database


async def state(database: Database) -> dict[str, Any]:
    (driver,) = database.store.pool._idle
    return {name: [tuple(row) for row in await driver.fetch(query)] for name, query in STATE.items()}


async def tried(session: Session, statement: str) -> None:
    with suppress(errors.FreeholdError):
        await session.sql(None, statement, limit=50)


@pytest.mark.parametrize("end", ENDS)
async def test_a_connection_is_afterwards_as_it_was(alone: Database, end: str, subtests: pytest.Subtests) -> None:
    session = alone.session(await new_context(alone))
    await session.create(Customer, name="x")
    before = await state(alone)
    for statement in LEAVING:
        if end and not statement.startswith("select"):
            continue
        with subtests.test(statement):
            await tried(session, ENDS[end].format(statement=statement))
            assert await state(alone) == before
            assert [each.name for each in await session.list(Customer)] == ["x"]


async def test_what_is_cancelled_leaves_nothing_either(alone: Database) -> None:
    context = await new_context(alone)
    before = await state(alone)
    with pytest.raises(errors.TimeoutError):
        await alone.session(context, timeout=0.2).sql(None, "select pg_advisory_lock(7), pg_sleep(60)")
    assert await state(alone) == before


async def test_in_a_transaction_too(alone: Database) -> None:
    async with alone.session(await new_context(alone)).transaction() as held:
        await held.sql(None, "select pg_advisory_lock(7)")
        locks = await held._messenger.channel.fetch(STATE["locks"], ())
    assert [tuple(row) for row in locks] == []


async def test_random_numbers_are_not_foretold(alone: Database) -> None:
    session = alone.session(await new_context(alone))
    found = set()
    for _ in range(2):
        await session.sql(None, "select setseed(0.5)")
        (row,) = await session.sql(None, "select random() as n")
        found.add(row["n"])
    assert len(found) == 2


@pytest.mark.parametrize(
    "call", ["pg_terminate_backend(cast(:pid as integer))", "pg_cancel_backend(cast(:pid as integer))"]
)
async def test_the_calls_of_others_are_not_ended(acme: Session, server: Server, database_name: str, call: str) -> None:
    async with plain(server.address(database_name)) as other:
        pid = other.get_server_pid()
        with pytest.raises(errors.ForbiddenError):
            await acme.sql(None, f"select {call}", pid=pid)
        assert await other.fetchval("select 1") == 1


async def test_no_messages_are_written_for_those_who_decode_the_log(acme: Session) -> None:
    with pytest.raises(errors.ForbiddenError):
        await acme.sql(None, "select pg_logical_emit_message(false, 'x', 'y')")


CHANGING = """
select distinct p.proname::text as name from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f'
    and p.provolatile = 'v' and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
    and (p.proname = any ($2) or has_function_privilege($1, p.oid, 'execute')) order by 1
"""


def documented() -> list[str]:
    """The names in the table of what hand-written SQL can reach; a star stands for the rest."""
    section = SECURITY.read_text(encoding="utf-8").partition("## Hand-written SQL")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("| ")]
    return [name for cell in rows for name in re.findall(r"`([a-z0-9_*]+)`", cell)]


async def test_the_manual_knows_every_function_that_may_change_something(admin: Connection) -> None:
    there = {row["name"] for row in await admin.fetch(CHANGING, application.roles.application, list(CLOSED))}
    known = documented()
    assert len(known) > 100
    assert not sorted(name for name in there if not any(fnmatch(name, pattern) for pattern in known))


async def test_the_manual_knows_no_function_that_is_nowhere(admin: Connection) -> None:
    """A name is there in 15 or in 18; the tests run on both."""
    rows = await admin.fetch(
        "select distinct proname::text as name from pg_proc where pronamespace = 'pg_catalog'::regnamespace"
    )
    there = {row["name"] for row in rows}
    later = {
        "random_normal", "array_sample", "array_shuffle", "uuidv4", "uuidv7", "pg_sync_replication_slots", "pg_get_sequence_data",
        "pg_clear_attribute_stats", "pg_clear_relation_stats", "pg_restore_attribute_stats", "pg_restore_relation_stats", "pg_*wal_summar*",
    }  # fmt: skip
    earlier = {"pg_read_file_old", "pg_rotate_logfile_old"}
    gone = {pattern for pattern in documented() if not any(fnmatch(name, pattern) for name in there)}
    assert gone <= (later if admin.get_server_version() < (18,) else earlier)
