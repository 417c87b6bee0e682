"""Rates: what is let through, what is told, and what is forgotten."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold import Rate
from freehold.functions.buckets import SHARED, Buckets


def let_through(buckets: Buckets, key: str, now: float, calls: int) -> int:
    through = 0
    for _ in range(calls):
        if buckets.wait(key, now) == 0:
            buckets.take(key, now)
            through += 1
    return through


def test_a_burst_is_let_through_and_then_one_at_a_time() -> None:
    buckets = Buckets(Rate(10, per=5))
    assert let_through(buckets, "a", 100.0, 50) == 10
    assert buckets.wait("a", 100.0) == pytest.approx(0.5)
    assert let_through(buckets, "a", 100.5, 50) == 1
    assert let_through(buckets, "a", 105.5, 50) == 10


def test_callers_have_buckets_of_their_own() -> None:
    buckets = Buckets(Rate(1, per=60))
    assert let_through(buckets, "a", 0.0, 5) == 1
    assert let_through(buckets, "b", 0.0, 5) == 1


@settings(deadline=None)
@given(
    requests=st.integers(1, 1_000),
    per=st.floats(0.001, 86_400),
    start=st.floats(0, 1e7),
    gaps=st.lists(st.floats(0, 2), max_size=60),
)
def test_who_waits_as_long_as_it_is_told_gets_in_and_the_long_run_is_bounded(
    requests: int, per: float, start: float, gaps: list[float]
) -> None:
    buckets, now, through = Buckets(Rate(requests, per=per)), start, 0
    for gap in gaps:
        now += gap * per / requests
        wait = buckets.wait("a", now)
        if wait:
            assert buckets.wait("a", now + wait) == 0
            assert buckets.wait("a", now + wait * 0.999 - 1e-6) > 0 or wait < 1e-5
            continue
        buckets.take("a", now)
        through += 1
    assert through <= requests + (now - start + 1e-6) / per * requests + 1


def test_processes_share_a_rate() -> None:
    processes = [Buckets(Rate(10, per=60), processes=4) for _ in range(4)]
    assert [let_through(process, "a", 0.0, 50) for process in processes] == [2, 2, 2, 2]
    an_hour = sum(let_through(process, "a", float(second), 5) for process in processes for second in range(1, 3_601))
    assert 590 <= an_hour <= 610
    rare = Buckets(Rate(1, per=60), processes=4)
    assert let_through(rare, "a", 0.0, 5) == 1
    assert let_through(rare, "a", 239.0, 5) == 0
    assert let_through(rare, "a", 240.0, 5) == 1


def test_full_buckets_are_forgotten_and_others_are_not() -> None:
    buckets = Buckets(Rate(2, per=10), capacity=1_000)
    for key in range(1_000):
        buckets.take(f"old {key}", 0.0)
    assert len(buckets) == 1_000
    buckets.take("used", 4.0)
    for second in range(1_000):
        buckets.take("late", 6.0 + second)
    assert len(buckets) <= 2


def test_a_flood_of_callers_lets_nothing_more_through() -> None:
    """Where there is no place for a bucket, those without one share some: forgetting is no way around a rate."""
    buckets = Buckets(Rate(1, per=3_600), capacity=100)
    assert let_through(buckets, "known", 0.0, 3) == 1
    through = sum(let_through(buckets, f"made up {number}", 1.0, 1) for number in range(10_000))
    assert through <= 99 + SHARED
    assert len(buckets) == 100
    assert let_through(buckets, "known", 2.0, 3) == 0
    # When places are free again, who has used up a shared bucket has not got a new one of its own.
    again = sum(let_through(buckets, f"made up {number}", 3_600.5, 1) for number in range(10_000))
    assert again <= 100 + SHARED
