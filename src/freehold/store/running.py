"""Transactions that are repeated where they met another one.

A conflict, a deadlock and a connection that is lost before the commit leave nothing behind, so the whole of the work can be
done again. Between attempts there is a pause at random between nothing and a bound that doubles (exponential backoff with
full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so that those who met do not meet again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from freehold.errors import FreeholdError, SerializationError, TransactionError, UnavailableError, ValidationError
from freehold.postgres.sqlstate import DRIVER_ERRORS, UNTIMELY
from freehold.store.session import Session, Transaction
from freehold.store.transaction import DEADLINE, Isolation, checked_terms, within

__all__ = ["ATTEMPTS", "Backoff", "run"]

ResultT = TypeVar("ResultT")

ATTEMPTS = 5
"""How often work is tried where it is not said otherwise."""
MOST = 100


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next attempt.

    Args:
        base: seconds at most after the first attempt.
        cap: seconds at most after any.
        random: a number from 0 to 1.
    """

    base: float = 0.02
    cap: float = 2.0
    random: Callable[[], float] = random.random

    def pause(self, attempt: int) -> float:
        """Seconds to wait after an attempt, the first of which is 1."""
        return self.random() * min(self.cap, self.base * 2.0 ** (attempt - 1))


async def run(
    session: Session,
    work: Callable[[Transaction], Awaitable[ResultT]],
    *,
    attempts: int = ATTEMPTS,
    deadline: float = DEADLINE,
    isolation: Isolation = "read_committed",
    backoff: Backoff | None = None,
) -> ResultT:
    """Does work in a transaction, again where it met another one. See `Database.run`.

    Args:
        session: begins the transactions.
        work, attempts, deadline, isolation: as in `Database.run`.
        backoff: the pauses between attempts.
    """
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= MOST:
        raise ValidationError.single(
            ("attempts",), f"must be a whole number from 1 to {MOST}, not {attempts!r}"[:120], "attempts", subject="run"
        )
    checked_terms(isolation, read_only=False, deadline=deadline)
    if within(session.store):
        raise TransactionError(
            "run was called inside of a transaction, which it could not repeat",
            hint="use the transaction that is open, or call run outside of it",
        )
    pauses, loop = backoff or Backoff(), asyncio.get_running_loop()
    end, attempt = loop.time() + deadline, 0
    while True:
        attempt += 1
        tried = _Attempt(session, isolation, end - loop.time())
        try:
            return await tried.result(work)
        except Exception as error:
            pause = pauses.pause(attempt)
            if not tried.repeatable(error):
                raise
            if attempt == attempts or loop.time() + pause >= end:
                _tell(error, attempt, "number of attempts" if attempt == attempts else f"deadline of {deadline:g} s")
                raise
        await asyncio.sleep(pause)


class _Attempt:
    """One transaction in which the work is tried.

    Args:
        session: begins it.
        isolation: its level.
        deadline: seconds that it may take.
    """

    def __init__(self, session: Session, isolation: Isolation, deadline: float) -> None:
        self._begun = session.transaction(isolation=isolation, deadline=deadline)
        self._transaction: Transaction | None = None

    async def result(self, work: Callable[[Transaction], Awaitable[ResultT]]) -> ResultT:
        """What the work returns, when the transaction is committed."""
        async with self._begun as self._transaction:
            return await work(self._transaction)

    def repeatable(self, error: BaseException | None) -> bool:
        """Whether an error says, or was raised from one that says, that nothing was kept and that it may go well again."""
        while error is not None:
            if isinstance(error, SerializationError) or getattr(error, "sqlstate", None) == UNTIMELY:
                return True
            if self._transaction is None:
                # It could not begin: the driver says why, where it is more than a pool without a free connection.
                return isinstance(error, UnavailableError) and isinstance(error.__cause__, DRIVER_ERRORS)
            if error is self._transaction.lost:
                return isinstance(error, UnavailableError)
            error = error.__cause__
        return False


def _tell(error: Exception, attempts: int, bound: str) -> None:
    """Adds to an error how often the work was tried, and what ended that."""
    times = "once" if attempts == 1 else f"{attempts} times"
    error.add_note(f"the transaction was tried {times}; its {bound} ended that")
    if isinstance(error, FreeholdError):
        error.hint = f"it was tried {times}: give run more attempts or a later deadline, or let fewer transactions meet"
