"""Statements: text with numbered parameters, and the values for them."""

from dataclasses import dataclass, field
from typing import Any

from freehold.sql.identifiers import Schemas

__all__ = ["Arguments", "Statement", "in_context"]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that runs in a context.

    Args:
        text: with $1 the organization, $2 the context's setting, and $3 onwards the arguments.
        arguments: the values from $3 on.
    """

    text: str
    arguments: tuple[Any, ...] = ()  # Any: values of every kind, bound by the driver


# The driver sends the first and last date and moment of Python as infinity; as text they stay what they are.
_AS_TEXT = ("date", "timestamptz")


@dataclass(slots=True)
class Arguments:
    """Collects the values of a statement while its text is built."""

    values: list[Any] = field(default_factory=list)
    aliases: int = 0

    def add(self, value: Any, sql_type: str) -> str:
        """The placeholder of a value: `$5::numeric`."""
        if sql_type.removesuffix("[]") in _AS_TEXT:
            many = sql_type.endswith("[]")
            self.values.append([item.isoformat() for item in value] if many else value.isoformat())
            return f"${len(self.values) + 2}::text{'[]' if many else ''}::{sql_type}"
        self.values.append(value)
        return f"${len(self.values) + 2}::{sql_type}"

    def alias(self) -> str:
        """A new table alias."""
        self.aliases += 1
        return f"t{self.aliases}"


def in_context(schemas: Schemas, body: str) -> str:
    """A body that runs after the context is set, in the same message.

    The body must refer to `e.organization_id` in every table that it reads: that makes it depend on `enter`, and repeats
    the policy's condition, so that indexes are used. `offset 0` keeps the planner from pulling the body up, where the
    policy's subselect would run before `enter` and see no organization; a test reads the plans of all statements.
    """
    return f"select p.* from {schemas.entry} cross join lateral ({body} offset 0) as p"
