"""What problems tell, and what they do not."""

import json
from typing import Any

import pytest

from freehold import errors
from freehold.errors import FreeholdError, Issue, Problem
from freehold.server.problems import problem_details, problem_members

SECRET = "select secret from customers where id = 'theirs'"


class DriverError(Exception):
    """What the driver would have said."""


def raised(error: FreeholdError) -> FreeholdError:
    """An error as it is raised for one of the driver's."""
    try:
        raise error from DriverError(SECRET)
    except FreeholdError as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.ValidationError([Issue(("name",), "is required", "missing")]), 422, "FH100"),
        (errors.CursorError([Issue((), "was edited", "cursor")]), 400, "FH101"),
        (errors.RequestError("no", status=415), 415, "FH103"),
        (errors.NotFoundError("Customer", "1"), 404, "FH200"),
        (errors.UniqueError("Customer", ["email"], constraint="customers_email_key"), 409, "FH202"),
        (errors.ReferenceError("no such", entity="Order", field="customer_id"), 409, "FH203"),
        (errors.IdempotencyError("used"), 422, "FH206"),
        (errors.ForbiddenError("no"), 403, "FH300"),
        (errors.AuthenticationError("no"), 401, "FH302"),
        (errors.TimeoutError("late", seconds=1), 504, "FH400"),
        (errors.UnavailableError("away"), 503, "FH401"),
        (errors.LimitError("too many", retry_after=1.2), 429, "FH403"),
        (errors.ConfigurationError(SECRET), 500, "FH500"),
        (errors.DatabaseError(SECRET, sqlstate="XX000", details={"q": SECRET}), 500, "FH500"),
        (errors.TransactionError(SECRET), 500, "FH500"),
        (errors.ValidationError.single((), SECRET, "sql", subject="sql"), 500, "FH500"),
        (errors.OutcomeUnknownError("018f"), 503, "FH402"),
    ],
)
def test_each_error_has_its_status(error: FreeholdError, status: int, code: str) -> None:
    told = problem_details(error, request_id="r-1")
    value = json.loads(told.body)
    assert (told.status, value["status"], value["code"]) == (status, status, code)
    assert value["request_id"] == "r-1"
    assert SECRET not in told.body.decode()


@pytest.mark.parametrize(
    "error",
    [
        raised(errors.UnavailableError(f"the database cannot be reached: {SECRET}")),
        raised(errors.ForbiddenError(f"the database role may not do this: {SECRET}")),
        raised(errors.SerializationError(f"deadlock: {SECRET}", sqlstate="40P01")),
        raised(errors.DatabaseError(SECRET, sqlstate="XX000")),
    ],
)
def test_what_the_database_said_is_not_passed_on(error: FreeholdError) -> None:
    assert SECRET not in problem_details(error).body.decode()


def test_problems_within_a_problem_are_told_as_carefully() -> None:
    inner = [
        Problem("Customer", "1", errors.DatabaseError(SECRET, sqlstate="XX000")),
        Problem("Customer", "2", errors.UniqueError("Customer", ["email"], constraint="customers_email_key")),
    ]
    value = problem_members(errors.CommitError(inner))
    assert SECRET not in str(value)
    assert [problem["code"] for problem in value["problems"]] == ["FH500", "FH202"]


def test_headers_tell_when_and_how_to_come_again() -> None:
    def header(error: FreeholdError, name: bytes) -> Any:
        return dict(problem_details(error).all_headers).get(name)

    assert header(errors.LimitError("no", retry_after=1.2), b"retry-after") == b"2"
    assert header(errors.UnavailableError("no"), b"retry-after") == b"1"
    assert header(errors.AuthenticationError("no"), b"www-authenticate") == b"Bearer"
    assert header(errors.NotFoundError("Customer", "1"), b"content-type") == b"application/problem+json"
