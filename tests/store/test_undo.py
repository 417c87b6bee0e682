"""Records that a unit of work has brought to what it wrote are brought back where its transaction is undone."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest

from freehold import Database, Session, errors
from freehold.testing import Organizations
from tests.world import Customer


class Undo(Exception):
    pass


@asynccontextmanager
async def undone(block: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    """A transaction or a savepoint that ends in an exception."""
    with suppress(Undo):
        async with block as opened:
            yield opened
            raise Undo


async def test_a_record_is_as_before_where_its_transaction_was_rolled_back(acme: Session) -> None:
    customer = await acme.create(Customer, name="Ada")
    gone = await acme.create(Customer, name="Bob")
    before = [customer.model_dump(), gone.model_dump()]
    async with undone(acme.transaction()) as transaction:
        async with transaction.unit_of_work() as unit:
            unit.update(customer, visits=5)
            unit.delete(gone)
            added = unit.add(Customer, name="Cay")
        assert (customer.version, gone.version, added.version) == (2, 2, 1)
        async with transaction.unit_of_work() as unit:
            unit.update(customer, visits=6)
        assert (customer.version, customer.visits) == (3, 6)
    assert [customer.model_dump(), gone.model_dump()] == before
    assert added.version == 0
    assert [await acme.get(Customer, record.id) for record in (customer, gone)] == [customer, gone]


async def test_a_copy_and_what_it_was_copied_from_are_as_before(acme: Session) -> None:
    customer = await acme.create(Customer, name="Ada")
    copied = customer.model_copy(update={"visits": 7})
    async with undone(acme.transaction()) as transaction, transaction.unit_of_work() as unit:
        unit.save(copied)
    assert (customer.version, customer.visits, copied.version, copied.visits) == (1, 0, 1, 7)
    async with acme.unit_of_work() as unit:
        unit.save(copied)
    assert (await acme.get(Customer, customer.id)).visits == 7
    assert (customer.version, copied.version) == (2, 2)


async def test_a_savepoint_takes_back_what_was_done_in_it_alone(acme: Session) -> None:
    customer = await acme.create(Customer, name="Ada")
    async with acme.transaction() as transaction:
        async with transaction.unit_of_work() as unit:
            unit.update(customer, visits=1)
        async with undone(transaction.savepoint()):
            async with transaction.unit_of_work() as unit:
                unit.update(customer, visits=2)
            async with transaction.savepoint(), transaction.unit_of_work() as unit:
                unit.update(customer, visits=3)
            assert (customer.version, customer.visits) == (4, 3)
        assert (customer.version, customer.visits) == (2, 1)
        async with transaction.unit_of_work() as unit:
            unit.update(customer, visits=4)
    assert (customer.version, customer.visits) == (3, 4)
    assert await acme.get(Customer, customer.id) == customer


async def test_work_that_is_run_again_finds_its_records_as_they_were(acme: Session, database: Database) -> None:
    customer = await acme.create(Customer, name="Ada")
    tries = 0

    async def work(transaction: Session) -> None:
        nonlocal tries
        tries += 1
        async with transaction.unit_of_work() as unit:
            unit.update(customer, visits=5)
        if tries == 1:
            raise errors.SerializationError("could not serialize access", sqlstate="40001")

    await database.run(acme.context, work)
    assert (tries, customer.version, customer.visits) == (2, 2, 5)


@pytest.mark.freehold(isolation="rollback")
async def test_the_same_where_the_test_is_rolled_back(as_organization: Organizations) -> None:
    acme = await as_organization()
    customer = await acme.create(Customer, name="Ada", email="ada@acme.example")
    async with acme.transaction() as transaction:
        unit = transaction.unit_of_work()
        unit.add(Customer, name="Twin", email="ada@acme.example")
        unit.update(customer, visits=1)
        with pytest.raises(errors.UniqueError):
            await unit.commit()
        async with undone(transaction.savepoint()), transaction.unit_of_work() as unit:
            unit.update(customer, visits=2)
        async with transaction.unit_of_work() as unit:
            unit.update(customer, visits=3)
    assert (customer.version, customer.visits) == (2, 3)
