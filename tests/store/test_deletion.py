"""Soft deletion follows `on_delete` to what refers to a record, and restoration brings back what it took."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Application, Database, Entity, Session, Unique, errors, field, reference
from freehold.model.context import new_id
from tests.conftest import Server, new_context
from tests.probe import blocked, enter, scratch
from tests.world import Contact, Customer, Order


async def family(session: Session) -> tuple[Customer, Contact, Contact, Contact]:
    """A customer with a manager, who has a report, and one contact besides."""
    customer = await session.create(Customer, name="x")
    manager = await session.create(Contact, customer_id=customer.id, name="boss")
    report = await session.create(Contact, customer_id=customer.id, name="report", manager_id=manager.id)
    return customer, manager, report, await session.create(Contact, customer_id=customer.id, name="other")


async def test_what_cascades_is_deleted_along_and_comes_back(acme: Session) -> None:
    customer, *contacts = await family(acme)
    gone = await acme.delete(contacts[2])
    stranger = await acme.create(Contact, customer_id=(await acme.create(Customer, name="y")).id, name="z")
    deleted = await acme.delete(customer)
    assert (await acme.list(Contact, where={"customer_id": customer.id})).records == ()
    for contact in contacts[:2]:
        now = await acme.get(Contact, contact.id, deleted=True)
        assert (now.deleted_at, now.updated_by) == (deleted.deleted_at, acme.context.user_id)
        assert (await acme.history(contact))[0].action == "delete"
    assert await acme.get(Contact, stranger.id) == stranger

    await acme.restore(deleted)
    back = {contact.id: contact for contact in await acme.list(Contact, where={"customer_id": customer.id})}
    assert back.keys() == {contacts[0].id, contacts[1].id}
    assert back[contacts[1].id].manager_id == contacts[0].id
    # What had been deleted before stays deleted.
    assert (await acme.get(Contact, gone.id, deleted=True)).deleted_at == gone.deleted_at
    assert [change.action for change in await acme.history(contacts[0])] == ["restore", "delete", "create"]


async def test_a_restriction_refuses_it_and_nothing_is_deleted(acme: Session) -> None:
    customer, *contacts = await family(acme)
    order = await acme.create(Order, customer_id=customer.id, number="1", total=1)
    with pytest.raises(errors.ReferenceError) as caught:
        await acme.delete(customer)
    assert (caught.value.entity, caught.value.field) == ("Order", "customer_id")
    assert await acme.get(Customer, customer.id) == customer
    assert await acme.get(Contact, contacts[0].id) == contacts[0]
    await acme.delete(order)
    await acme.delete(customer)


async def test_what_forgets_it_gets_its_reference_back(acme: Session) -> None:
    customer, manager, report, _ = await family(acme)
    kept = await acme.create(Order, customer_id=customer.id, contact_id=manager.id, number="1", total=1)
    moved = await acme.create(Order, customer_id=customer.id, contact_id=manager.id, number="2", total=1)
    deleted = await acme.delete(manager)
    forgot = await acme.get(Order, kept.id)
    assert (forgot.contact_id, forgot.version) == (None, 2)
    assert (await acme.get(Contact, report.id)).manager_id is None
    with pytest.raises(errors.ConcurrencyError):  # who read it before does not know that the contact is gone
        await acme.update(kept, total=2)
    await acme.update(await acme.get(Order, moved.id), contact_id=report.id)

    await acme.restore(deleted)
    assert (await acme.get(Order, kept.id)).contact_id == manager.id
    assert (await acme.get(Order, moved.id)).contact_id == report.id  # it has another one by now
    assert (await acme.get(Contact, report.id)).manager_id == manager.id


async def test_a_stale_version_deletes_nothing_of_what_refers_to_it(acme: Session) -> None:
    customer, manager, *_ = await family(acme)
    await acme.update(customer, name="new")
    for action in (acme.delete, acme.purge):
        with pytest.raises(errors.ConcurrencyError):
            await action(customer)
    assert await acme.get(Contact, manager.id) == manager


async def test_a_purge_raises_the_version_of_what_forgets_it(acme: Session) -> None:
    customer, manager, report, _ = await family(acme)
    order = await acme.create(Order, customer_id=customer.id, contact_id=manager.id, number="1", total=1)
    stale = await acme.get(Customer, customer.id)
    await acme.update(customer, name="new")
    with pytest.raises(errors.ConcurrencyError):
        await acme.purge(stale)
    assert (await acme.get(Order, order.id)).version == 1
    await acme.purge(manager)
    assert ((await acme.get(Order, order.id)).version, (await acme.get(Contact, report.id)).version) == (2, 2)


async def test_what_is_being_added_to_a_record_is_seen_by_its_deletion(
    acme: Session, raw: asyncpg.Connection, admin: asyncpg.Connection
) -> None:
    customer = await acme.create(Customer, name="x")
    inserted = new_id()
    async with raw.transaction():
        await enter(raw, acme.context)
        await raw.execute(
            "insert into app.contacts (id, customer_id, name) values ($1, $2, 'late')", inserted, customer.id
        )
        deletion = asyncio.create_task(acme.delete(customer))
        await blocked(admin, 1)  # the deletion waits for the reference that is being made
    await deletion
    assert (await acme.get(Contact, inserted, deleted=True)).deleted_at is not None


class Folder(Entity, soft_delete=True):
    name: str = field(max_length=20)
    parent_id: UUID | None = reference("self", on_delete="cascade", default=None, reverse="folders")


class Document(Entity, soft_delete=True, unique=[Unique("folder_id", "name")]):
    name: str = field(max_length=20)
    folder_id: UUID = reference(Folder, on_delete="cascade")
    cover_id: UUID | None = reference("Picture", on_delete="restrict", default=None)


class Picture(Entity, soft_delete=True):
    folder_id: UUID = reference(Folder, on_delete="cascade")


class Remark(Entity):
    document_id: UUID = reference(Document, on_delete="cascade")
    text: str = field(max_length=20)


tree = Application("tree", [Folder, Document, Picture, Remark])


@pytest.fixture
async def session(server: Server) -> AsyncIterator[Session]:
    """A session of a new organization that keeps folders."""
    async with (
        scratch(server, tree) as name,
        Database.open(server.address(name, tree), tree, size=2) as database,
        database.session(await new_context(database)) as session,
    ):
        yield session


async def planted(session: Session) -> dict[str, Any]:
    """A folder in a folder, with a document whose cover is a picture there, and a remark on it."""
    top = await session.create(Folder, name="top")
    inner = await session.create(Folder, name="inner", parent_id=top.id)
    picture = await session.create(Picture, folder_id=inner.id)
    document = await session.create(Document, name="d", folder_id=inner.id, cover_id=picture.id)
    remark = await session.create(Remark, document_id=document.id, text="!")
    return {"top": top, "inner": inner, "picture": picture, "document": document, "remark": remark}


async def test_it_follows_through_all_levels(session: Session) -> None:
    records = await planted(session)
    deleted = await session.delete(records["top"])
    for entity in (Folder, Document, Picture):
        assert not await session.exists(entity)  # the picture, too: the document that holds it goes along
    assert await session.get(Remark, records["remark"].id)  # it cannot be deleted softly, and stays with its document
    restored = await session.restore(deleted)
    assert restored.version == 3
    assert [await session.count(entity) for entity in (Folder, Document, Picture, Remark)] == [2, 1, 1, 1]
    with pytest.raises(errors.ReferenceError, match="Document records refer to it by cover_id"):
        await session.delete((Picture, records["picture"].id, 3))
    await session.purge(restored)
    assert [await session.count(entity, deleted=True) for entity in (Folder, Document, Picture, Remark)] == [0] * 4


async def test_what_cannot_come_back_is_named_and_nothing_does(session: Session) -> None:
    records = await planted(session)
    await session.delete((Document, records["document"].id, 1))
    other = await session.create(Document, name="d", folder_id=records["inner"].id)
    gone = await session.delete(records["top"])
    await session.restore(gone)  # the first document had been deleted before
    assert (await session.list(Document)).records[0].id == other.id
    with pytest.raises(errors.UniqueError) as caught:
        await session.restore((Document, records["document"].id, 2))
    assert caught.value.fields == ("folder_id", "name")


async def test_folders_in_a_circle_end(session: Session) -> None:
    first = await session.create(Folder, name="1")
    second = await session.create(Folder, name="2", parent_id=first.id)
    first = await session.update(first, parent_id=second.id)
    deleted = await session.delete(first)
    assert not await session.exists(Folder)
    restored = await session.restore(deleted)
    assert await session.count(Folder) == 2
    await session.purge(restored)
    assert not await session.exists(Folder, deleted=True)
