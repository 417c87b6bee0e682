"""The PostgreSQL server of a test run: an embedded one, or the one that `FREEHOLD_TEST_DATABASE_URL` names."""

import getpass
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from freehold.app import Application
from freehold.errors import ConfigurationError
from freehold.postgres.binaries import VARIABLE as PROGRAMS
from freehold.postgres.connections import Address, connect
from freehold.postgres.server import EmbeddedServer

__all__ = ["PASSWORD", "URL", "Server", "embedded_folder", "server"]

URL = "FREEHOLD_TEST_DATABASE_URL"
"""The variable with an administrator's URL: a superuser, or who may make databases and roles."""
PASSWORD = "FREEHOLD_TEST_PASSWORD"  # noqa: S105  # a variable's name
"""The variable with the application role's password on that server, where the role is there already."""

_NOT_DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
"""Off on the embedded server of tests. A database is copied in a tenth of the time, and what a power cut leaves is thrown away."""


@dataclass(frozen=True)
class Server:
    """A server that tests may make databases on.

    Args:
        admin: of an administrator.
        password: the application role's, and so what seals contexts.
        durable: whether it writes through to the disk before it answers.
    """

    admin: Address
    password: str
    durable: bool

    def admin_address(self, database: str) -> Address:
        """The administrator's address of a database."""
        return replace(self.admin, database=database)

    def address(self, database: str, application: Application) -> Address:
        """The application role's address of a database."""
        return replace(self.admin, database=database, user=application.roles.application, password=self.password)

    async def check(self, application: Application) -> None:
        """Makes sure that a set-up would not change the password of a role that others use.

        Raises:
            ConfigurationError: the application role is there, with another password.
        """
        name = application.roles.application
        async with connect(self.admin) as connection:
            found = await connection.fetch("select 1 from pg_roles where rolname = $1", name)
        if not found:
            return
        try:
            async with connect(replace(self.admin, user=name, password=self.password)):
                pass
        except ConfigurationError:
            raise ConfigurationError(
                f"the role {name} is on this server already, and the tests do not know its password",
                hint=f"give it in {PASSWORD}, or use a server that is for tests alone: a set-up would change the password",
            ) from None


@asynccontextmanager
async def server(folder: Path | None = None) -> AsyncIterator[Server]:
    """The server of this run; the embedded one is shared by all runs and workers of this user.

    Args:
        folder: of the embedded server; by default one in the folder for temporary files.

    Raises:
        ServerError: the embedded server cannot be started.
        UnavailableError: the server of the URL cannot be reached.
    """
    url = os.environ.get(URL)
    if url:
        # The same for all workers and runs, so that none takes another's role away.
        derived = hashlib.sha256(f"freehold.testing {url}".encode()).hexdigest()[:32]
        admin = Address(url=url)
        yield Server(admin, os.environ.get(PASSWORD) or derived, await _durable(admin))
        return
    async with await EmbeddedServer.start(folder or embedded_folder()) as embedded:
        where = embedded.connection()
        admin = Address(
            host=where.host, port=where.port, user=where.user, password=where.password, database=where.database
        )
        if await _durable(admin):
            async with connect(admin) as connection:
                for setting in _NOT_DURABLE:
                    await connection.execute(f"alter system set {setting} = off")
                await connection.execute("select pg_reload_conf()")
        yield Server(admin, embedded.secret("freehold_app"), durable=False)


def embedded_folder() -> Path:
    """Where the embedded server is kept between runs, so that only the first waits for initdb: one for each set of programs."""
    programs = os.environ.get(PROGRAMS)
    which = f"-{hashlib.sha256(programs.encode()).hexdigest()[:8]}" if programs else ""
    return Path(tempfile.gettempdir()) / f"freehold-testing-{getpass.getuser()}{which}"


async def _durable(admin: Address) -> bool:
    async with connect(admin) as connection:
        return bool((await connection.fetch("show fsync"))[0]["fsync"] == "on")
