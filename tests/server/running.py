"""A server in processes of its own, whose API answers when a test says so: `python -m tests.server.running`."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from freehold import Address
from freehold.server.application import WebApplication
from freehold.server.listening import address_of, bind
from freehold.server.logs import configure
from freehold.server.metrics import SharedFigures
from freehold.server.serving import Stop, loop_factory, serve_one, signals
from freehold.server.settings import Settings
from freehold.server.supervisor import Supervisor
from tests.probe import PATIENCE
from tests.world import application


class Waiting:
    """`/api/pid` tells the process; `/api/wait` answers when a file is there, and makes one when it begins to wait."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        scope["state"]["function"] = name = scope["state"]["exchange"].path.rpartition("/")[2]
        if name == "wait":
            (self._folder / "waits").touch()
            while not (self._folder / "go").exists():
                await asyncio.sleep(0.01)
        elif name == "hang":
            import time

            time.sleep(3_600)
        elif name == "body":
            await request.body()
        await JSONResponse({"pid": os.getpid()})(scope, receive, send)


def make(folder: str, address: Address, settings: Settings, shared: SharedFigures | None) -> WebApplication:
    if shared is not None:
        configure(settings)
    return WebApplication(application, url=address, settings=settings, size=2, api=Waiting(folder), shared=shared)


def main() -> None:
    told = json.loads(sys.argv[1])
    settings = Settings(**told["settings"])
    address = Address(**told["address"])
    made = partial(make, told["folder"], address, settings)
    bound = bind("127.0.0.1", 0)
    ready = partial(print, address_of(bound), flush=True)
    configure(settings)
    if told["workers"] > 1:
        Supervisor(made, bound, told["workers"], settings, listening=ready, silent=told["silent"]).run()
        return

    async def alone() -> None:
        stop = Stop()
        with signals(stop):
            await serve_one(made(None), bound, stop, ready)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(alone())


class Running:
    """A server that runs."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, folder: Path) -> None:
        self.process = process
        self.url = url
        self.folder = folder
        self.client = httpx.AsyncClient(base_url=url, timeout=PATIENCE)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def waits(self) -> None:
        """Until the request to `/api/wait` is being answered."""
        await until(lambda: (self.folder / "waits").exists())

    def go(self) -> None:
        """Lets it be answered."""
        (self.folder / "go").touch()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def refuses(self) -> None:
        """Until it accepts no more connections."""

        async def refused() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                return True
            writer.close()
            return False

        await until(refused)


async def until(happened: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = happened()
            if (await found) if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    address: Address, folder: Path, *, workers: int = 1, silent: float = 60.0, **settings: Any
) -> AsyncIterator[Running]:
    """A server in processes of its own; all of them are gone at the end."""
    where = {name: getattr(address, name) for name in ("host", "port", "user", "password", "database")}
    told = {"settings": settings, "workers": workers, "folder": str(folder), "address": where, "silent": silent}
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.server.running",
            json.dumps(told),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).parents[2],
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            url = (await process.stdout.readline()).decode().strip()
        assert url, (folder / "log").read_text()
        found = Running(process, url, folder)
        async with found.client:
            yield found
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()  # its output is closed with it


if __name__ == "__main__":
    main()
