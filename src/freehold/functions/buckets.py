"""Token buckets: how often a caller may call.

A bucket holds as many tokens as a rate has requests, fills steadily, and each call takes one. So a burst is let through and the
long run is bounded. It is kept as one number, the time at which the bucket would be full again (the "generic cell rate
algorithm", ITU-T I.371): nothing has to fill it, so there is no timer, and nothing to keep for who has not called for a while.

**What is forgotten.** A full bucket is as good as a new one, and only full ones are forgotten. The number of buckets is bounded;
where all places are taken by buckets that are not full, callers without one share a few. A flood of made-up callers can so make
others wait, and never lets more through.
"""

from collections import OrderedDict
from collections.abc import Hashable
from secrets import randbits

from freehold.functions.declaration import Rate

__all__ = ["Buckets"]

SHARED = 64
"""Buckets that are shared by those for whom there is no place."""

EXACT = 1e-9
"""Seconds by which sums of times may be wrong: who comes when it was told to must get in."""


class Buckets:
    """The buckets of one rate, one for each key.

    Args:
        rate: how often.
        processes: how many processes share the rate; each grants its part, and at least one call at once.
        capacity: buckets at most.
    """

    def __init__(self, rate: Rate, *, processes: int = 1, capacity: int = 10_000) -> None:
        self.rate = rate
        self._interval = rate.per * processes / rate.requests
        self._burst = max(rate.per - self._interval, 0.0)
        self._capacity = capacity
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()
        self._shared = [0.0] * SHARED
        self._salt = randbits(64)

    def wait(self, key: Hashable, now: float) -> float:
        """Seconds until the key may call; 0 where it may now."""
        wait = self._due(key) - now - self._burst
        return wait if wait > EXACT else 0.0

    def take(self, key: Hashable, now: float) -> None:
        """Counts a call, which `wait` has allowed."""
        due = max(self._due(key), now) + self._interval
        kept = self._full_at
        self._forget(now)
        if key in kept:
            kept[key] = due
            kept.move_to_end(key)
        elif len(kept) < self._capacity:
            kept[key] = due
        else:
            self._shared[self._share(key)] = due

    def __len__(self) -> int:
        return len(self._full_at)

    def _due(self, key: Hashable) -> float:
        due = self._full_at.get(key)
        # Who had no place yet may have used up the shared bucket: a new one of its own would let it through again.
        return self._shared[self._share(key)] if due is None else due

    def _share(self, key: Hashable) -> int:
        return hash((self._salt, key)) % SHARED

    def _forget(self, now: float) -> None:
        """Forgets full buckets, two at most, of those that were used longest ago: so there is never much to do at once."""
        for _ in range(2):
            if not self._full_at:
                return
            key, due = next(iter(self._full_at.items()))
            if due > now:
                return
            del self._full_at[key]
