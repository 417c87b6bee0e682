"""Answers made smaller for clients that say they can read gzip (RFC 9110, 8.4).

What would gain nothing is sent as it is: short answers, what is compressed already, parts of a file, event streams (each
event has to arrive at once), and answers that may not be stored, which is how those are marked that carry a secret.
"""

import asyncio
import zlib
from collections.abc import Mapping

__all__ = ["GzipStream", "accepts_gzip", "compressible", "gzipped", "gzipped_headers"]

Headers = list[tuple[bytes, bytes]]

_GZIP = 31  # zlib's word for the format with gzip's header, in its largest window
_THREADED = 64 * 1024
"""Bytes from which on a thread compresses, so that other requests need not wait."""
_TEXT = (b"application/json", b"application/problem+json", b"application/x-ndjson", b"text/", b"application/javascript")
_NEVER = b"text/event-stream"


def accepts_gzip(accepted: bytes | None) -> bool:
    """Whether a request's `Accept-Encoding` allows gzip."""
    if accepted is None or b"gzip" not in accepted:
        return False
    for part in accepted.split(b","):
        name, _, weight = part.partition(b";")
        if name.strip() == b"gzip":
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


def compressible(status: int, headers: Mapping[bytes, bytes], minimum: int) -> bool:
    """Whether an answer should be compressed.

    Args:
        status: the answer's.
        headers: the answer's, names in lower case.
        minimum: bytes that make it worth while; a stream, whose length is not told, always is.
    """
    if status in (204, 206, 304) or b"content-encoding" in headers:
        return False
    media = headers.get(b"content-type", b"")
    if not media.startswith(_TEXT) or media.startswith(_NEVER):
        return False
    if b"no-store" in headers.get(b"cache-control", b""):
        return False
    return int(headers.get(b"content-length", minimum)) >= minimum


def gzipped_headers(headers: Headers, length: int | None) -> Headers:
    """The headers of the compressed answer. Its ETag becomes a weak one: the bytes are others, the version is the same.

    Args:
        headers: of the answer as it was.
        length: the compressed bytes; None for a stream.
    """
    changed = [(name, value) for name, value in headers if name not in (b"content-length", b"etag")]
    changed += [(name, value if value[:2] == b"W/" else b"W/" + value) for name, value in headers if name == b"etag"]
    changed.append((b"content-encoding", b"gzip"))
    if length is not None:
        changed.append((b"content-length", b"%d" % length))
    return changed


async def gzipped(body: bytes, level: int) -> bytes:
    """A whole body, compressed."""
    if len(body) >= _THREADED:
        return await asyncio.to_thread(zlib.compress, body, level, _GZIP)
    return zlib.compress(body, level, _GZIP)


class GzipStream:
    """A body that comes in parts. Each part can be read when it has arrived."""

    def __init__(self, level: int) -> None:
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP)

    async def part(self, body: bytes, *, last: bool) -> bytes:
        """A part, compressed."""
        if len(body) >= _THREADED:
            return await asyncio.to_thread(self._made, body, last)
        return self._made(body, last)

    def _made(self, body: bytes, last: bool) -> bytes:  # called by place, in a thread
        made = self._compressor.compress(body) if body else b""
        return made + self._compressor.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
