"""What both FastAPI peers have: the caller as a dependency, the expected version, and the answer's version."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response

from benchmarks.web.peers.callers import Caller, NotAuthenticatedError, verifier
from benchmarks.web.settings import Settings

__all__ = ["CallerNow", "Version", "etag", "made"]

Row = TypeVar("Row")


def made(settings: Settings, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]) -> FastAPI:
    """An application without routes."""
    app = FastAPI(title="CRM", lifespan=lifespan)
    app.state.verify = verifier(settings)
    return app


async def _caller(request: Request, authorization: Annotated[str | None, Header()] = None) -> Caller:
    try:
        caller: Caller = request.app.state.verify(authorization)
    except NotAuthenticatedError:
        raise HTTPException(401, "not authenticated", {"WWW-Authenticate": "Bearer"}) from None
    return caller


async def _version(if_match: Annotated[str | None, Header()] = None) -> int:
    text = (if_match or "").strip('"')
    if not text.isdecimal():
        raise HTTPException(428 if if_match is None else 400, 'If-Match names the expected version: "3"')
    return int(text)


CallerNow = Annotated[Caller, Depends(_caller)]
Version = Annotated[int, Depends(_version)]


def etag(response: Response, row: Row) -> Row:
    """Say the record's version in the answer's header. Any: a mapped object or a row of asyncpg's."""
    found: Any = row
    response.headers["ETag"] = f'"{found["version"] if isinstance(found, dict) else found.version}"'
    return row
