"""Spans for OpenTelemetry: one for each request, and one for each message to PostgreSQL.

It comes with the extra `opentelemetry`, and nothing of it is imported unless tracing is switched on. Where spans go, the
program says: it sets a tracer provider up before it starts the server.
"""

import time
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.errors import ConfigurationError
from freehold.postgres.connections import Pool

__all__ = ["Tracing"]

LONGEST = 1_000
"""Characters of a statement that a span keeps."""


class Tracing:
    """Makes the spans.

    Args:
        provider: a `TracerProvider`; None is the program's own.

    Raises:
        ConfigurationError: the extra is not installed.
    """

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ConfigurationError(
                "settings: tracing needs OpenTelemetry", hint="pip install 'freehold[opentelemetry]'"
            ) from error
        self._trace = trace
        self._tracer = trace.get_tracer("freehold", tracer_provider=provider)
        self._propagator = TraceContextTextMapPropagator()

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application with a span around each request, below the caller's where it names one (`traceparent`)."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            carrier = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in scope["headers"]
                if name in (b"traceparent", b"tracestate")
            }
            with self._tracer.start_as_current_span(
                scope["method"],
                context=self._propagator.extract(carrier),
                kind=self._trace.SpanKind.SERVER,
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    await app(scope, receive, send)
                finally:
                    if span.is_recording():
                        self._describe(span, scope)

        return traced

    def _describe(self, span: Any, scope: Scope) -> None:
        exchange = scope["state"]["exchange"]
        span.update_name(f"{exchange.method} {exchange.function or '-'}")
        span.set_attributes(
            {
                "http.request.method": exchange.method,
                "http.response.status_code": exchange.status,
                "url.scheme": scope.get("scheme", "http"),
                "freehold.request_id": exchange.request_id,
                "freehold.function": exchange.function or "-",
            }
        )
        if exchange.principal is not None:
            span.set_attribute("freehold.organization_id", str(exchange.principal.organization_id))
        if exchange.status >= 500 or not exchange.status:
            span.set_status(self._trace.StatusCode.ERROR)

    def observe(self, pool: Pool) -> None:
        """Makes a span of each message that a pool sends."""
        pool.observe(self._message)

    def _message(self, text: str, seconds: float, error: BaseException | None) -> None:
        end = time.time_ns()
        span = self._tracer.start_span(
            "postgresql",
            kind=self._trace.SpanKind.CLIENT,
            start_time=end - int(seconds * 1e9),
            attributes={"db.system.name": "postgresql", "db.query.text": text[:LONGEST]},
        )
        if error is not None:  # its name and not its text, which may quote a row
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(end)
