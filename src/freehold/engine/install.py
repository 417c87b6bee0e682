"""Creates roles and schema from the declarations.

Everything happens in one transaction under one advisory lock: two programs that start at once do not race, and a
failure leaves nothing behind. A digest of all that was created is kept, so that a start on an unchanged schema is one
query. Tables that exist are never altered here: where they differ from the declarations, the error lists how.
"""

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from freehold.engine.blocks import Roles, blocks
from freehold.engine.functions import entity_objects
from freehold.engine.search import tokenizer
from freehold.engine.tables import build_tables
from freehold.errors import ConfigurationError, DatabaseError, RoleError, UniqueError, ValidationError
from freehold.model.description import FieldDescription
from freehold.model.registry import Registry
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = ["Plan", "create_roles", "install", "plan"]

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's constructor is not annotated

_COLUMNS = """
select c.relname::text as table_name, a.attname::text as column_name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as required
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
where n.nspname = $1 and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
"""


class Plan:
    """The statements that make the schema of a set of declarations.

    Args:
        setup: schemas, the engine's own objects and those of other rooms; repeatable.
        tables: the statements that create each table and its indexes, by table.
        references: the foreign keys of each table, added when all tables are there.
        derived: policies, triggers, functions and grants; repeatable.
        columns: by table and column, the type as PostgreSQL prints it and whether null is refused.
    """

    def __init__(
        self,
        setup: Sequence[str],
        tables: Mapping[str, Sequence[str]],
        references: Mapping[str, Sequence[str]],
        derived: Sequence[str],
        columns: Mapping[str, Mapping[str, tuple[str, bool]]],
    ) -> None:
        self.columns = columns
        self.setup = list(setup)
        self.tables = {name: list(statements) for name, statements in tables.items()}
        self.references = {name: list(statements) for name, statements in references.items()}
        self.derived = list(derived)

    @property
    def digest(self) -> str:
        """Changes when anything in the plan does."""
        return hashlib.sha256("\n".join(self.statements()).encode()).hexdigest()

    def statements(self) -> list[str]:
        """All of them, in order, for an empty database."""
        tables = [statement for statements in self.tables.values() for statement in statements]
        references = [statement for statements in self.references.values() for statement in statements]
        return [*self.setup, *tables, *references, *self.derived]


def plan(registry: Registry, schemas: Schemas, roles: Roles, rooms: Sequence[tuple[str, str]] = ()) -> Plan:
    """Plans the schema.

    Args:
        registry: the declarations.
        schemas: the names of the schemas.
        roles: the names of the roles.
        rooms: other rooms' SQL, each as (package, file).
    """
    owner, application = quoted(roles.owner), quoted(roles.application)
    setup = [
        f"create schema if not exists {quoted(name)} authorization {owner}"
        for name in (schemas.engine, schemas.application)
    ] + [f"set local role {owner}", f"grant usage on schema {quoted(schemas.application)} to {application}"]
    for package, file in (("freehold.engine", "engine.sql"), *rooms):
        setup += blocks(package, file, schemas, roles).values()
    setup += [tokenizer(schemas), *blocks("freehold.engine", "search.sql", schemas, roles).values()]
    tables: dict[str, list[str]] = {}
    references: dict[str, list[str]] = {}
    for table in build_tables(registry, schemas).tables.values():
        create = str(CreateTable(table, include_foreign_key_constraints=[]).compile(dialect=_DIALECT)).strip()
        indexes = [
            str(CreateIndex(index).compile(dialect=_DIALECT))
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        ]
        tables[table.name] = [create, *indexes]
        references[table.name] = [
            f"alter table {schemas.table(table.name)} add " + _reference(constraint, schemas)
            for constraint in sorted(table.foreign_key_constraints, key=lambda constraint: str(constraint.name))
        ]
    derived = [
        statement for entity in registry.entities.values() for statement in entity_objects(entity, schemas, roles)
    ]
    columns = {
        entity.table: {field.name: (_printed_type(field), not field.nullable) for field in entity.fields.values()}
        for entity in registry.entities.values()
    }
    return Plan(setup, tables, references, derived, columns)


_PRINTED = {"timestamptz": "timestamp with time zone", "time": "time without time zone"}


def _printed_type(field: FieldDescription) -> str:
    """A column's type as `format_type` prints it."""
    if field.base and field.name == "version":
        return "integer"
    sql = field.sql_type.replace(", ", ",")
    bare = sql.removesuffix("[]")
    return _PRINTED.get(bare, bare) + sql[len(bare) :]


def _reference(constraint: object, schemas: Schemas) -> str:
    columns = ", ".join(quoted(name) for name in constraint.column_keys)  # type: ignore[attr-defined]  # a ForeignKeyConstraint
    target = constraint.elements[0].target_fullname.split(".")[1]  # type: ignore[attr-defined]
    return (
        f"constraint {quoted(str(constraint.name))} foreign key ({columns}) references {schemas.table(target)} "  # type: ignore[attr-defined]
        f"(organization_id, id) on delete {constraint.ondelete}"  # type: ignore[attr-defined]
    )


_ROLE_ATTEMPTS = 6

_SETTINGS = {
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "10s",
    "client_connection_check_interval": "2s",
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
}
"""What answers depend on is set on the role in its database, so that it holds behind a transaction pooler too."""


async def create_roles(connection: Connection, roles: Roles, passwords: Mapping[str, str]) -> None:
    """Creates the two roles, or sets their passwords and attributes again where they exist.

    Roles belong to the whole server, advisory locks to one database: set-ups of two databases can meet here. The one
    that comes second fails, and finds the role when it tries again.

    Args:
        connection: of an administrator (CREATEROLE).
        roles: their names.
        passwords: by role; a role without one cannot log in.
    """
    for name in (roles.owner, roles.application):
        login = f"login password {literal(passwords[name])}" if name in passwords else "nologin"
        for attempt in range(_ROLE_ATTEMPTS):
            try:
                await _create_role(connection, name, login)
                break
            except (UniqueError, DatabaseError, ValidationError):
                if attempt == _ROLE_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.05 * 2**attempt * (0.5 + random.random()))  # noqa: S311  # jitter, no secret


async def _create_role(connection: Connection, name: str, login: str) -> None:
    found = await connection.fetch("select rolsuper or rolbypassrls as unbound from pg_roles where rolname = $1", name)
    if not found:
        attributes = "nosuperuser nobypassrls nocreaterole nocreatedb noreplication"
        await connection.execute(f"create role {quoted(name)} {attributes} {login}")
    elif found[0]["unbound"]:
        raise RoleError(
            f"the role {name} exists and is a superuser or has BYPASSRLS, so that isolation would not hold for it",
            hint=f"alter role {name} nosuperuser nobypassrls, or choose other names for the roles",
        )
    else:  # only what an administrator without superuser's rights may change too
        await connection.execute(f"alter role {quoted(name)} {login}")


async def _configure_role(connection: Connection, schemas: Schemas, roles: Roles) -> None:
    """Sets what the application role's connections to this database start with, where it is not set so already."""
    # Hand-written queries name tables without a schema; temporary tables, which anybody can make, come last.
    wanted = {
        **{name: literal(value) for name, value in _SETTINGS.items()},
        "search_path": f"{quoted(schemas.application)}, pg_temp",
    }
    rows = await connection.fetch(
        "select coalesce(s.setconfig, '{}') as settings, quote_ident(d.datname) as name from pg_database d left join pg_db_role_setting s "
        "on s.setdatabase = d.oid and s.setrole = (select oid from pg_roles where rolname = $1) where d.datname = current_database()",
        roles.application,
    )
    actual = dict(str(setting).split("=", 1) for setting in rows[0]["settings"])
    for name, value in wanted.items():
        if actual.get(name) != value.strip("'"):
            await connection.execute(
                f"alter role {quoted(roles.application)} in database {rows[0]['name']} set {name} = {value}"
            )


async def install(connection: Connection, planned: Plan, schemas: Schemas, roles: Roles) -> bool:
    """Makes the schema what the plan says.

    Args:
        connection: of an administrator who may act as the owner.
        planned: from `plan`.
        schemas, roles: the same as for the plan.

    Returns:
        Whether anything was done; False where the schema is this plan's already.

    Raises:
        ConfigurationError: tables exist that differ from the declarations.
    """
    async with connection.transaction():
        await connection.fetch("select pg_advisory_xact_lock(hashtext($1))", f"{schemas.engine}.install")
        await _configure_role(connection, schemas, roles)
        if await _installed_digest(connection, schemas) == planned.digest:
            return False
        there = await connection.fetch(
            "select tablename::text as name from pg_tables where schemaname = $1", schemas.application
        )
        existing = {str(row["name"]) for row in there}
        database = await connection.fetch("select quote_ident(current_database()) as name")
        await connection.execute(f"grant create on database {database[0]['name']} to {quoted(roles.owner)}")
        await connection.execute(f"grant {quoted(roles.owner)} to current_user")
        for statement in planned.setup:
            await connection.execute(statement)
        for name, statements in planned.tables.items():
            for statement in statements if name not in existing else ():
                await connection.execute(statement)
        for name, statements in planned.references.items():
            for statement in statements if name not in existing else ():
                await connection.execute(statement)
        await _compare(connection, planned, schemas, existing)
        for statement in planned.derived:
            await connection.execute(statement)
        await connection.fetch(
            f"insert into {schemas.own('settings')} values ('installed', $1) on conflict (name) do update set value = excluded.value",
            planned.digest,
        )
    return True


async def _installed_digest(connection: Connection, schemas: Schemas) -> str | None:
    there = await connection.fetch("select to_regclass($1) is not null as there", f"{quoted(schemas.engine)}.settings")
    if not there[0]["there"]:
        return None
    found = await connection.fetch(
        f"select value from {schemas.own('settings')} where name = 'installed'"
    )  # a quoted identifier
    return str(found[0]["value"]) if found else None


async def _compare(connection: Connection, planned: Plan, schemas: Schemas, existing: set[str]) -> None:
    """Holds the columns of tables that were there before against the declarations."""
    rows = await connection.fetch(_COLUMNS, schemas.application)
    differences = []
    for name in sorted(existing & set(planned.columns)):
        actual = {
            str(row["column_name"]): (str(row["type"]), bool(row["required"]))
            for row in rows
            if row["table_name"] == name
        }
        declared = planned.columns[name]
        differences += [
            f"{name}.{column} is declared but not in the database" for column in sorted(declared.keys() - actual)
        ]
        differences += [
            f"{name}.{column} is in the database but not declared" for column in sorted(actual.keys() - declared)
        ]
        differences += [
            f"{name}.{column} is declared as {_shown(declared[column])} but is {_shown(actual[column])}"
            for column in sorted(declared.keys() & actual)
            if declared[column] != actual[column]
        ]
    if differences:
        raise ConfigurationError(
            "the database's tables differ from the declarations: " + "; ".join(differences[:20]),
            hint="alter the tables by hand to match, or start from an empty database; nothing was changed",
        )


def _shown(column: tuple[str, bool]) -> str:
    return f"{column[0]} not null" if column[1] else column[0]
