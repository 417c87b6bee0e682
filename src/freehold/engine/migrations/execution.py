"""Runs what was planned, one group at a time, and notes each, so that a killed run is taken up where it was.

Authority: the table of groups that are done. A group that is a transaction is noted in it, so it is done and noted or
neither; a step that cannot run in one is of a form that can be repeated.

Locks: a step waits a few seconds at most, so that what queues behind it does not stand for longer, and tries again after
a pause that grows. Who is in the way is asked on a connection of its own while the step waits.
"""

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from freehold.engine.migrations.folder import Revision
from freehold.engine.migrations.mending import Mending
from freehold.engine.migrations.shadow import search_path
from freehold.engine.migrations.state import State, keep_revision
from freehold.engine.migrations.steps import Group, Step
from freehold.engine.plan import Plan
from freehold.errors import FreeholdError, MigrationError
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import literal, quoted

__all__ = ["LOCK_WAIT", "Execution", "Work", "script"]

LOCK_WAIT = 60.0
"""Seconds for which a step is tried again while somebody else holds what it needs."""

_ATTEMPT = 3.0
"""Seconds that one attempt waits for a lock; those who come behind it wait for as long."""


@dataclass(frozen=True)
class Work:
    """What a run will do.

    Args:
        direction: up or down.
        revisions: each with its groups and the revision that the database is at afterwards.
        before: what revisions build on and is made first: the engine's own objects.
        mendings: derived objects to make again.
        stamp: the revision that the tables have already, where that is all there is to note.
        notes: what a person should know.
    """

    direction: str
    revisions: Sequence[tuple[Revision, Sequence[Group], str | None]] = ()
    before: Sequence[Mending] = ()
    mendings: Sequence[Mending] = ()
    stamp: str | None = None
    notes: Sequence[str] = ()

    @property
    def steps(self) -> list[Step]:
        """All steps of all revisions."""
        return [step for _, groups, _ in self.revisions for group in groups for step in group.steps]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.revisions or self.before or self.mendings or self.stamp)

    def with_mendings(self, number: int) -> int | None:
        """The group of the last revision whose transaction makes derived objects again; None for one of their own."""
        if not self.revisions or number != len(self.revisions) - 1:
            return None
        shaping = [g.number for g in self.revisions[-1][1] if g.transactional and any(s.shapes for s in g.steps)]
        return shaping[-1] if shaping else None


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
            await self._transaction("the engine", _mending_statements(work.before, self._plan))
        if work.stamp:
            await self._transaction("stamp", keep_revision(self._plan.schemas, work.stamp, "stamp"))
        mendings = list(work.mendings)
        for number, (revision, groups, after) in enumerate(work.revisions):
            done = state.done if state.half == (revision.id, work.direction) else {}
            _unchanged(revision, groups, done)
            carrier = work.with_mendings(number)
            for group in groups:
                if group.number in done:
                    continue
                with_it = mendings if group.number == carrier else []
                await self._group(revision, group, work.direction, with_it)
                if with_it:
                    mendings = []
            if number == len(work.revisions) - 1 and mendings:
                await self._transaction("derived objects", _mending_statements(mendings, self._plan))
                mendings = []
            await self._transaction(f"note {revision.id}", keep_revision(self._plan.schemas, after, work.direction))
            self._report(f"{work.direction} {revision.id}: done")
        if mendings:
            await self._transaction("derived objects", _mending_statements(mendings, self._plan))

    async def _prepare(self) -> None:
        (row,) = await self._connection.fetch("select pg_backend_pid() as pid, quote_ident(current_user) as name")
        self._pid = row["pid"]
        for statement in _session(self._plan):
            await self._connection.execute(statement)

    async def _group(self, revision: Revision, group: Group, direction: str, mendings: Sequence[Mending]) -> None:
        for step in group.steps:
            self._report(f"{revision.id}: {step.change}")
        note = _note(self._plan, revision, group, direction)
        if group.transactional:
            statements = [
                *await self._statements(group),
                *_mending_statements(mendings, self._plan),
                *_shaped(self._plan, group),
                note,
            ]
            await self._transaction(f"{revision.path.name}: {'; '.join(s.change for s in group.steps)}", statements)
            return
        (step,) = group.steps
        await self._attempted(f"{revision.path.name}: {step.change}", lambda: self._alone(step))
        await self._connection.execute(note)

    async def _statements(self, group: Group) -> list[str]:
        statements = [text for step in group.steps for text in step.sql]
        if not (group.manual and any(_ROWS.match(text) for text in statements)):
            return statements
        # Row-level security is forced on the owner too, who would see no row: SQL over all organizations needs more.
        (row,) = await self._connection.fetch(
            "select rolsuper or rolbypassrls as free from pg_roles where rolname = session_user"
        )
        if row["free"]:
            return ["set local role none", *statements, f"set local role {quoted(self._plan.roles.owner)}"]
        rows = await self._connection.fetch(
            "select relname::text as name from pg_class where relnamespace = to_regnamespace($1) and relkind = 'r'",
            quoted(self._plan.schemas.application),
        )
        named = [
            row["name"] for row in rows if any(re.search(rf"\b{re.escape(row['name'])}\b", text) for text in statements)
        ]
        tables = [self._plan.schemas.table(name) for name in named]
        return [
            *(f"alter table {table} no force row level security" for table in tables),
            *statements,
            *(f"alter table {table} force row level security" for table in tables),
        ]

    async def _alone(self, step: Step) -> None:
        """A step that cannot run in a transaction. What a killed one left unfinished is removed first."""
        if step.index is not None:
            rows = await self._connection.fetch(
                "select 1 from pg_index where indexrelid = to_regclass($1) and not indisvalid", quoted(step.index)
            )
            if rows:
                self._report(f"the index {step.index} was left unfinished; it is built anew")
                await self._connection.execute(f"drop index concurrently if exists {quoted(step.index)}")
        for statement in step.sql:
            # It waits for transactions that are open while it holds up nobody.
            await self._connection.execute(f"set lock_timeout = {int(max(self._lock_wait, _ATTEMPT) * 1000)}")
            try:
                await self._connection.execute(statement)
            finally:
                if not self._connection.closed:
                    await self._connection.execute(f"set lock_timeout = {self._attempt_ms}")

    @property
    def _attempt_ms(self) -> int:
        return int(min(_ATTEMPT, max(self._lock_wait / 4, 0.1)) * 1000)

    async def _transaction(self, what: str, statements: Sequence[str]) -> None:
        async def run() -> None:
            async with self._connection.transaction():
                await self._connection.execute(f"set local lock_timeout = {self._attempt_ms}")
                for statement in statements:
                    await self._connection.execute(statement)

        await self._attempted(what, run)

    async def _attempted(self, what: str, run: Callable[[], object]) -> None:
        """Runs it again while a lock is held by somebody else."""
        until, pause = time.monotonic() + self._lock_wait, 0.2
        while True:
            try:
                async with self._watching():
                    await run()  # type: ignore[misc]  # a coroutine function
                return
            except FreeholdError as error:
                if getattr(error.__cause__, "sqlstate", None) not in ("55P03", "40P01"):
                    raise _failed(what, error) from error
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

_ROWS = re.compile(r"\s*(update|insert|delete|merge|with|select)\b", re.IGNORECASE)


def _session(plan: Plan) -> list[str]:
    return [
        "set application_name = 'freehold migrate'",
        "set statement_timeout = 0",
        "set idle_in_transaction_session_timeout = 0",
        "set client_connection_check_interval = '2s'",
        f"set role {quoted(plan.roles.owner)}",
        f"set search_path = {search_path(plan.schemas)}",
    ]


def _note(plan: Plan, revision: Revision, group: Group, direction: str) -> str:
    return (
        f"insert into {plan.schemas.own('migration_groups')} (revision, direction, number, digest) values "
        f"({literal(revision.id)}, {literal(direction)}, {group.number}, {literal(group.digest)}) on conflict do nothing"
    )


def _shaped(plan: Plan, group: Group) -> list[str]:
    return (
        [f"select {plan.schemas.own('note_columns')}()"] if group.manual or any(s.shapes for s in group.steps) else []
    )


def _mending_statements(mendings: Sequence[Mending], plan: Plan) -> list[str]:
    statements: list[str] = []
    for mending in mendings:
        if mending.administrative:
            statements += ["set local role none", *mending.sql, f"set local role {quoted(plan.roles.owner)}"]
        else:
            statements += mending.sql
    return statements


def _unchanged(revision: Revision, groups: Sequence[Group], done: dict[int, str]) -> None:
    digests = {group.number: group.digest for group in groups}
    changed = [number for number, digest in done.items() if digests.get(number) != digest]
    if changed:
        raise MigrationError(
            f"{revision.path.name} was changed while it is half done: its part {changed[0] + 1} was run in another form",
            hint="put the file back as it was, run it to its end, and write what is new as another revision",
        )


def _failed(what: str, error: FreeholdError) -> MigrationError:
    return MigrationError(
        f"{what} failed: {error.message}",
        hint="nothing of this part was done, and the parts before it stay; mend the cause and run it again: it goes on here",
    )


def script(work: Work, plan: Plan) -> str:
    """What a run would do, as SQL for psql. Its last lines note that it was done."""
    lines = [*_session(plan)[4:], ""]
    if work.before:
        lines += ["begin", *_mending_statements(work.before, plan), "commit", ""]
    if work.stamp:
        lines += ["begin", *keep_revision(plan.schemas, work.stamp, "stamp"), "commit", ""]
    for number, (revision, groups, after) in enumerate(work.revisions):
        lines.append(f"-- {revision.path.name}: {work.direction}")
        carrier = work.with_mendings(number)
        for group in groups:
            lines += [f"-- {step.change}" + (f" ({step.lock})" if step.lock else "") for step in group.steps]
            statements = [text for step in group.steps for text in step.sql] + _shaped(plan, group)
            if group.number == carrier:
                statements[len(statements) :] = _mending_statements(work.mendings, plan)
            lines += ["begin", *statements, "commit", ""] if group.transactional else [*statements, ""]
        if number == len(work.revisions) - 1 and carrier is None and work.mendings:
            lines += ["begin", *_mending_statements(work.mendings, plan), "commit", ""]
        lines += ["begin", *keep_revision(plan.schemas, after, work.direction), "commit", ""]
    if not work.revisions and work.mendings:
        lines += ["begin", *_mending_statements(work.mendings, plan), "commit", ""]
    return (
        "\n".join(line if not line or line.startswith("--") else f"{line.strip().rstrip(';')};" for line in lines)
        + "\n"
    )
