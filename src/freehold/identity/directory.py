"""Lists of organizations, users and members; new names; and what issuers of tokens call them."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, StringConstraints

from freehold.errors import NotFoundError
from freehold.identity.calls import SystemCalls, checked, checked_id
from freehold.identity.records import Listing, Member, Organization, RenameOrganization, RenameUser, User
from freehold.model.inputs import without_nul

__all__ = ["Directory", "External"]


class External(BaseModel):
    """What an issuer calls a user or an organization."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=400), AfterValidator(without_nul)]
    external: Annotated[str, StringConstraints(min_length=1, max_length=400), AfterValidator(without_nul)]


class Directory:
    """All organizations and users.

    Args:
        calls: of system work.
    """

    def __init__(self, calls: SystemCalls) -> None:
        self._calls = calls

    async def organizations(self, *, limit: int = 100, after: UUID | None = None) -> Listing[Organization]:
        """Organizations, in the order in which they were made.

        Args:
            limit: at most, 1 to 1,000.
            after: `next` of the page before.
        """
        return await self._calls.page(Organization, "organizations", None, limit, after)

    async def users(self, *, limit: int = 100, after: UUID | None = None) -> Listing[User]:
        """Users, in the order in which they were made."""
        return await self._calls.page(User, "users", None, limit, after)

    async def members(self, organization_id: UUID, *, limit: int = 100, after: UUID | None = None) -> Listing[Member]:
        """The members of an organization."""
        return await self._calls.page(Member, "members", checked_id(organization_id), limit, after)

    async def rename_organization(
        self, organization_id: UUID, *, name: str | None = None, slug: str | None = None
    ) -> Organization:
        """Gives an organization another name or slug. Addresses that name the old slug lead nowhere then.

        Raises:
            ValidationError: the name or slug is not valid.
            UniqueError: the slug is taken.
            NotFoundError: there is no such organization.
        """
        given = checked(RenameOrganization, name=name, slug=slug)
        id = checked_id(organization_id)
        renamed = await self._calls.record(Organization, "rename_organization", id, given.name, given.slug)
        if renamed is None:
            raise NotFoundError("Organization", id)
        return renamed

    async def rename_user(self, user_id: UUID, *, name: str) -> User:
        """Gives a user another name.

        Raises:
            ValidationError: the name is not valid.
            NotFoundError: there is no such user.
        """
        id = checked_id(user_id)
        renamed = await self._calls.record(User, "rename_user", id, checked(RenameUser, name=name).name)
        if renamed is None:
            raise NotFoundError("User", id)
        return renamed

    async def link_user(self, issuer: str, subject: str, user_id: UUID) -> bool:
        """Notes who the subject of an issuer's tokens is.

        Args:
            issuer: as the tokens' `iss` says it.
            subject: as their `sub` says it.
            user_id: ours.

        Returns:
            Whether that is new.

        Raises:
            UniqueError: the subject is another user's.
            ReferenceError: there is no such user.
        """
        return await self._link("user", issuer, subject, user_id)

    async def link_organization(self, issuer: str, external: str, organization_id: UUID) -> bool:
        """Notes which organization an issuer's tokens mean. See `link_user`."""
        return await self._link("organization", issuer, external, organization_id)

    async def unlink(self, issuer: str, kind: Literal["user", "organization"], external: str) -> bool:
        """Forgets what an issuer calls a user or an organization, within a second.

        Returns:
            Whether it was known.
        """
        given = checked(External, issuer=issuer, external=external)
        return bool(await self._calls.answer("unlink_external", given.issuer, kind, given.external))

    async def _link(self, kind: str, issuer: str, external: str, ours: UUID) -> bool:
        given = checked(External, issuer=issuer, external=external)
        return bool(await self._calls.answer("link_external", given.issuer, kind, given.external, checked_id(ours)))
