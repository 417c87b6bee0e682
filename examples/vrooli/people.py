"""What is asked of people."""

from uuid import UUID

from examples.vrooli.entities import Person
from freehold import Include, Page, Repository

__all__ = ["People"]


class People(Repository[Person]):
    """Named queries of people."""

    async def by_email(self, email: str) -> Person | None:
        """The person with this address, however it is written."""
        return await self.find({"email": email.strip().lower()})

    async def by_handle(self, handle: str) -> Person | None:
        """The person with this handle, however it is written, with or without its @."""
        return await self.find({"handle": handle.strip().removeprefix("@").lower()})

    async def of_user(self, user_id: UUID) -> Person | None:
        """The person as whom a user signs in here."""
        return await self.find({"user_id": user_id})

    async def with_teams(self, id: UUID) -> Person | None:
        """A person with their memberships, the teams of these, and how many members each team has: one statement."""
        return await self.find(
            {"id": id},
            include={
                "memberships": Include(
                    order_by="created_at", limit=200, include={"team": Include(include={"members": "count"})}
                )
            },
        )

    async def search_public(self, text: str, *, limit: int = 20, after: str | None = None) -> Page[Person]:
        """Public people in whose name, handle or email all the words begin something, by handle.

        Args:
            text: words, or their beginnings; one that begins nothing is replaced by those most like it.
            limit: people at most.
            after: the `next` cursor of the page before this one.
        """
        return await self.list(search=text, where={"is_public": True}, order_by="handle", limit=limit, after=after)
