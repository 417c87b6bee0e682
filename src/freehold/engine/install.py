"""Creates roles and schema from the declarations.

Everything happens in one transaction under one advisory lock: two programs that start at once do not race, and a
failure leaves nothing behind. Only the rows that declared counters count are counted after it, in steps. A digest of all that
was created is kept, so that a start on an unchanged schema is one query. Tables that exist are never altered here: where they
differ from the declarations, the error lists how.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.schema import CreateIndex

from freehold.engine.advisory import exclusive
from freehold.engine.blocks import Roles
from freehold.engine.catalog import differences
from freehold.engine.plan import DIALECT, Plan, plan
from freehold.engine.protection import is_altered
from freehold.engine.reconcile import count_anew
from freehold.engine.roles import empower_owner
from freehold.engine.settings import configure_role
from freehold.engine.tables import build_tables
from freehold.errors import ConfigurationError, DatabaseError, RoleError, UniqueError, ValidationError
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = ["Plan", "create_roles", "install", "installed_digest", "keep_digest", "plan"]

_ROLE_ATTEMPTS = 6


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


async def install(
    connection: Connection, planned: Plan, schemas: Schemas, roles: Roles, report: Callable[[str], None],
    made: Sequence[str] | None = None,
) -> bool:  # fmt: skip
    """Makes the schema what the plan says, and counts what new counters have not counted yet.

    Args:
        connection: of an administrator who may act as the owner.
        planned: from `plan`.
        schemas, roles: the same as for the plan.
        report: is told in words how far the counting is.
        made: statements that make the tables of an empty schema instead: those of the revisions.

    Returns:
        Whether anything was done; False where the schema is this plan's already.

    Raises:
        ConfigurationError: tables exist that differ from the declarations.
    """
    async with exclusive(connection, schemas):
        changed = await _make(connection, planned, schemas, roles, made)
        return await count_anew(connection, planned.registry, schemas, roles, report) or changed


async def _make(
    connection: Connection, planned: Plan, schemas: Schemas, roles: Roles, made: Sequence[str] | None
) -> bool:
    async with connection.transaction():
        await configure_role(connection, schemas, roles)
        same = await installed_digest(connection, schemas) == planned.digest
        if same and not await is_altered(connection, schemas, list(planned.tables)):
            return False
        there = await connection.fetch(
            "select tablename::text as name from pg_tables where schemaname = $1", schemas.application
        )
        existing = {str(row["name"]) for row in there}
        await empower_owner(connection, roles)
        for statement in planned.setup:
            await connection.execute(statement)
        revised = made if made is not None and not existing else ()
        if revised:
            await _revised(connection, revised, schemas)
        for parts in () if revised else (planned.tables, planned.references):
            for name, statements in parts.items():
                for statement in statements if name not in existing else ():
                    await connection.execute(statement)
        if existing & planned.tables.keys():
            await _refold(connection, planned, schemas)
            await _compare(connection, planned, schemas, roles, existing)
        for statement in planned.derived:
            await connection.execute(statement)
        await connection.fetch(f"select {schemas.own('note_columns')}()")
        await keep_digest(connection, planned, schemas)
    return True


async def _revised(connection: Connection, statements: Sequence[str], schemas: Schemas) -> None:
    """Runs what revisions do; their names are without a schema."""
    path = ", ".join((quoted(schemas.application), quoted(schemas.engine), "pg_temp"))
    await connection.execute(f"set local search_path = {path}")
    for statement in statements:
        await connection.execute(statement)
    await connection.execute("set local search_path to default")


async def installed_digest(connection: Connection, schemas: Schemas) -> str | None:
    """The digest of the plan that was last made here in full; None where none was."""
    there = await connection.fetch("select to_regclass($1) is not null as there", f"{quoted(schemas.engine)}.settings")
    if not there[0]["there"]:
        return None
    found = await connection.fetch(
        f"select value from {schemas.own('settings')} where name = 'installed'"
    )  # a quoted identifier
    return str(found[0]["value"]) if found else None


async def keep_digest(connection: Connection, planned: Plan, schemas: Schemas) -> None:
    """Notes that a plan was made here in full."""
    await connection.fetch(
        f"insert into {schemas.own('settings')} values ('installed', $1) on conflict (name) do update set value = excluded.value",
        planned.digest,
    )


async def _refold(connection: Connection, planned: Plan, schemas: Schemas) -> None:
    """Makes unique indexes again that ignore case by the rules of an older release, which were those of the database's locale.

    Raises:
        ConfigurationError: records have the same key now.
    """
    for table in build_tables(planned.registry, schemas).tables.values():
        for index in table.indexes:
            name = f"{quoted(schemas.application)}.{quoted(str(index.name))}"
            (there,) = await connection.fetch("select pg_get_indexdef(to_regclass($1)) as text", name)
            if there["text"] is None or "lower(" not in there["text"]:
                continue
            await connection.execute(f"drop index {name}")
            try:
                async with connection.transaction():
                    await connection.execute(str(CreateIndex(index).compile(dialect=DIALECT)))
            except UniqueError as error:
                keys = ", ".join(str(key) for key in index.expressions)
                where = index.dialect_options["postgresql"]["where"]
                alive = "" if where is None else f" where {where}"
                raise ConfigurationError(
                    f"records have the same key {index.name}, because case is ignored by Unicode's rules now",
                    hint=f"change all but one of each: select {keys}, array_agg(id) as ids from {schemas.table(table.name)}{alive} "
                    f"group by {', '.join(str(place + 1) for place in range(len(index.expressions)))} having count(*) > 1",
                ) from error


async def _compare(connection: Connection, planned: Plan, schemas: Schemas, roles: Roles, existing: set[str]) -> None:
    """Holds the tables that were there before against the declarations."""
    tables = tuple(f"{schemas.application}.{name}" for name in existing & planned.tables.keys())
    found = [
        str(each)
        for each in await differences(connection, planned, schemas, roles)
        if each.structural
        and not each.own
        and (each.object in tables or each.object.startswith(tuple(f"{name}." for name in tables)))
    ]
    if found:
        raise ConfigurationError(
            "the database's tables differ from the declarations: " + "; ".join(found[:20]),
            hint="set-up never alters a table: run 'freehold migrate new' and 'freehold migrate up', or start from an "
            "empty database; nothing was changed",
        )
