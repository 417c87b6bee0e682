"""Problem details: what a caller is told of an error (RFC 9457)."""

import json
from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

from freehold import errors
from freehold.errors import FreeholdError

__all__ = ["MEDIA", "ProblemDetails", "problem_details", "status_of"]

MEDIA = "application/problem+json"

_STATUS: Mapping[type[FreeholdError], int] = {
    errors.ValidationError: 422,
    errors.CursorError: 400,
    errors.FileError: 422,
    errors.NotFoundError: 404,
    errors.ConcurrencyError: 409,
    errors.UniqueError: 409,
    errors.ReferenceError: 409,
    errors.HistoryError: 410,
    errors.CommitError: 409,
    errors.IdempotencyError: 422,
    errors.ToleranceError: 409,
    errors.SerializationError: 409,
    errors.BulkError: 409,
    errors.ForbiddenError: 403,
    errors.AuthenticationError: 401,
    errors.TimeoutError: 504,
    errors.UnavailableError: 503,
    errors.OutcomeUnknownError: 503,
    errors.LimitError: 429,
}
"""What each error is over HTTP. What is not here is the program's own and is 500."""

_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request took too long",
    409: "Conflict",
    410: "Gone",
    411: "Length required",
    413: "Body too large",
    415: "Media type not supported",
    422: "Not valid",
    428: "Precondition required",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    503: "Unavailable",
    504: "Timed out",
}


class ProblemDetails(NamedTuple):
    """A problem as an answer.

    Args:
        status: of HTTP.
        headers: those that belong to it, beside the content's own: `Retry-After`, `WWW-Authenticate`.
        body: JSON.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """Its headers, with those of the content."""
        length = b"%d" % len(self.body)
        return [(b"content-type", MEDIA.encode()), (b"content-length", length), *self.headers]


def status_of(error: FreeholdError) -> int:
    """The HTTP status that tells of an error."""
    if isinstance(error, errors.RequestError):
        return error.status
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return 500


def problem_details(error: FreeholdError, *, request_id: str | None = None, **more: Any) -> ProblemDetails:
    """What a caller is told of an error.

    Args:
        error: what happened. Of errors of the program itself (500) nothing is told.
        request_id: under which the program's log has more.
        more: members that belong to it, JSON-able: the current record of a conflict.
    """
    status = status_of(error)
    told = error if status != 500 else errors.InternalError("the server met an error of its own; its log has more")
    described = told.as_dict()
    value = {
        "type": f"urn:freehold:error:{told.code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": described.pop("message"),
        **described,
        **more,
    }
    if request_id is not None:
        value["request_id"] = request_id
    return ProblemDetails(
        status, _headers(told, status), json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")
    )


def _headers(error: FreeholdError, status: int) -> list[tuple[bytes, bytes]]:
    if isinstance(error, errors.LimitError):
        return [(b"retry-after", b"%d" % max(1, ceil(error.retry_after)))]
    if status == 503:
        return [(b"retry-after", b"1")]
    if status == 401:
        return [(b"www-authenticate", b"Bearer")]
    return [(b"connection", b"close")] if status in (408, 413, 431) else []
