"""Links what was taken back to what had been sold.

The file does not say which invoice a cancellation is about. The rule: a credit order takes back the customer's latest
order, placed on the same day or before, that has each of its products in at least that quantity. Where there is none (a
discount, goods of two orders, an order before the file begins), it stays without a link.
"""

from uuid import UUID

from pydantic import BaseModel

from examples.renoz.entities import Order
from freehold import Session

__all__ = ["link_credits"]

CREDITS = 250
"""Credit orders of one query."""

FIND = """
with credit as (
    select id, version, number, customer_id, placed_on from orders
    where kind = 'credit' and credits_id is null and number > :after order by number limit :most
), taken as (
    select c.id, l.product_id, sum(l.quantity) as quantity
    from credit c join order_lines l on l.order_id = c.id group by c.id, l.product_id
)
select c.id, c.version, c.number, (
    select s.id from orders s
    where s.customer_id = c.customer_id and s.kind = 'sale' and s.placed_on <= c.placed_on and not exists (
        select from taken t where t.id = c.id and t.quantity > coalesce((
            select sum(l.quantity) from order_lines l where l.order_id = s.id and l.product_id = t.product_id), 0))
    order by s.placed_on desc, s.number desc limit 1
) as sale
from credit c order by c.number"""


class Credit(BaseModel):
    """A credit order without a link, and the order that it takes back."""

    id: UUID
    version: int
    number: str
    sale: UUID | None


async def link_credits(session: Session) -> tuple[int, int]:
    """Links an organization's credit orders that have no link yet.

    Returns:
        How many have one now, and how many credit orders there are.
    """
    after = ""
    while True:
        credits = await session.sql(Credit, FIND, after=after, most=CREDITS)
        found = [((credit.id, credit.version), {"credits_id": credit.sale}) for credit in credits if credit.sale]
        await session.update_many(Order, found)
        if len(credits) < CREDITS:
            break
        after = credits[-1].number
    linked = await session.count(Order, {"kind": "credit", "credits_id": {"is_null": False}})
    return linked, await session.count(Order, {"kind": "credit"})
