"""The command line, as programs see it: output and exit codes."""

import json
import os
import signal
import subprocess
import sys
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from freehold.cli.commands import commands
from tests.conftest import Server

TARGET = "tests.world:application"


def run(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(commands, list(arguments), env=environment)
    return result.exit_code, result.stdout, result.stderr


def url(server: Server, database: str, user: str, password: str) -> str:
    return f"postgresql://{quote(user)}:{quote(password, safe='')}@/{database}?host={server.admin.host}&port={server.admin.port}"


def test_every_command_and_option_is_documented() -> None:
    code, text, _ = run("--help")
    assert code == 0
    for name in ("version", "schema", "manifest", "setup", "check", "server", "log"):
        assert name in text
        assert run(name, "--help")[0] == 0


def test_schema_prints_sql_and_json() -> None:
    code, text, _ = run("schema", TARGET)
    assert code == 0
    assert text.startswith("begin;")
    assert "force row level security" in text
    code, text, _ = run("schema", TARGET, "--json")
    assert code == 0
    assert any('CREATE TABLE "app"."customers"' in statement for statement in json.loads(text))


def test_manifest_is_json() -> None:
    code, text, _ = run("manifest", TARGET)
    assert code == 0
    assert {entity["name"] for entity in json.loads(text)["entities"]} == {"Customer", "Contact", "Order"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nonsense", "names no application"),
        ("no.such.module:application", "no module"),
        ("tests.world:Customer", "is no Application"),
    ],
)
def test_a_wrong_target_is_one_readable_error(target: str, message: str) -> None:
    code, out, err = run("schema", target)
    assert code == 1
    assert not out
    assert message in err
    assert "FH001" in err
    code, out, _ = run("schema", target, "--json")
    assert code == 1
    assert json.loads(out)["code"] == "FH001"


def test_an_unknown_option_is_exit_code_2() -> None:
    assert run("schema", TARGET, "--nonsense")[0] == 2


async def test_setup_and_check(server: Server) -> None:
    from freehold.postgres.connections import connect

    name = f"cli_{os.getpid()}"
    async with connect(server.admin) as connection:
        await connection.execute(f"create database {name}")
    admin = url(server, name, str(server.admin.user), str(server.admin.password))
    served = url(server, name, "freehold_app", server.password)
    password = {"FREEHOLD_APPLICATION_PASSWORD": server.password}

    def cli(*arguments: str) -> tuple[int, dict[str, object]]:
        result = subprocess.run(
            [sys.executable, "-c", "from freehold.cli import main; main()", *arguments, "--json"],
            capture_output=True, text=True, timeout=60, env={**os.environ, **password}, check=False,
        )  # fmt: skip
        return result.returncode, json.loads(result.stdout)

    code, answer = cli("check", TARGET, "--url", served)
    assert (code, answer["code"]) == (1, "FH001")
    assert cli("setup", TARGET, "--url", admin) == (0, {"changed": True, "role": "freehold_app"})
    assert cli("setup", TARGET, "--url", admin) == (0, {"changed": False, "role": "freehold_app"})
    assert cli("check", TARGET, "--url", served) == (0, {"ok": True})
    code, answer = cli("check", TARGET, "--url", admin)
    assert (code, answer["code"]) == (1, "FH003")
    async with connect(server.admin) as connection:
        await connection.execute(f"drop database {name} with (force)")


def test_server_runs_until_interrupted(tmp_path_factory: pytest.TempPathFactory) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", "from freehold.cli import main; main()", "server", f"{folder}/pg", "--json"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("}"):
                break
        assert json.loads("".join(lines))["user"] == "postgres"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()
