"""Bulk calls, imports and increments over connections that break, and on a server that is killed."""

import asyncio
from pathlib import Path
from random import Random
from uuid import UUID

import asyncpg
import pytest

from freehold import BulkResult, Database, Session, errors
from freehold.transfer import ImportResult, import_file
from tests.conftest import new_context
from tests.faults.bulk import bulk
from tests.faults.conftest import quiet
from tests.faults.killing import KILLS, mortal
from tests.faults.ledger import ROUNDS, SEED, Ledger
from tests.faults.proxy import Chance, Proxy
from tests.probe import plain, until
from tests.transfer.files import written
from tests.transfer.test_importing import state
from tests.world import Customer, application

Connection = asyncpg.Connection
ROWS = [
    "name,email,visits",
    *(f"Customer {n},c{n}@acme.example,{n}" if n % 9 else f",c{n}@acme.example,x" for n in range(90)),
]


async def test_bulk_calls_over_connections_that_break(
    way: Proxy, session: Session, acme: Session, rival: Session, admin: Connection
) -> None:
    ledger, chance = Ledger(parts=(1, 0, 0)), Random(f"bulk {SEED}")
    way.decide = Chance(f"bulk {SEED}", 0.15)

    async def caller(number: int) -> None:
        for turn in range(25 * ROUNDS):
            await bulk(session, ledger, f"{number}-{turn}", chance)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(caller(number))
    way.decide = lambda _: None
    await way.settled()
    await quiet(admin)
    await ledger.check(admin, acme)
    assert min(ledger.counts[:2]) > 20, ledger.counts
    assert way.cuts > 20, way.faults
    assert await rival.count(Customer) == 0


async def test_bulk_changes_over_connections_that_break(
    way: Proxy, session: Session, acme: Session, rival: Session, admin: Connection
) -> None:
    """Changed chunk by chunk, deleted and restored all together: each record is where its outcome says that it is."""
    broken = 0

    async def caller(number: int) -> None:
        nonlocal broken
        for turn in range(8 * ROUNDS):
            mark = f"{number}-{turn}"
            made = await acme.create_many(Customer, [{"name": mark} for _ in range(12)])
            ids = [outcome.id for outcome in made.outcomes if outcome.id is not None]
            kind = ("where", "update", "delete")[turn % 3]
            error: BaseException | None = None
            result: BulkResult | None = None
            try:
                if kind == "where":
                    result = await session.update_where(Customer, {"name": mark}, visits=1, chunk=5)
                elif kind == "update":
                    result = await session.update_many(Customer, [((id, 1), {"visits": 1}) for id in ids], chunk=5)
                else:
                    result = await session.delete_many(Customer, [(id, 1) for id in ids], chunk=5)
            except errors.BulkError as failure:
                error, result = failure.__cause__, failure.result
            except errors.FreeholdError as failure:
                error = failure
            told = {} if result is None else {outcome.id: outcome for outcome in result.outcomes}
            unknown = isinstance(error, errors.OutcomeUnknownError)
            assert error is not None or len(told) == len(ids)
            broken += error is not None
            expected[mark] = {id: {2} if id in told else {1, 2} if unknown else {1} for id in ids}

    expected: dict[str, dict[UUID, set[int]]] = {}
    way.decide = Chance(f"changes {SEED}", 0.15)
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(caller(number))
    way.decide = lambda _: None
    await way.settled()
    await quiet(admin)
    for mark, versions in expected.items():
        found = {record.id: record.version for record in await acme.list(Customer, where={"name": mark}, deleted=True)}
        assert set(found) == set(versions)
        assert {id: found[id] for id in found if found[id] not in versions[id]} == {}, mark
    assert broken > 5
    await Ledger(others=set(expected)).check(admin, acme)
    assert await rival.count(Customer) == 0


async def imported(session: Session, path: Path, report: Path, key: str | None) -> ImportResult:
    """The result of an import that is started again until it comes to its end."""
    for _ in range(50):
        try:
            return await import_file(session, Customer, path, chunk=7, errors=report, key=key)
        except (errors.UnavailableError, errors.OutcomeUnknownError, errors.TimeoutError):
            await asyncio.sleep(0.02)
    raise AssertionError("the import does not come to its end")


@pytest.mark.parametrize("key", [None, "email"])
async def test_imports_over_connections_that_break(
    way: Proxy, far: Database, acme: Session, admin: Connection, tmp_path: Path, key: str | None
) -> None:
    path = written(tmp_path, ROWS)
    whole = await import_file(acme, Customer, path, chunk=7, errors=tmp_path / "whole.csv", key=key)
    expected = await state(acme)
    for number in range(2 * ROUNDS):
        session = far.session(await new_context(far))
        way.decide = Chance(f"import {SEED} {number} {key}", 0.08)
        result = await imported(session, path, tmp_path / "cut.csv", key)
        way.decide = lambda _: None
        await way.settled()
        await quiet(admin)
        assert (result.created, result.refused, result.rows) == (whole.created, whole.refused, whole.rows)
        assert await state(session) == expected
        assert (tmp_path / "cut.csv").read_text() == (tmp_path / "whole.csv").read_text()
        await Ledger(others=await names(session)).check(admin, session)
    assert way.cuts > 5, way.faults


async def names(session: Session) -> set[str]:
    return {row["name"] for row in await session.sql(None, "select name from customers", limit=10_000)}


@pytest.mark.timeout(60 + 60 * ROUNDS)
async def test_a_server_that_is_killed_in_the_middle_of_them(tmp_path: Path) -> None:
    chance, path = Random(f"bulk kills {SEED}"), written(tmp_path, ROWS)
    async with mortal() as server, Database.open(server.address, application, size=6) as database:
        undisturbed = database.session(await new_context(database))
        whole = await import_file(undisturbed, Customer, path, chunk=7)
        expected = await state(undisturbed)
        session = database.session(await new_context(database))
        counter = await session.create(Customer, name="counter")
        ledger = Ledger(parts=(1, 0, 0), others={"counter"}, counted={counter.id})
        acknowledged = doubtful = 0

        async def increments(ended: asyncio.Event) -> None:
            nonlocal acknowledged, doubtful
            while not ended.is_set():
                try:
                    await session.increment(Customer, counter.id, visits=1)
                    acknowledged += 1
                except errors.OutcomeUnknownError:
                    doubtful += 1
                except errors.UnavailableError as error:
                    doubtful += error.unanswered
                await asyncio.sleep(0.002)

        async def bulks(ended: asyncio.Event, name: str) -> None:
            turn = 0
            while not ended.is_set():
                turn += 1
                await bulk(session, ledger, f"{name}-{turn}", chance)

        kinds = list(KILLS) * ROUNDS
        chance.shuffle(kinds)
        for number, kind in enumerate(kinds):
            ended = asyncio.Event()
            importer = database.session(await new_context(database))
            async with asyncio.TaskGroup() as group:
                group.create_task(bulks(ended, f"{number}-a"))
                group.create_task(bulks(ended, f"{number}-b"))
                group.create_task(increments(ended))
                importing = group.create_task(imported(importer, path, tmp_path / "killed.csv", "email"))
                await asyncio.sleep(chance.random() * 0.2)
                await server.kill(kind, chance)
                await until(server.serves, "the server is back")
                await importing
                ended.set()
            result = importing.result()
            assert (result.created, result.refused, result.rows) == (whole.created, whole.refused, whole.rows)
            assert await state(importer) == expected
            async with plain(server.server.admin_address(server.database)) as admin:
                await quiet(admin)
                await ledger.check(admin, session)
            views = (await session.get(Customer, counter.id)).visits
            assert acknowledged <= views <= acknowledged + doubtful
    assert acknowledged > 20
    assert ledger.counts[0] > 20, ledger.counts
