"""The tables of the application's schema as values: what two states differ in becomes a revision."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from freehold.engine.migrations.literals import mapped
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["ENGINE", "Column", "Constraint", "Index", "Structure", "TableStructure", "objects", "read_structure"]


ENGINE = "{engine}"
"""Stands for the engine's schema in revisions, whose functions may have the names of PostgreSQL's own."""


@dataclass(frozen=True)
class Column:
    """A column: its type, collation and default as PostgreSQL prints them; or what it is generated from."""

    name: str
    type: str
    collation: str | None
    nullable: bool
    default: str | None
    generated: str | None = None

    @property
    def kind(self) -> tuple[str, str | None]:
        """What a column must share with another one that it may be the new name of."""
        return self.type, self.collation


@dataclass(frozen=True)
class Constraint:
    """A primary key (p), reference (f), check (c) or unique constraint (u)."""

    name: str
    kind: str
    columns: tuple[str, ...]
    condition: str | None
    target: str | None
    target_columns: tuple[str, ...]
    on_delete: str | None
    definition: str


@dataclass(frozen=True)
class Index:
    """An index that belongs to no constraint; its keys as expressions."""

    name: str
    unique: bool
    keys: tuple[str, ...]
    method: str
    where: str | None


@dataclass(frozen=True)
class TableStructure:
    """A table. Columns are compared by name, not by place: a column that is added later comes last."""

    name: str
    columns: Mapping[str, Column] = field(default_factory=dict)
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    indexes: Mapping[str, Index] = field(default_factory=dict)


Structure = Mapping[str, TableStructure]


def objects(structure: Structure) -> frozenset[str]:
    """The names of all that is in some tables; of what is in a table, after the table's and a dot."""
    found = set()
    for name, table in structure.items():
        found |= {name, *(f"{name}.{each}" for each in (*table.columns, *table.constraints, *table.indexes))}
    return frozenset(found)


_TABLES = """
select c.relname::text as name from pg_class c where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p') order by 1
"""

_COLUMNS = """
select c.relname::text as table_name, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
    case when a.attcollation <> t.typcollation then l.collname::text end as collation, not a.attnotnull as nullable,
    case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end as default,
    case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end as generated
from pg_class c join pg_attribute a on a.attrelid = c.oid join pg_type t on t.oid = a.atttypid
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum left join pg_collation l on l.oid = a.attcollation
where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped order by 1, a.attnum
"""

_CONSTRAINTS = """
select c.relname::text as table_name, k.conname::text as name, k.contype::text as kind, pg_get_constraintdef(k.oid) as definition,
    array(select a.attname::text from unnest(k.conkey) with ordinality u (n, place)
        join pg_attribute a on a.attrelid = c.oid and a.attnum = u.n order by place) as columns,
    pg_get_expr(k.conbin, k.conrelid, true) as condition, t.relname::text as target,
    array(select a.attname::text from unnest(k.confkey) with ordinality u (n, place)
        join pg_attribute a on a.attrelid = t.oid and a.attnum = u.n order by place) as target_columns
from pg_class c join pg_constraint k on k.conrelid = c.oid left join pg_class t on t.oid = k.confrelid
where c.relnamespace = to_regnamespace($1) and k.contype in ('c', 'f', 'p', 'u', 'x') and k.convalidated order by 1, 2
"""

_INDEXES = """
select c.relname::text as table_name, i.relname::text as name, x.indisunique as unique, m.amname::text as method,
    array(select pg_get_indexdef(x.indexrelid, n, true)
        || case when l.oid is null or l.oid = coalesce(a.attcollation, 100) then '' else ' COLLATE ' || quote_ident(l.collname) end
        || case when o.opcdefault then '' else ' ' || o.opcname end || case x.indoption[n - 1] & 1 when 1 then ' DESC' else '' end
        from generate_series(1, x.indnkeyatts) n join pg_opclass o on o.oid = x.indclass[n - 1]
            left join pg_collation l on l.oid = x.indcollation[n - 1]
            left join pg_attribute a on a.attrelid = c.oid and a.attnum = nullif(x.indkey[n - 1], 0) order by n) as keys,
    pg_get_expr(x.indpred, x.indrelid, true) as where
from pg_class c join pg_index x on x.indrelid = c.oid join pg_class i on i.oid = x.indexrelid join pg_am m on m.oid = i.relam
where c.relnamespace = to_regnamespace($1) and x.indisvalid and not exists (
    select from pg_constraint k where k.conindid = x.indexrelid and k.contype in ('p', 'u', 'x')) order by 1, 2
"""


async def read_structure(connection: Connection, schemas: Schemas, beside: str | None = None) -> Structure:
    """The tables in the application's schema, printed without the schemas' names; the engine's is `{engine}`.

    To be called within a transaction: it sets the search path to its end.

    Args:
        connection: to the database.
        schemas: the names of the schemas.
        beside: another schema whose name is left out, where an extension's types may be.
    """
    path = ", ".join(quoted(each) for each in (schemas.application, beside) if each)
    await connection.execute(f"set local search_path = {path}, pg_temp")
    name = quoted(schemas.application)

    own = re.compile(rf'(?<![\w"$])(?:{schemas.engine}|{re.escape(quoted(schemas.engine))})\.')

    def shown(text: str | None) -> str | None:
        return text and mapped(text, lambda part: own.sub(f"{ENGINE}.", part))

    columns: dict[str, dict[str, Column]] = {}
    constraints: dict[str, dict[str, Constraint]] = {}
    indexes: dict[str, dict[str, Index]] = {}
    for row in await connection.fetch(_COLUMNS, name):
        column = Column(
            row["name"], row["type"], row["collation"], row["nullable"], shown(row["default"]), shown(row["generated"])
        )
        columns.setdefault(row["table_name"], {})[column.name] = column
    for row in await connection.fetch(_CONSTRAINTS, name):
        definition = str(shown(row["definition"]))
        _, _, on_delete = definition.removesuffix(" NOT VALID").partition(" ON DELETE ")
        constraint = Constraint(
            row["name"], row["kind"], tuple(row["columns"]), shown(row["condition"]), row["target"],
            tuple(row["target_columns"]), on_delete or None, definition,
        )  # fmt: skip
        constraints.setdefault(row["table_name"], {})[constraint.name] = constraint
    for row in await connection.fetch(_INDEXES, name):
        index = Index(
            row["name"],
            row["unique"],
            tuple(str(shown(key)) for key in row["keys"]),
            row["method"],
            shown(row["where"]),
        )
        indexes.setdefault(row["table_name"], {})[index.name] = index
    tables = [str(row["name"]) for row in await connection.fetch(_TABLES, name)]
    return {
        table: TableStructure(table, columns.get(table, {}), constraints.get(table, {}), indexes.get(table, {}))
        for table in tables
    }
