"""A database whose changes are taken back: all calls of a test in one transaction, on one connection.

Each call runs in a savepoint of its own, as if it were the transaction that it is in production: a failed one leaves
nothing, and its context ends with it. Calls take turns. What needs transactions that see each other (races, locks,
another program's connection) cannot be tried here; a copied database is for that.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from freehold.app import Application, Database
from freehold.errors import ConfigurationError
from freehold.model.registry import Constraint
from freehold.postgres.connections import Address, Pool, Row
from freehold.postgres.sqlstate import DRIVER_ERRORS, translated
from freehold.sql.identifiers import Schemas, literal

if TYPE_CHECKING:
    import asyncpg

__all__ = ["rolled_back"]

_SAVEPOINT = "savepoint freehold_call"
_UNDO = "rollback to savepoint freehold_call; release savepoint freehold_call"


@asynccontextmanager
async def rolled_back(address: Address, application: Application) -> AsyncIterator[Database]:
    """A database on which everything that happens is undone at the end.

    Args:
        address: the application role's.
        application: what is served.
    """
    async with Database.open(address, application, size=1) as database:
        store = database._store
        driver = await address.open()
        try:
            await driver.execute("set idle_in_transaction_session_timeout = 0")  # somebody may stand in a debugger
            transaction = driver.transaction()
            await transaction.start()
            pool = _Transaction(driver, application.registry.constraints, application.schemas)
            # A store asks its pool for fetch and fetch_row; whatever else a pool has is refused here by name.
            yield Database(application, replace(store, pool=cast("Pool", pool)))
            await pool.settled()
            await transaction.rollback()
        finally:
            driver.terminate()


class _Transaction:
    """What a session asks of a pool, within one transaction."""

    def __init__(
        self,
        driver: "asyncpg.Connection[asyncpg.Record]",
        constraints: Mapping[str, Constraint],
        schemas: Schemas,
        timeout: float = 30.0,
    ) -> None:
        self._driver = driver
        self._constraints = constraints
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._undoing: asyncio.Task[None] | None = None
        settings = (f"{schemas.engine}.organization_id", f"{schemas.engine}.context")
        forget = ", ".join(f"set_config({literal(name)}, '', true)" for name in settings)
        self._keep = f"select {forget}; release savepoint freehold_call"

    async def fetch_row(self, text: str, arguments: Sequence[Any], *, timeout: float | None = None) -> Row | None:
        rows = await self.fetch(text, arguments, timeout=timeout)
        return rows[0] if rows else None

    async def fetch(
        self, text: str, arguments: Sequence[Any], *, timeout: float | None = None
    ) -> "list[asyncpg.Record]":
        bound = self._timeout if timeout is None else timeout
        async with self._turn:
            await self.settled()
            try:
                await self._driver.execute(_SAVEPOINT)
                rows: list[asyncpg.Record] = await self._driver.fetch(text, *arguments, timeout=bound)
                # A call that made itself read-only has written nothing; only undoing lifts that again.
                only_read = await self._driver.fetchval("show transaction_read_only") == "on"
                await self._driver.execute(_UNDO if only_read else self._keep)
            except BaseException as error:
                self._undoing = asyncio.get_running_loop().create_task(self._undo())
                if isinstance(error, DRIVER_ERRORS):
                    await asyncio.shield(self._undoing)
                    raise translated(error, self._constraints, bound) from error
                raise
        return rows

    async def settled(self) -> None:
        """Waits until a call that was given up has left nothing."""
        if self._undoing is not None:
            await asyncio.shield(self._undoing)
            self._undoing = None

    async def _undo(self) -> None:
        with contextlib.suppress(*DRIVER_ERRORS):  # the connection is lost, as the next call will say
            await self._driver.execute(_UNDO)

    def __getattr__(self, name: str) -> Any:
        raise ConfigurationError(
            f"{name} of a pool needs connections of its own, and this test has one transaction",
            hint='mark the test with @pytest.mark.freehold(isolation="copy")',
        )
