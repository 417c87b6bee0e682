"""In which order the changes of a unit of work are made. Pure: records in, batches out.

What must be: a record is added or restored after those it refers to, and deleted after those that refer to it have gone or refer to
something else. What is tried beyond that: deletions come first and changes before additions, so that what they free (a
unique value, the place of the one that is primary) can be taken by what is added.

Records of one entity that need nothing of each other are one batch: one statement.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter

from freehold.errors import ValidationError
from freehold.model.description import FieldDescription
from freehold.model.registry import Registry
from freehold.store.pending import Pending

__all__ = ["Batch", "in_order"]

_FIRST = {"delete": 0, "purge": 0, "update": 1, "restore": 1, "create": 2}


@dataclass(slots=True)
class Batch:
    """Changes that are made by one statement.

    Args:
        action: create, update, delete, restore or purge.
        depth: of records that are added: how many others must be there first. Changes that refer to added records are
            made after all of these.
        pendings: the changes.
        after: the batches that come before it.
    """

    action: str
    depth: int
    pendings: list[Pending]
    after: list["Batch"] = field(default_factory=list)

    @property
    def late(self) -> bool:
        """Whether it needs records that are added."""
        return self.action not in ("create", "delete", "purge") and self.depth > 0

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller ones come first, where nothing else matters."""
        return (3 if self.late else _FIRST[self.action]), self.depth


def in_order(pendings: Iterable[Pending], registry: Registry) -> list[Batch]:
    """The batches in which the changes are made.

    Args:
        pendings: one for each record.
        registry: for the relations between entities.

    Raises:
        ValidationError: records that are added need each other in a circle.
    """
    pendings = list(pendings)
    creation = _Creation([pending for pending in pendings if pending.action == "create"])
    batches: dict[tuple[str, str, int], Batch] = {}
    for pending in [*creation.ordered, *(each for each in pendings if each.action != "create"), *creation.postponed]:
        depth = creation.depth(pending)
        batch = batches.setdefault((pending.entity.name, pending.action, depth), Batch(pending.action, depth, []))
        batch.pendings.append(pending)
    for batch in batches.values():
        if batch.action != "create":
            batch.pendings.sort(key=lambda pending: pending.id)
        batch.after = [other for other in batches.values() if other is not batch and _before(other, batch, registry)]
    return _sorted(list(batches.values()))


def _sorted(waiting: list[Batch]) -> list[Batch]:
    ordered: list[Batch] = []
    while waiting:
        # Where entities refer to each other in a circle, none is free: then the one that would be first anyway.
        free = [batch for batch in waiting if not any(other in waiting for other in batch.after)] or waiting
        chosen = min(free, key=lambda batch: batch.rank)
        waiting = [batch for batch in waiting if batch is not chosen]
        ordered.append(chosen)
    return ordered


def _before(first: Batch, then: Batch, registry: Registry) -> bool:
    """Whether one batch must come before another."""
    if first.action == "create":
        return then.late or (then.action == "create" and first.depth < then.depth)
    if first.action == "restore" and then.action in ("restore", "update", "create"):
        return _refers(then, first, registry)  # nothing that lives refers to what is deleted
    if then.action not in ("delete", "purge") or first.action == "restore":
        return False
    if first.pendings[0].entity is then.pendings[0].entity and first.action in ("delete", "purge"):
        return False
    return _refers(first, then, registry)


def _refers(source: Batch, target: Batch, registry: Registry) -> bool:
    """Whether the records of one batch may refer to those of another."""
    relations = registry.relations[source.pendings[0].entity.name].values()
    return any(relation.target is target.pendings[0].entity and not relation.many for relation in relations)


class _Creation:
    """The records that are added, and what they need of each other.

    Args:
        pendings: the additions.
    """

    def __init__(self, pendings: Sequence[Pending]) -> None:
        # By the ids' numbers: UUIDs are hashed and compared in Python, many times for each record.
        self._new = {pending.id.int: pending for pending in pendings}
        self._needed = {pending.id.int: self._referred(pending) for pending in pendings}
        self.postponed: list[Pending] = []
        """Changes that close a circle of references, when all records of it are there."""
        self.ordered = pendings
        """The additions, each after those that it refers to."""
        self._depths: dict[int, int] = {}
        if not self._measured():
            self.ordered = [self._new[id] for id in self._sorted()]
            self._measured()

    def _measured(self) -> bool:
        """Finds how many statements must come before each addition; False where one comes before what it refers to."""
        self._depths.clear()
        for pending in self.ordered:
            depth = 0
            for id in self._needed[pending.id.int]:
                if id not in self._depths:
                    return False
                # Those of one entity are in one statement, where their order does not matter.
                depth = max(depth, self._depths[id] + (self._new[id].entity is not pending.entity))
            self._depths[pending.id.int] = depth
        return True

    def depth(self, pending: Pending) -> int:
        """How many statements must have added records before."""
        if pending.action == "create":
            return self._depths[pending.id.int]
        return 1 + max(self._depths.values(), default=0) if self._referred(pending) else 0

    def _referred(self, pending: Pending) -> dict[int, FieldDescription]:
        """The other additions that a record refers to, with the field that does."""
        found: dict[int, FieldDescription] = {}
        for reference in pending.entity.references:
            value = pending.values.get(reference.name)
            if value is not None and value.int in self._new and value.int != pending.id.int:
                found[value.int] = reference
        return found

    def _sorted(self) -> list[int]:
        while True:
            try:
                return list(TopologicalSorter(self._needed).static_order())
            except CycleError as error:
                self._break(error.args[1])

    def _break(self, circle: Sequence[int]) -> None:
        """Takes one reference out of a circle, to set it afterwards; each of these records is needed by the next."""
        for needed, id in itertools.pairwise(circle):
            pending, field = self._new[id], self._needed[id][needed]
            if field.nullable and not field.declaration.immutable:
                del self._needed[id][needed]
                self._new[id] = replace(pending, values={**pending.values, field.name: None})
                self.postponed.append(
                    Pending(pending.entity, pending.id, "update", 1, {field.name: self._new[needed].id})
                )
                return
        if len({self._new[id].entity.name for id in circle}) == 1:
            del self._needed[circle[1]][circle[0]]  # one statement adds them all
            return
        names = " -> ".join(f"{self._new[id].entity.name} {self._new[id].id}" for id in circle)
        raise ValidationError.single(
            (),
            f"need each other, and none can be there first: {names}",
            "circle",
            subject="the records of a unit of work",
        )
