"""Pydantic's findings as Freehold's issues, in one place."""

import pydantic

from freehold.errors import Issue, ValidationError

__all__ = ["shown", "validation_error"]

_TEXTS = {
    "extra_forbidden": "is no field here; remove it",
    "missing": "is required; give it",
}


def shown(value: object) -> str:
    """A value for a message: as Python writes it, but never long."""
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= 80 else f"{value[:79]!r}…"
    if isinstance(value, int) and value.bit_length() > 256:
        return "an enormous number"
    if value is None or isinstance(value, int | float):
        return repr(value)
    return f"a {type(value).__name__}"


def validation_error(error: pydantic.ValidationError, subject: str) -> ValidationError:
    """All that Pydantic found, without the values (they may be secret)."""
    issues = [
        Issue(tuple(found["loc"]), _TEXTS.get(found["type"], found["msg"]), found["type"])
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return ValidationError(issues, subject=subject)
