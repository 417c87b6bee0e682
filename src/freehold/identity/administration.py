"""What members may do with the credentials of their own organization. The organization comes from the context.

Nobody gives away more than they have: a key or an invitation grants at most what the context permits. What is made is
logged with the member, the request and the address.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import from_json

from freehold.errors import ForbiddenError
from freehold.identity.calls import checked, checked_id, checked_limit, listing
from freehold.identity.credentials import (
    CreateInvitation,
    CreateKey,
    Invitation,
    Key,
    MadeInvitation,
    MadeKey,
    new_invitation_token,
    new_key,
)
from freehold.identity.invitations import LIFETIME, invitation_content
from freehold.identity.keys import key_content
from freehold.identity.records import Listing, Member
from freehold.identity.roles import Roles
from freehold.model.context import Context
from freehold.model.permissions import narrowed
from freehold.model.seal import Seal
from freehold.postgres.connections import Pool
from freehold.sql.identifiers import Schemas

__all__ = ["Administration"]

ModelT = TypeVar("ModelT", bound=BaseModel)


class Administration:
    """The members, keys and invitations of a context's organization.

    Args:
        pool: connections as the application role.
        schemas: where the functions are.
        seal: of contexts.
        context: who does it. What it permits bounds what can be given away.
        roles: what roles grant.
    """

    def __init__(self, pool: Pool, schemas: Schemas, seal: Seal, context: Context, roles: Roles) -> None:
        self._pool = pool
        self._schemas = schemas
        self._context = context
        self._seal = seal
        self._roles = roles

    async def members(self, *, limit: int = 100, after: UUID | None = None) -> Listing[Member]:
        """The organization's members.

        Args:
            limit: at most, 1 to 1,000.
            after: `next` of the page before.
        """
        return await self._page(Member, "members", limit, after)

    async def keys(self, *, limit: int = 100, after: UUID | None = None) -> Listing[Key]:
        """The organization's keys, also those that are revoked or have expired."""
        return await self._page(Key, "keys", limit, after)

    async def invitations(self, *, limit: int = 100, after: UUID | None = None) -> Listing[Invitation]:
        """The organization's invitations, also those that have ended."""
        return await self._page(Invitation, "invitations", limit, after)

    async def create_key(
        self,
        *,
        name: str,
        role: str | None = None,
        scopes: Iterable[str] | None = None,
        expires_at: datetime | None = None,
    ) -> MadeKey:
        """Makes a key. Its secret is in the answer, and nowhere else.

        Args:
            name: for people: what it is for.
            role: of a key of the organization itself; None for a key that acts for the context's user.
            scopes: permissions and patterns to which it is narrowed; None for all that the context permits.
            expires_at: from then on it is refused; None for never.

        Raises:
            ValidationError: a value is not valid.
            ForbiddenError: the key would permit what the context does not.
        """
        given = checked(
            CreateKey,
            organization_id=self._context.organization_id,
            name=name,
            user_id=self._context.user_id if role is None else None,
            role=role,
            scopes=list(self._context.permissions if scopes is None else scopes),
            expires_at=expires_at,
        )
        self._refuse_more(given.scopes or frozenset())
        secret, prefix = new_key()
        answer = await self._call("own_key_create", key_content(given, secret, prefix))
        return MadeKey(key=Key.model_validate_json(answer), secret=secret)

    async def revoke_key(self, key_id: UUID) -> bool:
        """Refuses a key from now on, within a second on every process.

        Returns:
            Whether the organization has such a key.
        """
        return bool(await self._call("own_key_revoke", checked_id(key_id)))

    async def invite(self, *, email: str, role: str = "member", lifetime: timedelta = LIFETIME) -> MadeInvitation:
        """Invites whoever has an address. An open invitation of the same address ends. Send its token to the address.

        Args:
            email: the address.
            role: that the member will have.
            lifetime: how long it may be accepted, at most 90 days.

        Raises:
            ValidationError: a value is not valid.
            ForbiddenError: the role grants what the context does not permit.
        """
        given = checked(
            CreateInvitation,
            organization_id=self._context.organization_id,
            email=email,
            role=role,
            lifetime=lifetime,
        )
        self._refuse_more(self._roles.permissions(given.role))
        token = new_invitation_token()
        answer = await self._call("own_invitation_create", invitation_content(given, token))
        return MadeInvitation(invitation=Invitation.model_validate_json(answer), token=token)

    async def revoke_invitation(self, invitation_id: UUID) -> bool:
        """Ends an invitation.

        Returns:
            Whether the organization has such an invitation that was not accepted.
        """
        return bool(await self._call("own_invitation_revoke", checked_id(invitation_id)))

    def _refuse_more(self, wanted: frozenset[str]) -> None:
        granted = self._context.permissions
        more = sorted(pattern for pattern in wanted if pattern not in narrowed(granted, (pattern,)))
        if more:
            raise ForbiddenError(
                f"that would permit more than you may do yourself: {', '.join(more[:5])}",
                hint="choose another role, or narrow it with scopes",
            )

    async def _call(self, function: str, *arguments: Any) -> Any:  # Any: bound by the driver
        places = ", ".join(f"${place}" for place in range(1, len(arguments) + 3))
        text = f"select {self._schemas.own(function)}({places}) as answer"  # a quoted name
        context = self._context
        row = await self._pool.fetch_row(text, lambda: (context.organization_id, self._seal.apply(context), *arguments))
        return None if row is None else row["answer"]

    async def _page(self, cls: type[ModelT], what: str, limit: int, after: UUID | None) -> Listing[ModelT]:
        most = checked_limit(limit)
        found = await self._call("own_page", what, most + 1, None if after is None else checked_id(after, "after"))
        return listing(cls, from_json(found), most)
