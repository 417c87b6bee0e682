"""The parser of filters: every operator by kind, and a clear error for everything else."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold import Context, errors
from freehold.model.filters import (
    MAXIMUM_CHOICES,
    MAXIMUM_CONDITIONS,
    MAXIMUM_DEPTH,
    MAXIMUM_STRING,
    OPERATORS,
    And,
    Compare,
    Filter,
    Not,
    Or,
    parse_filter,
)
from freehold.model.matching import Verdict, matches
from tests.world import Customer, Level, Order, Profile, Theme, application

CUSTOMER = Customer.__entity__


def parsed(where: Any) -> Filter:
    return parse_filter(where, CUSTOMER, application.registry)


def attempted(where: Any) -> Filter | errors.ValidationError:
    try:
        return parsed(where)
    except errors.ValidationError as error:
        return error


def compared(where: Any) -> Compare:
    found = parsed(where)
    assert isinstance(found, Compare)
    return found


def issues(where: Any) -> dict[str, str]:
    """The issues by path: the codes."""
    with pytest.raises(errors.ValidationError) as caught:
        parsed(where)
    return {issue.field: issue.code for issue in caught.value.issues}


ID = UUID(int=7)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EQUALITY = {"eq", "ne", "in", "not_in", "is_null"}
ORDERING = EQUALITY | {"gt", "gte", "lt", "lte", "between"}
TEXT = ORDERING | {"contains", "starts_with"}
LIST = {"eq", "ne", "contains", "is_null"}

KINDS: list[tuple[str, set[str], Any, Any]] = [
    ("name", TEXT, "a", "a"),
    ("code", TEXT, "a", "a"),
    ("tax_number", TEXT, "a", "a"),
    ("status", EQUALITY, "vip", "vip"),
    ("level", EQUALITY, Level.HIGH, "high"),
    ("level", EQUALITY, "high", "high"),
    ("credit", ORDERING, "1.50", Decimal("1.50")),
    ("credit", ORDERING, 5, Decimal(5)),
    ("visits", ORDERING, 5, 5),
    ("version", ORDERING, 5, 5),
    ("rating", ORDERING, 1.5, 1.5),
    ("born", ORDERING, "2026-01-01", date(2026, 1, 1)),
    ("seen_at", ORDERING, NOON, NOON),
    ("created_at", ORDERING, "2026-01-01T12:00:00Z", NOON),
    ("deleted_at", ORDERING, NOON, NOON),
    ("opens", ORDERING, "09:30", time(9, 30)),
    ("patience", ORDERING, 90, timedelta(seconds=90)),
    ("patience", ORDERING, timedelta(days=1), timedelta(days=1)),
    ("photo", ORDERING, b"\xff", b"\xff"),
    ("newsletter", EQUALITY, True, True),
    ("tags", LIST, ["a"], ["a"]),
    ("scores", LIST, ["1.5"], [Decimal("1.5")]),
    ("profile", {"is_null"}, None, None),
    ("external", ORDERING, str(ID), ID),
    ("id", ORDERING, ID, ID),
    ("profile.language", TEXT, "nl", "nl"),
    ("profile.theme.color", TEXT, "red", "red"),
    ("profile.theme.size", ORDERING, 5, 5),
    ("profile.theme.ratio", ORDERING, "1.5", Decimal("1.5")),
    ("profile.theme.dark", EQUALITY, False, False),
    ("profile.theme", {"is_null"}, None, None),
    ("contacts.name", TEXT, "a", "a"),
    ("orders.total", ORDERING, 5, Decimal(5)),
    ("orders.contact.manager.name", TEXT, "a", "a"),
    ("contacts.customer.profile.theme.color", TEXT, "red", "red"),
]


@pytest.mark.parametrize(("path", "operators", "value", "read"), KINDS, ids=[f"{row[0]}={row[2]!r}" for row in KINDS])
@pytest.mark.parametrize("operator", OPERATORS)
def test_each_kind_has_its_operators(path: str, operators: set[str], value: Any, read: Any, operator: str) -> None:
    many = operator in ("in", "not_in", "between")
    given_, expected = value, read
    if operator == "is_null":
        given_ = expected = True
    elif operator == "contains" and operators is LIST:
        given_, expected = value[0], read[0]
    elif many:
        given_, expected = [value, value], [read, read]
    if operator not in operators:
        assert issues({path: {operator: given_}}) == {f"{path}.{operator}": "wrong_operator"}
        return
    found = compared({path: {operator: given_}})
    assert found.target.path == path
    assert (found.operator, found.value) == (operator, expected)


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ({"email": None}, ("is_null", True)),
        ({"email": {"eq": None}}, ("is_null", True)),
        ({"email": {"ne": None}}, ("is_null", False)),
        ({"email": {"is_null": False}}, ("is_null", False)),
        ({"email": "a"}, ("eq", "a")),
        ({"status": {"in": ("vip",)}}, ("in", ["vip"])),
        ({"status": {"in": {"vip"}}}, ("in", ["vip"])),
        ({"status": {"in": []}}, ("in", [])),
    ],
    ids=str,
)
def test_the_short_forms(where: Any, meant: tuple[str, Any]) -> None:
    found = compared(where)
    assert (found.operator, found.value) == meant


def test_several_operators_of_one_field_are_all_meant() -> None:
    found = parsed({"credit": {"gte": 1, "lt": 5}, "or": [{"visits": 1}, {"not": {"visits": 2}}]})
    assert isinstance(found, And)
    low, high, either = found.items
    assert isinstance(low, Compare)
    assert isinstance(high, Compare)
    assert isinstance(either, Or)
    assert (low.operator, high.operator) == ("gte", "lt")
    assert isinstance(either.items[1], Not)


@pytest.mark.parametrize("nothing", [None, {}, {"and": []}])
def test_nothing_is_asked(nothing: Any) -> None:
    assert matches(parsed(nothing), {}) is Verdict.YES
    assert matches(parsed({"or": []}), {}) is Verdict.NO


WRONG: list[tuple[str, Any, dict[str, str]]] = [
    ("unknown field", {"stats": "x"}, {"stats": "unknown_field"}),
    ("unknown relation", {"ordes.total": 1}, {"ordes.total": "unknown_field_or_relation"}),
    ("unknown field of a relation", {"orders.totl": 1}, {"orders.totl": "unknown_field"}),
    ("a relation alone", {"orders": 1}, {"orders": "unknown_field"}),
    ("unknown key", {"profile.theme.colour": "x"}, {"profile.theme.colour": "unknown_key"}),
    ("key of a scalar", {"name.x": "x"}, {"name.x": "not_a_document"}),
    ("key of a list", {"tags.0": "x"}, {"tags.0": "not_a_document"}),
    ("key inside of a scalar key", {"profile.language.x": "x"}, {"profile.language.x": "untyped_document"}),
    ("empty path", {"": 1}, {"": "unknown_field"}),
    ("dots", {"..": 1}, {"..": "unknown_field_or_relation"}),
    ("trailing dot", {"profile.": 1}, {"profile.": "unknown_key"}),
    ("unknown operator", {"name": {"equals": "x"}}, {"name.equals": "unknown_operator"}),
    ("operator that is no text", {"name": {1: "x"}}, {"name.1": "unknown_operator"}),
    ("no operator", {"name": {}}, {"name": "missing_operator"}),
    ("field that is no text", {1: "x"}, {"1": "string_type"}),
    ("no mapping", [1], {"": "mapping_type"}),
    ("text", "name = 'x'", {"": "mapping_type"}),
    ("or of no list", {"or": {"name": "x"}}, {"or": "list_type"}),
    ("and of text", {"and": "abc"}, {"and": "list_type"}),
    ("or of no filters", {"or": [{"name": "x"}, 5]}, {"or.1": "mapping_type"}),
    ("not of a list", {"not": [{"name": "x"}]}, {"not": "mapping_type"}),
    ("null to compare with", {"visits": {"gt": None}}, {"visits.gt": "null_value"}),
    ("null to look in", {"visits": {"in": None}}, {"visits.in": "null_value"}),
    ("null in a list", {"visits": {"in": [1, None]}}, {"visits.in.1": "int_type"}),
    ("is_null of a number", {"visits": {"is_null": 1}}, {"visits.is_null": "bool_type"}),
    ("in of text", {"name": {"in": "abc"}}, {"name.in": "list_type"}),
    ("in of a mapping", {"name": {"in": {"a": 1}}}, {"name.in": "list_type"}),
    ("between of one", {"visits": {"between": [1]}}, {"visits.between": "between_length"}),
    ("between of three", {"visits": {"between": [1, 2, 3]}}, {"visits.between": "between_length"}),
    ("text for a number", {"visits": "many"}, {"visits.eq": "int_parsing"}),
    ("boolean for a number", {"visits": True}, {"visits.eq": "int_type"}),
    ("boolean for a float", {"rating": True}, {"rating.eq": "float_type"}),
    ("number for text", {"name": 5}, {"name.eq": "string_type"}),
    ("no choice", {"status": "gone"}, {"status.eq": "literal_error"}),
    ("no member", {"level": "medium"}, {"level.eq": "enum"}),
    ("naive datetime", {"seen_at": datetime(2026, 1, 1)}, {"seen_at.eq": "timezone_aware"}),  # noqa: DTZ001
    ("time with a zone", {"opens": time(1, tzinfo=UTC)}, {"opens.eq": "time_zone"}),
    ("NaN", {"rating": float("nan")}, {"rating.eq": "finite_number"}),
    ("NaN as a Decimal", {"credit": {"lt": "NaN"}}, {"credit.lt": "finite_number"}),
    ("64 bits", {"visits": 2**63}, {"visits.eq": "int_too_large"}),
    ("64 bits in a list", {"visits": {"in": [2**63]}}, {"visits.in.0": "int_too_large"}),
    ("enormous integer", {"visits": 10**5000}, {"visits.eq": "int_too_large"}),
    ("enormous integer for a float", {"rating": 10**5000}, {"rating.eq": "int_too_large"}),
    ("NUL", {"name": {"contains": "\x00"}}, {"name.contains": "nul_character"}),
    ("NUL in a list", {"tags": {"contains": "\x00"}}, {"tags.contains": "nul_character"}),
    ("lone surrogate", {"name": "\ud800"}, {"name.eq": "string_unicode"}),
    ("long text", {"name": "x" * (MAXIMUM_STRING + 1)}, {"name.eq": "string_too_long"}),
    (
        "10 MB",
        {"profile.language": {"starts_with": "x" * 10_000_000}},
        {"profile.language.starts_with": "string_too_long"},
    ),
    ("list for a scalar", {"name": ["a"]}, {"name.eq": "string_type"}),
    ("scalar for a list", {"tags": "a"}, {"tags.eq": "list_type"}),
    ("list for an element", {"tags": {"contains": ["a"]}}, {"tags.contains": "string_type"}),
    ("no UUID", {"id": "x"}, {"id.eq": "uuid_parsing"}),
    ("too many values", {"visits": {"in": list(range(MAXIMUM_CHOICES + 1))}}, {"visits.in": "too_long"}),
    ("too many alternatives", {"or": [{}] * (MAXIMUM_CONDITIONS + 1)}, {"or": "too_long"}),
    (
        "too many references",
        {"orders.customer.orders.customer.orders.total": 1},
        {"orders.customer.orders.customer.orders.total": "too_deep"},
    ),
]


@pytest.mark.parametrize(("where", "expected"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_filter_is_told_by_path_and_code(where: Any, expected: dict[str, str]) -> None:
    assert issues(where) == expected


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ({"stats": "x"}, "did you mean 'status'?"),
        ({"contcts.name": "x"}, "did you mean 'contacts'?"),
        ({"profile.theme.colour": "x"}, "did you mean 'color'?"),
        ({"name": {"start_with": "x"}}, "did you mean 'starts_with'?"),
        ({"name": {"like": "x"}}, "known are eq, ne"),
        ({"status": {"gt": "vip"}}, "use eq, ne, in, not_in, is_null"),
        ({"visits": {"gt": None}}, "use is_null"),
    ],
    ids=str,
)
def test_a_wrong_filter_says_what_to_write(where: Any, hint: str) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        parsed(where)
    assert hint in str(caught.value)


def test_all_issues_come_at_once() -> None:
    found = issues(
        {"stats": 1, "visits": {"gt": "x", "like": 1}, "or": [{"not": {"born": "x"}}, {"credit": None, "a": 1}]}
    )
    assert set(found) == {"stats", "visits.gt", "visits.like", "or.0.not.born.eq", "or.1.a"}


def wrapped(levels: int, key: str = "not") -> Any:
    where: Any = {"name": "x"}
    for _ in range(levels):
        where = {"not": where} if key == "not" else {key: [where]}
    return where


@pytest.mark.parametrize("key", ["not", "and", "or"])
def test_the_depth_is_bounded(key: str) -> None:
    parsed(wrapped(MAXIMUM_DEPTH, key))
    for levels in (MAXIMUM_DEPTH + 1, 100_000):
        assert "too_deep" in issues(wrapped(levels, key)).values()


def test_the_number_of_conditions_is_bounded() -> None:
    parsed({"and": [{"visits": number} for number in range(MAXIMUM_CONDITIONS)]})
    many = {"and": [{"visits": 1, "credit": 2} for _ in range(MAXIMUM_CONDITIONS)]}
    assert list(issues(many).values()) == ["too_many"]
    assert set(issues({"visits": dict.fromkeys(OPERATORS[4:8], 1), "and": [many, many]}).values()) == {"too_many"}


def test_the_number_of_operators_counts_as_well() -> None:
    item = {"name": {"gt": "a", "gte": "a", "lt": "a", "lte": "a", "contains": "a", "starts_with": "a", "ne": "a"}}
    assert "too_many" in issues({"and": [item] * MAXIMUM_CONDITIONS}).values()


def test_a_filter_in_itself_ends() -> None:
    where: dict[str, Any] = {}
    where["not"] = where
    assert "too_deep" in issues(where).values()


@pytest.mark.parametrize(
    "where",
    [{"x" * 10_000_000: 1}, {"name": {"x" * 10_000_000: 1}}, {"orders." + "x" * 10_000_000: 1}, {10**5000: 1}],
    ids=["field", "operator", "field of a relation", "number"],
)
def test_an_enormous_name_is_not_repeated(where: Any) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        parsed(where)
    assert len(json.dumps(caught.value.as_dict())) < 2_000


def test_at_most_fifty_issues_are_told() -> None:
    with pytest.raises(errors.ValidationError) as caught:
        parsed({f"wrong{number}": 1 for number in range(150)})
    assert len(caught.value.issues) <= 50
    with pytest.raises(errors.ValidationError) as caught:
        parsed({"tags": [5] * 900})
    assert len(caught.value.issues) <= 50


SECRET = "hunter2"


@pytest.mark.parametrize("path", [row[0] for row in KINDS])
def test_a_message_never_tells_the_value(path: str) -> None:
    for value in (SECRET, [SECRET], {"gt": SECRET}, {"in": [SECRET]}, {"in": SECRET}, {"is_null": SECRET}):
        found = attempted({path: value})
        if isinstance(found, errors.ValidationError):
            assert SECRET not in str(found)


class Odd(Enum):
    NAME = "name"


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=12)
    | st.binary(max_size=8)
    | st.decimals()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([Level.HIGH, Odd.NAME, Profile(), Theme, object(), ..., NotImplemented, 2**64])
    | st.integers(5_000, 6_000).map(lambda digits: 10**digits)
)
PATHS = st.sampled_from([row[0] for row in KINDS] + ["and", "or", "not", "orders", "profile.x", "orders.x", ""])
KEYS = PATHS | st.sampled_from(OPERATORS) | st.text(max_size=6) | st.integers() | st.none() | st.tuples(st.integers())
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers() | st.text(max_size=3), max_size=3)
    ),
    max_leaves=16,
)


@settings(deadline=None)
@given(JUNK | st.dictionaries(PATHS, JUNK | st.dictionaries(st.sampled_from(OPERATORS), JUNK, max_size=2), max_size=4))
def test_any_junk_is_parsed_or_refused_cleanly(where: Any) -> None:
    found = attempted(where)
    if isinstance(found, errors.ValidationError):
        assert 1 <= len(found.issues) <= 50
        json.dumps(found.as_dict())
    else:
        assert matches(found, {}) in Verdict


@pytest.mark.parametrize("where", [{"customer.status": "vip"}, {"customer.profile.theme.color": "red"}])
def test_across_a_reference_memory_says_maybe(where: Any) -> None:
    condition = parse_filter(where, Order.__entity__, application.registry)
    assert matches(condition, {"customer_id": ID}) is Verdict.MAYBE


YES, NO, MAYBE = {"visits": 1}, {"visits": 2}, {"orders.total": 1}


@pytest.mark.parametrize(
    ("where", "verdict"),
    [
        (YES, Verdict.YES),
        (NO, Verdict.NO),
        (MAYBE, Verdict.MAYBE),
        ({"not": MAYBE}, Verdict.MAYBE),
        ({"not": NO}, Verdict.YES),
        ({"and": [YES, MAYBE]}, Verdict.MAYBE),
        ({"and": [NO, MAYBE]}, Verdict.NO),
        ({"or": [YES, MAYBE]}, Verdict.YES),
        ({"or": [NO, MAYBE]}, Verdict.MAYBE),
        ({"not": {"or": [NO, MAYBE]}}, Verdict.MAYBE),
        ({"not": {"and": [NO, MAYBE]}}, Verdict.YES),
        ({"name": "x"}, Verdict.MAYBE),
        ({"name": None}, Verdict.MAYBE),
        ({"email": None}, Verdict.YES),
        ({"email": {"ne": "x"}}, Verdict.YES),
        ({"email": {"not_in": ["x"]}}, Verdict.YES),
        ({"email": {"starts_with": ""}}, Verdict.NO),
    ],
    ids=str,
)
def test_three_valued_logic(where: Any, verdict: Verdict) -> None:
    assert matches(parsed(where), {"visits": 1, "email": None}) is verdict


def test_a_private_field_that_was_not_read_decides_nothing() -> None:
    row = {
        "id": ID,
        "organization_id": Context(ID).organization_id,
        "version": 1,
        "created_at": NOON,
        "updated_at": NOON,
        "name": "x",
    }
    condition = parsed({"tax_number": None})
    assert matches(condition, Customer.model_validate(row)) is Verdict.MAYBE
    assert matches(condition, Customer.model_validate({**row, "tax_number": None})) is Verdict.YES
