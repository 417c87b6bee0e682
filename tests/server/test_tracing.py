"""Spans of requests and of messages."""

import contextlib
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import PlainTextResponse

from freehold import Database
from freehold.errors import FreeholdError
from freehold.server import Settings
from freehold.server import tracing as module
from tests.conftest import new_context
from tests.server.serving import Api, serving
from tests.world import Customer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


class Reading(Api):
    def __init__(self, database: Database, context: Any) -> None:
        super().__init__()
        self._session = database.session(context)

    async def read(self, request: Any, exchange: Any) -> Any:
        await self._session.create(Customer, name="Very secret name")
        async with self._session.transaction() as transaction:
            await transaction.count(Customer)
        with contextlib.suppress(FreeholdError):
            await self._session.sql(None, "select 1 / length(:text)", text="")
        return PlainTextResponse("done")


def named(spans: tuple[ReadableSpan, ...], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


async def test_a_request_is_a_span_and_each_message_one_below_it(
    database: Database, spans: InMemorySpanExporter
) -> None:
    api = Reading(database, await new_context(database))
    async with serving(database, Settings(tracing=True), api=api) as (client, _):
        await client.get("/api/read?secret=1", headers={"traceparent": PARENT, "x-request-id": "r-1"})
        await client.get("/api/broken")
        await client.get("/healthz", headers={"traceparent": "nonsense"})
    found = spans.get_finished_spans()
    (request,) = named(found, "GET read")
    assert request.context is not None
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["freehold.request_id"] == "r-1"
    messages = [
        span for span in named(found, "postgresql") if span.parent and span.parent.span_id == request.context.span_id
    ]
    texts = [str((span.attributes or {})["db.query.text"]) for span in messages]
    assert sum("customers_create" in text for text in texts) == 1
    assert "commit" in texts
    assert "begin" in texts
    assert "decode(" not in repr(texts)  # a commit's script has the context in it, with its seal
    failed = [span for span in messages if span.status.status_code == trace.StatusCode.ERROR]
    assert [(span.attributes or {})["error.type"] for span in failed] == ["DivisionByZeroError"]
    assert "secret" not in repr([(span.name, dict(span.attributes or {}), span.events) for span in found])
    (broken,) = named(found, "GET broken")
    assert broken.status.status_code == trace.StatusCode.ERROR
    assert "hunter2" not in repr(broken.to_json())
    (health,) = named(found, "GET healthz")
    assert health.parent is None


async def test_without_it_nothing_is_observed(database: Database, spans: InMemorySpanExporter) -> None:
    async with serving(database) as (client, _):
        await client.get("/api/echo")
        await database.system("tests").find_organization("nobody")
    assert not spans.get_finished_spans()


def test_it_is_not_imported_unless_it_is_switched_on() -> None:
    code = "import sys, freehold.server; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_where_it_is_not_installed_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(FreeholdError, match="freehold\\[opentelemetry\\]"):
        module.Tracing()
