"""The servers that are compared, and how each is started: a process of its own that listens on the loopback address."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic

from benchmarks.web.entities import METRICS
from benchmarks.web.world import Site

__all__ = ["CONTENDERS", "POOL", "SCALE", "Contender", "Served", "served"]

POOL = 16
"""Connections to PostgreSQL that each server has."""
STARTED = 30.0
"""Seconds in which a server must listen."""
STOPPED = 10.0
SOURCES = Path(__file__).with_name("fastify")
KEPT = 1.0


@dataclass(frozen=True)
class Contender:
    """A server.

    Args:
        name: short and stable, for files.
        label: what it is, for people.
        command: starts it with a file of settings.
        absent: why it cannot run here; nothing if it can.
        keep_tokens: seconds for which it believes a verified token.
    """

    name: str
    label: str
    command: Callable[[Path], Sequence[str]]
    absent: Callable[[], str] = lambda: ""
    keep_tokens: float = 0.0


@dataclass(frozen=True)
class Served:
    """A contender that listens."""

    contender: Contender
    port: int
    process: int

    @property
    def name(self) -> str:
        return self.contender.name

    @property
    def resident(self) -> int:
        """Bytes of its process that are in memory; 0 where the system does not tell."""
        try:
            lines = Path(f"/proc/{self.process}/status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def _python(module: str, *arguments: str) -> Callable[[Path], Sequence[str]]:
    return lambda settings: [sys.executable, "-m", module, *arguments, str(settings)]


def _absent_node() -> str:
    """Why there is no Fastify; installs it, as its lock file says, where it is missing."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    folder = _node_folder()
    if not (folder / "complete").exists():
        shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--omit=dev"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return f"npm ci failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1][:200]}"
        (folder / "complete").touch()
    return ""


def _node_folder() -> Path:
    """Where the Node.js server and its packages are; another one for other sources."""
    digest = sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.js*"))))
    return Path(".freehold/fastify").resolve() / digest.hexdigest()[:12]


def _fastify(settings: Path) -> Sequence[str]:
    statement = settings.with_name("metrics.sql")
    statement.write_text(METRICS)
    return ["node", str(_node_folder() / "server.js"), str(settings), str(statement)]


OURS, PEERS = "benchmarks.web.freehold", "benchmarks.web.peers"
CONTENDERS = (
    Contender("freehold", "Freehold", _python(OURS, "application")),
    Contender("fastapi-sqlalchemy", "FastAPI, SQLAlchemy async ORM", _python(PEERS, "fastapi-sqlalchemy")),
    Contender("fastapi-asyncpg", "FastAPI, asyncpg by hand", _python(PEERS, "fastapi-asyncpg")),
    Contender("starlette-asyncpg", "Starlette, asyncpg by hand", _python(PEERS, "starlette-asyncpg")),
    Contender("starlette-kept", "the same, tokens kept for 1 s", _python(PEERS, "starlette-asyncpg"), keep_tokens=KEPT),
    Contender("fastify", "Fastify, pg (Node.js)", _fastify, _absent_node),
)
"""Freehold first, then its peers."""
SCALE = Contender("freehold-crm", "Freehold", _python(OURS, "crm"))
"""Freehold with the entities of `examples.renoz`."""


@asynccontextmanager
async def served(site: Site, contender: Contender) -> AsyncIterator[Served]:
    """Start a contender, and end it.

    Raises:
        RuntimeError: it does not listen in time.
    """
    port = _free_port()
    settings = site.settings(contender.name, port, POOL, contender.keep_tokens)
    output = site.folder / f"{contender.name}.log"
    environment = {**os.environ, "NODE_ENV": "production"}
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *contender.command(settings), stdout=file, stderr=file, env=environment
        )
    try:
        await _listening(contender, port, process, output)
        yield Served(contender, port, process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOPPED)
            except TimeoutError:
                process.kill()
                await process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def _listening(contender: Contender, port: int, process: asyncio.subprocess.Process, output: Path) -> None:
    deadline = monotonic() + STARTED
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if process.returncode is not None or monotonic() > deadline:
                said = output.read_text(errors="replace")[-1000:]
                raise RuntimeError(f"{contender.label} does not listen: {said}") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
