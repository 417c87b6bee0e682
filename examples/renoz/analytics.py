"""Analytics that no generic query language should have to express: SQL by hand, each answer in one query.

They run through `session.sql`: read-only, under row-level security, with parameters that are always bound. None of them
names an organization: the policies of the tables do, and their condition is what the indexes begin with.

Time is a parameter, so that a test (or a report of last year) owns the clock. Money leaves as text: a JSON number would
pass through a float on its way to a Decimal.
"""

from datetime import date, datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from freehold import Session

__all__ = [
    "CUSTOMER_SUMMARY",
    "DASHBOARD",
    "TOP_CUSTOMERS",
    "CustomerSummary",
    "Dashboard",
    "TopCustomer",
    "customer_summary",
    "dashboard",
    "top_customers",
]


class CustomerSummary(BaseModel):
    """The head of a customer's page."""

    model_config = ConfigDict(frozen=True)
    number: str
    name: str
    status: str
    primary_contact: str | None
    primary_email: str | None
    lifetime_value: Decimal
    orders: int
    open_orders: int
    last_order: date | None
    activities: int
    last_activity: datetime | None


class Dashboard(BaseModel):
    """The figures of the first page."""

    model_config = ConfigDict(frozen=True)
    customers: int
    customers_by_status: dict[str, int]
    new_this_month: int
    without_primary_contact: int
    lifetime_value: Decimal
    ordered_this_month: Decimal
    open_orders: int
    overdue: Decimal
    open_tasks: int
    low_stock: int


class TopCustomer(BaseModel):
    """One line of the best customers."""

    model_config = ConfigDict(frozen=True)
    rank: int
    number: str
    name: str
    lifetime_value: Decimal
    share_percent: Decimal
    orders: int


CUSTOMER_SUMMARY = """
select c.number, c.name, c.status,
    nullif(trim(p.first_name || ' ' || p.last_name), '') as primary_contact,
    p.email as primary_email,
    o.lifetime_value::text, o.orders, o.open_orders, o.last_order,
    a.activities, a.last_activity
from customers c
left join contacts p on p.customer_id = c.id and p.is_primary and p.deleted_at is null
cross join lateral (
    select count(*) as orders,
        coalesce(sum(total) filter (
            where status not in ('draft', 'cancelled')), 0) as lifetime_value,
        count(*) filter (where status in ('confirmed', 'picked', 'shipped')) as open_orders,
        max(placed_on) as last_order
    from orders where customer_id = c.id
) o
cross join lateral (
    select count(*) as activities, max(at) as last_activity
    from activities where customer_id = c.id
) a
where c.number = :number and c.deleted_at is null
"""

DASHBOARD = """
select c.*, o.*, t.open_tasks, s.low_stock
from (
    select coalesce(sum(n), 0)::bigint as customers,
        coalesce(jsonb_object_agg(status, n), '{}') as customers_by_status,
        coalesce(sum(new), 0)::bigint as new_this_month,
        coalesce(sum(alone), 0)::bigint as without_primary_contact
    from (
        select status, count(*) as n,
            count(*) filter (where customer_since >= :month_start) as new,
            count(*) filter (where not exists (
                select from contacts p
                where p.customer_id = k.id and p.is_primary and p.deleted_at is null)) as alone
        from customers k where deleted_at is null group by status
    ) by_status
) c
cross join (
    select coalesce(sum(total) filter (where ordered), 0)::text as lifetime_value,
        coalesce(sum(total) filter (
            where ordered and placed_on >= :month_start), 0)::text as ordered_this_month,
        count(*) filter (where status in ('confirmed', 'picked', 'shipped')) as open_orders,
        coalesce(sum(total) filter (
            where status in ('shipped', 'delivered') and paid_on is null and due_on < :today
        ), 0)::text as overdue
    from (select *, status not in ('draft', 'cancelled') as ordered from orders) orders
) o
cross join (
    select count(*) as open_tasks from activities where kind = 'task' and not done
) t
cross join (
    select count(*) as low_stock from products p
    where deleted_at is null and status = 'active' and reorder_level > (
        select coalesce(sum(on_hand - reserved), 0)
        from inventory_items where product_id = p.id)
) s
"""

TOP_CUSTOMERS = """
select rank() over (order by lifetime_value desc) as rank, number, name, orders,
    lifetime_value::text as lifetime_value,
    round(100 * lifetime_value / sum(lifetime_value) over (), 1)::text as share_percent
from (
    select c.number, c.name, sum(o.total) as lifetime_value, count(*) as orders
    from customers c join orders o on o.customer_id = c.id
    where c.deleted_at is null and o.status not in ('draft', 'cancelled') and o.total > 0
    group by c.id, c.number, c.name
) valued
order by valued.lifetime_value desc, number
limit :most
"""


async def customer_summary(session: Session, number: str) -> CustomerSummary | None:
    """A customer with its primary contact, what it ordered, and how often one spoke.

    Args:
        session: of the organization.
        number: the customer's.
    """
    rows = await session.sql(CustomerSummary, CUSTOMER_SUMMARY, number=number)
    return rows[0] if rows else None


async def dashboard(session: Session, month_start: date, today: date) -> Dashboard:
    """The organization's figures.

    Args:
        session: of the organization.
        month_start: what is new since this day is new.
        today: what was due before this day is overdue.
    """
    rows = await session.sql(Dashboard, DASHBOARD, month_start=month_start, today=today)
    return rows[0]


async def top_customers(session: Session, most: int = 5) -> list[TopCustomer]:
    """The customers that ordered most, with their share of all that was ordered."""
    return list(await session.sql(TopCustomer, TOP_CUSTOMERS, most=most))
