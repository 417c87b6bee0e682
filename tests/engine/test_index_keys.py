"""The generated columns of indexed Decimals through releases: they come, follow their field, and go."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from freehold import Application, Database, Index, Session, errors, field
from tests.conftest import Server, new_context
from tests.engine.migrating import Site, entity
from tests.probe import plain, scratch


def shop(name: str = "price", *indexes: Index, **options: Any) -> Application:
    options = {"digits": 12, "places": 2, **options}
    fields = {"label": (str, field(max_length=20, default="")), name: (Decimal, field(**options))}
    return Application("shop", [entity("Item", fields, indexes=indexes)])


RELEASES = {
    "indexed": shop(index=True),
    "unique": shop(unique=True),
    "in a composite index": shop("price", Index("label", "price")),
    "more digits": shop(index=True, digits=18),
    "more places": shop(index=True, digits=18, places=5),
    "wider than an integer": shop(index=True, digits=25, places=5),
    "not indexed": shop(digits=25, places=5),
}


@pytest.fixture
async def site(server: Server, database_name: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


async def test_they_follow_their_field_and_back(site: Site, server: Server) -> None:
    first = shop()
    await site.new(first)
    await site.up(first)
    await site.setup(first)
    async with Database.open(server.address(site.name), first, size=1) as database:
        await fill(database.session(await new_context(database)), first)
    for name, release in RELEASES.items():
        assert await site.new(release, name) is not None
        await site.up(release)
        assert await site.differences(release) == [], name
        await read(site, server, release)
    for before, after in zip(reversed(range(len(RELEASES))), [*reversed(RELEASES.values())][1:], strict=False):
        await site.down(after, site.id(before))
        assert await site.differences(after) == []
        await read(site, server, after)


async def fill(session: Session, release: Application) -> None:
    item = release.registry.entities["Item"].cls
    await session.create_many(item, [{"price": Decimal(number) / 4} for number in range(-20, 20)])


async def read(site: Site, server: Server, release: Application) -> None:
    """The rows are found, in their order, by what the release has."""
    item = release.registry.entities["Item"].cls
    async with (
        plain(server.admin_address(site.name)) as own,
        Database.open(server.address(site.name), release) as database,
    ):
        context = await new_context(database)
        await own.execute("alter table app.items disable trigger all")
        await own.execute("update app.items set organization_id = $1", context.organization_id)
        await own.execute("alter table app.items enable trigger all")
        page = await database.session(context).list(
            item, where={"price": {"gte": Decimal("-1.001")}}, order_by="-price"
        )
        assert [record.price for record in page] == [Decimal(number) / 4 for number in reversed(range(-4, 20))]


async def test_a_renamed_field_takes_its_column_along(site: Site, server: Server) -> None:
    await site.new(shop(index=True))
    await site.up(shop(index=True))
    release = shop("cost", index=True)
    path = await site.new(release, renames=[("items.price", "cost")])
    assert path is not None
    assert "drop" not in path.read_text()
    await site.up(release)
    assert await site.differences(release) == []


async def test_what_is_lost_with_the_column_is_nothing(site: Site) -> None:
    await site.new(shop(index=True))
    await site.up(shop(index=True))
    await site.new(shop())
    work = await site.planned(shop())
    assert [step.change for step in work.steps if step.destructive] == []


async def test_no_one_else_sees_them(site: Site, server: Server) -> None:
    release = shop(index=True)
    item = release.registry.entities["Item"].cls
    await site.setup(release)
    async with Database.open(server.address(site.name), release, size=2) as database:
        session = database.session(await new_context(database))
        record = await session.create(item, price=Decimal("2.5"))
        record = await session.update(record, price=3)
        (change, creation) = await session.history(record)
        assert set(change.diff) == {"price"}
        assert "_price_key" not in str(await session.sql(None, "select old, new from freehold.log"))
        assert set(creation.diff) <= set(item.__entity__.fields)
        assert "_price_key" not in record.model_dump()
        (row,) = await session.sql(item, "select * from items")
        assert row == record
        with pytest.raises(errors.ValidationError):
            await session.list(item, where={"_price_key": 1})
        with pytest.raises(errors.ValidationError):
            await session.create(item, price=1, _price_key=5)


async def test_raw_sql_cannot_set_them(site: Site, server: Server) -> None:
    release = shop(index=True)
    await site.setup(release)
    async with plain(server.admin_address(site.name)) as own:
        with pytest.raises(asyncpg.GeneratedAlwaysError):
            await own.execute("insert into app.items (label, price, _price_key) values ('x', 1, 2)")
