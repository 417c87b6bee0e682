"""Reads that lock: what is locked, until when, and what those who come second are told."""

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from freehold import Database, Include, Session, Transaction, errors
from freehold.model.context import new_id
from tests.conftest import Server
from tests.probe import blocked, plain
from tests.world import Contact, Customer, Order, application

Connection = asyncpg.Connection


@pytest.fixture
async def customers(acme: Session) -> list[Customer]:
    return [await acme.create(Customer, name=f"c{n}", visits=n) for n in range(4)]


async def locked(admin: Connection, table: str = "customers") -> set[str]:
    """The names of the young records that somebody has locked."""
    young = f"from app.{table} where created_at > now() - interval '1 minute'"
    async with admin.transaction():  # now() stands still in it
        every = {row["id"]: row["name"] for row in await admin.fetch(f"select id, name {young}")}
        free = {row["id"] for row in await admin.fetch(f"select id {young} for update skip locked")}
    return {name for id, name in every.items() if id not in free}


async def test_each_read_locks_what_it_answers_until_the_end(
    acme: Session, customers: list[Customer], admin: Connection
) -> None:
    one, two, three, four = customers
    async with acme.transaction() as t:
        assert await t.get(Customer, one.id) == one
        assert await locked(admin) == set()
        assert await t.get(Customer, one.id, for_update=True) == one
        assert await locked(admin) == {"c0"}
        assert await t.get_many(Customer, [three.id, two.id, new_id()], for_update=True) == [three, two]
        assert await locked(admin) == {"c0", "c1", "c2"}
        assert await t.find(Customer, {"name": "c3"}, for_update=True) == four
        assert await locked(admin) == {"c0", "c1", "c2", "c3"}
    assert await locked(admin) == set()
    async with acme.transaction() as t:
        page = await t.list(Customer, order_by="-name", limit=2, for_update=True)
        assert [each.name for each in page] == ["c3", "c2"]
        assert await locked(admin) == {"c3", "c2"}  # and not the one beyond the page
        with pytest.raises(RuntimeError):
            async with t.savepoint():
                await t.get(Customer, one.id, for_update=True)
                assert await locked(admin) == {"c3", "c2", "c0"}
                raise RuntimeError
        assert await locked(admin) == {"c3", "c2"}


async def test_private_fields_and_deleted_records(acme: Session, admin: Connection) -> None:
    made = await acme.create(Customer, name="a", tax_number="T")
    gone = await acme.delete(await acme.create(Customer, name="b"))
    async with acme.transaction() as t:
        assert (await t.get(Customer, made.id, private=True, for_update=True)).tax_number == "T"
        with pytest.raises(errors.NotFoundError) as caught:
            await t.get(Customer, gone.id, for_update=True)
        assert caught.value.hint is None
        assert await locked(admin) == {"a"}
        assert await t.get(Customer, gone.id, deleted=True, for_update=True) == gone
        assert await locked(admin) == {"a", "b"}


async def test_included_records_are_not_locked(acme: Session, admin: Connection) -> None:
    customer = await acme.create(Customer, name="a")
    await acme.create(Contact, customer_id=customer.id, name="x")
    async with acme.transaction() as t:
        page = await t.list(
            Customer, include={"contacts": Include(limit=1), "orders": "count"}, where={"name": "a"}, for_update=True
        )
        assert [contact.name for contact in page[0].contacts] == ["x"]
        assert (await locked(admin), await locked(admin, "contacts")) == ({"a"}, set())
    async with acme.transaction() as t:
        found = await t.find(Contact, {"customer.name": "a"}, include=["customer"], for_update=True)
        assert found is not None
        assert (await locked(admin), await locked(admin, "contacts")) == (set(), {"x"})
    async with acme.transaction() as t:
        rows = await t.list(Customer, select=["name"], for_update=True)
        assert [row.name for row in rows] == ["a"]
        assert await locked(admin) == {"a"}


async def test_pages_of_a_locked_list(acme: Session, customers: list[Customer], admin: Connection) -> None:
    from datetime import UTC, datetime

    for each in customers[:2]:
        await acme.update(each, seen_at=datetime(2026, 1, 1 + each.visits, tzinfo=UTC))
    for order in ("name", "-seen_at", "seen_at"):
        plain_pages = await pages(acme, order)
        async with acme.transaction() as t:
            assert await pages(t, order, for_update=True) == [*plain_pages]
            assert await locked(admin) == {"c0", "c1", "c2", "c3"}


async def pages(session: Any, order: str, **lock: bool) -> list[str]:
    """The names of all pages; those before the last one must be full."""
    found: list[str] = []
    after = None
    for _ in range(5):
        page = await session.list(Customer, order_by=order, limit=2, after=after, **lock)
        found += [each.name for each in page]
        after = page.next
        if after is None:
            break
    return found


async def test_nowait(acme: Session, customers: list[Customer]) -> None:
    one = customers[0]
    async with acme.transaction() as holder:
        await holder.get(Customer, one.id, for_update=True)
        async with acme.transaction() as t:
            for call in (
                lambda: t.get(Customer, one.id, for_update=True, nowait=True),
                lambda: t.get_many(Customer, [each.id for each in customers], for_update=True, nowait=True),
                lambda: t.find(Customer, {"name": "c0"}, for_update=True, nowait=True),
                lambda: t.list(Customer, for_update=True, nowait=True),
            ):
                with pytest.raises(errors.TimeoutError, match="lock was not free"):
                    async with t.savepoint():
                        await call()
            assert await t.get(Customer, customers[1].id, for_update=True, nowait=True) == customers[1]


async def test_skip_locked(acme: Session, customers: list[Customer]) -> None:
    one, *others = customers
    async with acme.transaction() as holder:
        await holder.get(Customer, one.id, for_update=True)
        async with acme.transaction() as t:
            with pytest.raises(errors.NotFoundError) as caught:
                await t.get(Customer, one.id, for_update=True, skip_locked=True)
            assert "locked" in str(caught.value.hint)
            ids = [each.id for each in customers]
            assert await t.get_many(Customer, ids, for_update=True, skip_locked=True) == others
            assert await t.find(Customer, {"name": "c0"}, for_update=True, skip_locked=True) is None
            page = await t.list(Customer, order_by="name", limit=1, for_update=True, skip_locked=True)
            assert [each.name for each in page] == ["c1"]


async def test_a_queue_gives_each_job_to_one_worker(server: Server, database_name: str, acme: Session) -> None:
    jobs = [await acme.create(Customer, name=f"{n:02}") for n in range(24)]
    taken: list[str] = []
    start = asyncio.Barrier(6)
    async with Database.open(server.address(database_name), application, size=6) as database:

        async def work() -> None:
            session = database.session(acme.context)
            await start.wait()
            while True:
                async with session.transaction() as t:
                    found = await t.list(
                        Customer, where={"status": "prospect"}, order_by="name", limit=1, for_update=True, skip_locked=True
                    )  # fmt: skip
                    if not found.records:
                        return
                    await t.update(found[0], status="active")
                taken.append(found[0].name)

        await asyncio.gather(*(work() for _ in range(6)))
    assert sorted(taken) == [job.name for job in jobs]
    assert {each.version for each in await acme.list(Customer)} == {2}


async def test_who_waits_reads_what_the_first_one_left(
    acme: Session, customers: list[Customer], admin: Connection
) -> None:
    one = customers[0]

    async def add() -> None:
        async with acme.transaction() as t:
            found = await t.get(Customer, one.id, for_update=True)
            await t.update(found, visits=found.visits + 1)

    async with plain_lock(admin, one):
        tasks = [asyncio.ensure_future(add()) for _ in range(3)]
        await blocked(admin, 3)
    await asyncio.gather(*tasks)
    last = await acme.get(Customer, one.id)
    assert (last.visits, last.version) == (3, 4)


async def test_who_waits_does_not_find_what_matches_no_more(
    acme: Session, customers: list[Customer], admin: Connection
) -> None:
    one = customers[0]
    async with acme.transaction() as first:
        await first.update(one, status="active")

        async def second() -> Any:
            async with acme.transaction() as t:
                return await t.list(Customer, where={"status": "prospect"}, order_by="name", for_update=True)

        task = asyncio.ensure_future(second())
        await blocked(admin, 1)
    assert [each.name for each in await task] == ["c1", "c2", "c3"]


def plain_lock(admin: Connection, record: Customer) -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def hold() -> Any:
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("select 1 from app.customers where id = $1 for update", record.id)
        try:
            yield
        finally:
            await transaction.rollback()

    return hold()


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_a_record_that_was_changed_since_the_snapshot(
    acme: Session, customers: list[Customer], isolation: Any
) -> None:
    one = customers[0]
    with pytest.raises(errors.SerializationError) as caught:
        async with acme.transaction(isolation=isolation) as t:
            await t.get(Customer, one.id)
            await acme.update(one, visits=9)
            await t.get(Customer, one.id, for_update=True)
    assert caught.value.sqlstate == "40001"
    assert "whole transaction" in str(caught.value.hint)


async def test_what_does_not_go_together(acme: Session) -> None:
    async def wrong(t: Transaction, **arguments: Any) -> list[str]:
        with pytest.raises(errors.ValidationError) as caught:
            await t.list(Customer, **arguments)
        return [issue.field for issue in caught.value.issues]

    async with acme.transaction() as t:
        assert await wrong(t, nowait=True) == ["nowait"]
        assert await wrong(t, skip_locked=True) == ["skip_locked"]
        assert await wrong(t, for_update=True, nowait=True, skip_locked=True) == ["skip_locked"]
        assert await wrong(t, for_update=True, with_total=True, search="a") == ["with_total", "search"]
        with pytest.raises(errors.ValidationError, match="as_json"):
            await t.get(Customer, new_id(), for_update=True, as_json=True)  # type: ignore[call-overload]
        made = await t.create(Customer, name="a")
        assert await t.get(Customer, made.id, as_json=True)
        assert (await t.list(Customer, as_json=True, with_total=True)).total == 1
        assert (await t.find(Customer, {"name": "a"})) == made


async def test_records_are_locked_in_the_order_of_their_ids(
    acme: Session, customers: list[Customer], admin: Connection
) -> None:
    """Whatever order they are asked for or stored in; so two callers with the same records do not deadlock."""
    await acme.update(customers[0], visits=9)  # moves its row behind the others
    ids = [each.id for each in customers]

    async def lock(ids: list[Any]) -> int:
        async with acme.transaction() as t:
            # So that the rows are met as they are stored.
            settings = (
                "select set_config('enable_indexscan', 'off', true), set_config('enable_bitmapscan', 'off', true)"
            )
            await t._messenger.channel.fetch(settings, [])
            return len(await t.get_many(Customer, ids, for_update=True))

    for order in (ids, ids[::-1]):
        async with acme.transaction() as holder:
            await holder.get(Customer, ids[0], for_update=True)
            task = asyncio.ensure_future(lock(order))
            await blocked(admin, 1)
            assert await locked(admin) == {"c0"}  # nothing before it
        assert await task == 4


async def test_a_lost_update_is_not_possible_under_a_lock(acme: Session, server: Server, database_name: str) -> None:
    customer = await acme.create(Customer, name="a", credit=Decimal(10))
    results: list[str] = []
    async with (
        Database.open(server.address(database_name), application, size=4) as database,
        plain(server.admin_address(database_name)),
    ):

        async def spend(n: int) -> None:
            session = database.session(acme.context)
            async with session.transaction() as t:
                found = await t.get(Customer, customer.id, for_update=True)
                if found.credit < 3:
                    results.append("refused")
                    return
                await t.update(found, credit=found.credit - 3)
                await t.create(Order, customer_id=customer.id, number=f"{n}", total=3)
            results.append("bought")

        await asyncio.gather(*(spend(n) for n in range(8)))
    assert sorted(results) == ["bought"] * 3 + ["refused"] * 5
    assert (await acme.get(Customer, customer.id)).credit == 1
    assert await acme.count(Order) == 3
