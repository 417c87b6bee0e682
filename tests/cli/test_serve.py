"""`freehold serve`, as whoever starts it sees it."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.cli.test_commands import run, url
from tests.conftest import Server

TARGET = "tests.world:application"
SETTINGS = "tests.cli.test_serve:settings"


def app_url(server: Server, database: str) -> str:
    address = server.address(database)
    return url(server, database, str(address.user), str(address.password))


def test_what_cannot_be_served_is_one_readable_error(server: Server, database_name: str) -> None:
    good = app_url(server, database_name)
    admin = url(server, database_name, str(server.admin.user), str(server.admin.password))
    nobody = f"postgresql://freehold_app:x@/{database_name}?host={quote('/nowhere')}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, code, message in [
            (["no.such.module:application", "--url", good], "FH001", "no module"),
            (["tests.world:Customer", "--url", good], "FH001", "is no Application"),
            ([TARGET, "--url", good, "--port", str(port)], "FH001", f"127.0.0.1:{port} is taken"),
            ([TARGET, "--url", good, "--host", "192.0.2.1", "--port", "0"], "FH001", "no address of this machine"),
            ([TARGET, "--url", good, "--host", "no such host"], "FH001", "no address to listen on"),
            ([TARGET, "--url", nobody, "--port", "0"], "FH401", "cannot be reached"),
            ([TARGET, "--url", "nonsense", "--port", "0"], "FH001", "URL is wrong"),
            ([TARGET, "--url", admin, "--port", "0"], "FH003", "superuser"),
            ([TARGET, "--url", good, "--proxy", "*"], "FH001", "trusted_proxies"),
            ([TARGET, "--url", good, "--origin", "acme"], "FH001", "cors.origins"),
            ([TARGET, "--url", good, "--drain", "-1"], "FH001", "drain_seconds"),
            ([TARGET, "--url", good, "--settings", TARGET], "FH001", "is no Settings"),
        ]:
            exit_code, out, err = run("serve", *arguments)
            assert (exit_code, out) == (1, ""), arguments
            assert code in err, arguments
            assert message in err, (arguments, err)
            assert "Traceback" not in err
            exit_code, out, _ = run("serve", *arguments, "--json")
            assert (exit_code, json.loads(out)["code"]) == (1, code)


def test_a_wrong_command_line_is_exit_code_2(server: Server, database_name: str) -> None:
    good = app_url(server, database_name)
    for wrong in (["--port", "70000"], ["--workers", "0"], ["--nonsense"], ["--log", "xml"]):
        assert run("serve", TARGET, "--url", good, *wrong)[0] == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_application_is_served(server: Server, database_name: str, tmp_path: Path, workers: str) -> None:
    code = "from freehold.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", TARGET, "--port", "0", "--workers", workers, "--json"]
    environment = {**os.environ, "FREEHOLD_URL": app_url(server, database_name)}
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["workers"] == int(workers)
        answer = httpx.get(f"{told['address']}/readyz", headers={"x-request-id": "r-1"}, timeout=20)
        assert answer.status_code == 200
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal, which all of its processes get
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
    (line,) = [json.loads(line) for line in rest.splitlines()]
    assert line["request_id"] == "r-1"
    assert (line["function"], line["status"], line["method"]) == ("readyz", 200, "GET")
    assert "client_ip" not in line
    assert log.read_text() == ""


def test_where_a_worker_cannot_start_nothing_serves(server: Server, database_name: str) -> None:
    admin = url(server, database_name, str(server.admin.user), str(server.admin.password))
    code = "from freehold.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", TARGET, "--port", "0", "--workers", "2", "--url", admin]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert "FH003" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""
