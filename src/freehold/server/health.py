"""Whether the server lives, and whether it can serve."""

import asyncio
import time

from freehold.database import Database
from freehold.engine.columns import check_columns
from freehold.errors import FreeholdError

__all__ = ["Readiness"]

_WITHIN = 1.0
"""Seconds in which the database must answer."""
_KEPT = 0.25
"""Seconds for which an answer is given again: whoever asks often makes no work."""


class Readiness:
    """Whether requests can be served.

    Args:
        database: that serves them.
    """

    def __init__(self, database: Database) -> None:
        self._pool = database.store.pool
        self._plan = database.application.plan()
        self._asked_at = 0.0
        self._answer: asyncio.Task[str | None] | None = None

    async def problem(self) -> str | None:
        """What is in the way; None where nothing is."""
        now = time.monotonic()
        if self._answer is None or now - self._asked_at > _KEPT:
            self._asked_at = now
            self._answer = asyncio.ensure_future(self._ask())
        return await asyncio.shield(self._answer)

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(_WITHIN):
                await check_columns(self._pool, self._plan)
        except TimeoutError:
            return "the database does not answer"
        except FreeholdError as error:
            return f"the database cannot serve: {error.code}"
        return None
