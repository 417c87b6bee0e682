"""One context's messages to the database, and checks that all calls share."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from freehold.errors import IsolationError, ValidationError
from freehold.model.context import Context
from freehold.postgres.connections import Row
from freehold.sql.statements import Statement
from freehold.store.store import Store

__all__ = ["Messenger", "checked_id", "checked_version"]

LARGEST_VERSION = 2**31 - 1


class Messenger:
    """Sends statements in a context; each is one message.

    Args:
        store: what the database's sessions share.
        context: who asks.
        timeout: seconds a message may take; None is the pool's bound.
        moment: reads are about what was then; None is now.
    """

    def __init__(
        self,
        store: Store,
        context: Context,
        timeout: float | None,
        *,
        moment: datetime | None = None,
        parent: "Messenger | None" = None,
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
        self._parent = parent
        self.timeout = timeout
        setting = None if moment is None else context.setting(as_of=moment.isoformat())
        self._prefix = (context.organization_id, store.seal.apply(context, setting))

    async def read(self, statement: Statement) -> Row:
        """The one row of a statement that was built for this context."""
        return await self.call(statement.text, statement.arguments)

    async def rows(self, statement: Statement) -> Sequence[Any]:
        """The rows of a statement that was built for this context, each with its columns in order and by name."""
        self.check_open()
        arguments = (*self._prefix, *statement.arguments)
        return await self.store.pool.fetch(statement.text, arguments, timeout=self.timeout)

    async def call(self, text: str, arguments: Sequence[Any] = ()) -> Row:
        """The one row of a statement whose first parameters are the organization and the context."""
        self.check_open()
        row = await self.store.pool.fetch_row(text, (*self._prefix, *arguments), timeout=self.timeout)
        return {} if row is None else row

    def check_open(self) -> None:
        """Makes sure that the session is not closed."""
        if not self.open or (self._parent is not None and not self._parent.open):
            raise IsolationError(
                "the session is closed", hint="keep calls inside of 'async with database.session(context)'"
            )


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
