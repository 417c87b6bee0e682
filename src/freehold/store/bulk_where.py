"""Changing or deleting the records that match a filter: chunk by chunk, in the order of their ids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from freehold.errors import BulkError, FreeholdError
from freehold.model.description import EntityDescription
from freehold.model.registry import Registry
from freehold.sql.identifiers import Schemas
from freehold.sql.writes import Matching, matching_text
from freehold.store.bulk_state import touched
from freehold.store.chunks import Item
from freehold.store.delivery import Line, about_rows, isolated
from freehold.store.outcomes import Action, Outcome, Report, Tally

__all__ = ["Sweep"]


@dataclass
class Sweep:
    """One walk over the records that match.

    A record is met once: those that come to match behind the walk, and those that cease to before it, are not met.

    Args:
        entity: of the records.
        registry: knows the entities of tables.
        schemas: the names of the schemas.
        line: sends the statements.
        matching: the filter.
        text: the statement, by (after, named).
        changes: as JSON.
        size: records of a statement.
        outcome: an item's action and version, of what the statement says of it.
    """

    entity: EntityDescription
    registry: Registry
    schemas: Schemas
    line: Line
    matching: Matching
    text: Callable[[bool, bool], str]
    size: int
    outcome: Callable[[str, int], tuple[Action, int]]
    changes: bytes = b"{}"
    after: str | None = None
    index: int = 0

    async def run(self, tally: Tally, *, whole: bool) -> None:
        """Walks to the end.

        Raises:
            BulkError: something ended the call after part of it was committed.
        """
        try:
            more = True
            while more:
                more = await self._next(tally)
        except Exception as error:
            if whole or not tally.written:
                raise
            raise BulkError(error, result=tally.result()) from error

    async def _next(self, tally: Tally) -> bool:
        """The next records; false where there are no more."""
        report = Report()
        try:
            met = await self._chunk(tally, report)
        finally:
            tally.settle(report)
        self.index += met
        return met == self.size

    async def _chunk(self, tally: Tally, report: Report) -> int:
        try:
            answer = await self.line.send(self.text(self.after is not None, False), self._arguments())
        except FreeholdError as error:
            if not about_rows(error):
                raise
            return await self._isolated(tally, report)
        self._told(answer, report, tally, {})
        items = answer["items"]
        self.after = items[-1][0] if items else self.after
        return len(items)

    async def _isolated(self, tally: Tally, report: Report) -> int:
        """Asks which records they are, so that those which fail can do so alone."""
        text = matching_text(self.entity, self.schemas, self.matching, after=self.after is not None)
        found = await self.line.send(text, self._arguments())
        items = [Item(self.index + place, UUID(id).bytes, b"", 1) for place, id in enumerate(found)]

        async def send(part: Sequence[Item], told: Report) -> None:
            answer = await self.line.send(self.text(False, True), self._arguments(part))
            self._told(answer, told, tally, {str(item.id): item.index for item in part})

        await isolated(items, report, send)
        self.after = found[-1] if found else self.after
        return len(found)

    def _told(self, answer: Any, report: Report, tally: Tally, indexes: dict[str, int]) -> None:
        for place, (id, what, version) in enumerate(answer["items"]):
            action, now = self.outcome(what, version)
            report.add(Outcome(indexes.get(id, self.index + place), action, UUID(id), now))
        tally.touched += touched(answer.get("touched", ()), self.registry)

    def _arguments(self, items: Sequence[Item] = ()) -> bytes:
        rest = {
            "where": self.matching.values,
            "limit": self.size,
            "after": self.after,
            "ids": [str(item.id) for item in items],
        }
        return to_json(rest)[:-1] + b',"changes":%b}' % self.changes
