"""Writes of many records: set-based, chunked, with bounded memory, and an outcome for each item.

The class is the list of everything that can be done with many records, and so longer than others; it checks what it is
given and passes on to the modules that do it.
"""

import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from fractions import Fraction
from typing import Any, TypeAlias
from uuid import UUID

from freehold.errors import ToleranceError, ValidationError
from freehold.model.entity import Entity, Input
from freehold.model.filters import Filter, constant, parse_filter
from freehold.sql.writes import changed_text, matching, removed_text
from freehold.store.bulk_create import Creation, OnDuplicate, Payloads, independent, named_key
from freehold.store.bulk_state import ACTIONS, Removal, State, after
from freehold.store.bulk_update import Update, patch_of
from freehold.store.bulk_where import Sweep
from freehold.store.chunks import Item, chunks
from freehold.store.delivery import Line, Savepoints, Send, deliver
from freehold.store.messages import Messenger
from freehold.store.outcomes import Action, BulkResult, OnOutcomes, OnProgress, Tally
from freehold.store.reader import Reader

__all__ = ["BulkTarget", "BulkWrites", "Items"]

Items: TypeAlias = Iterable[Any] | AsyncIterable[Any]
"""What a bulk call takes items from; what an item is stands at each call."""
BulkTarget: TypeAlias = Entity | tuple[UUID, int]
"""What an item is about: a record as it was read, or (id, version)."""

LARGEST_CHUNK = 10_000
DEADLINE = 300.0
CHANGED: Mapping[str, Action] = {"updated": "updated", "unchanged": "unchanged"}


class BulkWrites:
    """The bulk writes of one context."""

    _messenger: Messenger
    _reader: Reader

    def _whole(self, deadline: float) -> AbstractAsyncContextManager[tuple[Messenger, Reader, Savepoints]]:
        """One transaction, or a savepoint of the one that this is: what happens in it is undone where it ends in an error."""
        raise NotImplementedError

    @property
    def _savepoints(self) -> Savepoints | None:
        """The transaction that this is."""
        return None

    async def create_many(
        self,
        entity: type[Entity],
        items: Iterable[Input | Mapping[str, Any]] | AsyncIterable[Input | Mapping[str, Any]],
        *,
        on_duplicate: OnDuplicate = "error",
        key: str | Sequence[str] | None = None,
        atomic: bool = False,
        deadline: float = DEADLINE,
        chunk: int = 1_000,
        progress: OnProgress | None = None,
        on_outcomes: OnOutcomes | None = None,
    ) -> BulkResult:
        """Creates many records, a thousand in one message and one transaction. At most two such messages are on their way at a time.

            result = await session.create_many(Customer, ({"name": name} for name in names))
            print(result.created, [(each.index, each.error) for each in result.failures])

        An item that is not valid, or that the database refuses, is a failure with its index and error; the others are created.

        Args:
            entity: their class.
            items: each an `Entity.Create` or a mapping of fields; any iterable or async iterable, read once, and never more
                than three chunks ahead of what is committed.
            on_duplicate: what happens to an item whose unique key a record has already. "error": it fails with UniqueError.
                "skip": the record stays as it is. "update": the record gets the fields that the item gives and that may
                change; where it has them already it is `unchanged`, without a version or a change in the log. Of items
                of one chunk that share a key and give the same fields the last one counts, and the others are `superseded`.
            key: the unique key that tells duplicates, by its field or fields; may be left out where there is only one. Other
                keys still are errors.
            atomic: all or none, in one transaction.
            deadline: seconds that the one transaction may take.
            chunk: items of one message, 1 to 10,000; fewer where they are more than 8 MB.
            progress: called after each chunk.
            on_outcomes: called with the outcomes of each chunk. The result does not keep them then, so that memory stays
                the same however many items there are.

        Raises:
            ToleranceError: with `atomic`, some failed; it lists them, and nothing was created.
            BulkError: the items themselves raised, or the database could not be reached, after a part was committed; the
                error holds the result until then.
            ValidationError: an argument is wrong.
        """
        description = self._messenger.store.registry[entity]
        if on_duplicate not in ("error", "skip", "update"):
            raise _wrong("on_duplicate", "must be 'error', 'skip' or 'update'", "create_many")
        if on_duplicate == "error" and key is not None:
            raise _wrong("key", "tells duplicates to skip or update; say so with on_duplicate", "create_many")
        unique = None if on_duplicate == "error" else named_key(description, key)
        schemas, payloads = self._messenger.store.schemas, Payloads(description)

        def creation(line: Line, _: Reader) -> tuple[Callable[[int, Any], Item], Send]:
            how = Creation(description, schemas, line, payloads, on_duplicate, unique)
            return how.prepare, how.send

        tolerate = 0.0 if _flag("atomic", atomic, "create_many") else None
        tally = self._tally("create_many", progress, on_outcomes, tolerate)
        abreast = independent(self._messenger.store.registry, description)
        return await self._deliver("create_many", items, creation, tally, chunk, tolerate, deadline, abreast=abreast)

    async def update_many(
        self,
        entity: type[Entity],
        items: Iterable[tuple[BulkTarget, Input | Mapping[str, Any]]]
        | AsyncIterable[tuple[BulkTarget, Input | Mapping[str, Any]]],
        *,
        tolerate: float | None = None,
        deadline: float = DEADLINE,
        chunk: int = 1_000,
        progress: OnProgress | None = None,
        on_outcomes: OnOutcomes | None = None,
    ) -> BulkResult:
        """Changes many records, each of an expected version, a thousand in one message and one transaction.

            await session.update_many(Product, [(product, {"price": product.price * 2}) for product in products])

        An item whose record has another version fails with ConcurrencyError, which holds the expected and the actual
        version and the current record; one whose record is not there with NotFoundError. A record that has the values
        already is `unchanged`: it gets no version and no change in the log.

        Args:
            entity: their class.
            items: pairs of a target and its changes. The target is a record as it was read, or (id, version); the changes
                are an `Entity.Patch` or a mapping of fields. Two items about one record are written one after the other.
            tolerate: the share of items that may fail, 0 to 1: all is one transaction then, which is rolled back
                where more do. None: each chunk is committed.
            deadline, chunk, progress, on_outcomes: as in `create_many`.

        Raises:
            ToleranceError: more than `tolerate` failed; it lists them, and nothing was changed.
            BulkError, ValidationError: as in `create_many`.
        """
        description = self._messenger.store.registry[entity]
        schemas, payloads = self._messenger.store.schemas, Payloads(description)

        def update(line: Line, reader: Reader) -> tuple[Callable[[int, Any], Item], Send]:
            how = Update(description, schemas, line, payloads, reader)
            return how.prepare, how.send

        tolerate = _share(tolerate, "update_many")
        tally = self._tally("update_many", progress, on_outcomes, tolerate)
        return await self._deliver("update_many", items, update, tally, chunk, tolerate, deadline)

    async def delete_many(
        self,
        entity: type[Entity],
        items: Iterable[BulkTarget] | AsyncIterable[BulkTarget],
        *,
        hard: bool = False,
        tolerate: float = 1.0,
        deadline: float = DEADLINE,
        chunk: int = 1_000,
        progress: OnProgress | None = None,
        on_outcomes: OnOutcomes | None = None,
    ) -> BulkResult:
        """Deletes many records, each of an expected version, in one transaction.

        What refers to them follows its `on_delete`; `result.touched` tells what else was deleted or lost a reference. A
        record that others refer to which may not lose it fails with ReferenceError.

        Args:
            entity: their class.
            items: each a record as it was read, or (id, version).
            hard: removes them for good where deletion is soft, deleted before or not.
            tolerate: the share of items that may fail, 0 to 1; where more do, nothing is deleted.
            deadline, chunk, progress, on_outcomes: as in `create_many`.

        Raises:
            ToleranceError: more than `tolerate` failed; it lists them.
            ValidationError: an argument is wrong.
        """
        description = self._messenger.store.registry[entity]
        state: State = "purge" if _flag("hard", hard, "delete_many") and description.soft_delete else "delete"
        return await self._move("delete_many", entity, items, state, tolerate, deadline, chunk, progress, on_outcomes)

    async def restore_many(
        self,
        entity: type[Entity],
        items: Iterable[BulkTarget] | AsyncIterable[BulkTarget],
        *,
        tolerate: float = 1.0,
        deadline: float = DEADLINE,
        chunk: int = 1_000,
        progress: OnProgress | None = None,
        on_outcomes: OnOutcomes | None = None,
    ) -> BulkResult:
        """Brings many deleted records back, each of an expected version, in one transaction, with what their deletion took.

        A record whose unique value was taken meanwhile fails with UniqueError.

        Args:
            entity: their class, whose deletion is soft.
            items: each a deleted record as it was read, or (id, version).
            tolerate, deadline, chunk, progress, on_outcomes: as in `delete_many`.

        Raises:
            ToleranceError: more than `tolerate` failed; it lists them.
            ValidationError: an argument is wrong, or the entity's deletion is not soft.
        """
        description = self._messenger.store.registry[entity]
        if not description.soft_delete:
            raise ValidationError.single(
                (), f"{description.name} is deleted for good at once; there is nothing to restore", "no_soft_delete",
                subject="restore_many",
            )  # fmt: skip
        return await self._move(
            "restore_many", entity, items, "restore", tolerate, deadline, chunk, progress, on_outcomes
        )

    async def update_where(
        self,
        entity: type[Entity],
        where: Mapping[str, Any],
        patch: Input | None = None,
        /,
        *,
        everything: bool = False,
        chunk: int = 1_000,
        progress: OnProgress | None = None,
        on_outcomes: OnOutcomes | None = None,
        **changes: Any,
    ) -> BulkResult:
        """Changes all records that match a filter, chunk by chunk in the order of their ids, each chunk committed.

            await session.update_where(Customer, {"status": "prospect", "visits": {"gt": 10}}, status="active")

        Versions are not asked for; each changed record gets a new one. A record that has the values already is
        `unchanged`. What comes to match behind the walk is not met.

        Args:
            entity: their class.
            where: a filter, as `list` takes it. An empty one matches every record and needs `everything=True`.
            patch: an `Entity.Patch`, in place of changes by name: needed for fields that are named like an argument.
            everything: that an empty filter is meant.
            chunk, progress, on_outcomes: as in `create_many`.
            changes: the fields that change.

        Raises:
            BulkError, ValidationError: as in `create_many`.
        """
        description, store = self._messenger.store.registry[entity], self._messenger.store
        subject = "update_where"
        of = matching(_some(parse_filter(where, description, store.registry), everything, subject), store.schemas)
        if patch is not None and (changes or not isinstance(patch, description.cls.Patch)):
            raise _wrong("patch", f"must be a {description.name}.Patch, without changes by name", subject)
        checked = patch_of(description, changes, None) if patch is None else patch
        fields = tuple(field.name for field in description.changeable if field.name in checked.model_fields_set)
        if not fields:
            raise ValidationError.single((), "names no change; give at least one field", "no_change", subject=subject)
        sweep = Sweep(
            description, store.registry, store.schemas, Line(self._messenger, self._savepoints), of,
            lambda after, named: changed_text(description, store.schemas, of, fields, after=after, named=named),
            _chunk(chunk, subject), lambda what, version: (CHANGED[what], version),
            Payloads(description).encode({name: getattr(checked, name) for name in fields}),
        )  # fmt: skip
        tally = self._tally(subject, progress, on_outcomes, None)
        await sweep.run(tally, whole=self._savepoints is not None)
        return tally.result()

    async def delete_where(
        self,
        entity: type[Entity],
        where: Mapping[str, Any],
        *,
        hard: bool = False,
        everything: bool = False,
        deadline: float = DEADLINE,
        chunk: int = 1_000,
        progress: OnProgress | None = None,
        on_outcomes: OnOutcomes | None = None,
    ) -> BulkResult:
        """Deletes all records that match a filter, in one transaction; what refers to them follows as in `delete_many`.

        Args:
            entity: their class.
            where: a filter, as `list` takes it. An empty one matches every record and needs `everything=True`.
            hard: removes them for good where deletion is soft; records that are deleted already do not match.
            everything: that an empty filter is meant.
            deadline, chunk, progress, on_outcomes: as in `create_many`.

        Raises:
            ValidationError: an argument is wrong.
        """
        description, store = self._messenger.store.registry[entity], self._messenger.store
        subject = "delete_where"
        of = matching(_some(parse_filter(where, description, store.registry), everything, subject), store.schemas)
        state: State = "purge" if _flag("hard", hard, subject) and description.soft_delete else "delete"
        size = _chunk(chunk, subject)
        tally = self._tally(subject, progress, on_outcomes, None)
        async with self._whole(deadline) as (messenger, _, savepoints):
            sweep = Sweep(
                description, store.registry, store.schemas, Line(messenger, savepoints), of,
                lambda after, named: removed_text(description, store.schemas, of, state, after=after, named=named),
                size, lambda _, version: (ACTIONS[state], after(description, state, version)),
            )  # fmt: skip
            await sweep.run(tally, whole=True)
        return tally.result()

    async def _move(
        self,
        subject: str,
        entity: type[Entity],
        items: Items,
        state: State,
        tolerate: float,
        deadline: float,
        chunk: int,
        progress: OnProgress | None,
        on_outcomes: OnOutcomes | None,
    ) -> BulkResult:
        store = self._messenger.store
        share = _share(tolerate, subject)
        tally = self._tally(subject, progress, on_outcomes, share)

        def removal(line: Line, reader: Reader) -> tuple[Callable[[int, Any], Item], Send]:
            how = Removal(store.registry[entity], store.registry, store.schemas, line, reader, state, tally.touched)
            return how.prepare, how.send

        return await self._deliver(subject, items, removal, tally, chunk, 1.0 if share is None else share, deadline)

    async def _deliver(
        self,
        subject: str,
        items: Items,
        how: Callable[[Line, Reader], tuple[Callable[[int, Any], Item], Send]],
        tally: Tally,
        chunk: int,
        tolerate: float | None,
        deadline: float,
        *,
        abreast: bool = False,
    ) -> BulkResult:
        """Sends the items chunk by chunk: each committed by itself, or all in one transaction that tolerates a share of failures."""
        size = _chunk(chunk, subject)
        if tolerate is None:
            prepare, send = how(Line(self._messenger, self._savepoints), self._reader)
            room = self._messenger.room if abreast else None
            async with aclosing(chunks(items, prepare, size, subject)) as incoming:
                await deliver(incoming, send, tally, whole=self._savepoints is not None, room=room)
            return tally.result()
        async with self._whole(deadline) as (messenger, reader, savepoints):
            prepare, send = how(Line(messenger, savepoints), reader)
            async with aclosing(chunks(items, prepare, size, subject)) as incoming:
                await deliver(incoming, send, tally, whole=True)
            if tally.failed > Fraction(str(tolerate)) * tally.done:  # the share as it is written: 0.29 of 100 are 29
                raise ToleranceError(tally.failures, total=tally.done, tolerate=tolerate)
        return tally.result()

    def _tally(
        self, subject: str, progress: OnProgress | None, on_outcomes: OnOutcomes | None, tolerate: float | None
    ) -> Tally:
        for name, told in (("progress", progress), ("on_outcomes", on_outcomes)):
            if told is not None and (not callable(told) or inspect.iscoroutinefunction(told)):
                raise _wrong(name, "must be a plain function, which is called and not awaited", subject)
        request_id = self._messenger.context.request_id
        return Tally(request_id, progress, on_outcomes, keep_failures=tolerate is not None and tolerate < 1)


def _wrong(name: str, message: str, subject: str) -> ValidationError:
    return ValidationError.single((name,), message, f"wrong_{name}", subject=subject)


def _flag(name: str, value: Any, subject: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "must be True or False", subject)
    return value


def _chunk(value: Any, subject: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_CHUNK:
        raise _wrong("chunk", f"must be a whole number from 1 to {LARGEST_CHUNK}", subject)
    return value


def _share(value: Any, subject: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _wrong("tolerate", "must be a share from 0 to 1, such as 0.3", subject)
    return float(value)


def _some(filter_: Filter, everything: Any, subject: str) -> Filter:
    """The filter, where it says something or is meant to say nothing."""
    if not _flag("everything", everything, subject) and constant(filter_) is True:
        raise _wrong("where", "matches every record; give a condition, or everything=True", subject)
    return filter_
