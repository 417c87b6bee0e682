import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from freehold import Database
from freehold.postgres.clock import Values
from freehold.postgres.connections import Pool
from freehold.postgres.transactions import HeldTransaction
from tests.conftest import Server
from tests.sql.messages import Sent
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


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """What is sent from now on, on the pool's connections and in transactions."""
    messages: list[Sent] = []

    def listen(cls: type) -> None:
        method = cls.fetch  # type: ignore[attr-defined]

        async def listening(channel: Any, text: str, arguments: Values, **options: Any) -> Any:
            found = await method(channel, text, arguments, **options)
            messages.append(Sent(text, arguments, [tuple(row.values()) for row in found]))
            return found

        monkeypatch.setattr(cls, "fetch", listening)

    listen(Pool)
    listen(HeldTransaction)
    return messages
