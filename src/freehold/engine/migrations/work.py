"""Migrations as a whole: what the commands do, each on a connection that its caller opens."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from freehold.engine.advisory import WAIT, exclusive
from freehold.engine.catalog import Difference, differences, read_catalog
from freehold.engine.counters import counter_drops
from freehold.engine.functions import function_drops
from freehold.engine.install import installed_digest, keep_digest
from freehold.engine.migrations.belonging import belonging
from freehold.engine.migrations.execution import LOCK_WAIT, Execution
from freehold.engine.migrations.folder import Folder, Revision
from freehold.engine.migrations.mending import Mending, mended, mended_engine
from freehold.engine.migrations.recording import compiled
from freehold.engine.migrations.resuming import Taken, operations_of, remaining, restricted, written_left
from freehold.engine.migrations.shadow import at_once, declared_structure, known_names, revised_structures, shadow
from freehold.engine.migrations.state import (
    BEGUN,
    State,
    fingerprint,
    keep_derived,
    keep_revision,
    read_state,
    stored_derived,
)
from freehold.engine.migrations.steps import Group, grouped, planned
from freehold.engine.migrations.structure import Structure, objects, read_structure
from freehold.engine.migrations.undertaking import Work
from freehold.engine.migrations.writing import lines
from freehold.engine.plan import Plan
from freehold.engine.reconcile import count_anew, uncounted
from freehold.engine.references import reference_drops
from freehold.engine.roles import empower_owner, require_roles
from freehold.engine.search import search_drops, search_refresh
from freehold.engine.settings import configure_role
from freehold.errors import MigrationError
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import quoted

__all__ = ["Checked", "Migrations", "Standing"]


@dataclass(frozen=True)
class Standing:
    """Where a database is among the revisions.

    Args:
        current: the revision that it is at; None before the first.
        head: the newest one.
        pending: those between, oldest first.
        half: one that is under way.
        adopted: whether the database is known here at all; else it was set up without revisions.
    """

    current: str | None
    head: str | None
    pending: Sequence[Revision]
    half: tuple[str, str] | None
    adopted: bool


@dataclass(frozen=True)
class Checked:
    """What `check` found.

    Args:
        standing: where the database is.
        differences: between it and the declarations.
        own: what somebody made beside the declarations; it is left alone.
    """

    standing: Standing
    differences: Sequence[Difference]
    own: Sequence[Difference] = ()

    @property
    def clean(self) -> bool:
        """Whether the database is at the head and as declared."""
        return not (self.differences or self.standing.pending or self.standing.half)


Undertaking = tuple[Revision, list[Group], str | None]
"""A revision, its groups, and the revision that the database is at afterwards."""


class Migrations:
    """The migrations of one application.

    Args:
        plan: its declarations.
        folder: where its revisions are.
    """

    def __init__(self, plan: Plan, folder: Folder | Path | str) -> None:
        self.plan = plan
        self.folder = folder if isinstance(folder, Folder) else Folder(folder)

    async def status(self, connection: Connection) -> Standing:
        """Where a database is.

        Raises:
            MigrationError: the folder cannot be read, or the database is at a revision that it does not know.
        """
        return self._standing(await read_state(connection, self.plan.schemas))

    def _standing(self, state: State) -> Standing:
        revisions = self.folder.revisions
        try:
            place = self.folder.index(state.revision)
        except MigrationError as error:
            raise MigrationError(
                f"the database is newer than this code: it is at revision {state.revision}, which {self.folder.path} does not have",
                hint="run the release that has it, or go down with that one first: freehold migrate down",
            ) from error
        return Standing(state.revision, self.folder.head, revisions[place:], state.half, state.known)

    async def check(self, connection: Connection) -> Checked:
        """Holds a database against revisions and declarations. Nothing is changed."""
        standing = await self.status(connection)
        await require_roles(connection, self.plan.roles)
        found = await self._compared(connection)
        return Checked(standing, [each for each in found if not each.own], [each for each in found if each.own])

    async def _compared(self, connection: Connection) -> list[Difference]:
        known = await known_names(connection, self.plan, self.folder.revisions)
        return await differences(connection, self.plan, self.plan.schemas, self.plan.roles, known)

    async def fresh(self, connection: Connection) -> list[str] | None:
        """What makes the tables of an empty database: all revisions, and what the declarations are ahead of them.

        So what revisions make by SQL of their own is there as well.

        Args:
            connection: of an administrator who may act as the owner.

        Returns:
            The statements; None where there are no revisions, or tables already.
        """
        state = await read_state(connection, self.plan.schemas)
        if self.folder.head is None or state.tables or state.known:
            return None
        await empower_owner(connection, self.plan.roles)
        declared = await declared_structure(connection, self.plan)
        async with shadow(connection, self.plan) as other:
            for revision in self.folder.revisions:
                await other.run(revision)
            reached = belonging(await other.structure(), declared, frozenset(other.own))
        operations = [each for revision in self.folder.revisions for each in revision.operations("up")]
        operations += operations_of(lines(reached, declared))
        return [at_once(text, self.plan.schemas) for operation in operations for text in compiled(operation)]

    async def work_up(self, connection: Connection, *, to: str | None = None) -> Work:
        """What `up` would do.

        Args:
            connection: of an administrator who may act as the owner.
            to: the last revision to run; None for all.

        Raises:
            MigrationError: revisions and declarations do not fit together, or the tables are as no revision says.
        """
        state = await read_state(connection, self.plan.schemas)
        standing = self._standing(state)
        await require_roles(connection, self.plan.roles)
        await empower_owner(connection, self.plan.roles)
        if not standing.pending and not state.half and await self._untouched(connection):
            return Work("up", counting=await self._uncounted(connection))
        structures = await revised_structures(connection, self.plan, self.folder.revisions)
        place = await self._place(connection, state, structures)
        reached = len(self.folder.revisions) if to is None else max(self.folder.index(to), place)
        pending = self.folder.revisions[place:reached]
        if state.half and state.half[0] not in [each.id for each in pending]:
            raise _strange(state.half, self.folder)
        stamp = self.folder.revisions[place - 1].id if place and not state.known else None
        notes = [f"the tables are as revision {stamp} says: it is noted, and not run"] if stamp else []
        found = await differences(connection, self.plan, self.plan.schemas, self.plan.roles)
        adopted = not self.folder.revisions and state.tables
        lacking = [] if adopted else await self._lacking(connection, structures[reached])
        if lacking and to is None:
            raise MigrationError(
                f"the declarations are ahead of the revisions, which lack: {'; '.join(lacking[:10])}",
                hint="write them: freehold migrate new",
            )
        if lacking:
            notes.append("policies, triggers, functions and grants stay as they are: they fit the newest revision only")
        mendings = [] if lacking else [*mended(found, self.plan), *await self._refresh(connection)]
        revisions: list[Undertaking] = [
            (each, grouped(planned(each.operations("up"), self.plan.schemas)), each.id) for each in pending
        ]
        taken = None
        if state.half and revisions:
            taken, revisions[0] = await self._taken(
                connection, state, "up", revisions[0], structures[place], structures[place + 1]
            )
        notes += [_taken_note(revisions[0][0])] if taken else []
        counting = () if lacking else await self._uncounted(connection)
        return Work("up", revisions, mended_engine(found, self.plan), mendings, stamp, notes, taken, counting)

    async def _uncounted(self, connection: Connection) -> tuple[str, ...]:
        """The entities whose rows a declared counter has not counted yet."""
        schemas = self.plan.schemas
        (there,) = await connection.fetch("select to_regclass($1) is not null as noted", schemas.own("settings"))
        registry = self.plan.registry
        found = await uncounted(connection, registry, schemas) if there["noted"] else list(registry.entities.values())
        return tuple(each.name for each in found if registry.counters_of(each))

    async def _taken(
        self,
        connection: Connection,
        state: State,
        direction: str,
        work: Undertaking,
        before: Structure,
        target: Structure,
    ) -> tuple[Taken | None, Undertaking]:
        """How a revision goes on that is half done: where it was, or with what is left of it to do.

        Args:
            connection: to the database.
            state: what was done.
            direction: where it goes now.
            work: the revision, its groups, and where it leads.
            before, target: the tables that are left, and those that it leads to.
        """
        revision, groups, after = work
        digests = {group.number: group.digest for group in groups}
        onward = all(
            part.direction == direction and part.digest in (BEGUN, digests.get(part.number)) for part in state.parts
        )
        if onward:
            return None, work
        async with connection.rehearsal():
            actual = await read_structure(connection, self.plan.schemas)
        operations, other = (revision.operations(way) for way in (direction, "down" if direction == "up" else "up"))
        left = written_left(operations, other, direction, state.parts, self.plan.schemas)
        operations = remaining(operations, actual, left)
        first = max(part.number for part in state.parts) + 2  # the one between notes that it was taken up
        made = frozenset(name for part in state.parts for name in part.made)
        lenient = any(part.direction != direction for part in state.parts)
        taken = Taken(target, objects(before) | objects(target) | made, first, lenient)
        return taken, (revision, grouped(planned(operations, self.plan.schemas), first), after)

    async def _refresh(self, connection: Connection) -> list[Mending]:
        """Takes up records for search anew, where the form in which it keeps them has changed."""
        schemas, entities = self.plan.schemas, self.plan.registry.entities.values()
        statements = tuple(text for entity in entities for text in search_refresh(entity, schemas))
        if not statements or await installed_digest(connection, schemas) == self.plan.digest:
            return []
        return [Mending("take up records for search where its form is new", statements)]

    async def work_down(self, connection: Connection, *, to: str | None) -> Work:
        """What `down` would do: undo revisions, newest first.

        Args:
            connection: of an administrator who may act as the owner.
            to: the revision to be at afterwards; None for before the first.
        """
        state = await read_state(connection, self.plan.schemas)
        standing = self._standing(state)
        if not state.known and not state.half:
            raise MigrationError(
                "no revision was run here yet", hint="freehold migrate status tells where a database is"
            )
        first, last = self.folder.index(to), self.folder.index(standing.current)
        if state.half and state.half[0] != standing.current:
            last += 1  # what was done of the next one goes first
        if first > last:
            raise MigrationError(
                f"{to} is newer than {standing.current}, where the database is", hint="freehold migrate up"
            )
        revisions = self.folder.revisions
        undone: list[Undertaking] = [
            (
                revisions[n],
                grouped(planned(revisions[n].operations("down"), self.plan.schemas)),
                revisions[n - 1].id if n else None,
            )
            for n in reversed(range(first, last))
        ]
        taken, notes = None, []
        if state.half and undone:
            if state.half[0] != undone[0][0].id:
                raise _strange(state.half, self.folder)
            structures = await revised_structures(connection, self.plan, self.folder.revisions)
            taken, undone[0] = await self._taken(
                connection, state, "down", undone[0], structures[last], structures[last - 1]
            )
            notes += [_taken_note(undone[0][0])] if taken else []
        kept = await stored_derived(connection, self.plan.schemas, to) if undone else []
        if undone and not kept and to is not None:
            notes += [
                "functions and grants stay those of the newer revision until the release that belongs to this one runs 'up'"
            ]
        mendings = []
        if undone and (kept or to is None):
            entities = self.plan.registry.entities.values()
            schemas = self.plan.schemas
            drops = [
                text
                for entity in entities
                for text in (
                    *function_drops(entity, schemas),
                    *search_drops(entity, schemas),
                    *counter_drops(entity, schemas),
                    *reference_drops(entity, schemas),
                )
            ]
            lock = "ACCESS EXCLUSIVE on each table"
            mendings = [Mending("make the objects of that revision again", (*drops, *kept), lock)]
        return Work("down", undone, (), mendings, None, notes, taken)

    async def run(
        self, connection: Connection, observer: Connection, work: Work, *, report: Callable[[str], None],
        lock_wait: float = LOCK_WAIT,
    ) -> list[Difference]:  # fmt: skip
        """Does some work. To be called while holding the lock (`locked`).

        Returns:
            What still differs from the declarations afterwards.
        """
        state = await read_state(connection, self.plan.schemas)
        execution = Execution(connection, observer, self.plan, report=report, lock_wait=lock_wait)
        await execution.run(work, state)
        for statement in ("reset role", "reset search_path", "reset lock_timeout"):
            await connection.execute(statement)
        if work.direction == "down":
            async with connection.transaction():
                settings = self.plan.schemas.own("settings")
                await connection.execute(f"delete from {settings} where name in ('installed', 'printed')")
            return []
        if work.counting:
            await count_anew(connection, self.plan.registry, self.plan.schemas, self.plan.roles, report)
        return await self._settle(connection)

    def locked(self, connection: Connection, *, wait: float = WAIT) -> AbstractAsyncContextManager[None]:
        """Holds the lock under which all set-ups and migrations of the schema run."""
        return exclusive(connection, self.plan.schemas, wait=wait)

    async def stamp(self, connection: Connection) -> bool:
        """Notes that the tables are as the head says, where they were just made from the declarations and are.

        Args:
            connection: of an administrator who may act as the owner.

        Returns:
            Whether they are; else `up` will say what is missing.
        """
        if self.folder.head is None:
            return False
        async with self.locked(connection):
            structures = await revised_structures(connection, self.plan, self.folder.revisions)
            async with connection.rehearsal():
                if await read_structure(connection, self.plan.schemas) != structures[-1]:
                    return False
            async with connection.transaction():
                await connection.execute(f"set local role {quoted(self.plan.roles.owner)}")
                for statement in keep_revision(self.plan.schemas, self.folder.head, "stamp"):
                    await connection.execute(statement)
                await connection.execute(keep_derived(self.plan.schemas, self.folder.head, self.plan.derived))
        return True

    async def _settle(self, connection: Connection) -> list[Difference]:
        """Notes how the schema is printed now, where nothing is left to mend, and keeps the derived objects."""
        plan, schemas = self.plan, self.plan.schemas
        await configure_role(connection, schemas, plan.roles)
        found = await self._compared(connection)
        state = await read_state(connection, schemas)
        async with connection.transaction():
            await connection.execute(f"set local role {quoted(plan.roles.owner)}")
            await connection.fetch(f"select {schemas.own('note_columns')}()")
            if state.revision is not None and state.revision == self.folder.head:
                await connection.execute(keep_derived(schemas, state.revision, plan.derived))
            if not (mended(found, plan) or mended_engine(found, plan)):
                await keep_digest(connection, plan, schemas)
                printed = fingerprint(await read_catalog(connection, schemas, plan.roles))
                await connection.fetch(
                    f"insert into {schemas.own('settings')} values ('printed', $1) on conflict (name) do update set value = excluded.value",
                    printed,
                )
        return [each for each in found if not each.own]

    async def _untouched(self, connection: Connection) -> bool:
        """Whether the schema is printed as it was when it was found to be as declared."""
        plan, schemas = self.plan, self.plan.schemas
        if await installed_digest(connection, schemas) != plan.digest:
            return False
        kept = await connection.fetch(f"select value from {schemas.own('settings')} where name = 'printed'")
        async with connection.rehearsal():
            return bool(kept) and kept[0]["value"] == fingerprint(await read_catalog(connection, schemas, plan.roles))

    async def _place(self, connection: Connection, state: State, structures: Sequence[Structure]) -> int:
        """How many revisions the tables have: as noted, or as they look where somebody made them without revisions."""
        if state.known or state.half or not state.tables:
            # What is half undone is done again.
            return self.folder.index(state.revision) - (state.half is not None and state.half[0] == state.revision)
        return await self._adopted(connection, structures)

    async def _adopted(self, connection: Connection, structures: Sequence[Structure]) -> int:
        """How many revisions the tables have that somebody made without them."""
        async with connection.rehearsal():
            actual = await read_structure(connection, self.plan.schemas)
        made = frozenset().union(*map(objects, structures))
        ours = {name: restricted(table, made) for name, table in actual.items() if name in made}
        for place in reversed(range(len(structures))):
            if structures[place] == ours:
                return place
        if len(structures) == 1:  # there are no revisions yet
            declared = await declared_structure(connection, self.plan)
            missing = lines(belonging(actual, declared), declared)
            if not missing:
                return 0
        else:
            missing = lines(ours, structures[-1])
        raise MigrationError(
            f"the tables that are there are as no revision says; from the newest they differ in: {'; '.join(missing[:10])}",
            hint="alter them by hand until 'freehold migrate up' finds a revision that they are as, or start from an empty database",
        )

    async def _lacking(self, connection: Connection, reached: Structure) -> list[str]:
        """What is declared and not made by the revisions, so that functions and grants would fail."""
        declared = await declared_structure(connection, self.plan)
        lacking = [f"the table {name}" for name in declared if name not in reached]
        for name in declared.keys() & reached.keys():
            lacking += [f"{name}.{column}" for column in declared[name].columns if column not in reached[name].columns]
        return sorted(lacking)


def _strange(half: tuple[str, str], folder: Folder) -> MigrationError:
    return MigrationError(
        f"revision {half[0]} is half done, and not the next one of {folder.path}",
        hint=f"finish it with the release that has it: freehold migrate {half[1]}",
    )


def _taken_note(revision: Revision) -> str:
    return (
        f"{revision.id} is half done: what of it is there stays, what is left of it is done, and the tables are held "
        "against it at the end"
    )
