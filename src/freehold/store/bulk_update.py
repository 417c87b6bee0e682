"""Changing many records of expected versions: one statement for each chunk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pydantic

from freehold.errors import ConcurrencyError, FreeholdError, NotFoundError, ValidationError
from freehold.model.description import EntityDescription
from freehold.model.entity import Entity
from freehold.sql.identifiers import Schemas
from freehold.sql.writes import update_text
from freehold.store.bulk_create import Payloads, indexed
from freehold.store.chunks import Item
from freehold.store.delivery import Line, isolated
from freehold.store.messages import checked_id, checked_version
from freehold.store.outcomes import Outcome, Report
from freehold.store.reader import MAXIMUM_IDS, Reader

__all__ = ["Update", "conflicts", "expected", "patch_of"]


def expected(entity: EntityDescription, target: Any, index: int) -> tuple[UUID, int]:
    """The id and version that an item names: of a record as it was read, or (id, version)."""
    if isinstance(target, Entity) and type(target).__entity__ is entity:
        return target.id, target.version
    if not isinstance(target, tuple | list) or len(target) != 2:
        named = f"must name a {entity.name}: a record as it was read, or (id, version)"
        raise ValidationError.single((index,), named, "target_type", subject=entity.name)
    return checked_id(target[0], entity.name), checked_version(target[1], entity.name)


@dataclass(frozen=True)
class Update:
    """How the items of one `update_many` are written.

    Args:
        entity: of the records.
        schemas: the names of the schemas.
        line: sends the statements.
        payloads: encodes.
        reader: reads what a conflict is with.
    """

    entity: EntityDescription
    schemas: Schemas
    line: Line
    payloads: Payloads
    reader: Reader

    def prepare(self, index: int, raw: Any) -> Item:
        """Checks and encodes an item: a pair of a target and its changes."""
        if not isinstance(raw, tuple | list) or len(raw) != 2:
            raise ValidationError.single(
                (index,), "must be a pair: (record, changes) or ((id, version), changes)", "pair_type",
                subject=self.entity.name,
            )  # fmt: skip
        id, version = expected(self.entity, raw[0], index)
        checked = patch_of(self.entity, raw[1], index)
        fields = tuple(field.name for field in self.entity.changeable if field.name in checked.model_fields_set)
        if not fields:
            raise ValidationError.single(
                (index,), "names no change; give at least one field", "no_change", subject=self.entity.name
            )
        changes = self.payloads.encode({name: getattr(checked, name) for name in fields})
        text = b'{"id":"%b","version":%d,"changes":%b}' % (str(id).encode(), version, changes)
        return Item(index, id.bytes, text, version, fields)

    async def send(self, items: Sequence[Item], report: Report) -> None:
        """Changes the records of a chunk."""
        await isolated(items, report, self._send)

    async def _send(self, items: Sequence[Item], report: Report) -> None:
        union = {name for item in items for name in item.fields}
        fields = tuple(field.name for field in self.entity.changeable if field.name in union)
        arguments = b"[%b]" % b",".join([item.text for item in items])
        answer = await self.line.send(update_text(self.entity, self.schemas, fields), arguments)
        told = {id: (what, version) for id, what, version in answer}
        refused = []
        for item in items:
            id = item.id
            what, version = told.get(str(id), ("updated", item.version + 1))
            if what in ("updated", "unchanged"):
                report.add(Outcome(item.index, what, id, version))
            else:
                refused.append((item, what, version))
        report.add(*await conflicts(self.entity, self.reader, refused))


def patch_of(entity: EntityDescription, changes: Any, index: int | None) -> Any:
    """Changes, as the entity's Patch that was given or that a mapping makes; those of an item have its index in errors."""
    model = entity.cls.Patch
    if isinstance(changes, model):
        return changes
    if not isinstance(changes, Mapping):
        path = () if index is None else (index,)
        given = type(changes).__name__
        raise ValidationError.single(
            path,
            f"must have a {model.__name__} or a mapping as changes, not {given}",
            "input_type",
            subject=entity.name,
        )
    try:
        return model.model_validate(changes if type(changes) is dict else dict(changes))
    except pydantic.ValidationError as error:
        raise indexed(index, error, entity.name) from None


async def conflicts(
    entity: EntityDescription, reader: Reader, refused: Sequence[tuple[Item, str, int | None]]
) -> list[Outcome]:
    """The outcomes of items whose record was not as expected: each with the error that a single write raises."""
    ids = [item.id for item, what, _ in refused if what == "conflict"]
    current: dict[UUID, Entity] = {}
    for start in range(0, len(ids), MAXIMUM_IDS):
        part = ids[start : start + MAXIMUM_IDS]
        found = await reader.get_many(entity.cls, part, private=False, deleted=True)
        current |= {record.id: record for record in found}
    outcomes = []
    for item, what, _ in refused:
        record = current.get(item.id)
        error: FreeholdError
        if record is not None:
            error = ConcurrencyError(entity.name, item.id, expected=item.version, actual=record.version, current=record)
        elif what == "alive":
            error = ValidationError.single(
                (item.index,), f"{entity.name} {item.id} is not deleted", "not_deleted", subject="restore"
            )
        else:
            hint = "it is deleted; restore it first" if what == "deleted" else None
            error = NotFoundError(entity.name, item.id, hint=hint)
        version = None if record is None else record.version
        outcomes.append(Outcome(item.index, "failed", item.id, version, error))
    return outcomes
