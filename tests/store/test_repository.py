"""Repositories: the entity comes from the brackets, and the queries are the session's own."""

from typing import Any, TypeVar

import pytest

from freehold import Entity, Page, Repository, Session, errors
from freehold.testing import Factory
from tests.world import Contact, Customer, Order

EntityT = TypeVar("EntityT", bound=Entity)


class Customers(Repository[Customer]):
    async def named(self, name: str) -> Customer | None:
        return await self.find({"name": name}, include={"contacts": True})

    async def of_status(self, status: str) -> Page[Customer]:
        return await self.list(where={"status": status}, order_by="name", with_total=True)


class ActiveCustomers(Customers):
    pass


class Named(Repository[EntityT]):
    async def names(self) -> list[Any]:
        return [record.name for record in await self.list(order_by="name")]


class Contacts(Named[Contact]):
    pass


class Counted(Repository[Customer, Session]):
    async def counted(self) -> int:
        return len(await self.session.sql(None, "select id from customers"))


class Plain(Repository):
    entity = Order


def test_the_entity_is_that_of_the_brackets() -> None:
    assert (Customers.entity, ActiveCustomers.entity, Contacts.entity, Counted.entity, Plain.entity) == (
        Customer,
        Customer,
        Contact,
        Customer,
        Order,
    )


async def test_the_queries_are_the_session_s(acme: Session) -> None:
    customers, contacts = Customers(acme), Contacts(acme)
    ada = await acme.create(Customer, name="Ada", status="active", tax_number="1")
    bob = await acme.create(Customer, name="Bob")
    await acme.create(Contact, customer_id=ada.id, name="Zoë")
    await acme.create(Contact, customer_id=ada.id, name="Ann")
    assert customers.session is acme
    assert await customers.get(ada.id) == ada
    assert (await customers.get(str(ada.id), private=True)).tax_number == "1"
    found = await customers.named("Ada")
    assert found is not None
    assert {contact.name for contact in found.contacts} == {"Ann", "Zoë"}
    assert await customers.named("Eve") is None
    page = await customers.of_status("active")
    assert (page.records, page.total) == ((ada,), 1)
    assert await contacts.names() == ["Ann", "Zoë"]
    assert (
        await customers.count(),
        await customers.count({"status": "active"}),
        await customers.count(search="bo"),
    ) == (2, 1, 1)
    assert [await customers.exists(), await customers.exists({"name": "Eve"})] == [True, False]
    await acme.delete(bob)
    with pytest.raises(errors.NotFoundError):
        await customers.get(bob.id)
    assert (await customers.get(bob.id, deleted=True)).name == "Bob"
    assert (await customers.count(), await customers.count(deleted=True)) == (1, 2)
    assert await customers.exists({"name": "Bob"}) is False
    assert await customers.exists({"name": "Bob"}, deleted=True) is True
    assert len(await customers.list()) == 1
    assert len(await customers.list(deleted=True)) == 2


async def test_pages_go_on_and_back(acme: Session) -> None:
    await Factory(acme).create_many(Customer, 5)
    customers = Customers(acme)
    first = await customers.list(order_by="name", limit=2)
    second = await customers.list(order_by="name", limit=2, after=first.next)
    again = await customers.list(order_by="name", limit=2, before=second.previous)
    assert again.records == first.records
    assert [customer.id for customer in second if customer in first.records] == []
    searched = await customers.list(search="name", private=True, include=["contacts"])
    assert [customer.contacts for customer in searched] == [()] * 5


async def test_another_organization_s_records_are_not_there(acme: Session, rival: Session) -> None:
    customer = await acme.create(Customer, name="Ada", status="active")
    theirs = Customers(rival)
    with pytest.raises(errors.NotFoundError):
        await theirs.get(customer.id)
    assert await theirs.named("Ada") is None
    assert len(await theirs.of_status("active")) == 0
    assert (await theirs.count(), await theirs.exists(), await Counted(rival).counted()) == (0, False, 0)


async def test_the_past_can_be_asked_the_same(acme: Session) -> None:
    customer = await acme.create(Customer, name="Ada", status="active")
    await acme.update(customer, name="Eve")
    async with acme.as_of(customer.created_at) as past:
        customers = Customers(past)
        assert await customers.named("Eve") is None
        assert [found.name for found in await customers.of_status("active")] == ["Ada"]
        with pytest.raises(errors.ValidationError, match="must be made with a Session, not PastSession"):
            Counted(past)  # type: ignore[arg-type]


def test_what_is_no_repository_is_told() -> None:
    with pytest.raises(
        errors.DeclarationError, match=r"Wrong: int is no entity; write class Wrong\(Repository\[Customer\]\)"
    ):

        class Wrong(Repository[int]):  # type: ignore[type-var]
            pass

    with pytest.raises(errors.DeclarationError, match="Unsaid has no entity"):
        type("Unsaid", (Repository,), {})(None)
    with pytest.raises(errors.DeclarationError, match="Repository has no entity; write a class"):
        Repository[Customer](None)  # type: ignore[arg-type]
    with pytest.raises(errors.ValidationError, match="must be made with a session, not Customer"):
        Customers(Customer.model_construct())  # type: ignore[arg-type]


async def test_a_transaction_and_a_unit_of_work_can_be_asked_the_same(acme: Session, rival: Session) -> None:
    async with acme.transaction() as transaction:
        made = await transaction.create(Customer, name="Ada")
        assert await Customers(transaction).get(made.id) == made
        assert await Counted(transaction).counted() == 1
        assert await Customers(acme).count() == 0  # not committed yet
    unit = acme.unit_of_work()
    unit.add(Customer, name="Bob")
    assert await Customers(unit).count() == 1
    await unit.commit()
    assert await Customers(acme).count() == 2
    assert await Customers(rival.unit_of_work()).count() == 0
    with pytest.raises(errors.ValidationError, match="must be made with a Session, not UnitOfWork"):
        Counted(unit)  # type: ignore[arg-type]
