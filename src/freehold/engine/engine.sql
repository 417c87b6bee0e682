-- The engine's own schema. {engine} is its name, {tables} the application's schema, {owner} and {application} are the roles.
-- Every block is repeatable: it creates what is absent and replaces what is derived.

-- block: context
-- Who is asking, for this transaction only. The one place that sets it; policies read it through organization_id() alone.
create or replace function {engine}.enter(organization uuid, context text) returns uuid
language plpgsql volatile parallel unsafe as $$
declare done text; -- assignments, because a PERFORM starts an executor
begin
    if organization is null then
        raise exception 'a call needs an organization' using errcode = 'FH301';
    end if;
    if nullif(current_setting('{setting}.organization_id', true), '') <> organization::text then
        raise exception 'a transaction belongs to one organization' using errcode = 'FH301';
    end if;
    done := set_config('{setting}.organization_id', organization::text, true);
    done := set_config('{setting}.context', context, true);
    return organization;
end $$;

-- The keys that contexts are sealed with, newest and the one before it (see freehold.model.seal). Nobody but the owner reads them.
create table if not exists {engine}.seals (
    inner_key bytea not null,
    outer_key bytea not null,
    made_at timestamptz not null default clock_timestamp()
);

-- Whether a text was sealed by whoever has the key: 64 hexadecimal digits, ten digits with the time, and what it says. What was sealed is one
-- text, the organization and the rest behind it; the organization's length, which is always the same, says where the one ends.
-- The time is held against the beginning of the message, which the caller cannot move: a long statement does not outlive its seal, and one
-- that waits for somebody else's seal sees only those that are too young for it.
create or replace function {engine}.vouched(organization text, sealed text) returns boolean
language plpgsql stable parallel restricted set search_path = pg_catalog, pg_temp as $$
declare
    _dated boolean := ascii(substr(sealed, 65, 1)) between 48 and 57;
    _at timestamptz;
begin
    if not exists (select from {engine}.seals s where left(sealed, 64)
            = encode(sha256(s.outer_key || sha256(s.inner_key || convert_to(organization || substr(sealed, 65), 'UTF8'))), 'hex')) then
        return false;
    elsif not _dated then
        return exists (select from {engine}.settings t where t.name = 'undated_until' and t.value::timestamptz > statement_timestamp());
    end if;
    _at := to_timestamp(substr(sealed, 65, 10)::float8);
    if _at < statement_timestamp() - interval '{lifetime} s' or _at > statement_timestamp() + interval '{ahead} s' then
        raise exception 'the seal was made % s before the message, and holds for {lifetime} s',
            extract(epoch from statement_timestamp() - _at)::bigint using errcode = 'FH309';
    end if;
    return true;
end $$;

-- The one gate. An organization counts only with its seal, which whoever set it must have had the key for.
create or replace function {engine}.organization_id() returns uuid
language plpgsql stable parallel restricted security definer set search_path = pg_catalog, pg_temp as $$
declare
    organization text := current_setting('{setting}.organization_id', true);
    sealed text := current_setting('{setting}.context', true);
begin
    if organization is null or organization = '' then
        return null;
    end if;
    if length(organization) = 36 and {engine}.vouched(organization, sealed) then
        return organization::uuid;
    end if;
    raise exception 'the context has no valid seal' using errcode = 'FH301';
end $$;

-- What the context says of who asks; nothing outside of an organization.
create or replace function {engine}.context() returns jsonb
language sql stable parallel restricted as $$
    select case when {engine}.organization_id() is null then '{{}}' else ltrim(substr(current_setting('{setting}.context', true), 65), '0123456789')::jsonb end
$$;

-- The actor of the statement that is under way. It does not check the seal again: what it fills is a row that only the policy lets in,
-- and the policy does.
create or replace function {engine}.actor_id() returns uuid
language sql stable parallel restricted as $$
    select (nullif(ltrim(substr(current_setting('{setting}.context', true), 65), '0123456789'), '')::jsonb->>'user_id')::uuid
$$;

-- A context's text with its seal, for whoever administers: select freehold.enter(organization, freehold.sealed(organization, '{{}}')).
create or replace function {engine}.sealed(organization uuid, context text) returns text
language sql stable as $$
    select encode(sha256(s.outer_key || sha256(s.inner_key || convert_to(organization || t.told, 'UTF8'))), 'hex') || t.told
    from {engine}.seals s, (select lpad(floor(extract(epoch from statement_timestamp()))::text, 10, '0') || context) as t (told)
    order by s.made_at desc limit 1
$$;

-- The time that rows are given: when the transaction began. A test's database has another body here (freehold.testing), so that its time can
-- be set. PostgreSQL puts the body in place of the call: it costs nothing.
create or replace function {engine}.now() returns timestamptz
language sql stable parallel safe as $$ select pg_catalog.now() $$;

-- A UUIDv7 (RFC 9562) for rows that raw SQL inserts; PostgreSQL has uuidv7() from 18 on.
create or replace function {engine}.new_id() returns uuid
language sql volatile parallel safe as $$
    select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- block: settings
create table if not exists {engine}.settings (
    name text collate "C" primary key,
    value text not null
);

-- The release before this one made seals that do not tell their time. Where it runs on while this one is installed, they count for a day.
insert into {engine}.settings
select 'undated_until', case when exists (select from {engine}.seals) then (clock_timestamp() + interval '1 day')::text else '-infinity' end
on conflict (name) do nothing;

-- block: migrations
-- Which revision the tables have: that of the last row; null is before the first. Rows are only added.
create table if not exists {engine}.revisions (
    position bigint generated always as identity primary key,
    revision text collate "C",
    direction text collate "C" not null constraint revisions_direction_check check (direction in ('up', 'down', 'stamp')),
    at timestamptz not null default clock_timestamp()
);

-- What of a revision that is under way has been done, so that a run that was killed is taken up where it was.
create table if not exists {engine}.migration_groups (
    revision text collate "C" not null,
    direction text collate "C" not null,
    number integer not null,
    digest text collate "C" not null,
    done_at timestamptz not null default clock_timestamp(),
    primary key (revision, direction, number)
);
-- The names of what it makes, so that what an edited revision does not make any more is found again.
alter table {engine}.migration_groups add column if not exists made text[] not null default '{{}}';

-- The policies, triggers, functions and grants that belong to a revision: going down to it brings them back.
create table if not exists {engine}.derived_objects (
    revision text collate "C" primary key,
    statements text[] not null
);

-- block: log
-- Every change of every record, in the transaction that made it. See docs/architecture.md, "One log".
create sequence if not exists {engine}.log_position;

create table if not exists {engine}.log (
    position bigint not null default nextval('{engine}.log_position'),
    xid xid8 not null default pg_current_xact_id(),
    at timestamptz not null default {engine}.now(),
    kind text collate "C" not null default 'change',
    organization_id uuid,
    entity text collate "C" not null,
    record_id uuid,
    action text collate "C" not null,
    version integer,
    old jsonb,
    new jsonb,
    actor_id uuid,
    request_id text,
    client_ip text,
    user_agent text,
    reason text
) partition by range (at);

create index if not exists log_record_idx on {engine}.log (organization_id, entity, record_id, position);
create index if not exists log_position_idx on {engine}.log (organization_id, position);
create index if not exists log_request_idx on {engine}.log (organization_id, request_id, position);

alter table {engine}.log enable row level security;
alter table {engine}.log force row level security;
drop policy if exists tenant on {engine}.log;
create policy tenant on {engine}.log for select to {application} using (organization_id = (select {engine}.organization_id()));
drop policy if exists append on {engine}.log;
create policy append on {engine}.log for insert to {owner} with check (true);

-- Rows of a month without a partition of its own: a write never fails for want of one.
create table if not exists {engine}.log_default partition of {engine}.log default;

-- Finds out at once whether rows of a month lie there.
create index if not exists log_default_at_idx on {engine}.log_default (at);

-- Makes the partitions of this month and of the months that follow, and returns how many it made. It waits 100 ms for a lock, and leaves what it could
-- not make for the next call: readers of the log wait behind it for so long at most. Writers do not wait, because attaching locks the default
-- partition, which they do not touch. A month whose rows lie in the default partition keeps them there. PostgreSQL reads the default partition
-- while it attaches another one: where it has more bytes than `largest`, nothing is made.
create or replace function {engine}.make_months(months integer, largest bigint) returns integer
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
    _first date := date_trunc('month', {engine}.now() at time zone 'UTC');
    _begins timestamptz;
    _ends timestamptz;
    _name text;
    _made integer := 0;
begin
    for _ahead in 0..least(greatest(months, 0), 24) loop
        _begins := (_first + make_interval(months => _ahead)) at time zone 'UTC';
        _ends := (_first + make_interval(months => _ahead + 1)) at time zone 'UTC';
        _name := format('%I.%I', '{setting}', 'log_' || to_char(_begins at time zone 'UTC', 'YYYY_MM'));
        continue when to_regclass(_name) is not null;
        begin
            exit when not pg_try_advisory_xact_lock(hashtext('{setting}.extend_log'))
                or pg_relation_size('{engine}.log_default') > largest;
            continue when exists (select from {engine}.log_default d where d.at >= _begins and d.at < _ends);
            execute format('create table if not exists %s (like {engine}.log including defaults including constraints)', _name);
            execute format('alter table {engine}.log attach partition %s for values from (%L) to (%L)', _name, _begins, _ends);
            _made := _made + 1;
        exception
            when check_violation then null; -- a row of the month came meanwhile
            when lock_not_available then exit;
        end;
    end loop;
    return _made;
end $$;

create or replace function {engine}.extend_log(months integer) returns integer
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select {engine}.make_months(months, null)
$$;

select {engine}.extend_log(3);

-- Before this moment the log has been pruned, and what was then cannot be told any more; null where it has not been.
create or replace function {engine}.log_begins() returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select value::timestamptz from {engine}.settings where name = 'log_begins'
$$;

-- The position that the next change gets.
create or replace function {engine}.next_position() returns bigint
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select case when is_called then last_value + 1 else last_value end from {engine}.log_position
$$;

-- What was committed at some times: a read of a moment sees what the first mark from the moment on has seen. So what it has told it tells again,
-- whatever is committed later. Changes up to position `settled` came with a copy of another server's data: their xids are not this server's, and
-- count as committed.
create table if not exists {engine}.marks (
    at timestamptz primary key,
    seen pg_snapshot not null,
    settled bigint not null,
    position bigint not null
);

-- Makes a mark. Marks are made one after the other, so that the later one has seen more: the lock is held until this one is committed. One that
-- another program has made meanwhile is enough, and so no mark ever comes between a moment and its mark. Marks of a time to come were made
-- before the server's clock was set back.
create or replace function {engine}.make_mark(moment timestamptz) returns {engine}.marks
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    _mark {engine}.marks;
begin
    perform pg_advisory_xact_lock(hashtext('{setting}.mark'));
    delete from {engine}.marks m where m.at > {engine}.now();
    select * into _mark from {engine}.marks m where m.at >= moment order by m.at limit 1;
    if not found then
        insert into {engine}.marks values ({engine}.now(), pg_current_snapshot(),
            coalesce((select s.value::bigint from {engine}.settings s where s.name = 'settled'), 0), {engine}.next_position() - 1)
        returning * into _mark;
    end if;
    return _mark;
end $$;

-- The mark of a moment, and the positions that the log had reached at the mark before it and at this one. Where a mark cannot be kept, on a standby
-- or in a transaction that goes on, it is what is seen now.
create or replace function {engine}.mark_of(moment timestamptz, keep boolean,
    out seen pg_snapshot, out settled bigint, out since bigint, out reached bigint)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    _mark {engine}.marks;
begin
    select * into _mark from {engine}.marks m where m.at >= moment and m.at <= {engine}.now() order by m.at limit 1;
    if not found and keep and not current_setting('transaction_read_only')::boolean then
        _mark := {engine}.make_mark(moment);
    elsif not found then
        _mark := row({engine}.now(), pg_current_snapshot(),
            coalesce((select s.value::bigint from {engine}.settings s where s.name = 'settled'), 0), {engine}.next_position() - 1);
    end if;
    seen := _mark.seen;
    settled := _mark.settled;
    reached := _mark.position;
    since := greatest(_mark.settled, (select m.position from {engine}.marks m where m.at < moment order by m.at desc limit 1));
end $$;

-- The transactions that began before a moment, had been committed when it was marked, and cannot have been committed at the moment: they changed a
-- record after somebody who began later, or after another one of these. They lie between two marks; where these are more than 200,000 changes
-- of all organizations apart, because no program was open meanwhile, it is not looked for them.
create or replace function {engine}.late(organization uuid, moment timestamptz, seen pg_snapshot, since bigint, reached bigint) returns xid8[]
language plpgsql stable as $$
declare
    _late xid8[] := '{{}}';
    _more xid8[];
begin
    if reached - since > 200000 then
        return _late;
    end if;
    with near as materialized (
        select l.xid, l.at, l.entity, l.record_id, l.position from {engine}.log l
        where l.organization_id = organization and l.position > since and l.position <= reached and l.kind = 'change'
    )
    select array_agg(distinct a.xid) into _more from near a join near b on b.entity = a.entity and b.record_id = a.record_id
    where a.at <= moment and b.at > moment and b.position < a.position and pg_visible_in_snapshot(a.xid, seen);
    while _more is not null loop
        _late := _late || _more;
        select array_agg(distinct a.xid) into _more from {engine}.log a
        where a.organization_id = organization and a.position > since and a.position <= reached and a.kind = 'change' and a.at <= moment
            and a.xid <> all (_late) and exists (select from {engine}.log b where b.organization_id = organization and b.entity = a.entity
                and b.record_id = a.record_id and b.position < a.position and b.xid = any (_late));
    end loop;
    return _late;
end $$;

-- The greatest position in the log. It skips from organization to organization in each partition's index.
create or replace function {engine}.log_reaches() returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    _part regclass;
    _most bigint;
    _reaches bigint := 0;
begin
    for _part in select i.inhrelid::regclass from pg_inherits i where i.inhparent = '{engine}.log'::regclass loop
        execute format('with recursive o (id) as (
                (select p.organization_id from %1$s p where p.organization_id is not null order by 1 limit 1)
                union all
                select (select p.organization_id from %1$s p where p.organization_id > o.id order by 1 limit 1) from o where o.id is not null
            ) select greatest((select max(p.position) from %1$s p where p.organization_id is null),
                (select max((select max(p.position) from %1$s p where p.organization_id = o.id)) from o where o.id is not null))', _part) into _most;
        _reaches := greatest(_reaches, _most);
    end loop;
    return _reaches;
end $$;

-- After the data has come from elsewhere, by a dump or by replication: positions go on behind the greatest one, and what has come counts as
-- committed. Returns whether anything was done. `thorough` looks into the log itself; otherwise it is done where the server is another one, or the
-- sequence is behind the last mark.
create or replace function {engine}.settle_log(thorough boolean) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    _server text := (select c.system_identifier::text from pg_control_system() c);
    _elsewhere boolean := exists (select from {engine}.settings s where s.name = 'server' and s.value <> _server);
    _reaches bigint;
begin
    if not (thorough or _elsewhere or exists (select from {engine}.marks m where m.position >= {engine}.next_position())) then
        insert into {engine}.settings values ('server', _server) on conflict do nothing;
        return false;
    end if;
    _reaches := {engine}.log_reaches();
    if _elsewhere then
        insert into {engine}.settings as s values ('settled', _reaches::text) on conflict (name) do update set value = excluded.value;
    end if;
    insert into {engine}.settings as s values ('server', _server) on conflict (name) do update set value = excluded.value where s.value <> excluded.value;
    if _reaches >= {engine}.next_position() then
        perform setval('{engine}.log_position', _reaches);
        return true;
    end if;
    return _elsewhere;
end $$;

-- What every process that has the database open calls once a minute. Where months are missing, one process in 20 s tries to make them.
-- Where something was written, one process leaves a mark.
create or replace function {engine}.keep_log() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
    _month timestamp := date_trunc('month', {engine}.now() at time zone 'UTC');
begin
    if current_setting('transaction_read_only')::boolean then -- a standby, for one
        return;
    end if;
    if exists (select from generate_series(0, 3) as m (ahead)
            where to_regclass(format('%I.%I', '{setting}', 'log_' || to_char(_month + make_interval(months => m.ahead), 'YYYY_MM'))) is null) then
        insert into {engine}.settings as s values ('log_tried', clock_timestamp()::text)
        on conflict (name) do update set value = excluded.value
            where s.value::timestamptz not between clock_timestamp() - interval '20 s' and clock_timestamp();
        if found then
            perform {engine}.make_months(3, 64 * 1024 * 1024);
        end if;
    end if;
    perform {engine}.settle_log(false);
    if not exists (select from {engine}.marks m where m.at > {engine}.now() - interval '50 s' or m.position >= {engine}.next_position() - 1) then
        perform {engine}.make_mark({engine}.now());
    end if;
exception when lock_not_available then
    null; -- somebody else is at it
end $$;

-- Enters a context that names a moment, for reads of what was then. `floor` is a day before: a transaction that takes longer counts from its
-- beginning, so that months need not be looked through for it.
drop function if exists {engine}.enter_past(uuid, text);
create function {engine}.enter_past(organization uuid, context text,
    out organization_id uuid, out moment timestamptz, out floor timestamptz, out seen pg_snapshot, out settled bigint, out late xid8[], out own xid8)
language plpgsql volatile parallel unsafe as $$
declare
    _told jsonb;
begin
    organization_id := {engine}.enter(organization, context);
    _told := {engine}.context();
    moment := (_told->>'as_of')::timestamptz;
    if moment is null or moment > {engine}.now() then
        raise exception '% is no moment in the past', coalesce(moment::text, 'nothing') using errcode = 'FH100';
    elsif moment < {engine}.log_begins() then
        raise exception 'the log was pruned: it tells what was from % on', {engine}.log_begins() using errcode = 'FH204';
    end if;
    floor := case when isfinite(moment) and moment > '4000-01-01 BC' then moment - interval '1 day' else moment end;
    seen := (_told->>'seen')::pg_snapshot;
    settled := (_told->>'settled')::bigint;
    late := coalesce(_told->>'late', '{{}}')::xid8[];
    own := pg_current_xact_id_if_assigned();
end $$;

-- Statement triggers: one call however many rows. The arguments are the class's name, of log_delete the action, and the columns that are left out:
-- what is computed from others tells nothing. The context is taken apart once, behind an `offset 0`, which the planner does not look through.
-- SECURITY DEFINER, because the application role may not write the log.
-- A column may be called tg_argv: so the arguments go into variables, whose names begin as no column's do.
-- All that runs as the owner names pg_temp last in its search_path: else a type that the caller made there would be used first.
create or replace function {engine}.log_create() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set extra_float_digits = 1 as $$
declare
    _context jsonb := {engine}.context();
    _entity text := tg_argv[0];
    _hidden text[] := tg_argv[1:];
begin
    insert into {engine}.log (organization_id, entity, record_id, action, version, new, actor_id, request_id, client_ip, user_agent)
    select n.organization_id, _entity, n.id, 'create', n.version, to_jsonb(n.*) - _hidden, who.*
    from new_rows n
    cross join (select (_context->>'user_id')::uuid, _context->>'request_id', _context->>'client_ip', _context->>'user_agent' offset 0) as who;
    return null;
end $$;

create or replace function {engine}.log_update() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set extra_float_digits = 1 as $$
declare
    _context jsonb := {engine}.context();
    _entity text := tg_argv[0];
    _hidden text[] := tg_argv[1:];
begin
    insert into {engine}.log (organization_id, entity, record_id, action, version, old, new, actor_id, request_id, client_ip, user_agent)
    select n.organization_id, _entity, n.id, 'update', n.version, to_jsonb(o.*) - _hidden, to_jsonb(n.*) - _hidden, who.*
    from new_rows n join old_rows o on o.organization_id = n.organization_id and o.id = n.id
    cross join (select (_context->>'user_id')::uuid, _context->>'request_id', _context->>'client_ip', _context->>'user_agent' offset 0) as who;
    return null;
end $$;

-- The same where deletion is soft: an update of deleted_at is a deletion or a restoration.
create or replace function {engine}.log_update_soft() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set extra_float_digits = 1 as $$
declare
    _context jsonb := {engine}.context();
    _entity text := tg_argv[0];
    _hidden text[] := tg_argv[1:];
begin
    insert into {engine}.log (organization_id, entity, record_id, action, version, old, new, actor_id, request_id, client_ip, user_agent)
    select n.organization_id, _entity, n.id,
        case when n.deleted_at is not null and o.deleted_at is null then 'delete'
            when n.deleted_at is null and o.deleted_at is not null then 'restore' else 'update' end,
        n.version, to_jsonb(o.*) - _hidden, to_jsonb(n.*) - _hidden, who.*
    from new_rows n join old_rows o on o.organization_id = n.organization_id and o.id = n.id
    cross join (select (_context->>'user_id')::uuid, _context->>'request_id', _context->>'client_ip', _context->>'user_agent' offset 0) as who;
    return null;
end $$;

create or replace function {engine}.log_delete() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set extra_float_digits = 1 as $$
declare
    _context jsonb := {engine}.context();
    _entity text := tg_argv[0];
    _action text := tg_argv[1];
    _hidden text[] := tg_argv[2:];
begin
    insert into {engine}.log (organization_id, entity, record_id, action, version, old, actor_id, request_id, client_ip, user_agent)
    select o.organization_id, _entity, o.id, _action, o.version, to_jsonb(o.*) - _hidden, who.*
    from old_rows o
    cross join (select (_context->>'user_id')::uuid, _context->>'request_id', _context->>'client_ip', _context->>'user_agent' offset 0) as who;
    return null;
end $$;

-- block: names
-- What columns and classes have been called. A row of the log has the names that held when it was written; it is read under those that hold now.
-- A position of the log says from when a name holds: a table whose names change is locked, so that all of its rows before are written before it.

-- Each column under each name and type that it has had. `until` is null for those that hold now.
-- A table's rows are found again after a rename by its oid, and a column by its number. A dump that is restored gives out other ones: `relation` is
-- dumped as a name and `oid` as a number, so that the two differ then, and columns are found by their names.
create table if not exists {engine}.column_names (
    id bigint not null,
    relation regclass not null,
    oid oid not null,
    number smallint not null,
    name text collate "C" not null,
    type text collate "C" not null,
    since bigint not null,
    until bigint,
    added_at timestamptz not null,
    primary key (id, since)
);
create index if not exists column_names_relation_idx on {engine}.column_names (relation, name);

-- Notes which columns are new, renamed, of another type, or gone since the last time. Called in the transaction that has changed tables.
create or replace function {engine}.note_columns() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    _place bigint := {engine}.next_position();
begin
    delete from {engine}.column_names k where not exists (select from pg_class c where c.oid = k.relation);
    update {engine}.column_names k set oid = k.relation, number = coalesce((select a.attnum from pg_attribute a
        where a.attrelid = k.relation and a.attname = k.name and a.attnum > 0 and not a.attisdropped and k.until is null), 0)
    where k.oid <> k.relation;
    update {engine}.column_names k set until = _place where k.until is null and not exists (select from pg_attribute a
        where a.attrelid = k.relation and a.attnum = k.number and a.attname = k.name and format_type(a.atttypid, a.atttypmod) = k.type);
    insert into {engine}.column_names as k (id, relation, oid, number, name, type, since, added_at)
    select coalesce(w.id, (select coalesce(max(m.id), 0) from {engine}.column_names m) + row_number() over ()), c.oid, c.oid, a.attnum,
        a.attname, format_type(a.atttypid, a.atttypmod), case when t.known then _place else 0 end, coalesce(w.added_at, now())
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
        cross join lateral (select exists (select from {engine}.column_names o where o.relation = c.oid)) as t (known)
        left join lateral (
            select o.id, o.added_at from {engine}.column_names o where o.relation = c.oid and o.number = a.attnum order by o.since desc limit 1
        ) w on true
    where n.nspname = '{tables_name}' and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
        and not exists (select from {engine}.column_names o where o.relation = c.oid and o.number = a.attnum and o.until is null)
    on conflict (id, since) do update set name = excluded.name, type = excluded.type, number = excluded.number, until = null;
end $$;

-- The release before this one kept one name of each column, and when it got its type. Where a table's columns are not all of one age, it is not
-- known what types they had: type '?'.
do $$
declare
    _place bigint;
begin
    perform {engine}.note_columns();
    if to_regclass('{engine}.columns') is not null then
        _place := {engine}.next_position();
        update {engine}.column_names k set added_at = o.added_at from {engine}.columns o, pg_class c
        where c.oid = k.relation and o.table_name = c.relname and o.column_name = k.name;
        with changed as (
            update {engine}.column_names k set since = _place
            where k.since = 0 and _place > 0 and k.added_at > (select min(o.added_at) from {engine}.column_names o where o.relation = k.relation)
            returning k.*
        )
        insert into {engine}.column_names (id, relation, oid, number, name, type, since, until, added_at)
        select id, relation, oid, number, name, '?', 0, _place, added_at from changed;
        drop table {engine}.columns;
    end if;
end $$;

-- The columns that a moment did not know yet.
create or replace function {engine}.absent_columns(moment timestamptz) returns table (table_name text, column_name text)
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select c.relname::text, k.name from {engine}.column_names k join pg_class c on c.oid = k.relation
    where k.until is null and k.added_at > moment order by 1, 2
$$;

-- For programs of the release before: the columns of a table that a change at a moment could not know as they are now.
create or replace function {engine}.younger_columns(of text, moment timestamptz) returns text[]
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select array(select k.name from {engine}.column_names k where k.relation = to_regclass(format('%I.%I', '{tables_name}', of)) and k.until is null
        and (k.added_at > moment or exists (select from {engine}.column_names o where o.id = k.id and o.until is not null)))
$$;

-- From which position on a table's rows in the log have the names and types that hold now.
create or replace function {engine}.shaped_at(of regclass) returns bigint
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(max(k.until), 0) from {engine}.column_names k where k.relation = of
$$;

-- A row of the log under the names that its columns have now. Those that are gone are together under the name that no column can have, ''.
-- A name that no column had at the position is that of the column which had it nearest to the position: somebody renamed it by hand.
create or replace function {engine}.renamed(of regclass, place bigint, data jsonb) returns jsonb
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_object_agg(t.name, t.value order by t.far desc) filter (where t.name is not null), '{{}}')
        || case when bool_or(t.name is null) then jsonb_build_object('', jsonb_object_agg(t.key, t.value) filter (where t.name is null)) else '{{}}' end
    from (
        select v.key, n.name, p.far, case -- 2.00 is an integer, which PostgreSQL does not read from this text
            when n.type in ('bigint', 'integer') and jsonb_typeof(v.value) = 'number' then to_jsonb(trim_scale(v.value::numeric)) else v.value end as value
        from jsonb_each(data) v
        left join lateral (
            select k.id, greatest(k.since - place, place + 1 - coalesce(k.until, place + 1), 0) as far
            from {engine}.column_names k where k.relation = of and k.name = v.key order by 2, k.since limit 1
        ) p on true
        left join {engine}.column_names n on n.id = p.id and n.until is null
    ) t
$$;

-- What of a row of the log the columns of now cannot hold, or not without loss where it has to be exact. The row has the names of now.
create or replace function {engine}.unfit(model anyelement, data jsonb, exact boolean) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    _unfit jsonb := '{{}}';
    _read jsonb;
    _key text;
    _value jsonb;
begin
    begin
        _read := to_jsonb(jsonb_populate_record(model, data));
    exception when others then
        _read := null;
    end;
    for _key, _value in select * from jsonb_each(data) loop
        continue when _key = '' or jsonb_typeof(_value) = 'null' or _read->_key = _value;
        begin
            if not {engine}.held(_value, to_jsonb(jsonb_populate_record(model, jsonb_build_object(_key, _value)))->_key, exact) then
                _unfit := _unfit || jsonb_build_object(_key, _value);
            end if;
        exception when others then
            _unfit := _unfit || jsonb_build_object(_key, _value);
        end;
    end loop;
    return _unfit;
end $$;

-- Whether a value says what another one said, which had another type. Where it has to be exact, numbers have the same digits, and moments are the
-- same. Otherwise it is enough that a date comes from a date: PostgreSQL reads words such as 'today' too.
create or replace function {engine}.held(was jsonb, now jsonb, exact boolean) returns boolean
language sql stable parallel safe set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
    select case
        when jsonb_typeof(now) = 'number' then not exact or (was #>> '{{}}')::numeric = now::numeric
        when jsonb_typeof(now) = 'string' and now #>> '{{}}' ~ '^\d{{4,6}}-\d\d-\d\d(T\d\d:\d\d:\d\d|$)' and was #>> '{{}}' <> now #>> '{{}}'
            then was #>> '{{}}' ~ '^\d{{4,6}}-\d\d-\d\d' and (not exact or (was #>> '{{}}')::timestamptz = (now #>> '{{}}')::timestamptz)
        when jsonb_typeof(now) = 'string' and now #>> '{{}}' ~ '^\d\d:\d\d:\d\d' then was #>> '{{}}' ~ case when exact then '^\d\d:\d\d' else '^\d' end
        else true end
$$;

-- A row of the log as far as the columns of now can hold it.
create or replace function {engine}.as_now(model anyelement, of regclass, place bigint, data jsonb) returns jsonb
language plpgsql stable as $$
declare
    _renamed jsonb := {engine}.renamed(of, place, data);
begin
    return _renamed - array(select jsonb_object_keys({engine}.unfit(model, _renamed, false)));
end $$;

-- The names that the classes of a table have had, each from a position on: the log knows records by the name of their class.
create table if not exists {engine}.entity_names (
    relation regclass not null,
    entity text collate "C" not null,
    since bigint not null,
    primary key (relation, since)
);

-- Notes under which name each table's triggers write now. Called wherever they were made.
create or replace function {engine}.note_entities() returns void
language sql volatile set search_path = pg_catalog, pg_temp as $$
    with gone as (
        delete from {engine}.entity_names k where not exists (select from pg_class c where c.oid = k.relation)
    )
    insert into {engine}.entity_names (relation, entity, since)
    select c.oid, w.entity, case when l.entity is null then 0 else {engine}.next_position() end
    from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
        cross join lateral (select split_part(encode(t.tgargs, 'escape'), '\000', 1)) as w (entity)
        left join lateral (select k.entity from {engine}.entity_names k where k.relation = c.oid order by k.since desc limit 1) l on true
    where n.nspname = '{tables_name}' and t.tgname = 'log_create' and l.entity is distinct from w.entity
    on conflict (relation, since) do update set entity = excluded.entity
$$;

-- The release before this one did not know from which position on a name holds.
do $$
begin
    if to_regclass('{engine}.entities') is not null then
        insert into {engine}.entity_names select k.relation, k.entity, row_number() over (partition by k.relation order by k.since) - 1
        from {engine}.entities k on conflict do nothing;
        drop table {engine}.entities;
    end if;
end $$;

-- All names that the records of a class may have in the log, and for a name that other classes have had too the positions at which it was this one's.
create or replace function {engine}.names_of(class text) returns table (alias text, span int8multirange)
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    with spans as (
        select k.relation, k.entity, int8range(k.since, lead(k.since) over (partition by k.relation order by k.since)) as span
        from {engine}.entity_names k
    ), own as (
        select s.relation from spans s where s.entity = class and upper_inf(s.span)
        union all
        select s.relation from spans s where s.entity = class and not exists (select from spans o where o.entity = class and upper_inf(o.span))
    )
    select s.entity, case when bool_and(s.relation in (select relation from own)) then null
        else range_agg(s.span) filter (where s.relation in (select relation from own)) end
    from spans s where s.entity in (select o.entity from spans o where o.relation in (select relation from own)) group by s.entity
    union all
    select class, null where not exists (select from own)
$$;

-- For programs of the release before: the names of a class that no other one has had.
create or replace function {engine}.known_as(name text) returns text[]
language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
    select array(select name union select n.alias from {engine}.names_of(name) n where n.span is null)
$$;

-- block: read
-- Ends a statement whose answer has become larger than it may be. Volatile, so that the planner does not call it beforehand.
create or replace function {engine}.too_large(most bigint) returns boolean
language plpgsql volatile parallel safe as $$
begin
    raise exception 'the answer is too large' using errcode = 'FH104', detail = most::text;
end $$;

-- Takes from the connection what a query may have left there and no rollback undoes.
create or replace function {engine}.leave_nothing() returns void
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select pg_advisory_unlock_all(), setseed(('x' || left(encode(uuid_send(gen_random_uuid()), 'hex'), 8))::bit(32)::integer / 2147483648.0)
$$;

-- A hand-written query: context, read-only, arguments bound as one JSON array, at most so many rows.
-- It is opened as a cursor, which takes one statement and no more. What the query set on the connection is undone, by
-- rolling back the subtransaction in which it ran: the next call there may be another organization's. Two things outlive that: locks of the
-- session, which are released, and the seed of random numbers, which is made anew. Also where it fails, or is cancelled.
create or replace function {engine}.read(organization uuid, context text, statement text, arguments jsonb, most integer, bytes bigint) returns json
language plpgsql volatile parallel unsafe as $$
declare
    rows json[] := '{{}}';
    query refcursor;
    item record;
    line json;
    size bigint := 0;
begin
    -- All rows are fetched: without the last setting a cursor is planned for the first tenth of them.
    perform {engine}.enter(organization, context), set_config('transaction_read_only', 'on', true),
        set_config('search_path', '{tables}, pg_temp', true), set_config('cursor_tuple_fraction', '1', true);
    begin
        open query for execute statement using arguments;
        loop
            fetch query into item;
            exit when not found or cardinality(rows) >= most;
            line := row_to_json(item);
            size := size + octet_length(line::text);
            if size > bytes then
                perform {engine}.too_large(bytes);
            end if;
            rows := rows || line;
        end loop;
        raise exception using errcode = 'FH999';
    exception
        when sqlstate 'FH999' then -- not FH000: that is the class, and would catch every FH error
            perform {engine}.leave_nothing();
        when query_canceled or assert_failure or others then
            perform {engine}.leave_nothing();
            raise;
    end;
    return array_to_json(rows);
end $$;

-- The same as programs of an earlier release call it.
create or replace function {engine}.read(organization uuid, context text, statement text, arguments jsonb, most integer) returns json
language sql volatile parallel unsafe as $$
    select {engine}.read(organization, context, statement, arguments, most, 1073741823)
$$;

create or replace function {engine}.explain(organization uuid, context text, statement text, arguments jsonb) returns json
language plpgsql volatile parallel unsafe as $$
declare
    plan json;
    query refcursor;
begin
    perform {engine}.enter(organization, context), set_config('transaction_read_only', 'on', true),
        set_config('search_path', '{tables}, pg_temp', true);
    open query for execute 'explain (format json, verbose) ' || statement using arguments;
    fetch query into plan;
    return plan;
end $$;

-- block: grants
revoke all on all tables in schema {engine} from public;
revoke all on all functions in schema {engine} from public;
grant usage on schema {engine} to {application};
grant select on {engine}.log to {application};
grant execute on function {engine}.enter(uuid, text), {engine}.organization_id(), {engine}.context(), {engine}.actor_id(),
    {engine}.now(), {engine}.new_id(), {engine}.extend_log(integer), {engine}.keep_log(), {engine}.log_begins(), {engine}.enter_past(uuid, text),
    {engine}.mark_of(timestamptz, boolean), {engine}.late(uuid, timestamptz, pg_snapshot, bigint, bigint),
    {engine}.absent_columns(timestamptz), {engine}.younger_columns(text, timestamptz), {engine}.known_as(text), {engine}.too_large(bigint),
    {engine}.names_of(text), {engine}.shaped_at(regclass), {engine}.renamed(regclass, bigint, jsonb), {engine}.unfit(anyelement, jsonb, boolean),
    {engine}.held(jsonb, jsonb, boolean), {engine}.as_now(anyelement, regclass, bigint, jsonb),
    {engine}.read(uuid, text, text, jsonb, integer), {engine}.read(uuid, text, text, jsonb, integer, bigint),
    {engine}.leave_nothing(),
    {engine}.explain(uuid, text, text, jsonb) to {application};
