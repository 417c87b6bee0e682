"""The event that tells of a change: which record, and its fields before and after."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from freehold import Change, Entity, Session

__all__ = ["Changed", "what_changed"]


@dataclass(frozen=True)
class Changed:
    """A record has changed.

    Args:
        entity: the name of its entity.
        id: its id.
        version: its version from then on.
        fields: the values before and after of each field that changed; private fields are left out.
    """

    entity: str
    id: UUID
    version: int
    fields: Mapping[str, tuple[Any, Any]]  # Any: a field's value

    @classmethod
    def of(cls, change: Change) -> "Changed":
        """The event of a change in the log."""
        return cls(change.entity, change.record_id, change.version, dict(change.diff))


async def what_changed(session: Session, record: Entity) -> Changed:
    """The event of a record's last change.

    Args:
        session: the transaction that made the change: there, nobody else's can be the last one.
        record: as the change answered it.
    """
    (change,) = await session.history(record, limit=1)
    return Changed.of(change)
