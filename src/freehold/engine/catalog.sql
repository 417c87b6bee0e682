-- The catalogue of some schemas as PostgreSQL prints it: kind, object, definition, and what a grant is on. $1: the names of the schemas.
-- To be read with search_path = pg_catalog, so that all names are printed with their schemas.
with spaces as (
    select oid, nspname, nspowner, nspacl from pg_namespace where nspname = any ($1)
), extended as (
    -- What belongs to an extension comes and goes with it: the extension alone is told. So are a range type's functions.
    select classid, objid from pg_depend where deptype = 'e'
    union all select classid, objid from pg_depend
    where deptype = 'i' and classid = 'pg_proc'::regclass and refclassid = 'pg_type'::regclass
), relations as (
    select c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
        c.relpersistence, c.reloptions, format('%I.%I', s.nspname, c.relname) as object
    from pg_class c join spaces s on s.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
        and (('pg_class'::regclass, c.oid) not in (select classid, objid from extended))
        -- Partitions are the log's; of a table of somebody's own, the table is told, and with it its sequences.
        and not (s.nspname = ($1)[2] and (c.relispartition or exists (select from pg_depend d where d.classid = 'pg_class'::regclass
            and d.objid = c.oid and c.relkind = 'S' and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i'))))
), whole as (
    select * from relations where not relispartition
), columns as (
    select w.object || '.' || quote_ident(a.attname) as object, w.object as relation, a.attname, a.attacl, w.relowner,
        format_type(a.atttypid, a.atttypmod)
            || case when a.attcollation <> 0 and a.attcollation <> t.typcollation
                then ' collate ' || quote_ident(l.collname) else '' end
            || case when a.attnotnull then ' not null' else '' end
            || coalesce(case a.attgenerated when '' then ' default ' else ' generated as ' end || pg_get_expr(d.adbin, d.adrelid), '')
            || case when a.attidentity <> '' then ' identity ' || a.attidentity::text else '' end as definition
    from whole w join pg_attribute a on a.attrelid = w.oid join pg_type t on t.oid = a.atttypid
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum left join pg_collation l on l.oid = a.attcollation
    where w.relkind in ('r', 'p', 'f') and a.attnum > 0 and not a.attisdropped
), functions as (
    select p.oid, p.oid::regprocedure::text as object, p.prokind, p.proowner, p.proacl
    from pg_proc p join spaces s on s.oid = p.pronamespace
    where (('pg_proc'::regclass, p.oid) not in (select classid, objid from extended))
), acls as (
    select 'schema' as kind, quote_ident(nspname) as object, nspowner as owner, coalesce(nspacl, acldefault('n', nspowner)) as acl, '' as part
    from spaces
    union all select case relkind when 'S' then 'sequence' else 'table' end, object, relowner,
        coalesce(relacl, acldefault(case relkind when 'S' then 's'::"char" else 'r'::"char" end, relowner)), '' from relations
    union all select 'table', relation, relowner, attacl, quote_ident(attname) from columns where attacl is not null
    union all select case prokind when 'p' then 'procedure' else 'function' end, object, proowner,
        coalesce(proacl, acldefault('f', proowner)), '' from functions
), grants as (
    select kind, object, part, coalesce(quote_ident(r.rolname), 'public') as grantee,
        string_agg(a.privilege_type || case when a.is_grantable then ' with grant option' else '' end, ', ' order by a.privilege_type) as definition
    from acls cross join lateral aclexplode(acl) a left join pg_roles r on r.oid = a.grantee
    where a.grantee <> acls.owner group by 1, 2, 3, 4
)
select 'schema' as kind, quote_ident(nspname) as object, 'owner ' || quote_ident(pg_get_userbyid(nspowner)) as definition from spaces
union all select case relkind when 'v' then 'view' when 'm' then 'view' when 'S' then 'sequence' else 'table' end, object,
    case relkind when 'r' then 'table' when 'p' then 'table partitioned by ' || pg_get_partkeydef(oid) when 'f' then 'foreign table'
        when 'S' then (select format_type(q.seqtypid, null) || ' increment ' || q.seqincrement from pg_sequence q where q.seqrelid = oid)
        else 'view as ' || pg_get_viewdef(oid) end
    || case relpersistence when 'u' then ', unlogged' else '' end || coalesce(', with ' || array_to_string(reloptions, ', '), '')
    from whole
union all select 'owner', object, quote_ident(pg_get_userbyid(relowner)) from relations
union all select 'owner', object, quote_ident(pg_get_userbyid(proowner)) from functions
union all select 'security', object, 'row-level security ' || case when relrowsecurity then 'enabled' else 'disabled' end
    || case when relforcerowsecurity then ', forced' else ', not forced' end from relations where relkind in ('r', 'p')
union all select 'column', object, definition from columns
union all select 'constraint', w.object || '.' || quote_ident(k.conname), pg_get_constraintdef(k.oid)
    from whole w join pg_constraint k on k.conrelid = w.oid where k.contype in ('c', 'f', 'p', 'u', 'x')
union all select 'index', w.object || '.' || quote_ident(i.relname), pg_get_indexdef(x.indexrelid) || case when x.indisvalid then '' else ' invalid' end
    from whole w join pg_index x on x.indrelid = w.oid join pg_class i on i.oid = x.indexrelid
    where not exists (select from pg_constraint k where k.conindid = x.indexrelid and k.contype in ('p', 'u', 'x'))
union all select 'trigger', w.object || '.' || quote_ident(t.tgname), pg_get_triggerdef(t.oid)
    || case t.tgenabled when 'O' then '' when 'D' then ' disabled' else ' enabled ' || t.tgenabled::text end
    from relations w join pg_trigger t on t.tgrelid = w.oid where not t.tgisinternal
union all select 'rule', w.object || '.' || quote_ident(r.rulename), pg_get_ruledef(r.oid)
    from relations w join pg_rewrite r on r.ev_class = w.oid where w.relkind in ('r', 'p')
union all select 'policy', w.object || '.' || quote_ident(p.polname),
    case when p.polpermissive then 'permissive' else 'restrictive' end || ' for ' || case p.polcmd when '*' then 'all' when 'r' then 'select'
        when 'a' then 'insert' when 'w' then 'update' else 'delete' end
    || ' to ' || (select string_agg(coalesce(quote_ident(r.rolname), 'public'), ', ' order by r.rolname)
        from unnest(p.polroles) u (id) left join pg_roles r on r.oid = u.id)
    || coalesce(' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', '') || coalesce(' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
    from relations w join pg_policy p on p.polrelid = w.oid
union all select 'function', object, case when prokind = 'a' then 'aggregate' else pg_get_functiondef(oid) end from functions
union all select 'type', format('%I.%I', s.nspname, t.typname), case t.typtype when 'd' then 'domain' when 'e' then 'enum' else 'type' end
    from pg_type t join spaces s on s.oid = t.typnamespace
    where ('pg_type'::regclass, t.oid) not in (select classid, objid from extended) and (t.typtype in ('d', 'e', 'r') or (t.typtype = 'c' and exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c')))
union all select 'extension', quote_ident(s.nspname) || '.' || quote_ident(e.extname), 'version ' || e.extversion
    from pg_extension e join spaces s on s.oid = e.extnamespace
union all select 'grant', kind || ' ' || object || case part when '' then '' else '.' || part end || ' to ' || grantee, definition from grants
union all select 'default grant', 'schema ' || quote_ident(s.nspname) || ' by ' || quote_ident(pg_get_userbyid(d.defaclrole)), d.defaclacl::text
    from pg_default_acl d join spaces s on s.oid = d.defaclnamespace
