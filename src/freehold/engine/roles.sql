-- What the role of this connection is, owns, may do and can become. $1 the engine's schema, $2 the tables', $3 harmless roles of PostgreSQL's own.
-- Each column but the first two lists what is wrong.
with recursive reached (oid) as ( -- by any chain of memberships: inherited, settable, or only to be given away
    select oid from pg_roles where rolname = current_user union select m.roleid from pg_auth_members m join reached r on r.oid = m.member
), powers as (
    select r.oid, r.rolname::text as name, array_remove(array[case when r.rolsuper then 'a superuser' end, case when r.rolbypassrls then 'BYPASSRLS' end,
        case when r.rolcreaterole then 'CREATEROLE' end, case when r.rolreplication then 'REPLICATION' end], null) as attributes,
        r.rolsuper or r.rolbypassrls as unbound from pg_roles r
), spaces as (
    select n.oid, n.nspname, n.nspowner from pg_namespace n where n.nspname in ($1, $2)
), relations as (
    select c.*, format('%s.%s', s.nspname, c.relname) as name, s.nspname = $1 as own from pg_class c join spaces s on s.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
), functions as (
    select p.oid, p.proowner, p.prosecdef, format('%s.%s()', s.nspname, p.proname) as name, s.nspname = $1 as own
    from pg_proc p join spaces s on s.oid = p.pronamespace
), closed as ( -- what PostgreSQL itself keeps from everybody
    select i.objoid, i.classoid from pg_init_privs i where i.privtype = 'i' and i.objsubid = 0
        and not exists (select from aclexplode(i.initprivs) a where a.grantee = 0 and a.privilege_type in ('SELECT', 'EXECUTE'))
)
select current_user::text as name, current_setting('server_version_num')::int as server,
    (select p.attributes from powers p where p.name = current_user) as attributes,
    array(select 'the database' from pg_database d join reached r on r.oid = d.datdba where d.datname = current_database())
    || array(select c.name from relations c join reached r on r.oid = c.relowner limit 5)
    || array(select 'schema ' || s.nspname from spaces s join reached r on r.oid = s.nspowner)
    || array(select f.name from functions f join reached r on r.oid = f.proowner where f.own limit 5) as owned,
    array(select format('%s (%s)', p.name, array_to_string(p.attributes, ', ')) from powers p join reached r on r.oid = p.oid
          where p.name <> current_user and p.attributes <> '{}' limit 5) as stronger,
    array(select p.name from powers p join reached r on r.oid = p.oid
          where p.oid < 16384 and starts_with(p.name, 'pg_') and p.name <> all ($3) order by 1) as predefined,
    array(select s.nspname::text from spaces s where has_schema_privilege(s.oid, 'create')) as creates,
    array(select c.name from relations c where c.own and c.relkind in ('r', 'p') and not c.relrowsecurity
          and not exists (select from pg_policy p where p.polrelid = c.oid) -- where one is, the protection is looked at
          and (has_any_column_privilege(c.oid, 'select, insert, update, references') or has_table_privilege(c.oid, 'delete')) limit 5) as private,
    array(select c.name from relations c where c.relkind in ('r', 'p') and (has_table_privilege(c.oid, 'truncate, trigger, references')
          or case when current_setting('server_version_num')::int >= 170000 then has_table_privilege(c.oid, 'maintain') end) limit 5) as beyond,
    array(select f.name from functions f join powers p on p.oid = f.proowner where p.unbound and f.prosecdef and has_function_privilege(f.oid, 'execute') limit 5)
    || array(select c.name from relations c join powers p on p.oid = c.relowner where p.unbound and c.relkind in ('v', 'm', 'f')
          and has_any_column_privilege(c.oid, 'select')
          and not coalesce((select o.option_value::boolean from pg_options_to_table(c.reloptions) o where o.option_name = 'security_invoker'), false) limit 5) as foreign_powers,
    array(select format('%s()', p.proname) from closed k join pg_proc p on p.oid = k.objoid and k.classoid = 'pg_proc'::regclass
          where p.pronamespace = 'pg_catalog'::regnamespace and has_function_privilege(p.oid, 'execute') limit 5)
    || array(select c.relname::text from closed k join pg_class c on c.oid = k.objoid and k.classoid = 'pg_class'::regclass
          where c.relnamespace = 'pg_catalog'::regnamespace and has_table_privilege(c.oid, 'select') limit 5)
    || array(select 'set ' || name from unnest(array['session_replication_role', 'session_preload_libraries', 'dynamic_library_path']) name
          where has_parameter_privilege(name, 'set, alter system')) as system_powers,
    array(select wanted from unnest(array[$1, $2]::text[]) wanted where to_regnamespace(quote_ident(wanted)) is null) as missing,
    array(select s.nspname::text from spaces s where not has_schema_privilege(s.oid, 'usage')) as unusable
