"""Attempts over a plain connection of the application role: what somebody could do who has its login, but not the program."""

import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from freehold.doctor.attempts import Attempt, Expected, World, answer
from freehold.engine.functions import entity_function
from freehold.model.context import new_id
from freehold.model.description import EntityDescription
from freehold.model.seal import AHEAD, LIFETIME
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import quoted

__all__ = ["connecting"]

GROUP = "connection"
NOTHING: Expected = "nothing of theirs"
REFUSED: Expected = "refused"

Do = Callable[[Connection, World, str], Awaitable[Any]]
"""Something done on a connection with the table of an entity."""


def connecting(world: World) -> Iterator[Attempt]:
    """Attempts without a context, with a forged one, and in one's own."""
    for entity in world.entities:
        for (name, expected), do in {**WITHOUT, **ENTERED}.items():
            entered = (name, expected) in ENTERED
            run = partial(_on_table, do=do, entity=entity, entered=entered)
            how = "in its own context" if entered else "without a context"
            yield Attempt(
                GROUP, f"{entity.name}: {name}, {how}", expected, run, ["organization", "ids"], compared=False
            )
        for action in ("get", "delete", *(["increment"] if entity.incrementable else [])):
            run = partial(_generated, entity=entity, action=action)
            name = f"{entity.name}: {action} by the generated function, with one's own seal"
            yield Attempt(GROUP, name, REFUSED, run, ["organization", "ids"], compared=False)
    for (name, expected), script in SCRIPTS.items():
        yield Attempt(GROUP, name, expected, partial(_script, text=script), ["organization"], compared=False)


async def _on_table(world: World, do: Do, entity: EntityDescription, entered: bool) -> Any:
    async with world.connection(entered=entered) as connection:
        return await answer(do(connection, world, world.schemas.table(entity.table)))


async def _select(c: Connection, w: World, table: str) -> Any:
    return await c.fetch(f"select * from {table}")


async def _claim(c: Connection, w: World, table: str, told: str) -> Any:
    """Names the other organization, with a text that is no seal of it."""
    text = "select set_config($1, $2, true), set_config($3, $4, true)"
    setting = w.schemas.engine
    await c.fetch(text, f"{setting}.organization_id", str(w.prey.organization), f"{setting}.context", told)
    return await _select(c, w, table)


async def _enter(c: Connection, w: World, table: str, told: str) -> Any:
    await c.fetch(f"select {w.schemas.own('enter')}($1, $2)", w.prey.organization, told)
    return await _select(c, w, table)


async def _own_seal(c: Connection, w: World, table: str) -> Any:
    return await _enter(c, w, table, w.seal.apply(w.own.context))


async def _old_seal(c: Connection, w: World, table: str) -> Any:
    return await _enter(c, w, table, w.seal.later(-LIFETIME - 10).apply(w.prey.context))


async def _early_seal(c: Connection, w: World, table: str) -> Any:
    return await _enter(c, w, table, w.seal.later(AHEAD + 10).apply(w.prey.context))


async def _leaky_function(c: Connection, w: World, table: str) -> Any:
    """A function that is cheaper than the policy, and raises an error that quotes the rows of others."""
    await c.execute(
        "create function pg_temp.loot(whole text, own text) returns boolean language plpgsql cost 0.0000001 as "
        "$$ begin if strpos(whole, own) = 0 then raise exception '%', whole; end if; return true; end $$"
    )
    return await c.fetch(f"select * from {table} a where pg_temp.loot(a::text, $1)", str(w.own.organization))


async def _shadow(c: Connection, w: World, table: str) -> Any:
    """Objects of one's own under the names that the engine's functions use."""
    await c.execute("create function pg_temp.organization_id() returns uuid language sql as 'select gen_random_uuid()'")
    await c.execute("create temp view current_setting as select 1 as x")
    await c.execute(
        "create function pg_temp.current_setting(text, boolean) returns text language sql as $$ select '"
        + str(w.prey.organization)
        + "' $$"
    )
    await c.execute("set local search_path = pg_temp, pg_catalog")
    return await _select(c, w, table)


async def _held_cursor(c: Connection, w: World, table: str) -> Any:
    await c.execute(f"declare loot scroll cursor for select * from {table}")
    await c.fetch("select set_config($1, $2, true)", f"{w.schemas.engine}.organization_id", str(w.prey.organization))
    return await c.fetch("fetch all from loot")


async def _prepared(c: Connection, w: World, table: str) -> Any:
    await c.execute(f"prepare loot as select * from {table}")
    await c.fetch("select set_config($1, $2, true)", f"{w.schemas.engine}.organization_id", str(w.prey.organization))
    return await c.fetch("execute loot")


async def _copy(c: Connection, w: World, table: str) -> Any:
    return await c.copy_out(f"select * from {table}")


async def _explain(c: Connection, w: World, table: str) -> Any:
    # Its estimates, and the rows that a filter removed, tell how many there are of all organizations: see docs/isolation.md.
    return await c.fetch(f"explain (analyze, verbose, timing off, summary off) select * from {table}")


async def _write_theirs(c: Connection, w: World, table: str) -> Any:
    return await c.fetch(
        f"insert into {table} (organization_id, id) values ($1, gen_random_uuid()) returning *", w.prey.organization
    )


async def _move_theirs(c: Connection, w: World, table: str) -> Any:
    return await c.fetch(f"update {table} set organization_id = $1 returning *", w.own.organization)


async def _delete_all(c: Connection, w: World, table: str) -> Any:
    return await c.fetch(f"delete from {table} where organization_id <> $1 returning *", w.own.organization)


async def _no_row_security(c: Connection, w: World, table: str) -> Any:
    await c.execute("set local row_security = off")
    return await _select(c, w, table)


def _statement(text: str) -> Do:
    async def do(c: Connection, w: World, table: str) -> Any:
        return await c.fetch(text.format(t=table))

    return do


WITHOUT: dict[tuple[str, Expected], Do] = {
    ("select", NOTHING): _select,
    ("name the other organization, without a seal", REFUSED): partial(_claim, told=""),
    ("name the other organization, with a made-up seal", REFUSED): partial(_claim, told="0" * 64 + "{}"),
    ("enter the other organization, with a made-up seal", REFUSED): partial(_enter, told="f" * 64 + "{}"),
    ("enter the other organization, with one's own seal", REFUSED): _own_seal,
    ("enter the other organization, with a seal of theirs that is too old", REFUSED): _old_seal,
    ("enter the other organization, with a seal of theirs for a time to come", REFUSED): _early_seal,
    ("copy", NOTHING): _copy,
}

ENTERED: dict[tuple[str, Expected], Do] = {
    ("select", NOTHING): _select,
    ("copy", NOTHING): _copy,
    ("cheap function in the condition", NOTHING): _leaky_function,
    ("objects that shadow the engine's", NOTHING): _shadow,
    ("cursor, then another context", REFUSED): _held_cursor,
    ("prepared statement, then another context", REFUSED): _prepared,
    ("enter the other organization", REFUSED): _own_seal,
    ("explain analyze", NOTHING): _explain,
    ("switch row security off", REFUSED): _no_row_security,
    ("insert as theirs", REFUSED): _write_theirs,
    ("move theirs to one's own", REFUSED): _move_theirs,
    ("delete theirs", NOTHING): _delete_all,
    ("truncate", REFUSED): _statement("truncate {t} cascade"),
    ("switch isolation off", REFUSED): _statement("alter table {t} disable row level security"),
    ("replace the trigger", REFUSED): _statement("alter table {t} disable trigger all"),
}

SCRIPTS: dict[tuple[str, Expected], str] = {
    ("become the owner", REFUSED): "set role {owner}",
    ("become the owner from the beginning", REFUSED): "set session authorization {owner}",
    ("read the seals", REFUSED): "select * from {e}.seals",
    ("make a seal", REFUSED): "select {e}.sealed('{organization}', '{{}}')",
    (
        "replace the gate",
        REFUSED,
    ): "create or replace function {e}.organization_id() returns uuid language sql as 'select null::uuid'",
    ("create in the engine's schema", REFUSED): "create table {e}.loot (n int)",
    ("create in the tables' schema", REFUSED): "create table {a}.loot (n int)",
    ("write the log", REFUSED): "insert into {e}.log (entity, action) values ('x', 'x')",
    ("change the log", REFUSED): "update {e}.log set reason = 'x'",
    ("empty the log", REFUSED): "truncate {e}.log",
    ("call a trigger's function", REFUSED): "select {e}.log_delete()",
    ("rename an organization", REFUSED): "update {e}.organizations set name = 'x'",
    ("make a role", REFUSED): "create role loot superuser",
    ("change one's own role", REFUSED): "alter role {application} bypassrls",
    ("make an extension", REFUSED): "create extension dblink",
    ("load a library", REFUSED): "load 'auto_explain'",
    ("log in the server's settings", REFUSED): "alter system set log_statement = 'all'",
}


async def _script(world: World, text: str) -> Any:
    filled = text.format(
        e=quoted(world.schemas.engine),
        a=quoted(world.schemas.application),
        owner=quoted(world.roles.owner),
        application=quoted(world.roles.application),
        organization=world.prey.organization,
    )
    async with world.connection() as connection:
        return await answer(connection.execute(filled))


async def _generated(world: World, entity: EntityDescription, action: str) -> Any:
    function = entity_function(world.schemas, entity, action)
    found = []
    for record in world.theirs(entity):
        sealed = world.seal.apply(world.own.context)
        more: list[Any] = [record.id]
        if action == "delete":
            more = [record.id, record.version]
        elif action == "increment":
            row = {"id": str(record.id), entity.incrementable[0].name: 1}
            more = [new_id(), [record.id], json.dumps([{"context": sealed, "rows": [row]}]), True]
        parameters = ", ".join(f"${number}" for number in range(1, len(more) + 3))
        async with world.connection() as connection:
            text = f"select * from {function}({parameters})"
            found.append(await answer(connection.fetch(text, world.prey.organization, sealed, *more)))
    return found
