"""The operations as they are called from outside: on behalf of the caller, and of nobody else."""

from typing import Any

import pytest

from examples.vrooli.entities import Person, Resource, ResourceVersion, Run, RunInput, application
from freehold import Database, Principal, Session, errors

pytestmark = pytest.mark.freehold(isolation="rollback")


@pytest.fixture
async def ada(acme: Session) -> Person:
    return await acme.create(Person, user_id=acme.context.user_id, name="Ada", handle="ada")


async def call(database: Database, session: Session, function: str, /, **arguments: Any) -> Any:
    context = session.context
    granted = application.grants.permissions("admin")
    caller = Principal(context.organization_id, context.user_id, "admin", granted, f"user:{context.user_id}")
    return await database.call(function, arguments, principal=caller)


async def test_a_resource_is_made_found_and_run(database: Database, acme: Session, rival: Session, ada: Person) -> None:
    made = await call(database, acme, "resources.add", kind="routine", name="Morning brief", is_public=True)
    assert made["creator_id"] == str(ada.id)
    await call(database, acme, "resources.view", id=made["id"])
    (found,) = await call(database, acme, "resources.search", text="brief")
    assert (found["id"], found["name"]) == (made["id"], "Morning brief")
    (top,) = await call(database, acme, "resources.trending")
    assert (top["id"], top["views"]) == (made["id"], 1)
    version = await acme.find(ResourceVersion, {"resource_id": made["id"]})
    assert version is not None
    begun = await call(
        database, acme, "runs.start", resource_version_id=version.id, steps=["read"], inputs={"day": {"is": 1}}
    )
    assert (begun["status"], begun["starter_id"]) == ("running", str(ada.id))
    assert [run["id"] for run in (await call(database, acme, "runs.active", mine=True))["data"]] == [begun["id"]]
    done = await call(database, acme, "runs.end", id=begun["id"], version=1, status="completed", outputs={"text": {}})
    assert (done["status"], done["version"]) == ("completed", 2)
    with pytest.raises(errors.ConcurrencyError):
        await call(database, acme, "runs.end", id=begun["id"], version=1, status="failed")
    assert await acme.count(RunInput) == 1
    for name, arguments in (
        ("resources.view", {"id": made["id"]}),
        ("runs.start", {"resource_version_id": version.id}),
        ("runs.end", {"id": begun["id"], "version": 2, "status": "failed"}),
    ):
        with pytest.raises(errors.NotFoundError):
            await call(database, rival, name, **arguments)
    assert await call(database, rival, "resources.search", text="brief") == []
    assert (await acme.get(Run, begun["id"])).status == "completed"


async def test_nobody_acts_for_somebody_else(database: Database, acme: Session, ada: Person) -> None:
    bob = await acme.create(Person, name="Bob", handle="bob")
    hidden = await acme.create(Resource, creator_id=bob.id, kind="note")
    version = await acme.create(ResourceVersion, resource_id=hidden.id, label="1.0.0", is_latest=True)
    run = await acme.create(Run, resource_version_id=version.id, starter_id=bob.id, status="running")
    with pytest.raises(errors.NotFoundError):
        await call(database, acme, "resources.view", id=hidden.id)
    with pytest.raises(errors.NotFoundError):
        await call(database, acme, "runs.start", resource_version_id=version.id)
    with pytest.raises(errors.ForbiddenError, match="only who has started"):
        await call(database, acme, "runs.end", id=run.id, version=1, status="failed")
    with pytest.raises(errors.ValidationError):
        await call(database, acme, "runs.start", resource_version_id=version.id, starter_id=bob.id)
    assert (await acme.get(Resource, hidden.id)).views == 0
    assert await acme.count(Run) == 1
    await acme.delete(ada)
    with pytest.raises(errors.ForbiddenError, match="no person of this workspace"):
        await call(database, acme, "resources.add", kind="note", name="Nobody's")
    assert await acme.count(Resource) == 1
