"""Migrations of tables and columns that are called like words of SQL."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from freehold import Application, Entity, Index, Unique, field, reference
from tests.conftest import Server
from tests.engine.migrating import Site
from tests.names.conftest import keywords
from tests.names.crowd import usable
from tests.names.gathering import entity
from tests.probe import plain, scratch

HARD = ("select", "order", "user", "collation", "lateral", "tablesample", "default", "check", "references", "table")


def first(words: Sequence[str]) -> list[type[Entity]]:
    """All words but a few as columns."""
    fields: dict[str, tuple[Any, Any]] = {
        word: (str | None, field(default=None, max_length=20)) for word in words if words.index(word) % 60
    }
    return [entity({"title": (str, field(max_length=9)), **fields}, name="Words", table="words")]


def second(words: Sequence[str]) -> list[type[Entity]]:
    """All words, some required, with indexes, references and checks, tables of some; the title has another name."""
    fields: dict[str, tuple[Any, Any]] = {word: (str | None, field(default=None, max_length=20)) for word in words}
    fields |= {word: (int | None, field(default=None)) for word in words[::60]}
    fields |= {word: (str, field(default="x", max_length=30)) for word in words[1::120]}
    fields |= {word: (Decimal, field(digits=9, places=2, default=Decimal(0), index=True)) for word in HARD[:4]}
    fields |= {
        word: (str, field(default="x", max_length=30, index=True, check=f"\"{word}\" <> ''")) for word in HARD[4:]
    }
    keys = [Unique("collation", "lateral", where={"check": "y"}), Unique("check", "default", ignore_case=["check"])]
    made = entity(
        {"order_": (str, field(max_length=9)), **fields},
        name="Words",
        table="words",
        unique=keys,
        indexes=[Index("user", "table")],
    )

    def of(table: str) -> dict[str, tuple[Any, Any]]:
        return {
            f"{word}_id": (UUID | None, reference(made, default=None, reverse=f"{table}_{word}")) for word in HARD[:4]
        }

    return [
        made,
        *(entity({**of(word), "name": (str, field(max_length=9))}, name=f"T{word}", table=word) for word in HARD[:4]),
    ]


async def test_releases_of_all_keywords(server: Server, tmp_path: Path) -> None:
    words = [word for word in usable(await keywords(server)) if word not in HARD]
    before, after = Application("words", first(words)), Application("words", second(words))
    async with scratch(server, None) as name:
        site = Site(server, name, tmp_path)
        await site.new(before)
        await site.up(before)
        assert await site.differences(before) == []
        path = await site.new(after, renames=[("words.title", "words.order_")])
        assert path is not None
        await site.up(after)
        assert await site.differences(after) == []
        assert await site.new(after) is None
        await site.down(after, site.id())
        assert await site.differences(before) == []
        async with plain(server.admin_address(name)) as admin:
            assert await admin.fetchval("select count(*) from app.words") == 0
