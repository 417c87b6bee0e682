"""What callers were told of their writes, and whether the database agrees."""

import asyncio
import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from freehold import Session
from freehold.errors import FreeholdError, OutcomeUnknownError

__all__ = ["ROUNDS", "SEED", "Ledger", "log_agrees"]

ROUNDS = int(os.environ.get("FREEHOLD_FAULT_ROUNDS", "1"))
"""Multiplies what the tests of faults do."""
SEED = os.environ.get("FREEHOLD_FAULT_SEED", "7")

TABLES = {"Customer": "customers", "Contact": "contacts", "Order": "orders"}

_PARTS = """
select m.mark, (select count(*) from app.customers c where c.organization_id = $1 and c.name = m.mark),
    (select count(*) from app.contacts c where c.organization_id = $1 and c.name = m.mark),
    (select count(*) from app.orders o where o.organization_id = $1 and o.number = m.mark)
from unnest($2::text[]) as m (mark)
"""
_STRAY = """
select name from app.customers where organization_id = $1 and name <> all ($2)
union all select name from app.contacts where organization_id = $1 and name <> all ($2)
union all select number from app.orders where organization_id = $1 and number <> all ($2)
"""
_LOG = """
with chain as (
    select record_id, action, version, old, new, position,
        lag(new) over w as before, lag(version) over w as previous, row_number() over w as place,
        row_number() over (partition by record_id order by position desc) as back
    from freehold.log where organization_id = $1 and entity = $2 window w as (partition by record_id order by position)
), wrong as (
    -- Each change begins where the one before it ended, and its version is the next one; what is removed keeps its last.
    select record_id from chain where old is distinct from before
        or (version <> case when new is null then previous else place end and record_id <> all ($3))
        or (place = 1) <> (action = 'create')
    union all
    -- The last change is what the table has.
    select coalesce(c.record_id, t.id) from (select record_id, new from chain where back = 1) c
    full join (select id, to_jsonb(t.*) as now from app.{table} t where organization_id = $1) t on t.id = c.record_id
    where t.now is distinct from c.new
)
select count(*) from wrong
"""


@dataclass
class Ledger:
    """What was told of writes, each of which puts its mark on what it makes.

    Args:
        parts: how many rows of each table a mark belongs to: customers, contacts, orders.
    """

    parts: tuple[int, int, int] = (1, 1, 1)
    counted: set[UUID] = field(default_factory=set)
    """Records that are incremented, which makes changes without versions."""
    done: set[str] = field(default_factory=set)
    refused: dict[str, BaseException] = field(default_factory=dict)
    doubt: dict[str, BaseException] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    """Marks of what was there before."""

    def tell(self, mark: str, error: BaseException | None) -> None:
        """Notes what a caller was told.

        An error says that nothing was written, unless it says that this is not known.
        """
        if error is None:
            self.done.add(mark)
        elif isinstance(error, OutcomeUnknownError | asyncio.CancelledError) or (
            isinstance(error, FreeholdError) and error.unanswered
        ):
            self.doubt[mark] = error
        elif isinstance(error, FreeholdError):
            self.refused[mark] = error
        else:
            raise error

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many were done, refused, and left in doubt."""
        return len(self.done), len(self.refused), len(self.doubt)

    async def check(self, admin: "asyncpg.Connection[asyncpg.Record]", session: Session) -> set[str]:
        """Compares what was told with what is there.

        Returns:
            The marks of those in doubt that were written.
        """
        organization = session.context.organization_id
        marks = [*self.done, *self.refused, *self.doubt]
        assert len(marks) == len(set(marks)), "a mark was told of twice"
        found = {row[0]: tuple(row)[1:] for row in await admin.fetch(_PARTS, organization, marks)}
        assert {mark: found[mark] for mark in self.done if found[mark] != self.parts} == {}, (
            "acknowledged, and not there"
        )
        written = {mark: self.refused[mark] for mark in self.refused if any(found[mark])}
        assert written == {}, "refused, and there"
        assert {mark: found[mark] for mark in self.doubt if found[mark] not in (self.parts, (0, 0, 0))} == {}, (
            "half there"
        )
        stray = await admin.fetch(_STRAY, organization, [*marks, *self.others])
        assert [row[0] for row in stray] == [], "nobody asked for it"
        for mark, error in self.doubt.items():
            if isinstance(error, OutcomeUnknownError):
                settled = await session.settle(UUID(str(error.unit_id)))
                assert (settled is not None) == any(found[mark]), f"{mark}: {settled} and {found[mark]}"
        await log_agrees(admin, organization, counted=self.counted)
        return {mark for mark in self.doubt if any(found[mark])}

    def told(self) -> Counter[str]:
        """The errors, by name."""
        return Counter(type(error).__name__ for error in (*self.refused.values(), *self.doubt.values()))


async def log_agrees(
    admin: "asyncpg.Connection[asyncpg.Record]", organization: UUID, *, counted: Collection[UUID] = ()
) -> None:
    """Whether the log of each entity is what its table has become, change by change.

    Args:
        admin: reads it.
        organization: whose.
        counted: records that are incremented, which makes changes without versions.
    """
    for entity, table in TABLES.items():
        wrong = await admin.fetchval(_LOG.replace("{table}", table), organization, entity, list(counted))
        assert wrong == 0, f"the log of {entity} does not agree with its rows"
