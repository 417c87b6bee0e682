"""The log's partitions: one for each month, a default one for the rest, and a function that may run anywhere, any time."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from freehold import Context, Database
from freehold.engine.upkeep import Upkeep
from freehold.model.context import new_id
from freehold.testing.clock import Clock, clock_function
from tests.conftest import Server, new_context
from tests.probe import enter, plain, scratch
from tests.world import Customer, application

Connection = asyncpg.Connection

PARTITIONS = (
    "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid "
    "where i.inhparent = 'freehold.log'::regclass order by 1"
)
ROW = "insert into freehold.log (organization_id, entity, action, at) values ($1, 'X', 'create', $2) returning tableoid::regclass::text"


def month(ahead: int) -> str:
    """The name of a month's partition, so many months from now."""
    now = datetime.now(UTC)
    year, number = divmod(now.year * 12 + now.month - 1 + ahead, 12)
    return f"log_{year}_{number + 1:02}"


@pytest.fixture
async def name(server: Server) -> AsyncIterator[str]:
    async with scratch(server) as name:
        yield name


@pytest.fixture
async def own(server: Server, name: str) -> AsyncIterator[Connection]:
    """The administrator in a database of the test's own."""
    async with plain(server.admin_address(name)) as connection:
        yield connection


async def partitions(connection: Connection) -> list[str]:
    return [row["relname"] for row in await connection.fetch(PARTITIONS)]


async def test_this_month_and_the_next_three_have_partitions(own: Connection) -> None:
    assert await partitions(own) == [*(month(ahead) for ahead in range(4)), "log_default"]


async def test_a_row_lies_in_its_month(own: Connection) -> None:
    now = datetime.now(UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for at in (now, first):
        assert await own.fetchval(ROW, new_id(), at) == f"freehold.{month(0)}"


@pytest.mark.parametrize("year", [1999, 2399])
async def test_a_row_of_a_month_without_a_partition_is_kept_too(own: Connection, year: int) -> None:
    assert await own.fetchval(ROW, new_id(), datetime(year, 5, 5, tzinfo=UTC)) == "freehold.log_default"


async def test_a_row_of_the_default_partition_is_read_like_any_other(
    server: Server, name: str, own: Connection
) -> None:
    async with Database.open(server.address(name), application, size=1) as database:
        session = database.session(await new_context(database))
        made = await session.create(Customer, name="x")
        await own.execute(f"begin; delete from freehold.log_default; drop table freehold.{month(0)}; commit")
        changed = await session.update(made, name="y")
        assert [change.diff for change in await session.history(changed)] == [{"name": ("x", "y")}]
        assert await own.fetchval("select count(*) from freehold.log_default") == 1


async def test_extending_twice_is_as_good_as_once(server: Server, name: str, own: Connection) -> None:
    async with plain(server.address(name)) as raw:
        before = await own.fetch("select oid from pg_class where relname ~ '^log_'")
        assert await raw.fetchval("select freehold.extend_log(3)") == 0
        assert await own.fetch("select oid from pg_class where relname ~ '^log_'") == before
        assert await raw.fetchval("select freehold.extend_log(5)") == 2
        assert await raw.fetchval("select freehold.extend_log(5)") == 0
        assert await partitions(own) == [*(month(ahead) for ahead in range(6)), "log_default"]


@pytest.mark.parametrize(("asked", "most"), [(-5, 4), (0, 4), (10**6, 25)])
async def test_what_is_asked_is_bounded(server: Server, name: str, own: Connection, asked: int, most: int) -> None:
    async with plain(server.address(name)) as raw:
        await raw.fetchval("select freehold.extend_log($1)", asked)
    assert len(await partitions(own)) == most + 1


async def test_two_that_extend_at_once_neither_fail_nor_wait(server: Server, name: str, own: Connection) -> None:
    async with plain(server.address(name)) as one, plain(server.address(name)) as other:
        transaction = one.transaction()
        await transaction.start()
        assert await one.fetchval("select freehold.extend_log(8)") == 5
        assert await other.fetchval("select freehold.extend_log(9)") == 0
        await transaction.commit()
        assert await other.fetchval("select freehold.extend_log(9)") == 1
    assert await partitions(own) == [*(month(ahead) for ahead in range(10)), "log_default"]


async def test_rows_in_the_default_partition_do_not_keep_later_months_from_theirs(own: Connection) -> None:
    """After a pause in which nobody extended the log, this month's rows lie in the default partition already."""
    for ahead in range(4):
        await own.execute(f"drop table freehold.{month(ahead)}")
    assert await own.fetchval(ROW, new_id(), datetime.now(UTC)) == "freehold.log_default"
    assert await own.fetchval("select freehold.extend_log(3)") == 3
    assert await partitions(own) == [*(month(ahead) for ahead in (1, 2, 3)), "log_default"]
    assert await own.fetchval("select count(*) from freehold.log") == 1
    assert await own.fetchval("select freehold.extend_log(3)") == 0


async def test_a_month_begins_at_midnight_utc_whatever_the_connection_s_time_zone(server: Server, name: str) -> None:
    async with plain(server.admin_address(name)) as admin:
        bounds = "select pg_get_expr(relpartbound, oid) from pg_class where relname = $1"
        await admin.execute("set timezone to 'UTC'")
        expected = await admin.fetchval(bounds, month(3))
        await admin.execute(f"drop table freehold.{month(3)}; set timezone to 'Pacific/Kiritimati'")
        assert await admin.fetchval("select freehold.extend_log(3)") == 1
        await admin.execute("set timezone to 'UTC'")
        assert await admin.fetchval(bounds, month(3)) == expected


async def test_opening_a_database_extends_the_log(server: Server, name: str, own: Connection) -> None:
    await own.execute(f"drop table freehold.{month(3)}")
    async with Database.open(server.address(name), application, size=1):
        assert month(3) in await partitions(own)


async def test_a_partition_s_rows_are_nobody_s_to_read_directly(server: Server, name: str, own: Connection) -> None:
    async with plain(server.address(name)) as raw:
        for partition in await partitions(own):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await raw.fetch(f"select * from freehold.{partition}")


async def test_every_entity_is_logged(own: Connection) -> None:
    rows: list[Any] = await own.fetch(  # the internal ones are those of foreign keys
        "select c.relname::text as name, array_agg(t.tgname::text order by t.tgname) as triggers, "
        "bool_and(t.tgenabled = 'O') as enabled "
        "from pg_trigger t join pg_class c on c.oid = t.tgrelid "
        "where not t.tgisinternal and t.tgname ~ '^(log|search)_' and c.relnamespace = 'app'::regnamespace group by 1"
    )
    assert {row["name"]: (row["triggers"], row["enabled"]) for row in rows} == {
        entity.table: (
            ["log_create", "log_delete", "log_update"]
            + (["search_create", "search_delete", "search_update"] if entity.searchable else []),
            True,
        )
        for entity in application.registry.entities.values()
    }


@asynccontextmanager
async def reader(server: Server, name: str, context: Context) -> AsyncIterator[None]:
    """A transaction that has read the log, as a dump or a report does, and stays open."""
    async with plain(server.address(name)) as connection, connection.transaction():
        await enter(connection, context)
        await connection.fetch("select count(*) from freehold.log")
        yield


async def kept(database: Database, own: Connection) -> list[str]:
    """The partitions after the log was kept once more, however short a time after the last one."""
    await own.execute("delete from freehold.settings where name = 'log_tried'")
    assert await Upkeep(database.store.pool, application.schemas).poll() > 0
    return await partitions(own)


async def test_an_open_reader_keeps_nobody_from_opening_reading_and_writing(
    server: Server, name: str, own: Connection
) -> None:
    await own.execute(f"drop table freehold.{month(3)}")
    async with Database.open(server.address(name), application, size=2) as first:
        context = await new_context(first)
        await own.execute(f"drop table freehold.{month(3)}")
        async with reader(server, name, context):
            await own.execute("delete from freehold.settings where name = 'log_tried'")
            async with Database.open(server.address(name), application, size=2) as database:
                assert month(3) not in await kept(database, own)
                session = database.session(context)
                made = await session.create(Customer, name="x")
                assert len(await session.history(made)) == 1
        assert month(3) in await kept(first, own)


async def test_nobody_who_writes_waits_for_a_month_that_is_being_made(
    server: Server, name: str, own: Connection
) -> None:
    async with (
        Database.open(server.address(name), application, size=2, timeout=5) as database,
        plain(server.address(name)) as other,
        other.transaction(),
    ):
        assert await other.fetchval("select freehold.extend_log(6)") == 3
        session = database.session(await new_context(database))
        assert (await session.update(await session.create(Customer, name="x"), name="y")).version == 2


async def test_a_default_partition_that_takes_long_to_read_is_left_alone_while_programs_run(own: Connection) -> None:
    await own.execute(f"drop table freehold.{month(3)}")
    await own.execute(ROW, new_id(), datetime(1999, 1, 1, tzinfo=UTC))
    assert await own.fetchval("select freehold.make_months(3, 1000)") == 0
    assert await own.fetchval("select freehold.make_months(3, 100000)") == 1


@pytest.mark.parametrize("held", [(), range(3, 9)], ids=["nobody in the way", "a reader for half a year"])
async def test_thirteen_months_with_one_process_left_open(
    server: Server, name: str, own: Connection, held: Sequence[int]
) -> None:
    """A change lies in its month's partition, or in the default one where none could be made in time. Nothing fails."""
    clock = Clock(server.admin_address(name), application.schemas)
    await own.execute(clock_function(application.schemas, "now"))
    begins = datetime.now(UTC).replace(day=15)
    async with Database.open(server.address(name), application, size=2) as database:
        session = database.session(context := await new_context(database))
        record = await session.create(Customer, name="0")
        for turn in range(1, 14):
            year, number = divmod(begins.year * 12 + begins.month - 1 + turn, 12)
            await clock.set(begins.replace(year=year, month=number + 1))
            async with reader(server, name, context) if turn in held else nullcontext():
                await kept(database, own)
                record = await session.update(record, name=str(turn))
                assert len(await session.history(record)) == turn + 1
    lies = await own.fetch(
        "select version, tableoid::regclass::text as place from freehold.log where entity = 'Customer'"
    )
    late = {turn + 1 for turn in range(1, 14) if held and 6 <= turn <= 8}
    assert {row["version"] for row in lies if row["place"] == "freehold.log_default"} == late
    assert {row["place"] for row in lies if row["version"] not in late} == {
        f"freehold.{month(ahead)}" for ahead in range(14) if ahead + 1 not in late
    }
    ahead = [month(ahead) for ahead in range(17) if ahead + 1 not in late]
    assert await partitions(own) == [*ahead, "log_default"]


async def test_a_set_up_that_has_nothing_else_to_do_makes_months_too(
    server: Server, name: str, own: Connection
) -> None:
    await own.execute(f"drop table freehold.{month(3)}")
    password = {application.roles.application: server.password}
    assert not await application.setup(server.admin_address(name), password)
    assert month(3) in await partitions(own)
