"""A sweep over pairs of declarations, with rows there: the revision is written, run, undone, and leads to what is declared."""

import enum
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from freehold import Application, errors, field
from tests.conftest import Server
from tests.engine.migrating import Site, entity, shop
from tests.probe import plain, scratch

Own: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
NIL = UUID(int=0)


class Level(enum.Enum):
    """Two choices."""

    LOW = "low"
    HIGH = "high"


KINDS: dict[str, tuple[Any, Any, Any]] = {  # the type, a default, and another value as text of PostgreSQL
    "text": (str, "1", "2"),
    "integer": (int, 1, "2"),
    "float": (float, 1.5, "2.5"),
    "decimal": (Decimal, Decimal("1.25"), "2.75"),
    "boolean": (bool, True, "false"),
    "date": (date, date(2026, 1, 2), "2026-01-03"),
    "datetime": (datetime, datetime(2026, 1, 2, 23, 30, tzinfo=UTC), "2026-01-03 00:30:00+00"),
    "time": (time, time(1, 2), "03:04"),
    "duration": (timedelta, timedelta(seconds=90), "2 minutes"),
    "uuid": (UUID, NIL, "00000000-0000-0000-0000-000000000001"),
    "bytes": (bytes, b"1", "\\x32"),
    "enum": (Level, Level.LOW, "high"),
    "json": (dict[str, Any], None, "{}"),
    "texts": (list[str], None, "{1,2}"),
    "numbers": (list[int], None, "{1,2}"),
}


def declared(kind: str, *, default: bool) -> Application:
    python, value, _ = KINDS[kind]
    options: dict[str, Any] = {"digits": 12, "places": 2} if kind == "decimal" else {}
    if default:
        options |= (
            {"default_factory": list}
            if kind in ("texts", "numbers")
            else {"default_factory": dict}
            if kind == "json"
            else {"default": value}
        )
    return shop(a=(python, field(**options)))


@pytest.fixture
async def site(server: Server, database_name: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


@pytest.fixture
async def own(server: Server, site: Site) -> AsyncIterator[Own]:
    async with plain(server.admin_address(site.name)) as connection:
        yield connection


async def same(site: Site, app: Application) -> None:
    assert [str(each) for each in await site.differences(app)] == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_becomes_every_other_and_back(site: Site, own: Own, kind: str) -> None:
    await site.new(declared(kind, default=True))
    await site.up(declared(kind, default=True))
    for other in KINDS:
        if other == kind:
            continue
        before, after = declared(kind, default=True), declared(other, default=True)
        path = await site.new(after)
        assert path is not None
        await own.execute(f"insert into app.orders (organization_id, a) values (gen_random_uuid(), '{KINDS[kind][2]}')")
        try:
            await site.up(after)
        except errors.MigrationError as error:  # a value that has no counterpart
            assert "cannot hold" in error.message or "breaking orders_a_check" in error.message, (other, error.message)  # noqa: PT017
            await own.execute("truncate app.orders")
            await site.up(after)
        await same(site, after)
        try:
            await site.down(after, site.id(-2))
        except errors.MigrationError as error:
            assert "cannot hold" in error.message or "breaking orders_a_check" in error.message, (other, error.message)  # noqa: PT017
            await own.execute("truncate app.orders")
            await site.down(after, site.id(-2))
        await same(site, before)
        await own.execute("truncate app.orders")
        path.unlink()


LOSSY = {
    "fewer places": (Decimal, {"digits": 12, "places": 4}, Decimal, {"digits": 12, "places": 2}, True),
    "more places": (Decimal, {"digits": 12, "places": 2}, Decimal, {"digits": 14, "places": 4}, False),
    "float to int": (float, {}, int, {}, True),
    "int to text": (int, {}, str, {}, False),
    "datetime to date": (datetime, {}, date, {}, True),
    "date to datetime": (date, {}, datetime, {}, False),
    "text to int": (str, {}, int, {}, True),
    "one of many": (list[str], {}, str, {}, True),
    "many of one": (str, {}, list[str], {}, False),
}


@pytest.mark.parametrize("case", LOSSY)
async def test_what_may_lose_values_is_destructive(site: Site, case: str) -> None:
    old, few, new, many, loses = LOSSY[case]
    await site.new(shop(a=(old, field(**few))))
    await site.up(shop(a=(old, field(**few))))
    await site.new(shop(a=(new, field(**many))))
    work = await site.planned(shop(a=(new, field(**many))))
    assert any(step.destructive for step in work.steps) is loses


async def test_moments_become_days_of_utc_wherever_the_session_is(site: Site, own: Own) -> None:
    await site.new(shop(a=(datetime, field())))
    await site.up(shop(a=(datetime, field())))
    await own.execute(f"alter database \"{site.name}\" set timezone = 'Asia/Tokyo'")
    await own.execute("insert into app.orders (organization_id, a) values (gen_random_uuid(), '2026-01-02 23:30+00')")
    await site.new(shop(a=(date, field())))
    await site.up(shop(a=(date, field())))
    assert await own.fetchval("select a from app.orders") == date(2026, 1, 2)
    await site.down(shop(a=(date, field())), site.id())
    assert await own.fetchval("select a from app.orders") == datetime(2026, 1, 2, tzinfo=UTC)


HOSTILE = [
    "{engine}", "{engine}.now()", "{", "}", "{}", "%", "%s", "%(a)s", ":a", "a:b", "::", ":::x", "\\", "\\:a", "\\n", "a\tb", "a\nb",
    "'", "''", '"', '"""', "'''", "$$", "$do$", "--", "/*", "freehold.", "freehold.x", '"freehold".x', "fh_shadow_engine", "concurrently",
    "not valid", "NOT VALID", ";", "a;", "\u2028", "é", "😀", "app.orders", "null", "None", "drop table orders",
]  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(3))
async def test_texts_that_mean_something_elsewhere_stay_what_they_are(site: Site, own: Own, part: int) -> None:
    texts = HOSTILE[part::3]

    def release(default: str, choices: tuple[str, ...], number: int) -> Application:
        quoted = default.replace("'", "''")
        check = f"b <> E'{quoted}'" if "\\" in default else f"b <> '{quoted}'"
        options: dict[str, Any] = {"checks": {"odd": check.replace("\\", "\\\\")}}
        choice = Literal[choices]  # type: ignore[valid-type]  # the sweep's own
        fields: dict[str, tuple[Any, Any]] = {
            "a": (str, field(default=default, description=default)),
            "b": (str, field(default="b")),
            "c": (choice, field(default=choices[0])),
            f"d{number}": (str | None, field(default=None)),
        }
        return Application("shop", [entity("Order", fields, **options)])

    releases = [
        release(text, tuple(dict.fromkeys((text, other))), n)
        for n, (text, other) in enumerate(itertools.pairwise([*texts, "end"]))
    ]
    previous = None
    for text, app in zip(texts, releases, strict=True):
        await own.execute("truncate app.orders") if previous else None
        await site.new(app, title=f"to {text}", never_renamed=True)
        await site.up(app)
        await same(site, app)
        row = await own.fetchrow("insert into app.orders (organization_id) values (gen_random_uuid()) returning a, c")
        assert row is not None
        assert (row["a"], row["c"]) == (text, text)
        previous = app
    await own.execute("truncate app.orders")
    await site.down(releases[-1], site.id())
    await same(site, releases[0])


async def test_deleted_records_are_never_silently_alive(site: Site, own: Own) -> None:
    def app(soft: bool) -> Application:
        return Application("shop", [entity("Order", {"a": (str, field(max_length=10, unique=True))}, soft_delete=soft)])

    await site.new(app(True))
    await site.up(app(True))
    path = await site.new(app(False))
    assert path is not None
    insert = (
        "insert into app.orders (organization_id, a, deleted_at) values (gen_random_uuid(), $1, $2) returning id::text"
    )
    gone = await own.fetchval(insert, "gone", datetime(2026, 1, 1, tzinfo=UTC))
    await own.fetchval(insert, "here", None)
    with pytest.raises(errors.MigrationError, match=rf"1 row deleted.*{gone}") as caught:
        await site.up(app(False))
    assert "purges them" in str(caught.value.hint)
    await same(site, app(True))
    path.unlink()
    for choice, left in (("live", {"gone", "here"}), ("purge", {"here"})):
        path = await site.new(app(False), deleted=choice)
        await site.up(app(False))
        await same(site, app(False))
        assert {row["a"] for row in await own.fetch("select a from app.orders")} == left
        await site.down(app(False), site.id())
        path.unlink()
        await own.execute("update app.orders set deleted_at = now() where a = 'gone'")


async def test_what_depends_on_a_column_is_named_before_anything_is_changed(site: Site, own: Own) -> None:
    await site.new(shop(a=(str, field()), b=(int, field())))
    await site.up(shop(a=(str, field()), b=(int, field())))
    await own.execute(
        "create view app.mine as select a, b from app.orders; create materialized view app.more as select * from app.mine"
    )
    await own.execute("create function app.counted() returns bigint begin atomic select sum(b) from app.orders; end")
    for after, named in (
        (shop(a=(str, field())), ("view app.mine", "materialized view app.more", "function app.counted()")),
        (shop(a=(int, field()), b=(int, field())), ("view app.mine", "materialized view app.more")),
    ):
        path = await site.new(after, never_renamed=True)
        assert path is not None
        with pytest.raises(errors.MigrationError, match="depend on") as caught:
            await site.up(after)
        assert all(each in caught.value.message for each in named)
        assert "drop them before" in str(caught.value.hint)
        assert await own.fetchval("select count(*) from freehold.migration_groups") == 0
        path.unlink()
