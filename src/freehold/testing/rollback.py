"""A database whose changes are taken back: all calls of a test in one transaction, on one connection.

Each call runs in a savepoint of its own, as if it were the transaction that it is in production: a failed one leaves
nothing, and its context ends with it. A transaction of the test's is a savepoint too: while it is open, calls of other tasks
wait, and calls of its own task that are made beside it run inside of it. What needs transactions that see each other (races,
locks, isolation levels, another program's connection) or that end by themselves (deadlines) cannot be tried here; a copied
database is for that.
"""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from freehold.app import Application
from freehold.database import Database
from freehold.errors import ConfigurationError, FreeholdError, TransactionError
from freehold.postgres.clock import Values
from freehold.postgres.connections import Address, Pool, Row
from freehold.postgres.transactions import HeldTransaction, Terms
from freehold.sql.identifiers import Schemas, literal

if TYPE_CHECKING:
    import asyncpg

__all__ = ["rolled_back"]

TIMEOUT = 30.0
"""Seconds a statement may take."""
A_DAY = Terms(deadline=86_400)  # somebody may stand in a debugger


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
            await driver.execute("set idle_in_transaction_session_timeout = 0; begin")
            constraints = application.registry.constraints
            held = HeldTransaction(
                driver, constraints, A_DAY, store.pool.clock, timeout=TIMEOUT, release=lambda _: None
            )
            # A store asks its pool for what this class has; whatever else a pool has is refused by name.
            calls = cast("Pool", _Calls(held, application.schemas))
            # Increments are made at once: what gathers them is a task of its own, which a transaction of the test's would hold up.
            yield Database(application, replace(store, pool=calls, increments=None))
            await held.rollback()
        finally:
            driver.terminate()


class _Calls:
    """What a session asks of a pool, within one transaction."""

    def __init__(self, held: HeldTransaction, schemas: Schemas) -> None:
        self._held = held
        settings = (f"{schemas.engine}.organization_id", f"{schemas.engine}.context")
        # The context of a call ends with it, so that the next one may be another organization's.
        self._forget = "select " + ", ".join(f"set_config({literal(name)}, '', true)" for name in settings) + "; "

    @property
    def group(self) -> object:
        return self._held.group

    async def fetch_row(
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> Row | None:
        rows = await self.fetch(text, arguments, timeout=timeout, most=most)
        return rows[0] if rows else None

    async def fetch(
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> "list[asyncpg.Record]":
        async with self._held.savepoint(ends=self._forget):
            return await self._held.fetch(text, arguments, timeout=timeout, most=most)

    async def look(
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> Row | None:
        async with self._held.savepoint(ends=self._forget):
            return await self._held.look(text, arguments, timeout=timeout, most=most)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        yield  # each call has one

    def on_undo(self, take_back: Any) -> None:
        pass  # each call is kept where it succeeds

    @property
    def room(self) -> bool:
        return False  # one transaction takes one call at a time

    async def begin(self, terms: Terms, *, timeout: float | None = None) -> "_Nested":  # noqa: ARG002  # as a pool's
        nested = _Nested(self._held, terms)
        await nested.begin(self._forget)
        return nested

    def __getattr__(self, name: str) -> Any:
        raise ConfigurationError(
            f"{name} of a pool needs connections of its own, and this test has one transaction",
            hint='mark the test with @pytest.mark.freehold(isolation="copy")',
        )


class _Undone(Exception):  # noqa: N818  # no error: what leaves a savepoint to undo it
    """Ends a transaction that is not kept."""


class _Nested:
    """What a session asks of a transaction of its own, as a savepoint."""

    def __init__(self, held: HeldTransaction, terms: Terms) -> None:
        self.terms = terms
        self.lost: FreeholdError | None = None
        self.ended = False
        self._held = held
        self._block: contextlib.AbstractAsyncContextManager[None] | None = None

    def __getattr__(self, name: str) -> Any:
        if self.ended:
            raise TransactionError("the transaction has ended", hint="begin another one")
        return getattr(self._held, name)

    async def begin(self, forget: str) -> None:
        opening = "set local transaction_read_only = on; " if self.terms.read_only else ""
        self._block = self._held.savepoint(ends=forget, opening=opening)
        await self._block.__aenter__()

    async def commit(self, note: str = "") -> None:  # noqa: ARG002  # nobody asks afterwards whether it happened
        if self.terms.read_only:  # only undoing makes the test's transaction writable again
            await self.rollback()
        elif self._block is not None:
            block, self._block, self.ended = self._block, None, True
            await block.__aexit__(None, None, None)

    async def rollback(self) -> None:
        if self._block is not None:
            block, self._block, self.ended = self._block, None, True
            undone = _Undone()
            with contextlib.suppress(_Undone):
                await block.__aexit__(_Undone, undone, None)
