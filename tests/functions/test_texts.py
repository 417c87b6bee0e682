"""Texts of query strings and command lines as arguments of reads."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import parse_qs, quote, urlencode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from pydantic_core import to_json
from typing_extensions import TypedDict

from freehold import Session, errors
from freehold.functions.arguments import Arguments
from freehold.functions.declaration import Function, declare
from freehold.functions.texts import list_arguments
from freehold.model.filters import parse_filter
from freehold.server.reading import query_texts
from tests.functions.shop import shop
from tests.world import Customer

customer = Customer.__entity__


def read(query: str) -> dict[str, Any]:
    many = query.count("&") >= 200 or len(query) > 16_000  # more than a server reads
    texts = parse_qs(query, keep_blank_values=True) if many else query_texts(query.encode())
    return list_arguments(customer, shop.registry, texts)


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("", {}),
        ("status=active", {"where": {"status": {"eq": "active"}}}),
        ("credit.gte=100&credit.lt=500", {"where": {"credit": {"gte": "100", "lt": "500"}}}),
        ("status=active&status=vip", {"where": {"status": {"in": ["active", "vip"]}}}),
        ("status.in=active,vip", {"where": {"status": {"in": ["active", "vip"]}}}),
        ("name.in=Smith%2C+John&name.in=b", {"where": {"name": {"in": ["Smith, John", "b"]}}}),
        ("name.in=Smith%2C+John", {"where": {"name": {"in": ["Smith, John"]}}}),
        ("name.not_in=Smith%2c+John", {"where": {"name": {"not_in": ["Smith, John"]}}}),
        ("name.in=Smith%2C+John,b&name.in=c,d", {"where": {"name": {"in": ["Smith, John", "b", "c", "d"]}}}),
        ("name=Smith%2C+John&name=b,c", {"where": {"name": {"in": ["Smith, John", "b,c"]}}}),
        ("contacts.name.in=a%2Cb", {"where": {"contacts.name": {"in": ["a,b"]}}}),
        ("name.between=a%2Cb&name.between=c", {"where": {"name": {"between": ["a,b", "c"]}}}),
        ("tags=a%2Cb,c", {"where": {"tags": {"eq": ["a,b", "c"]}}}),
        ("visits.in=1%2C2", {"where": {"visits": {"in": ["1", "2"]}}}),
        ("status.in=active%2Cvip", {"where": {"status": {"in": ["active", "vip"]}}}),
        ("name=Smith%2C+John", {"where": {"name": {"eq": "Smith, John"}}}),
        ("contacts.customer.status.in=active", {"where": {"contacts.customer.status": {"in": ["active"]}}}),
        ("born.is_null=true", {"where": {"born": {"is_null": True}}}),
        ("profile.theme.color=red", {"where": {"profile.theme.color": {"eq": "red"}}}),
        ("profile.theme.size.gt=3", {"where": {"profile.theme.size": {"gt": "3"}}}),
        ("tags=a,b", {"where": {"tags": {"eq": ["a", "b"]}}}),
        ("tags.contains=a", {"where": {"tags": {"contains": "a"}}}),
        ("patience.gt=3600", {"where": {"patience": {"gt": 3600.0}}}),
        ("email=", {"where": {"email": {"eq": ""}}}),
        ("where.limit=5", {"where": {"limit": {"eq": "5"}}}),
        ('where={"or":[{"name":"a"}]}', {"where": {"or": [{"name": "a"}]}}),
        ('where={"name":"a"}&status=vip', {"where": {"and": [{"name": "a"}, {"status": {"eq": "vip"}}]}}),
        ("order=-created_at,name&limit=5", {"order": ["-created_at,name"], "limit": "5"}),
        ("include=contacts,orders.count", {"include": {"contacts": {}, "orders": {"count": True}}}),
        ("include=contacts.manager", {"include": {"contacts": {"include": {"manager": {}}}}}),
        ("include=contacts,contacts.manager", {"include": {"contacts": {"include": {"manager": {}}}}}),
        ('include={"orders":"count"}', {"include": {"orders": "count"}}),
        ("total=true&deleted=1&search=acme&after=x", {"total": "true", "deleted": "1", "search": "acme", "after": "x"}),
    ],
)
def test_texts_become_arguments(query: str, arguments: dict[str, Any]) -> None:
    assert read(query) == arguments


def test_texts_are_validated_as_the_function_s_arguments() -> None:
    function = shop.functions["customers.list"]
    parsed = Arguments.of_texts(
        {"order": ["-name,credit"], "limit": ["5"], "total": ["true"], "status": ["vip"]}
    ).parse(function)
    values = function.values(parsed)
    assert (values["order"], values["limit"], values["total"]) == (["-name", "credit"], 5, True)
    assert values["where"] == {"status": {"eq": "vip"}}
    with pytest.raises(errors.ValidationError, match="limit: "):
        Arguments.of_texts({"limit": ["1000000000"]}).parse(function)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("limit=1&limit=2&after=a&after=b", ["limit", "after"]),
        ("where={&include=[", ["where", "include"]),
        ('where={"a":1,"a":2}', ["where"]),
        ("credit.gte=1&credit.gte=2", ["credit.gte"]),
        ("credit.gte=1&where.credit.gte=2", ["where.credit.gte"]),
        ("include=orders,orders.count", ["include"]),
        ("include=" + ".".join("a" * 50), ["include"]),
        ("&".join(f"f{number}=1" for number in range(300)), ["f200"]),
    ],
)
def test_all_that_cannot_be_read_is_told_at_once(query: str, names: list[str]) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        read(query)
    assert [issue.path[0] for issue in caught.value.issues] == names


LETTERS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": LETTERS,
    "status": st.sampled_from(["prospect", "active", "vip"]),
    "level": st.sampled_from(["low", "high"]),
    "credit": st.decimals(-1000, 1000, places=2),
    "visits": st.integers(-(2**63), 2**63 - 1),
    "rating": st.floats(allow_nan=False, allow_infinity=False),
    "born": st.dates(date(1900, 1, 1)),
    "seen_at": st.datetimes(datetime(1900, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # Hypothesis adds the zone
    "opens": st.times(),
    "patience": st.integers(-100_000, 100_000).map(lambda seconds: timedelta(seconds=seconds)),
    "photo": st.binary(max_size=5),
    "newsletter": st.booleans(),
    "external": st.uuids(),
    "contacts.name": LETTERS,
    "orders.total": st.decimals(-1000, 1000, places=2),
    "profile.theme.color": LETTERS,
    "profile.theme.size": st.integers(-100, 100),
    "profile.theme.dark": st.booleans(),
}
ORDERED = (
    "name",
    "credit",
    "visits",
    "rating",
    "born",
    "seen_at",
    "opens",
    "patience",
    "orders.total",
    "profile.theme.size",
)


def text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    return value.isoformat() if isinstance(value, date | time) else str(value)


@st.composite
def conditions(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """A filter, and the same as pairs of a query string."""
    where: dict[str, Any] = {}
    pairs: list[tuple[str, str]] = []
    for path in draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=4)):
        operator = draw(
            st.sampled_from(["", "eq", "ne", "in", "not_in", "is_null", *(["gt", "lte"] if path in ORDERED else [])])
        )
        name = f"{draw(st.sampled_from(['', 'where.']))}{path}{'.' if operator else ''}{operator}"
        if operator == "is_null":
            value: Any = draw(st.booleans())
            pairs.append((name, text(value)))
        elif operator in ("in", "not_in"):
            value = draw(st.lists(VALUES[path], min_size=2, max_size=3))
            pairs += [(name, text(item)) for item in value]
        else:
            value = draw(VALUES[path])
            pairs.append((name, text(value)))
        where[path] = {operator or "eq": value}
    return where, pairs


@given(conditions())
def test_a_filter_in_texts_means_what_the_mapping_means(both: tuple[dict[str, Any], list[tuple[str, str]]]) -> None:
    where, pairs = both
    made = read(urlencode(pairs))
    assert parse_filter(made.get("where"), customer, shop.registry) == parse_filter(where, customer, shop.registry)


@given(st.dictionaries(st.text(max_size=30), st.lists(st.text(max_size=30), min_size=1, max_size=3), max_size=6))
def test_any_texts_are_read_or_refused(texts: dict[str, list[str]]) -> None:
    function = shop.functions["customers.list"]
    with contextlib.suppress(errors.ValidationError):
        values = function.values(Arguments.of_texts(texts).parse(function))
        parse_filter(values["where"], customer, shop.registry)


def test_numbers_of_any_length_are_read_at_once() -> None:
    made = read(f"visits={'9' * 200_000}&patience={'9' * 200_000}&where.credit={'1e' * 1000}")
    with pytest.raises(errors.ValidationError) as caught:
        parse_filter(made["where"], customer, shop.registry)
    assert {issue.path[0] for issue in caught.value.issues} == {"visits", "patience", "credit"}
    assert Decimal(parse_filter({"credit": "1.5"}, customer, shop.registry).value) == Decimal("1.5")  # type: ignore[union-attr]


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=8), min_size=1, max_size=5))
def test_every_text_can_be_one_of_several(values: list[str]) -> None:
    """With commas between them, and each in a parameter of its own."""
    for operator in ("in", "not_in"):
        expected = {"where": {"name": {operator: values}}}
        assert read(f"name.{operator}=" + ",".join(quote(value, safe="") for value in values)) == expected
        assert read("&".join(f"name.{operator}={quote(value, safe='')}" for value in values)) == expected


@pytest.mark.parametrize(
    "query", ["seen_at.gte=2026-06-15T09:30:00+02:00", "seen_at.in=2026-06-15T09:30+0200,x", "opens=09:30+02:00"]
)
def test_a_plus_sign_that_became_a_space_is_named(query: str) -> None:
    with pytest.raises(errors.ValidationError, match="%2B"):
        read(query)


class Color(StrEnum):
    red = "red"
    mixed = "red,green"


class Number(IntEnum):
    one = 1
    two = 2


class Ratio(Enum):
    half = 0.5
    other = "other"


class Point(BaseModel):
    x: int
    y: str = "y"


class Named(TypedDict):
    x: int


@dataclass
class Plain:
    x: int


class Pair(NamedTuple):
    x: int
    y: str


UID = "018f0000-0000-7000-8000-000000000000"
WRITTEN: list[tuple[Any, list[Any]]] = [
    (str, ["a,b", "5", "{", "[1]", '"q"']),
    (int, [5, -1]),
    (float, [1.5]),
    (bool, [True, False]),
    (Decimal, ["1.50"]),
    (date, ["2026-01-02"]),
    (datetime, ["2026-01-02T03:04:05+02:00"]),
    (time, ["03:04:05"]),
    (timedelta, [90.5, 3, "PT5S"]),
    (UUID, [UID]),
    (bytes, ["00ff"]),
    (Literal["a", "b"], ["a"]),
    (Literal[1, 2], [2]),
    (Literal[True], [True]),
    (Literal[1, "a", None], [1, "a"]),
    (Color, ["red", "red,green"]),
    (Number, [2]),
    (Ratio, [0.5, "other"]),
    (Point, [{"x": 1}]),
    (Named, [{"x": 1}]),
    (Plain, [{"x": 1}]),
    (dict[str, int], [{"a": 1}]),
    (dict[str, Point], [{"a": {"x": 1}}]),
    (int | bool, [5]),
    (Literal[1, 2] | Literal["a"], [1, "a"]),
    (int | Point, [5, {"x": 1}]),
    (str | Point, ["abc", {"x": 1}]),
    (Annotated[int, Field(ge=1)], [5]),
    (Annotated[Literal[1, 2], Field(description="d")], [2]),
]
"""Types of parameters, and values as a JSON body has them."""


def typed(annotation: Any) -> Function:
    async def tried(session: Session, value) -> None: ...  # type: ignore[no-untyped-def]  # it gets its type below

    tried.__annotations__["value"] = annotation
    return declare(tried, "query")


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def parsed_alike(annotation: Any, value: Any, texts: list[str]) -> None:
    function = typed(annotation)
    expected = Arguments.of_json(to_json({"value": value})).parse(function).value  # type: ignore[attr-defined]  # its own
    query = "&".join(f"value={quote(text, safe='')}" for text in texts)
    found = Arguments.of_texts(query_texts(query.encode())).parse(function).value  # type: ignore[attr-defined]  # its own
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(("annotation", "values"), WRITTEN, ids=lambda each: str(each)[:50])
def test_what_a_body_may_have_a_query_string_may_too(annotation: Any, values: list[Any]) -> None:
    """By itself, as an option, in lists of all kinds, and in lists of lists."""
    for value in values:
        parsed_alike(annotation, value, [as_text(value)])
        parsed_alike(annotation | None, value, [as_text(value)])
        parsed_alike(dict[str, annotation], {"k": value}, [as_text({"k": value})])
        parsed_alike(list[list[annotation]], [[value], [value]], [as_text([value]), as_text([value])])
        parsed_alike(list[list[annotation]], [[value], [value]], [as_text([[value], [value]])])
    texts = [as_text(value) for value in values]
    for many in (list[annotation], tuple[annotation, ...], Sequence[annotation], list[annotation] | None):
        parsed_alike(many, values, texts)
        parsed_alike(many, values[:1], texts[:1])
    parsed_alike(tuple[annotation, int], [values[0], 7], [texts[0], "7"])


@pytest.mark.parametrize("annotation", [datetime, datetime | None, list[datetime], time])
def test_a_parameter_names_a_lost_plus_sign(annotation: Any) -> None:
    text = "03:04:05 02:00" if annotation is time else "2026-01-02T03:04:05 02:00"
    with pytest.raises(errors.ValidationError, match="%2B"):
        Arguments.of_texts({"value": [text]}).parse(typed(annotation))


def test_pairs_are_written_item_by_item() -> None:
    parsed_alike(Pair, [1, "a"], ["1", "a"])
    parsed_alike(int | list[int], 3, ["3"])
    parsed_alike(int | list[int], [3, 4], ["3", "4"])
    parsed_alike(int | list[int], [3], ["[3]"])
