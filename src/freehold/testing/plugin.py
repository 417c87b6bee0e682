"""The pytest plugin: fixtures for the tests of an application. Installed with Freehold, pytest loads it by itself.

A fixture that awaits must run in the loop of the test that uses it. The kit's public fixtures are therefore plain
functions, which look at the test first and then ask for the one of several coroutine fixtures that runs in its loop:
pytest-asyncio's of each scope, in both of its modes, or anyio's.
"""

import pkgutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest

from freehold.app import Application
from freehold.database import Database
from freehold.errors import ConfigurationError
from freehold.postgres.connections import Address
from freehold.testing.clock import Clock
from freehold.testing.databases import Databases
from freehold.testing.loops import Background
from freehold.testing.organizations import Organizations
from freehold.testing.rollback import rolled_back
from freehold.testing.server import Server, server

__all__ = ["TestDatabases"]

_ISOLATIONS = ("copy", "rollback")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Says which settings there are."""
    parser.addini("freehold_application", "The application under test: package.module:name.", default="")
    parser.addini(
        "freehold_isolation",
        "How tests are kept apart: copy (a database for each test) or rollback (one transaction for each test).",
        default="copy",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Says which marker there is."""
    config.addinivalue_line(
        "markers",
        "freehold(isolation='copy' or 'rollback'): how the test is kept apart from others; docs/guide/testing.md says what each can do.",
    )


class TestDatabases:
    """The databases of this run, for fixtures that are no coroutines.

    Args:
        background: the loop in which they are made.
        databases: of the run.
    """

    __test__ = False

    def __init__(self, background: Background, databases: Databases) -> None:
        self._background = background
        self._databases = databases
        self._shared: dict[int, str] = {}

    @property
    def server(self) -> Server:
        """Where they are."""
        return self._databases.server

    def copy(self, application: Application) -> str:
        """A new database with the application's schema: its name."""
        return self._background.run(self._databases.copy(application))

    def empty(self) -> str:
        """A new database without anything: its name."""
        return self._background.run(self._databases.empty())

    def drop(self, name: str) -> None:
        """Ends a database, whoever is connected to it."""
        self._background.run(self._databases.drop(name))

    def shared(self, application: Application) -> str:
        """This process's database for tests whose changes are taken back: its name."""
        name = self._shared.get(id(application))
        if name is None:
            name = self._background.run(self._databases.copy(application, shared_transaction=True))
            self._shared[id(application)] = name
        return name


@dataclass(frozen=True)
class Place:
    """Where one test runs.

    Args:
        application: what is served.
        address: the application role's address of the database.
        admin: the administrator's.
        isolation: copy or rollback.
        background: for what is done without the test's loop.
    """

    application: Application
    address: Address
    admin: Address
    isolation: str
    background: Background


@pytest.fixture(scope="session")
def freehold_application(request: pytest.FixtureRequest) -> Application:
    """The application under test. Override it, or name it in the setting `freehold_application`."""
    told = str(request.config.getini("freehold_application"))
    if not told:
        raise pytest.UsageError(
            "freehold's fixtures need the application: set freehold_application = package.module:name in pytest's settings, "
            "or override the fixture freehold_application (scope='session') in conftest.py"
        )
    try:
        found = pkgutil.resolve_name(told)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"freehold_application = {told}: {error}") from error
    if not isinstance(found, Application):
        raise pytest.UsageError(f"freehold_application = {told} is no Application, but {type(found).__name__}")
    return found


@pytest.fixture(scope="session")
def _freehold_background() -> Iterator[Background]:
    background = Background()
    yield background
    background.close()


@pytest.fixture(scope="session")
def freehold_databases(_freehold_background: Background) -> Iterator[TestDatabases]:
    """The databases of this run: an embedded server, or the one of `FREEHOLD_TEST_DATABASE_URL`."""
    stack = AsyncExitStack()

    async def start() -> Databases:
        databases = await Databases.start(await stack.enter_async_context(server()))
        stack.push_async_callback(databases.stop)
        return databases

    try:
        yield TestDatabases(_freehold_background, _freehold_background.run(start()))
    finally:
        _freehold_background.run(stack.aclose())


def _isolation(request: pytest.FixtureRequest) -> str:
    marker = request.node.get_closest_marker("freehold")
    told = request.config.getini("freehold_isolation")
    if marker is not None:
        if marker.args or set(marker.kwargs) != {"isolation"}:
            raise pytest.UsageError("write @pytest.mark.freehold(isolation='copy') or 'rollback'")
        told = marker.kwargs["isolation"]
    if told not in _ISOLATIONS:
        raise pytest.UsageError(f"freehold's isolation is 'copy' or 'rollback', not {told!r}")
    return str(told)


@pytest.fixture
def _freehold_place(
    request: pytest.FixtureRequest,
    freehold_application: Application,
    freehold_databases: TestDatabases,
    _freehold_background: Background,
) -> Iterator[Place]:
    isolation, databases = _isolation(request), freehold_databases
    shared = isolation == "rollback"
    name = databases.shared(freehold_application) if shared else databases.copy(freehold_application)
    address = databases.server.address(name, freehold_application)
    yield Place(freehold_application, address, databases.server.admin_address(name), isolation, _freehold_background)
    if not shared:
        databases.drop(name)


@pytest.fixture
def database_address(_freehold_place: Place) -> Address:
    """The application role's address of the test's database, for programs that open it themselves."""
    if _freehold_place.isolation == "rollback":
        raise ConfigurationError(
            "another connection would see nothing of the test's transaction, and what it writes would stay",
            hint='mark the test with @pytest.mark.freehold(isolation="copy")',
        )
    return _freehold_place.address


async def _open(_freehold_place: Place) -> AsyncIterator[Database]:
    place = _freehold_place
    async with AsyncExitStack() as stack:
        if place.isolation == "rollback":
            yield await stack.enter_async_context(rolled_back(place.address, place.application))
        else:
            yield await stack.enter_async_context(Database.open(place.address, place.application))


# anyio takes any coroutine fixture of a test that it runs.
_freehold_opened_anyio = pytest.fixture(_open, name="_freehold_opened_anyio")

if find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    def _in_loop(scope: Any) -> Callable[..., Any]:
        async def opened(_freehold_place: Place) -> AsyncIterator[Database]:
            async for database in _open(_freehold_place):
                yield database

        return pytest_asyncio.fixture(opened, loop_scope=scope, name=f"_freehold_opened_{scope}")

    _freehold_opened_function = _in_loop("function")
    _freehold_opened_class = _in_loop("class")
    _freehold_opened_module = _in_loop("module")
    _freehold_opened_package = _in_loop("package")
    _freehold_opened_session = _in_loop("session")


def _loop(request: pytest.FixtureRequest) -> str:
    """Which loop the test runs in: the name of a scope, or anyio."""
    if request.node.get_closest_marker("anyio") is not None:
        return "anyio"
    marker = request.node.get_closest_marker("asyncio")
    plugins = request.config.pluginmanager
    if not (plugins.has_plugin("asyncio") or plugins.has_plugin("pytest_asyncio")):
        raise pytest.UsageError(
            "freehold's fixtures need pytest-asyncio (pip install 'freehold[testing]'), or the test the marker anyio"
        )
    told = marker.kwargs.get("loop_scope") if marker is not None else None
    scope = told or request.config.getini("asyncio_default_test_loop_scope") or "function"
    return str(scope)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Database:
    """The database of this test, opened as the application role in the test's event loop."""
    opened: Database = request.getfixturevalue(f"_freehold_opened_{_loop(request)}")
    return opened


@pytest.fixture
def as_organization(database: Database) -> Organizations:
    """Makes organizations: `acme = await as_organization("acme")` is a session of its user Ada."""
    return Organizations(database)


@pytest.fixture
def clock(_freehold_place: Place) -> Iterator[Clock]:
    """Sets the time of the test's database."""
    clock = Clock(_freehold_place.admin, _freehold_place.application.schemas)
    yield clock
    if clock.moment is not None and _freehold_place.isolation == "rollback":
        _freehold_place.background.run(clock.reset())
