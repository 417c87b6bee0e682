"""Refuses database roles on which isolation cannot hold."""

from freehold.engine.blocks import Roles
from freehold.errors import ConfigurationError, RoleError
from freehold.postgres.connections import Pool
from freehold.sql.identifiers import Schemas

__all__ = ["check_role"]

_FACTS = """
select current_user::text as name, r.rolsuper, r.rolbypassrls,
    array(select n.nspname::text || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname in ($1, $2) and pg_has_role(current_user, c.relowner, 'member') and c.relkind in ('r', 'p') limit 5) as owned,
    array(select m.rolname::text from pg_roles m where (m.rolsuper or m.rolbypassrls) and m.oid <> r.oid
          and pg_has_role(current_user, m.oid, 'member') limit 5) as stronger,
    to_regnamespace(quote_ident($1)) is not null as installed,
    has_schema_privilege(current_user, coalesce(to_regnamespace(quote_ident($1)), 'pg_catalog'::regnamespace), 'usage') as usable,
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
            f"{name} owns tables ({', '.join(facts['owned'])}) or is a member of their owner, and could switch isolation off",
            hint=hint,
        )
    if facts["stronger"]:
        raise RoleError(
            f"{name} can become {', '.join(facts['stronger'])}, for whom row-level security does not hold", hint=hint
        )
    if facts["server"] < 150000:
        raise ConfigurationError("Freehold needs PostgreSQL 15 or newer", hint="upgrade the server")
    if not facts["installed"]:
        raise ConfigurationError(
            f"there is no schema {schemas.engine} in this database",
            hint="run 'freehold setup' with an administrator's URL first",
        )
    if not facts["usable"]:
        raise RoleError(f"{name} may not use the schema {schemas.engine}", hint=hint)
