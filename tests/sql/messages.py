"""What a session sends to the database."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Sent:
    """One message and its answer."""

    text: str
    arguments: tuple[Any, ...]
    answer: list[tuple[Any, ...]]

    @property
    def entered(self) -> bool:
        """Whether it is a statement of `in_context`; the others are one call of a function."""
        return "cross join lateral" in self.text
