"""The connection's side of limits: headers that are too long or come too slowly.

uvicorn with httptools bounds neither: it keeps headers until they are complete, however long that takes. With h11 it bounds
their length (64 KB). So this is httptools' protocol with both bounds; bodies and answers are bounded further in (`edge`).
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from freehold.errors import RequestError
from freehold.server.problems import problem_details
from freehold.server.settings import Settings

__all__ = ["protocol_of"]

_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose headers are bounded. Use `protocol_of`."""

    header_limit: int = 32_768
    header_timeout: float = 10.0

    _complete = True
    _received = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """The headers of a request are there."""
        self._complete = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body of a request is there: what has come was its last part, and no headers."""
        self._complete = True
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parses what has come."""
        self._complete = False
        super().data_received(data)
        cycle = self.cycle
        if self._complete or (cycle is not None and cycle.more_body and not cycle.response_complete):
            self._received = 0
            if self._timer is not None:
                self._stop_waiting()
            return
        # Neither the end of headers nor a part of a body: the beginning of headers, of which there may be more.
        self._received += len(data)
        if self._received > self.header_limit + 16_384:  # what is little too long gets a better answer further in
            self._refuse(
                RequestError("the request's headers are too long", status=431, hint="send fewer and shorter ones")
            )
        elif self._timer is None:
            self._await_headers()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # as uvicorn calls it
        """Answers what is no HTTP."""
        self._refuse(
            RequestError("this is no HTTP request", status=400, hint="look at what is between the client and here")
        )

    def _await_headers(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout, self._too_slow)

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _too_slow(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._await_headers()  # a request is still being answered; the one after it can wait
        elif self._received:
            self._refuse(RequestError("the request's headers came too slowly", status=408))
        else:
            self.transport.close()

    def _refuse(self, error: RequestError) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if (
            self.cycle is None or self.cycle.response_complete
        ):  # else an answer is on its way, and this would be taken for its part
            told = problem_details(error)
            lines = [b"HTTP/1.1 %d %s" % (told.status, _REASONS[told.status])]
            headers = [(name, value) for name, value in told.all_headers if name != b"connection"]
            lines += [b"%s: %s" % header for header in [*headers, (b"connection", b"close")]]
            self.transport.write(b"\r\n".join([*lines, b"", told.body]))
        self.transport.close()


def protocol_of(settings: Settings) -> type[Any]:
    """The protocol of connections, with the bounds of these settings."""
    bounds = {"header_limit": settings.header_limit, "header_timeout": settings.header_timeout}
    return type("Protocol", (BoundedProtocol,), bounds)
