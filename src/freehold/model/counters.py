"""Declared counters with what they count: resolved once all entities are known."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.errors import DeclarationError
from freehold.model.declarations import condition_problem
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.fields import Counting

__all__ = ["Counter", "resolve_counters"]

_COMPARABLE = ("text", "integer", "boolean")
"""The kinds whose values a counter's `where` compares with."""


@dataclass(frozen=True)
class Counter:
    """A field that says how many records of another entity refer to each record.

    Args:
        entity: which has the field.
        field: the counter.
        counted: the entity whose records are counted.
        reference: its field that refers to the record.
        where: the values that its fields must have to count.
    """

    entity: EntityDescription
    field: FieldDescription
    counted: EntityDescription
    reference: FieldDescription
    where: Mapping[str, str | int | bool | None]

    @property
    def name(self) -> str:
        """As declared: `Resource.bookmarks`."""
        return f"{self.entity.name}.{self.field.name}"


def resolve_counters(
    entities: Mapping[str, EntityDescription],
    target: Callable[[EntityDescription, FieldDescription], EntityDescription],
    suggest: Callable[[str, Iterable[str]], str],
) -> list[Counter]:
    """All counters of an application.

    Args:
        entities: by name.
        target: the entity that a reference leads to.
        suggest: what to add to a message about a name that is not among the known ones.

    Raises:
        DeclarationError: one counts no entity of the application, or one that does not refer to it, or on no known condition.
    """
    return [
        _resolved(entity, entity.fields[name], counting, entities, target, suggest)
        for entity in entities.values()
        for name, counting in entity.counters.items()
    ]


def _resolved(
    entity: EntityDescription,
    field: FieldDescription,
    counting: Counting,
    entities: Mapping[str, EntityDescription],
    target: Callable[[EntityDescription, FieldDescription], EntityDescription],
    suggest: Callable[[str, Iterable[str]], str],
) -> Counter:
    where = f"{entity.name}.{field.name}"
    name = (
        entity.name if counting.of == "self" else counting.of if isinstance(counting.of, str) else counting.of.__name__
    )
    counted = entities.get(name)
    if counted is None or not (isinstance(counting.of, str) or counted.cls is counting.of):
        raise DeclarationError(f"{where}: counts {name!r}, no entity of this application{suggest(name, entities)}")
    leading = {each.name: each for each in counted.references if target(counted, each) is entity}
    problem = _reference_problem(entity, counted, counting.via, list(leading)) or _where_problem(
        counted, counting.where
    )
    if problem:
        raise DeclarationError(f"{where}: {problem}")
    reference = leading[counting.via or next(iter(leading))]
    return Counter(entity, field, counted, reference, counting.where)


def _reference_problem(
    entity: EntityDescription, counted: EntityDescription, via: str | None, leading: list[str]
) -> str | None:
    if not leading:
        return (
            f"{counted.name} does not refer to {entity.name}; declare it there: "
            f"{entity.name.lower()}_id: UUID = reference({entity.name})"
        )
    if via is None and len(leading) > 1:
        return f"{counted.name} refers to {entity.name} by {' and '.join(leading)}; say which: counter(..., via={leading[0]!r})"
    if via is not None and via not in leading:
        return f"via={via!r} is no reference of {counted.name} to {entity.name}; write via={' or '.join(map(repr, leading))}"
    return None


def _where_problem(counted: EntityDescription, where: Mapping[str, Any]) -> str | None:
    for name in where:
        field = counted.fields.get(name)
        if field is None or field.base:
            known = [each.name for each in counted.given]
            close = difflib.get_close_matches(str(name), known, 1)
            return f"where names {name!r}, which is no field of {counted.name}" + (
                f"; did you mean {close[0]!r}?" if close else f"; fields are {', '.join(known)}"
            )
        if field.declaration.counting is not None or field.kind.name not in _COMPARABLE or field.kind.many:
            return f"where compares str, int and bool fields; {counted.name}.{name} is none, leave it out"
    problem = condition_problem(counted, where)
    return f"where: {problem}" if problem else None
