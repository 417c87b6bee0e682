"""The whole Online Retail import: how long it takes, and how much memory the importing process.

The import runs in a process of its own against a new, empty server. Without the real file a sample of its shape is
imported, of as many lines, and the figures say so.
"""

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

from examples.renoz.entities import application
from examples.renoz.retail.importing import import_retail
from examples.renoz.retail.printing import as_dict
from examples.renoz.retail.sample import retail_file, write_sample

from benchmarks.world import machine_of
from freehold import Address, Database
from freehold.postgres.server import EmbeddedServer

__all__ = ["LONGEST", "MOST_MEMORY", "NAME", "TITLE", "Outcome", "measure"]

NAME = "import"
TITLE = "The Online Retail import"
PARENT = Path(".freehold")
LINES = 541_909
"""Of the real file."""
LONGEST = 180.0
"""Seconds that it may take."""
MOST_MEMORY = 250 * 2**20
"""Bytes of memory that the importing process may have at its peak."""


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Args:
        real: whether it was the real file.
        seconds: of the import, from the opening of the database to the totals.
        phases: the seconds at which each part was done.
        peak: bytes of memory of the importing process, at most.
        imported: the totals.
        machine: what it was measured on.
    """

    real: bool
    seconds: float
    phases: Mapping[str, float]
    peak: int
    imported: Mapping[str, Any]
    machine: Mapping[str, str]


async def measure() -> Outcome:
    """Imports the file into a new server."""
    PARENT.mkdir(exist_ok=True)
    folder = Path(mkdtemp(prefix="import-", dir=PARENT)).absolute()
    folder.chmod(0o711)  # the server's account passes through
    try:
        file, real = retail_file(folder)
        if not real:
            write_sample(file, lines=LINES)
        async with (
            await EmbeddedServer.start(folder / "server") as server,
            Database.embedded(folder / "server", application),
        ):
            where = server.connection(application.roles.application, server.connection().database)
            told = {"address": where.as_arguments(), "file": str(file.absolute())}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.invoices", json.dumps(told), stdout=asyncio.subprocess.PIPE
            )
            printed, _ = await process.communicate()
            if process.returncode:
                raise SystemExit(f"the import ended with {process.returncode}")
            return Outcome(real=real, machine=await machine_of(where), **json.loads(printed))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _imported(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the process of its own measures."""
    phases: dict[str, float] = {}
    started = perf_counter()
    address = told["address"]
    where = Address(**{name: address[name] for name in ("host", "port", "user", "password", "database")})

    def note(what: str, _done: int, _size: int) -> None:
        phases[what] = round(perf_counter() - started, 2)

    async with Database.open(where, application) as database:
        imported = await import_retail(database, Path(told["file"]), progress=note)
    return {
        "seconds": round(perf_counter() - started, 2), "phases": phases, "peak": _peak(), "imported": as_dict(imported),
    }  # fmt: skip


def _peak() -> int:
    """Bytes that this program had in memory at most; getrusage would count what its parent had before it began."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_imported(json.loads(sys.argv[1])))))
