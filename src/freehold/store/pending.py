"""What a unit of work will do to each record: several changes of one record become one.

| then \\ first | add | update | delete | restore | purge |
| --- | --- | --- | --- | --- | --- |
| update | add | update | refused | restore | refused |
| delete | nothing | delete | delete | nothing | purge |
| restore | refused | refused | nothing | restore | refused |
| purge | nothing | purge | purge | purge | purge |
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from freehold.errors import NotFoundError, ValidationError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.entity import Entity

__all__ = ["Pending", "PendingChanges"]

MAXIMUM_RECORDS = 10_000
"""Records of one unit of work."""


@dataclass(slots=True)
class Pending:
    """What will be done to one record.

    Args:
        entity: of the record.
        id: its id.
        action: create, update, delete, restore or purge.
        version: the expected one; 0 for a record that is added.
        values: of a record that is added, all; else the changes.
        records: the objects that stand for it, which are told what came of it.
        unchanged: what was asked for and is as it was read. Nothing of it is sent, but it belongs to what was asked.
    """

    entity: EntityDescription
    id: UUID
    action: str
    version: int
    values: dict[str, Any] = field(default_factory=dict)
    records: list[Entity] = field(default_factory=list)
    unchanged: dict[str, Any] = field(default_factory=dict)

    @property
    def effective(self) -> bool:
        """Whether there is anything to do."""
        return self.action != "update" or bool(self.values)

    @property
    def asked(self) -> dict[str, Any]:
        """The values that were asked for, whatever the record had when it was read."""
        return {**self.unchanged, **self.values}

    def remembered(self) -> Callable[[], None]:
        """What brings the objects back to what they say now."""
        told = [record.__dict__ for record in self.records]
        told += [read for values in told if (read := values.get("__read__")) is not None]
        before = [(values, dict(values)) for values in told]

        def bring_back() -> None:
            for values, said in before:
                values.clear()
                values.update(said)

        return bring_back

    def settle(self, at: datetime | None, actor: UUID | None, moved: Mapping[UUID, UUID], *, versions: int = 1) -> None:
        """Brings the objects to what is stored now.

        Args:
            at: the transaction's time.
            actor: who did it.
            moved: the ids that an earlier commit of the same gave, by the ids that were given now.
            versions: how many the record has got.
        """
        values = self.values
        told: dict[str, Any] = {each.name: values[each.name] for each in self.entity.public if each.name in values}
        for decimal in self.entity.decimals:
            if told.get(decimal.name) is not None:
                told[decimal.name] = _stored(decimal, told[decimal.name])
        if moved:
            told |= {name: moved.get(value, value) for name, value in told.items() if isinstance(value, UUID)}
        told |= {"version": self.version + versions, "updated_at": at, "updated_by": actor}
        if self.action == "create":
            told |= {"id": moved.get(self.id, self.id), "created_at": at, "created_by": actor}
        if self.entity.soft_delete and self.action in ("delete", "restore"):
            told["deleted_at"] = at if self.action == "delete" else None
        if self.action == "purge" or (self.action == "delete" and not self.entity.soft_delete):
            told = {}  # there is no record any more: the objects are as it was last
        for record in self.records:
            # A record is frozen for whoever has it. What it stands for has changed, and here alone it follows.
            read = record.__dict__.pop("__read__", None)
            record.__dict__.update(told)
            if read is not None:
                read.update(told)


def _stored(field: FieldDescription, value: Any) -> Any:
    """A Decimal, or a list of them, with the places that are declared."""
    step = Decimal(1).scaleb(-(field.declaration.places or 0))
    return [each.quantize(step) for each in value] if field.kind.many else value.quantize(step)


class PendingChanges:
    """The changes that a unit of work has collected, by record, in the order in which records came first.

    Iterating brings those that change something; `asked` all of them.
    """

    def __init__(self) -> None:
        self._by_record: dict[tuple[str, UUID], Pending] = {}

    def __iter__(self) -> Iterator[Pending]:
        return (pending for pending in self._by_record.values() if pending.effective)

    @property
    def asked(self) -> Iterable[Pending]:
        """Also those that have nothing to change."""
        return self._by_record.values()

    def add(self, pending: Pending) -> None:
        """Takes in a change.

        Raises:
            ValidationError: another version of the record is in already, or the changes do not go together.
            NotFoundError: the unit deletes the record.
        """
        key = (pending.entity.name, pending.id)
        first = self._by_record.get(key)
        merged = pending if first is None else _merged(first, pending)
        if first is None and pending.version == 0 and pending.action != "create":
            raise ValidationError.single(
                (),
                "was added to another unit of work and is not committed yet",
                "not_committed",
                subject=_shown(pending),
            )
        if merged is None:
            self._by_record.pop(key, None)
            return
        _set_aside(merged)
        if first is None and len(self._by_record) >= MAXIMUM_RECORDS:
            raise ValidationError.single(
                (),
                f"holds {MAXIMUM_RECORDS:,} records at most; use create_many and the like for more",
                "too_long",
                subject="a unit of work",
            )
        self._by_record[key] = merged


def _merged(first: Pending, then: Pending) -> Pending | None:
    if first.version != then.version:
        raise ValidationError.single(
            ("version",),
            f"is expected to be {first.version} by an earlier change of this unit of work, and {then.version} by this one",
            "version",
            subject=_shown(then),
        )
    records = [*first.records, *(new for new in then.records if all(new is not old for old in first.records))]
    match first.action, then.action:
        case ("create" | "update" | "restore", "update"):
            values = {**first.asked, **then.asked}
            return Pending(first.entity, first.id, first.action, first.version, values, records)
        case ("create", "delete" | "purge") | ("restore", "delete") | ("delete", "restore") if (
            first.entity.soft_delete or first.action == "create"
        ):
            return None
        case (
            ("update" | "delete", "delete") | ("update" | "delete" | "restore" | "purge", "purge") | ("purge", "delete")
        ):
            action = "purge" if "purge" in (first.action, then.action) else "delete"
            return Pending(first.entity, first.id, action, first.version, {}, records)
        case ("restore", "restore"):
            return replace(first, records=records)
        case (("delete" | "purge"), "update"):
            raise NotFoundError(first.entity.name, first.id, hint="this unit of work deletes it")
    raise ValidationError.single(
        (), f"cannot be {then.action}d: this unit of work will {first.action} it", "order", subject=_shown(then)
    )


def _set_aside(pending: Pending) -> None:
    """Takes out of the changes of a record what it had already when it was read."""
    if pending.action == "create" or not pending.records:
        return
    object = pending.records[0].__dict__
    read = object.get("__read__") or object
    for name, value in list(pending.values.items()):
        if name in read and read[name] == value:
            pending.unchanged[name] = pending.values.pop(name)


def _shown(pending: Pending) -> str:
    return f"{pending.entity.name} {pending.id}"
