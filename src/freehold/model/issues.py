"""Pydantic's findings as Freehold's issues, in one place."""

import pydantic

from freehold.errors import Issue, ValidationError

__all__ = ["validation_error"]

_TEXTS = {
    "extra_forbidden": "is no field here; remove it",
    "missing": "is required; give it",
}


def validation_error(error: pydantic.ValidationError, subject: str) -> ValidationError:
    """All that Pydantic found, without the values (they may be secret)."""
    issues = [
        Issue(tuple(found["loc"]), _TEXTS.get(found["type"], found["msg"]), found["type"])
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return ValidationError(issues, subject=subject)
