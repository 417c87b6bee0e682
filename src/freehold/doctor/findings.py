"""What a check finds, and how a check is written.

A check is one query. Each row that it answers is a finding: the object, the evidence, and the statement that mends it. Its
parameters are $1 the engine's schema, $2 the tables' schema, $3 the owner role, $4 the application role, $5 seconds of
patience with what runs for long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["LEVELS", "Check", "Finding", "Level", "Report"]

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""From the worst on: isolation or data may be lost; something will go wrong one day; good to know."""


@dataclass(frozen=True)
class Check:
    """One thing that is looked for.

    Args:
        code: stable: `FD301`.
        level: of its findings.
        title: what is wrong where it finds something.
        text: the query: columns `object`, `evidence`, `mend`, all text.
    """

    code: str
    level: Level
    title: str
    text: str


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        code, level, title: of the check.
        object: what it is about: a table, a role, a setting.
        evidence: what was seen.
        mend: the statement, or the command of Freehold's, that makes it right; None where a person has to decide.
    """

    code: str
    level: Level
    title: str
    object: str
    evidence: str
    mend: str | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "code": self.code,
            "level": self.level,
            "title": self.title,
            "object": self.object,
            "evidence": self.evidence,
            "mend": self.mend,
        }


@dataclass(frozen=True)
class Report:
    """All findings, the worst first, and how many checks were made."""

    findings: Sequence[Finding]
    checks: int

    def at_least(self, level: Level) -> bool:
        """Whether there is a finding of this level or a worse one."""
        return any(LEVELS.index(finding.level) <= LEVELS.index(level) for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"checks": self.checks, "findings": [finding.as_dict() for finding in self.findings]}
