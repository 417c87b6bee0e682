"""Reads that lock what they read, until their transaction ends.

A row is locked as PostgreSQL's `for update` does it. Whoever waits for a lock reads the row as it is when the lock is free,
and does not find it where it does not match any more; on `repeatable_read` and `serializable`, a row that was changed since
the transaction's snapshot is a SerializationError. Rows of included relations are not locked.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, overload
from uuid import UUID

from freehold.errors import ForbiddenError, Issue, NotFoundError, ValidationError
from freehold.model.entity import Entity
from freehold.model.pages import OrderBy, Page
from freehold.sql.locks import Lock
from freehold.store.messages import checked_id
from freehold.store.reads import IncludeMap, Reads, checked_ids, only

__all__ = ["LockingReads"]

EntityT = TypeVar("EntityT", bound=Entity)


class LockingReads(Reads):
    """The reads of a transaction. Those of `Reads`, which can lock the records that they answer.

    Everywhere, `for_update` locks them, with `nowait` a record that somebody else has locked is a TimeoutError at once, and
    with `skip_locked` it is left out.
    """

    _read_only = False
    """Whether nothing can be locked."""

    @overload
    async def get(
        self,
        entity: type[EntityT],
        id: UUID | str,
        *,
        private: bool = False,
        deleted: bool = False,
        as_json: Literal[False] = False,
        for_update: bool = False,
        nowait: bool = False,
        skip_locked: bool = False,
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
        for_update: Literal[False] = False,
        nowait: Literal[False] = False,
        skip_locked: Literal[False] = False,
    ) -> bytes: ...
    async def get(
        self,
        entity: type[EntityT],
        id: UUID | str,
        *,
        private: bool = False,
        deleted: bool = False,
        as_json: bool = False,
        for_update: bool = False,
        nowait: bool = False,
        skip_locked: bool = False,
    ) -> EntityT | bytes:
        """One record; locked on its own, and not together with other gets.

        Args:
            entity, id, private, deleted, as_json: as in `Session.get`.
            for_update: locks it.
            nowait: fails where somebody else has locked it.
            skip_locked: does not find it then.

        Raises:
            NotFoundError: there is none in this organization, or, with `skip_locked`, none that is free.
            TimeoutError: with `nowait`, it is locked.
            ForbiddenError: the transaction only reads.
        """
        lock = self._lock(for_update, nowait, skip_locked, as_json=as_json)
        if lock is None:
            return await super().get(entity, id, private=private, deleted=deleted, as_json=as_json)  # type: ignore[call-overload,no-any-return]  # either
        name = self._messenger.store.registry[entity].name
        wanted = checked_id(id, name)
        found = await self._reader.get_many(entity, [wanted], private=private, deleted=deleted, lock=lock)
        if not found:
            raise NotFoundError(name, wanted, hint="it is not there, or it is locked" if skip_locked else None)
        return found[0]

    async def get_many(
        self,
        entity: type[EntityT],
        ids: Sequence[UUID | str],
        *,
        private: bool = False,
        deleted: bool = False,
        for_update: bool = False,
        nowait: bool = False,
        skip_locked: bool = False,
    ) -> list[EntityT]:
        """Records by id, in the order of the ids; those that are not there are left out. They are locked in one order,
        whatever order is asked for, so that two callers with the same records do not wait for each other.

        Args:
            entity, ids, private, deleted: as in `Session.get_many`.
            for_update, nowait, skip_locked: as in `get`.
        """
        lock = self._lock(for_update, nowait, skip_locked)
        if lock is None:
            return await super().get_many(entity, ids, private=private, deleted=deleted)
        wanted = checked_ids(self._messenger.store.registry[entity].name, ids)
        if not wanted:
            return []
        records = await self._reader.get_many(entity, wanted, private=private, deleted=deleted, lock=lock)
        found = {record.id: record for record in records}
        return [found[id] for id in wanted if id in found]

    async def find(
        self,
        entity: type[EntityT],
        where: Mapping[str, Any],
        *,
        include: IncludeMap = None,
        private: bool = False,
        deleted: bool = False,
        for_update: bool = False,
        nowait: bool = False,
        skip_locked: bool = False,
    ) -> EntityT | None:
        """The one record that matches, or None.

        Args:
            entity, where, include, private, deleted: as in `Session.find`.
            for_update, nowait, skip_locked: as in `get`.

        Raises:
            ValidationError: the filter is wrong, or matches more than one record (that is not locked).
        """
        page = await self.list(
            entity, where=where, limit=2, include=include, private=private, deleted=deleted,
            for_update=for_update, nowait=nowait, skip_locked=skip_locked,
        )  # fmt: skip
        return only(page)

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
        for_update: bool = False,
        nowait: bool = False,
        skip_locked: bool = False,
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
        for_update: bool = False,
        nowait: bool = False,
        skip_locked: bool = False,
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
        for_update: bool = False,
        nowait: bool = False,
        skip_locked: bool = False,
    ) -> Page[Any]:
        """One page of the records that match.

            jobs = await transaction.list(Job, where={"state": "queued"}, order_by="id", limit=10,
                                          for_update=True, skip_locked=True)

        A page that is locked does not read beyond its end: where it is full, `next` may lead to an empty one.

        Args:
            entity: their class.
            where, order_by, limit, after, before, include, select, deleted, private: as in `Session.list`.
            search, with_total, as_json: as there; not together with `for_update`.
            for_update, nowait, skip_locked: as in `get`.
        """
        lock = self._lock(for_update, nowait, skip_locked, with_total=with_total, as_json=as_json, search=search)
        return await self._reader.list(
            entity, where=where, search=search, order_by=order_by, limit=limit, after=after, before=before, include=include,
            select=select, with_total=with_total, deleted=deleted, private=private, as_json=as_json, lock=lock,
        )  # fmt: skip

    def _lock(self, for_update: Any, nowait: Any, skip_locked: Any, **others: Any) -> Lock | None:
        """The lock that is asked for.

        Raises:
            ValidationError: the arguments do not go together.
            ForbiddenError: the transaction only reads.
        """
        issues = [
            Issue((name,), "needs for_update=True", "needs_for_update")
            for name, given in (("nowait", nowait), ("skip_locked", skip_locked))
            if given and not for_update
        ]
        if nowait and skip_locked:
            issues.append(Issue(("skip_locked",), "must not be given together with nowait", "nowait_and_skip_locked"))
        if for_update:
            issues += [
                Issue((name,), "does not go with for_update", "not_lockable") for name, given in others.items() if given
            ]
        if issues:
            raise ValidationError(issues, subject="for_update")
        if for_update and self._read_only:
            raise ForbiddenError("the transaction only reads", hint="begin it without read_only=True to lock records")
        return Lock(bool(nowait), bool(skip_locked)) if for_update else None
