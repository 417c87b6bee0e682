"""The page that shows the API and lets people try it, and the document that it shows.

Everything comes from the package: the viewer is Swagger UI, whose files `scripts/swagger-ui.sh` brings here. The page is strict about
where anything else could come from, and every address in it is relative, so that it works below any prefix.
"""

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from freehold.errors import RequestError
from freehold.server.compression import accepts_gzip
from freehold.server.exchange import exchange_of
from freehold.server.openapi import openapi
from freehold.server.problems import problem_details

__all__ = ["Documentation"]

ASSETS = Path(__file__).parent / "assets"
DOCUMENT = "/api/openapi.json"
PAGE = "/api/docs"
FILES: Mapping[str, str] = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
"""What the page loads, with its media type. Nothing else of the folder is served."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
MOUNTS = 8
"""Documents that are kept: one for each path below which the server is mounted."""


@dataclass(frozen=True)
class _File:
    """A file as it is sent."""

    body: bytes
    media: str
    caching: str

    @cached_property
    def tag(self) -> bytes:
        """Its ETag: a digest of it."""
        return b'"%b"' % hashlib.blake2b(self.body, digest_size=16).hexdigest().encode()

    @cached_property
    def packed(self) -> bytes:
        """It, compressed once."""
        return gzip.compress(self.body, 9, mtime=0)


class Documentation:
    """Answers `/api/openapi.json`, and what is at and below `/api/docs`.

    Args:
        manifest: makes the application's; asked when the document is first wanted.
        batch: calls of one batch at most.
    """

    def __init__(self, manifest: Callable[[], Mapping[str, Any]], *, batch: int) -> None:
        self._manifest = manifest
        self._batch = batch
        self._document = lru_cache(maxsize=MOUNTS)(self._documented)

    def answers(self, path: str) -> bool:
        """Whether it is about a path."""
        return path in (DOCUMENT, PAGE) or path.startswith(f"{PAGE}/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI calls it
        """The ASGI interface."""
        exchange = exchange_of(scope)
        if exchange.method not in ("GET", "HEAD"):
            told = problem_details(
                RequestError("this address can only be read", status=405, hint="use GET"),
                request_id=exchange.request_id,
                instance=exchange.path,
            )
            await _sent(send, 405, [*told.all_headers, (b"allow", b"GET, HEAD")], told.body)
            return
        if exchange.path == f"{PAGE}/":
            # Relative: the prefix that a proxy has taken away is not known here.
            await _sent(send, 308, [(b"location", b"../docs"), (b"content-length", b"0")], b"")
            return
        # In a thread: the document of a large application, and packing the viewer, take a good part of a second once.
        file = await asyncio.to_thread(self.file, exchange.path, scope.get("root_path", ""))
        if file is None:
            raise RequestError("there is nothing at this address", status=404)
        headers = [(b"etag", file.tag), (b"cache-control", file.caching.encode())]
        if exchange.path == PAGE:
            headers.append((b"content-security-policy", POLICY.encode()))
        given = exchange.headers.get(b"if-none-match", b"")
        if file.tag in (each.strip().removeprefix(b"W/") for each in given.split(b",")):
            await _sent(send, 304, headers, b"")
            return
        body = file.body
        if accepts_gzip(exchange.headers.get(b"accept-encoding", b"")):
            body = await asyncio.to_thread(getattr, file, "packed")
            headers[0] = (b"etag", b"W/" + file.tag)
            headers.append((b"content-encoding", b"gzip"))
        headers += [(b"content-type", file.media.encode()), (b"content-length", b"%d" % len(body))]
        await _sent(send, 200, headers, b"" if exchange.method == "HEAD" else body)

    def file(self, path: str, root: str = "") -> _File | None:
        """What is at a path.

        Args:
            path: below the mount.
            root: the path of the mount.
        """
        if path == DOCUMENT:
            return self._document(root)
        if path == PAGE:
            return _asset("page.html")
        name = path.removeprefix(f"{PAGE}/")
        return _asset(name) if name in FILES else None

    def _documented(self, root: str) -> _File:
        made = openapi(self._manifest(), root=root, batch=self._batch)
        body = json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()
        return _File(body, "application/json", "no-cache")


@lru_cache(maxsize=len(FILES) + 1)
def _asset(name: str) -> _File:
    media = FILES.get(name, "text/html; charset=utf-8")
    caching = "public, max-age=86400" if name.startswith("swagger-ui") else "no-cache"
    return _File((ASSETS / name).read_bytes(), media, caching)


async def _sent(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
