-- What calls with an idempotency key were answered. {engine} is the engine's schema, {owner} its owner, {application} the application's role.

-- block: answers
-- One row for each command that was called with a key, written in the command's transaction. Nobody but the owner reads them; rows are kept for
-- two days at least. The caller is the credential's name, so that a key means something to the caller alone who chose it.
create table if not exists {engine}.answers (
    organization_id uuid not null references {engine}.organizations (id) on delete cascade,
    caller text collate "C" not null constraint answers_caller_check check (char_length(caller) between 1 and 200),
    key text collate "C" not null constraint answers_key_check check (char_length(key) between 1 and 200),
    digest bytea not null,
    at timestamptz not null default {engine}.now(),
    told json,
    body bytea constraint answers_body_check check (octet_length(body) <= 1000000),
    primary key (organization_id, caller, key)
);
create index if not exists answers_at_idx on {engine}.answers using brin (at);

alter table {engine}.answers enable row level security;
alter table {engine}.answers force row level security;
drop policy if exists system on {engine}.answers;
create policy system on {engine}.answers to {owner} using (true) with check (true);

-- Forgets answers that nobody asks for any more, a few thousand at a time.
create or replace function {engine}.forget_answers() returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    delete from {engine}.answers where ctid = any (array(
        select a.ctid from {engine}.answers a where a.at < {engine}.now() - interval '2 days' limit 5000 for update skip locked))
$$;

-- Takes a key for the transaction. `fresh`: it was not used yet, and the call is to be made; `repeated`: the same call was made, and this is what
-- it was told; `other`: another call was made with it; `busy`: another transaction has the key now. Nobody waits: the lock is only tried.
create or replace function {engine}.claim_key(_caller text, _key text, _digest bytea, out state text, out told json, out body bytea)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    _organization uuid := {engine}.organization_id();
    _found {engine}.answers;
begin
    if _organization is null then
        raise exception 'an idempotency key needs an organization' using errcode = 'FH301';
    end if;
    if not pg_try_advisory_xact_lock(hashtextextended(format('%s %L %L', _organization, _caller, _key), 206)) then
        state := 'busy';
        return;
    end if;
    select * into _found from {engine}.answers a where a.organization_id = _organization and a.caller = _caller and a.key = _key;
    if not found then
        insert into {engine}.answers (organization_id, caller, key, digest) values (_organization, _caller, _key, _digest);
        state := 'fresh';
        if random() < 0.0005 then
            perform {engine}.forget_answers();
        end if;
    elsif _found.digest <> _digest then
        state := 'other';
    else
        state := 'repeated';
        told := _found.told;
        body := _found.body;
    end if;
end $$;

-- Notes what the call was told whose key this transaction has taken.
create or replace function {engine}.keep_answer(_caller text, _key text, _told json, _body bytea) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    update {engine}.answers a set told = _told, body = _body
    where a.organization_id = {engine}.organization_id() and a.caller = _caller and a.key = _key and a.told is null;
    return found;
end $$;

revoke all on {engine}.answers from public;
revoke all on function {engine}.forget_answers(), {engine}.claim_key(text, text, bytea), {engine}.keep_answer(text, text, json, bytea) from public;
grant execute on function {engine}.claim_key(text, text, bytea), {engine}.keep_answer(text, text, json, bytea) to {application};
