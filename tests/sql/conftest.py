import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from freehold import Database
from tests.conftest import Server
from tests.sql.samples import samples


@pytest.fixture(scope="session")
def samples_name(server: Server) -> str:
    """A database of the samples, made anew for the run."""
    name = f"samples_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    asyncio.run(server.create_database(name, samples))
    return name


@pytest.fixture
async def sampled(server: Server, samples_name: str) -> AsyncIterator[Database]:
    """The database of the samples, opened as the application role."""
    async with Database.open(server.address(samples_name, samples), samples, size=2) as database:
        yield database
