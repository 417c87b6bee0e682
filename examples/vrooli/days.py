"""The figures of a day, to which many add at the same moment.

To read and then to write is to lose what another one has added in between. So the database adds: the second of two waits for the
first one's transaction, and adds to what that has left. The first of a day makes the row; where two are first, the unique key lets
one through, and the other adds to it.

Rows are taken in one order (people before teams, each by id), so that two operations that need the same ones cannot wait for each other. An
operation saves its tally last: others wait for as little of it as can be.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from examples.vrooli.entities import PersonDay, TeamDay
from freehold import Transaction
from freehold.errors import UniqueError

__all__ = ["Tally"]

OWNERS: dict[type[PersonDay] | type[TeamDay], str] = {PersonDay: "person_id", TeamDay: "team_id"}


class Tally:
    """What an operation adds to the figures of its day.

    Args:
        at: when it happens; the day is that of UTC.
    """

    def __init__(self, at: datetime) -> None:
        self.day = at.astimezone(UTC).date()
        self._amounts: dict[type[PersonDay] | type[TeamDay], dict[UUID, Counter[str]]] = {PersonDay: {}, TeamDay: {}}

    def add(self, *, person: UUID | None = None, team: UUID | None = None, **amounts: int) -> None:
        """Counts something for a person, for a team, or for both; for nobody where there is none."""
        for entity, owner in ((PersonDay, person), (TeamDay, team)):
            if owner is not None:
                self._amounts[entity].setdefault(owner, Counter()).update(amounts)

    async def save(self, transaction: Transaction) -> None:
        """Adds everything to what is there.

        Args:
            transaction: read committed, so that what others have committed is seen once they are waited for.
        """
        for entity, owners in self._amounts.items():
            for owner in sorted(owners):
                await self._add(transaction, entity, {OWNERS[entity]: owner, "day": self.day}, owners[owner])

    async def _add(
        self,
        transaction: Transaction,
        entity: type[PersonDay] | type[TeamDay],
        key: dict[str, object],
        amounts: Counter[str],
    ) -> None:
        row = await transaction.find(entity, key)
        if row is None:
            try:
                async with transaction.savepoint():
                    await transaction.create(entity, **key, **amounts)
                return
            except UniqueError:  # somebody else was first of the day, and is done
                row = await transaction.find(entity, key)
        if row is None:
            raise LookupError(f"{entity.__name__} of {key} is gone again")
        added: dict[str, Any] = dict(amounts)  # Any: of their own type alone, checkers would take them for `ack` too
        await transaction.increment(entity, row.id, **added)
