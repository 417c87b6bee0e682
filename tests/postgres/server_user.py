"""A process that uses an embedded server, told what to do by lines of JSON on its standard input.

Each command is a list, `["start", path]`; each answer one line, `{"ok": ...}` or `{"error": ..., "hint": ...}`. Given
`uid:gid` as its argument it becomes that user first, after its imports: a virtual environment may be where that user
cannot go.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - asyncio imports it on first use, which may be too late; see above
import json
import os
import resource
import signal
import socket
import sys
from typing import Any

import asyncpg

from freehold.errors import FreeholdError
from freehold.postgres.server import EmbeddedServer

# Where the tests run in the background of a shell, interrupts are ignored, and so would be this process's.
signal.signal(signal.SIGINT, signal.default_int_handler)


class User:
    def __init__(self) -> None:
        self.server: EmbeddedServer | None = None
        self.kept: list[socket.socket] = []

    async def start(self, path: str) -> str:
        self.server = await EmbeddedServer.start(path)
        return self.server.connection().host

    async def stop(self) -> None:
        assert self.server is not None
        await self.server.stop()

    async def secret(self, name: str) -> str:
        assert self.server is not None
        return self.server.secret(name)

    async def execute(self, statement: str) -> Any:
        assert self.server is not None
        return await self.fetch(self.server.connection().as_arguments(), statement)

    async def fetch(self, arguments: dict[str, Any], statement: str) -> Any:
        connection = await asyncpg.connect(**arguments)
        try:
            return str(await connection.fetchval(statement))
        finally:
            await connection.close()

    async def read(self, path: str) -> str:
        with open(path) as file:
            return file.read()

    async def listen(self, path: str) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        self.kept.append(listener)

    async def limit_files(self, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


async def main() -> None:
    user = User()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    print(json.dumps({"ok": os.getpid()}), flush=True)
    while line := await reader.readline():
        command, *arguments = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"ok": await getattr(user, command)(*arguments)}
        except FreeholdError as error:
            answer = {"error": error.message, "hint": error.hint}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "hint": None}
        print(json.dumps(answer), flush=True)
    transport.close()


if len(sys.argv) > 1:
    uid, gid = map(int, sys.argv[1].split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
asyncio.run(main())
