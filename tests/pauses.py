"""How long the event loop's thread works at once.

What is measured is the processor time of the loop's own thread in each callback, so that a busy machine changes nothing: a thread that
waits for the processor uses none.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Pauses", "measured"]


class Pauses:
    """The longest callback so far.

    Attributes:
        longest: its seconds of processor time.
        where: what it was.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.where = ""

    def note(self, seconds: float, handle: Any) -> None:
        """Notes a callback."""
        if seconds > self.longest:
            self.longest, self.where = seconds, repr(handle)[:300]


@contextmanager
def measured() -> Iterator[Pauses]:
    """Measures all callbacks of event loops while it is entered."""
    pauses, run = Pauses(), asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> Any:
        before = time.thread_time()
        try:
            return run(handle)
        finally:
            pauses.note(time.thread_time() - before, handle)

    gc.collect()
    gc.freeze()  # as `freehold serve` does: what is there already is not looked through for each request's garbage
    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]  # the one place where every callback comes through
    try:
        yield pauses
    finally:
        gc.unfreeze()
        asyncio.Handle._run = run  # type: ignore[method-assign]
