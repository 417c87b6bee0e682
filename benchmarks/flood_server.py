"""The server that is flooded: `python -m benchmarks.flood_server SETTINGS`, one process, with limits or without. Prints its port."""

import asyncio
import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import entities
from freehold import Application, Database
from freehold.identity.authentication import Authenticator
from freehold.postgres.address import Address
from freehold.server import Settings
from freehold.server.application import WebApplication
from freehold.server.listening import bind
from freehold.server.serving import Stop, loop_factory, serve_one, signals

__all__ = ["Told", "application"]


class Customer(entities.Customer, soft_delete=True, expose=["list", "get"]):
    """A customer of an organization."""


application = Application("flood", entities=[Customer])


@dataclass(frozen=True)
class Told:
    """What the server's process is told, in a file of JSON.

    Args:
        pool: connections to PostgreSQL.
        limited: whether it has its usual limits.
        address: the arguments of `Address`, of the application's role.
    """

    pool: int
    limited: bool
    address: dict[str, Any]


async def main(told: Told) -> None:
    """Serve until SIGTERM."""
    settings = Settings(access_log=False, metrics=False)
    if not told.limited:
        settings = replace(settings, limits=None)
    stop = Stop()
    with bind("127.0.0.1", 0) as bound:
        async with Database.open(Address(**told.address), application, size=told.pool) as database:
            authenticator = Authenticator(database.system("authentication"), roles=application.grants)
            server = WebApplication(application, database=database, settings=settings, authenticator=authenticator)
            with signals(stop):
                await serve_one(server, bound, stop, partial(print, bound.getsockname()[1], flush=True))
            await authenticator.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main(Told(**json.loads(Path(sys.argv[1]).read_text()))))
