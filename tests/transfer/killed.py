"""An import that kills its own process at one of its messages: `python -m tests.transfer.killed JSON`.

The process ends as by `kill -9`: before a message is sent, right after it was sent, or when it was answered.
"""

import asyncio
import json
import os
import signal
import sys
from typing import Any
from uuid import UUID

import asyncpg

from freehold import Address, Context, Database
from freehold.transfer import import_file
from tests.world import Customer, application

POINTS = ("before", "sent", "answered")


def kill_at(number: int, point: str) -> None:
    """Has the process killed at its message of this number."""
    count = 0

    def wrapped(real: Any) -> Any:
        async def call(self: Any, *arguments: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count != number:
                return await real(self, *arguments, **more)
            if point == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = asyncio.ensure_future(real(self, *arguments, **more))
            if point == "sent":
                for _ in range(3):
                    await asyncio.sleep(0)
                os.kill(os.getpid(), signal.SIGKILL)
            await answer
            os.kill(os.getpid(), signal.SIGKILL)
            return None

        return call

    for name in ("fetch", "execute"):
        setattr(asyncpg.Connection, name, wrapped(getattr(asyncpg.Connection, name)))


async def main(told: dict[str, Any]) -> None:
    context = Context(organization_id=UUID(told["organization"]))
    async with Database.open(Address(**told["address"]), application, size=2) as database:
        kill_at(told["number"], told["point"])
        result = await import_file(
            database.session(context),
            Customer,
            told["file"],
            chunk=told["chunk"],
            errors=told["errors"],
            key=told["key"],
        )
    print(json.dumps(result.as_dict()))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
