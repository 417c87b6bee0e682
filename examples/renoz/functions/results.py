"""What commands about many records answer: a result for each."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from freehold.errors import FreeholdError

__all__ = ["Problem", "StatusResult", "StatusResults", "Versioned", "results_of"]


class Versioned(BaseModel):
    """A record in the version that the caller has seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: UUID
    version: int = Field(ge=1)


class Problem(BaseModel):
    """Why an item could not be done."""

    model_config = ConfigDict(frozen=True)
    code: str
    message: str
    hint: str | None
    issues: list[dict[str, Any]]  # Any: an issue's path, message and code

    @classmethod
    def of(cls, error: FreeholdError) -> "Problem":
        """An error as callers are told it."""
        issues = [issue.as_dict() for issue in getattr(error, "issues", ())]
        return cls(code=error.code, message=error.message, hint=error.hint, issues=issues)


class StatusResult(BaseModel):
    """What became of one item: its new version, or why it stayed as it was."""

    model_config = ConfigDict(frozen=True)
    id: UUID
    version: int | None = None
    problem: Problem | None = None


class StatusResults(BaseModel):
    """What became of all items, in their order."""

    model_config = ConfigDict(frozen=True)
    changed: int
    failed: int
    results: list[StatusResult]


def results_of(results: list[StatusResult]) -> StatusResults:
    """The results with their counts."""
    failed = sum(result.problem is not None for result in results)
    return StatusResults(changed=len(results) - failed, failed=failed, results=results)
