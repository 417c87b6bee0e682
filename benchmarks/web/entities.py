"""What the compared servers serve: the benchmarks' customers, and orders that figures are made from."""

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from benchmarks import entities
from freehold import Application, Entity, Index, field, reference

__all__ = ["METRICS", "Customer", "Order", "application"]


class Customer(
    entities.Customer,
    soft_delete=True,
    indexes=[Index("created_at", "id")],
    expose=["list", "get", "create", "update"],
):
    """A customer of an organization."""


class Order(Entity):
    """What a customer ordered."""

    customer_id: UUID = reference(Customer)
    number: str = field(max_length=40, unique=True)
    status: Literal["draft", "confirmed", "shipped", "delivered", "cancelled"] = field(default="draft")
    total: Decimal = field(default=Decimal(0), digits=14, places=2)
    placed_at: datetime | None = field(default=None)


METRICS = """
select c.customers, c.customers_by_status, c.new_customers, o.open_orders, o.open_total, t.top_customers
from (
    select coalesce(sum(n), 0)::bigint as customers,
        coalesce(jsonb_object_agg(status, n), '{}') as customers_by_status,
        coalesce(sum(new), 0)::bigint as new_customers
    from (
        select status, count(*) as n, count(*) filter (where created_at >= :since) as new
        from app.customers where deleted_at is null group by status
    ) by_status
) c
cross join (
    select count(*) as open_orders, coalesce(sum(total), 0)::text as open_total
    from app.orders where status in ('confirmed', 'shipped')
) o
cross join (
    select coalesce(jsonb_agg(jsonb_build_object('id', id, 'name', name, 'orders', orders, 'total', total::text)
        order by total desc, id), '[]') as top_customers
    from (
        select c.id, c.name, count(*) as orders, sum(o.total) as total
        from app.customers c join app.orders o on o.organization_id = c.organization_id and o.customer_id = c.id
        where c.deleted_at is null and o.status not in ('draft', 'cancelled')
        group by c.id, c.name order by sum(o.total) desc, c.id limit 5
    ) best
) t"""
"""The dashboard's figures in one statement, the same for all: the policies, and nothing else, say whose they are."""

application = Application("benchmarks", entities=[Customer, Order])
