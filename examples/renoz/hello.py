"""A first program on the demo's database: `python -m examples.renoz.hello [DIR]`. Edit it, and run it again."""

import asyncio
import sys

from examples.renoz.entities import Customer, application
from freehold import Database, Include


async def main(folder: str) -> None:
    """Prints a few customers with their primary contacts."""
    async with Database.embedded(folder, application) as database:
        context = await database.system(reason="hello").context(organization="aurora", user="ada@aurora.example")
        async with database.session(context) as session:
            page = await session.list(
                Customer,
                where={"status": "active"},
                order_by="name",
                limit=5,
                include={"contacts": Include(where={"is_primary": True})},
                with_total=True,
            )
            for customer in page:
                primary = customer.contacts[0].last_name if customer.contacts else "nobody"
                print(f"{customer.number}  {customer.name:<32}  {primary}")
            print(f"{len(page)} of {page.total}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ".freehold/demo"))
