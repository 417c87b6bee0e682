"""The tree of errors: what its docstring draws is what is there."""

import inspect
import json
import pickle
import re
from uuid import UUID

import pytest

import freehold
from freehold import errors
from freehold.errors import FreeholdError, Issue, ValidationError
from freehold.store.outcomes import BulkResult

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FreeholdError)]

EXAMPLES: list[FreeholdError] = [
    FreeholdError("it broke", hint="mend it"),
    errors.ConfigurationError("wrong"),
    errors.DeclarationError("wrong"),
    errors.RoleError("wrong"),
    errors.ServerError("wrong"),
    errors.MigrationError("wrong"),
    ValidationError([Issue(("lines", 3, "quantity"), "must be positive", "greater_than")], subject="Order"),
    errors.CursorError([Issue((), "was edited", "cursor_signature")], subject="after"),
    errors.RequestError("the body is no JSON", status=400, hint="send JSON"),
    errors.TooLargeError.of("the answer", 20_000_000),
    errors.AuthenticationError("the credential is not valid", hint="sign in again"),
    errors.LimitError("too many calls", retry_after=1.5, hint="wait"),
    errors.InternalError("the server has failed", hint="name the request's id"),
    errors.FileError("customers.csv", "is empty", line=1, hint="its first line must name the columns"),
    errors.NotFoundError("Customer", UUID(int=1)),
    errors.ConcurrencyError("Customer", UUID(int=1), expected=1, actual=2, current=object()),
    errors.UniqueError("Customer", ["email"], constraint="customers_email_key"),
    errors.ReferenceError("there is no such Customer", entity="Order", field="customer_id"),
    errors.HistoryError("gone"),
    errors.CommitError([errors.Problem("Customer", UUID(int=1), errors.NotFoundError("Customer", UUID(int=1)))]),
    errors.IdempotencyError("used"),
    errors.ToleranceError(["item"], total=2, tolerate=0.25),
    errors.SerializationError("lost", sqlstate="40001"),
    errors.TransactionError("over"),
    errors.BulkError(ValueError("line 3"), result=BulkResult("request", created=2, failed=1)),
    errors.ForbiddenError("no"),
    errors.IsolationError("no"),
    errors.TimeoutError("too slow", seconds=1.5),
    errors.UnavailableError("gone"),
    errors.OutcomeUnknownError(UUID(int=1)),
    errors.DatabaseError("odd", sqlstate="XX000", details={"table": "customers"}),
]


def drawn() -> dict[str, tuple[str, str]]:
    """The tree of the docstring: by class its parent and code."""
    found = {"FreeholdError": ("Exception", "FH000")}
    above = {0: "FreeholdError"}
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│├└─ ]*)(\w+Error) +(FH\d{3})  \S.*", line)
        if match:
            depth = len(match[1]) // 4
            found[match[2]] = (above[depth - 1], match[3])
            above[depth] = match[2]
    return found


def test_the_drawn_tree_is_the_real_one() -> None:
    real = {cls.__name__: (cls.__bases__[0].__name__, cls.code) for cls in CLASSES}
    assert drawn() == real


def test_codes_are_unique_and_fit_in_an_sqlstate() -> None:
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("FH[0-9]{3}", code) for code in codes)


def test_a_code_is_in_the_group_of_its_parent() -> None:
    for cls in CLASSES:
        parent = cls.__bases__[0]
        if issubclass(parent, FreeholdError) and parent is not FreeholdError:
            assert cls.code[:3] == parent.code[:3], cls


@pytest.mark.parametrize("module", [errors, freehold], ids=lambda module: module.__name__)
def test_all_is_exact(module: object) -> None:
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (not inspect.ismodule(value) or name == "errors")
        and (module is freehold or getattr(value, "__module__", None) == "freehold.errors")
    }
    assert set(module.__all__) == public  # type: ignore[attr-defined]
    assert list(module.__all__) == sorted(module.__all__)  # type: ignore[attr-defined]


def test_there_is_an_example_of_each_class() -> None:
    assert {type(error) for error in EXAMPLES} == set(CLASSES)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_as_dict_is_json_and_says_what_the_error_is(error: FreeholdError) -> None:
    told = json.loads(json.dumps(error.as_dict()))
    assert told["code"] == error.code
    assert told["error"] == type(error).__name__
    assert told["message"] == error.message
    assert told["hint"] == error.hint


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_the_text_has_message_code_and_hint(error: FreeholdError) -> None:
    text = str(error)
    assert error.message in text
    assert f"[{error.code}]" in text
    assert (error.hint or "") in text


def test_issues_are_told_with_their_paths() -> None:
    error = EXAMPLES[6]
    assert error.as_dict()["issues"] == [
        {"path": ["lines", 3, "quantity"], "message": "must be positive", "code": "greater_than"}
    ]
    assert error.message == "Order is not valid: lines.3.quantity: must be positive"


def test_a_concurrency_error_does_not_tell_the_record() -> None:
    assert "current" not in EXAMPLES[9].as_dict()


def test_the_names_of_builtins_are_classes_of_their_own() -> None:
    assert not issubclass(errors.TimeoutError, TimeoutError)
    assert not issubclass(errors.ReferenceError, ReferenceError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_being_sent_to_another_process(error: FreeholdError) -> None:
    if isinstance(error, errors.ConcurrencyError):
        error = errors.ConcurrencyError("Customer", UUID(int=1), expected=1, actual=2, current=None)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.message, copy.hint, copy.as_dict()) == (
        type(error),
        error.message,
        error.hint,
        error.as_dict(),
    )
