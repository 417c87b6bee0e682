"""A server in the test's own process, and small programs to stand in for the API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from freehold import Database
from freehold.errors import DatabaseError, LimitError, NotFoundError
from freehold.server import Settings
from freehold.server.application import WebApplication
from freehold.server.exchange import exchange_of


class Api:
    """Answers by path, as the API would."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.seen: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        name = exchange.path.removeprefix("/api/")
        scope["state"]["function"] = name
        request = Request(scope, receive)
        response = await getattr(self, name)(request, exchange)
        await response(scope, receive, send)

    async def echo(self, request: Request, exchange: Any) -> Any:
        body = await request.body()
        self.seen.append(exchange.origin)
        return JSONResponse({"length": len(body), "scheme": request.url.scheme, "ip": exchange.client_ip})

    async def large(self, request: Request, exchange: Any) -> Any:
        return JSONResponse({"data": ["x" * 100] * 100}, headers={"etag": '"7"'})

    async def secret(self, request: Request, exchange: Any) -> Any:
        return JSONResponse({"data": ["x" * 100] * 100}, headers={"cache-control": "no-store"})

    async def lines(self, request: Request, exchange: Any) -> Any:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b'{"number": %d}\n' % number

        return StreamingResponse(parts(), media_type="application/x-ndjson")

    async def endless(self, request: Request, exchange: Any) -> Any:
        async def parts() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65_536

        return StreamingResponse(parts(), media_type="application/octet-stream")

    async def broken(self, request: Request, exchange: Any) -> Any:
        raise RuntimeError("password=hunter2 select * from secrets")

    async def misconfigured(self, request: Request, exchange: Any) -> Any:
        raise DatabaseError("the value hunter2 is wrong", sqlstate="XX000", hint="hunter2")

    async def half(self, request: Request, exchange: Any) -> Any:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError("hunter2")

        return StreamingResponse(parts(), media_type="text/plain")

    async def absent(self, request: Request, exchange: Any) -> Any:
        raise NotFoundError("Customer", "1")

    async def limited(self, request: Request, exchange: Any) -> Any:
        raise LimitError("too many", retry_after=1.2)

    async def slow(self, request: Request, exchange: Any) -> Any:
        self.started.set()
        await self.release.wait()
        return PlainTextResponse("done")

    async def staged(self, request: Request, exchange: Any) -> Any:
        request.scope["state"]["timings"] = {"parse": 0.001, "execute": 0.002}
        return PlainTextResponse("done")


@asynccontextmanager
async def serving(
    database: Database, settings: Settings | None = None, *, api: Any = None, root_path: str = "", **more: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, WebApplication]]:
    """A server that was started, and a client of it, without sockets."""
    server = WebApplication(
        database.application,
        database=database,
        settings=settings or Settings(docs=True, metrics=True),
        api=api or Api(),
        **more,
    )
    async with server.lifespan():
        transport = httpx.ASGITransport(
            server, raise_app_exceptions=False, root_path=root_path, client=("192.0.2.9", 5)
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client, server


async def request_of(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
    path: str,
    *,
    method: str = "GET",
    headers: list[tuple[bytes, bytes]] | None = None,
    receive: Receive | None = None,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """One request as an ASGI server makes it, with exactly these headers."""
    sent: list[Any] = []

    ended = False

    async def nothing() -> Any:
        nonlocal ended
        if ended:
            await asyncio.Event().wait()
        ended = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "root_path": "",
        "headers": headers or [],
        "client": ("192.0.2.9", 5),
        "server": ("test", 80),
        "http_version": "1.1",
    }
    await app(scope, receive or nothing, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body
