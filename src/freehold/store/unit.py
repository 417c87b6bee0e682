"""A unit of work: changes of many records that are made together or not at all, in one message.

It collects changes and sends nothing before its commit. Then it puts them in an order that references allow
(`store.batches`), and one statement makes them all, each through its entity's generated function. What is expected of
each record (its version, that it is there) is held by the statement; where one is not as expected all of it fails.

A failure tells of one change. So a second message tries each change by itself, on top of those that work, and undoes
everything; what that finds is what is raised. If it finds nothing, because somebody has mended it between the two, the
first error is the answer.

Concurrency: each unit is noted in the transaction that makes it (`freehold.units`). Who loses the reply asks for that
note on another connection. Asking leaves a note of its own where there is none, in the unit's place, so that a message
that is still on its way, or is being executed, cannot be committed any more. One that has noted itself is waited for,
on the index. A message is sent again in one case alone: the server has said that it rolled it back because of a deadlock.
"""

import asyncio
import contextlib
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

from pydantic_core import from_json, to_json

from freehold import errors
from freehold.engine.functions import entity_function
from freehold.errors import (
    DatabaseError,
    FreeholdError,
    SerializationError,
    UnavailableError,
    UniqueError,
    ValidationError,
)
from freehold.model.context import new_id
from freehold.model.description import EntityDescription
from freehold.model.entity import Entity, Input
from freehold.model.values import Changes, to_rows, to_sql_text
from freehold.postgres.connections import Row
from freehold.sql.units import commit_statement, keyed_statement
from freehold.store.batches import Batch, in_order
from freehold.store.messages import Messenger
from freehold.store.pending import Pending, PendingChanges
from freehold.store.problems import problems_of
from freehold.store.reads import Reads
from freehold.store.writer import Target, Writer, checked_input

__all__ = ["Commit", "UnitOfWork"]

EntityT = TypeVar("EntityT", bound=Entity)

ATTEMPTS = 4
"""Times that a unit of work is sent which deadlocks with another one."""
LONGEST_KEY = 200


@dataclass(frozen=True, slots=True)
class Commit:
    """What came of a unit of work.

    Args:
        unit_id: its id; `Session.settle` takes it.
        position: of its transaction in the database's order of transactions: what a later read gives to see at least
            this commit. None where there was nothing to write.
        at: the transaction's time, which its records have as `updated_at`.
        repeated: whether an earlier commit with the same idempotency key had done it.
    """

    unit_id: UUID
    position: int | None = None
    at: datetime | None = None
    repeated: bool = False


class UnitOfWork(Reads):
    """Collects changes and commits them in one message. Get one from `Session.unit_of_work`.

        async with session.unit_of_work() as unit:
            order = unit.add(Order, customer_id=customer.id, number="A-7")
            unit.add(OrderLine, order_id=order.id, product_id=product.id, quantity=2)
            unit.update(customer, status="active")

    Its reads see what is committed, not what it has collected.

    Args:
        messenger: of the session.
        key: an idempotency key; see `Session.unit_of_work`.
    """

    def __init__(self, messenger: Messenger, key: str | None = None) -> None:
        super().__init__(messenger)
        if key is not None and not (isinstance(key, str) and 1 <= len(key) <= LONGEST_KEY and "\x00" not in key):
            raise ValidationError.single(
                ("key",), f"must be a text of 1 to {LONGEST_KEY} characters", "string_type", subject="a unit of work"
            )
        self._store = messenger.store
        self._writer = Writer(messenger)
        self._key = key
        self._pending = PendingChanges()
        self._done: Commit | None = None
        self._begun = False
        self.id: UUID = new_id()
        """What `Session.settle` takes, where a commit was cancelled or its answer was lost. It is known before `commit` begins; a commit
        that is repeated after an error gets a new one."""

    @property
    def committed(self) -> Commit | None:
        """What came of it, once it is committed."""
        return self._done

    async def __aenter__(self) -> "UnitOfWork":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._done is None:
            await self.commit()

    def add(self, entity: type[EntityT], input: Input | None = None, /, **values: Any) -> EntityT:
        """Adds a record, as `Session.create` does.

        Returns:
            The record. It has its id, so that others can refer to it; its version is 0 until the commit, which brings it to
            what is stored then.

        Raises:
            ValidationError: a field is unknown, missing or not valid; each with its path.
        """
        description = self._collecting()[entity]
        checked = checked_input(description, "Create", input, values)
        given = {name: getattr(checked, name) for name in type(checked).model_fields}
        record = self._future(entity, description, new_id(), given)
        self._pending.add(Pending(description, record.id, "create", 0, given, [record]))
        return record

    def update(self, record: Target[EntityT], patch: Input | None = None, /, **changes: Any) -> None:
        """Changes a record, as `Session.update` does. What is as it was read is left out; a record of which nothing is left sends nothing.

        Args:
            record: as it was read, or was added here; or the entity, id and version that are expected.
            patch: an `Entity.Patch`, in place of changes by name.
            changes: the fields that change.

        Raises:
            ValidationError: a field is unknown or not valid, or another version of the record is in this unit.
            NotFoundError: this unit deletes it.
        """
        entity, id, version = self._named(record)
        checked = checked_input(entity, "Patch", patch, changes)
        given = {name: getattr(checked, name) for name in checked.model_fields_set}
        self._change(record, entity, id, version, given)

    def save(self, record: Entity) -> None:
        """Changes a record to what a copy of it says: `unit.save(customer.model_copy(update={"name": "Acme"}))`.

        The copy is compared with what was read, and what differs is validated and sent. A record that is no copy is as it was read.

        Raises:
            ValidationError: a changed value is not valid, or of a field that does not change.
        """
        entity, id, version = self._named(record)
        read = record.__dict__.get("__read__", record.__dict__)
        changed = {
            name: record.__dict__[name]
            for name in entity.fields
            if name in record.__dict__ and (name not in read or read[name] != record.__dict__[name])
        }
        checked = checked_input(entity, "Patch", None, changed)
        self._change(record, entity, id, version, {name: getattr(checked, name) for name in checked.model_fields_set})

    def delete(self, record: Target[EntityT]) -> None:
        """Deletes a record, as `Session.delete` does; one that was added here is not added."""
        self._act("delete", record)

    def restore(self, record: Target[EntityT]) -> None:
        """Brings a deleted record back, as `Session.restore` does."""
        self._act("restore", record)

    def purge(self, record: Target[EntityT]) -> None:
        """Removes a record for good, as `Session.purge` does."""
        self._act("purge", record)

    async def commit(self) -> Commit:
        """Makes all changes in one transaction, and brings the records that are in it to what is stored.

        Raises:
            ConcurrencyError, NotFoundError, UniqueError, ReferenceError, ValidationError: one change cannot be made.
            CommitError: several cannot; it has them all. Nothing was written; the unit can be mended and committed again.
            IdempotencyError: the key was used for other changes.
            OutcomeUnknownError: the connection was lost, and the database cannot be asked what happened.
        """
        registry = self._collecting()
        batches = in_order(self._pending, registry)
        if self._begun:  # what came of the other id may have been settled
            self.id = new_id()
        self._begun, unit_id = True, self.id
        if not batches and self._key is None:
            self._done = Commit(unit_id)
            return self._done
        row = await self._sent(batches, unit_id)
        repeated = row.get("fresh") is False
        self._settle(batches, row, repeated)
        self._done = Commit(unit_id, row["xid"], row["at"], repeated)
        # It is committed, whatever comes now. A record that cannot be read again keeps a version that is too old, and its next
        # change is refused.
        with contextlib.suppress(UnavailableError, errors.TimeoutError):
            await self._refresh(batches, row, repeated)
        return self._done

    async def _sent(self, batches: Sequence[Batch], unit_id: UUID) -> Row:
        schemas = self._store.schemas
        functions = tuple(
            entity_function(schemas, batch.pendings[0].entity, f"{batch.action}_all") for batch in batches
        )
        payloads = [_rows(batch) for batch in batches]
        if self._key is None:
            text, arguments = commit_statement(functions, schemas), (unit_id, *payloads)
        else:
            answer = to_json({"ids": [str(pending.id) for pending in _added(batches)]})
            text = keyed_statement(functions, schemas)
            arguments = (unit_id, self._key, _digest(self._pending, batches), answer, *payloads)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._messenger.apart():
                    return await self._messenger.write(text, arguments, unit_id)
            except SerializationError:
                if attempt == ATTEMPTS or self._messenger.held:
                    raise
                await asyncio.sleep(random.random() * 0.02 * 2**attempt)  # noqa: S311  # jitter, no secret
            except FreeholdError as error:
                if not _of_records(error):
                    raise
                raise await problems_of(self._messenger, self._reader, batches, payloads, error) from error
        raise AssertionError  # the last attempt returns or raises

    def _settle(self, batches: Sequence[Batch], row: Row, repeated: bool) -> None:
        moved = {}
        if repeated:
            first = from_json(row["answer"])["ids"]
            moved = {pending.id: UUID(id) for pending, id in zip(_added(batches), first, strict=True)}
        late = {pending.id for batch in batches if batch.late for pending in batch.pendings if pending.version == 1}
        for pending in self._pending:
            if self._messenger.held:
                self._messenger.on_undo(pending.remembered())
            versions = 2 if pending.action == "create" and pending.id in late else 1
            pending.settle(row["at"], self.context.user_id, moved, versions=versions)

    async def _refresh(self, batches: Sequence[Batch], row: Row, repeated: bool) -> None:
        """Reads the records again of which more has happened than was asked here: those that a deletion or restoration of
        the same unit has touched besides; and all of a repeated commit, which have gone on since the first."""
        touched: set[str] = set()
        for place, _ in enumerate(batches):
            for part in from_json(row.get(f"touched_{place}") or "[]"):
                touched.update(part["ids"])
        # Where the reply was lost, nobody knows what was touched.
        moves = any(batch.action not in ("create", "update") for batch in batches)
        everything = repeated or (moves and "touched_0" not in row)
        again = [
            record
            for pending in (self._pending.asked if repeated else self._pending)
            for record in pending.records
            if everything or str(pending.id) in touched
        ]
        current = await self._reader.current([(type(record).__entity__.cls, record.id) for record in again])
        for record in again:
            if record.id in current:
                read = record.__dict__.pop("__read__", None)
                for said in (record.__dict__, *([read] if read is not None else [])):
                    said.update(current[record.id].__dict__)

    def _act(self, action: str, target: Any) -> None:
        entity, id, version = self._named(target)
        self._writer.check_action(entity, action)
        self._pending.add(Pending(entity, id, action, version, {}, _objects(target)))

    def _change(self, target: Any, entity: EntityDescription, id: UUID, version: int, given: dict[str, Any]) -> None:
        self._pending.add(Pending(entity, id, "update", version, given, _objects(target)))

    def _named(self, target: Any) -> tuple[EntityDescription, UUID, int]:
        self._collecting()
        return self._writer.named(target)

    def _collecting(self) -> Any:
        """The registry, where the unit still takes changes."""
        self._messenger.check_writes()
        if self._done is not None:
            raise ValidationError.single(
                (),
                "is committed; open another one with session.unit_of_work()",
                "committed",
                subject="this unit of work",
            )
        return self._store.registry

    def _future(self, cls: type[EntityT], entity: EntityDescription, id: UUID, given: Mapping[str, Any]) -> EntityT:
        """The record as it will be."""
        now, actor = datetime.now(UTC), self.context.user_id
        base = {
            "id": id,
            "organization_id": self.context.organization_id,
            "version": 0,
            "created_at": now,
            "created_by": actor,
            "updated_at": now,
            "updated_by": actor,
            "deleted_at": None,
        }
        reader = self._store.reader(self._store.shapes.parse(entity))
        values = {**base, **dict.fromkeys(entity.counters, 0), **given}
        return reader.made(cls, {field.name: values[field.name] for field in entity.public})


def _of_records(error: FreeholdError) -> bool:
    """Whether it is about a record, and there may be more of them."""
    stale = isinstance(error, DatabaseError) and error.sqlstate == "FH201"
    return stale or isinstance(error, ValidationError | UniqueError | errors.ReferenceError)


def _objects(target: Any) -> list[Entity]:
    return [target] if isinstance(target, Entity) else []


def _added(batches: Sequence[Batch]) -> list[Pending]:
    return [pending for batch in batches if batch.action == "create" for pending in batch.pendings]


def _rows(batch: Batch) -> str:
    entity = batch.pendings[0].entity
    if batch.action == "create":
        return to_rows([{"id": pending.id, **pending.values} for pending in batch.pendings], entity)
    changes = [
        {"id": pending.id, "version": pending.version, "changes": Changes(pending.values)} for pending in batch.pendings
    ]
    return to_rows(changes, entity)


def _digest(pendings: PendingChanges, batches: Sequence[Batch]) -> bytes:
    """Of what the unit of work asks for: the same when it is asked for again, with ids and versions of its own, and of
    records that have these values by now."""
    names = {pending.id: f"new {place}" for place, pending in enumerate(_added(batches))}
    asked = [
        [
            pending.entity.name,
            pending.action,
            names.get(pending.id, str(pending.id)),
            {
                name: names.get(value, str(value)) if isinstance(value, UUID) else to_sql_text(value)
                for name, value in pending.asked.items()
            },
        ]
        for pending in pendings.asked
    ]
    texts = sorted(json.dumps(each, sort_keys=True) for each in from_json(to_json(asked, bytes_mode="hex")))
    return hashlib.sha256("\n".join(texts).encode()).digest()
