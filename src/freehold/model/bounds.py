"""What one answer may hold."""

from dataclasses import dataclass, fields

from freehold.errors import ConfigurationError

__all__ = ["USUAL_BOUNDS", "AnswerBounds"]

SMALLEST, LARGEST = 10_000, 2**30
"""Bytes that a bound may have at least and at most. PostgreSQL makes no value of more than 1 GiB."""


@dataclass(frozen=True, slots=True)
class AnswerBounds:
    """What one answer may hold. A call that asks for more is refused, and says what to ask for instead.

    Args:
        bytes: of one answer: of a read as it comes from PostgreSQL, and of a query's result as it is sent over HTTP.
        rows: records of one read, those of all relations counted. It bounds what the limits of the read allow, so that a read is refused
            before it is made, and not on the day when there are so many records.
        batch: bytes of all answers of one batch of calls together.
        page: bytes after which a page of an export ends. An export as a whole has no bound.

    Raises:
        ConfigurationError: a bound is out of its range.
    """

    bytes: int = 20_000_000
    rows: int = 500_000
    batch: int = 20_000_000
    page: int = 1_000_000

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            least = 1_000 if each.name == "rows" else SMALLEST
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
                raise ConfigurationError(
                    f"AnswerBounds: {each.name} must be a whole number from {least:,} to {LARGEST:,}, not {value!r}"[
                        :300
                    ]
                )


USUAL_BOUNDS = AnswerBounds()
"""The bounds where none are given."""
