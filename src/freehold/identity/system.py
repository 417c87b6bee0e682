"""Work that is not within one organization: making organizations and users, and contexts from them.

Every change names its reason, which the log keeps. There is no general way around isolation here: each thing that may
be done is a function of its own in the database.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel

from freehold.errors import ForbiddenError, NotFoundError
from freehold.identity.calls import SystemCalls, checked, checked_id
from freehold.identity.directory import Directory
from freehold.identity.invitations import Invitations
from freehold.identity.keys import Keys
from freehold.identity.records import CreateMembership, CreateOrganization, CreateUser, Membership, Organization, User
from freehold.model.context import Context
from freehold.model.registry import Constraint
from freehold.model.seal import Seal
from freehold.postgres.connections import Pool
from freehold.sql.identifiers import Schemas

__all__ = ["CONSTRAINTS", "SQL", "System"]

SQL = (
    ("freehold.identity", "identity.sql"),
    ("freehold.identity", "credentials.sql"),
    ("freehold.identity", "directory.sql"),
)
"""The room's tables and functions, for the installer."""

RecordT = TypeVar("RecordT", bound=BaseModel)


class System:
    """The explicit system context.

    Args:
        pool: connections as the application role.
        schemas: where the functions are.
        seal: proves to the database that the program asks.
        reason: why, for the log: `"sign-up"`, `"ticket 812"`.
    """

    def __init__(self, pool: Pool, schemas: Schemas, seal: Seal, reason: str) -> None:
        self.calls = SystemCalls(pool, schemas, seal, reason)
        """How its functions are called: for the other parts of the room."""

    @cached_property
    def directory(self) -> Directory:
        """Lists of organizations, users and members, new names, and what issuers of tokens call them."""
        return Directory(self.calls)

    @cached_property
    def keys(self) -> Keys:
        """API keys."""
        return Keys(self.calls)

    @cached_property
    def invitations(self) -> Invitations:
        """Invitations."""
        return Invitations(self.calls)

    async def create_organization(self, *, name: str, slug: str) -> Organization:
        """Makes a tenant.

        Raises:
            ValidationError: the name or slug is not valid.
            UniqueError: the slug is taken.
        """
        given = checked(CreateOrganization, name=name, slug=slug)
        return await self._made(Organization, "create_organization", given.name, given.slug)

    async def create_user(self, *, email: str, name: str) -> User:
        """Makes a user, who belongs to no organization yet.

        Raises:
            ValidationError: the address or name is not valid.
            UniqueError: the address is taken.
        """
        given = checked(CreateUser, email=email, name=name)
        return await self._made(User, "create_user", given.email, given.name)

    async def add_member(self, organization_id: UUID, user_id: UUID, *, role: str = "member") -> Membership:
        """Makes a user a member, or gives a member another role.

        Raises:
            ValidationError: the role is no name in snake case.
            ReferenceError: there is no such organization or user.
        """
        given = checked(CreateMembership, organization_id=organization_id, user_id=user_id, role=role)
        return await self._made(Membership, "add_member", given.organization_id, given.user_id, given.role)

    async def find_organization(self, slug: str) -> Organization | None:
        """The organization with this slug."""
        return await self._found(Organization, "find_organization", slug)

    async def find_user(self, email: str) -> User | None:
        """The user with this address, in any case."""
        return await self._found(User, "find_user", _small(email))

    async def remove_organization(self, organization_id: UUID) -> bool:
        """Removes an organization that has no records any more, with its memberships. What the log tells of it stays.

        Returns:
            Whether it was there.

        Raises:
            ForbiddenError: it still has records; purge them first.
        """
        return await self._removed("remove_organization", organization_id)

    async def remove_user(self, user_id: UUID) -> bool:
        """Removes a user who is no member of any organization.

        Returns:
            Whether there was one.

        Raises:
            ForbiddenError: the user is still a member somewhere.
        """
        return await self._removed("remove_user", user_id)

    async def context(
        self,
        *,
        organization: str,
        user: str,
        permissions: frozenset[str] = frozenset(),
        request_id: str | None = None,
        client_ip: str | None = None,
        user_agent: str | None = None,
    ) -> Context:
        """The context of a member.

        Args:
            organization: its slug.
            user: the member's e-mail address, already verified.
            permissions, request_id, client_ip, user_agent: see `Context`.

        Raises:
            ForbiddenError: there is no such organization or user, or the one is no member of the other (the same answer).
        """
        membership = await self._found(Membership, "find_membership", organization, _small(user))
        if membership is None:
            raise ForbiddenError(f"{user} is no member of {organization}", hint="add the user with add_member first")
        given = {"request_id": request_id} if request_id is not None else {}
        return Context(
            organization_id=membership.organization_id,
            user_id=membership.user_id,
            role=membership.role,
            permissions=permissions,
            client_ip=client_ip,
            user_agent=user_agent,
            **given,
        )

    async def remove_member(self, organization_id: UUID, user_id: UUID) -> bool:
        """Ends a membership, and with it the user's keys and open invitation there.

        It takes effect within a second, also for tokens and keys that are in use. Tokens that were issued before do not bring the
        user back.

        Returns:
            Whether there was one.
        """
        return await self._removed("remove_member", organization_id, user_id)

    async def change_role(self, organization_id: UUID, user_id: UUID, role: str) -> Membership:
        """Gives a member another role, within a second.

        Raises:
            ValidationError: the role is no name in snake case.
            NotFoundError: the user is no member.
        """
        given = checked(CreateMembership, organization_id=organization_id, user_id=user_id, role=role)
        made = await self.calls.record(Membership, "change_role", given.organization_id, given.user_id, given.role)
        if made is None:
            raise NotFoundError("Membership", user_id, hint="add the user with add_member first")
        return made

    async def revoke_tokens(self, user_id: UUID) -> bool:
        """Refuses all tokens of a user that were issued until now, within a second. API keys have revocations of their own.

        Returns:
            Whether there is such a user.
        """
        return await self._removed("revoke_tokens", user_id)

    async def _removed(self, function: str, *ids: UUID) -> bool:
        return bool(await self.calls.answer(function, *map(checked_id, ids)))

    async def _made(self, cls: type[RecordT], function: str, *arguments: Any) -> RecordT:
        made = await self.calls.record(cls, function, *arguments)
        if made is None:  # the functions that make something return it or raise
            raise ForbiddenError(f"{function} answered nothing")
        return made

    async def _found(self, cls: type[RecordT], function: str, *arguments: Any) -> RecordT | None:
        for argument in arguments:
            if not isinstance(argument, str) or len(argument) > 400 or "\x00" in argument:
                return None  # nothing that is stored looks like that
        return await self.calls.record(cls, function, *arguments)


def _small(address: Any) -> Any:
    """An address in small letters, by the rules by which it was stored: PostgreSQL's are its locale's, and differ in some letters."""
    return address.lower() if isinstance(address, str) else address


CONSTRAINTS: Mapping[str, Constraint] = {
    "organizations_slug_key": Constraint("unique", "Organization", ("slug",)),
    "users_email_key": Constraint("unique", "User", ("email",)),
    "memberships_organization_id_fkey": Constraint("reference", "Membership", ("organization_id",), "Organization"),
    "memberships_user_id_fkey": Constraint("reference", "Membership", ("user_id",), "User"),
    "keys_organization_id_fkey": Constraint("reference", "Key", ("organization_id",), "Organization"),
    "keys_user_id_fkey": Constraint("reference", "Key", ("user_id",), "Member"),
    "invitations_organization_id_fkey": Constraint("reference", "Invitation", ("organization_id",), "Organization"),
    "invitations_open_key": Constraint("unique", "Invitation", ("email",)),
    "externals_pkey": Constraint("unique", "External", ("external",)),
    "externals_user_id_fkey": Constraint("reference", "External", ("user_id",), "User"),
    "externals_organization_id_fkey": Constraint("reference", "External", ("organization_id",), "Organization"),
}
"""The room's constraints, for errors."""
