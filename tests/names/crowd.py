"""Entities with a field of each name, and functions with a parameter of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from freehold import Entity, Unique, field
from freehold.model.description import BASE_FIELDS
from freehold.model.names import field_problem
from tests.names.gathering import our_names

PER_ENTITY = 150
"""Fields of one entity at most: so many names fit in a query string."""

_KINDS: Sequence[tuple[Any, dict[str, Any], Any, Any]] = (
    (str, {"max_length": 60}, "one", "two"),
    (int, {}, 1, 2),
    (Decimal, {"digits": 9, "places": 2}, Decimal("1.50"), Decimal("2.50")),
    (datetime, {}, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
    (bool, {}, True, False),
    (list[str], {}, ["a", "b"], ["c"]),
    (dict[str, Any], {}, {"type": "x"}, {"default": [1]}),
    (Literal["one", "two"], {}, "one", "two"),
    (Decimal, {"digits": 9, "places": 2, "index": True}, Decimal("1.50"), Decimal("2.50")),
    (str, {"max_length": 60, "index": True}, "one", "two"),
    (bool, {}, True, False),
)
"""Each kind with its options and two values."""

DIRECTLY = ("key_", "text_")
"""Fields of each entity that are no tried names: what is searched, and what is known by a unique key."""


@dataclass(frozen=True)
class Crowd:
    """An entity of many names.

    Args:
        cls: the entity.
        names: of its fields, in order.
        first, second: two values for each field.
    """

    cls: type[Entity]
    names: tuple[str, ...]
    first: dict[str, Any]
    second: dict[str, Any]

    def of(self, *kinds: Any) -> list[str]:
        """The names of the fields of some kinds."""
        return [name for name in self.names if self.cls.model_fields[name].annotation in kinds]


def usable(names: Iterable[str]) -> list[str]:
    """The names that a field may have, in order. A test of its own sees that the others are refused where they are declared."""
    return [name for name in sorted(set(names)) if field_problem(name) is None and name not in BASE_FIELDS]


def crowd(names: Sequence[str], shift: int) -> Crowd:
    """An entity with fields of these names, their kinds in turn, beginning with another one by the shift."""
    annotations: dict[str, Any] = {}
    namespace: dict[str, Any] = {"__module__": __name__, "__annotations__": annotations}
    values: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for place, name in enumerate(names):
        annotation, options, *both = _KINDS[(place + shift) % len(_KINDS)]
        annotations[name], namespace[name] = annotation, field(**options)
        for known, value in zip(values, both, strict=True):
            known[name] = value
    annotations["key_"], namespace["key_"] = str, field(max_length=40)
    annotations["text_"], namespace["text_"] = str, field(max_length=40, search=True)
    cls = type(Entity)(
        f"Crowd{names[0].title().replace('_', '')}", (Entity,), namespace, table=f"crowd_{names[0]}"[:40],
        soft_delete=True, expose="all", unique=[Unique("key_")],
    )  # fmt: skip
    return Crowd(cls, tuple(names), *values)


def crowds(keywords: Iterable[str], shift: int = 0) -> list[Crowd]:
    """Entities with all names that fields may have."""
    names = usable([*our_names(), *keywords])
    number = -(-len(names) // PER_ENTITY)  # entities of about one size, however many names there are
    return [crowd(names[place::number], shift) for place in range(number)]
