"""What a database says of its own migrations."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from freehold.engine.catalog import Catalog
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = [
    "BEGUN",
    "TAKEN",
    "Part",
    "State",
    "fingerprint",
    "keep_derived",
    "keep_revision",
    "read_state",
    "stored_derived",
]


BEGUN, TAKEN = "begun", "taken up"
"""Instead of a digest: a group that is not finished; a run that did not simply go on."""


@dataclass(frozen=True)
class Part:
    """A group of a revision that is under way.

    Args:
        revision, direction: which.
        number: grows by the order in which they were done.
        digest: of its statements.
        made: the names of what it makes.
    """

    revision: str
    direction: str
    number: int
    digest: str
    made: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """Where a database is.

    Args:
        engine: whether the engine's tables for migrations are there.
        tables: whether the application's schema has any table.
        known: whether the database was ever at a revision, or stamped with one.
        revision: the one that it is at; None before the first.
        parts: what was done of the revision that is under way, in order.
    """

    engine: bool = False
    tables: bool = False
    known: bool = False
    revision: str | None = None
    parts: Sequence[Part] = field(default_factory=tuple)

    @property
    def half(self) -> tuple[str, str] | None:
        """The revision that is under way, and its direction."""
        return (self.parts[-1].revision, self.parts[-1].direction) if self.parts else None

    @property
    def finished(self) -> frozenset[int]:
        """The numbers of the groups that are done."""
        return frozenset(part.number for part in self.parts if part.digest not in (BEGUN, TAKEN))


async def read_state(connection: Connection, schemas: Schemas) -> State:
    """Reads it; of an empty database too."""
    (there,) = await connection.fetch(
        "select to_regclass($1) is not null as engine, exists (select from pg_class where relnamespace = to_regnamespace($2) "
        "and relkind in ('r', 'p')) as tables",
        schemas.own("revisions"),
        quoted(schemas.application),
    )
    if not there["engine"]:
        return State(tables=bool(there["tables"]))
    rows = await connection.fetch(f"select revision from {schemas.own('revisions')} order by position desc limit 1")
    # A database of an earlier release does not have all columns.
    done = await connection.fetch(
        f"select to_jsonb(g)::text as part from {schemas.own('migration_groups')} g order by number"
    )
    parts = [json.loads(row["part"]) for row in done]
    return State(
        True,
        bool(there["tables"]),
        bool(rows),
        rows[0]["revision"] if rows else None,
        [
            Part(each["revision"], each["direction"], each["number"], each["digest"], tuple(each.get("made") or ()))
            for each in parts
        ],
    )


def keep_revision(schemas: Schemas, revision: str | None, direction: str) -> list[str]:
    """The statements that note where the database is from now on."""
    return [
        f"insert into {schemas.own('revisions')} (revision, direction) values ({literal(revision)}, {literal(direction)})",
        f"delete from {schemas.own('migration_groups')}",
    ]


def keep_derived(schemas: Schemas, revision: str, statements: Sequence[str]) -> str:
    """The statement that keeps the derived objects of a revision, for the way down to it."""
    texts = ", ".join(map(literal, statements))
    return (
        f"insert into {schemas.own('derived_objects')} values ({literal(revision)}, array[{texts}]::text[]) "
        "on conflict (revision) do update set statements = excluded.statements"
    )


async def stored_derived(connection: Connection, schemas: Schemas, revision: str | None) -> list[str]:
    """The derived objects that were made when the database was at a revision for the last time."""
    rows = await connection.fetch(
        f"select statements from {schemas.own('derived_objects')} where revision = $1", revision
    )  # a quoted name
    return list(rows[0]["statements"]) if rows else []


def fingerprint(catalog: Catalog) -> str:
    """Changes when anything in a catalogue does."""
    lines = sorted(f"{kind}\0{name}\0{text}" for (kind, name), text in catalog.items() if ".log_2" not in name)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
