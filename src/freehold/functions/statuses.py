"""The HTTP status that tells of each error: for answers, and for documents that tell of them beforehand."""

from collections.abc import Mapping

from freehold import errors
from freehold.errors import FreeholdError

__all__ = ["STATUSES", "status_of"]

STATUSES: Mapping[type[FreeholdError], int] = {
    errors.ValidationError: 422,
    errors.CursorError: 400,
    errors.FileError: 422,
    errors.RequestError: 400,
    errors.TooLargeError: 422,
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
"""Statuses by class; a class that is not here has its parent's. What has none is the program's own error."""

INTERNAL = 500


def status_of(error: FreeholdError | type[FreeholdError]) -> int:
    """The status of an error, or of a class of errors."""
    if isinstance(error, errors.RequestError):
        return error.status
    kind = error if isinstance(error, type) else type(error)
    return next((STATUSES[parent] for parent in kind.__mro__ if parent in STATUSES), INTERNAL)
