"""Attempts by the bulk writes of a session. What one makes of one's own is removed again."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from freehold.doctor.attempts import Attempt, Expected, World, answer
from freehold.model.description import EntityDescription
from freehold.store.outcomes import BulkResult

__all__ = ["writing_many"]

GROUP = "session, many"
ABSENT: Expected = "as for what is not there"
_VERSIONS = (1, 2, 1_000)


def writing_many(world: World) -> Iterator[Attempt]:
    """The attempts for every entity: on the other's records by id and by filter, with references to them, with their keys."""
    for entity in world.entities:
        changes, where = partial(_changes, entity=entity), partial(_where, entity=entity)
        yield Attempt(GROUP, f"{entity.name}: change and remove many by id", ABSENT, changes, ["ids"])
        yield Attempt(GROUP, f"{entity.name}: change and remove by filter", ABSENT, where, ["ids"])
        if entity.references:
            refer = partial(_refer, entity=entity)
            yield Attempt(GROUP, f"{entity.name}: create many that refer to theirs", ABSENT, refer, ["ids"])
        for key in entity.unique_keys.values():
            if not any(entity.fields[name].base for name in key.fields):
                same = partial(_same_key, entity=entity, key=key.fields)
                name = f"{entity.name}: update or create by their {', '.join(key.fields)}"
                yield Attempt(GROUP, name, ABSENT, same, ["values"])


async def _changes(world: World, entity: EntityDescription) -> Any:
    session, found = world.own.session, []
    targets = [(record.id, version) for record in world.theirs(entity) for version in _VERSIONS]
    values = world.ours(entity)[0].values
    patch = {each.name: values[each.name] for each in entity.changeable if each.name in values}
    if patch:
        found.append(await _told(session.update_many(entity.cls, [(target, patch) for target in targets])))
    found.append(await _told(session.delete_many(entity.cls, targets)))
    if entity.soft_delete:
        found.append(await _told(session.restore_many(entity.cls, targets)))
        found.append(await _told(session.delete_many(entity.cls, targets, hard=True)))
    return found


async def _where(world: World, entity: EntityDescription) -> Any:
    session, found = world.own.session, []
    values = world.ours(entity)[0].values
    patch = {each.name: values[each.name] for each in entity.changeable if each.name in values}
    where = {"id": {"in": [record.id for record in world.theirs(entity)]}}
    if patch:
        found.append(await _told(session.update_where(entity.cls, where, entity.cls.Patch(**patch))))
    found.append(await _told(session.delete_where(entity.cls, where, hard=entity.soft_delete)))
    return found


async def _refer(world: World, entity: EntityDescription) -> Any:
    items = []
    for field in entity.references:
        target = world.registry.relations[entity.name][str(field.relation)].target
        for theirs in world.prey.records.get(target.name, []):
            items.append({**_fresh(world, entity), field.name: theirs.id})
    return await _made(world, entity, items, on_duplicate="error")


async def _same_key(world: World, entity: EntityDescription, key: tuple[str, ...]) -> Any:
    """Their records' values, with one's own references: they must be new ones here."""
    references = {each.name: world.ours(entity)[0].values.get(each.name) for each in entity.references}
    items = [
        {name: references.get(name, value) for name, value in record.values.items()} for record in world.theirs(entity)
    ]
    found = []
    for action in ("skip", "update"):
        made = await _made(world, entity, items, on_duplicate=action, key=key)
        # Which of one's own they met is one's own matter, and ids of what was made differ each time.
        found.append([type(made).__name__] if not isinstance(made, list) else [each.action for each in made])
    return found


def _fresh(world: World, entity: EntityDescription) -> dict[str, Any]:
    """The prey's values, which no record of one's own has, with one's own references."""
    mine = world.ours(entity)[0].values
    references = {each.name for each in entity.references}
    return {
        name: mine.get(name) if name in references else value for name, value in world.theirs(entity)[0].values.items()
    }


async def _made(world: World, entity: EntityDescription, items: list[Any], **how: Any) -> Any:
    """The outcomes of a creation, in a transaction that is undone."""
    session, found = world.own.session, None
    try:
        async with session.transaction() as transaction:
            found = await _told(transaction.create_many(entity.cls, items, **how))
            raise _UndoneError
    except _UndoneError:
        return found


class _UndoneError(Exception):
    """Undoes what an attempt made."""


async def _told(call: Any) -> Any:
    """The outcomes of a call, and what it touched; or its error."""
    result = await answer(call)
    return [*result.outcomes, *result.touched] if isinstance(result, BulkResult) else result
