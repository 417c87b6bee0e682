"""That the tests of isolation can fail: with the policies off and the predicates out, they find the leak.

Also what each of the two layers holds alone: a policy without the predicate, and the predicate without a policy.
"""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from freehold import Database, Session, errors
from freehold.sql import aggregates, filters, reads
from tests.conftest import Server, new_context
from tests.probe import plain, scratch
from tests.store.test_isolation import READS, SQL, Own, Prey, assert_no_trace, fill
from tests.world import Customer, application

TABLES = ("customers", "contacts", "orders")


@pytest.fixture
async def name(server: Server) -> AsyncIterator[str]:
    async with scratch(server) as name:
        yield name


@pytest.fixture
async def sides(server: Server, name: str) -> AsyncIterator[tuple[Session, Prey, Own]]:
    """An attacker and its prey in a database of their own."""
    async with Database.open(server.address(name), application, size=2) as database:
        prey, attacker = database.session(await new_context(database)), database.session(await new_context(database))
        slug = (await prey.sql(None, "select slug from freehold.organizations"))[0]["slug"]
        customer, _, contact, order = await fill(attacker, "own", Decimal(5))
        yield attacker, Prey(prey, slug, *await fill(prey, "zebra", Decimal("31337.31"))), Own(customer, contact, order)


async def switch_policies_off(server: Server, name: str) -> None:
    async with plain(server.admin_address(name)) as admin:
        for table in TABLES:
            await admin.execute(
                f"set role freehold_owner; alter table app.{table} no force row level security, disable row level security"
            )


def take_predicates_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def visible(entity: Any, alias: str, *, deleted: bool = False) -> str:
        return "true" if deleted or not entity.soft_delete else f"{alias}.deleted_at is null"

    for module in (filters, reads, aggregates):
        monkeypatch.setattr(module, "visible", visible)


# Reads whose own filters or ids bring another organization's record as soon as nothing else stands in the way.
TELLING = ("get_many", "find by id", "list", "list as JSON", "list by organization", "list across", "aggregate")


async def test_with_both_layers_off_the_leak_is_found(
    server: Server, name: str, sides: tuple[Session, Prey, Own], monkeypatch: pytest.MonkeyPatch
) -> None:
    await switch_policies_off(server, name)
    take_predicates_out(monkeypatch)
    attacker, prey, own = sides
    for read in TELLING:
        answer = await READS[read](attacker, prey, own)
        with pytest.raises(AssertionError):
            assert_no_trace(answer, prey)
    assert await attacker.count(Customer, deleted=True) == 4
    assert (await attacker.get(Customer, prey.customer.id, private=True)).name == "zebra one"


async def test_the_predicate_holds_without_the_policies(
    server: Server, name: str, sides: tuple[Session, Prey, Own]
) -> None:
    await switch_policies_off(server, name)
    attacker, prey, own = sides
    for read in READS.values():
        assert_no_trace(await read(attacker, prey, own), prey)
    for change in (
        attacker.update((Customer, prey.customer.id, 1), name="x"),
        attacker.delete((Customer, prey.customer.id, 1)),
        attacker.restore((Customer, prey.deleted.id, 2)),
        attacker.purge((Customer, prey.customer.id, 1)),
    ):
        with pytest.raises(errors.NotFoundError):
            await change
    ids = [(prey.customer.id, 1), (prey.deleted.id, 2)]
    for result in (
        await attacker.update_many(Customer, [(id, {"name": "x"}) for id in ids]),
        await attacker.delete_many(Customer, ids, hard=True),
        await attacker.restore_many(Customer, ids),
    ):
        assert {type(outcome.error) for outcome in result.outcomes} == {errors.NotFoundError}
    where = {"id": {"in": [id for id, _ in ids]}}
    assert (await attacker.update_where(Customer, where, name="x")).done == 0
    assert (await attacker.delete_where(Customer, where, hard=True)).done == 0
    assert (await prey.session.get(Customer, prey.customer.id)).version == 1


async def test_the_policies_hold_without_the_predicate(
    sides: tuple[Session, Prey, Own], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_predicates_out(monkeypatch)
    attacker, prey, own = sides
    for read in READS.values():
        assert_no_trace(await read(attacker, prey, own), prey)


async def test_without_the_policies_hand_written_queries_and_plain_connections_leak(
    server: Server, name: str, sides: tuple[Session, Prey, Own]
) -> None:
    attacker, prey, _ = sides
    async with plain(server.address(name)) as raw:
        assert await raw.fetchval("select count(*) from app.customers") == 0
        await switch_policies_off(server, name)
        assert await raw.fetchval("select count(*) from app.customers where name like 'zebra%'") == 2
    for query in ("select", "join", "subquery", "lateral", "CTE", "whole row", "union", "set-returning"):
        with pytest.raises(AssertionError):
            assert_no_trace(await attacker.sql(None, SQL[query]), prey)
