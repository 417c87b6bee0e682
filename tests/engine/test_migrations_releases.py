"""The previous release's code goes on serving while the next release's schema is rolled out."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from freehold import Database, Session, errors
from tests.conftest import Server, new_context
from tests.engine.migrating import Site, first, second
from tests.probe import scratch


@pytest.fixture
async def site(server: Server, database_name: str, tmp_path: Path) -> AsyncIterator[Site]:
    # A database of the tests' own was made before this one, and with it the roles.
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


async def everything(session: Session, customer: type[Any], order: type[Any], mark: str) -> None:
    """Every call of a session."""
    made = await session.create(customer, name=f"{mark} Ltd", credit=Decimal(5))
    bought = await session.create(order, customer_id=made.id, number=mark, total=7)
    assert await session.get(customer, made.id) == made
    assert await session.get_many(customer, [made.id]) == [made]
    page = await session.list(
        customer, where={"name": {"starts_with": mark}}, include={"orders": True}, with_total=True
    )
    assert (page.total, page.records[0].orders[0].number) == (1, mark)
    page = await session.list(
        order, where={"customer.name": f"{mark} Ltd"}, include={"customer": True}, order_by="-total"
    )
    assert page.records[0].customer.name == f"{mark} Ltd"
    assert (await session.list(customer, select=["name"], limit=1)).records[0].name
    assert await session.count(order, {"number": mark}) == 1
    assert await session.exists(order, {"number": mark})
    found = await session.find(order, {"number": mark})
    assert found is not None
    assert found.id == bought.id
    (group,) = await session.aggregate(order, group_by=["number"], sum=["total"], where={"number": mark})
    assert group.count == 1
    assert await session.sql(None, "select total from orders where number = :mark", mark=mark) == [{"total": 7}]
    changed = await session.update(made, name=f"{mark} & Co")
    assert (changed.version, changed.credit) == (2, Decimal(5))
    with pytest.raises(errors.ConcurrencyError):
        await session.update(made, name="late")
    await session.delete(bought)
    deleted = await session.delete(changed)
    restored = await session.restore(deleted)
    assert restored.version == 4
    assert [change.action for change in await session.history(made)] == ["restore", "delete", "update", "create"]
    await session.purge(restored)
    with pytest.raises(errors.NotFoundError):
        await session.get(customer, made.id)


async def test_the_previous_release_does_everything_on_the_next_schema(site: Site) -> None:
    old, new = first(), second()
    await site.new(old)
    await site.setup(old)
    await site.up(old)
    classes = [old.registry.entities[name].cls for name in ("Customer", "Order")]
    async with Database.open(site.server.address(site.name), old, size=2) as database:
        session = database.session(await new_context(database))
        await everything(session, *classes, "before")
        await site.new(new)
        await site.up(new)
        assert await site.differences(new) == []
        await everything(session, *classes, "same process")  # with statements that were prepared before
    async with Database.open(site.server.address(site.name), old, size=2) as database:
        context = await new_context(database)
        session = database.session(context)
        await everything(session, *classes, "new process")
        made = await session.create(classes[0], name="of the previous release")
    async with Database.open(site.server.address(site.name), new, size=2) as database:
        newer = database.session(context)
        seen: Any = await newer.get(new.registry.entities["Customer"].cls, made.id)
        assert (seen.name, seen.segment, seen.note, seen.tags) == ("of the previous release", "none", None, [])
        await everything(newer, *(new.registry.entities[name].cls for name in ("Customer", "Order")), "next")
