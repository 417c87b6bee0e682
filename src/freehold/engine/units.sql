-- Units of work: what notes that one happened, what a deletion does to the records that refer to what is gone, and what runs
-- statements for many records. {engine} is the engine's schema, {tables} the application's, {application} its role.

-- block: units
-- One row for each unit of work that was committed, or given up (then without a transaction). The application notes its own organization's, and
-- nobody but the owner reads them; rows are kept for two days.
create table if not exists {engine}.units (
    organization_id uuid not null,
    id uuid not null,
    xid xid8 default pg_current_xact_id(),
    at timestamptz not null default {engine}.now(),
    key text collate "C" constraint units_key_check check (char_length(key) between 1 and 200),
    digest bytea,
    answer json,
    primary key (organization_id, id)
);
create unique index if not exists units_key_key on {engine}.units (organization_id, key) where key is not null;
create index if not exists units_at_idx on {engine}.units using brin (at);

alter table {engine}.units enable row level security;
alter table {engine}.units force row level security;
drop policy if exists tenant on {engine}.units;
create policy tenant on {engine}.units for insert to {application} with check (organization_id = (select {engine}.organization_id()));
drop policy if exists system on {engine}.units;
create policy system on {engine}.units to {owner} using (true) with check (true);

-- Forgets units of work that nobody asks for any more, a few thousand at a time.
create or replace function {engine}.forget_units() returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    with gone as (
        delete from {engine}.units where ctid = any (array(
            select u.ctid from {engine}.units u where u.at < {engine}.now() - interval '2 days' limit 5000 for update skip locked))
        returning 1
    ) select count(*) from gone
$$;

-- Notes a unit of work in the transaction that does it. With a key that was used before it answers what was noted then, and `fresh` is false:
-- nothing must be done then. Two that use one key at the same moment serialise on the key's index; the second one sees the first one's end.
create or replace function {engine}.open_unit(_unit uuid, _key text, _digest bytea, _answer json,
    out fresh boolean, out xid xid8, out at timestamptz, out told json)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    _organization uuid := {engine}.organization_id();
    _found {engine}.units;
begin
    if _organization is null then
        raise exception 'a unit of work needs an organization' using errcode = 'FH301';
    end if;
    insert into {engine}.units as u (organization_id, id, key, digest, answer) values (_organization, _unit, _key, _digest, _answer)
    on conflict (organization_id, key) where key is not null do nothing
    returning u.xid, u.at into xid, at;
    fresh := found;
    told := _answer;
    if fresh then
        if random() < 0.0005 then
            perform {engine}.forget_units();
        end if;
        return;
    end if;
    select * into _found from {engine}.units u where u.organization_id = _organization and u.key = _key;
    if _found.digest is distinct from _digest then
        raise exception 'the idempotency key was used for other changes' using errcode = 'FH206';
    end if;
    xid := _found.xid;
    at := _found.at;
    told := _found.answer;
end $$;

-- Whether a unit of work happened, for whom its reply was lost. Where it had not, it never will: the row that is left here takes its id.
-- While it is still under way this waits for its end, on the index.
create or replace function {engine}.settle_unit(_unit uuid, out xid xid8, out at timestamptz, out told json)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare _organization uuid := {engine}.organization_id();
begin
    insert into {engine}.units as u (organization_id, id, xid) values (_organization, _unit, null) on conflict (organization_id, id) do nothing;
    select u.xid, u.at, u.answer into xid, at, told from {engine}.units u where u.organization_id = _organization and u.id = _unit;
end $$;

-- block: deletion
-- The foreign keys that lead to a table, with what each wants to happen there. By way of their triggers, which have an index.
create or replace function {engine}.references_to(target regclass)
returns table (source regclass, field text, action "char", name text, soft boolean)
language sql stable as $$
    select distinct c.conrelid::regclass, a.attname::text, c.confdeltype, c.conname::text, exists (
        select from pg_attribute d where d.attrelid = c.conrelid and d.attname = 'deleted_at' and not d.attisdropped)
    from pg_trigger t join pg_constraint c on c.oid = t.tgconstraint join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[2]
    where t.tgrelid = target and c.contype = 'f' and c.confrelid = target
    order by 4
$$;

-- What the deletion of records does to those that refer to them, as the foreign keys say. Called after a soft deletion, and before one for good,
-- where PostgreSQL removes what cascades and refuses what is restricted by itself. A record that cannot be deleted softly stays with what it
-- belongs to. Answers what it touched: [{{"table", "action": "deleted" or "released", "ids"}}].
--
-- The records that are deleted are locked first, also against new references to them: what was being added to them is seen.
create or replace function {engine}.follow_deletion(organization uuid, target regclass, ids uuid[], soft boolean) returns jsonb
language plpgsql volatile as $$
declare
    _now timestamptz := {engine}.now();
    _actor uuid := {engine}.actor_id();
    _gone jsonb := jsonb_build_array(jsonb_build_object('table', target::oid::bigint, 'ids', ids));
    _touched jsonb := '[]';
    _place integer := 0;
    _of regclass;
    _ids uuid[];
    _moved uuid[];
    _held boolean;
    _key record;
begin
    if not exists (select from {engine}.references_to(target)) then
        return _touched;
    end if;
    execute format('select from %s where organization_id = $1 and id = any ($2) order by id for update', target) using organization, ids;
    while _place < jsonb_array_length(_gone) loop
        _of := (_gone->_place->>'table')::oid::regclass;
        _ids := array(select value::uuid from jsonb_array_elements_text(_gone->_place->'ids'));
        _place := _place + 1;
        for _key in select * from {engine}.references_to(_of) loop
            continue when _key.action not in ('c', 'n') or (_key.action = 'c' and soft and not _key.soft);
            if _key.action = 'n' then
                execute format('with released as (update %s set %I = null, version = version + 1, updated_at = $3, updated_by = $4
                        where organization_id = $1 and %2$I = any ($2) %s returning id) select array_agg(id) from released',
                    _key.source, _key.field, case when _key.soft then 'and deleted_at is null' end)
                into _moved using organization, _ids, _now, _actor;
            elsif soft then
                execute format('with gone as (update %s set deleted_at = $3, version = version + 1, updated_at = $3, updated_by = $4
                        where organization_id = $1 and %I = any ($2) and deleted_at is null returning id) select array_agg(id) from gone',
                    _key.source, _key.field)
                into _moved using organization, _ids, _now, _actor;
            else
                execute format('select array_agg(id) from %s where organization_id = $1 and %I = any ($2) and id <> all ($3)',
                    _key.source, _key.field)
                into _moved using organization, _ids, array(
                    select i.value::uuid from jsonb_array_elements(_gone) g cross join jsonb_array_elements_text(g.value->'ids') i
                    where (g.value->>'table')::oid = _key.source);
            end if;
            continue when _moved is null;
            _touched := _touched || jsonb_build_object('table', (select relname from pg_class where oid = _key.source),
                'action', case when _key.action = 'n' then 'released' else 'deleted' end, 'ids', _moved);
            if _key.action = 'c' then
                _gone := _gone || jsonb_build_object('table', _key.source::oid::bigint, 'ids', _moved);
            end if;
        end loop;
    end loop;
    -- Last, when all that goes along is gone: it does not hold anything any more.
    for _place in 0..(case when soft then jsonb_array_length(_gone) else 0 end) - 1 loop
        _of := (_gone->_place->>'table')::oid::regclass;
        _ids := array(select value::uuid from jsonb_array_elements_text(_gone->_place->'ids'));
        for _key in select * from {engine}.references_to(_of) r where r.action not in ('c', 'n') loop
            execute format('select exists (select from %s where organization_id = $1 and %I = any ($2) %s)',
                _key.source, _key.field, case when _key.soft then 'and deleted_at is null' end)
            into _held using organization, _ids;
            if _held then
                raise exception 'update or delete violates a reference' using errcode = '23001', constraint = _key.name,
                    table = (select relname from pg_class where oid = _key.source);
            end if;
        end loop;
    end loop;
    return _touched;
end $$;

-- The names that a table's class has had: what its records are called in the log.
create or replace function {engine}.logged_as(target regclass) returns text[]
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select array(select distinct k.entity from {engine}.entity_names k where k.relation = target)
$$;

-- Brings back what the soft deletion of records took along: the records that it deleted have its moment, and those that lost their reference
-- are in the log, in the deletion's transaction. Called with the moments at which the records had been deleted.
create or replace function {engine}.follow_restoration(organization uuid, target regclass, ids uuid[], moments timestamptz[]) returns jsonb
language plpgsql volatile as $$
declare
    _now timestamptz := {engine}.now();
    _actor uuid := {engine}.actor_id();
    _back jsonb := jsonb_build_array(jsonb_build_object('table', target::oid::bigint, 'ids', ids, 'moments', moments));
    _touched jsonb := '[]';
    _place integer := 0;
    _of regclass;
    _ids uuid[];
    _moments timestamptz[];
    _moved uuid[];
    _deleted_at timestamptz[];
    _key record;
begin
    while _place < jsonb_array_length(_back) loop
        _of := (_back->_place->>'table')::oid::regclass;
        _ids := array(select value::uuid from jsonb_array_elements_text(_back->_place->'ids') with ordinality o (value, n) order by n);
        _moments := array(select value::timestamptz from jsonb_array_elements_text(_back->_place->'moments') with ordinality o (value, n) order by n);
        _place := _place + 1;
        for _key in select * from {engine}.references_to(_of) r where r.action = 'n' or (r.action = 'c' and r.soft) loop
            if _key.action = 'c' then
                execute format('with back as (update %1$s x set deleted_at = null, version = x.version + 1, updated_at = $4, updated_by = $5
                        from unnest($2, $3) r (id, moment) where x.organization_id = $1 and x.%2$I = r.id and x.deleted_at = r.moment
                        returning x.id, r.moment) select array_agg(id), array_agg(moment) from back', _key.source, _key.field)
                into _moved, _deleted_at using organization, _ids, _moments, _now, _actor;
            else
                execute format('with removal as (
                        select distinct on (l.record_id) l.record_id, l.xid, l.request_id from {engine}.log l
                        where l.organization_id = $1 and l.kind = ''change'' and l.entity = any ($3) and l.record_id = any ($2) and l.action = ''delete''
                        order by l.record_id, l.position desc
                    ), released as (
                        select distinct on (u.record_id) u.record_id, r.record_id as parent from removal r join {engine}.log u
                            on u.organization_id = $1 and u.request_id = r.request_id and u.xid = r.xid and u.kind = ''change'' and u.entity = any ($4)
                        where {engine}.renamed(%1$L::regclass, u.position, u.old)->>%2$L = r.record_id::text
                            and {engine}.renamed(%1$L::regclass, u.position, u.new)->>%2$L is null
                        order by u.record_id, u.position desc
                    ), back as (
                        update %1$s x set %2$I = released.parent, version = x.version + 1, updated_at = $5, updated_by = $6
                        from released where x.organization_id = $1 and x.id = released.record_id and x.%2$I is null returning x.id
                    ) select array_agg(id) from back', _key.source, _key.field)
                into _moved using organization, _ids, {engine}.logged_as(_of), {engine}.logged_as(_key.source), _now, _actor;
            end if;
            continue when _moved is null;
            _touched := _touched || jsonb_build_object('table', (select relname from pg_class where oid = _key.source),
                'action', case when _key.action = 'n' then 'rejoined' else 'restored' end, 'ids', _moved);
            if _key.action = 'c' then
                _back := _back || jsonb_build_object('table', _key.source::oid::bigint, 'ids', _moved, 'moments', _deleted_at);
            end if;
        end loop;
    end loop;
    return _touched;
end $$;

-- block: writing
-- One statement over many records, planned for itself: it gets its arguments as $1 and the organization as $2, and answers one JSON value, which is
-- noted with the unit of work.
create or replace function {engine}.write(organization uuid, context text, unit uuid, statement text, arguments jsonb,
    out answer json, out xid xid8, out at timestamptz)
language plpgsql volatile parallel unsafe as $$
declare _entered uuid := {engine}.enter(organization, context);
begin
    execute statement into answer using arguments, organization;
    if unit is null then
        xid := pg_current_xact_id();
        at := {engine}.now();
    else
        select u.xid, u.at into xid, at from {engine}.open_unit(unit, null, null, answer) as u;
    end if;
end $$;

-- Why a unit of work fails: each of its changes is tried by itself, on top of those that work, and all of it is undone. Answers what went wrong
-- with which change: [{{"batch", "row", "state", "message", "constraint", "table", "column"}}].
create or replace function {engine}.diagnose(organization uuid, context text, batches jsonb) returns json
language plpgsql volatile parallel unsafe as $$
declare
    _entered uuid := {engine}.enter(organization, context);
    _problems jsonb := '[]';
    _batch record;
    _row record;
    _state text;
    _message text;
    _constraint text;
    _table text;
    _column text;
begin
    begin
        for _batch in select b.value, b.place - 1 as place from jsonb_array_elements(batches) with ordinality as b (value, place) loop
            for _row in select r.value, r.place - 1 as place from jsonb_array_elements(_batch.value->'rows') with ordinality as r (value, place) loop
                begin
                    execute format('select {engine}.%I($1, $2)', _batch.value->>'function') using organization, jsonb_build_array(_row.value);
                exception when others then
                    get stacked diagnostics _state = returned_sqlstate, _message = message_text, _constraint = constraint_name,
                        _table = table_name, _column = column_name;
                    _problems := _problems || jsonb_build_object('batch', _batch.place, 'row', _row.place, 'state', _state, 'message', _message,
                        'constraint', _constraint, 'table', _table, 'column', _column);
                end;
            end loop;
        end loop;
        raise exception using errcode = 'FH999';
    exception when sqlstate 'FH999' then
        null;
    end;
    return _problems;
end $$;

revoke all on {engine}.units from public;
grant insert (organization_id, id) on {engine}.units to {application};
revoke all on function {engine}.forget_units(), {engine}.open_unit(uuid, text, bytea, json), {engine}.settle_unit(uuid), {engine}.references_to(regclass),
    {engine}.follow_deletion(uuid, regclass, uuid[], boolean), {engine}.logged_as(regclass),
    {engine}.follow_restoration(uuid, regclass, uuid[], timestamptz[]), {engine}.write(uuid, text, uuid, text, jsonb),
    {engine}.diagnose(uuid, text, jsonb) from public;
grant execute on function {engine}.forget_units(), {engine}.open_unit(uuid, text, bytea, json), {engine}.settle_unit(uuid), {engine}.references_to(regclass),
    {engine}.follow_deletion(uuid, regclass, uuid[], boolean), {engine}.logged_as(regclass),
    {engine}.follow_restoration(uuid, regclass, uuid[], timestamptz[]), {engine}.write(uuid, text, uuid, text, jsonb),
    {engine}.diagnose(uuid, text, jsonb) to {application};
