"""Attempts by the reads of a session."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from freehold.doctor.attempts import Attempt, Expected, Gives, World, answer, answers
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.pages import Include
from freehold.model.registry import Relation

__all__ = ["reading"]

GROUP = "session"
NOTHING: Expected = "nothing of theirs"
ABSENT: Expected = "as for what is not there"

Read = Callable[[Any, EntityDescription, World], Awaitable[Any]]
"""A read of a session, or of a session in the past."""


def reading(world: World) -> Iterator[Attempt]:
    """The attempts for every entity: by id, by filter, by relation, by order, by total, and all of these in the past."""
    for entity in world.entities:
        for name, expected, gives, read in _reads(entity, world):
            made = partial(_now, entity=entity, read=read)
            yield Attempt(GROUP, f"{entity.name}: {name}", expected, made, gives)
        for name, expected, gives, read in _reads(entity, world):
            made = partial(_then, entity=entity, read=read)
            yield Attempt(GROUP, f"{entity.name}: {name}, as of a moment", expected, made, gives)
        for name, gives, run in _histories(entity):
            yield Attempt(GROUP, f"{entity.name}: {name}", NOTHING, run, gives, compared=False)
    yield from _of_anybody()


async def _now(world: World, entity: EntityDescription, read: Read) -> Any:
    return await read(world.own.session, entity, world)


async def _then(world: World, entity: EntityDescription, read: Read) -> Any:
    async with world.own.session.as_of(datetime.now(UTC)) as past:
        return await answer(read(past, entity, world))


def _reads(entity: EntityDescription, world: World) -> Iterator[tuple[str, Expected, Sequence[Gives], Read]]:
    yield "get by id", ABSENT, ["ids"], _gets
    yield (
        "get many by id",
        ABSENT,
        ["ids"],
        lambda s, e, w: s.get_many(e.cls, [r.id for r in w.theirs(e)], deleted=True),
    )
    for name, where in _filters(entity):
        yield f"list where {name}", ABSENT, ["ids", "organization", "values"], partial(_where, where=where)
    for relation in world.registry.relations[entity.name].values():
        if relation.target.name in {each.name for each in world.entities}:
            yield (
                f"list across {relation.name}",
                ABSENT,
                ["ids", "organization", "values"],
                partial(_across, relation=relation),
            )
            yield f"include {relation.name}", NOTHING, ["ids"], partial(_including, relation=relation)
    yield "list everything", NOTHING, [], _everything
    yield "list in every order", NOTHING, [], _in_every_order
    yield "pages by cursor", NOTHING, [], _pages
    yield "count, group, add up", NOTHING, ["organization"], _totals


async def _gets(s: Any, e: EntityDescription, w: World) -> Any:
    calls = []
    for record in w.theirs(e):
        calls += [s.get(e.cls, record.id), s.get(e.cls, str(record.id), deleted=True, private=True)]
        calls.append(s.get(e.cls, record.id, deleted=True, as_json=True))
    return await answers(calls)


Where = Callable[[World, EntityDescription], Any]


def _filters(entity: EntityDescription) -> Iterator[tuple[str, Where]]:
    yield "the id is theirs", lambda w, e: {"id": {"in": [record.id for record in w.theirs(e)]}}
    yield "the organization is theirs", lambda w, e: {"organization_id": w.prey.organization}
    yield "the organization is not one's own", lambda w, e: {"organization_id": {"ne": w.own.organization}}
    yield "not one's own", lambda w, e: {"not": {"organization_id": w.own.organization}}
    yield (
        "one's own or theirs",
        lambda w, e: {"or": [{"organization_id": w.own.organization}, {"organization_id": w.prey.organization}]},
    )
    for each in entity.own:
        if _comparable(each):
            yield f"{each.name} is as theirs", partial(_as_theirs, field=each)


def _comparable(field: FieldDescription) -> bool:
    return not field.kind.many and field.kind.name != "json"


def _as_theirs(world: World, entity: EntityDescription, field: FieldDescription) -> Any:
    found = [record.values[field.name] for record in world.theirs(entity) if field.name in record.values]
    # What both have brings one's own records, which is right, and proves nothing.
    known = {str(record.values.get(field.name)) for record in world.ours(entity)}
    return {field.name: {"in": [value for value in found if value is not None and str(value) not in known]}}


async def _where(s: Any, e: EntityDescription, w: World, where: Where) -> Any:
    condition = where(w, e)
    return await answers(
        [
            s.list(e.cls, where=condition, deleted=True, private=True, with_total=True),
            s.list(e.cls, where=condition, deleted=True, private=True, as_json=True),
            s.count(e.cls, condition, deleted=True),
            s.exists(e.cls, condition, deleted=True),
            s.aggregate(e.cls, where=condition, deleted=True),
        ]
    )


async def _across(s: Any, e: EntityDescription, w: World, relation: Relation) -> Any:
    target, name = relation.target, relation.name
    conditions: list[Any] = [
        {f"{name}.id": {"in": [record.id for record in w.theirs(target)]}},
        {f"{name}.organization_id": w.prey.organization},
        {"not": {f"{name}.organization_id": w.own.organization}},
    ]
    for each in target.own:
        if _comparable(each):
            condition = _as_theirs(w, target, each)
            conditions.append({f"{name}.{each.name}": condition[each.name]})
    return await answers([s.count(e.cls, condition, deleted=True) for condition in conditions])


async def _including(s: Any, e: EntityDescription, w: World, relation: Relation) -> Any:
    name, theirs = relation.name, w.prey.organization
    nested = {inner: True for inner in w.registry.relations[relation.target.name]}
    ids = [record.id for record in w.theirs(relation.target)]
    # A reference leads to one record, and takes no filter: what it refuses is the same answer both times.
    includes: list[Any] = [
        {name: Include(limit=1_000, include=nested)},
        {name: Include(where={"organization_id": theirs})},
        {name: Include(where={"id": {"in": ids}})},
        {name: "count"},
        {name: Include(count=True, where={"id": {"in": ids}})},
    ]
    return await answers([s.list(e.cls, include=include, deleted=True, limit=1_000) for include in includes])


async def _everything(s: Any, e: EntityDescription, w: World) -> Any:
    names = list(e.fields)
    return await answers(
        [
            s.list(e.cls, limit=1_000, deleted=True, private=True, with_total=True),
            s.list(e.cls, limit=1_000, deleted=True, private=True, with_total=True, as_json=True),
            s.list(e.cls, limit=1_000, deleted=True, private=True, select=names),
            s.count(e.cls, deleted=True),
        ]
    )


async def _in_every_order(s: Any, e: EntityDescription, w: World) -> Any:
    orders = [sign + name for name, each in e.fields.items() if each.kind.orderable for sign in ("", "-")]
    # By id, since the order of moments and ids is not the same each time that a record is made.
    return await answers([s.list(e.cls, order_by=order, limit=1_000, deleted=True, private=True) for order in orders])


async def _pages(s: Any, e: EntityDescription, w: World) -> Any:
    found = []
    after = None
    for _ in range(20):
        page = await s.list(e.cls, limit=1, after=after, deleted=True, private=True)
        found.append(page)
        after = page.next
        if after is None:
            break
    theirs = await answer(w.prey.session.list(e.cls, limit=1, deleted=True, private=True))
    cursor = getattr(theirs, "next", None) or after
    if cursor is not None:  # the phantom has no pages, and so no cursor
        found += await answers(
            [s.list(e.cls, limit=1, deleted=True, private=True, **{way: cursor}) for way in ("after", "before")]
        )
    return found if cursor is None else found[:-2] + [each for each in found[-2:] if not isinstance(each, Exception)]


async def _totals(s: Any, e: EntityDescription, w: World) -> Any:
    calls = [s.aggregate(e.cls, deleted=True), s.aggregate(e.cls, group_by=["organization_id"], deleted=True)]
    for each in e.fields.values():
        if each.private or each.kind.many or each.name in ("id", "created_at", "updated_at", "deleted_at"):
            continue
        calls.append(s.aggregate(e.cls, group_by=[each.name], deleted=True))
        calls.append(s.aggregate(e.cls, min=[each.name], max=[each.name], deleted=True))
        if each.kind.name in ("integer", "float", "decimal", "duration"):
            calls.append(s.aggregate(e.cls, sum=[each.name], avg=[each.name], deleted=True))
    return await answers(calls)


def _histories(entity: EntityDescription) -> Iterator[tuple[str, Sequence[Gives], Callable[[World], Awaitable[Any]]]]:
    yield (
        "history of their record",
        ["ids"],
        lambda w: answers(
            [w.own.session.history((entity.cls, r.id), private=True, limit=1_000) for r in w.theirs(entity)]
        ),
    )
    yield "history of the entity", [], lambda w: w.own.session.history(entity.cls, private=True, limit=1_000)


def _of_anybody() -> Iterator[Attempt]:
    async def by_actor(w: World) -> Any:
        return await w.own.session.history(actor_id=w.prey.context.user_id, private=True, limit=1_000)

    async def by_request(w: World) -> Any:
        return await w.own.session.history(request_id=w.prey.context.request_id, private=True, limit=1_000)

    async def by_text(w: World) -> Any:
        search = getattr(w.own.session, "search", None)
        if search is None:
            return None
        values = [value for entity in w.entities for record in w.theirs(entity) for value in record.values.values()]
        texts = [w.prey.mark, w.prey.mark[:6], *(value for value in values if isinstance(value, str))]
        return await answers([search(text[:200], limit=1_000) for text in dict.fromkeys(texts)])

    yield Attempt(GROUP, "history by their user", NOTHING, by_actor, ["organization"])
    yield Attempt(GROUP, "history by their request", NOTHING, by_request, ["organization"])
    yield Attempt(GROUP, "search for their words", NOTHING, by_text, ["values"])
