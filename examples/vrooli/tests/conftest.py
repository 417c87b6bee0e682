"""Which application is tested, its sessions, and what its records need beyond their declarations."""

from datetime import UTC, datetime

import pytest

from examples.vrooli.entities import Run, application
from freehold import Application, Session
from freehold.testing import Factory, Organizations

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""The moment at which operations happen, where it does not matter which one."""


@pytest.fixture(scope="session")
def freehold_application() -> Application:
    """The workspace's."""
    return application


@pytest.fixture
async def acme(as_organization: Organizations) -> Session:
    """Ada's session in Acme's workspace."""
    return await as_organization("acme", user="ada")


@pytest.fixture
async def rival(as_organization: Organizations) -> Session:
    """Eve's session in another workspace."""
    return await as_organization("rival", user="eve")


@pytest.fixture
def factory(acme: Session) -> Factory:
    """Makes records of Acme."""
    return made_ready(Factory(acme))


def made_ready(factory: Factory) -> Factory:
    """The factory, knowing what checks demand."""
    factory.define(Run, status="running", scheduled_for=None, started_at=NOW, ended_at=None)
    return factory
