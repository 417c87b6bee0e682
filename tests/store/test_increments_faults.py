"""Increments whose connection breaks: what was acknowledged is there, what was refused is not, and nothing is there twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from freehold import Database, Session, errors
from tests.conftest import Server, new_context
from tests.counted import Resource, application
from tests.probe import until
from tests.wire import Cut, Wire, wire

Connection = asyncpg.Connection
MESSAGE = b'"rows":['
"""What is in each message that increments."""


@pytest.fixture
async def way(server: Server, library_name: str) -> AsyncIterator[Wire]:
    async with wire(server.address(library_name, application)) as way:
        yield way


@pytest.fixture
async def far(way: Wire) -> AsyncIterator[Database]:
    """The database, at the other end of the wire."""
    async with Database.open(way.address, application, size=4) as database:
        yield database


@pytest.fixture
async def session(far: Database) -> AsyncIterator[Session]:
    async with far.session(await new_context(far)) as session:
        yield session


async def views(session: Session, id: UUID) -> int:
    record = await session.get(Resource, id)
    return record.views


async def logged(session: Session, id: UUID) -> int:
    """What the log's changes add up to."""
    changes, last = 0, None
    while page := await session.history((Resource, id), limit=1_000, before=last):
        changes += sum(
            change.diff["views"][1] - change.diff["views"][0] for change in page if change.action == "update"
        )
        last = page[-1].position
    return changes


@pytest.mark.parametrize(("cut", "made"), [("before", False), ("after", True)])
async def test_a_connection_that_breaks_once(way: Wire, session: Session, cut: Cut, made: bool) -> None:
    """Where the answer is lost, the increment is asked about; where the message is, it fails, and is not made later."""
    record = await session.create(Resource, name="one")
    cuts: list[Cut | None] = [cut]
    way.cut(MESSAGE, lambda: cuts.pop() if cuts else None)
    results = await asyncio.gather(
        *(session.increment(Resource, record.id, views=1) for _ in range(5)), return_exceptions=True
    )
    assert way.cuts == 1
    if made:
        assert results == [None] * 5
    else:
        assert all(isinstance(result, errors.UnavailableError) for result in results)
        assert "nothing was written" in str(results[0])
    assert await views(session, record.id) == (5 if made else 0)


async def test_a_record_that_is_missing_is_told_after_a_lost_answer_too(way: Wire, session: Session) -> None:
    record = await session.create(Resource, name="one")
    gone = await session.delete(await session.create(Resource, name="gone"))
    cuts: list[Cut | None] = ["after"]
    way.cut(MESSAGE, lambda: cuts.pop() if cuts else None)
    results = await asyncio.gather(
        *(session.increment(Resource, id, views=1) for id in (record.id, gone.id)), return_exceptions=True
    )
    assert way.cuts == 1
    assert [type(result) for result in results] == [type(None), errors.NotFoundError]
    assert await views(session, record.id) == 1


async def test_hundreds_of_cuts_neither_lose_nor_double(way: Wire, far: Database, session: Session) -> None:
    """Durable and in memory, while the connection breaks at every third message."""
    record = await session.create(Resource, name="one")
    chance = random.Random(7)
    way.cut(MESSAGE, lambda: chance.choice(("before", "during", "after")) if chance.random() < 0.34 else None)
    acknowledged = refused = 0

    async def caller(number: int) -> None:
        nonlocal acknowledged, refused
        while way.cuts < 200:
            if number == 0:
                await session.increment(Resource, record.id, views=1, ack="memory")
                acknowledged += 1
                await asyncio.sleep(0)
            try:
                await session.increment(Resource, record.id, views=1)
                acknowledged += 1
            except errors.UnavailableError:
                refused += 1

    await asyncio.gather(*(caller(number) for number in range(8)))
    way.cut(b"", lambda: None)

    async def drained() -> bool:
        return far.increments.waiting == 0

    await until(drained, "all increments are made")
    assert refused > 0
    assert far.increments.lost == 0
    assert await views(session, record.id) == acknowledged == await logged(session, record.id)


async def test_a_server_that_ends_connections(library: Database, shelf: Session, keeper: Connection) -> None:
    """The administrator ends whatever connection is at work, again and again."""
    record = await shelf.create(Resource, name="one")
    acknowledged = refused = ended = 0
    text = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() "
        "and usename = $1 and state = 'active' and query ~ 'increment'"
    )

    async def caller() -> None:
        nonlocal acknowledged, refused
        while ended < 100 or refused + acknowledged <= 100:  # one call may meet several ends
            try:
                await shelf.increment(Resource, record.id, views=1)
                acknowledged += 1
            except errors.UnavailableError:
                refused += 1

    async def ending() -> None:
        nonlocal ended
        while ended < 100:
            ended += await keeper.fetchval(text, application.roles.application)

    await asyncio.gather(ending(), *(caller() for _ in range(8)))
    assert await views(shelf, record.id) == acknowledged == await logged(shelf, record.id)
    assert refused + acknowledged > 100
    assert library.increments.refused == refused
