-- What isolation rests on, as set-up has left it: noted here, and compared when a program opens the database. The block comes last of all.

-- block: protection
create or replace function {engine}.policy_text(p pg_catalog.pg_policy) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select regexp_replace(concat_ws(', ', p.polcmd, case when 0 = any (p.polroles) then 'public' else (
        select string_agg(pg_get_userbyid(r), ' ' order by pg_get_userbyid(r)) from unnest(p.polroles) r) end,
        pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), '[\s()]+', '', 'g')
$$;

-- Some functions and all policies of the engine, and row-level security of its tables, each with what must stay as it is. Only what every
-- version of PostgreSQL prints the same way: an upgrade of the server is no change.
create or replace function {engine}.protection(functions text[]) returns table (object text, definition text)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select format('row-level security of %s', c.oid::regclass), format('enabled %s, forced %s', c.relrowsecurity, c.relforcerowsecurity)
    from pg_class c where c.relnamespace = '{engine}'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    union all
    select format('policy %I on %s', p.polname, p.polrelid::regclass), {engine}.policy_text(p)
    from pg_policy p join pg_class c on c.oid = p.polrelid where c.relnamespace = '{engine}'::regnamespace and p.polpermissive
    union all
    select format('function %I.%I', '{setting}', p.proname), string_agg(md5(concat_ws(' ', p.proargtypes, pg_get_userbyid(p.proowner), p.prosecdef,
        p.provolatile, p.proconfig, p.prosrc)), ' ' order by p.pronargs, p.proargtypes)
    from pg_proc p where p.pronamespace = '{engine}'::regnamespace and p.prokind = 'f' and p.proname = any (functions) group by p.proname
$$;

-- Notes how it is now, of what set-up makes: functions by name, policies as `name.table`. What somebody added is not noted, and so stays a change.
create or replace function {engine}.keep_protection(functions text[], policies text[]) returns void
language sql volatile set search_path = pg_catalog, pg_temp as $$
    insert into {engine}.settings
    select 'protection', jsonb_object_agg(p.object, p.definition)::text from {engine}.protection(functions) p
    where not starts_with(p.object, 'policy ') or p.object = any (array(
        select format('policy %I on %I.%I', split_part(d, '.', 1), '{setting}', split_part(d, '.', 2)) from unnest(policies) d))
    on conflict (name) do update set value = excluded.value
$$;

-- What is not as it was noted, and which of these tables does not have the one policy that all tables of entities have: the log's.
create or replace function {engine}.altered(tables text[]) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    with noted as (
        select n.key as object, n.value as definition from {engine}.settings s, jsonb_each_text(s.value::jsonb) n where s.name = 'protection'
    ), actual as (
        select p.object, p.definition from {engine}.protection(array(
            select split_part(n.object, '.', 2) from noted n where starts_with(n.object, 'function '))) p
    ), declared as (
        select c.oid, c.relrowsecurity and c.relforcerowsecurity as forced from pg_class c
        where c.relnamespace = '{tables}'::regnamespace and c.relkind in ('r', 'p') and c.relname = any (tables)
    ), expected as (
        select regexp_replace(pg_get_expr(p.polqual, p.polrelid), '[\s()]+', '', 'g') as text from pg_policy p
        where p.polrelid = '{engine}.log'::regclass and p.polname = 'tenant'
    )
    select array(
        select n.object from noted n left join actual a using (object) where a.definition is distinct from n.definition
        union all
        select a.object from actual a where starts_with(a.object, 'policy ') and not exists (select from noted n where n.object = a.object)
        union all
        select format('row-level security of %s', d.oid::regclass) from declared d where not d.forced
        union all
        select format('policy %I on %s', p.polname, d.oid::regclass) from declared d join pg_policy p on p.polrelid = d.oid
        where p.polpermissive and (p.polname <> 'tenant' or {engine}.policy_text(p) is distinct from (select concat('*,public,', e.text, ',', e.text) from expected e))
        union all
        select format('policy tenant on %s', d.oid::regclass) from declared d
        where not exists (select from pg_policy p where p.polrelid = d.oid and p.polname = 'tenant' and p.polpermissive)
        order by 1)
$$;

revoke all on function {engine}.protection(text[]), {engine}.policy_text(pg_catalog.pg_policy), {engine}.keep_protection(text[], text[]), {engine}.altered(text[])
    from public;
grant execute on function {engine}.altered(text[]) to {application};
