"""The proof of isolation: two organizations, and every way to reach from one to the other.

How it is told that an attempt failed, as it should:
- No mark of the other organization (its ids, its user, every value that only it has) is in the answer or in the error.
- The answer is the one that was given before the other organization had anything at all (noninterference): so a count, a sum
  or a refusal that tells of it is found too, though it shows nothing.
- What must be refused was refused.
- No text of a statement told who asked (`freehold.doctor.watching`).
- Afterwards the other organization has what it had before, to the byte.

Failures: an entity that cannot be filled is not proved, and the proof says so; it never counts as held, unless the caller left it
out, which the proof says too. Both organizations are
removed at the end, also after an error or an interruption, and those of a proof that was killed by the next one.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from freehold.database import Database
from freehold.doctor.attempts import Attempt, Gives, World, answer
from freehold.doctor.catalogue import catalogue, read_catalogue
from freehold.doctor.connecting import connecting
from freehold.doctor.querying import querying
from freehold.doctor.reading import reading
from freehold.doctor.sides import Given, Side, fill, fillable, phantom, purge
from freehold.doctor.traces import leaves, marks, masked, shown, traces
from freehold.doctor.transacting import transacting
from freehold.doctor.watching import Watch
from freehold.doctor.writing import writing
from freehold.doctor.writing_many import writing_many
from freehold.doctor.writing_together import writing_together
from freehold.errors import ConfigurationError, FreeholdError
from freehold.model.context import Context
from freehold.model.registry import Registry, suggestion
from freehold.postgres.connections import Connection, connect

__all__ = ["LISTS", "Outcome", "Proof", "attempt_isolation"]

LISTS: tuple[Callable[[World], Iterator[Attempt]], ...] = (reading, transacting, querying, connecting)
"""The lists of attempts that leave nothing behind. Those of the catalogue come after them, and those that write at the end: from
then on the attacker's own log has values of the other organization, which it was made to write itself."""

_OWN, _THEIRS, _PHANTOM = 30, 704_250, 300_030
"""The numbers of the first values: far apart, and the same choices where there are few (they differ by multiples of 60)."""
_SLUGS = ("freehold-proof-own", "freehold-proof-theirs")
_MARKS = {"own": "ownmark", "theirs": "zqtheirs", "phantom": "xqphantom"}
_REASON = "proof of isolation"
_EVIDENCE = 5
"""Marks that are told of one leak."""


Result = Literal["held", "leaked", "unproved", "left out"]


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt.

    Args:
        group, name, expected: of the attempt.
        result: held, or leaked; unproved where the attempt could not be made; left out where the caller said so.
        happened: in a few words.
        evidence: where it leaked: the marks of the other organization that appeared, or what differed.
    """

    group: str
    name: str
    expected: str
    result: Result
    happened: str
    evidence: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "group": self.group,
            "name": self.name,
            "expected": self.expected,
            "result": self.result,
            "happened": self.happened,
            "evidence": list(self.evidence),
        }


@dataclass(frozen=True)
class Proof:
    """All attempts and what became of them."""

    outcomes: tuple[Outcome, ...]

    @property
    def leaks(self) -> tuple[Outcome, ...]:
        """Attempts that reached the other organization."""
        return tuple(outcome for outcome in self.outcomes if outcome.result == "leaked")

    @property
    def unproved(self) -> tuple[Outcome, ...]:
        """What could not be tried."""
        return tuple(outcome for outcome in self.outcomes if outcome.result == "unproved")

    @property
    def left_out(self) -> tuple[Outcome, ...]:
        """The entities that the caller left out: nothing is known of them."""
        return tuple(outcome for outcome in self.outcomes if outcome.result == "left out")

    @property
    def held(self) -> bool:
        """Whether all was tried but what the caller left out, and nothing leaked."""
        return not self.leaks and not self.unproved

    def as_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "held": self.held,
            "attempts": len(self.outcomes),
            "leaked": len(self.leaks),
            "unproved": len(self.unproved),
            "left_out": [outcome.name.removesuffix(": fill") for outcome in self.left_out],
            "outcomes": [outcome.as_dict() for outcome in self.outcomes],
        }


async def attempt_isolation(database: Database, *, given: Given | None = None, without: Collection[str] = ()) -> Proof:
    """Tries to reach from one organization to another in every way that there is.

    Args:
        database: as the application role opened it.
        given: values for entities that cannot be filled without, by entity and field: `{"OrderLine": {"amount": 5}}`. They go
            before the entity's `samples`. A function is called with the record's number.
        without: names of entities that are left out; the proof says that nothing is known of them.

    Returns:
        The attempts. Nothing of the two organizations stays but what the log tells of them.

    Raises:
        ConfigurationError: `given` or `without` names an entity or field that is not there.
        FreeholdError: the organizations cannot be made.
    """
    registry, given = database.application.registry, given or {}
    _check_names(registry, given, without)
    async with _alone(database) as (plain, watch), _sides(database) as (own, prey):
        await fill(own, registry, _OWN, given, without)
        stand_in = await phantom(database, "freehold-proof-phantom", _MARKS["phantom"], own, _PHANTOM - _OWN, given)
        before = _world(database, plain, own, stand_in)
        ours = {str(id) for id in (*own.ids, own.organization, own.context.user_id)}
        baseline = {
            attempt.name: masked(_without(shown(await answer(attempt.run(before))), stand_in.mark), ours)
            for attempt in (*_attempts(before), *_writes(before))
            if attempt.compared
        }
        await fill(prey, registry, _THEIRS, given, without)
        proof = await _judged(database, _world(database, plain, own, prey), watch, baseline, ours)
        return replace(proof, outcomes=(*map(_left_out, without), *proof.outcomes))


def _check_names(registry: Registry, given: Given, without: Collection[str]) -> None:
    for name in (*given, *without):
        if name not in registry.entities:
            raise ConfigurationError(f"there is no entity {name!r} here{suggestion(name, registry.entities)}")
    for name, values in given.items():
        known = [field.name for field in registry.entities[name].given]
        for field in values:
            if field not in known:
                raise ConfigurationError(f"{name} has no field {field!r}{suggestion(field, known)}")


async def _judged(database: Database, world: World, watch: Watch, baseline: dict[str, str], ours: set[str]) -> Proof:
    registry, own, prey = database.application.registry, world.own, world.prey
    theirs = await prey.documents(registry)
    looked_for = marks(theirs, await own.documents(registry)) | _names(prey)
    outcomes = [_unproved(name, why) for side in (own, prey) for name, why in side.unfilled.items()]
    async with world.connection(entered=True) as connection:
        found = await read_catalogue(connection)
    for attempt in (*_attempts(world), *catalogue(world, found), *_writes(world)):
        answered = await answer(attempt.run(world))
        await watch.look()
        outcomes.append(_outcome(attempt, answered, baseline.get(attempt.name), looked_for, prey, ours))
    outcomes.append(_untouched(theirs, await prey.documents(registry)))
    outcomes.append(_silent(await watch.found(_askers(own) | _askers(prey))))
    return Proof(tuple({outcome.name: outcome for outcome in outcomes}.values()))


def _world(database: Database, plain: Connection, own: Side, prey: Side) -> World:
    application = database.application
    return World(own, prey, application.registry, application.schemas, application.roles, database.store.seal, plain)


def _writes(world: World) -> Iterator[Attempt]:
    for attempts in (writing, writing_together, writing_many):
        yield from attempts(world)


def _attempts(world: World) -> Iterator[Attempt]:
    for attempts in LISTS:
        yield from attempts(world)


def _names(side: Side) -> frozenset[str]:
    return frozenset(
        {str(side.organization), str(side.context.user_id), side.slug, side.email, side.context.request_id}
    )


def _askers(side: Side) -> frozenset[str]:
    return frozenset({str(side.organization), str(side.context.user_id), side.context.request_id})


def _without(text: str, mark: str) -> str:
    return text.replace(mark, "<mark>")


def _outcome(
    attempt: Attempt, answered: Any, before: str | None, looked_for: frozenset[str], prey: Side, ours: set[str]
) -> Outcome:
    text = shown(answered)
    found = traces(text, looked_for, _given(attempt.gives, prey))
    after = masked(_without(text, prey.mark), ours)
    happened = _in_words(answered)
    evidence: tuple[str, ...] = ()
    if found:
        happened, evidence = "marks of the other organization appeared", tuple(found[:_EVIDENCE])
    elif attempt.expected == "refused" and not _refused(answered):
        happened, evidence = "it was not refused", (text[:200],)
    elif attempt.compared and before is not None and before != after:
        happened, evidence = "the answer changed with what the other organization has", _difference(before, after)
    result: Literal["held", "leaked"] = "leaked" if evidence else "held"
    return Outcome(attempt.group, attempt.name, attempt.expected, result, happened, evidence)


def _given(gives: Iterable[Gives], prey: Side) -> set[str]:
    told: set[str] = set()
    for what in gives:
        if what == "ids":
            told |= {str(id) for id in prey.ids}
        elif what == "organization":
            told |= {str(prey.organization), str(prey.context.user_id), prey.context.request_id}
        elif what == "names":
            told |= {prey.slug, prey.email}
        elif what == "mark":
            told.add(prey.mark)
        else:
            records = [record.values for each in prey.records.values() for record in each]
            told |= {str(value) for values in records for value in values.values()}
            told |= {leaf for values in records for value in values.values() for leaf in _leaves(value)}
    return told


def _leaves(value: Any) -> Iterator[str]:
    yield shown(value)
    yield from leaves(value)


def _refused(answered: Any) -> bool:
    answers = answered if isinstance(answered, list) and answered else [answered]
    return all(isinstance(each, FreeholdError) for each in answers)


def _in_words(answered: Any) -> str:
    if isinstance(answered, FreeholdError):
        return f"refused: {answered.message}"[:160]
    if isinstance(answered, list) and answered and all(isinstance(each, FreeholdError) for each in answered):
        return f"refused: {answered[0].message}"[:160]
    if isinstance(answered, list):
        return f"{len(answered)} answers, nothing of theirs"
    return "nothing of theirs"


def _difference(before: str, after: str) -> tuple[str, ...]:
    place = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = max(0, place - 40)
    return (f"before: {before[start : place + 80]}", f"after: {after[start : place + 80]}")


def _unproved(entity: str, why: str) -> Outcome:
    return Outcome("records", f"{entity}: fill", "records of both organizations", "unproved", why)


def _left_out(entity: str) -> Outcome:
    why = "nothing is known of it: the caller left it out"
    return Outcome("records", f"{entity}: fill", "records of both organizations", "left out", why)


def _untouched(before: list[bytes], after: list[bytes]) -> Outcome:
    same = before == after
    happened = "every record is as it was" if same else "records of the other organization were changed"
    evidence = (
        () if same else tuple(f"{a[:100]!r} became {b[:100]!r}" for a, b in zip(before, after, strict=True) if a != b)
    )
    return Outcome(
        "records", "change anything of theirs", "nothing of theirs", "held" if same else "leaked", happened, evidence
    )


def _silent(texts: tuple[str, ...]) -> Outcome:
    happened = "statements tell who asks, or hold a seal" if texts else "no text tells who asks"
    evidence = tuple(text[:200] for text in texts[:_EVIDENCE])
    result: Literal["held", "leaked"] = "leaked" if texts else "held"
    return Outcome("connection", "read the statements of others", "nothing of theirs", result, happened, evidence)


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[tuple[Connection, Watch]]:
    """A plain connection, what watches the others, and one proof at a time: its organizations have the same names each time, so that
    what was left is found."""
    address, lock = database.store.pool.address, f"{database.application.schemas.engine}.proof"
    async with connect(address) as holder, connect(replace(address, statement_cache_size=0)) as plain:
        await holder.execute("set lock_timeout = 0; set statement_timeout = 0")
        await holder.fetch("select pg_advisory_lock(hashtext($1))", lock)
        yield plain, Watch(holder)


@asynccontextmanager
async def _sides(database: Database) -> AsyncIterator[tuple[Side, Side]]:
    for slug in _SLUGS:
        await _clean(database, slug)
    try:
        yield await _side(database, _SLUGS[0], _MARKS["own"]), await _side(database, _SLUGS[1], _MARKS["theirs"])
    finally:
        for slug in _SLUGS:
            await _clean(database, slug)


async def _side(database: Database, slug: str, mark: str) -> Side:
    system, email = database.system(_REASON), f"{slug}@freehold.invalid"
    organization = await system.create_organization(name=f"{mark} of Freehold's proof", slug=slug)
    user = await system.create_user(email=email, name=f"{mark} user")
    await system.add_member(organization.id, user.id)
    return Side(database.session(await system.context(organization=slug, user=email)), slug, email, mark)


async def _clean(database: Database, slug: str) -> None:
    """Removes an organization of a proof, and its user."""
    system = database.system(_REASON)
    organization, user = await system.find_organization(slug), await system.find_user(f"{slug}@freehold.invalid")
    if organization is not None:
        session = database.session(Context(organization_id=organization.id))
        with suppress(FreeholdError):  # what is left makes the next call say so
            await purge(session, fillable(database.application.registry))
        await system.remove_organization(organization.id)
    if user is not None:
        await system.remove_user(user.id)
