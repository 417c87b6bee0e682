"""What a function answers with, and how its result becomes JSON.

A page that was read `as_json` is passed on as PostgreSQL wrote it. Everything else is written by its declared type. Private
fields of records are never written: see `freehold.model.fields`.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError, SchemaSerializer, to_json

from freehold.errors import InternalError
from freehold.model.entity import Entity
from freehold.model.moments import respelled
from freehold.model.pages import Page
from freehold.model.schemas import serializer

__all__ = ["Answer", "Result", "result_of"]

_EXPECTED = re.compile(r"Expected `([^`\n]{1,100})`")


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes of a call.

    Args:
        body: JSON, or what `media` says.
        media: the type of the body.
        version: of the one record that the body is.
        created: the id of the record that was made.
        next, previous: cursors of the pages around this one.
        page: whether the body is a page: `{"data": [...], "next": ..., "previous": ...}`.
        stream: items, each as JSON, in place of a body; or parts of the body where `media` is not JSON.
        repeated: whether an earlier call with the same idempotency key had done it.
        position: of the command's transaction: what a later read gives to see at least this.
        cache: seconds for which a client may keep it.
    """

    body: bytes = b"null"
    media: str = "application/json"
    version: int | None = None
    created: UUID | None = None
    next: str | None = None
    previous: str | None = None
    page: bool = False
    stream: AsyncIterator[bytes] | None = None
    repeated: bool = False
    position: int | None = None
    cache: float | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """A declared result.

    Args:
        annotation: as declared; of a stream, of one item; of a page, of one record.
        adapter: writes values of it.
        page: whether it is a page of them.
        records: whether there are records in it: those with relations are of classes made for them, and are written whole. Other
            objects are written as their declared type says, whatever more they have.
    """

    annotation: Any  # Any: an annotation
    adapter: TypeAdapter[Any]
    page: bool = False
    records: bool = field(init=False)
    _serializer: SchemaSerializer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", _has_records(self.annotation, set()))
        object.__setattr__(self, "_serializer", _serializer(self.adapter))

    def write(self, value: Any) -> bytes:
        """A value as JSON.

        Raises:
            InternalError: it is not of the declared type.
        """
        try:
            return self._serializer.to_json(value, polymorphic_serialization=self.records, warnings="error")
        except PydanticSerializationError as error:
            # Its text quotes the value, which has no place in a log.
            expected = ", ".join(dict.fromkeys(_EXPECTED.findall(str(error))))
            raise InternalError(f"a function returned something else than it declares: {expected[:300]}") from None

    def answer(self, value: Any) -> Answer:
        """A function's value as its answer."""
        if isinstance(value, Answer):
            return value
        if self.page:
            return self._page(value)
        version = value.version if isinstance(value, Entity) else None
        return Answer(self.write(value), version=version)

    def _page(self, page: Any) -> Answer:
        if not isinstance(page, Page):
            raise InternalError(f"a function returned {type(page).__name__}, and declares a page")
        data = page.json if page.json is not None else self.write(page.records)
        return page_answer(page, data)


def page_answer(page: Page[Any], data: bytes) -> Answer:
    """The answer with a page.

    Args:
        page: for its cursors and total.
        data: its records, a JSON array.
    """
    return paged(data, page.next, page.previous, page.total)


def paged(data: bytes, following: str | None, previous: str | None = None, total: int | None = None) -> Answer:
    """The answer with a page's data, a JSON array, and the cursors of the pages around it."""
    ends = to_json({"next": following, "previous": previous})
    if total is not None:
        ends = to_json({"next": following, "previous": previous, "total": total})
    return Answer(b'{"data":' + data + b"," + ends[1:], next=following, previous=previous, page=True)


def result_of(annotation: Any) -> Result:
    """Reads a result's annotation.

    Raises:
        PydanticUserError: it cannot be written as JSON.
    """
    if get_origin(annotation) is Page:
        (item,) = get_args(annotation)
        records: TypeAdapter[Any] = TypeAdapter(tuple[item, ...])  # type: ignore[valid-type]  # known at run time
        return Result(item, records, page=True)
    return Result(annotation, TypeAdapter(annotation))


def _has_records(annotation: Any, seen: set[type]) -> bool:
    """Whether an annotation leads to an entity."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if issubclass(annotation, Entity):
            return True
        if annotation in seen:
            return False
        seen.add(annotation)
        return any(_has_records(info.annotation, seen) for info in annotation.model_fields.values())
    return any(_has_records(item, seen) for item in get_args(annotation))


def _serializer(adapter: TypeAdapter[Any]) -> SchemaSerializer:
    """What writes a type's values, each in its one form."""
    return serializer(respelled(adapter.core_schema))
