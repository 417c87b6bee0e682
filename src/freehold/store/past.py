"""Reads of what was at a moment.

The context that such reads send names the moment, under its seal; the statements are those of any read, with the rows of
the past in place of the tables (`freehold.sql.past`). Opening asks for the columns that were not there yet: one message
more, once.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from freehold.errors import ValidationError
from freehold.model.shapes import Shapes
from freehold.sql.past import Past
from freehold.sql.statements import Statement
from freehold.store.messages import Messenger
from freehold.store.reads import Reads

__all__ = ["PastSession", "look_back"]


class PastSession(Reads):
    """Reads of one organization as it was at a moment; get one from `Session.as_of`.

    Args:
        messenger: sends the reads, with the moment.
        moment: of which they tell.
    """

    def __init__(self, messenger: Messenger, moment: datetime) -> None:
        super().__init__(messenger)
        self.moment = moment


async def look_back(messenger: Messenger, moment: Any) -> Messenger:
    """A messenger whose reads are about a moment.

    Raises:
        HistoryError, ValidationError: see `Session.as_of`.
    """
    # A time zone may not know its offset: such a datetime is naive.
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise ValidationError.single(
            (), f"must be a datetime with a time zone, not {moment!r}"[:120], "datetime_type", subject="moment"
        )
    store = messenger.store
    back = Messenger(store, messenger.context, messenger.timeout, moment=_in_utc(moment), parent=messenger)
    past = Past(store.schemas.engine, store.schemas.application)
    keep = "false" if messenger.held else "true"
    columns = (
        "select a.table_name, a.column_name, m.seen::text as seen, m.settled::text as settled, "
        f"{past.own('late')}(e.organization_id, e.moment, m.seen, m.since, m.reached)::text as late from {past.entry} "
        f"cross join lateral {past.own('mark_of')}(e.moment, {keep}) as m "
        f"left join lateral {past.own('absent_columns')}(e.moment) as a on true"
    )
    rows = await back.rows(Statement(columns))
    back.see(_in_utc(moment), **{name: rows[0][name] for name in ("seen", "settled", "late")})
    absent = frozenset((row[0], row[1]) for row in rows if row[0] is not None)
    shapes = Shapes(store.registry, absent, most=store.bounds.bytes) if absent else store.shapes
    back.store = replace(store, schemas=replace(past, absent=absent), shapes=shapes)
    return back


def _in_utc(moment: datetime) -> datetime:
    """The same moment: PostgreSQL knows fewer time zones than Python. At the ends of time it stays as it is."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)
