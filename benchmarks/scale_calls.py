"""The calls of the scale benchmark: which there are, how often they are made, and with what."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from examples.renoz.analytics import dashboard
from examples.renoz.entities import Activity, Customer, Order

from benchmarks.scale_data import BEGINNINGS, CITIES, ENDINGS, LETTERS, MIDDLES, TRADES, customer_id
from freehold import Context, Database, Include, Session

__all__ = ["CALLS", "ORDERS", "PAGE", "TODAY", "Call", "Caller", "Tenant", "prepare"]

PAGE = 50
THOUSANDTH = 999
"""Pages before the 1,000th."""
ORDERS = (None, "name", "-customer_since", "customer_since")
"""What pages are ordered by: nothing but the id, a field, and one that may be null, in both directions."""
MIDDLE = 25
"""The organization in the middle by its size."""
TODAY = date(2026, 6, 15)
MONTH_START = TODAY.replace(day=1)


@dataclass
class Tenant:
    """An organization as the callers know it.

    Args:
        ordinal: 0 is the large one.
        size: customers that were loaded.
        context: of its user.
        database: what sessions are made from.
        far: by order, the cursor of the 1,000th page, or of the last one where there are fewer.
        created: customers that were created, by this run and those before it.
        moment: before the calls began.
    """

    ordinal: int
    size: int
    context: Context
    database: Database
    far: dict[str | None, str | None] = field(default_factory=dict)
    created: int = 0
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def session(self) -> Session:
        """A session for one call, as a request has one."""
        return self.database.session(self.context)

    def next_number(self) -> str:
        """A number that no customer has yet: `L-00000` and so on."""
        letter, rest = divmod(self.created, 100_000)
        self.created += 1
        return f"{chr(ord(LETTERS[-1]) + 1 + letter)}-{rest:05d}"


async def prepare(tenants: Sequence[Tenant]) -> None:
    """Find what the calls need to know: cursors, numbers, a moment."""
    first = f"{chr(ord(LETTERS[-1]) + 1)}-00000"
    newest = "select max(number) as number from customers where number >= :first and deleted_at is null"
    for tenant in tenants:
        for order in ORDERS:
            tenant.far[order] = await _far(tenant.session, order)
        (row,) = await tenant.session.sql(None, newest, first=first)
        if row["number"] is not None:
            letter, _, rest = row["number"].partition("-")
            tenant.created = (ord(letter) - ord(first[0])) * 100_000 + int(rest) + 1
        tenant.moment = datetime.now(UTC)


async def _far(session: Session, order: str | None) -> str | None:
    """The cursor after 999 pages of 50 rows, by walking 50 pages of 999; a cursor belongs to the order, not to the limit."""
    cursor: str | None = None
    for _ in range(PAGE):
        page = await session.list(Customer, order_by=order, limit=THOUSANDTH, after=cursor, select=["number"])
        if page.next is None:
            break
        cursor = page.next
    return cursor


class Caller:
    """One of those who call at the same time.

    Args:
        tenants: all organizations, the large one first.
        chance: where everything that is drawn comes from.
        calls: what is called; by default `CALLS`.
    """

    def __init__(self, tenants: Sequence[Tenant], chance: Random, calls: "Sequence[Call] | None" = None) -> None:
        self._tenants = tenants
        self._calls = CALLS if calls is None else calls
        self.chance = chance

    def draw(self) -> "tuple[Call, Tenant]":
        """The next call, and in which organization."""
        (call,) = self.chance.choices(self._calls, [call.weight for call in self._calls])
        large, *others = self._tenants
        if call.middle:
            return call, self._tenants[MIDDLE]
        return call, large if self.chance.random() < 0.5 else self.chance.choice(others)

    def customer(self, tenant: Tenant) -> Any:
        """The id of some customer."""
        return customer_id(tenant.ordinal, self.chance.randrange(tenant.size))

    def word(self) -> str:
        """A word that names of customers have."""
        return "".join(map(self.chance.choice, (BEGINNINGS, MIDDLES, ENDINGS)))

    def name(self) -> str:
        return f"{self.word()} {self.chance.choice(TRADES)} {self.chance.choice(CITIES)}"

    def text(self) -> str:
        """What somebody types into a search box: two words, the beginning of one and a word, or a word with an error."""
        word, city, trade = self.word(), self.chance.choice(CITIES), self.chance.choice(TRADES)
        wrong = word[:3] + word[4:]
        return self.chance.choice([f"{word} {city}", f"{word[:6]} {trade}", f"{word} {city[:3]}", f"{wrong} {city}"])


Work = Callable[[Caller, Tenant, Any], Awaitable[object]]  # Any: what `before` answers


@dataclass(frozen=True)
class Call:
    """A kind of call.

    Args:
        name: for people.
        weight: how often it is made, of a thousand.
        work: makes it.
        target: milliseconds that 95 of 100 may take at most.
        write: whether it writes.
        middle: whether it is only made in the organization of middle size.
        before: what has to be known for it, and is not measured.
    """

    name: str
    weight: int
    work: Work
    target: float | None = None
    write: bool = False
    middle: bool = False
    before: Callable[[Caller, Tenant], Awaitable[Any]] | None = None


async def _get(caller: Caller, tenant: Tenant, _: Any = None) -> Customer:
    return await tenant.session.get(Customer, caller.customer(tenant))


async def _first_page(caller: Caller, tenant: Tenant, _: Any) -> object:
    return await tenant.session.list(Customer, order_by=caller.chance.choice(ORDERS), limit=PAGE)


async def _thousandth_page(caller: Caller, tenant: Tenant, _: Any) -> object:
    order = caller.chance.choice(ORDERS)
    return await tenant.session.list(Customer, order_by=order, limit=PAGE, after=tenant.far[order])


async def _customers_with_theirs(caller: Caller, tenant: Tenant, _: Any) -> object:
    status = caller.chance.choice(["active", "prospect", "blocked"])
    orders = Include(order_by="-placed_on", limit=3)
    return await tenant.session.list(
        Customer, where={"status": status}, order_by="name", limit=20,
        include={"contacts": True, "orders": orders, "activities": "count"},
    )  # fmt: skip


async def _orders_with_theirs(caller: Caller, tenant: Tenant, _: Any) -> object:
    since = TODAY - timedelta(days=caller.chance.randrange(30, 600))
    return await tenant.session.list(
        Order, where={"status": "delivered", "placed_on": {"gte": since}}, order_by="placed_on", limit=20,
        include={"customer": True, "lines": "count"},
    )  # fmt: skip


async def _as_of(caller: Caller, tenant: Tenant, _: Any) -> object:
    async with tenant.session.as_of(tenant.moment) as past:
        return await past.get(Customer, caller.customer(tenant))


async def _history(caller: Caller, tenant: Tenant, _: Any) -> object:
    return await tenant.session.history((Customer, caller.customer(tenant)))


async def _dashboard(_: Caller, tenant: Tenant, __: Any) -> object:
    return await dashboard(tenant.session, MONTH_START, TODAY)


async def _create(caller: Caller, tenant: Tenant, _: Any) -> object:
    return await tenant.session.create(
        Customer, number=tenant.next_number(), name=caller.name(), status="active", customer_since=TODAY
    )


async def _create_activity(caller: Caller, tenant: Tenant, _: Any) -> object:
    return await tenant.session.create(
        Activity, customer_id=caller.customer(tenant), subject="Called back", at=datetime.now(UTC)
    )


async def _update(caller: Caller, tenant: Tenant, customer: Customer) -> object:
    return await tenant.session.update(customer, health=caller.chance.randrange(101))


async def _search(caller: Caller, tenant: Tenant, _: Any) -> object:
    session: Any = tenant.session
    return await session.search(caller.text())


async def _search_list(caller: Caller, tenant: Tenant, _: Any) -> object:
    session: Any = tenant.session
    return await session.list(Customer, search=caller.text(), where={"status": "active"}, order_by="name", limit=20)


CALLS = [
    Call("get", 340, _get, target=50),
    Call("list, first page", 130, _first_page, target=50),
    Call("list, 1,000th page", 90, _thousandth_page, target=50),
    Call("list, filter and includes", 60, _customers_with_theirs, target=50),
    Call("list, range and includes", 50, _orders_with_theirs, target=50),
    Call("get as of a moment", 50, _as_of),
    Call("history of a record", 60, _history),
    Call("dashboard", 5, _dashboard, target=200, middle=True),
    Call("create a customer", 30, _create, target=50, write=True),
    Call("create an activity", 20, _create_activity, target=50, write=True),
    Call("update", 50, _update, target=50, write=True, before=_get),
]
"""Of 885 without search, 100 write."""
if hasattr(Session, "search"):
    CALLS.append(Call("search", 75, _search, target=100))
if "search" in inspect.signature(Session.list).parameters:
    CALLS.append(Call("list that is searched", 40, _search_list, target=100))
