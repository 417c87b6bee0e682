"""Pruning the log: what is gone is said to be gone, and nothing else goes."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from freehold import Database, Session, errors
from freehold.cli.commands import commands
from freehold.engine.prune import old_partitions, prune_log
from freehold.postgres.connections import connect
from freehold.sql.identifiers import Schemas
from tests.conftest import Server, new_context
from tests.probe import plain, scratch
from tests.world import Customer, application

Connection = asyncpg.Connection
OLD = datetime(2020, 2, 10, tzinfo=UTC)


@pytest.fixture
async def name(server: Server) -> AsyncIterator[str]:
    """A database whose log has changes of January to April 2020, and one without a month of its own."""
    async with scratch(server) as name, plain(server.admin_address(name)) as admin:
        for month in (1, 2, 3, 4):
            await admin.execute(
                f"create table freehold.log_2020_0{month} partition of freehold.log "
                f"for values from ('2020-0{month}-01 00:00+00') to ('2020-0{month + 1}-01 00:00+00')"
            )
        yield name


@pytest.fixture
async def session(server: Server, name: str) -> AsyncIterator[Session]:
    """An organization with a customer who changed in each of these months, and in 2019."""
    async with Database.open(server.address(name), application, size=2) as database:
        session = database.session(await new_context(database))
        customer = await session.create(Customer, name="2019-12")
        for month in ("2020-01", "2020-02", "2020-03", "2020-04", "now"):
            customer = await session.update(customer, name=month)
        async with plain(server.admin_address(name)) as admin:
            await admin.execute("alter table freehold.log disable row level security")
            for version, at in enumerate(("2019-12", "2020-01", "2020-02", "2020-03", "2020-04"), start=1):
                await admin.execute(
                    "update freehold.log set at = $2 where version = $1 and entity = 'Customer'",
                    version,
                    datetime.fromisoformat(f"{at}-10T00:00:00+00:00"),
                )
            await admin.execute("update freehold.column_names set added_at = '2019-01-01'")
            await admin.execute("alter table freehold.log enable row level security")
        yield session


async def name_at(session: Session, moment: datetime) -> str:
    async with session.as_of(moment) as past:
        (customer,) = await past.list(Customer)
        return customer.name


async def test_what_was_pruned_is_refused_and_the_rest_stays(server: Server, name: str, session: Session) -> None:
    moments = {month: datetime(2020, month, 15, tzinfo=UTC) for month in (1, 2, 3, 4)}
    assert [await name_at(session, moment) for moment in moments.values()] == [
        "2020-01",
        "2020-02",
        "2020-03",
        "2020-04",
    ]
    async with connect(server.admin_address(name)) as admin:
        found = await old_partitions(admin, Schemas(), date(2020, 3, 31))
        assert [partition.name for partition in found] == ["log_2020_01", "log_2020_02"]
        assert all(partition.bytes > 0 for partition in found)
        assert await prune_log(admin, Schemas(), date(2020, 3, 31)) == found
        for moment in (
            moments[1],
            moments[2],
            datetime(2020, 2, 29, 23, 59, 59, tzinfo=UTC),
            OLD - timedelta(days=9999),
        ):
            with pytest.raises(errors.HistoryError, match="2020-03-01") as caught:
                await name_at(session, moment)
            assert "log prune" in str(caught.value.hint)
        assert await name_at(session, datetime(2020, 3, 1, tzinfo=UTC)) == "2020-02"
        assert [await name_at(session, moments[month]) for month in (3, 4)] == ["2020-03", "2020-04"]
        (customer,) = await session.list(Customer)
        assert [change.version for change in await session.history(customer)] == [6, 5, 4]
        with pytest.raises(errors.HistoryError, match="no version 3"):
            await session.revert(customer, 3)
        assert await prune_log(admin, Schemas(), date(2020, 1, 1)) == []  # never back
        with pytest.raises(errors.HistoryError, match="2020-03-01"):
            await name_at(session, moments[2])


async def test_a_read_of_the_past_is_waited_for_and_not_broken(server: Server, name: str, session: Session) -> None:
    async with connect(server.admin_address(name)) as admin, plain(server.admin_address(name)) as reader:
        async with reader.transaction():
            await reader.fetch("select * from freehold.log_2020_01")
            with pytest.raises(errors.TimeoutError):
                await prune_log(admin, Schemas(), date(2020, 4, 1), wait=0.2)
        assert await name_at(session, datetime(2020, 1, 15, tzinfo=UTC)) == "2020-01"
        assert len(await prune_log(admin, Schemas(), date(2020, 4, 1))) == 3


async def test_a_month_to_come_is_refused(server: Server, name: str) -> None:
    async with connect(server.admin_address(name)) as admin:
        with pytest.raises(errors.ValidationError, match="month to come"):
            await prune_log(admin, Schemas(), date(2999, 1, 1))


def test_the_command_asks_and_says_what_it_did(server: Server, name: str, tmp_path: Path) -> None:
    where = server.admin_address(name)
    url = f"postgresql://{where.user}:{where.password}@/{name}?host={where.host}&port={where.port}"
    arguments = ["log", "prune", "tests.world:application", "--url", url, "--before", "2020-04-20"]
    refused = CliRunner().invoke(commands, [*arguments, "--json"])
    assert refused.exit_code == 1
    assert "--yes" in json.loads(refused.stdout)["hint"]
    done = CliRunner().invoke(commands, [*arguments, "--json", "--yes"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "dropped": ["log_2020_01", "log_2020_02", "log_2020_03"],
        "begins": "2020-04-01T00:00:00+00:00",
    }
    again = CliRunner().invoke(commands, arguments)
    assert again.exit_code == 0
    assert "nothing" in again.stdout
    assert CliRunner().invoke(commands, [*arguments[:-1], "2020-4-x"]).exit_code == 2
