"""The answer on its way out: headers that every one gets, compression, and what is noted of it."""

from time import perf_counter

from starlette.types import Message, Send

from freehold.server.compression import GzipStream, accepts_gzip, compressible, gzipped, gzipped_headers
from freehold.server.exchange import Exchange
from freehold.server.problems import ProblemDetails
from freehold.server.settings import Settings

__all__ = ["AbortedError", "Reply"]

Headers = list[tuple[bytes, bytes]]

_CACHE = (b"cache-control", b"private, no-cache")
"""No cache in between may keep an answer, and a browser asks whether its copy is still right."""
_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
)
_FIXED = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"accept-encoding, authorization, freehold-organization"),
]
_CLOSE = (b"connection", b"close")


class AbortedError(Exception):
    """An answer that had begun cannot be ended. The server closes the connection; what happened is in the log already."""


class Reply:
    """Sends one answer, in place of the server's own `send`.

    Args:
        exchange: what it answers.
        send: the server's.
        settings: how.
        secure: whether the request came by https.
        closing: whether the connection should end with this answer.
    """

    __slots__ = ("_closing", "_held", "_secure", "_send", "_settings", "_stream", "exchange")

    def __init__(self, exchange: Exchange, send: Send, settings: Settings, *, secure: bool, closing: bool) -> None:
        self.exchange = exchange
        self._send = send
        self._settings = settings
        self._secure = secure
        self._closing = closing
        self._held: Message | None = None
        self._stream: GzipStream | None = None

    async def __call__(self, message: Message) -> None:
        """Sends a message on."""
        if message["type"] == "http.response.body":
            if self._held is not None or self._stream is not None:
                message = await self._compressed(message)
            exchange = self.exchange
            exchange.sent += len(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send(message)
                return
            exchange.writing = perf_counter()
            await self._send(message)
            exchange.writing = 0.0
        elif message["type"] == "http.response.start":
            await self._start(message)
        else:
            await self._send(message)

    async def problem(self, told: ProblemDetails) -> None:
        """Answers with a problem."""
        self._held = None
        await self._start({"type": "http.response.start", "status": told.status, "headers": told.all_headers})
        await self({"type": "http.response.body", "body": told.body})

    async def _start(self, message: Message) -> None:
        exchange, settings = self.exchange, self._settings
        exchange.status = message["status"]
        given = message.get("headers", ())
        present = dict(given)
        headers: Headers = [*given, *_FIXED, (b"x-request-id", exchange.request_id.encode())]
        if b"cache-control" not in present:
            headers.append(_CACHE)
        if b"content-security-policy" not in present:
            headers.append(_POLICY)
        if self._secure and settings.hsts_seconds:
            headers.append((b"strict-transport-security", b"max-age=%d" % settings.hsts_seconds))
        if self._closing and b"connection" not in present:
            headers.append(_CLOSE)
        if settings.development:
            headers.append((b"server-timing", _timing(exchange)))
        message = {"type": "http.response.start", "status": exchange.status, "headers": headers}
        accepted = exchange.headers.get(b"accept-encoding")
        if (
            accepted is not None
            and settings.compression is not None
            and exchange.method != "HEAD"
            and accepts_gzip(accepted)
            and compressible(exchange.status, present, settings.compression)
        ):
            self._held = message
            return
        await self._send(message)

    async def _compressed(self, message: Message) -> Message:
        """A message with a part of the body, compressed; before the first one, the headers are sent."""
        body, more = message.get("body", b""), message.get("more_body", False)
        held, self._held = self._held, None
        if held is not None:
            if not more:
                body = await gzipped(body, self._settings.compression_level)
                held["headers"] = gzipped_headers(held["headers"], len(body))
                await self._send(held)
                return {"type": "http.response.body", "body": body}
            self._stream = GzipStream(self._settings.compression_level)
            held["headers"] = gzipped_headers(held["headers"], None)
            await self._send(held)
        if self._stream is not None:
            body = await self._stream.part(body, last=not more)
        return {"type": "http.response.body", "body": body, "more_body": more}


def _timing(exchange: Exchange) -> bytes:
    """The header `Server-Timing`: what each stage took, in milliseconds."""
    stages = [f"{name};dur={seconds * 1_000:.2f}" for name, seconds in exchange.timings.items()]
    stages.append(f"total;dur={(perf_counter() - exchange.began) * 1_000:.2f}")
    return ", ".join(stages).encode("latin-1", "replace")
