"""Counting the bytes of an answer while they arrive.

The driver keeps all rows of an answer. What counts stands between it and its transport: where an answer is larger than
its bound, the task that waits for it is woken with a cancellation, which has the driver cancel the statement on the server. So
neither side goes on, whatever the statement was; the connection stays open.
"""

import asyncio
from typing import Any

import asyncpg

__all__ = ["AnswerOverrunError", "Meter"]


class AnswerOverrunError(asyncpg.InterfaceError):  # type: ignore[misc]  # asyncpg ships no types
    """An answer was larger than its bound; its statement was cancelled.

    Args:
        most: the bound in bytes.
    """

    def __init__(self, most: int) -> None:
        super().__init__(f"the answer is larger than {most:,} bytes")
        self.most = most


class Meter(asyncio.Protocol):
    """Passes what a transport receives on to the driver's protocol, and counts it.

    Args:
        inner: the driver's protocol.
    """

    __slots__ = ("_inner", "_left", "_task", "overrun")

    def __init__(self, inner: Any) -> None:  # Any: asyncpg ships no types
        self._inner = inner
        self._left = 0
        self._task: asyncio.Task[Any] | None = None
        self.overrun = False

    def begin(self, most: int) -> None:
        """An answer of at most so many bytes is awaited by the running task."""
        self._left = most
        self._task = asyncio.current_task()
        self.overrun = False

    def end(self) -> None:
        """No answer is awaited."""
        self._task = None

    def data_received(self, data: bytes) -> None:
        """Counts, and passes on."""
        if self._task is not None:
            self._left -= len(data)
            if self._left < 0:
                self.overrun = True
                self._task.cancel()
                self._task = None
        self._inner.data_received(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Passes on."""
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Passes on."""
        self._inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Passes on."""
        answer: bool | None = self._inner.eof_received()
        return answer

    def pause_writing(self) -> None:
        """Passes on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Passes on."""
        self._inner.resume_writing()
