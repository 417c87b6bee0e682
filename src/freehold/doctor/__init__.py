"""Checks of a database that serves an application, and the proof that its organizations are apart."""

from freehold.doctor.examination import CHECKS, examine
from freehold.doctor.findings import LEVELS, Finding, Level, Report
from freehold.doctor.proof import Outcome, Proof, attempt_isolation
from freehold.doctor.sarif import sarif

__all__ = [
    "CHECKS",
    "LEVELS",
    "Finding",
    "Level",
    "Outcome",
    "Proof",
    "Report",
    "attempt_isolation",
    "examine",
    "sarif",
]
