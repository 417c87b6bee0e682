"""The operations: all of it happens or nothing, figures are right however many add to them, and other workspaces are left alone."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from examples.vrooli.entities import (
    Bookmark,
    Chat,
    Member,
    Participant,
    Person,
    PersonDay,
    Resource,
    ResourceTranslation,
    ResourceVersion,
    Run,
    RunInput,
    RunOutput,
    RunStep,
    Team,
    TeamDay,
)
from examples.vrooli.operations import (
    create_resource,
    create_team,
    delete_resources,
    edit_resource,
    end_run,
    start_run,
    view,
)
from examples.vrooli.resources import Resources
from examples.vrooli.runs import Runs
from examples.vrooli.tests.conftest import NOW
from freehold import Entity, Session, errors
from freehold.testing import Factory, Organizations

DAY = NOW.date()
FIGURES = (
    "teams_created",
    "members_joined",
    "resources_created",
    "resources_deleted",
    "runs_started",
    "runs_ended",
    "runs_cancelled",
)


async def figures(session: Session, owner: Person | Team, day: date = DAY) -> dict[str, int]:
    """What is counted for a person or a team on a day, without what is zero."""
    entity, name = (PersonDay, "person_id") if isinstance(owner, Person) else (TeamDay, "team_id")
    row = await session.find(entity, {name: owner.id, "day": day})
    return {name: value for name in FIGURES if (value := getattr(row, name, 0) if row else 0)}


async def everything(session: Session) -> Counter[str]:
    """How many records there are of each entity, deleted ones too, and how many changes the log has."""
    entities: list[type[Entity]] = [
        Person, Team, Member, Chat, Participant, Resource, ResourceTranslation, ResourceVersion, Bookmark,
        Run, RunStep, RunInput, RunOutput, PersonDay, TeamDay,
    ]  # fmt: skip
    counted = Counter({entity.__name__: await session.count(entity, deleted=True) for entity in entities})
    counted["log"] = len(await session.sql(None, "select position from freehold.log", limit=10_000))
    return counted


@pytest.fixture
async def ada(factory: Factory) -> Person:
    """A person of Acme."""
    return await factory.create(Person, name="Ada", handle="ada")


@pytest.fixture
async def team(acme: Session, ada: Person) -> Team:
    """Ada's team, made on another day."""
    return await create_team(acme, creator=ada, name="Crew", handle="crew", at=NOW - timedelta(days=1))


async def routine(
    session: Session, creator: Person, *, team: Team | None = None, at: datetime = NOW
) -> tuple[Resource, ResourceVersion]:
    """A new resource and its version."""
    resource = await create_resource(session, creator=creator, kind="routine", name="Tidy up", team=team, at=at)
    found = await Resources(session).with_creator_and_latest(resource.id)
    assert found is not None
    return resource, found.versions[0]


async def test_a_resource_has_its_first_version_and_translation(acme: Session, ada: Person, team: Team) -> None:
    resource = await create_resource(
        acme,
        creator=ada,
        kind="routine",
        name="Aufräumen",
        description="Alles an seinen Platz",
        language="DE",
        content={"steps": 3},
        team=team,
        is_public=True,
        at=NOW,
    )
    assert (resource.creator_id, resource.team_id, resource.kind, resource.version) == (ada.id, team.id, "routine", 1)
    found = await Resources(acme).with_creator_and_latest(resource.id)
    assert found is not None
    assert [(version.label, version.content) for version in found.versions] == [("1.0.0", {"steps": 3})]
    assert [(each.language, each.name) for each in found.translations] == [("de", "Aufräumen")]
    assert await figures(acme, ada) == {"resources_created": 1}
    assert await figures(acme, team) == {"resources_created": 1}


async def test_a_team_has_members_chat_participants_and_figures(acme: Session, ada: Person, factory: Factory) -> None:
    bob, cay = await factory.create_many(Person, 2)
    team = await create_team(acme, creator=ada, name="Crew", handle="CREW", members=[bob, cay, bob, ada], at=NOW)
    assert (team.handle, team.creator_id) == ("crew", ada.id)
    members = await acme.list(Member, where={"team_id": team.id})
    assert {member.person_id: member.is_admin for member in members} == {ada.id: True, bob.id: False, cay.id: False}
    chat = await acme.find(Chat, {"team_id": team.id}, include={"participants": True})
    assert chat is not None
    assert chat.is_default
    assert {participant.person_id for participant in chat.participants} == {ada.id, bob.id, cay.id}
    assert await figures(acme, team) == {"members_joined": 3}
    assert await figures(acme, ada) == {"teams_created": 1}
    assert await figures(acme, bob) == {}


async def test_a_run_has_steps_inputs_and_is_counted(acme: Session, ada: Person, team: Team) -> None:
    _, version = await routine(acme, ada)
    run = await start_run(
        acme,
        version,
        starter=ada,
        team=team,
        steps=["prepare", "compute"],
        inputs={"n": {"value": 5}, "m": {}},
        at=NOW,
    )
    found = await Runs(acme).details(run.id)
    assert found is not None
    assert (found.status, found.started_at, found.version) == ("running", NOW, 1)
    assert [(step.position, step.name, step.status) for step in found.steps] == [
        (1, "prepare", "pending"),
        (2, "compute", "pending"),
    ]
    assert {given.name: given.data for given in found.inputs} == {"n": {"value": 5}, "m": {}}
    assert await figures(acme, ada) == {"resources_created": 1, "runs_started": 1}
    assert await figures(acme, team) == {"runs_started": 1}
    later = await start_run(acme, version, starter=ada, scheduled_for=NOW + timedelta(days=2), at=NOW)
    assert (later.status, later.started_at, later.team_id) == ("scheduled", None, None)
    await start_run(acme, version, starter=ada, at=NOW + timedelta(days=1))
    assert await figures(acme, ada, DAY + timedelta(days=1)) == {"runs_started": 1}
    assert await figures(acme, team) == {"runs_started": 1}


async def test_of_many_runs_at_once_none_is_lost(acme: Session, ada: Person, team: Team) -> None:
    _, version = await routine(acme, ada)
    runs = await asyncio.gather(*(start_run(acme, version, starter=ada, team=team, at=NOW) for _ in range(20)))
    assert len({run.id for run in runs}) == 20
    assert await figures(acme, team) == {"runs_started": 20}  # the first of the day made the row
    assert await figures(acme, ada) == {"resources_created": 1, "runs_started": 20}
    await asyncio.gather(*(end_run(acme, run, status="failed", at=NOW) for run in runs[:10]))
    assert await figures(acme, team) == {"runs_started": 20, "runs_ended": 10}


async def test_people_and_teams_that_cross_do_not_wait_for_each_other(
    acme: Session, ada: Person, team: Team, factory: Factory
) -> None:
    bob = await factory.create(Person)
    other = await create_team(acme, creator=bob, name="Other", handle="other", at=NOW - timedelta(days=1))
    _, version = await routine(acme, ada, at=NOW - timedelta(days=1))
    pairs = [(ada, team), (ada, other), (bob, team), (bob, other)] * 5
    await asyncio.gather(*(start_run(acme, version, starter=who, team=of, at=NOW) for who, of in pairs))
    for owner in (ada, bob, team, other):
        assert await figures(acme, owner) == {"runs_started": 10}


async def test_the_end_of_a_run_is_an_event(acme: Session, ada: Person) -> None:
    _, version = await routine(acme, ada)
    run = await start_run(acme, version, starter=ada, at=NOW)
    stale, over = run.model_copy(), NOW + timedelta(seconds=90)
    event = await end_run(acme, run, status="completed", outputs={"sum": {"value": 7}}, at=over)
    assert (event.entity, event.id, event.version) == ("Run", run.id, 2)
    assert event.fields == {
        "status": ("running", "completed"),
        "ended_at": (None, over),
        "took": (None, timedelta(seconds=90)),
    }
    found = await Runs(acme).details(run.id)
    assert found is not None
    assert [(given.name, given.data) for given in found.outputs] == [("sum", {"value": 7})]
    assert await figures(acme, ada) == {"resources_created": 1, "runs_started": 1, "runs_ended": 1}
    with pytest.raises(errors.ConcurrencyError):
        await end_run(acme, stale, status="failed", outputs={"other": {}}, at=over)
    with pytest.raises(errors.ValidationError, match="is completed; only a run that is running ends"):
        await end_run(acme, run, status="failed", outputs={"other": {}}, at=over)
    assert await acme.count(RunOutput) == 1
    assert await figures(acme, ada) == {"resources_created": 1, "runs_started": 1, "runs_ended": 1}


async def test_a_change_is_an_event_with_the_fields_that_changed(acme: Session, ada: Person) -> None:
    resource, _ = await routine(acme, ada)
    event = await edit_resource(acme, resource, score=5, is_public=True, team_id=None)
    assert (event.entity, event.id, event.version) == ("Resource", resource.id, 2)
    assert event.fields == {"score": (0, 5), "is_public": (False, True)}
    with pytest.raises(errors.ConcurrencyError):
        await edit_resource(acme, resource, score=6)
    assert (await acme.get(Resource, resource.id)).score == 5
    later = await acme.get(Resource, resource.id)
    events = await asyncio.gather(
        *(edit_resource(acme, later, score=score) for score in range(10, 14)), return_exceptions=True
    )
    (won,) = [event for event in events if not isinstance(event, BaseException)]
    assert won.fields == {"score": (5, (await acme.get(Resource, resource.id)).score)}


async def test_deleted_resources_cancel_their_runs(acme: Session, ada: Person, team: Team, factory: Factory) -> None:
    bob = await factory.create(Person)
    first, version = await routine(acme, ada, team=team)
    second, other = await routine(acme, ada)
    kept, third = await routine(acme, ada)
    running = await start_run(acme, version, starter=ada, team=team, at=NOW + timedelta(minutes=5))
    scheduled = await start_run(acme, other, starter=bob, scheduled_for=NOW + timedelta(days=1), at=NOW)
    ended = await start_run(acme, other, starter=bob, at=NOW)
    await end_run(acme, ended, status="completed", at=NOW)
    untouched = await start_run(acme, third, starter=bob, at=NOW)
    bookmark = await acme.create(Bookmark, resource_id=first.id, person_id=bob.id)

    removal = await delete_resources(acme, [first, second, first], by=bob, at=NOW)
    assert {resource.id for resource in removal.resources} == {first.id, second.id}
    assert all(resource.deleted_at is not None for resource in removal.resources)
    assert {run.id: (run.status, run.version) for run in removal.cancelled} == {
        running.id: ("cancelled", 2),
        scheduled.id: ("cancelled", 2),
    }
    assert await acme.count(Resource) == 1
    assert (await acme.get(Resource, kept.id)).version == 1
    assert (await acme.get(Run, ended.id)).status == "completed"
    assert [run.id for run in await Runs(acme).active()] == [untouched.id]
    assert await figures(acme, bob) == {
        "resources_deleted": 2,
        "runs_started": 3,
        "runs_ended": 1,
        "runs_cancelled": 1,
    }
    assert (await figures(acme, ada))["runs_cancelled"] == 1
    assert await figures(acme, team) == {
        "resources_created": 1,
        "resources_deleted": 1,
        "runs_started": 1,
        "runs_cancelled": 1,
    }
    assert await acme.count(Bookmark) == 0
    for resource in removal.resources:
        await acme.restore(resource)
    assert (await acme.count(Resource), await acme.count(Bookmark)) == (3, 1)
    assert (await acme.get(Bookmark, bookmark.id)).person_id == bob.id
    assert (await acme.get(Run, running.id)).status == "cancelled"


async def test_a_deleted_resource_is_not_run(acme: Session, ada: Person) -> None:
    resource, version = await routine(acme, ada)
    await delete_resources(acme, [resource], by=ada, at=NOW)
    before = await everything(acme)
    with pytest.raises(errors.NotFoundError):
        await start_run(acme, version, starter=ada, steps=["one"], inputs={"n": {}}, at=NOW)
    assert await everything(acme) == before


async def test_of_starts_and_a_deletion_at_once_no_run_is_left_over(acme: Session, ada: Person) -> None:
    for _ in range(5):
        resource, version = await routine(acme, ada)
        answers = await asyncio.gather(
            *(start_run(acme, version, starter=ada, at=NOW) for _ in range(4)),
            delete_resources(acme, [resource], by=ada, at=NOW),
            *(start_run(acme, version, starter=ada, at=NOW) for _ in range(4)),
            return_exceptions=True,
        )
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert all(isinstance(error, errors.NotFoundError) for error in refused), refused
        runs = await acme.list(Run, where={"resource_version_id": version.id}, limit=100)
        assert {run.status for run in runs} <= {"cancelled"}
        assert len(runs) + len(refused) == 8
    counted = await figures(acme, ada)
    assert counted.get("runs_started", 0) == counted.get("runs_cancelled", 0) == await acme.count(Run)


async def test_bookmarks_are_counted_with_what_they_belong_to(acme: Session, ada: Person, factory: Factory) -> None:
    people = await factory.create_many(Person, 5)
    resource, _ = await routine(acme, ada)

    async def counted() -> tuple[int, int]:
        found = await acme.get(Resource, resource.id, deleted=True)
        return found.bookmarks, found.version

    bookmarks = await asyncio.gather(
        *(acme.create(Bookmark, resource_id=resource.id, person_id=person.id) for person in people)
    )
    assert await counted() == (5, 1)
    await acme.delete(bookmarks[0])
    person = await acme.delete(people[1])
    assert await counted() == (3, 1)
    removal = await delete_resources(acme, [resource], by=ada, at=NOW)
    assert (await counted())[1] == 2
    await acme.restore(removal.resources[0])
    assert await counted() == (3, 3)
    await acme.restore(person)
    assert await counted() == (4, 3)
    with pytest.raises(errors.ValidationError):
        await edit_resource(acme, resource, bookmarks=100)


async def test_views_of_many_at_once_are_all_counted(acme: Session, rival: Session, ada: Person) -> None:
    resource, _ = await routine(acme, ada)
    await asyncio.gather(*(view(acme, resource) for _ in range(50)))
    found = await acme.get(Resource, resource.id)
    assert (found.views, found.version) == (50, 1)
    with pytest.raises(errors.NotFoundError):
        await view(rival, resource)
    await delete_resources(acme, [found], by=ada, at=NOW)
    with pytest.raises(errors.NotFoundError):
        await view(acme, resource)
    assert (await acme.get(Resource, resource.id, deleted=True)).views == 50


@dataclass(frozen=True)
class Workspace:
    """What an operation that must fail has at hand; the stranger is a person of another workspace."""

    session: Session
    ada: Person
    stranger: Person

    async def version(self) -> ResourceVersion:
        """One that can be run."""
        return (await self.session.list(ResourceVersion, limit=1))[0]


Failing = Callable[[Workspace], Awaitable[Any]]


async def _team_with_a_taken_handle(at: Workspace) -> Any:
    return await create_team(at.session, creator=at.ada, name="Crew", handle="Crew", at=NOW)


async def _team_with_a_stranger(at: Workspace) -> Any:
    return await create_team(at.session, creator=at.ada, name="x", handle="new", members=[at.stranger], at=NOW)


async def _resource_by_a_stranger(at: Workspace) -> Any:
    return await create_resource(at.session, creator=at.stranger, kind="note", name="x", at=NOW)


async def _resource_without_a_name(at: Workspace) -> Any:
    return await create_resource(at.session, creator=at.ada, kind="note", name="", at=NOW)


async def _run_with_an_empty_step(at: Workspace) -> Any:
    return await start_run(at.session, await at.version(), starter=at.ada, steps=["one", ""], at=NOW)


async def _run_by_a_stranger(at: Workspace) -> Any:
    return await start_run(at.session, await at.version(), starter=at.stranger, at=NOW)


async def _stale_deletion(at: Workspace) -> Any:
    first, second = await at.session.list(Resource, limit=2)
    await at.session.update(second, score=1)
    return await delete_resources(at.session, [first, second], by=at.ada, at=NOW)


async def _deletion_by_a_stranger(at: Workspace) -> Any:
    return await delete_resources(at.session, await at.session.list(Resource, limit=2), by=at.stranger, at=NOW)


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (_team_with_a_taken_handle, errors.UniqueError),
        (_team_with_a_stranger, errors.FreeholdError),
        (_resource_by_a_stranger, errors.ReferenceError),
        (_resource_without_a_name, errors.ValidationError),
        (_run_with_an_empty_step, errors.ValidationError),
        (_run_by_a_stranger, errors.ReferenceError),
        (_stale_deletion, errors.ConcurrencyError),
        (_deletion_by_a_stranger, errors.ReferenceError),
    ],
)
async def test_where_one_part_fails_nothing_is_written(
    acme: Session, rival: Session, ada: Person, team: Team, operation: Failing, error: type[Exception]
) -> None:
    stranger = await Factory(rival).create(Person)
    for _ in range(2):
        _, version = await routine(acme, ada, team=team)
        await start_run(acme, version, starter=ada, at=NOW)
    before, theirs = await everything(acme), await everything(rival)
    with pytest.raises(error):
        await operation(Workspace(acme, ada, stranger))
    stale = operation is _stale_deletion
    after = await everything(acme)
    after["log"] -= stale  # the change that made it stale
    assert (after, await everything(rival)) == (before, theirs)
    assert await acme.count(Run, {"status": "running"}) == 2


async def test_another_workspace_s_records_are_out_of_reach(
    acme: Session, rival: Session, ada: Person, team: Team
) -> None:
    resource, version = await routine(acme, ada)
    run = await start_run(acme, version, starter=ada, at=NOW)
    eve = await Factory(rival).create(Person)
    before, theirs = await everything(acme), await everything(rival)
    attempts: list[Awaitable[Any]] = [
        create_resource(rival, creator=ada, kind="note", name="x", at=NOW),
        create_resource(rival, creator=eve, kind="note", name="x", team=team, at=NOW),
        create_team(rival, creator=ada, name="x", handle="xxx", at=NOW),
        create_team(rival, creator=eve, name="x", handle="xxx", members=[ada], at=NOW),
        start_run(rival, version, starter=eve, at=NOW),
        end_run(rival, run, status="completed", at=NOW),
        edit_resource(rival, resource, score=1),
        delete_resources(rival, [resource], by=eve, at=NOW),
    ]
    for attempt in attempts:
        with pytest.raises(errors.FreeholdError) as caught:
            await attempt
        assert "Ada" not in str(caught.value)
    assert (await everything(acme), await everything(rival)) == (before, theirs)


async def test_each_workspace_has_figures_of_its_own(as_organization: Organizations) -> None:
    sessions = [await as_organization(slug) for slug in ("north", "south")]
    people = [await session.create(Person, name="Ada", handle="ada") for session in sessions]
    made = [await routine(session, person) for session, person in zip(sessions, people, strict=True)]
    await asyncio.gather(
        *(
            start_run(session, version, starter=person, at=NOW)
            for session, person, (_, version) in zip(sessions, people, made, strict=True)
            for _ in range(5 if session is sessions[0] else 3)
        )
    )
    for session, person, started in zip(sessions, people, (5, 3), strict=True):
        assert await figures(session, person) == {"resources_created": 1, "runs_started": started}
        assert await session.count(PersonDay) == 1
