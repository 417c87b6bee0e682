"""Two organizations for a proof: each with records of every entity, made of values that are known again.

The one attacks, the other is its prey. Before the prey is filled, a phantom stands for it: the same values, under ids that
nobody has. What is answered about the prey must be what was answered about the phantom.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from freehold.database import Database
from freehold.doctor.samples import NoValueError, value
from freehold.doctor.solving import checked_fields, solutions
from freehold.errors import ConcurrencyError, FreeholdError, NotFoundError, ReferenceError
from freehold.model.context import Context, new_id
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.entity import Entity
from freehold.model.registry import Registry
from freehold.store.session import Session

__all__ = ["Given", "Record", "Side", "chosen", "fill", "fillable", "input_values", "phantom", "purge"]

PER_ENTITY = 3
"""Records of each entity: one, one that refers to it where an entity refers to itself, and one that is deleted."""
_TRIES = 8
_PASSES = 12
_NUMBERS = ("integer", "decimal", "float")

Given = Mapping[str, Mapping[str, Any]]
"""Values for entities that cannot be filled without, by entity and field: each a value or a function of the record's number."""


@dataclass(frozen=True)
class Record:
    """One record of a side.

    Args:
        id, version: of the record.
        values: that it was made of.
        number, careful: what they were made by; see `input_values`.
        solution: which of the values that satisfy the entity's checks, from `freehold.doctor.solving`; None where there was no
            need to look for them.
    """

    id: UUID
    version: int
    values: Mapping[str, Any]
    number: int
    careful: bool
    solution: int | None = None


@dataclass
class Side:
    """An organization of the proof.

    Args:
        session: of its user.
        slug, email: the organization's and the user's.
        mark: the word in all its texts.
        records: by entity; an entity that could not be filled has none.
        unfilled: why not, by entity.
    """

    session: Session
    slug: str
    email: str
    mark: str
    records: dict[str, list[Record]] = field(default_factory=dict)
    unfilled: dict[str, str] = field(default_factory=dict)

    @property
    def context(self) -> Context:
        """Of its user."""
        return self.session.context

    @property
    def organization(self) -> UUID:
        """Its id."""
        return self.context.organization_id

    @property
    def ids(self) -> list[UUID]:
        """Of its records."""
        return [record.id for records in self.records.values() for record in records]

    async def documents(self, registry: Registry) -> list[bytes]:
        """Everything that it has, as JSON."""
        found = []
        for entity in registry.entities.values():
            page = await self.session.list(
                entity.cls, deleted=entity.soft_delete, private=True, as_json=True, limit=1_000
            )
            found.append(page.json or b"[]")
        return found


def fillable(registry: Registry) -> list[EntityDescription]:
    """Entities in an order in which each comes after those that it must refer to; circles come last."""
    left = dict(registry.entities)
    found: list[EntityDescription] = []
    while left:
        free = [entity for entity in left.values() if not _needs(entity, registry) & left.keys() - {entity.name}]
        for entity in free or list(left.values()):
            found.append(left.pop(entity.name))
    return found


def _needs(entity: EntityDescription, registry: Registry) -> set[str]:
    required = [field for field in entity.references if not field.nullable]
    return {_target(entity, field, registry).name for field in required}


def _target(entity: EntityDescription, field: FieldDescription, registry: Registry) -> EntityDescription:
    return registry.relations[entity.name][str(field.relation)].target


def input_values(
    entity: EntityDescription,
    number: int,
    mark: str,
    targets: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    careful: bool = False,
) -> dict[str, Any]:
    """What a record is made of.

    Args:
        entity: its entity.
        number, mark: which values; see `freehold.doctor.samples`.
        targets: the ids to refer to, by field.
        given: values to use instead, from `chosen`.
        careful: whether what the entity's checks speak of gets its default, or one, instead.

    Raises:
        NoValueError: a value that must be there cannot be made.
    """
    checked = set(checked_fields(entity, " ".join(entity.checks.values()))) if careful else set()
    values: dict[str, Any] = {**targets, **given}
    for each in entity.given:
        if (
            each.name in given
            or each.declaration.target is not None
            or (each.name in checked and not each.declaration.required)
        ):
            continue
        if each.name in checked and each.kind.name in _NUMBERS and not each.kind.choices and not each.kind.many:
            values[each.name] = 1
            continue
        try:
            values[each.name] = value(each, number, mark)
        except NoValueError:
            if each.declaration.required:
                raise
    return values


def chosen(entity: EntityDescription, number: int, given: Given) -> dict[str, Any]:
    """The values that somebody has given for the record with a number: to the proof, else by the entity's `samples`."""
    more = {name: v(number) if callable(v) else v for name, v in given.get(entity.name, {}).items()}
    return {**entity.sample(number), **more}


async def fill(side: Side, registry: Registry, first: int, given: Given, without: Collection[str] = ()) -> None:
    """Makes a side's records: every field has a value, and every reference leads somewhere where it can.

    Args:
        side: whose.
        registry: the entities.
        first: the number of the first values; two sides that are far apart have no value in common.
        given: values to use instead.
        without: names of entities that get no records.
    """
    for entity in fillable(registry):
        if entity.name in without:
            continue
        try:
            made = [await _create(side, entity, registry, first + place, given) for place in range(PER_ENTITY)]
        except (FreeholdError, NoValueError) as error:
            side.unfilled[entity.name] = f"{error}".splitlines()[0] + _advice(side, entity, registry)
            continue
        if entity.soft_delete:
            gone = await side.session.delete((entity.cls, made[-1].id, made[-1].version))
            made[-1] = replace(made[-1], version=gone.version)
        side.records[entity.name] = made
    for entity in registry.entities.values():
        await _refer(side, entity, registry)


async def _create(side: Side, entity: EntityDescription, registry: Registry, number: int, given: Given) -> Record:
    """A record, of the first values that the database accepts."""
    error: Exception = NoValueError("nothing was tried")
    for attempt in range(_TRIES):
        again = attempt // 2  # each number is tried as it is, and with care
        try:
            return await _accepted(
                side, entity, registry, number + 1_001 * again, given, again, careful=attempt % 2 == 1
            )
        except (FreeholdError, NoValueError) as caught:
            error = caught
    if not entity.checks:
        raise error
    for again in range(_TRIES // 2):
        with suppress(FreeholdError, NoValueError):
            return await _solved(side, entity, registry, number + 1_001 * again, given, again)
    raise error


def _targets(side: Side, entity: EntityDescription, registry: Registry, number: int, again: int) -> dict[str, Any]:
    """The records that a new one refers to."""
    targets = {}
    for place, each in enumerate(entity.references):
        there = side.records.get(_target(entity, each, registry).name)
        if there:  # other pairs at each try: where two references are a key together, a pair occurs once
            targets[each.name] = there[(number + (again >> place)) % 2].id
    return targets


async def _accepted(
    side: Side, entity: EntityDescription, registry: Registry, number: int, given: Given, again: int, *, careful: bool
) -> Record:
    targets = _targets(side, entity, registry, number - 1_001 * again, again)
    values = input_values(entity, number, side.mark, targets, chosen(entity, number, given), careful=careful)
    made = await side.session.create(entity.cls, **values)
    return Record(made.id, made.version, values, number, careful)


async def _solved(
    side: Side, entity: EntityDescription, registry: Registry, number: int, given: Given, again: int
) -> Record:
    told = chosen(entity, number, given)
    base = input_values(
        entity, number, side.mark, _targets(side, entity, registry, number - 1_001 * again, again), told
    )
    error: Exception = NoValueError("no values were found that satisfy its checks")
    found = await solutions(side.session, entity, base, number=number, mark=side.mark, fixed=told)
    for place, values in enumerate(found):
        try:
            made = await side.session.create(entity.cls, **values)
        except FreeholdError as caught:
            error = caught
            continue
        return Record(made.id, made.version, values, number, careful=False, solution=place)
    raise error


def _advice(side: Side, entity: EntityDescription, registry: Registry) -> str:
    """How an entity is filled nevertheless."""
    missing = sorted(_needs(entity, registry) - side.records.keys())
    if missing:
        return f"; it must refer to {' and '.join(missing)}, which has no record: give samples there, or --without {entity.name}"
    names = checked_fields(entity, " ".join(entity.checks.values()))
    wanted = [each.name for each in entity.given if each.name in names and each.declaration.target is None]
    wanted = wanted or [each.name for each in entity.given if each.declaration.target is None]
    told = ", ".join(f'"{name}": ...' for name in wanted)
    return (
        f"; declare values that the database accepts: class {entity.name}(Entity, samples={{{told}}}), each a value or a function "
        f"of the record's number; or leave it out of the proof: --without {entity.name}"
    )


async def _refer(side: Side, entity: EntityDescription, registry: Registry) -> None:
    """References that could not be given at creation: to the entity itself, and to entities that came later."""
    records = side.records.get(entity.name, [])
    for each in entity.changeable:
        if each.declaration.target is None or len(records) < PER_ENTITY or each.name in records[1].values:
            continue
        there = side.records.get(_target(entity, each, registry).name)
        if there:
            with suppress(FreeholdError):  # a rule against it is the application's right
                changed = await side.session.update(
                    (entity.cls, records[1].id, records[1].version), **{each.name: there[0].id}
                )
                values = {**records[1].values, each.name: there[0].id}
                records[1] = replace(records[1], version=changed.version, values=values)


async def phantom(database: Database, slug: str, mark: str, own: Side, further: int, given: Given) -> Side:
    """A side that is not there: values such as the prey's, under ids that nobody has.

    Args:
        database: for its session.
        slug, mark: the names that it would have.
        own: the attacker, whose records it is made after.
        further: how much higher the numbers of its values are.
        given: as for `fill`.
    """
    nobody = Context(organization_id=new_id(), user_id=new_id())
    stand_in = Side(database.session(nobody), slug, f"{slug}@freehold.invalid", mark)
    for name, records in own.records.items():
        entity = database.application.registry.entities[name]
        stand_in.records[name] = [
            await _twin(own, entity, each, each.number + further, mark, given) for each in records
        ]
    return stand_in


async def _twin(own: Side, entity: EntityDescription, record: Record, number: int, mark: str, given: Given) -> Record:
    told = chosen(entity, number, given)
    made = input_values(entity, number, mark, {}, told, careful=record.careful)
    if record.solution is not None:
        references = {each.name: record.values.get(each.name) for each in entity.references}
        found = await solutions(own.session, entity, {**made, **references}, number=number, mark=mark, fixed=told)
        made = {name: v for name, v in _placed(found, record.solution, made).items() if name not in references}
    values = {name: made.get(name, before) for name, before in record.values.items()}
    return Record(new_id(), record.version, values, number, record.careful, record.solution)


def _placed(found: Sequence[dict[str, Any]], place: int, other: dict[str, Any]) -> dict[str, Any]:
    return found[min(place, len(found) - 1)] if found else other


async def purge(session: Session, entities: Sequence[EntityDescription]) -> int:
    """Removes all records of an organization; how many could not be removed."""
    left = 0
    for _ in range(_PASSES):
        left = 0
        for entity in reversed(entities):
            page = await session.list(entity.cls, deleted=entity.soft_delete, limit=1_000)
            for record in page.records:
                left += not await _purged(session, entity, record)
        if not left:
            break
    return left


async def _purged(session: Session, entity: EntityDescription, record: Entity) -> bool:
    try:
        await (session.purge(record) if entity.soft_delete else session.delete(record))
    except (ReferenceError, ConcurrencyError):
        return False
    except NotFoundError:
        return True  # it went with another one
    return True
