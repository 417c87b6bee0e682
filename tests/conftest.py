"""A real PostgreSQL for all tests: one server for all workers, one database for each of them.

The server is the embedded one, or the one of `FREEHOLD_TEST_DATABASE_URL`: the URL of a superuser, in which databases
`tests_*`, `freehold_test_*` and roles `freehold_*` may be made and dropped. Tests keep apart as tenants do: each has
organizations of its own.
"""

import asyncio
import itertools
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg
import pytest

from freehold import Address, Application, Context, Database, Session
from freehold.model.seal import Seal
from freehold.postgres.connections import connect
from freehold.postgres.strays import homes
from freehold.testing.plugin import TestDatabases
from freehold.testing.server import URL as VARIABLE
from tests import counted, probe
from tests.world import application

OLDEST = [
    "engine/test_counters.py",
    "engine/test_install.py",
    "engine/test_privileges.py",
    "engine/test_refusals.py",
    "engine/test_role.py",
    "engine/test_seal.py",
    "identity/test_adoption.py",
    "identity/test_authentication.py",
    "identity/test_credentials.py",
    "identity/test_system.py",
    "postgres/test_address.py",
    "postgres/test_sqlstate.py",
    "sql/test_statements.py",
    "store/test_bad_input.py",
    "store/test_bulk_create.py",
    "store/test_bulk_faults.py",
    "store/test_bulk_state.py",
    "store/test_bulk_update.py",
    "store/test_concurrency.py",
    "store/test_gets.py",
    "store/test_history.py",
    "store/test_increments.py",
    "store/test_isolation.py",
    "store/test_isolation_proof.py",
    "store/test_locking.py",
    "store/test_past.py",
    "store/test_running.py",
    "store/test_savepoints.py",
    "store/test_transaction_ends.py",
    "store/test_transactions.py",
    "store/test_writes.py",
]
"""The tests that `make test` runs on the oldest PostgreSQL too: what the engine makes there, and what holds on it."""

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of `OLDEST`."""
    oldest = {Path(__file__).parent / name for name in OLDEST}
    for item in items:
        if item.path in oldest:
            item.add_marker(pytest.mark.servers)


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Leaves logging as it was: a command that serves arranges it for its process, which is the tests' here."""
    names = ("freehold", "freehold.access", "uvicorn")
    flags = (logging.logThreads, logging.logProcesses, logging.logMultiprocessing)
    before = [(log := logging.getLogger(name), log.handlers[:], log.level, log.propagate) for name in names]
    yield
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = flags
    for log, handlers, level, propagate in before:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def strays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Removes what servers of this run's folders have left where data of root's closed folders is put."""
    yield
    folder = tmp_path_factory.getbasetemp()
    for home in homes():
        if home.project is not None and home.project.is_relative_to(folder) and home.state != "running":
            shutil.rmtree(home.path, ignore_errors=True)


@dataclass(frozen=True)
class Server:
    """The test server.

    Args:
        admin: of an administrator, to the database `postgres`.
        password: the application role's.
    """

    admin: Address
    password: str

    @classmethod
    def of(cls, url: str, password: str) -> "Server":
        """The server of an administrator's URL, told in parts."""
        parts = urlsplit(url)
        asked = dict(parse_qsl(parts.query))
        admin = Address(
            host=asked.get("host") or parts.hostname or os.environ.get("PGHOST") or "localhost",
            port=int(asked.get("port") or parts.port or os.environ.get("PGPORT") or 5432),
            user=asked.get("user") or unquote(parts.username or "") or "postgres",
            password=Address(url=url).secret,
            database=parts.path.strip("/") or "postgres",
        )
        return cls(admin, password)

    def address(self, database: str, application: Application = application) -> Address:
        """The application role's address of a database."""
        return Address(
            host=self.admin.host,
            port=self.admin.port,
            user=application.roles.application,
            password=self.password,
            database=database,
        )

    def admin_address(self, database: str) -> Address:
        """The administrator's address of a database."""
        return Address(
            host=self.admin.host,
            port=self.admin.port,
            user=self.admin.user,
            password=self.admin.password,
            database=database,
        )

    async def create_database(self, name: str, application: Application = application) -> None:
        """A new, empty database with the application's schema."""
        async with connect(self.admin) as connection:
            await connection.execute(f'drop database if exists "{name}" with (force)')
            await connection.execute(f'create database "{name}"')
        await application.setup(self.admin_address(name), {application.roles.application: self.password})


@pytest.fixture(scope="session")
def server(freehold_databases: TestDatabases) -> Server:
    """The server of the run, shared by its workers: the testing kit's."""
    found = freehold_databases.server
    probe.SEALS.append(Seal(found.password))
    url = os.environ.get(VARIABLE)
    return Server.of(url, found.password) if url else Server(found.admin, found.password)


@pytest.fixture(scope="session")
def database_name(server: Server) -> str:
    """This worker's database, made anew for the run."""
    name = f"tests_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    asyncio.run(server.create_database(name))
    return name


@pytest.fixture
async def database(server: Server, database_name: str) -> AsyncIterator[Database]:
    """The worker's database, opened as the application role."""
    async with Database.open(server.address(database_name), application, size=4) as database:
        yield database


async def new_context(database: Database, **more: str) -> Context:
    """The context of a new user in a new organization."""
    name = f"org-{os.getpid()}-{next(_numbers)}"
    system = database.system("tests")
    organization = await system.create_organization(name=name, slug=name)
    user = await system.create_user(email=f"ada@{name}.test", name="Ada")
    await system.add_member(organization.id, user.id, role="admin")
    return await system.context(organization=name, user=user.email, **more)  # type: ignore[arg-type]


@pytest.fixture
async def acme(database: Database) -> AsyncIterator[Session]:
    """A session of a new organization."""
    async with database.session(await new_context(database, client_ip="192.0.2.7", user_agent="tests/1")) as session:
        yield session


@pytest.fixture
async def rival(database: Database) -> AsyncIterator[Session]:
    """A session of another new organization."""
    async with database.session(await new_context(database)) as session:
        yield session


@pytest.fixture(scope="session")
def library_name(server: Server) -> str:
    """This worker's database of the entities that are counted."""
    name = f"tests_library_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    asyncio.run(server.create_database(name, counted.application))
    return name


@pytest.fixture
async def library(server: Server, library_name: str) -> AsyncIterator[Database]:
    """That database, opened as the application role."""
    address = server.address(library_name, counted.application)
    async with Database.open(address, counted.application, size=8) as database:
        yield database


@pytest.fixture
async def shelf(library: Database) -> AsyncIterator[Session]:
    """A session of a new organization there."""
    async with library.session(await new_context(library)) as session:
        yield session


@pytest.fixture
async def keeper(server: Server, library_name: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection of the administrator to that database."""
    async with probe.plain(server.admin_address(library_name)) as connection:
        yield connection


@pytest.fixture
async def raw(server: Server, database_name: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection of the application role, without any context."""
    async with probe.plain(server.address(database_name)) as connection:
        yield connection


@pytest.fixture
async def admin(server: Server, database_name: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection of the administrator to the worker's database."""
    async with probe.plain(server.admin_address(database_name)) as connection:
        yield connection
