"""`freehold dev`, as whoever develops with it sees it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from freehold import Application, field
from freehold.engine.migrations.authoring import author
from freehold.engine.migrations.folder import Folder
from freehold.errors import ConfigurationError, FreeholdError
from freehold.identity.development import DevelopmentKeys
from freehold.postgres.connections import Address, connect
from freehold.postgres.server import EmbeddedServer
from freehold.server.development import prepared
from freehold.server.reload import Watch
from tests.engine.migrating import entity
from tests.server.running import until

SHOP = """
from freehold import Application, Entity, Session, field

class Customer(Entity, expose="all"):
    name: str = field(max_length=100)

application = Application("shop", [Customer], roles={"boss": ["*"]})

@application.query
async def hello(session: Session) -> str:
    return "first"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o711)  # the embedded server's account passes through
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@asynccontextmanager
async def developing(
    project: Path,
) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, Any], asyncio.subprocess.Process]]:
    """The command, a client with its first key, and what it said."""
    command = "from freehold.cli import main; main()"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with (project / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", command, "dev", "shop:application", "--port", "0", "--json"),
            cwd=project,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(90):
            said = json.loads((await process.stdout.readuntil(b"\n}\n")).decode())
        headers = {"authorization": f"Bearer {said['keys'][0]['key']}"}
        async with httpx.AsyncClient(base_url=said["address"], headers=headers, timeout=30) as client:
            yield client, said, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C, which all processes of a terminal get
        try:
            async with asyncio.timeout(60):
                await process.communicate()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


async def test_code_that_changes_is_served(project: Path) -> None:
    async with developing(project) as (client, said, process):
        assert {name: said["keys"][0][name] for name in ("organization", "user", "role")} == {
            "organization": "acme",
            "user": "ada@acme.example",
            "role": "boss",
        }
        assert (await client.get("/api/functions/hello")).json() == "first"
        assert (await client.get("/readyz")).headers["server-timing"]
        assert (await client.get("/api/customers", headers={"authorization": "Bearer fhdev_x"})).status_code == 401
        assert (await client.post("/api/customers", json={"name": "Borealis"})).status_code == 201

        async def says(expected: object) -> bool:
            with suppress(httpx.RemoteProtocolError):  # its process ended in between
                return bool((await client.get("/api/functions/hello")).json() == expected)
            return False

        (project / "shop.py").write_text(SHOP + "broken(")
        await until(lambda: "was never closed" in (project / "log").read_text())
        (project / "shop.py").write_text(SHOP.replace('"first"', '"second"'))
        await until(lambda: says("second"))
        assert len((await client.get("/api/customers")).json()["data"]) == 1  # with the same key
    assert process.returncode == 0


async def test_what_does_not_start_at_first_ends_it(project: Path) -> None:
    (project / "shop.py").write_text(SHOP.replace("Application(", "str("))
    code = "from freehold.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", code, "dev", "shop:application", "--port", "0"),
        cwd=project,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors
    assert not (project / ".freehold").exists()


async def test_revisions_are_run_and_keys_stay(project: Path) -> None:
    folder, revisions, said = project / "server", project / "migrations", list[str]()
    first = Application("shop", [entity("Item", {"name": (str, field(max_length=50))})], migrations=revisions)
    fields = {"name": (str, field(max_length=50)), "size": (int | None, field(default=None))}
    second = Application("shop", [entity("Item", fields)], migrations=revisions)

    async def write(application: Application, title: str) -> None:
        async with (
            await EmbeddedServer.start(folder) as server,
            connect(Address(**server.connection().as_arguments())) as admin,
        ):  # type: ignore[arg-type]
            await author(admin, application.plan(), Folder(revisions), title)

    async with prepared(folder, Application("none", [first.registry.entities["Item"].cls]), report=said.append) as made:
        keys = [known.key for known in made.known]
    await write(first, "items")
    async with prepared(folder, first, report=said.append):
        pass
    await write(second, "sizes")
    async with prepared(folder, second, report=said.append) as made:
        assert [known.key for known in made.known] == keys
        assert made.keys.find(keys[0]) is not None
        columns = await made.database.store.pool.fetch(
            "select attname::text from pg_attribute where attrelid = 'app.items'::regclass and attname = 'size'", []
        )
        assert len(columns) == 1
    assert any("size" in text for text in said)
    without = Application("shop", [entity("Item", {**fields, "color": (str | None, field(default=None))})])
    with pytest.raises(FreeholdError, match="color"):
        async with prepared(folder, without, report=said.append):
            pass


def test_only_python_files_of_the_project_are_watched(tmp_path: Path) -> None:
    for name in (".venv", "env", "node_modules", "shop", "__pycache__", ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("1")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    watch = Watch([tmp_path])
    assert watch.changed() == []
    for name in (".venv", "env", "node_modules", "shop", "__pycache__", ".git"):
        (tmp_path / name / "a.py").write_text("12")
        (tmp_path / name / "b.txt").write_text("12")
    assert watch.changed() == [tmp_path / "shop" / "a.py"]
    assert watch.changed() == []
    (tmp_path / "new.py").write_text("1")
    (tmp_path / "shop" / "a.py").unlink()
    assert watch.changed() == [tmp_path / "new.py", tmp_path / "shop" / "a.py"]


def test_a_key_that_is_given_looks_like_one() -> None:
    keys = DevelopmentKeys()
    secret = "fhdev_" + "a" * 32
    assert keys.add("acme", "ada@acme.example", secret=secret) == secret
    assert keys.find(secret) is not None
    for wrong in ("fhdev_short", "fh_" + "a" * 40, ""):
        with pytest.raises(ConfigurationError):
            keys.add("acme", "ada@acme.example", secret=wrong)
