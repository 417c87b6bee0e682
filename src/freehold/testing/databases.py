"""The databases of a test run: a template for each schema, and a copy of it for each test.

Authority: an advisory lock for each run, which its connection holds, and so the server. A database whose run's lock is
free was left by a run that is gone; the next run drops it. The template is made under a lock of its own, aside, and
renamed when it is done: it is there whole or not at all.

Names: `freehold_test_<run>_<number>` and `freehold_test_template_<digest>`; nothing else on the server is touched.
"""

import hashlib
import itertools
import re
import secrets
from contextlib import AsyncExitStack

from freehold.app import Application
from freehold.errors import ConfigurationError
from freehold.postgres.connections import Connection, connect
from freehold.sql.identifiers import literal, quoted
from freehold.testing.clock import clock_function
from freehold.testing.server import Server

__all__ = ["Databases"]

_TEMPLATE = "freehold_test_template_"
_LEFT = re.compile(r"freehold_test_([0-9a-f]{8})_\d+")
_KEPT = 10
"""Templates that stay: enough for some applications, and to go to and fro between branches."""
_LOCKS = 1_718_773_102
"""The class of the kit's advisory locks."""


class Databases:
    """Makes and drops databases, over one connection that lasts as long as the run. Make it with `start`.

    Args:
        server: where.
        connection: of the administrator.
    """

    def __init__(self, server: Server, connection: Connection) -> None:
        self.server = server
        self._connection = connection
        self._stack = AsyncExitStack()
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._templates: dict[str, str] = {}
        self._made: set[str] = set()

    @classmethod
    async def start(cls, server: Server) -> "Databases":
        """Begins a run: drops what runs that were killed have left.

        Raises:
            UnavailableError: the server cannot be reached.
        """
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(connect(server.admin))
            databases = cls(server, connection)
            await connection.fetch("select pg_advisory_lock($1, $2)", _LOCKS, _number(databases._run))
            await databases._sweep()
            databases._stack = stack.pop_all()
        return databases

    async def stop(self) -> None:
        """Drops what the run made; the templates stay for the next."""
        async with self._stack:
            for name in sorted(self._made):
                await self.drop(name)

    async def copy(self, application: Application, *, shared_transaction: bool = False) -> str:
        """A new database with the application's schema.

        Args:
            application: whose.
            shared_transaction: whether all of a test's calls run in one transaction there; the time then is each call's own.

        Returns:
            Its name.
        """
        name = f"freehold_test_{self._run}_{next(self._numbers)}"
        template = await self._template(application)
        try:
            await self._copy(template, name)
        except ConfigurationError:  # another run has dropped it, as one of the older ones
            self._templates.clear()
            template = await self._template(application)
            await self._copy(template, name)
        self._made.add(name)
        await self._repeat_settings(template, name)
        if shared_transaction:
            async with connect(self.server.admin_address(name)) as connection:
                await connection.execute(clock_function(application.schemas, "statement_timestamp"))
        return name

    async def _copy(self, template: str, name: str) -> None:
        # Written through to the disk, the log of every page takes longer than the files themselves.
        strategy = "file_copy" if self.server.durable else "wal_log"
        await self._connection.execute(
            f"create database {quoted(name)} template {quoted(template)} strategy {strategy}"
        )

    async def empty(self) -> str:
        """A new database without anything. Returns its name."""
        name = f"freehold_test_{self._run}_{next(self._numbers)}"
        await self._connection.execute(f"create database {quoted(name)}")
        self._made.add(name)
        return name

    async def drop(self, name: str) -> None:
        """Ends a database of this run, whoever is connected to it."""
        await self._connection.execute(f"drop database if exists {quoted(name)} with (force)")
        self._made.discard(name)

    async def _template(self, application: Application) -> str:
        revisions = sorted(application.migrations.glob("*.py")) if application.migrations else []
        made = [application.plan().digest, clock_function(application.schemas, "now"), self.server.password]
        made += [path.read_text(encoding="utf-8") for path in revisions]
        digest = hashlib.sha256("\n".join(made).encode()).hexdigest()[:16]
        name = self._templates.get(digest)
        if name is None:
            name = self._templates[digest] = await self._make_template(application, f"{_TEMPLATE}{digest}")
        return name

    async def _make_template(self, application: Application, name: str) -> str:
        async with self._locked(name):
            if await self._connection.fetch("select 1 from pg_database where datname = $1", name):
                return name
            await self.server.check(application)
            draft = f"{name}_draft"
            await self._connection.execute(f"drop database if exists {quoted(draft)} with (force)")
            await self._connection.execute(f"create database {quoted(draft)}")
            address = self.server.admin_address(draft)
            await application.setup(address, {application.roles.application: self.server.password})
            async with connect(address) as connection:
                await connection.execute(clock_function(application.schemas, "now"))
                # A test's time may be set to before the database was made: its columns have always been there.
                await connection.execute(f"update {application.schemas.own('column_names')} set added_at = '-infinity'")
            await self._connection.execute(f"alter database {quoted(draft)} rename to {quoted(name)}")
            # A copy needs its template to itself: nobody else shall connect to it.
            await self._connection.execute(f"alter database {quoted(name)} allow_connections false")
            await self._drop_old_templates()
        return name

    async def _drop_old_templates(self) -> None:
        rows = await self._connection.fetch(
            "select datname::text as name from pg_database where starts_with(datname, $1) order by oid desc offset $2",
            _TEMPLATE,
            _KEPT,
        )
        for row in rows:
            await self._connection.execute(f"drop database if exists {quoted(row['name'])}")

    async def _repeat_settings(self, template: str, name: str) -> None:
        """What a role has set in a database is not copied with it."""
        rows = await self._connection.fetch(
            "select r.rolname::text as role, s.setconfig as settings from pg_db_role_setting s "
            "join pg_roles r on r.oid = s.setrole join pg_database d on d.oid = s.setdatabase where d.datname = $1",
            template,
        )
        statements = []
        for row in rows:
            for setting in row["settings"]:
                key, _, value = str(setting).partition("=")
                # A list of names is kept with the names quoted where they must be.
                told = value if key == "search_path" else literal(value)
                statements.append(
                    f"alter role {quoted(row['role'])} in database {quoted(name)} set {quoted(key.lower())} = {told}"
                )
        if statements:
            await self._connection.execute(";".join(statements))

    async def _sweep(self) -> None:
        rows = await self._connection.fetch("select datname::text as name from pg_database")
        free: dict[str, bool] = {}
        for name in (str(row["name"]) for row in rows):
            found = _LEFT.fullmatch(name)
            if found is None or found[1] == self._run:
                continue
            run = found[1]
            if run not in free:
                taken = await self._connection.fetch(
                    "select pg_try_advisory_lock($1, $2) as free", _LOCKS, _number(run)
                )
                free[run] = bool(taken[0]["free"])
            if free[run]:
                await self._connection.execute(f"drop database if exists {quoted(name)} with (force)")
        for run in (run for run, is_free in free.items() if is_free):
            await self._connection.fetch("select pg_advisory_unlock($1, $2)", _LOCKS, _number(run))

    def _locked(self, name: str) -> "_Lock":
        return _Lock(self._connection, _number(hashlib.sha256(name.encode()).hexdigest()[:8]))


class _Lock:
    """An advisory lock of the kit's, for a block."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._number = number

    async def __aenter__(self) -> None:
        await self._connection.fetch("select pg_advisory_lock($1, $2)", _LOCKS, self._number)

    async def __aexit__(self, *error: object) -> None:
        await self._connection.fetch("select pg_advisory_unlock($1, $2)", _LOCKS, self._number)


def _number(digits: str) -> int:
    """Eight hexadecimal digits as PostgreSQL's integer."""
    number = int(digits, 16)
    return number - 2**32 if number >= 2**31 else number
