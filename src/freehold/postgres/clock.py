"""The server's time, as this program knows it.

What a message carries of the time must be the server's, whose clock the program's may differ from. So the difference is
measured, against a clock of the program's that nobody sets: when a database is opened, where a message was refused because of its
time, and at most once an hour where a transaction begins, which could not send a refused message again.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from freehold.postgres.address import Driver

__all__ = ["ServerClock", "Values", "made"]

AN_HOUR = 3600.0

Values: TypeAlias = Sequence[Any] | Callable[[], Sequence[Any]]
"""What is bound to a statement; or what makes it, which is called when the message is sent, after all waiting for a connection."""


def made(values: Values) -> Sequence[Any]:
    """The values that are bound."""
    return values() if callable(values) else values


class ServerClock:
    """Tells a server's time. Until it has been measured it tells the program's own."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()
        self._measured = -AN_HOUR

    def now(self) -> float:
        """Seconds since 1970, on the server's clock."""
        return time.monotonic() + self._ahead

    @property
    def due(self) -> bool:
        """Whether it should be measured before something that cannot be sent again."""
        return time.monotonic() - self._measured >= AN_HOUR

    def doubt(self) -> None:
        """Makes it due: the server has said that the time was wrong."""
        self._measured = -AN_HOUR

    async def measure(self, connection: Driver, timeout: float) -> None:
        """Asks the server for its time. It is wrong by half of what the question took, at most.

        Args:
            connection: to the server, outside of a failed transaction.
            timeout: seconds.
        """
        before = time.monotonic()
        seconds = await connection.fetchval("select extract(epoch from clock_timestamp())::float8", timeout=timeout)
        after = time.monotonic()
        self._ahead, self._measured = seconds - (before + after) / 2, after
