"""Attempts by the writes of a session. What one makes of one's own is removed again."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from freehold.doctor.attempts import Attempt, Expected, World, answer, answers
from freehold.errors import FreeholdError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.entity import Entity
from freehold.store.session import Session

__all__ = ["writing"]

GROUP = "session"
ABSENT: Expected = "as for what is not there"
_VERSIONS = (1, 2, 1_000)


def writing(world: World) -> Iterator[Attempt]:
    """The attempts for every entity: on the other's records, with references to them, with their unique values."""
    for entity in world.entities:
        changes = partial(_changes, entity=entity)
        yield Attempt(GROUP, f"{entity.name}: change and remove by id", ABSENT, changes, ["ids"])
        for each in entity.references:
            refer = partial(_refer, entity=entity, field=each)
            yield Attempt(GROUP, f"{entity.name}: refer to theirs by {each.name}", ABSENT, refer, ["ids"])
        same = partial(_same_values, entity=entity)
        yield Attempt(GROUP, f"{entity.name}: create with their values", ABSENT, same, ["values"])
        yield Attempt(
            GROUP,
            f"{entity.name}: create with their id and organization",
            ABSENT,
            partial(_base, entity=entity),
            ["ids", "organization"],
        )


async def _changes(world: World, entity: EntityDescription) -> Any:
    session, found = world.own.session, []
    for record in world.theirs(entity):
        values = _own_values(world, entity)
        for version in _VERSIONS:
            target = (entity.cls, record.id, version)
            calls = [session.delete(target)]
            if entity.changeable:
                patch = {each.name: values[each.name] for each in entity.changeable if each.name in values}
                calls.append(session.update(target, **patch))
            if entity.soft_delete:
                calls += [session.restore(target), session.purge(target)]
            if entity.changeable:
                calls.append(session.revert(target, 1))
            for each in entity.incrementable[:1]:
                amounts: dict[str, Any] = {each.name: 1}
                calls.append(session.increment(entity.cls, record.id, **amounts))
            found += await answers(calls)
    return found


def _own_values(world: World, entity: EntityDescription) -> dict[str, Any]:
    return dict(world.ours(entity)[0].values)


async def _refer(world: World, entity: EntityDescription, field: FieldDescription) -> Any:
    session, found = world.own.session, []
    target = world.registry.relations[entity.name][str(field.relation)].target
    for theirs in world.prey.records.get(target.name, []):
        made = await answer(session.create(entity.cls, **{**_fresh(world, entity), field.name: theirs.id}))
        found.append(made)
        await _remove(session, made, entity)
        if field in entity.changeable:
            mine = world.ours(entity)[0]
            made = await answer(session.update((entity.cls, mine.id, mine.version), **{field.name: theirs.id}))
            found.append(made)
    return found


def _fresh(world: World, entity: EntityDescription) -> dict[str, Any]:
    """The prey's values, which no record of one's own has, with one's own references."""
    mine = world.ours(entity)[0].values
    references = {each.name for each in entity.references}
    return {
        name: mine.get(name) if name in references else value for name, value in world.theirs(entity)[0].values.items()
    }


async def _same_values(world: World, entity: EntityDescription) -> Any:
    session, found = world.own.session, []
    for theirs in world.theirs(entity):
        references = {each.name: world.ours(entity)[0].values.get(each.name) for each in entity.references}
        values = {name: references.get(name, value) for name, value in theirs.values.items()}
        made = await answer(session.create(entity.cls, **values))
        # One's own records may be in the way of a reference that must be unique; of theirs nothing may be.
        found.append(type(made).__name__ if isinstance(made, Entity) else made)
        await _remove(session, made, entity)
    return found


async def _base(world: World, entity: EntityDescription) -> Any:
    session, found = world.own.session, []
    theirs = world.theirs(entity)[0]
    for name, value in (
        ("id", theirs.id),
        ("organization_id", world.prey.organization),
        ("created_by", world.prey.context.user_id),
    ):
        made = await answer(session.create(entity.cls, **{**_fresh(world, entity), name: value}))
        found.append(made)
        await _remove(session, made, entity)
    return found


async def _remove(session: Session, made: Any, entity: EntityDescription) -> None:
    if isinstance(made, Entity):
        with suppress(FreeholdError):  # what stays is removed with the organization
            await (session.purge(made) if entity.soft_delete else session.delete(made))
