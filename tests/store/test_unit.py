"""Units of work: all changes or none, in one message, in an order that references allow."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Application, Database, Entity, Session, Unique, errors, field, reference
from freehold.model.context import new_id
from freehold.postgres.connections import Pool
from freehold.sql import units
from freehold.store.batches import in_order
from freehold.store.pending import Pending
from tests.conftest import Server, new_context
from tests.probe import scratch
from tests.world import Contact, Customer, Level, Order, Profile, Theme, application


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are sent from now on."""
    texts: list[str] = []
    fetch = Pool.fetch

    async def listening(pool: Pool, text: str, *arguments: Any, **options: Any) -> Any:
        texts.append(text)
        return await fetch(pool, text, *arguments, **options)

    monkeypatch.setattr(Pool, "fetch", listening)
    return texts


async def test_children_point_at_new_parents_whatever_came_first(acme: Session) -> None:
    async with acme.unit_of_work() as unit:
        customer = unit.add(Customer, name="x")
        order = unit.add(Order, customer_id=customer.id, number="1", total="1.5")
        report = unit.add(Contact, customer_id=customer.id, name="report")
        boss = unit.add(Contact, customer_id=customer.id, name="boss")
        unit.update(report, manager_id=boss.id)
        unit.update(order, contact_id=report.id)
        assert (customer.version, await acme.exists(Customer)) == (0, False)
    for record in (customer, order, report, boss):
        assert record.version == 1
        assert record == await acme.get(type(record), record.id)
        assert record.model_dump_json() == (await acme.get(type(record), record.id)).model_dump_json()
    assert (report.manager_id, order.contact_id) == (boss.id, report.id)
    told = {change.request_id for record in (customer, order) for change in await acme.history(record)}
    assert told == {acme.context.request_id}


async def test_everything_is_one_message(acme: Session, sent: list[str]) -> None:
    customer = await acme.create(Customer, name="x")
    old = await acme.create(Order, customer_id=customer.id, number="0", total=1)
    sent.clear()
    async with acme.unit_of_work() as unit:
        unit.update(customer, name="y")
        unit.delete(old)
        for number in range(5):
            unit.add(Order, customer_id=customer.id, number=str(number), total=1)
    assert len(sent) == 1
    assert (customer.name, customer.version) == ("y", 2)
    assert customer == await acme.get(Customer, customer.id)
    assert await acme.count(Order) == 5


async def test_every_kind_of_value_comes_back_as_it_is_stored(acme: Session) -> None:
    values: dict[str, Any] = {
        "name": "é\U0001f600", "email": "Ada@X.test", "status": "vip", "level": Level.HIGH, "credit": Decimal("5"), "visits": -3,
        "rating": 0.1, "born": "0001-01-01", "seen_at": "9999-12-31T23:59:59.999999+00:00", "opens": "12:30:00.5",
        "patience": 86_399.25, "photo": b"\x00\xff", "newsletter": None, "tags": ["a", "b,\"c"], "scores": ["1", "2.5"],
        "profile": Profile(theme=Theme(ratio=Decimal("1.50"))), "external": new_id(), "code": "c", "tax_number": "private",
    }  # fmt: skip
    async with acme.unit_of_work() as unit:
        made = unit.add(Customer, **values)
    stored = await acme.get(Customer, made.id)
    assert made == stored
    assert made.model_dump_json() == stored.model_dump_json()
    assert (await acme.get(Customer, made.id, private=True)).tax_number == "private"
    with pytest.raises(AttributeError):
        _ = made.tax_number
    async with acme.unit_of_work() as unit:
        unit.update(made, credit="7.1", scores=["3"], born="9999-12-31", profile=Profile(language="de"), photo=None)
    assert made.model_dump_json() == (await acme.get(Customer, made.id)).model_dump_json()


async def test_what_is_unchanged_sends_nothing(acme: Session, sent: list[str]) -> None:
    customer = await acme.create(Customer, name="x", credit=5)
    read = await acme.get(Customer, customer.id)
    sent.clear()
    unit = acme.unit_of_work()
    unit.update(read, name="x", credit="5.00")
    unit.save(read)
    unit.save(read.model_copy(update={"name": "x"}))
    unit.update(read, name="y")
    unit.update(read, name="x")
    added = unit.add(Customer, name="z")
    unit.delete(added)
    commit = await unit.commit()
    assert (sent, commit.position, commit.at) == ([], None, None)


@pytest.mark.parametrize("way", ["update", "save"])
async def test_a_record_that_is_given_what_it_has_gets_no_version(acme: Session, sent: list[str], way: str) -> None:
    customer = await acme.create(Customer, name="x", credit=5, tags=["a"])
    sent.clear()
    unit = acme.unit_of_work()
    if way == "update":
        unit.update(customer, name="x", credit="5", tags=["a"])
    else:
        unit.save(customer.model_copy(update={"name": "x", "tags": ["a"]}))
    assert (await unit.commit()).position is None
    assert sent == []
    async with acme.unit_of_work() as unit:
        unit.update(customer, name="x", credit="6")
    assert (await acme.history(customer))[0].diff == {"credit": (Decimal("5.00"), Decimal("6.00"))}


async def test_save_sends_what_differs_from_what_was_read(acme: Session) -> None:
    customer = await acme.create(Customer, name="x", credit=5, tax_number="t")
    copy = customer.model_copy(update={"name": "y"}).model_copy(update={"visits": 4})
    async with acme.unit_of_work() as unit:
        unit.save(copy)
    assert (copy.version, copy.name, copy.visits) == (2, "y", 4)
    assert copy == customer == await acme.get(Customer, customer.id)  # the original stands for the same record
    assert (await acme.history(customer))[0].diff == {"name": ("x", "y"), "visits": (0, 4)}
    again = copy.model_copy(update={"visits": 5})
    async with acme.unit_of_work() as unit:
        unit.save(again)
    assert (await acme.history(customer))[0].diff == {"visits": (4, 5)}
    for changed in ({"name": ""}, {"version": 9}, {"code": "new"}, {"id": new_id()}):
        with pytest.raises((errors.ValidationError, errors.NotFoundError)) as caught:  # the block is what is tried
            async with acme.unit_of_work() as unit:
                unit.save(customer.model_copy(update=changed))
        assert next(iter(changed)) in str(caught.value) or "does not exist" in str(caught.value)
    assert await acme.get(Customer, customer.id) == again


@pytest.mark.parametrize("first", ["add", "update", "delete", "restore", "purge"])
@pytest.mark.parametrize("then", ["update", "delete", "restore", "purge"])
async def test_several_changes_of_one_record_are_one(acme: Session, first: str, then: str) -> None:
    record = await acme.create(Customer, name="x")
    if first == "restore":
        record = await acme.delete(record)
    unit = acme.unit_of_work()

    def act(action: str, target: Any) -> Any:
        if action == "add":
            return unit.add(Customer, name="new")
        if action == "update":
            return unit.update(target, visits=len(first))
        return getattr(unit, action)(target)

    target = act(first, record) or record
    refused = {
        ("delete", "update"),
        ("purge", "update"),
        ("add", "restore"),
        ("update", "restore"),
        ("purge", "restore"),
    }
    if (first, then) in refused:
        with pytest.raises((errors.ValidationError, errors.NotFoundError)):
            act(then, target)
        return
    act(then, target)
    before = await acme.history(Customer, limit=50)
    await unit.commit()
    after = (await acme.history(Customer, limit=50))[: -len(before)]
    actions = [change.action for change in after]
    expected = {
        ("add", "update"): ["create"], ("add", "delete"): [], ("add", "purge"): [],
        ("update", "update"): ["update"], ("update", "delete"): ["delete"], ("update", "purge"): ["purge"],
        ("delete", "delete"): ["delete"], ("delete", "restore"): [], ("delete", "purge"): ["purge"],
        ("restore", "update"): ["restore"], ("restore", "delete"): [], ("restore", "restore"): ["restore"],
        ("restore", "purge"): ["purge"], ("purge", "delete"): ["purge"], ("purge", "purge"): ["purge"],
    }  # fmt: skip
    assert actions == expected[first, then]
    if actions and "purge" not in actions:
        assert target == await acme.get(Customer, target.id, deleted=True)


async def test_all_that_is_wrong_is_told_and_nothing_is_written(acme: Session, rival: Session) -> None:
    stale = await acme.create(Customer, name="stale")
    await acme.update(stale, name="newer")
    gone = await acme.create(Customer, name="gone")
    await acme.purge(gone)
    deleted = await acme.create(Customer, name="deleted")
    await acme.delete(deleted)
    held = await acme.create(Customer, name="held", email="a@x.test")
    await acme.create(Order, customer_id=held.id, number="held", total=1)
    theirs = await rival.create(Customer, name="theirs", email="their@x.test")
    everything = [(await acme.list(entity, deleted=True)).records for entity in (Customer, Contact, Order)]
    unit = acme.unit_of_work()
    fine = unit.add(Customer, name="fine", email="their@x.test")  # another organization's does not count
    taken = unit.add(Customer, name="taken", email="A@X.test")
    child = unit.add(Contact, customer_id=taken.id, name="falls with it")
    stray = unit.add(Order, customer_id=theirs.id, number="stray", total=1)
    poor = unit.add(Customer, name="poor", status="vip")
    unit.update(stale, visits=1)
    unit.update(gone, visits=1)
    unit.update(deleted, visits=1)
    unit.update((Customer, theirs.id, 1), name="mine")
    unit.delete(held)
    with pytest.raises(errors.CommitError) as caught:
        await unit.commit()
    found = {problem.id: (problem.entity, type(problem.error)) for problem in caught.value.problems}
    assert found == {
        taken.id: ("Customer", errors.UniqueError),
        stray.id: ("Order", errors.ReferenceError),
        poor.id: ("Customer", errors.ValidationError),
        stale.id: ("Customer", errors.ConcurrencyError),
        gone.id: ("Customer", errors.NotFoundError),
        deleted.id: ("Customer", errors.NotFoundError),
        theirs.id: ("Customer", errors.NotFoundError),
        held.id: ("Customer", errors.ReferenceError),
    }
    assert child.id not in found
    assert "theirs" not in str(caught.value)
    (conflict,) = (each.error for each in caught.value.problems if isinstance(each.error, errors.ConcurrencyError))
    assert (conflict.expected, conflict.actual, conflict.current.name) == (1, 2, "newer")
    assert [(await acme.list(entity, deleted=True)).records for entity in (Customer, Contact, Order)] == everything
    assert (fine.version, stale.version, stale.visits) == (0, 1, 0)
    assert await rival.get(Customer, theirs.id) == theirs


async def test_one_problem_is_raised_as_itself_and_the_unit_can_be_mended(acme: Session) -> None:
    customer = await acme.create(Customer, name="x", email="a@x.test")
    unit = acme.unit_of_work()
    new = unit.add(Customer, name="y", email="a@x.test")
    unit.add(Contact, customer_id=new.id, name="c")
    with pytest.raises(errors.UniqueError) as caught:
        await unit.commit()
    assert caught.value.fields == ("email",)
    unit.update(new, email="b@x.test")
    await unit.commit()
    assert (await acme.get(Customer, new.id)).email == "b@x.test"
    assert await acme.count(Contact, {"customer_id": new.id}) == 1
    assert await acme.get(Customer, customer.id) == customer
    for late in (lambda: unit.add(Customer, name="late"), lambda: unit.delete(customer), unit.commit):
        with pytest.raises(errors.ValidationError, match="is committed"):  # noqa: PT012  # the block is what is tried
            outcome = late()
            if asyncio.iscoroutine(outcome):
                await outcome


async def test_what_is_freed_can_be_taken_in_the_same_unit(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    first = await acme.create(Contact, customer_id=customer.id, name="first", is_primary=True)
    old = await acme.create(Order, customer_id=customer.id, number="1", total=1)
    async with acme.unit_of_work() as unit:
        second = unit.add(Contact, customer_id=customer.id, name="second", is_primary=True)
        new = unit.add(Order, customer_id=customer.id, contact_id=second.id, number="1", total=2)
        unit.update(first, is_primary=False)
        unit.delete(old)
    assert (first.is_primary, first.version, new.version) == (False, 2, 1)
    # What only gets free when something else has moved to what is new.
    async with acme.unit_of_work() as unit:
        other = unit.add(Customer, name="other")
        unit.purge(customer)
        unit.update(new, customer_id=other.id, contact_id=None)
    assert (new.customer_id, await acme.count(Customer, deleted=True)) == (other.id, 1)


async def test_a_record_that_lets_go_of_another_of_its_kind_does_so_before_that_goes(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    boss = await acme.create(Contact, customer_id=customer.id, name="boss")
    report = await acme.create(Contact, customer_id=customer.id, name="report", manager_id=boss.id)
    async with acme.unit_of_work() as unit:
        unit.delete(boss)
        unit.update(report, manager_id=None)
    assert (report.version, report.manager_id) == (2, None)
    assert report == await acme.get(Contact, report.id)
    assert boss == await acme.get(Contact, boss.id, deleted=True)


async def test_an_error_or_an_exception_leaves_nothing(acme: Session) -> None:
    with pytest.raises(RuntimeError):  # noqa: PT012  # the block is what is tried
        async with acme.unit_of_work() as unit:
            unit.add(Customer, name="x")
            raise RuntimeError
    with pytest.raises(errors.ValidationError) as caught:
        acme.unit_of_work().add(Customer, name="", visits="many", no_such=1)
    assert {issue.field for issue in caught.value.issues} == {"name", "visits", "no_such"}
    unit = acme.unit_of_work()
    added = unit.add(Customer, name="x")
    with pytest.raises(errors.ValidationError, match="not committed yet"):
        acme.unit_of_work().update(added, name="y")
    for wrong in ("no record", (Customer, added.id), None):
        with pytest.raises(errors.ValidationError, match="must be a record"):
            unit.delete(wrong)
    for key in ("", "x" * 201, 5, "a\x00b"):
        with pytest.raises(errors.ValidationError, match="1 to 200 characters"):
            acme.unit_of_work(key)  # type: ignore[arg-type]
    order = acme.unit_of_work()
    with pytest.raises(errors.ValidationError, match="deleted for good"):
        order.restore((Order, new_id(), 1))
    assert not await acme.exists(Customer)


# Idempotency keys.


async def test_a_repeated_key_returns_what_the_first_commit_did(acme: Session, rival: Session) -> None:
    customer = await acme.create(Customer, name="x")

    async def buy(session: Session, buyer: Customer, total: int = 1) -> tuple[Any, Order, Contact]:
        unit = session.unit_of_work(key="buy")
        unit.update(buyer, visits=7)
        contact = unit.add(Contact, customer_id=buyer.id, name="c")
        order = unit.add(Order, customer_id=buyer.id, contact_id=contact.id, number="1", total=total)
        return await unit.commit(), order, contact

    first, order, contact = await buy(acme, customer)
    second, same, person = await buy(acme, await acme.get(Customer, customer.id))
    # The second attempt reads the record as it is by now, and would have nothing to change about it: it asks for the same.
    assert not first.repeated
    await acme.update(await acme.get(Order, order.id), total=5)  # things go on
    await acme.update(await acme.get(Customer, customer.id), name="y")
    late = await acme.get(Customer, customer.id)
    third, again, whom = await buy(acme, late)
    assert late == await acme.get(Customer, customer.id)
    assert (late.version, late.name) == (3, "y")
    assert [(c.repeated, c.position, c.at) for c in (second, third)] == [(True, first.position, first.at)] * 2
    assert same == order
    assert again == await acme.get(Order, order.id)
    assert (again.id, again.version, again.total) == (order.id, 2, 5)
    assert person == whom == contact == await acme.get(Contact, contact.id)
    assert same.contact_id == contact.id
    assert (await acme.count(Order), await acme.count(Contact)) == (1, 1)
    with pytest.raises(errors.IdempotencyError):
        await buy(acme, customer, total=2)
    theirs = await rival.create(Customer, name="y")
    assert not (await buy(rival, theirs))[0].repeated  # the key is the organization's own


async def test_two_that_use_a_key_at_once_do_it_once(acme: Session) -> None:
    async def once() -> Any:
        unit = acme.unit_of_work(key="once")
        unit.add(Customer, name="x")
        return await unit.commit()

    commits = await asyncio.gather(*(once() for _ in range(8)))
    assert sorted(commit.repeated for commit in commits) == [False] + [True] * 7
    assert len({commit.position for commit in commits}) == 1
    assert await acme.count(Customer) == 1


async def test_a_key_of_a_unit_that_failed_is_free(acme: Session) -> None:
    taken = await acme.create(Customer, name="x", email="a@x.test")
    unit = acme.unit_of_work(key="k")
    unit.add(Customer, name="y", email="a@x.test")
    with pytest.raises(errors.UniqueError):
        await unit.commit()
    await acme.purge(taken)
    assert not (await unit.commit()).repeated


async def test_an_empty_unit_with_a_key_holds_it(acme: Session) -> None:
    assert not (await acme.unit_of_work(key="k").commit()).repeated
    assert (await acme.unit_of_work(key="k").commit()).repeated
    unit = acme.unit_of_work(key="k")
    unit.add(Customer, name="x")
    with pytest.raises(errors.IdempotencyError):
        await unit.commit()
    assert not await acme.exists(Customer)


async def test_old_notes_are_forgotten_and_young_ones_are_not(
    acme: Session, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "FORGETTING", 1)
    units.commit_statement.cache_clear()
    ids = [new_id() for _ in range(3)]
    for age, id in zip(("47 hours", "49 hours", "30 days"), ids, strict=True):
        await admin.execute(
            "insert into freehold.units (organization_id, id, at) values ($1, $2, now() - $3::text::interval)",
            acme.context.organization_id, id, age,
        )  # fmt: skip
    unit = acme.unit_of_work()
    unit.add(Customer, name="x")
    commit = await unit.commit()
    units.commit_statement.cache_clear()
    left = {
        row["id"]
        for row in await admin.fetch("select id from freehold.units where id = any ($1)", [*ids, commit.unit_id])
    }
    assert left == {ids[0], commit.unit_id}


# Races.


async def test_exactly_one_of_two_writers_wins_each_version(acme: Session, rival: Session) -> None:
    customer = await acme.create(Customer, name="x")
    wins = conflicts = 0

    async def attempt() -> None:
        nonlocal wins, conflicts
        read = await acme.get(Customer, customer.id)
        unit = acme.unit_of_work()
        unit.update(read, visits=read.visits + 1)
        unit.add(Contact, customer_id=customer.id, name=f"{read.version}")
        try:
            await unit.commit()
            wins += 1
        except errors.ConcurrencyError:
            conflicts += 1

    while wins < 100:
        await asyncio.gather(*(attempt() for _ in range(4)))
    final = await acme.get(Customer, customer.id)
    assert (final.visits, final.version) == (wins, wins + 1)
    assert await acme.count(Contact) == wins
    assert conflicts > 0


async def test_units_that_lock_the_same_records_do_not_fail(acme: Session) -> None:
    customers = [await acme.create(Customer, name=str(n)) for n in range(6)]
    done = 0

    async def attempt(order: list[Customer]) -> None:
        nonlocal done
        while True:
            unit = acme.unit_of_work()
            for record in order:
                read = await acme.get(Customer, record.id)
                unit.update(read, visits=read.visits + 1)
            try:
                await unit.commit()
            except (errors.ConcurrencyError, errors.CommitError):
                continue
            done += 1
            return

    await asyncio.gather(*(attempt(customers[:: 1 if n % 2 else -1]) for n in range(8)))
    assert [record.visits for record in await acme.list(Customer)] == [8] * 6
    assert done == 8


async def test_a_unit_in_a_transaction_ends_with_it(acme: Session) -> None:
    async with acme.transaction() as transaction:
        async with transaction.unit_of_work() as unit:
            customer = unit.add(Customer, name="x", email="a@x.test")
        with pytest.raises(errors.UniqueError):  # the block is what is tried
            async with transaction.unit_of_work() as unit:
                unit.add(Customer, name="y", email="a@x.test")
        assert await transaction.count(Customer) == 1  # it goes on
        assert not await acme.exists(Customer)
    assert await acme.get(Customer, customer.id) == customer
    with pytest.raises(RuntimeError):  # noqa: PT012  # the block is what is tried
        async with acme.transaction() as transaction:
            async with transaction.unit_of_work() as unit:
                unit.update(customer, name="z")
            raise RuntimeError
    assert (await acme.get(Customer, customer.id)).name == "x"


async def test_nobody_notes_or_settles_a_unit_of_another_organization(
    acme: Session, rival: Session, raw: asyncpg.Connection
) -> None:
    unit = acme.unit_of_work(key="k")
    unit.add(Customer, name="x")
    commit = await unit.commit()
    settled = await acme.settle(commit.unit_id)
    assert settled is not None
    assert (settled.position, settled.at) == (commit.position, commit.at)
    assert await rival.settle(commit.unit_id) is None
    assert await acme.settle(str(commit.unit_id)) is not None
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await raw.fetch("select * from freehold.units")
    with pytest.raises(asyncpg.PostgresError, match="needs an organization"):
        await raw.fetch("select freehold.open_unit($1, null, null, null)", new_id())


# Circles of references.


class Team(Entity):
    name: str = field(max_length=20)
    lead_id: UUID | None = reference("Member", on_delete="set_null", default=None, reverse="leads")


class Member(Entity, unique=[Unique("team_id", "name")]):
    name: str = field(max_length=20)
    team_id: UUID = reference(Team, on_delete="cascade")
    mentor_id: UUID | None = reference("self", on_delete="set_null", default=None, reverse="pupils")


class Left(Entity):
    right_id: UUID = reference("Right")


class Right(Entity):
    left_id: UUID = reference(Left)


circles = Application("circles", [Team, Member, Left, Right])


@pytest.fixture
async def club(server: Server) -> AsyncIterator[Session]:
    """A session of a new organization whose entities refer to each other in circles."""
    async with (
        scratch(server, circles) as name,
        Database.open(server.address(name, circles), circles, size=2) as database,
        database.session(await new_context(database)) as session,
    ):
        yield session


async def test_a_circle_is_closed_afterwards(club: Session) -> None:
    async with club.unit_of_work() as unit:
        team = unit.add(Team, name="t")
        lead = unit.add(Member, name="lead", team_id=team.id)
        pupil = unit.add(Member, name="pupil", team_id=team.id, mentor_id=lead.id)
        unit.update(lead, mentor_id=pupil.id)  # a circle within one entity is one statement
        unit.update(team, lead_id=lead.id)
    for record in (team, lead, pupil):
        assert record == await club.get(type(record), record.id)
    assert (team.lead_id, team.version) == (lead.id, 2)
    with pytest.raises(errors.ValidationError, match="commit one after the other"):  # noqa: PT012  # the block is what is tried
        async with club.unit_of_work() as unit:
            unit.delete(lead)  # which takes the lead from the team
            unit.delete(team)
    async with club.unit_of_work() as unit:
        unit.update(team, name="new")
        unit.delete(lead)
    assert team == await club.get(Team, team.id)
    assert (team.lead_id, team.name) == (None, "new")
    await club.delete(team)
    assert not await club.exists(Member)


async def test_a_circle_that_nothing_can_break_is_refused(club: Session) -> None:
    unit = club.unit_of_work()
    left, right = new_id(), new_id()
    one = unit.add(Left, right_id=right)
    unit.add(Right, left_id=one.id)
    two = unit.add(Left, right_id=left)
    other = unit.add(Right, left_id=two.id)
    unit.update(two, right_id=other.id)
    with pytest.raises(errors.ValidationError, match=r"none can be there first: (Left|Right) .* -> "):
        await unit.commit()


async def test_a_long_chain_is_no_deep_recursion(club: Session) -> None:
    unit = club.unit_of_work()
    team = unit.add(Team, name="t")
    before = None
    for number in range(2_000):
        before = unit.add(Member, name=str(number), team_id=team.id, mentor_id=before.id if before else None)
    await unit.commit()
    assert await club.count(Member) == 2_000


def test_what_refers_to_a_record_goes_before_it() -> None:
    registry = application.registry
    pendings = [Pending(registry[cls], new_id(), "delete", 1) for cls in (Customer, Contact, Order)]
    ordered = [batch.pendings[0].entity.name for batch in in_order(pendings, registry)]
    assert ordered == ["Order", "Contact", "Customer"]


async def test_a_unit_is_bounded(acme: Session) -> None:
    unit = acme.unit_of_work()
    for number in range(10_000):
        unit.add(Customer, name=str(number))
    with pytest.raises(errors.ValidationError, match="10,000 records at most"):
        unit.add(Customer, name="one more")


async def test_its_id_is_known_before_it_is_committed(acme: Session) -> None:
    unit = acme.unit_of_work()
    known = unit.id
    unit.add(Customer, name="x")
    assert await unit.commit() == await acme.settle(known)
    failing = acme.unit_of_work()
    known = failing.id
    failing.add(Contact, name="c", customer_id=new_id())
    with pytest.raises(errors.ReferenceError):
        await failing.commit()
    assert failing.id == known
    assert await acme.settle(known) is None
