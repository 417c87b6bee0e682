"""What tests need besides sessions: plain connections, databases of their own, waits for what the server does."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
from pydantic import BaseModel

from freehold import Address, Application, Context, Entity, Page
from freehold.model.seal import Seal
from freehold.postgres.connections import connect
from tests.world import application

if TYPE_CHECKING:
    from tests.conftest import Server

_numbers = itertools.count()

SEALS: list[Seal] = []
"""The seal of the test server's programs; set when it has started."""
PATIENCE = 20.0
"""Seconds to wait for what must happen."""


@asynccontextmanager
async def plain(address: Address) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection of the driver, as a program without Freehold would have it."""
    connection = await asyncpg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database,
        server_settings={"application_name": "probe"},
    )
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def scratch(server: "Server", declared: Application | None = application) -> AsyncIterator[str]:
    """A database for one test: with an application's schema, or empty. It is dropped at the end."""
    name = f"scratch_{os.getpid()}_{next(_numbers)}"
    async with connect(server.admin) as connection:
        await connection.execute(f'drop database if exists "{name}" with (force)')
        await connection.execute(f'create database "{name}"')
    try:
        if declared is not None:
            await declared.setup(server.admin_address(name), {declared.roles.application: server.password})
        yield name
    finally:
        async with connect(server.admin) as connection:
            await connection.execute(f'drop database if exists "{name}" with (force)')


async def enter(connection: "asyncpg.Connection[asyncpg.Record]", context: Context, schema: str = "freehold") -> None:
    """Puts a plain connection into a context, for its transaction."""
    await connection.execute(f'select "{schema}".enter($1, $2)', context.organization_id, sealed(context))


def sealed(context: Context) -> str:
    """What the database is told of a context."""
    return SEALS[-1].apply(context)


async def hold(connection: "asyncpg.Connection[asyncpg.Record]", context: Context) -> None:
    """Puts a plain connection into a context for as long as it lasts."""
    await connection.execute(
        "select set_config('freehold.organization_id', $1, false), set_config('freehold.context', $2, false)",
        str(context.organization_id),
        sealed(context),
    )


async def run(
    connection: "asyncpg.Connection[asyncpg.Record]", context: Context, statement: str, *values: Any
) -> list[Any]:
    """A statement in a context, in a transaction of its own."""
    async with connection.transaction():
        await enter(connection, context)
        return list(await connection.fetch(statement, *values))


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> None:
    """Waits until a condition holds; fails with what was waited for when it does not come to hold."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not await condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited for {PATIENCE:g} s in vain: {what}") from None


async def blocked(admin: "asyncpg.Connection[asyncpg.Record]", count: int) -> None:
    """Waits until so many statements of this database wait for a lock; 0 until none does any more."""

    async def reached() -> bool:
        await admin.execute("select pg_stat_clear_snapshot()")  # in a transaction the view stands still otherwise
        waiting = await admin.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        return bool(waiting >= count if count else waiting == 0)

    await until(reached, f"{count} statements wait for a lock")


async def hidden(admin: "asyncpg.Connection[asyncpg.Record]", record: Entity) -> None:
    """Deletes a record softly without its triggers, so that what refers to it stays as it is: rows of an earlier release."""
    async with admin.transaction():
        await admin.execute("set local session_replication_role = replica")
        await admin.execute(
            f'update app."{type(record).__entity__.table}" set deleted_at = now(), version = version + 1 where id = $1',
            record.id,
        )


def shown(value: Any) -> str:
    """All that a value tells: what an answer is searched for traces in."""
    if isinstance(value, Page):
        return f"{[shown(record) for record in value.records]} {value.json!r} {value.total}"
    if isinstance(value, BaseModel):
        return f"{value!r} {value.model_dump_json()}"
    if isinstance(value, BaseException):
        return f"{value} {vars(value)!r} {getattr(value, 'as_dict', dict)()!r}"
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (list, tuple)):
        return " ".join(map(shown, value))
    return repr(value)


def masked(error: BaseException, id: UUID) -> tuple[type[BaseException], str]:
    """An error with the id that the caller gave taken out: what two answers are compared by."""
    return type(error), str(error).replace(str(id), "<id>")
