"""A database of everything, and who calls it."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from freehold import Database, Principal, Session
from freehold.identity.principal import Origin
from tests.conftest import Server, new_context
from tests.server.calling import Callers, calling
from tests.values.everything import everything


@pytest.fixture(scope="session")
def everything_name(server: Server) -> str:
    """This worker's database, made anew for the run."""
    name = f"everything_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    asyncio.run(server.create_database(name, everything))
    return name


@pytest.fixture
async def opened(server: Server, everything_name: str) -> AsyncIterator[Database]:
    """That database, opened as the application role."""
    async with Database.open(server.address(everything_name, everything), everything, size=4) as database:
        yield database


@pytest.fixture
async def ada(opened: Database) -> Principal:
    """An administrator of a new organization."""
    context = await new_context(opened)
    permissions = everything.grants.permissions("admin")
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
