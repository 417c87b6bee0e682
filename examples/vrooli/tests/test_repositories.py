"""The named queries: what they find, in which order, and that another workspace's are not among it."""

from datetime import UTC, datetime, timedelta

import pytest

from examples.vrooli.entities import (
    Bookmark,
    Member,
    Person,
    Resource,
    ResourceTranslation,
    ResourceVersion,
    Run,
    RunInput,
    RunOutput,
    RunStep,
    Team,
)
from examples.vrooli.people import People
from examples.vrooli.resources import Resources
from examples.vrooli.runs import Runs
from examples.vrooli.tests.conftest import NOW
from freehold import Session, errors
from freehold.testing import Clock, Factory


async def test_people_by_email_handle_and_user(acme: Session, rival: Session) -> None:
    user_id = acme.context.user_id
    assert user_id is not None
    ada = await acme.create(Person, name="Ada", handle="ada", email="ada@acme.example", user_id=user_id)
    await acme.create(Person, name="Bob", handle="bob")
    people, theirs = People(acme), People(rival)
    assert await people.by_email(" ADA@acme.example ") == ada
    assert await people.by_handle("@Ada") == ada
    assert await people.of_user(user_id) == ada
    assert [await people.by_email("bob@acme.example"), await people.by_handle("eve")] == [None, None]
    assert [
        await theirs.by_email("ada@acme.example"),
        await theirs.by_handle("ada"),
        await theirs.of_user(user_id),
        await theirs.with_teams(ada.id),
    ] == [None] * 4
    await acme.delete(ada)
    assert await people.by_handle("ada") is None


async def test_a_person_with_teams_and_how_many_members_they_have(
    acme: Session, rival: Session, factory: Factory
) -> None:
    ada, bob, cay = [await factory.create(Person, name=name) for name in ("Ada", "Bob", "Cay")]
    large, small, other = [await factory.create(Team, name=name) for name in ("Large", "Small", "Other")]
    for person in (ada, bob, cay):
        await factory.create(Member, team=large, person=person)
    await factory.create(Member, team=small, person=ada, is_admin=True)
    await factory.create(Member, team=other, person=bob)
    left = await factory.create(Member, team=small, person=cay)
    await acme.delete(left)

    found = await People(acme).with_teams(ada.id)
    assert found is not None
    assert [(m.team.name, m.is_admin, m.team.members_count) for m in found.memberships] == [
        ("Large", False, 3),
        ("Small", True, 1),
    ]
    assert await People(rival).with_teams(ada.id) is None


async def test_search_of_public_people(acme: Session, rival: Session) -> None:
    people: list[dict[str, object]] = [
        {"name": "Ada Lovelace", "handle": "countess", "email": "ada@acme.example", "is_public": True},
        {"name": "Bob", "handle": "lovely", "is_public": True},
        {"name": "Cay", "handle": "cay", "email": "love@acme.example", "is_public": True},
        {"name": "Lovett", "handle": "hidden", "is_public": False},
        {"name": "Dee", "handle": "dee", "is_public": True},
    ]
    for values in people:
        await acme.create(Person, **values)
    await rival.create(Person, name="Loveless", handle="loveless", is_public=True)

    found = await People(acme).search_public("LOV")
    assert [person.handle for person in found] == ["cay", "countess", "lovely"]
    assert [person.handle for person in await People(rival).search_public("lov")] == ["loveless"]
    first = await People(acme).search_public("lov", limit=2)
    rest = await People(acme).search_public("lov", limit=2, after=first.next)
    assert [person.handle for person in (*first, *rest)] == ["cay", "countess", "lovely"]
    assert len(await People(acme).search_public("lovett")) == 0


async def test_a_resource_with_its_creator_and_latest_version(acme: Session, rival: Session, factory: Factory) -> None:
    ada = await factory.create(Person, name="Ada")
    resource = await factory.create(Resource, creator=ada, kind="routine")
    for label, latest in (("1.0.0", False), ("1.1.0", True)):
        await acme.create(ResourceVersion, resource_id=resource.id, label=label, is_latest=latest)
    for language, name in (("en", "Tidy up"), ("de", "Aufräumen")):
        await acme.create(ResourceTranslation, resource_id=resource.id, language=language, name=name)

    found = await Resources(acme).with_creator_and_latest(resource.id)
    assert found is not None
    assert found.creator is not None
    assert found.creator.name == "Ada"
    assert [version.label for version in found.versions] == ["1.1.0"]
    assert [translation.name for translation in found.translations] == ["Aufräumen", "Tidy up"]
    assert await Resources(rival).with_creator_and_latest(resource.id) is None


async def test_resources_by_type(acme: Session, rival: Session, factory: Factory, clock: Clock) -> None:
    made = []
    for day, kind in enumerate(("note", "code", "note", "note")):
        await clock.set(NOW + timedelta(days=day))
        made.append(await factory.create(Resource, kind=kind))
    await acme.delete(made[3])
    page = await Resources(acme).by_type("note")
    assert ([resource.id for resource in page], page.total) == ([made[2].id, made[0].id], 2)
    first = await Resources(acme).by_type("note", limit=1)
    assert [resource.id for resource in await Resources(acme).by_type("note", limit=1, after=first.next)] == [
        made[0].id
    ]
    assert len(await Resources(rival).by_type("note")) == 0


async def test_what_is_trending(acme: Session, rival: Session, factory: Factory, clock: Clock) -> None:
    people = [await factory.create(Person) for _ in range(3)]

    async def resource(name: str, *, made: int, bookmarked: list[int], **values: object) -> Resource:
        """One that was made, and bookmarked, so many days before."""
        await clock.set(NOW - timedelta(days=made))
        record = await factory.create(Resource, **{"is_public": True} | values)
        await acme.create(ResourceTranslation, resource_id=record.id, language="de", name=f"{name} (de)")
        await acme.create(ResourceTranslation, resource_id=record.id, language="en", name=name)
        for person, days in zip(people, bookmarked, strict=False):
            await clock.set(NOW - timedelta(days=days))
            await factory.create(Bookmark, resource=record, person=person)
        return record

    await resource("more views", made=2, bookmarked=[1], score=5, views=9)
    await resource("fewer views", made=2, bookmarked=[1], score=5, views=8)
    await resource("more bookmarks", made=2, bookmarked=[2, 1], score=5)
    await resource("old bookmarks do not count", made=40, bookmarked=[39, 38, 1], score=5, views=1)
    await resource("old, but bookmarked again", made=40, bookmarked=[1], score=7)
    await resource("old", made=40, bookmarked=[39], score=90)
    await resource("hidden", made=2, bookmarked=[1], score=90, is_public=False)
    gone = await resource("gone", made=2, bookmarked=[1], score=90)
    await acme.delete(gone)
    taken_back = await resource("bookmark taken back", made=40, bookmarked=[1], score=90)
    bookmark = await acme.find(Bookmark, {"resource_id": taken_back.id})
    assert bookmark is not None
    await acme.delete(bookmark)

    found = await Resources(acme).trending(days=7, now=NOW)
    assert [(line.name, line.bookmarks_gained) for line in found] == [
        ("old, but bookmarked again", 1),
        ("more bookmarks", 2),
        ("more views", 1),
        ("fewer views", 1),
        ("old bookmarks do not count", 1),
    ]
    assert [line.name for line in await Resources(acme).trending(days=7, now=NOW, language="de", most=1)] == [
        "old, but bookmarked again (de)"
    ]
    assert [line.name for line in await Resources(acme).trending(days=60, now=NOW, most=2)] == [
        "old",
        "bookmark taken back",
    ]
    assert await Resources(rival).trending(days=60, now=NOW) == []


async def test_search_across_translations(acme: Session, rival: Session, factory: Factory) -> None:
    async def resource(public: bool, **names: str) -> Resource:
        record = await factory.create(Resource, is_public=public)
        for language, name in names.items():
            await acme.create(ResourceTranslation, resource_id=record.id, language=language, name=name)
        return record

    plan = await resource(True, en="Garden plan", de="Garten planen", fr="Plan de jardin")
    hidden = await resource(False, en="Secret garden")
    gone = await resource(True, en="Garden of old")
    await acme.delete(gone)
    await resource(True, en="Kitchen")

    found = await Resources(acme).search("gart")
    assert [(each.resource.id, each.translation.language) for each in found] == [(plan.id, "de")]
    found = await Resources(acme).search("plan")
    assert [each.resource.id for each in found] == [plan.id]
    found = await Resources(acme).search("garden", public=False)
    assert {each.resource.id for each in found} == {plan.id, hidden.id}
    assert [each.resource.id for each in await Resources(acme).search("garden")] == [plan.id]
    assert len(await Resources(acme).search("garden", public=False, most=1)) == 1
    assert "<mark>" in found[0].fragments[0].html()
    assert await Resources(rival).search("garden", public=False) == ()


async def test_active_runs(acme: Session, rival: Session, factory: Factory) -> None:
    ada, bob = [await factory.create(Person) for _ in range(2)]
    team = await factory.create(Team)
    running = await factory.create(Run, starter=ada)
    scheduled = await factory.create(
        Run, starter=bob, team=team, status="scheduled", scheduled_for=NOW, started_at=None
    )
    await factory.create(Run, starter=ada, status="cancelled", ended_at=NOW)
    runs = Runs(acme)
    page = await runs.active()
    assert ([run.id for run in page], page.total) == ([running.id, scheduled.id], 2)
    assert page[0].resource_version.id == running.resource_version_id
    assert [run.id for run in await runs.active(starter_id=ada.id)] == [running.id]
    assert [run.id for run in await runs.active(team_id=team.id)] == [scheduled.id]
    assert len(await runs.active(starter_id=ada.id, team_id=team.id)) == 0
    assert len(await Runs(rival).active()) == 0
    assert len(await Runs(rival).active(starter_id=ada.id)) == 0


async def test_a_run_with_its_details(acme: Session, rival: Session, factory: Factory) -> None:
    ada = await factory.create(Person, name="Ada")
    version = await factory.create(ResourceVersion, resource=await factory.create(Resource, kind="routine"))
    run = await factory.create(Run, starter=ada, resource_version=version)
    for position, name in ((2, "second"), (1, "first")):
        await acme.create(RunStep, run_id=run.id, position=position, name=name)
    await acme.create(RunInput, run_id=run.id, name="text", data={"value": "hello"})
    await acme.create(RunOutput, run_id=run.id, name="summary", data={"value": "hi"})

    found = await Runs(acme).details(run.id)
    assert found is not None
    assert [step.name for step in found.steps] == ["first", "second"]
    assert [(given.name, given.data) for given in found.inputs] == [("text", {"value": "hello"})]
    assert [(given.name, given.data) for given in found.outputs] == [("summary", {"value": "hi"})]
    assert (found.starter.name, found.team) == ("Ada", None)
    assert found.resource_version.id == run.resource_version_id
    assert found.resource_version.resource.kind == "routine"
    assert await Runs(rival).details(run.id) is None


async def test_status_changes_with_their_moments(acme: Session, rival: Session, factory: Factory, clock: Clock) -> None:
    await clock.set(NOW)
    run = await factory.create(Run, status="scheduled", scheduled_for=NOW, started_at=None)
    await clock.advance(timedelta(hours=1))
    run = await acme.update(run, status="running", started_at=NOW + timedelta(hours=1))
    await clock.advance(timedelta(minutes=1))
    run = await acme.update(run, took=timedelta(seconds=1))
    await clock.advance(timedelta(hours=1))
    run = await acme.update(run, status="failed", ended_at=NOW + timedelta(hours=3))

    changes = await Runs(acme).status_changes(run.id)
    assert [(change.before, change.after, change.version) for change in changes] == [
        (None, "scheduled", 1),
        ("scheduled", "running", 2),
        ("running", "failed", 4),
    ]
    assert [change.at - NOW for change in changes] == [
        timedelta(0),
        timedelta(hours=1),
        timedelta(hours=2, minutes=1),
    ]
    assert {change.actor_id for change in changes} == {acme.context.user_id}
    assert await Runs(rival).status_changes(run.id) == ()


async def test_statistics_by_status(acme: Session, rival: Session, factory: Factory, clock: Clock) -> None:
    team = await factory.create(Team)
    await clock.set(NOW - timedelta(days=9))
    await factory.create(Run, status="completed", ended_at=NOW, took=timedelta(seconds=100))
    await clock.set(NOW)
    for seconds in (10, 20):
        await factory.create(Run, team=team, status="completed", ended_at=NOW, took=timedelta(seconds=seconds))
    resource = await factory.create(Resource)
    await factory.create(Run, resource_version=await factory.create(ResourceVersion, resource=resource))

    def told(groups: object) -> list[tuple[object, ...]]:
        return [(g.keys["status"], g.count, g.avg["took"], g.max["took"]) for g in groups]  # type: ignore[attr-defined]

    runs = Runs(acme)
    assert told(await runs.statistics(since=NOW)) == [
        ("completed", 2, timedelta(seconds=15), timedelta(seconds=20)),
        ("running", 1, None, None),
    ]
    assert [(group.keys["status"], group.count) for group in await runs.statistics()] == [
        ("completed", 3),
        ("running", 1),
    ]
    assert told(await runs.statistics(team_id=team.id)) == [
        ("completed", 2, timedelta(seconds=15), timedelta(seconds=20))
    ]
    assert told(await runs.statistics(resource_id=resource.id)) == [("running", 1, None, None)]
    assert await Runs(rival).statistics() == ()
    assert await Runs(rival).statistics(team_id=team.id) == ()


async def test_queries_of_the_past(acme: Session, factory: Factory, clock: Clock) -> None:
    await clock.set(datetime(2026, 1, 1, tzinfo=UTC))
    ada = await factory.create(Person, handle="ada")
    await clock.advance(timedelta(days=1))
    await acme.update(ada, handle="countess")
    async with acme.as_of(datetime(2026, 1, 1, 12, tzinfo=UTC)) as past:
        assert await People(past).by_handle("ada") is not None
        assert await People(past).by_handle("countess") is None
        with pytest.raises(errors.ValidationError, match="must be made with a Session"):
            Runs(past)  # type: ignore[arg-type]
