"""Refuses database roles on which isolation cannot hold, and work without the roles; gives the owner what it needs."""

import contextlib
from importlib.resources import files

from freehold.engine.blocks import Roles
from freehold.errors import ConfigurationError, RoleError, UniqueError
from freehold.postgres.connections import Connection, Pool
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["HARMLESS", "check_role", "empower_owner", "require_roles"]

HARMLESS = ("pg_use_reserved_connections",)
"""Of PostgreSQL's own roles, those whose members can neither read, change, run nor disturb anything of others. A role of a version to
come is refused."""

_FACTS = files("freehold.engine").joinpath("roles.sql").read_text(encoding="utf-8")
_REFUSED = {
    "attributes": "{name} is or has {found}, so that row-level security does not hold for it, or it can make itself the owner",
    "owned": "{name} owns {found}, or is a member of the owner, and could switch isolation off",
    "stronger": "{name} can become {found}, for whom row-level security does not hold, or who can become the owner",
    "predefined": "{name} is a member of {found}, directly or through other roles, and could read, change or disturb what others have",
    "creates": "{name} may create objects in the schema {found}, and could put its own in the way",
    "private": "{name} has rights on {found}, which hold what all organizations have",
    "beyond": "{name} may truncate, maintain, refer to or put triggers on {found}, where row-level security is not asked",
    "foreign_powers": "{name} may use {found}, which run as somebody for whom row-level security does not hold",
    "system_powers": "{name} may use {found}, which PostgreSQL keeps from everybody: they reach around row-level security",
}
"""By what is found wrong, in the order in which it is told."""


async def check_role(pool: Pool, schemas: Schemas, roles: Roles) -> None:
    """Makes sure that row-level security binds the role that the pool connects as.

    Raises:
        RoleError: isolation could fall by what it is, owns, may do, or can become through any chain of memberships.
        ConfigurationError: the schema is not installed, or the server is too old.
    """
    facts = await pool.fetch_row(_FACTS, [schemas.engine, schemas.application, list(HARMLESS)])
    if facts is None:
        raise ConfigurationError("the database does not know the role that it let in")
    if facts["server"] < 150000:
        raise ConfigurationError("Freehold needs PostgreSQL 15 or newer", hint="upgrade the server")
    for problem, message in _REFUSED.items():
        if facts[problem]:
            raise RoleError(
                message.format(name=facts["name"], found=", ".join(facts[problem])),
                hint=f"connect as the application role ({roles.application}), which 'freehold setup' makes, and grant it nothing more: "
                "no attribute, no membership, no right beyond those of set-up",
            )
    if facts["missing"]:
        missing = " and ".join(facts["missing"])
        raise ConfigurationError(
            f"there is no schema {missing} in this database",
            hint="run 'freehold setup' with an administrator's URL first",
        )
    if facts["unusable"]:
        raise RoleError(
            f"{facts['name']} may not use the schema {facts['unusable'][0]}",
            hint=f"connect as the application role ({roles.application}), which 'freehold setup' makes",
        )


async def require_roles(connection: Connection, roles: Roles) -> None:
    """Makes sure that the two roles are there, for work that has to name them.

    Raises:
        ConfigurationError: one is not.
    """
    names = [roles.owner, roles.application]
    rows = await connection.fetch("select rolname::text as name from pg_roles where rolname = any ($1)", names)
    missing = sorted(set(names) - {row["name"] for row in rows})
    if missing:
        raise ConfigurationError(
            f"there is no role {' and no role '.join(missing)}", hint="run 'freehold setup' first: it makes the roles"
        )


async def empower_owner(connection: Connection, roles: Roles) -> None:
    """Lets the owner create schemas here, and whoever administers act as the owner, where they may not yet.

    Memberships belong to the whole server, as roles do: where the set-up of another database grants the same in this
    moment, the second grant fails on the first one's row, and is there.
    """
    (there,) = await connection.fetch(
        "select quote_ident(current_database()) as name, has_database_privilege($1, current_database(), 'create') as creates, "
        "pg_has_role(current_user, $1, 'usage') as usable",
        roles.owner,
    )
    if not there["creates"]:
        await connection.execute(f"grant create on database {there['name']} to {quoted(roles.owner)}")
    if not there["usable"]:
        with contextlib.suppress(UniqueError):
            async with connection.transaction():
                await connection.execute(f"grant {quoted(roles.owner)} to current_user")
