"""Runs what was planned, one group at a time, and notes each, so that a killed run is taken up where it was.

Authority: the table of groups that are done. A group that is a transaction is noted in it, so it is done and noted or
neither; a step that cannot run in one is of a form that can be repeated.

Locks: a step waits a few seconds at most, so that what queues behind it does not stand for longer, and tries again after
a pause that grows. Who is in the way is asked on a connection of its own while the step waits.
"""

import asyncio
import contextlib
import itertools
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from alembic.operations.ops import CreateForeignKeyOp

from freehold.engine.migrations.folder import Revision
from freehold.engine.migrations.inspecting import exempted, inspect
from freehold.engine.migrations.literals import bare
from freehold.engine.migrations.mending import Mending
from freehold.engine.migrations.resuming import Taken, levelling
from freehold.engine.migrations.state import BEGUN, TAKEN, State, keep_revision
from freehold.engine.migrations.steps import Group, Step, grouped
from freehold.engine.migrations.structure import read_structure
from freehold.engine.migrations.undertaking import Work, made_again, noted, session, shaped
from freehold.engine.plan import Plan
from freehold.errors import FreeholdError, MigrationError
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import literal, quoted

__all__ = ["LOCK_WAIT", "Execution"]

LOCK_WAIT = 60.0
"""Seconds for which a step is tried again while somebody else holds what it needs."""

_ATTEMPT = 3.0
"""Seconds that one attempt waits for a lock; those who come behind it wait for as long."""


class Execution:
    """A run.

    Args:
        connection: of an administrator who may act as the owner, with the lock of the schema.
        observer: another one, which looks who is in the way.
        plan: the declarations.
        report: is told in words what happens.
        lock_wait: seconds to try for a lock.
    """

    def __init__(
        self,
        connection: Connection,
        observer: Connection,
        plan: Plan,
        *,
        report: Callable[[str], None],
        lock_wait: float,
    ) -> None:
        self._connection, self._observer, self._plan = connection, observer, plan
        self._report, self._lock_wait = report, lock_wait
        self._holders = "nobody who can be seen"

    async def run(self, work: Work, state: State) -> None:
        """Does all of it.

        Raises:
            MigrationError: a step fails, or a lock does not come free. What was done before stays.
        """
        await self._prepare()
        if work.before:
            await self._transaction("the engine", made_again(work.before, self._plan))
        if work.stamp:
            await self._transaction("stamp", keep_revision(self._plan.schemas, work.stamp, "stamp"))
        mendings = list(work.mendings)
        for number, (revision, groups, after) in enumerate(work.revisions):
            taken = work.taken if number == 0 else None
            done = state.finished if state.half == (revision.id, work.direction) and not taken else frozenset()
            if taken:
                await self._take(taken, revision, work.direction)
            carrier = work.with_mendings(number)
            looked = False
            for place, group in enumerate(groups):
                if group.number in done:
                    continue
                if not looked:
                    await self._inspect(revision, groups[place:], work.direction)
                    looked = True
                with_it = mendings if group.number == carrier else []
                await self._group(revision, group, work.direction, with_it, lenient=bool(taken and taken.lenient))
                if with_it:
                    mendings = []
                looked = looked and not group.manual
            if taken:
                await self._level(taken, revision, work.direction)
            if number == len(work.revisions) - 1 and mendings:
                await self._transaction("derived objects", made_again(mendings, self._plan))
                mendings = []
            await self._transaction(f"note {revision.id}", keep_revision(self._plan.schemas, after, work.direction))
            self._report(f"{work.direction} {revision.id}: done")
        if mendings:
            await self._transaction("derived objects", made_again(mendings, self._plan))

    async def _inspect(self, revision: Revision, groups: Sequence[Group], direction: str) -> None:
        """Looks at the rows before the next steps, up to SQL that may change them."""
        steps = [step for group in itertools.takewhile(lambda each: not each.manual, groups) for step in group.steps]
        then = "nothing of these steps was done; " + _onward(direction)
        await inspect(self._connection, self._plan, steps, name=revision.path.name, then=then, report=self._report)

    async def _take(self, taken: Taken, revision: Revision, direction: str) -> None:
        """Notes that the revision is taken up, and removes what was left unfinished."""
        groups, names = self._plan.schemas.own("migration_groups"), [name.rpartition(".")[2] for name in taken.known]
        marker = (
            f"insert into {groups} (revision, direction, number, digest) values "
            f"({literal(revision.id)}, {literal(direction)}, {taken.first - 1}, {literal(TAKEN)}) on conflict do nothing"
        )
        await self._transaction("note", [marker])
        application = quoted(self._plan.schemas.application)
        for row in await self._connection.fetch(_UNPROVED, application, names):
            await self._transaction("remove what was left unfinished", [str(row["statement"])])
        for row in await self._connection.fetch(_UNBUILT, application, names):
            await self._unbuilt(str(row["name"]))

    async def _level(self, taken: Taken, revision: Revision, direction: str) -> None:
        """Alters what differs from the tables that the revision makes."""
        async with self._connection.rehearsal():
            actual = await read_structure(self._connection, self._plan.schemas)
        rows = await self._connection.fetch(
            f"select coalesce(max(number), 0) + 1 as next from {self._plan.schemas.own('migration_groups')}"
        )
        groups = grouped(levelling(actual, taken, self._plan.schemas), rows[0]["next"])
        if groups:
            await self._inspect(revision, groups, direction)
        for group in groups:
            await self._group(revision, group, direction, [])

    async def _prepare(self) -> None:
        (row,) = await self._connection.fetch("select pg_backend_pid() as pid, quote_ident(current_user) as name")
        self._pid = row["pid"]
        for statement in session(self._plan):
            await self._connection.execute(statement)

    async def _group(
        self, revision: Revision, group: Group, direction: str, mendings: Sequence[Mending], *, lenient: bool = False
    ) -> None:
        for step in group.steps:
            self._report(f"{revision.id}: {step.change}")
        note = noted(self._plan, revision, group, direction)
        what = f"{revision.path.name}: {'; '.join(s.change for s in group.steps)}"
        (first, *_) = group.steps
        try:
            if not group.transactional:
                await self._begun(revision, group, direction)
                await self._attempted(what, lambda: self._alone(first), direction)
                await self._connection.execute(note)
            elif first.before:
                await self._begun(revision, group, direction)
                await self._staged(what, first, note, direction)
            else:
                made = made_again(mendings, self._plan)
                statements = [*await self._statements(group), *made, *shaped(self._plan, group), note]
                await self._transaction(what, statements, direction)
        except MigrationError as error:
            if not (lenient and group.manual and _sqlstate(error.__cause__) in _MOOT):
                raise
            self._report(f"left out, as there is nothing for it to do: {error.message}")
            await self._connection.execute(note)

    async def _begun(self, revision: Revision, group: Group, direction: str) -> None:
        """Notes what a group will make that is not done in one transaction, so that it is found if it stays unfinished."""
        await self._connection.execute(noted(self._plan, revision, group, direction, BEGUN))

    async def _staged(self, what: str, step: Step, note: str, direction: str) -> None:
        """Transactions of which the last one is noted. What they leave where one fails is taken back."""
        try:
            for stage in step.before:
                await self._transaction(what, stage, direction)
            proof: Sequence[str] = step.sql
            if isinstance(step.operation, CreateForeignKeyOp):
                # PostgreSQL proves a reference by a query that the policies apply to: the owner would see no row.
                proof = await self._seeing_all(step.sql, step.statements)
            await self._transaction(what, [*proof, note], direction)
        except BaseException:
            with contextlib.suppress(FreeholdError):
                if not self._connection.closed:
                    await self._transaction(f"take back: {step.change}", step.undo)
            raise

    async def _statements(self, group: Group) -> list[str]:
        statements = [text for step in group.steps for text in step.sql]
        if not (group.manual and any(_ROWS.match(bare(text)) for text in statements)):
            return statements
        return await self._seeing_all(statements, statements)

    async def _seeing_all(self, statements: Sequence[str], texts: Sequence[str]) -> list[str]:
        """Statements for the rows of all organizations, from the tables that some texts name."""
        tables = await exempted(self._connection, self._plan, texts)
        if tables is None:
            return ["set local role none", *statements, f"set local role {quoted(self._plan.roles.owner)}"]
        return [
            *(f"alter table {table} no force row level security" for table in tables),
            *statements,
            *(f"alter table {table} force row level security" for table in tables),
        ]

    async def _alone(self, step: Step) -> None:
        """A step that cannot run in a transaction. What a killed one left unfinished is removed first."""
        if step.index is not None:
            await self._unbuilt(step.index)
        try:
            for statement in step.sql:
                await self._patiently(statement)
        except BaseException:
            with contextlib.suppress(FreeholdError):
                if step.index is not None and not self._connection.closed:
                    await self._unbuilt(step.index)
            raise

    async def _unbuilt(self, index: str) -> None:
        """Removes an index that is not valid: a unique one would go on refusing rows."""
        rows = await self._connection.fetch(
            "select 1 from pg_index where indexrelid = to_regclass($1) and not indisvalid", quoted(index)
        )
        if rows:
            self._report(f"the index {index} was left unfinished; it is removed")
            await self._patiently(f"drop index concurrently if exists {quoted(index)}")

    async def _patiently(self, statement: str) -> None:
        """Runs what waits for transactions that are open while it holds up nobody."""
        await self._connection.execute(f"set lock_timeout = {int(max(self._lock_wait, _ATTEMPT) * 1000)}")
        try:
            await self._connection.execute(statement)
        finally:
            if not self._connection.closed:
                await self._connection.execute(f"set lock_timeout = {self._attempt_ms}")

    @property
    def _attempt_ms(self) -> int:
        return int(min(_ATTEMPT, max(self._lock_wait / 4, 0.1)) * 1000)

    async def _transaction(self, what: str, statements: Sequence[str], direction: str = "up") -> None:
        async def run() -> None:
            async with self._connection.transaction():
                await self._connection.execute(f"set local lock_timeout = {self._attempt_ms}")
                for statement in statements:
                    await self._connection.execute(statement)

        await self._attempted(what, run, direction)

    async def _attempted(self, what: str, run: Callable[[], object], direction: str) -> None:
        """Runs it again while a lock is held by somebody else."""
        until, pause = time.monotonic() + self._lock_wait, 0.2
        while True:
            try:
                async with self._watching():
                    await run()  # type: ignore[misc]  # a coroutine function
                return
            except FreeholdError as error:
                if _sqlstate(error) not in ("55P03", "40P01"):
                    raise _failed(what, error, direction) from error
                if time.monotonic() >= until:
                    raise MigrationError(
                        f"{what}: the lock did not come free in {self._lock_wait:g} s; it is held by {self._holders}",
                        hint="wait for them or end them (select pg_terminate_backend(<process>)), and run it again: "
                        "it goes on with this step",
                    ) from error
                self._report(f"waiting for a lock that is held by {self._holders}")
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # jitter, no secret
            pause = min(pause * 2, 10.0)

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError, FreeholdError):
                await watcher

    async def _watch(self) -> None:
        told = 0
        pause = 0.05
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
            rows = await self._observer.fetch(_HOLDERS, self._pid)
            if rows:
                self._holders = ", ".join(str(row["holder"]) for row in rows[:5])
            for row in await self._observer.fetch(_PROGRESS, self._pid):
                if row["percent"] is not None and row["percent"] >= told + 10:
                    told = row["percent"]
                    self._report(f"{row['phase']}: {told} %")


_HOLDERS = """
select format('process %s (%s, %s, %s since %s UTC)', pid, usename, coalesce(nullif(application_name, ''), 'unnamed'), state,
    to_char(coalesce(xact_start, query_start) at time zone 'UTC', 'HH24:MI:SS')) as holder
from pg_stat_activity where pid = any (pg_blocking_pids($1))
"""

_PROGRESS = """
select phase, case when blocks_total > 0 then (100 * blocks_done / blocks_total)::int end as percent
from pg_stat_progress_create_index where pid = $1
"""

_UNPROVED = """
select format('alter table %s drop constraint %I', conrelid::regclass, conname) as statement from pg_constraint
where connamespace = to_regnamespace($1) and not convalidated and conname = any ($2)
"""

_UNBUILT = """
select c.relname::text as name from pg_index x join pg_class c on c.oid = x.indexrelid
where c.relnamespace = to_regnamespace($1) and not x.indisvalid and c.relname = any ($2)
"""

_MOOT = {"42P01", "42703", "42704", "42883", "3F000", "42P06", "42P07", "42710", "42701", "42723"}
"""What is asked for is not there, or is there already."""

_ROWS = re.compile(r"\s*(update|insert|delete|merge|with|select)\b", re.IGNORECASE)


def _sqlstate(error: BaseException | None) -> str | None:
    """PostgreSQL's code of what was translated into one of our errors."""
    while error is not None and not hasattr(error, "sqlstate"):
        error = error.__cause__
    return getattr(error, "sqlstate", None)


def _onward(direction: str) -> str:
    other = "down" if direction == "up" else "up"
    return (
        f"mend the cause, or edit the revision, and run 'freehold migrate {direction}' again: it goes on here; "
        f"'freehold migrate {other}' leads back"
    )


def _failed(what: str, error: FreeholdError, direction: str) -> MigrationError:
    detail = getattr(error.__cause__, "detail", None)
    return MigrationError(
        f"{what} failed: {error.message}" + (f" ({detail})" if detail and detail not in error.message else ""),
        hint=f"nothing of this part stays, and the parts before it do; {_onward(direction)}",
    )
