"""A filter evaluated against one record in memory.

Three answers: yes, no, and maybe, for what a single record cannot decide: a condition on another record, or on a field
that was not read. Kleene's logic carries maybe through and, or and not.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel

from freehold.model.filters import And, Compare, Filter, Not, Or
from freehold.model.values import stored

__all__ = ["Verdict", "matches"]


class Verdict(Enum):
    """Whether a record matches."""

    NO = 0
    MAYBE = 1
    YES = 2


_MISSING = object()


def matches(condition: Filter, record: Mapping[str, Any] | BaseModel) -> Verdict:
    """Evaluates a filter against a record.

    Args:
        condition: the parsed filter.
        record: an entity, or its values by field name.
    """
    match condition:
        case And(items):
            return min((matches(item, record) for item in items), key=_rank, default=Verdict.YES)
        case Or(items):
            return max((matches(item, record) for item in items), key=_rank, default=Verdict.NO)
        case Not(item):
            return Verdict(2 - matches(item, record).value)
        case Compare():
            return _compare(condition, record)


def _rank(verdict: Verdict) -> int:
    return verdict.value


def _compare(condition: Compare, record: Mapping[str, Any] | BaseModel) -> Verdict:
    if condition.target.relations:
        return Verdict.MAYBE
    value = _value(record, condition.target.field.name)
    if value is _MISSING:
        return Verdict.MAYBE
    for key in condition.target.keys:
        value = None if value is None else _value(value, key)
        value = None if value is _MISSING else value
    value = [stored(item) for item in value] if isinstance(value, list) else stored(value)
    return Verdict.YES if _holds(condition.operator, value, condition.value) else Verdict.NO


def _value(holder: Any, name: str) -> Any:
    if isinstance(holder, BaseModel):
        return holder.__dict__.get(name, _MISSING)
    return holder.get(name, _MISSING) if isinstance(holder, Mapping) else _MISSING


def _holds(operator: str, value: Any, operand: Any) -> bool:
    if operator == "is_null":
        return (value is None) is operand
    if operator in ("ne", "not_in"):
        return not _holds("eq" if operator == "ne" else "in", value, operand)
    if value is None:
        return False
    return bool(_TESTS[operator](value, operand))


_TESTS: dict[str, Callable[[Any, Any], object]] = {
    "eq": lambda value, operand: value == operand,
    "in": lambda value, operand: value in operand,
    "gt": lambda value, operand: value > operand,
    "gte": lambda value, operand: value >= operand,
    "lt": lambda value, operand: value < operand,
    "lte": lambda value, operand: value <= operand,
    "between": lambda value, operand: operand[0] <= value <= operand[1],
    "contains": lambda value, operand: operand in value,
    "starts_with": lambda value, operand: value.startswith(operand),
}
