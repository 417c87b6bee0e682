"""What `/metrics` tells."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from freehold import Database
from freehold.server import Settings
from freehold.server.exchange import Exchange
from freehold.server.metrics import NAMES, Metrics, SharedFigures
from tests.server.serving import serving


def values(text: str) -> dict[tuple[str, ...], float]:
    """The samples, by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def ended(name: str | None, status: int = 200, **timings: float) -> Exchange:
    exchange = Exchange("GET", "/api/x", {}, {"function": name, "timings": timings})
    exchange.status = status
    exchange.sent = 10
    return exchange


def metrics(shared: SharedFigures | None = None, **gauges: float) -> Metrics:
    return Metrics(lambda: dict(gauges), lambda: {"increments_lost": 1}, shared)


async def test_requests_are_counted_by_function_and_status(database: Database) -> None:
    async with serving(database) as (client, _):
        for path in ("/api/staged", "/api/staged", "/api/absent", "/api/limited", "/api/broken", "/secret/path"):
            await client.get(path)
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        found = values(answer.text)
    assert found["freehold_requests_total", "staged", "2xx"] == 2
    assert found["freehold_requests_total", "absent", "4xx"] == 1
    assert found["freehold_requests_total", "broken", "5xx"] == 1
    assert found["freehold_requests_total", "none", "4xx"] == 1
    assert found["freehold_requests_limited_total",] == 1
    assert found["freehold_request_seconds_count", "staged"] == 2
    assert found["freehold_request_seconds_bucket", "staged", "+Inf"] == 2
    assert found["freehold_stage_calls_total", "execute"] == 2
    assert abs(found["freehold_stage_seconds_total", "execute"] - 0.004) < 1e-9
    assert found["freehold_requests_in_flight", "0"] == 1  # the one that asks
    assert found["freehold_pool_size", "0"] == 4
    assert found["freehold_pool_idle", "0"] <= found["freehold_pool_open", "0"] <= 4
    assert found["freehold_pool_waiting", "0"] == 0
    assert found["freehold_increments_lost_total",] == 0
    assert "secret" not in answer.text


TOKEN = "a-secret-for-the-tests"


async def test_figures_and_documents_are_closed_unless_they_are_opened(database: Database) -> None:
    async with serving(database, Settings()) as (client, _):
        for path in ("/metrics", "/api/openapi.json", "/api/docs", "/api/docs/page.js"):
            answer = await client.get(path, headers={"authorization": "Bearer "})
            assert answer.status_code >= 400, path
            assert "freehold_" not in answer.text


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"metrics": True}, 200),
        ({"metrics": ("192.0.2.9",)}, 200),  # where the tests' client is
        ({"metrics": ("10.0.0.0/8", "192.0.2.0/24")}, 200),
        ({"metrics": ("10.0.0.0/8", "::1")}, 404),
        ({"metrics_token": TOKEN}, 404),
        ({"metrics_token": TOKEN, "metrics": ("10.0.0.0/8",)}, 404),
        ({"metrics_token": TOKEN, "metrics": ("192.0.2.9",)}, 200),
    ],
)
async def test_metrics_are_shown_to_whom_the_settings_name(
    database: Database, given: dict[str, Any], status: int
) -> None:
    async with serving(database, Settings(**given)) as (client, _):
        assert (await client.get("/metrics")).status_code == status
        forged = await client.get("/metrics", headers={"x-forwarded-for": "10.0.0.1"})
        assert forged.status_code == status
        with_token = await client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert with_token.status_code == (200 if "metrics_token" in given else status)
        for wrong in (TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", "bearer é"):
            answer = await client.get("/metrics", headers={"authorization": wrong.encode()})
            assert answer.status_code == status
    assert TOKEN not in repr(Settings(**given))


async def test_metrics_can_be_off_and_openmetrics(database: Database) -> None:
    async with serving(database, Settings(metrics=False)) as (client, _):
        assert (await client.get("/metrics")).status_code == 404
    async with serving(database) as (client, _):
        answer = await client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")


def test_there_is_a_bound_on_names() -> None:
    counted = metrics()
    for _ in range(NAMES + 50):
        counted(ended(str(uuid4())))
    told = values(counted.text()[0].decode())
    assert len({key for key in told if key[0] == "freehold_requests_total"}) == NAMES + 1
    assert told["freehold_requests_total", "other", "2xx"] == 50


def test_whichever_worker_is_asked_tells_of_all(tmp_path: Path) -> None:
    first, second = (metrics(SharedFigures(tmp_path, number), pool_open=number + 1) for number in (0, 1))
    first(ended("a.get", execute=0.5))
    second(ended("a.get", 503))
    second(ended("b.get"))
    for each in (first, second):
        each.keep()
    for each in (first, second):
        found = values(each.text()[0].decode())
        assert found["freehold_requests_total", "a.get", "2xx"] == 1
        assert found["freehold_requests_total", "a.get", "5xx"] == 1
        assert found["freehold_requests_total", "b.get", "2xx"] == 1
        assert found["freehold_request_seconds_count", "a.get"] == 2
        assert found["freehold_stage_seconds_total", "execute"] == 0.5
        assert found["freehold_increments_lost_total",] == 2
        assert (found["freehold_pool_open", "0"], found["freehold_pool_open", "1"]) == (1, 2)


def test_a_worker_that_replaces_another_goes_on_counting(tmp_path: Path) -> None:
    killed = metrics(SharedFigures(tmp_path, 0))
    killed(ended("a.get"))
    killed.keep()
    successor = metrics(SharedFigures(tmp_path, 0))
    successor(ended("a.get"))
    for _ in range(2):  # and keeping it does not count it twice
        successor.keep()
    assert values(successor.text()[0].decode())["freehold_requests_total", "a.get", "2xx"] == 2
