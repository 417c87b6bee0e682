"""Pydantic's findings as Freehold's issues, in one place."""

import re

import pydantic

from freehold.errors import Issue, ValidationError

__all__ = ["shown", "validation_error"]

_TEXTS = {
    "extra_forbidden": "is no field here; remove it",
    "missing": "is required; give it",
}

_FUNCTION = re.compile(r"function-\w+\[[^,\[\]]*\(\), ")

TOLD = 100
"""Issues of one input that are told."""
READ = 2_000
"""Issues of one input that are looked at."""


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
    """All that Pydantic found, without the values (they may be secret). Of very much, as much as a person reads."""
    count = error.error_count()
    if count > READ:  # to list them takes longer than it took to find them
        return ValidationError.single(
            (), f"has {count:,} things wrong with it, too many to tell", "too_many_issues", subject=subject
        )
    issues = [
        Issue(tuple(map(_name, found["loc"])), _TEXTS.get(found["type"], found["msg"]), found["type"])
        for found in error.errors(include_url=False, include_context=False, include_input=False)[:TOLD]
    ]
    if count > TOLD:
        issues.append(Issue((), f"and {count - TOLD:,} more things are wrong with it", "more_issues"))
    return ValidationError(issues, subject=subject)


def _name(part: int | str) -> int | str:
    """A part of a path. Names that are no fields are the caller's, and may be of any length."""
    if isinstance(part, str) and part.startswith("function-"):
        part = _FUNCTION.sub("", part).rstrip("]")  # a choice of a union, called by its type
    return part if isinstance(part, int) or len(part) <= 100 else f"{part[:99]}…"
