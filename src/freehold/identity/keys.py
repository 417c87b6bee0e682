"""API keys, as system work: of any organization."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from pydantic_core import to_json

from freehold.errors import ForbiddenError
from freehold.identity.calls import SystemCalls, checked, checked_id
from freehold.identity.credentials import CreateKey, Key, MadeKey, digest, new_key
from freehold.identity.records import Listing

__all__ = ["Keys", "key_content"]


class Keys:
    """API keys of all organizations.

    Args:
        calls: of system work.
    """

    def __init__(self, calls: SystemCalls) -> None:
        self._calls = calls

    async def create(
        self,
        organization_id: UUID,
        *,
        name: str,
        user_id: UUID | None = None,
        role: str | None = None,
        scopes: Iterable[str] | None = None,
        expires_at: datetime | None = None,
    ) -> MadeKey:
        """Makes a key. Its secret is in the answer, and nowhere else.

        Args:
            organization_id: where it is valid.
            name: for people: what it is for.
            user_id: the member on whose behalf it acts, with the member's role as it is when the key is used. None for a key of
                the organization itself, which needs a role of its own.
            role: of a key of the organization itself.
            scopes: permissions and patterns to which it is narrowed, at most 100; None for all that its role grants. They
                never add anything.
            expires_at: from then on it is refused; None for never. It must have a time zone.

        Raises:
            ValidationError: a value is not valid, or there is both or neither of user and role.
            ReferenceError: there is no such organization, or the user is no member of it.
        """
        given = checked(
            CreateKey,
            organization_id=organization_id,
            name=name,
            user_id=user_id,
            role=role,
            scopes=None if scopes is None else list(scopes),
            expires_at=expires_at,
        )
        secret, prefix = new_key()
        made = await self._calls.record(Key, "create_key", key_content(given, secret, prefix))
        if made is None:
            raise ForbiddenError("create_key answered nothing")
        return MadeKey(key=made, secret=secret)

    async def list(self, organization_id: UUID, *, limit: int = 100, after: UUID | None = None) -> Listing[Key]:
        """The keys of an organization, also those that are revoked or have expired.

        Args:
            limit: at most, 1 to 1,000.
            after: `next` of the page before.
        """
        return await self._calls.page(Key, "keys", checked_id(organization_id), limit, after)

    async def revoke(self, key_id: UUID) -> bool:
        """Refuses a key from now on, within a second on every process.

        Returns:
            Whether there is such a key; it may have been revoked before.
        """
        return bool(await self._calls.answer("revoke_key", checked_id(key_id)))


def key_content(given: CreateKey, secret: str, prefix: str) -> str:
    """What the database is told of a new key, as JSON."""
    return to_json({**given.model_dump(), "hash": digest(secret), "prefix": prefix}).decode()
