"""Checks of a database that serves an application, and the proof that its organizations are apart."""

from freehold.doctor.proof import Outcome, Proof, attempt_isolation

__all__ = ["Outcome", "Proof", "attempt_isolation"]
