"""Commands about customers."""

from typing import Annotated, Literal

from pydantic import Field

from examples.renoz.entities import Customer, application
from examples.renoz.functions.results import Problem, StatusResult, StatusResults, Versioned, results_of
from freehold import Transaction

__all__ = ["set_customers_status"]

MOST = 1_000


@application.command(name="customers.set_status", idempotent=True, attempts=3)
async def set_customers_status(
    transaction: Transaction,
    customers: Annotated[list[Versioned], Field(min_length=1, max_length=MOST)],
    status: Literal["prospect", "active", "inactive", "blocked"],
) -> StatusResults:
    """Gives many customers a status. Each has its own result: one that was changed meanwhile does not hold up the others.

    A customer that is blocked has no credit any more.

    Args:
        customers: up to 1,000, each in the version that was seen.
        status: for all of them.
    """
    changes = {"status": status, "credit_limit": 0} if status == "blocked" else {"status": status}
    items = [((customer.id, customer.version), changes) for customer in customers]
    done = await transaction.update_many(Customer, items, tolerate=1.0)
    return results_of(
        [
            StatusResult(
                id=customer.id,
                version=None if outcome.error else outcome.version,
                problem=Problem.of(outcome.error) if outcome.error else None,
            )
            for customer, outcome in zip(customers, done.outcomes, strict=True)
        ]
    )
