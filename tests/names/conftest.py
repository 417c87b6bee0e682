"""A database of entities with a field of each name, and who calls it."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from freehold import Application, Database, Principal, Session
from freehold.identity.principal import Origin
from freehold.postgres.connections import connect
from tests.conftest import Server, new_context
from tests.names.crowd import Crowd, crowds
from tests.server.calling import Callers, calling


@dataclass(frozen=True)
class Town:
    """A database, with the entities in it."""

    name: str
    application: Application
    crowds: list[Crowd]


async def keywords(server: Server) -> list[str]:
    """The words that the server's SQL knows."""
    async with connect(server.admin) as connection:
        return [str(row["word"]) for row in await connection.fetch("select word from pg_get_keywords()")]


@pytest.fixture(scope="session")
def town(server: Server) -> Town:
    """This worker's database, made anew for the run."""
    made = crowds(asyncio.run(keywords(server)), shift=int(os.environ.get("FREEHOLD_TEST_NAMES_SHIFT", "0")))
    application = Application("crowds", [crowd.cls for crowd in made], roles={"admin": ["*"]})
    name = f"names_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    asyncio.run(server.create_database(name, application))
    return Town(name, application, made)


@pytest.fixture
async def opened(server: Server, town: Town) -> AsyncIterator[Database]:
    """That database, opened as the application role."""
    async with Database.open(server.address(town.name, town.application), town.application, size=4) as database:
        yield database


@pytest.fixture
async def ada(opened: Database, town: Town) -> Principal:
    """An administrator of a new organization."""
    context = await new_context(opened)
    permissions = town.application.grants.permissions("admin")
    return Principal(context.organization_id, context.user_id, "admin", permissions, f"user:{context.user_id}")


@pytest.fixture
async def session(opened: Database, ada: Principal) -> AsyncIterator[Session]:
    """A session of hers."""
    async with opened.session(ada.context(Origin())) as session:
        yield session


@pytest.fixture
async def call(opened: Database, ada: Principal) -> AsyncIterator[Callers]:
    """Calls as hers over HTTP."""
    async with calling(opened, ada=ada) as callers:
        yield callers
