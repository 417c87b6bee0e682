"""What keeps search in step with an entity: its triggers and their functions, and the tokenizer that they share.

A record has one row in `search`, made of the entity's searchable fields, for as long as it is there and not deleted.
Creations and removals are taken up by statement triggers with transition tables. Updates have a row trigger with a
condition, because PostgreSQL decides a condition without calling anything: an update that changes no searchable field
pays next to nothing (docs/decisions/search.md has the figures).
"""

from collections.abc import Sequence

from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.words import IGNORED, LOWERED, MAXIMUM_WORD, PAIRED, SEPARATING, SINGLE, SPELLED, Ranges
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = ["search_drops", "search_objects", "search_refresh", "tokenizer"]

_EVENTS = ("create", "update", "delete")
_WEIGHTS = "ABCD"
VERSION = 1
"""Of the documents' form; with a new one all entities are taken up anew."""


def _bracket(ranges: Ranges) -> str:
    """The inside of a bracket expression, by code points: it means the same in every locale."""
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


def tokenizer(schemas: Schemas) -> str:
    """The functions that make words of a text: the same as `freehold.model.words.words`."""
    spelled = "t"
    for letter, letters in SPELLED.items():
        spelled = f"replace({spelled}, {literal(letter)}, {literal(letters)})"
    lowered, lowers = "".join(LOWERED), "".join(LOWERED.values())
    paired, single, ascii_ = _bracket(PAIRED), _bracket(SINGLE), "[^a-z0-9\\U00000080-\\U0010ffff]+"
    return f"""
create or replace function {schemas.own("search_paired")}(word text) returns boolean
language sql immutable parallel safe as $freehold$ select word ~ '^[{paired}]' $freehold$;

create or replace function {schemas.own("search_split")}(given text) returns text[]
language plpgsql immutable strict parallel safe as $freehold$
declare
    t text collate "C" := given;
    found text[];
begin
    if octet_length(t) <> char_length(t) then
        t := regexp_replace(normalize(t, NFKD), '[{_bracket(IGNORED)}]+', '', 'g');
        t := translate({spelled}, '{lowered}', '{lowers}');
        t := regexp_replace(t, '[{_bracket(SEPARATING)}]+', ' ', 'g');
        t := regexp_replace(t, '([{single}])', ' \\1 ', 'g');
        t := regexp_replace(t, '([{paired}]+)', ' \\1 ', 'g');
    end if;
    t := regexp_replace(lower(t), '{ascii_}', ' ', 'g');
    found := array_remove(string_to_array(t, ' '), '');
    if t ~ '[^ ]{{{MAXIMUM_WORD + 1}}}|[{paired}]' then
        found := array(
            select left(p.word, {MAXIMUM_WORD}) from unnest(found) with ordinality as f (word, place)
            cross join lateral (
                select f.word, 0 as at where f.word !~ '^[{paired}]'
                union all
                select substr(f.word, s.at, 2), s.at from generate_series(1, char_length(f.word)) as s (at) where f.word ~ '^[{paired}]'
            ) as p order by f.place, p.at);
    end if;
    return found;
end $freehold$;"""


def search_objects(entity: EntityDescription, schemas: Schemas) -> list[str]:
    """The statements that make an entity searchable, or that it is not any more; each can be repeated."""
    table = schemas.table(entity.table)
    drops = [f"drop trigger if exists search_{event} on {table}" for event in _EVENTS]
    if not entity.searchable:
        return [
            *drops,
            *(f"drop function if exists {_function(entity, schemas, event)}()" for event in (*_EVENTS, "rebuild")),
            f"delete from {schemas.own('search')} where entity = {literal(entity.name)}",
            f"delete from {schemas.own('settings')} where name = {literal(f'search.{entity.name}')}",
        ]
    changed = " or ".join(
        f"old.{quoted(field.name)} is distinct from new.{quoted(field.name)}" for field in entity.searchable
    )
    if entity.soft_delete:
        changed += " or (old.deleted_at is null) <> (new.deleted_at is null)"
    call = {event: f"execute function {_function(entity, schemas, event)}()" for event in _EVENTS}
    return [
        *drops,
        _create(entity, schemas),
        _update(entity, schemas),
        _delete(entity, schemas),
        f"create trigger search_create after insert on {table} referencing new table as new_rows for each statement {call['create']}",
        f"create trigger search_update after update on {table} for each row when ({changed}) {call['update']}",
        f"create trigger search_delete after delete on {table} referencing old table as old_rows for each statement {call['delete']}",
        *(f"revoke all on function {_function(entity, schemas, event)}() from public" for event in _EVENTS),
        *_rebuild(entity, schemas),
    ]


def search_refresh(entity: EntityDescription, schemas: Schemas) -> list[str]:
    """The statement that takes up all records anew where that is due; none where the entity is not searchable."""
    return _rebuild(entity, schemas)[-1:] if entity.searchable else []


def search_drops(entity: EntityDescription, schemas: Schemas) -> list[str]:
    """The statements that take an entity out of search, with its triggers; its table may be gone already."""
    return [f"drop function if exists {_function(entity, schemas, event)}() cascade" for event in (*_EVENTS, "rebuild")]


def _function(entity: EntityDescription, schemas: Schemas, event: str) -> str:
    return schemas.own(f"{entity.table}_search_{event}")


def _split(field: FieldDescription, alias: str, schemas: Schemas) -> str:
    column = f"{alias}.{quoted(field.name)}"
    text = f"array_to_string({column}, ' ')" if field.kind.many else column
    return f"{schemas.own('search_split')}({text})"


def _document(fields: Sequence[FieldDescription], row: str, key: str, schemas: Schemas) -> str:
    parts = (
        f"coalesce({schemas.own('search_lexemes')}({key}, {_split(field, row, schemas)}, '{_WEIGHTS[min(place, 3)]}'), '')"
        for place, field in enumerate(fields)
    )
    return f"({' || '.join(parts)})::tsvector"


def _words(fields: Sequence[FieldDescription], row: str, schemas: Schemas) -> str:
    return " || ".join(f"coalesce({_split(field, row, schemas)}, '{{}}')" for field in fields)


_HEAD = "language plpgsql security definer set search_path = pg_catalog, pg_temp as $freehold$"


def _insert(entity: EntityDescription, schemas: Schemas, source: str) -> str:
    """Takes up rows: their documents, and their words."""
    key = f"{schemas.own('search_key')}(n.organization_id)"
    alive = " where n.deleted_at is null" if entity.soft_delete else ""
    return f"""
    insert into {schemas.own("search")} (organization_id, entity, record_id, document)
    select n.organization_id, {literal(entity.name)}, n.id, {_document(entity.searchable, "n", key, schemas)} from {source} as n{alive};
    insert into {schemas.own("search_words")} (organization_id, word)
    select distinct n.organization_id, f.word from {source} as n
    cross join lateral unnest({_words(entity.searchable, "n", schemas)}) as f (word){alive}
    {"and" if alive else "where"} not exists (
            select from {schemas.own("search_words")} as w where w.organization_id = n.organization_id and w.word = f.word)
        and not {schemas.own("search_paired")}(f.word);"""


def _create(entity: EntityDescription, schemas: Schemas) -> str:
    return f"""
create or replace function {_function(entity, schemas, "create")}() returns trigger {_HEAD}
begin{_insert(entity, schemas, "new_rows")}
    return null;
end $freehold$"""


def _update(entity: EntityDescription, schemas: Schemas) -> str:
    key = f"{schemas.own('search_key')}(new.organization_id)"
    gone = f"""
    if new.deleted_at is not null then
        delete from {schemas.own("search")} s
        where s.organization_id = new.organization_id and s.entity = {literal(entity.name)} and s.record_id = new.id;
        return null;
    end if;"""
    return f"""
create or replace function {_function(entity, schemas, "update")}() returns trigger {_HEAD}
begin{gone if entity.soft_delete else ""}
    insert into {schemas.own("search")} (organization_id, entity, record_id, document)
    values (new.organization_id, {literal(entity.name)}, new.id, {_document(entity.searchable, "new", key, schemas)})
    on conflict (organization_id, entity, record_id) do update set document = excluded.document;
    perform {schemas.own("search_learn")}(new.organization_id, {_words(entity.searchable, "new", schemas)});
    return null;
end $freehold$"""


def _delete(entity: EntityDescription, schemas: Schemas) -> str:
    return f"""
create or replace function {_function(entity, schemas, "delete")}() returns trigger {_HEAD}
begin
    delete from {schemas.own("search")} s using old_rows o
    where s.organization_id = o.organization_id and s.entity = {literal(entity.name)} and s.record_id = o.id;
    return null;
end $freehold$"""


def _rebuild(entity: EntityDescription, schemas: Schemas) -> list[str]:
    """A function for the owner that takes up all rows of the table anew, and its call where the searchable fields have changed."""
    table, function = schemas.table(entity.table), _function(entity, schemas, "rebuild")
    name, setting = literal(entity.name), literal(f"search.{entity.name}")
    fields = literal(" ".join(field.name for field in entity.searchable) + f" ({VERSION})")
    return [
        # Row-level security holds for the owner too. It is lifted in this transaction alone, under a lock that nobody gets past.
        f"""
create or replace function {function}() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $freehold$
begin
    alter table {table} no force row level security;
    delete from {schemas.own("search")} where entity = {name};{_insert(entity, schemas, table)}
    alter table {table} force row level security;
end $freehold$""",
        f"revoke all on function {function}() from public",
        f"""
do $freehold$
begin
    if not exists (select from {schemas.own("settings")} where name = {setting} and value = {fields}) then
        perform {function}();
        insert into {schemas.own("settings")} values ({setting}, {fields}) on conflict (name) do update set value = excluded.value;
    end if;
end $freehold$""",
    ]
