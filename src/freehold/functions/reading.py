"""The queries that entities offer. What they answer with is PostgreSQL's JSON, untouched."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from freehold.errors import ForbiddenError, ValidationError
from freehold.functions.declaration import Function
from freehold.functions.inclusion import Includes, Inclusion, Where, includes
from freehold.functions.offering import Cursor, Id, Limit, Names, article, function, refused, words
from freehold.functions.results import Answer, page_answer, paged, result_of
from freehold.functions.texts import list_arguments, read_arguments
from freehold.model.context import Context
from freehold.model.description import EntityDescription
from freehold.model.filters import parse_filter
from freehold.model.pages import Page, parse_order
from freehold.model.permissions import permits
from freehold.model.registry import Registry
from freehold.model.values import shaped
from freehold.model.vocabulary import Vocabulary, offered
from freehold.store.history import Change
from freehold.store.session import Session

__all__ = ["WHERE", "Group", "Groups", "RecordChange", "ValueChange", "aggregate", "get", "history", "list_"]

MAXIMUM_CHANGES = 500
"""Changes in one page of a history."""

WHERE = Field(
    default=None, description='A filter: {"status": "active", "total": {"gte": 100}, "or": [...]}. All of it must hold.'
)
_SELECT = Field(default=None, description="Only these fields, and the id. Without it, all.")
_INCLUDE = Field(
    default=None, description='Relations that come along: ["contacts"], or {"orders": {"limit": 5}, "lines": "count"}.'
)
_DELETED = Field(default=False, description="Whether deleted records are in; needs the permission to restore them.")


class ValueChange(BaseModel):
    """A field's value before and after a change."""

    before: Any = None
    after: Any = None


class RecordChange(BaseModel):
    """One change of a record."""

    model_config = ConfigDict(frozen=True)

    position: int = Field(description="Its place in the log.")
    action: str = Field(description="create, update, delete, restore or purge.")
    version: int = Field(description="The record's version after it; before it, where the record is gone.")
    at: datetime = Field(description="When its transaction began.")
    actor_id: UUID | None = Field(description="The user on whose behalf it was made.")
    request_id: str | None = Field(description="The request that made it.")
    client_ip: str | None = Field(description="Where that came from.")
    user_agent: str | None = Field(description="With which software.")
    diff: dict[str, ValueChange] = Field(description="The fields that changed.")


class Group(BaseModel):
    """One group of records."""

    model_config = ConfigDict(frozen=True)

    keys: dict[str, Any] = Field(description="The group's values by field.")
    count: int = Field(description="How many records it has.")
    sum: dict[str, Any] = Field(description="Sums by field; null where all values are.")
    avg: dict[str, Any] = Field(description="Averages by field.")
    min: dict[str, Any] = Field(description="Least values by field.")
    max: dict[str, Any] = Field(description="Greatest values by field.")


class Groups(BaseModel):
    """The groups of records, in the order of their keys."""

    model_config = ConfigDict(frozen=True)

    data: list[Group]


def list_(entity: EntityDescription, registry: Registry) -> Function:
    """`customers.list(where, order, limit, after, before, include, select, search, total, deleted)`."""
    name = f"{entity.table}.list"

    async def call(
        session: Session,
        where: Mapping[str, Any] | None,
        order: list[str] | None,
        limit: int,
        after: str | None,
        before: str | None,
        include: Mapping[str, Inclusion] | None,
        select: list[str] | None,
        total: bool,
        search: str | None = None,
        deleted: bool = False,
    ) -> Answer:
        vocabulary = offered(registry, session.context.permissions)
        if deleted:
            check_deleted(entity, session.context)
        relations = includes(include)
        order_by = order[0] if order is not None and len(order) == 1 else order
        try:
            page = await session.reader.list(
                entity.cls, where=where, order_by=order_by, limit=limit, after=after, before=before,
                include=relations, select=select, search=search, with_total=total, deleted=deleted,
                private=False, as_json=True, vocabulary=vocabulary,
            )  # fmt: skip
        except ValidationError as error:
            shapes = session.store.shapes
            raise refused(
                name,
                {
                    **conditions(entity, vocabulary, where, order_by),
                    "include": lambda: shapes.parse(entity, include=relations, vocabulary=vocabulary),
                    "select": lambda: shapes.parse(entity, select=select, vocabulary=vocabulary),
                },
                error,
            ) from None
        return page_answer(page, page.json or b"[]")

    many = words(entity, many=True)
    parameters: dict[str, Any] = {
        "where": (Where, WHERE),
        "order": (Names | None, Field(default=None, description="Fields to sort by; - before one for descending.")),
        "limit": (Limit, Field(default=50, description=f"How many {many} at most.")),
        "after": (Cursor | None, Field(default=None, description="The next cursor of the page before this one.")),
        "before": (Cursor | None, Field(default=None, description="The previous cursor of the page after this one.")),
        "include": (Includes | None, _INCLUDE),
        "select": (Names | None, _SELECT),
        "total": (bool, Field(default=False, description="Whether to count all that match.")),
        **narrowing(entity),
    }
    result = result_of(Page[entity.cls])  # type: ignore[name-defined]  # known at run time
    return function(
        entity, "list", call, "query", result, parameters, f"A page of {many}.",
        "Its cursors lead to the pages around it.", texts=texts_of(entity, registry, parameters),
    )  # fmt: skip


def get(entity: EntityDescription, registry: Registry) -> Function:
    """`customers.get(id, include, select)`."""
    name = f"{entity.table}.get"

    async def call(
        session: Session, id: UUID, include: Mapping[str, Inclusion] | None, select: list[str] | None
    ) -> Answer:
        shapes = session.store.shapes
        if include is None and select is None:
            body, version = await session.reader.get_body(shapes.parse(entity), id)
            return Answer(body, version=version)
        vocabulary, relations = offered(registry, session.context.permissions), includes(include)
        try:
            shape = shapes.parse(entity, select=select, include=relations, vocabulary=vocabulary)
        except ValidationError as error:
            parts = {
                "include": lambda: shapes.parse(entity, include=relations, vocabulary=vocabulary),
                "select": lambda: shapes.parse(entity, select=select, vocabulary=vocabulary),
            }
            raise refused(name, parts, error) from None
        body, version = await session.reader.get_body(shape, id)
        # The version says nothing of what is included.
        return Answer(body, version=None if include else version)

    parameters: dict[str, Any] = {
        "id": (Id, ...),
        "include": (Includes | None, _INCLUDE),
        "select": (Names | None, _SELECT),
    }
    return function(
        entity, "get", call, "query", result_of(entity.cls), parameters, f"One {words(entity)}.", texts=read_arguments
    )


def history(entity: EntityDescription, registry: Registry) -> Function:  # noqa: ARG001
    """`customers.history(id, limit, after)`."""

    async def call(session: Session, id: UUID, limit: int, after: int | None) -> Answer:
        target = (entity.cls, id)
        found = await session.history(target, limit=limit + 1, before=after)
        if not found and after is None:
            await session.reader.get_body(session.store.shapes.parse(entity), id)  # is it there at all?
        changes = found[:limit]
        following = str(changes[-1].position) if len(found) > limit else None
        return paged(to_json([_change(change) for change in changes]), following)

    one = words(entity)
    parameters: dict[str, Any] = {
        "id": (Id, ...),
        "limit": (
            Annotated[int, Field(ge=1, le=MAXIMUM_CHANGES)],
            Field(default=50, description="How many changes at most."),
        ),
        "after": (
            Annotated[int, Field(ge=0, lt=2**63)] | None,
            Field(default=None, description="The next cursor of the page before this one."),
        ),
    }
    return function(
        entity,
        "history",
        call,
        "query",
        result_of(Page[RecordChange]),
        parameters,
        f"What has changed in {article(one)}, newest first.",
        f"Also of {article(one)} that was deleted.",
    )


def aggregate(entity: EntityDescription, registry: Registry) -> Function:
    """`customers.aggregate(group_by, sum, avg, min, max, where, limit, deleted)`."""
    name = f"{entity.table}.aggregate"

    async def call(
        session: Session,
        group_by: list[str],
        where: Mapping[str, Any] | None,
        limit: int,
        deleted: bool = False,
        **measures: list[str],
    ) -> Answer:
        vocabulary = offered(registry, session.context.permissions)
        if deleted:
            check_deleted(entity, session.context)
        try:
            found = await session.aggregate(
                entity.cls,
                group_by=group_by,
                where=where,
                limit=limit,
                deleted=deleted,
                vocabulary=vocabulary,
                **measures,
            )
        except ValidationError as error:
            raise refused(name, conditions(entity, vocabulary, where, None), error) from None
        told = [
            {"keys": group.keys, "count": group.count} | {m: getattr(group, m) for m in measures} for group in found
        ]
        return Answer(b'{"data":%b}' % to_json([shaped(group) for group in told]))

    many = words(entity, many=True)
    measured = {
        "sum": "Number fields to sum up.",
        "avg": "Number fields to take the average of.",
        "min": "Fields of which the least value is told.",
        "max": "Fields of which the greatest value is told.",
    }
    parameters: dict[str, Any] = {
        "group_by": (
            Names,
            Field(default=[], description="The fields of a group's key; without any, all are one group."),
        ),
        **{measure: (Names, Field(default=[], description=told)) for measure, told in measured.items()},
        "where": (Where, WHERE),
        "limit": (Limit, Field(default=1_000, description="How many groups at most; more are an error.")),
    }
    parameters |= {name: how for name, how in narrowing(entity).items() if name != "search"}
    return function(
        entity,
        "aggregate",
        call,
        "query",
        result_of(Groups),
        parameters,
        f"Counts, sums, averages, least and greatest values of {many}, by group.",
        texts=texts_of(entity, registry, parameters),
    )


def check_deleted(entity: EntityDescription, context: Context) -> None:
    """Whether a caller may read deleted records of an entity: who may restore them may.

    Raises:
        ForbiddenError: the caller may not.
    """
    needed = entity.exposed.get("restore")
    if needed is not None and not permits(context.permissions, needed):
        raise ForbiddenError(
            f"deleted {words(entity, many=True)} need the permission {needed}", hint="ask without deleted"
        )


def texts_of(
    entity: EntityDescription, registry: Registry, parameters: Collection[str]
) -> Callable[[Mapping[str, Sequence[str]]], dict[str, Any]]:
    """What reads the texts of a function that takes a filter."""
    names = frozenset(parameters)
    return lambda texts: list_arguments(entity, registry, texts, parameters=names)


def narrowing(entity: EntityDescription) -> dict[str, Any]:
    """The parameters that only some entities have."""
    found: dict[str, Any] = {}
    if entity.searchable:
        names = ", ".join(field.name for field in entity.searchable)
        told = f"Only records in which all these words, or words that begin so, are found in {names}."
        found["search"] = (Annotated[str, Field(max_length=1_000)] | None, Field(default=None, description=told))
    if "restore" in entity.exposed:
        found["deleted"] = (bool, _DELETED)
    return found


def conditions(
    entity: EntityDescription, vocabulary: Vocabulary, where: Mapping[str, Any] | None, order: Any
) -> dict[str, Any]:
    """What reads a filter and an order, for telling what is wrong with them."""
    return {
        "where": lambda: parse_filter(where, entity, vocabulary),
        "order": lambda: parse_order(order, entity, vocabulary),
    }


def _change(change: Change) -> dict[str, Any]:
    told = {name: getattr(change, name) for name in RecordChange.model_fields if name != "diff"}
    diff = {name: {"before": shaped(old), "after": shaped(new)} for name, (old, new) in change.diff.items()}
    return {**shaped(told), "diff": diff}
