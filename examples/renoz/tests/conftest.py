"""Which application is tested, and what its records need beyond their declarations."""

from decimal import Decimal

import pytest

from examples.renoz.entities import OrderLine, application
from freehold import Application, Session
from freehold.testing import Factory, Organizations


@pytest.fixture(scope="session")
def freehold_application() -> Application:
    """The CRM."""
    return application


@pytest.fixture
async def aurora(as_organization: Organizations) -> Session:
    """A sales manager of Aurora."""
    return await as_organization("aurora", user="grace", role="manager", permissions=["orders:confirm"])


@pytest.fixture
def factory(aurora: Session) -> Factory:
    """Makes records of Aurora."""
    factory = Factory(aurora)
    factory.define(OrderLine, quantity=2, unit_price=Decimal(10), amount=Decimal(20))  # the amount must add up
    return factory
