"""Concurrent gets of one tick of the event loop are one message, whoever of them is cancelled or fails."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, errors
from freehold.model.context import new_id
from freehold.store.reader import MAXIMUM_IDS
from tests.probe import blocked
from tests.world import Contact, Customer


@pytest.fixture
def messages(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of the messages that the database's pool sends."""
    sent: list[str] = []
    for name in ("fetch",):
        method = getattr(database._store.pool, name)

        async def counted(text: str, arguments: Sequence[Any], *, method: Any = method, **options: Any) -> Any:
            sent.append(text)
            return await method(text, arguments, **options)

        monkeypatch.setattr(database._store.pool, name, counted)
    return sent


@pytest.fixture
async def customers(acme: Session) -> list[Customer]:
    return [await acme.create(Customer, name=str(n), tax_number="T") for n in range(4)]


async def test_gets_of_one_tick_are_one_message(acme: Session, customers: list[Customer], messages: list[str]) -> None:
    found = await asyncio.gather(*(acme.get(Customer, each.id) for each in customers))
    assert found == customers
    assert len(messages) == 1


async def test_gets_of_one_record_are_one_message(
    acme: Session, customers: list[Customer], messages: list[str]
) -> None:
    found = await asyncio.gather(*(acme.get(Customer, id) for id in [customers[0].id, str(customers[0].id)] * 3))
    assert found == [customers[0]] * 6
    assert len(messages) == 1


async def test_gets_one_after_the_other_are_messages_of_their_own(
    acme: Session, customers: list[Customer], messages: list[str]
) -> None:
    for each in customers:
        assert await acme.get(Customer, each.id) == each
    assert len(messages) == len(customers)


async def test_gets_of_different_kinds_do_not_mix(
    acme: Session, rival: Session, customers: list[Customer], messages: list[str]
) -> None:
    contact = await acme.create(Contact, customer_id=customers[0].id, name="x")
    gone = await acme.delete(customers[3])
    messages.clear()
    public, private, deleted, hidden, other, foreign = await asyncio.gather(
        acme.get(Customer, customers[0].id),
        acme.get(Customer, customers[0].id, private=True),
        acme.get(Customer, gone.id, deleted=True),
        acme.get(Customer, gone.id),
        acme.get(Contact, contact.id),
        rival.get(Customer, customers[0].id),
        return_exceptions=True,
    )
    assert len(messages) == 5
    assert (public, deleted, other) == (customers[0], gone, contact)
    assert private.tax_number == "T"
    assert "tax_number" not in public.model_dump()
    assert isinstance(hidden, errors.NotFoundError)
    assert isinstance(foreign, errors.NotFoundError)


async def test_an_absent_id_fails_for_its_own_get_only(
    acme: Session, customers: list[Customer], messages: list[str]
) -> None:
    for absent_first in (True, False):
        messages.clear()
        absent = new_id()
        ids = [absent, customers[0].id] if absent_first else [customers[0].id, absent]
        results = await asyncio.gather(*(acme.get(Customer, id) for id in ids), return_exceptions=True)
        assert len(messages) == 1
        missing, found = results if absent_first else reversed(results)
        assert found == customers[0]
        assert isinstance(missing, errors.NotFoundError)
        assert missing.id == absent


async def test_a_wrong_id_fails_before_any_message(
    acme: Session, customers: list[Customer], messages: list[str]
) -> None:
    results = await asyncio.gather(
        acme.get(Customer, "no id"), acme.get(Customer, customers[0].id), return_exceptions=True
    )
    assert isinstance(results[0], errors.ValidationError)
    assert results[1] == customers[0]
    assert len(messages) == 1


@pytest.mark.parametrize("cancelled", [0, 1, 3], ids=["leader", "follower", "last"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_others_get_their_records_when_one_is_cancelled(
    acme: Session,
    customers: list[Customer],
    messages: list[str],
    admin: asyncpg.Connection,
    cancelled: int,
    moment: str,
) -> None:
    """Cancelled before the message is sent, or while it waits for its answer."""
    transaction = admin.transaction()
    await transaction.start()
    if moment == "after":
        await admin.execute("lock table app.customers in access exclusive mode")
    tasks = [asyncio.ensure_future(acme.get(Customer, each.id)) for each in customers]
    if moment == "after":
        await blocked(admin, 1)
    else:
        await asyncio.sleep(0)
    tasks[cancelled].cancel()
    await asyncio.sleep(0)
    await transaction.rollback()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, (result, customer) in enumerate(zip(results, customers, strict=True)):
        if number == cancelled:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert result == customer
    assert len(messages) == (2 if cancelled == 0 and moment == "after" else 1)
    assert await acme.get(Customer, customers[0].id) == customers[0]


async def test_all_are_cancelled(acme: Session, customers: list[Customer], messages: list[str]) -> None:
    tasks = [asyncio.ensure_future(acme.get(Customer, each.id)) for each in customers]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {asyncio.CancelledError}
    assert messages == []
    assert await acme.get(Customer, customers[1].id) == customers[1]


async def test_a_timeout_is_everybody_s(
    database: Database, acme: Session, customers: list[Customer], messages: list[str], admin: asyncpg.Connection
) -> None:
    async with database.session(acme.context, timeout=0.2) as session:
        async with admin.transaction():
            await admin.execute("lock table app.customers in access exclusive mode")
            results = await asyncio.gather(
                *(session.get(Customer, each.id) for each in customers), return_exceptions=True
            )
        assert {type(result) for result in results} == {errors.TimeoutError}
        assert len(messages) == 1
        assert await session.get(Customer, customers[0].id) == customers[0]


async def test_an_error_that_nobody_waits_for_is_not_reported_as_lost(
    database: Database, acme: Session, customers: list[Customer], admin: asyncpg.Connection
) -> None:
    """All followers are gone when the leader's message fails."""
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with database.session(acme.context, timeout=0.3) as session, admin.transaction():
        await admin.execute("lock table app.customers in access exclusive mode")
        leader, follower = [asyncio.ensure_future(session.get(Customer, each.id)) for each in customers[:2]]
        await blocked(admin, 1)
        follower.cancel()
        with pytest.raises(errors.TimeoutError):
            await leader
        with pytest.raises(asyncio.CancelledError):
            await follower
    del leader, follower
    gc.collect()
    await asyncio.sleep(0)
    assert reported == []


async def test_more_gets_than_one_message_takes_are_several(acme: Session, messages: list[str]) -> None:
    made = await acme.create(Customer, name="x")
    messages.clear()
    ids = [new_id() for _ in range(MAXIMUM_IDS + 10)] + [made.id]
    results = await asyncio.gather(*(acme.get(Customer, id) for id in ids), return_exceptions=True)
    assert results[-1] == made
    assert all(isinstance(result, errors.NotFoundError) for result in results[:-1])
    assert len(messages) == 2


async def test_get_many_keeps_the_order_of_the_ids(
    acme: Session, customers: list[Customer], messages: list[str]
) -> None:
    ids = [customers[2].id, new_id(), customers[0].id, customers[2].id, str(customers[1].id)]
    assert await acme.get_many(Customer, ids) == [customers[2], customers[0], customers[1]]
    assert len(messages) == 1
    assert await acme.get_many(Customer, []) == []
    assert len(messages) == 1
