"""Declarations of functions: what they say, and what is refused when a module is imported."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from freehold import Application, Page, Rate, Session, Transaction, UnitOfWork
from freehold.errors import DeclarationError
from freehold.functions.declaration import Options, declare
from tests.functions.shop import shop
from tests.world import Contact, Customer, Order


def test_a_function_says_what_it_is() -> None:
    function = shop.functions["customers.figures"]
    assert (function.kind, function.takes, function.permission) == ("query", "session", "customers.figures")
    assert function.summary == "The organization's figures."
    assert function.description == "Counts what is there now."
    schema = function.parameters.model_json_schema()
    assert schema["properties"]["least"]["description"] == "only customers with this much credit."
    assert schema["additionalProperties"] is False
    assert shop.functions["customers.named"].result.page
    assert shop.functions["whoami"].permission is None
    assert shop.functions["hello"].public
    assert shop.functions["customers.pay"].rates == (Rate(5, per=60, by="actor"),)


async def good(session: Session) -> int:
    return 1


async def untyped(session: Session, name) -> int:  # type: ignore[no-untyped-def]  # that is the point
    return 1


async def resultless(session: Session):  # type: ignore[no-untyped-def]
    return 1


async def sessionless(name: str) -> int:
    return 1


async def collecting(unit: UnitOfWork) -> int:
    return 1


async def transacting(transaction: Transaction) -> int:
    return 1


async def many(session: Session, *names: str) -> int:
    return 1


async def generating(session: Session) -> AsyncIterator[int]:
    yield 1


async def nested(session: Session) -> list[Page[Customer]]:
    return []


async def private(session: Session, _secret: str) -> int:
    return 1


def plain(session: Session) -> int:
    return 1


@pytest.mark.parametrize(
    ("call", "kind", "options", "told"),
    [
        (untyped, "query", {}, "name has no type"),
        (resultless, "query", {}, "says no result"),
        (sessionless, "query", {}, "first parameter must be session: Session"),
        (sessionless, "command", {}, "first parameter must be unit: UnitOfWork"),
        (collecting, "query", {}, "a query does not write"),
        (transacting, "query", {}, "session: Session"),
        (many, "query", {}, "cannot be called by name"),
        (generating, "query", {}, "a generator needs stream=True"),
        (good, "query", {"stream": True}, "a stream is an asynchronous generator"),
        (nested, "query", {}, "cannot be written as JSON"),
        (private, "query", {}, "_secret is reserved"),
        (plain, "query", {}, "must be async def"),
        (good, "query", {"name": "Good"}, "'Good' is no name"),
        (good, "query", {"name": "a.b.c"}, "is no name"),
        (good, "query", {"timeout": 0}, "timeout must be"),
        (good, "query", {"timeout": 301}, "timeout must be"),
        (collecting, "command", {"cache": 5}, "cache is for queries"),
        (good, "query", {"cache": -1}, "cache is for queries"),
        (collecting, "command", {"live": True}, "live is for queries"),
        (good, "query", {"idempotent": True}, "idempotent is for commands"),
        (collecting, "command", {"attempts": 0}, "attempts must be"),
        (good, "query", {"requires": "customers.*"}, "is no permission"),
        (good, "query", {"requires": 5}, "is no permission"),
        (good, "query", {"requires": "a.b", "public": True}, "is public"),
    ],
)
def test_a_wrong_declaration_says_what_to_write(
    call: Callable[..., Any], kind: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(DeclarationError, match=told.replace("*", r"\*")):
        declare(call, kind, Options(**options))


@pytest.mark.parametrize("arguments", [{"requests": 0}, {"requests": 1, "per": 0}, {"requests": 1, "by": "planet"}])
def test_a_rate_is_a_rate(arguments: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="is no rate"):
        Rate(**arguments)


def test_two_functions_of_one_name_are_refused() -> None:
    application = Application("two", [Customer, Contact, Order])
    application.query(good)
    with pytest.raises(DeclarationError, match="two functions are named 'good'"):
        application.query(good, name="good")


def test_a_function_stays_a_function() -> None:
    application = Application("plain", [Customer, Contact, Order])
    assert application.query(good) is good
    assert application.query(name="other")(good) is good
