"""Which application is tested, what its records need beyond their declarations, and who calls its functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from examples.renoz.entities import Customer, InventoryItem, Order, OrderLine, Product, application
from freehold import Application, Database, Principal, Session
from freehold.testing import Factory, Organizations


@pytest.fixture(scope="session")
def freehold_application() -> Application:
    """The CRM."""
    return application


@pytest.fixture
async def aurora(as_organization: Organizations) -> Session:
    """A sales manager of Aurora."""
    return await as_organization("aurora", user="grace", role="manager", permissions=["orders.confirm"])


@pytest.fixture
def factory(aurora: Session) -> Factory:
    """Makes records of Aurora."""
    return make_factory(aurora)


def make_factory(session: Session) -> Factory:
    factory = Factory(session)
    factory.define(OrderLine, quantity=2, unit_price=Decimal(10), amount=Decimal(20))  # the amount must add up
    return factory


@dataclass
class Desk:
    """An organization's office, from which functions are called.

    Args:
        database: of the CRM.
        session: of the organization.
    """

    database: Database
    session: Session

    def principal(self, role: str = "admin") -> Principal:
        """A member in a role."""
        context = self.session.context
        granted = application.grants.permissions(role)
        return Principal(context.organization_id, context.user_id, role, granted, f"user:{context.user_id}")

    async def call(self, name: str, role: str = "admin", key: str | None = None, **arguments: Any) -> Any:
        """Calls a function as a member in a role."""
        return await self.database.call(name, arguments, principal=self.principal(role), key=key)

    async def stocked(self, **by_warehouse: int) -> Product:
        """A product that lies in warehouses."""
        factory = make_factory(self.session)
        number = await self.session.count(Product)
        product = await factory.create(Product, sku=f"SKU-{number}", status="active", price=10)
        for warehouse, on_hand in by_warehouse.items():
            await self.session.create(InventoryItem, product_id=product.id, warehouse=warehouse, on_hand=on_hand)
        return product

    async def drafted(self, *lines: tuple[Product, int]) -> Order:
        """A draft of a new customer."""
        number = await self.session.count(Order)
        customer = await self.session.create(Customer, number=f"C-{number:05}", name=f"Customer {number}")
        order = await self.session.create(Order, customer_id=customer.id, number=f"SO-{number:05}")
        for position, (product, quantity) in enumerate(lines, start=1):
            amount = {"quantity": quantity, "unit_price": 10, "amount": quantity * 10}
            await self.session.create(OrderLine, order_id=order.id, product_id=product.id, position=position, **amount)
        return order

    async def stock(self, product: Product) -> dict[str, tuple[int, int]]:
        """What is on hand and reserved of a product, by warehouse."""
        items = await self.session.list(InventoryItem, where={"product_id": product.id})
        return {item.warehouse: (item.on_hand, item.reserved) for item in items}


@pytest.fixture
async def desk(database: Database, as_organization: Organizations) -> Desk:
    """Aurora's office."""
    return Desk(database, await as_organization("aurora"))


@pytest.fixture
async def other(database: Database, as_organization: Organizations) -> Desk:
    """Another organization's office."""
    return Desk(database, await as_organization("borealis"))


def versioned(orders: Sequence[Any]) -> list[dict[str, UUID | int]]:
    """Records as bulk commands take them."""
    return [{"id": order.id, "version": order.version} for order in orders]
