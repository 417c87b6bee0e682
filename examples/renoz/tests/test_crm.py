"""What the CRM promises its users."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from examples.renoz.entities import (
    Activity,
    Address,
    Contact,
    Customer,
    InventoryItem,
    Order,
    OrderLine,
    Product,
    Reservation,
    application,
)
from freehold import Entity, Session, errors
from freehold.testing import Clock, Factory, Organizations


@pytest.mark.parametrize("full", [False, True], ids=["short", "full"])
@pytest.mark.parametrize(
    "entity",
    [Customer, Contact, Address, Product, InventoryItem, Order, OrderLine, Reservation, Activity],
    ids=lambda e: e.__name__,
)
@pytest.mark.freehold(isolation="rollback")
async def test_every_entity_can_be_made(aurora: Session, entity: type[Entity], full: bool) -> None:
    factory = Factory(aurora, full=full)
    price = Decimal(10)  # what follows is what the checks demand
    factory.define(Customer, status="active")
    factory.define(Contact, last_name="Hopper")
    factory.define(OrderLine, quantity=1, unit_price=price, discount_percent=0, amount=price)
    factory.define(Order, subtotal=price, tax=0, total=price)
    factory.define(InventoryItem, on_hand=5, reserved=1)
    first, second = await factory.create_many(entity, 2)
    assert await aurora.count(entity) == 2
    assert first.id != second.id


def test_every_entity_is_tried() -> None:
    assert len(application.registry.entities) == 9


async def test_a_customer_with_orders_stays(aurora: Session, factory: Factory) -> None:
    customer = await factory.create(Customer)
    order = await factory.create(Order, customer=customer)
    for way in (aurora.delete, aurora.purge):
        with pytest.raises(errors.ReferenceError):
            await way(customer)
    assert await aurora.get(Customer, customer.id) == customer
    assert (await aurora.get(Order, order.id)).customer_id == customer.id


async def test_lines_go_with_their_order(aurora: Session, factory: Factory) -> None:
    order = await factory.create(Order)
    lines = [await factory.create(OrderLine, order=order, position=position) for position in (1, 2, 3)]
    assert await aurora.aggregate(OrderLine, sum=["amount"]) != ()
    await aurora.delete(order)
    assert await aurora.get_many(OrderLine, [line.id for line in lines]) == []


async def test_each_customer_has_one_primary_contact(factory: Factory) -> None:
    customer = await factory.create(Customer)
    await factory.create(Contact, customer=customer, last_name="Hopper", is_primary=True)
    with pytest.raises(errors.UniqueError):
        await factory.create(Contact, customer=customer, last_name="Lovelace", is_primary=True)


async def test_two_who_confirm_an_order_at_once(aurora: Session, factory: Factory) -> None:
    order = await factory.create(Order)
    answers = await asyncio.gather(
        *(aurora.update(order, status="confirmed") for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(answer, Order) for answer in answers) == 1
    assert sum(isinstance(answer, errors.ConcurrencyError) for answer in answers) == 3


async def test_what_was_overdue_last_week(aurora: Session, factory: Factory, clock: Clock) -> None:
    monday = datetime(2026, 3, 2, 9, tzinfo=UTC)
    await clock.set(monday)
    order = await factory.create(Order, placed_on=monday.date(), due_on=monday.date())
    await clock.advance(timedelta(days=7))
    paid = await aurora.update(order, paid_on=(monday + timedelta(days=7)).date())
    assert [(change.action, change.at) for change in await aurora.history(paid)] == [
        ("update", monday + timedelta(days=7)),
        ("create", monday),
    ]


async def test_another_installer_sees_nothing(factory: Factory, as_organization: Organizations) -> None:
    line = await factory.create(OrderLine)
    borealis = await as_organization("borealis")
    for entity in (Customer, Product, Order, OrderLine):
        assert await borealis.count(entity) == 0
    with pytest.raises(errors.NotFoundError):
        await borealis.update((OrderLine, line.id, line.version), quantity=3)
