"""What the declarations promise."""

import pytest

from examples.vrooli.entities import (
    Bookmark,
    Chat,
    Member,
    Participant,
    Person,
    Resource,
    ResourceVersion,
    Run,
    Team,
    application,
)
from examples.vrooli.tests.conftest import made_ready
from freehold import Database, Entity, Session, errors
from freehold.testing import Factory, Organizations, prove_isolation

ENTITIES = [description.cls for description in application.registry.entities.values()]


@pytest.mark.parametrize("full", [False, True], ids=["short", "full"])
@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.__name__)
@pytest.mark.freehold(isolation="rollback")
async def test_every_entity_can_be_made(acme: Session, entity: type[Entity], full: bool) -> None:
    first, second = await made_ready(Factory(acme, full=full)).create_many(entity, 2)
    assert first.id != second.id
    assert await acme.count(entity) >= 2


async def test_handle_and_email_are_kept_in_small_letters_and_once(acme: Session, rival: Session) -> None:
    ada = await acme.create(Person, name="Ada", handle="ADA_L", email="Ada@Acme.example")
    assert (ada.handle, ada.email) == ("ada_l", "ada@acme.example")
    for clash in ({"handle": "Ada_L"}, {"handle": "other", "email": "ADA@ACME.EXAMPLE"}):
        with pytest.raises(errors.UniqueError):
            await acme.create(Person, name="Twin", **clash)
    changed = await acme.update(ada, handle="Countess")
    assert changed.handle == "countess"
    theirs = await rival.create(Person, name="Ada", handle="countess", email="ada@acme.example")
    assert theirs.organization_id != ada.organization_id
    with pytest.raises(errors.ValidationError):
        await acme.create(Person, name="Bob", handle="b b")


async def test_a_resource_has_one_latest_version(acme: Session, factory: Factory) -> None:
    resource = await factory.create(Resource)
    first = await acme.create(ResourceVersion, resource_id=resource.id, label="1.0.0", is_latest=True)
    with pytest.raises(errors.UniqueError):
        await acme.create(ResourceVersion, resource_id=resource.id, label="1.1.0", is_latest=True)
    await acme.update(first, is_latest=False)
    await acme.create(ResourceVersion, resource_id=resource.id, label="1.1.0", is_latest=True)
    with pytest.raises(errors.UniqueError):
        await acme.create(ResourceVersion, resource_id=resource.id, label="1.0.0")


async def test_a_team_has_one_default_chat_and_each_member_once(acme: Session, factory: Factory) -> None:
    team = await factory.create(Team)
    person = await factory.create(Person)
    await factory.create(Chat, team=team, is_default=True)
    with pytest.raises(errors.UniqueError):
        await acme.create(Chat, team_id=team.id, name="Second", is_default=True)
    member = await acme.create(Member, team_id=team.id, person_id=person.id, permissions=["runs", "chats"])
    assert member.permissions == ["runs", "chats"]
    with pytest.raises(errors.UniqueError):
        await acme.create(Member, team_id=team.id, person_id=person.id)


async def test_a_run_says_when_it_ended_and_for_when_it_is_scheduled(acme: Session, factory: Factory) -> None:
    run = await factory.create(Run)
    with pytest.raises(errors.ValidationError, match="ended_when_over"):
        await acme.update(run, status="completed")
    with pytest.raises(errors.ValidationError, match="scheduled_for_a_time"):
        await acme.update(run, status="scheduled")


async def test_nothing_refers_to_another_workspace(rival: Session, factory: Factory) -> None:
    person, team, resource = [await factory.create(entity) for entity in (Person, Team, Resource)]
    chat, version = await factory.create(Chat, team=team), await factory.create(ResourceVersion, resource=resource)
    mine = await rival.create(Person, name="Eve", handle="eve")
    attempts: list[tuple[type[Entity], dict[str, object]]] = [
        (Team, {"creator_id": person.id, "name": "x", "handle": "xxx"}),
        (Member, {"team_id": team.id, "person_id": mine.id}),
        (Participant, {"chat_id": chat.id, "person_id": mine.id}),
        (Resource, {"creator_id": person.id, "kind": "note"}),
        (ResourceVersion, {"resource_id": resource.id, "label": "9.0.0"}),
        (Bookmark, {"resource_id": resource.id, "person_id": mine.id}),
        (Run, {"resource_version_id": version.id, "starter_id": mine.id}),
    ]
    for entity, values in attempts:
        with pytest.raises(errors.ReferenceError):
            await rival.create(entity, **values)
        assert await rival.count(entity) == 0


async def test_the_workspaces_are_apart(as_organization: Organizations, acme: Session, factory: Factory) -> None:
    for entity in ENTITIES:
        await factory.create(entity)
    borealis = await as_organization("borealis")
    for entity in ENTITIES:
        assert await acme.count(entity) >= 1
        assert await borealis.count(entity) == 0


async def test_no_way_leads_to_another_workspace(database: Database) -> None:
    await prove_isolation(database)
