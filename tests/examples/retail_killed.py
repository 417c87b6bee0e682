"""An import of invoice lines that kills its own process at one of its messages: `python -m tests.examples.retail_killed JSON`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from examples.renoz.entities import application
from examples.renoz.retail.importing import import_retail

from freehold import Address, Database
from tests.transfer.killed import kill_at


async def main(told: dict[str, Any]) -> None:
    async with Database.open(Address(**told["address"]), application) as database:
        kill_at(told["number"], told["point"])
        imported = await import_retail(database, Path(told["file"]))
    print(imported.adds_up)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
