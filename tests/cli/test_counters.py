"""`freehold counters reconcile`: it finds what differs, in every organization, and mends only when it is told to."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session
from freehold.engine.reconcile import Drift, reconcile
from freehold.postgres.connections import connect
from tests.cli.test_doctor import url
from tests.conftest import Server, new_context
from tests.counted import Bookmark, Note, Resource, application
from tests.probe import blocked, plain, scratch

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from freehold.cli import main; main()", "counters", "reconcile"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FREEHOLD_")}
    return subprocess.run(
        [*command, "tests.counted:application", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=environment,
    )  # fmt: skip


@pytest.fixture
async def name(server: Server) -> AsyncIterator[str]:
    async with scratch(server, application) as name:
        yield name


@pytest.fixture
async def sessions(server: Server, name: str) -> AsyncIterator[list[Session]]:
    """Of two organizations, each with a record that two bookmarks and a note refer to."""
    async with Database.open(server.address(name, application), application, size=3) as database:
        made = [database.session(await new_context(database)) for _ in range(2)]
        for session in made:
            one = await session.create(Resource, name="one")
            await session.create(Resource, name="other")
            for kind in ("plain", "star"):
                await session.create(Bookmark, resource_id=one.id, kind=kind)
            await session.create(Note, resource_id=one.id, text="n")
        yield made


async def one(session: Session) -> Any:
    return await session.find(Resource, {"name": "one"})


async def break_counters(admin: asyncpg.Connection, change: str) -> None:
    """Changes rows behind the triggers."""
    async with admin.transaction():
        await admin.execute("set local session_replication_role = replica")
        await admin.execute(change)


async def drifts(server: Server, name: str, **more: Any) -> list[Drift]:
    async with connect(server.admin_address(name)) as connection:
        found = reconcile(connection, application.registry, application.schemas, application.roles, **more)
        return [drift async for drift in found]


async def test_what_is_right_is_left_alone(server: Server, name: str, sessions: list[Session]) -> None:
    answer = run("--url", url(server.admin_address(name)), "--write")
    assert answer.returncode == 0, answer.stderr
    assert "4 records: all counters are right." in answer.stdout
    assert [change.action for change in await sessions[0].history(await one(sessions[0]))] == ["update"] * 3 + [
        "create"
    ]


async def test_it_reports_then_mends_and_the_log_tells(server: Server, name: str, sessions: list[Session]) -> None:
    async with plain(server.admin_address(name)) as admin:
        await break_counters(
            admin, "update app.resources set marks = marks + 5, stars = 7, notes = 0 where name = 'one'"
        )
    where = url(server.admin_address(name))
    answer = run("--url", where)
    assert answer.returncode == 1, answer.stderr
    assert "4 records: 6 counters differ; mend them with --write." in answer.stdout
    told = json.loads(run("--url", where, "--json").stdout)
    assert (told["records"], told["differ"], told["mended"]) == (4, 6, False)
    expected = {
        (str(session._messenger.context.organization_id), str((await one(session)).id), field, kept, counted)
        for session in sessions
        for field, kept, counted in (("marks", 7, 2), ("stars", 7, 1), ("notes", 0, 1))
    }
    assert {
        (d["organization_id"], d["record_id"], d["field"], d["kept"], d["counted"]) for d in told["drift"]
    } == expected
    assert (await one(sessions[0])).marks == 7
    mended = run("--url", where, "--write")
    assert mended.returncode == 0, mended.stderr
    assert "6 counters differed; they are right now." in mended.stdout
    for session in sessions:
        record = await one(session)
        assert (record.marks, record.stars, record.notes, record.version) == (2, 1, 1, 1)
        change = (await session.history(record))[0]
        assert change.diff == {"marks": (7, 2), "stars": (7, 1), "notes": (0, 1)}
        assert (change.actor_id, change.request_id) == (None, "freehold counters reconcile")
    assert run("--url", where).returncode == 0


async def test_one_entity_alone_and_names_that_are_none(server: Server, name: str, sessions: list[Session]) -> None:
    where = url(server.admin_address(name))
    assert run("Resource", "--url", where).returncode == 0
    for entity, message in (("Note", "has no counter"), ("Resorce", "did you mean 'Resource'?")):
        answer = run(entity, "--url", where)
        assert answer.returncode == 1
        assert message in answer.stderr


async def test_rows_that_came_behind_the_triggers_are_found(server: Server, name: str, sessions: list[Session]) -> None:
    """Children that a restore of data alone brought, soft-deleted ones among them."""
    async with plain(server.admin_address(name)) as admin:
        for set_ in ("null", "now()"):
            await break_counters(
                admin,
                "insert into app.bookmarks (organization_id, id, resource_id, kind, version, deleted_at) "
                f"select organization_id, freehold.new_id(), id, 'plain', 1, {set_} from app.resources where name = 'one'",
            )
    found = await drifts(server, name)
    assert {(drift.field, drift.kept, drift.counted) for drift in found} == {("marks", 2, 3)}
    assert len(found) == 2


async def test_it_compares_again_under_the_lock(server: Server, name: str, sessions: list[Session]) -> None:
    """A transaction mends one counter while the command waits for the record: what it did is not undone."""
    session = sessions[0]
    record = await one(session)
    async with plain(server.admin_address(name)) as admin, plain(server.admin_address(name)) as other:
        await break_counters(admin, f"update app.resources set marks = 9, stars = 9 where id = '{record.id}'")
        transaction = other.transaction()
        await transaction.start()
        await other.execute("set local session_replication_role = replica")
        await other.execute("update app.resources set marks = 2 where id = $1", record.id)
        mending = asyncio.create_task(drifts(server, name, write=True))
        await blocked(admin, 1)
        await transaction.commit()
        (found,) = await mending
    assert (found.field, found.kept, found.counted) == ("stars", 9, 1)
    now = await one(session)
    assert (now.marks, now.stars) == (2, 1)


async def test_a_count_that_is_under_way_is_no_drift_and_is_not_lost(
    server: Server, name: str, sessions: list[Session]
) -> None:
    """A bookmark is being added when the command mends the same counter: it waits for the end, and counts it."""
    session = sessions[0]
    record = await one(session)
    from tests.probe import enter

    async with plain(server.admin_address(name)) as admin, plain(server.address(name, application)) as writer:
        await break_counters(admin, f"update app.resources set marks = 9 where id = '{record.id}'")
        transaction = writer.transaction()
        await transaction.start()
        await enter(writer, session._messenger.context)
        await writer.execute("insert into app.bookmarks (resource_id) values ($1)", record.id)
        assert [(drift.kept, drift.counted) for drift in await drifts(server, name)] == [(9, 2)]
        mending = asyncio.create_task(drifts(server, name, write=True))
        await blocked(admin, 1)
        await transaction.commit()
        (found,) = await mending
    assert (found.kept, found.counted) == (10, 3)
    assert (await one(session)).marks == 3


async def test_more_records_than_a_batch(server: Server, name: str, sessions: list[Session]) -> None:
    async with plain(server.admin_address(name)) as admin:
        organization = sessions[0]._messenger.context.organization_id
        await break_counters(
            admin,
            f"insert into app.resources (organization_id, id, name, version, marks) "
            f"select '{organization}', freehold.new_id(), 'many', 1, n % 2 from generate_series(1, 1100) n",
        )
    assert len(await drifts(server, name, write=True)) == 550
    assert await drifts(server, name) == []
