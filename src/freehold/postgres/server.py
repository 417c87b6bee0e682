"""The embedded server: PostgreSQL in a folder, for development, demonstrations and tests.

Authority: the folder. Whoever holds its `lock` starts and stops; whoever holds its `users` is a user. A server runs
from the first user's start to the last user's stop, and belongs to none of them.

Failures: a user that is killed is no user any more, by the kernel; the server stays if it was the last, and the next
start joins it. If PostgreSQL is killed too, the next start recovers. If `initdb` is killed, nothing is there.

Trust: the folder's owner, root, and (when root starts it) the server's account. No other user of the machine can reach
the socket, and whoever reaches it needs a password.
"""

import asyncio
import errno
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import quote

from freehold.errors import ServerError

if sys.platform != "win32":
    from freehold.postgres.account import Account
    from freehold.postgres.binaries import VARIABLE, Binaries
    from freehold.postgres.cluster import SUPERUSER, Cluster
    from freehold.postgres.folder import Folder, room
    from freehold.postgres.postmaster import PORT
else:
    SUPERUSER = "postgres"

__all__ = ["SUPERUSER", "EmbeddedServer", "ServerAddress"]

_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """What a client needs to connect.

    Args:
        host: the folder of the socket.
        port: the number in the socket's name.
        user: the role.
        password: its password.
        database: which database.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    def as_arguments(self) -> dict[str, str | int]:
        """The address as arguments for `asyncpg.connect`."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
        }

    @property
    def url(self) -> str:
        """The address as a libpq URL, password included."""
        user, password, database = (quote(part, safe="") for part in (self.user, self.password, self.database))
        return f"postgresql://{user}:{password}@/{database}?host={quote(self.host, safe='')}&port={self.port}"


class EmbeddedServer:
    """A hold on the server in a folder. Make it with `start`.

    Any number of holds, in any number of processes, share one server; it stops when the last one is given up.

    Example:
        async with await EmbeddedServer.start(".freehold") as server:
            connection = await asyncpg.connect(**server.connection().as_arguments())
    """

    def __init__(self, folder: "Folder", cluster: "Cluster", directory: Path, user: IO[bytes]) -> None:
        self._folder = folder
        self._cluster = cluster
        self._directory = directory
        self._user: IO[bytes] | None = user

    @classmethod
    async def start(
        cls,
        path: Path | str,
        *,
        timeout: float = _TIMEOUT,
    ) -> "EmbeddedServer":
        """Join the server in this folder; start it if it does not run, and make its cluster if there is none.

        Args:
            path: the folder; made if absent.
            timeout: how long to wait for the server, in seconds. A start that takes longer is undone.

        Raises:
            ServerError: it cannot be made, started or joined; the message says why.
        """
        if sys.platform == "win32":
            raise ServerError(
                "the embedded server does not run on Windows",
                hint="use the URL of a PostgreSQL server, for instance one in Docker or WSL",
            )
        joining = asyncio.ensure_future(asyncio.to_thread(cls._join, path, timeout))
        try:
            return await asyncio.shield(joining)
        except asyncio.CancelledError:
            # A thread cannot be cancelled. Its hold must not outlive this call, so it is waited for and given up.
            await asyncio.wait([joining])
            if joining.exception() is None:
                await joining.result().stop()
            raise

    @classmethod
    def _join(cls, path: Path | str, timeout: float) -> "EmbeddedServer":
        deadline = time.monotonic() + timeout
        try:
            folder = Folder(path)
            with folder.lock(deadline):
                cluster = Cluster(folder.home, Account.choose(folder.home / "data"))
                directory = cluster.find(deadline)
                if directory is None:
                    cluster, directory = _start(folder, cluster, deadline)
                else:
                    folder.log().close()  # a server that never stops has its log shortened by those who join
                return cls(folder, cluster, directory, folder.enter())
        except OSError as error:
            raise _explained(error, path) from error

    def connection(self, role: str = SUPERUSER, database: str = "postgres") -> ServerAddress:
        """The address for a role, with the password that is the secret of its name.

        Args:
            role: the role; except the superuser, it is the caller's to create, with `secret(role)` as password.
            database: which database; also the caller's to create.
        """
        return ServerAddress(str(self._directory), PORT, role, self.secret(role), database)

    def secret(self, name: str) -> str:
        """The folder's password of this name: random, made on first use, then the same in every process.

        Args:
            name: letters, digits, `_` and `-`.

        Raises:
            ServerError: the name has other characters, or the password cannot be kept.
        """
        try:
            return self._folder.secret(name)
        except OSError as error:
            raise _explained(error, self._folder.path) from error

    async def stop(self) -> None:
        """Give up this hold; the last one stops the server, and then everything is on disk. Twice is as good as once.

        Raises:
            ServerError: the server does not stop.
        """
        user, self._user = self._user, None
        if user is not None:
            await asyncio.shield(asyncio.to_thread(self._leave, user))

    def _leave(self, user: IO[bytes]) -> None:
        deadline = time.monotonic() + _TIMEOUT
        try:
            with user, self._folder.lock(deadline):
                if self._folder.is_last(user):
                    self._cluster.stop(deadline)
        except OSError as error:
            raise _explained(error, self._folder.path) from error

    async def __aenter__(self) -> "EmbeddedServer":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _start(folder: "Folder", cluster: "Cluster", deadline: float) -> "tuple[Cluster, Path]":
    binaries, major = _programs(cluster.account)
    if cluster.data.exists():
        cluster.check(binaries, major)
        if not folder.has_secret(SUPERUSER):
            raise ServerError(
                f"the cluster in {cluster.home} is there, but its passwords in {folder.path / 'secrets'} are gone",
                hint="bring them back from a backup, or move the folder away to begin with an empty database",
            )
    else:
        cluster = Cluster(folder.place(cluster.account), cluster.account)
        cluster.make(binaries, major, folder.secret(SUPERUSER))
    directory = cluster.socket_directory()
    with folder.log() as log:
        cluster.start(binaries, directory, log, deadline)
    return cluster, directory


def _programs(account: "Account") -> "tuple[Binaries, int]":
    """The programs, where the account can run them, and their version."""
    found = Binaries.find()
    answer = account.version(found.postgres)
    if answer.code != 0 and account.demoted:
        found = found.copied_to(room(account))
        answer = account.version(found.postgres)
    if answer.code != 0:
        raise ServerError(
            f"{found.postgres} ({found.origin}) cannot be run: {answer.output.strip()}",
            hint=f"install PostgreSQL where this user can run it, and set {VARIABLE} to its bin folder",
        )
    return found, found.major(answer.output)


def _explained(error: OSError, path: Path | str) -> ServerError:
    hints = {
        errno.EACCES: "choose a folder that this user can write",
        errno.EPERM: "choose a folder that this user can write",
        errno.EROFS: "choose a folder on a file system that can be written",
        errno.ENOSPC: "free some disk space, or choose a folder on another disk",
    }
    where = f" ({error.filename})" if error.filename else ""
    return ServerError(
        f"the server in {path} cannot be used: {error.strerror or error}{where}", hint=hints.get(error.errno or 0)
    )
