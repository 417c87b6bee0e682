"""The past under the names that hold now: of columns, tables and classes that were renamed, swapped, dropped or got another type."""

import os
import random
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Application, Context, Database, Entity, Session, errors, field, reference
from freehold.model.context import new_id
from freehold.postgres.binaries import Binaries
from tests.conftest import Server, new_context
from tests.engine.migrating import Site, entity
from tests.probe import enter, plain, scratch
from tests.store.test_past import clock

Connection = asyncpg.Connection
NOTE = "select freehold.note_columns()"


@pytest.fixture
async def site(server: Server, database_name: str, tmp_path: Path) -> AsyncIterator[Site]:
    # A database of the tests' own was made before this one, and with it the roles.
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


@pytest.fixture
async def own(server: Server, site: Site) -> AsyncIterator[Connection]:
    async with plain(server.admin_address(site.name)) as connection:
        yield connection


def text(length: int = 50) -> tuple[Any, Any]:
    return (str | None, field(default=None, max_length=length))


def number() -> tuple[Any, Any]:
    return (int | None, field(default=None))


async def release(site: Site, app: Application, *statements: str, renames: Any = ()) -> None:
    """The next release: its revision, or the statements in place of one, as a revision of hand-written SQL is run."""
    if statements:
        async with plain(site.address) as admin, admin.transaction():
            await admin.execute("; ".join([*statements, NOTE]))
        await app.setup(site.address, {app.roles.application: site.server.password})
    else:
        await site.new(app, renames=renames)
        await site.up(app)


class Releases:
    """Sessions of one release after the other, of the same context."""

    def __init__(self, site: Site) -> None:
        self.site, self.context = site, Context(organization_id=new_id(), user_id=new_id())

    async def open(self, stack: AsyncExitStack, app: Application) -> Session:
        database = await stack.enter_async_context(Database.open(self.site.server.address(self.site.name), app, size=1))
        if not hasattr(self, "made"):
            self.context, self.made = await new_context(database), True
        return database.session(self.context)


async def test_the_past_of_columns_tables_and_classes_that_were_renamed_again_and_again(
    site: Site, own: Connection
) -> None:
    releases, moments = Releases(site), []
    shapes = [("Client", "clients", "city"), ("Person", "clients", "town"), ("Human", "people", "place")]
    apps = []
    for name, table, column in shapes:
        cls = entity(name, {"name": text(), column: text(), "age": number()}, table=table)
        apps.append((Application("shop", [cls]), cls, column))
    await site.new(apps[0][0])
    await site.up(apps[0][0])
    await site.setup(apps[0][0])
    for turn, (app, cls, column) in enumerate(apps):
        if turn:
            (before, after), table = (shapes[turn - 1], shapes[turn]), shapes[turn][1]
            renames = [(f"{table}.{before[2]}", f"{table}.{after[2]}")]
            await release(site, app, renames=[*([(before[1], after[1])] if before[1] != after[1] else []), *renames])
        async with AsyncExitStack() as stack:
            session = await releases.open(stack, app)
            if turn == 0:
                first = await session.create(cls, name="a", age=1, **{column: "Ulm"})
                quiet = await session.create(cls, name="b", **{column: "Bonn"})
            moments.append(await clock(own))
            await session.update((cls, first.id, turn * 2 + 1), **{column: f"{turn} one"})
            await session.update((cls, first.id, turn * 2 + 2), **{column: f"{turn} two"}, age=turn)
    app, cls, column = apps[-1]
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, app)
        changes = await session.history((cls, first.id))
        assert [change.diff.get(column) for change in reversed(changes)] == [
            (None, "Ulm"), ("Ulm", "0 one"), ("0 one", "0 two"), ("0 two", "1 one"), ("1 one", "1 two"), ("1 two", "2 one"),
            ("2 one", "2 two"),
        ]  # fmt: skip
        assert all(change.entity == "Human" and change.dropped == {} for change in changes)
        assert len(await session.history(actor_id=session.context.user_id)) == 8
        for moment, place in zip(moments, ("Ulm", "0 two", "1 two"), strict=True):
            async with session.as_of(moment) as past:
                assert getattr(await past.get(cls, first.id), column) == place
                found = await past.list(cls, where={column: {"in": [place, "Bonn"]}}, order_by=f"-{column}")
                assert [getattr(each, column) for each in found] == sorted([place, "Bonn"], reverse=True)
                groups = await past.aggregate(cls, group_by=[column], sum=["age"])
                assert {group.keys[column] for group in groups} == {place, "Bonn"}
        back = await session.revert((cls, first.id, 7), 1)
        assert (getattr(back, column), back.age) == ("Ulm", 1)
        assert getattr(await session.get(cls, quiet.id), column) == "Bonn"
    await site.down(app, site.id(1))
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, apps[1][0])
        changes = await session.history((apps[1][1], first.id))
        assert [change.diff["town"][1] for change in changes] == [
            "Ulm",
            "2 two",
            "2 one",
            "1 two",
            "1 one",
            "0 two",
            "0 one",
            "Ulm",
        ]


async def put(own: Connection, context: Context, statement: str, *values: Any) -> None:
    async with own.transaction():
        await enter(own, context)
        await own.execute(statement, *values)


@pytest.mark.parametrize("seed", range(4))
async def test_any_changes_of_names_leave_each_value_with_its_column(site: Site, own: Connection, seed: int) -> None:
    """Columns are renamed, swapped, dropped, added under names that are free again; the oids change as by a restored dump."""
    chance, releases = random.Random(seed), Releases(site)
    first = Application("shop", [entity("Thing", {name: number() for name in "abc"}, table="things")])
    await site.setup(first)
    async with AsyncExitStack() as stack:
        context = (await releases.open(stack, first)).context
    id, columns, gone, fresh = new_id(), {0: "a", 1: "b", 2: "c"}, {}, 3
    told: list[tuple[dict[int, int | None], datetime]] = []
    values: dict[int, int | None] = {0: 0, 1: 0, 2: 0}
    await put(own, context, "insert into app.things (id, a, b, c) values ($1, 0, 0, 0)", id)
    for step in range(1, 26):
        told.append((dict(values), await clock(own)))
        changed = chance.choice(list(columns))
        values[changed] = step
        await put(own, context, f"update app.things set {columns[changed]} = {step}, version = version + 1")
        free = [name for name in "abcdef" if name not in columns.values()]
        async with own.transaction():
            match chance.choice(["rename", "swap", "drop", "add", "restore", "nothing"]):
                case "rename":
                    column = chance.choice(list(columns))
                    new = chance.choice(free)
                    await own.execute(f"alter table app.things rename {columns[column]} to {new}")
                    columns[column] = new
                case "swap" if len(columns) > 1:
                    one, two = chance.sample(list(columns), 2)
                    await own.execute(f"alter table app.things rename {columns[one]} to x")
                    await own.execute(f"alter table app.things rename {columns[two]} to {columns[one]}")
                    await own.execute(f"alter table app.things rename x to {columns[two]}")
                    columns[one], columns[two] = columns[two], columns[one]
                case "drop" if len(columns) > 1:
                    column = chance.choice(list(columns))
                    await own.execute(f"alter table app.things drop {columns[column]}")
                    gone[column] = columns.pop(column)
                    values.pop(column)
                case "add" if len(columns) < 5:
                    name = chance.choice(free)
                    await own.execute(f"alter table app.things add {name} bigint")
                    columns[fresh], values[fresh] = name, None
                    fresh += 1
                case "restore":
                    await own.execute("update freehold.column_names set oid = 1, number = 31 - number")
                case _:
                    pass
            await own.execute(NOTE)
    last = Application("shop", [cls := entity("Thing", {name: number() for name in columns.values()}, table="things")])
    await site.setup(last)
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, last)
        for was, moment in told:
            async with session.as_of(moment) as past:
                record = await past.get(cls, id)
            assert {column: getattr(record, name) for column, name in columns.items()} == {
                column: was.get(column) for column in columns
            }
        versions = [was for was, _ in told] + [dict(values)]
        for change in await session.history((cls, id), private=True):
            if change.action == "update":
                before, after = versions[change.version - 2], versions[change.version - 1]
                kept = {c: (before[c], after[c]) for c in before.keys() & after.keys() if before[c] != after[c]}
                assert change.diff == {columns[c]: pair for c, pair in kept.items() if c in columns}
        now = await session.get(cls, id)
        for version in (1, 9, 17):
            if not versions[version - 1].keys() & columns.keys():
                continue
            now = await session.revert(now, version)
            was = versions[version - 1]
            assert {name: getattr(now, name) for column, name in columns.items() if column in was} == {
                name: was[column] for column, name in columns.items() if column in was
            }


async def test_what_a_dropped_column_held_is_told_to_those_who_may_see_private_fields(
    site: Site, own: Connection
) -> None:
    releases = Releases(site)
    first = Application("shop", [one := entity("Thing", {"name": text(), "pin": text()}, table="things")])
    second = Application("shop", [two := entity("Thing", {"name": text(), "pin": text()}, table="things")])
    await site.setup(first)
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, first)
        made = await session.create(one, name="a", pin="old")
        moment = await clock(own)
        made = await session.update(made, pin="older")
    check = "add constraint things_pin_check check (char_length(pin) <= 50)"
    await release(
        site,
        second,
        "alter table app.things drop pin",
        NOTE,
        'alter table app.things add pin text collate "C"',
        f"alter table app.things {check}",
        "grant insert (pin), update (pin) on app.things to freehold_app",
    )
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, second)
        await session.update((two, made.id, 2), pin="new")
        told = await session.history((two, made.id))
        assert [change.diff for change in told] == [{"pin": (None, "new")}, {}, {"name": (None, "a")}]
        assert "old" not in repr(told)
        told = await session.history((two, made.id), private=True)
        assert [change.dropped for change in told] == [{}, {"pin": ("old", "older")}, {"pin": (None, "old")}]
        async with session.as_of(moment) as past:
            assert (await past.get(two, made.id)).pin is None
        assert (await session.revert((two, made.id, 3), 1)).pin == "new"  # it was not declared in that version


async def test_classes_that_have_swapped_their_tables_keep_their_pasts_apart(site: Site, own: Connection) -> None:
    releases = Releases(site)
    bodies = {"name": text()}
    first = Application("shop", [left := entity("Left", bodies, table="ones"), entity("Right", bodies, table="twos")])
    second = Application("shop", [entity("Left", bodies, table="twos"), right := entity("Right", bodies, table="ones")])
    await site.setup(first)
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, first)
        one = await session.create(left, name="of ones")
        two = await session.create(first.registry.entities["Right"].cls, name="of twos")
        moment = await clock(own)
        await session.update(one, name="of ones, changed")
        await session.update(two, name="of twos, changed")
    await site.setup(second)
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, second)
        for name, words in (("Right", "of ones"), ("Left", "of twos")):
            cls = second.registry.entities[name].cls
            await session.create(cls, name=f"{words}, later")
            changes = await session.history(cls)
            assert [change.diff["name"][1] for change in changes] == [f"{words}, later", f"{words}, changed", words]
            async with session.as_of(moment) as past:
                assert [each.name for each in await past.list(cls)] == [words]
        every = await session.history(actor_id=session.context.user_id)
        assert {(change.entity, str(change.diff["name"][1]).split(",")[0]) for change in every} == {
            ("Right", "of ones"), ("Left", "of twos"),
        }  # fmt: skip
        assert right is second.registry.entities["Right"].cls


def decimal(places: int) -> tuple[Any, Any]:
    return (Decimal | None, field(default=None, digits=12, places=places))


MOMENT, MIDNIGHT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
DATES, MOMENTS = (date | None, field(default=None)), (datetime | None, field(default=None))
LISTS, FLOATS, TRUTHS = (
    (list[str] | None, field(default=None)),
    (float | None, field(default=None)),
    (bool | None, field(default=None)),
)
DURATIONS = (timedelta | None, field(default=None))
TYPES: dict[str, tuple[Any, Any, str, Any, Any, Any]] = {
    # the old declaration, the new one, how the rows are converted, the value then, what as_of tells, what history tells
    "text that is a number": (text(), number(), "bigint using 7", "12", 12, 12),
    "text that is none": (text(), number(), "bigint using 7", "large", None, "large"),
    "a number as text": (number(), text(), "text using x::text", 12, "12", "12"),
    "fewer places": (decimal(4), decimal(1), "numeric(12,1)", Decimal("1.2345"), Decimal("1.2"), Decimal("1.2345")),
    "more places": (decimal(1), decimal(4), "numeric(12,4)", Decimal("1.5"), Decimal("1.5"), Decimal("1.5")),
    "a Decimal as an int": (decimal(2), number(), "bigint", Decimal("2.50"), None, Decimal("2.50")),
    "an int as a Decimal": (number(), decimal(2), "numeric(12,2)", 3, Decimal(3), Decimal(3)),
    "a float as an int": (FLOATS, number(), "bigint", 1.5, None, 1.5),
    "a moment as a date": (MOMENTS, DATES, "date", MOMENT, date(2026, 1, 2), "2026-01-02T03:04:00+00:00"),
    "a whole Decimal as an int": (decimal(2), number(), "bigint", Decimal("2.00"), 2, 2),
    "a date as a moment": (DATES, MOMENTS, "timestamptz", MIDNIGHT.date(), MIDNIGHT, MIDNIGHT),
    "a word that PostgreSQL takes for a date": (text(), DATES, "date using null", "today", None, "today"),
    "a truth as text": (TRUTHS, text(), "text", True, "true", "true"),
    "one as a list": (text(), LISTS, "text[] using null", "a", None, "a"),
    "a duration as a number": (DURATIONS, number(), "bigint using 7", timedelta(hours=1), None, "01:00:00"),
}  # fmt: skip


CHECKS = """
select conname::text as name, pg_get_constraintdef(oid) as what from pg_constraint
where conrelid = 'app.things'::regclass and contype = 'c' and conname ~ '_x_'
"""
TYPE = """
select format_type(atttypid, atttypmod) || coalesce(' collate ' || quote_ident(c.collname), '')
from pg_attribute a left join pg_collation c on c.oid = a.attcollation and c.collname <> 'default'
where attrelid = 'app.things'::regclass and attname = 'x'
"""


@pytest.mark.parametrize("name", TYPES)
async def test_values_of_another_type_are_told_as_those_of_now_or_as_they_were(
    site: Site, own: Connection, name: str
) -> None:
    was, now, using, value, then, told = TYPES[name]
    releases = Releases(site)
    first = Application("shop", [one := entity("Thing", {"name": text(), "x": was}, table="things")])
    second = Application("shop", [two := entity("Thing", {"name": text(), "x": now}, table="things")])
    await site.setup(first)
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, first)
        made = await session.create(one, name="a", x=value)
        moment = await clock(own)
        await session.update(made, x=None, name="b")
    async with scratch(site.server, second) as fresh, plain(site.server.admin_address(fresh)) as other:
        checks, type_now = await other.fetch(CHECKS), await other.fetchval(TYPE)
    alter = "alter table app.things"
    for each in await own.fetch(CHECKS):
        await own.execute(f"{alter} drop constraint {each['name']}")
    await own.execute(f"{alter} alter x type {using}, alter x drop default; {alter} alter x type {type_now}")
    await release(
        site, second, *(f"{alter} add constraint {each['name']} {each['what']}" for each in checks), "select 1"
    )
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, second)
        update, create = await session.history((two, made.id))
        assert update.diff == {"name": ("a", "b"), "x": (told, None)}
        assert create.diff["x"] == (None, told)
        async with session.as_of(moment) as past:
            assert (await past.get(two, made.id)).x == then
            assert await past.count(two, {"x": then} if then is None or not isinstance(then, list) else {}) == 1
        if then == told:
            assert (await session.revert((two, made.id, 2), 1)).x == then
        else:
            with pytest.raises(errors.ValidationError, match="x"):
                await session.revert((two, made.id, 2), 1)


async def test_a_restored_dump_tells_the_same_past(site: Site, own: Connection) -> None:
    """Its tables have other oids, and its columns other numbers."""
    releases = Releases(site)
    first = Application("shop", [one := entity("Thing", {name: number() for name in "abc"}, table="things")])
    second = Application("shop", [entity("Thing", {"c": number(), "z": number()}, table="things")])
    third = Application("shop", [three := entity("Object", {"c": number(), "y": number()}, table="things")])
    await site.setup(first)
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, first)
        made = await session.create(one, a=1, b=2, c=3)
        moment = await clock(own)
        await session.update(made, a=10, b=20, c=30)
    await release(site, second, "alter table app.things drop a", "alter table app.things rename b to z")
    admin = site.address
    tool = Binaries.find().directory / "pg_dump"
    environment = {**os.environ, "PGPASSWORD": admin.password or ""}
    where = ["-h", str(admin.host), "-p", str(admin.port), "-U", str(admin.user)]
    dumped = subprocess.run([tool, *where, site.name], env=environment, capture_output=True, check=True).stdout
    async with scratch(site.server, None) as name:
        command = [tool.with_name("psql"), *where, "-q", "-v", "ON_ERROR_STOP=1", name]
        subprocess.run(command, env=environment, input=dumped, capture_output=True, check=True)
        restored = Site(site.server, name, site.folder)
        await release(restored, second, "select 1")
        await release(restored, third, "alter table app.things rename z to y")
        async with AsyncExitStack() as stack:
            again = Releases(restored)
            again.context, again.made = session.context, True  # type: ignore[attr-defined]
            session = await again.open(stack, third)
            update, create = await session.history((three, made.id), private=True)
            assert (create.diff, create.dropped) == ({"c": (None, 3), "y": (None, 2)}, {"a": (None, 1)})
            assert (update.diff, update.dropped) == ({"c": (3, 30), "y": (2, 20)}, {"a": (1, 10)})
            async with session.as_of(moment) as past:
                (was,) = await past.list(three)
                assert (was.c, was.y) == (3, 2)


async def test_a_restoration_finds_the_references_of_a_field_that_was_renamed(site: Site, own: Connection) -> None:
    """Deleting a manager has emptied the field of those it led; restoring fills it again."""
    releases = Releases(site)

    def app(name: str) -> tuple[Application, type[Entity], type[Entity]]:
        boss = entity("Boss", {"name": text()}, table="bosses", soft_delete=True)
        led = reference(boss, on_delete="set_null", default=None, reverse="led")
        worker = entity("Worker", {name: (UUID | None, led)}, table="workers")
        return Application("shop", [boss, worker]), boss, worker

    (first, boss, worker), (second, boss_now, worker_now) = app("boss_id"), app("lead_id")
    await site.new(first)
    await site.up(first)
    await site.setup(first)
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, first)
        leader = await session.create(boss, name="a")
        led = await session.create(worker, boss_id=leader.id)
        await session.delete(leader)
        assert (await session.get(worker, led.id)).boss_id is None
    await release(site, second, renames=[("workers.boss_id", "workers.lead_id")])
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, second)
        await session.restore((boss_now, leader.id, 2))
        assert (await session.get(worker_now, led.id)).lead_id == leader.id


BEFORE = """
set role freehold_owner;
create table freehold.columns (table_name text collate "C", column_name text collate "C", added_at timestamptz not null, type text not null,
    primary key (table_name, column_name));
insert into freehold.columns select 'things', name, case name when 'x' then now() else '2020-01-01' end, type from freehold.column_names
    where until is null;
create table freehold.entities (relation regclass not null, entity text collate "C" not null, since timestamptz not null,
    primary key (relation, entity));
insert into freehold.entities values ('app.things', 'Object', '2020-01-01'), ('app.things', 'Thing', now());
drop table freehold.column_names, freehold.entity_names;
reset role;
update freehold.log set entity = 'Object' where entity = 'Thing';
delete from freehold.settings where name = 'installed';
"""
"""Makes of a database one of the release before, in which a class was renamed and column x got another type."""


async def test_a_database_of_the_release_before_tells_its_past(site: Site, own: Connection) -> None:
    releases = Releases(site)
    first = Application("shop", [one := entity("Thing", {"name": text(), "x": text()}, table="things")])
    second = Application("shop", [two := entity("Thing", {"name": text(), "x": number()}, table="things")])
    await site.setup(first)
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, first)
        large, small = [await session.create(one, name="a", x=each) for each in ("large", "12")]
        moment = await clock(own)
        for made in (large, small):
            await session.update(made, name="b", x=None)
    await own.execute("alter table app.things drop constraint things_x_check, alter x type bigint using 7")
    await own.execute(BEFORE)
    await site.setup(second)
    assert await own.fetchval(
        "select to_regclass('freehold.columns') is null and to_regclass('freehold.entities') is null"
    )
    async with AsyncExitStack() as stack:
        session = await releases.open(stack, second)
        for made, told in ((large, "large"), (small, 12)):
            update, create = await session.history((two, made.id))
            assert (create.diff, update.diff) == (
                {"name": (None, "a"), "x": (None, told)}, {"name": ("a", "b"), "x": (told, None)},
            )  # fmt: skip
        async with session.as_of(moment) as past:  # that release did not tell a new column from a new type
            assert [each.x for each in await past.list(two)] == [None, None]
    await own.execute("alter table app.things rename x to y; " + NOTE)
    told = await own.fetch("select name, type from freehold.column_names where name in ('x', 'y') order by since")
    assert [tuple(each) for each in told] == [("x", "?"), ("y", "bigint")]
