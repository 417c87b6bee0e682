"""What one organization's session can learn of another's records, by every call that a session has: nothing.

Every answer, and every error, is searched for traces of the other organization: its ids and a word that all its texts
have. An id of the other organization must bring the same answer as an id that nobody has.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from freehold import Database, Include, Session, errors
from freehold.model.context import new_id
from tests.conftest import new_context
from tests.probe import masked, shown
from tests.world import Contact, Customer, Order

MARK = "zebra"
"""In all texts of the other organization."""
AMOUNT = Decimal("31337.31")
"""In all numbers of the other organization."""


@dataclass(frozen=True)
class Prey:
    """The other organization, and one record of each kind in it."""

    session: Session
    slug: str
    customer: Customer
    deleted: Customer
    contact: Contact
    order: Order

    @property
    def organization(self) -> UUID:
        return self.session.context.organization_id

    @property
    def traces(self) -> set[str]:
        """What may be in no answer."""
        records = (self.customer, self.deleted, self.contact, self.order)
        ids = {str(record.id) for record in records} | {str(self.organization), str(self.session.context.user_id)}
        return ids | {MARK, str(AMOUNT), self.slug, self.session.context.request_id}


@dataclass(frozen=True)
class Own:
    """The attacker's own records, so that joins have something to join."""

    customer: Customer
    contact: Contact
    order: Order


async def fill(session: Session, mark: str, amount: Decimal) -> tuple[Customer, Customer, Contact, Order]:
    customer = await session.create(
        Customer, name=f"{mark} one", email=f"{mark}@x.test", credit=amount, tags=[mark], tax_number=mark
    )
    gone = await session.delete(await session.create(Customer, name=f"{mark} gone", credit=amount))
    contact = await session.create(Contact, customer_id=customer.id, name=f"{mark} contact", is_primary=True)
    order = await session.create(Order, customer_id=customer.id, contact_id=contact.id, number=mark, total=amount)
    return customer, gone, contact, order


@pytest.fixture
async def prey(database: Database) -> AsyncIterator[Prey]:
    context = await new_context(database)
    async with database.session(context) as session:
        slug = (await session.sql(None, "select slug from freehold.organizations"))[0]["slug"]
        yield Prey(session, slug, *await fill(session, MARK, AMOUNT))


@pytest.fixture
async def own(acme: Session) -> Own:
    customer, _, contact, order = await fill(acme, "own", Decimal(5))
    return Own(customer, contact, order)


def assert_no_trace(answer: Any, prey: Prey, *given: UUID) -> None:
    """Asserts that nothing of the other organization is in an answer, but for ids that the caller gave itself."""
    text = shown(answer)
    found = {trace for trace in prey.traces - {str(id) for id in given} if trace in text}
    assert not found, text


Attack = Callable[[Session, Prey, Own], Awaitable[Any]]

READS: dict[str, Attack] = {
    "get_many": lambda s, p, o: s.get_many(Customer, [p.customer.id, o.customer.id, p.deleted.id], deleted=True),
    "find by organization": lambda s, p, o: s.find(Customer, {"organization_id": p.organization}),
    "find by id": lambda s, p, o: s.find(Customer, {"id": p.customer.id}, deleted=True),
    "find by unique value": lambda s, p, o: s.find(Customer, {"email": f"{MARK}@x.test"}),
    "find by reference": lambda s, p, o: s.find(Contact, {"customer_id": p.customer.id}),
    "find across a reference": lambda s, p, o: s.find(Contact, {"customer.id": p.customer.id}, include=["customer"]),
    "find with includes": lambda s, p, o: s.find(Order, {"id": o.order.id}, include=["customer", "contact"]),
    "list": lambda s, p, o: s.list(Customer, deleted=True, with_total=True, private=True),
    "list as JSON": lambda s, p, o: s.list(Customer, deleted=True, with_total=True, private=True, as_json=True),
    "list by organization": lambda s, p, o: s.list(Customer, where={"organization_id": p.organization}),
    "list of organizations": lambda s, p, o: s.list(
        Customer, where={"organization_id": {"in": [p.organization, s.context.organization_id]}}, deleted=True
    ),
    "list not of one's own": lambda s, p, o: s.list(
        Customer, where={"organization_id": {"ne": s.context.organization_id}}, deleted=True, with_total=True
    ),
    "list without conditions, negated": lambda s, p, o: s.list(
        Customer, where={"not": {"organization_id": s.context.organization_id}}
    ),
    "list with or": lambda s, p, o: s.list(
        Customer, where={"or": [{"name": {"contains": ""}}, {"organization_id": p.organization}]}, deleted=True
    ),
    "list by text": lambda s, p, o: s.list(Customer, where={"name": {"starts_with": MARK}}, with_total=True),
    "list by private field": lambda s, p, o: s.list(Customer, where={"tax_number": MARK}, private=True),
    "list by list": lambda s, p, o: s.list(Customer, where={"tags": {"contains": MARK}}),
    "list across": lambda s, p, o: s.list(Order, where={"customer.name": {"contains": MARK}}, include=["customer"]),
    "list across, reversed": lambda s, p, o: s.list(Customer, where={"orders.total": AMOUNT}, include=["orders"]),
    "list sorted": lambda s, p, o: s.list(Customer, order_by=["-credit", "organization_id"], limit=1000),
    "list with every include": lambda s, p, o: s.list(
        Customer,
        deleted=True,
        include={
            "contacts": Include(limit=80, include={"orders": True, "reports": True, "customer": True}),
            "orders": Include(limit=500, include={"contact": True}),
        },
    ),
    "list with foreign include filters": lambda s, p, o: s.list(
        Customer,
        include={
            "orders": Include(where={"organization_id": p.organization}),
            "contacts": Include(where={"customer_id": p.customer.id}),
        },
    ),
    "list with counts": lambda s, p, o: s.list(
        Customer, include={"orders": "count", "contacts": Include(count=True, where={"id": p.contact.id})}, deleted=True
    ),
    "list with select": lambda s, p, o: s.list(Customer, select=["organization_id", "tax_number", "created_by"]),
    "aggregate": lambda s, p, o: s.aggregate(
        Customer, group_by=["organization_id", "name"], sum=["credit"], max=["name", "credit"], deleted=True
    ),
    "aggregate with filter": lambda s, p, o: s.aggregate(
        Order, group_by=["number"], min=["total"], where={"organization_id": p.organization}
    ),
    "history": lambda s, p, o: s.history((Customer, p.customer.id), private=True, limit=1000),
    "history of a record in hand": lambda s, p, o: s.history(p.order, private=True),
    "explain": lambda s, p, o: s.explain("select * from customers where name = :name", name="own one"),
}


async def test_a_read_brings_nothing_of_another_organization(
    acme: Session, prey: Prey, own: Own, subtests: pytest.Subtests
) -> None:
    for name in READS:
        with subtests.test(name):
            answer = await READS[name](acme, prey, own)
            assert_no_trace(answer, prey)


FRUITLESS = {"explain", "list not of one's own", "list without conditions, negated"}
"""Reads that bring no records in any organization."""


async def test_the_same_read_by_the_other_organization_does_find_it(prey: Prey, subtests: pytest.Subtests) -> None:
    for name in sorted(set(READS) - FRUITLESS):
        with subtests.test(name):
            answer = await READS[name](prey.session, prey, Own(prey.customer, prey.contact, prey.order))
            if isinstance(answer, tuple) and name.startswith("history"):
                assert answer
            else:
                with pytest.raises(AssertionError):
                    assert_no_trace(answer, prey)


async def test_nothing_of_another_organization_is_counted(acme: Session, prey: Prey, own: Own) -> None:
    assert await acme.count(Customer, deleted=True) == 2
    assert await acme.count(Customer, {"organization_id": prey.organization}, deleted=True) == 0
    assert await acme.count(Order, {"customer.orders.number": MARK}) == 0
    assert not await acme.exists(Customer, {"id": prey.customer.id})
    assert not await acme.exists(Customer, {"organization_id": prey.organization}, deleted=True)
    assert not await acme.exists(Customer, {"email": f"{MARK}@x.test"})
    assert not await acme.exists(Customer, {"contacts.id": prey.contact.id})
    page = await acme.list(Customer, with_total=True, deleted=True, include={"orders": "count", "contacts": "count"})
    assert page.total == 2
    assert sorted((each.orders_count, each.contacts_count) for each in page) == [(0, 0), (1, 1)]
    (group,) = await acme.aggregate(Customer, sum=["credit"], max=["credit"], deleted=True)
    assert (group.count, group.sum["credit"], group.max["credit"]) == (2, Decimal(10), Decimal(5))


ById = Callable[[Session, UUID, Own], Awaitable[Any]]

BY_ID: dict[str, ById] = {
    "get": lambda s, id, o: s.get(Customer, id),
    "get as text": lambda s, id, o: s.get(Customer, str(id)),
    "get deleted, private": lambda s, id, o: s.get(Customer, id, deleted=True, private=True),
    "get as JSON": lambda s, id, o: s.get(Customer, id, as_json=True, deleted=True),
    "update": lambda s, id, o: s.update((Customer, id, 1), name="stolen"),
    "update, right version of a deleted one": lambda s, id, o: s.update((Customer, id, 2), name="stolen"),
    "update, version from the future": lambda s, id, o: s.update((Customer, id, 1000), name="stolen"),
    "delete": lambda s, id, o: s.delete((Customer, id, 1)),
    "restore": lambda s, id, o: s.restore((Customer, id, 2)),
    "purge": lambda s, id, o: s.purge((Customer, id, 1)),
    "purge, right version of a deleted one": lambda s, id, o: s.purge((Customer, id, 2)),
    "hard delete": lambda s, id, o: s.delete((Order, id, 1)),
    "create with a reference": lambda s, id, o: s.create(Contact, customer_id=id, name="x"),
    "create with a reference that may not be lost": lambda s, id, o: s.create(
        Order, customer_id=id, number="n", total=1
    ),
    "create with two references": lambda s, id, o: s.create(
        Order, customer_id=o.customer.id, contact_id=id, number="n", total=1
    ),
    "create with a reference to itself": lambda s, id, o: s.create(
        Contact, customer_id=o.customer.id, manager_id=id, name="x"
    ),
    "update of a reference": lambda s, id, o: s.update(o.order, customer_id=id),
    "update of an optional reference": lambda s, id, o: s.update(o.contact, manager_id=id),
}


async def answer_of(call: Awaitable[Any]) -> BaseException:
    with pytest.raises(errors.FreeholdError) as caught:
        await call
    return caught.value


async def test_a_foreign_id_is_answered_like_an_absent_one(
    acme: Session, prey: Prey, own: Own, subtests: pytest.Subtests
) -> None:
    for name in BY_ID:
        with subtests.test(name):
            attack, absent = BY_ID[name], new_id()
            expected = masked(await answer_of(attack(acme, absent, own)), absent)
            for record in (prey.customer, prey.deleted, prey.contact, prey.order):
                error = await answer_of(attack(acme, record.id, own))
                assert masked(error, record.id) == expected
                assert_no_trace(error, prey, record.id)


async def test_an_attempt_on_a_foreign_id_changes_nothing(
    acme: Session, prey: Prey, own: Own, admin: Any, subtests: pytest.Subtests
) -> None:
    for name in BY_ID:
        with subtests.test(name):

            async def rows() -> list[Any]:
                tables = await admin.fetch(
                    "select to_jsonb(c) from app.customers c where organization_id = any ($1) union all "
                    "select to_jsonb(c) from app.contacts c where organization_id = any ($1) union all "
                    "select to_jsonb(c) from app.orders c where organization_id = any ($1)",
                    [prey.organization, acme.context.organization_id],
                )
                log = await admin.fetch(
                    "select position from freehold.log where organization_id = any ($1)",
                    [prey.organization, acme.context.organization_id],
                )
                return sorted(map(str, [*tables, *log]))

            before = await rows()
            for record in (prey.customer, prey.deleted, prey.contact, prey.order):
                await answer_of(BY_ID[name](acme, record.id, own))
            assert await rows() == before


async def test_a_record_in_hand_is_no_key_to_another_organization(acme: Session, prey: Prey, own: Own) -> None:
    for call in (acme.update(prey.customer, name="x"), acme.delete(prey.order), acme.purge(prey.contact)):
        with pytest.raises(errors.NotFoundError):
            await call
    assert await prey.session.get(Customer, prey.customer.id) == prey.customer
    assert await prey.session.get(Order, prey.order.id) == prey.order


async def test_a_conflict_never_shows_a_foreign_record(acme: Session, prey: Prey) -> None:
    changed = await prey.session.update(prey.customer, name=f"{MARK} two")
    error = await answer_of(acme.update((Customer, changed.id, 1), name="x"))
    assert isinstance(error, errors.NotFoundError)
    assert not hasattr(error, "current")
    assert_no_trace(error, prey, changed.id)


async def test_unique_values_are_free_in_every_organization(acme: Session, prey: Prey, own: Own) -> None:
    made = await acme.create(Customer, name="x", email=f"{MARK.upper()}@X.test")
    assert made.email == f"{MARK.upper()}@X.test"
    assert (await acme.create(Order, customer_id=own.customer.id, number=MARK, total=1)).number == MARK
    with pytest.raises(errors.UniqueError) as caught:
        await prey.session.create(Customer, name="x", email=f"{MARK}@x.test")
    assert str(acme.context.organization_id) not in shown(caught.value)


async def test_the_id_of_a_foreign_record_cannot_be_given(acme: Session, prey: Prey) -> None:
    for name in ("id", "organization_id", "created_by", "version", "deleted_at"):
        with pytest.raises(errors.ValidationError) as caught:
            await acme.create(Customer, name="x", **{name: prey.organization})
        assert caught.value.issues[0].path == (name,)
        with pytest.raises(errors.ValidationError):
            await acme.update((Customer, prey.customer.id, 1), **{name: prey.organization})


async def test_a_cursor_of_another_organization_is_refused(acme: Session, prey: Prey, own: Own) -> None:
    await prey.session.create(Customer, name=f"{MARK} three")
    await acme.create(Customer, name="own three")
    theirs = (await prey.session.list(Customer, order_by="name", limit=1)).next
    ours = (await acme.list(Customer, order_by="name", limit=1)).next
    assert theirs
    assert ours
    for direction in ("after", "before"):
        with pytest.raises(errors.CursorError) as caught:
            await acme.list(Customer, order_by="name", limit=1, **{direction: theirs})
        assert_no_trace(caught.value, prey)
    assert [each.name for each in await acme.list(Customer, order_by="name", after=ours)] == ["own three"]


SQL: dict[str, str] = {
    "no row security": "select set_config('row_security', 'off', true), (select json_agg(c) from customers c) as all",
    "select": "select * from customers",
    "qualified": "select * from app.customers",
    "by organization": "select * from customers where organization_id = cast(:organization as uuid)",
    "or true": "select * from customers where organization_id = cast(:organization as uuid) or true",
    "join": "select c.*, o.* from customers c full join orders o on true",
    "join on organization only": "select to_jsonb(c) as a, to_jsonb(o) as b from customers c join orders o using (organization_id)",
    "subquery": "select (select json_agg(c) from customers c) as all, (select max(credit) from customers) as credit",
    "lateral": "select x.* from orders o cross join lateral (select * from customers c where c.credit >= o.total) x",
    "CTE": "with everything as (select * from customers union all select * from customers) select * from everything",
    "materialized CTE": "with everything as materialized (select * from customers) select * from everything",
    "recursive CTE": (
        "with recursive tree as (select id, name from contacts union select c.id, c.name from contacts c, tree t) select * from tree"
    ),
    "whole row": "select c::text as row, (c).name from customers c",
    "union": "select name from customers union all select number from orders union all select name from contacts",
    "set-returning": "select jsonb_each_text(to_jsonb(c)) as field from customers c",
    "cursor": "select query_to_json.* from (select json_agg(o) from orders o) query_to_json",
    "exists": "select exists (select from customers where name like 'zeb%') as found, (select count(*) from customers) as n",
    "leaky function": "select * from customers where name::text ~ 'zebra' or (1 / (case when name ~ 'zebra' then 0 else 1 end)) = 1",
    "window": "select first_value(name) over (order by credit desc) as most, count(*) over () as n from customers",
    "log": "select * from freehold.log",
    "log by organization": "select * from freehold.log where organization_id = cast(:organization as uuid) or organization_id is null",
    "log joined": "select l.new from freehold.log l join customers c on c.id <> l.record_id",
    "organizations": "select * from freehold.organizations",
    "users": "select * from freehold.users",
    "memberships": "select * from freehold.memberships",
    "everyone": "select * from freehold.users u left join freehold.memberships m on true left join freehold.organizations o on true",
    "statistics": "select * from pg_stats where schemaname in ('app', 'freehold')",
    "context": "select freehold.context() as context, freehold.organization_id() as organization",
    "sampled": "select * from customers tablesample system (100)",
    "for the planner": "select * from customers where ctid = any (array(select ctid from customers))",
    "row by place": "select * from customers where ctid in ('(0,1)', '(0,2)', '(0,3)', '(0,4)', '(0,5)', '(0,6)')",
}


async def test_a_hand_written_query_brings_nothing_of_another_organization(
    acme: Session, prey: Prey, own: Own, subtests: pytest.Subtests
) -> None:
    for name in SQL:
        with subtests.test(name):
            values = {"organization": prey.organization} if ":organization" in SQL[name] else {}
            assert_no_trace(await acme.sql(None, SQL[name], limit=10_000, **values), prey)


BRACKETS = {"into": "select 1) as q) as r;", "out": "select json_agg(r) from (select * from (select 1"}
"""What closes and opens the brackets that a hand-written query is put in, so that a statement fits between."""

REFUSED: dict[str, str] = {
    "partition": "select * from freehold.{partition}",
    "default partition": "select * from freehold.log_default",
    "settings": "select * from freehold.settings",
    "positions": "select last_value from freehold.log_position",
    "find an organization": "select freehold.find_organization(:slug, '') as found",
    "find no organization": "select freehold.find_organization('there-is-none', '') as found",
    "find a user": "select freehold.find_user('ada@' || :slug || '.test', '') as found",
    "find a membership": "select freehold.find_membership(:slug, 'ada@' || :slug || '.test', '') as found",
    "make an organization": "select freehold.create_organization('x', 'x-y-z', 'fun') as made",
    "make a user": "select freehold.create_user('x@y.test', 'x', 'fun') as made",
    "become a member": "select freehold.add_member(cast(:organization as uuid), cast(:user as uuid), 'admin', '') as made",
    "write to the log": "select freehold.log_system(null, 'x', null, 'x', null, 'fun') as made",
    "delete": "with gone as (delete from customers returning *) select * from gone",
    "delete in the body": "delete from customers returning *",
    "insert": "insert into customers (name) values ('x') returning *",
    "update": "update customers set name = 'x' returning *",
    "several statements": "select 1; select * from customers",
    "out of the brackets": "{into} select json_agg(r) from (select * from (select name from customers",
    "write out of the brackets": "{into} delete from app.customers; {out}",
    "writable again": "{into} set transaction read write; {out}",
    "copy": "copy customers to stdout",
    "copy out of the brackets": "{into} copy app.customers to stdout; {out}",
    "truncate": "truncate customers",
    "set role": "set role freehold_owner",
    "set role by function": "select set_config('role', 'freehold_owner', true) as role",
    "writing by function": "select set_config('transaction_read_only', 'off', true) as off",
    "generated function": "select freehold.customers_create(freehold.organization_id(), '{{}}', null) as made",
    "temporary table": "create temp table loot as select * from customers",
    "into": "select * into temp loot from customers",
    "file": "select pg_read_file('/etc/passwd') as file",
    "sleeping file": "select lo_import('/etc/passwd') as file",
    "lock": "select * from customers for update",
    "passwords": "select * from pg_authid",
    "subscriptions": "select pg_terminate_backend(pg_backend_pid()), subconninfo from pg_subscription",
}


async def test_a_hand_written_query_is_refused(
    acme: Session, prey: Prey, own: Own, admin: Any, subtests: pytest.Subtests
) -> None:
    for name in REFUSED:
        with subtests.test(name):
            partition = await admin.fetchval("select 'log_' || to_char(now() at time zone 'UTC', 'YYYY_MM')")
            known = {"slug": prey.slug, "organization": prey.organization, "user": acme.context.user_id}
            text = REFUSED[name].format(partition=partition, **BRACKETS)
            values = {key: value for key, value in known.items() if f":{key}" in text}
            state = "select count(*), sum(version) from app.customers"
            before = await admin.fetchrow(state)
            with pytest.raises((errors.ForbiddenError, errors.ValidationError)) as caught:
                await acme.sql(None, text, **values)
            assert_no_trace(caught.value, prey)
            assert await admin.fetchrow(state) == before
            assert (await acme.get(Customer, own.customer.id)) == own.customer  # the connection serves on


@pytest.mark.parametrize("function", ["find_organization", "find_user"])
async def test_system_functions_tell_nothing_within_an_organization(acme: Session, prey: Prey, function: str) -> None:
    """The refusal comes before the look-up: what is there is answered like what is not."""
    there = prey.slug if function == "find_organization" else f"ada@{prey.slug}.test"
    messages = set()
    for wanted in (there, "absent"):
        with pytest.raises(errors.IsolationError) as caught:
            await acme.sql(None, f"select freehold.{function}(:wanted, '') as found", wanted=wanted)
        messages.add(str(caught.value))
    assert len(messages) == 1


async def test_a_query_of_a_session_sees_its_own_log_only(acme: Session, prey: Prey, own: Own) -> None:
    (row,) = await acme.sql(None, "select count(*) as n, count(distinct organization_id) as o from freehold.log")
    changes = await acme.sql(None, "select action from freehold.log where entity <> 'Organization'")
    assert row["o"] == 1
    assert row["n"] >= len(changes) >= 5
    assert all(
        found["organization_id"] == str(acme.context.organization_id)
        for found in await acme.sql(None, "select * from freehold.log")
    )


@pytest.mark.parametrize(
    ("setting", "value"), [("row_security", "off"), ("search_path", "pg_catalog"), ("statement_timeout", "1ms")]
)
async def test_a_setting_made_by_a_query_does_not_stay_on_the_connection(
    database: Database, acme: Session, prey: Prey, own: Own, setting: str, value: str
) -> None:
    pool = database._store.pool
    before = await pool.fetch_row(f"select current_setting('{setting}') as value", [])
    await acme.sql(None, "select set_config(:name, :value, false) as made", name=setting, value=value)
    assert await pool.fetch_row(f"select current_setting('{setting}') as value", []) == before


async def test_a_context_does_not_stay_on_the_connection(database: Database, acme: Session, prey: Prey) -> None:
    """With one connection for all, a call without context that comes after one with context sees nothing."""
    pool = database._store.pool
    for _ in range(8):
        await prey.session.list(Customer)
        row = await pool.fetch_row(
            "select (select count(*) from app.customers) n, freehold.organization_id() o, freehold.context() c",
            [],
        )
        assert row is not None
        assert (row["n"], row["o"], row["c"]) == (0, None, "{}")
