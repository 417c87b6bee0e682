"""Two chunks on their way at once: when they may, when they must not, and that what is told stays in order."""

import asyncio
import enum
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from freehold import Application, Context, Database, Entity, Session, Unique, counter, errors, field, reference
from freehold.model.context import new_id
from freehold.postgres.connections import Pool
from freehold.store.outcomes import BulkProgress, Outcome
from tests.conftest import Server
from tests.probe import scratch
from tests.store.test_bulk_create import actions, everything, names
from tests.world import Customer

WAIT = 10.0


class Gate:
    """Holds messages that write until they are let go, each by its number from 1."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: set[int]) -> None:
        self.begun = 0
        self.most = 0
        self._under_way = 0
        self._opened = {number: asyncio.Event() for number in held}
        self._changed = asyncio.Condition()
        real = Pool.fetch_row

        async def fetch_row(pool: Pool, text: str, arguments: Any, *, timeout: float | None = None) -> Any:
            if '"write"' not in text:
                return await real(pool, text, arguments, timeout=timeout)
            async with self._changed:
                self.begun += 1
                number = self.begun
                self._under_way += 1
                self.most = max(self.most, self._under_way)
                self._changed.notify_all()
            try:
                if number in self._opened:
                    await self._opened[number].wait()
                return await real(pool, text, arguments, timeout=timeout)
            finally:
                async with self._changed:
                    self._under_way -= 1
                    self._changed.notify_all()

        monkeypatch.setattr(Pool, "fetch_row", fetch_row)

    async def reached(self, condition: "Callable[[Gate], bool]") -> None:
        """Waits until something is so."""
        async with asyncio.timeout(WAIT), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    def open(self, number: int) -> None:
        self._opened[number].set()

    @property
    def under_way(self) -> int:
        return self._under_way


@asynccontextmanager
async def session_of(server: Server, *entities: type[Entity], size: int = 4) -> AsyncIterator[Session]:
    """A session on a database of its own."""
    declared = Application("scratch", entities=list(entities))
    async with (
        scratch(server, declared) as name,
        Database.open(server.address(name, declared), declared, size=size) as database,
        database.session(Context(new_id())) as session,
    ):
        yield session


async def settled() -> None:
    """Gives all tasks that could go on the time to do so."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_two_chunks_are_on_their_way_and_a_third_waits(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, {1, 2})
    call = asyncio.create_task(acme.create_many(Customer, names(8), chunk=2))
    await gate.reached(lambda gate: gate.under_way == 2)
    await settled()
    assert gate.begun == 2
    gate.open(1)
    gate.open(2)
    result = await call
    assert (result.created, gate.begun, gate.most) == (8, 4, 2)


async def test_what_is_told_keeps_the_order_of_the_items(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, {1})
    told: list[Outcome] = []
    progress: list[int] = []

    def on_progress(now: BulkProgress) -> None:
        progress.append(now.done)

    call = asyncio.create_task(
        acme.create_many(Customer, names(6), chunk=2, on_outcomes=told.extend, progress=on_progress)
    )
    await gate.reached(lambda gate: gate.begun == 2 and gate.under_way == 1)  # the second has ended before the first
    await settled()
    assert (told, progress) == ([], [])
    gate.open(1)
    await call
    assert [each.index for each in told] == list(range(6))
    assert progress == [2, 4, 6]
    assert {each.name for each in await everything(acme)} == {f"c{number}" for number in range(6)}


@pytest.mark.parametrize("other", ["one@x.test", "ONE@x.test"])
async def test_of_duplicates_in_two_chunks_the_later_one_fails(
    acme: Session, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    gate = Gate(monkeypatch, {1})
    items = [{"name": "a", "email": "one@x.test"}, {"name": "b"}, {"name": "c", "email": other}, {"name": "d"}]
    call = asyncio.create_task(acme.create_many(Customer, items, chunk=2))
    await gate.reached(lambda gate: gate.under_way == 1)
    await settled()
    assert gate.begun == 1  # the second chunk is not sent while the first is on its way
    gate.open(1)
    result = await call
    assert actions(result) == ["created", "created", "failed", "created"]
    assert [each.index for each in result.failures] == [2]
    assert isinstance(result.failures[0].error, errors.UniqueError)


async def test_a_pool_of_one_connection_is_enough(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Thing(Entity):
        name: str = field(max_length=20)

    queued = 0
    real = Pool._queue

    async def queue(pool: Pool, wait: float) -> Any:
        nonlocal queued
        queued += 1
        return await real(pool, wait)

    monkeypatch.setattr(Pool, "_queue", queue)
    async with session_of(server, Thing, size=1) as session:
        for chunk in (1, 40):
            assert (await session.create_many(Thing, names(90), chunk=chunk)).created == 90
        assert queued == 0  # the second chunk did not wait for the connection, which has a limit
    async with session_of(server, Thing, size=2) as session:
        await asyncio.gather(*(session.create_many(Thing, names(90), chunk=10) for _ in range(3)))
        assert await session.count(Thing) == 270


async def test_records_that_depend_on_each_other_are_sent_one_chunk_at_a_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Folder(Entity):
        name: str = field(max_length=20)
        parent_id: UUID | None = reference("self", default=None, reverse="children")
        inside: int = counter(of="File")

    class File(Entity):
        name: str = field(max_length=20)
        folder_id: UUID = reference(Folder)

    async with session_of(server, Folder, File) as session:
        gate = Gate(monkeypatch, set())
        made = await session.create_many(Folder, names(8), chunk=1)
        folders = [each.id for each in made.outcomes]
        items = [{"name": f"f{n}", "folder_id": folders[n % 8]} for n in range(40)]
        assert (await session.create_many(File, items, chunk=3)).created == 40
        assert gate.most == 1
        assert [each.inside for each in (await session.list(Folder)).records] == [5] * 8


async def test_inside_a_transaction_chunks_go_one_after_the_other(
    acme: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, set())
    result = await acme.create_many(Customer, names(9), chunk=2, atomic=True)
    assert (result.created, gate.most) == (9, 0)  # nothing by way of the pool


async def test_a_partial_key_holds_up_only_what_it_is_about(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Use(enum.Enum):
        MAIN = "main"
        OTHER = "other"

    class Address(Entity, unique=[Unique("owner", where={"use": "main"})]):
        owner: str = field(max_length=20)
        use: Use = field(default=Use.OTHER)

    async with session_of(server, Address) as session:
        gate = Gate(monkeypatch, {1})
        call = asyncio.create_task(session.create_many(Address, [{"owner": "x"}, {"owner": "x"}], chunk=1))
        await gate.reached(lambda gate: gate.begun == 2)
        gate.open(1)
        assert (await call).created == 2
        again = Gate(monkeypatch, {1})
        main = [{"owner": "x", "use": "main"}, {"owner": "x", "use": Use.MAIN}]
        call = asyncio.create_task(session.create_many(Address, main, chunk=1))
        await again.reached(lambda gate: gate.under_way == 1)
        await settled()
        assert again.begun == 1
        again.open(1)
        assert actions(await call) == ["created", "failed"]


async def test_a_cancelled_call_ends_with_both_chunks_ended(acme: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, {1, 2})
    call = asyncio.create_task(acme.create_many(Customer, names(6), chunk=2))
    await gate.reached(lambda gate: gate.under_way == 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert gate.under_way == 0
    assert await everything(acme) == []


async def test_what_the_caller_s_function_raises_ends_the_call_and_loses_nothing(acme: Session) -> None:
    def fails(_: BulkProgress) -> None:
        raise RuntimeError("the caller's own")

    with pytest.raises(errors.BulkError) as caught:
        await acme.create_many(Customer, names(20), chunk=2, progress=fails)
    assert isinstance(caught.value.__cause__, RuntimeError)
    told = [outcome.id for outcome in caught.value.result.outcomes]
    assert [each.id for each in await everything(acme)] == told
    assert len(told) in (2, 4)
