"""Writes a new revision: what the revisions so far and the declarations differ in."""

from collections.abc import Sequence
from pathlib import Path

from freehold.engine.migrations.folder import Folder
from freehold.engine.migrations.renaming import Ask, column_renames, table_renames
from freehold.engine.migrations.shadow import Shadow, declared_structure, shadow
from freehold.engine.migrations.structure import Structure
from freehold.engine.migrations.writing import Rename, decided, lines, renamed_objects, revision_text
from freehold.engine.plan import Plan
from freehold.engine.roles import require_roles
from freehold.errors import MigrationError
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import quoted

__all__ = ["author"]


async def author(
    connection: Connection, plan: Plan, folder: Folder, title: str, *,
    renames: Sequence[tuple[str, str]] = (), never_renamed: bool = False, ask: Ask = None, empty: bool = False,
    deleted: str | None = None,
) -> Path | None:  # fmt: skip
    """Writes the revision that leads from the newest one to the declarations, and tries it both ways.

    Args:
        connection: of an administrator who may act as the owner, to any database with the roles. Nothing in it is changed.
        plan: the declarations.
        folder: where the file goes.
        title: what it does, for people.
        renames: pairs of an old and a new name: tables, or columns as `table.column`.
        never_renamed: whether what goes and what comes are never the same.
        ask: asks a person about each that may be.
        deleted: what becomes of deleted rows where deletion is not soft any more: purge, or live; None leaves the question.
        empty: whether to write a revision without operations, for SQL of one's own.

    Returns:
        The file; None where there is nothing to write.

    Raises:
        MigrationError: it cannot be told what was renamed, or a declaration cannot be written.
    """
    await require_roles(connection, plan.roles)
    after = await declared_structure(connection, plan)
    async with shadow(connection, plan) as other:
        for revision in folder.revisions:
            await other.run(revision)
        found = [] if empty else await _renamed(other, after, renames, never_renamed, ask)
        before = after if empty else await other.belonging(after)
    try:
        up = [*(each[0] for each in found), *(decided(each, deleted) for each in lines(before, after))]
        down = [*lines(after, before), *(each[1] for each in reversed(found))]
    except ValueError as error:
        raise MigrationError(
            str(error), hint="write an empty revision and its SQL: freehold migrate new --empty"
        ) from error
    if not up and not empty:
        return None
    if empty:
        up = down = [
            '# op.execute("...") runs once, for the rows of all organizations; tables are named without a schema.'
        ]
    path = folder.add(title, lambda revision, previous: revision_text(title, revision, previous, up, down))
    if not empty:
        await _tried(connection, plan, folder, after)
    return path


async def _renamed(
    other: Shadow, after: Structure, named: Sequence[tuple[str, str]], never: bool, ask: Ask
) -> list[tuple[str, str]]:
    """Renames what has another name now, and answers with the operations up and down."""
    tables = table_renames(
        await other.belonging(after), after, [pair for pair in named if "." not in pair[0]], never=never, ask=ask
    )
    for each in tables:
        await other.execute(f"alter table {quoted(each.old)} rename to {quoted(each.new)}")
        other.renamed(each.old, each.new)
    pairs = [pair for pair in named if "." in pair[0]]
    columns = column_renames(await other.belonging(after), after, pairs, never=never, ask=ask)
    for each in columns:
        await other.execute(f"alter table {quoted(each.table)} rename column {quoted(each.old)} to {quoted(each.new)}")
    _all_used(named, [*tables, *columns])
    objects = renamed_objects(await other.belonging(after), after) if tables or columns else []
    for up, _ in objects:
        await other.execute(up)
    return [(each.up, each.down) for each in (*tables, *columns)] + [
        (f"op.execute({up!r})", f"op.execute({down!r})") for up, down in objects
    ]


def _all_used(named: Sequence[tuple[str, str]], used: Sequence[Rename]) -> None:
    known = {f"{each.table}.{each.old}" if each.column else each.old for each in used}
    for old, new in named:
        if old not in known:
            raise MigrationError(
                f"--rename {old}={new}: {old} does not go, or {new} does not come",
                hint="name a table, or a column as table.column (the table's new name, where it has one)",
            )


async def _tried(connection: Connection, plan: Plan, folder: Folder, after: Structure) -> None:
    """Makes sure that the new revision leads to the declarations, and back."""
    newest = folder.revisions[-1]
    async with shadow(connection, plan) as other:
        for revision in folder.revisions[:-1]:
            await other.run(revision)
        before = await other.belonging(after)
        await other.run(newest)
        if missing := lines(await other.belonging(after), after):
            raise MigrationError(
                f"{newest.path.name} was written but does not lead to the declarations; it lacks {'; '.join(missing[:5])}",
                hint="edit the file: PostgreSQL prints these otherwise than they were written",
            )
        await other.run(newest, "down")
        if missing := lines(await other.belonging(before), before):
            raise MigrationError(
                f"{newest.path.name} was written, but its downgrade does not lead back; it lacks {'; '.join(missing[:5])}",
                hint="edit its downgrade(), or let it raise",
            )
