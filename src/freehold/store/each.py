"""Work on many items in one transaction, of which some may fail."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar

from freehold.errors import SerializationError, ToleranceError, ValidationError

__all__ = ["Each", "Failure", "each"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Failure(Generic[ItemT]):
    """An item whose work failed, and was undone.

    Args:
        index: its place, from 0.
        item: as it was given.
        error: what its work raised.
    """

    index: int
    item: ItemT
    error: Exception


@dataclass(frozen=True, slots=True)
class Each(Generic[ItemT, ResultT]):
    """What became of the items.

    Args:
        results: what the work returned for those that succeeded, in their order.
        failures: the others.
    """

    results: tuple[ResultT, ...]
    failures: tuple[Failure[ItemT], ...]

    @property
    def total(self) -> int:
        """How many items there were."""
        return len(self.results) + len(self.failures)


async def each(
    savepoint: Callable[[], AbstractAsyncContextManager[None]],
    ended: Callable[[], bool],
    items: Iterable[ItemT] | AsyncIterable[ItemT],
    work: Callable[[ItemT], Awaitable[ResultT]],
    *,
    tolerate: float,
) -> Each[ItemT, ResultT]:
    """Does the work for each item, in a savepoint of its own. See `Transaction.each`.

    Args:
        savepoint: opens one.
        ended: whether the transaction takes no more calls at all.
        items, work, tolerate: as in `Transaction.each`.
    """
    if isinstance(tolerate, bool) or not isinstance(tolerate, int | float) or not 0 <= tolerate <= 1:
        raise ValidationError.single(
            ("tolerate",), f"must be a share from 0 to 1, not {tolerate!r}"[:120], "share", subject="each"
        )
    results: list[ResultT] = []
    failures: list[Failure[ItemT]] = []
    async with savepoint():
        async for item in _walked(items):
            try:
                async with savepoint():
                    result = await work(item)
                results.append(result)
            except SerializationError:
                raise  # it is about the transaction as a whole
            except Exception as error:  # whatever it is, it is told beside its item
                if ended():
                    raise
                failures.append(Failure(len(results) + len(failures), item, error))
        total = len(results) + len(failures)
        if len(failures) > Fraction(str(tolerate)) * total:  # the share as it is written: 0.29 of 100 are 29
            raise ToleranceError(failures, total=total, tolerate=tolerate)
    return Each(tuple(results), tuple(failures))


async def _walked(items: Any) -> AsyncIterator[Any]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise ValidationError.single(
            ("items",), f"must be an iterable of items, not {type(items).__name__}", "iterable_type", subject="each"
        )
    for item in items:
        yield item
