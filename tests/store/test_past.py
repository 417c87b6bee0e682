"""Reads of the past: what was then, no more, no less, and only one's own."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Application, Database, Entity, Include, Session, errors, field, reference
from freehold.store.past import PastSession
from tests.conftest import Server, new_context
from tests.probe import plain, run, scratch
from tests.world import Contact, Customer, Order

Connection = asyncpg.Connection


async def clock(raw: Connection) -> datetime:
    """The database's time: later than all that has been done, earlier than all that will be."""
    moment: datetime = await raw.fetchval("select clock_timestamp()")
    return moment


async def everything(session: Session | PastSession) -> Any:
    """All that the organization has, in every way of reading."""
    customers = await session.list(
        Customer,
        limit=1000,
        private=True,
        include={"contacts": Include(order_by="name", limit=100), "orders": "count"},
        order_by=["-credit", "name"],
    )
    contacts = await session.list(Contact, limit=1000, deleted=True, include={"customer": True, "manager": True})
    return {
        "customers": customers.records,
        "contacts": contacts.records,
        "orders": (await session.list(Order, limit=1000)).records,
        "json": (await session.list(Order, limit=1000, as_json=True)).json,
        "selected": [row.model_dump() for row in await session.list(Customer, limit=1000, select=["name"])],
        "rich": (await session.list(Customer, where={"orders.total": {"gt": 5}}, with_total=True)).total,
        "count": await session.count(Contact, {"customer.status": "active"}),
        "groups": await session.aggregate(Customer, group_by=["status"], sum=["credit"], deleted=True),
        "got": await session.get_many(Customer, [customer.id for customer in customers]),
    }


class Life:
    """Random changes of one organization."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session = session
        self.random = random.Random(seed)
        self.numbers = 0

    async def step(self) -> None:
        steps: list[Callable[[], Awaitable[Any]]] = [
            self.create,
            self.create,
            self.change,
            self.change,
            self.remove,
            self.bring_back,
        ]
        await self.random.choice(steps)()

    async def pick(self, cls: type[Any]) -> Any:
        found = (await self.session.list(cls, limit=1000)).records
        return self.random.choice(found) if found else None

    async def create(self) -> None:
        self.numbers += 1
        customer = await self.pick(Customer)
        if customer is None or self.random.random() < 0.4:
            status = self.random.choice(["prospect", "active"])
            await self.session.create(Customer, name=f"c{self.numbers}", status=status, tax_number="t", tags=["a"])
        elif self.random.random() < 0.5:
            contact = await self.pick(Contact)
            await self.session.create(
                Contact, customer_id=customer.id, name=f"k{self.numbers}", manager_id=contact and contact.id
            )
        else:
            total = self.random.randrange(10)
            await self.session.create(Order, customer_id=customer.id, number=f"n{self.numbers}", total=total)

    async def change(self) -> None:
        self.numbers += 1
        if customer := await self.pick(Customer):
            credit = self.random.randrange(100)
            await self.session.update(customer, name=f"d{self.numbers}", credit=credit, profile={"language": "de"})
        if contact := await self.pick(Contact):
            await self.session.update(contact, name=f"l{self.numbers}")

    async def remove(self) -> None:
        cls = self.random.choice([Customer, Contact, Order])
        if record := await self.pick(cls):
            purge = cls is Contact and self.random.random() < 0.5
            with contextlib.suppress(errors.ReferenceError):  # it has orders
                await (self.session.purge(record) if purge else self.session.delete(record))

    async def bring_back(self) -> None:
        gone = (await self.session.list(Customer, where={"deleted_at": {"is_null": False}}, deleted=True)).records
        if gone:
            await self.session.restore(self.random.choice(gone))


@pytest.mark.parametrize("seed", range(6))
async def test_what_was_read_then_is_read_again(raw: Connection, acme: Session, rival: Session, seed: int) -> None:
    """The present at each moment, kept and compared with what the past says of that moment when all is over."""
    life, others = Life(acme, seed), Life(rival, seed + 100)
    seen = []
    for _ in range(12):
        for _ in range(3):
            await life.step()
            await others.step()
        seen.append((await clock(raw), await everything(acme)))
    for moment, then in seen:
        async with acme.as_of(moment) as past:
            assert await everything(past) == then
            for record in then["orders"]:
                assert await past.get(Order, record.id) == record
                assert await past.find(Order, {"number": record.number}) == record


async def test_before_the_first_change_there_is_nothing(raw: Connection, acme: Session) -> None:
    moment = await clock(raw)
    customer = await acme.create(Customer, name="x")
    async with acme.as_of(moment) as past:
        assert await past.count(Customer, deleted=True) == 0
        with pytest.raises(errors.NotFoundError):
            await past.get(Customer, customer.id, deleted=True)
    async with acme.as_of(datetime(1, 1, 1, tzinfo=UTC)) as past:
        assert not await past.exists(Customer)


async def test_pages_of_the_past_go_on_and_back(raw: Connection, acme: Session) -> None:
    names = [f"c{number:02}" for number in range(25)]
    for name in names:
        await acme.create(Customer, name=name)
    moment = await clock(raw)
    for customer in await acme.list(Customer):
        await acme.update(customer, name=f"z{customer.name}")
    for customer in (await acme.list(Customer, limit=5)).records:
        await acme.purge(customer)
    found = []
    async with acme.as_of(moment) as past:
        page = await past.list(Customer, order_by="name", limit=10)
        found += [customer.name for customer in page]
        while page.next:
            page = await past.list(Customer, order_by="name", limit=10, after=page.next)
            found += [customer.name for customer in page]
        assert found == names
        page = await past.list(Customer, order_by="name", limit=10, before=page.previous)
        assert [customer.name for customer in page] == names[10:20]


async def test_another_organization_s_past_is_as_closed_as_its_present(
    raw: Connection, acme: Session, rival: Session
) -> None:
    customer = await rival.create(Customer, name="zebra")
    moment = await clock(raw)
    await rival.update(customer, name="zebra two")
    await rival.purge((Customer, customer.id, 2))
    async with acme.as_of(moment) as past:
        with pytest.raises(errors.NotFoundError):
            await past.get(Customer, customer.id)
        assert "zebra" not in str(await everything(past))
        assert await past.get_many(Customer, [customer.id]) == []


@pytest.mark.parametrize(
    "moment",
    [None, "2020-01-01", datetime(2020, 1, 1), 5, datetime(9999, 1, 1, tzinfo=UTC)],  # noqa: DTZ001
)
async def test_what_is_no_moment_in_the_past_is_refused(acme: Session, moment: Any) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        async with acme.as_of(moment):
            pass
    assert "moment" in str(caught.value)


async def test_a_moment_counts_in_any_time_zone(raw: Connection, acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    moment = await clock(raw)
    await acme.update(customer, name="y")
    async with acme.as_of(moment.astimezone(timezone(timedelta(hours=-11)))) as past:
        assert (await past.get(Customer, customer.id)).name == "x"


async def test_the_past_is_closed_with_its_block_and_not_opened_on_a_closed_session(
    raw: Connection, database: Database, acme: Session
) -> None:
    moment = await clock(raw)
    async with acme.as_of(moment) as past:
        assert past.moment == moment
    with pytest.raises(errors.IsolationError, match="closed"):
        await past.count(Customer)
    async with database.session(acme.context) as session:
        pass
    with pytest.raises(errors.IsolationError, match="closed"):
        async with session.as_of(moment):
            pass


async def test_a_change_made_by_raw_sql_is_undone_too(raw: Connection, acme: Session) -> None:
    customer = await acme.create(Customer, name="x", photo=b"\x00\xff", patience=timedelta(days=2, seconds=3))
    moment = await clock(raw)
    await run(raw, acme.context, "update app.customers set name = 'y', photo = null, patience = null")
    await run(raw, acme.context, "delete from app.customers")
    async with acme.as_of(moment) as past:
        assert await past.get(Customer, customer.id) == customer


class Person(Entity, soft_delete=True):
    name: str = field(max_length=50)


class Pet(Entity):
    name: str = field(max_length=50)
    person_id: UUID = reference(Person)


before = Application("zoo", [Person, Pet])
SmallPerson, SmallPet = Person, Pet


class Person(Entity, soft_delete=True):  # type: ignore[no-redef]  # the same entity, later
    name: str = field(max_length=50)
    town: str = field(max_length=50, default="Ulm")
    secret: str | None = field(max_length=50, default=None, private=True)


class Pet(Entity):  # type: ignore[no-redef]
    name: str = field(max_length=50)
    person_id: UUID = reference(Person)


after = Application("zoo", [Person, Pet])


async def test_a_column_that_did_not_exist_is_null_and_marked(server: Server) -> None:
    async with scratch(server, before) as name, plain(server.admin_address(name)) as admin:
        async with Database.open(server.address(name), before, size=1) as database:
            context = await new_context(database)
            session = database.session(context)
            person = await session.create(SmallPerson, name="ada")
            await session.create(SmallPet, name="rex", person_id=person.id)
            still = await session.create(SmallPerson, name="bob")
            moment = await clock(admin)
            await session.update(person, name="ada two")
        await admin.execute(
            """alter table app.persons add town text collate "C" not null default 'Ulm', add secret text collate "C",
            add constraint persons_town_check check (char_length(town) <= 50),
            add constraint persons_secret_check check (char_length(secret) <= 50)"""
        )
        await after.setup(server.admin_address(name), {after.roles.application: server.password})
        async with Database.open(server.address(name), after, size=1) as database:
            session = database.session(context)
            changed = await session.update((Person, person.id, 2), town="Bonn")
            assert (changed.town, (await session.get(Person, still.id)).town) == ("Bonn", "Ulm")
            async with session.as_of(moment) as past:
                (pet,) = await past.list(Pet, include={"person": True})
                people = [
                    *await past.list(Person, order_by="name"),
                    await past.get(Person, person.id),
                    await past.get(Person, person.id, private=True),
                    *(await past.list(Person, include={"pets": True}, order_by="name")),
                    pet.person,  # type: ignore[attr-defined]  # included
                ]
                assert [person.name for person in people] == ["ada", "bob", "ada", "ada", "ada", "bob", "ada"]
                assert {person.town for person in people} == {None}
                assert all("town" not in person.model_fields_set for person in people)
                assert all("name" in person.model_fields_set for person in people)
                assert await past.count(Person, {"town": None}) == 2
                assert await past.count(Person, {"town": "Ulm"}) == 0
                assert [row.town for row in await past.list(Person, select=["town"])] == [None, None]
                assert b"Ulm" not in ((await past.list(Person, as_json=True)).json or b"")
            assert "town" in (await session.get(Person, person.id)).model_fields_set


async def test_reverting_writes_the_old_values_as_a_new_version(acme: Session) -> None:
    made = await acme.create(Customer, name="x", credit=1, tax_number="t1", email="A@x.test", tags=["a"], code="c")
    changed = await acme.update(
        made, name="y", credit="2.50", tax_number="t2", email=None, tags=[], profile={"language": "de"}
    )
    back = await acme.revert(changed, 1)
    assert (back.version, back.name, back.credit, back.email, back.tags) == (3, "x", Decimal(1), "A@x.test", ["a"])
    assert back.profile == made.profile
    assert (await acme.get(Customer, made.id, private=True)).tax_number == "t1"
    assert not hasattr(back, "tax_number")  # private fields are written, not told
    forth = await acme.revert((Customer, made.id, 3), 2)
    assert (forth.version, forth.name) == (4, "y")
    assert [change.action for change in await acme.history(made)] == ["update", "update", "update", "create"]


async def test_a_revert_names_all_that_clashes_and_writes_nothing(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    boss = await acme.create(Contact, customer_id=customer.id, name="boss")
    contact = await acme.create(Contact, customer_id=customer.id, name="k", is_primary=True, manager_id=boss.id)
    changed = await acme.update(contact, is_primary=False, manager_id=None, name="l")
    await acme.create(Contact, customer_id=customer.id, name="m", is_primary=True)
    await acme.purge(boss)
    with pytest.raises(errors.ValidationError) as caught:
        await acme.revert(changed, 1)
    assert {(issue.path, issue.code) for issue in caught.value.issues} == {
        (("manager_id",), "reference"),
        (("customer_id",), "unique"),
    }
    assert await acme.get(Contact, contact.id) == changed


async def test_a_revert_sees_unique_values_without_their_case_and_not_those_of_deleted_or_other_organizations(
    acme: Session, rival: Session
) -> None:
    made = await acme.create(Customer, name="x", email="Ada@x.test")
    changed = await acme.update(made, email="other@x.test")
    await rival.create(Customer, name="y", email="ada@x.test")
    await acme.delete(await acme.create(Customer, name="y", email="ada@x.test"))
    changed = await acme.revert(changed, 1)
    changed = await acme.update(changed, email="other@x.test")
    await acme.create(Customer, name="z", email="aDA@x.test")
    with pytest.raises(errors.ValidationError) as caught:
        await acme.revert(changed, 1)
    assert [issue.path for issue in caught.value.issues] == [("email",)]


async def test_a_revert_from_another_version_or_to_none_is_refused(acme: Session, rival: Session) -> None:
    made = await acme.create(Customer, name="x")
    second = await acme.update(made, name="y")
    third = await acme.update(second, name="z")
    with pytest.raises(errors.ConcurrencyError) as caught:
        await acme.revert(second, 1)
    assert caught.value.actual == 3
    for version in (3, 4, 2**31 - 1):
        with pytest.raises(errors.ValidationError, match="earlier"):
            await acme.revert(third, version)
    for wrong in (0, -1, "1", None, 1.0, True):
        with pytest.raises(errors.ValidationError):
            await acme.revert(third, wrong)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(errors.HistoryError, match="no version 1"):
        await rival.revert((Customer, made.id, 3), 1)
    gone = await acme.delete(third)
    with pytest.raises(errors.NotFoundError, match="restore it first"):
        await acme.revert(gone, 1)
    assert (await acme.get(Customer, made.id, deleted=True)).name == "z"
