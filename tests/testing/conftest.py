"""The kit's own fixtures: in this folder `database` is the plugin's, and not that of the other tests."""

import pytest

from freehold import Application
from freehold.testing import plugin
from tests.world import application

database = plugin.database


@pytest.fixture(scope="session")
def freehold_application() -> Application:
    return application
