"""Organizations, their users, and who belongs where."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from freehold.model.inputs import without_nul

__all__ = [
    "CreateMembership",
    "CreateOrganization",
    "CreateUser",
    "Listing",
    "Member",
    "Membership",
    "Organization",
    "RenameOrganization",
    "RenameUser",
    "User",
]

RecordT = TypeVar("RecordT")

Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(without_nul)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Role = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


def _has_at(value: str) -> str:
    local, at, domain = value.partition("@")
    if not (local and at and domain) or "@" in domain or any(char.isspace() or ord(char) < 32 for char in value):
        raise ValueError("must be an e-mail address such as ada@example.com")
    return value


Email = Annotated[str, StringConstraints(min_length=3, max_length=320, to_lower=True), AfterValidator(_has_at)]


class Organization(BaseModel):
    """A tenant.

    Args:
        slug: its name in addresses: lower case letters, digits and hyphens, unique.
    """

    model_config = ConfigDict(frozen=True)
    id: UUID
    name: str
    slug: str
    created_at: datetime


class User(BaseModel):
    """A person, who may belong to several organizations.

    Args:
        email: in lower case, unique.
    """

    model_config = ConfigDict(frozen=True)
    id: UUID
    email: str
    name: str
    created_at: datetime


class Membership(BaseModel):
    """That a user belongs to an organization, and as what."""

    model_config = ConfigDict(frozen=True)
    organization_id: UUID
    user_id: UUID
    role: str
    created_at: datetime


class Member(BaseModel):
    """A member of an organization, as a list tells."""

    model_config = ConfigDict(frozen=True)
    organization_id: UUID
    user_id: UUID
    email: str
    name: str
    role: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Listing(Generic[RecordT]):
    """A page of a list, in the order in which things were made.

    Args:
        records: what is on it.
        next: give it as `after` for the page that follows; None where this is the last one.
    """

    records: tuple[RecordT, ...]
    next: UUID | None


class CreateOrganization(BaseModel):
    """What an organization is made from."""

    name: Text
    slug: Slug


class RenameOrganization(BaseModel):
    """What of an organization may be changed; None leaves it."""

    name: Text | None = None
    slug: Slug | None = None


class RenameUser(BaseModel):
    """What of a user may be changed."""

    name: Text


class CreateUser(BaseModel):
    """What a user is made from."""

    email: Email
    name: Text


class CreateMembership(BaseModel):
    """What a membership is made from."""

    organization_id: UUID
    user_id: UUID
    role: Role
