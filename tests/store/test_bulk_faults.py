"""Bulk calls whose replies are lost, whose connections break, and that meet each other."""

import asyncio
import os
from collections.abc import Awaitable
from random import Random
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, errors
from freehold.postgres.connections import Pool
from freehold.store.outcomes import BulkProgress, BulkResult
from tests.conftest import Server
from tests.probe import blocked, enter
from tests.store.test_bulk_create import actions, everything, names
from tests.store.test_bulk_update import made
from tests.world import Customer, application

Connection = asyncpg.Connection
ROUNDS = int(os.environ.get("FREEHOLD_FAULT_ROUNDS", "30"))
"""Of each test that breaks connections; at most 80."""


def losing(monkeypatch: pytest.MonkeyPatch, database: Database, lost: set[int], *, sent: bool) -> None:
    """Loses the messages of these numbers that write: before they are sent, or the replies to them."""
    number, real = 0, Pool.fetch_row

    async def fetch_row(self: Pool, text: str, arguments: Any, *, timeout: float | None = None) -> Any:
        nonlocal number
        if '"write"' not in text:
            return await real(self, text, arguments, timeout=timeout)
        number += 1
        if number not in lost:
            return await real(self, text, arguments, timeout=timeout)
        if sent:
            await real(self, text, arguments, timeout=timeout)
        error = errors.UnavailableError("the connection was lost")
        error.unanswered = True
        raise error

    monkeypatch.setattr(Pool, "fetch_row", fetch_row)


async def test_a_lost_reply_is_told_as_it_was(
    acme: Session, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.create(Customer, name="there", email="1@x.test", credit=1)
    losing(monkeypatch, database, {1, 3, 4}, sent=True)
    items = [{"name": "x", "email": f"{n}@x.test", "credit": 2} for n in range(6)]
    result = await acme.create_many(Customer, items, on_duplicate="update", chunk=2)
    assert actions(result) == ["created", "updated", *["created"] * 4]
    assert len(await everything(acme)) == 6
    ids = [(outcome.id, outcome.version) for outcome in result.outcomes]
    updated = await acme.update_many(Customer, [(each, {"visits": 1}) for each in ids], chunk=3)  # type: ignore[misc]
    assert updated.updated == 6
    assert [each.visits for each in await everything(acme)] == [1] * 6


async def test_a_message_that_did_not_arrive_ends_the_call(
    acme: Session, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(monkeypatch, database, {3}, sent=False)
    with pytest.raises(errors.BulkError) as caught:
        await acme.create_many(Customer, names(20), chunk=5)
    assert isinstance(caught.value.__cause__, errors.UnavailableError)
    assert not caught.value.__cause__.unanswered
    told = [each.index for each in caught.value.result.outcomes]
    assert told == [*range(10), *range(15, 20)]  # the fourth chunk was on its way beside the third
    assert caught.value.result.created == 15
    assert [each.id for each in await everything(acme)] == [each.id for each in caught.value.result.outcomes]


async def test_a_connection_that_breaks_in_the_middle(acme: Session, raw: Connection, admin: Connection) -> None:
    records = await made(acme, 9)
    async with raw.transaction():
        await enter(raw, acme.context)
        await raw.execute("select from app.customers where id = $1 for update", records[4].id)
        call = asyncio.create_task(acme.update_many(Customer, [(each, {"visits": 1}) for each in records], chunk=3))
        await blocked(admin, 1)
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        with pytest.raises(errors.BulkError) as caught:
            await call
    assert [outcome.id for outcome in caught.value.result.outcomes] == [each.id for each in records[:3]]
    assert [each.visits for each in await everything(acme)] == [1, 1, 1, *[0] * 6]


async def test_calls_that_meet_at_unique_keys_wait_for_each_other(
    acme: Session, raw: Connection, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In opposite order they would deadlock, did each not insert in the order of the key."""
    monkeypatch.setattr("freehold.store.delivery.ATTEMPTS", 1)
    emails = [f"{number:02}@x.test" for number in range(50)]
    async with raw.transaction():
        await enter(raw, acme.context)
        await raw.execute(
            "insert into app.customers (name, email, level, status, profile) values ('x', $1, 'low', 'active', '{}')",
            emails[25],
        )
        calls = [
            asyncio.create_task(
                acme.create_many(Customer, [{"name": name, "email": email} for email in order], on_duplicate="update")
            )
            for name, order in (("a", emails), ("b", emails[::-1]))
        ]
        await blocked(admin, 2)
    results = await asyncio.gather(*calls)
    assert sorted((result.created, result.updated) for result in results) == [(0, 50), (49, 1)]
    assert {(each.version, each.name) for each in await everything(acme)} <= {(2, "a"), (2, "b"), (3, "a"), (3, "b")}


async def test_many_calls_at_once_lose_nothing(acme: Session) -> None:
    """Tasks that raise and lower the same records, in orders of their own, with conflicts retried by reading again."""
    records = await made(acme, 30)

    async def work(seed: int) -> int:
        done = 0
        for turn in range(5):
            current = await acme.get_many(Customer, [each.id for each in records[(seed + turn) % 7 :: 3]])
            result = await acme.update_many(
                Customer, [(each, {"visits": each.visits + 1}) for each in current[:: -1 if seed % 2 else 1]], chunk=4
            )
            done += result.updated
        return done

    total = sum(await asyncio.gather(*(work(seed) for seed in range(6))))
    assert sum(each.visits for each in await everything(acme)) == total
    assert sum(each.version - 1 for each in await everything(acme)) == total


async def test_a_full_pool_is_waited_for(acme: Session, database: Database) -> None:
    told: list[BulkProgress] = []
    results = await asyncio.gather(
        *(acme.create_many(Customer, names(30), chunk=7, progress=told.append) for _ in range(12))
    )
    assert sum(result.created for result in results) == await acme.count(Customer) == 360
    assert sum(each.done == 30 for each in told) == 12


@pytest.mark.parametrize("way", ["create", "update", "delete"])
async def test_connections_that_break_at_any_moment(
    acme: Session, server: Server, database_name: str, admin: Connection, way: str
) -> None:
    """Whatever a call says of an item is what happened to it, and each chunk is whole."""
    random, acknowledged, broken = Random(way), set(), 0
    kill = (
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename = 'freehold_app' "
        "and pid <> pg_backend_pid()"
    )
    ids = [] if way == "create" else [each.id for each in await made(acme, ROUNDS * 12)]
    async with Database.open(server.address(database_name), application, size=2) as database:
        session = database.session(acme.context)
        for turn in range(ROUNDS):
            part = ids[turn * 12 : turn * 12 + 12]
            call: Awaitable[BulkResult] = {
                "create": lambda part=part: session.create_many(Customer, names(12), chunk=4),
                "update": lambda part=part: session.update_many(
                    Customer, [((id, 1), {"visits": 1}) for id in part], chunk=4
                ),
                "delete": lambda part=part: session.delete_many(Customer, [(id, 1) for id in part], chunk=4),
            }[way]()
            task = asyncio.ensure_future(call)
            if turn % 5:
                await asyncio.sleep(random.choice((0, 0.003, 0.01, 0.03, 0.1)) * random.random())  # any moment will do
                await admin.fetch(kill)
            try:
                result = await task
            except errors.BulkError as error:
                result, broken = error.result, broken + 1
            except errors.UnavailableError:
                broken += 1
                continue
            assert result.failed == 0
            assert len(result.outcomes) % 4 == 0
            acknowledged |= {outcome.id for outcome in result.outcomes}
    done = {"create": {}, "update": {"visits": 1}, "delete": {"deleted_at": {"is_null": False}}}[way]
    page = await acme.list(Customer, where=done, limit=1_000, deleted=True)
    assert {each.id for each in page} == acknowledged
    logged = await acme.history(Customer, limit=1_000)
    assert {change.record_id for change in logged if change.action == way} == acknowledged
    assert 0 < broken < ROUNDS
