"""Calls from web pages of other origins (CORS)."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from freehold.server.settings import Settings

__all__ = ["with_cors"]

_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
_HEADERS = (
    "Authorization",
    "Content-Type",
    "Freehold-Organization",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Prefer",
    "X-Request-Id",
)
_EXPOSED = ("ETag", "Link", "Location", "Retry-After", "Server-Timing", "X-Request-Id")


def with_cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application, with answers that browsers let other origins read where that is configured.

    It is outside of all else, so that a page can read errors too.
    """
    cors = settings.cors
    if cors is None:
        return app
    return CORSMiddleware(
        app,
        allow_origins=cors.origins,
        allow_methods=_METHODS,
        allow_headers=(*_HEADERS, *cors.headers),
        allow_credentials=cors.credentials,
        expose_headers=_EXPOSED,
        max_age=cors.max_age,
    )
