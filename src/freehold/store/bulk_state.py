"""Deleting, restoring and purging many records of expected versions, and what else that reaches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from freehold.model.description import EntityDescription
from freehold.model.registry import Registry
from freehold.sql.identifiers import Schemas
from freehold.sql.writes import moved_text
from freehold.store.bulk_update import conflicts, expected
from freehold.store.chunks import Item
from freehold.store.delivery import Line, isolated
from freehold.store.outcomes import Action, Outcome, Report, Touched
from freehold.store.reader import Reader

__all__ = ["Removal", "State", "touched"]

State = Literal["delete", "restore", "purge"]
ACTIONS: Mapping[State, Action] = {"delete": "deleted", "restore": "restored", "purge": "deleted"}


@dataclass(frozen=True)
class Removal:
    """How the items of one `delete_many` or `restore_many` are written.

    Args:
        entity: of the records.
        registry: knows the entities of tables.
        schemas: the names of the schemas.
        line: sends the statements.
        reader: reads what a conflict is with.
        state: what happens to them.
        reached: is told what else was touched.
    """

    entity: EntityDescription
    registry: Registry
    schemas: Schemas
    line: Line
    reader: Reader
    state: State
    reached: list[Touched]

    def prepare(self, index: int, raw: Any) -> Item:
        """Checks an item: a record as it was read, or (id, version)."""
        id, version = expected(self.entity, raw, index)
        return Item(index, id.bytes, b'{"id":"%b","version":%d}' % (str(id).encode(), version), version)

    async def send(self, items: Sequence[Item], report: Report) -> None:
        """Deletes or restores the records of a chunk."""
        await isolated(items, report, self._send)

    async def _send(self, items: Sequence[Item], report: Report) -> None:
        statement = moved_text(self.entity, self.schemas, self.state)
        answer = await self.line.send(statement, b"[%b]" % b",".join([item.text for item in items]))
        told = {id: (what, version) for id, what, version in answer["items"]}
        refused = []
        for item in items:
            what, version = told[str(item.id)]
            if what == "done":
                now = after(self.entity, self.state, version)
                report.add(Outcome(item.index, ACTIONS[self.state], item.id, now))
            else:
                refused.append((item, what, version))
        self.reached.extend(touched(answer["touched"], self.registry))
        report.add(*await conflicts(self.entity, self.reader, refused))


def after(entity: EntityDescription, state: State, version: int) -> int:
    """The version that a record has then, or had last."""
    return version + 1 if entity.soft_delete and state != "purge" else version


def touched(told: Iterable[Mapping[str, Any]], registry: Registry) -> list[Touched]:
    """What the engine says that it touched, by the names of entities."""
    names = {entity.table: entity.name for entity in registry.entities.values()}
    return [
        Touched(names.get(each["table"], each["table"]), each["action"], UUID(id))
        for each in told
        for id in each["ids"]
    ]
