"""Attempts by hand-written SQL in a session: what somebody could do who got text of their own into a query."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from freehold.doctor.attempts import Attempt, Expected, World, answer
from freehold.engine.functions import entity_function
from freehold.model.description import EntityDescription
from freehold.sql.identifiers import quoted

__all__ = ["querying"]

GROUP = "sql"
NOTHING: Expected = "nothing of theirs"
REFUSED: Expected = "refused"

TABLE = {
    "select": "select * from {t} order by id",
    "by organization": "select * from {t} where organization_id = cast(:organization as uuid)",
    "or true": "select * from {t} where organization_id = cast(:organization as uuid) or true order by id",
    "self-join": "select to_jsonb(a) as a, to_jsonb(b) as b from {t} a full join {t} b on true order by a.id, b.id",
    "subquery": "select (select json_agg(a order by a.id) from {t} a) as all, (select count(*) from {t}) as n",
    "lateral": "select x.* from {t} a cross join lateral (select * from {t} b where b.id >= a.id) x order by x.id, a.id",
    "CTE": "with everything as (select * from {t} union all select * from {t}) select * from everything order by id",
    "materialized CTE": "with everything as materialized (select * from {t}) select * from everything order by id",
    "recursive CTE": (
        "with recursive r as (select id, organization_id from {t} union select a.id, a.organization_id from {t} a, r) select * from r order by id"
    ),
    "whole row as text": "select a::text as row from {t} a order by id",
    "row by row": "select jsonb_each_text(to_jsonb(a)) as field from {t} a order by a.id",
    "window": "select count(*) over () as n, first_value(id) over (order by id desc) as last from {t} order by id",
    "sample": "select * from {t} tablesample system (100) order by id",
    "by place": "select * from {t} where ctid = any (array(select format('(%s,%s)', p, n)::tid from generate_series(0, 20) p, generate_series(1, 60) n)) order by id",
    "regular expression": "select * from {t} a where a::text ~ '.*' order by id",
    "without row security": "select set_config('row_security', 'off', true) as off, (select json_agg(a order by a.id) from {t} a) as all",
    "another context": "select set_config('{s}.organization_id', :organization, true) as set, (select count(*) from {t}) as n",
    "another context, later": (
        # The offsets keep the planner from reading the table first, which it would do or not as its statistics are.
        "select a.* from (select set_config('{s}.organization_id', :organization, true) as set offset 0) x "
        "cross join lateral (select * from {t} where x.set is not null offset 0) a order by a.id"
    ),
    "no context": "select set_config('{s}.organization_id', '', true) as set, (select json_agg(a order by a.id) from {t} a) as all",
    "enter again": "select {e}.enter(cast(:organization as uuid), current_setting('{s}.context')) as entered, (select json_agg(a order by a.id) from {t} a) as all",
    "query_to_xml": "select query_to_xml('select * from {t} order by id', true, false, '') as all",
    "statistics": "select * from pg_stats where schemaname = '{a}' and tablename = '{name}'",
    "extended statistics": "select * from pg_stats_ext where schemaname = '{a}' and tablename = '{name}'",
    "error by division": "select * from {t} a where 1 / (case when a.organization_id::text = {own} then 1 else 0 end) = 1 order by id",
    "error by cast of theirs only": (
        "select * from {t} a where case when a.organization_id::text = {own} then true else (a::text)::integer = 0 end order by id"
    ),
    "error by regular expression": (
        "select * from {t} a where case when a.organization_id::text = {own} then true else 'x' ~ ('(' || a::text) end order by id"
    ),
    "error by date": "select * from {t} a where case when a.organization_id::text = {own} then true else (a::text)::date > 'epoch' end order by id",
    "error by JSON": "select * from {t} a where case when a.organization_id::text = {own} then true else (a::text)::jsonb is null end order by id",
    "error in the order": (
        "select * from {t} a order by case when a.organization_id::text = {own} then 0 else (a::text)::integer end, id"
    ),
    # Three seconds for each row of another organization that the condition would see; far more than a query takes on a busy machine.
    "time of theirs": (
        "select clock_timestamp() - statement_timestamp() > interval '2.5 s' as slow, n > 0 as own from (select count(*) as n from {t} a "
        "where case when a.organization_id::text = {own} then true else pg_sleep(3) is null end) x"
    ),
    "error in an aggregate": "select sum(case when organization_id::text = {own} then 0 else (a::text)::integer end) as n from {t} a",
}
"""Reads of an entity's table. {own} is the attacker's organization, and all others' rows raise an error that quotes them."""

IN_ANY_ORDER = {
    "table_to_xml": "select table_to_xml('{t}', true, false, '') as all",
    "error by cast": "select * from {t} a where (a::text)::integer = 0",
}
"""Reads whose rows come as the planner chose to read the table: which of the attacker's own they tell first says nothing."""

REFUSED_OF_TABLE = {
    "delete": "delete from {t} returning *",
    "delete in a CTE": "with gone as (delete from {t} returning *) select * from gone",
    "update": "update {t} set version = version + 1 returning *",
    "insert": "insert into {t} (organization_id) values (cast(:organization as uuid)) returning *",
    "truncate": "truncate {t} cascade",
    "copy": "copy {t} to stdout",
    "lock": "select * from {t} for update",
    "lock the table": "lock table {t}",
    "into a temporary table": "select * into temp loot from {t}",
    "switch isolation off": "alter table {t} disable row level security",
    "drop the policy": "drop policy tenant on {t}",
    "own policy": "create policy mine on {t} using (true)",
    "own index": "create index on {t} (id)",
    "own view": "create view {a}.loot as select * from {t}",
    "own function": "create function {a}.loot() returns int language sql return 1",
    "grant": "grant all on {t} to public",
    "generated function": "select {get}(cast(:organization as uuid), current_setting('{s}.context'), cast(:theirs as uuid)) as found",
}

ENGINE = {
    "database_to_xml": "select database_to_xml(true, false, '')::text as all",
    "log": "select * from {e}.log where organization_id is distinct from cast({own} as uuid)",
    "log of theirs": "select * from {e}.log where organization_id = cast(:organization as uuid)",
    "log by change": "select l.* from {e}.log l where l.new::text like '%' || :mark || '%'",
    "organizations": "select * from {e}.organizations",
    "users": "select * from {e}.users",
    "memberships": "select * from {e}.memberships",
    "everyone": "select * from {e}.users u left join {e}.memberships m on true left join {e}.organizations o on true",
    "error by an organization": "select * from {e}.organizations o where case when o.id::text = {own} then true else o.slug::integer = 0 end",
    "error by a user": "select * from {e}.users u where case when u.email like '{user}' then true else u.email::integer = 0 end",
    "running statements": "select query from pg_stat_activity",
    "prepared statements": "select statement from pg_prepared_statements",
    "open cursors": "select statement from pg_cursors",
    "large objects": "select loid, data from pg_largeobject",
    "make a large object": "select lo_create(0) > 0 as made",  # PostgreSQL 15 lets a transaction do it that only reads; it is undone
    "notifications": "select * from pg_listening_channels() as c",
    "settings": "select name, setting from pg_settings where name like '{s}.%' and name <> '{s}.organization_id'",
    "two_phase": "select * from pg_prepared_xacts",
}

REFUSED_OF_ENGINE = {
    "default partition of the log": "select * from {e}.log_default",
    "seals": "select * from {e}.seals",
    "settings of the engine": "select * from {e}.settings",
    "positions": "select last_value from {e}.log_position",
    "another's context": (
        "select {e}.organization_id() from (select set_config('{s}.organization_id', :organization, true) offset 0) x"
    ),
    "another's context, sealed": "select {e}.enter(cast(:organization as uuid), {e}.sealed(cast(:organization as uuid), '{{}}')) as entered",
    "find an organization": "select {e}.find_organization(:slug, 'system:proof') as found",
    "find a user": "select {e}.find_user(:email, 'system:proof') as found",
    "find a membership": "select {e}.find_membership(:slug, :email, 'system:proof') as found",
    "make an organization": "select {e}.create_organization('x', 'x-y-z', 'fun') as made",
    "become a member": "select {e}.add_member(cast(:organization as uuid), cast(:own_user as uuid), 'admin', '') as made",
    "remove an organization": "select {e}.remove_organization(cast(:organization as uuid), 'fun') as gone",
    "remove a user": "select {e}.remove_user(cast(:user as uuid), 'fun') as gone",
    "write to the log": "select {e}.log_system(null, 'x', null, 'x', null, 'fun') as made",
    "become the owner": "set role {owner}",
    "become the owner by a function": "select set_config('role', '{owner}', true) as role",
    "become somebody else": "set session authorization {owner}",
    "write again": "select set_config('transaction_read_only', 'off', true) as off",
    "several statements": "select 1; select 2",
    "end the transaction": "rollback",
    "prepared statement": "prepare loot as select 1",
    "anonymous block": "do $$ begin end $$",
    "read a file": "select pg_read_file('/etc/passwd') as file",
    "read a file as an object": "select lo_import('/etc/passwd') as file",
    "run a program": "copy (select 1) to program 'cat'",
    "passwords": "select * from pg_authid",
    "another connection": "select * from dblink('dbname=' || current_database(), 'select 1') as t (n int)",
    "notify": "notify freehold, 'x'",
}


def querying(world: World) -> Iterator[Attempt]:
    """The attempts for every entity's table, and for the engine's tables and functions."""
    for entity in world.entities:
        names = _names(world, entity)
        for name, text in TABLE.items():
            yield _attempt(f"{entity.name}: {name}", text.format(**names), NOTHING)
        for name, text in IN_ANY_ORDER.items():
            yield _attempt(f"{entity.name}: {name}", text.format(**names), NOTHING, compared=False)
        for name, text in REFUSED_OF_TABLE.items():
            yield _attempt(f"{entity.name}: {name}", text.format(**names), REFUSED)
    names = _names(world, None)
    for name, text in ENGINE.items():
        yield _attempt(name, text.format(**names), NOTHING, compared=False)
    for name, text in REFUSED_OF_ENGINE.items():
        yield _attempt(name, text.format(**names), REFUSED)


def _names(world: World, entity: EntityDescription | None) -> dict[str, str]:
    schemas = world.schemas
    names = {
        "e": quoted(schemas.engine),
        "s": schemas.engine,
        "a": schemas.application,
        "owner": quoted(world.roles.owner),
        # An id that Freehold made: hexadecimal digits and hyphens.
        "own": f"'{world.own.organization}'",
        "user": world.own.email,
    }
    if entity is not None:
        names |= {
            "t": schemas.table(entity.table),
            "name": entity.table,
            "get": entity_function(schemas, entity, "get"),
        }
        names |= {"theirs": entity.name}
    return names


def _attempt(name: str, text: str, expected: Expected, *, compared: bool = True) -> Attempt:
    run = partial(_query, text=text)
    # What tells of moments and places differs each time; refusals are compared, since they must tell nothing.
    return Attempt(
        GROUP, name, expected, run, ["organization", "ids", "names", "mark"] if ":" in text else (), compared
    )


async def _query(world: World, text: str) -> Any:
    prey = world.prey
    first = next((records[0].id for records in prey.records.values() if records), prey.organization)
    known = {
        "organization": str(prey.organization),
        "slug": prey.slug,
        "email": prey.email,
        "mark": prey.mark,
        "user": str(prey.context.user_id),
        "own_user": str(world.own.context.user_id),
        "theirs": str(first),
    }
    values = {
        key: value for key, value in known.items() if f":{key}" in text and (key != "own" or ":own_user" not in text)
    }
    return await answer(world.own.session.sql(None, text, limit=10_000, **values))
