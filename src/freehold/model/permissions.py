"""What a caller may do, by name.

A permission is a dotted name, such as `customers.update`. What is granted may be a pattern: `*` stands for any text
without a dot where it is one part of several, and for every permission where it stands alone.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["EVERYTHING", "narrowed", "pattern_problem", "permits"]

EVERYTHING = frozenset({"*"})
"""Grants every permission."""

_PATTERN = re.compile(r"\*|(\*|[a-z][a-z0-9_]{0,62})(\.(\*|[a-z][a-z0-9_]{0,62})){0,3}")


def pattern_problem(pattern: object) -> str | None:
    """What is wrong with a permission or a pattern of permissions; None where nothing is."""
    if isinstance(pattern, str) and _PATTERN.fullmatch(pattern):
        return None
    return f"{pattern!r} names no permission; write one such as 'customers.update', 'customers.*', '*.list' or '*'"[
        :200
    ]


@lru_cache(maxsize=16_384)
def permits(granted: frozenset[str], wanted: str) -> bool:
    """Whether a permission is among those granted.

    Args:
        granted: permissions and patterns of them.
        wanted: the permission that is needed, without a `*`.
    """
    return wanted in granted or any(_covers(pattern, wanted) for pattern in granted)


def narrowed(granted: frozenset[str], scopes: Iterable[str]) -> frozenset[str]:
    """What of the granted permissions is left within scopes: each permission that both permit, and no other.

    Args:
        granted: permissions and patterns of them.
        scopes: permissions and patterns too.
    """
    return frozenset(
        shared for pattern in granted for scope in scopes if (shared := _shared(pattern, scope)) is not None
    )


def _covers(pattern: str, wanted: str) -> bool:
    if pattern == "*":
        return True
    parts, names = pattern.split("."), wanted.split(".")
    return len(parts) == len(names) and all(part in ("*", name) for part, name in zip(parts, names, strict=True))


def _shared(first: str, second: str) -> str | None:
    """The pattern of what two patterns both permit; None where that is nothing."""
    if first == "*" or second == "*":
        return second if first == "*" else first
    parts, others = first.split("."), second.split(".")
    if len(parts) != len(others):
        return None
    found = []
    for part, other in zip(parts, others, strict=True):
        if part != other and "*" not in (part, other):
            return None
        found.append(other if part == "*" else part)
    return ".".join(found)
