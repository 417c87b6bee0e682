"""Who is asking: one frozen value, made once at the edge, carried through everything."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from uuid import UUID

from pydantic_core import to_json
from uuid_utils.compat import uuid7

from freehold.errors import IsolationError, Issue, ValidationError
from freehold.model.permissions import pattern_problem

__all__ = ["Context", "new_id"]

LONGEST = {"role": 100, "request_id": 200, "client_ip": 45, "user_agent": 512}
"""Characters of each text; the user agent, which strangers choose, is cut, the others are refused when longer."""


def _storable(value: str) -> bool:
    """Whether PostgreSQL's text can hold it."""
    if "\x00" in value:
        return False
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


@lru_cache(maxsize=4_096)
def _misnamed(permissions: frozenset[str]) -> str | None:
    """What is wrong with the first permission that is not one."""
    return next((problem for name in sorted(permissions) if (problem := pattern_problem(name))), None)


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): unique, and in order of time, so that new rows lie together in an index."""
    return uuid7()


@dataclass(frozen=True)
class Context:
    """The organization and the actor on whose behalf everything happens.

    Make it from a verified credential, never from what a client says of itself.

    Args:
        organization_id: the tenant.
        user_id: who acts: a user, or a key that acts for none; None for the organization's own processes.
        role: the user's role in the organization.
        permissions: what the user may do: `customers.update`, or patterns such as `customers.*`.
        request_id: ties together what one request did; made when not given.
        client_ip: the address of the client.
        user_agent: the client's software, as it said; cut to 512 characters.

    Raises:
        IsolationError: there is no organization.
        ValidationError: a value has the wrong type or is too long.
    """

    organization_id: UUID
    user_id: UUID | None = None
    role: str = "member"
    permissions: frozenset[str] = frozenset()
    request_id: str = field(default_factory=lambda: str(new_id()))
    client_ip: str | None = None
    user_agent: str | None = None

    def __post_init__(self) -> None:
        if self.organization_id is None:
            raise IsolationError("a context needs an organization", hint="Context(organization_id=..., user_id=...)")
        issues = []
        for name in ("organization_id", "user_id"):
            value = getattr(self, name)
            if not isinstance(value, UUID) and not (name == "user_id" and value is None):
                issues.append(Issue((name,), f"must be a UUID, not {type(value).__name__}", "uuid_type"))
        for name, longest in LONGEST.items():
            value = getattr(self, name)
            if value is None and name in ("client_ip", "user_agent"):
                continue
            if not isinstance(value, str):
                issues.append(Issue((name,), f"must be a str, not {type(value).__name__}", "string_type"))
            elif name == "user_agent":
                mended = value[: longest * 2].replace("\x00", "").encode("utf-8", "replace").decode()
                object.__setattr__(self, name, mended[:longest])
            elif len(value) > longest or not _storable(value):
                issues.append(
                    Issue(
                        (name,), f"must have at most {longest} characters, no NUL and no surrogate", "string_too_long"
                    )
                )
        given = self.permissions
        names = None if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
        if names is None or not all(isinstance(name, str) for name in names):
            issues.append(Issue(("permissions",), "must be a set of names", "set_type"))
        else:
            object.__setattr__(self, "permissions", frozenset(names))
            if problem := _misnamed(self.permissions):
                issues.append(Issue(("permissions",), problem, "permission_name"))
        if issues:
            raise ValidationError(issues, subject="Context")

    @cached_property
    def as_setting(self) -> str:
        """What the database is told besides the organization: JSON for the log's columns."""
        return self.setting()

    def setting(self, **more: str) -> str:
        """The same with more: the moment that reads are about."""
        told = {
            **more,
            "user_id": self.user_id,
            "role": self.role,
            "request_id": self.request_id,
            "client_ip": self.client_ip,
            "user_agent": self.user_agent,
        }
        return to_json({name: value for name, value in told.items() if value is not None}).decode()
