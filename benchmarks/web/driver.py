"""What sends the requests: wrk with a script where it is installed, else `sockets.py`. A process of its own in both cases."""

import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import Literal
from uuid import uuid4

__all__ = ["Job", "Load", "RefusedError", "drive", "driver_name", "parsed"]

HERE = Path(__file__).parent
SLACK = 30.0
"""Seconds that a driver may take longer than it was told to."""


@dataclass(frozen=True)
class Job:
    """What is requested.

    Args:
        kind: the same address always, any of some records, new records, or updates of records at the versions they have.
        path: of the address, or of the collection.
        token: the bearer's.
        ids: of the records.
        versions: theirs, for updates.
        body: JSON in which a `~` stands for a number that differs between requests.
        seed: of which record comes next.
        request_id: sent with each request, so that the log tells what the job wrote.
    """

    kind: Literal["same", "any", "create", "update"]
    path: str
    token: str
    ids: Sequence[str] = ()
    versions: Sequence[int] = ()
    body: str = ""
    seed: int = 1
    request_id: str = field(default_factory=lambda: uuid4().hex)

    @property
    def as_lua(self) -> str:
        """The job as a table of Lua."""
        return f"return {_lua(asdict(self))}\n"


@dataclass(frozen=True)
class Load:
    """What a driver saw. Latencies are in microseconds."""

    requests: int
    seconds: float
    bytes: int
    refused: int
    lost: int
    complaint: str
    p50: float
    p95: float
    p99: float
    longest: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    def at(self, percent: int) -> float:
        """The latency that 50, 95 or 99 percent of the requests did not exceed."""
        return {50: self.p50, 95: self.p95, 99: self.p99}[percent]


class RefusedError(AssertionError):
    """An answer was not one of success, or did not come."""


def driver_name() -> str:
    """Which driver there is."""
    return "wrk" if shutil.which("wrk") else "sockets.py (no wrk here: it takes more of the processor)"


async def drive(job: Job, folder: Path, port: int, connections: int, seconds: float, *, refusals: bool = False) -> Load:
    """Load a server on the loopback address.

    Args:
        job: what is requested.
        folder: for the job's file.
        port: the server's.
        connections: at a time; each sends its next request when the last one is answered.
        seconds: how long; wrk takes whole seconds.
        refusals: whether requests may be refused, and are counted then.

    Raises:
        RefusedError: any request was not answered with success.
    """
    wrk = shutil.which("wrk")
    file = folder / ("job.lua" if wrk else "job.json")
    file.touch(mode=0o600)
    file.write_text(job.as_lua if wrk else json.dumps(asdict(job)))
    command = (
        [wrk, "-t1", f"-c{connections}", f"-d{ceil(seconds)}s", "--timeout", "10s", "-s", str(HERE / "load.lua"),
         f"http://127.0.0.1:{port}/", "--", str(file)]
        if wrk
        else [sys.executable, "-I", str(HERE / "sockets.py"), str(port), str(connections), str(seconds), str(file)]
    )  # fmt: skip
    return parsed(await _output(command, seconds + SLACK), refusals=refusals)


async def _output(command: Sequence[str], timeout: float) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace")


def parsed(output: str, *, refusals: bool = False) -> Load:
    """What a driver printed: its last line counts.

    Raises:
        RefusedError: there is no such line, or a request failed.
    """
    line = output.strip().rpartition("\n")[2]
    try:
        load = Load(**json.loads(line))
    except (ValueError, TypeError):
        raise RefusedError(f"the driver failed: {output[-500:]}") from None
    if (load.refused and not refusals) or load.lost or not load.requests:
        raise RefusedError(
            f"{load.refused} of {load.requests} requests were refused and {load.lost} lost; the last one: {load.complaint}"
        )
    return load


def _lua(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_lua(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(map(_lua, value)) + "}"
    # A string of JSON's is one of Lua's where there is nothing but printable ASCII in it.
    return json.dumps(value)
