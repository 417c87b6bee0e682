"""What a statement's text tells others.

All organizations share one role, and whoever has it reads the text of every statement of that role: of those that are under
way, and of the last one of each idle connection (`pg_stat_activity`). So no text may name who asks, and none may hold a seal.
The proof looks at them after each attempt: by then every way of a session was gone, also by the other organization.
"""

import re
from collections.abc import Iterable

from freehold.postgres.connections import Connection

__all__ = ["Watch"]

_TEXTS = "select query from pg_stat_activity where usename = current_user and pid <> pg_backend_pid()"
_STATISTICS = (
    "select query from pg_stat_statements where userid = (select oid from pg_roles where rolname = current_user)"
)
_SEAL = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
"""The hash in a seal, and every text that is written in hexadecimal digits."""


class Watch:
    """Collects the texts of statements that others can read.

    Args:
        connection: of the application role, which sends nothing but its own.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: set[str] = set()

    async def look(self) -> None:
        """Reads what others show at the moment."""
        self._seen.update(row["query"] for row in await self._connection.fetch(_TEXTS))

    async def found(self, names: Iterable[str]) -> tuple[str, ...]:
        """The texts that tell who asked, or hold what may be a seal.

        Args:
            names: ids of organizations, users and requests.
        """
        there = await self._connection.fetch("select to_regclass('pg_stat_statements') is not null as there")
        if there[0]["there"]:
            self._seen.update(row["query"] for row in await self._connection.fetch(_STATISTICS))
        wanted = tuple(names)
        return tuple(sorted(text for text in self._seen if _SEAL.search(text) or any(name in text for name in wanted)))
