"""Bulk calls whose items put their marks on what they make, and what is told of each item."""

from random import Random

from freehold import BulkResult, Session
from freehold.errors import BulkError, FreeholdError, OutcomeUnknownError, UniqueError
from tests.faults.ledger import Ledger
from tests.world import Customer

__all__ = ["bulk"]

ITEMS = 23
CHUNK = 5


async def bulk(session: Session, ledger: Ledger, name: str, chance: Random) -> None:
    """Creates customers, of which one has a name that is too long and one an address that is taken, and notes what was told of each.

    Args:
        session: writes.
        ledger: is told.
        name: the marks begin with it.
        chance: decides whether the call is all or none.
    """
    marks = [f"{name}-{number}" for number in range(ITEMS)]
    taken = chance.randrange(2, ITEMS)
    items = [{"name": mark, "email": f"{mark}@x.test"} for mark in marks]
    whole = chance.random() < 0.3
    if not whole:
        items[taken]["email"] = items[chance.randrange(taken)]["email"]
    error: BaseException | None = None
    result: BulkResult | None = None
    try:
        result = await session.create_many(Customer, items, chunk=CHUNK, atomic=whole)
    except BulkError as failure:
        error, result = failure.__cause__, failure.result
    except FreeholdError as failure:
        error = failure
    told = {} if result is None else {outcome.index: outcome for outcome in result.outcomes}
    for index, mark in enumerate(marks):
        if index not in told:
            assert error is not None
            ledger.tell(mark, error)
        elif told[index].action == "created":
            ledger.tell(mark, None)
        else:
            assert isinstance(told[index].error, UniqueError), told[index]
            ledger.tell(mark, told[index].error)
    assert error is None or error.code[:3] == "FH4"  # type: ignore[attr-defined]
    assert isinstance(error, OutcomeUnknownError) or not getattr(error, "unanswered", False)
