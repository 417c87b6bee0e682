"""The calls of the tour. What the tour prints is the source of these functions, so what one reads is what ran.

`aurora` and `harbour` are sessions of the two organizations. The other parameters are results of earlier calls.
"""

from examples.renoz.analytics import CustomerSummary, Dashboard, TopCustomer, customer_summary, dashboard, top_customers
from examples.renoz.data import MONTH_START, TODAY
from examples.renoz.entities import Customer, Order, OrderLine, Product
from freehold import Database, Entity, Group, Include, Page, SearchPage, Session
from freehold.doctor import Proof, Report, attempt_isolation, examine
from freehold.errors import CommitError, ConcurrencyError, ValidationError
from freehold.store.history import Change

__all__ = [
    "TOUR_NUMBER",
    "active_customers",
    "all_or_nothing",
    "as_it_was",
    "bad_input",
    "best_customers",
    "brought_back",
    "examined",
    "figures",
    "first_page",
    "found",
    "history_of_a_record",
    "key_accounts",
    "late_payers",
    "narrowed",
    "next_page",
    "orders_by_status",
    "placed",
    "proved",
    "remove_leftovers",
    "same_for_the_other",
    "summary",
    "version_conflict",
]

TOUR_NUMBER = "T-00001"
"""The number of the customer that the tour makes and removes again."""


async def active_customers(session: Session, after: str | None = None) -> Page[Customer]:
    """The list page of the CRM."""
    return await session.list(
        Customer,
        where={"status": "active", "credit_limit": {"gte": 25_000}},
        order_by=["-credit_limit", "name"],
        limit=6,
        after=after,
        with_total=True,
    )


async def first_page(aurora: Session) -> Page[Customer]:
    """A page of one tenant's records."""
    return await active_customers(aurora)


async def next_page(aurora: Session, first_page: Page[Customer]) -> Page[Customer]:
    """The page after it."""
    return await active_customers(aurora, after=first_page.next)


async def same_for_the_other(harbour: Session) -> Page[Customer]:
    """The same call in the other tenant's session."""
    return await active_customers(harbour)


async def late_payers(aurora: Session) -> Page[Order]:
    """A filter across references, into a JSON document, a list and a reversed reference."""
    return await aurora.list(
        Order,
        where={
            "paid_on": None,
            "status": {"in": ["shipped", "delivered"]},
            "customer.settings.invoicing.terms_days": {"lte": 30},
            "lines.product.category": "battery",
            "not": {"customer.tags": {"contains": "key-account"}},
        },
        order_by=["due_on", "number"],
        limit=5,
        with_total=True,
        include={"customer": Include(select=["name", "settings"])},
    )


async def key_accounts(aurora: Session) -> Page[Customer]:
    """Three levels of related records, each limited and ordered, in one statement."""
    return await aurora.list(
        Customer,
        where={"tags": {"contains": "key-account"}, "orders.status": "delivered"},
        order_by="number",
        limit=2,
        include={
            "contacts": Include(order_by=["-is_primary", "last_name", "first_name"], limit=2),
            "orders": Include(
                order_by=["-placed_on", "number"],
                limit=2,
                include={
                    "lines": Include(
                        order_by="position",
                        limit=2,
                        include={"product": Include(select=["sku", "name"])},
                    ),
                },
            ),
            "activities": "count",
        },
    )


async def found(aurora: Session) -> SearchPage[Entity]:
    """Words, their beginnings and a typing error, in everything that can be searched."""
    return await aurora.search("battry", limit=5)


async def narrowed(aurora: Session) -> Page[Customer]:
    """A search that narrows a list, with its filter, order and total."""
    return await aurora.list(
        Customer, search="sol", where={"status": "active"}, order_by="number", limit=4, with_total=True
    )


async def orders_by_status(aurora: Session) -> tuple[Group, ...]:
    """Grouped figures without SQL."""
    return await aurora.aggregate(
        Order,
        group_by=["status"],
        sum=["total"],
        avg=["total"],
        min=["placed_on"],
        max=["placed_on"],
    )


async def summary(aurora: Session) -> CustomerSummary | None:
    """The head of a customer's page."""
    return await customer_summary(aurora, number="C-00008")


async def figures(aurora: Session) -> Dashboard:
    """The dashboard; what counts as this month is a parameter."""
    return await dashboard(aurora, month_start=MONTH_START, today=TODAY)


async def best_customers(aurora: Session) -> list[TopCustomer]:
    """Who ordered most."""
    return await top_customers(aurora, most=5)


async def bad_input(aurora: Session) -> ValidationError | None:
    """Everything that is wrong is told at once, and nothing was sent."""
    try:
        await aurora.create(Customer, number="12", status="lost", credit_limit="-5", health=120, colour="red")
    except ValidationError as error:
        return error
    return None


async def placed(aurora: Session) -> Order:
    """A new customer, an order and its lines, in one message: all of it or nothing."""
    products = await aurora.list(Product, where={"status": "active"}, order_by="sku", limit=2)
    total = sum(product.price for product in products)
    async with aurora.unit_of_work() as unit:
        customer = unit.add(Customer, number=TOUR_NUMBER, name="Kelvin & Co")
        order = unit.add(Order, customer_id=customer.id, number="T-1", subtotal=total, total=total)
        for position, product in enumerate(products, 1):
            price = product.price
            line = {"product_id": product.id, "position": position, "quantity": 1, "unit_price": price, "amount": price}
            unit.add(OrderLine, order_id=order.id, **line)
    (found,) = await aurora.list(Order, where={"id": order.id}, include={"customer": True, "lines": "count"})
    return found


async def all_or_nothing(aurora: Session, placed: Order) -> CommitError | None:
    """Three changes, of which two cannot be made: both are told, and none is made. Then the order is taken away again."""
    unit = aurora.unit_of_work()
    unit.update(placed, customer_reference="by phone")
    unit.add(Order, customer_id=placed.customer_id, number="T-1")
    unit.delete(placed.customer)
    try:
        await unit.commit()
    except CommitError as error:
        async with aurora.unit_of_work() as removal:
            removal.delete(placed)
            removal.purge(placed.customer)
        return error
    return None


async def version_conflict(aurora: Session) -> ConcurrencyError | None:
    """Two people change what they both read."""
    kelvin = Customer.Create(number=TOUR_NUMBER, name="Kelvin & Co", credit_limit=1_000)
    customer = await aurora.create(Customer, kelvin)
    await aurora.update(customer, credit_limit=2_000)  # one saves
    try:
        await aurora.update(customer, credit_limit=1_500)  # the other still has version 1
    except ConcurrencyError as conflict:
        return conflict
    return None


async def as_it_was(aurora: Session, version_conflict: ConcurrencyError) -> tuple[Customer, Customer]:
    """The record of now and of the moment when it was made: any read can be about a moment."""
    customer = version_conflict.current
    async with aurora.as_of(customer.created_at) as past:
        return customer, await past.get(Customer, customer.id)


async def brought_back(aurora: Session, version_conflict: ConcurrencyError) -> Customer:
    """The values of version 1, as a new version."""
    return await aurora.revert(version_conflict.current, to_version=1)


async def history_of_a_record(aurora: Session, brought_back: Customer) -> tuple[Change, ...]:
    """Who changed what, from the log; it outlives the record."""
    customer = await aurora.update(brought_back, credit_limit=1_500, tags=["referral"])
    deleted = await aurora.delete(customer)
    restored = await aurora.restore(deleted)
    await aurora.purge(restored)
    return await aurora.history(restored)


async def examined(database: Database) -> Report:
    """What an experienced administrator would look at, as the application role may see it."""
    return await examine(database.store.pool.address, database.application)


async def proved(database: Database) -> Proof:
    """Two scratch organizations with marked values in every entity, and every way to reach from one to the other."""
    return await attempt_isolation(database)


async def remove_leftovers(aurora: Session) -> None:
    """Removes the tour's customer where a tour was killed before it did."""
    left = await aurora.find(Customer, {"number": TOUR_NUMBER}, deleted=True)
    if left is not None:
        await aurora.delete_where(Order, {"customer_id": left.id})
        await aurora.purge(left)
