"""Functions from the command line: who calls, arguments, tables, JSON, errors, and what was done."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from freehold import Database, Session
from freehold.cli.commands import commands
from freehold.cli.loading import default_application
from freehold.errors import ConfigurationError
from freehold.model.context import new_id
from tests.cli.test_commands import run, url
from tests.conftest import Server
from tests.functions.shop import reached
from tests.world import Customer, Order, application

SHOP = "tests.functions.shop:shop"

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def environment(server: Server, database_name: str) -> dict[str, str]:
    reached.clear()
    address = url(server, database_name, application.roles.application, server.password)
    return {"FREEHOLD_URL": address, "FREEHOLD_APPLICATION": SHOP, "COLUMNS": "300"}


@pytest.fixture
async def actor(database: Database, acme: Session) -> list[str]:
    """The options that name an administrator of a new organization."""
    return await member(database, acme, "admin")


async def member(database: Database, session: Session, role: str) -> list[str]:
    system = database.system("tests")
    slug = f"call-{new_id().hex}"
    organization = await system.create_organization(name=slug, slug=slug)
    assert session.context.user_id is not None
    await system.add_member(organization.id, session.context.user_id, role=role)
    (found,) = await session.sql(None, "select email from freehold.users")
    return ["--organization", slug, "--user", found["email"]]


async def records(database: Database, actor: list[str], entity: Any = Customer) -> tuple[Any, ...]:
    context = await database.system("tests").context(organization=actor[1], user=actor[3])
    async with database.session(context) as session:
        return tuple(await session.list(entity, order_by="id"))


@pytest.fixture
def call(environment: dict[str, str]) -> Command:
    async def given(*arguments: str, INPUT: str = "", **more: str) -> tuple[int, str, str]:
        told = {"env": {**environment, **more}, "input": INPUT}
        result = await asyncio.to_thread(CliRunner().invoke, commands, ["call", *arguments], **told)  # type: ignore[arg-type]
        return result.exit_code, result.stdout, result.stderr

    return given


async def made(call: Command, actor: list[str], *names: str) -> list[dict[str, Any]]:
    found = []
    for name in names:
        code, out, err = await call("customers.create", f'values={{"name": "{name}"}}', *actor, "--json")
        assert code == 0, err
        found.append(json.loads(out))
    return found


async def test_records_are_made_and_listed(call: Command, actor: list[str], database: Database) -> None:
    await made(call, actor, "Acme", "Beta", "Gamma")
    assert [record.name for record in await records(database, actor)] == ["Acme", "Beta", "Gamma"]

    where = ["--where", "name.in=Beta,Gamma", "--where", "status=prospect"]
    code, out, _ = await call("customers.list", *actor, *where, "--order", "-name", "--select", "name,status")
    assert code == 0
    assert out.index("Gamma") < out.index("Beta")
    assert "Acme" not in out
    code, out, _ = await call("customers.list", *actor, *where, "--limit", "1", "total=true")
    assert (code, "1 of 2." in out, "There are more: after=" in out, "more fields: --json" in out) == (
        0,
        True,
        True,
        True,
    )
    cursor = out.split("after=")[1].split()[0]
    code, out, _ = await call("customers.list", *actor, *where, "--limit", "1", f"after={cursor}", "--json")
    page = json.loads(out)
    assert ([row["name"] for row in page["data"]], page["next"]) == (["Gamma"], None)
    code, out, _ = await call("customers.list", *actor, "--where", '{"or": [{"name": "Acme"}]}', "--json")
    assert [row["name"] for row in json.loads(out)["data"]] == ["Acme"]
    assert "tax_number" not in out
    assert "There are none." in (await call("customers.list", *actor, "name=Nobody"))[1]


async def test_one_organization_sees_nothing_of_another(
    call: Command, actor: list[str], database: Database, acme: Session
) -> None:
    (record,) = await made(call, actor, "Acme")
    other = await member(database, acme, "admin")
    assert "There are none." in (await call("customers.list", *other))[1]
    code, _, err = await call("customers.get", f"id={record['id']}", *other)
    assert (code, "FH200" in err, "Acme" in err) == (1, True, False)


async def test_a_record_and_what_else_there_is_are_told_to_people(call: Command, actor: list[str]) -> None:
    (record,) = await made(call, actor, "Acme")
    code, out, _ = await call("customers.get", f"id={record['id']}", *actor)
    assert (code, "name" in out, "Acme" in out, "{" in out.split("profile")[0]) == (0, True, True, False)
    assert (await call("hello", "name=Ada"))[1] == "hello, Ada\n"
    assert json.loads((await call("hello", "name=Ada", "--json"))[1]) == "hello, Ada"
    code, out, _ = await call("customers.figures", *actor, "least=1.50")
    assert (code, out.split()) == (0, ["customers", "0", "credit", "0", "best"])


@pytest.mark.parametrize("form", ["text", "file", "input"])
async def test_all_arguments_may_come_as_json(
    call: Command, actor: list[str], database: Database, tmp_path: Path, form: str
) -> None:
    text = json.dumps({"customer": "Acme", "lines": [{"number": new_id().hex[:20], "total": "5"}]})
    path = tmp_path / "arguments.json"
    path.write_text(text)
    given = {"text": text, "file": f"@{path}", "input": "-"}[form]
    code, _, err = await call("orders.place", *actor, "--arguments", given, INPUT=text)
    assert code == 0, err
    assert len(await records(database, actor, Order)) == 1


async def test_a_repeated_call_with_its_key_is_done_once(call: Command, actor: list[str], database: Database) -> None:
    (record,) = await made(call, actor, "Acme")
    told = ["customers.pay", f"id={record['id']}", "amount=5", *actor, "--idempotency-key", "k-1"]
    assert json.loads((await call(*told, "--json"))[1]) == "5.00"
    code, out, _ = await call(*told)
    assert (code, "had done it" in out) == (0, True)
    assert reached == ["pay"]
    assert (await records(database, actor))[0].credit == 5


async def test_a_stream_is_printed_line_by_line(call: Command, actor: list[str]) -> None:
    await made(call, actor, "Acme", "Beta")
    code, out, _ = await call("customers.stream", *actor)
    assert (code, [json.loads(line)["name"] for line in out.splitlines()]) == (0, ["Acme", "Beta"])


async def test_a_key_calls_in_place_of_a_user(call: Command, actor: list[str], environment: dict[str, str]) -> None:
    await made(call, actor, "Acme")
    code, out, err = await asyncio.to_thread(
        run, "key", "create", SHOP, "reading", *actor, "--scope", "customers.list", "--json", environment=environment,
    )  # fmt: skip
    assert code == 0, (out, err)
    secret = max((str(value) for value in json.loads(out).values() if str(value).startswith("fh_")), key=len)
    code, out, err = await call("customers.list", FREEHOLD_KEY=secret)
    assert (code, "Acme" in out, secret in out) == (0, True, False), err
    code, _, err = await call("customers.create", 'values={"name": "x"}', "--key", secret)
    assert (code, "FH300" in err, secret in err) == (1, True, False)
    code, _, err = await call("customers.list", "--key", secret[:-1] + ("a" if secret[-1] != "a" else "b"))
    assert (code, "FH302" in err) == (1, True)


async def test_who_lacks_the_permission_is_refused(call: Command, database: Database, acme: Session) -> None:
    guest = await member(database, acme, "guest")
    code, _, err = await call("customers.create", 'values={"name": "x"}', *guest)
    assert (code, "FH300" in err) == (1, True)
    assert await records(database, guest) == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["customers.lst"], "customers.list"),
        (["customers.list", "colour=red"], "colour"),
        (["customers.list", "--limit", "5000", "limit.gte=x"], "limit"),
        (["customers.list", "nonsense"], "must be NAME=VALUE"),
        (["customers.list", "--where", "nonsense"], "must be NAME=VALUE"),
        (["customers.list", "--arguments", "{"], "FH103"),
        (["customers.list", "--arguments", "@/nowhere"], "cannot be read"),
        (["customers.list", "--arguments", "{}", "limit=1"], "all arguments"),
        (["broken"], "FH500"),
        (["orders.place", "--arguments", '{"customer": "x", "lines": [], "fail": true}'], "raised RuntimeError"),
        (["customers.list", "--application", "nonsense"], "names no application"),
    ],
)
async def test_what_is_wrong_is_one_readable_error(
    call: Command, actor: list[str], database: Database, arguments: list[str], says: str
) -> None:
    code, out, err = await call(*arguments, *actor)
    assert (code, out, says in err, "Traceback" in err) == (1, "", True, False), err
    code, out, _ = await call(*arguments, *actor, "--json")
    assert (code, json.loads(out)["code"][:2]) == (1, "FH")
    assert await records(database, actor) == ()


async def test_somebody_must_be_named(call: Command, environment: dict[str, str]) -> None:
    code, _, err = await call("customers.list")
    assert (code, "give --organization and --user, or --key" in err) == (1, True)


def test_the_application_is_the_project_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FREEHOLD_APPLICATION", raising=False)
    inner = tmp_path / "src" / "myapp"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    file = tmp_path / "pyproject.toml"
    for text, says in [
        ("", "no application is named"),
        ("[tool.freehold]\n", "no application is named"),
        ("[tool.freehold]\napplication = 5\n", "must be a text"),
        ("[tool", "cannot be read"),
    ]:
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=says):
            default_application()
    file.write_text(f'[tool.freehold]\napplication = "{SHOP}"\n')
    monkeypatch.syspath_prepend(os.fspath(tmp_path))
    assert default_application() == SHOP
    monkeypatch.setenv("FREEHOLD_APPLICATION", "other:app")
    assert default_application() == "other:app"
