"""Problem details: what a caller is told of an error (RFC 9457)."""

import json
from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

from freehold import errors
from freehold.errors import FreeholdError
from freehold.functions.statuses import status_of as known_status

__all__ = ["MEDIA", "ProblemDetails", "problem_details", "problem_members", "status_of"]

MEDIA = "application/problem+json"

_OWN = ("sql", "the rows of the query", "session", "transaction")
"""Subjects of what is wrong with the program, and not with what a caller sent."""

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
    412: "Precondition failed",
    413: "Body too large",
    414: "Address too long",
    415: "Media type not supported",
    417: "Expectation failed",
    422: "Not valid",
    428: "Precondition required",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    501: "Not implemented",
    503: "Unavailable",
    504: "Timed out",
    505: "HTTP version not supported",
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
    if isinstance(error, errors.ValidationError) and error.subject.startswith(_OWN):
        return 500
    return known_status(error)


def problem_details(error: FreeholdError, *, request_id: str | None = None, **more: Any) -> ProblemDetails:
    """What a caller is told of an error, as an answer.

    Args:
        error: what happened. Of errors of the program itself (500) nothing is told.
        request_id: under which the program's log has more.
        more: members that belong to it, JSON-able: the current record of a conflict.
    """
    value = problem_members(error, **more)
    if request_id is not None:
        value["request_id"] = request_id
    body = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")
    return ProblemDetails(value["status"], _headers(error, value["status"]), body)


def problem_members(error: FreeholdError, **more: Any) -> dict[str, Any]:
    """The same as JSON-able values. Arguments as of `problem_details`."""
    status = status_of(error)
    told = error if status != 500 else errors.InternalError("the server met an error of its own; its log has more")
    described = _described(told)
    return {
        "type": f"urn:freehold:error:{told.code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": described.pop("message"),
        **described,
        **more,
    }


_SAID: Mapping[type[FreeholdError], tuple[str, str]] = {
    errors.SerializationError: (
        "another call has changed the same at the same time, and nothing was written",
        "send it again",
    ),
    errors.OutcomeUnknownError: (
        "whether it was done is not known: the connection to the database was lost",
        "repeat it with the same idempotency key, or look before you repeat it",
    ),
    errors.UnavailableError: ("the service cannot answer just now", "try again in a moment"),
    errors.BulkError: ("not all of it could be done", "look at what is there before you repeat it"),
    errors.ForbiddenError: ("the program may not do this", "its log tells more, by the id of the request"),
}
"""What is told in place of texts that speak to who runs the program, or pass on what the database said."""


def _described(error: FreeholdError) -> dict[str, Any]:
    """What of an error is for everybody: nothing that the database or the driver said."""
    value = error.as_dict()
    for kind, (message, hint) in _SAID.items():
        if isinstance(error, kind) and _passed_on(error):
            value |= {"message": message, "hint": hint}
    if isinstance(error, errors.CommitError):
        value["problems"] = [
            {"entity": problem.entity, "id": str(problem.id), **_described(_public(problem.error))}
            for problem in error.problems
        ]
        value["message"] = f"{len(error.problems)} changes cannot be made"
    return value


def _public(error: FreeholdError) -> FreeholdError:
    return error if status_of(error) != 500 else errors.InternalError("an error of the program's own")


def _passed_on(error: FreeholdError) -> bool:
    """Whether an error's text may have what somebody else said in it."""
    if isinstance(error, errors.UnavailableError | errors.ForbiddenError):
        return error.__cause__ is not None or error.__context__ is not None
    return True


def _headers(error: FreeholdError, status: int) -> list[tuple[bytes, bytes]]:
    if isinstance(error, errors.LimitError):
        return [(b"retry-after", b"%d" % max(1, ceil(error.retry_after)))]
    if status == 503:
        return [(b"retry-after", b"1")]
    if status == 401:
        return [(b"www-authenticate", b"Bearer")]
    if status == 415:
        return [(b"accept-encoding", b"identity")]  # RFC 9110, 15.5.16
    return [(b"connection", b"close")] if status in (408, 413, 431) else []
