"""What a call costs, measured here and now: small, so that a visitor gets an order of magnitude, no benchmark."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from examples.renoz.analytics import customer_summary
from examples.renoz.calls import active_customers
from examples.renoz.entities import Customer
from freehold import Page, Session

__all__ = ["MEASURED", "Cost", "what_calls_cost"]

Measured = Callable[[Session, Customer], Awaitable[Any]]  # Any: the answers are not looked at
ROUNDS = 60
TOGETHER = 8


@dataclass(frozen=True)
class Cost:
    """What one kind of call costs.

    Args:
        call: its function.
        microseconds: the median of calls one after the other.
        per_second: calls a second when eight tasks call at once.
    """

    call: Measured
    microseconds: float
    per_second: float


async def what_calls_cost(aurora: Session, first_page: Page[Customer]) -> list[Cost]:
    """Measures some calls, each first alone, then eight at a time."""
    return [await _measure_one(call, aurora, first_page[0]) for call in MEASURED]


async def _measure_one(call: Measured, session: Session, customer: Customer) -> Cost:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await call(session, customer)
        times.append(time.perf_counter() - start)

    async def work() -> None:
        for _ in range(ROUNDS // 4):
            await call(session, customer)

    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(TOGETHER):
            group.create_task(work())
    seconds = time.perf_counter() - start
    return Cost(call, statistics.median(times) * 1e6, TOGETHER * (ROUNDS // 4) / seconds)


async def read_one(aurora: Session, customer: Customer) -> Customer:
    """One record by its id."""
    return await aurora.get(Customer, customer.id)


async def read_many_at_once(aurora: Session, customer: Customer) -> list[Customer]:
    """Twenty concurrent reads, which share one message."""
    reads = (aurora.get(Customer, customer.id) for _ in range(20))
    return await asyncio.gather(*reads)


async def read_a_page(aurora: Session, _customer: Customer) -> Any:
    """A filtered page with its total."""
    return await active_customers(aurora)


async def read_a_page_as_json(aurora: Session, _customer: Customer) -> Any:
    """A page of 50 as PostgreSQL's JSON."""
    return await aurora.list(Customer, order_by="name", limit=50, as_json=True)


async def read_a_summary(aurora: Session, customer: Customer) -> Any:
    """A customer's summary."""
    return await customer_summary(aurora, customer.number)


MEASURED: tuple[Measured, ...] = (read_one, read_many_at_once, read_a_page, read_a_page_as_json, read_a_summary)
