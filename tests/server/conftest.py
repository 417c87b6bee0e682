"""The shop over HTTP, with callers of two organizations."""

from collections.abc import AsyncIterator

import pytest

from freehold import Database, Principal
from tests.functions.conftest import ada, as_role, eve, shop_database
from tests.server.calling import Callers, calling

__all__ = ["ada", "eve", "shop_database"]


@pytest.fixture
async def call(shop_database: Database, ada: Principal, eve: Principal) -> AsyncIterator[Callers]:
    """Calls as `ada` or `eve`, of two organizations, or as `guest` of Ada's."""
    async with calling(shop_database, ada=ada, eve=eve, guest=as_role(ada, "guest")) as callers:
        yield callers
