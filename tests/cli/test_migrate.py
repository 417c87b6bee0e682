"""`freehold migrate`, as people and programs see it: output and exit codes."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shops import v1
from tests.cli.test_commands import run, url
from tests.conftest import Server
from tests.probe import plain, scratch

V1, V2 = "tests.cli.shops:v1", "tests.cli.shops:v2"


class Shell:
    """The commands on one database and folder."""

    def __init__(self, server: Server, name: str, folder: Path) -> None:
        self.server, self.name, self.folder = server, name, folder
        self.url = url(server, name, str(server.admin.user), str(server.admin.password))

    def __call__(self, command: str, target: str, *more: str) -> tuple[int, str, str]:
        where = ("--url", self.url, "--folder", str(self.folder))
        return run("migrate", command, target, *more, *where, environment={"COLUMNS": "200"})

    def json(self, command: str, target: str, *more: str) -> tuple[int, Any]:
        code, out, _ = self(command, target, *more, "--json")
        return code, json.loads(out)

    def sql(self, text: str) -> Any:
        async def fetched() -> Any:
            async with plain(self.server.admin_address(self.name)) as connection:
                return await connection.fetch(text)

        return asyncio.run(fetched())

    def script(self, text: str) -> None:
        async def executed() -> None:
            async with plain(self.server.admin_address(self.name)) as connection:
                await connection.execute(text)

        asyncio.run(executed())


@pytest.fixture
def shell(server: Server, database_name: str, tmp_path: Path) -> Iterator[Shell]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        name = runner.run(stack.enter_async_context(scratch(server, None)))
        yield Shell(server, name, tmp_path / "migrations")
        runner.run(stack.aclose())


def test_a_release_from_its_first_revision_to_the_way_back(shell: Shell) -> None:
    code, out, _ = shell("new", V1, "The first tables")
    assert code == 0
    assert "Written:" in out
    (file,) = shell.folder.glob("*_the_first_tables.py")
    code, out, _ = shell("plan", V1)
    assert code == 0
    assert "create the table customers" in out
    assert shell.sql("select to_regclass('app.customers') as there")[0]["there"] is None
    code, out, _ = shell("up", V1)
    assert code == 0
    assert "Done: 1 revision." in out
    assert shell("up", V1)[1].strip() == "There is nothing to do."
    assert shell("check", V1) == (0, "The database is as declared.\n", "")
    assert shell("new", V1, "nothing")[1].startswith("The revisions lead to the declarations already")

    shell("new", V2, "More of customers")
    code, out, _ = shell("status", V2)
    assert code == 0
    assert file.name[:9] in out
    assert "More of customers" in out
    code, out, _ = shell("check", V2)
    assert code == 1
    assert "1 revisions are not run yet" in out
    assert "column app.customers.note is declared but not in the database" in out
    code, out, _ = shell("plan", V2)
    assert "SHARE UPDATE EXCLUSIVE on customers" in out
    assert shell("up", V2)[0] == 0
    assert shell("check", V2)[0] == 0

    code, _, err = shell("down", V2)
    assert code == 1
    assert "data would go" in err
    assert "--yes" in err
    code, out, _ = shell("down", V2, "--yes")
    assert code == 0
    assert shell("check", V1)[0] == 1  # the newest revision is not run; the objects are the first release's
    assert shell.json("check", V1)[1]["differences"] == []
    assert shell("down", V2, "--to", "base", "--yes")[0] == 0
    assert shell.json("status", V2)[1]["current"] is None


def test_json_of_each_command(shell: Shell) -> None:
    code, written = shell.json("new", V1, "first")
    assert code == 0
    assert Path(written["file"]).exists()
    code, plan = shell.json("plan", V1)
    assert code == 0
    (revision,) = plan["revisions"]
    assert {"change", "sql", "lock", "rewrites", "destructive"} <= revision["groups"][0][0].keys()
    code, done = shell.json("up", V1)
    assert (code, done["changed"], done["revisions"], done["differences"]) == (0, True, [revision["revision"]], [])
    assert shell.json("up", V1) == (0, {"changed": False})
    code, status = shell.json("status", V1)
    assert (code, status["current"], status["pending"]) == (0, revision["revision"], [])
    shell.script("create policy open on app.orders using (true)")
    code, checked = shell.json("check", V1)
    assert code == 1
    (difference,) = checked["differences"]
    assert (difference["kind"], difference["object"], difference["what"]) == ("policy", "app.orders.open", "unexpected")
    assert difference["hint"] == "freehold migrate up"


def test_the_printed_sql_does_the_same(shell: Shell) -> None:
    shell("new", V1, "first")
    shell("up", V1)
    shell("new", V2, "second")
    code, script, _ = shell("up", V2, "--sql")
    assert code == 0
    assert shell.json("status", V2)[1]["pending"]
    for part in _parts(script):
        shell.script(part)
    assert shell.json("status", V2)[1]["pending"] == []
    code, checked = shell.json("check", V2)
    assert (code, checked["differences"]) == (0, [])


def _parts(script: str) -> Iterator[str]:
    """As psql sends it: the session's settings with each statement that is no part of a transaction."""
    head = "".join(line + "\n" for line in script.splitlines()[:2])
    for part in script.split("\n\n")[1:]:
        text = "\n".join(line for line in part.splitlines() if not line.startswith("--"))
        statements = [text] if "begin;" in text else [s for s in text.split(";\n") if s.strip(" ;\n")]
        for statement in statements:
            yield (
                head.replace("\n", "") + statement
                if "begin;" in statement
                else statement
                if "set" in statement[:4]
                else _qualified(statement)
            )


def _qualified(statement: str) -> str:
    """A statement that must stand alone, which so cannot come after a setting of the search path."""
    return statement.replace(" ON ", " ON app.").replace("if exists ", "if exists app.")


def test_what_is_done_by_hand_is_mended(shell: Shell) -> None:
    shell("new", V1, "first")
    shell("up", V1)
    shell.script("alter table app.customers disable row level security; grant select on app.orders to public")
    code, out, _ = shell("check", V1)
    assert code == 1
    assert "row-level security of app.customers" in out
    assert "table app.orders to public" in out
    assert shell("up", V1)[0] == 0
    assert shell("check", V1)[0] == 0


def test_the_folder_of_the_application_is_used(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v1, "migrations", shell.folder)
    assert run("migrate", "new", V1, "first", "--url", shell.url)[0] == 0
    assert len(list(shell.folder.glob("*.py"))) == 1


@pytest.mark.parametrize("command", ["up", "down", "status", "check", "plan", "new"])
def test_an_unreachable_database_is_one_readable_error(shell: Shell, command: str) -> None:
    more = ["title"] if command == "new" else []
    code, out, err = run(
        "migrate", command, V1, *more, "--url", "postgresql://u:p@127.0.0.1:1/x", "--folder", str(shell.folder)
    )
    assert code == 1
    assert "FH401" in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("new", V1, "x", "--rename", "nonsense"), "--rename nonsense"),
        (("new", V1, "x", "--rename", "a=b"), "a does not go"),
        (("up", V1, "--to", "nothing"), "knows no revision nothing"),
        (("down", V1), "no revision was run"),
        (("up", V1), "ahead of the revisions"),
    ],
    ids=str,
)
def test_bad_input_is_one_readable_error(shell: Shell, arguments: tuple[str, ...], message: str) -> None:
    command, target, *more = arguments
    code, out, err = shell(command, target, *more)
    assert code == 1
    assert message in err
    assert "Traceback" not in out + err
