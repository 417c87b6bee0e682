"""What a bulk call says of each of its items, kept in little room."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, overload
from uuid import UUID

from freehold.errors import FreeholdError

__all__ = [
    "Action",
    "BulkProgress",
    "BulkResult",
    "OnOutcomes",
    "OnProgress",
    "Outcome",
    "Outcomes",
    "Report",
    "Tally",
    "Touched",
]

Action = Literal[
    "created", "updated", "unchanged", "skipped", "superseded", "deleted", "restored", "failed"
]  # fmt: skip
"""What happened to an item. `superseded`: a later item of the same call had the same key, and its values count."""

_ACTIONS: tuple[Action, ...] = (
    "created", "updated", "unchanged", "skipped", "superseded", "deleted", "restored", "failed",
)  # fmt: skip
_NUMBERS = {action: number for number, action in enumerate(_ACTIONS)}
_NOBODY = bytes(16)

MAXIMUM_TOLD = 1_000
"""Failures that a result keeps, where `on_outcomes` has been told all of them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one item.

    Args:
        index: of the item, in the order in which they came, from 0.
        action: what happened.
        id: of the record; None where there is none, or none is known.
        version: the record's, after it.
        error: why it failed: what the same write of a single record would have raised.
    """

    index: int
    action: Action
    id: UUID | None = None
    version: int | None = None
    error: FreeholdError | None = None


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """How far a bulk call is.

    Args:
        done: items that are dealt with.
        failed: those of them that failed.
    """

    done: int
    failed: int


OnProgress: TypeAlias = Callable[[BulkProgress], object]
OnOutcomes: TypeAlias = Callable[[Sequence[Outcome]], object]


class Report:
    """What became of the items of a chunk, as soon as it is certain.

    Args:
        outcomes: those that are known.
    """

    __slots__ = ("_created", "_others")

    def __init__(self, outcomes: Iterable[Outcome] = ()) -> None:
        self._created: list[tuple[int, bytes]] = []
        self._others = list(outcomes)

    def add(self, *outcomes: Outcome) -> None:
        """Adds outcomes, in any order."""
        self._others += outcomes

    def created(self, items: Iterable[tuple[int, bytes]]) -> None:
        """Adds items that were created, each as its index and its record's id: what becomes of most, and takes the least room so."""
        self._created += items

    @property
    def plain(self) -> Sequence[tuple[int, bytes]] | None:
        """All items in their order, where all were created."""
        return None if self._others else self._created

    def outcomes(self) -> list[Outcome]:
        """All outcomes, in the order of the items."""
        made = [Outcome(index, "created", UUID(bytes=key), 1) for index, key in self._created]
        return sorted([*made, *self._others], key=lambda outcome: outcome.index)


class Outcomes(Sequence[Outcome]):
    """Outcomes in the order of the items, of which each takes 29 bytes until it is looked at."""

    __slots__ = ("_actions", "_errors", "_ids", "_indexes", "_versions")

    def __init__(self) -> None:
        self._indexes = array("q")  # of items that came after one whose outcome nobody knows
        self._actions = bytearray()
        self._ids = bytearray()
        self._versions = array("i")
        self._errors: dict[int, FreeholdError] = {}

    def append(self, outcome: Outcome) -> None:
        """Adds that of a later item."""
        if outcome.error is not None:
            self._errors[len(self._actions)] = outcome.error
        self._indexes.append(outcome.index)
        self._actions.append(_NUMBERS[outcome.action])
        self._ids += _NOBODY if outcome.id is None else outcome.id.bytes
        self._versions.append(outcome.version or 0)

    def extend_created(self, items: Sequence[tuple[int, bytes]]) -> None:
        """Adds later items that were created, each as its index and its record's id."""
        self._indexes.extend([index for index, _ in items])
        self._actions += bytes([_NUMBERS["created"]]) * len(items)
        self._ids += b"".join([key for _, key in items])
        self._versions.extend([1] * len(items))

    def __len__(self) -> int:
        return len(self._actions)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Outcome]: ...
    def __getitem__(self, index: int | slice) -> Outcome | Sequence[Outcome]:
        """The outcome of an item, or those of several."""
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        place = range(len(self._actions))[index]  # as a list does, from the end too
        id = bytes(self._ids[place * 16 : place * 16 + 16])
        return Outcome(
            self._indexes[place],
            _ACTIONS[self._actions[place]],
            None if id == _NOBODY else UUID(bytes=id),
            self._versions[place] or None,
            self._errors.get(place),
        )

    def __iter__(self) -> Iterator[Outcome]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it grows while the call lasts

    def __repr__(self) -> str:
        return f"<{len(self)} outcomes>"


@dataclass(frozen=True, slots=True)
class Touched:
    """A record that a deletion or restoration reached by following references.

    Args:
        entity: its entity's name.
        action: `deleted`, `restored`, `purged`, or `cleared` where it lost the reference.
        id: its id.
    """

    entity: str
    action: str
    id: UUID


@dataclass(frozen=True)
class BulkResult:
    """What a bulk call did.

    Args:
        request_id: of the call's context; the log has it with each record.
        created, updated, unchanged, skipped, superseded, deleted, restored, failed: how many items had which outcome.
        outcomes: of each item, in their order. Empty where `on_outcomes` was given: it has been told them.
        failures: the outcomes of the items that failed; at most 1,000 where `on_outcomes` was given.
        touched: records beside the items that a deletion or restoration reached.
    """

    request_id: str
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    superseded: int = 0
    deleted: int = 0
    restored: int = 0
    failed: int = 0
    outcomes: Sequence[Outcome] = field(default=(), repr=False)
    failures: tuple[Outcome, ...] = field(default=(), repr=False)
    touched: tuple[Touched, ...] = field(default=(), repr=False)

    @property
    def done(self) -> int:
        """How many items were dealt with."""
        return sum(getattr(self, action) for action in _ACTIONS)


class Tally:
    """Counts and keeps a call's outcomes, and tells the caller.

    Args:
        request_id: of the context.
        progress: called after each chunk.
        on_outcomes: called with each chunk's outcomes, which are not kept then.
        keep_failures: whether all failures are kept in any case: an error is to list them.
    """

    def __init__(
        self, request_id: str, progress: OnProgress | None, on_outcomes: OnOutcomes | None, *, keep_failures: bool
    ) -> None:
        self._request_id = request_id
        self._progress = progress
        self._on_outcomes = on_outcomes
        self._most = None if on_outcomes is None or keep_failures else MAXIMUM_TOLD
        self._counts: dict[str, int] = dict.fromkeys(_ACTIONS, 0)
        self._outcomes = Outcomes()
        self.failures: list[Outcome] = []
        self.touched: list[Touched] = []

    @property
    def done(self) -> int:
        """How many items were dealt with."""
        return sum(self._counts.values())

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return self._counts["failed"]

    @property
    def written(self) -> bool:
        """Whether something was changed."""
        return any(self._counts[action] for action in ("created", "updated", "deleted", "restored"))

    def settle(self, report: Report) -> None:
        """Takes what became of a chunk's items, and tells the caller."""
        created = report.plain
        if created is not None and self._on_outcomes is None:
            self._counts["created"] += len(created)
            self._outcomes.extend_created(created)
        else:
            self._take(report.outcomes())
        if self._progress is not None:
            self._progress(BulkProgress(self.done, self.failed))

    def _take(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._counts[outcome.action] += 1
            if outcome.error is not None and (self._most is None or len(self.failures) < self._most):
                self.failures.append(outcome)
            if self._on_outcomes is None:
                self._outcomes.append(outcome)
        if self._on_outcomes is not None and outcomes:
            self._on_outcomes(outcomes)

    def result(self) -> BulkResult:
        """What the call has done until now."""
        counts: dict[str, Any] = self._counts  # Any: so that they can be given by name
        return BulkResult(
            self._request_id,
            **counts,
            outcomes=self._outcomes,
            failures=tuple(self.failures),
            touched=tuple(self.touched),
        )
