"""Pydantic's findings as Freehold's issues, in one place."""

import difflib
import re
from collections.abc import Iterable
from itertools import islice

import pydantic

from freehold.errors import Issue, ValidationError

__all__ = ["HINTED", "TOLD", "shown", "suggestion", "validation_error"]

_TEXTS = {
    "extra_forbidden": "is no field here; remove it",
    "missing": "is required; give it",
}

_FUNCTION = re.compile(r"function-\w+\[[^,\[\]]*\(\), ")

TOLD = 100
"""Issues of one input that are told."""
READ = 2_000
"""Issues of one input that are looked at."""
HINTED = 10
"""Unknown names of one input for which a known one is suggested. Who has that many wrong has the wrong list, and no slip of the pen."""
CANDIDATES, LONGEST_NAME = 300, 60
"""Known names that an unknown one is compared with, and characters of each: both may be a stranger's."""
LISTED = 30
"""Known names that are listed."""


def shown(value: object) -> str:
    """A value for a message: as Python writes it, but never long."""
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= 80 else f"{value[:79]!r}…"
    if isinstance(value, int) and value.bit_length() > 256:
        return "an enormous number"
    if value is None or isinstance(value, int | float):
        return repr(value)
    return f"a {type(value).__name__}"


def suggestion(name: str, known: Iterable[str], *, told: int = 0) -> str:
    """`; did you mean 'x'?` where a known name is close, else the list of what is known.

    Args:
        name: that nobody knows.
        known: the names that are known.
        told: issues of the same input that are told already. Beyond some there is no suggestion.
    """
    if told >= HINTED:
        return ""
    names = list(known)
    if len(name) <= LONGEST_NAME:
        # Names whose lengths differ more cannot be close enough for difflib (0.6).
        near = (
            each
            for each in names
            if len(each) <= LONGEST_NAME and 3 * len(each) <= 7 * len(name) and 3 * len(name) <= 7 * len(each)
        )
        close = difflib.get_close_matches(name, islice(near, CANDIDATES), 1)
        if close:
            return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(f'{each:.{LONGEST_NAME}}' for each in names[:LISTED])}" if names else ""


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
