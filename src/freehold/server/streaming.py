"""Answers that come item by item, as lines of JSON or as events.

The next item is made when the server has taken this one, and the server takes none while the client lets its buffer stand
full: so a slow client slows down what it reads from, and nothing piles up. An error in the middle is told in the stream's own
framing, and then the connection is closed instead of being ended in order, so that nobody takes the part for the whole.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, cast

from starlette.types import Send

from freehold.errors import FreeholdError
from freehold.functions.pipeline import described
from freehold.functions.results import Answer
from freehold.server.departures import Presence
from freehold.server.exchange import Exchange
from freehold.server.problems import problem_details, status_of

__all__ = ["EVENTS", "LINES", "send_stream"]

_log = logging.getLogger("freehold.server")

LINES = b"application/x-ndjson"
EVENTS = b"text/event-stream"
TURN = 32
"""Items after which other calls have their turn."""


async def send_stream(
    answer: Answer, exchange: Exchange, send: Send, presence: Presence, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Sends a stream. What fails before the first item is raised, so that it is answered as usual.

    Args:
        answer: with the stream.
        exchange: the request.
        send: sends the answer.
        presence: of the client: the stream ends when it has left.
        headers: that it has besides.
    """
    items = cast("Any", answer.stream)
    media = _media(exchange) if answer.media == "application/json" else None
    kind = answer.media.encode() if media is None else media
    async with aclosing(items):
        first = await anext(items, None)
        presence.listen()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind), *headers]})
        try:
            if first is not None and exchange.method != "HEAD":
                await send(_part(_framed(first, media)))
                await _send_rest(items, media, send)
        except Exception as error:
            told = described(error)
            if status_of(told) != 500:  # the others are logged where they end
                _log.warning(
                    "request %s: %s ended in the middle: %s", exchange.request_id, exchange.function, told.code
                )
            await send(_part(_told(told, exchange, media)))
            raise
        end = b"event: end\ndata: {}\n\n" if media == EVENTS else b""
        await send({"type": "http.response.body", "body": end})


async def _send_rest(items: AsyncIterator[bytes], media: bytes | None, send: Send) -> None:
    sent = 0
    async for item in items:
        await send(_part(_framed(item, media)))
        sent += 1
        if not sent % TURN:
            # Neither items nor sending need wait for anything. Others have their turn all the same, and the client's end is heard.
            await asyncio.sleep(0)


def _media(exchange: Exchange) -> bytes:
    """How items are framed, as the client wants it."""
    accepted = exchange.headers.get(b"accept", b"")
    lines, events = accepted.find(LINES), accepted.find(EVENTS)
    return EVENTS if events >= 0 and (lines < 0 or events < lines) else LINES


def _part(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def _framed(item: bytes, media: bytes | None) -> bytes:
    if media == LINES:
        return _line(item) + b"\n"
    return b"data: %b\n\n" % _line(item) if media == EVENTS else item


def _line(item: bytes) -> bytes:
    # A line break in JSON is white space: in texts it is escaped.
    return item.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in item or b"\r" in item else item


def _told(error: FreeholdError, exchange: Exchange, media: bytes | None) -> bytes:
    """The problem in the framing of the stream; nothing where it is a file, which has none."""
    body = problem_details(error, request_id=exchange.request_id).body
    if media == LINES:
        return b'{"problem":%b}\n' % body
    return b"event: problem\ndata: %b\n\n" % body if media == EVENTS else b""
