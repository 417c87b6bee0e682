"""Hand-written SQL: named parameters are found where they are, and bound whatever they hold."""

import enum
import json
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model
from sqlalchemy import Integer, bindparam, column, func, insert, select, table, text

from freehold import Database, Session, errors
from freehold.sql.named import KEPT, MAXIMUM_STATEMENT, bind_named
from tests.conftest import new_context
from tests.sql.samples import SCALARS
from tests.world import Level, Theme

bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Pieces of SQL in which nothing is a parameter, whatever stands inside.
PARAMETERLIKE = st.sampled_from(["", ":x", " :x ", "a:x", "::", "--", "/*", "$1", "\\", ";", "E"])
BODY = st.lists(PARAMETERLIKE | st.text("ab :x\n", max_size=4), max_size=4).map("".join)
STRINGS = BODY.map(lambda body: "'" + body.replace("\\", "") + "'") | st.just("''':x'''")
ESCAPES = st.lists(
    BODY.map(lambda body: body.replace("\\", "\\\\")) | st.sampled_from(["\\'", "''", "\\\\"]), max_size=3
).map(lambda parts: "E'" + "".join(parts) + "'")
IDENTIFIERS = BODY.map(lambda body: '"' + body.replace('"', "") + 'x"') | st.just('"a"":x"')
TAGS = st.sampled_from(["", "a", "q1", "_1", "été", "A_b9"])
DOLLARS = st.builds(lambda tag, body: f"${tag}${body.replace('$', '')}${tag}$", TAGS, BODY)
LINES = BODY.map(lambda body: "--" + body.replace("\n", " ") + "\n")
BLOCKS = st.recursive(
    BODY.map(lambda body: "/*" + re.sub(r"/\*|\*/|[*/]", "", body) + "*/"),
    lambda inner: st.lists(inner, max_size=2).map(lambda parts: "/* :x " + " ".join(parts) + " */"),
    max_leaves=3,
)
OPAQUE = st.one_of(
    STRINGS,
    ESCAPES,
    IDENTIFIERS,
    DOLLARS,
    LINES,
    BLOCKS,
    st.sampled_from(["a::x", "b[1:x]", "f(a := 1)", "1::x", "c[1:2]"]),
)


@settings(deadline=None)
@given(parts=st.lists(OPAQUE | st.just(":x"), max_size=8))
@example(parts=["E'\\':x'", ":x"])
@example(parts=["$q1$:x$q1$"])
def test_only_parameters_are_replaced(parts: list[str]) -> None:
    # A last piece in which no comment ends: a closing semicolon is taken off, also where a comment holds it.
    parts = [*parts, "1"]
    statement = "select " + " , ".join(parts)
    used = parts.count(":x")
    bound, values = bind_named(statement, {"x": 5} if used else {})
    assert bound == "select " + " , ".join("($1->>0)::bigint" if part == ":x" else part for part in parts)
    assert json.loads(values) == ([5] if used else [])


@pytest.mark.parametrize(
    ("statement", "bound"),
    [
        ("select :x::int", "select ($1->>0)::bigint::int"),
        ("select :x ::int", "select ($1->>0)::bigint ::int"),
        ("select a[:x]", "select a[($1->>0)::bigint]"),
        ("select a[1:2], :x", "select a[1:2], ($1->>0)::bigint"),
        ("select f(a := :x)", "select f(a := ($1->>0)::bigint)"),
        ("select f(a=>:x)", "select f(a=>($1->>0)::bigint)"),
        ("select 1+:x", "select 1+($1->>0)::bigint"),
        ("select -:x", "select -($1->>0)::bigint"),
        ("select (:x)", "select (($1->>0)::bigint)"),
        ("select :x,:x", "select ($1->>0)::bigint,($1->>0)::bigint"),
        ("select 'a' ':b', :x", "select 'a' ':b', ($1->>0)::bigint"),
        ("select a->>':b', :x", "select a->>':b', ($1->>0)::bigint"),
        ("select a$b$, :x, c$b$", "select a$b$, ($1->>0)::bigint, c$b$"),
        ("select :x;", "select ($1->>0)::bigint"),
        ("select :x -- ;", "select ($1->>0)::bigint --"),
        ("select :x; ; ", "select ($1->>0)::bigint"),
        ("select name'\\', :x", "select name'\\', ($1->>0)::bigint"),
    ],
)
def test_where_a_parameter_stands(statement: str, bound: str) -> None:
    assert bind_named(statement, {"x": 5})[0].replace(" ;", "").strip() == bound


VALUES: list[Any] = [
    "text", 5, -(2**63), 2**63 - 1, 1.5, 5e-324, Decimal("1.10"), True, date.min, date.max, datetime.max.replace(tzinfo=UTC),
    time(23, 59, 59, 999999), timedelta(days=-1, microseconds=1), UUID(int=1), b"\x00\xff", {"a": [1, None]}, Level.HIGH,
    Theme(), ["a"], [1, None], (Decimal("0.1"),), {UUID(int=1)}, frozenset({5}),
]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(VALUES) | st.text(min_size=1), min_size=1, max_size=4))
def test_a_value_never_stands_in_the_text(values: list[Any]) -> None:
    names = [f"p{number}" for number in range(len(values))]
    values = [value.replace("\x00", "") if isinstance(value, str) else value for value in values]
    statement = "select " + ", ".join(f":{name}" for name in names)
    bound, _ = bind_named(statement, dict(zip(names, values, strict=True)))
    for piece in bound.removeprefix("select ").split(", "):
        assert re.fullmatch(
            r"\(\$1->>?\d\)(::[a-z ]+)?|\(array\(select jsonb_array_elements_text\(\$1->\d\)::[a-z ]+\)\)", piece
        ), bound


class Color(enum.StrEnum):
    RED = "red's"


ROUND: list[tuple[Any, Any]] = [
    ("", str),
    (0, int),
    (-(2**63), int),
    (2**63 - 1, int),
    (0.1, float),
    (1.7976931348623157e308, float),
    (5e-324, float),
    (Decimal("12345678901.12"), Decimal),
    (Decimal("-1E+20"), Decimal),
    (Decimal("1E-20"), Decimal),
    (Decimal("1.10"), Decimal),
    (True, bool),
    (False, bool),
    (date.min, date),
    (date.max, date),
    (datetime.min.replace(tzinfo=UTC), datetime),
    (datetime.max.replace(tzinfo=UTC), datetime),
    (datetime(2026, 7, 1, 12, 0, 0, 1, timezone(timedelta(hours=-7))), datetime),
    (time.min, time),
    (time.max, time),
    (timedelta(0), timedelta),
    (timedelta(days=400, hours=5, microseconds=1), timedelta),
    (UUID(int=2**128 - 1), UUID),
    ({"a": [1, {"b": None}], "": "'"}, dict[str, Any]),
    (Theme(color="a'b", ratio=Decimal("1.5")), Theme),
    (Level.HIGH, Level),
    (Color.RED, Color),
    (["a", "b,c", '"', "{}", "NULL", "\\", ""], list[str]),
    ([3, 1, 2], list[int]),
    ([None, 1], list[int | None]),
    ([True, False], list[bool]),
    ([date.max], list[date]),
    ([UUID(int=5)], list[UUID]),
    ([Decimal("1.10"), Decimal("2")], list[Decimal]),
    (None, str | None),
]


@pytest.mark.parametrize(("value", "annotation"), ROUND, ids=lambda value: repr(value)[:40])
async def test_a_value_of_each_type_comes_back(database: Database, value: Any, annotation: Any) -> None:
    model = create_model("Row", x=(annotation, ...))
    async with database.session(await new_context(database)) as session:
        (row,) = await session.sql(model, "select :x as x", x=value)
    assert row.x == value  # type: ignore[attr-defined]
    assert type(row.x) is type(value)  # type: ignore[attr-defined]


async def test_a_numeric_keeps_its_digits(database: Database) -> None:
    await test_a_value_of_each_type_comes_back(database, Decimal("12345678901234567890.123456789"), Decimal)


@pytest.mark.xfail(strict=True, reason="rows come as the JSON that PostgreSQL writes; see Session.sql")
@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (timedelta(microseconds=-1), timedelta),
        (b"\x00\xff", bytes),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_value_whose_json_pydantic_reads_differently(database: Database, value: Any, annotation: Any) -> None:
    await test_a_value_of_each_type_comes_back(database, value, annotation)


HOSTILE = [
    "'", "''", "\\'", "\\", '"', "$1", "$$", "$1->>0", ":x", "--", "*/", "/*", ";", "'); drop table app.customers; --",
    "\n", "\r", "\t", "%s", "{}", "null", "E'\\x'", "\u202e", "\u0085", "\ufeff", "'||chr(0)||'", "\\u0000", "\\\\u0000", "𝄞",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
async def test_a_hostile_string_comes_back_unchanged(acme: Session, value: str) -> None:
    rows = await acme.sql(
        None,
        "select :x as x, array_to_json(:many) as many, :document as d",
        x=value,
        many=[value],
        document={value: value},
    )
    assert list(rows) == [{"x": value, "many": [value], "d": {value: value}}]


@bounded
@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50))
async def test_any_string_comes_back_unchanged(acme: Session, value: str) -> None:
    assert await acme.sql(None, "select :x as x, :y as y", x=value, y={"k": value}) == [{"x": value, "y": {"k": value}}]


@pytest.mark.parametrize("name", sorted(SCALARS))
@settings(parent=bounded, max_examples=5)
@given(data=st.data())
async def test_values_compare_as_what_they_are(acme: Session, name: str, data: Any) -> None:
    one = data.draw(SCALARS[name])
    rows = await acme.sql(
        None, "select :one = :other as same, :one = any (:many) as held", one=one, other=one, many=[one]
    )
    assert rows == [{"same": True, "held": True}]


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("select :x", {}),
        ("select 1", {"x": 5}),
        ("select :x", {"x": object()}),
        ("select :x", {"x": [object()]}),
        ("select :x", {"x": {"a": object()}}),
        ("select :x", {"x": [1, "a"]}),
        ("select :x", {"x": [[1]]}),
        ("select :x", {"x": [{}]}),
        ("select :x", {"x": datetime(2026, 1, 1)}),  # noqa: DTZ001  # naive on purpose
        ("select :x", {"x": time(1, tzinfo=UTC)}),
        ("select :x", {"x": "a\x00"}),
        ("select :x", {"x": ["a\x00"]}),
        ("select :x", {"x": {"a\x00": 1}}),
        ("select :x", {"x": {"a": ["\x00"]}}),
        ("select :x", {"x": Theme(color="\x00")}),
        ("select :x", {"x": "\ud800"}),
        ("select :x", {"x": ["\ud800"]}),
        ("select :x", {"x": {"\ud800": 1}}),
        ("select :x", {"x": 2**63}),
        ("select :x", {"x": 10**5000}),
        ("select :x", {"x": {"a": json.loads("[" * 900 + "]" * 900)}}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
async def test_what_cannot_be_bound_is_told_by_name(acme: Session, statement: str, values: dict[str, Any]) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await acme.sql(None, statement, **values)
    assert [issue.field for issue in caught.value.issues] == ["x"]


@pytest.mark.parametrize(
    "statement",
    ["", "  ", 5, None, "select '\x00'", "select '\ud800'", "x" * (MAXIMUM_STATEMENT + 1)],
    ids=lambda s: repr(s)[:20],
)
async def test_what_is_no_statement_is_told(acme: Session, statement: Any) -> None:
    with pytest.raises(errors.ValidationError):
        await acme.sql(None, statement)


def test_missing_and_superfluous_parameters_are_told_at_once() -> None:
    with pytest.raises(errors.ValidationError) as caught:
        bind_named("select :since, :until, ':none'", {"sinc": 1, "none": 2})
    assert {issue.field: issue.code for issue in caught.value.issues} == {
        "since": "missing",
        "until": "missing",
        "sinc": "unknown_parameter",
        "none": "unknown_parameter",
    }


async def test_null_takes_the_type_of_its_place(acme: Session) -> None:
    statement = "select count(*) as n from customers where (:since is null or created_at >= :since) and credit > coalesce(:least, 0)"
    assert await acme.sql(None, statement, since=None, least=None) == [{"n": 0}]
    assert await acme.sql(None, statement, since=datetime.now(UTC), least=Decimal(5)) == [{"n": 0}]


async def test_an_empty_list_takes_the_type_of_its_place(acme: Session) -> None:
    statement = "select count(*) as n from customers where id = any (:ids) or visits = any (:visits)"
    assert await acme.sql(None, statement, ids=[], visits=[]) == [{"n": 0}]
    assert await acme.sql(None, statement, ids=[UUID(int=1)], visits=[1]) == [{"n": 0}]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("-- first\nselect :x as x -- last", 5),
        ("select :x as x;", 5),
        ("with a as (select :x as x) select * from a", 5),
        ("values (:x)", None),
    ],
)
async def test_statements_of_every_form_run(acme: Session, statement: str, expected: Any) -> None:
    (row,) = await acme.sql(None, statement, x=5)
    assert list(row.values()) == [5]


class TestSqlalchemy:
    customers = table(
        "customers", column("id"), column("name"), column("status"), column("visits", Integer), column("tags")
    )

    @pytest.fixture
    async def filled(self, acme: Session) -> Session:
        from tests.world import Customer

        for number, name in enumerate(["a%b", "it's", 'x"y', "a:b", "a\\b"]):
            await acme.create(Customer, name=name, visits=number)
        return acme

    async def test_a_select_is_taken(self, filled: Session) -> None:
        c = self.customers.c
        query = select(c.name, c.visits).where(c.visits >= 1, c.name.in_(["it's", "a:b", "a%b"])).order_by(c.visits)
        assert await filled.sql(None, query) == [{"name": "it's", "visits": 1}, {"name": "a:b", "visits": 3}]

    async def test_lists_of_any_length(self, filled: Session) -> None:
        c = self.customers.c
        for names in ([], ["it's"], ["it's", 'x"y', "a\\b"]):
            found = await filled.sql(None, select(c.name).where(c.name.in_(names)).order_by(c.visits))
            assert [row["name"] for row in found] == names
        assert len(await filled.sql(None, select(c.name).where(c.name.not_in([])))) == 5

    async def test_percent_signs_colons_and_literals(self, filled: Session) -> None:
        c = self.customers.c
        query = (
            select((c.visits % 2).label("odd"), func.count().label("n"))
            .where(c.name.like("%a%b%"))
            .group_by(text("1"))
            .order_by(text("1"))
        )
        assert await filled.sql(None, query) == [{"odd": 0, "n": 2}, {"odd": 1, "n": 1}]
        literal = select(text("'\\:none' as a"), text("'50%' as b")).select_from(self.customers).limit(1)
        assert await filled.sql(None, literal) == [{"a": ":none", "b": "50%"}]

    async def test_own_parameters(self, filled: Session) -> None:
        c = self.customers.c
        query = select(c.name).where(c.visits == bindparam("wanted"))
        assert await filled.sql(None, query, wanted=1) == [{"name": "it's"}]

    async def test_text_with_parameters(self, filled: Session) -> None:
        query = select(self.customers.c.name).where(text("visits = :wanted"))
        assert await filled.sql(None, query, wanted=1) == [{"name": "it's"}]

    async def test_pages_of_a_select(self, filled: Session) -> None:
        c = self.customers.c
        assert await filled.sql(None, select(c.visits).order_by(c.visits).limit(2).offset(1)) == [
            {"visits": 1},
            {"visits": 2},
        ]

    async def test_a_union(self, filled: Session) -> None:
        c = self.customers.c
        query = select(c.name).where(c.visits == 1).union_all(select(c.name).where(c.visits == 2))
        assert sorted(row["name"] for row in await filled.sql(None, query)) == ["it's", 'x"y']

    async def test_what_is_no_select_is_refused(self, acme: Session) -> None:
        with pytest.raises(errors.ValidationError, match="must be a select"):
            await acme.sql(None, insert(self.customers).values(name="x"))


class Amount(BaseModel):
    amount: Decimal
    label: str = Field(max_length=5)


async def test_rows_are_validated_into_the_model(acme: Session) -> None:
    rows = await acme.sql(
        Amount, "select n + :step as amount, 'l' || n as label from generate_series(1, 2) n", step=Decimal("0.10")
    )
    assert rows == [Amount(amount=Decimal("1.10"), label="l1"), Amount(amount=Decimal("2.10"), label="l2")]


@pytest.mark.parametrize(
    "statement",
    ["select 'x' as amount, 'a' as label", "select 1 as amount", "select 1 as amount, repeat('secret', 5) as label"],
)
async def test_rows_that_do_not_fit_the_model_are_told(acme: Session, statement: str) -> None:
    with pytest.raises(errors.FreeholdError) as caught:
        await acme.sql(Amount, statement)
    assert "secret" not in str(caught.value)


def test_a_statement_that_was_read_before_is_bound_to_other_values():
    text = "select * from orders where total > :least and note <> ':no' and place = :place;"
    assert bind_named(text, {"least": 1, "place": "a"}) == (
        "select * from orders where total > ($1->>0)::bigint and note <> ':no' and place = ($1->>1)::text",
        '[1,"a"]',
    )
    again, values = bind_named(text, {"place": None, "least": Decimal("2.5")})
    assert again == "select * from orders where total > ($1->>0)::numeric and note <> ':no' and place = null"
    assert values == '["2.5",null]'
    with pytest.raises(errors.ValidationError, match="least"):
        bind_named(text, {"place": "b"})


def test_a_long_statement_is_read_without_being_remembered():
    text = f"select :a /* {'x' * KEPT} */"
    assert bind_named(text, {"a": 1})[0] == text.replace(":a", "($1->>0)::bigint")
