"""Single writes whose connection breaks: what they say is never more than what is known."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import asyncpg
import pytest

from freehold import Session, errors
from tests.faults.conftest import quiet
from tests.faults.ledger import ROUNDS, SEED, Ledger, log_agrees
from tests.faults.proxy import POINTS, Chance, Fault, Once, Point, Proxy
from tests.world import Customer

Connection = asyncpg.Connection
Change = Callable[[Session, Customer], Awaitable[Customer]]

CHANGES: dict[str, Change] = {
    "update": lambda session, record: session.update(record, visits=record.visits + 1),
    "delete": lambda session, record: session.delete(record),
    "purge": lambda session, record: session.purge(record),
}


@pytest.mark.parametrize("point", ["before", "torn", "sent", "lost", "part"])
@pytest.mark.parametrize("action", ["create", *CHANGES])
async def test_a_write_in_doubt_says_so(
    way: Proxy, session: Session, acme: Session, admin: Connection, action: str, point: Point
) -> None:
    other = await session.create(Customer, name="other")
    record = await session.create(Customer, name="record")
    if action != "create":
        await CHANGES[action](session, other)  # prepared, on the one connection that is open
    mark = b"the-mark" if action == "create" else record.id.bytes
    way.decide = hit = Once(mark, Fault(point))
    with pytest.raises(errors.UnavailableError) as caught:
        await (session.create(Customer, name="the-mark") if action == "create" else CHANGES[action](session, record))
    assert hit.done.is_set()
    assert caught.value.unanswered
    assert "may have been made" in str(caught.value)
    assert "nothing was written" not in str(caught.value)
    await quiet(admin)
    if action == "create":
        written = await acme.exists(Customer, {"name": "the-mark"})
    else:
        found = {each.id: each for each in await acme.get_many(Customer, [record.id])}
        written = found.get(record.id) != record
    if point != "sent":
        assert written is (point in ("lost", "part"))
    await log_agrees(admin, acme.context.organization_id)


async def test_a_write_that_is_cancelled_is_whole_or_not_there(
    way: Proxy, session: Session, acme: Session, admin: Connection
) -> None:
    record = await acme.create(Customer, name="account")
    way.decide = Chance(SEED, 0.1, ("slow",))
    chance = Random(SEED)
    done = 0
    for _ in range(60 * ROUNDS):
        record = await acme.get(Customer, record.id)
        call = asyncio.ensure_future(session.update(record, visits=record.visits + 1))
        await asyncio.wait([call], timeout=chance.random() * 0.004)
        call.cancel()
        try:
            await call
            done += 1
        except asyncio.CancelledError:
            pass
        except (
            errors.TimeoutError
        ) as error:  # the server got the cancellation of the call before, and this one in its place
            assert not error.unanswered  # noqa: PT017  # it comes some of the times
        await quiet(admin)
    final = await acme.get(Customer, record.id)
    assert final.visits == final.version - 1 >= done
    await log_agrees(admin, acme.context.organization_id)


async def test_hundreds_of_cuts(way: Proxy, session: Session, acme: Session, rival: Session, admin: Connection) -> None:
    """Created, then changed again and again by whoever can: each version is told of once, or is in doubt."""
    account = await acme.create(Customer, name="account")
    ledger = Ledger(parts=(1, 0, 0), others={"account"})
    way.decide = Chance(SEED, 0.2)
    versions: list[int] = []
    doubtful: list[int] = []

    async def caller(number: int) -> None:
        for turn in range(40 * ROUNDS):
            mark = f"{number}-{turn}"
            try:
                await session.create(Customer, name=mark)
            except errors.FreeholdError as error:
                ledger.tell(mark, error)
            else:
                ledger.tell(mark, None)
            read = await acme.get(Customer, account.id)
            try:
                versions.append((await session.update(read, visits=read.visits + 1)).version)
            except errors.ConcurrencyError:
                pass
            except errors.FreeholdError as error:
                if error.unanswered:
                    doubtful.append(read.version + 1)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(caller(number))
    way.decide = lambda _: None
    await way.settled()
    await quiet(admin)
    written = await ledger.check(admin, acme)
    final = await acme.get(Customer, account.id)
    assert len(versions) == len(set(versions)), "two were told that they had made one version"
    assert set(range(2, final.version + 1)) - set(versions) <= set(doubtful)
    assert all(way.faults[point] > 5 for point in POINTS), way.faults
    assert 0 < len(written) < len(ledger.doubt)
    assert min(ledger.counts[0], ledger.counts[2]) > 20, ledger.counts
    assert await rival.count(Customer) == 0
