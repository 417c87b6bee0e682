"""Import and export as commands: output, files and exit codes."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from freehold import Database, Session
from tests.cli.test_commands import TARGET, run, url
from tests.conftest import Server
from tests.transfer.files import written
from tests.world import Customer, application


@pytest.fixture
async def where(database: Database, acme: Session, server: Server, database_name: str) -> list[str]:
    """The options that lead to the organization."""
    system = database.system("tests")
    slug = f"cli-{os.getpid()}-{acme.context.organization_id.hex[-6:]}"
    organization = await system.create_organization(name=slug, slug=slug)
    assert acme.context.user_id is not None
    await system.add_member(organization.id, acme.context.user_id)
    members = await acme.sql(None, "select email from freehold.users")
    address = url(server, database_name, application.roles.application, server.password)
    return ["--url", address, "--organization", slug, "--user", members[0]["email"]]


async def command(*arguments: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(run, *arguments)


async def test_a_file_goes_in_and_comes_out(where: list[str], tmp_path: Path) -> None:
    path = written(tmp_path, ["Name,Mail,junk", "Acme,a@acme.example,1", "Beta,,2", ",,3"])
    told = [
        TARGET,
        "Customer",
        str(path),
        *where,
        "--map",
        "Name=name",
        "--map",
        "Mail=email",
        "--map",
        "junk=",
        "--set",
        "visits=3",
    ]
    report = tmp_path / "refused.csv"
    code, out, err = await command("import", *told, "--dry-run")
    assert code == 3, err
    assert "Nothing was written" in out
    code, out, _ = await command("import", *told, "--errors", str(report))
    assert code == 3
    assert "3 rows: 2 created, 1 refused." in out
    assert "line 4 name: is required; give it" in out
    assert report.read_text().splitlines()[1].startswith("4,name,missing,")
    code, out, _ = await command("import", *told, "--json")
    result = json.loads(out)
    assert (code, result["created"], result["repeated"]) == (3, 2, 3)
    code, out, _ = await command(
        "export", TARGET, "Customer", "-", *where, "--format", "csv", "--fields", "name,visits", "--order-by", "-name",
        "--where", '{"visits": 3}',
    )  # fmt: skip
    assert (code, out.splitlines()) == (0, ["name,visits", "Beta,3", "Acme,3"])
    target = tmp_path / "customers.jsonl.gz"
    code, out, _ = await command("export", TARGET, "Customer", str(target), *where, "--json")
    assert (code, json.loads(out)["records"]) == (0, 2)
    code, out, _ = await command("import", TARGET, "Customer", str(target), *where, "--key", "email")
    assert (code, "1 unchanged, 1 refused" in out) == (3, True)  # the one without an address has no key
    assert "left out: id" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Nobody", "x.csv"], "'Nobody' is no entity"),
        (["Customer", "/nowhere.csv"], "cannot be read"),
        (["Customer", "x.txt"], "does not tell the format"),
        (["Customer", "x.csv", "--map", "nonsense"], "must be NAME=VALUE"),
        (["Customer", "x.csv", "--user", "nobody@nowhere.example"], "is no member"),
        (["Customer", "x.csv", "--timezone", "Mars"], "is no time zone"),
    ],
)
async def test_what_is_wrong_is_one_readable_error(
    where: list[str], tmp_path: Path, arguments: list[str], says: str
) -> None:
    written(tmp_path, ["name", "Acme"], "x.csv")
    entity, file, *more = arguments
    code, out, err = await command("import", TARGET, entity, str(tmp_path / file), *where, *more)
    assert code == 1
    assert says in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize("filter_", ["nonsense", "[]", '{"nothing": 1}'])
async def test_a_wrong_filter_is_one_readable_error(where: list[str], tmp_path: Path, filter_: str) -> None:
    told: Any = await command("export", TARGET, "Customer", str(tmp_path / "x.csv"), *where, "--where", filter_)
    assert told[0] == 1
    assert "FH100" in told[2]


async def test_export_as_json_to_standard_output_is_refused(where: list[str]) -> None:
    code, out, _ = await command("export", TARGET, "Customer", "-", *where, "--format", "jsonl", "--json")
    assert (code, json.loads(out)["code"]) == (1, "FH001")


async def test_another_organization_gets_nothing(where: list[str], acme: Session, tmp_path: Path) -> None:
    await command("import", TARGET, "Customer", str(written(tmp_path, ["name", "Acme"])), *where)
    assert await acme.count(Customer) == 0
