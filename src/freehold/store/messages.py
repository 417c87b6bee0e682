"""One context's messages to the database, and checks that all calls share."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from freehold import errors
from freehold.errors import (
    ForbiddenError,
    FreeholdError,
    IsolationError,
    OutcomeUnknownError,
    SerializationError,
    UnavailableError,
    ValidationError,
)
from freehold.model.context import Context
from freehold.postgres.clock import Values, made
from freehold.postgres.connections import Row
from freehold.sql.identifiers import literal
from freehold.sql.statements import Statement
from freehold.store.store import Store

__all__ = ["Channel", "Messenger", "checked_id", "checked_version", "forgotten"]

LARGEST_VERSION = 2**31 - 1
KEPT = 47 * 3600.0
"""Seconds for which a unit's note is there for sure: the database removes them after two days, by its own clock."""
SETTLING = 30.0
"""Seconds in which the database is asked whether a write was committed whose reply was lost."""


class Channel(Protocol):
    """What a messenger sends on: the pool, each message on any of its connections; or a transaction. See `Pool`."""

    @property
    def group(self) -> object: ...  # noqa: D102
    async def fetch(  # noqa: D102
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> Sequence[Any]: ...
    async def fetch_row(  # noqa: D102
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> Row | None: ...
    async def look(  # noqa: D102
        self, text: str, arguments: Values, *, timeout: float | None = None, most: int | None = None
    ) -> Row | None: ...
    def savepoint(self) -> AbstractAsyncContextManager[None]: ...  # noqa: D102
    def on_undo(self, take_back: Callable[[], None]) -> None: ...  # noqa: D102


class Messenger:
    """Sends statements in a context; each is one message.

    Args:
        store: what the database's sessions share.
        context: who asks.
        timeout: seconds a message may take; None is the pool's bound.
        moment: reads are about what was then; None is now.
        parent: the messenger of the session that this one came from; when that is closed, this one is too.
        channel: what it sends on: a transaction; None is the parent's, or any connection of the pool.
        read_only: whether it refuses to send what writes.
    """

    def __init__(
        self,
        store: Store,
        context: Context,
        timeout: float | None,
        *,
        moment: datetime | None = None,
        parent: "Messenger | None" = None,
        channel: Channel | None = None,
        read_only: bool = False,
    ) -> None:
        if not isinstance(context, Context):
            raise IsolationError(
                f"a session needs a Context, not {type(context).__name__}",
                hint="database.session(Context(organization_id=..., user_id=...))",
            )
        seconds = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        if timeout is not None and not (seconds and 0 < timeout <= 3600):
            raise ValidationError.single(
                ("timeout",), "must be more than 0 and at most 3600 seconds", "timeout", subject="session"
            )
        self.store = store
        self.context = context
        self.open = True
        self.read_only: bool = read_only or (parent is not None and parent.read_only)
        self._parent = parent
        self.channel: Channel = channel or (parent.channel if parent is not None else store.pool)
        self.timeout = timeout
        self._setting = None if moment is None else context.setting(as_of=moment.isoformat())
        self._entering: tuple[UUID, str] = (context.organization_id, "")
        self._second = 0  # of the seal that it has

    def see(self, moment: datetime, **seen: str) -> None:
        """Names a moment in its context from now on, and what had been committed then."""
        self._setting = self.context.setting(as_of=moment.isoformat(), **seen)
        self._second = 0

    @property
    def held(self) -> bool:
        """Whether it sends in a transaction that somebody else ends."""
        return self.channel is not self.store.pool

    def room(self) -> bool:
        """Whether another message could be sent at once, beside those that are on their way."""
        return not self.held and self.store.pool.room

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[None]:
        """Where it sends in a transaction, what fails inside leaves the transaction as it was before."""
        async with self.channel.savepoint():
            yield

    def on_undo(self, take_back: Callable[[], None]) -> None:
        """Has something taken back where the transaction in which it sends is undone, or the savepoint."""
        self.channel.on_undo(take_back)

    @property
    def group(self) -> object:
        """Reads of one group may be sent as one."""
        return self.channel.group

    async def read(self, statement: Statement) -> Row:
        """The one row of a statement that was built for this context, and only reads."""
        rows = await self.rows(statement)
        return rows[0] if rows else {}

    async def rows(self, statement: Statement, *, bounded: bool = True) -> Sequence[Any]:
        """The rows of a statement that was built for this context, and only reads; each with its columns in order and by name.

        Args:
            statement: what is asked.
            bounded: whether they may be refused for their size; False for a statement that bounds it.

        Raises:
            TooLargeError: they are larger than an answer may be.
        """
        self.check_open()
        arguments, most = self._sealed(statement.arguments), self.store.bounds.bytes if bounded else None
        return await self.channel.fetch(statement.text, arguments, timeout=self.timeout, most=most)

    async def call(self, text: str, arguments: Values = ()) -> Row:
        """The one row of a statement whose first parameters are the organization and the context."""
        self.check_open()
        row = await self.channel.fetch_row(text, self._sealed(arguments), timeout=self.timeout)
        return {} if row is None else row

    async def look(self, text: str, arguments: Sequence[Any]) -> Row:
        """The same of a statement that makes its transaction read-only, which it stays for this call alone."""
        self.check_open()
        most = self.store.bounds.bytes
        row = await self.channel.look(text, self._sealed(arguments), timeout=self.timeout, most=most)
        return {} if row is None else row

    async def enter(self) -> None:
        """Puts its transaction into the context anew, under a seal of now."""
        await self.call(f"select 1 from {self.store.schemas.own('enter')}($1, $2)")  # a quoted name

    def note(self, unit_id: UUID) -> str:
        """The statement that notes a unit of work, to be sent together with a COMMIT: where its transaction has written anything.

        Its text stays where others read it. So it does not enter the context: that is the one which the transaction's calls have left.
        Where there is none, all that they did was undone.
        """
        entered = f"current_setting({literal(self.store.schemas.engine + '.organization_id')}, true) <> ''"
        return (
            f"select {self.store.schemas.own('open_unit')}('{unit_id}', null, null, null) "
            f"where pg_current_xact_id_if_assigned() is not null and {entered}; "
        )

    async def write(self, text: str, arguments: Values, unit_id: UUID) -> Row:
        """The one row of a statement that writes, and notes a unit of work with its answer.

        Where its reply is lost, the database is asked on another connection whether it was committed; if it was not, it
        never will be. So the write is never repeated, and what is returned or raised is the truth.

        Args:
            text: whose first parameters are the organization and the context.
            arguments: from $3 on.
            unit_id: the unit that it notes.

        Returns:
            The row; after a lost reply `answer`, `xid` and `at` as they were noted.

        Raises:
            OutcomeUnknownError: the database cannot be asked.
        """
        try:
            return await self.call(text, arguments)
        except FreeholdError as error:
            if not error.unanswered:
                raise
            settled = await self.settle(unit_id)
            if settled is None:
                error.unanswered = False
                error.hint = "nothing was written; retry"
                raise
            return settled

    async def settle(self, unit_id: UUID) -> Row | None:
        """What was noted of a unit of work; None where it was not committed, and never will be.

        Raises:
            OutcomeUnknownError: the database cannot be asked; its cause says why.
        """
        entered = f"select u.* from {self.store.schemas.entry} cross join lateral"
        text = f"{entered} {self.store.schemas.own('settle_unit')}($3) as u"
        until = time.monotonic() + SETTLING
        pause = 0.02
        while True:
            try:
                row = await self.store.pool.fetch_row(text, self._sealed((unit_id,)), timeout=SETTLING)
            except FreeholdError as error:
                passing = error.unanswered or isinstance(
                    error, errors.TimeoutError | UnavailableError | SerializationError
                )
                if not passing or time.monotonic() > until:
                    raise OutcomeUnknownError(unit_id) from error
                await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # jitter, no secret
                pause = min(pause * 2, 1.0)
                continue
            return _settled(row or {})

    def _sealed(self, arguments: Values) -> Callable[[], Sequence[Any]]:
        """What makes a message's values: organization and context before the others, sealed when it is sent."""
        return lambda: (*self._entered(), *made(arguments))

    def _entered(self) -> tuple[UUID, str]:
        """The organization, and the context under a seal of this second."""
        seal = self.store.seal
        if self._second != (second := seal.second):
            self._entering = (self.context.organization_id, seal.apply(self.context, self._setting))
            self._second = second
        return self._entering

    def check_writes(self) -> None:
        """Whether its session is open, and one that writes.

        Raises:
            ForbiddenError: it only reads.
            IsolationError: it is closed.
        """
        self.check_open()
        if self.read_only:
            raise ForbiddenError("a query does not write", hint="declare the function as a command")

    def check_open(self) -> None:
        """Whether its session is open still.

        Raises:
            IsolationError: it is closed.
        """
        if not self.open or (self._parent is not None and not self._parent.open):
            raise IsolationError(
                "the session is closed", hint="keep calls inside of 'async with database.session(context)'"
            )


def _settled(noted: Mapping[str, Any]) -> Row | None:
    if noted.get("xid") is None:
        return None
    return {"answer": noted["told"], "xid": noted["xid"], "at": noted["at"]}


def forgotten(unit_id: UUID) -> bool:
    """Whether a unit of work is so old that its note may have been removed: an id of ours begins with the time (UUIDv7)."""
    return unit_id.version == 7 and (unit_id.int >> 80) / 1000 < time.time() - KEPT


def checked_id(value: Any, subject: str) -> UUID:
    """A record's id: a UUID, or its text."""
    if isinstance(value, UUID):
        # Some libraries' UUIDs derive from the standard one; the driver wants exactly that.
        return value if type(value) is UUID else UUID(int=value.int)
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise ValidationError.single(
            ("id",), f"must be a UUID, not {value!r}"[:120], "uuid_type", subject=subject
        ) from None


def checked_version(value: Any, subject: str) -> int:
    """A record's version: a whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_VERSION:
        raise ValidationError.single(
            ("version",),
            f"must be the version that was read, a whole number from 1 on, not {value!r}"[:160],
            "version",
            subject=subject,
        )
    return value
