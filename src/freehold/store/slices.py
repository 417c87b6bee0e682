"""Much work on the event loop, in slices between which other tasks have their turn.

A thread would not help: what makes objects of JSON holds the interpreter's lock as long as it runs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["SLICE", "in_slices", "sliced"]

ItemT = TypeVar("ItemT")

SLICE = 250_000
"""Bytes of JSON that are worked on at once: some milliseconds."""


def sliced(items: Sequence[ItemT], weight: Callable[[ItemT], int], most: int = SLICE) -> Iterator[Sequence[ItemT]]:
    """Items that stand next to each other, together as long as they weigh no more than a bound; each alone that does.

    Args:
        items: the items.
        weight: of an item.
        most: the bound.
    """
    start = total = 0
    for place, item in enumerate(items):
        weighs = weight(item)
        if place > start and total + weighs > most:
            yield items[start:place]
            start, total = place, 0
        total += weighs
    if len(items) > start:
        yield items[start:]


async def in_slices(
    items: Sequence[ItemT], weight: Callable[[ItemT], int], most: int = SLICE
) -> AsyncIterator[Sequence[ItemT]]:
    """The same slices. Other tasks have their turn before each but the first."""
    first = True
    for part in sliced(items, weight, most):
        if not first:
            await asyncio.sleep(0)
        first = False
        yield part
