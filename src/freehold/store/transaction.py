"""Interactive transactions: one connection is held from begin to end, and all calls run in it.

What the connection does is in `freehold.postgres.transactions`. Here are the terms, the block that begins and ends it, and
what a transaction has beside a session: reads that lock, savepoints, and work on many items.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias, TypeVar, cast

from freehold.errors import FreeholdError, Issue, UnavailableError, ValidationError
from freehold.model.context import new_id
from freehold.model.seal import LIFETIME
from freehold.postgres.transactions import HeldTransaction, Terms
from freehold.store.each import Each, each
from freehold.store.locking import LockingReads
from freehold.store.messages import Messenger
from freehold.store.store import Store

__all__ = ["DEADLINE", "Isolation", "Transactional", "checked_terms", "held", "within"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Isolation: TypeAlias = Literal["read_committed", "repeatable_read", "serializable"]
ISOLATIONS = ("read_committed", "repeatable_read", "serializable")
DEADLINE = 30.0
"""Seconds that a transaction may take where it is not said otherwise."""
LONGEST = 86_400.0
RENEWED = LIFETIME / 3
"""Seconds after whose passing a transaction enters its context anew before it commits: the seals of its calls may have grown old."""

_around: ContextVar[tuple[tuple[Store, HeldTransaction], ...]] = ContextVar("_around", default=())
"""The transactions inside of which the running task is, or was started."""


def checked_terms(isolation: Any, read_only: Any, deadline: Any) -> Terms:
    """What a transaction begins with.

    Raises:
        ValidationError: an argument is wrong.
    """
    issues = []
    if isolation not in ISOLATIONS:
        issues.append(
            Issue(("isolation",), f"must be one of {', '.join(ISOLATIONS)}, not {isolation!r}"[:120], "isolation")
        )
    seconds = isinstance(deadline, int | float) and not isinstance(deadline, bool)
    if not (seconds and 0 < deadline <= LONGEST):
        issues.append(
            Issue(
                ("deadline",),
                f"must be more than 0 and at most {LONGEST:g} seconds, not {deadline!r}"[:120],
                "deadline",
            )
        )
    if issues:
        raise ValidationError(issues, subject="transaction")
    return Terms(isolation.replace("_", " "), bool(read_only), float(deadline))


def within(store: Store) -> bool:
    """Whether the running task is inside of a transaction of this database."""
    return any(of.pool is store.pool and not transaction.ended for of, transaction in _around.get())


@asynccontextmanager
async def held(session: Messenger, terms: Terms) -> AsyncIterator[Messenger]:
    """A messenger whose calls run in one transaction. It commits where the block ends, and rolls back on an exception.

    Args:
        session: the messenger of the session that begins it.
        terms: how it begins.
    """
    session.check_open()
    transaction = await session.store.pool.begin(terms, timeout=session.timeout)
    messenger = Messenger(session.store, session.context, session.timeout, parent=session, channel=transaction)
    around = _around.get()
    _around.set((*around, (session.store, transaction)))
    try:
        yield messenger
        if transaction.age > RENEWED and not (transaction.terms.read_only or transaction.ended or transaction.failure):
            await messenger.enter()
    except BaseException:
        await transaction.rollback()
        raise
    else:
        await _commit(session, transaction)
    finally:
        _around.set(around)


async def _commit(session: Messenger, transaction: HeldTransaction) -> None:
    """Commits, and finds out on another connection whether that was done where the answer did not come."""
    unit_id, writes = new_id(), not transaction.terms.read_only
    unanswered = await transaction.commit(session.note(unit_id) if writes else "")
    if unanswered is None or not writes or await session.settle(unit_id) is not None:
        return
    transaction.lost = UnavailableError(
        f"the connection was lost at the commit, and nothing of the transaction was kept: {unanswered.message}",
        hint="repeat the whole transaction, as database.run does",
    )
    await transaction.rollback()  # on the program's side: there is no connection any more
    raise transaction.lost from unanswered


class Transactional(LockingReads):
    """What a transaction has beside the calls of a session."""

    @property
    def lost(self) -> FreeholdError | None:
        """How its connection was lost, where it was, with all that had happened in it."""
        return self._transaction.lost

    @property
    def _transaction(self) -> HeldTransaction:
        return cast("HeldTransaction", self._messenger.channel)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undoes what happens inside where the block ends in an exception, which goes on. The transaction then goes on too.

            try:
                async with transaction.savepoint():
                    await transaction.create(Customer, name="Acme", email="info@acme.example")
            except UniqueError:
                ...

        Savepoints nest. While one is open, calls of other tasks wait until it is closed; a task that is started inside of it
        belongs to it, and must have ended before it does.

        Raises:
            TransactionError: an earlier call has failed; or, at the end, a call inside has, and its error was caught inside too.
        """
        async with self._transaction.savepoint():
            yield

    async def each(
        self,
        items: Iterable[ItemT] | AsyncIterable[ItemT],
        work: Callable[[ItemT], Awaitable[ResultT]],
        *,
        tolerate: float = 0.0,
    ) -> Each[ItemT, ResultT]:
        """Does work for each item, one after the other, each in a savepoint of its own. What succeeds is kept.

            result = await transaction.each(rows, lambda row: transaction.create(Customer, **row), tolerate=0.5)
            result.failures[0].item, result.failures[0].error

        A cancellation, a conflict with another transaction (SerializationError), a lost connection and the deadline are no
        failures of an item: they go on at once.

        Args:
            items: any iterable, or an asynchronous one.
            work: is given an item.
            tolerate: the share of the items that may fail, 0 to 1.

        Returns:
            What the work returned for the items that succeeded, and the failures with their items and errors.

        Raises:
            ToleranceError: more have failed. All of this call is rolled back, and the error has the failures.
            ValidationError: an argument is wrong.
        """
        transaction = self._transaction
        return await each(self.savepoint, lambda: transaction.ended, items, work, tolerate=tolerate)
