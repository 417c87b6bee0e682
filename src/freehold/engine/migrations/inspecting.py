"""Runs the looks: refuses a revision before its first change where rows do not permit it."""

import re
from collections.abc import Callable, Sequence

from freehold.engine.migrations.looking import Look, looks
from freehold.engine.migrations.steps import Step
from freehold.engine.migrations.structure import read_structure
from freehold.engine.plan import Plan
from freehold.errors import FreeholdError, MigrationError
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import quoted

__all__ = ["exempted", "inspect"]

_EXAMPLES = 5
_EXCLUSIVE_LOOK = "3s"
"""How long an administrator who is bound by row-level security looks at most: the tables are locked meanwhile."""


async def inspect(
    connection: Connection, plan: Plan, steps: Sequence[Step], *, name: str, then: str, report: Callable[[str], None]
) -> None:
    """Looks whether the rows permit some steps.

    Args:
        connection: acts as the owner. Nothing of what is done there stays.
        plan: the declarations.
        steps: those that come next, up to SQL that a person wrote.
        name: of the revision's file.
        then: how it goes on, for the hint.
        report: hears of looks that could not be taken.

    Raises:
        MigrationError: with how many rows, examples, and the queries that find them.
    """
    async with connection.rehearsal():
        structure = await read_structure(connection, plan.schemas)
    made = looks(steps, structure, plan.schemas)
    if not made:
        return
    async with connection.rehearsal():
        await _see_all(connection, plan, made)
        refused = [text for look in made if (text := await _looked(connection, look, report)) is not None]
    if refused:
        hints = dict.fromkeys(hint for _, hint in refused if hint)
        raise MigrationError(
            f"{name} asks for what the database does not permit:" + "".join(f"\n  {text}" for text, _ in refused),
            hint="; ".join([*hints, then]),
        )


async def _looked(connection: Connection, look: Look, report: Callable[[str], None]) -> tuple[str, str] | None:
    """What a look found, in words, with what can be done; None where all is well."""
    counted = (
        f"with found as ({look.query}) select (select count(*) from found) as n, "
        f"array(select id::text from found order by 1 limit {_EXAMPLES}) as ids"
    )
    try:
        async with connection.transaction():
            for text in look.before:
                await connection.execute(text)
            (row,) = await connection.fetch(counted)
    except FreeholdError as error:
        report(f"could not look for rows {look.what}: {error.message}")
        return None
    if not row["n"]:
        return None
    ids = ", ".join(row["ids"])
    if look.names:
        return f"{ids} {look.what}", look.hint
    rows = f"{row['n']} row{'' if row['n'] == 1 else 's'}"
    query = "".join(f"{text}; " for text in look.before) + look.query
    return f"{rows} {look.what}: id {ids}{', …' if row['n'] > _EXAMPLES else ''}; found by: {query}", look.hint


async def exempted(connection: Connection, plan: Plan, texts: Sequence[str]) -> list[str] | None:
    """The tables that some statements name and whose policies would hide rows; None for an administrator who sees all.

    Args:
        connection: of the administrator, who may act as the owner meanwhile.
        plan: the declarations.
        texts: the statements.
    """
    # Row-level security is forced on the owner too, who would see no row: SQL over all organizations needs more.
    (row,) = await connection.fetch(
        "select rolsuper or rolbypassrls as free from pg_roles where rolname = session_user"
    )
    if row["free"]:
        return None
    rows = await connection.fetch(
        "select relname::text as name from pg_class where relnamespace = to_regnamespace($1) and relkind = 'r'",
        quoted(plan.schemas.application),
    )
    names = [row["name"] for row in rows]
    return [
        plan.schemas.table(name) for name in names if any(re.search(rf"\b{re.escape(name)}\b", text) for text in texts)
    ]


async def _see_all(connection: Connection, plan: Plan, made: Sequence[Look]) -> None:
    tables = await exempted(connection, plan, [look.query for look in made if not look.names])
    await connection.execute("set local search_path = pg_catalog, pg_temp")
    if tables is None:
        await connection.execute("set local role none")
        return
    await connection.execute(f"set local lock_timeout = '{_EXCLUSIVE_LOOK}'")
    await connection.execute(f"set local statement_timeout = '{_EXCLUSIVE_LOOK}'")
    for table in tables:
        await connection.execute(f"alter table {table} no force row level security")
