"""Full-text search over one entity, some of them or all."""

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic_core import to_json

from freehold.errors import ConfigurationError, Issue, ValidationError
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.entity import Entity
from freehold.model.pages import Page, parse_limit
from freehold.model.registry import Registry
from freehold.model.words import Fragment, fragments, parse_words
from freehold.sql.search import search_statement
from freehold.store.messages import Messenger
from freehold.store.slices import in_slices

__all__ = ["Hit", "SearchPage", "check_searchable", "search"]

EntityT_co = TypeVar("EntityT_co", bound=Entity, covariant=True)

MARKED = 10_000
"""Bytes of records in which fragments are looked for at once: some milliseconds."""
RANKS = 1_000_000
"""The database counts a rank in millionths, so that equal ranks are equal in a cursor too."""


@dataclass(frozen=True)
class Hit(Generic[EntityT_co]):
    """A record that was found.

    Args:
        entity: the name of its entity.
        id: its id.
        rank: how well it matches; the higher, the better. Only ranks of one search can be compared.
        record: as `get` gives it.
        fragments: the parts of its fields in which words were found.
    """

    entity: str
    id: UUID
    rank: float
    record: EntityT_co
    fragments: tuple[Fragment, ...]


class SearchPage(Page[Hit[EntityT_co]]):
    """Some of what a search found, the best first. `next` continues it; there is no way back.

    Args:
        records: the hits.
        words: what was looked up: the words of the text and, for one that nothing begins with, those most like it.
        more: as in `Page`.
    """

    def __init__(self, records: Sequence[Hit[EntityT_co]], *, words: Sequence[str] = (), **more: Any) -> None:
        super().__init__(records, **more)
        self.words = tuple(words)


def check_searchable(entity: EntityDescription, registry: Registry, *, subject: str) -> None:
    """Raises ValidationError where an entity has no field that search looks in."""
    if not entity.searchable:
        some = ", ".join(each.name for each in registry.entities.values() if each.searchable) or "no entity has"
        raise ValidationError(
            [Issue((), f"{entity.name} has no searchable fields; those that have some: {some}", "not_searchable")],
            subject=subject,
            hint="declare the fields that are to be found with field(search=True)",
        )


def _entities(registry: Registry, in_: Any) -> list[EntityDescription]:
    """The entities to search, each once and in the order of their names, which is that of equal ranks."""
    if in_ is None:
        found = [entity for entity in registry.entities.values() if entity.searchable]
        if not found:
            raise ConfigurationError(
                "no entity has searchable fields",
                hint="declare the fields that are to be found with field(search=True)",
            )
        return found
    if isinstance(in_, type):
        in_ = [in_]
    if isinstance(in_, str) or not isinstance(in_, Sequence) or not in_ or not all(isinstance(c, type) for c in in_):
        raise ValidationError([Issue((), "must be an entity or a list of entities", "entity_type")], subject="in_")
    found = list(dict.fromkeys(registry[cls] for cls in in_))
    for entity in found:
        check_searchable(entity, registry, subject="in_")
    return found


async def search(messenger: Messenger, text: Any, *, in_: Any, limit: int, after: str | None) -> SearchPage[Any]:
    """A page of what matches all words of a text.

    Args:
        messenger: of the session.
        text: words, or their beginnings.
        in_: an entity, some, or None for all.
        limit: hits at most.
        after: the cursor of the page before.
    """
    store = messenger.store
    entities = _entities(store.registry, in_)
    words, limit = parse_words(text), parse_limit(limit)
    names = sorted(entity.name for entity in entities)
    asked = to_json([messenger.context.organization_id, "search", words, names])
    bound = hashlib.sha256(asked).hexdigest()[:24]
    last = None
    if after is not None:
        rank, name, id = store.signer.values(after, bound, subject="after")
        last = (rank, name, UUID(id))
    if not words:
        return SearchPage([])
    shapes = {entity.name: store.shapes.parse(entity) for entity in entities}
    rows = await messenger.rows(search_statement(list(shapes.values()), text, limit, store.schemas, last=last))
    page = rows[:limit]
    return SearchPage(
        await _hits(messenger, shapes, page),
        words=[word for word in page[0]["sought"] if word is not None] if page else words,
        ends=lambda: [[row["rank"], row["entity"], str(row["record_id"])] for row in (page[0], page[-1])],
        far=len(rows) > limit,
        signer=store.signer,
        binding=bound,
    )


async def _hits(messenger: Messenger, shapes: Any, rows: Sequence[Any]) -> list[Hit[Any]]:
    """The hits of rows; a record that another policy hides is none."""
    records: dict[UUID, Entity] = {}
    for name, shape in shapes.items():
        found = [row["j"] for row in rows if row["entity"] == name and row["j"] is not None]
        async for part in in_slices(found, len):
            for record in messenger.store.shapes.adapter(shape).validate_json(b"[%b]" % b",".join(part)):
                records[record.id] = record
    hits: list[Hit[Any]] = []
    async for turn in in_slices(
        [row for row in rows if row["record_id"] in records], lambda row: len(row["j"]), MARKED
    ):
        hits += [_hit(row, records[row["record_id"]], shapes[row["entity"]].entity.searchable) for row in turn]
    return hits


def _hit(row: Any, record: Entity, searchable: Sequence[FieldDescription]) -> Hit[Any]:
    texts = [(field.name, _text(getattr(record, field.name))) for field in searchable]
    found = fragments(texts, [word for word in row["sought"] if word is not None])
    return Hit(row["entity"], record.id, row["rank"] / RANKS, record, found)


def _text(value: Any) -> str | None:
    """A field's text as the database took it up."""
    if isinstance(value, list | tuple):
        return " ".join(str(_text(item)) for item in value)
    return value.value if isinstance(value, enum.Enum) else value  # type: ignore[no-any-return]  # a field's text
