"""What the head of a request may say about itself, and which problem answers a request that breaks HTTP's rules.

These are RFC 9112's rules on where a request ends, and RFC 9110's on what a server answers that does not understand one. The parser
(llhttp) accepts some heads that two programs may read in two ways, and ignores codings that it does not decode; those are refused here.
"""

import re
from collections.abc import Sequence

import httptools

from freehold.errors import RequestError

__all__ = ["check_head", "without_upgrade", "wrong_http"]

Headers = Sequence[tuple[bytes, bytes]]

LONGEST_TARGET = 32_768
"""Bytes of a request's target: its path and query string."""

_REQUEST_LINE = re.compile(rb"(?:\A|\n)[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/\d\.\d\r\n")
_CONNECTION = (b"upgrade", b"http2-settings")


def check_head(version: str, method: bytes, target: bytes, headers: Headers) -> None:
    """Refuses a head that does not say clearly where its request ends, or asks for what is not served.

    Args:
        version: of HTTP, such as `1.1`.
        method, target: of the request line.
        headers: names in lower case.

    Raises:
        RequestError: 400, 414, 501 or 505.
    """
    if version not in ("1.1", "1.0"):
        raise RequestError(f"HTTP/{version} is not served here", status=505, hint="use HTTP/1.1")
    if method == b"CONNECT":
        raise RequestError("this is no proxy", status=501, hint="use GET, POST, PATCH or DELETE")
    if len(target) > LONGEST_TARGET:
        raise RequestError(
            f"the address is longer than {LONGEST_TARGET:,} bytes",
            status=414,
            hint="a function takes longer arguments by POST",
        )
    hosts, coding = 0, None
    for name, value in headers:
        if name == b"transfer-encoding":
            coding = value
        elif name == b"host":
            hosts += 1
    if hosts != 1 and (hosts or version == "1.1"):
        told = "was sent more than once" if hosts else "is missing"
        raise RequestError(f"the header host {told}", hint="send it once")
    if coding is not None:
        _check_coding(coding, version)


def _check_coding(coding: bytes, version: str) -> None:
    if version == "1.0":
        # A proxy of that time passes the header on and does not know it: the body would end elsewhere for it.
        raise RequestError("HTTP/1.0 has no Transfer-Encoding", hint="send Content-Length, or use HTTP/1.1")
    if any(each.strip().lower() != b"chunked" for each in coding.split(b",")):
        raise RequestError(
            "the body has a Transfer-Encoding that is not known here", status=501, hint="send it as it is, or chunked"
        )


def wrong_http(error: httptools.HttpParserError, data: bytes) -> RequestError:
    """The problem that answers what the parser cannot read.

    Args:
        error: the parser's. Where a callback raised a RequestError, that is the problem.
        data: in which it was found.
    """
    cause = error.__context__
    if isinstance(cause, RequestError):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError):
        return RequestError("the request's address is no address", hint="send a path such as /api/customers")
    reason = str(error)
    if isinstance(error, httptools.HttpParserInvalidMethodError) and _REQUEST_LINE.search(data):
        return RequestError("the request's method is not known here", status=501, hint="methods are upper case: GET")
    if "HTTP version" in reason or "PRI" in reason:
        return RequestError("this version of HTTP is not served here", status=505, hint="use HTTP/1.1")
    return RequestError(
        f"this is no valid HTTP request: {reason.lower()}", hint="look at what is between the client and here"
    )


def without_upgrade(request: bytes, headers: Headers) -> bytes:
    """The head of a request that asks for another protocol, as text without that wish, which a server may ignore (RFC 9110, 7.8).

    Args:
        request: its first line.
        headers: names in lower case.
    """
    lines = [request]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(each for part in value.split(b",") if (each := part.strip()).lower() not in _CONNECTION)
        if name not in _CONNECTION:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
