"""One organization that floods the server: its excess gets 429 with Retry-After, and others are let in at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from freehold import Database, Principal
from freehold.functions.limits import Limits
from freehold.server import Settings
from tests.functions.shop import gates, reached
from tests.probe import until
from tests.server.calling import Callers, calling


@pytest.fixture
async def call(shop_database: Database, ada: Principal, eve: Principal) -> AsyncIterator[Callers]:
    """Four places, as many as connections; refusals are told at once."""
    settings = Settings(metrics=True, limits=Limits(pause=0, wait=10, wait_alone=30, queue=5, queue_alone=5))
    async with calling(shop_database, settings, ada=ada, eve=eve) as callers:
        yield callers
    gates.clear()


def figure(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"freehold_{name}"))


async def test_the_excess_is_refused_and_the_other_is_let_in_at_once(call: Callers) -> None:
    gates.append(asyncio.Event())
    flood = [asyncio.create_task(call("eve", "GET", "/api/functions/gated")) for _ in range(40)]

    async def full() -> bool:
        return sum(task.done() for task in flood) == 40 - 3 - 5

    await until(full, "three calls are at work, five wait, and the rest was refused")
    for task in flood:
        if task.done():
            response = task.result()
            assert (response.status_code, response.json()["code"]) == (429, "FH403")
            assert response.headers["retry-after"] == "1"
            assert response.json()["retry_after"] == 1.0
    # All of the flood stands still, and the other organization works as if it were alone.
    for _ in range(20):
        assert (await call("ada", "GET", "/api/functions/whoami")).status_code == 200
    assert sum(task.done() for task in flood) == 32
    text = (await call(None, "GET", "/metrics")).text
    assert figure(text, "calls_working") == 3
    assert figure(text, "calls_waiting") == 5
    assert figure(text, "calls_refused_queue_total") == 32
    gates[0].set()
    served = [response for response in await asyncio.gather(*flood) if response.status_code == 200]
    assert len(served) == 8
    assert figure((await call(None, "GET", "/metrics")).text, "calls_working") == 0


async def test_a_rate_is_told_with_the_time_after_which_the_call_is_let_in(call: Callers) -> None:
    sent = {"json": {"id": "018f0000-0000-7000-8000-000000000000", "amount": "1"}}
    for number in range(6):
        headers = {"idempotency-key": f"key-{number}"}
        response = await call("ada", "POST", "/api/functions/customers.pay", headers=headers, **sent)
        assert response.status_code == (404 if number < 5 else 429), response.text
    assert response.headers["retry-after"] == "12"
    assert 11 < response.json()["retry_after"] <= 12
    assert reached == ["pay"] * 5
    other = await call("eve", "POST", "/api/functions/customers.pay", headers={"idempotency-key": "k"}, **sent)
    assert other.status_code == 404


async def test_who_leaves_while_it_waits_leaves_its_place(call: Callers) -> None:
    gates.append(asyncio.Event())
    flood = [asyncio.create_task(call("eve", "GET", "/api/functions/gated")) for _ in range(8)]

    async def waiting(count: int) -> bool:
        return figure((await call(None, "GET", "/metrics")).text, "calls_waiting") == count

    await until(lambda: waiting(5), "five calls wait")
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    text = (await call(None, "GET", "/metrics")).text
    assert (figure(text, "calls_waiting"), figure(text, "calls_working")) == (0, 0)
    gates[0].set()
    assert (await call("eve", "GET", "/api/functions/gated")).status_code == 200
