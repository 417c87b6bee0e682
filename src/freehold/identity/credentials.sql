-- Keys, invitations, and what issuers of tokens call our users and organizations. {engine} is the engine's schema, {owner} and
-- {application} are the roles. Secrets are kept as SHA-256, which the application role cannot read either.

-- block: credentials
create table if not exists {engine}.keys (
    id uuid primary key default {engine}.new_id(),
    organization_id uuid not null constraint keys_organization_id_fkey references {engine}.organizations (id) on delete cascade,
    user_id uuid constraint keys_user_id_fkey references {engine}.users (id) on delete cascade,
    role text collate "C" constraint keys_role_check check (role ~ '^[a-z][a-z0-9_]{{0,62}}$'),
    name text collate "C" not null constraint keys_name_check check (char_length(name) between 1 and 200),
    prefix text collate "C" not null,
    hash bytea not null constraint keys_hash_key unique constraint keys_hash_check check (octet_length(hash) = 32),
    scopes text[],
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null default {engine}.now(),
    created_by uuid,
    constraint keys_actor_check check ((user_id is null) <> (role is null))
);
create index if not exists keys_organization_id_idx on {engine}.keys (organization_id, id);
create index if not exists keys_user_id_idx on {engine}.keys (user_id);

create table if not exists {engine}.invitations (
    id uuid primary key default {engine}.new_id(),
    organization_id uuid not null constraint invitations_organization_id_fkey references {engine}.organizations (id) on delete cascade,
    email text collate "C" not null constraint invitations_email_check check (char_length(email) between 3 and 320 and email = lower(email)),
    role text collate "C" not null constraint invitations_role_check check (role ~ '^[a-z][a-z0-9_]{{0,62}}$'),
    hash bytea not null constraint invitations_hash_key unique constraint invitations_hash_check check (octet_length(hash) = 32),
    expires_at timestamptz not null,
    accepted_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null default {engine}.now(),
    invited_by uuid
);
create index if not exists invitations_organization_id_idx on {engine}.invitations (organization_id, id);
-- One that is open for each address: a new one takes the place of the one before it.
create unique index if not exists invitations_open_key on {engine}.invitations (organization_id, email)
    where accepted_at is null and revoked_at is null;

create table if not exists {engine}.externals (
    issuer text collate "C" not null,
    kind text collate "C" not null constraint externals_kind_check check (kind in ('user', 'organization')),
    external text collate "C" not null,
    user_id uuid constraint externals_user_id_fkey references {engine}.users (id) on delete cascade,
    organization_id uuid constraint externals_organization_id_fkey references {engine}.organizations (id) on delete cascade,
    created_at timestamptz not null default {engine}.now(),
    constraint externals_pkey primary key (issuer, kind, external),
    constraint externals_ours_check check ((kind = 'user') = (user_id is not null) and (kind = 'organization') = (organization_id is not null))
);
create index if not exists externals_user_id_idx on {engine}.externals (user_id);
create index if not exists externals_organization_id_idx on {engine}.externals (organization_id);

-- Tokens of a user that were issued until a moment count no longer: all of them, or (where an organization is named) for becoming its member.
create table if not exists {engine}.revocations (
    user_id uuid not null references {engine}.users (id) on delete cascade,
    organization_id uuid references {engine}.organizations (id) on delete cascade,
    until timestamptz not null,
    constraint revocations_key unique nulls not distinct (user_id, organization_id)
);
create index if not exists revocations_organization_id_idx on {engine}.revocations (organization_id);

-- block: credentials_isolation
alter table {engine}.keys enable row level security;
alter table {engine}.keys force row level security;
alter table {engine}.invitations enable row level security;
alter table {engine}.invitations force row level security;
alter table {engine}.externals enable row level security;
alter table {engine}.externals force row level security;
alter table {engine}.revocations enable row level security;
alter table {engine}.revocations force row level security;

drop policy if exists tenant on {engine}.keys;
create policy tenant on {engine}.keys for select to {application} using (organization_id = (select {engine}.organization_id()));
drop policy if exists system on {engine}.keys;
create policy system on {engine}.keys to {owner} using (true) with check (true);
drop policy if exists tenant on {engine}.invitations;
create policy tenant on {engine}.invitations for select to {application} using (organization_id = (select {engine}.organization_id()));
drop policy if exists system on {engine}.invitations;
create policy system on {engine}.invitations to {owner} using (true) with check (true);
drop policy if exists system on {engine}.externals;
create policy system on {engine}.externals to {owner} using (true) with check (true);
drop policy if exists system on {engine}.revocations;
create policy system on {engine}.revocations to {owner} using (true) with check (true);

-- Everything but the hashes.
grant select (id, organization_id, user_id, role, name, prefix, scopes, expires_at, last_used_at, revoked_at, created_at, created_by)
    on {engine}.keys to {application};
grant select (id, organization_id, email, role, expires_at, accepted_at, revoked_at, created_at, invited_by)
    on {engine}.invitations to {application};

-- block: making
-- What both system work and members do. Nobody but the owner's functions calls these: they check no organization.

-- The log's row: who did it comes from the context where there is one, why from system work.
create or replace function {engine}.log_identity(organization uuid, entity text, record uuid, action text, old jsonb, new jsonb, reason text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into {engine}.log (kind, organization_id, entity, record_id, action, old, new, reason, actor_id, request_id, client_ip, user_agent)
    select 'identity', organization, entity, record, action, old - 'hash', new - 'hash', reason,
        (c.context->>'user_id')::uuid, c.context->>'request_id', c.context->>'client_ip', c.context->>'user_agent'
    from (select {engine}.context() as context) c
$$;

create or replace function {engine}.make_key(organization uuid, content jsonb, maker uuid, reason text) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare made {engine}.keys;
begin
    if content->>'user_id' is not null then
        -- Whoever removes the member waits for this, and revokes this key too.
        perform from {engine}.memberships m where m.organization_id = organization and m.user_id = (content->>'user_id')::uuid for key share;
        if not found then
            raise exception 'the user is no member' using errcode = '23503', constraint = 'keys_user_id_fkey', table = 'keys';
        end if;
    end if;
    insert into {engine}.keys (organization_id, user_id, role, name, prefix, hash, scopes, expires_at, created_by)
    select organization, (content->>'user_id')::uuid, content->>'role', content->>'name', content->>'prefix', decode(content->>'hash', 'hex'),
        case when jsonb_typeof(content->'scopes') = 'array' then array(select jsonb_array_elements_text(content->'scopes')) end,
        (content->>'expires_at')::timestamptz, maker
    returning * into made;
    perform {engine}.log_identity(organization, 'Key', made.id, 'create', null, to_jsonb(made), reason);
    return to_jsonb(made) - 'hash';
end $$;

-- Revokes those of an organization's keys that are named, or those that act for a user.
create or replace function {engine}.end_keys(organization uuid, key uuid, member uuid, reason text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    before {engine}.keys;
    ended {engine}.keys;
    known boolean := false;
begin
    for before in
        select * from {engine}.keys k where k.organization_id = organization and (k.id = key or k.user_id = member) order by k.id for update
    loop
        known := true;
        if before.revoked_at is null then
            update {engine}.keys k set revoked_at = {engine}.now() where k.id = before.id returning * into ended;
            perform {engine}.log_identity(organization, 'Key', ended.id, 'update', to_jsonb(before), to_jsonb(ended), reason);
        end if;
    end loop;
    return known;
end $$;

-- Revokes the open invitation that is named, or the one of an address. One that was accepted stays so.
create or replace function {engine}.end_invitations(organization uuid, invitation uuid, address text, reason text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    before {engine}.invitations;
    ended {engine}.invitations;
    known boolean := false;
begin
    for before in
        select * from {engine}.invitations i where i.organization_id = organization and (i.id = invitation or i.email = address)
            and i.accepted_at is null and (i.revoked_at is null or i.id = invitation) order by i.id for update
    loop
        known := true;
        if before.revoked_at is null then
            update {engine}.invitations i set revoked_at = {engine}.now() where i.id = before.id returning * into ended;
            perform {engine}.log_identity(organization, 'Invitation', ended.id, 'update', to_jsonb(before), to_jsonb(ended), reason);
        end if;
    end loop;
    return known;
end $$;

create or replace function {engine}.make_invitation(organization uuid, content jsonb, maker uuid, reason text) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare made {engine}.invitations;
begin
    perform {engine}.end_invitations(organization, null, content->>'email', reason);
    insert into {engine}.invitations (organization_id, email, role, hash, expires_at, invited_by)
    select organization, content->>'email', content->>'role', decode(content->>'hash', 'hex'), (content->>'expires_at')::timestamptz, maker
    returning * into made;
    perform {engine}.log_identity(organization, 'Invitation', made.id, 'create', null, to_jsonb(made), reason);
    return to_jsonb(made) - 'hash';
end $$;

revoke all on function {engine}.log_identity(uuid, text, uuid, text, jsonb, jsonb, text), {engine}.make_key(uuid, jsonb, uuid, text),
    {engine}.end_keys(uuid, uuid, uuid, text), {engine}.end_invitations(uuid, uuid, text, text), {engine}.make_invitation(uuid, jsonb, uuid, text)
    from public;

-- block: members
-- What members do in their own organization: it comes from the context. What of it a member may do, the program has asked before.
create or replace function {engine}.own_key_create(organization uuid, context text, content jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform {engine}.enter(organization, context);
    if content->>'user_id' is not null and (content->>'user_id')::uuid is distinct from ({engine}.context()->>'user_id')::uuid then
        raise exception 'a member makes keys for nobody else' using errcode = 'FH301';
    end if;
    return {engine}.make_key({engine}.organization_id(), content, ({engine}.context()->>'user_id')::uuid, null);
end $$;

create or replace function {engine}.own_key_revoke(organization uuid, context text, key uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform {engine}.enter(organization, context);
    return {engine}.end_keys({engine}.organization_id(), key, null, null);
end $$;

create or replace function {engine}.own_invitation_create(organization uuid, context text, content jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform {engine}.enter(organization, context);
    return {engine}.make_invitation({engine}.organization_id(), content, ({engine}.context()->>'user_id')::uuid, null);
end $$;

create or replace function {engine}.own_invitation_revoke(organization uuid, context text, invitation uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform {engine}.enter(organization, context);
    return {engine}.end_invitations({engine}.organization_id(), invitation, null, null);
end $$;

-- What they see runs as its caller, under the policies.
create or replace function {engine}.own_page(organization uuid, context text, what text, most integer, after uuid) returns json
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    perform {engine}.enter(organization, context);
    return case what when 'keys' then (
        select coalesce(json_agg(k order by k.id), '[]') from (
            select k.id, k.organization_id, k.user_id, k.role, k.name, k.prefix, k.scopes, k.expires_at, k.last_used_at, k.revoked_at,
                k.created_at, k.created_by
            from {engine}.keys k where k.organization_id = $1 and (after is null or k.id > after) order by k.id limit most) k)
    when 'invitations' then (
        select coalesce(json_agg(i order by i.id), '[]') from (
            select i.id, i.organization_id, i.email, i.role, i.expires_at, i.accepted_at, i.revoked_at, i.created_at, i.invited_by
            from {engine}.invitations i where i.organization_id = $1 and (after is null or i.id > after) order by i.id limit most) i)
    when 'members' then (
        select coalesce(json_agg(m order by m.user_id), '[]') from (
            select m.organization_id, m.user_id, u.email, u.name, m.role, m.created_at
            from {engine}.memberships m join {engine}.users u on u.id = m.user_id
            where m.organization_id = $1 and (after is null or m.user_id > after) order by m.user_id limit most) m)
    end;
end $$;

revoke all on function {engine}.own_key_create(uuid, text, jsonb), {engine}.own_key_revoke(uuid, text, uuid),
    {engine}.own_invitation_create(uuid, text, jsonb), {engine}.own_invitation_revoke(uuid, text, uuid),
    {engine}.own_page(uuid, text, text, integer, uuid) from public;
grant execute on function {engine}.own_key_create(uuid, text, jsonb), {engine}.own_key_revoke(uuid, text, uuid),
    {engine}.own_invitation_create(uuid, text, jsonb), {engine}.own_invitation_revoke(uuid, text, uuid),
    {engine}.own_page(uuid, text, text, integer, uuid) to {application};
