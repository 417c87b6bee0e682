"""The shop's database, and callers of two organizations."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from freehold import Context, Database, Principal
from tests.conftest import Server, new_context
from tests.functions.shop import reached, shop


@pytest.fixture
async def shop_database(server: Server, database_name: str) -> AsyncIterator[Database]:
    """The worker's database, with the shop's functions."""
    reached.clear()
    async with Database.open(server.address(database_name), shop, size=4) as database:
        yield database


def principal(context: Context, role: str = "admin") -> Principal:
    """A member with a role."""
    permissions = shop.grants.permissions(role)
    return Principal(context.organization_id, context.user_id, role, permissions, f"user:{context.user_id}")


def as_role(caller: Principal, role: str) -> Principal:
    """The same caller in another role."""
    return replace(caller, role=role, permissions=shop.grants.permissions(role))


@pytest.fixture
async def ada(shop_database: Database) -> Principal:
    """An administrator of a new organization."""
    return principal(await new_context(shop_database))


@pytest.fixture
async def eve(shop_database: Database) -> Principal:
    """An administrator of another one."""
    return principal(await new_context(shop_database))
