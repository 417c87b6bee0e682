-- Organizations, users and memberships. {engine} is the engine's schema, {owner} and {application} are the roles.
-- The application role sees its own organization only. What works across organizations is a function of the owner.

-- block: tables
create table if not exists {engine}.organizations (
    id uuid primary key default {engine}.new_id(),
    name text collate "C" not null constraint organizations_name_check check (char_length(name) between 1 and 200),
    slug text collate "C" not null constraint organizations_slug_check check (slug ~ '^[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?$'),
    created_at timestamptz not null default {engine}.now(),
    constraint organizations_slug_key unique (slug)
);

create table if not exists {engine}.users (
    id uuid primary key default {engine}.new_id(),
    email text collate "C" not null constraint users_email_check check (char_length(email) between 3 and 320 and email = lower(email)),
    name text collate "C" not null constraint users_name_check check (char_length(name) between 1 and 200),
    created_at timestamptz not null default {engine}.now(),
    constraint users_email_key unique (email)
);

create table if not exists {engine}.memberships (
    organization_id uuid not null constraint memberships_organization_id_fkey references {engine}.organizations (id) on delete cascade,
    user_id uuid not null constraint memberships_user_id_fkey references {engine}.users (id) on delete cascade,
    role text collate "C" not null constraint memberships_role_check check (role ~ '^[a-z][a-z0-9_]{{0,62}}$'),
    created_at timestamptz not null default {engine}.now(),
    primary key (organization_id, user_id)
);
create index if not exists memberships_user_id_idx on {engine}.memberships (user_id);

-- block: isolation
alter table {engine}.organizations enable row level security;
alter table {engine}.organizations force row level security;
alter table {engine}.users enable row level security;
alter table {engine}.users force row level security;
alter table {engine}.memberships enable row level security;
alter table {engine}.memberships force row level security;

drop policy if exists tenant on {engine}.organizations;
create policy tenant on {engine}.organizations for select to {application} using (id = (select {engine}.organization_id()));
drop policy if exists system on {engine}.organizations;
create policy system on {engine}.organizations to {owner} using (true) with check (true);
drop policy if exists tenant on {engine}.memberships;
create policy tenant on {engine}.memberships for select to {application} using (organization_id = (select {engine}.organization_id()));
drop policy if exists system on {engine}.memberships;
create policy system on {engine}.memberships to {owner} using (true) with check (true);
drop policy if exists tenant on {engine}.users;
create policy tenant on {engine}.users for select to {application} using (exists (
    select from {engine}.memberships m where m.user_id = users.id and m.organization_id = (select {engine}.organization_id())));
drop policy if exists system on {engine}.users;
create policy system on {engine}.users to {owner} using (true) with check (true);

grant select on {engine}.organizations, {engine}.users, {engine}.memberships to {application};

-- block: system
-- Work across organizations. Each call names its reason, which the log keeps. None of it answers within an
-- organization's context, so that a hand-written query there learns nothing of other organizations.
create or replace function {engine}.outside() returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    -- A hand-written query could leave its context, but never its transaction, which only reads.
    if {engine}.organization_id() is not null or (current_setting('transaction_read_only')::boolean and not pg_is_in_recovery()) then
        raise exception 'system work is not done within an organization''s context' using errcode = 'FH301';
    end if;
    return true;
end $$;

-- The reason of system work, from a text that the program has sealed: a login alone does no system work. What is sealed begins with a
-- word that no context begins with, so that neither stands for the other.
create or replace function {engine}.authorized(proof text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    perform {engine}.outside();
    if ltrim(substr(proof, 65), '0123456789') like 'system:%' and {engine}.vouched('', proof) then
        return substr(ltrim(substr(proof, 65), '0123456789'), 8);
    end if;
    raise exception 'system work needs the program''s seal' using errcode = 'FH301';
end $$;
revoke all on function {engine}.outside(), {engine}.authorized(text) from public;
drop function if exists {engine}.find_organization(text), {engine}.find_user(text), {engine}.find_membership(text, text);

create or replace function {engine}.log_system(organization uuid, entity text, record uuid, action text, content jsonb, reason text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into {engine}.log (organization_id, entity, record_id, action, new, reason) values (organization, entity, record, action, content, reason)
$$;

create or replace function {engine}.create_organization(name text, slug text, reason text) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare made {engine}.organizations;
begin
    reason := {engine}.authorized(reason);
    insert into {engine}.organizations (name, slug) values ($1, $2) returning * into made;
    perform {engine}.log_system(made.id, 'Organization', made.id, 'create', to_jsonb(made), reason);
    return row_to_json(made);
end $$;

create or replace function {engine}.create_user(email text, name text, reason text) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare made {engine}.users;
begin
    reason := {engine}.authorized(reason);
    insert into {engine}.users (email, name) values (lower($1), $2) returning * into made;
    perform {engine}.log_system(null, 'User', made.id, 'create', to_jsonb(made), reason);
    return row_to_json(made);
end $$;

create or replace function {engine}.add_member(organization uuid, member uuid, role text, reason text) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare made {engine}.memberships;
begin
    reason := {engine}.authorized(reason);
    insert into {engine}.memberships (organization_id, user_id, role) values ($1, $2, $3)
    on conflict (organization_id, user_id) do update set role = excluded.role returning * into made;
    perform {engine}.log_system($1, 'Membership', $2, 'create', to_jsonb(made), reason);
    return row_to_json(made);
end $$;

create or replace function {engine}.find_organization(wanted text, proof text) returns json
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select row_to_json(o) from {engine}.organizations o where o.slug = wanted and {engine}.authorized(proof) is not null
$$;

create or replace function {engine}.find_user(wanted text, proof text) returns json
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select row_to_json(u) from {engine}.users u where u.email = lower(wanted) and {engine}.authorized(proof) is not null
$$;

create or replace function {engine}.find_membership(slug text, email text, proof text) returns json
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select row_to_json(m) from {engine}.memberships m
    join {engine}.organizations o on o.id = m.organization_id join {engine}.users u on u.id = m.user_id
    where o.slug = $1 and u.email = lower($2) and {engine}.authorized(proof) is not null
$$;

-- An organization goes when nothing is left in it: no call removes records that somebody might still want. Its log stays.
create or replace function {engine}.remove_organization(organization uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    gone {engine}.organizations;
    entered uuid;
    name text;
    filled boolean;
begin
    reason := {engine}.authorized(reason);
    select * into gone from {engine}.organizations o where o.id = organization for update;
    if not found then
        return false;
    end if;
    entered := {engine}.enter(organization, {engine}.sealed(organization, '{{}}'));
    for name in
        select c.oid::regclass::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'organization_id'
        where c.relnamespace = '{tables}'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    loop
        execute format('select exists (select from %s where organization_id = $1)', name) into filled using organization;
        if filled then
            raise exception 'the organization still has records' using errcode = 'FH300';
        end if;
    end loop;
    delete from {engine}.organizations o where o.id = organization;
    perform {engine}.log_system(gone.id, 'Organization', gone.id, 'delete', to_jsonb(gone), reason);
    return true;
end $$;

-- A user who is no member of any organization.
create or replace function {engine}.remove_user(member uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare gone {engine}.users;
begin
    reason := {engine}.authorized(reason);
    select * into gone from {engine}.users u where u.id = member for update;
    if not found then
        return false;
    end if;
    if exists (select from {engine}.memberships m where m.user_id = member) then
        raise exception 'the user is still a member of an organization' using errcode = 'FH300';
    end if;
    delete from {engine}.users u where u.id = member;
    perform {engine}.log_system(null, 'User', gone.id, 'delete', to_jsonb(gone), reason);
    return true;
end $$;

revoke all on function {engine}.log_system(uuid, text, uuid, text, jsonb, text), {engine}.create_organization(text, text, text),
    {engine}.create_user(text, text, text), {engine}.add_member(uuid, uuid, text, text), {engine}.find_organization(text, text),
    {engine}.find_user(text, text), {engine}.find_membership(text, text, text), {engine}.remove_organization(uuid, text), {engine}.remove_user(uuid, text)
    from public;
grant execute on function {engine}.create_organization(text, text, text), {engine}.create_user(text, text, text),
    {engine}.add_member(uuid, uuid, text, text), {engine}.find_organization(text, text), {engine}.find_user(text, text),
    {engine}.find_membership(text, text, text), {engine}.remove_organization(uuid, text), {engine}.remove_user(uuid, text) to {application};
