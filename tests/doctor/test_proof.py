"""The proof of isolation holds where isolation holds, and names the leak where one thing is weakened."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from freehold import Database
from freehold.doctor.proof import Proof, attempt_isolation
from tests.conftest import Server
from tests.probe import plain, scratch
from tests.world import application


@pytest.fixture
async def name(server: Server) -> AsyncIterator[str]:
    async with scratch(server) as name:
        yield name


async def proved(server: Server, name: str) -> Proof:
    async with Database.open(server.address(name), application, size=2) as database:
        return await attempt_isolation(database)


def told(proof: Proof) -> str:
    return "\n".join(
        f"{each.result} {each.name}: {each.happened} {each.evidence}" for each in (*proof.leaks, *proof.unproved)
    )


async def test_isolation_holds(server: Server, name: str) -> None:
    proof = await proved(server, name)
    assert proof.held, told(proof)
    assert len(proof.outcomes) > 300


async def weakened(server: Server, name: str, script: str) -> Proof:
    async with plain(server.admin_address(name)) as admin:
        await admin.execute(script)
    return await proved(server, name)


WEAKER: dict[str, tuple[str, str]] = {
    "row-level security off": ("alter table app.customers disable row level security", "Customer: select"),
    "a policy that lets all through": (
        "drop policy tenant on app.contacts; create policy tenant on app.contacts using (true)",
        "Contact: select",
    ),
    "a second policy": ("create policy more on app.orders for select using (true)", "Order: select"),
    "a function of a superuser's": (
        "create function app.report() returns setof app.customers language sql security definer as 'select * from app.customers'",
        "call app.report()",
    ),
    "a function without a predicate": (
        "create function app.found(uuid) returns text language sql security definer as "
        "'select c::text from app.customers c where c.id = $1 limit 1'",
        "call app.found(uuid)",
    ),
    "a view of a superuser's": (
        "create view app.overview as select * from app.customers; grant select on app.overview to freehold_app",
        "read app.overview",
    ),
    "a grant on a partition": ("grant select on all tables in schema freehold to freehold_app", "read freehold.log_"),
    "a unique key of all organizations": (
        "create unique index on app.orders (number)",
        "Order: create with their values",
    ),
    "no seal": (
        "create or replace function freehold.organization_id() returns uuid language sql stable as "
        "$$ select nullif(current_setting('freehold.organization_id', true), '')::uuid $$",
        "name the other organization, without a seal",
    ),
    "a gate that lets all through": (
        "drop policy tenant on freehold.users; create policy tenant on freehold.users for select to freehold_app using (true)",
        "users",
    ),
    "system work within a context": (
        "create or replace function freehold.outside() returns boolean language sql as 'select true'",
        "find an organization",
    ),
}


@pytest.mark.parametrize("what", WEAKER)
async def test_the_proof_names_what_was_weakened(server: Server, name: str, what: str) -> None:
    script, expected = WEAKER[what]
    proof = await weakened(server, name, script)
    assert any(expected in leak.name for leak in proof.leaks), told(proof)


async def test_without_a_policy_nothing_is_proved(server: Server, name: str) -> None:
    proof = await weakened(server, name, "drop policy tenant on app.customers")
    assert not proof.held
    assert any(each.name == "Customer: fill" for each in proof.unproved)


async def test_it_holds_for_the_reference_application(server: Server) -> None:
    from examples.renoz.entities import application as renoz

    async with (
        scratch(server, renoz) as name,
        Database.open(server.address(name, renoz), renoz, size=2) as database,
    ):
        proof = await attempt_isolation(database)
    assert proof.held, told(proof)
