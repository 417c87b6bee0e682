-- System work on organizations, users, members and credentials: sealed, and logged with its reason (see identity.sql, "system").

-- block: directory
create or replace function {engine}.rename_organization(organization uuid, name text, slug text, reason text) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    before {engine}.organizations;
    made {engine}.organizations;
begin
    reason := {engine}.authorized(reason);
    select * into before from {engine}.organizations o where o.id = $1 for update;
    if not found then
        return null;
    end if;
    update {engine}.organizations o set name = coalesce($2, o.name), slug = coalesce($3, o.slug) where o.id = $1 returning * into made;
    perform {engine}.log_identity(made.id, 'Organization', made.id, 'update', to_jsonb(before), to_jsonb(made), reason);
    return row_to_json(made);
end $$;

create or replace function {engine}.rename_user(member uuid, name text, reason text) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    before {engine}.users;
    made {engine}.users;
begin
    reason := {engine}.authorized(reason);
    select * into before from {engine}.users u where u.id = $1 for update;
    if not found then
        return null;
    end if;
    update {engine}.users u set name = $2 where u.id = $1 returning * into made;
    perform {engine}.log_identity(null, 'User', made.id, 'update', to_jsonb(before), to_jsonb(made), reason);
    return row_to_json(made);
end $$;

create or replace function {engine}.change_role(organization uuid, member uuid, role text, reason text) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    before {engine}.memberships;
    made {engine}.memberships;
begin
    reason := {engine}.authorized(reason);
    select * into before from {engine}.memberships m where m.organization_id = $1 and m.user_id = $2 for update;
    if not found then
        return null;
    end if;
    update {engine}.memberships m set role = $3 where m.organization_id = $1 and m.user_id = $2 returning * into made;
    perform {engine}.log_identity($1, 'Membership', $2, 'update', to_jsonb(before), to_jsonb(made), reason);
    return row_to_json(made);
end $$;

-- With the membership go the user's keys and open invitation there; tokens that were issued until now make no new membership.
create or replace function {engine}.remove_member(organization uuid, member uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare gone {engine}.memberships;
begin
    reason := {engine}.authorized(reason);
    perform from {engine}.users u where u.id = $2 for no key update; -- what a token brings waits, and sees the revocation
    delete from {engine}.memberships m where m.organization_id = $1 and m.user_id = $2 returning * into gone;
    if not found then
        return false;
    end if;
    perform {engine}.log_identity($1, 'Membership', $2, 'delete', to_jsonb(gone), null, reason);
    perform {engine}.end_keys($1, null, $2, reason);
    perform {engine}.end_invitations($1, null, (select u.email from {engine}.users u where u.id = $2), reason);
    insert into {engine}.revocations as r (user_id, organization_id, until) values ($2, $1, clock_timestamp())
    on conflict on constraint revocations_key do update set until = greatest(r.until, excluded.until);
    return true;
end $$;

create or replace function {engine}.revoke_tokens(member uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    reason := {engine}.authorized(reason);
    perform from {engine}.users u where u.id = $1 for key share;
    if not found then
        return false;
    end if;
    insert into {engine}.revocations as r (user_id, organization_id, until) values ($1, null, clock_timestamp())
    on conflict on constraint revocations_key do update set until = greatest(r.until, excluded.until);
    perform {engine}.log_identity(null, 'User', $1, 'revoke_tokens', null, null, reason);
    return true;
end $$;

create or replace function {engine}.create_key(content jsonb, reason text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return {engine}.make_key((content->>'organization_id')::uuid, content, null, {engine}.authorized(reason));
end $$;

create or replace function {engine}.revoke_key(key uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    reason := {engine}.authorized(reason);
    return {engine}.end_keys((select k.organization_id from {engine}.keys k where k.id = key), key, null, reason);
end $$;

create or replace function {engine}.create_invitation(content jsonb, reason text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return {engine}.make_invitation((content->>'organization_id')::uuid, content, null, {engine}.authorized(reason));
end $$;

create or replace function {engine}.revoke_invitation(invitation uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    reason := {engine}.authorized(reason);
    return {engine}.end_invitations((select i.organization_id from {engine}.invitations i where i.id = invitation), invitation, null, reason);
end $$;

-- The user with the invited address becomes a member, and is made first where there is none. Who is a member already keeps the role.
create or replace function {engine}.accept_invitation(token text, name text, reason text) returns json
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    invited {engine}.invitations;
    accepted {engine}.invitations;
    member {engine}.users;
    made {engine}.memberships;
begin
    reason := {engine}.authorized(reason);
    select * into invited from {engine}.invitations i where i.hash = decode(token, 'hex') and i.accepted_at is null and i.revoked_at is null
        and i.expires_at > {engine}.now() for update;
    if not found then
        return null;
    end if;
    update {engine}.invitations i set accepted_at = {engine}.now() where i.id = invited.id returning * into accepted;
    perform {engine}.log_identity(invited.organization_id, 'Invitation', invited.id, 'update', to_jsonb(invited), to_jsonb(accepted), reason);
    insert into {engine}.users (email, name) values (invited.email, coalesce($2, left(split_part(invited.email, '@', 1), 200)))
    on conflict (email) do nothing returning * into member;
    if found then
        perform {engine}.log_identity(null, 'User', member.id, 'create', null, to_jsonb(member), reason);
    else
        select * into member from {engine}.users u where u.email = invited.email for key share;
    end if;
    insert into {engine}.memberships (organization_id, user_id, role) values (invited.organization_id, member.id, invited.role)
    on conflict (organization_id, user_id) do nothing returning * into made;
    if found then
        perform {engine}.log_identity(made.organization_id, 'Membership', made.user_id, 'create', null, to_jsonb(made), reason);
    else
        select * into made from {engine}.memberships m where m.organization_id = invited.organization_id and m.user_id = member.id;
    end if;
    return row_to_json(made);
end $$;

-- What an issuer calls a user or an organization.
create or replace function {engine}.link_external(issuer text, kind text, external text, ours uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare there {engine}.externals;
begin
    reason := {engine}.authorized(reason);
    select * into there from {engine}.externals e where e.issuer = $1 and e.kind = $2 and e.external = $3;
    if coalesce(there.user_id, there.organization_id) = ours then
        return false;
    end if;
    insert into {engine}.externals (issuer, kind, external, user_id, organization_id)
    values ($1, $2, $3, case when $2 = 'user' then ours end, case when $2 = 'organization' then ours end) returning * into there;
    perform {engine}.log_identity(there.organization_id, 'External', ours, 'create', null, to_jsonb(there), reason);
    return true;
end $$;

create or replace function {engine}.unlink_external(issuer text, kind text, external text, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare gone {engine}.externals;
begin
    reason := {engine}.authorized(reason);
    delete from {engine}.externals e where e.issuer = $1 and e.kind = $2 and e.external = $3 returning * into gone;
    if not found then
        return false;
    end if;
    perform {engine}.log_identity(gone.organization_id, 'External', coalesce(gone.user_id, gone.organization_id), 'delete', to_jsonb(gone), null, reason);
    return true;
end $$;

create or replace function {engine}.system_page(what text, organization uuid, most integer, after uuid, proof text) returns json
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform {engine}.authorized(proof);
    return case what when 'organizations' then (
        select coalesce(json_agg(o order by o.id), '[]') from (
            select * from {engine}.organizations o where after is null or o.id > after order by o.id limit most) o)
    when 'users' then (
        select coalesce(json_agg(u order by u.id), '[]') from (
            select * from {engine}.users u where after is null or u.id > after order by u.id limit most) u)
    when 'members' then (
        select coalesce(json_agg(m order by m.user_id), '[]') from (
            select m.organization_id, m.user_id, u.email, u.name, m.role, m.created_at
            from {engine}.memberships m join {engine}.users u on u.id = m.user_id
            where m.organization_id = organization and (after is null or m.user_id > after) order by m.user_id limit most) m)
    when 'keys' then (
        select coalesce(json_agg(to_jsonb(k) - 'hash' order by k.id), '[]') from (
            select * from {engine}.keys k where k.organization_id = organization and (after is null or k.id > after) order by k.id limit most) k)
    when 'invitations' then (
        select coalesce(json_agg(to_jsonb(i) - 'hash' order by i.id), '[]') from (
            select * from {engine}.invitations i where i.organization_id = organization and (after is null or i.id > after)
            order by i.id limit most) i)
    end;
end $$;

revoke all on function {engine}.rename_organization(uuid, text, text, text), {engine}.rename_user(uuid, text, text),
    {engine}.change_role(uuid, uuid, text, text), {engine}.remove_member(uuid, uuid, text), {engine}.revoke_tokens(uuid, text),
    {engine}.create_key(jsonb, text), {engine}.revoke_key(uuid, text), {engine}.create_invitation(jsonb, text),
    {engine}.revoke_invitation(uuid, text), {engine}.accept_invitation(text, text, text), {engine}.link_external(text, text, text, uuid, text),
    {engine}.unlink_external(text, text, text, text), {engine}.system_page(text, uuid, integer, uuid, text) from public;
grant execute on function {engine}.rename_organization(uuid, text, text, text), {engine}.rename_user(uuid, text, text),
    {engine}.change_role(uuid, uuid, text, text), {engine}.remove_member(uuid, uuid, text), {engine}.revoke_tokens(uuid, text),
    {engine}.create_key(jsonb, text), {engine}.revoke_key(uuid, text), {engine}.create_invitation(jsonb, text),
    {engine}.revoke_invitation(uuid, text), {engine}.accept_invitation(text, text, text), {engine}.link_external(text, text, text, uuid, text),
    {engine}.unlink_external(text, text, text, text), {engine}.system_page(text, uuid, integer, uuid, text) to {application};

-- block: authentication
-- Who a credential stands for. The program has verified it, and asks for many in one message.

-- An organization by what an issuer calls it, by its slug, or by its id.
create or replace function {engine}.named_organization(issuer text, name text) returns uuid
language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(
        (select e.organization_id from {engine}.externals e where e.issuer = $1 and e.kind = 'organization' and e.external = $2),
        (select o.id from {engine}.organizations o where o.slug = $2),
        (select o.id from {engine}.organizations o
            where o.id = case when $2 ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' then $2::uuid end))
$$;

-- A key's secret is looked up by its hash: what the time of that tells is of the hash, from which no secret follows.
create or replace function {engine}.identify_key(wanted text) returns json
language sql stable set search_path = pg_catalog, pg_temp as $$
    select json_build_object('key_id', k.id, 'organization_id', k.organization_id, 'slug', o.slug, 'user_id', k.user_id,
        'role', coalesce(m.role, k.role), 'scopes', k.scopes, 'expires_at', extract(epoch from k.expires_at),
        'unnoted', k.last_used_at is null or k.last_used_at < {engine}.now() - interval '1 minute')
    from {engine}.keys k join {engine}.organizations o on o.id = k.organization_id
    left join {engine}.memberships m on m.organization_id = k.organization_id and m.user_id = k.user_id
    where k.hash = decode(wanted, 'hex') and k.revoked_at is null and (k.expires_at is null or k.expires_at > {engine}.now())
        and (k.user_id is null or m.user_id is not null)
$$;

-- The organization that the token claims, else the one that the caller chose, else the only one. More than one: none is named.
create or replace function {engine}.identify_subject(issuer text, subject text, claimed text, chosen text) returns json
language sql stable set search_path = pg_catalog, pg_temp as $$
    with asked as materialized (
        select case when $3 is not null then {engine}.named_organization($1, $3) end as claimed,
            case when $4 is not null then {engine}.named_organization(null, $4) end as chosen
    ), known as materialized (
        select e.user_id from {engine}.externals e where e.issuer = $1 and e.kind = 'user' and e.external = $2
    ), belongs as materialized (
        select m.organization_id, m.role from {engine}.memberships m, known k, asked a where m.user_id = k.user_id
            and (($3 is null and $4 is null) or m.organization_id = case when $3 is not null then a.claimed else a.chosen end) limit 2
    )
    select json_build_object('user_id', k.user_id, 'revoked_until', (
            select extract(epoch from r.until) from {engine}.revocations r where r.user_id = k.user_id and r.organization_id is null),
        'agreed', $3 is null or $4 is null or (a.claimed = a.chosen) is true, 'several', (select count(*) > 1 from belongs),
        'organization_id', b.organization_id, 'role', b.role)
    from known k cross join asked a left join lateral (
        select organization_id, role from belongs where (select count(*) from belongs) = 1) b on true
$$;

create or replace function {engine}.identify_member(slug text, email text) returns json
language sql stable set search_path = pg_catalog, pg_temp as $$
    select json_build_object('user_id', m.user_id, 'organization_id', m.organization_id, 'slug', o.slug, 'role', m.role)
    from {engine}.memberships m join {engine}.organizations o on o.id = m.organization_id join {engine}.users u on u.id = m.user_id
    where o.slug = $1 and u.email = lower($2)
$$;

create or replace function {engine}.authenticate(wanted jsonb, proof text) returns json
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform {engine}.authorized(proof);
    return (
        select json_agg(case w.item->>0
            when 'key' then {engine}.identify_key(w.item->>1)
            when 'subject' then {engine}.identify_subject(w.item->>1, w.item->>2, w.item->>3, w.item->>4)
            when 'member' then {engine}.identify_member(w.item->>1, w.item->>2) end order by w.number)
        from jsonb_array_elements(wanted) with ordinality as w (item, number));
end $$;

-- When keys were last used: at most once a minute.
create or replace function {engine}.note_keys(used uuid[], proof text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare noted integer;
begin
    perform {engine}.authorized(proof);
    update {engine}.keys k set last_used_at = {engine}.now() from (
        select o.id from {engine}.keys o where o.id = any (used)
            and (o.last_used_at is null or o.last_used_at < {engine}.now() - interval '1 minute') order by o.id for update) as due
    where k.id = due.id;
    get diagnostics noted = row_count;
    return noted;
end $$;

-- Links the subject of a token to the user with its address, or makes what the token tells of, as far as its issuer is trusted to.
create or replace function {engine}.adopt(token jsonb, link boolean, provision boolean, proof text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    reason text := {engine}.authorized(proof);
    _issuer text := token->>'issuer';
    target uuid := (select e.organization_id from {engine}.externals e
        where e.issuer = token->>'issuer' and e.kind = 'organization' and e.external = token->>'organization');
    _user uuid := (select e.user_id from {engine}.externals e
        where e.issuer = token->>'issuer' and e.kind = 'user' and e.external = token->>'subject');
    made {engine}.users;
    linked {engine}.externals;
    membership {engine}.memberships;
begin
    provision := provision and target is not null and token->>'role' is not null;
    if _user is null then
        if token->>'email' is null then
            return false;
        end if;
        if provision then
            insert into {engine}.users (email, name) values (token->>'email', left(coalesce(token->>'name', split_part(token->>'email', '@', 1)), 200))
            on conflict (email) do nothing returning * into made;
            if found then
                perform {engine}.log_identity(null, 'User', made.id, 'create', null, to_jsonb(made), reason);
            end if;
        end if;
        -- A user who was there is linked once for each issuer: an address that is given to somebody else later brings that one nothing.
        select u.id into _user from {engine}.users u where u.email = token->>'email' and (u.id = made.id or (link and not exists (
            select from {engine}.externals e where e.issuer = _issuer and e.kind = 'user' and e.user_id = u.id))) for no key update;
        if not found then
            return false;
        end if;
        perform from {engine}.externals e where e.issuer = _issuer and e.kind = 'user' and e.user_id = _user; -- again, now that others wait
        if found then
            return false;
        end if;
        insert into {engine}.externals (issuer, kind, external, user_id) values (_issuer, 'user', token->>'subject', _user)
        on conflict on constraint externals_pkey do nothing returning * into linked;
        if not found then
            return false;
        end if;
        perform {engine}.log_identity(null, 'External', _user, 'create', null, to_jsonb(linked), reason);
    end if;
    perform from {engine}.users u where u.id = _user for no key update;
    if provision and not exists (select from {engine}.revocations r where r.user_id = _user
            and (r.organization_id is null or r.organization_id = target) and r.until >= to_timestamp(coalesce((token->>'issued_at')::double precision, 0))) then
        insert into {engine}.memberships (organization_id, user_id, role) values (target, _user, token->>'role')
        on conflict (organization_id, user_id) do nothing returning * into membership;
        if found then
            perform {engine}.log_identity(target, 'Membership', _user, 'create', null, to_jsonb(membership), reason);
        end if;
    end if;
    return true;
end $$;

revoke all on function {engine}.named_organization(text, text), {engine}.identify_key(text), {engine}.identify_subject(text, text, text, text),
    {engine}.identify_member(text, text), {engine}.authenticate(jsonb, text), {engine}.note_keys(uuid[], text),
    {engine}.adopt(jsonb, boolean, boolean, text) from public;
grant execute on function {engine}.authenticate(jsonb, text), {engine}.note_keys(uuid[], text), {engine}.adopt(jsonb, boolean, boolean, text)
    to {application};
