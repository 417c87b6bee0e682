"""An import that is killed again and again leaves what an undisturbed one leaves."""

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session
from freehold.transfer import import_file
from tests.conftest import Server, new_context
from tests.transfer.files import written
from tests.transfer.killed import POINTS
from tests.transfer.test_importing import state
from tests.world import Customer, application

KILLS = int(os.environ.get("FREEHOLD_KILLS", "24"))
"""Processes that are killed in all."""
MESSAGES = 45
"""About as many as an undisturbed import sends."""
ROWS = [
    "name,email,visits",
    *(f"Customer {n},c{n}@acme.example,{n}" if n % 9 else f",c{n}@acme.example,x" for n in range(60)),
]


async def imported(told: dict[str, Any]) -> dict[str, Any] | None:
    """The result of an import in a process of its own; None where it was killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.transfer.killed", json.dumps(told), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return json.loads(printed) if process.returncode == 0 else None


@pytest.mark.parametrize("key", [None, "email"])
async def test_an_import_that_is_killed_ends_as_an_undisturbed_one(
    database: Database,
    rival: Session,
    server: Server,
    database_name: str,
    admin: asyncpg.Connection,
    tmp_path: Path,
    key: str | None,
) -> None:
    chance = random.Random(f"{key}/{os.environ.get('FREEHOLD_KILLS_SEED', '7')}")
    path = written(tmp_path, ROWS)
    undisturbed = database.session(await new_context(database))
    whole = await import_file(undisturbed, Customer, path, chunk=10, errors=tmp_path / "whole.csv", key=key)
    expected, kills = await state(undisturbed), 0
    address = server.address(database_name)
    where = {name: getattr(address, name) for name in ("host", "port", "user", "password", "database")}
    while kills < KILLS // 2:
        session = database.session(await new_context(database))
        told = {
            "organization": str(session.context.organization_id), "address": where, "file": str(path), "chunk": 10,
            "errors": str(tmp_path / "killed.csv"), "key": key,
        }  # fmt: skip
        result = None
        while result is None:
            result = await imported(told | {"number": chance.randint(1, MESSAGES), "point": chance.choice(POINTS)})
            kills += result is None
        assert (result["created"], result["refused"], result["rows"]) == (whole.created, whole.refused, whole.rows)
        assert await state(session) == expected
        assert (tmp_path / "killed.csv").read_text() == (tmp_path / "whole.csv").read_text()
        logged = "select count(*), count(distinct record_id) from freehold.log where organization_id = $1 and action = 'create'"
        changes = await admin.fetchrow(f"{logged} and entity = 'Customer'", session.context.organization_id)
        assert tuple(changes) == (whole.created, whole.created)
    assert await rival.count(Customer) == 0


async def test_an_import_goes_on_when_its_connections_are_cut(
    database: Database, acme: Session, server: Server, database_name: str, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    path = written(tmp_path, ["name", *(f"Customer {number}" for number in range(200))])
    cuts: list[asyncio.Task[Any]] = []
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1 and datname = current_database()"
    admin_address = server.admin_address(database_name)

    async def cut_all() -> None:
        connection = await asyncpg.connect(
            host=admin_address.host, port=admin_address.port, user=admin_address.user,
            password=admin_address.password, database=admin_address.database,
        )  # fmt: skip
        await connection.fetch(cut, application.roles.application)
        await connection.close()

    async with Database.open(server.address(database_name), application, size=2) as other:
        session = other.session(acme.context)
        result = await import_file(
            session, Customer, path, chunk=20, progress=lambda _: cuts.append(asyncio.create_task(cut_all()))
        )
        await asyncio.gather(*cuts)
    assert len(cuts) == 10
    assert result.created == 200
    (row,) = await admin.fetch(
        "select count(*) as n from app.customers where organization_id = $1", acme.context.organization_id
    )
    assert row["n"] == 200
