"""What a call has that was let in, and what it does while it waits for its client: it makes room for others."""

from collections.abc import AsyncIterator
from typing import Protocol

__all__ = ["Admission", "AdmittedStream", "received"]


class Admission(Protocol):
    """What a limiter gives a call that it lets in."""

    def end(self) -> None:
        """Ends it. It may be called again."""
        ...

    def stream(self) -> None:
        """The call waits for its client again and again: it answers with a stream, or takes a file. It works only between `resume`
        and `pause` from now on.

        Raises:
            LimitError: too many such calls of the caller are under way.
        """
        ...

    async def resume(self) -> None:
        """Waits until it may work."""
        ...

    def pause(self) -> None:
        """It is the client's turn: to take an item, or to send the next part."""
        ...


async def received(content: AsyncIterator[bytes], admission: Admission) -> AsyncIterator[bytes]:
    """A file's parts. While one is on its way, others may work: a client that sends slowly holds nothing up."""
    while True:
        admission.pause()
        part = await anext(content, None)
        await admission.resume()
        if part is None:
            return
        yield part


class AdmittedStream(AsyncIterator[bytes]):
    """A stream that is admitted anew for each item, and ends its admission when it ends.

    No generator: one that nobody has begun to read runs nothing when it is closed or forgotten, and would keep its admission.
    """

    def __init__(self, items: AsyncIterator[bytes], admission: Admission) -> None:
        self._items = items
        self._admission = admission

    async def __anext__(self) -> bytes:
        try:
            await self._admission.resume()
            item = await anext(self._items)
        except BaseException:
            self._admission.end()
            raise
        self._admission.pause()
        return item

    async def aclose(self) -> None:
        """Ends the stream, read to its end or not."""
        try:
            close = getattr(self._items, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._admission.end()

    def __del__(self) -> None:
        self._admission.end()
