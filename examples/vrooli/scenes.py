"""What the demo does, in order. What it prints is the source of these functions, so what one reads is what ran.

`session` is of the workspace, `rival` of another one, `now` the moment. The other parameters are the results of earlier scenes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from examples.vrooli.changes import Changed
from examples.vrooli.entities import Bookmark, Person, PersonDay, Resource, ResourceTranslation, Run, Team, TeamDay
from examples.vrooli.operations import (
    Removal,
    create_resource,
    create_team,
    delete_resources,
    edit_resource,
    end_run,
    start_run,
    view,
)
from examples.vrooli.people import People
from examples.vrooli.resources import Found, Resources, Trending
from examples.vrooli.runs import Runs, StatusChange
from freehold import Group, Session
from freehold.errors import ConcurrencyError, UniqueError

__all__ = ["SCENES", "Scene"]


@dataclass(frozen=True)
class Scene:
    """One thing that is done.

    Args:
        title: of the scene.
        says: what there is to see.
        call: what is done. Its parameters are results of earlier scenes, by the names of their calls.
        tell: makes lines of its answer.
    """

    title: str
    says: str
    call: Callable[..., Awaitable[Any]]  # Any: each scene has an answer of its own
    tell: Callable[[Any], Iterable[str]]

    @property
    def name(self) -> str:
        """The scene's name: its call's."""
        return self.call.__name__


async def people(session: Session) -> list[Person]:
    """Three people."""
    return [
        await session.create(Person, name="Ada Lovelace", handle="Ada", email="Ada@Lovelace.example", is_public=True),
        await session.create(Person, name="Charles Babbage", handle="charles", is_public=True),
        await session.create(Person, name="Difference Engine", handle="Engine", is_bot=True),
    ]


def _tell_people(found: Iterable[Person]) -> Iterable[str]:
    return [f"@{person.handle:<8} {person.name:<18} {person.email or ''}".rstrip() for person in found]


async def team(session: Session, people: list[Person], now: datetime) -> Team:
    """A team in one unit."""
    return await create_team(session, creator=people[0], name="Analysts", handle="analysts", members=people, at=now)


def _tell_team(team: Team) -> Iterable[str]:
    return [f"{team.name}, version {team.version}, {team.id}"]


async def nothing_by_halves(session: Session, people: list[Person], now: datetime) -> UniqueError | None:
    """A unit of which one part fails."""
    try:
        await create_team(session, creator=people[1], name="Rivals", handle="ANALYSTS", members=people, at=now)
    except UniqueError as error:
        return error
    return None


def _tell_error(error: Exception | None) -> Iterable[str]:
    return str(error).splitlines()


async def ada(session: Session) -> Person | None:
    """A person with teams."""
    person = await People(session).by_handle("@ADA")
    return None if person is None else await People(session).with_teams(person.id)


def _tell_ada(person: Person | None) -> Iterable[str]:
    if person is not None:
        yield from (
            f"{person.name}: {place.team.name}, {place.team.members_count} members, "
            + ("administrator" if place.is_admin else "member")
            for place in person.memberships
        )


async def resources(session: Session, people: list[Person], team: Team, now: datetime) -> list[Resource]:
    """Two resources, each with its first version."""
    return [
        await create_resource(session, creator=people[0], kind="routine", name=name, team=team, is_public=True, at=now)
        for name in ("Bernoulli numbers", "Weave a pattern")
    ]


def _tell_resources(found: Iterable[Resource]) -> Iterable[str]:
    return [f"{resource.kind}, public: {resource.is_public}, score {resource.score}" for resource in found]


async def liked(session: Session, people: list[Person], resources: list[Resource], now: datetime) -> Sequence[Trending]:
    """What is trending."""
    for person in people[:2]:
        await session.create(Bookmark, resource_id=resources[1].id, person_id=person.id)
    await session.create(Bookmark, resource_id=resources[0].id, person_id=people[0].id)
    return await Resources(session).trending(days=7, now=now)


def _tell_trending(lines: Sequence[Trending]) -> Iterable[str]:
    return [f"{line.name}: score {line.score}, {line.bookmarks_gained} new bookmarks" for line in lines]


async def seen(session: Session, resources: list[Resource]) -> Resource:
    """Many views at once, and the bookmarks that were made before."""
    await asyncio.gather(*(view(session, resources[0]) for _ in range(100)))
    return await session.get(Resource, resources[0].id)


def _tell_seen(resource: Resource) -> Iterable[str]:
    yield f"{resource.views} views, {resource.bookmarks} bookmark, version {resource.version}"


async def found(session: Session, resources: list[Resource]) -> tuple[Found, ...]:
    """A search across translations."""
    german = {"language": "de", "name": "Bernoulli-Zahlen", "description": "Die Zahlen der Bernoullis berechnen"}
    await session.create(ResourceTranslation, resource_id=resources[0].id, **german)
    return await Resources(session).search("zahl berechn")


def _tell_found(found: Iterable[Found]) -> Iterable[str]:
    return [f"{each.translation.language}: {fragment.html()}" for each in found for fragment in each.fragments]


async def latest(session: Session, resources: list[Resource]) -> Resource | None:
    """A resource with who made it and its latest version."""
    return await Resources(session).with_creator_and_latest(resources[0].id)


def _tell_latest(resource: Resource | None) -> Iterable[str]:
    if resource is not None and resource.creator is not None:
        names = ", ".join(f"{each.name} ({each.language})" for each in resource.translations)
        yield f"{names}: {resource.versions[0].label} by @{resource.creator.handle}"


async def runs(
    session: Session, people: list[Person], team: Team, latest: Resource, now: datetime
) -> tuple[list[Run], PersonDay | None, TeamDay | None]:
    """Eight runs at once, each of which adds to the same two rows."""
    asked: dict[str, Any] = {"starter": people[2], "team": team, "steps": ["prepare", "compute"], "at": now}
    begun = await asyncio.gather(
        *(start_run(session, latest.versions[0], inputs={"n": {"value": n}}, **asked) for n in range(8))
    )
    return (
        begun,
        await session.find(PersonDay, {"person_id": people[2].id, "day": now.date()}),
        await session.find(TeamDay, {"team_id": team.id, "day": now.date()}),
    )


def _tell_runs(answer: tuple[list[Run], PersonDay | None, TeamDay | None]) -> Iterable[str]:
    begun, person, team = answer
    yield f"{len(begun)} runs, {sum(run.status == 'running' for run in begun)} of them running"
    yield f"the day's figures: {person and person.runs_started} of the person, {team and team.runs_started} of the team"


async def ended(session: Session, runs: tuple[list[Run], Any, Any], now: datetime) -> Changed:
    """A run that ends, and the event that tells of it."""
    return await end_run(session, runs[0][0], status="completed", outputs={"result": {"value": 1}}, at=now)


async def edited(session: Session, resources: list[Resource]) -> Changed:
    """A change, and the event that tells of it."""
    return await edit_resource(session, resources[0], score=5, is_public=False)


def _tell_changed(event: Changed) -> Iterable[str]:
    yield f"{event.entity}, version {event.version}"
    yield from (f"  {name}: {old!s} → {new!s}" for name, (old, new) in event.fields.items())


async def stale(
    session: Session, resources: list[Resource], people: list[Person], now: datetime
) -> ConcurrencyError | None:
    """A deletion of what has changed since it was read."""
    try:
        await delete_resources(session, resources, by=people[0], at=now)
    except ConcurrencyError as error:
        return error
    return None


async def removal(session: Session, resources: list[Resource], people: list[Person], now: datetime) -> Removal:
    """A deletion that cancels what runs."""
    fresh = await session.get_many(Resource, [resource.id for resource in resources])
    return await delete_resources(session, fresh, by=people[0], at=now)


def _tell_removal(removal: Removal) -> Iterable[str]:
    yield f"{len(removal.resources)} resources deleted, {len(removal.cancelled)} runs cancelled"


async def statistics(session: Session) -> tuple[Group, ...]:
    """Runs by status."""
    return await Runs(session).statistics()


def _tell_statistics(groups: Iterable[Group]) -> Iterable[str]:
    return [f"{group.keys['status']:<10} {group.count}" for group in groups]


async def story(session: Session, removal: Removal) -> tuple[StatusChange, ...]:
    """A run's status over time."""
    return await Runs(session).status_changes(removal.cancelled[0].id)


def _tell_story(changes: Iterable[StatusChange]) -> Iterable[str]:
    return [f"version {change.version}: {change.before or 'nothing'} → {change.after}" for change in changes]


async def elsewhere(rival: Session, people: list[Person], resources: list[Resource], now: datetime) -> list[Any]:
    """The same questions in another workspace."""
    return [
        await People(rival).by_handle("ada"),
        await People(rival).with_teams(people[0].id),
        await Resources(rival).with_creator_and_latest(resources[0].id),
        await Resources(rival).trending(days=7, now=now),
        await Runs(rival).statistics(),
    ]


def _tell_elsewhere(answers: list[Any]) -> Iterable[str]:
    return [", ".join(map(str, answers))]


SCENES = (
    Scene("People", "Handles and addresses are kept in small letters, so none is there twice.", people, _tell_people),
    Scene("A team", "Team, members, default chat, participants and figures are one unit of work.", team, _tell_team),
    Scene(
        "All or nothing",
        "The handle is taken. No member, no chat and no figure is left behind.",
        nothing_by_halves,
        _tell_error,
    ),
    Scene("A person with teams", "With how many members each has, in one statement.", ada, _tell_ada),
    Scene("Resources", "Each with its first translation and its first version.", resources, _tell_resources),
    Scene(
        "What is trending",
        "By score, bookmarks of the last week, and views: hand-written SQL, as a repository's method.",
        liked,
        _tell_trending,
    ),
    Scene(
        "A hundred views",
        "Written together, and no new version. The bookmarks are counted by the database.",
        seen,
        _tell_seen,
    ),
    Scene("Search", "Across all translations; each resource once, with the one that matches best.", found, _tell_found),
    Scene("A resource", "With its creator, translations and latest version, in one statement.", latest, _tell_latest),
    Scene("Eight runs at once", "All add to the same two rows of statistics. None is lost.", runs, _tell_runs),
    Scene("A run ends", "The event has the fields that changed, from the log.", ended, _tell_changed),
    Scene("A change", "The same of a resource.", edited, _tell_changed),
    Scene("A stale deletion", "One of the two has changed since it was read: none is deleted.", stale, _tell_error),
    Scene(
        "A deletion",
        "What is scheduled or running is cancelled and counted, with the deletion or not at all.",
        removal,
        _tell_removal,
    ),
    Scene("Runs by status", "Grouped by the database.", statistics, _tell_statistics),
    Scene(
        "A run's story",
        "Each change of status with its moment, which no writer can forget to note.",
        story,
        _tell_story,
    ),
    Scene("Another workspace", "The same questions. It has none of it.", elsewhere, _tell_elsewhere),
)
