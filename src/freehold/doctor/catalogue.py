"""Attempts by what the catalogue shows: everything that the application role may read or call, whoever put it there.

A view, a table, a partition or a function that was added by hand is found here without being known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from freehold.doctor.attempts import Attempt, World, answer
from freehold.postgres.connections import Connection

__all__ = ["Catalogue", "catalogue", "read_catalogue"]

GROUP = "catalogue"

_RELATIONS = """
select format('%I.%I', n.nspname, c.relname) as name, c.relkind::text as kind
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname <> 'pg_catalog' and n.nspname <> 'information_schema'
    and n.nspname !~ '^pg_(toast|temp)' and has_schema_privilege(n.oid, 'usage')
    and (has_table_privilege(c.oid, 'select') or has_any_column_privilege(c.oid, 'select'))
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 1
"""

_COLUMNS = """
select string_agg(quote_ident(attname), ', ' order by attnum) as names from pg_attribute
where attrelid = to_regclass($1) and attnum > 0 and not attisdropped and has_column_privilege(attrelid, attnum, 'select')
"""

# Functions that run as their caller can do no more than SQL of the caller's own; those of extensions are not the application's.
_FUNCTIONS = """
select format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as signature, format('%I.%I', n.nspname, p.proname) as name, p.provariadic <> 0 as variadic,
    array(select format_type(t, null) from unnest(p.proargtypes) with ordinality as a (t, place) order by place) as types
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where p.prosecdef and p.prokind = 'f' and p.prorettype <> 'trigger'::regtype and p.prorettype <> 'event_trigger'::regtype
    and n.nspname <> 'pg_catalog' and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')
    and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
order by 1
"""


@dataclass(frozen=True)
class Function:
    """A function that runs as its owner.

    Args:
        signature: with the types of its arguments.
        name: with its schema.
        types: of its arguments.
    """

    signature: str
    name: str
    types: Sequence[str]


@dataclass(frozen=True)
class Catalogue:
    """What the application role may read, and what it may call that runs as somebody else."""

    relations: Sequence[str]
    functions: Sequence[Function]


async def read_catalogue(connection: Connection) -> Catalogue:
    """The catalogue as the connection's role may use it."""
    relations = await connection.fetch(_RELATIONS)
    functions = await connection.fetch(_FUNCTIONS)
    return Catalogue(
        [str(row["name"]) for row in relations],
        [Function(str(row["signature"]), str(row["name"]), list(row["types"])) for row in functions],
    )


def catalogue(world: World, found: Catalogue) -> Iterator[Attempt]:
    """The attempts for what was found."""
    for relation in found.relations:
        for entered in (False, True):
            how = "in its own context" if entered else "without a context"
            run = partial(_read, relation=relation, entered=entered)
            yield Attempt(GROUP, f"read {relation}, {how}", "nothing of theirs", run, compared=False)
    for function in found.functions:
        for entered in (False, True):
            how = "in its own context" if entered else "without a context"
            run = partial(_call, function=function, entered=entered)
            gives = ["ids", "organization", "names", "mark"] if function.types else []
            if _of_system(function, world) and not entered:
                continue  # it is there to be called outside of a context, by whoever has the login, for organizations and users
            yield Attempt(GROUP, f"call {function.signature}, {how}", "nothing of theirs", run, gives, compared=False)  # type: ignore[arg-type]  # the literals of Gives


def _of_system(function: Function, world: World) -> bool:
    names = ("create_organization", "create_user", "add_member", "find_organization", "find_user", "find_membership")
    return function.name in {
        f"{world.schemas.engine}.{name}" for name in (*names, "remove_organization", "remove_user")
    }


async def _read(world: World, relation: str, entered: bool) -> Any:
    async with world.connection(entered=entered) as connection:
        columns = await connection.fetch(_COLUMNS, relation)
        # Names as PostgreSQL quoted them.
        text = f"select to_json(x)::text from (select {columns[0]['names']} from {relation}) x"
        return await answer(connection.fetch(text))


async def _call(world: World, function: Function, entered: bool) -> Any:
    """Calls it with what the other organization has; what it writes is undone."""
    found = []
    for values in _arguments(world):
        arguments = [values[_kind(type_)] for type_ in function.types]
        if any(argument is None for argument in arguments):
            break
        places = ", ".join(
            f"cast($${place} as text)::{type_}".replace("$$", "$") for place, type_ in enumerate(function.types, 1)
        )
        async with world.connection(entered=entered) as connection:
            found.append(
                await answer(connection.fetch(f"select to_json(x)::text from {function.name}({places}) x", *arguments))
            )
        if not function.types:
            break
    return found


def _arguments(world: World) -> Iterator[dict[str, str | None]]:
    """Values by the kinds of arguments; None where there is none for a kind."""
    prey = world.prey
    common = {"number": "1", "json": "{}", "boolean": "true", "moment": "now", "other": None}
    for id in (prey.organization, *(records[0].id for records in prey.records.values() if records)):
        for text in (prey.slug, prey.email, prey.mark):
            yield {**common, "uuid": str(id), "text": text}


def _kind(type_: str) -> str:
    kinds = {
        "uuid": "uuid",
        "text": "text",
        "character varying": "text",
        "name": "text",
        "json": "json",
        "jsonb": "json",
        "boolean": "boolean",
        "date": "moment",
    }
    if type_ in ("smallint", "integer", "bigint", "numeric", "real", "double precision"):
        return "number"
    return "moment" if type_.startswith("timestamp") else kinds.get(type_, "other")
