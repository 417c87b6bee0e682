"""The bounds of input: what PostgreSQL cannot hold, and what would not be bounded, is refused; all of it at once."""

import json
import traceback
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold import Entity, errors, field
from freehold.model.inputs import MAXIMUM_BYTES, MAXIMUM_DOCUMENT, MAXIMUM_ITEMS, MAXIMUM_TEXT
from freehold.model.issues import validation_error
from tests.world import Customer, Profile


class Thing(Entity):
    """A field of each type, all optional and none with bounds of its own."""

    text: str | None = field(default=None)
    integer: int | None = field(default=None)
    number: float | None = field(default=None)
    amount: Decimal | None = field(default=None, digits=10, places=2)
    flag: bool | None = field(default=None)
    day: date | None = field(default=None)
    moment: datetime | None = field(default=None)
    clock: time | None = field(default=None)
    span: timedelta | None = field(default=None)
    key: UUID | None = field(default=None)
    blob: bytes | None = field(default=None)
    choice: Literal[1, 2] | None = field(default=None)
    texts: list[str] = field(default_factory=list)
    integers: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    moments: list[datetime] = field(default_factory=list)
    clocks: list[time] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    spans: list[timedelta] = field(default_factory=list)
    document: dict[str, Any] | None = field(default=None)
    profile: Profile | None = field(default=None)


def refused(**values: Any) -> errors.ValidationError:
    """The error that these values get, the same from Create and Patch."""
    found = []
    for schema in (Thing.Create, Thing.Patch):
        try:
            schema.model_validate(values)
        except pydantic.ValidationError as error:
            found.append(validation_error(error, "Thing"))
    assert len(found) == 2, "was accepted"
    assert found[0].issues == found[1].issues
    return found[0]


def nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels):
        document = {"a": document}
    return document


def cyclic() -> dict[str, Any]:
    document: dict[str, Any] = {}
    document["a"] = document
    return document


LONE = "\ud800"
EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))

REFUSED: list[tuple[str, str, Any]] = [
    ("NUL in text", "text", "a\x00b"),
    ("NUL in a list", "texts", ["a", "\x00"]),
    ("lone surrogate", "text", LONE),
    ("lone surrogate in a list", "texts", [LONE]),
    ("10 MB of text", "text", "x" * 10_000_000),
    ("just too much text", "text", "x" * (MAXIMUM_TEXT + 1)),
    ("10 MB in a list", "texts", ["x" * 10_000_000]),
    ("bytes for text", "text", b"\xff"),
    ("number for text", "text", 5),
    ("too many items", "texts", ["a"] * (MAXIMUM_ITEMS + 1)),
    ("text for a list", "texts", "abc"),
    ("null in a list", "texts", [None]),
    ("too large an integer", "integer", 2**63),
    ("too small an integer", "integer", -(2**63) - 1),
    ("an enormous integer", "integer", 10**5000),
    ("an enormous integer as text", "integer", "1" * 5000),
    ("too large an integer in a list", "integers", [1, 2**63]),
    ("boolean for an integer", "integer", True),
    ("boolean for an integer in a list", "integers", [True]),
    ("boolean for a float", "number", True),
    ("boolean for a Decimal", "amount", True),
    ("boolean for a duration", "span", True),
    ("fraction for an integer", "integer", 1.5),
    ("NaN for an integer", "integer", float("nan")),
    ("NaN", "number", float("nan")),
    ("infinity", "number", float("inf")),
    ("negative infinity as text", "number", "-Infinity"),
    ("NaN in a list", "numbers", [1.0, float("nan")]),
    ("an integer that no float holds", "number", 10**400),
    ("NaN as a Decimal", "amount", Decimal("NaN")),
    ("signalling NaN", "amount", Decimal("sNaN")),
    ("infinite Decimal", "amount", "Infinity"),
    ("too many digits", "amount", "123456789.01"),
    ("too many places", "amount", "1.001"),
    ("an enormous Decimal", "amount", Decimal("1E+999999")),
    ("an enormous integer for a Decimal", "amount", 10**5000),
    ("naive datetime", "moment", datetime(2026, 1, 1)),  # noqa: DTZ001  # naive on purpose
    ("naive datetime as text", "moment", "2026-01-01T00:00:00"),
    ("naive datetime in a list", "moments", [datetime(2026, 1, 1)]),  # noqa: DTZ001  # naive on purpose
    ("a moment after the last year", "moment", datetime.max.replace(tzinfo=WEST)),
    ("a moment before the first year", "moment", datetime.min.replace(tzinfo=EAST)),
    ("a moment after the last year in a list", "moments", [datetime.max.replace(tzinfo=WEST)]),
    ("boolean for a datetime", "moment", True),
    ("time with a zone", "clock", time(1, tzinfo=UTC)),
    ("time with a zone as text", "clock", "01:00:00Z"),
    ("time with a zone in a list", "clocks", [time(1, tzinfo=UTC)]),
    ("moment for a date", "day", datetime(2026, 1, 1, 5)),  # noqa: DTZ001  # naive on purpose
    ("too long a duration", "span", "P1000000000D"),
    ("a duration that seconds cannot tell exactly", "span", timedelta(days=100_000)),
    ("the longest duration", "span", timedelta.max),
    ("infinite duration", "span", float("inf")),
    ("no UUID", "key", "x"),
    ("odd hexadecimal", "blob", "abc"),
    ("too many bytes", "blob", b"x" * (MAXIMUM_BYTES + 1)),
    ("too many bytes in a list", "blobs", [b"x" * (MAXIMUM_BYTES + 1)]),
    ("no boolean", "flag", 2),
    ("no choice", "choice", 3),
    ("NUL in a document", "document", {"a": ["\x00"]}),
    ("NUL in a document's key", "document", {"a\x00": 1}),
    ("lone surrogate in a document", "document", {"a": LONE}),
    ("lone surrogate in a document's key", "document", {LONE: 1}),
    ("NaN in a document", "document", {"a": [{"b": float("nan")}]}),
    ("infinity in a document", "document", {"a": float("-inf")}),
    ("naive datetime in a document", "document", {"a": datetime(2026, 1, 1)}),  # noqa: DTZ001  # naive on purpose
    ("bytes in a document", "document", {"a": b"\xff"}),
    ("an object in a document", "document", {"a": object()}),
    ("a number as a document's key", "document", {1: 1}),
    ("a deep document", "document", nested(100_000)),
    ("a rather deep document", "document", nested(5_000)),
    ("a document in itself", "document", cyclic()),
    ("a large document", "document", {"a": "x" * (MAXIMUM_DOCUMENT + 1)}),
    ("a list for a document", "document", [1]),
    ("NUL in a typed document", "profile", {"language": "\x00"}),
    ("wrong type in a typed document", "profile", {"theme": {"size": "big"}}),
    ("a large typed document", "profile", {"language": "x" * (MAXIMUM_DOCUMENT + 1)}),
]


@pytest.mark.parametrize(("name", "value"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_stored_is_refused_at_its_path(name: str, value: Any) -> None:
    error = refused(**{name: value})
    assert all(issue.path[0] == name for issue in error.issues)
    assert all(issue.code and issue.message for issue in error.issues)
    assert len(error.message) < 1000


ACCEPTED: list[tuple[str, Any]] = [
    ("text", ""),
    ("text", "x" * MAXIMUM_TEXT),
    ("text", "𝄞 ﷽ \u202e \x01 \x7f"),
    ("texts", ["a"] * MAXIMUM_ITEMS),
    ("integer", 2**63 - 1),
    ("integer", -(2**63)),
    ("number", 1.7976931348623157e308),
    ("number", 5e-324),
    ("amount", Decimal("-99999999.99")),
    ("day", date.min),
    ("day", date.max),
    ("moment", datetime.max.replace(tzinfo=UTC)),
    ("moment", datetime.min.replace(tzinfo=UTC)),
    ("clock", time.max),
    ("span", timedelta(days=49_000)),
    ("span", timedelta(days=-49_000)),
    ("moment", datetime(1900, 1, 1, tzinfo=timezone(timedelta(minutes=19, seconds=32)))),
    ("blob", b""),
    ("blob", b"\x00\xff"),
    ("document", {}),
    ("document", nested(100)),
    ("document", {"a": "x" * (MAXIMUM_DOCUMENT - 20)}),
    ("document", {"": None}),
]


@pytest.mark.parametrize(("name", "value"), ACCEPTED, ids=lambda value: repr(value)[:30])
def test_the_extremes_are_accepted(name: str, value: Any) -> None:
    assert getattr(Thing.Create.model_validate({name: value}), name) == value


def test_all_issues_come_at_once_with_their_paths() -> None:
    error = refused(
        text="\x00",
        integers=[1, True, 2**70],
        profile={"theme": {"size": "big", "color": 5}, "language": 7},
        amount="1.001",
        nmae="x",
    )
    assert {issue.path for issue in error.issues} == {
        ("text",),
        ("integers", 1),
        ("integers", 2),
        ("profile", "theme", "size"),
        ("profile", "theme", "color"),
        ("profile", "language"),
        ("amount",),
        ("nmae",),
    }
    json.dumps(error.as_dict())


SECRET = "hunter2-π"


@pytest.mark.parametrize("name", [name for name in Thing.Create.model_fields if name not in ("text", "texts")])
def test_a_message_never_tells_the_value(name: str) -> None:
    for value in (SECRET, [SECRET], {SECRET: SECRET, "a": "\x00"}, {"a": [SECRET, LONE]}):
        try:
            Thing.Create.model_validate({name: value})
        except pydantic.ValidationError as error:
            found = validation_error(error, "Thing")
            assert SECRET not in "".join(issue.message for issue in found.issues)
            assert "hunter2" not in str(found.issues[0].message)


def test_a_message_never_tells_too_long_a_value() -> None:
    error = refused(text=SECRET * 100_000, blob=SECRET.encode() * 1_000_000)
    assert SECRET not in str(error)
    assert SECRET not in json.dumps(error.as_dict(), ensure_ascii=False)


async def test_the_session_tells_no_value_either(acme: Any) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await acme.create(Customer, name=SECRET * 100, credit=SECRET, visits=SECRET, born=SECRET, profile=SECRET)
    assert len(caught.value.issues) == 5
    assert SECRET not in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.binary(max_size=20)
    | st.decimals()
    | st.datetimes()
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec=None), max_size=8) | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*Thing.Create.model_fields, "unknown"]), JUNK, max_size=6))
def test_any_input_is_accepted_or_refused_cleanly(values: dict[str, Any]) -> None:
    try:
        Thing.Create.model_validate(values)
    except pydantic.ValidationError as error:
        found = validation_error(error, "Thing")
        assert found.issues
        json.dumps(found.as_dict())


class Account(Entity):
    handle: str = field(lowercase=True, min_length=3, max_length=5, pattern="^[a-z]+$")
    mail: str | None = field(lowercase=True, default=None)


@pytest.mark.parametrize(("given", "kept"), [("ADA", "ada"), ("ada", "ada"), ("Émile", None), ("Ab", None), (5, None)])
def test_small_letters_are_what_is_kept_and_what_the_bounds_are_about(given: Any, kept: str | None) -> None:
    for schema in (Account.Create, Account.Patch):
        if kept is None:
            with pytest.raises(pydantic.ValidationError):
                schema(handle=given)
        else:
            assert schema(handle=given).handle == kept
            assert schema.model_validate_json(json.dumps({"handle": given, "mail": "ÉMILE@X"})).mail == "émile@x"
    assert Account.Patch(mail=None).mail is None
    with pytest.raises(pydantic.ValidationError):
        Account.Patch(mail="A\x00")
