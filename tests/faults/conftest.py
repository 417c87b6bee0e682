"""A database before which there is a proxy, and sessions on both sides of it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from freehold import Database, Session
from tests.conftest import Server
from tests.faults.proxy import Proxy, proxy
from tests.probe import until
from tests.world import application


@pytest.fixture
async def way(server: Server, database_name: str) -> AsyncIterator[Proxy]:
    """The proxy before the test server."""
    async with proxy(server.address(database_name)) as way:
        yield way


@pytest.fixture
async def far(way: Proxy) -> AsyncIterator[Database]:
    """The database at the other end of the proxy."""
    async with Database.open(way.address, application, size=6) as database:
        yield database
        way.decide = lambda _: None
        way.down = False


@pytest.fixture
async def session(far: Database, acme: Session) -> AsyncIterator[Session]:
    """A session of the same organization as `acme`, at the other end of the proxy."""
    async with far.session(acme.context) as session:
        yield session


async def quiet(admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Waits until the server does nothing any more for this database's programs."""

    async def idle() -> bool:
        return not await admin.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' "
            "and application_name = 'freehold'"
        )

    await until(idle, "the server has ended what was begun")
