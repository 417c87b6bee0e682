"""Takes up a revision that is half done and can't simply go on: its file was edited, or it is to be undone.

What was done is not guessed from what was meant: operations whose object is there already (or gone already) are left out.
SQL that a person wrote is left out where the same text was run. In the end the tables are compared with those that the revision
makes, and what still differs is altered, so that every form of the file leads to the same tables.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from alembic.operations import ops
from alembic.operations.ops import MigrateOperation
from sqlalchemy import Column

from freehold.engine.migrations.recording import compiled, recorded
from freehold.engine.migrations.state import Part
from freehold.engine.migrations.steps import WRITTEN, Step, grouped, planned
from freehold.engine.migrations.structure import Structure, TableStructure, objects
from freehold.engine.migrations.writing import lines, revision_text
from freehold.errors import MigrationError
from freehold.sql.identifiers import Schemas

__all__ = ["Taken", "levelling", "made_by", "operations_of", "remaining", "restricted", "written_left"]

T = TypeVar("T")


@dataclass(frozen=True)
class Taken:
    """How the half-done revision is taken up.

    Args:
        target: the tables as they will be.
        known: the objects that revisions make, or that this one made in an earlier form.
        first: the number of the next group.
        lenient: whether it went the other way before, so that its SQL may ask for what is not there.
    """

    target: Structure
    known: frozenset[str]
    first: int
    lenient: bool


def made_by(steps: Iterable[Step]) -> list[str]:
    """The names of what some steps make."""
    found: list[str] = []
    for operation in (step.operation for step in steps):
        match operation:
            case ops.CreateTableOp():
                found.append(operation.table_name)
            case ops.AddColumnOp():
                found.append(f"{operation.table_name}.{operation.column.name}")
            case ops.CreateIndexOp():
                found.append(f"{operation.table_name}.{operation.index_name}")
            case ops.AddConstraintOp():
                constraint = operation.to_constraint()
                found.append(f"{constraint.table.name}.{constraint.name}")
    return found


def levelling(actual: Structure, taken: Taken, schemas: Schemas) -> list[Step]:
    """The steps that lead from the tables as they are to those that the revision makes. What nobody knows is left alone.

    Raises:
        MigrationError: they cannot be written.
    """
    seen = {name: restricted(table, taken.known) for name, table in actual.items() if name in taken.known}
    try:
        written = lines(seen, taken.target)
    except ValueError as error:
        raise MigrationError(str(error), hint="alter it by hand, and run this again") from error
    return planned(operations_of(written), schemas)


def operations_of(written: Sequence[str]) -> list[MigrateOperation]:
    """The operations of lines that `lines` wrote."""
    made: dict[str, Callable[[], None]] = {}
    exec(revision_text("written", "written", None, written, []), made)  # noqa: S102  # what `lines` wrote, and nothing else
    return recorded(made["upgrade"])


def restricted(table: TableStructure, known: frozenset[str]) -> TableStructure:
    """A table with only what is known."""

    def kept(each: Mapping[str, T]) -> dict[str, T]:
        return {name: value for name, value in each.items() if f"{table.name}.{name}" in known}

    return replace(table, columns=kept(table.columns), constraints=kept(table.constraints), indexes=kept(table.indexes))


_RENAMED = re.compile(
    r'alter (?:index "(?P<index>.+)" rename to|table "(?P<table>.+)" rename constraint "(?P<name>.+)" to) '
)


def written_left(
    operations: Sequence[MigrateOperation], other: Sequence[MigrateOperation], direction: str, parts: Sequence[Part], schemas: Schemas
) -> Callable[[MigrateOperation], bool]:  # fmt: skip
    """Tells of SQL that a person wrote whether it is still to be run.

    As long as a revision went one way, the same text is not run twice. When it turned, as many statements are undone as were
    run, in the opposite order; where the two ways have different numbers of them, all are.

    Args:
        operations: of the way that it goes.
        other: of the other way.
        direction: of the way that it goes.
        parts: what was done of the revision.
        schemas: the names in the database.
    """

    def digests(each: Sequence[MigrateOperation]) -> list[str]:
        groups = [
            grouped(planned([operation], schemas)) for operation in each if isinstance(operation, ops.ExecuteSQLOp)
        ]
        return [group[0].digest for group in groups if group[0].manual]

    if all(part.direction == direction for part in parts):
        done = {part.digest for part in parts}
        return lambda operation: digests([operation])[0] not in done
    ran = {
        way: sum(part.direction == way and part.digest.startswith(WRITTEN) for part in parts) for way in ("up", "down")
    }
    total, opposite = len(digests(operations)), len(digests(other))
    start = 0 if parts[0].direction == "up" else (total if direction == "up" else opposite)
    place = start + ran["up"] - ran["down"]  # how many of the way up are done
    undone = total - place if total == opposite else (0 if place > 0 else total)
    skipped = place if direction == "up" else undone
    counter = itertools.count()
    return lambda _: next(counter) >= skipped


def remaining(
    operations: Sequence[MigrateOperation], actual: Structure, left: Callable[[MigrateOperation], bool]
) -> list[MigrateOperation]:
    """The operations that are not done yet.

    Args:
        operations: of one way of a revision.
        actual: the tables as they are.
        left: whether SQL that a person wrote is to be run.
    """
    there = set(objects(actual))
    return [each for each in operations if _applies(each, there, left)]


def _applies(operation: MigrateOperation, there: set[str], left: Callable[[MigrateOperation], bool]) -> bool:
    """Whether an operation has something to do; what is there is brought up to date."""

    def come(name: str) -> bool:
        new = name not in there
        there.add(name)
        return new

    def go(name: str) -> bool:
        known = name in there
        there.difference_update({each for each in there if each == name or each.startswith(f"{name}.")})
        return known

    match operation:
        case ops.CreateTableOp():
            columns = [f"{operation.table_name}.{each.name}" for each in operation.columns if isinstance(each, Column)]
            return [come(name) for name in (*columns, operation.table_name)][-1]
        case ops.DropTableOp():
            return go(operation.table_name)
        case ops.RenameTableOp():
            old, new = operation.table_name, operation.new_table_name
            moved = {new + name[len(old) :] for name in there if name == old or name.startswith(f"{old}.")}
            go(old)
            there.update(moved)
            return bool(moved)
        case ops.AddColumnOp() | ops.CreateIndexOp() | ops.AddConstraintOp():
            (name,) = made_by([Step("", (), operation=operation)])
            return come(name)
        case ops.DropColumnOp():
            return go(f"{operation.table_name}.{operation.column_name}")
        case ops.DropConstraintOp():
            return go(f"{operation.table_name}.{operation.constraint_name}")
        case ops.DropIndexOp():
            named = [name for name in there if name.endswith(f".{operation.index_name}")]
            return [go(name) for name in named] != []
        case ops.AlterColumnOp():
            name = f"{operation.table_name}.{operation.column_name}"
            if operation.modify_name is None:
                return name in there
            known = go(name)
            there.add(f"{operation.table_name}.{operation.modify_name}")
            return known
        case ops.ExecuteSQLOp() if renamed := _RENAMED.match(" ".join(compiled(operation))):
            old = renamed["index"] or renamed["name"]
            return any(name.endswith(f".{old}") for name in there)
    return left(operation)
