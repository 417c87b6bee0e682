"""Attempts by units of work. What one makes of one's own is undone."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from freehold.doctor.attempts import Attempt, Expected, World, answer
from freehold.model.description import EntityDescription
from freehold.store.unit import UnitOfWork

__all__ = ["writing_together"]

GROUP = "session, together"
ABSENT: Expected = "as for what is not there"
_VERSIONS = (1, 2, 1_000)


def writing_together(world: World) -> Iterator[Attempt]:
    """The attempts for every entity: on the other's records, and with references to them; and with the other's unit and key."""
    for entity in world.entities:
        changes = partial(_changes, entity=entity)
        yield Attempt(GROUP, f"{entity.name}: change and remove in units of work", ABSENT, changes, ["ids"])
        if entity.references:
            refer = partial(_refer, entity=entity)
            yield Attempt(GROUP, f"{entity.name}: refer to theirs in a unit of work", ABSENT, refer, ["ids"])
    yield Attempt(GROUP, "use their idempotency key, and settle their unit of work", ABSENT, _unit)


async def _changes(world: World, entity: EntityDescription) -> Any:
    found = []
    for record in world.theirs(entity):
        for version in _VERSIONS:
            target = (entity.cls, record.id, version)
            calls: list[Callable[[UnitOfWork], Any]] = [partial(_act, action="delete", target=target)]
            if entity.soft_delete:
                calls += [partial(_act, action=action, target=target) for action in ("restore", "purge")]
            if entity.changeable:
                values = world.ours(entity)[0].values
                patch = {each.name: values[each.name] for each in entity.changeable if each.name in values}
                calls.append(partial(_act, action="update", target=target, patch=patch))
            for call in calls:
                unit = world.own.session.unit_of_work()
                call(unit)
                found.append(await answer(unit.commit()))
    return found


def _act(unit: UnitOfWork, action: str, target: Any, patch: dict[str, Any] | None = None) -> None:
    getattr(unit, action)(target, **(patch or {}))


async def _refer(world: World, entity: EntityDescription) -> Any:
    found = []
    mine, theirs = world.ours(entity)[0].values, world.theirs(entity)[0].values
    own = {each.name: mine.get(each.name) for each in entity.references}
    for field in entity.references:
        target = world.registry.relations[entity.name][str(field.relation)].target
        for record in world.prey.records.get(target.name, []):
            unit = world.own.session.unit_of_work()
            unit.add(entity.cls, **{**theirs, **own, field.name: record.id})
            found.append(await answer(unit.commit()))
    return found


async def _unit(world: World) -> Any:
    """Theirs is an empty one: what is told of it here must be what is told of one that never was."""
    key = f"proof of isolation {world.prey.organization}"
    commit = await world.prey.session.unit_of_work(key=key).commit()
    told = await answer(world.own.session.settle(commit.unit_id))
    return [told, (await world.own.session.unit_of_work(key=key).commit()).repeated]
