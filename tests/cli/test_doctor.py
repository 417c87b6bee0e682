"""The doctor's command: what it prints, and its exit code."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from freehold import Address
from tests.conftest import Server
from tests.probe import plain, scratch

ROOT = Path(__file__).parents[2]


def url(address: Address) -> str:
    login = f"{quote(str(address.user))}:{quote(address.password)}" if address.password else str(address.user)
    return f"postgresql://{login}@/{address.database}?host={quote(str(address.host), safe='')}&port={address.port}"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from freehold.cli import main; main()", "doctor", "tests.world:application"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FREEHOLD_")}
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


@pytest.fixture
async def name(server: Server) -> AsyncIterator[str]:
    async with scratch(server) as name:
        yield name


async def test_findings_and_exit_codes(server: Server, name: str) -> None:
    async with plain(server.admin_address(name)) as admin:
        await admin.execute("alter table app.orders disable row level security")
    where = url(server.admin_address(name))
    printed = run("--admin-url", where)
    assert printed.returncode == 1, printed.stderr
    assert "FD301 error app.orders" in printed.stdout
    assert "mend: alter table app.orders enable row level security" in printed.stdout
    told = json.loads(run("--admin-url", where, "--json").stdout)
    assert "FD301" in {finding["code"] for finding in told["findings"]}
    log = json.loads(run("--admin-url", where, "--sarif").stdout)
    assert "FD301" in {result["ruleId"] for result in log["runs"][0]["results"]}


def test_without_a_database_it_says_what_to_give() -> None:
    for arguments, wanted in (((), "--admin-url"), (("--prove-isolation",), "--url")):
        answer = run(*arguments)
        assert answer.returncode == 1
        assert wanted in answer.stderr


async def test_the_proof_fails_on_a_leak(server: Server, name: str) -> None:
    async with plain(server.admin_address(name)) as admin:
        await admin.execute("create policy more on app.orders for select using (true)")
    answer = run("--url", url(server.address(name)), "--prove-isolation")
    assert answer.returncode == 1, answer.stderr
    assert "policy more on app.orders" in answer.stderr


async def test_the_proof_fails_on_a_leak_of_the_application_s_own(server: Server, name: str) -> None:
    """Opening knows what set-up has made, and not what a view shows."""
    async with plain(server.admin_address(name)) as admin:
        await admin.execute(
            "create view public.everyone as select * from freehold.users; alter view public.everyone owner to freehold_owner; "
            "grant select on public.everyone to freehold_app"
        )
    answer = run("--url", url(server.address(name)), "--prove-isolation")
    assert answer.returncode == 1, answer.stderr
    assert "read public.everyone" in answer.stdout
    assert "leaked" in answer.stdout
