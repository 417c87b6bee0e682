-- Full-text search: one row for each record that can be found, kept by triggers in the transaction that changes the record.
-- The lexemes begin with the organization's key, so that each organization has its own stretch of the index. Nobody but the owner has
-- a right on the tables; the application role asks the functions below, which take the organization from organization_id() alone.

-- block: search
create table if not exists {engine}.search (
    organization_id uuid not null,
    entity text collate "C" not null,
    record_id uuid not null,
    document tsvector not null,
    primary key (organization_id, entity, record_id)
);
-- Without a list of pending entries, which every search of every organization would have to read through.
create index if not exists search_document_idx on {engine}.search using gin (document) with (fastupdate = off);

-- The words that an organization's records have, or had: for prefixes and typing errors. A word may be there twice: a unique key would
-- make writers wait for each other.
create table if not exists {engine}.search_words (
    organization_id uuid not null,
    word text collate "C" not null
);
create index if not exists search_words_word_idx on {engine}.search_words (organization_id, word);

alter table {engine}.search enable row level security;
alter table {engine}.search force row level security;
drop policy if exists engine on {engine}.search;
create policy engine on {engine}.search to {owner} using (true) with check (true);
alter table {engine}.search_words enable row level security;
alter table {engine}.search_words force row level security;
drop policy if exists engine on {engine}.search_words;
create policy engine on {engine}.search_words to {owner} using (true) with check (true);

-- What an organization's lexemes begin with: 48 bits of its id's hash. Two that share them share a stretch of the index and nothing
-- else, because each look-up names the organization as well.
create or replace function {engine}.search_key(organization uuid) returns text
language sql immutable parallel safe as $$
    select translate(encode(substr(sha256(uuid_send(organization)), 1, 6), 'base64'), '+/', '-_') || ':'
$$;

-- The lexemes of some words, of a weight. All are at position 1: nearness does not count.
create or replace function {engine}.search_lexemes(key text, words text[], weight text) returns text
language sql immutable parallel safe as $$
    select case when cardinality(words) = 0 then ''
        else '''' || key || array_to_string(words[1:5000], ''':1' || weight || ' ''' || key) || ''':1' || weight || ' ' end
$$;

-- Takes up the words that an organization has not had yet.
create or replace function {engine}.search_learn(organization uuid, given text[]) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    insert into {engine}.search_words (organization_id, word)
    select distinct organization, f.word from unnest(given) as f (word)
    where not exists (select from {engine}.search_words w where w.organization_id = organization and w.word = f.word);
end $$;

-- Typing errors need two extensions that come with PostgreSQL and that an owner of the database may create. They get a schema of their
-- own, unless they are somewhere already. Without them search knows words and prefixes.
do $freehold$
declare
    place text;
    nearest text := 'select w.word from {engine}.search_words w where false';
begin
    begin
        if exists (select from pg_extension where extname = 'pg_trgm') and exists (select from pg_extension where extname = 'btree_gin') then
            null;
        else
            execute 'create schema if not exists "{setting}_extensions"';
            execute 'create extension if not exists pg_trgm schema "{setting}_extensions"';
            execute 'create extension if not exists btree_gin schema "{setting}_extensions"';
        end if;
        select quote_ident(n.nspname) into place
        from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm';
        execute format('create index if not exists search_words_similar_idx on {engine}.search_words '
            'using gin (organization_id, word %s.gin_trgm_ops) with (fastupdate = off)', place);
        nearest := format(
            'select s.word from (select distinct w.word, %1$s.similarity(w.word, sought) as near from {engine}.search_words w '
            'where w.organization_id = organization and w.word operator(%1$s.%%) sought) as s '
            'where s.near >= 0.35 order by s.near desc, abs(char_length(s.word) - char_length(sought)), s.word limit 5', place);
    exception when insufficient_privilege or feature_not_supported or undefined_file or undefined_object or invalid_schema_name then
        raise notice 'search goes without typing errors: %', sqlerrm;
    end;
    -- The words of an organization that are most like one.
    execute 'create or replace function {engine}.search_similar(organization uuid, sought text) returns setof text '
        'language sql stable set search_path = pg_catalog, pg_temp as $s$' || nearest || '$s$';
end $freehold$;

-- What a query's words are looked up as: a row for each, with the word and whether it stands for its beginnings too. A word that begins
-- none of the organization's is replaced by those most like it; where there are none, nothing can be found, and the row is null.
create or replace function {engine}.search_sought(organization uuid, query text) returns table (place bigint, word text, whole boolean)
language sql stable set search_path = pg_catalog, pg_temp as $$
    with sought as (
        select min(f.place) as place, f.word from unnest({engine}.search_split(left(query, 1000))) with ordinality as f (word, place)
        group by f.word order by 1 limit 20
    ), known as (
        select s.*, {engine}.search_paired(s.word) or exists (
            select from {engine}.search_words w where w.organization_id = organization
            and w.word >= s.word and w.word < s.word || U&'\+10FFFF') as there
        from sought s
    )
    select k.place, k.word, false from known k where k.there
    union all
    select k.place, a.word, true from known k left join lateral {engine}.search_similar(organization, k.word) as a (word) on true
    where not k.there
$$;

-- The forms of a query: what a record must have (each word, or one that begins with it), all words as they are, and for the rank any of
-- the words as they are and any that begins so. Null where nothing can be found.
create or replace function {engine}.search_queries(organization uuid, query text,
    out needed tsquery, out whole tsquery, out exact tsquery, out loose tsquery, out sought text[])
language sql stable set search_path = pg_catalog, pg_temp as $$
    with terms as (
        select s.*, quote_literal({engine}.search_key(organization) || s.word) as term from {engine}.search_sought(organization, query) as s
    ), groups as (
        select t.place, string_agg(t.term || case when t.whole then '' else ':*' end, '|') as either, string_agg(t.term, '|') as same,
            bool_and(t.word is not null) as there
        from terms t group by t.place
    )
    select case when bool_and(g.there) then string_agg('(' || g.either || ')', '&')::tsquery end,
        case when bool_and(g.there) then string_agg('(' || g.same || ')', '&')::tsquery end,
        (select string_agg(t.term, '|')::tsquery from terms t),
        (select string_agg(t.term || ':*', '|')::tsquery from terms t),
        (select array_agg(t.word order by t.place, t.word) from terms t)
    from groups g
$$;

-- The records that are found, the best first. At most 2,000 are ranked: those that have all words as they are, and as many as there is
-- room for of those that have words that begin so.
create or replace function {engine}.search_hits(organization uuid, query text, entities text[], last_rank integer, last_entity text,
    last_id uuid, most integer, out entity text, out record_id uuid, out rank integer, out sought text[]) returns setof record
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan as $$
declare q record;
begin
    if organization is distinct from {engine}.organization_id() then
        raise exception 'search belongs to the organization of the context' using errcode = 'FH301';
    end if;
    select * into q from {engine}.search_queries(organization, query);
    if q.needed is null then
        return;
    end if;
    sought := q.sought;
    for entity, record_id, rank in
        with same as materialized (
            select s.entity, s.record_id, s.document from {engine}.search s
            where s.organization_id = organization and s.entity = any (entities) and s.document @@ q.whole limit 2000
        ), begun as (
            select s.entity, s.record_id, s.document from {engine}.search s
            where s.organization_id = organization and s.entity = any (entities) and s.document @@ q.needed
                and not s.document @@ q.whole limit (select 2000 - count(*) from same)
        )
        select r.* from (
            select c.entity, c.record_id, (1000000 * (c.bonus + ts_rank('{{0.1,0.2,0.4,1.0}}', c.document, q.exact, 1)
                + 0.5 * ts_rank('{{0.1,0.2,0.4,1.0}}', c.document, q.loose, 1)))::integer as rank
            from (select s.*, 1 as bonus from same s union all select b.*, 0 from begun b) as c
        ) as r (entity, record_id, rank)
        where last_rank is null or r.rank < last_rank
            or r.rank = last_rank and (r.entity, r.record_id) > (last_entity collate "C", last_id)
        order by r.rank desc, r.entity, r.record_id limit most
    loop
        return next;
    end loop;
end $$;

-- For lists: the ids of an entity's records that match, or null where there are more than so many; and what they are asked with then.
create or replace function {engine}.search_set(organization uuid, query text, entity text, most integer, out ids uuid[], out needed tsquery)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan as $$
begin
    if organization is distinct from {engine}.organization_id() then
        raise exception 'search belongs to the organization of the context' using errcode = 'FH301';
    end if;
    select q.needed into needed from {engine}.search_queries(organization, query) as q;
    ids := array(select s.record_id from {engine}.search s where s.organization_id = organization
        and s.entity = search_set.entity and s.document @@ search_set.needed limit most + 1);
    if cardinality(ids) > most then
        ids := null;
    end if;
end $$;

-- Whether a record of the organization matches.
create or replace function {engine}.search_matches(organization uuid, entity text, record uuid, needed tsquery) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if organization is distinct from {engine}.organization_id() then
        raise exception 'search belongs to the organization of the context' using errcode = 'FH301';
    end if;
    return exists (select from {engine}.search s where s.organization_id = organization and s.entity = search_matches.entity
        and s.record_id = record and s.document @@ needed);
end $$;

-- For counts: the ids of all that match.
create or replace function {engine}.search_ids(organization uuid, query text, entity text) returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan as $$
declare sought tsquery;
begin
    if organization is distinct from {engine}.organization_id() then
        raise exception 'search belongs to the organization of the context' using errcode = 'FH301';
    end if;
    select q.needed into sought from {engine}.search_queries(organization, query) as q;
    return query select s.record_id from {engine}.search s where s.organization_id = organization
        and s.entity = search_ids.entity and s.document @@ sought;
end $$;

revoke all on {engine}.search, {engine}.search_words from public, {application};
revoke all on all functions in schema {engine} from public;
grant execute on function {engine}.search_hits(uuid, text, text[], integer, text, uuid, integer),
    {engine}.search_set(uuid, text, text, integer), {engine}.search_matches(uuid, text, uuid, tsquery),
    {engine}.search_ids(uuid, text, text) to {application};
