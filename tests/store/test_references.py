"""Nothing that lives refers to a softly deleted record, whichever way it is written, and whoever comes first."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from freehold import BulkResult, Database, Session, errors
from tests.conftest import Server, new_context
from tests.probe import blocked, enter, hidden, plain
from tests.world import Contact, Customer, Order

Way = Callable[[Session, Customer, Order], Awaitable[Any]]
"""Writes an order that refers to a customer; the order given refers to another one."""


async def in_unit(session: Session, gone: Customer, order: Order) -> None:
    async with session.unit_of_work() as unit:
        unit.add(Customer, name="beside")
        unit.add(Order, customer_id=gone.id, number="n", total=1)


async def changed_in_unit(session: Session, gone: Customer, order: Order) -> None:
    async with session.unit_of_work() as unit:
        unit.update(order, customer_id=gone.id)
        unit.add(Customer, name="beside")


async def in_transaction(session: Session, gone: Customer, order: Order) -> None:
    async with session.transaction() as transaction:
        await transaction.create(Customer, name="beside")
        await transaction.create(Order, customer_id=gone.id, number="n", total=1)


async def raised(call: Awaitable[BulkResult]) -> None:
    """The error of the first item that failed, as an error."""
    if (error := (await call).failures[0].error) is not None:
        raise error


async def raw(session: Session, statement: str, *values: Any) -> Any:
    """A statement by the engine's own function, as hand-written SQL that writes would be."""
    text = "select * from freehold.write($1, $2, null, $3, $4::jsonb)"
    shown = ", ".join(f'"{value}"' for value in values)
    return await session._messenger.call(text, [statement, f"[{shown}]"])


INSERT = """with made as (insert into app.orders (organization_id, customer_id, number, total)
    values ($2, ($1->>0)::uuid, 'n', 1) returning 1) select to_json(count(*)) from made"""
UPDATE = """with made as (update app.orders set customer_id = ($1->>0)::uuid where organization_id = $2 and id = ($1->>1)::uuid
    returning 1) select to_json(count(*)) from made"""
DELETE = """with gone as (update app.customers set deleted_at = now() where organization_id = $2 and id = ($1->>0)::uuid
    returning 1) select to_json(count(*)) from gone"""
NEW = {"number": "n", "total": 1}
WAYS: dict[str, Way] = {
    "create": lambda s, gone, order: s.create(Order, customer_id=gone.id, **NEW),
    "create_many": lambda s, gone, order: raised(s.create_many(Order, [{"customer_id": gone.id, **NEW}])),
    "update": lambda s, gone, order: s.update(order, customer_id=gone.id),
    "update_many": lambda s, gone, order: raised(s.update_many(Order, [(order, {"customer_id": gone.id})])),
    "update_where": lambda s, gone, order: raised(s.update_where(Order, {"id": order.id}, customer_id=gone.id)),
    "upsert": lambda s, gone, order: raised(
        s.create_many(
            Order, [{"customer_id": gone.id, "number": order.number, "total": 2}], on_duplicate="update", key="number"
        )
    ),
    "unit of work": in_unit,
    "unit of work, an update": changed_in_unit,
    "transaction": in_transaction,
    "raw insert": lambda s, gone, order: raw(s, INSERT, gone.id),
    "raw update": lambda s, gone, order: raw(s, UPDATE, gone.id, order.id),
}


async def order_of(session: Session) -> tuple[Customer, Order]:
    customer = await session.create(Customer, name="kept")
    return customer, await session.create(Order, customer_id=customer.id, number=f"o{customer.id}"[:30], total=1)


async def dangling(admin: asyncpg.Connection) -> int:
    """Live records that refer to deleted ones."""
    return await admin.fetchval(
        "select (select count(*) from app.orders o join app.customers c on c.id = o.customer_id where c.deleted_at is not null)"
        " + (select count(*) from app.contacts o join app.customers c on c.id = o.customer_id"
        " where c.deleted_at is not null and o.deleted_at is null)"
        " + (select count(*) from app.orders o join app.contacts c on c.id = o.contact_id where c.deleted_at is not null)"
    )


@pytest.mark.parametrize("name", WAYS)
async def test_a_deleted_record_cannot_be_referred_to(acme: Session, admin: asyncpg.Connection, name: str) -> None:
    before = await dangling(admin)
    gone = await acme.delete(await acme.create(Customer, name="gone"))
    _, order = await order_of(acme)
    count = await acme.count(Order), await acme.count(Customer)
    with pytest.raises(errors.ReferenceError) as caught:
        await WAYS[name](acme, gone, order)
    error = caught.value
    assert (error.entity, error.field) == ("Order", "customer_id")
    assert "deleted" in error.message
    assert (await acme.count(Order), await acme.count(Customer)) == count
    assert await acme.get(Order, order.id) == order
    assert await dangling(admin) == before


async def test_a_restored_record_needs_what_it_refers_to(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    contact = await acme.delete(await acme.create(Contact, customer_id=customer.id, name="c"))
    customer = await acme.delete(customer)
    for restore in (
        lambda: acme.restore(contact),
        lambda: raised(acme.restore_many(Contact, [contact])),
        lambda: in_one(acme, contact),
    ):
        with pytest.raises(errors.ReferenceError):
            await restore()
        assert (await acme.get(Contact, contact.id, deleted=True)).deleted_at == contact.deleted_at
    await in_one(acme, contact, customer)
    assert (await acme.get(Contact, contact.id)).customer_id == customer.id
    await acme.get(Customer, customer.id)


async def in_one(session: Session, *records: Any) -> None:
    async with session.unit_of_work() as unit:
        for record in records:
            unit.restore(record)


async def test_a_unit_restores_before_it_refers(acme: Session) -> None:
    customer = await acme.delete(await acme.create(Customer, name="x"))
    _, order = await order_of(acme)
    async with acme.unit_of_work() as unit:
        unit.add(Order, customer_id=customer.id, number="new", total=1)
        unit.update(order, customer_id=customer.id)
        unit.restore(customer)
    assert await acme.count(Order, {"customer_id": customer.id}) == 2


async def test_raw_sql_cannot_delete_what_is_referred_to(acme: Session, admin: asyncpg.Connection) -> None:
    customer, order = await order_of(acme)
    with pytest.raises(errors.ReferenceError) as caught:
        await raw(acme, DELETE, customer.id)
    assert (caught.value.entity, caught.value.field) == ("Order", "customer_id")
    assert await acme.get(Customer, customer.id) == customer
    await acme.delete(order)
    await raw(acme, DELETE, customer.id)
    contact = await acme.create(Contact, customer_id=(await acme.create(Customer, name="y")).id, name="c")
    with pytest.raises(errors.ReferenceError):  # raw SQL marks one record; what cascades would be left
        await raw(acme, DELETE, contact.customer_id)


async def test_rows_of_an_earlier_release_can_be_written(acme: Session, admin: asyncpg.Connection) -> None:
    customer, order = await order_of(acme)
    await hidden(admin, customer)
    order = await acme.update(order, total=7)
    other = await acme.create(Customer, name="other")
    assert (await acme.update(order, customer_id=other.id)).customer_id == other.id


# --- Two at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
@pytest.mark.parametrize("raw_sql", [False, True])
async def test_a_reference_waits_for_the_deletion(
    database: Database,
    acme: Session,
    server: Server,
    database_name: str,
    admin: asyncpg.Connection,
    isolation: str,
    raw_sql: bool,
) -> None:
    customer = await acme.create(Customer, name="x")
    async with plain(server.address(database_name)) as deleting:
        transaction = deleting.transaction()
        await transaction.start()
        await enter(deleting, acme.context)
        if raw_sql:
            await deleting.execute("update app.customers set deleted_at = now() where id = $1", customer.id)
            # The lock comes at the end, when the deletion looks who refers to it.
            await deleting.execute("set constraints all immediate")
        else:
            await deleting.fetch(
                "select * from freehold.customers_delete($1, current_setting('freehold.context'), $2, 1)",
                acme.context.organization_id,
                customer.id,
            )

        async def refer() -> None:
            async with acme.transaction(isolation=isolation) as own:  # type: ignore[arg-type]
                await own.count(Order)  # its snapshot is from before the deletion
                await own.create(Order, customer_id=customer.id, number="race", total=1)

        referring = asyncio.create_task(refer())
        await blocked(admin, 1)
        await transaction.commit()
        with pytest.raises((errors.ReferenceError, errors.SerializationError)) as caught:
            await referring
        assert isolation != "read_committed" or isinstance(caught.value, errors.ReferenceError)
    assert await acme.count(Order, {"customer_id": customer.id}) == 0


@pytest.mark.parametrize("raw_sql", [False, True])
async def test_a_deletion_waits_for_the_reference(
    acme: Session, server: Server, database_name: str, admin: asyncpg.Connection, raw_sql: bool
) -> None:
    customer = await acme.create(Customer, name="x")
    async with plain(server.address(database_name)) as referring:
        transaction = referring.transaction()
        await transaction.start()
        await enter(referring, acme.context)
        await referring.execute(
            "insert into app.orders (organization_id, customer_id, number, total) values ($1, $2, 'race', 1)",
            acme.context.organization_id,
            customer.id,
        )
        deletion = raw(acme, DELETE, customer.id) if raw_sql else acme.delete(customer)
        deleting = asyncio.ensure_future(deletion)
        await blocked(admin, 1)
        await transaction.commit()
        with pytest.raises(errors.ReferenceError):
            await deleting
    assert await acme.get(Customer, customer.id) == customer


async def test_a_restoration_waits_for_the_deletion(
    acme: Session, server: Server, database_name: str, admin: asyncpg.Connection
) -> None:
    customer = await acme.create(Customer, name="x")
    contact = await acme.delete(await acme.create(Contact, customer_id=customer.id, name="c"))
    async with plain(server.address(database_name)) as deleting:
        transaction = deleting.transaction()
        await transaction.start()
        await enter(deleting, acme.context)
        await deleting.fetch(
            "select * from freehold.customers_delete($1, current_setting('freehold.context'), $2, 1)",
            acme.context.organization_id,
            customer.id,
        )
        restoring = asyncio.ensure_future(acme.restore(contact))
        await blocked(admin, 1)
        await transaction.commit()
        with pytest.raises(errors.ReferenceError):
            await restoring


async def test_of_many_at_once_none_is_left_dangling(
    database: Database, acme: Session, admin: asyncpg.Connection
) -> None:
    before = await dangling(admin)
    outcomes: list[str] = []

    async def attempt(name: str, work: Awaitable[Any]) -> None:
        try:
            await work
            outcomes.append(name)
        except (errors.ReferenceError, errors.SerializationError):
            outcomes.append(f"no {name}")

    session = database.session(await new_context(database))
    for number in range(60):
        customer = await session.create(Customer, name="x")
        create = session.create(Order, customer_id=customer.id, number=f"r{number}", total=1)
        delete = session.delete(customer)
        both = [attempt("create", create), attempt("delete", delete)]
        await asyncio.gather(*(both if number % 2 else reversed(both)))
    assert await dangling(admin) == before
    assert len(outcomes) == 120
    assert outcomes.count("create") + outcomes.count("delete") == 60  # exactly one of each two
