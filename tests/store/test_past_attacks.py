"""The past under attack: transactions that overlap the moment, ids that live twice, odd moments, cursors of elsewhere."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, errors
from tests.conftest import Server, new_context
from tests.probe import enter, plain, run, scratch
from tests.store.test_past import clock
from tests.world import Contact, Customer, application

Connection = asyncpg.Connection


async def test_a_transaction_is_told_whole_or_not_at_all(
    server: Server, database_name: str, raw: Connection, acme: Session
) -> None:
    """It began before the moment and committed after it; another transaction changed one of its records in between."""
    first = await acme.create(Customer, name="a")
    await acme.create(Customer, name="b")
    async with plain(server.address(database_name)) as long, long.transaction():
        await enter(long, acme.context)
        moment = await clock(raw)
        await acme.update(first, visits=1)
        await long.execute("update app.customers set name = name || ' long', version = version + 1")
    async with acme.as_of(moment) as past:
        names = sorted(customer.name for customer in await past.list(Customer))
    assert names in (["a", "b"], ["a long", "b long"])


async def test_what_was_not_there_to_be_seen_at_a_moment_does_not_come_to_have_been_there(
    server: Server, database_name: str, raw: Connection, acme: Session
) -> None:
    await acme.create(Customer, name="a")
    async with plain(server.address(database_name)) as long, long.transaction():
        await enter(long, acme.context)
        moment = await clock(raw)
        async with acme.as_of(moment) as past:
            before = (await past.list(Customer)).records
        await long.execute("update app.customers set name = name || ' long', version = version + 1")
    async with acme.as_of(moment) as past:
        assert (await past.list(Customer)).records == before


async def test_several_changes_of_one_transaction_count_together(raw: Connection, acme: Session) -> None:
    customer = await acme.create(Customer, name="a")
    moment = await clock(raw)
    async with raw.transaction():
        await enter(raw, acme.context)
        for name in ("b", "c"):
            await raw.execute("update app.customers set name = $1, version = version + 1", name)
        await raw.execute("delete from app.customers")
        await raw.execute("insert into app.customers (id, name) values ($1, 'd')", customer.id)
        at = await raw.fetchval("select now()")
    async with acme.as_of(moment) as past:
        assert (await past.list(Customer)).records == (customer,)
    async with acme.as_of(at) as past:  # the very microsecond
        assert (await past.get(Customer, customer.id)).name == "d"
    async with acme.as_of(at - timedelta(microseconds=1)) as past:
        assert await past.get(Customer, customer.id) == customer


async def test_each_life_of_an_id_is_told_in_its_time(raw: Connection, acme: Session) -> None:
    customer = await acme.create(Customer, name="first")
    moments = [await clock(raw)]
    await run(
        raw,
        acme.context,
        "with gone as (delete from app.customers where id = $1 returning *) "
        "insert into app.customers (id, name) select id, 'second' from gone",
        customer.id,
    )
    moments.append(await clock(raw))
    await acme.purge((Customer, customer.id, 1))
    moments.append(await clock(raw))
    await run(raw, acme.context, "insert into app.customers (id, name) values ($1, 'third')", customer.id)
    moments.append(await clock(raw))
    told = []
    for moment in moments:
        async with acme.as_of(moment) as past:
            told.append([each.name for each in await past.list(Customer, deleted=True)])
    assert told == [["first"], ["second"], [], ["third"]]
    changed = await acme.update((Customer, customer.id, 1), name="other")
    assert (await acme.revert(changed, 1)).name == "third"


async def test_the_log_keeps_values_whatever_the_writer_has_set(raw: Connection, acme: Session) -> None:
    customer = await acme.create(
        Customer, name="a", rating=1 / 3, patience=-timedelta(days=1, hours=2), photo=b"\x00\xff\\",
        seen_at=datetime(2026, 2, 1, tzinfo=UTC)
    )  # fmt: skip
    moment = await clock(raw)
    async with raw.transaction():
        await enter(raw, acme.context)
        for name, value in (
            ("extra_float_digits", "-10"),
            ("IntervalStyle", "sql_standard"),
            ("bytea_output", "escape"),
            ("DateStyle", "SQL, DMY"),
            ("TimeZone", "Asia/Kolkata"),
        ):
            await raw.execute("select set_config($1, $2, true)", name, value)
        await raw.execute("update app.customers set name = 'b'")
    async with acme.as_of(moment) as past:
        assert await past.get(Customer, customer.id) == customer


class Nowhere(tzinfo):
    """A time zone that does not know its offset: datetimes in it are naive (datetime's documentation says so)."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None


async def test_a_moment_in_a_zone_without_an_offset_is_refused(raw: Connection, acme: Session) -> None:
    moment = (await clock(raw)).replace(tzinfo=Nowhere())
    with pytest.raises(errors.ValidationError, match="moment"):
        async with acme.as_of(moment):
            pass


@pytest.mark.parametrize(
    "offset", [timedelta(hours=-23, minutes=-59), timedelta(hours=16), timedelta(microseconds=1)], ids=str
)
async def test_every_time_zone_of_python_names_a_moment(raw: Connection, acme: Session, offset: timedelta) -> None:
    await acme.create(Customer, name="a")
    async with acme.as_of((await clock(raw)).astimezone(timezone(offset))) as past:
        assert await past.count(Customer) == 1


async def test_the_past_ends_with_its_session(raw: Connection, database: Database, acme: Session) -> None:
    moment = await clock(raw)
    async with database.session(acme.context) as session:
        manager = session.as_of(moment)
        past = await manager.__aenter__()
    with pytest.raises(errors.IsolationError, match="closed"):
        await past.count(Customer)


async def test_a_cursor_goes_between_now_and_then_but_not_between_organizations(
    raw: Connection, acme: Session, rival: Session
) -> None:
    for name in "abcd":
        await acme.create(Customer, name=name)
    await rival.create(Customer, name="zebra")
    moment = await clock(raw)
    now = await acme.list(Customer, limit=2, order_by="name")
    async with acme.as_of(moment) as past, rival.as_of(moment) as theirs:
        then = await past.list(Customer, limit=1, order_by="name")
        assert [each.name for each in await past.list(Customer, limit=2, order_by="name", after=now.next)] == ["c", "d"]
        for session, cursor in ((theirs, now.next), (theirs, then.next), (rival, then.next)):
            with pytest.raises(errors.CursorError):
                await session.list(Customer, order_by="name", after=cursor)


async def test_the_past_reaches_no_other_organization_over_relations(
    raw: Connection, acme: Session, rival: Session
) -> None:
    """The log of both has the same id: as if one had guessed the other's."""
    theirs = await rival.create(Customer, name="zebra", tax_number="zebra")
    ours = await acme.create(Customer, name="ours")
    contact = await acme.create(Contact, customer_id=ours.id, name="k")
    moment = await clock(raw)
    await run(raw, acme.context, "insert into app.customers (id, name) values ($1, 'ours too')", theirs.id)
    await acme.update(contact, customer_id=theirs.id)
    await rival.update(theirs, name="zebra two")
    after = await clock(raw)
    told = []
    for when in (moment, after):
        async with acme.as_of(when) as past:
            told += [
                (await past.list(Contact, include={"customer": True}, as_json=True)).json,
                (await past.list(Customer, include={"contacts": True}, private=True, with_total=True)).records,
                await past.count(Contact, {"customer.name": {"starts_with": "zebra"}}),
                await past.aggregate(Customer, group_by=["name"], max=["name"]),
                await past.get_many(Customer, [theirs.id, ours.id]),
            ]
    told.append(await acme.history((Customer, theirs.id), private=True))
    assert "zebra" not in repr(told)
    assert [told[2], told[7]] == [0, 0]
    with pytest.raises(errors.ConcurrencyError, match="1"):
        await acme.revert((Customer, theirs.id, 2), 1)  # theirs has two versions, ours one


async def test_private_fields_of_the_past_are_as_private(raw: Connection, acme: Session) -> None:
    customer = await acme.create(Customer, name="a", tax_number="secret one")
    await acme.update(customer, tax_number="secret two", name="b")
    moment = await clock(raw)
    third = await acme.update((Customer, customer.id, 2), tax_number=None)
    async with acme.as_of(moment) as past:
        told: list[Any] = [
            (await past.list(Customer)).records,
            (await past.list(Customer, as_json=True, include={"contacts": True})).json,
            await past.get(Customer, customer.id),
            await past.get_many(Customer, [customer.id]),
        ]
        for refused in ({"order_by": "tax_number"},):
            with pytest.raises(errors.ValidationError):
                await past.list(Customer, **refused)
        with pytest.raises(errors.ValidationError):
            await past.aggregate(Customer, max=["tax_number"])
    told += [await acme.history(customer), await acme.history(Customer), await acme.revert(third, 1)]
    assert "secret" not in repr(told)


async def test_of_reverts_that_race_exactly_one_wins(acme: Session) -> None:
    changed = await acme.update(await acme.create(Customer, name="a"), name="b")
    ends = await asyncio.gather(*(acme.revert(changed, 1) for _ in range(8)), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["ConcurrencyError"] * 7 + ["Customer"]
    assert [change.version for change in await acme.history(changed)] == [3, 2, 1]


async def test_of_reverts_to_one_unique_value_exactly_one_wins(acme: Session) -> None:
    freed = []
    for name in "ab":
        freed.append(await acme.update(await acme.create(Customer, name=name, email="x@x.test"), email=None))
    ends = await asyncio.gather(*(acme.revert(record, 1) for record in freed), return_exceptions=True)
    assert sum(isinstance(end, Customer) for end in ends) == 1
    assert sum(isinstance(end, errors.UniqueError | errors.ValidationError) for end in ends) == 1
    assert await acme.count(Customer, {"email": "x@x.test"}) == 1


async def test_swapped_values_clash_and_a_restored_record_is_reverted(acme: Session) -> None:
    one = await acme.create(Customer, name="a", email="a@x.test", code="c")
    two = await acme.create(Customer, name="b", email="b@x.test")
    one = await acme.update(one, email=None)
    two = await acme.update(two, email="a@x.test")
    one = await acme.update(one, email="b@x.test")
    for record in (one, two):
        with pytest.raises(errors.ValidationError) as caught:
            await acme.revert(record, 1)
        assert [issue.path for issue in caught.value.issues] == [("email",)]
    await acme.delete(two)
    restored = await acme.restore(await acme.delete(one))
    back = await acme.revert(restored, 1)
    assert (back.email, back.code, back.deleted_at, back.version) == ("a@x.test", "c", None, 6)
    with pytest.raises(errors.UniqueError):
        await acme.restore((Customer, two.id, 3))


async def test_a_sequence_that_was_set_back_does_not_change_the_past(server: Server) -> None:
    """A logical replica that takes over has the rows, but not the sequences."""
    async with (
        scratch(server) as name,
        plain(server.admin_address(name)) as admin,
        Database.open(server.address(name), application, size=1) as database,
    ):
        session = database.session(await new_context(database))
        customer = await session.create(Customer, name="a")
        moment = await clock(admin)
        customer = await session.update(customer, name="b")
        await admin.execute("select setval('freehold.log_position', 1)")
        await application.setup(server.admin_address(name), {application.roles.application: server.password})
        customer = await session.update(customer, name="c")
        async with session.as_of(moment) as past:
            assert (await past.get(Customer, customer.id)).name == "a"
        assert [change.version for change in await session.history(customer)] == [3, 2, 1]
