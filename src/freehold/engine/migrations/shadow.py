"""Makes revisions and declarations really, under other names of schemas, in a transaction that is rolled back.

So what a revision leads to is known without a database that has it, also where the revision was edited by hand.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from freehold.engine.catalog import SHADOW
from freehold.engine.migrations.folder import Revision
from freehold.engine.migrations.literals import mapped
from freehold.engine.migrations.recording import compiled
from freehold.engine.migrations.structure import ENGINE, Structure, read_structure
from freehold.engine.plan import Plan
from freehold.errors import FreeholdError, MigrationError
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["Shadow", "declared_structure", "revised_structures", "search_path", "shadow"]


def search_path(schemas: Schemas) -> str:
    """Where the names in a revision are looked up."""
    return f"{quoted(schemas.application)}, {quoted(schemas.engine)}, pg_temp"


def _at_once(part: str) -> str:
    """Part of a statement as it can be run in a transaction, in the schemas of the rehearsal."""
    return re.sub(r"\bconcurrently\b", "", part.replace(ENGINE, quoted(SHADOW.engine)), flags=re.IGNORECASE)


class Shadow:
    """The schemas under their other names, for as long as the transaction lasts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def run(self, revision: Revision, direction: str = "up") -> None:
        """Does what a revision does, at once instead of in the forms that let others through.

        Raises:
            MigrationError: PostgreSQL refuses a statement.
        """
        await self.execute(f"set local search_path = {search_path(SHADOW)}")
        for operation in revision.operations(direction):
            for statement in compiled(operation):
                text = mapped(statement, _at_once)
                try:
                    await self.execute(text)
                except FreeholdError as error:
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
        return await read_structure(self._connection, SHADOW)


@asynccontextmanager
async def shadow(connection: Connection, plan: Plan) -> AsyncIterator[Shadow]:
    """The engine and an empty schema for tables, until the end."""
    async with connection.rehearsal():
        await connection.execute(";\n".join(text.strip().rstrip(";") for text in plan.under(SHADOW).setup))
        yield Shadow(connection)


async def declared_structure(connection: Connection, plan: Plan) -> Structure:
    """The tables as the declarations make them."""
    made = plan.under(SHADOW)
    async with shadow(connection, plan) as other:
        statements = [text for part in (made.tables, made.references) for texts in part.values() for text in texts]
        if statements:
            await other.execute(";\n".join(statements))
        return await other.structure()


async def revised_structures(connection: Connection, plan: Plan, revisions: Sequence[Revision]) -> list[Structure]:
    """The tables before the first of some revisions, and after each of them."""
    async with shadow(connection, plan) as other:
        found = [await other.structure()]
        for revision in revisions:
            await other.run(revision)
            found.append(await other.structure())
        return found
