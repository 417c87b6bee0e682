"""Relations that a caller from outside includes, in JSON.

["contacts", "customer"]
{"contacts": true, "orders": "count", "lines": {"order": "-total", "limit": 10, "include": ["product"]}}
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from freehold.functions.offering import Limit, Names
from freehold.model.numbers import exact_tree
from freehold.model.pages import Include, IncludeLike

__all__ = ["Includes", "Inclusion", "Where", "includes"]

Where = Annotated[dict[str, Any] | None, BeforeValidator(exact_tree)]
"""A filter. Its values are read by the kinds of the fields that they are compared with."""


class Inclusion(BaseModel):
    """How a relation is included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: Where = Field(default=None, description="A filter on the related records.")
    order: Names | None = Field(default=None, description="Fields to sort them by; - before one for descending.")
    limit: Limit = Field(default=50, description="How many at most for each record.")
    select: Names | None = Field(default=None, description="Only these fields.")
    include: "Includes | None" = Field(default=None, description="What is included in them in turn.")
    count: bool = Field(default=False, description="Bring their number instead, as <relation>_count.")


def _spread(value: Any) -> Any:
    """Each way to write includes as the longest one."""
    if isinstance(value, list):
        return {name: {} for name in value} if all(isinstance(name, str) for name in value) else value
    if isinstance(value, dict):
        return {name: _how(how) for name, how in value.items()}
    return value


def _how(how: Any) -> Any:
    return {} if how is True else {"count": True} if how == "count" else how


Includes = Annotated[
    dict[Annotated[str, Field(max_length=100)], Inclusion],
    Field(max_length=30),
    BeforeValidator(
        _spread, json_schema_input_type=list[str] | dict[str, Literal[True] | Literal["count"] | Inclusion]
    ),
]
"""Relations by name, each with how it is included."""

Inclusion.model_rebuild()


def includes(asked: Mapping[str, Inclusion] | None) -> dict[str, IncludeLike] | None:
    """The same as reads take it."""
    if asked is None:
        return None
    return {
        name: Include(
            where=how.where,
            order_by=how.order,
            limit=how.limit,
            select=how.select,
            include=includes(how.include),
            count=how.count,
        )
        for name, how in asked.items()
    }
