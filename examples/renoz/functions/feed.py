"""The activity feed: what people did with customers (activities) and what was changed (the log), the latest first.

Both are read in orders of their own that never change under the reader: activities by their time, changes by their place
in the log. They are merged by time, and a cursor is where the reader has got to in each. So a page is two short walks along
indexes, and nothing comes twice or is left out, whatever is added meanwhile.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

from examples.renoz.entities import Address, Contact, Customer, Order, application
from examples.renoz.functions.figures import customer_of
from freehold import Page, Session
from freehold.errors import CursorError, Issue

__all__ = ["FeedItem", "feed", "stream"]

PAGE = 200
TOLD = (Customer, Contact, Address, Order)
"""Whose changes are in the feed."""
UNTOLD = ["id", "organization_id", "version", "created_at", "created_by", "updated_at", "updated_by", "deleted_at"]
PRIVATE = [field.name for cls in TOLD for field in cls.__entity__.fields.values() if field.private]

ACTIVITIES = """
select a.at, 'activity' as source, a.kind as action, 'Activity' as entity, a.id, a.subject as title, c.number as customer,
    a.created_by as actor, null as status, '{}'::text[] as fields, null::bigint as position
from activities a join customers c on c.id = a.customer_id
where (a.at, a.id) < (:at, :id){of}
order by a.at desc, a.id desc limit :most
"""
OF_ACTIVITIES = " and a.customer_id = :customer_id"

CHANGES = """
select l.at, 'change' as source, l.action, l.entity, l.record_id as id, l.position, l.actor_id as actor,
    coalesce(l.row ->> 'name', l.row ->> 'number', l.row ->> 'label',
        trim(concat(l.row ->> 'first_name', ' ', l.row ->> 'last_name'))) as title,
    coalesce(c.number, case l.entity when 'Customer' then l.row ->> 'number' end) as customer,
    case when l.old ->> 'status' <> l.new ->> 'status' then array[l.old ->> 'status', l.new ->> 'status'] end as status,
    case l.action when 'update' then array(
        select n.key from jsonb_each(l.new) as n
        where n.key <> all (:hidden::text[]) and n.value is distinct from l.old -> n.key order by n.key
    ) else '{}' end as fields
from (
    select *, coalesce(new, old) as row from freehold.log
    where kind = 'change' and entity = any (:entities::text[]) and position < :position{of}
    order by position desc limit :most
) l
left join customers c on c.id = (l.row ->> 'customer_id')::uuid
order by l.position desc
"""
OF_CHANGES = """ and record_id in (
        select :customer_id union all select id from orders where customer_id = :customer_id
        union all select id from contacts where customer_id = :customer_id
        union all select id from addresses where customer_id = :customer_id)"""


class FeedItem(BaseModel):
    """Something that happened.

    An activity has its kind as `action`: call, email, meeting, note or task. A change has what was done to the record: create,
    update, delete, restore or purge; `fields` names what an update changed, and `status` is what was and what is.
    """

    model_config = ConfigDict(frozen=True)
    at: datetime
    source: str
    action: str
    entity: str
    id: UUID
    title: str
    customer: str | None
    actor: UUID | None
    status: list[str] | None
    fields: list[str]


class _Row(FeedItem):
    position: int | None


@dataclass(frozen=True)
class _Place:
    """Where a reader has got to: everything from here on is still to come."""

    at: datetime
    id: UUID
    position: int

    def after(self, row: _Row) -> "_Place":
        """The place behind an item."""
        if row.position is None:
            return _Place(row.at, row.id, self.position)
        return _Place(self.at, self.id, row.position)


LATEST = _Place(datetime.fromisoformat("9999-12-31T00:00:00+00:00"), UUID(int=2**128 - 1), 2**63 - 1)


@application.query(name="activities.feed")
async def feed(
    session: Session,
    customer: str | None = None,
    limit: Annotated[int, Field(ge=1, le=PAGE)] = 50,
    after: str | None = None,
) -> Page[FeedItem]:
    """What happened, the latest first: activities, and changes of customers, contacts, addresses and orders.

    Args:
        customer: only what is about the customer with this number.
        limit: so many at most.
        after: the cursor of the page before this one.
    """
    about = None if customer is None else (await customer_of(session, customer)).id
    bound, signer = _binding(session, about), session.store.signer
    place = LATEST if after is None else _place(signer.values(after, bound, subject="after"))
    rows, more = await _read(session, about, place, limit)
    for row in rows:
        place = place.after(row)
    end = to_jsonable_python([place.at, place.id, place.position])
    return Page([_item(row) for row in rows], ends=lambda: [end], far=more, signer=signer, binding=bound)


@application.query(name="activities.stream", requires="activities.feed", stream=True)
async def stream(
    session: Session, customer: str | None = None, most: Annotated[int, Field(ge=1, le=100_000)] = 1_000
) -> AsyncIterator[FeedItem]:
    """The feed item by item, as far back as it is read.

    Args:
        customer: only what is about the customer with this number.
        most: so many at most.
    """
    about = None if customer is None else (await customer_of(session, customer)).id
    place, left = LATEST, most
    more = True
    while more and left:
        rows, more = await _read(session, about, place, min(left, PAGE))
        left -= len(rows)
        for row in rows:
            place = place.after(row)
            yield _item(row)


async def _read(session: Session, about: UUID | None, place: _Place, limit: int) -> tuple[list[_Row], bool]:
    """The next items from a place on, and whether there are more."""
    of: dict[str, Any] = {} if about is None else {"customer_id": about}  # Any: values of the statement
    chosen = ("", "") if about is None else (OF_ACTIVITIES, OF_CHANGES)
    entities = [cls.__entity__.name for cls in TOLD]
    activities = await session.sql(
        _Row, ACTIVITIES.replace("{of}", chosen[0]), at=place.at, id=place.id, most=limit + 1, **of
    )
    changes = await session.sql(
        _Row,
        CHANGES.replace("{of}", chosen[1]),
        position=place.position,
        entities=entities,
        hidden=UNTOLD + PRIVATE,
        most=limit + 1,
        **of,
    )
    rows = list(_merged(activities, changes))
    return rows[:limit], len(rows) > limit


def _merged(activities: Sequence[_Row], changes: Sequence[_Row]) -> Iterator[_Row]:
    """Both walks as one, the later first. Each keeps its own order, also where its times are out of it."""
    one, other = list(reversed(activities)), list(reversed(changes))
    while one or other:
        from_one = bool(one) and (not other or one[-1].at >= other[-1].at)
        yield (one if from_one else other).pop()


def _item(row: _Row) -> FeedItem:
    return FeedItem.model_construct(**{name: getattr(row, name) for name in FeedItem.model_fields})


def _binding(session: Session, about: UUID | None) -> str:
    """What a cursor of the feed belongs to."""
    asked = f"{session.context.organization_id} feed {about}"
    return hashlib.sha256(asked.encode()).hexdigest()[:24]


def _place(values: Sequence[Any]) -> _Place:
    try:
        at, id, position = values
        return _Place(datetime.fromisoformat(at), UUID(id), int(position))
    except (ValueError, TypeError):
        raise CursorError([Issue((), "is no cursor of the feed", "cursor_type")], subject="after") from None
