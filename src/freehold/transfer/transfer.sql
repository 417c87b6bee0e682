-- What imports note. {engine} is the engine's schema, {application} the application's role.

-- block: imported
-- One row for each chunk of a file that was imported, written in the chunk's transaction. The id tells file, options and place; the answer tells what
-- became of the rows. Nobody but the owner reads them; rows are kept for ninety days.
create table if not exists {engine}.imported (
    organization_id uuid not null references {engine}.organizations (id) on delete cascade,
    id uuid not null,
    at timestamptz not null default {engine}.now(),
    answer json,
    primary key (organization_id, id)
);
create index if not exists imported_at_idx on {engine}.imported using brin (at);

-- Forgets chunks that nobody will import again, a few thousand at a time.
create or replace function {engine}.forget_imported() returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    delete from {engine}.imported where ctid = any (array(
        select i.ctid from {engine}.imported i where i.at < {engine}.now() - interval '90 days' limit 5000 for update skip locked))
$$;

-- Takes a chunk for the transaction. Where it was imported before, `fresh` is false and `told` is what became of it: nothing must be done then.
-- Of two that import the same at the same moment, the second one waits here for the first one's end.
create or replace function {engine}.claim_chunk(_chunk uuid, out fresh boolean, out told json)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare _organization uuid := {engine}.organization_id();
begin
    if _organization is null then
        raise exception 'an import needs an organization' using errcode = 'FH301';
    end if;
    insert into {engine}.imported (organization_id, id) values (_organization, _chunk) on conflict do nothing;
    fresh := found;
    if not fresh then
        select i.answer into told from {engine}.imported i where i.organization_id = _organization and i.id = _chunk;
    elsif random() < 0.0005 then
        perform {engine}.forget_imported();
    end if;
end $$;

-- Notes what became of a chunk that this transaction has claimed.
create or replace function {engine}.settle_chunk(_chunk uuid, _answer json) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    update {engine}.imported i set answer = _answer
    where i.organization_id = {engine}.organization_id() and i.id = _chunk and i.answer is null;
    return found;
end $$;

revoke all on {engine}.imported from public;
revoke all on function {engine}.forget_imported(), {engine}.claim_chunk(uuid), {engine}.settle_chunk(uuid, json) from public;
grant execute on function {engine}.claim_chunk(uuid), {engine}.settle_chunk(uuid, json) to {application};
