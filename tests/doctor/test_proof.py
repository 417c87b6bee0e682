"""The proof of isolation holds where isolation holds, and names the leak where one thing is weakened."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from freehold import Application, Database, Entity, Unique, field, reference
from freehold.doctor import sides
from freehold.doctor.connecting import connecting
from freehold.doctor.proof import Proof, attempt_isolation
from freehold.doctor.querying import querying
from freehold.doctor.sides import Side
from freehold.doctor.transacting import transacting
from freehold.store.messages import Messenger
from freehold.testing import prove_isolation
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


BY_INDEX = "update pg_class set relpages = 1, reltuples = 1000000000"
"""Makes the planner believe that tables are large, and read them by an index."""


async def test_it_does_not_matter_how_the_planner_reads_a_table(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = []

    async def fill(side: Side, *more: Any) -> None:
        await sides.fill(side, *more)
        filled.append(side)
        if len(filled) == 2:
            async with plain(server.admin_address(name)) as admin:
                await admin.execute(BY_INDEX)

    monkeypatch.setattr("freehold.doctor.proof.fill", fill)
    proof = await proved(server, name)
    assert proof.held, told(proof)


async def weakened(server: Server, name: str, script: str) -> Proof:
    """Weakened while it is open: opened afterwards, it would be refused."""
    async with Database.open(server.address(name), application, size=2) as database:
        async with plain(server.admin_address(name)) as admin:
            await admin.execute(script)
        return await attempt_isolation(database)


WEAKER: dict[str, tuple[str, str]] = {
    "row-level security off": ("alter table app.customers disable row level security", "Customer: select"),
    "a policy that lets all through": (
        "drop policy tenant on app.contacts; create policy tenant on app.contacts using (true)",
        "Contact: select",
    ),
    "a policy that lets conditions run on all rows": (
        "drop policy tenant on app.orders; create policy tenant on app.orders using (true)",
        "Order: time of theirs",
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
        "create or replace function freehold.outside() returns boolean language sql as 'select true'; "
        "create or replace function freehold.authorized(proof text) returns text language sql as $$ select 'x' $$",
        "find an organization",
    ),
}


@pytest.mark.parametrize("what", WEAKER)
async def test_the_proof_names_what_was_weakened(
    server: Server, name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reads of a session have the organization in their own conditions too: they hold without the policies.
    monkeypatch.setattr("freehold.doctor.proof.LISTS", (querying, connecting))
    script, expected = WEAKER[what]
    proof = await weakened(server, name, script)
    assert any(expected in leak.name for leak in proof.leaks), told(proof)


async def test_the_proof_finds_a_seal_in_the_text_of_a_statement(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As transactions once committed."""

    def note(messenger: Messenger, unit_id: UUID) -> str:
        organization, told = messenger._entered()
        entered = f"freehold.enter('{organization}', convert_from(decode('{told.encode().hex()}', 'hex'), 'UTF8'))"
        return f"select freehold.open_unit('{unit_id}', null, null, null) from {entered}; "

    monkeypatch.setattr(Messenger, "note", note)
    monkeypatch.setattr("freehold.doctor.proof.LISTS", (transacting,))
    proof = await proved(server, name)
    assert [leak.name for leak in proof.leaks] == ["read the statements of others"], told(proof)


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


async def left(server: Server, name: str) -> list[Any]:
    async with plain(server.admin_address(name)) as admin:
        return [
            *await admin.fetch("select slug from freehold.organizations"),
            *await admin.fetch("select email from freehold.users"),
            *await admin.fetch(
                "select id from app.customers union all select id from app.orders union all select id from app.contacts"
            ),
            *await admin.fetch(
                "select 1 from pg_locks l join pg_database d on d.oid = l.database "
                "where l.locktype = 'advisory' and d.datname = current_database()"
            ),
        ]


async def test_nothing_is_left(server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.doctor.proof.LISTS", ())
    assert (await proved(server, name)).held
    assert await left(server, name) == []


async def test_nothing_is_left_after_an_interruption(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(world: Any, found: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("freehold.doctor.proof.catalogue", interrupted)
    monkeypatch.setattr("freehold.doctor.proof.LISTS", ())
    with pytest.raises(KeyboardInterrupt):
        await proved(server, name)
    assert await left(server, name) == []


async def test_what_a_killed_proof_has_left_is_removed_by_the_next(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(database: Database, slug: str) -> None:
        return None

    monkeypatch.setattr("freehold.doctor.proof.LISTS", ())
    with monkeypatch.context() as killed:
        killed.setattr("freehold.doctor.proof._clean", nothing)
        await proved(server, name)
    assert await left(server, name)
    assert (await proved(server, name)).held
    assert await left(server, name) == []


async def test_two_proofs_at_once_do_not_meet(server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.doctor.proof.LISTS", ())
    proofs = await asyncio.gather(proved(server, name), proved(server, name))
    assert all(proof.held for proof in proofs)


class Ratio(Entity, checks={"odd": "size * size = 1764"}):
    size: int = field()


async def test_an_entity_that_cannot_be_filled_is_not_proved(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.doctor.proof.LISTS", ())
    declared = Application("odd", [Ratio])
    async with scratch(server, declared) as name, Database.open(server.address(name, declared), declared) as database:
        with pytest.raises(AssertionError, match=r"Ratio: fill: .*breaks the rule"):
            await prove_isolation(database)
        assert (await prove_isolation(database, values={"Ratio": {"size": 42}})).held


class Customer(Entity):
    name: str = field(max_length=20)


class Product(Entity):
    name: str = field(max_length=20)


class Wish(Entity, soft_delete=True, unique=[Unique("customer_id", "product_id")]):
    customer_id: UUID = reference(Customer)
    product_id: UUID = reference(Product)


async def test_an_entity_of_which_each_pair_occurs_once_is_filled(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.doctor.proof.LISTS", ())
    declared = Application("pairs", [Customer, Product, Wish])
    async with scratch(server, declared) as name, Database.open(server.address(name, declared), declared) as database:
        proof = await attempt_isolation(database)
    assert proof.held, told(proof)
