"""Writes a revision: the operations that lead from one structure to another, as short lines of Python.

Both ways are made by the same function, with its arguments exchanged. What is written is what PostgreSQL printed of both
sides, without the schemas' names: a revision holds under whatever names an application gives them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from freehold.engine.migrations.conversions import conversion
from freehold.engine.migrations.structure import Column, Constraint, Index, Structure, TableStructure
from freehold.sql.identifiers import quoted

__all__ = ["DELETED", "Rename", "decided", "lines", "renamed_objects", "revision_text", "type_text"]

_TYPES = {
    "text": "sa.Text({collation})",
    "bigint": "sa.BigInteger()",
    "integer": "sa.Integer()",
    "double precision": "sa.Double()",
    "numeric": "sa.Numeric()",
    "boolean": "sa.Boolean()",
    "date": "sa.Date()",
    "timestamp with time zone": "sa.DateTime(timezone=True)",
    "time without time zone": "sa.Time()",
    "interval": "sa.Interval()",
    "uuid": "sa.Uuid()",
    "bytea": "sa.LargeBinary()",
    "jsonb": "postgresql.JSONB()",
    "tsvector": "postgresql.TSVECTOR()",
}


@dataclass(frozen=True)
class Rename:
    """A table or column that has another name now.

    Args:
        table: the table's name; for a column as it is after the tables were renamed.
        old, new: the column's names, or the table's where `column` is false.
        column: whether it is a column.
    """

    table: str
    old: str
    new: str
    column: bool = True

    @property
    def up(self) -> str:
        """The operation that renames."""
        return self._line(self.old, self.new)

    @property
    def down(self) -> str:
        """The operation that renames back."""
        return self._line(self.new, self.old)

    def _line(self, old: str, new: str) -> str:
        if self.column:
            return f"op.alter_column({self.table!r}, {old!r}, new_column_name={new!r})"
        return f"op.rename_table({old!r}, {new!r})"


def revision_text(title: str, revision: str, previous: str | None, up: Sequence[str], down: Sequence[str]) -> str:
    """A revision's file."""
    body = "\n".join([*up, *down])
    imports = "from alembic import op\n" if "op." in body else ""
    imports = ("import sqlalchemy as sa\n" if "sa." in body else "") + imports
    imports += "from sqlalchemy.dialects import postgresql\n" if "postgresql." in body else ""
    return (
        f'"""{_docstring(title)}"""\n\n{imports}\nrevision = {_string(revision)}\n'
        f"down_revision = {_string(previous)}\n\n\ndef upgrade() -> None:\n{_body(up)}\n\n\n"
        f"def downgrade() -> None:\n{_body(down)}\n"
    )


def _docstring(title: str) -> str:
    return title.replace("\\", "\\\\").replace('"', "'")


def _body(written: Sequence[str]) -> str:
    code = [line for line in written if not line.startswith("#")]
    return "\n".join(f"    {line}" for text in written or ["pass"] for line in text.split("\n")) + (
        "" if code or not written else "\n    pass"
    )


def lines(before: Structure, after: Structure) -> list[str]:
    """The operations that lead from one structure to another, in an order in which they can be run."""
    return [*_removals(before, after), *_tables(before, after), *_additions(before, after), *_drops(before, after)]


def _shared(before: Structure, after: Structure) -> Iterator[tuple[TableStructure, TableStructure]]:
    return ((before[name], after[name]) for name in sorted(before.keys() & after.keys()))


def _removals(before: Structure, after: Structure) -> Iterator[str]:
    """What depends on columns goes first; so do references to tables that go."""
    for old, new in _shared(before, after):
        for name, constraint in old.constraints.items():
            if new.constraints.get(name) != constraint:
                yield f"op.drop_constraint({_string(name)}, {_string(old.name)}, type_={_string(_CONSTRAINTS[constraint.kind])})"
        remade = _remade(old, new)
        for name, index in old.indexes.items():
            if new.indexes.get(name) != index or remade & {*index.keys}:
                yield f"op.drop_index({_string(name)}, {_string(old.name)})"
        for name in old.columns:
            if name in remade:
                yield f"op.drop_column({_string(old.name)}, {_string(name)})"
    for name in sorted(before.keys() - after.keys()):
        for constraint in before[name].constraints.values():
            if constraint.kind == "f":
                yield f'op.drop_constraint({_string(constraint.name)}, {_string(name)}, type_="foreignkey")'


def _remade(old: TableStructure, new: TableStructure) -> frozenset[str]:
    """The generated columns that have to go before, and come again after, a change of what they are generated from."""
    retyped = [
        name for name, column in old.columns.items() if name in new.columns and new.columns[name].kind != column.kind
    ]
    return frozenset(
        name
        for name, column in old.columns.items()
        if column.generated is not None
        and (new.columns.get(name) != column or any(_mentions(column.generated, each) for each in retyped))
    )


def _mentions(expression: str, name: str) -> bool:
    return (
        re.search(rf'(?<![\w"]){re.escape(quoted(name))}(?![\w"])|(?<![\w"]){re.escape(name)}(?![\w"])', expression)
        is not None
    )


_CONSTRAINTS = {"f": "foreignkey", "c": "check", "u": "unique", "p": "primary", "x": "exclude"}


def _tables(before: Structure, after: Structure) -> Iterator[str]:
    for name in sorted(after.keys() - before.keys()):
        yield _create(after[name])
    for old, new in _shared(before, after):
        remade = _remade(old, new)
        for column in new.columns.values():
            if column.generated is None and column.name not in old.columns:
                yield from _add(new.name, column)
            elif column.generated is None and column != old.columns[column.name]:
                yield from _alter(new.name, old.columns[column.name], column)
        for column in new.columns.values():  # when those that they are generated from are what they will be
            if column.generated is not None and (column.name not in old.columns or column.name in remade):
                yield from _add(new.name, column)
        for name in old.columns:
            if name not in new.columns and name not in remade:
                if name == "deleted_at":
                    yield _undeleted(new.name)
                yield f"op.drop_column({_string(new.name)}, {_string(name)})"


def _undeleted(table: str) -> str:
    choices = "\n".join(f"# {deleted_text(table, choice)}  # {meaning}" for choice, meaning in DELETED.items())
    return (
        "# Rows that are deleted would be alive again: 'up' refuses this while there are any. Say what becomes of them:\n"
        + choices
    )


DELETED = {"purge": "they go for good", "live": "they are live again"}
"""What can become of deleted rows where deletion is not soft any more."""


def deleted_text(table: str, choice: str) -> str:
    """The operation by which deleted rows become what a person chose."""
    where = "where deleted_at is not null"
    purge, live = f"delete from {quoted(table)} {where}", f"update {quoted(table)} set deleted_at = null {where}"
    return f"op.execute({_sql(purge if choice == 'purge' else live)})"


def decided(written: str, choice: str | None) -> str:
    """A line, with what was chosen for deleted rows instead of the question."""
    tables = re.findall(r'from "(.+)" where deleted_at is not null', written)
    if choice is None or not written.startswith("# Rows that are deleted") or not tables:
        return written
    return deleted_text(tables[0].replace('""', '"'), choice)


def _create(table: TableStructure) -> str:
    inner = [_column(column) for column in table.columns.values()]
    for constraint in sorted(table.constraints.values(), key=lambda each: each.kind != "p"):
        if constraint.kind == "p":
            columns = ", ".join(map(_string, constraint.columns))
            inner.append(f"sa.PrimaryKeyConstraint({columns}, name={_string(constraint.name)})")
        elif constraint.kind == "c":
            inner.append(f"sa.CheckConstraint({_sql(str(constraint.condition))}, name={_string(constraint.name)})")
    return f"op.create_table(\n    {_string(table.name)},\n" + "".join(f"    {each},\n" for each in inner) + ")"


def _add(table: str, column: Column) -> Iterator[str]:
    if column.nullable or column.default is not None:
        yield f"op.add_column({_string(table)}, {_column(column)})"
        return
    optional = Column(column.name, column.type, column.collation, True, None)
    yield f"op.add_column({_string(table)}, {_column(optional)})"
    yield (
        "# Rows that are there need a value before null is refused. Where there are any, say which:\n"
        f"# op.execute('update {quoted(table)} set {quoted(column.name)} = ...')"
    )
    yield f"op.alter_column({_string(table)}, {_string(column.name)}, nullable=False)"


def _alter(table: str, old: Column, new: Column) -> Iterator[str]:
    changed = [f"existing_type={type_text(old)}"]
    retyped = old.kind != new.kind
    if retyped:
        changed.append(f"type_={type_text(new)}")
        if using := conversion(old.type, new.type, quoted(new.name)):
            changed.append(f"postgresql_using={_string(using)}")
    if old.default != new.default or (retyped and new.default is not None):
        changed.append(f"server_default={'None' if new.default is None else _text(new.default)}")
    if old.nullable != new.nullable:
        changed.append(f"nullable={new.nullable}")
        if not new.nullable:
            yield f"# Rows with null here must get a value first: op.execute('update {quoted(table)} set {quoted(new.name)} = ...')"
    yield f"op.alter_column({_string(table)}, {_string(new.name)}, {', '.join(changed)})"


def _additions(before: Structure, after: Structure) -> Iterator[str]:
    """Indexes and checks, then references: what they point to is there by then."""
    later: list[str] = []
    for name in sorted(after):
        new, old = after[name], before.get(name)
        remade = frozenset() if old is None else _remade(old, new)
        for index in new.indexes.values():
            if old is None or old.indexes.get(index.name) != index or remade & {*index.keys}:
                yield _index(name, index)
        for constraint in new.constraints.values():
            if old is not None and old.constraints.get(constraint.name) == constraint:
                continue
            if constraint.kind == "f":
                later.append(_reference(name, constraint))
            elif old is not None:
                yield _constraint(name, constraint)
    yield from later


def _index(table: str, index: Index) -> str:
    keys = ", ".join(_string(key) if re.fullmatch(r"[a-z_][a-z0-9_]*", key) else _text(key) for key in index.keys)
    more = ", unique=True" if index.unique else ""
    more += f", postgresql_where={_text(index.where)}" if index.where else ""
    more += f", postgresql_using={_string(index.method)}" if index.method != "btree" else ""
    return f"op.create_index({_string(index.name)}, {_string(table)}, [{keys}]{more})"


def _reference(table: str, constraint: Constraint) -> str:
    columns, targets = (
        f"[{', '.join(map(_string, names))}]" for names in (constraint.columns, constraint.target_columns)
    )
    more = f", ondelete={_string(constraint.on_delete)}" if constraint.on_delete else ""
    return (
        f"op.create_foreign_key({_string(constraint.name)}, {_string(table)}, {_string(str(constraint.target))}, "
        f"{columns}, {targets}{more})"
    )


def _constraint(table: str, constraint: Constraint) -> str:
    if constraint.kind == "c":
        return f"op.create_check_constraint({_string(constraint.name)}, {_string(table)}, {_sql(str(constraint.condition))})"
    add = f"alter table {quoted(table)} add constraint {quoted(constraint.name)} {constraint.definition}"
    return f"op.execute({_sql(add)})"


def _drops(before: Structure, after: Structure) -> Iterator[str]:
    for name in sorted(before.keys() - after.keys()):
        yield f"op.drop_table({_string(name)})"


def renamed_objects(before: Structure, after: Structure) -> list[tuple[str, str]]:
    """Constraints and indexes that differ in their names alone, after a table or column was renamed.

    Returns:
        The statements that rename each, and that rename it back.
    """
    found = []
    for old, new in _shared(before, after):
        gone = {each.name: each for each in old.constraints.values() if each.name not in new.constraints}
        for constraint in new.constraints.values():
            if constraint.name in old.constraints:
                continue
            same = next((each for each in gone.values() if each.definition == constraint.definition), None)
            if same is not None:
                del gone[same.name]
                table = f"alter table {quoted(new.name)} rename constraint"
                names = quoted(same.name), quoted(constraint.name)
                found.append((f"{table} {names[0]} to {names[1]}", f"{table} {names[1]} to {names[0]}"))
        left = {each.name: each for each in old.indexes.values() if each.name not in new.indexes}
        for index in new.indexes.values():
            if index.name in old.indexes:
                continue
            alike = next((i for i in left.values() if _unnamed(i) == _unnamed(index)), None)
            if alike is not None:
                del left[alike.name]
                names = quoted(alike.name), quoted(index.name)
                found.append(
                    (f"alter index {names[0]} rename to {names[1]}", f"alter index {names[1]} rename to {names[0]}")
                )
    return found


def _unnamed(index: Index) -> tuple[object, ...]:
    return index.unique, index.keys, index.method, index.where


def type_text(column: Column) -> str:
    """A column's type as SQLAlchemy writes it."""
    many = column.type.endswith("[]")
    bare = column.type.removesuffix("[]")
    collation = f"collation={_string(column.collation)}" if column.collation else ""
    if found := re.fullmatch(r"numeric\((\d+),(\d+)\)", bare):
        text = f"sa.Numeric({found[1]}, {found[2]})"
    elif bare in _TYPES:
        text = _TYPES[bare].format(collation=collation)
    else:
        raise ValueError(f"{column.name} has the type {column.type}, which no declaration makes")
    return f"postgresql.ARRAY({text})" if many else text


def _column(column: Column) -> str:
    more = "" if column.default is None else f", server_default={_text(column.default)}"
    more += "" if column.generated is None else f", sa.Computed({_sql(column.generated)}, persisted=True)"
    more += "" if column.nullable else ", nullable=False"
    return f"sa.Column({_string(column.name)}, {type_text(column)}{more})"


def _text(sql: str) -> str:
    return f"sa.text({_sql(sql)})"


def _sql(sql: str) -> str:
    """SQL as a string of Python; a colon would begin a parameter."""
    return _string(re.sub(r"(?<!:):(?!:)", r"\\:", sql))


def _string(value: str | None) -> str:
    if value is None:
        return "None"
    shown = repr(value)
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown else shown
