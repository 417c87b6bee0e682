"""Turns a revision's operations into steps: what each changes, which lock it takes, and in which form it is safe.

The safe forms are chosen here. An index on a table that was there before is built concurrently. A reference or check is
added without looking at the rows, and validated in a transaction of its own, under a lock that lets reads and writes through.
NOT NULL is proved by such a check first, so that setting it looks at no row. These long steps come after the quick ones of
their revision, each by itself, and each leaves nothing behind where it fails. Columns and tables are dropped last: until
everything was proved, the way back loses nothing. Hand-written SQL keeps its place.
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

from freehold.engine.migrations.conversions import lossless
from freehold.engine.migrations.literals import bare, mapped
from freehold.engine.migrations.recording import compiled
from freehold.engine.migrations.structure import ENGINE
from freehold.engine.plan import DIALECT
from freehold.model.description import constraint_name
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = ["WRITTEN", "Group", "Step", "grouped", "planned"]

WRITTEN = "sql:"
"""Begins the digest of SQL that a person wrote."""
BREAKS = "the previous release's code stops working"


@dataclass(frozen=True)
class Step:
    """One thing that a revision does.

    Args:
        change: in words.
        sql: the statements.
        before: statements that run before, each tuple in a transaction of its own.
        undo: what takes back whatever the step left unfinished; it can be repeated.
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
        operation: what of the revision it does.
    """

    change: str
    sql: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    undo: tuple[str, ...] = ()
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
    operation: MigrateOperation | None = None

    @property
    def statements(self) -> list[str]:
        """All of them, in order."""
        return [*(text for stage in self.before for text in stage), *self.sql]

    @property
    def drops(self) -> bool:
        """Whether columns or tables go, and their values."""
        return isinstance(self.operation, ops.DropColumnOp | ops.DropTableOp)


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
        """Tells whether the revision was edited while it was half done, and what a person wrote from what was planned."""
        text = "\n".join(text for step in self.steps for text in step.statements)
        return (WRITTEN if self.manual else "") + hashlib.sha256(text.encode()).hexdigest()


def grouped(steps: Sequence[Step], first: int = 0) -> list[Group]:
    """Puts steps into groups: quick ones together, the long ones and hand-written SQL each by itself, drops last.

    Args:
        steps: in the order of the revision.
        first: the number of the first group.
    """
    groups: list[list[Step]] = []
    part: list[Step] = []
    for step in steps:
        if step.manual:
            groups += [*_parted(part), [step]]
            part = []
        else:
            part.append(step)
    groups += _parted(part)
    return [Group(tuple(each), number) for number, each in enumerate(groups, first)]


def _parted(steps: Sequence[Step]) -> list[list[Step]]:
    """The groups of steps between which nobody wrote SQL by hand."""
    deferred = [step for step in steps if step.deferred]
    last = [step for n, step in enumerate(steps) if deferred and step.drops and not _followed(step, steps[n + 1 :])]
    quick = [step for step in steps if not step.deferred and not any(step is each for each in last)]
    return [*([quick] if quick else []), *([step] for step in deferred), *([last] if last else [])]


def _followed(step: Step, later: Sequence[Step]) -> bool:
    """Whether something of the same name comes after what goes."""
    for other in (each.operation for each in later):
        if isinstance(other, ops.CreateTableOp | ops.RenameTableOp):
            return True
        if isinstance(step.operation, ops.DropColumnOp) and isinstance(other, ops.AddColumnOp | ops.AlterColumnOp):
            came = other.column.name if isinstance(other, ops.AddColumnOp) else other.modify_name
            if (other.table_name, came) == (step.operation.table_name, step.operation.column_name):
                return True
    return False


def planned(operations: Sequence[MigrateOperation], schemas: Schemas) -> list[Step]:
    """The steps of a revision's operations, in order.

    Args:
        operations: of one way of one revision.
        schemas: the names in the database.
    """
    created: set[str] = set()
    found = [replace(step, operation=operation) for operation in operations for step in _steps(operation, created)]
    engine = quoted(schemas.engine)

    def named(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(mapped(text, lambda part: part.replace(ENGINE, engine)) for text in texts)

    return [
        replace(step, sql=named(step.sql), before=tuple(map(named, step.before)), undo=named(step.undo))
        for step in found
    ]


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
        change, tuple(compiled(operation)), lock=lock, destructive=destructive, shapes=shapes, rewrites=rewrites, scans=rewrites,
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
        loses = not new and not _lossless(operation)
        yield _step(
            rest, f"change the type of {name}" + (", where values may lose precision or form" if loses else ""), on=table,
            shapes=True, rewrites=rewrites, destructive=loses,
        )  # fmt: skip
    elif statements := compiled(rest):
        yield Step(f"alter the column {name}", tuple(statements), lock=f"ACCESS EXCLUSIVE on {table}", shapes=True)
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


def _lossless(operation: ops.AlterColumnOp) -> bool:
    if operation.existing_type is None or operation.modify_type is None:
        return False
    return lossless(*(kind.compile(dialect=DIALECT) for kind in (operation.existing_type, operation.modify_type)))


def _required(table: str, column: str) -> Iterator[Step]:
    """NOT NULL by way of a check that is proved while others read and write."""
    alter, name = f"alter table {quoted(table)}", constraint_name(table, [column, "not", "null"], "check")
    undo = f"{alter} drop constraint if exists {quoted(name)}"
    check = f"{alter} add constraint {quoted(name)} check ({quoted(column)} is not null) not valid"
    validate = f"{alter} validate constraint {quoted(name)}"
    yield Step(
        f"look for null in {table}.{column}, and set it NOT NULL",
        (f"{alter} alter column {quoted(column)} set not null", undo),
        before=((undo, check), (validate,)), undo=(undo,),
        lock=f"ACCESS EXCLUSIVE on {table}, without looking at a row", scans=True, deferred=True,
    )  # fmt: skip


def _proved(table: str, name: str, statements: Sequence[str], lock: str) -> Step:
    """A constraint that is added without looking at the rows, and then proved of them."""
    undo = _UNPROVED.format(
        table=quoted(table), name=literal(name), constraint=quoted(name), relation=literal(quoted(table))
    )
    return Step(
        f"hold the rows of {table} to {name}",
        (f"alter table {quoted(table)} validate constraint {quoted(name)}",),
        before=((undo, *(f"{text} NOT VALID" for text in statements)),), undo=(undo,), lock=lock, scans=True, deferred=True,
    )  # fmt: skip


_UNPROVED = """do $do$ begin
    if exists (select from pg_constraint where conrelid = to_regclass({relation}) and conname = {name} and not convalidated) then
        alter table {table} drop constraint {constraint};
    end if;
end $do$"""


def _indexed(operation: ops.CreateIndexOp | ops.DropIndexOp, created: set[str]) -> Step:
    table, name = str(operation.table_name or ""), str(operation.index_name)
    if isinstance(operation, ops.DropIndexOp):
        statement = f"drop index concurrently if exists {quoted(name)}"
        lock = f"SHARE UPDATE EXCLUSIVE on {table}" if table else "SHARE UPDATE EXCLUSIVE on its table"
        return Step(f"drop the index {name}", (statement,), lock=lock, transactional=False, deferred=True)
    if table in created:
        return _step(operation, f"create the index {name} on {table}")
    safe = copy.copy(operation)
    safe.kw = {**operation.kw, "postgresql_concurrently": True}
    safe.if_not_exists = True
    kind = "unique index" if operation.unique else "index"
    return Step(
        f"build the {kind} {name} on {table}", tuple(compiled(safe)), lock=f"SHARE UPDATE EXCLUSIVE on {table}", scans=True,
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
            f"add the constraint {name} to {table}", tuple(statements), lock=f"ACCESS EXCLUSIVE on {table}", scans=True
        )
        return
    lock = f"ACCESS EXCLUSIVE on {table}"
    if isinstance(operation, ops.CreateForeignKeyOp):
        lock = f"SHARE ROW EXCLUSIVE on {table} and {operation.referent_table}"
    yield _proved(table, name, statements, f"{lock}; SHARE UPDATE EXCLUSIVE while it looks at the rows")


_ALONE = re.compile(r'(?<!")\bconcurrently\b|^\s*(vacuum|alter\s+system|create\s+database|reindex)\b', re.IGNORECASE)
_BUILT = re.compile(
    r'^\s*create\s+(?:unique\s+)?index\s+concurrently\s+(?:if\s+not\s+exists\s+)?(\w+|"(?:[^"]|"")+")', re.IGNORECASE
)
_GOES = re.compile(r'(?<!")\b(drop\s+(table|column|schema)|truncate|delete\s+from)\b', re.IGNORECASE)


def _written(operation: MigrateOperation) -> Step:
    statements = tuple(compiled(operation))
    text = " ".join(" ".join(statements).split())
    shown = text if len(text) <= 80 else text[:79] + "…"
    words = bare(" ".join(statements))
    if re.match(r"alter (index|table \S+ rename constraint) ", text):
        return Step(shown, statements, lock="ACCESS EXCLUSIVE on its table")
    built = _BUILT.match(words)
    return Step(
        shown,
        statements,
        lock="as the statement takes",
        destructive=bool(_GOES.search(words)),
        transactional=not _ALONE.search(words),
        manual=True,
        index=_unquoted(built[1]) if built else None,
    )


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
