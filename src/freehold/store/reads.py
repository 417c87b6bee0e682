"""The reads that a session of now and one of a moment in the past have in common.

The class is the list of everything that can be read, and so longer than others; it only passes on to the modules that do
it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypeVar, overload
from uuid import UUID

from freehold.errors import NotFoundError, ValidationError
from freehold.model.context import Context
from freehold.model.entity import Entity
from freehold.model.pages import IncludeLike, OrderBy, Page
from freehold.model.vocabulary import Vocabulary
from freehold.store.messages import Messenger, checked_id
from freehold.store.queries import Group, aggregate
from freehold.store.reader import MAXIMUM_IDS, Reader

__all__ = ["IncludeMap", "Reads", "checked_ids", "only"]

EntityT = TypeVar("EntityT", bound=Entity)

IncludeMap = Mapping[str, IncludeLike] | Sequence[str] | None


class Reads:
    """The reads of one context. Every call is one message to the database.

    Args:
        messenger: sends them.
    """

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger
        self._reader = Reader(messenger)

    @property
    def context(self) -> Context:
        """Who asks."""
        return self._messenger.context

    @property
    def reader(self) -> Reader:
        """What its reads go through: for functions that answer with JSON."""
        return self._reader

    @overload
    async def get(
        self,
        entity: type[EntityT],
        id: UUID | str,
        *,
        private: bool = False,
        deleted: bool = False,
        as_json: Literal[False] = False,
    ) -> EntityT: ...
    @overload
    async def get(
        self,
        entity: type[Entity],
        id: UUID | str,
        *,
        private: bool = False,
        deleted: bool = False,
        as_json: Literal[True],
    ) -> bytes: ...
    async def get(
        self,
        entity: type[EntityT],
        id: UUID | str,
        *,
        private: bool = False,
        deleted: bool = False,
        as_json: bool = False,
    ) -> EntityT | bytes:
        """One record. Concurrent gets of one tick of the event loop become one message.

        Args:
            entity: its class.
            id: its id.
            private: whether private fields come along.
            deleted: whether a deleted record is found too.
            as_json: the JSON bytes as PostgreSQL wrote them.

        Raises:
            NotFoundError: there is none in this organization.
        """
        if not as_json:
            return await self._reader.get(entity, id, private=private, deleted=deleted)
        store = self._messenger.store
        description = store.registry[entity]
        wanted = checked_id(id, description.name)
        if not deleted and not private:
            return (await self._reader.get_body(store.shapes.parse(description), wanted))[0]
        rows = await self._reader.get_json(store.shapes.parse(description, private=private), [wanted], deleted=deleted)
        if rows is None:
            raise NotFoundError(description.name, wanted)
        return rows[1:-1]  # the array's one element

    async def get_many(
        self, entity: type[EntityT], ids: Sequence[UUID | str], *, private: bool = False, deleted: bool = False
    ) -> list[EntityT]:
        """Records by id, in the order of the ids; those that are not there are left out.

        Args:
            entity: their class.
            ids: at most 1,000.
            private, deleted: as in `get`.
        """
        wanted = checked_ids(self._messenger.store.registry[entity].name, ids)
        if not wanted:
            return []
        found = {
            record.id: record
            for record in await self._reader.get_many(entity, wanted, private=private, deleted=deleted)
        }
        return [found[id] for id in wanted if id in found]

    async def find(
        self,
        entity: type[EntityT],
        where: Mapping[str, Any],
        *,
        include: IncludeMap = None,
        private: bool = False,
        deleted: bool = False,
    ) -> EntityT | None:
        """The one record that matches, or None.

        Raises:
            ValidationError: the filter is wrong, or matches more than one record.
        """
        page = await self.list(entity, where=where, limit=2, include=include, private=private, deleted=deleted)
        return only(page)

    async def exists(
        self, entity: type[Entity], where: Mapping[str, Any] | None = None, *, deleted: bool = False
    ) -> bool:
        """Whether a record matches."""
        return await self._reader.exists(entity, where, deleted=deleted)

    async def count(
        self,
        entity: type[Entity],
        where: Mapping[str, Any] | None = None,
        *,
        search: str | None = None,
        deleted: bool = False,
    ) -> int:
        """How many records match a filter, and a search where one is given."""
        return await self._reader.count(entity, where, search=search, deleted=deleted)

    @overload
    async def list(
        self,
        entity: type[EntityT],
        *,
        where: Mapping[str, Any] | None = None,
        search: str | None = None,
        order_by: OrderBy = None,
        limit: int = 50,
        after: str | None = None,
        before: str | None = None,
        include: IncludeMap = None,
        select: None = None,
        with_total: bool = False,
        deleted: bool = False,
        private: bool = False,
        as_json: bool = False,
    ) -> Page[EntityT]: ...
    @overload
    async def list(
        self,
        entity: type[Entity],
        *,
        where: Mapping[str, Any] | None = None,
        search: str | None = None,
        order_by: OrderBy = None,
        limit: int = 50,
        after: str | None = None,
        before: str | None = None,
        include: IncludeMap = None,
        select: Sequence[str],
        with_total: bool = False,
        deleted: bool = False,
        private: bool = False,
        as_json: bool = False,
    ) -> Page[Any]: ...
    async def list(
        self,
        entity: type[Entity],
        *,
        where: Mapping[str, Any] | None = None,
        search: str | None = None,
        order_by: OrderBy = None,
        limit: int = 50,
        after: str | None = None,
        before: str | None = None,
        include: IncludeMap = None,
        select: Sequence[str] | None = None,
        with_total: bool = False,
        deleted: bool = False,
        private: bool = False,
        as_json: bool = False,
    ) -> Page[Any]:
        """One page of the records that match, whatever it includes in one statement.

            page = await session.list(Order, where={"customer.status": "active"}, order_by="-total",
                                      include={"customer": True, "lines": "count"})
            more = await session.list(Order, ..., after=page.next)

        Args:
            entity: their class.
            where: a filter; see `freehold.model.filters`.
            search: only records in which all these words, or words that begin so, are found; see `Session.search`.
            order_by: field names, `-` before one for descending, or `Order`s; ties are broken by id.
            limit: records at most, 1 to 1,000.
            after: the `next` cursor of the page before this one.
            before: the `previous` cursor of the page after this one.
            include: relations by name, each True, "count" or an `Include`.
            select: only these fields (and the id); the rows are then no entities.
            with_total: also count all that match.
            deleted: whether deleted records are in.
            private: whether private fields come along.
            as_json: `page.json` holds the bytes as PostgreSQL wrote them, and `page.records` stays empty.

        Raises:
            ValidationError: something in the arguments is wrong; each issue with its path.
            CursorError: the cursor was edited or belongs to another list.
        """
        return await self._reader.list(
            entity,
            where=where,
            search=search,
            order_by=order_by,
            limit=limit,
            after=after,
            before=before,
            include=include,
            select=select,
            with_total=with_total,
            deleted=deleted,
            private=private,
            as_json=as_json,
        )

    async def aggregate(
        self,
        entity: type[Entity],
        *,
        group_by: Sequence[str] = (),
        sum: Sequence[str] = (),
        avg: Sequence[str] = (),
        min: Sequence[str] = (),
        max: Sequence[str] = (),
        where: Mapping[str, Any] | None = None,
        limit: int = 1_000,
        deleted: bool = False,
        vocabulary: Vocabulary | None = None,
    ) -> tuple[Group, ...]:
        """Counts, sums, averages, least and greatest values of the records that match, by group.

        Args:
            entity: their class.
            group_by: the fields of a group's key; without any, all are one group.
            sum, avg: number fields.
            min, max: ordered fields.
            where: a filter.
            limit: groups at most, 1 to 1,000; more are an error, not a cut.
            deleted: whether deleted records are in.
            vocabulary: the fields and relations that may be named; None is all.
        """
        measures = {"sum": sum, "avg": avg, "min": min, "max": max}
        return await aggregate(
            self._messenger, entity, group_by=group_by, measures=measures, where=where, limit=limit, deleted=deleted,
            vocabulary=vocabulary,
        )  # fmt: skip


def checked_ids(name: str, ids: Any) -> "list[UUID]":
    """The ids of a call, each once.

    Raises:
        ValidationError: they are no list of ids, or too many.
    """
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Collection):
        raise ValidationError.single(
            ("ids",), f"must be a list of ids, not {type(ids).__name__}", "list_type", subject="get_many"
        )
    if len(ids) > MAXIMUM_IDS:
        raise ValidationError.single(
            ("ids",), f"has more than {MAXIMUM_IDS} ids; split the call", "too_long", subject="get_many"
        )
    return list(dict.fromkeys(checked_id(id, name) for id in ids))


def only(page: "Page[EntityT]") -> EntityT | None:
    """The one record of a page, or None.

    Raises:
        ValidationError: there are more.
    """
    if len(page) > 1:
        raise ValidationError.single(
            (), "matches more than one record; narrow it, or use list", "not_unique", subject="where"
        )
    return page[0] if page.records else None
