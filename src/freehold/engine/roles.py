"""Refuses database roles on which isolation cannot hold, and work without the roles."""

from freehold.engine.blocks import Roles
from freehold.errors import ConfigurationError, RoleError
from freehold.postgres.connections import Connection, Pool
from freehold.sql.identifiers import Schemas

__all__ = ["check_role", "require_roles"]

_FACTS = """
select current_user::text as name, r.rolsuper, r.rolbypassrls,
    array(select n.nspname::text || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname in ($1, $2) and pg_has_role(current_user, c.relowner, 'member') and c.relkind in ('r', 'p') limit 5)
    || array(select 'schema ' || n.nspname from pg_namespace n
          where n.nspname in ($1, $2) and pg_has_role(current_user, n.nspowner, 'member'))
    || array(select n.nspname::text || '.' || p.proname || '()' from pg_proc p join pg_namespace n on n.oid = p.pronamespace
          where n.nspname = $1 and pg_has_role(current_user, p.proowner, 'member') limit 5) as owned,
    array(select n.nspname::text from pg_namespace n
          where n.nspname in ($1, $2) and has_schema_privilege(current_user, n.oid, 'create')) as creates,
    array(select m.rolname::text from pg_roles m where (m.rolsuper or m.rolbypassrls) and m.oid <> r.oid
          and pg_has_role(current_user, m.oid, 'member') limit 5) as stronger,
    array(select wanted from unnest(array[$1, $2]::text[]) wanted where to_regnamespace(quote_ident(wanted)) is null) as missing,
    array(select n.nspname::text from pg_namespace n
          where n.nspname in ($1, $2) and not has_schema_privilege(current_user, n.oid, 'usage')) as unusable,
    current_setting('server_version_num')::int as server
from pg_roles r where r.rolname = current_user
"""


async def check_role(pool: Pool, schemas: Schemas, roles: Roles) -> None:
    """Makes sure that row-level security binds the role that the pool connects as.

    Raises:
        RoleError: it is a superuser, has BYPASSRLS, owns the tables, or is a member of such a role.
        ConfigurationError: the schema is not installed, or the server is too old.
    """
    facts = await pool.fetch_row(_FACTS, [schemas.engine, schemas.application])
    if facts is None:
        raise ConfigurationError("the database does not know the role that it let in")
    name = facts["name"]
    hint = f"connect as the application role ({roles.application}), which 'freehold setup' makes: neither superuser, owner nor BYPASSRLS"
    if facts["rolsuper"]:
        raise RoleError(f"{name} is a superuser, for whom row-level security does not hold", hint=hint)
    if facts["rolbypassrls"]:
        raise RoleError(f"{name} has BYPASSRLS, so that row-level security does not hold for it", hint=hint)
    if facts["owned"]:
        raise RoleError(
            f"{name} owns {', '.join(facts['owned'])}, or is a member of the owner, and could switch isolation off",
            hint=hint,
        )
    if facts["stronger"]:
        raise RoleError(
            f"{name} can become {', '.join(facts['stronger'])}, for whom row-level security does not hold", hint=hint
        )
    if facts["creates"]:
        raise RoleError(
            f"{name} may create objects in the schema {facts['creates'][0]}, and could put its own in the way",
            hint=hint,
        )
    if facts["server"] < 150000:
        raise ConfigurationError("Freehold needs PostgreSQL 15 or newer", hint="upgrade the server")
    if facts["missing"]:
        missing = " and ".join(facts["missing"])
        raise ConfigurationError(
            f"there is no schema {missing} in this database",
            hint="run 'freehold setup' with an administrator's URL first",
        )
    if facts["unusable"]:
        raise RoleError(f"{name} may not use the schema {facts['unusable'][0]}", hint=hint)


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
