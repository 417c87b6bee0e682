"""Who is let in beside whom: shares, turns, refusals, and places that are never lost."""

import asyncio
from typing import Any

import pytest

from freehold import Rate
from freehold.errors import ConfigurationError, LimitError
from freehold.functions.limits import CallLimiter, Limits
from freehold.functions.places import LINGER, LONGEST_PAUSE, REFUSALS
from tests.functions.clockwork import Clockwork, Hall, call, caller, function, settled


async def refused(task: "asyncio.Task[Any]") -> LimitError:
    with pytest.raises(LimitError) as caught:
        await task
    return caught.value


async def test_one_organization_never_has_all_places_and_a_newcomer_gets_in_at_once() -> None:
    hall, flooder, other = Hall(), caller(), caller()
    floods = [hall.ask(flooder, "flood") for _ in range(64)]
    await settled()
    assert hall.served == ["flood"] * 8
    mine = [hall.ask(other, "other") for _ in range(2)]
    await settled()
    assert all(task.done() for task in mine)
    assert hall.limiter.figures.working == 10
    for task in floods:
        task.cancel()
    await asyncio.gather(*floods, return_exceptions=True)


async def test_beside_others_the_excess_is_refused_and_the_flooder_makes_room() -> None:
    hall, flooder, other = Hall(), caller(), caller()
    visit = hall.ask(other, "other")
    await settled()
    floods = [hall.ask(flooder, "flood") for _ in range(64)]
    await settled()
    # Half of the places, 32 that wait, and the rest is refused: not yet told, so that nobody calls again at once.
    assert (hall.served.count("flood"), hall.limiter.figures.waiting, hall.limiter.figures.held) == (5, 32, 27)
    assert not any(task.done() for task in floods[37:])
    for _ in range(5):
        await hall.out("flood")
    # It has flooded, and has a tenth of the places now, whoever leaves.
    assert (hall.limiter.figures.working, len([1 for name, _ in hall.inside if name == "flood"])) == (2, 1)
    mine = [hall.ask(other, "other") for _ in range(4)]
    await settled()
    assert all(task.done() for task in [visit, *mine])
    await hall.clock.wind(LONGEST_PAUSE)
    errors = [await refused(task) for task in floods if not task.done() or task.exception()]
    assert len(errors) == 64 - 6
    assert {error.retry_after for error in errors} == {1.0}
    assert hall.limiter.figures.refused == {"rate": 0, "queue": 27, "wait": 31, "streams": 0}


async def test_who_held_back_for_as_long_as_told_gets_in() -> None:
    hall, flooder, other = Hall(), caller(), caller()
    hall.ask(other, "other")
    floods = [hall.ask(flooder, "flood") for _ in range(64)]
    await settled()
    while any(name == "flood" for name, _ in hall.inside):
        await hall.out("flood")
    await hall.clock.wind(0.5)
    error = await refused(floods[-1])
    await hall.clock.wind(error.retry_after)
    again = [hall.ask(flooder, "again") for _ in range(5)]
    await settled()
    assert all(task.done() for task in again)
    await asyncio.gather(*floods, return_exceptions=True)


async def test_places_that_come_free_go_round_between_organizations() -> None:
    limits = Limits(alone=1, beside=1, flooding=1, places=2)
    hall, flooder, ada, bob = Hall(limits=limits), caller(), caller(), caller()
    for number in range(6):
        hall.ask(flooder, f"flood {number}")
    await settled()
    for number in range(3):
        hall.ask(ada, f"ada {number}")
    hall.ask(bob, "bob 0")
    await settled()
    while hall.inside:
        await hall.out()
    assert hall.served == [
        *("flood 0", "flood 1", "flood 2", "ada 0", "bob 0"),
        *("flood 3", "ada 1", "flood 4", "ada 2", "flood 5"),
    ]


async def test_alone_again_the_bounds_are_wide_again() -> None:
    hall, flooder, other = Hall(), caller(), caller()
    hall.ask(other, "other")
    await settled()
    await hall.out("other")
    floods = [hall.ask(flooder, "flood") for _ in range(100)]
    await settled()
    assert hall.served.count("flood") == 5  # the other one was there a moment ago
    await hall.clock.wind(LINGER + 0.01)
    await asyncio.gather(*floods[5:], return_exceptions=True)
    more = [hall.ask(flooder, "more") for _ in range(100)]
    await settled()
    assert (hall.served.count("more"), hall.limiter.figures.waiting) == (3, 97)
    for _ in range(100):
        await hall.out()
    assert all(task.done() and not task.exception() for task in more)


@pytest.mark.parametrize(("others", "wait"), [(True, 0.25), (False, 5.0)])
async def test_a_call_that_finds_no_place_in_time_is_refused_with_the_time_after_which_it_may_come(
    others: bool, wait: float
) -> None:
    hall, ada = Hall(connections=1), caller()
    first = hall.ask(caller() if others else ada, "first")
    await settled()
    late = hall.ask(ada, "late")
    await hall.clock.wind(wait - 0.001)
    assert not late.done()
    await hall.clock.wind(0.001)
    assert (await refused(late)).retry_after == 1.0
    assert first.done()
    assert hall.limiter.figures.waiting == 0
    assert hall.clock.pending == 0
    await hall.out()
    assert hall.limiter.figures.working == 0


async def test_refusals_leave_one_after_the_other() -> None:
    """Who calls again at once cannot make refusals faster than they leave."""
    hall, flooder, other = Hall(), caller(), caller()
    hall.ask(other)
    floods = [hall.ask(flooder) for _ in range(5 + 32 + 400)]
    await settled()
    await hall.clock.wind(0.25)
    told = sum(task.done() for task in floods[37:])
    await hall.clock.wind(1.0)
    later = sum(task.done() for task in floods[37:])
    assert told == 1
    assert REFUSALS - 2 <= later - told <= REFUSALS + 2
    # Who has more connections than are held is told at once: others need the server's room.
    more = hall.ask(flooder)
    await settled()
    assert not more.done()
    await hall.clock.wind(LONGEST_PAUSE)
    await asyncio.gather(*floods, return_exceptions=True)
    assert hall.limiter.figures.held == 0


async def test_without_a_pause_refusals_are_told_at_once() -> None:
    hall, flooder, other = Hall(limits=Limits(pause=0, queue=0)), caller(), caller()
    hall.ask(other)
    floods = [hall.ask(flooder) for _ in range(6)]
    await settled()
    assert [task.done() for task in floods] == [True] * 6
    await refused(floods[-1])


@pytest.mark.parametrize("together", [False, True])
async def test_a_cancelled_call_gives_back_what_it_has(together: bool) -> None:
    """Cancelled at each point: while it waits, in the moment in which it is given the place, and while it is refused."""
    hall, ada = Hall(connections=1), caller()
    hall.ask(ada, "first")
    await settled()
    waiting = [hall.ask(ada, str(number)) for number in range(3)]
    await settled()
    if together:
        hall.inside.pop()[1].end()  # the place is given to the first one, which has not woken up yet
        waiting[0].cancel()
        await settled()
        assert hall.served == ["first", "1"]
    else:
        waiting[0].cancel()
        await settled()
        await hall.out()
        assert hall.served == ["first", "1"]
    await hall.out()
    await hall.out()
    figures = hall.limiter.figures
    assert (hall.served, figures.working, figures.waiting, hall.clock.pending) == (["first", "1", "2"], 0, 0, 0)


async def test_no_cancellation_loses_a_place_wherever_it_comes() -> None:
    """A call is cancelled after each number of steps of the loop, while places come free and times end."""
    for steps in range(40):
        hall = Hall(limits=Limits(queue=2, queue_alone=2, wait=0.25, wait_alone=0.25, pause=0.25), connections=2)
        ada, eve = caller(), caller()
        tasks = [hall.ask(who, "x") for who in (ada, eve, ada, eve, ada, eve, ada, eve)]
        victims = tasks[steps % 8 :: 3]
        for _ in range(steps // 4):
            await asyncio.sleep(0)
        if hall.inside:
            hall.inside.pop(0)[1].end()
        if steps % 2:
            await hall.clock.wind(0.25)
        for victim in victims:
            victim.cancel()
        await settled()
        for _ in range(3):
            await hall.clock.wind(0.3)
        while hall.inside:
            await hall.out()
        await asyncio.gather(*tasks, return_exceptions=True)
        while hall.inside:
            await hall.out()
        figures = hall.limiter.figures
        assert (figures.working, figures.waiting, figures.held, hall.clock.pending) == (0, 0, 0, 0), steps
        fresh = [hall.ask(ada), hall.ask(eve)]
        await settled()
        assert all(task.done() for task in fresh), steps


async def test_who_is_gone_is_forgotten() -> None:
    hall = Hall()
    for _ in range(500):
        hall.ask(caller(), "once")
        await settled()
        await hall.out()
        await hall.clock.wind(0.01)
    assert hall.limiter.figures.organizations <= 110


async def test_rates_are_counted_by_organization_and_by_actor() -> None:
    clock = Clockwork()
    rates = (Rate(5, per=10, by="organization"), Rate(3, per=10, by="actor"))
    limiter = CallLimiter(Limits(rates=rates, pause=0), clock=clock)  # type: ignore[arg-type]
    ada, other = caller(name="user:ada"), caller(name="user:ada")
    bob = caller(ada.organization_id, "user:bob")

    async def through(principal: Any, calls: int) -> int:
        done = 0
        for _ in range(calls):
            try:
                (await limiter.admit(call(principal, function()))).end()
            except LimitError:
                continue
            done += 1
        return done

    assert await through(ada, 10) == 3
    assert await through(bob, 10) == 2  # what ada was refused was not counted
    assert await through(other, 10) == 3  # another organization, whatever its users are called
    with pytest.raises(LimitError) as caught:
        await limiter.admit(call(bob, function()))
    assert caught.value.retry_after == pytest.approx(2, abs=0.002)
    await clock.wind(caught.value.retry_after)
    assert await through(bob, 1) == 1
    assert limiter.figures.refused["rate"] == 7 + 8 + 7 + 1


async def test_a_function_s_rate_counts_that_function_alone() -> None:
    clock = Clockwork()
    limiter = CallLimiter(Limits(pause=0), clock=clock)  # type: ignore[arg-type]
    ada, rare, usual = caller(), function(Rate(1, per=60)), function()
    (await limiter.admit(call(ada, rare))).end()
    with pytest.raises(LimitError, match=r"plain: more calls of a caller than 1 in 60 s") as caught:
        await limiter.admit(call(ada, rare))
    assert caught.value.as_dict()["retry_after"] == 60
    (await limiter.admit(call(ada, usual))).end()


async def test_a_refusal_by_rate_is_held_and_tells_what_is_left_of_the_time() -> None:
    clock = Clockwork()
    limiter = CallLimiter(Limits(), clock=clock)  # type: ignore[arg-type]
    ada, rare = caller(), function(Rate(1, per=60))
    (await limiter.admit(call(ada, rare))).end()
    late = asyncio.create_task(limiter.admit(call(ada, rare)))
    await clock.wind(0.24)
    assert not late.done()
    await clock.wind(0.01)
    error = await refused(late)
    assert error.retry_after == 59.75
    await clock.wind(error.retry_after)
    (await limiter.admit(call(ada, rare))).end()


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", "2001:db8:0:2::1"),
        (None, "", "::1"),
        ("fe80::1%eth0", "fe80::2", "fe81::1"),
        ("not:an:address", "not:an:address", "not:another"),
    ],
)
async def test_strangers_are_counted_by_address(address: str | None, same: str, other: str) -> None:
    limiter = CallLimiter(Limits(strangers=Rate(1, per=60), pause=0), clock=Clockwork())  # type: ignore[arg-type]
    hello = function(public=True)
    (await limiter.admit(call(None, hello, address))).end()
    with pytest.raises(LimitError):
        await limiter.admit(call(None, hello, same))
    # A credential is no way around it.
    with pytest.raises(LimitError):
        await limiter.admit(call(caller(), hello, same))
    (await limiter.admit(call(None, hello, other))).end()


async def test_all_strangers_are_one_organization_where_places_are_given() -> None:
    hall, ada = Hall(), caller()
    hello = function(public=True)
    calls = [hall.limiter.admit(call(None, hello, f"2001:db8:{number:x}::1")) for number in range(60)]
    tasks = [asyncio.create_task(each) for each in calls]
    await settled()
    assert hall.limiter.figures.working == 8
    mine = hall.ask(ada)
    await settled()
    assert mine.done()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"places": 0}, "places must be from 1"),
        ({"queue": -1}, "queue must be from 0"),
        ({"wait": 0}, "wait must be from 0.001"),
        ({"alone": 2}, "alone must be from 0 to 1"),
        ({"beside": 0.05}, "flooding must be at most beside"),
        ({"processes": True}, "processes must be"),
        ({"rates": [Rate(1)]}, "rates must be a tuple of rates"),
        ({"strangers": 5}, "strangers must be a rate or None"),
    ],
)
def test_wrong_limits_name_the_field(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Limits(**wrong)
