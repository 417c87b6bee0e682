"""Where a database is, and the driver's connections to it.

Between program and server there may be a pooler that gives each transaction another server connection. What this module
does about it:

- Without prepared statements (`prepared=False`) the driver parses each statement anew, unnamed. It describes it first,
  for the types, and ends that part with Flush and not with Sync: so the transaction stays open, the pooler keeps the
  server connection, and the locks of the parse keep the types as they are (but where the driver must look up a type,
  the first time that a connection meets it). Then it parses it again, binds and executes, and only then comes Sync.
  Whatever another program left on the server connection is never what is executed.
- With them, each has a name that nobody else can have. So a pooler that does not know prepared statements can only make
  a call fail, and never make it run another program's statement that has the same name.
- Such a pooler is found out when the program starts (`Address.verify`).
"""

import asyncio
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from freehold.errors import ConfigurationError
from freehold.postgres.identifiers import packed, unpacked
from freehold.postgres.metering import AnswerOverrunError, Meter
from freehold.postgres.sqlstate import DRIVER_ERRORS, translated, without_effect

__all__ = ["Address", "Driver"]

_OPTION = "prepared"
_WORDS = {"on": True, "off": False}

_VIA = """
select pg_backend_pid() = $1 as direct,
    exists (select from pg_prepared_statements where starts_with(name, $2)) as by_name
"""

_BOUNDS = """
select name, setting::bigint as milliseconds from pg_settings
where name in ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')
"""


class Driver(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A connection of the driver that leaves nothing of its own on the server, but for statements with names of their own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._bounds: Mapping[str, int] | None = None
        self._prefix = f"freehold_{secrets.token_hex(8)}_"
        self._server_caps = self._server_caps._replace(jit=False)  # type: ignore[has-type]  # no types; see _introspect_types
        protocol, transport = arguments[:2]
        self._meter = Meter(protocol)
        transport.set_protocol(self._meter)

    async def answer(
        self, text: str, arguments: Sequence[Any], *, timeout: float, most: int | None
    ) -> "list[asyncpg.Record]":
        """All rows of a statement.

        Args:
            text: the statement.
            arguments: bound as $1, $2, ...
            timeout: seconds; then it is cancelled on the server.
            most: bytes that its rows may have on their way; None is no bound.

        Raises:
            AnswerOverrunError: they have more; the statement was cancelled.
        """
        if most is None:
            return await self.fetch(text, *arguments, timeout=timeout)  # type: ignore[no-any-return]  # no types
        meter = self._meter
        meter.begin(most)
        try:
            return await self.fetch(text, *arguments, timeout=timeout)  # type: ignore[no-any-return]  # no types
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not meter.overrun or task is None or task.uncancel():  # somebody else has cancelled it too
                raise
            raise AnswerOverrunError(most) from None
        finally:
            meter.end()

    async def bounds(self, timeout: float) -> Mapping[str, int]:
        """What bounds a transaction on this connection by the settings of its role, in milliseconds; 0 is no bound.

        It is asked once. PostgreSQL has `transaction_timeout` from 17 on.
        """
        if self._bounds is None:
            rows = await self.fetch(_BOUNDS, timeout=timeout)
            self._bounds = {row["name"]: row["milliseconds"] for row in rows}
        return self._bounds

    def _get_unique_id(self, prefix: str) -> str:
        # asyncpg counts from 1 in every process, so the names of two programs would be the same.
        return self._prefix + str(super()._get_unique_id(prefix))

    async def _introspect_types(self, *arguments: Any, **options: Any) -> Any:
        # With just-in-time compilation the query takes a second. asyncpg switches that off for the session, which a
        # pooler gives to somebody else before it is switched on again.
        if (
            self._top_xact is None and self.is_in_transaction()
        ):  # begun by a script, which asyncpg's own transactions refuse
            await self.execute("savepoint freehold_types; set local jit = off")
            types = await super()._introspect_types(*arguments, **options)
            await self.execute("rollback to savepoint freehold_types; release savepoint freehold_types")
            return types
        async with self.transaction():
            await self.execute("set local jit = off")
            return await super()._introspect_types(*arguments, **options)


@dataclass(frozen=True)
class Address:
    """Where a database is and who connects.

    Args:
        url: `postgresql://user:password@host:port/database`; other arguments go before what it says. `?prepared=off`
            in it is the argument of that name.
        host: a name, an address, or the directory of a socket.
        port, user, password, database: as usual.
        ssl: as asyncpg takes it; None lets the URL decide.
        prepared: whether statements are prepared by name and kept. False behind a pooler that gives each transaction
            another connection and does not know them: then a call is two messages. True says that a pooler keeps
            them. None: they are kept, and a pooler is refused that shows that it does not.
        statement_cache_size: prepared statements kept per connection; 0 is the same as `prepared=False`.
        connect_timeout: seconds to wait for a connection to open.
    """

    url: str | None = None
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    ssl: SSLContext | str | bool | None = None
    prepared: bool | None = None
    statement_cache_size: int = 500
    connect_timeout: float = 10.0

    def __repr__(self) -> str:
        return f"Address(host={self.host!r}, port={self.port!r}, user={self.user!r}, database={self.database!r})"  # never the password

    @property
    def secret(self) -> str | None:
        """The password, where it is told here, in the URL, or in PGPASSWORD; a password file is not looked into."""
        if self.password is not None:
            return self.password
        parts = urlsplit(self.url or "")
        asked = parse_qs(parts.query).get("password", [None])[-1]
        given = unquote(parts.password) if parts.password is not None else asked
        return given if given is not None else os.environ.get("PGPASSWORD")

    async def open(self) -> Driver:
        """A new driver connection.

        Raises:
            UnavailableError: the server cannot be reached.
            ConfigurationError: it refuses the login, or the address is wrong.
        """
        url, prepared = self._split()
        try:
            connection: Driver = await asyncpg.connect(
                url,
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password,
                database=self.database,
                ssl=self.ssl,
                timeout=self.connect_timeout,
                statement_cache_size=0 if prepared is False else self.statement_cache_size,
                server_settings={"application_name": "freehold"},
                connection_class=Driver,
            )
            # JSON as the bytes that came: they go to Pydantic or to the client as they are.
            await connection.set_type_codec("json", schema="pg_catalog", format="binary", encoder=bytes, decoder=bytes)
            # The standard UUID, as every other way out has it; the driver has a class of its own.
            await connection.set_type_codec(
                "uuid", schema="pg_catalog", format="binary", encoder=packed, decoder=unpacked
            )
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"the connection URL is wrong: {error}", hint="postgresql://user:password@host:port/database"
            ) from error
        except DRIVER_ERRORS as error:
            raise without_effect(translated(error, {})) from error
        return connection

    async def verify(self, connection: Driver) -> None:
        """Refuses a pooler that passes prepared statements on by their names: one that a call needs can be missing on the
        server connection that it gets.

        A pooler shows itself by the process number, which is its own invention. One that knows prepared statements gives
        them other names on the server.

        Args:
            connection: opened by this address.

        Raises:
            ConfigurationError: it is such a pooler, and the address does not say what to do.
            UnavailableError: the server cannot be reached.
        """
        if self._split()[1] is not None or not self.statement_cache_size:
            return
        try:
            found = await connection.fetchrow(
                _VIA, connection.get_server_pid(), connection._prefix, timeout=self.connect_timeout
            )
        except DRIVER_ERRORS as error:
            raise without_effect(translated(error, {})) from error
        if not found["direct"] and found["by_name"]:
            raise ConfigurationError(
                "a pooler is between this program and PostgreSQL, and it does not keep prepared statements",
                hint="add ?prepared=off to the URL, or prepared=False to the Address; or let PgBouncer 1.21 or newer keep them "
                "(max_prepared_statements); a pooler in session mode needs ?prepared=on only",
            )

    def _split(self) -> tuple[str | None, bool | None]:
        """The URL as the driver takes it, and whether statements are prepared where that is said."""
        if self.url is None or _OPTION not in self.url:
            return self.url, self.prepared
        pairs = parse_qsl(urlsplit(self.url).query, keep_blank_values=True)
        said = [value for name, value in pairs if name == _OPTION]
        if not said:
            return self.url, self.prepared
        if said[-1] not in _WORDS:
            raise ConfigurationError(
                f"{_OPTION}={said[-1]} in the connection URL is neither on nor off"[:120],
                hint=f"?{_OPTION}=off behind a pooler that does not keep prepared statements",
            )
        query = urlencode([(name, value) for name, value in pairs if name != _OPTION])
        plain = self.url.partition("?")[0] + (f"?{query}" if query else "")
        return plain, _WORDS[said[-1]] if self.prepared is None else self.prepared
