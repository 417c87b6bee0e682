"""Checks of the roles: who could go around row-level security."""

from freehold.doctor.findings import Check
from freehold.engine.settings import CLOSED

__all__ = ["ROLE_CHECKS"]

_OBJECTS = """
    select format('%s %I.%I', case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end,
        n.nspname, c.relname) as object, c.relowner as owner
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ($1, $2) and c.relkind in ('r', 'p', 'v', 'm', 'S')
        and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i') and c.relkind = 'S')
    union all
    select format('%s %s', case p.prokind when 'p' then 'procedure' else 'function' end,
        format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))), p.proowner
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname in ($1, $2) and p.prokind in ('f', 'p')
    union all
    select format('schema %I', nspname), nspowner from pg_namespace where nspname in ($1, $2)
"""

_CLOSED = ", ".join(f"'{name}'" for name in CLOSED)

ROLE_CHECKS = (
    Check(
        "FD201",
        "error",
        "the application role is more than it must be",
        "select rolname as object, concat_ws(', ', case when rolsuper then 'superuser' end, case when rolbypassrls then 'bypassrls' end, "
        "case when rolcreaterole then 'createrole' end, case when rolreplication then 'replication' end) as evidence, "
        "format('alter role %I nosuperuser nobypassrls nocreaterole noreplication', rolname) as mend "
        "from pg_roles where rolname = $4 and (rolsuper or rolbypassrls or rolcreaterole or rolreplication)",
    ),
    Check(
        "FD202",
        "error",
        "the application role can become a role for which isolation does not hold",
        "select format('%s in %s', m.rolname, g.rolname) as object, "
        "case when g.rolname = $3 then 'the owner of the tables' when g.rolsuper then 'a superuser' else 'has bypassrls, or reads all data' end as evidence, "
        "format('revoke %I from %I', g.rolname, m.rolname) as mend "
        "from pg_auth_members a join pg_roles m on m.oid = a.member join pg_roles g on g.oid = a.roleid "
        "where m.rolname = $4 and (g.rolname = $3 or g.rolsuper or g.rolbypassrls or pg_has_role(g.oid, $3, 'member') "
        "or g.rolname in ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program'))",
    ),
    Check(
        "FD203",
        "error",
        "something belongs to another role than the owner",
        f"select object, 'it belongs to ' || pg_get_userbyid(owner) as evidence, format('alter %s owner to %I', object, $3::text) as mend "
        f"from ({_OBJECTS}) o where pg_get_userbyid(owner) <> $3 order by 1",
    ),
    Check(
        "FD204",
        "error",
        "somebody but the owner may create objects beside Freehold's",
        "select format('schema %I', n.nspname) as object, format('create is granted to %s', coalesce(quote_ident(r.rolname), 'public')) as evidence, "
        "format('revoke create on schema %I from %s', n.nspname, coalesce(quote_ident(r.rolname), 'public')) as mend "
        "from pg_namespace n cross join lateral aclexplode(n.nspacl) a left join pg_roles r on r.oid = a.grantee "
        "where n.nspname in ($1, $2) and a.privilege_type = 'CREATE' and a.grantee <> n.nspowner",
    ),
    Check(
        "FD205",
        "warning",
        "somebody can log in for whom row-level security does not hold, without being a superuser",
        "select rolname as object, 'bypassrls, login' as evidence, format('alter role %I nobypassrls', rolname) as mend "
        "from pg_roles where rolcanlogin and rolbypassrls and not rolsuper and rolname <> $4 order by 1",
    ),
    Check(
        "FD206",
        "error",
        "row-level security does not hold for the owner's functions",
        "select rolname as object, concat_ws(', ', case when rolsuper then 'superuser' end, case when rolbypassrls then 'bypassrls' end) as evidence, "
        "format('alter role %I nosuperuser nobypassrls', rolname) as mend from pg_roles where rolname = $3 and (rolsuper or rolbypassrls)",
    ),
    Check(
        "FD208",
        "warning",
        "hand-written SQL can end the calls of others",
        "select format('%s()', p.proname) as object, format('%s may call it', $4::text) as evidence, "
        "format('revoke execute on function pg_catalog.%I(%s) from public, %I', p.proname, pg_get_function_identity_arguments(p.oid), $4::text) as mend "
        f"from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.proname in ({_CLOSED}) "
        "and exists (select from pg_roles where rolname = $4) and has_function_privilege($4::name, p.oid, 'execute') order by 1",
    ),
    Check(
        "FD207",
        "note",
        "several superusers can log in: each of them sees everything",
        "select string_agg(rolname, ', ' order by rolname) as object, format('%s superusers', count(*)) as evidence, null as mend "
        "from pg_roles where rolsuper and rolcanlogin having count(*) > 1",
    ),
)
