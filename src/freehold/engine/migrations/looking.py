"""Looks at the rows that are there before anything is changed: whether they permit what a revision asks of them.

What a revision does to a table is followed as a query over the table as it is: a column that comes is its default, a renamed
one its old name, one of another type its converted value. So each look answers for the rows as they will be, and takes no
lock that others wait for. Between the look and the change rows can still come; then the step fails and leaves nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from alembic.operations import ops
from sqlalchemy import CheckConstraint, TextClause
from sqlalchemy.schema import DefaultClause

from freehold.engine.migrations.conversions import conversion, normal
from freehold.engine.migrations.literals import mapped
from freehold.engine.migrations.steps import Step
from freehold.engine.migrations.structure import ENGINE, Structure
from freehold.engine.plan import DIALECT
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = ["Look", "looks"]


@dataclass(frozen=True)
class Look:
    """One condition on rows.

    Args:
        what: what is wrong with the rows that are found.
        query: finds their ids.
        before: makes the functions that the query calls, for the session.
        hint: what can be done.
        names: whether the query answers with names of objects instead of ids.
    """

    what: str
    query: str
    before: tuple[str, ...] = ()
    hint: str = ""
    names: bool = False


@dataclass
class _Table:
    """A table as it will be: a query over the table as it is."""

    physical: str
    source: str
    columns: dict[str, str | None]
    new: bool = False
    origins: dict[str, str] = field(default_factory=dict)

    def select(self, columns: dict[str, str]) -> None:
        """Makes it a query over what it was."""
        shown = ", ".join(
            f"{text} as {quoted(name)}" if text != quoted(name) else text for name, text in columns.items()
        )
        self.source = f"(select {shown} from {self.source})"

    @property
    def same(self) -> dict[str, str]:
        """Every column as it is."""
        return {name: quoted(name) for name in self.columns}

    @property
    def id(self) -> str:
        """What a row is found by."""
        return quoted("id" if "id" in self.columns else next(iter(self.columns)))


class _Looks:
    def __init__(self, structure: Structure, schemas: Schemas) -> None:
        self.schemas = schemas
        self.before: list[str] = []
        self.tables = {
            name: _Table(
                name, schemas.table(name), {each.name: each.type for each in table.columns.values()},
                origins={each: each for each in table.columns},
            )
            for name, table in structure.items()
        }  # fmt: skip

    def of(self, step: Step) -> Iterator[Look]:
        """The looks of a step; the tables are as they will be after it from then on."""
        operation = step.operation
        name = getattr(operation, "source_table", None) or getattr(operation, "table_name", None)
        table = self.tables.get(str(name))
        if isinstance(operation, ops.CreateTableOp):
            self.tables[operation.table_name] = _Table(operation.table_name, "", {}, new=True)
        elif table is None or table.new:
            return
        else:
            yield from self._at(operation, table)

    def _at(self, operation: object, table: _Table) -> Iterator[Look]:
        match operation:
            case ops.DropTableOp():
                yield self._dependents(table, None)
                del self.tables[operation.table_name]
            case ops.RenameTableOp():
                self.tables[operation.new_table_name] = self.tables.pop(operation.table_name)
            case ops.AddColumnOp():
                yield from self._added(operation, table)
            case ops.DropColumnOp():
                yield from self._dropped(operation.column_name, table)
            case ops.AlterColumnOp():
                yield from self._altered(operation, table)
            case ops.CreateCheckConstraintOp():
                yield from self._checked(operation, table)
            case ops.CreateForeignKeyOp():
                yield from self._referred(operation, table)
            case ops.CreateUniqueConstraintOp() | ops.CreatePrimaryKeyOp():
                yield from self._unique(
                    str(operation.constraint_name), [quoted(str(each)) for each in operation.columns], "", table
                )
            case ops.CreateIndexOp() if operation.unique:
                keys = [_sql(each) if isinstance(each, TextClause) else quoted(str(each)) for each in operation.columns]
                where = operation.kw.get("postgresql_where")
                yield from self._unique(str(operation.index_name), keys, "" if where is None else _sql(where), table)

    def _look(self, what: str, table: _Table, condition: str, hint: str = "", source: str | None = None) -> Look:
        name = next(name for name, each in self.tables.items() if each is table)
        query = f"select {table.id} as id from {source or table.source} as {quoted(name)} where {condition}"
        return Look(f"{what}", self._named(query), tuple(self.before), hint)

    def _named(self, sql: str) -> str:
        return mapped(sql, lambda part: part.replace(ENGINE, quoted(self.schemas.engine)))

    def _dependents(self, table: _Table, column: str | None) -> Look:
        """What PostgreSQL would not go on without: views, rules, functions with SQL bodies, policies, triggers."""
        of = f"{table.physical}.{column}" if column else table.physical
        place = f"d.refobjsubid = (select a.attnum from pg_attribute a where a.attrelid = c.oid and a.attname = {literal(column)})"
        query = _DEPENDENTS.format(
            table=literal(self.schemas.table(table.physical)),
            column=place if column else "true",
            whole="false" if column else "true",
        )
        return Look(f"depend on {of}", query, hint=_VIEWS, names=True)

    def _added(self, operation: ops.AddColumnOp, table: _Table) -> Iterator[Look]:
        column = operation.column
        name, kind = str(column.name), column.type.compile(dialect=DIALECT)
        value = f"null::{kind}"
        if column.computed is not None:
            value = _sql(column.computed.sqltext)
        elif isinstance(column.server_default, DefaultClause):
            default = column.server_default.arg
            value = f"({_sql(default) if isinstance(default, TextClause) else default})::{kind}"
        elif not column.nullable:
            yield self._look(f"without a value in the new column {name}", table, "true", _VALUE)
        table.select(table.same | {name: value})
        table.columns[name] = normal(kind)

    def _dropped(self, name: str, table: _Table) -> Iterator[Look]:
        if name not in table.columns:
            return
        if name in table.origins:
            yield self._dependents(table, table.origins[name])
        if name == "deleted_at":
            yield self._look(
                "deleted, and alive again without the column deleted_at",
                table,
                '"deleted_at" is not null',
                _DELETED,
            )
        del table.columns[name]
        table.select(table.same)

    def _altered(self, operation: ops.AlterColumnOp, table: _Table) -> Iterator[Look]:
        name = operation.column_name
        if name not in table.columns:
            return
        if operation.modify_type is not None:
            yield from self._typed(operation, table)
        if operation.modify_name is not None:
            new = operation.modify_name
            renamed = {new if each == name else each: text for each, text in table.same.items()}
            table.select(renamed)
            table.columns = {new if each == name else each: kind for each, kind in table.columns.items()}
            if name in table.origins:
                table.origins[new] = table.origins.pop(name)
            name = new
        if operation.modify_nullable is False:
            yield self._look(f"with null in {name}, which becomes required", table, f"{quoted(name)} is null", _VALUE)

    def _typed(self, operation: ops.AlterColumnOp, table: _Table) -> Iterator[Look]:
        name, kind = operation.column_name, operation.modify_type.compile(dialect=DIALECT)  # type: ignore[union-attr]  # asked before
        old = table.columns[name]
        if old is None or normal(old) == normal(kind):
            return
        if name in table.origins:
            yield self._dependents(table, table.origins[name])
        using = operation.kw.get("postgresql_using") or conversion(old, kind, quoted(name)) or quoted(name)
        function = f"pg_temp.freehold_fits_{len(self.before)}"
        self.before.append(_FITS.format(name=function, column=quoted(name), old=old, value=f"({using})::{kind}"))
        fits = f"{function}({quoted(name)})"
        yield self._look(f"with a value in {name} that {normal(kind)} cannot hold", table, f"not {fits}", _VALUE)
        table.select(table.same | {name: f"case when {fits} then ({using})::{kind} end"})
        table.columns[name] = normal(kind)

    def _checked(self, operation: ops.CreateCheckConstraintOp, table: _Table) -> Iterator[Look]:
        constraint = operation.to_constraint()
        assert isinstance(constraint, CheckConstraint)  # Alembic's own type says less
        condition = _sql(constraint.sqltext)
        yield self._look(f"breaking {operation.constraint_name}: {condition}", table, f"({condition}) is false", _VALUE)

    def _referred(self, operation: ops.CreateForeignKeyOp, table: _Table) -> Iterator[Look]:
        target = self.tables.get(operation.referent_table)
        names = list(operation.local_cols)
        if not all(name in table.columns for name in names):
            return
        condition = " and ".join(f"{quoted(name)} is not null" for name in names)
        if target is not None and not target.new:
            pairs = zip(operation.remote_cols, names, strict=True)
            same = " and ".join(f"r.{quoted(other)} = f.{quoted(name)}" for other, name in pairs)
            condition = f"{condition} and not exists (select from {target.source} as r where {same})"
        what = f"with a reference to no row of {operation.referent_table} of their organization ({operation.constraint_name})"
        # Under a short name of its own, as the other table may be the same one.
        yield Look(
            what,
            self._named(f"select f.{table.id} as id from {table.source} as f where {condition}"),
            tuple(self.before),
            _VALUE,
        )

    def _unique(self, name: str, keys: Sequence[str], where: str, table: _Table) -> Iterator[Look]:
        kept = " and ".join([f"({where})"] * bool(where) + [f"({key}) is not null" for key in keys])
        source = f"{table.source} as t where {kept}"
        counted = (
            f"(select *, count(*) over (partition by {', '.join(f'({key})' for key in keys)}) as _equal from {source})"
        )
        yield self._look(f"with the key of another row ({name})", table, "_equal > 1", _UNIQUE, source=counted)


_VALUE = 'give these rows a value that fits, by the running release or in the revision before the step: op.execute("update ... set ...")'
_UNIQUE = 'make these rows differ or delete them, by the running release or in the revision before the step: op.execute("...")'
_DELETED = (
    'say in the revision what becomes of them, before the column goes: op.execute("delete from ... where deleted_at is not null") '
    'purges them, op.execute("update ... set deleted_at = null where deleted_at is not null") makes them live'
)
_VIEWS = (
    'in the revision, drop them before the step and make them again after it: op.execute("drop view ..."), op.execute("create view ..."); '
    "pg_get_viewdef('...'::regclass) prints a view's definition"
)

# On one line, as it is printed with the query that calls it.
_FITS = (
    "create or replace function {name}({column} {old}) returns boolean language plpgsql stable as $fits$ "
    "begin perform {value}; return true; exception when data_exception then return false; end $fits$"
)

_DEPENDENTS = """
with recursive needed (class, id) as (
    select d.classid, d.objid from pg_depend d join pg_class c on c.oid = to_regclass({table}) where d.deptype = 'n'
        and ((d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and ({column}))
            or ({whole} and d.refclassid = 'pg_type'::regclass and d.refobjid = c.reltype))
    union
    select d.classid, d.objid from needed n join pg_rewrite r on n.class = 'pg_rewrite'::regclass and r.oid = n.id
        join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = r.ev_class and d.deptype = 'n'
)
select distinct pg_describe_object(case when r.oid is null or c.relkind not in ('v', 'm') then n.class else 'pg_class'::regclass end,
    case when r.oid is null or c.relkind not in ('v', 'm') then n.id else c.oid end, 0) as id
from needed n left join pg_rewrite r on n.class = 'pg_rewrite'::regclass and r.oid = n.id left join pg_class c on c.oid = r.ev_class
where (n.class = 'pg_rewrite'::regclass and c.oid <> to_regclass({table})) or n.class = 'pg_proc'::regclass
    or (n.class in ('pg_policy'::regclass, 'pg_trigger'::regclass) and not {whole})"""


def _sql(clause: object) -> str:
    if isinstance(clause, str):
        return clause
    return str(clause.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))  # type: ignore[attr-defined]  # of SQLAlchemy


def looks(steps: Sequence[Step], structure: Structure, schemas: Schemas) -> list[Look]:
    """What the rows have to be asked before some steps.

    Args:
        steps: between which nobody wrote SQL by hand, in the order of the revision.
        structure: the tables as they are.
        schemas: the names in the database.
    """
    made = _Looks(structure, schemas)
    found: list[Look] = []
    seen: list[object] = []
    for step in steps:
        if not any(step.operation is each for each in seen):  # one operation can be several steps
            found += made.of(step)
            seen.append(step.operation)
    return found
