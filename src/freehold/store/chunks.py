"""Items of any iterable, checked and encoded, in chunks of bounded size."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from freehold.errors import FreeholdError, ValidationError
from freehold.store.outcomes import Outcome

__all__ = ["Chunk", "Item", "chunks"]

MAXIMUM_BYTES = 8_000_000
"""Bytes of what one chunk sends; an item that is larger is a chunk of its own."""
TURN, TURN_BYTES = 32, 250_000
"""Items, and bytes of them, that are prepared before other tasks of the event loop get their turn."""


@dataclass(slots=True)
class Item:
    """An item that was checked.

    Many of them live at once, so they are made of what Python's garbage collector does not have to follow.

    Args:
        index: in the order in which the items came, from 0.
        key: the 16 bytes of the record's id.
        text: as JSON.
        version: that is expected of the record.
        fields: that it gives.
        takes: the hashes of what it would have in unique keys.
    """

    index: int
    key: bytes
    text: bytes
    version: int = 0
    fields: tuple[str, ...] = ()
    takes: tuple[int, ...] = ()

    @property
    def id(self) -> UUID:
        """Of the record."""
        return UUID(bytes=self.key)


@dataclass(slots=True)
class Chunk:
    """What is sent at once.

    Args:
        items: in their order.
        failed: those that were refused before.
        length: of the items' texts, in bytes.
        keys: of the items.
        takes: what some of them take in unique keys.
    """

    items: list[Item] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    length: int = 0
    keys: set[bytes] = field(default_factory=set)
    takes: set[int] = field(default_factory=set)

    def full(self, size: int) -> bool:
        """Whether the next item belongs to another chunk."""
        return len(self.items) + len(self.failed) >= size or self.length >= MAXIMUM_BYTES

    def fits(self, item: Item) -> bool:
        """Whether an item may come along: within the bytes, and not about a record that another item here is about."""
        return item.key not in self.keys and (not self.items or self.length + len(item.text) <= MAXIMUM_BYTES)

    def add(self, item: Item) -> None:
        """Takes an item."""
        self.items.append(item)
        self.keys.add(item.key)
        self.takes.update(item.takes)
        self.length += len(item.text) + 1

    def meets(self, other: "Chunk") -> bool:
        """Whether an item here and one there take the same in a unique key, so that the later one is to fail."""
        return not self.takes.isdisjoint(other.takes)


async def chunks(
    source: Iterable[Any] | AsyncIterable[Any], prepare: Callable[[int, Any], Item], size: int, subject: str
) -> AsyncGenerator[Chunk, None]:
    """The items of a source, which is asked for no more of them than the chunk needs.

    Two items about one record never share a chunk: they are written one after the other.

    Args:
        source: any iterable or async iterable, read once.
        prepare: checks and encodes an item; what it raises is that item's failure.
        size: items of a chunk at most.
        subject: the call's name, for errors.

    Raises:
        ValidationError: the source is none.
    """
    chunk, index, since = Chunk(), 0, 0
    async for raw in _each(source, subject):
        if chunk.full(size):
            yield chunk
            chunk = Chunk()
        try:
            item = prepare(index, raw)
        except FreeholdError as error:
            # Without where it was raised: many of them are kept, each with its frames, which only the garbage collector finds.
            error.__traceback__ = error.__context__ = None
            chunk.failed.append(Outcome(index, "failed", error=error))
        else:
            if not chunk.fits(item):
                yield chunk
                chunk = Chunk()
            chunk.add(item)
            since += len(item.text)
        index += 1
        if (
            index % TURN == 0 or since > TURN_BYTES
        ):  # a long chunk holds up nobody else, and what was sent gets onto its way
            since = 0
            await asyncio.sleep(0)
    if chunk.items or chunk.failed:
        yield chunk


def _each(source: Any, subject: str) -> AsyncIterator[Any]:
    if isinstance(source, str | bytes | Mapping) or (
        not hasattr(source, "__aiter__") and not hasattr(source, "__iter__")
    ):
        raise ValidationError.single(
            ("items",), f"must be an iterable or async iterable of items, not {type(source).__name__}", "iterable_type",
            subject=subject,
        )  # fmt: skip
    return aiter(source) if hasattr(source, "__aiter__") else _awaited(source)


async def _awaited(source: Iterable[Any]) -> AsyncIterator[Any]:
    for item in source:
        yield item
