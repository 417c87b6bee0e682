import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from freehold import Database
from freehold.postgres.connections import Pool
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
    """What the pool sends from now on."""
    messages: list[Sent] = []

    def listen(name: str) -> None:
        method = getattr(Pool, name)

        async def listening(pool: Pool, text: str, arguments: Sequence[Any], **options: Any) -> Any:
            found = await method(pool, text, arguments, **options)
            rows = found
            messages.append(Sent(text, tuple(arguments), [tuple(row.values()) for row in rows]))
            return found

        monkeypatch.setattr(Pool, name, listening)

    for name in ("fetch",):
        if hasattr(Pool, name):
            listen(name)
    return messages
