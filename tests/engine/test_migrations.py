"""Writing revisions and running them: from one release's declarations to the next one's and back."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from freehold import Application, Database, Index, Unique, errors, field, reference
from tests.conftest import Server, new_context
from tests.engine.migrating import CUSTOMER, ORDER, Site, entity, first, second, shop
from tests.probe import plain, scratch
from tests.world import application

Connection = asyncpg.Connection
TEXT = (str, field(max_length=10))


@pytest.fixture
async def site(server: Server, database_name: str, tmp_path: Path) -> AsyncIterator[Site]:
    # A database of the tests' own was made before this one, and with it the roles.
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


@pytest.fixture
async def own(server: Server, site: Site) -> AsyncIterator[Connection]:
    async with plain(server.admin_address(site.name)) as connection:
        yield connection


async def test_the_first_revision_makes_all_tables(site: Site, own: Connection) -> None:
    assert await site.new(first(), "the first tables") is not None
    work = await site.up(first())
    assert len(work.revisions) == 1
    assert await site.differences(first()) == []
    assert await own.fetchval("select revision from freehold.revisions") == site.id(-1)
    assert (await site.up(first())).empty
    assert await site.new(first()) is None


async def test_a_release_follows_another(site: Site, own: Connection) -> None:
    await site.new(first())
    await site.up(first())
    assert await site.new(second()) is not None
    await site.up(second())
    assert await site.differences(second()) == []
    assert (await site.up(second())).empty
    await site.down(second(), site.id())
    assert await site.differences(first()) == []
    await site.down(second())
    assert (
        await own.fetchval("select count(*) from pg_class where relnamespace = 'app'::regnamespace and relkind = 'r'")
        == 0
    )
    await site.up(second())
    assert await site.differences(second()) == []


async def test_a_revision_is_short_and_names_no_schema(site: Site) -> None:
    await site.new(shop(number=TEXT))
    path = await site.new(
        shop(number=TEXT, note=(str | None, field(default=None, index=True, max_length=7))), "Add the note"
    )
    assert path is not None
    text = path.read_text()
    assert "app." not in text.replace("sa.", "")
    assert "freehold" not in text
    assert 'op.add_column("orders", sa.Column("note", sa.Text(collation="C")))' in text
    assert 'op.create_index("orders_note_idx", "orders", ["organization_id", "note", "id"])' in text
    assert text.startswith('"""Add the note"""')
    assert path.name.endswith("_add_the_note.py")
    assert len(text.splitlines()) < 25


async def test_every_kind_of_field_comes_and_goes(site: Site, server: Server) -> None:
    await site.new(application, "all")
    await site.up(application)
    assert await site.differences(application) == []
    await site.down(application)
    await site.up(application)
    assert await site.differences(application) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": TEXT}, {"a": (str, field(max_length=20))}),
        ({"a": TEXT}, {"a": (str | None, field(default=None, max_length=10))}),
        ({"a": (str | None, field(default=None, max_length=10))}, {"a": TEXT}),
        ({"a": (int, field())}, {"a": (str, field(max_length=10))}),
        ({"a": (int, field(default=1))}, {"a": (int, field(default=2))}),
        ({"a": (int, field(default=1))}, {"a": (int, field())}),
        ({"a": TEXT}, {"a": (str, field(max_length=10, unique=True))}),
        ({"a": TEXT}, {"a": (str, field(max_length=10, unique=True, ignore_case=True))}),
        ({"a": TEXT}, {"a": (str, field(max_length=10, unique=True, lowercase=True))}),
        ({"a": TEXT}, {"a": (str, field(max_length=50, default="it's :not a {parameter} \\ 100 %"))}),
        ({"a": (int, field())}, {"a": (int, field(check="a % 2 = 0"))}),
        ({"a": (int, field())}, {"a": (int, field(ge=-5, lt=7))}),
        ({"a": TEXT}, {"a": TEXT, "b": (list[str], field(default_factory=list))}),
        ({"a": TEXT}, {"a": TEXT, "order": (int | None, field(default=None, index=True))}),
    ],
    ids=range(14),
)
async def test_a_change_of_a_field_is_written_and_run_both_ways(site: Site, before: dict, after: dict) -> None:
    await site.new(shop(**before))
    await site.up(shop(**before))
    assert await site.new(shop(**after)) is not None
    await site.up(shop(**after))
    assert await site.differences(shop(**after)) == []
    await site.down(shop(**after), site.id())
    assert await site.differences(shop(**before)) == []


async def test_references_and_composite_keys(site: Site) -> None:
    def release(on_delete: str, **more: object) -> object:
        customer = entity("Customer", CUSTOMER)
        order = entity(
            "Order",
            {"customer_id": (UUID | None, reference(customer, on_delete=on_delete, default=None)), **ORDER},
            **more,
        )
        return Application("shop", [customer, order])

    steps = [
        release("restrict"),
        release("cascade", indexes=[Index("number", "total")]),
        release("set_null", unique=[Unique("customer_id", "number", where={"total": 0})]),
    ]
    for app in steps:
        await site.new(app)
        await site.up(app)
        assert await site.differences(app) == []
    await site.down(steps[2], site.id())
    assert await site.differences(steps[0]) == []


async def test_rows_live_through_a_migration(site: Site, own: Connection) -> None:
    await site.setup(first())
    await site.new(first())
    await site.up(first())
    app = first()
    async with Database.open(site.server.address(site.name), app, size=1) as database:
        session = database.session(await new_context(database))
        made = await session.create(app.registry.entities["Customer"].cls, name="x")
    await site.new(second())
    await site.up(second())
    row = await own.fetchrow("select * from app.customers")
    assert (row["id"], row["name"], row["segment"], row["note"], row["tags"]) == (made.id, "x", "none", None, [])


async def test_columns_know_when_they_came(site: Site, own: Connection) -> None:
    await site.new(first())
    await site.up(first())
    moment = await own.fetchval("select clock_timestamp()")
    assert await own.fetch("select * from freehold.absent_columns($1)", moment) == []
    before = await own.fetchval("select '-infinity'::timestamptz")
    everything = {tuple(row) for row in await own.fetch("select * from freehold.absent_columns($1)", before)}
    assert ("customers", "name") in everything
    await site.new(second())
    await site.up(second())
    absent = {tuple(row) for row in await own.fetch("select * from freehold.absent_columns($1)", moment)}
    assert {pair for pair in absent if pair[0] != "products"} == {
        ("customers", "segment"), ("customers", "note"), ("customers", "tags"), ("orders", "paid"),
    }  # fmt: skip
    assert ("products", "title") in absent
    async with plain(site.server.address(site.name)) as raw:
        assert len(await raw.fetch("select * from freehold.absent_columns($1)", moment)) == len(absent)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await raw.fetch("select * from freehold.column_names")


async def test_setup_of_an_empty_database_is_at_the_newest_revision(site: Site, own: Connection) -> None:
    await site.new(first())
    app = first()
    app.migrations = site.folder
    await site.setup(app)
    assert await own.fetchval("select revision from freehold.revisions") == site.id(-1)
    assert not (await site.up(app)).revisions
    assert (await site.up(app)).empty


async def test_a_database_that_was_set_up_is_adopted(site: Site, own: Connection) -> None:
    await site.setup(first())
    assert not (await site.up(first())).revisions
    await site.new(first())
    await site.new(second())
    work = await site.up(second())
    assert work.stamp == site.id()
    assert [each.id for each, _, _ in work.revisions] == [site.id(-1)]
    assert await site.differences(second()) == []
    rows = await own.fetch("select revision, direction from freehold.revisions order by position")
    assert [row["direction"] for row in rows] == ["stamp", "up"]


async def test_tables_that_no_revision_made_are_refused(site: Site, own: Connection) -> None:
    await site.setup(first())
    await site.new(first())
    await own.execute("alter table app.orders drop column total")
    with pytest.raises(errors.MigrationError, match=r"no revision says.*orders.*total"):
        await site.up(first())
    assert await own.fetchval("select count(*) from freehold.revisions") == 0


async def test_declarations_that_are_ahead_are_refused(site: Site, own: Connection) -> None:
    await site.new(first())
    await site.up(first())
    with pytest.raises(errors.MigrationError, match=r"(?s)ahead of the revisions.*customers\.note.*migrate new"):
        await site.up(second())
    assert await site.differences(first()) == []


async def test_one_revision_at_a_time(site: Site) -> None:
    await site.new(first())
    await site.new(second())
    one = site.id()
    work = await site.run(first(), lambda migrations, connection: migrations.work_up(connection, to=one))
    assert [each.id for each, _, _ in work.revisions] == [one]
    assert await site.differences(first()) == []
    assert len((await site.up(second())).revisions) == 1
    assert await site.differences(second()) == []


RENAMED = {"a": (str, field(max_length=10, index=True)), "n": (int, field())}
NEW = {"b": (str, field(max_length=10, index=True)), "n": (int, field())}


async def test_a_rename_is_asked_about_and_keeps_the_values(site: Site, own: Connection) -> None:
    await site.new(shop(**RENAMED))
    await site.up(shop(**RENAMED))
    await own.execute("insert into app.orders (organization_id, a, n) values (gen_random_uuid(), 'kept', 1)")
    with pytest.raises(
        errors.MigrationError, match=r"(?s)orders\.a goes, and orders\.b .*--rename orders\.a=orders\.b.*--no-rename"
    ):
        await site.new(shop(**NEW))
    asked: list[str] = []
    path = await site.new(shop(**NEW), ask=lambda question: bool(asked.append(question)) or True)
    assert len(asked) == 1
    assert path is not None
    assert "drop_column" not in path.read_text()
    assert "add_column" not in path.read_text()
    await site.up(shop(**NEW))
    assert await site.differences(shop(**NEW)) == []
    assert await own.fetchval("select b from app.orders") == "kept"
    await site.down(shop(**NEW), site.id())
    assert await site.differences(shop(**RENAMED)) == []
    assert await own.fetchval("select a from app.orders") == "kept"


async def test_a_column_that_is_no_rename_is_dropped_and_added(site: Site) -> None:
    await site.new(shop(**RENAMED))
    path = await site.new(shop(**NEW), never_renamed=True)
    assert path is not None
    assert 'op.drop_column("orders", "a")' in path.read_text()
    other = await site.new(shop(c=(int, field()), n=(int, field())))
    assert other is not None  # another type: there is nothing to ask
    assert 'op.drop_column("orders", "b")' in other.read_text()


@pytest.mark.parametrize("pairs", [[("orders.a", "c")], [("orders.x", "b")], [("order", "b")]])
async def test_a_rename_of_what_is_not_there_is_refused(site: Site, pairs: list[tuple[str, str]]) -> None:
    await site.new(shop(**RENAMED))
    with pytest.raises(errors.MigrationError, match="--rename"):
        await site.new(shop(**NEW), renames=pairs)
    assert len(list(site.folder.glob("*.py"))) == 1


async def test_a_renamed_table_keeps_its_rows(site: Site, own: Connection) -> None:
    old = Application("shop", [entity("Order", ORDER)])
    renamed = Application("shop", [entity("Purchase", ORDER)])
    await site.new(old)
    await site.up(old)
    await own.execute("insert into app.orders (organization_id, number, total) values (gen_random_uuid(), 'kept', 1)")
    with pytest.raises(errors.MigrationError, match="--rename orders=purchases"):
        await site.new(renamed)
    await site.new(renamed, renames=[("orders", "purchases")])
    await site.up(renamed)
    assert await site.differences(renamed) == []
    assert await own.fetchval("select number from app.purchases") == "kept"
    await site.down(renamed, site.id())
    assert await own.fetchval("select number from app.orders") == "kept"


async def test_an_entity_that_goes_takes_its_functions_along(site: Site, own: Connection) -> None:
    await site.new(second())
    await site.up(second())
    await site.new(first(), never_renamed=True)
    work = await site.up(first())
    assert any(step.destructive and "products" in step.change for step in work.steps)
    assert await site.differences(first()) == []
    assert await own.fetchval("select count(*) from pg_proc where proname like 'products%'") == 0


async def test_sql_of_ones_own_sees_the_rows_of_all_organizations(site: Site, own: Connection) -> None:
    await site.new(shop(**RENAMED))
    await site.up(shop(**RENAMED))
    for _ in range(2):
        await own.execute("insert into app.orders (organization_id, a, n) values (gen_random_uuid(), 'x', 1)")
    path = await site.new(shop(**RENAMED), "fill", empty=True)
    assert path is not None
    body = "    op.execute(\"update orders set n = 2 where a like 'x%'\")"
    path.write_text(
        path.read_text().replace("    pass", body, 1).replace("revision =", "from alembic import op\n\nrevision =", 1)
    )
    await site.up(shop(**RENAMED))
    assert await own.fetchval("select sum(n) from app.orders") == 4
    assert await own.fetchval("select count(*) from freehold.log where action = 'update'") == 2
    assert await site.differences(shop(**RENAMED)) == []


async def test_other_names_of_schemas_and_an_administrator_without_superusers_rights(
    server: Server, tmp_path: Path
) -> None:
    names = {"engine_schema": "user", "schema": "order", "owner_role": "mig_owner", "application_role": "mig_app"}

    def release(**more: object) -> Application:
        return Application("shop", [entity("Order", RENAMED | more)], **names)  # type: ignore[arg-type]  # names only

    before, after = release(), release(extra=(int, field(default=3, index=True)))
    async with scratch(server, None) as name, plain(server.admin_address(name)) as own:
        await own.execute("create role mig_admin login createrole password 'mig_admin'")
        try:
            await own.execute(f'alter database "{name}" owner to mig_admin')
            site = Site(server, name, tmp_path / "migrations", user="mig_admin")
            await site.setup(before)
            await site.new(before)
            assert (await site.up(before)).stamp
            for _ in range(2):
                await own.execute(
                    'insert into "order".orders (organization_id, a, n) values (gen_random_uuid(), $$x$$, 1)'
                )
            path = await site.new(after)
            assert path is not None
            path.write_text(
                path.read_text().replace(
                    "\n\n\ndef down", "\n    op.execute('update orders set n = n + 10')\n\n\ndef down"
                )
            )
            await site.up(after)
            assert await site.differences(after) == []
            assert await own.fetchval('select sum(n) + sum(extra) from "order".orders') == 28
            await own.execute('grant select on "order".orders to public; drop policy tenant on "order".orders')
            await site.up(after)
            assert await site.differences(after) == []
            await site.down(after, site.id())
            assert await site.differences(before) == []
        finally:
            await own.execute(f'alter database "{name}" owner to postgres')
            for role in ("mig_app", "mig_owner", "mig_admin"):
                await own.execute(f"drop owned by {role} cascade; drop role {role}")


async def test_search_follows_the_declarations(site: Site, own: Connection) -> None:
    plain_text, sought = (str, field(max_length=50)), (str, field(max_length=50, search=True))

    async def documents() -> int:
        return int(await own.fetchval("select count(*) from freehold.search"))

    await site.setup(shop(a=plain_text))
    await site.new(shop(a=plain_text))
    await site.up(shop(a=plain_text))
    await own.execute(
        "insert into app.orders (organization_id, a) select gen_random_uuid(), 'some words' from generate_series(1, 3)"
    )
    await site.up(shop(a=sought))  # no column differs, so there is nothing to revise
    assert await documents() == 3
    assert await site.differences(shop(a=sought)) == []
    renamed = Application("shop", [entity("Purchase", {"a": sought})])
    await site.new(renamed, renames=[("orders", "purchases")])
    await site.up(renamed)
    assert await site.differences(renamed) == []
    assert await own.fetch("select distinct entity from freehold.search") == [("Purchase",)]
    await site.down(renamed, site.id())
    assert await own.fetchval("select count(*) from pg_proc where proname like 'purchases%'") == 0
    await site.up(renamed)
    await site.new(shop(b=(int, field())), never_renamed=True)
    await site.up(shop(b=(int, field())))
    assert await site.differences(shop(b=(int, field()))) == []
    assert await documents() == 0
