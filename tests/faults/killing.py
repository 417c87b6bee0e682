"""A server of the tests' own, that can be killed and started again."""

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from shutil import rmtree

import asyncpg

from freehold import Address
from freehold.postgres.connections import connect
from freehold.postgres.postmaster import Postmaster
from freehold.postgres.server import EmbeddedServer
from tests.conftest import Server
from tests.probe import plain, until
from tests.world import application

__all__ = ["KILLS", "Mortal", "mortal"]

KILLS = ("backend", "postmaster", "immediate", "terminate")
"""`kill -9` of a process that serves a connection, after which the server recovers by itself; `kill -9` of the server; a stop without any
last words; and a connection that is ended in order."""

_AT_WORK = "select pid from pg_stat_activity where application_name = 'freehold' and state <> 'idle'"


class Mortal:
    """The server.

    Args:
        folder: its own.
        server: how it is reached; the same after a restart.
        data: its data directory.
        holds: what keeps it running.
    """

    def __init__(self, folder: Path, server: Server, data: Path, holds: AsyncExitStack) -> None:
        self.server = server
        self.database = "postgres"
        self._folder, self._data, self._holds = folder, data, holds

    @property
    def address(self) -> Address:
        """The application role's."""
        return self.server.address(self.database)

    async def kill(self, kind: str, chance: Random) -> bool:
        """Kills, and starts what was killed again.

        Args:
            kind: one of `KILLS`.
            chance: chooses the connection.

        Returns:
            Whether there was something to kill.
        """
        if kind in ("backend", "terminate"):
            async with plain(self.server.admin_address(self.database)) as connection:
                found = [row["pid"] for row in await connection.fetch(_AT_WORK)]
            if found:
                os.kill(chance.choice(found), signal.SIGKILL if kind == "backend" else signal.SIGTERM)
            return bool(found)
        postmaster = Postmaster.read(self._data)
        assert postmaster is not None
        os.kill(postmaster.pid, signal.SIGKILL if kind == "postmaster" else signal.SIGQUIT)

        async def gone() -> bool:
            return not postmaster.serves(self._data)

        await until(gone, "the server has ended")
        await self._holds.enter_async_context(await EmbeddedServer.start(self._folder))
        return True

    async def serves(self) -> bool:
        """Whether it answers."""
        try:
            async with plain(self.server.admin_address(self.database)) as connection:
                return bool(await connection.fetchval("select not pg_is_in_recovery()"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False


@asynccontextmanager
async def mortal() -> AsyncIterator[Mortal]:
    """A new server with the tests' schema."""
    folder = Path(tempfile.mkdtemp(prefix="fh-")).resolve()
    folder.chmod(0o711)
    try:
        async with AsyncExitStack() as holds:
            running = await holds.enter_async_context(await EmbeddedServer.start(folder))
            where = running.connection()
            admin = Address(
                host=where.host, port=where.port, user=where.user, password=where.password, database=where.database
            )
            server = Server(admin, running.secret("freehold_app"))
            made = Mortal(folder, server, running._cluster.data, holds)
            async with connect(admin) as connection:
                # What a process has written is with the kernel, and outlives a kill.
                await connection.execute("alter system set fsync = off")
                await connection.execute("select pg_reload_conf()")
            await application.setup(admin, {application.roles.application: server.password})
            yield made
    finally:
        rmtree(folder, ignore_errors=True)
