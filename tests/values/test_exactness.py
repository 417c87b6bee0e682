"""Numbers are what was written, on every way in; or they are refused."""

import io
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from freehold import Database, Principal, Session
from freehold.cli.results import print_result
from freehold.functions.results import Answer
from freehold.model.filters import parse_filter
from freehold.model.matching import Verdict, matches
from freehold.model.numbers import NUMBER, exact, lossy, parsed, written
from freehold.model.schemas import validator
from freehold.transfer import export_file, import_file
from freehold.transfer.formats import Format
from tests.server.calling import Callers
from tests.values.everything import TEXTS, VALUES, Line, Strict, Thing, everything

AMOUNT = "99999999999999.99"
"""A number that a float does not hold: the nearest one is …99.98."""
NUMBERS = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    st.from_regex(r"(0|[1-9][0-9]{0,25})", fullmatch=True),
    st.from_regex(r"(\.[0-9]{1,25})?", fullmatch=True),
    st.from_regex(r"([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
"""Numbers as JSON writes them."""


class Holder(BaseModel):
    amount: Decimal | None = None
    amounts: list[Decimal] = []
    named: dict[str, Decimal] = {}
    whole: int | None = None
    near: float | None = None
    line: Line | None = None
    strict: Strict | None = None
    loose: Any = None


HOLDER = validator(exact(TypeAdapter(Holder).core_schema))
PLACES: dict[str, tuple[str, Callable[[Holder], Any]]] = {
    "field": ('{"amount":%s}', lambda holder: holder.amount),
    "list": ('{"amounts":[%s]}', lambda holder: holder.amounts[0]),
    "mapping": ('{"named":{"a":%s}}', lambda holder: holder.named["a"]),
    "model": ('{"line":{"type":%s}}', lambda holder: holder.line and holder.line.type),
    "nested model": ('{"line":{"nested":[{"type":%s}]}}', lambda holder: holder.line and holder.line.nested[0].type),
    "union": ('{"line":{"either":%s}}', lambda holder: holder.line and holder.line.either),
    "strict model": ('{"strict":{"amount":%s,"mood":"good"}}', lambda holder: holder.strict and holder.strict.amount),
}


@pytest.mark.parametrize("place", PLACES)
@given(number=NUMBERS)
def test_a_decimal_is_what_was_written(place: str, number: str) -> None:
    pattern, read = PLACES[place]
    text = (pattern % number).encode()
    assert read(HOLDER.validate_json(text, context=lossy(text))) == Decimal(number)


@given(number=NUMBERS)
def test_an_int_is_what_was_written_or_refused(number: str) -> None:
    text = b'{"whole":%b}' % number.encode()
    exactly = Decimal(number)
    try:
        found = HOLDER.validate_json(text, context=lossy(text)).whole
    except ValidationError:
        assert exactly != exactly.to_integral_value() or abs(exactly) >= 2**53
    else:
        assert found == exactly


@given(number=NUMBERS)
def test_a_number_of_no_type_is_a_float_that_is_the_number_or_refused(number: str) -> None:
    text = b'{"loose":%b}' % number.encode()
    try:
        found = HOLDER.validate_json(text, context=lossy(text)).loose
    except ValidationError:
        nearest = float(number)
        assert Decimal(number) not in (Decimal(repr(nearest)), Decimal(f"{nearest:.17g}"), Decimal(nearest))
    else:
        assert found == (float(number) if isinstance(found, float) else int(number))


@given(numbers=st.lists(NUMBERS, min_size=2, max_size=2))
def test_two_numbers_are_not_mixed_up(numbers: list[str]) -> None:
    text = f'{{"amounts":[{",".join(numbers)}]}}'.encode()
    try:
        found = HOLDER.validate_json(text, context=lossy(text)).amounts
    except ValidationError:
        assert len({float(number) for number in numbers}) == 1
    else:
        assert found == list(map(Decimal, numbers))


@given(
    value=st.recursive(
        NUMBERS | st.sampled_from(['"a"', "true", "null"]),
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
            | st.lists(inner, max_size=3).map(
                lambda items: "{" + ",".join(f'"{n}":{i}' for n, i in enumerate(items)) + "}"
            )
        ),
    )
)
def test_json_that_was_read_is_written_with_the_same_numbers(value: str) -> None:
    def numbers(text: str) -> list[Decimal]:
        found: list[Decimal] = []

        def note(token: str) -> None:
            found.append(Decimal(token))

        json.loads(text, parse_float=note, parse_int=note)
        return found

    assert numbers(written(parsed(value))) == numbers(value)


NO_NUMBERS = ["1_234", "٣", "\u0661.5", "0x10", "1,5", " 1", "1 ", "", "1e", "--1", "½", "1__0", "１"]


@pytest.mark.parametrize("text", NO_NUMBERS)
@pytest.mark.parametrize("name", ["integer", "number", "amount", "grade", "numbers", "amounts", "digit"])
def test_a_text_that_json_does_not_call_a_number_is_none(name: str, text: str) -> None:
    given: Any = [text] if name.endswith("s") else text
    assert not NUMBER.fullmatch(text)
    for model in (Thing.Create, Thing.Patch):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({"name": "x", **VALUES, name: given})
        assert {error["loc"][0] for error in caught.value.errors()} == {name}


@pytest.mark.parametrize("name", ["integer", "number", "amount", "grade", "digit", "numbers", "amounts"])
def test_true_is_not_one(name: str) -> None:
    given: Any = [True] if name.endswith("s") else True
    for check in (
        lambda: Thing.Create.model_validate({"name": "x", **VALUES, name: given}),
        lambda: Thing.Create.model_validate_json(
            json.dumps({"name": "x", **{n: json.loads(t) for n, t in TEXTS.items()}, name: given})
        ),
    ):
        with pytest.raises(ValidationError) as caught:
            check()
        assert {error["loc"][0] for error in caught.value.errors()} == {name}


def test_minus_zero_is_zero() -> None:
    for zero in (-0.0, "-0.0"):
        made = Thing.Create.model_validate({"name": "x", **VALUES, "number": zero, "numbers": [zero]})
        assert [str(value) for value in (made.number, *made.numbers)] == ["0.0", "0.0"]  # type: ignore[attr-defined]


def body(name: str, number: str, **more: str) -> bytes:
    texts = {"name": f'"{name}"', **TEXTS, "amount": number, **more}
    return f"{{{','.join(f'{json.dumps(key)}:{text}' for key, text in texts.items())}}}".encode()


async def _posted(call: Callers, session: Session) -> None:
    response = await call("ada", "POST", "/api/things", content=body("one", AMOUNT), headers=JSON)
    assert response.status_code == 201, response.text


async def _patched(call: Callers, session: Session) -> None:
    made = await session.create(Thing, name="one", **{**VALUES, "amount": 1})
    headers = {**JSON, "if-match": '"1"'}
    response = await call(
        "ada", "PATCH", f"/api/things/{made.id}", content=b'{"amount":%b}' % AMOUNT.encode(), headers=headers
    )
    assert response.status_code == 200, response.text


async def _batched(call: Callers, session: Session) -> None:
    content = b'{"calls":[{"function":"things.create","arguments":{"values":%b}}]}' % body("one", AMOUNT)
    response = await call("ada", "POST", "/api/batch", content=content, headers=JSON)
    assert "result" in response.json()["results"][0], response.text


async def _imported_lines(call: Callers, session: Session) -> None:
    result = await import_file(session, Thing, io.BytesIO(body("one", AMOUNT)), form=Format("jsonl"))
    assert result.created == 1, result


async def _imported_cells(call: Callers, session: Session) -> None:
    lines = io.BytesIO()
    await session.create(Thing, name="one", **VALUES)
    await export_file(session, Thing, lines, form=Format("csv"), fields=["name", *VALUES])
    (kept,) = await session.list(Thing)
    await session.purge(await session.delete(kept))
    result = await import_file(session, Thing, io.BytesIO(lines.getvalue()), form=Format("csv"))
    assert result.created == 1, result


async def _in_a_unit(call: Callers, session: Session) -> None:
    made = await session.create(Thing, name="one", **{**VALUES, "amount": 1})
    async with session.unit_of_work() as unit:
        unit.update(made, amount=AMOUNT)


WAYS = [_posted, _patched, _batched, _imported_lines, _imported_cells, _in_a_unit]
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
async def test_a_stored_number_is_the_one_that_was_sent(
    call: Callers, session: Session, way: Callable[[Callers, Session], Awaitable[None]]
) -> None:
    await way(call, session)
    (stored,) = await session.sql(None, "select amount::text, document->>'cls' as cls, integer::text from things")
    assert stored == {"amount": f"{AMOUNT}00", "cls": AMOUNT, "integer": str(2**53 + 1)}


async def test_documents_of_a_model_keep_their_numbers(call: Callers, session: Session) -> None:
    document = TEXTS["document"].replace(f'"{AMOUNT}"', AMOUNT)
    content = body("one", "1", document=document)
    response = await call("ada", "POST", "/api/things", content=content, headers=JSON)
    assert response.status_code == 201, response.text
    result = await import_file(session, Thing, io.BytesIO(body("two", "1", document=document)), form=Format("jsonl"))
    assert result.created == 1, result
    found = await session.sql(None, "select document->>'cls' as cls from things")
    assert [row["cls"] for row in found] == [AMOUNT, AMOUNT]


async def test_documents_without_a_model_refuse_what_a_float_is_not(call: Callers, session: Session) -> None:
    content = body("one", "1", loose=f'{{"a":{AMOUNT}}}')
    response = await call("ada", "POST", "/api/things", content=content, headers=JSON)
    assert (response.status_code, response.json()["issues"][0]["code"]) == (422, "number_precision")
    result = await import_file(session, Thing, io.BytesIO(content), form=Format("jsonl"))
    assert (result.created, result.refused) == (0, 1)


async def answer(call: Callers, text: str) -> httpx.Response:
    return await call("ada", "POST", "/api/functions/decimals", content=text.encode(), headers=JSON)


CALLS = {
    "one": f'{{"one":{AMOUNT}}}',
    "many": f'{{"many":[{AMOUNT}]}}',
    "int": '{"whole":9007199254740993.0}',
    "union": f'{{"either":{AMOUNT}}}',
    "model": f'{{"line":{{"type":{AMOUNT}}}}}',
    "nested": f'{{"line":{{"nested":[{{"type":{AMOUNT}}}]}}}}',
    "named": f'{{"line":{{"named":{{"type":{AMOUNT}}}}}}}',
    "model's int": '{"line":{"default":9007199254740993.0}}',
    "model's union": f'{{"line":{{"either":{AMOUNT}}}}}',
    "strict": f'{{"line":{{"strict":{{"amount":{AMOUNT},"mood":"bad","word":2}}}}}}',
}


@pytest.mark.parametrize("sent", CALLS.values(), ids=CALLS)
async def test_a_function_is_given_the_number_that_was_sent(call: Callers, sent: str) -> None:
    number = AMOUNT if AMOUNT in sent else "9007199254740993"
    assert (await answer(call, sent)).json() == {"texts": [number]}
    content = f'{{"calls":[{{"function":"decimals","arguments":{sent}}}]}}'.encode()
    batch = await call("ada", "POST", "/api/batch", content=content, headers=JSON)
    assert batch.json()["results"][0]["result"] == {"texts": [number]}
    line = json.loads(sent, parse_float=str).get("line")
    if line is not None and "strict" not in line:  # a model in a query string is JSON
        queried = await call("ada", "GET", "/api/functions/decimals", params={"line": sent[len('{"line":') : -1]})
        assert queried.json() == {"texts": [number]}, queried.text


REFUSED = [
    '{"one":true}', '{"one":"1_0"}', '{"one":"٣"}', '{"whole":true}', '{"whole":1.5}', '{"whole":1.00000000000000000001}',
    '{"line":{"type":true}}', '{"line":{"default":true}}', '{"line":{"default":"1_0"}}', '{"line":{"type":"1_0"}}',
    '{"line":{"strict":{"amount":1,"mood":"bad","word":true}}}', f'{{"line":{{"loose":{{"a":[{AMOUNT}]}}}}}}',
    f'{{"many":[{AMOUNT},99999999999999.98]}}', '{"one":1e99999999999999999999}', '{"whole":1e400}',
]  # fmt: skip


@pytest.mark.parametrize("sent", REFUSED)
async def test_a_function_is_not_given_another_number(call: Callers, sent: str) -> None:
    response = await answer(call, sent)
    assert response.status_code == 422, response.text
    assert "function-" not in response.text


async def test_an_idempotency_key_tells_numbers_apart(call: Callers) -> None:
    headers = {**JSON, "idempotency-key": '"a"'}
    path = "/api/functions/noted"
    first = await call("ada", "POST", path, content=b'{"one":%b}' % AMOUNT.encode(), headers=headers)
    again = await call("ada", "POST", path, content=b'{"one":%b}' % AMOUNT.encode(), headers=headers)
    other = await call("ada", "POST", path, content=b'{"one":99999999999999.98}', headers=headers)
    assert (first.json(), again.json(), other.status_code) == ({"texts": [AMOUNT]}, {"texts": [AMOUNT]}, 422)


async def test_filters_compare_with_the_number_that_was_sent(
    opened: Database, call: Callers, ada: Principal, session: Session
) -> None:
    one = await session.create(Thing, name="one", **VALUES)
    conditions = [f'{{"amount":{AMOUNT}}}', f'{{"document.cls":{AMOUNT}}}', '{"integer":9007199254740993.0}']
    for where in conditions:
        content = f'{{"where":{where}}}'.encode()
        posted = await call("ada", "POST", "/api/functions/things.list", content=content, headers=JSON)
        queried = await call("ada", "GET", "/api/things", params={"where": where})
        for found in (posted, queried):
            assert [record["id"] for record in found.json()["data"]] == [str(one.id)], found.text
        said = await opened.call("things.list", {"where": parsed(where)}, principal=ada)
        assert len(said["data"]) == 1
        condition = parse_filter(parsed(where), everything.registry[Thing], everything.registry)
        if "." not in next(iter(json.loads(where))):
            assert matches(condition, one) is Verdict.YES
    for refused in ({"integer": True}, {"amount": True}, {"digit": True}, {"grade": True}, {"integer": "1_0"}):
        response = await call("ada", "GET", "/api/things", params={"where": json.dumps(refused)})
        assert response.status_code == 422, response.text
    nested = await call(
        "ada", "POST", "/api/functions/things.list", content=b'{"where":{"amount":99999999999999.98}}', headers=JSON
    )
    assert nested.json()["data"] == []


async def test_a_page_goes_on_behind_the_exact_number(session: Session) -> None:
    for place in range(4):
        amount = Decimal(AMOUNT) + Decimal(place).scaleb(-4)
        await session.create(Thing, name=str(place), **{**VALUES, "amount": amount, "integer": 2**53 + place})
    for order in ("amount", "integer", "number"):
        names, after = [], None
        while len(names) < 5:
            page = await session.list(Thing, order_by=[order, "name"], limit=1, after=after)
            names += [record.name for record in page]
            after = page.next
            if after is None:
                break
        assert names == ["0", "1", "2", "3"]


async def test_rows_of_a_query_keep_their_numbers(session: Session) -> None:
    (row,) = await session.sql(None, f"select {AMOUNT} as amount, 1.5 as half, 9007199254740993 as whole")
    assert row == {"amount": Decimal(AMOUNT), "half": 1.5, "whole": 2**53 + 1}


async def test_a_report_of_refused_rows_keeps_their_numbers(session: Session, tmp_path: Path) -> None:
    sent = body("x" * 100, AMOUNT, loose='{"half":1.50}')
    report = tmp_path / "refused.jsonl"
    result = await import_file(session, Thing, io.BytesIO(sent), form=Format("jsonl"), errors=report)
    assert result.refused == 1
    told = json.loads(report.read_text(), parse_float=str)["row"]
    assert (told["amount"], told["loose"], told["number"]) == (AMOUNT, {"half": "1.50"}, 2)


def test_a_command_prints_the_number_that_was_answered(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(Answer(b'{"a":%b,"b":1.5}' % AMOUNT.encode()), as_json=True)
    assert json.loads(capsys.readouterr().out, parse_float=str) == {"a": AMOUNT, "b": "1.5"}
