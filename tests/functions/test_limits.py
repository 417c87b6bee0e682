"""Limits in the pipeline: what a call holds, and when it gives it back."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_core import from_json

from freehold import Database, Principal, errors
from freehold.functions.arguments import Arguments
from freehold.functions.limits import CallLimiter, Limits
from freehold.functions.pipeline import Call, Pipeline
from freehold.identity.principal import Origin
from tests.functions.conftest import as_role
from tests.functions.shop import reached, shop
from tests.world import Customer


def working(limiter: CallLimiter) -> tuple[int, int]:
    return limiter.figures.working, limiter.figures.streams


async def filled(database: Database, caller: Principal, count: int = 25) -> None:
    async with database.session(caller.context(Origin())) as session:
        await session.create_many(Customer, [{"name": f"c{number:02}"} for number in range(count)])


def asked(name: str, caller: Principal | None, **values: Any) -> Call:
    return Call(shop.functions[name], Arguments.of_values(values), caller)


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("whoami", {}, None),
        ("customers.figures", {"least": "x"}, errors.ValidationError),
        ("customers.sneaky", {}, errors.TransactionError),
        ("orders.place", {"customer": "a", "lines": [], "fail": True}, RuntimeError),
        ("sleepy", {}, errors.TimeoutError),
        ("broken", {}, errors.InternalError),
    ],
)
async def test_a_call_gives_its_place_back_however_it_ends(
    shop_database: Database, ada: Principal, name: str, values: dict[str, Any], error: type[Exception] | None
) -> None:
    limiter = CallLimiter()
    pipeline = Pipeline(shop_database, limiter=limiter)
    if error is None:
        await pipeline.run(asked(name, ada, **values))
    else:
        with pytest.raises(Exception) as caught:
            await pipeline.run(asked(name, ada, **values))
        assert not isinstance(caught.value, errors.LimitError)
    with pytest.raises(errors.ForbiddenError):
        await pipeline.run(asked("orders.place", as_role(ada, "guest"), customer="a", lines=[]))
    assert working(limiter) == (0, 0)
    assert limiter.figures.admitted == 2


async def test_a_cancelled_call_gives_its_place_back(shop_database: Database, ada: Principal) -> None:
    limiter = CallLimiter()
    task = asyncio.create_task(Pipeline(shop_database, limiter=limiter).run(asked("sleepy", ada)))
    await asyncio.sleep(0)
    assert working(limiter) == (1, 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert working(limiter) == (0, 0)


async def test_a_refused_call_reaches_nothing(shop_database: Database, ada: Principal) -> None:
    limiter = CallLimiter(Limits(pause=0))
    pipeline = Pipeline(shop_database, limiter=limiter)
    for _ in range(5):  # as many as its rate allows; they are refused later, for want of a key
        with pytest.raises(errors.RequestError):
            await pipeline.run(asked("customers.pay", ada, id=ada.organization_id, amount=1))
    with pytest.raises(errors.LimitError) as caught:
        await pipeline.run(asked("customers.pay", ada))
    assert 11 < caught.value.retry_after <= 12
    assert reached == []
    assert working(limiter) == (0, 0)


async def test_a_stream_has_a_place_only_while_it_works(shop_database: Database, ada: Principal) -> None:
    await filled(shop_database, ada)
    limiter = CallLimiter(Limits(streams=1, places=1))
    pipeline = Pipeline(shop_database, limiter=limiter)
    stream = (await pipeline.run(asked("customers.stream", ada))).stream
    assert stream is not None
    assert working(limiter) == (0, 1)
    await anext(stream)
    assert reached == ["c00"]
    assert working(limiter) == (0, 1)
    # Its client takes its time; the one place there is serves others.
    await pipeline.run(asked("whoami", ada))
    with pytest.raises(errors.LimitError, match="1 streams and files are on their way"):
        await pipeline.run(asked("customers.stream", ada))
    assert len([item async for item in stream]) == 24
    assert working(limiter) == (0, 0)


async def test_a_stream_waits_for_its_turn_like_others(shop_database: Database, ada: Principal) -> None:
    await filled(shop_database, ada)
    limiter = CallLimiter(Limits(places=1))
    pipeline = Pipeline(shop_database, limiter=limiter)
    stream = (await pipeline.run(asked("customers.stream", ada))).stream
    assert stream is not None
    holder = asyncio.create_task(pipeline.run(asked("sleepy", ada)))
    await asyncio.sleep(0)
    item = asyncio.create_task(anext(stream))  # type: ignore[arg-type]  # a coroutine of an iterator
    for _ in range(5):
        await asyncio.sleep(0)
    assert (reached, limiter.figures.waiting) == ([], 1)
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    await item
    assert reached == ["woken", "c00"]


@pytest.mark.parametrize("end", ["unread", "closed", "forgotten", "cancelled"])
async def test_a_stream_that_is_not_read_to_its_end_gives_all_back(
    shop_database: Database, ada: Principal, end: str
) -> None:
    await filled(shop_database, ada)
    limiter = CallLimiter()
    stream: Any = (await Pipeline(shop_database, limiter=limiter).run(asked("customers.stream", ada))).stream
    assert working(limiter) == (0, 1)
    if end != "unread":
        await anext(stream)
    if end == "cancelled":
        for _ in range(9):
            await anext(stream)
        item = asyncio.ensure_future(anext(stream))  # it reads the next page
        await asyncio.sleep(0)
        item.cancel()
        with pytest.raises(asyncio.CancelledError):
            await item
    elif end == "forgotten":
        del stream
        gc.collect()
    else:
        await stream.aclose()
        await stream.aclose()
    assert working(limiter) == (0, 0)


async def test_a_file_that_comes_slowly_holds_no_place(shop_database: Database, ada: Principal) -> None:
    more, limiter = asyncio.Event(), CallLimiter(Limits(places=1, streams=1))
    pipeline = Pipeline(shop_database, limiter=limiter)

    async def parts() -> AsyncIterator[bytes]:
        yield b"name\nslow\n"
        await more.wait()
        yield b"slower\n"

    def upload(content: AsyncIterator[bytes]) -> Call:
        return Call(shop.functions["customers.import"], Arguments.of_values({}), ada, content=content)

    importing = asyncio.create_task(pipeline.run(upload(parts())))
    while not limiter.figures.streams or limiter.figures.working:  # until it waits for its client
        await asyncio.sleep(0)
    await pipeline.run(asked("whoami", ada))
    with pytest.raises(errors.LimitError, match="1 streams and files"):
        await pipeline.run(upload(parts()))
    more.set()
    assert from_json((await importing).body)["created"] == 2
    assert working(limiter) == (0, 0)
    left = asyncio.create_task(pipeline.run(upload(never())))
    while not limiter.figures.streams or limiter.figures.working:
        await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    assert working(limiter) == (0, 0)


async def never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""
