"""Work that is not within one organization: making organizations and users, and contexts from them.

Every change names its reason, which the log keeps. There is no general way around isolation here: each thing that may
be done is a function of its own in the database.
"""

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

import pydantic
from pydantic import BaseModel

from freehold.errors import ForbiddenError, ValidationError
from freehold.identity.records import CreateMembership, CreateOrganization, CreateUser, Membership, Organization, User
from freehold.model.context import Context
from freehold.model.issues import validation_error
from freehold.model.registry import Constraint
from freehold.model.seal import Seal
from freehold.postgres.connections import Pool
from freehold.sql.identifiers import Schemas

__all__ = ["CONSTRAINTS", "SQL", "System"]

SQL = ("freehold.identity", "identity.sql")
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
        if not isinstance(reason, str) or not 1 <= len(reason) <= 500 or "\x00" in reason:
            raise ValidationError.single(("reason",), "must say in 1 to 500 characters why", "reason", subject="system")
        self._pool = pool
        self._schemas = schemas
        self._proof = seal.prove(reason)  # what the functions take as the reason

    async def create_organization(self, *, name: str, slug: str) -> Organization:
        """Makes a tenant.

        Raises:
            ValidationError: the name or slug is not valid.
            UniqueError: the slug is taken.
        """
        checked = _checked(CreateOrganization, name=name, slug=slug)
        return await self._made(Organization, "create_organization", checked.name, checked.slug, self._proof)

    async def create_user(self, *, email: str, name: str) -> User:
        """Makes a user, who belongs to no organization yet.

        Raises:
            ValidationError: the address or name is not valid.
            UniqueError: the address is taken.
        """
        checked = _checked(CreateUser, email=email, name=name)
        return await self._made(User, "create_user", checked.email, checked.name, self._proof)

    async def add_member(self, organization_id: UUID, user_id: UUID, *, role: str = "member") -> Membership:
        """Makes a user a member, or gives a member another role.

        Raises:
            ValidationError: the role is no name in snake case.
            ReferenceError: there is no such organization or user.
        """
        checked = _checked(CreateMembership, organization_id=organization_id, user_id=user_id, role=role)
        return await self._made(
            Membership, "add_member", checked.organization_id, checked.user_id, checked.role, self._proof
        )

    async def find_organization(self, slug: str) -> Organization | None:
        """The organization with this slug."""
        return await self._found(Organization, "find_organization", slug, self._proof)

    async def find_user(self, email: str) -> User | None:
        """The user with this address, in any case."""
        return await self._found(User, "find_user", email, self._proof)

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
        membership = await self._found(Membership, "find_membership", organization, user, self._proof)
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

    async def _removed(self, function: str, id: UUID) -> bool:
        if not isinstance(id, UUID):
            raise ValidationError.single(("id",), f"must be a UUID, not {id!r}"[:120], "uuid_type", subject="system")
        text = f"select {self._schemas.own(function)}($1, $2) as gone"  # a quoted name
        row = await self._pool.fetch_row(text, (id, self._proof))
        return bool(row and row["gone"])

    async def _made(self, cls: type[RecordT], function: str, *arguments: Any) -> RecordT:
        made = await self._found(cls, function, *arguments, checked=True)
        if made is None:  # the functions that make something return it or raise
            raise ForbiddenError(f"{function} answered nothing")
        return made

    async def _found(self, cls: type[RecordT], function: str, *arguments: Any, checked: bool = False) -> RecordT | None:
        if not checked:
            for argument in arguments:
                if not isinstance(argument, str) or len(argument) > 400 or "\x00" in argument:
                    return None  # nothing that is stored looks like that
        places = ", ".join(f"${place}" for place in range(1, len(arguments) + 1))
        row = await self._pool.fetch_row(
            f"select {self._schemas.own(function)}({places}) as found", arguments
        )  # a quoted name
        return None if row is None or row["found"] is None else cls.model_validate_json(row["found"])


def _checked(cls: type[RecordT], **values: Any) -> RecordT:
    try:
        return cls.model_validate(values)
    except pydantic.ValidationError as error:
        raise validation_error(error, cls.__name__.removeprefix("Create")) from None


CONSTRAINTS: Mapping[str, Constraint] = {
    "organizations_slug_key": Constraint("unique", "Organization", ("slug",)),
    "users_email_key": Constraint("unique", "User", ("email",)),
    "memberships_organization_id_fkey": Constraint("reference", "Membership", ("organization_id",), "Organization"),
    "memberships_user_id_fkey": Constraint("reference", "Membership", ("user_id",), "User"),
}
"""The room's constraints, for errors."""
