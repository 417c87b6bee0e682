"""Checks of row-level security and of what could go around it."""

from freehold.doctor.findings import Check

__all__ = ["ISOLATION_CHECKS", "POLICY_PER_ROW", "TRIGGERS"]

# Tables with rows of organizations: all of the application's, and those of the engine's that the application role may read.
_TABLES = """
    select c.oid, format('%I.%I', n.nspname, c.relname) as name, c.relname, n.nspname, c.relrowsecurity, c.relforcerowsecurity
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and (n.nspname = $2 or (n.nspname = $1 and has_any_column_privilege($4::name, c.oid, 'select')))
        and exists (select from pg_roles where rolname in ($3, $4))
"""

# As PostgreSQL prints the policy, with or without the subselect that makes it once for each statement.
_DECLARED = "'^\\(organization_id = (\\( SELECT )?([a-z0-9_]+\\.)?organization_id\\(\\)( AS organization_id\\))?\\)$'"
_POLICY = "format('create policy tenant on %s using (organization_id = (select %I.organization_id())) with check (organization_id = (select %I.organization_id()))', t.name, $1::text, $1::text)"

# What the application role may read or call, and no extension has brought.
_OURS = "not exists (select from pg_depend d where d.classid = 'pg_{catalog}'::regclass and d.objid = {oid} and d.deptype = 'e')"
_READS_TABLES = """exists (select from pg_rewrite w join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
    join pg_class used on d.refclassid = 'pg_class'::regclass and used.oid = d.refobjid and used.oid <> c.oid
    join pg_namespace home on home.oid = used.relnamespace where w.ev_class = c.oid and home.nspname in ($1, $2))"""
_DEFINERS = f"""
    select p.*, format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as object
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where p.prosecdef and p.prokind in ('f', 'p') and n.nspname not in ('pg_catalog', 'information_schema') and {_OURS.format(catalog="proc", oid="p.oid")}
        and (n.nspname in ($1, $2) or (has_schema_privilege($4::name, n.oid, 'usage') and has_function_privilege($4::name, p.oid, 'execute')))
        and exists (select from pg_roles where rolname = $3)
"""

POLICY_PER_ROW = Check(
    "FD305",
    "warning",
    "the policy is evaluated for each row, not once for each statement",
    f"select t.name as object, '' as evidence, format('alter policy tenant on %s using (organization_id = (select %I.organization_id())) "
    f"with check (organization_id = (select %I.organization_id()))', t.name, $1::text, $1::text) as mend from ({_TABLES}) t "
    "where t.nspname = $2 and t.relrowsecurity and exists (select from pg_policy p where p.polrelid = t.oid and p.polname = 'tenant') order by 1",
)
"""Its query answers every table; a plan of each tells whether it is one."""

TRIGGERS = Check(
    "FD306",
    "error",
    "changes of the table are not written to the log",
    f"select t.name || '.' || wanted as object, case g.tgenabled when 'D' then 'the trigger is disabled' when 'R' then 'the trigger fires on replicas only' "
    "else 'the trigger is not there' end as evidence, case when g.oid is not null then format('alter table %s enable trigger %I', t.name, wanted) end as mend "
    f"from ({_TABLES}) t cross join unnest(array['log_create', 'log_update', 'log_delete']) wanted "
    "left join pg_trigger g on g.tgrelid = t.oid and g.tgname = wanted and not g.tgisinternal "
    "where t.nspname = $2 and (g.oid is null or g.tgenabled in ('D', 'R')) order by 1",
)
"""Where the trigger is not there, the declarations know the statement that makes it."""

ISOLATION_CHECKS = (
    Check(
        "FD301",
        "error",
        "row-level security is off, and the table shows all organizations' rows",
        f"select t.name as object, 'row-level security is not enabled' as evidence, case when t.nspname = $1 "
        f"and not exists (select from pg_policy p where p.polrelid = t.oid) then format('revoke all on %s from public, %I', t.name, $4::text) "
        f"else format('alter table %s enable row level security', t.name) end as mend from ({_TABLES}) t where not t.relrowsecurity order by 1",
    ),
    Check(
        "FD302",
        "error",
        "row-level security does not hold for the table's owner",
        f"select t.name as object, 'row-level security is not forced' as evidence, format('alter table %s force row level security', t.name) as mend "
        f"from ({_TABLES}) t where not t.relforcerowsecurity and (t.relrowsecurity or t.nspname = $2) order by 1",
    ),
    Check(
        "FD303",
        "error",
        "a policy lets through more than the organization's rows",
        f"select format('%s.%I', t.name, p.polname) as object, concat_ws(', ', 'using ' || pg_get_expr(p.polqual, p.polrelid), "
        f"'with check ' || pg_get_expr(p.polwithcheck, p.polrelid)) as evidence, format('drop policy %I on %s', p.polname, t.name) "
        f"|| case when p.polname = 'tenant' then '; ' || {_POLICY} else '' end as mend from ({_TABLES}) t join pg_policy p on p.polrelid = t.oid "
        f"where t.nspname = $2 and p.polpermissive and (pg_get_expr(p.polqual, p.polrelid) !~ {_DECLARED} "
        f"or coalesce(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid), '') !~ {_DECLARED}) order by 1",
    ),
    Check(
        "FD304",
        "error",
        "a table has no policy, and shows nothing to anybody",
        f"select t.name as object, 'there is no policy' as evidence, {_POLICY} as mend from ({_TABLES}) t "
        "where t.nspname = $2 and not exists (select from pg_policy p where p.polrelid = t.oid and p.polpermissive) order by 1",
    ),
    Check(
        "FD309",
        "error",
        "a view reads the tables as its owner, not as who asks",
        "select format('%I.%I', n.nspname, c.relname) as object, 'security_invoker is not set; the owner is ' || pg_get_userbyid(c.relowner) as evidence, "
        "format('alter view %I.%I set (security_invoker = true)', n.nspname, c.relname) as mend from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where c.relkind = 'v' and n.nspname not in ('pg_catalog', 'information_schema') "
        f"and {_OURS.format(catalog='class', oid='c.oid')} and {_READS_TABLES} and exists (select from pg_roles where rolname in ($3, $4)) "
        "and not coalesce((select option_value::boolean from pg_options_to_table(c.reloptions) where option_name = 'security_invoker'), false) order by 1",
    ),
    Check(
        "FD310",
        "error",
        "a materialized view keeps rows of all organizations, and the application role may read it",
        "select format('%I.%I', n.nspname, c.relname) as object, 'row-level security cannot be on it' as evidence, "
        "format('revoke all on %I.%I from public, %I', n.nspname, c.relname, $4::text) as mend from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        f"where c.relkind = 'm' and has_any_column_privilege($4::name, c.oid, 'select') and {_READS_TABLES} "
        "and exists (select from pg_roles where rolname = $3) order by 1",
    ),
    Check(
        "FD311",
        "error",
        "a function that runs as its owner looks up names where its caller says",
        f"select object, coalesce((select setting from unnest(proconfig) setting where setting like 'search_path=%'), 'search_path is not set') as evidence, "
        f"format('alter routine %s set search_path = pg_catalog, pg_temp', object) as mend from ({_DEFINERS}) f "
        "where not exists (select from unnest(proconfig) setting where setting ~ '^search_path=.*pg_temp\"?$') order by 1",
    ),
    Check(
        "FD312",
        "error",
        "a function runs as somebody for whom row-level security does not hold",
        f"select object, 'it runs as ' || pg_get_userbyid(proowner) as evidence, format('alter routine %s owner to %I', object, $3::text) as mend "
        f"from ({_DEFINERS}) f join pg_roles o on o.oid = f.proowner where o.rolsuper or o.rolbypassrls order by 1",
    ),
)
