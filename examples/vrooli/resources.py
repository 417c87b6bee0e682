"""What is asked of resources."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from examples.vrooli.entities import Kind, Resource, ResourceTranslation
from freehold import Fragment, Include, Page, Repository, Session

__all__ = ["TRENDING", "Found", "Resources", "Trending"]


class Trending(BaseModel):
    """One line of what is trending."""

    model_config = ConfigDict(frozen=True)
    id: UUID
    name: str | None
    kind: Kind
    score: int
    bookmarks_gained: int
    views: int


@dataclass(frozen=True)
class Found:
    """A resource that a search found.

    Args:
        resource: which.
        translation: the one that matches best.
        fragments: the parts of its fields in which words were found.
    """

    resource: Resource
    translation: ResourceTranslation
    fragments: tuple[Fragment, ...]


# The bookmarks of the days come from the index on their moment; a total could be sorted by without SQL, a gain cannot.
TRENDING = """
select r.id, t.name, r.kind, r.score, coalesce(b.gained, 0) as bookmarks_gained, r.views
from resources r
left join (
    select resource_id, count(*) as gained
    from bookmarks where created_at >= :since and deleted_at is null
    group by resource_id
) b on b.resource_id = r.id
left join lateral (
    select name from resource_translations where resource_id = r.id
    order by language = :language desc, created_at, id limit 1
) t on true
where r.deleted_at is null and r.is_public and (r.created_at >= :since or b.gained > 0)
order by r.score desc, bookmarks_gained desc, r.views desc, r.id
limit :most
"""


class Resources(Repository[Resource, Session]):
    """Named queries of resources."""

    async def with_creator_and_latest(self, id: UUID) -> Resource | None:
        """A resource with its creator, its translations and its latest version."""
        return await self.find(
            {"id": id},
            include={
                "creator": True,
                "translations": Include(order_by="language"),
                "versions": Include(where={"is_latest": True}),
            },
        )

    async def by_type(self, kind: Kind, *, limit: int = 50, after: str | None = None) -> Page[Resource]:
        """Resources of a kind, the newest first, with their translations and a total."""
        return await self.list(
            where={"kind": kind},
            order_by=["-created_at"],
            limit=limit,
            after=after,
            include={"translations": Include(order_by="language")},
            with_total=True,
        )

    async def trending(self, *, days: int, now: datetime, language: str = "en", most: int = 10) -> Sequence[Trending]:
        """Public resources that were made or bookmarked in the last days: by score, bookmarks gained in them, and views.

        Args:
            days: how far back.
            now: from when.
            language: of the names; where there is no such translation, the first one's.
            most: resources at most.
        """
        return await self.session.sql(
            Trending, TRENDING, since=now - timedelta(days=days), language=language, most=most
        )

    async def search(self, text: str, *, public: bool = True, most: int = 20) -> tuple[Found, ...]:
        """Resources in one of whose translations all words are found, the best first and each once.

        Args:
            text: words, or their beginnings.
            public: only resources that are public.
            most: resources at most, 1 to 100.
        """
        found: dict[UUID, Found] = {}
        cursor = None
        while True:
            page = await self.session.search(text, in_=ResourceTranslation, limit=100, after=cursor)
            ids = {hit.record.resource_id for hit in page} - found.keys()
            there = {resource.id: resource for resource in await self.session.get_many(Resource, list(ids))}
            for hit in page:
                resource = there.get(hit.record.resource_id)
                if resource is not None and resource.id not in found and (resource.is_public or not public):
                    found[resource.id] = Found(resource, hit.record, hit.fragments)
            cursor = page.next
            if cursor is None or len(found) >= most:
                return tuple(found.values())[:most]
