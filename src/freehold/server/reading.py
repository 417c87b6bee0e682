"""What a request says, read strictly: bodies, query strings, and the few headers that mean something to a call.

What could be read in two ways is refused, because a proxy in front may have read it the other way.
"""

import re
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote_from_bytes, unquote_to_bytes

from starlette.types import Receive

from freehold.errors import RequestError
from freehold.functions.texts import Quoted
from freehold.server.departures import Presence
from freehold.server.exchange import Exchange

__all__ = [
    "ClientLeftError",
    "body_parts",
    "expected_version",
    "idempotency_key",
    "json_body",
    "page_link",
    "query_texts",
    "raw_body",
]

LONGEST_QUERY = 16_384
"""Bytes of a query string."""
MOST_PARAMETERS = 200
"""Parameters of a query string."""
LONGEST_LINK = 4_096
"""Bytes of a link in a header: servers in between refuse long ones. The cursor is in the body too."""

_TAG = re.compile(rb'(?:W/)?"(\d{1,10})(?:-[0-9a-f]{1,32})?"')
_ITEM = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_LINKED = re.compile(rb"[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]")


class ClientLeftError(Exception):
    """The client has gone; there is nobody to answer."""


async def raw_body(exchange: Exchange, receive: Receive) -> bytes:
    """The whole body.

    Raises:
        RequestError: it is longer than is read, or too slow.
        ClientLeftError: the client left before its end.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeftError
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        parts, length = [body], len(body)
        while message.get("more_body", False):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            part = message.get("body", b"")
            length += len(part)
            if length > exchange.body_limit:
                break
            parts.append(part)
        body = b"".join(parts) if length <= exchange.body_limit else bytes(exchange.body_limit + 1)
    if len(body) > exchange.body_limit:
        raise RequestError(f"the request's body is longer than {exchange.body_limit:,} bytes", status=413)
    return body


async def body_parts(receive: Receive, presence: Presence) -> AsyncIterator[bytes]:
    """A body as it comes, for what is too long to be held.

    Args:
        receive: of the request; bounds the body's length and time.
        presence: of the client, which is `reading` from the start, so that nobody else listens to it meanwhile.

    Raises:
        ClientLeftError: the client left before its end.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        more = message.get("more_body", False)
        if part := message.get("body", b""):
            yield part
    presence.reading = False


async def json_body(exchange: Exchange, receive: Receive) -> bytes:
    """The body of a request that sends JSON; empty where there is none.

    Raises:
        RequestError: it says that it is something else (415).
    """
    body = await raw_body(exchange, receive)
    if body:
        media = exchange.headers.get(b"content-type", b"")
        if media != b"application/json":
            _check_media(media)
    return body


def _check_media(media: bytes) -> None:
    kind, _, parameters = media.partition(b";")
    charset = parameters.strip().lower().removeprefix(b"charset=").strip(b'"')
    if kind.strip().lower() != b"application/json" or charset not in (b"", b"utf-8", b"utf8"):
        raise RequestError(
            "the body must be JSON in UTF-8", status=415, hint="send the header Content-Type: application/json"
        )


def query_texts(query: bytes) -> dict[str, list[str]]:
    """The parameters of a query string, each with all texts that are given for it.

    Raises:
        RequestError: it is too long, or no UTF-8.
    """
    if not query:
        return {}
    if len(query) > LONGEST_QUERY:
        raise RequestError(
            f"the query string is longer than {LONGEST_QUERY:,} bytes",
            status=414,
            hint="a function takes longer arguments by POST",
        )
    pairs = query.split(b"&")
    if len(pairs) > MOST_PARAMETERS:
        raise RequestError(f"the query string has more than {MOST_PARAMETERS} parameters")
    texts: dict[str, list[str]] = {}
    for pair in pairs:
        if pair:
            name, _, value = pair.partition(b"=")
            text = _text(value)
            if b"%2C" in value or b"%2c" in value:
                text = Quoted(text, [_text(part) for part in value.split(b",")])
            texts.setdefault(_text(name), []).append(text)
    return texts


def _text(quoted: bytes) -> str:
    if b"+" in quoted:
        quoted = quoted.replace(b"+", b" ")
    if b"%" in quoted:
        quoted = unquote_to_bytes(quoted)
    try:
        return quoted.decode()
    except UnicodeDecodeError:
        raise RequestError("the query string is no UTF-8", hint="percent-encode UTF-8") from None


def expected_version(headers: Mapping[bytes, bytes]) -> int:
    """The version that `If-Match` names.

    A tag that begins with `W/` counts too: what compresses answers on their way makes tags weak, and the version in them is
    compared exactly all the same.

    Raises:
        RequestError: there is none (428), or it names something else than one version (400).
    """
    given = headers.get(b"if-match")
    if given is None or given.strip() == b"*":
        raise RequestError(
            "this needs the version that you have read"
            + ("" if given is None else "; * would overwrite whatever others have written"),
            status=428,
            hint='send the ETag that you got with the record: If-Match: "7"',
        )
    tag = _TAG.fullmatch(given.strip())
    if tag is None:
        several = b"," in given
        raise RequestError(
            "If-Match names " + ("several tags" if several else "no tag that a record has"),
            hint='send the one ETag that you got with the record, with its quotes: If-Match: "7"',
        )
    return int(tag[1])


def matches(given: bytes, tag: bytes) -> bool:
    """Whether `If-None-Match` names a tag, by the weak comparison (RFC 9110, 13.1.2)."""
    if given == tag or given == b"*":
        return True
    return tag in (each.strip().removeprefix(b"W/") for each in given.split(b","))


def idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    """The key, with or without the quotes that the draft wants.

    Raises:
        RequestError: it is no text in quotes, and begins like one.
    """
    given = headers.get(b"idempotency-key")
    if given is None:
        return None
    text = given.decode("latin-1").strip()
    if not text.startswith('"'):
        return text
    item = _ITEM.fullmatch(text)
    if item is None:
        raise RequestError("Idempotency-Key is no text in quotes", hint='send Idempotency-Key: "a new UUID"')
    return item[1].replace('\\"', '"').replace("\\\\", "\\")


def page_link(path: str, query: bytes, name: bytes, cursor: str) -> bytes | None:
    """The reference to the page before or after: the same query with another cursor; None where it is too long for a header."""
    kept = [pair for pair in query.split(b"&") if pair and pair.partition(b"=")[0] not in (b"after", b"before")]
    kept.append(name + b"=" + cursor.encode())
    made = quote_from_bytes(path.encode(), "/:@!$&'()*+,;=~").encode() + b"?" + b"&".join(kept)
    made = _LINKED.sub(lambda found: b"%%%02X" % found[0][0], made)
    return made if len(made) <= LONGEST_LINK else None
