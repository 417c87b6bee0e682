"""Connections that break at one point of one message: what the caller is told then, and what is there."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Database, Session, errors
from freehold.model.context import new_id
from freehold.store.messages import Messenger
from tests.faults.conftest import quiet
from tests.faults.ledger import log_agrees
from tests.faults.proxy import Fault, Once, Point, Proxy
from tests.probe import blocked, enter
from tests.world import Contact, Customer, Order

Connection = asyncpg.Connection
NOT_SENT: tuple[Point, ...] = ("before", "torn")
REPLIED: tuple[Point, ...] = ("lost", "part")


async def warm(session: Session) -> Customer:
    """Has the statements prepared on a connection, so that the next message is the one that writes."""
    return (await unit(session, "warm"))[0]


async def unit(session: Session, mark: str, key: str | None = None) -> tuple[Customer, Any]:
    made = session.unit_of_work(key)
    customer = made.add(Customer, name=mark)
    made.add(Contact, customer_id=customer.id, name=mark)
    made.add(Order, customer_id=customer.id, number=mark, total=1)
    return customer, await made.commit()


async def counts(session: Session, mark: str) -> list[int]:
    return [
        await session.count(Customer, {"name": mark}),
        await session.count(Contact, {"name": mark}),
        await session.count(Order, {"number": mark}),
    ]


@pytest.mark.parametrize("point", NOT_SENT)
async def test_a_unit_that_does_not_arrive(way: Proxy, session: Session, acme: Session, point: Point) -> None:
    await warm(session)
    way.decide = hit = Once(b"lost-unit", Fault(point))
    with pytest.raises(errors.UnavailableError) as caught:
        await unit(session, "lost-unit")
    assert hit.done.is_set()
    assert (caught.value.unanswered, caught.value.hint) == (False, "nothing was written; retry")
    assert await counts(acme, "lost-unit") == [0, 0, 0]
    await unit(session, "lost-unit")
    assert await counts(acme, "lost-unit") == [1, 1, 1]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("point", REPLIED)
async def test_a_unit_whose_reply_does_not_arrive(
    way: Proxy, session: Session, acme: Session, admin: Connection, point: Point, share: float
) -> None:
    await warm(session)
    way.decide = hit = Once(b"lost-reply", Fault(point, share=share))
    customer, commit = await unit(session, "lost-reply")
    assert hit.done.is_set()
    assert (commit.repeated, customer.version) == (False, 1)
    assert customer == await acme.get(Customer, customer.id)
    logged = "select distinct xid from freehold.log where record_id = $1"
    assert await admin.fetchval(logged, customer.id) == commit.position
    assert await acme.settle(commit.unit_id) == commit
    assert await counts(acme, "lost-reply") == [1, 1, 1]


async def test_a_unit_that_arrives_when_it_is_given_up(
    way: Proxy, session: Session, acme: Session, admin: Connection
) -> None:
    """The message is still on its way when the database is asked: it must not be executed afterwards."""
    await warm(session)
    arrives = asyncio.Event()
    way.decide = hit = Once(b"late-unit", Fault("late", hold=arrives))
    with pytest.raises(errors.UnavailableError) as caught:
        await unit(session, "late-unit")
    assert hit.done.is_set()
    assert caught.value.hint == "nothing was written; retry"
    arrives.set()
    await way.settled()
    await quiet(admin)
    assert await counts(acme, "late-unit") == [0, 0, 0]
    await unit(session, "late-unit")
    assert await counts(acme, "late-unit") == [1, 1, 1]


@pytest.mark.parametrize("ends", ["committed", "refused"])
async def test_a_unit_that_is_under_way_and_noted_is_waited_for(
    way: Proxy, session: Session, acme: Session, raw: Connection, admin: Connection, ends: str
) -> None:
    """With a key, a unit is noted before it does anything."""
    customer = await warm(session)
    await unit(session, "warm by key", key="warm")

    async def change() -> None:
        async with session.unit_of_work(key="k") as made:
            made.update(customer, name="under-way")
            made.add(Contact, customer_id=customer.id, name="under-way")

    way.decide = hit = Once(b"under-way", Fault("sent"))
    async with holding(raw, acme, customer) as held:
        call = asyncio.create_task(change())
        await asyncio.wait_for(hit.done.wait(), 20)
        await blocked(admin, 2)  # the unit on the row, and who asks for it on the unit
        assert not call.done()
        await (held.rollback() if ends == "committed" else held.commit())
    if ends == "committed":
        await call
        assert customer.version == 2
        assert await acme.get(Customer, customer.id) == customer
    else:
        with pytest.raises(errors.UnavailableError) as caught:
            await call
        assert caught.value.hint == "nothing was written; retry"
        assert (await acme.get(Customer, customer.id)).name == "warm"
    assert await acme.count(Contact, {"name": "under-way"}) == int(ends == "committed")


async def test_a_unit_that_is_under_way_and_not_noted_is_refused(
    way: Proxy, session: Session, acme: Session, raw: Connection, admin: Connection
) -> None:
    """Without one it is noted at its end, and finds there that it was given up."""
    customer = await warm(session)
    way.decide = hit = Once(b"under-way", Fault("sent"))
    async with holding(raw, acme, customer) as held:
        with pytest.raises(errors.UnavailableError) as caught:
            async with session.unit_of_work() as made:
                made.update(customer, name="under-way")
                made.add(Contact, customer_id=customer.id, name="under-way")
        assert hit.done.is_set()
        assert caught.value.hint == "nothing was written; retry"
        await blocked(admin, 1)  # the unit still waits for the row
        await held.rollback()
    await quiet(admin)
    assert (await acme.get(Customer, customer.id)).version == 1
    assert not await acme.exists(Contact, {"name": "under-way"})
    assert customer.version == 1
    async with session.unit_of_work() as made:
        made.update(customer, name="again")
    assert await acme.get(Customer, customer.id) == customer


@asynccontextmanager
async def holding(raw: Connection, session: Session, customer: Customer) -> AsyncIterator[Any]:
    """A transaction that has changed a record, and is still open."""
    held = raw.transaction()
    await held.start()
    await enter(raw, session.context)
    await raw.execute("update app.customers set credit = 7, version = version + 1 where id = $1", customer.id)
    yield held


def told_of(outcome: Any, number: int) -> Any:
    """Whether the commit was a repetition; the number where nothing was written."""
    if isinstance(outcome, errors.UnavailableError):
        assert (outcome.unanswered, outcome.hint) == (False, "nothing was written; retry")
        return number
    return outcome[1].repeated


async def test_a_key_is_done_once_whatever_is_lost(way: Proxy, session: Session, acme: Session) -> None:
    await warm(session)
    outcomes = []
    for number, point in enumerate(("before", "lost", "lost", "part", "torn")):
        way.decide = Once(b"by-key", Fault(point))  # type: ignore[arg-type]
        outcome = await asyncio.gather(unit(session, "by-key", key="k"), return_exceptions=True)
        outcomes += [told_of(each, number) for each in outcome]
    # A reply that is lost of a repetition tells nothing: it wrote nothing, and is to be repeated.
    assert outcomes == [0, False, 2, 3, 4]
    assert (await unit(session, "by-key", key="k"))[1].repeated
    assert await counts(acme, "by-key") == [1, 1, 1]


@pytest.mark.parametrize("hit", ["reply", "read"])
async def test_what_a_deletion_touched_is_read_after_the_commit(
    way: Proxy, session: Session, acme: Session, admin: Connection, hit: str
) -> None:
    """The order that is changed loses its contact in the same unit. That the reading fails does not undo the commit."""
    customer = await warm(session)
    contact = await acme.create(Contact, customer_id=customer.id, name="boss")
    order = await acme.create(Order, customer_id=customer.id, contact_id=contact.id, number="old", total=1)
    if hit == "reply":
        way.decide = once = Once(b"touched-by", Fault("lost"))
    else:
        way.decide = once = Once(order.id.bytes, Fault("before"))
    made = session.unit_of_work()
    made.update(order, number="touched-by")
    made.delete(contact)
    commit = await made.commit()
    assert once.done.is_set()
    settled = await acme.settle(commit.unit_id)
    assert settled == commit
    stored = await acme.get(Order, order.id)
    assert (stored.contact_id, stored.number, stored.version) == (None, "touched-by", 3)
    if hit == "reply":
        assert order == stored
    else:
        with pytest.raises(errors.ConcurrencyError):
            await acme.update(order, total=2)
    with pytest.raises(errors.ValidationError, match="is committed"):
        await made.commit()
    await log_agrees(admin, acme.context.organization_id)


async def test_a_refusal_that_cannot_be_explained_is_one(way: Proxy, session: Session, acme: Session) -> None:
    """The second message, which tries each change by itself, is lost: nothing was written, and that is what is said."""
    await acme.create(Customer, name="taken", email="a@x.test")
    made = session.unit_of_work()
    made.add(Customer, name="new", email="a@x.test")
    way.decide = hit = Once(b'[{"function":', Fault("lost"))
    with pytest.raises(errors.UnavailableError) as caught:
        await made.commit()
    assert hit.done.is_set()
    assert (caught.value.unanswered, caught.value.hint) == (False, "nothing was written; retry")
    with pytest.raises(errors.UniqueError):
        await made.commit()
    assert await acme.count(Customer) == 1


async def test_a_commit_that_is_cancelled_can_be_settled(way: Proxy, session: Session, acme: Session) -> None:
    """Whoever cancels it, or bounds it in time, hears nothing; the unit has its id."""
    await warm(session)
    for mark, delay in (("cancelled-a", 0.0), ("cancelled-b", 0.05)):
        made = session.unit_of_work()
        known = made.id
        customer = made.add(Customer, name=mark)
        way.decide = hit = Once(mark.encode(), Fault("slow", delay=delay))
        call = asyncio.create_task(made.commit())
        await asyncio.wait_for(hit.done.wait(), 20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert made.id == known
        settled = await acme.settle(made.id)
        assert (settled is not None) is await acme.exists(Customer, {"id": customer.id})


async def test_a_unit_whose_note_is_gone_is_not_said_to_be_undone(acme: Session) -> None:
    old = UUID(int=(int((time.time() - 49 * 3600) * 1000) << 80) | (7 << 76) | (2 << 62))
    with pytest.raises(errors.HistoryError, match="kept for two days"):
        await acme.settle(old)
    assert await acme.settle(new_id()) is None


async def test_a_database_that_cannot_be_asked(
    way: Proxy, session: Session, far: Database, acme: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome is unknown, and is told when the database is back."""
    monkeypatch.setattr("freehold.store.messages.SETTLING", 0.1)
    for mark, point, written in (("unknown-a", "before", False), ("unknown-b", "lost", True)):
        await warm_again(session, mark)
        hit = Once(mark.encode(), Fault(point))  # type: ignore[arg-type]

        def decide(request: bytes, hit: Once = hit) -> Fault | None:
            fault = hit(request)
            way.down = way.down or fault is not None
            return fault or (Fault("before") if way.down else None)

        way.decide = decide
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await unit(session, mark)
        way.down, way.decide = False, lambda _: None
        settled = await session.settle(caught.value.unit_id)  # type: ignore[arg-type]
        assert (settled is not None) is written
        assert await counts(acme, mark) == [int(written)] * 3


async def warm_again(session: Session, mark: str) -> None:
    await unit(session, f"warm {mark[::-1]}")


async def test_a_server_that_is_not_there_is_told_at_once(
    way: Proxy, session: Session, far: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, so nothing is in doubt, and nobody waits."""
    way.shut()
    asked = []

    async def settle(messenger: Messenger, unit_id: UUID) -> None:
        asked.append(unit_id)

    monkeypatch.setattr(Messenger, "settle", settle)
    for _ in range(2):
        with pytest.raises(errors.UnavailableError) as caught:
            await unit(session, "nobody")
        assert not caught.value.unanswered
    with pytest.raises(errors.UnavailableError):
        await session.create(Customer, name="nobody")
    assert len(asked) <= 1  # one connection was there when the first was sent, and was found to be cut
