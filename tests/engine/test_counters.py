"""Declared counters: kept with the rows that they count, whoever changes these, and never across organizations."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session, errors
from freehold.model.context import new_id
from tests import probe
from tests.conftest import Server, new_context
from tests.counted import Bookmark, Note, Resource, application
from tests.probe import scratch

Connection = asyncpg.Connection
COUNTERS = ("marks", "stars", "seen_also", "notes", "copies")


@pytest.fixture
async def plain(server: Server, library_name: str) -> AsyncIterator[Connection]:
    """A plain connection of the application role."""
    async with probe.plain(server.address(library_name, application)) as connection:
        yield connection


async def counts(session: Session, *records: Any) -> list[dict[str, int]]:
    """What the counters of records say, without those that are 0."""
    found = [await session.get(Resource, record.id, deleted=True) for record in records]
    return [{name: value for name in COUNTERS if (value := getattr(each, name))} for each in found]


async def test_creations_changes_deletions_and_restorations_count(shelf: Session) -> None:
    one, two = await shelf.create(Resource, name="one"), await shelf.create(Resource, name="two")
    assert await counts(shelf, one, two) == [{}, {}]
    mark = await shelf.create(Bookmark, resource_id=one.id)
    assert await counts(shelf, one, two) == [{"marks": 1}, {}]
    mark = await shelf.update(mark, kind="star")
    assert await counts(shelf, one, two) == [{"marks": 1, "stars": 1}, {}]
    mark = await shelf.update(mark, folder="later")
    assert await counts(shelf, one, two) == [{"marks": 1}, {}]
    mark = await shelf.update(mark, resource_id=two.id, folder=None, related_id=one.id)
    assert await counts(shelf, one, two) == [{"seen_also": 1}, {"marks": 1, "stars": 1}]
    mark = await shelf.delete(mark)
    assert await counts(shelf, one, two) == [{}, {}]
    mark = await shelf.restore(mark)
    assert await counts(shelf, one, two) == [{"seen_also": 1}, {"marks": 1, "stars": 1}]
    await shelf.purge(mark)
    assert await counts(shelf, one, two) == [{}, {}]
    note = await shelf.create(Note, resource_id=one.id, text="fine")
    assert await counts(shelf, one, two) == [{"notes": 1}, {}]
    await shelf.delete(note)
    assert await counts(shelf, one, two) == [{}, {}]


async def test_purging_what_was_deleted_before_takes_nothing_off(shelf: Session) -> None:
    one = await shelf.create(Resource, name="one")
    first, _ = [await shelf.create(Bookmark, resource_id=one.id) for _ in range(2)]
    gone = await shelf.delete(first)
    await shelf.purge(gone)
    assert await counts(shelf, one) == [{"marks": 1}]


async def test_a_counter_is_no_new_version_and_is_logged(shelf: Session) -> None:
    one = await shelf.create(Resource, name="one")
    mark = await shelf.create(Bookmark, resource_id=one.id)
    now = await shelf.get(Resource, one.id)
    assert (now.version, now.updated_at, now.updated_by) == (1, one.updated_at, one.updated_by)
    change, _ = await shelf.history(one)
    assert (change.action, change.version, change.diff) == ("update", 1, {"marks": (0, 1)})
    assert change.actor_id == mark.created_by
    async with shelf.as_of(one.created_at) as past:
        assert (await past.get(Resource, one.id)).marks == 0
    await shelf.update(one, name="still the version that was read")


async def test_nobody_can_set_one(shelf: Session, plain: Connection) -> None:
    one = await shelf.create(Resource, name="one")
    assert "marks" not in Resource.Create.model_fields
    assert "marks" not in Resource.Patch.model_fields
    for call in (
        shelf.create(Resource, name="x", marks=5),
        shelf.update(one, marks=5),
        shelf.increment(Resource, one.id, marks=5),
    ):
        with pytest.raises(errors.ValidationError) as caught:
            await call
        assert caught.value.issues[0].path == ("marks",)
    for statement in (
        "update app.resources set marks = 5",
        "insert into app.resources (name, marks) values ('x', 5)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await probe.run(plain, shelf._messenger.context, statement)
    assert await counts(shelf, one) == [{}]


async def test_units_of_work_count(shelf: Session) -> None:
    async with shelf.unit_of_work() as unit:
        one = unit.add(Resource, name="one")
        assert one.marks == 0
        mark = unit.add(Bookmark, resource_id=one.id)
    now = await shelf.get(Resource, one.id)
    assert (now.marks, now.version) == (1, 1)
    async with shelf.unit_of_work() as unit:
        unit.save(now.model_copy(update={"name": "two"}))
        unit.delete(mark)
    now = await shelf.get(Resource, one.id)
    assert (now.name, now.marks, now.version) == ("two", 0, 2)
    with pytest.raises(errors.ValidationError) as caught:
        shelf.unit_of_work().save(now.model_copy(update={"marks": 9}))
    assert caught.value.issues[0].path == ("marks",)


async def test_bulk_calls_count(shelf: Session) -> None:
    await shelf.create_many(Resource, [{"name": str(number)} for number in range(3)])
    records = (await shelf.list(Resource, order_by="name")).records
    await shelf.create_many(Bookmark, [{"resource_id": record.id} for record in records for _ in range(2)])
    assert await counts(shelf, *records) == [{"marks": 2}] * 3
    await shelf.delete_where(Bookmark, {"resource_id": records[0].id})
    assert await counts(shelf, *records) == [{}, {"marks": 2}, {"marks": 2}]


async def test_reverting_leaves_it_as_it_is(shelf: Session) -> None:
    one = await shelf.create(Resource, name="one")
    changed = await shelf.update(one, name="two")
    await shelf.create(Bookmark, resource_id=one.id)
    back = await shelf.revert(changed, 1)
    assert (back.name, back.marks) == ("one", 1)


async def test_statements_of_many_rows_count_each(shelf: Session, plain: Connection) -> None:
    """Raw SQL of the application role: one statement adds to many records, moves some and takes some away."""
    records = [await shelf.create(Resource, name=str(number)) for number in range(3)]
    ids = [record.id for record in records]
    context = shelf._messenger.context

    async def run(statement: str) -> None:
        await probe.run(plain, context, statement, ids)

    await run(
        "insert into app.bookmarks (resource_id, kind) select i, 'star' from unnest($1::uuid[]) i, generate_series(1, 4)"
    )
    assert await counts(shelf, *records) == [{"marks": 4, "stars": 4}] * 3
    await run(
        "update app.bookmarks set resource_id = ($1::uuid[])[1], kind = 'plain' where resource_id = ($1::uuid[])[2]"
    )
    assert await counts(shelf, *records) == [{"marks": 8, "stars": 4}, {}, {"marks": 4, "stars": 4}]
    await run("delete from app.bookmarks where resource_id = any ($1) and kind = 'star'")
    assert await counts(shelf, *records) == [{"marks": 4}, {}, {}]
    changes = await shelf.history(records[0])
    assert [change.diff.get("marks") for change in changes] == [(8, 4), (4, 8), (0, 4), (None, 0)]


async def test_a_record_is_changed_once_by_a_statement(shelf: Session, plain: Connection, keeper: Connection) -> None:
    one = await shelf.create(Resource, name="one")
    text = (
        "insert into app.bookmarks (resource_id, related_id, kind) select $1, $1, 'star' from generate_series(1, 100)"
    )
    await probe.run(plain, shelf._messenger.context, text, one.id)
    assert await counts(shelf, one) == [{"marks": 100, "stars": 100, "seen_also": 100}]
    assert await keeper.fetchval("select count(*) from freehold.log where record_id = $1", one.id) == 2


async def test_a_rule_about_a_counter_holds_for_what_is_counted(shelf: Session, plain: Connection) -> None:
    one = await shelf.create(Resource, name="one")
    text = "insert into app.notes (resource_id, text) select $1, 'n' from generate_series(1, 50)"
    await probe.run(plain, shelf._messenger.context, text, one.id)
    with pytest.raises(errors.ValidationError, match="resources_few_notes_rule"):
        await shelf.create(Note, resource_id=one.id, text="one too many")
    assert await counts(shelf, one) == [{"notes": 50}]
    assert await shelf.count(Note) == 50


async def test_an_entity_that_counts_its_own_records(shelf: Session, plain: Connection) -> None:
    one = await shelf.create(Resource, name="one")
    copies = [await shelf.create(Resource, name="copy", origin_id=one.id) for _ in range(3)]
    assert await counts(shelf, one, *copies) == [{"copies": 3}, {}, {}, {}]
    # One statement changes the record that counts and those that it counts: the log must tell of both changes in their order.
    await probe.run(plain, shelf._messenger.context, "update app.resources set name = 'other', origin_id = null")
    assert await counts(shelf, one) == [{}]
    newest, before, *_ = await shelf.history(one)
    assert newest.diff == {"copies": (3, 0)}
    assert before.diff == {"name": ("one", "other")}


async def test_purging_a_record_with_what_it_counts(shelf: Session) -> None:
    one, other = await shelf.create(Resource, name="one"), await shelf.create(Resource, name="other")
    await shelf.create(Bookmark, resource_id=one.id, related_id=other.id)
    await shelf.create(Bookmark, resource_id=other.id, related_id=one.id)
    await shelf.create(Note, resource_id=one.id, text="n")
    child = await shelf.create(Resource, name="child", origin_id=one.id)
    assert await counts(shelf, one, other) == [
        {"marks": 1, "seen_also": 1, "notes": 1, "copies": 1},
        {"marks": 1, "seen_also": 1},
    ]
    await shelf.purge(await shelf.get(Resource, one.id))
    assert await counts(shelf, other, child) == [{"marks": 1}, {}]
    assert (await shelf.get(Resource, child.id)).origin_id is None
    assert await shelf.count(Note) == 0


async def test_two_transactions_count_on_one_record(
    shelf: Session, server: Server, library_name: str, keeper: Connection
) -> None:
    """Both have added a row before either adds to the counter: one waits for the other, and both count."""
    one = await shelf.create(Resource, name="one")
    context = shelf._messenger.context
    text = "insert into app.bookmarks (resource_id) values ($1)"
    address = server.address(library_name, application)
    async with probe.plain(address) as first, probe.plain(address) as second:
        for connection in (first, second):
            await connection.execute("begin")
            await probe.enter(connection, context)
        await first.execute(text, one.id)
        waiting = asyncio.create_task(second.execute(text, one.id))
        await probe.blocked(keeper, 1)
        await first.execute("commit")
        await waiting
        assert await counts(shelf, one) == [{"marks": 1}]
        await second.execute("commit")
    assert await counts(shelf, one) == [{"marks": 2}]


async def test_statements_that_meet_on_many_records_do_not_deadlock(
    shelf: Session, server: Server, library_name: str, keeper: Connection
) -> None:
    """Two plans come to the records in opposite orders; both find the first record held, and go one after the other."""
    context = shelf._messenger.context
    ids = sorted(new_id() for _ in range(20))
    add = "insert into app.bookmarks (resource_id) select unnest($1::uuid[])"
    address = server.address(library_name, application)
    async with probe.plain(address) as first, probe.plain(address) as second:
        for id in reversed(ids):  # the order in which the table is read
            await probe.run(first, context, "insert into app.resources (id, name) values ($1, 'one')", id)
        await second.execute("set enable_nestloop = off; set enable_mergejoin = off")
        async with keeper.transaction():
            await keeper.execute("select from app.resources where id = $1 for no key update", ids[10])
            tasks = [asyncio.create_task(probe.run(each, context, add, ids)) for each in (first, second)]
            await probe.blocked(keeper, 2)
        await asyncio.gather(*tasks)
    assert {record.marks for record in await shelf.list(Resource)} == {2}


async def test_the_organization_is_asked_for_without_the_policy_too(server: Server) -> None:
    """The same id in two organizations, where the policies do not hold for the owner: only one of them is counted on."""
    twin = new_id()
    async with scratch(server, application) as name:
        address = server.address(name, application)
        async with Database.open(address, application, size=1) as database, probe.plain(address) as connection:
            async with probe.plain(server.admin_address(name)) as admin:  # opening would refuse it
                await admin.execute("alter table app.resources no force row level security")
            contexts = [await new_context(database) for _ in range(2)]
            for context in contexts:
                await probe.run(connection, context, "insert into app.resources (id, name) values ($1, 'twin')", twin)
            add = "insert into app.bookmarks (resource_id) values ($1)"
            await probe.run(connection, contexts[0], add, twin)
            read = "select marks from app.resources where id = $1"
            counted = [await probe.run(connection, context, read, twin) for context in contexts]
    assert [rows[0]["marks"] for rows in counted] == [1, 0]


async def test_another_organization_counts_nothing_here(library: Database, plain: Connection) -> None:
    own, other = [library.session(await new_context(library)) for _ in range(2)]
    mine, theirs = await own.create(Resource, name="mine"), await other.create(Resource, name="theirs")
    await own.create(Bookmark, resource_id=mine.id)
    with pytest.raises(errors.ReferenceError):
        await other.create(Bookmark, resource_id=mine.id)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await probe.run(plain, other._messenger.context, "insert into app.bookmarks (resource_id) values ($1)", mine.id)
    await other.create(Bookmark, resource_id=theirs.id)
    assert await counts(own, mine) == [{"marks": 1}]
    assert await counts(other, theirs) == [{"marks": 1}]
    # The same id in both organizations: each has its own counter.
    twin = new_id()
    for session in (own, other):
        await probe.run(
            plain, session._messenger.context, "insert into app.resources (id, name) values ($1, 'twin')", twin
        )
    await probe.run(plain, own._messenger.context, "insert into app.bookmarks (resource_id) values ($1)", twin)
    assert (await own.get(Resource, twin)).marks == 1
    assert (await other.get(Resource, twin)).marks == 0


async def test_lists_are_filtered_and_sorted_by_it(shelf: Session, keeper: Connection) -> None:
    for number in range(4):
        made = await shelf.create(Resource, name=str(number))
        for _ in range(number):
            await shelf.create(Bookmark, resource_id=made.id)
    page = await shelf.list(Resource, where={"marks": {"gte": 1}}, order_by=["-marks"])
    assert [(record.name, record.marks) for record in page] == [("3", 3), ("2", 2), ("1", 1)]
    assert await keeper.fetchval("select count(*) from pg_indexes where indexname = 'resources_marks_idx'") == 1
