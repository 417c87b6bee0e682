"""Keys and invitations: what they are made from, what is kept of them, and their secrets.

A secret is 43 random characters of 62, which is 256 bits. Nobody can try that many, so that one SHA-256 is enough to keep it by: slow
hashes are for passwords, which people choose. It is shown once, when it is made, and nothing but its hash is kept.
"""

import hashlib
import re
import secrets
import string
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from freehold.identity.records import Email, Role, Text
from freehold.model.permissions import pattern_problem

__all__ = [
    "CreateInvitation",
    "CreateKey",
    "Invitation",
    "Key",
    "MadeInvitation",
    "MadeKey",
    "digest",
    "is_invitation_token",
    "is_key",
    "new_invitation_token",
    "new_key",
]

_ALPHABET = string.ascii_letters + string.digits
_KEY = re.compile(r"fh_[A-Za-z0-9]{8}_[A-Za-z0-9]{43}")
_INVITATION = re.compile(r"fhinv_[A-Za-z0-9]{43}")
SCOPES = 100
"""Of a key at most."""
LONGEST_INVITATION = timedelta(days=90)


class Key(BaseModel):
    """An API key, without its secret.

    Args:
        user_id: on whose behalf it acts, as a member: with the member's role. None for a key of the organization itself.
        role: of a key of the organization itself; None where it acts for a user.
        prefix: its first characters, by which people tell keys apart: `"fh_h3Xa91bQ"`.
        scopes: permissions and patterns to which it is narrowed; None for all that the role grants.
        expires_at: from then on it is refused; None for never.
        last_used_at: to the minute.
        revoked_at: since when it is refused.
        created_by: the member who made it; None where system work did.
    """

    model_config = ConfigDict(frozen=True)
    id: UUID
    organization_id: UUID
    user_id: UUID | None
    role: str | None
    name: str
    prefix: str
    scopes: frozenset[str] | None
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    created_by: UUID | None


class MadeKey(BaseModel):
    """A key that was just made, with its secret: it is told this once.

    Args:
        key: what is kept of it.
        secret: the whole key, as its user sends it.
    """

    model_config = ConfigDict(frozen=True)
    key: Key
    secret: str = Field(repr=False)


class Invitation(BaseModel):
    """That whoever has an e-mail address may become a member.

    Args:
        email: in lower case.
        role: that the member will have.
        invited_by: the member who did; None where system work did.
    """

    model_config = ConfigDict(frozen=True)
    id: UUID
    organization_id: UUID
    email: str
    role: str
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    invited_by: UUID | None


class MadeInvitation(BaseModel):
    """An invitation that was just made, with its token: it is told this once, to be sent to the address.

    Args:
        invitation: what is kept of it.
        token: by which it is accepted.
    """

    model_config = ConfigDict(frozen=True)
    invitation: Invitation
    token: str = Field(repr=False)


def _patterns(scopes: Iterable[str]) -> frozenset[str]:
    found = frozenset(scopes)
    for pattern in found:
        problem = pattern_problem(pattern)
        if problem:
            raise ValueError(problem)
    return found


class CreateKey(BaseModel):
    """What a key is made from."""

    organization_id: UUID
    name: Text
    user_id: UUID | None = None
    role: Role | None = None
    scopes: Annotated[frozenset[str], Field(max_length=SCOPES), AfterValidator(_patterns)] | None = None
    expires_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_actor(self) -> "CreateKey":
        if (self.user_id is None) == (self.role is None):
            raise ValueError("needs either a user, whose role it has, or a role of its own")
        return self


class CreateInvitation(BaseModel):
    """What an invitation is made from."""

    organization_id: UUID
    email: Email
    role: Role
    lifetime: Annotated[timedelta, Field(gt=timedelta(0), le=LONGEST_INVITATION)]


class AcceptInvitation(BaseModel):
    """What an invitation is accepted with."""

    token: Annotated[str, StringConstraints(max_length=200)]
    name: Text | None = None


def new_key(kind: str = "fh") -> tuple[str, str]:
    """A new key, and its public prefix."""
    prefix = f"{kind}_{_random(8)}"
    return f"{prefix}_{_random(43)}", prefix


def new_invitation_token() -> str:
    """A new invitation's token."""
    return f"fhinv_{_random(43)}"


def is_key(text: str) -> bool:
    """Whether a text looks like a key: all others are refused without being looked for."""
    return _KEY.fullmatch(text) is not None


def is_invitation_token(text: str) -> bool:
    """Whether a text looks like an invitation's token."""
    return _INVITATION.fullmatch(text) is not None


def digest(secret: str) -> str:
    """What a secret is kept and found by, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
