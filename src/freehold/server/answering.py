"""Answers as responses: status, headers, and the bytes as they came from PostgreSQL."""

import asyncio
import hashlib

from starlette.types import Scope, Send

from freehold.errors import RequestError
from freehold.functions.results import Answer
from freehold.server.exchange import Exchange
from freehold.server.problems import problem_details
from freehold.server.reading import matches, page_link
from freehold.server.routes import Methods, Route

__all__ = ["file_headers", "send_answer", "send_json", "send_methods"]

THREADED = 1_000_000
"""Bytes of an answer whose digest a thread makes."""

Headers = list[tuple[bytes, bytes]]
_JSON = (b"content-type", b"application/json")


async def send_answer(answer: Answer, route: Route, exchange: Exchange, scope: Scope, send: Send) -> None:
    """Sends what came of a call.

    Args:
        answer: it, with a body.
        route: that was called.
        exchange: the request.
        scope: the request's.
        send: sends the response.
    """
    body, status, headers = answer.body, 200, [_JSON]
    if answer.media != "application/json":
        headers = [(b"content-type", answer.media.encode())]
    if answer.version is not None and route.entity is not None:
        exact = route.exact and not scope["query_string"]
        if exact or len(body) < THREADED:
            tag = _tag(answer.version, body, exact=exact)
        else:
            tag = await asyncio.to_thread(_tag, answer.version, body, exact=False)
        headers.append((b"etag", tag))
        asked = exchange.headers.get(b"if-none-match")
        if asked is not None and route.action == "get" and matches(asked, tag):
            await _send(send, 304, headers[1:], b"")
            return
    if answer.created is not None and route.action == "create" and route.entity is not None:
        status = 201
        place = f"{scope.get('root_path', '')}/api/{route.entity.table}/{answer.created}"
        headers.append((b"location", place.encode()))
    if answer.page:
        _link(answer, exchange, scope, headers)
    if answer.repeated:
        headers.append((b"idempotency-replayed", b"true"))
    seconds = answer.cache if answer.cache is not None else route.function.cache
    if seconds is not None:
        headers.append((b"cache-control", b"private, max-age=%d" % seconds))
    headers.append((b"content-length", b"%d" % len(body)))
    await _send(send, status, headers, b"" if exchange.method == "HEAD" else body)


async def send_json(body: bytes, send: Send) -> None:
    """Sends JSON that is nothing else."""
    await _send(send, 200, [_JSON, (b"content-length", b"%d" % len(body))], body)


async def send_methods(exchange: Exchange, methods: Methods | tuple[str, ...], send: Send) -> None:
    """Answers a method that is not served at an address: `OPTIONS` with those that are, others with 405."""
    allow = (b"allow", ", ".join(sorted({*methods, "OPTIONS"})).encode())
    if exchange.method == "OPTIONS":
        await _send(send, 204, [allow], b"")
        return
    error = RequestError(
        f"{exchange.method[:20]} is not served at this address",
        status=405,
        hint=f"use {' or '.join(sorted(set(methods) - {'HEAD'}))}",
    )
    problem = problem_details(error, request_id=exchange.request_id, instance=exchange.path)
    await _send(send, 405, [*problem.all_headers, allow], b"" if exchange.method == "HEAD" else problem.body)


def file_headers(route: Route, media: str) -> Headers:
    """What a browser needs to save an export under a name."""
    if route.action != "export" or route.entity is None:
        return []
    suffix = "csv" if media.startswith("text/csv") else "jsonl"
    return [(b"content-disposition", f'attachment; filename="{route.entity.table}.{suffix}"'.encode())]


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _tag(version: int, body: bytes, *, exact: bool) -> bytes:
    """The ETag: the version, and where that does not tell all of what is shown, a digest of it too."""
    if exact:
        return b'"%d"' % version
    return b'"%d-%b"' % (version, hashlib.blake2b(body, digest_size=8).hexdigest().encode())


def _link(answer: Answer, exchange: Exchange, scope: Scope, headers: Headers) -> None:
    path = scope.get("root_path", "") + exchange.path
    links = []
    for name, relation, cursor in ((b"after", b"next", answer.next), (b"before", b"prev", answer.previous)):
        if cursor is not None and (made := page_link(path, scope["query_string"], name, cursor)) is not None:
            links.append(b'<%b>; rel="%b"' % (made, relation))
    if links:
        headers.append((b"link", b", ".join(links)))
