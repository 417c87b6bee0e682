"""The second reference application: its demo plays, and its races are right when they are forced."""

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from examples.vrooli.demo import enter, play
from examples.vrooli.entities import Person, PersonDay, Resource, ResourceVersion, Run, application
from examples.vrooli.operations import create_resource, delete_resources, start_run
from examples.vrooli.resources import TRENDING
from examples.vrooli.scenes import SCENES
from examples.vrooli.tests.conftest import NOW

from freehold import Database, Session, errors
from freehold.testing import Factory
from tests.conftest import Server
from tests.probe import blocked, plain, scratch

ROOT = Path(__file__).parents[2]
WORKERS = 6
_numbers = itertools.count()


@pytest.fixture
async def vrooli(server: Server) -> AsyncIterator[Database]:
    """A database of the test's own, with a connection for every worker."""
    async with (
        scratch(server, application) as name,
        Database.open(server.address(name, application), application, size=WORKERS) as database,
    ):
        yield database


@pytest.fixture
async def admin(server: Server, vrooli: Database) -> AsyncIterator[asyncpg.Connection]:
    """The administrator's connection to it."""
    async with plain(server.admin_address(vrooli.store.pool.address.database)) as connection:
        yield connection


async def world(database: Database) -> tuple[Session, Person, Resource, ResourceVersion]:
    """A workspace with a person and a resource; nothing of the day of `NOW` is counted."""
    session = await enter(database, "races")
    person = await session.create(Person, name="Ada", handle="ada")
    resource = await Factory(session).create(Resource, creator=person)
    return session, person, resource, await Factory(session).create(ResourceVersion, resource=resource)


async def test_runs_that_wait_for_one_row_are_all_counted(vrooli: Database, admin: asyncpg.Connection) -> None:
    session, person, _, version = await world(vrooli)
    day = await session.create(PersonDay, person_id=person.id, day=NOW.date())
    async with admin.transaction():
        await admin.execute("select from app.person_days where id = $1 for update", day.id)
        starts = asyncio.gather(*(start_run(session, version, starter=person, at=NOW) for _ in range(WORKERS)))
        await blocked(admin, WORKERS)
    await starts
    assert (await session.get(PersonDay, day.id)).runs_started == WORKERS
    assert await session.count(Run) == WORKERS


async def test_of_those_who_are_first_of_the_day_one_makes_the_row(vrooli: Database, admin: asyncpg.Connection) -> None:
    session, person, _, version = await world(vrooli)
    async with admin.transaction():
        # Nobody can insert while this is held, so that all have looked and found no row.
        await admin.execute("lock table app.person_days in share mode")
        starts = asyncio.gather(*(start_run(session, version, starter=person, at=NOW) for _ in range(WORKERS)))
        await blocked(admin, WORKERS)
    await starts
    (day,) = await session.list(PersonDay)
    assert (day.runs_started, await session.count(Run)) == (WORKERS, WORKERS)


async def test_a_run_that_starts_while_its_resource_is_deleted_is_cancelled_or_undone(
    vrooli: Database, admin: asyncpg.Connection
) -> None:
    for first in ("start", "deletion"):
        session, person, resource, version = await world(vrooli)
        day = await session.create(PersonDay, person_id=person.id, day=NOW.date())
        calls: dict[str, Any] = {
            "start": lambda s=session, v=version, p=person: start_run(s, v, starter=p, at=NOW),
            "deletion": lambda s=session, r=resource, p=person: delete_resources(s, [r], by=p, at=NOW),
        }
        second = "deletion" if first == "start" else "start"
        async with admin.transaction():
            # Whoever comes first has done everything but the last thing, the figures; the other one comes into the middle of it.
            await admin.execute("select from app.person_days where id = $1 for update", day.id)
            tasks = {first: asyncio.create_task(calls[first]())}
            await blocked(admin, 1)
            tasks[second] = asyncio.create_task(calls[second]())
            await blocked(admin, 2)
        answers = dict(zip(tasks, await asyncio.gather(*tasks.values(), return_exceptions=True), strict=True))
        left = await session.list(Run)
        counted = await session.get(PersonDay, day.id)
        if first == "start":
            assert [run.status for run in left] == ["cancelled"]
            assert [run.id for run in answers["deletion"].cancelled] == [answers["start"].id]
            assert (counted.runs_started, counted.runs_cancelled, counted.resources_deleted) == (1, 1, 1)
        else:
            assert isinstance(answers["start"], errors.NotFoundError)
            assert len(left) == 0
            assert (counted.runs_started, counted.runs_cancelled, counted.resources_deleted) == (0, 0, 1)


async def test_a_version_is_not_added_while_its_resource_is_deleted(
    vrooli: Database, admin: asyncpg.Connection
) -> None:
    session, person, resource, version = await world(vrooli)
    run = await start_run(session, version, starter=person, at=NOW)
    async with admin.transaction():
        # The deletion has looked for versions, and not yet for all of the runs.
        await admin.execute("select from app.runs where id = $1 for update", run.id)
        deletion = asyncio.create_task(delete_resources(session, [resource], by=person, at=NOW))
        await blocked(admin, 1)
        added = asyncio.create_task(session.create(ResourceVersion, resource_id=resource.id, label="9.9.9"))
        await blocked(admin, 2)
    assert [run.id for run in (await deletion).cancelled] == [run.id]
    with pytest.raises(errors.ReferenceError):
        await added
    assert await session.count(Run) == 1


async def test_two_that_count_for_the_same_people_do_not_wait_in_a_circle(
    vrooli: Database, admin: asyncpg.Connection
) -> None:
    session, ada, *_ = await world(vrooli)
    people = [ada, await session.create(Person, name="Bob", handle="bob")]
    deletions = []
    for owner, other in (people, reversed(people)):
        resource = await Factory(session).create(Resource)
        version = await Factory(session).create(ResourceVersion, resource=resource)
        await start_run(session, version, starter=other, at=NOW)
        deletions.append(delete_resources(session, [resource], by=owner, at=NOW))
    async with admin.transaction():
        await admin.execute("select from app.person_days for update")
        both = asyncio.gather(*deletions)
        await blocked(admin, 2)
    await both
    days = await session.list(PersonDay)
    assert [(day.resources_deleted, day.runs_cancelled) for day in days] == [(1, 1), (1, 1)]


async def test_an_operation_that_is_cancelled_leaves_nothing(vrooli: Database, admin: asyncpg.Connection) -> None:
    session, person, _, _ = await world(vrooli)
    resources = await session.count(Resource)
    day = await session.create(PersonDay, person_id=person.id, day=NOW.date())
    async with admin.transaction():
        await admin.execute("select from app.person_days where id = $1 for update", day.id)
        task = asyncio.create_task(create_resource(session, creator=person, kind="note", name="x", at=NOW))
        await blocked(admin, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await session.count(Resource) == resources
    assert (await session.get(PersonDay, day.id)).version == 1


async def test_raw_sql_cannot_store_capitals_either(vrooli: Database, admin: asyncpg.Connection) -> None:
    session = await enter(vrooli, "raw")
    ada = await session.create(Person, name="Ada", handle="ADA", email="É@x.example")
    for column in ("handle", "email"):
        with pytest.raises(asyncpg.CheckViolationError):
            await admin.execute(f"update app.people set {column} = 'Ada@x.example' where id = $1", ada.id)
    await admin.execute("update app.people set handle = 'countess' where id = $1", ada.id)


async def test_trending_looks_up_the_bookmarks_of_its_days_by_index(
    vrooli: Database, admin: asyncpg.Connection
) -> None:
    session = await enter(vrooli, "plans")
    async with admin.transaction():
        await admin.execute("set local session_replication_role = replica")  # what they refer to is not needed here
        await admin.execute(
            """insert into app.bookmarks (organization_id, id, resource_id, person_id, created_at, updated_at)
            select $1, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), at, at
            from generate_series($2::timestamptz - interval '4999 hours', $2, interval '1 hour') at""",
            session.context.organization_id,
            NOW,
        )
    await admin.execute("analyze app.bookmarks")
    plan = await session.explain(TRENDING, since=NOW - timedelta(days=2), language="en", most=10)
    assert "bookmarks_created_at_idx" in str(plan)


async def test_the_scenes_play_and_the_other_workspace_has_none_of_it(vrooli: Database) -> None:
    for _ in range(2):
        session, rival = await enter(vrooli, "demo"), await enter(vrooli, "rival")
        told = {scene.name: lines async for scene, lines, _ in play(session, rival)}
        assert list(told) == [scene.name for scene in SCENES]
        assert all(told.values())
        assert told["elsewhere"] == ["None, None, None, [], ()"]
        assert told["runs"] == [
            "8 runs, 8 of them running",
            "the day's figures: 8 of the person, 8 of the team",
        ]
        assert told["seen"] == ["100 views, 1 bookmark, version 1"]
        assert told["removal"] == ["2 resources deleted, 7 runs cancelled"]
        assert "FH" in told["stale"][0]


def test_the_command_prints_the_scenes_and_one_readable_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    command = [sys.executable, "-m", "examples.vrooli.demo", "--path", str(file)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 1
    assert "FH004" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
