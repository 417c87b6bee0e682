"""Attempts by the reads of a transaction that lock. Nothing is kept; one is committed, on both sides, for what its end tells others."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from freehold.doctor.attempts import Attempt, Expected, World, answer
from freehold.model.description import EntityDescription
from freehold.model.pages import Include
from freehold.store.session import Transaction

__all__ = ["transacting"]

GROUP = "session"
NOTHING: Expected = "nothing of theirs"
ABSENT: Expected = "as for what is not there"
FREE: Any = {"for_update": True, "skip_locked": True}
"""Who proves does not wait for those who work."""
_LIMIT = 20


def transacting(world: World) -> Iterator[Attempt]:
    """The attempts for every entity: by id, by filter, with relations, after a savepoint, and after reading the past."""
    for entity in world.entities:
        for name, run in (
            ("lock by id", _by_id),
            ("lock by id, after a savepoint", _after_a_savepoint),
            ("lock by id, after the past", _after_the_past),
        ):
            yield Attempt(GROUP, f"{entity.name}: {name}", ABSENT, partial(run, entity=entity), ["ids"])
        filtered = partial(_by_filter, entity=entity)
        yield Attempt(GROUP, f"{entity.name}: lock where the id is theirs", ABSENT, filtered, ["ids", "organization"])
        everything = partial(_everything, entity=entity)
        yield Attempt(GROUP, f"{entity.name}: lock everything", NOTHING, everything, compared=False)
        committed = partial(_committed, entity=entity)
        yield Attempt(GROUP, f"{entity.name}: commit after the other organization", ABSENT, committed)


class _Undone(Exception):  # noqa: N818  # no error: what leaves a block to undo it
    """Ends a transaction that is not kept."""


@asynccontextmanager
async def _undone(world: World) -> AsyncIterator[Transaction]:
    with suppress(_Undone):
        async with world.own.session.transaction() as transaction:
            yield transaction
            raise _Undone


async def _each_apart(transaction: Transaction, calls: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """What calls answer, each in a savepoint."""

    async def apart(call: Callable[[], Awaitable[Any]]) -> Any:
        async with transaction.savepoint():
            return await call()

    return [await answer(apart(call)) for call in calls]


async def _locked(t: Transaction, world: World, entity: EntityDescription) -> list[Any]:
    ids = [record.id for record in world.theirs(entity)]
    calls: list[Callable[[], Awaitable[Any]]] = []
    for id in ids:
        calls.append(partial(t.get, entity.cls, id, for_update=True))
        calls.append(partial(t.get, entity.cls, id, private=True, deleted=True, **FREE))
        calls.append(partial(t.find, entity.cls, {"id": id}, deleted=True, for_update=True, nowait=True))
    calls.append(partial(t.get_many, entity.cls, ids, deleted=True, for_update=True))
    return await _each_apart(t, calls)


async def _by_id(world: World, entity: EntityDescription) -> Any:
    async with _undone(world) as transaction:
        return await _locked(transaction, world, entity)


async def _after_a_savepoint(world: World, entity: EntityDescription) -> Any:
    """Rolling back to it takes the context along that was entered in it."""
    async with _undone(world) as transaction:
        with suppress(_Undone):
            async with transaction.savepoint():
                await transaction.count(entity.cls)
                raise _Undone
        return await _locked(transaction, world, entity)


async def _after_the_past(world: World, entity: EntityDescription) -> Any:
    async with _undone(world) as transaction:
        async with transaction.as_of(datetime.now(UTC)) as past:
            before = await past.get_many(entity.cls, [record.id for record in world.theirs(entity)], deleted=True)
        return [before, *await _locked(transaction, world, entity)]


async def _committed(world: World, entity: EntityDescription) -> Any:
    counts = []
    for side in (world.prey, world.own):
        async with side.session.transaction() as transaction:
            counts.append(await transaction.count(entity.cls))
    return counts[-1]


async def _by_filter(world: World, entity: EntityDescription) -> Any:
    ids = [record.id for record in world.theirs(entity)]
    own, theirs = world.own.organization, world.prey.organization
    async with _undone(world) as t:
        return await _each_apart(
            t,
            [
                partial(t.list, entity.cls, where={"id": {"in": ids}}, deleted=True, **FREE),
                partial(t.list, entity.cls, where={"organization_id": theirs}, deleted=True, **FREE),
                partial(t.list, entity.cls, where={"organization_id": {"ne": own}}, deleted=True, **FREE),
                partial(t.list, entity.cls, where={"id": {"in": ids}}, select=["id"], **FREE),
            ],
        )


async def _everything(world: World, entity: EntityDescription) -> Any:
    included = {
        relation.name: Include(limit=_LIMIT) if relation.many else True
        for relation in world.registry.relations[entity.name].values()
    }
    async with _undone(world) as t:
        return await _each_apart(
            t,
            [
                partial(t.list, entity.cls, limit=_LIMIT, deleted=True, **FREE),
                partial(t.list, entity.cls, limit=_LIMIT, order_by="-id", private=True, **FREE),
                partial(t.list, entity.cls, limit=_LIMIT, include=included, **FREE),
            ],
        )
