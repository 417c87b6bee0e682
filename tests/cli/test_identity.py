"""The commands about organizations, users, members, invitations and keys: output, exit codes, and what they leave."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from freehold import Database
from freehold.cli.output import console
from freehold.identity.authentication import Authenticator
from freehold.model.context import new_id
from tests.cli.test_commands import TARGET, run, url
from tests.conftest import Server
from tests.world import application

Told = tuple[int, Any]
Command = Callable[..., Awaitable[Told]]


@pytest.fixture
def command(server: Server, database_name: str) -> Command:
    """Runs a command with --json: its exit code, and what it printed."""
    environment = {"FREEHOLD_URL": url(server, database_name, application.roles.application, server.password)}

    async def given(group: str, name: str, *arguments: str) -> Told:
        code, out, err = await asyncio.to_thread(
            run, group, name, TARGET, *arguments, "--json", environment=environment
        )
        assert not err
        return code, json.loads(out)

    return given


@pytest.fixture
def people(
    server: Server, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Awaitable[tuple[int, str, str]]]:
    """Runs a command as people do, in a wide window: what the console takes from COLUMNS it keeps from its import on."""
    monkeypatch.setattr(console, "_width", 300)
    environment = {"FREEHOLD_URL": url(server, database_name, application.roles.application, server.password)}

    async def given(group: str, name: str, *arguments: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(run, group, name, TARGET, *arguments, environment=environment)

    return given


@pytest.fixture
def slug() -> str:
    return f"c{new_id().hex}"


async def test_from_an_organization_to_a_key_that_works(command: Command, database: Database, slug: str) -> None:
    where, email = ["--organization", slug], f"ada@{slug}.test"
    code, organization = await command("organization", "create", slug, "--name", "Acme")
    assert (code, organization["name"], organization["slug"]) == (0, "Acme", slug)
    code, user = await command("user", "create", email, "--name", "Ada")
    assert (code, user["email"]) == (0, email)
    code, member = await command("member", "add", email, *where, "--role", "admin")
    assert (code, member["role"], member["user_id"]) == (0, "admin", user["id"])
    code, listed = await command("member", "list", *where)
    assert [(one["email"], one["role"]) for one in listed["members"]] == [(email, "admin")]
    code, key = await command(
        "key", "create", "script", *where, "--user", email, "--scope", "customers.list", "--days", "30"
    )
    assert code == 0
    assert (key["scopes"], key["user_id"]) == (["customers.list"], user["id"])
    authenticator = Authenticator(database.system("tests"))
    principal = await authenticator.authenticate(f"Bearer {key['secret']}")
    assert str(principal.organization_id) == organization["id"]
    await authenticator.close()
    code, listed = await command("key", "list", *where)
    assert [one["id"] for one in listed["keys"]] == [key["id"]]
    assert "secret" not in listed["keys"][0]
    assert "hash" not in listed["keys"][0]
    assert (await command("key", "revoke", key["prefix"], *where)) == (0, {"revoked": True, "id": key["id"]})
    code, listed = await command("key", "list", *where)
    assert listed["keys"][0]["revoked_at"] is not None
    assert (await command("user", "revoke-tokens", email)) == (0, {"revoked": True})
    assert (await command("member", "remove", email, *where)) == (0, {"removed": True})
    assert (await command("organization", "rename", slug, "--slug", f"{slug}-2"))[1]["slug"] == f"{slug}-2"
    assert (await command("organization", "remove", f"{slug}-2")) == (0, {"removed": True})
    assert (await command("user", "remove", email)) == (0, {"removed": True})


async def test_an_invitation_from_making_to_accepting(command: Command, slug: str) -> None:
    where = ["--organization", slug]
    await command("organization", "create", slug)
    code, made = await command("invitation", "create", f"b@{slug}.test", *where, "--role", "guest", "--days", "3")
    assert code == 0
    code, listed = await command("invitation", "list", *where)
    assert [one["email"] for one in listed["invitations"]] == [f"b@{slug}.test"]
    assert "token" not in listed["invitations"][0]
    code, member = await command("invitation", "accept", made["token"], "--name", "Bob")
    assert (code, member["role"]) == (0, "guest")
    code, error = await command("invitation", "accept", made["token"])
    assert (code, error["code"]) == (1, "FH300")
    code, made = await command("invitation", "create", f"c@{slug}.test", *where)
    assert (await command("invitation", "revoke", f"C@{slug}.test", *where))[0] == 0
    assert (await command("invitation", "accept", made["token"]))[1]["code"] == "FH300"


async def test_what_is_not_there_is_one_readable_error(command: Command, people: Any, slug: str) -> None:
    await command("organization", "create", slug)
    where = ["--organization", slug]
    for arguments in (
        ("organization", "remove", f"no-{slug}"),
        ("organization", "rename", f"no-{slug}", "--name", "x"),
        ("user", "remove", f"no@{slug}.test"),
        ("user", "revoke-tokens", f"no@{slug}.test"),
        ("member", "list", "--organization", f"no-{slug}"),
        ("member", "add", f"no@{slug}.test", *where),
        ("member", "remove", f"no@{slug}.test", *where),
        ("key", "revoke", "fh_nothing0", *where),
        ("key", "create", "x", *where, "--user", f"no@{slug}.test"),
        ("invitation", "revoke", f"no@{slug}.test", *where),
    ):
        code, error = await command(*arguments)
        assert (code, error["code"]) == (1, "FH200"), arguments
    code, error = await command("key", "create", "x", *where)
    assert (code, error["code"]) == (1, "FH100")
    code, error = await command("organization", "create", slug)
    assert (code, error["code"]) == (1, "FH202")
    code, out, err = await people("organization", "remove", f"no-{slug}")
    assert (code, out) == (1, "")
    assert "FH200" in err
    assert "organization list" in err


async def test_tables_are_for_people(people: Any, slug: str) -> None:
    where = ["--organization", slug]
    assert (await people("organization", "create", slug, "--name", "[bold]A[/]"))[0] == 0
    assert (await people("user", "create", f"ada@{slug}.test"))[0] == 0
    assert (await people("member", "add", f"ada@{slug}.test", *where))[0] == 0
    code, out, _ = await people("key", "list", *where)
    assert (code, out.strip()) == (0, "There are none.")
    code, out, _ = await people("key", "create", "sync", *where, "--role", "guest")
    secret = out.splitlines()[-1]
    assert secret.startswith("fh_")
    code, out, _ = await people("key", "list", *where)
    assert secret[:11] in out
    assert secret[12:] not in out
    code, out, _ = await people("member", "list", *where)
    assert f"ada@{slug}.test" in out
    code, out, _ = await people("organization", "list", "--limit", "1")
    assert "There are more: --after " in out
    code, out, _ = await people("user", "list", "--limit", "1")
    assert code == 0
    code, out, _ = await people("invitation", "create", f"b@{slug}.test", *where)
    assert out.splitlines()[-1].startswith("fhinv_")
    code, out, _ = await people("organization", "list", "--limit", "1000")
    assert "[bold]A[/]" in out or "There are more" in out


async def test_lists_go_on_where_the_one_before_ended(command: Command, slug: str) -> None:
    for n in range(3):
        await command("organization", "create", f"{slug}-{n}")
    found, after = [], []
    while True:
        _, page = await command("organization", "list", "--limit", "500", *after)
        found += [one["slug"] for one in page["organizations"]]
        if page["next"] is None:
            break
        after = ["--after", page["next"]]
    assert [one for one in found if one.startswith(slug)] == [f"{slug}-{n}" for n in range(3)]
    assert len(found) == len(set(found))
