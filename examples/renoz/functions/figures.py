"""Figures: a customer's summary, the dashboard, the best customers, and orders over time."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from examples.renoz import analytics
from examples.renoz.analytics import CustomerSummary, Dashboard, TopCustomer
from examples.renoz.entities import Customer, application
from freehold import Session
from freehold.errors import NotFoundError

__all__ = ["Point", "best_customers", "customer_of", "dashboard", "sparkline", "summary"]

LONGEST = 366
"""Points of a sparkline."""

SPARKLINE = """
select p.start::date as start, count(o.id) as orders,
    coalesce(sum(case o.kind when 'credit' then -o.total else o.total end), 0)::text as total
from generate_series(
    date_trunc(:by, :until::timestamp) - (:points - 1) * ('1 ' || :by)::interval,
    date_trunc(:by, :until::timestamp),
    ('1 ' || :by)::interval
) as p (start)
left join orders o
    on o.placed_on >= p.start::date and o.placed_on < (p.start + ('1 ' || :by)::interval)::date
    and o.placed_on <= :until and o.status not in ('draft', 'cancelled'){of}
group by p.start order by p.start
"""
OF_ALL = SPARKLINE.replace("{of}", "")
OF_ONE = SPARKLINE.replace("{of}", " and o.customer_id = :customer_id")


class Point(BaseModel):
    """The orders of one day, week or month."""

    model_config = ConfigDict(frozen=True)
    start: date
    orders: int
    total: Decimal


@application.query(name="customers.summary")
async def summary(session: Session, number: str) -> CustomerSummary:
    """The head of a customer's page: its primary contact, what it ordered, and how often one spoke.

    Args:
        number: the customer's, such as C-00008.
    """
    found = await analytics.customer_summary(session, number)
    if found is None:
        raise NotFoundError("Customer", number)
    return found


@application.query(cache=5)
async def dashboard(session: Session, today: date | None = None) -> Dashboard:
    """The figures of the first page.

    Args:
        today: what was due before this day is overdue, and what is new since its month began is new; by default the day in UTC.
    """
    day = today or datetime.now(UTC).date()
    return await analytics.dashboard(session, month_start=day.replace(day=1), today=day)


@application.query(name="customers.top")
async def best_customers(session: Session, most: Annotated[int, Field(ge=1, le=100)] = 5) -> list[TopCustomer]:
    """The customers that ordered most, with their share of all that was ordered.

    Args:
        most: so many.
    """
    return await analytics.top_customers(session, most)


@application.query(name="orders.sparkline")
async def sparkline(
    session: Session,
    by: Literal["day", "week", "month"] = "day",
    points: Annotated[int, Field(ge=1, le=LONGEST)] = 30,
    until: date | None = None,
    customer: str | None = None,
) -> list[Point]:
    """Orders and their value by day, week or month, the oldest first. Where nothing was ordered, both are zero.

    Drafts and cancelled orders do not count, and credits count against.

    Args:
        by: what one point is. Weeks begin on Monday.
        points: how many, the last one with `until` in it.
        until: the last day that counts; by default the day in UTC.
        customer: the number of a customer; all by default.
    """
    last = until or datetime.now(UTC).date()
    if customer is None:
        return list(await session.sql(Point, OF_ALL, by=by, points=points, until=last))
    found = await customer_of(session, customer)
    return list(await session.sql(Point, OF_ONE, by=by, points=points, until=last, customer_id=found.id))


async def customer_of(session: Session, number: str) -> Customer:
    """The customer with a number.

    Raises:
        NotFoundError: the organization has none.
    """
    found = await session.find(Customer, {"number": number})
    if found is None:
        raise NotFoundError("Customer", number)
    return found
