"""Writers that meet: exactly one makes each version, and units that lock each other out both go through."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Session, errors
from freehold.store.messages import Messenger
from tests.faults.ledger import log_agrees
from tests.probe import blocked, enter
from tests.world import Contact, Customer

Connection = asyncpg.Connection

RACES = int(os.environ.get("FREEHOLD_RACES", "10000"))
TASKS = 4
"""Pairs that race at the same time: each pair has a record of its own."""


async def test_of_two_writers_exactly_one_makes_each_version(acme: Session, admin: Connection) -> None:
    """Both change the version that is there, each by itself or in a unit of work that adds a record too."""
    won = {"single": 0, "unit": 0}

    async def single(record: Customer, version: int) -> bool:
        changed = await acme.update((Customer, record.id, version), visits=version)
        return changed.version == version + 1

    async def unit(record: Customer, version: int) -> bool:
        async with acme.unit_of_work() as made:
            made.update((Customer, record.id, version), credit=version)
            made.add(Contact, customer_id=record.id, name=str(version))
        return True

    kinds = [("single", "single"), ("single", "unit"), ("single", "single"), ("unit", "single"), ("unit", "unit")]
    ways = {"single": single, "unit": unit}

    async def pair(count: int) -> None:
        record, added = await acme.create(Customer, name="raced"), 0
        for version in range(1, count + 1):
            named = kinds[version % len(kinds)]
            outcomes = await asyncio.gather(*(ways[name](record, version) for name in named), return_exceptions=True)
            lost = [outcome for outcome in outcomes if outcome is not True]
            assert len(lost) == 1, f"version {version}: {outcomes}"
            (error,) = lost
            assert isinstance(error, errors.ConcurrencyError), f"version {version}: {error!r}"
            assert (error.expected, error.actual) == (version, version + 1)
            winner = named[outcomes.index(True)]
            won[winner] += 1
            added += winner == "unit"
        final = await acme.get(Customer, record.id)
        assert final.version == count + 1
        assert await acme.count(Contact, {"customer_id": record.id}) == added

    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(pair(RACES // TASKS))
    assert sum(won.values()) == RACES // TASKS * TASKS
    assert min(won.values()) > RACES // 20, won
    await log_agrees(admin, acme.context.organization_id)


async def test_units_that_deadlock_are_sent_again(
    acme: Session, raw: Connection, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each deletes one record, and adds to the one that the other deletes: PostgreSQL ends one of them, and it is sent again.

    By then what it would refer to is deleted, so it is refused, and nothing of it is left.
    """
    ended: list[BaseException] = []
    real = Messenger.write

    async def noting(messenger: Messenger, text: str, arguments: Sequence[Any], unit_id: UUID) -> Any:
        try:
            return await real(messenger, text, arguments, unit_id)
        except errors.FreeholdError as error:
            ended.append(error)
            raise

    monkeypatch.setattr(Messenger, "write", noting)

    async def crossing(one: Customer, other: Customer) -> None:
        async with acme.unit_of_work() as unit:
            unit.delete(one)
            unit.add(Contact, customer_id=other.id, name=one.name)

    names = set()
    for number in range(50):  # the one may be through before the other has waked up
        first = await acme.create(Customer, name=f"first {number}")
        second = await acme.create(Customer, name=f"second {number}")
        names |= {first.name, second.name}
        held = raw.transaction()
        await held.start()
        await enter(raw, acme.context)
        await raw.execute("select from app.customers where id in ($1, $2) for update", first.id, second.id)
        calls = [asyncio.create_task(crossing(first, second)), asyncio.create_task(crossing(second, first))]
        await blocked(admin, 2)
        await held.rollback()
        refused = [each for each in await asyncio.gather(*calls, return_exceptions=True) if each is not None]
        assert [type(each) for each in refused] == [errors.ReferenceError]
        if any(isinstance(error, errors.SerializationError) for error in ended):
            break
    assert {type(error) for error in ended} == {errors.SerializationError, errors.ReferenceError}
    customers = await acme.list(Customer, deleted=True, limit=1_000)
    assert {record.name for record in customers} == names
    gone = {record.name for record in customers if record.deleted_at is not None}
    assert {record.version for record in customers if record.name in gone} == {2}
    assert {record.version for record in customers if record.name not in gone} == {1}
    assert len(gone) == len(names) / 2
    assert {record.name for record in await acme.list(Contact, deleted=True, limit=1_000)} == gone
    await log_agrees(admin, acme.context.organization_id)
