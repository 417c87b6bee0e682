"""Makes revisions and declarations really, under other names of schemas, in a transaction that is rolled back.

So what a revision leads to is known without a database that has it, also where the revision was edited by hand.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from alembic.operations.ops import AlterColumnOp, ExecuteSQLOp, RenameTableOp

from freehold.engine.catalog import SHADOW
from freehold.engine.migrations.belonging import belonging
from freehold.engine.migrations.folder import Revision
from freehold.engine.migrations.literals import mapped
from freehold.engine.migrations.recording import compiled
from freehold.engine.migrations.steps import planned
from freehold.engine.migrations.structure import ENGINE, Structure, objects, read_structure
from freehold.engine.plan import Plan
from freehold.errors import FreeholdError, MigrationError
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["Shadow", "at_once", "declared_structure", "known_names", "revised_structures", "search_path", "shadow"]


def search_path(schemas: Schemas) -> str:
    """Where the names in a revision are looked up."""
    return f"{quoted(schemas.application)}, {quoted(schemas.engine)}, pg_temp"


def at_once(statement: str, schemas: Schemas) -> str:
    """A statement of a revision as it can be run in a transaction with others, on tables without rows."""

    def changed(part: str) -> str:
        # A name of this word is in quotes.
        return re.sub(r'(?<!")\bconcurrently\b', "", part.replace(ENGINE, quoted(schemas.engine)), flags=re.IGNORECASE)

    return mapped(statement, changed)


class Shadow:
    """The schemas under their other names, for as long as the transaction lasts.

    Args:
        connection: of an administrator, in the transaction.
        schemas: the names in the database, where extensions may be.
    """

    def __init__(self, connection: Connection, schemas: Schemas) -> None:
        self._connection, self._schemas = connection, schemas
        self.own: set[str] = set()
        self._told = False

    async def run(self, revision: Revision, direction: str = "up") -> None:
        """Does what a revision does, at once instead of in the forms that let others through.

        Raises:
            MigrationError: PostgreSQL refuses a statement.
        """
        path = await self._path()
        for operation in revision.operations(direction):
            manual = isinstance(operation, ExecuteSQLOp) and planned([operation], SHADOW)[0].manual
            before = objects(await self.structure()) if manual else frozenset()
            await self.execute(f"set local search_path = {path}")
            for statement in compiled(operation):
                await self._tried(revision, direction, statement, own=manual)
            if manual:
                self.own |= objects(await self.structure()) - before
            elif isinstance(operation, RenameTableOp):
                self.renamed(operation.table_name, operation.new_table_name)
            elif isinstance(operation, AlterColumnOp) and operation.modify_name:
                self.renamed(
                    f"{operation.table_name}.{operation.column_name}",
                    f"{operation.table_name}.{operation.modify_name}",
                )

    def renamed(self, old: str, new: str) -> None:
        """Follows a table or column to its new name."""
        self.own = {new + name[len(old) :] if name == old or name.startswith(f"{old}.") else name for name in self.own}

    async def belonging(self, after: Structure) -> Structure:
        """The tables that are there now, without what is somebody's own. What that is, is known from then on."""
        now = await self.structure()
        found = belonging(now, after, frozenset(self.own), formed=not self._told)
        self.own |= objects(now) - objects(found)
        self._told = True
        return found

    async def _path(self) -> str:
        """With the application's schema at the end, where an extension is in it: it is there once in a database."""
        (row,) = await self._connection.fetch(
            "select exists (select from pg_extension where extnamespace = to_regnamespace($1)) as there",
            quoted(self._schemas.application),
        )
        return search_path(SHADOW) + (f", {quoted(self._schemas.application)}" if row["there"] else "")

    async def _tried(self, revision: Revision, direction: str, statement: str, *, own: bool) -> None:
        try:
            async with self._connection.transaction() if own else contextlib.nullcontext():
                await self.execute(at_once(statement, SHADOW))
        except FreeholdError as error:
            if own and getattr(error.__cause__, "sqlstate", None) in _THERE:
                return
            detail = getattr(error.__cause__, "detail", None)  # names what depends on what goes
            told = f"{error.message} ({detail})" if detail and detail not in error.message else error.message
            raise MigrationError(
                f"{revision.path.name} cannot be run {direction}: {told}: {' '.join(statement.split())[:200]}",
                hint="mend the file; it was tried in schemas of its own, and nothing was changed",
            ) from error

    async def execute(self, statement: str) -> None:
        """Runs a statement."""
        await self._connection.execute(statement)

    async def structure(self) -> Structure:
        """The tables that are there now."""
        return await read_structure(self._connection, SHADOW, self._schemas.application)


_THERE = {"42P06", "42710", "42P07", "42723"}
"""A schema, extension, table or function is there already: outside of the two schemas there is no other name for it."""


@asynccontextmanager
async def shadow(connection: Connection, plan: Plan) -> AsyncIterator[Shadow]:
    """The engine and an empty schema for tables, until the end."""
    async with connection.rehearsal():
        await connection.execute(";\n".join(text.strip().rstrip(";") for text in plan.under(SHADOW).setup))
        yield Shadow(connection, plan.schemas)


async def declared_structure(connection: Connection, plan: Plan) -> Structure:
    """The tables as the declarations make them."""
    made = plan.under(SHADOW)
    async with shadow(connection, plan) as other:
        statements = [text for part in (made.tables, made.references) for texts in part.values() for text in texts]
        if statements:
            await other.execute(";\n".join(statements))
        return await other.structure()


async def known_names(connection: Connection, plan: Plan, revisions: Sequence[Revision]) -> frozenset[str] | None:
    """The names of what revisions made of declarations, as of the last one; None where there are no revisions."""
    if not revisions:
        return None
    async with shadow(connection, plan) as other:
        for revision in revisions:
            await other.run(revision)
        return objects(belonging(await other.structure(), {}, frozenset(other.own)))


async def revised_structures(connection: Connection, plan: Plan, revisions: Sequence[Revision]) -> list[Structure]:
    """The tables before the first of some revisions, and after each of them."""
    async with shadow(connection, plan) as other:
        found = [await other.structure()]
        for revision in revisions:
            await other.run(revision)
            found.append(await other.structure())
        return found
