"""What a session sends to the database."""

import dataclasses
from typing import Any

from freehold.postgres.clock import Values, made


@dataclasses.dataclass(frozen=True)
class Sent:
    """One message and its answer."""

    text: str
    values: Values
    answer: list[tuple[Any, ...]]

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Its values, under a seal of now."""
        return tuple(made(self.values))

    @property
    def entered(self) -> bool:
        """Whether it is a statement of `in_context`; the others are one call of a function."""
        return "cross join lateral" in self.text
