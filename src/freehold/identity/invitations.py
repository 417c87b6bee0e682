"""Invitations, as system work: of any organization."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from pydantic_core import to_json

from freehold.errors import ForbiddenError
from freehold.identity.calls import SystemCalls, checked, checked_id
from freehold.identity.credentials import (
    AcceptInvitation,
    CreateInvitation,
    Invitation,
    MadeInvitation,
    digest,
    is_invitation_token,
    new_invitation_token,
)
from freehold.identity.records import Listing, Membership

__all__ = ["LIFETIME", "Invitations", "invitation_content"]

LIFETIME = timedelta(days=7)


class Invitations:
    """Invitations of all organizations.

    Args:
        calls: of system work.
    """

    def __init__(self, calls: SystemCalls) -> None:
        self._calls = calls

    async def create(
        self, organization_id: UUID, *, email: str, role: str = "member", lifetime: timedelta = LIFETIME
    ) -> MadeInvitation:
        """Invites whoever has an address. An open invitation of the same address ends.

        The token is in the answer, and nowhere else. Send it to the address: who has it, has read that mail.

        Args:
            organization_id: of which the user becomes a member.
            email: the address.
            role: that the member will have.
            lifetime: how long it may be accepted, at most 90 days.

        Raises:
            ValidationError: a value is not valid.
            ReferenceError: there is no such organization.
            UniqueError: somebody else has invited the same address in this moment.
        """
        given = checked(CreateInvitation, organization_id=organization_id, email=email, role=role, lifetime=lifetime)
        token = new_invitation_token()
        made = await self._calls.record(Invitation, "create_invitation", invitation_content(given, token))
        if made is None:
            raise ForbiddenError("create_invitation answered nothing")
        return MadeInvitation(invitation=made, token=token)

    async def list(self, organization_id: UUID, *, limit: int = 100, after: UUID | None = None) -> Listing[Invitation]:
        """The invitations of an organization, also those that have ended."""
        return await self._calls.page(Invitation, "invitations", checked_id(organization_id), limit, after)

    async def revoke(self, invitation_id: UUID) -> bool:
        """Ends an invitation.

        Returns:
            Whether there is such an invitation that was not accepted.
        """
        return bool(await self._calls.answer("revoke_invitation", checked_id(invitation_id)))

    async def accept(self, token: str, *, name: str | None = None) -> Membership:
        """Makes the user with the invited address a member, and makes the user first where there is none.

        Each invitation is accepted once, whoever tries at the same time. A user who is a member already keeps the role.

        Args:
            token: of the invitation.
            name: of a new user; the part before the @ where it is not given.

        Raises:
            ForbiddenError: the token is of no invitation that is open: unknown, accepted, revoked or expired (the same answer).
        """
        given = checked(AcceptInvitation, token=token, name=name)
        known = is_invitation_token(given.token)
        made = (
            await self._calls.record(Membership, "accept_invitation", digest(given.token), given.name)
            if known
            else None
        )
        if made is None:
            raise ForbiddenError("the invitation is not valid", hint="ask for a new one")
        return made


def invitation_content(given: CreateInvitation, token: str) -> str:
    """What the database is told of a new invitation, as JSON."""
    told = given.model_dump(exclude={"lifetime"})
    return to_json({**told, "expires_at": datetime.now(UTC) + given.lifetime, "hash": digest(token)}).decode()
