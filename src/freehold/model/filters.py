"""The filter language: one small tree, parsed from plain values, compiled to SQL and evaluated in memory.

    {"status": "active"}                                  equal
    {"credit": {"gte": 100, "lt": 500}}                   several operators on one field: all must hold
    {"or": [{"name": {"contains": "ltd"}}, {"not": {"email": None}}]}
    {"customer.status": "active"}                         across a reference
    {"orders.total": {"gt": 1000}}                        across a reversed reference: some order
    {"settings.theme.color": "red"}                       inside a JSON document

The language is two-valued: a condition on a null is false, except `is_null`, `ne` and `not_in`, which are the exact
opposites of `eq` and `in`; `not` turns true to false and false to true. So SQL and memory can agree to the letter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pydantic
from pydantic import TypeAdapter

from freehold.errors import Issue, ValidationError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.inputs import prepared
from freehold.model.issues import shown, validation_error
from freehold.model.kinds import Kind, KindError, kind_of, split_optional
from freehold.model.registry import Relation, suggestion, unknown
from freehold.model.values import stored
from freehold.model.vocabulary import Vocabulary

__all__ = [
    "OPERATORS",
    "And",
    "Compare",
    "Filter",
    "Not",
    "Or",
    "Target",
    "Where",
    "constant",
    "find_target",
    "operators_of",
    "parse_filter",
]

Where = Mapping[str, Any]  # Any: values of every kind, checked by the parser
"""A filter as callers write it."""

MAXIMUM_DEPTH = 12
"""Levels of and, or and not."""
MAXIMUM_CONDITIONS = 200
"""Conditions in one filter."""
MAXIMUM_CHOICES = 1_000
"""Values of one `in`."""
MAXIMUM_VALUES = 5_000
"""Values in one filter."""
MAXIMUM_STRING = 10_000
"""Characters of a string to compare with."""
MAXIMUM_DIGITS = 1_000
"""Digits before or after the point of a number to compare with."""
MOST_ISSUES = 50
"""Issues of a filter that are told."""
MAXIMUM_HOPS = 4
"""References that one path may cross."""

EQUALITY = ("eq", "ne", "in", "not_in")
ORDERING = ("gt", "gte", "lt", "lte", "between")
TEXT = ("contains", "starts_with")
OPERATORS = (*EQUALITY, *ORDERING, *TEXT, "is_null")


@dataclass(frozen=True, slots=True)
class Target:
    """What a condition looks at.

    Args:
        relations: crossed on the way, outermost first.
        field: of the last entity.
        keys: into the JSON document, where the field is one.
        kind: of the value that is found there.
    """

    relations: tuple[Relation, ...]
    field: FieldDescription
    keys: tuple[str, ...]
    kind: Kind

    @property
    def path(self) -> str:
        """As it was written."""
        return ".".join([*(relation.name for relation in self.relations), self.field.name, *self.keys])


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition. The value is of the target's kind: a list for in, not_in and between, a bool for is_null."""

    target: Target
    operator: str
    value: Any  # Any: what the kind's adapter made of the input


@dataclass(frozen=True, slots=True)
class And:
    """All hold; true when there are none."""

    items: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One holds; false when there are none."""

    items: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    item: "Filter"


Filter = Compare | And | Or | Not

EVERYTHING = And(())
"""No condition: one object, so that what is made of it can be kept."""


def parse_filter(
    where: Where | None, entity: EntityDescription, vocabulary: Vocabulary, *, subject: str = "where"
) -> Filter:
    """Reads a filter.

    Args:
        where: as the module's docstring shows; None is no condition.
        entity: whose records are filtered.
        vocabulary: the fields and relations that it may name.
        subject: what the argument is called, for errors.

    Raises:
        ValidationError: with every issue: unknown field or operator, a value of the wrong type, too much of anything.
    """
    if where is None:
        return EVERYTHING
    parser = _Parser(entity, vocabulary)
    parsed = parser.mapping(where, (), 0)
    if parser.issues:
        raise ValidationError(parser.issues, subject=subject)
    return parsed


def constant(filter_: Filter) -> bool | None:
    """What a filter says of any record whatever; None where it depends on the record."""
    match filter_:
        case And(items):
            said = {constant(item) for item in items}
            return False if False in said else None if None in said else True
        case Or(items):
            said = {constant(item) for item in items}
            return True if True in said else None if None in said else False
        case Not(item):
            inner = constant(item)
            return None if inner is None else not inner
        case _:
            return None


class _Parser:
    def __init__(self, entity: EntityDescription, vocabulary: Vocabulary) -> None:
        self.entity = entity
        self.vocabulary = vocabulary
        self.issues: list[Issue] = []
        self.conditions = 0
        self.values = 0

    def issue(self, path: tuple[str | int, ...], message: str, code: str) -> Filter:
        if len(self.issues) < MOST_ISSUES:
            self.issues.append(Issue(path, message, code))
        return And(())

    def mapping(self, where: Any, path: tuple[str | int, ...], depth: int) -> Filter:
        if depth > MAXIMUM_DEPTH:
            return self.issue(path, f"is nested deeper than {MAXIMUM_DEPTH} levels; flatten it", "too_deep")
        if not isinstance(where, Mapping):
            return self.issue(
                path, f'must be a mapping such as {{"status": "active"}}, not {type(where).__name__}', "mapping_type"
            )
        items: list[Filter] = []
        for key, value in where.items():
            if self.conditions > MAXIMUM_CONDITIONS:
                break  # it is told already; what is left is not worth reading
            if not isinstance(key, str):
                items.append(self.issue((*path, shown(key)), "a field's name must be a str", "string_type"))
            elif key in ("and", "or"):
                items.append(self.combination(key, value, (*path, key), depth))
            elif key == "not":
                items.append(Not(self.mapping(value, (*path, key), depth + 1)))
            else:
                items.extend(self.field(key, value, (*path, key)))
        return items[0] if len(items) == 1 else And(tuple(items))

    def combination(self, key: str, value: Any, path: tuple[str | int, ...], depth: int) -> Filter:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            return self.issue(path, f"must be a list of filters, not {type(value).__name__}", "list_type")
        if len(value) > MAXIMUM_CONDITIONS:
            return self.issue(path, f"has more than {MAXIMUM_CONDITIONS} filters", "too_long")
        items = tuple(
            self.mapping(item, (*path, index), depth + 1)
            for index, item in enumerate(value)
            if self.conditions <= MAXIMUM_CONDITIONS
        )
        return And(items) if key == "and" else Or(items)

    def field(self, key: str, value: Any, path: tuple[str | int, ...]) -> list[Filter]:
        # Each operator is a condition; a field that names none counts as well.
        before, self.conditions = (
            self.conditions,
            self.conditions + (len(value) or 1 if isinstance(value, Mapping) else 1),
        )
        if self.conditions > MAXIMUM_CONDITIONS:
            if before <= MAXIMUM_CONDITIONS:
                self.issue(path, f"is one of more than {MAXIMUM_CONDITIONS} conditions; use fewer", "too_many")
            return []
        try:
            target = find_target(key, self.entity, self.vocabulary, path, told=len(self.issues))
        except ValidationError as error:
            for issue in error.issues:
                self.issue(issue.path, issue.message, issue.code)
            return []
        if value is None:
            return [Compare(target, "is_null", True)]
        if not isinstance(value, Mapping):
            value = {"eq": value}
        if not value:
            return [self.issue(path, "names no operator; write a value, or {operator: value}", "missing_operator")]
        return [self.condition(target, operator, operand, path) for operator, operand in value.items()]

    def condition(self, target: Target, operator: Any, operand: Any, path: tuple[str | int, ...]) -> Filter:
        allowed = operators_of(target.kind)
        if not isinstance(operator, str):
            return self.issue(
                (*path, shown(operator)), f"is no operator; known are {', '.join(allowed)}", "unknown_operator"
            )
        if operator not in allowed:
            if operator in OPERATORS:
                return self.issue(
                    (*path, operator),
                    f"does not apply to {target.path}; use {', '.join(allowed)}",
                    "wrong_operator",
                )
            return self.issue(
                (*path, operator),
                f"is no operator{suggestion(operator, allowed, told=len(self.issues))}",
                "unknown_operator",
            )
        path = (*path, operator)
        if operator == "is_null":
            if not isinstance(operand, bool):
                return self.issue(path, "must be true or false", "bool_type")
            return Compare(target, operator, operand)
        if operand is None:
            if operator in ("eq", "ne"):
                return Compare(target, "is_null", operator == "eq")
            return self.issue(path, "must not be null; use is_null", "null_value")
        if operator in ("in", "not_in", "between"):
            return self.several(target, operator, operand, path)
        single = operator == "contains" and target.kind.many
        return Compare(target, operator, self.value(target, operand, path, element=single))

    def several(self, target: Target, operator: str, operand: Any, path: tuple[str | int, ...]) -> Filter:
        if isinstance(operand, str | bytes | Mapping) or not isinstance(operand, Sequence | set | frozenset):
            return self.issue(path, f"must be a list, not {type(operand).__name__}", "list_type")
        if operator == "between" and len(operand) != 2:
            return self.issue(path, "must be a list of two values, the lowest and the highest", "between_length")
        if len(operand) > MAXIMUM_CHOICES:
            return self.issue(path, f"has more than {MAXIMUM_CHOICES} values; split the call", "too_long")
        self.values += len(operand)
        if self.values > MAXIMUM_VALUES:
            return self.issue(path, f"is one of more than {MAXIMUM_VALUES:,} values; split the call", "too_many")
        values = [
            self.value(target, item, (*path, index))
            for index, item in enumerate(operand)
            if len(self.issues) < MOST_ISSUES
        ]
        return Compare(target, operator, values)

    def value(self, target: Target, operand: Any, path: tuple[str | int, ...], *, element: bool = False) -> Any:
        if isinstance(operand, str | bytes) and len(operand) > MAXIMUM_STRING:
            return self.issue(path, f"is longer than {MAXIMUM_STRING} characters", "string_too_long")
        if (
            isinstance(operand, int)
            and not isinstance(operand, bool)
            and not -(2**63) <= operand < 2**63
            and target.kind.name != "decimal"
        ):
            return self.issue(path, "does not fit in 64 bits", "int_too_large")
        adapter = _element_adapter(target.kind) if element else target.kind.adapter
        try:
            if target.kind.name == "bytes":
                operand = _of_hexadecimal(operand)
            value = adapter.validate_python(operand)
        except pydantic.ValidationError as error:
            for found in validation_error(error, "where").issues:
                self.issue((*path, *found.path), found.message, found.code)
            return None
        except ValueError:
            return self.issue(path, "must be bytes, or a text of hexadecimal digits", "bytes_type")
        if isinstance(value, Decimal) and abs(value.adjusted()) > MAXIMUM_DIGITS:
            return self.issue(path, f"has more than {MAXIMUM_DIGITS} digits", "decimal_too_large")
        return [stored(item) for item in value] if isinstance(value, list) else stored(value)


def _of_hexadecimal(operand: Any) -> Any:
    """Bytes as JSON has them."""
    if isinstance(operand, list):
        return [_of_hexadecimal(item) for item in operand]
    return bytes.fromhex(operand) if isinstance(operand, str) else operand


def _element_adapter(kind: Kind) -> TypeAdapter[Any]:
    return TypeAdapter(prepared(kind.python))


def operators_of(kind: Kind) -> tuple[str, ...]:
    """The operators that a condition on values of a kind may have."""
    if kind.many:
        return ("eq", "ne", "contains", "is_null")
    if kind.name == "json":
        return ("is_null",)
    if kind.comparable:
        return OPERATORS if kind.name == "text" else (*EQUALITY, *ORDERING, "is_null")
    return (*EQUALITY, "is_null")


def find_target(
    key: str, entity: EntityDescription, vocabulary: Vocabulary, path: tuple[str | int, ...], *, told: int = 0
) -> Target:
    """What the name of a condition leads to, across references and into documents.

    Args:
        key: `total`, `customer.status`, `settings.theme.color`.
        entity: from which it starts.
        vocabulary: the fields and relations that it may name.
        path: of the condition, for errors.
        told: issues of the filter that are told already; see `suggestion`.

    Raises:
        ValidationError: it leads nowhere, or too far.
    """
    relations: list[Relation] = []
    steps = key.split(".")
    fields, known = vocabulary.fields[entity.name], vocabulary.relations[entity.name]
    while len(steps) > 1 and steps[0] not in fields:
        relation = known.get(steps[0])
        if relation is None:
            raise unknown(path, "field or relation", steps[0], [*fields, *known], "where", told=told)
        if len(relations) == MAXIMUM_HOPS:
            raise ValidationError(
                [Issue(path, f"crosses more than {MAXIMUM_HOPS} references", "too_deep")], subject="where"
            )
        relations.append(relation)
        fields, known = vocabulary.fields[relation.target.name], vocabulary.relations[relation.target.name]
        steps = steps[1:]
    field = fields.get(steps[0])
    if field is None:
        raise unknown(path, "field", steps[0], [*fields, *(f"{name}.…" for name in known)], "where", told=told)
    keys = tuple(steps[1:])
    return Target(tuple(relations), field, keys, _kind_inside(field, keys, path) if keys else field.kind)


def _kind_inside(field: FieldDescription, keys: tuple[str, ...], path: tuple[str | int, ...]) -> Kind:
    """The kind of what lies at a path inside a JSON document, as its Pydantic model types it."""
    kind = field.kind
    if kind.name != "json" or kind.many:
        raise ValidationError(
            [Issue(path, f"{field.name} is no JSON document and no relation", "not_a_document")], subject="where"
        )
    for index, key in enumerate(keys):
        document = kind.document
        if document is None:
            raise ValidationError(
                [
                    Issue(
                        path,
                        f"{'.'.join([field.name, *keys[:index]])} has no typed keys; type it by a Pydantic model",
                        "untyped_document",
                    )
                ],
                subject="where",
            )
        if key not in document.model_fields:
            raise unknown(path, "key", key, document.model_fields, "where")
        annotation, _ = split_optional(document.model_fields[key].annotation)
        try:
            kind = kind_of(annotation, prepared)
        except KindError as error:
            raise ValidationError(
                [Issue(path, f"cannot be compared: {error}", "untyped_key")], subject="where"
            ) from None
    if kind.many or kind.name in ("bytes", "duration"):
        raise ValidationError(
            [Issue(path, "cannot be compared inside a document; compare a scalar key", "wrong_key")], subject="where"
        )
    return kind
