"""The connection's side of limits: heads that are too long or come too slowly, and what goes around the chunks of a body.

uvicorn with httptools bounds none of these: it keeps headers until they are complete, however long that takes, takes the trailer fields of
a chunked body for headers of the request, and answers a broken body by closing the connection. With h11 it bounds the length of
headers (64 KB). So this is httptools' protocol with the bounds; bodies and answers are bounded further in (`edge`).

States of what comes in: the *head* of a request, from its first byte to the empty line; its *body*; *broken*, from the first byte that is
no HTTP on, where nothing more is parsed. If the request that is broken is being answered, the answer is the problem
(`freehold.server.exchange`); if an earlier one is, that one is answered and the connection closed; else the problem is sent from here.
"""

import asyncio
import logging
from http import HTTPStatus
from itertools import chain
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from freehold.errors import RequestError
from freehold.server.exchange import BROKEN
from freehold.server.framing import check_head, without_upgrade, wrong_http
from freehold.server.problems import problem_details
from freehold.server.settings import Settings

__all__ = ["protocol_of"]

LONGEST_BETWEEN = 16_384
"""Bytes of chunk extensions and trailer fields of one body. They mean nothing here."""

_log = logging.getLogger("freehold.server")


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose heads, chunk extensions and trailer fields are bounded. Use `protocol_of`."""

    header_limit: int = 32_768
    header_timeout: float = 10.0

    _complete = True
    _received = 0
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _broken = False
    _upgrading = False
    _chunk = _body = _between = 0

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
        self._chunk = self._body = self._between = 0
        version = self.parser.get_http_version()
        check_head(version, self.parser.get_method(), self.url, self.headers)
        if self.parser.should_upgrade():
            self._upgrading = True  # the parser stops after this head; `_parse` goes on without the wish
            return
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1
        super().on_headers_complete()
        self._in_head = False
        self.headers = []  # for trailer fields: they come after all that they could be about was decided, and are dropped

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._chunk += len(body)
        self._body += len(body)
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        """The end of a chunk: the hexadecimal length and the two line breaks that it needs are no extension."""
        self._body += len(b"%x" % self._chunk) + 4
        self._chunk = 0

    def on_message_complete(self) -> None:
        """The body of a request is there: what has come was its last part, and no headers."""
        self._complete = True
        if self._upgrading:
            return
        if self.headers:
            self._between_chunks(sum(map(len, chain.from_iterable(self.headers))) + 4 * len(self.headers))
        self._between = self._body = 0
        self._in_head = True
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Parses what has come."""
        if self._broken:
            return
        self._complete = False
        self._unset_keepalive_if_required()
        in_body, self._body = not self._in_head, 0
        try:
            self._parse(data)
            if in_body and not self._complete and not self._in_head:
                self._between_chunks(len(data) - self._body)
        except httptools.HttpParserError as error:
            self._break(wrong_http(error, data))
            return
        except RequestError as error:
            self._break(error)
            return
        self._bound_head(len(data))

    def _parse(self, data: bytes) -> None:
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as pause:
                rest = rest[pause.args[0] :]
            else:
                return
            # The parser reads nothing after a wish for another protocol, not the body either. A new one reads the same head without it.
            self._upgrading = False
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            head = without_upgrade(b"%b %b HTTP/%b" % (method, self.url, version), self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)

    def _between_chunks(self, length: int) -> None:
        self._between += length
        if self._between > LONGEST_BETWEEN:
            raise RequestError(
                f"the body's chunk extensions and trailer fields are longer than {LONGEST_BETWEEN:,} bytes",
                status=431,
                hint="leave them out",
            )

    def _bound_head(self, length: int) -> None:
        cycle = self.cycle
        if self._complete or (cycle is not None and cycle.more_body and not cycle.response_complete):
            self._received = 0
            if self._timer is not None:
                self._stop_waiting()
            return
        # Neither the end of headers nor a part of a body: the beginning of headers, of which there may be more.
        self._received += length
        if self._received > self.header_limit + 16_384:  # what is little too long gets a better answer further in
            self._break(
                RequestError("the request's headers are too long", status=431, hint="send fewer and shorter ones")
            )
        elif self._timer is None:
            self._await_headers()

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
            self._break(RequestError("the request's headers came too slowly", status=408))
        else:
            self.transport.close()

    def _break(self, error: RequestError) -> None:
        """Reads nothing more of the connection, and answers what can still be answered."""
        self._broken = True
        self._stop_waiting()
        if self.transport.is_closing():
            return
        _log.info("a connection is closed: %s", error.message)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            if cycle.more_body:  # it is this request that is broken
                cycle.more_body = False
                cycle.scope["state"][BROKEN] = error
                cycle.message_event.set()
            return
        if self._in_head:
            self.transport.write(_problem(error))
        self.transport.close()


def _problem(error: RequestError) -> bytes:
    told = problem_details(error)
    lines = [b"HTTP/1.1 %d %s" % (told.status, HTTPStatus(told.status).phrase.encode())]
    headers = [(name, value) for name, value in told.all_headers if name != b"connection"]
    lines += [b"%s: %s" % header for header in [*headers, (b"connection", b"close")]]
    return b"\r\n".join([*lines, b"", told.body])


def protocol_of(settings: Settings) -> type[Any]:
    """The protocol of connections, with the bounds of these settings."""
    bounds = {"header_limit": settings.header_limit, "header_timeout": settings.header_timeout}
    return type("Protocol", (BoundedProtocol,), bounds)
