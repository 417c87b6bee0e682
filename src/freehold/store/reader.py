"""Reads of records: by id, by filter, in pages.

Concurrent `get`s of one tick of the event loop become one message. The first of them leads: it lets the loop run once,
so that the others can join, and then asks for all. The others wait for its answer. A leader that is cancelled tells
them to ask anew, and one of them leads; so nobody is cancelled by somebody else's cancellation. A get that no other task
can join, because none is ready to run, asks at once.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import pydantic
from pydantic_core import from_json

from freehold.engine.functions import action_call
from freehold.errors import FreeholdError, NotFoundError, ValidationError
from freehold.model.description import EntityDescription
from freehold.model.entity import Entity
from freehold.model.filters import Filter, parse_filter
from freehold.model.issues import validation_error
from freehold.model.pages import OrderBy, Page, Sort, binding, parse_limit, parse_order
from freehold.model.shapes import Shape
from freehold.model.values import to_json_shape
from freehold.model.vocabulary import Vocabulary
from freehold.model.words import parse_words
from freehold.postgres.connections import Row
from freehold.sql.locks import Lock
from freehold.sql.past import Past
from freehold.sql.reads import (
    count_statement,
    exists_statement,
    get_rows_statement,
    get_shape_statement,
    get_statement,
    list_rows_statement,
    list_statement,
    shortened,
)
from freehold.sql.statements import Statement
from freehold.store.messages import Messenger, checked_id
from freehold.store.search import check_searchable
from freehold.store.slices import in_slices
from freehold.store.store import Store

__all__ = ["Reader"]

EntityT = TypeVar("EntityT", bound=Entity)

_Key: TypeAlias = tuple[str, bool, bool, object]
"""Which gets can be one: of an entity, with private fields, with deleted records, of a group of the messenger's."""

MAXIMUM_IDS = 1_000
"""Records of one get."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A page as it was asked for, checked. See `list_statement`."""

    shape: Shape
    condition: Filter
    sorts: tuple[Sort, ...]
    limit: int
    start: tuple[Any, ...] | None
    backward: bool
    deleted: bool
    binding: str
    continued: bool
    search: str | None
    lock: Lock | None

    def place(self, record: Entity) -> list[Any]:
        """Where a record stands in the order, for a cursor."""
        return [to_json_shape(getattr(record, sort.field.name)) for sort in self.sorts]

    def goes_on(self, found: int) -> bool:
        """Whether there is more behind the page. Of one that is locked it is not known, so that the last may be empty."""
        return found > self.limit if self.lock is None else found == self.limit

    def place_in(self, row: Row) -> Any:
        """The same of a row of JSON."""
        if not self.shape.tells(self.sorts):
            return from_json(row["k"])
        record = from_json(row["j"])
        return [record[sort.field.name] for sort in self.sorts]


class _Batch:
    """The gets that wait for one message."""

    def __init__(self, first: UUID) -> None:
        self.ids = {first: None}
        self.answer: asyncio.Future[Mapping[UUID, Any] | None] | None = None

    def joined(self, id: UUID) -> "asyncio.Future[Mapping[UUID, Any] | None]":
        self.ids[id] = None
        if self.answer is None:
            self.answer = asyncio.get_running_loop().create_future()
        return self.answer

    def settle(self, found: Mapping[UUID, Any] | None, error: FreeholdError | None = None) -> None:
        if self.answer is None or self.answer.done():
            return
        if error is None:
            self.answer.set_result(found)
        else:
            self.answer.set_exception(error)
            self.answer.exception()  # it is the leader's to raise; who joined may all have been cancelled


def _others_are_ready() -> bool:
    """Whether other tasks run before the loop waits again. Where nobody can join, waiting a turn is a fifth of the call."""
    ready = getattr(
        asyncio.get_running_loop(), "_ready", None
    )  # asyncio's own loop has it; others are taken to be busy
    return ready is None or len(ready) > 0


class Reader:
    """The reads of one session."""

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger
        self._store = messenger.store
        self._batches: dict[_Key, _Batch] = {}

    @property
    def store(self) -> Store:
        """What the database's sessions share."""
        return self._store

    async def get(self, cls: type[EntityT], id: Any, *, private: bool, deleted: bool) -> EntityT:
        """One record; shares its message with the other gets of this tick."""
        entity = self._store.registry[cls]
        id = checked_id(id, entity.name)
        key = (entity.name, private, deleted, self._messenger.group)
        if not self._batches and not _others_are_ready():
            alone = await self.get_many(cls, [id], private=private, deleted=deleted)
            if not alone:
                raise NotFoundError(entity.name, id)
            return alone[0]
        while True:
            batch = self._batches.get(key)
            if batch is None or len(batch.ids) >= MAXIMUM_IDS:
                found = await self._lead(cls, key, id)
                break
            # Shielded: when this get is cancelled, the answer is still the others'.
            answered = await asyncio.shield(batch.joined(id))
            if answered is not None:
                found = answered
                break
        record = found.get(id)
        if record is None:
            raise NotFoundError(entity.name, id)
        return record  # type: ignore[no-any-return]  # parsed as cls

    async def _lead(self, cls: type[Entity], key: _Key, id: UUID) -> Mapping[UUID, Any]:
        batch = self._batches[key] = _Batch(id)
        try:
            await asyncio.sleep(0)
            self._close(key, batch)
            records = await self.get_many(cls, list(batch.ids), private=key[1], deleted=key[2])
        except FreeholdError as error:
            batch.settle(None, error)
            raise
        except BaseException:
            batch.settle(None)
            raise
        finally:
            self._close(key, batch)
        found = {record.id: record for record in records}
        batch.settle(found)
        return found

    def _close(self, key: _Key, batch: _Batch) -> None:
        if self._batches.get(key) is batch:
            del self._batches[key]

    async def get_many(
        self, cls: type[EntityT], ids: Sequence[UUID], *, private: bool, deleted: bool, lock: Lock | None = None
    ) -> list[EntityT]:
        """Records by id, in no order."""
        shape = self._store.shapes.parse(self._store.registry[cls], private=private)
        simple = not private and not deleted and lock is None
        if len(ids) == 1 and simple and not isinstance(self._store.schemas, Past):
            # No such record is a row of nulls.
            rows = await self._messenger.rows(
                Statement(action_call(shape.entity, self._store.schemas, "get"), (ids[0],))
            )
            rows = [row for row in rows if row[0] is not None]
        else:
            statement = get_rows_statement(shape, ids, self._store.schemas, deleted=deleted, lock=lock)
            rows = await self._messenger.rows(statement)
        return await self._store.reader(shape).read_all(cls, rows)

    async def current(self, wanted: Iterable[tuple[type[Entity], UUID]]) -> Mapping[UUID, Entity]:
        """What is there now of records of any classes, deleted ones too, by id; a message for each thousand of a class."""
        by_class: dict[type[Entity], list[UUID]] = {}
        for cls, id in wanted:
            by_class.setdefault(cls, []).append(id)
        found: dict[UUID, Entity] = {}
        for cls, ids in by_class.items():
            for start in range(0, len(ids), MAXIMUM_IDS):
                records = await self.get_many(cls, ids[start : start + MAXIMUM_IDS], private=False, deleted=True)
                found.update((record.id, record) for record in records)
        return found

    async def get_body(self, shape: Shape, id: UUID) -> tuple[bytes, int]:
        """One record as a JSON object, and its version.

        Raises:
            NotFoundError: there is none in this organization.
        """
        entity, schemas = shape.entity, self._store.schemas
        self._check_records(shape, 1)
        if shape is self._store.shapes.parse(entity) and not isinstance(schemas, Past):
            statement = Statement(action_call(entity, schemas, "get", as_json=True), (id,))
        else:
            statement = get_shape_statement(shape, id, schemas)
        rows = await self._messenger.rows(statement)
        # No such record is a row of nulls, or no row.
        if not rows or rows[0]["version"] is None:
            raise NotFoundError(entity.name, id)
        return rows[0]["body"], rows[0]["version"]

    async def get_json(self, shape: Shape, ids: Sequence[UUID], *, deleted: bool) -> bytes | None:
        """Records by id as a JSON array; None when there is none."""
        row = await self._messenger.read(get_statement(shape, ids, self._store.schemas, deleted=deleted))
        return row["rows"]  # type: ignore[no-any-return]  # the driver's codec makes bytes

    async def count(
        self, cls: type[Entity], where: Mapping[str, Any] | None, *, search: str | None, deleted: bool
    ) -> int:
        """How many match."""
        entity = self._store.registry[cls]
        condition = parse_filter(where, entity, self._store.registry)
        if search is not None and not self._words(entity, search):
            return 0
        statement = count_statement(entity, condition, self._store.schemas, search=search, deleted=deleted)
        row = await self._messenger.read(statement)
        return int(row["count"])

    def _check_records(self, shape: Shape, limit: int) -> None:
        """Refuses a read whose limits allow more records than an answer may hold.

        Raises:
            ValidationError: they do.
        """
        records, most = limit * shape.records, self._store.bounds.rows
        if records > most:
            told = f"may bring {records:,} records, and an answer holds {most:,}; lower the limits, or include less"
            raise ValidationError.single(("include",), told, "too_many_records", subject=f"{shape.entity.name} read")

    def _words(self, entity: EntityDescription, search: str) -> tuple[str, ...]:
        """The words of a search in an entity."""
        check_searchable(entity, self._store.registry, subject="search")
        if isinstance(self._store.schemas, Past):
            raise ValidationError.single(
                (), "finds what is there now; a session of the past has filters", "past", subject="search"
            )
        return parse_words(search)

    async def exists(self, cls: type[Entity], where: Mapping[str, Any] | None, *, deleted: bool) -> bool:
        """Whether one matches."""
        entity = self._store.registry[cls]
        condition = parse_filter(where, entity, self._store.registry)
        row = await self._messenger.read(exists_statement(entity, condition, self._store.schemas, deleted=deleted))
        return bool(row["found"])

    async def list(
        self,
        cls: type[Entity],
        *,
        where: Mapping[str, Any] | None,
        search: str | None,
        order_by: OrderBy,
        limit: int,
        after: str | None,
        before: str | None,
        include: Any,
        select: Any,
        with_total: bool,
        deleted: bool,
        private: bool,
        as_json: bool,
        lock: Lock | None = None,
        vocabulary: Vocabulary | None = None,
        most: int | None = None,
    ) -> Page[Any]:
        """One page.

        Args: as in `Reads.list`, and:
            lock: locks the records.
            vocabulary: what may be named; None is all.
            most: bytes of JSON by which the page ends, before its limit; for pages of JSON without a total. It may end with the last
                record, so that the next page is empty. Such a page has no other bound.
        """
        entity = self._store.registry[cls]
        if after is not None and before is not None:
            raise ValidationError.single(
                ("before",), "must not be given together with after", "after_and_before", subject="list"
            )
        condition = parse_filter(where, entity, vocabulary or self._store.registry)
        sorts = parse_order(order_by, entity, vocabulary)
        shape = self._store.shapes.parse(entity, select=select, include=include, private=private, vocabulary=vocabulary)
        limit = parse_limit(limit)
        self._check_records(shape, limit)
        words = None if search is None else self._words(entity, search)
        flags = deleted if words is None else [deleted, words]
        bound = binding(self._messenger.context.organization_id, entity, sorts, where, flags)
        backward, cursor = before is not None, before if before is not None else after
        start = None
        if cursor is not None:
            start = self._store.signer.read(cursor, bound, sorts, subject="before" if backward else "after")
        asked = _Asked(
            shape, condition, sorts, limit, start, backward, deleted, bound, cursor is not None, search, lock
        )
        if words == ():
            return Page([], json=b"[]" if as_json else None, total=0 if with_total else None)
        if shape.plain and not as_json:
            return await self._row_page(cls, asked, with_total=with_total)
        return await self._json_page(asked, with_total=with_total, as_json=as_json, most=most)

    async def _row_page(self, cls: type[EntityT], asked: "_Asked", *, with_total: bool) -> Page[EntityT]:
        """A page of plain records, from rows of columns."""
        statement = list_rows_statement(
            asked.shape, asked.condition, asked.sorts, asked.limit, self._store.schemas,
            search=asked.search, start=asked.start, backward=asked.backward, total=with_total, deleted=asked.deleted, lock=asked.lock,
        )  # fmt: skip
        rows = await self._messenger.rows(statement)
        total = rows[0]["total"] if with_total else None
        if with_total:  # the total stands behind the columns of each row, and alone where there is none
            rows = [row[:-1] for row in rows if asked.shape.fields and row["id"] is not None]
        records = await self._store.reader(asked.shape).read_all(cls, rows[: asked.limit])
        return Page(
            records[::-1] if asked.backward else records,
            total=total,
            ends=lambda: [asked.place(record) for record in (records[0], records[-1])],
            near=asked.continued and bool(records),
            far=asked.goes_on(len(rows)),
            backward=asked.backward,
            signer=self._store.signer,
            binding=asked.binding,
        )

    async def _parsed(self, shape: Shape, records: Sequence[bytes]) -> Sequence[Any]:
        """The objects of a shape's rows."""
        adapter, parsed = self._store.shapes.adapter(shape), []
        try:
            async for part in in_slices(records, len):
                parsed += adapter.validate_json(b"[%b]" % b",".join(part))
        except pydantic.ValidationError as error:  # what is stored fits an older declaration
            raise validation_error(error, f"{shape.entity.name} as it is stored") from None
        return parsed

    async def _json_page(
        self, asked: "_Asked", *, with_total: bool, as_json: bool, most: int | None = None
    ) -> Page[Any]:
        """A page of anything, from JSON that PostgreSQL made."""
        # Of a page that ends by its bytes, none beyond it is read: a large record takes as long to make as to send.
        limit = asked.limit if most is None else asked.limit - 1
        statement = list_statement(
            asked.shape, asked.condition, asked.sorts, limit, self._store.schemas,
            search=asked.search, start=asked.start, backward=asked.backward, total=with_total, deleted=asked.deleted, lock=asked.lock,
        )  # fmt: skip
        if most is not None:
            statement = shortened(statement, most)
        rows = await self._messenger.rows(statement, bounded=most is None)
        total = rows[0]["total"] if with_total else None
        found = [row for row in rows if row["j"] is not None] if with_total else rows
        page = found[: asked.limit]
        records = [row["j"] for row in (page[::-1] if asked.backward else page)]
        return Page(
            [] if as_json else await self._parsed(asked.shape, records),
            json=b"[%b]" % b",".join(records) if as_json else None,
            total=total,
            ends=lambda: [asked.place_in(row) for row in (page[0], page[-1])],
            near=asked.continued and bool(page),
            far=asked.goes_on(len(found))
            if most is None
            else len(found) == asked.limit or sum(map(len, records)) >= most,
            backward=asked.backward,
            signer=self._store.signer,
            binding=asked.binding,
        )
