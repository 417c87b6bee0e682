"""Filters: SQL and memory find the same records."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold import Database, Entity
from freehold.model import matching
from freehold.model.filters import And, Compare, Filter, Not, Or, parse_filter
from freehold.model.matching import Verdict, matches
from tests.sql.samples import BOXES, FILTERS, RELATED_FILTERS, SAMPLES, Box, Sample, fill, samples

bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
ROWS = st.lists(SAMPLES, min_size=1, max_size=8)

Evaluator = Callable[[Filter, Sample], Verdict]


def parsed(where: Any) -> Filter:
    return parse_filter(where, Sample.__entity__, samples.registry)


def chosen(condition: Filter, records: Iterable[Sample], evaluate: Evaluator) -> dict[str, set[UUID]]:
    found: dict[str, set[UUID]] = {verdict.name: set() for verdict in Verdict}
    for record in records:
        found[evaluate(condition, record).name].add(record.id)
    return found


async def disagreements(
    database: Database, rows: list[dict[str, Any]], filters: list[Any], evaluate: Evaluator
) -> list[tuple[Any, set[UUID], set[UUID]]]:
    """The filters for which SQL and an evaluator choose different records, with what each chose."""
    context, ids = await fill(database, [], rows)
    different = []
    async with database.session(context) as session:
        records = (await session.list(Sample, limit=1000)).records
        assert {record.id for record in records} == set(ids)
        for where in filters:
            memory = chosen(parsed(where), records, evaluate)
            assert not memory["MAYBE"]
            sql = {record.id for record in await session.list(Sample, where=where, limit=1000)}
            assert await session.count(Sample, where) == len(sql)
            if sql != memory["YES"]:
                different.append((where, sql, memory["YES"]))
    return different


@bounded
@given(rows=ROWS, filters=st.lists(FILTERS, min_size=10, max_size=20))
async def test_sql_and_memory_choose_the_same_records(
    sampled: Database, rows: list[dict[str, Any]], filters: list[Any]
) -> None:
    assert await disagreements(sampled, rows, filters, matches) == []


@bounded
@given(rows=ROWS)
async def test_a_record_comes_back_as_it_was_given(sampled: Database, rows: list[dict[str, Any]]) -> None:
    context, ids = await fill(sampled, [], rows)
    async with sampled.session(context) as session:
        records = await session.get_many(Sample, ids)
        for record, row in zip(records, rows, strict=True):
            expected = Sample.Create.model_validate({name: value for name, value in row.items() if name != "box"})
            for name in Sample.Create.model_fields:
                assert getattr(record, name) == getattr(expected, name), name
            assert Sample.model_validate_json(await session.get(Sample, record.id, as_json=True)) == record
            assert Sample.model_validate_json(record.model_dump_json()) == record


def complete(boxes: list[Box], records: list[Sample]) -> Evaluator:
    """An evaluator that also knows the other records: a path across a relation holds where it does for some record."""
    world: dict[str, list[Any]] = {"Box": boxes, "Sample": records}

    def evaluate(condition: Filter, record: Any) -> Verdict:
        match condition:
            case And(items):
                return min((evaluate(item, record) for item in items), key=lambda v: v.value, default=Verdict.YES)
            case Or(items):
                return max((evaluate(item, record) for item in items), key=lambda v: v.value, default=Verdict.NO)
            case Not(item):
                return Verdict(2 - evaluate(item, record).value)
            case Compare(target) if target.relations:
                relation, *rest = target.relations
                nearer = dataclasses.replace(condition, target=dataclasses.replace(target, relations=tuple(rest)))
                name = relation.field.name
                related: list[Entity] = [
                    other
                    for other in world[relation.target.name]
                    if (getattr(other, name) == record.id if relation.many else other.id == getattr(record, name))
                ]
                return Verdict.YES if any(evaluate(nearer, other) is Verdict.YES for other in related) else Verdict.NO
            case _:
                return matches(condition, record)

    return evaluate


@bounded
@given(
    boxes=st.lists(BOXES, min_size=1, max_size=3),
    rows=ROWS,
    filters=st.lists(RELATED_FILTERS, min_size=10, max_size=20),
)
async def test_across_relations_memory_never_contradicts_sql(
    sampled: Database, boxes: list[dict[str, Any]], rows: list[dict[str, Any]], filters: list[Any]
) -> None:
    context, _ = await fill(sampled, boxes, rows)
    async with sampled.session(context) as session:
        records = list((await session.list(Sample, limit=1000)).records)
        whole = complete(list((await session.list(Box, limit=1000)).records), records)
        for where in filters:
            condition = parsed(where)
            memory = chosen(condition, records, matches)
            sql = {record.id for record in await session.list(Sample, where=where, limit=1000)}
            assert memory["YES"] <= sql, where
            assert not memory["NO"] & sql, where
            assert chosen(condition, records, whole)["YES"] == sql, where


def without_null_rule(operator: str, value: Any, operand: Any) -> bool:
    if operator == "ne" and value is None:
        return False
    return REAL(operator, value, operand)


def without_the_upper_end(operator: str, value: Any, operand: Any) -> bool:
    if operator == "between" and value is not None:
        return bool(operand[0] <= value < operand[1])
    return REAL(operator, value, operand)


def as_a_pattern(operator: str, value: Any, operand: Any) -> bool:
    if operator == "contains" and isinstance(value, str) and "%" in operand:
        return True
    return REAL(operator, value, operand)


def ignoring_case(operator: str, value: Any, operand: Any) -> bool:
    if operator == "eq" and isinstance(value, str) and isinstance(operand, str):
        return value.lower() == operand.lower()
    return REAL(operator, value, operand)


def in_another_order(operator: str, value: Any, operand: Any) -> bool:
    if operator in ("lt", "gt") and isinstance(value, str):
        value, operand = value.encode("utf-16-be"), operand.encode("utf-16-be")
    return REAL(operator, value, operand)


def as_floats(operator: str, value: Any, operand: Any) -> bool:
    if operator == "eq" and type(value) is int:
        return float(value) == float(operand)
    return REAL(operator, value, operand)


REAL = matching._holds
TEXT, NUMBERS = ["", "a", "A", "b%", "\ue000", "\U0001d11e"], [None, 0, 1, 2, 2**53, 2**53 + 1]


@pytest.mark.parametrize(
    ("wrong", "row_values", "filters"),
    [
        (without_null_rule, ("integer", NUMBERS), [{"integer": {"ne": number}} for number in NUMBERS[1:]]),
        (
            without_the_upper_end,
            ("integer", NUMBERS),
            [{"integer": {"between": [0, number]}} for number in NUMBERS[1:]],
        ),
        (as_a_pattern, ("text", TEXT), [{"text": {"contains": text}} for text in ["%", "b%", "_"]]),
        (ignoring_case, ("text", TEXT), [{"text": text} for text in TEXT]),
        (in_another_order, ("text", TEXT), [{"text": {"lt": text}} for text in TEXT]),
        (as_floats, ("integer", NUMBERS), [{"integer": number} for number in NUMBERS[1:]]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_wrong_evaluator_is_caught(
    sampled: Database,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[str, Any, Any], bool],
    row_values: tuple[str, list[Any]],
    filters: list[Any],
) -> None:
    name, values = row_values
    rows = [{name: value} for value in values]
    assert await disagreements(sampled, rows, filters, matches) == []
    monkeypatch.setattr(matching, "_holds", wrong)
    assert await disagreements(sampled, rows, filters, matches) != []
