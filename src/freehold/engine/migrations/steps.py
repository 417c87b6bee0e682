"""Turns a revision's operations into steps: what each changes, which lock it takes, and in which form it is safe.

The safe forms are chosen here. An index on a table that was there before is built concurrently. A reference or check is
added without looking at the rows, and validated afterwards under a lock that lets reads and writes through. NOT NULL is
proved by such a check first, so that setting it looks at no row. These second halves come after the quick steps of their
revision, each by itself; hand-written SQL keeps its place.
"""

import copy
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from alembic.operations import ops
from alembic.operations.ops import MigrateOperation
from sqlalchemy import Column, Numeric, String
from sqlalchemy.schema import DefaultClause

from freehold.engine.migrations.recording import compiled
from freehold.engine.migrations.structure import ENGINE
from freehold.model.description import constraint_name
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["Group", "Step", "grouped", "planned"]

BREAKS = "the previous release's code stops working"


@dataclass(frozen=True)
class Step:
    """One thing that a revision does.

    Args:
        change: in words.
        sql: the statements.
        lock: the strongest lock that it takes and on what; empty where others notice nothing.
        rewrites: whether the table is written anew, under that lock.
        scans: whether every row is looked at, under that lock.
        destructive: whether data goes.
        transactional: whether it may run in a transaction.
        deferred: whether it comes after the quick steps of its revision.
        shapes: whether tables or columns come, go or change, so that derived objects have to follow.
        manual: whether it is SQL that a person wrote.
        warning: what a person should know before, such as who stops working.
        index: the index that it builds; an unfinished one of that name is removed first.
    """

    change: str
    sql: tuple[str, ...]
    lock: str = ""
    rewrites: bool = False
    scans: bool = False
    destructive: bool = False
    transactional: bool = True
    deferred: bool = False
    shapes: bool = False
    manual: bool = False
    warning: str | None = None
    index: str | None = None


@dataclass(frozen=True)
class Group:
    """Steps that are done together: in one transaction, or a single step that can be repeated.

    Args:
        steps: in order.
        number: within the revision, from 0.
    """

    steps: tuple[Step, ...]
    number: int = 0

    @property
    def transactional(self) -> bool:
        """Whether it is one transaction."""
        return all(step.transactional for step in self.steps)

    @property
    def manual(self) -> bool:
        """Whether it is SQL that a person wrote."""
        return any(step.manual for step in self.steps)

    @property
    def digest(self) -> str:
        """Tells whether the revision was edited while it was half done."""
        return hashlib.sha256("\n".join(text for step in self.steps for text in step.sql).encode()).hexdigest()


def grouped(steps: Sequence[Step]) -> list[Group]:
    """Puts steps into groups: quick ones together, the long ones and hand-written SQL each by itself."""
    groups: list[list[Step]] = []
    quick: list[Step] = []
    deferred: list[Step] = []

    def flush() -> None:
        groups.extend([quick.copy()] if quick else [])
        groups.extend([step] for step in deferred)
        quick.clear()
        deferred.clear()

    for step in steps:
        if step.manual:
            flush()
            groups.append([step])
        else:
            (deferred if step.deferred else quick).append(step)
    flush()
    return [Group(tuple(each), number) for number, each in enumerate(groups)]


def planned(operations: Sequence[MigrateOperation], schemas: Schemas) -> list[Step]:
    """The steps of a revision's operations, in order.

    Args:
        operations: of one way of one revision.
        schemas: the names in the database.
    """
    created: set[str] = set()
    found = [step for operation in operations for step in _steps(operation, created)]
    engine = quoted(schemas.engine)
    return [replace(step, sql=tuple(text.replace(ENGINE, engine) for text in step.sql)) for step in found]


def _steps(operation: MigrateOperation, created: set[str]) -> Iterator[Step]:
    match operation:
        case ops.CreateTableOp():
            created.add(operation.table_name)
            yield _step(operation, f"create the table {operation.table_name}", shapes=True)
        case ops.DropTableOp():
            yield _step(
                operation, f"drop the table {operation.table_name} and its rows", on=operation.table_name,
                destructive=True, shapes=True, warning=BREAKS,
            )  # fmt: skip
        case ops.RenameTableOp():
            change = f"rename the table {operation.table_name} to {operation.new_table_name}"
            yield _step(operation, change, on=operation.table_name, shapes=True, warning=BREAKS)
        case ops.AddColumnOp():
            yield _added(operation, new=operation.table_name in created)
        case ops.DropColumnOp():
            name = f"{operation.table_name}.{operation.column_name}"
            generated = operation.column_name.startswith("_")  # it is computed from another column, which stays
            yield _step(
                operation, f"drop the {'generated column' if generated else 'column'} {name}{'' if generated else ' and its values'}",
                on=operation.table_name, destructive=not generated, shapes=True, warning=BREAKS,
            )  # fmt: skip
        case ops.AlterColumnOp():
            yield from _altered(operation, new=operation.table_name in created)
        case ops.CreateIndexOp() | ops.DropIndexOp():
            yield _indexed(operation, created)
        case ops.AddConstraintOp():
            yield from _constrained(operation, created)
        case ops.DropConstraintOp():
            change = f"drop the constraint {operation.constraint_name} of {operation.table_name}"
            yield _step(operation, change, on=operation.table_name)
        case ops.ExecuteSQLOp() | ops.BulkInsertOp():
            yield _written(operation)
        case _:
            yield _step(operation, type(operation).__name__.removesuffix("Op"), on=getattr(operation, "table_name", ""))


def _step(
    operation: MigrateOperation, change: str, *, on: str = "", destructive: bool = False, shapes: bool = False,
    rewrites: bool = False, warning: str | None = None,
) -> Step:  # fmt: skip
    """A quick step; `on` is the table that it takes for itself."""
    lock = f"ACCESS EXCLUSIVE on {on}" if on else ""
    return Step(
        change, tuple(compiled(operation)), lock, destructive=destructive, shapes=shapes, rewrites=rewrites, scans=rewrites,
        warning=warning,
    )  # fmt: skip


_STABLE = re.compile(
    r"\b(now|current_timestamp|current_date|transaction_timestamp|statement_timestamp|decode)\b", re.IGNORECASE
)


def _added(operation: ops.AddColumnOp, *, new: bool) -> Step:
    column: Column[object] = operation.column
    default = column.server_default.arg if isinstance(column.server_default, DefaultClause) else None
    computed = column.computed is not None
    volatile = default is not None and "(" in str(default) and not _STABLE.search(str(default))
    change = f"add the column {operation.table_name}.{column.name}"
    warning = None
    if not column.nullable and default is None and not new:
        warning = f"fails where {operation.table_name} has rows, and {BREAKS} where it creates them"
    return _step(
        operation,
        change,
        on="" if new else operation.table_name,
        shapes=True,
        rewrites=(volatile or computed) and not new,
        warning=warning,
    )


def _altered(operation: ops.AlterColumnOp, *, new: bool) -> Iterator[Step]:
    table, column = operation.table_name, operation.column_name
    name = f"{table}.{column}"
    refuses = operation.modify_nullable is False and not new
    rest = copy.copy(operation)
    if refuses:
        rest.modify_nullable = None
    if operation.modify_name is not None:
        change = f"rename the column {name} to {operation.modify_name}"
        yield _step(rest, change, on=table, shapes=True, warning=BREAKS)
    elif operation.modify_type is not None:
        rewrites = not new and not _widens(operation)
        yield _step(rest, f"change the type of {name}", on=table, shapes=True, rewrites=rewrites)
    elif statements := compiled(rest):
        yield Step(f"alter the column {name}", tuple(statements), f"ACCESS EXCLUSIVE on {table}", shapes=True)
    if refuses:
        yield from _required(table, operation.modify_name or column)


def _widens(operation: ops.AlterColumnOp) -> bool:
    """Whether a change of type leaves the rows as they are."""
    old, new = operation.existing_type, operation.modify_type
    if isinstance(old, Numeric) and isinstance(new, Numeric):
        if new.precision is None:
            return True
        return old.precision is not None and old.scale == new.scale and new.precision >= old.precision
    if isinstance(old, String) and isinstance(new, String):
        same = old.collation == new.collation
        return same and (new.length is None or (old.length is not None and new.length >= old.length))
    return False


def _required(table: str, column: str) -> Iterator[Step]:
    """NOT NULL by way of a check that is proved while others read and write."""
    alter, name = f"alter table {quoted(table)}", constraint_name(table, [column, "not", "null"], "check")
    exclusive = f"ACCESS EXCLUSIVE on {table}"
    check = f"{alter} add constraint {quoted(name)} check ({quoted(column)} is not null) not valid"
    yield Step(f"refuse null in new rows of {table}.{column}", (check,), exclusive)
    yield _validation(table, name, f"look for null in {table}.{column}")
    statements = (f"{alter} alter column {quoted(column)} set not null", f"{alter} drop constraint {quoted(name)}")
    yield Step(f"set {table}.{column} NOT NULL", statements, exclusive, deferred=True)


def _validation(table: str, constraint: str, change: str) -> Step:
    statement = f"alter table {quoted(table)} validate constraint {quoted(constraint)}"
    return Step(change, (statement,), f"SHARE UPDATE EXCLUSIVE on {table}", scans=True, deferred=True)


def _indexed(operation: ops.CreateIndexOp | ops.DropIndexOp, created: set[str]) -> Step:
    table, name = str(operation.table_name or ""), str(operation.index_name)
    if isinstance(operation, ops.DropIndexOp):
        statement = f"drop index concurrently if exists {quoted(name)}"
        lock = f"SHARE UPDATE EXCLUSIVE on {table}" if table else "SHARE UPDATE EXCLUSIVE on its table"
        return Step(f"drop the index {name}", (statement,), lock, transactional=False, deferred=True)
    if table in created:
        return _step(operation, f"create the index {name} on {table}")
    safe = copy.copy(operation)
    safe.kw = {**operation.kw, "postgresql_concurrently": True}
    safe.if_not_exists = True
    kind = "unique index" if operation.unique else "index"
    return Step(
        f"build the {kind} {name} on {table}", tuple(compiled(safe)), f"SHARE UPDATE EXCLUSIVE on {table}", scans=True,
        transactional=False, deferred=True, index=name,
    )  # fmt: skip


def _constrained(operation: ops.AddConstraintOp, created: set[str]) -> Iterator[Step]:
    constraint = operation.to_constraint()
    table, name = str(constraint.table.name), str(constraint.name or "")
    statements = compiled(operation)
    if table in created:
        yield Step(f"add the constraint {name} to {table}", tuple(statements))
        return
    if not isinstance(operation, ops.CreateForeignKeyOp | ops.CreateCheckConstraintOp) or not name:
        yield Step(
            f"add the constraint {name} to {table}", tuple(statements), f"ACCESS EXCLUSIVE on {table}", scans=True
        )
        return
    lock = f"ACCESS EXCLUSIVE on {table}"
    if isinstance(operation, ops.CreateForeignKeyOp):
        lock = f"SHARE ROW EXCLUSIVE on {table} and {operation.referent_table}"
    unproved = tuple(f"{text} NOT VALID" for text in statements)
    yield Step(f"hold new rows of {table} to {name}", unproved, lock)
    yield _validation(table, name, f"hold the other rows of {table} to {name}")


_ALONE = re.compile(r"\bconcurrently\b|^\s*(vacuum|alter\s+system|create\s+database|reindex)\b", re.IGNORECASE)


def _written(operation: MigrateOperation) -> Step:
    statements = tuple(compiled(operation))
    text = " ".join(" ".join(statements).split())
    shown = text if len(text) <= 80 else text[:79] + "…"
    destructive = bool(re.search(r"\b(drop\s+(table|column|schema)|truncate|delete\s+from)\b", text, re.IGNORECASE))
    rename = bool(re.match(r"alter (index|table \S+ rename constraint) ", text))
    if rename:
        return Step(shown, statements, "ACCESS EXCLUSIVE on its table")
    return Step(
        shown,
        statements,
        "as the statement takes",
        destructive=destructive,
        transactional=not _ALONE.search(text),
        manual=True,
    )
