"""Entities that hold every kind of value, and strategies for their rows, filters and orders."""

import enum
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Aliased

from freehold import Application, Context, Database, Entity, field, reference
from freehold.engine.functions import entity_function
from freehold.model.context import new_id
from freehold.model.values import to_payload
from tests.probe import sealed


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "it's \\bad"


class Grade(enum.IntEnum):
    LOW = -1
    HIGH = 9


class Inner(BaseModel):
    text: str | None = None
    integer: int | None = None
    number: float | None = None
    amount: Decimal | None = None
    flag: bool | None = None
    day: date | None = None
    moment: datetime | None = None
    clock: time | None = None
    key: UUID | None = None
    mood: Mood | None = None


class Document(BaseModel):
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    inner: Inner | None = None
    title: str | None = Aliased(default=None, alias="main-title")
    extra: list[Any] | None = None


class Box(Entity):
    label: str | None = field(default=None, max_length=20)
    weight: int | None = field(default=None)
    mood: Mood | None = field(default=None)


class Sample(Entity):
    box_id: UUID | None = reference(Box, default=None, reverse="contents")
    text: str | None = field(default=None, max_length=100, index=True)
    integer: int | None = field(default=None)
    number: float | None = field(default=None)
    amount: Decimal | None = field(default=None, digits=30, places=10)
    flag: bool | None = field(default=None)
    day: date | None = field(default=None)
    moment: datetime | None = field(default=None)
    clock: time | None = field(default=None)
    span: timedelta | None = field(default=None)
    key: UUID | None = field(default=None)
    blob: bytes | None = field(default=None, max_length=20)
    mood: Mood | None = field(default=None)
    word: Literal["", "a", "A"] | None = field(default=None)
    grade: Grade | None = field(default=None)
    texts: list[str] | None = field(default=None)
    integers: list[int] | None = field(default=None)
    amounts: list[Decimal] | None = field(default=None, digits=10, places=3)
    moments: list[datetime] | None = field(default=None)
    spans: list[timedelta] | None = field(default=None)
    blobs: list[bytes] | None = field(default=None)
    moods: list[Mood] | None = field(default=None)
    flags: list[bool] | None = field(default=None)
    document: Document | None = field(default=None)
    rank: int = field(default=0)
    name: str = field(default="", max_length=20)


samples = Application("samples", [Box, Sample])

# Small pools with the extremes in them: equal values, near misses and the ends of each type must be frequent.
LETTERS = "aAb%_\\'\"$é\u0301 \t\x01\ud7ff\ue000\uffff\U0001d11e\U0010ffff"
TEXTS = st.text(LETTERS, max_size=3)
INTEGERS = st.sampled_from([-(2**63), -(2**53) - 1, -2, -1, 0, 1, 2, 10, 2**53, 2**53 + 1, 2**63 - 1])
FLOATS = st.sampled_from(
    [-1.7976931348623157e308, -1.5, -5e-324, -0.0, 0.0, 5e-324, 0.1, 0.30000000000000004, 1.0, 1e16, 1e22]
)
AMOUNTS = st.sampled_from(
    [
        "-99999999999999999999.9999999999",
        "-1.5",
        "-0.0000000001",
        "0",
        "-0",
        "0.00",
        "1",
        "1.0",
        "1.5",
        "12345678901234567890.1",
    ]
).map(Decimal)
DAYS = st.sampled_from(
    [date.min, date(1582, 10, 10), date(1999, 12, 31), date(2000, 2, 29), date(2026, 1, 1), date.max]
)
ZONES = st.sampled_from(
    [
        UTC,
        timezone(timedelta(hours=-8)),
        timezone(timedelta(hours=5, minutes=45)),
        timezone(timedelta(minutes=19, seconds=32)),
    ]
)
MOMENTS = st.sampled_from(
    [
        datetime.min.replace(tzinfo=UTC),
        datetime(1899, 12, 31, 23, 59, 59, 999999, UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 0, 1, UTC),
        datetime.max.replace(tzinfo=UTC),
    ]
) | st.builds(lambda zone, hour: datetime(2026, 1, 1, hour, tzinfo=zone), ZONES, st.integers(0, 6))
CLOCKS = st.sampled_from([time.min, time(9, 30), time(9, 30, 0, 1), time(23, 59, 59, 999999)])
SPANS = st.sampled_from(
    [
        timedelta(days=-49_000),
        timedelta(days=-1, microseconds=1),
        timedelta(microseconds=-1),
        timedelta(0),
        timedelta(microseconds=1),
        timedelta(hours=24),
        timedelta(days=1),
        timedelta(days=31),
        timedelta(days=48_999, microseconds=1),
        timedelta(days=48_999, microseconds=2),
        timedelta(days=49_000),
    ]
)
KEYS = st.sampled_from([UUID(int=0), UUID(int=1), UUID(int=2**127), UUID(int=2**128 - 1)])
BLOBS = st.binary(max_size=2) | st.sampled_from([b"", b"\x00", b"\xff", b"\\x00"])
MOODS = st.sampled_from(Mood)
WORDS = st.sampled_from(["", "a", "A"])
GRADES = st.sampled_from(Grade)
FLAGS = st.booleans()

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "integer": INTEGERS,
    "number": FLOATS,
    "amount": AMOUNTS,
    "flag": FLAGS,
    "day": DAYS,
    "moment": MOMENTS,
    "clock": CLOCKS,
    "span": SPANS,
    "key": KEYS,
    "blob": BLOBS,
    "mood": MOODS,
    "word": WORDS,
    "grade": GRADES,
}
LISTS: dict[str, st.SearchStrategy[Any]] = {
    "texts": TEXTS,
    "integers": INTEGERS,
    "amounts": st.sampled_from(["-1.5", "0", "1", "1.500", "9999999.999"]).map(Decimal),
    "moments": MOMENTS,
    "spans": SPANS,
    "blobs": BLOBS,
    "moods": MOODS,
    "flags": FLAGS,
}
# JSON cannot say an offset with seconds, so a document must not hold one.
WHOLE = MOMENTS.filter(lambda moment: not (moment.utcoffset() or timedelta()) % timedelta(minutes=1))
INNER = {**{name: SCALARS[name] for name in Inner.model_fields}, "moment": WHOLE}
# A number without a type is kept as its digits: a float of more than 15 of them comes back as an int that is not exactly equal.
JSON = st.recursive(
    st.none() | FLAGS | INTEGERS | st.floats(-1e15, 1e15) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
DOCUMENTS = st.builds(
    Document,
    inner=st.none() | st.builds(Inner, **{name: st.none() | values for name, values in INNER.items()}),
    title=st.none() | TEXTS,
    extra=st.none() | st.lists(JSON, max_size=2),
)
BOXES = st.fixed_dictionaries({"label": st.none() | TEXTS, "weight": st.none() | INTEGERS, "mood": st.none() | MOODS})
SAMPLES = st.fixed_dictionaries(
    {name: st.none() | values for name, values in SCALARS.items()}
    | {name: st.none() | st.lists(values, max_size=2) for name, values in LISTS.items()}
    | {
        "document": st.none() | DOCUMENTS,
        "rank": st.integers(0, 2),
        "name": TEXTS,
        "box": st.none() | st.integers(0, 3),
    }
)

COMPARABLE = ("gt", "gte", "lt", "lte")
UNORDERED = ("flag", "mood", "word", "grade")


def _condition(path: str, values: st.SearchStrategy[Any], *, many: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    operands: dict[str, st.SearchStrategy[Any]] = {"is_null": st.booleans()}
    if many:
        whole = st.lists(values, max_size=2)
        operands |= {"eq": whole, "ne": whole, "contains": values}
        return _of(path, operands)
    operands |= {"eq": values, "ne": values, "in": st.lists(values, max_size=3), "not_in": st.lists(values, max_size=3)}
    if path.rsplit(".", 1)[-1] not in UNORDERED:
        operands |= dict.fromkeys(COMPARABLE, values)
        operands["between"] = st.lists(values, min_size=2, max_size=2)
    if values is TEXTS:
        operands |= {"contains": values, "starts_with": values}
    return _of(path, operands) | st.fixed_dictionaries({path: values | st.none()})


def _of(path: str, operands: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    ways = [st.fixed_dictionaries({operator: operand}) for operator, operand in operands.items()]
    return st.fixed_dictionaries({path: st.one_of(*ways)})


OWN = st.one_of(
    *(_condition(name, values) for name, values in SCALARS.items()),
    *(_condition(name, values, many=True) for name, values in LISTS.items()),
    *(_condition(f"document.inner.{name}", values) for name, values in INNER.items()),
    _condition("document.title", TEXTS),
    _of("document", {"is_null": st.booleans()}),
    _of("document.inner", {"is_null": st.booleans()}),
)
BOX = {"label": TEXTS, "weight": INTEGERS, "mood": MOODS}
RELATED = st.one_of(
    *(_condition(f"box.{name}", values) for name, values in BOX.items()),
    _condition("box.contents.integer", INTEGERS),
    _condition("box.contents.document.inner.text", TEXTS),
)


def _combined(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda items: {"or": items})
            | st.lists(inner, max_size=3).map(lambda items: {"and": items})
            | inner.map(lambda item: {"not": item})
            | st.tuples(inner, inner).map(lambda both: {**both[0], **both[1]})
        ),
        max_leaves=5,
    )


FILTERS = _combined(OWN)
RELATED_FILTERS = _combined(OWN | RELATED | RELATED)


async def insert(database: Database, context: Context, cls: type[Entity], rows: Sequence[dict[str, Any]]) -> list[UUID]:
    """Creates records in one message, through the schema and the generated function that a session uses."""
    payloads, ids = [], []
    for row in rows:
        checked = cls.Create.model_validate(row)
        ids.append(new_id())
        values = {"id": ids[-1], **{name: getattr(checked, name) for name in cls.Create.model_fields}}
        payloads.append(to_payload(values, cls.__name__))
    function = entity_function(samples.schemas, cls.__entity__, "create")
    await database._store.pool.fetch_row(
        f"select count({function}($1, $2, r)) from jsonb_array_elements($3::jsonb) as r",
        [context.organization_id, sealed(context), f"[{','.join(payloads)}]"],
    )
    return ids


async def fill(
    database: Database, boxes: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]
) -> tuple[Context, list[UUID]]:
    """A new organization with these boxes and samples; `box` is the number of a box."""
    context = Context(new_id())
    box_ids = await insert(database, context, Box, boxes) if boxes else []
    placed = []
    for row in rows:
        values = {name: value for name, value in row.items() if name != "box"}
        number = row.get("box")
        placed.append({**values, "box_id": box_ids[number] if number is not None and number < len(box_ids) else None})
    return context, await insert(database, context, Sample, placed) if placed else []
