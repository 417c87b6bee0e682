"""Search over everything that the caller may list."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from examples.renoz.entities import application
from freehold import Entity, Session
from freehold.errors import ForbiddenError
from freehold.model.permissions import permits
from freehold.store.search import Hit

__all__ = ["Found", "Marked", "Results", "find_anything"]

TITLES = ("name", "subject", "number", "last_name", "label", "sku")
"""The first of these fields that a record has is what it is called."""


class Marked(BaseModel):
    """A part of a field's text, in pieces of which some match."""

    model_config = ConfigDict(frozen=True)
    field: str
    pieces: list[tuple[str, bool]]


class Found(BaseModel):
    """A record that a search found."""

    model_config = ConfigDict(frozen=True)
    entity: str
    id: UUID
    title: str
    rank: float
    parts: list[Marked]


class Results(BaseModel):
    """What a search found, the best first.

    `words` is what was looked up: a word that nothing begins with is replaced by those most like it.
    """

    model_config = ConfigDict(frozen=True)
    words: list[str]
    found: list[Found]
    next: str | None


@application.query(name="search")
async def find_anything(
    session: Session,
    text: Annotated[str, Field(min_length=1, max_length=1_000)],
    limit: Annotated[int, Field(ge=1, le=100)] = 20,
    after: str | None = None,
) -> Results:
    """Customers, contacts, addresses, products and activities in which all words are found, the best first.

    Only records that the caller may list are looked at.

    Args:
        text: words, or their beginnings; typing errors are forgiven.
        limit: so many at most.
        after: the cursor of the results before these.
    """
    page = await session.search(text, in_=_listed(session), limit=limit, after=after)
    return Results(words=list(page.words), found=[_found(hit) for hit in page], next=page.next)


def _listed(session: Session) -> list[type[Entity]]:
    """The entities with searchable fields that the caller may list.

    Raises:
        ForbiddenError: there are none.
    """
    granted = session.context.permissions
    found = [
        entity.cls
        for entity in application.registry.entities.values()
        if entity.searchable and permits(granted, entity.exposed.get("list") or f"{entity.table}.list")
    ]
    if not found:
        raise ForbiddenError("the role grants no list that could be searched", hint="ask an administrator")
    return found


def _found(hit: Hit[Entity]) -> Found:
    values = hit.record.__dict__
    title = next((str(values[name]) for name in TITLES if values.get(name)), hit.entity)
    parts = [
        Marked(field=part.field, pieces=[(piece.text, piece.matched) for piece in part.segments])
        for part in hit.fragments
    ]
    return Found(entity=hit.entity, id=hit.id, title=title, rank=hit.rank, parts=parts)
