"""Which role grants which permissions: declared in code, so that it changes with the functions that ask for them."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from freehold.errors import DeclarationError
from freehold.model.permissions import EVERYTHING, pattern_problem

__all__ = ["Roles"]


class Roles:
    """Roles and what they grant.

        Roles({"admin": ["*"], "sales": ["customers.*", "orders.*", "*.list"], "guest": ["*.get", "*.list"]})

    Args:
        grants: permissions and patterns of them, by role. None grants every permission to every role: what separates
            organizations holds all the same. A role that is not named grants nothing.

    Raises:
        DeclarationError: a role's name is none in snake case, or a pattern names no permission.
    """

    def __init__(self, grants: Mapping[str, Iterable[str]] | None = None) -> None:
        self._grants: dict[str, frozenset[str]] | None = None
        if grants is None:
            return
        self._grants = {}
        for role, patterns in grants.items():
            if not isinstance(role, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", role):
                raise DeclarationError(f"roles: {role!r} is no role's name; write one in snake case, such as 'admin'")
            if isinstance(patterns, str) or not isinstance(patterns, Iterable):
                raise DeclarationError(f"roles: {role}: write a list of permissions, such as ['customers.*']")
            granted = frozenset(patterns)
            for pattern in granted:
                problem = pattern_problem(pattern)
                if problem:
                    raise DeclarationError(f"roles: {role}: {problem}")
            self._grants[role] = granted

    @property
    def grants(self) -> Mapping[str, frozenset[str]] | None:
        """The permissions by role; None where every role grants all."""
        return None if self._grants is None else MappingProxyType(self._grants)

    def permissions(self, role: str) -> frozenset[str]:
        """What a role grants."""
        return EVERYTHING if self._grants is None else self._grants.get(role, frozenset())
