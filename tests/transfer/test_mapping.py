"""Columns become fields, and text becomes values, as the declaration says."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from freehold.errors import FileError, ValidationError
from freehold.transfer.formats import Format
from freehold.transfer.mapping import Mapped, Mapper
from freehold.transfer.rows import Row
from tests.world import Contact, Customer, Order, application

CSV, NULLED, JSON = Format(), Format(null="\\N"), Format("jsonl")


def mapper(entity: Any = Customer, form: Format = CSV, constants: Any = None, **mapping: str) -> Mapper:
    return Mapper(entity.__entity__, application.registry, form, mapping, constants)


def mapped(values: dict[str, Any], form: Format = CSV, entity: Any = Customer, **mapping: str) -> Mapped:
    return mapper(entity, form, **mapping).map(Row(2, values))


@pytest.mark.parametrize(
    ("field", "cell", "value"),
    [
        ("name", " Acme ", " Acme "),
        ("name", "0", "0"),
        ("born", "2026-06-15", date(2026, 6, 15)),
        ("born", " 2026-06-15 ", date(2026, 6, 15)),
        ("seen_at", "2026-06-15T09:30:00+02:00", datetime(2026, 6, 15, 7, 30, tzinfo=UTC)),
        ("seen_at", "2026-06-15T09:30:00Z", datetime(2026, 6, 15, 9, 30, tzinfo=UTC)),
        ("patience", "90.5", timedelta(seconds=90.5)),
        ("patience", "-0.000001", timedelta(microseconds=-1)),
        ("patience", "PT1H", "PT1H"),  # Pydantic reads it
        ("photo", "00ff", b"\x00\xff"),
        ("tags", '["a;b", "c"]', ["a;b", "c"]),
        ("tags", "a; b;", ["a", "b"]),
        ("scores", "[1, 2.50]", [1, 2.5]),
        ("profile", '{"language": "de"}', {"language": "de"}),
        ("credit", " 12.50 ", "12.50"),  # Pydantic reads it
        ("email", "", None),
        ("born", "", None),
    ],
)
def test_cells(field: str, cell: str, value: object) -> None:
    found = mapped({field: cell})
    assert found.values == {field: value}
    assert found.issues == []


@pytest.mark.parametrize(
    ("field", "cell", "code"),
    [
        ("born", "20260615x", "date_invalid"),
        ("born", "1718409600", "date_invalid"),
        ("seen_at", "2026-06-15T09:30:00", "timezone_missing"),
        ("seen_at", "1718409600", "datetime_invalid"),
        ("photo", "0", "bytes_invalid"),
        ("tags", "[1", "json_invalid"),
        ("profile", "[" * 100_000, "json_invalid"),
        ("profile", "NaN", "json_invalid"),
    ],
)
def test_cells_that_are_no_value(field: str, cell: str, code: str) -> None:
    (issue,) = mapped({field: cell}).issues
    assert (issue.path, issue.code) == ((field,), code)


def test_a_number_of_seconds_beyond_all_bounds_is_left_to_validation() -> None:
    assert mapped({"patience": "1e999999999"}).values == {"patience": "1e999999999"}


def test_what_an_empty_cell_says() -> None:
    empty = {"name": "", "email": "", "status": "", "born": "", "tags": ""}
    assert mapped(empty).values == {"email": None, "born": None}
    assert mapped(empty, NULLED).values == {"name": "", "email": "", "status": ""}
    assert mapped(dict.fromkeys(empty, "\\N"), NULLED).values == dict.fromkeys(empty)


def test_moments_without_a_zone_are_in_the_one_that_is_said() -> None:
    found = mapped({"seen_at": "2026-06-15T09:30:00"}, Format(timezone="Europe/London"))
    assert found.values["seen_at"] == datetime(2026, 6, 15, 8, 30, tzinfo=UTC)


def test_values_of_json() -> None:
    given = {
        "credit": Decimal("1.10"),
        "rating": Decimal("0.5"),
        "photo": "ff",
        "patience": Decimal("1.5"),
        "seen_at": None,
    }
    found = mapped(given | {"profile": {"theme": {"ratio": Decimal("0.5")}}, "scores": [Decimal("1.5")]}, JSON)
    assert found.issues == []
    assert found.values == {
        "credit": Decimal("1.10"),
        "rating": 0.5,
        "photo": b"\xff",
        "patience": timedelta(seconds=1.5),
        "seen_at": None,
        "profile": {"theme": {"ratio": 0.5}},
        "scores": [Decimal("1.5")],
    }
    assert isinstance(found.values["rating"], float)


def test_columns_by_name_by_map_and_left_out() -> None:
    mapping = mapper(Order, **{"Customer E-Mail": "customer.email", "No": "number", "junk": ""})
    mapping.check(["id", "No", "Customer E-Mail", "total", "junk", "version"], "orders.csv")
    assert mapping.left_out == ("junk", "id", "version")
    found = mapping.map(
        Row(2, {"id": "7", "No": "1", "Customer E-Mail": "a@b.c", "total": "3", "junk": "?", "version": "1"})
    )
    assert found.values == {"number": "1", "total": "3"}
    assert [(column.field.name, value) for column, value in found.wanted.items()] == [("customer_id", "a@b.c")]


def test_a_column_may_be_named_as_the_way_to_the_other_record() -> None:
    (column,) = mapped({"customer.email": "a@b.c"}, entity=Order).wanted
    assert column.reference is not None
    assert (column.reference.target.name, column.reference.by.name) == ("Customer", "email")


def test_an_empty_reference_is_null_where_it_may_be() -> None:
    assert mapped({"manager.name": ""}, entity=Contact).issues[0].code == "unknown_field"  # a name is not unique
    assert mapped({"customer.email": ""}, entity=Order).values == {}


def test_a_header_that_does_not_fit_is_told_as_a_whole() -> None:
    with pytest.raises(ValidationError) as caught:
        mapper(Order, c="customer.email").check(["c", "nmuber", "total", "Total"], "orders.csv")
    assert {(issue.field, issue.code) for issue in caught.value.issues} == {
        ("nmuber", "unknown_field"),
        ("Total", "unknown_field"),
        ("number", "missing"),
    }
    assert "did you mean 'number'" in str(caught.value)
    with pytest.raises(FileError, match="has no column 'c'"):
        mapper(Order, c="customer.email").check(["number", "total"], "orders.csv")
    with pytest.raises(ValidationError, match="fills number, as 'No' does"):
        mapper(Order, No="number").check(["number", "No", "total", "customer_id"], "orders.csv")


@pytest.mark.parametrize(
    ("entity", "mapping"),
    [
        (Order, {"x": "nothing"}),
        (Order, {"x": "id"}),
        (Order, {"x": "organization_id"}),
        (Order, {"x": "customer.name"}),
        (Order, {"x": "customer.id"}),
        (Order, {"x": "nobody.email"}),
        (Customer, {"x": "orders.number"}),
        (Order, {"x": "number", "y": "number"}),
        (Order, {"x": "customer_id", "y": "customer.email"}),
    ],
)
def test_a_mapping_that_does_not_fit(entity: Any, mapping: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        mapper(entity, **mapping)


def test_constants() -> None:
    found = mapper(constants={"born": "2026-06-15", "visits": 3}, n="name").map(Row(2, {"n": "Acme"}))
    assert found.values == {"name": "Acme", "born": date(2026, 6, 15), "visits": 3}
    mapper(constants={"name": "Acme"}).check(["email"], "customers.csv")
    with pytest.raises(ValidationError):
        mapper(constants={"born": "soon"})
    with pytest.raises(ValidationError):
        mapper(constants={"nobody": 1})
    with pytest.raises(ValidationError, match="a constant"):
        mapper(constants={"name": "Acme"}, n="name")


def test_unknown_columns_of_json_refuse_their_row_alone() -> None:
    mapping = mapper(form=JSON)
    assert mapping.map(Row(1, {"name": "Acme", "colour": 1})).issues[0].code == "unknown_field"
    assert mapping.map(Row(2, {"name": "Acme"})).issues == []
