"""Entities whose records are counted, and numbers that are incremented."""

from decimal import Decimal
from typing import Literal
from uuid import UUID

from freehold import Application, Entity, counter, field, reference


class Resource(Entity, soft_delete=True, checks={"few_notes": "notes <= 50"}):
    name: str = field(max_length=100)
    views: int = field(default=0)
    likes: int | None = field(default=None)
    stock: int = field(default=0, ge=0)
    credit: Decimal = field(default=Decimal(0), digits=8, places=2)
    serial: int = field(default=0, immutable=True)
    ratio: float = field(default=0.0)
    origin_id: UUID | None = reference("self", on_delete="set_null", default=None, reverse="descendants")
    marks: int = counter("Bookmark", via="resource_id", index=True)
    stars: int = counter("Bookmark", via="resource_id", where={"kind": "star", "folder": None})
    seen_also: int = counter("Bookmark", via="related_id")
    notes: int = counter("Note")
    copies: int = counter("self")


class Bookmark(Entity, soft_delete=True):
    resource_id: UUID = reference(Resource, on_delete="cascade", reverse="bookmarks")
    related_id: UUID | None = reference(Resource, on_delete="set_null", default=None, reverse="related")
    kind: Literal["plain", "star"] = field(default="plain")
    folder: str | None = field(default=None, max_length=50)


class Note(Entity):
    resource_id: UUID = reference(Resource, on_delete="cascade", reverse="remarks")
    text: str = field(max_length=100)


application = Application("library", [Resource, Bookmark, Note])
