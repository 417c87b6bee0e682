"""Rows that do not permit what a revision asks: it is refused before its first change, or leaves nothing and leads on and back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from freehold import Application, Unique, errors, field, reference
from freehold.engine.migrations import execution, inspecting
from tests.conftest import Server
from tests.engine.migrating import Site, entity, shop
from tests.probe import plain, scratch

Own: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
TEXT = (str, field(max_length=10))
MAYBE = (str | None, field(default=None, max_length=10))
OTHER = (str | None, field(default=None, max_length=10))


@dataclass(frozen=True)
class Case:
    """A change of declarations that some rows do not permit.

    Args:
        before, after: the releases.
        rows: of the table, as (a, b): those that break it come first.
        bad: how many break it.
        mend: SQL that makes them fit.
    """

    before: Application
    after: Application
    rows: str
    bad: int
    mend: str


def pair(*kinds: Any, **options: Any) -> Application:
    return Application("shop", [entity("Order", {"a": kinds[0], "b": kinds[1]}, **options)])


def referring(refers: bool) -> Application:
    customer = entity("Customer", {"name": TEXT})
    kind = reference(customer, default=None) if refers else field(default=None)
    return Application("shop", [customer, entity("Order", {"a": TEXT, "b_id": (UUID | None, kind)})])


PLAIN = pair(TEXT, MAYBE)
APART = "update orders set a = left(id::text, 4) || right(id::text, 6)"
NUMBERS = "update orders set a = '1' where a !~ '^[0-9]+$'"
CASES = {
    "required": Case(PLAIN, pair(TEXT, TEXT), "('x', null), ('y', null), ('z', 'z')", 2, "update orders set b = '' where b is null"),
    "unique": Case(PLAIN, pair((str, field(max_length=10, unique=True)), MAYBE), "('x', null), ('x', null), ('z', 'z')", 2, APART),
    "ignore case": Case(
        PLAIN, pair((str, field(max_length=10, unique=True, ignore_case=True)), MAYBE), "('x', null), ('X', null), ('z', 'z')", 2, APART,
    ),
    "composite": Case(
        PLAIN, pair(TEXT, MAYBE, unique=[Unique("a", "b")]), "('x', '1'), ('x', '1'), ('x', '2'), ('x', null), ('x', null)", 2, APART,
    ),
    "partial": Case(
        PLAIN, pair(TEXT, MAYBE, unique=[Unique("a", where={"b": "1"})]), "('x', '1'), ('x', '1'), ('x', '2'), ('x', '2')", 2, APART,
    ),
    "choices": Case(
        pair((Literal["x", "y", "z"], field()), MAYBE), pair((Literal["y", "z"], field()), MAYBE), "('x', null), ('y', null)", 1,
        "update orders set a = 'y' where a = 'x'",
    ),
    "length": Case(PLAIN, pair((str, field(max_length=1)), MAYBE), "('xx', null), ('y', null)", 1, "update orders set a = left(a, 1)"),
    "rule": Case(PLAIN, pair(TEXT, MAYBE, checks={"same": "a <> b"}), "('x', 'x'), ('x', null)", 1, "update orders set b = null"),
    "type": Case(PLAIN, pair((int, field()), MAYBE), "('x', null), ('', null), ('7', null)", 2, NUMBERS),
    "new column": Case(PLAIN, shop(a=TEXT, b=MAYBE, c=(int, field())), "('x', null), ('y', null)", 2, "delete from orders"),
    "renamed, then required": Case(
        shop(a=TEXT, old=MAYBE), shop(a=TEXT, b=TEXT), "('x', null), ('y', 'y')", 1, "update orders set old = '' where old is null",
    ),
    "reference": Case(
        referring(False), referring(True), "('x', gen_random_uuid()), ('y', null)", 1, "update orders set b_id = null",
    ),
}  # fmt: skip


@pytest.fixture
async def site(server: Server, database_name: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


@pytest.fixture
async def own(server: Server, site: Site) -> AsyncIterator[Own]:
    async with plain(server.admin_address(site.name)) as connection:
        yield connection


async def begun(site: Site, case: Case) -> Path:
    """A database at the first release, and the revision that leads to the second."""
    await site.new(case.before)
    await site.up(case.before)
    names = [("orders.old", "b")] if "old" in case.before.registry.entities["Order"].fields else []
    path = await site.new(case.after, renames=names)
    assert path is not None
    return path


async def insert(own: Own, case: Case) -> list[str]:
    """Rows of one organization; answers with the ids of those that break the rule."""
    second = next(name for name in case.before.registry.entities["Order"].fields if name in ("b", "b_id", "old"))
    rows = await own.fetch(
        f"insert into app.orders (organization_id, a, {second}) select o, v.* from gen_random_uuid() o, (values {case.rows}) v "
        "returning id::text"
    )
    return [str(row["id"]) for row in rows[: case.bad]]


async def clean(site: Site, app: Application, own: Own) -> None:
    assert [str(each) for each in await site.differences(app)] == []
    assert await own.fetchval("select count(*) from freehold.migration_groups") == 0


@pytest.mark.parametrize("name", CASES)
async def test_rows_that_are_there_refuse_a_revision_before_its_first_change(site: Site, own: Own, name: str) -> None:
    case = CASES[name]
    path = await begun(site, case)
    bad = await insert(own, case)
    with pytest.raises(errors.MigrationError, match=rf"{path.name} asks for what.*\n  {len(bad)} row") as caught:
        await site.up(case.after)
    message = caught.value.message
    assert all(each in message for each in bad)
    assert "migrate up" in str(caught.value.hint)
    query = message.split("found by: ")[1].split("\n  ")[0]
    if "create or replace function" in query:
        made, query = query.rsplit("; ", 1)
        await own.execute(made)
    assert {str(row["id"]) for row in await own.fetch(query)} == set(bad)
    await clean(site, case.before, own)
    path.write_text(
        path.read_text().replace("def upgrade() -> None:\n", f"def upgrade() -> None:\n    op.execute({case.mend!r})\n")
    )
    await site.up(case.after)
    await clean(site, case.after, own)


@pytest.mark.parametrize("name", [name for name in CASES if name != "new column"])
async def test_rows_that_come_after_the_look_leave_a_way_on_and_back(
    site: Site, own: Own, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    path = await begun(site, case)
    looked = inspecting.inspect

    async def late(*arguments: Any, **options: Any) -> None:
        await looked(*arguments, **options)
        if not await own.fetchval("select exists (select from app.orders)"):
            await insert(own, case)

    with monkeypatch.context() as patched:
        patched.setattr(execution, "inspect", late)
        with pytest.raises(errors.MigrationError, match="failed") as caught:
            await site.up(case.after)
    assert "migrate down" in str(caught.value.hint)
    if name not in ("renamed, then required", "type"):
        await insert(own, case)  # the running release goes on
    assert await own.fetchval("select count(*) from pg_constraint where not convalidated") == 0
    assert await own.fetchval("select count(*) from pg_index where not indisvalid") == 0
    if await own.fetchval("select count(*) from freehold.migration_groups"):
        await site.down(case.after, site.id())
    await clean(site, case.before, own)
    with monkeypatch.context() as patched:
        patched.setattr(execution, "inspect", late)
        await own.execute("truncate app.orders")
        with pytest.raises(errors.MigrationError, match="failed"):
            await site.up(case.after)
    text = path.read_text()
    mend = f"    op.execute({case.mend!r})\n"
    place = (
        text.index("    op.alter_column", text.index("op.alter_column") + 5)
        if name.startswith("renamed")
        else text.index("    op.")
    )
    mend = mend.replace("old", "b") if name.startswith("renamed") else mend
    path.write_text(text[:place] + mend + text[place:])
    await site.up(case.after)
    await clean(site, case.after, own)
