"""An entity with a field of every kind, and functions that answer with its values in all ways that functions have."""

import enum
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from freehold import Application, Entity, Page, Session, Transaction, UnitOfWork, field, reference


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Grade(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Part(BaseModel):
    """A document; its fields are called as parts of Pydantic's own schemas are."""

    config: datetime
    default: time
    cls: Decimal
    function: float
    expected: UUID
    metadata: Mood
    type: list[datetime]
    serialization: dict[str, datetime]


class Strict(BaseModel):
    """A model that takes from JSON what JSON has no type for, and from Python the very type."""

    model_config = ConfigDict(strict=True)

    amount: Decimal
    mood: Mood
    word: Literal[1, 2] = 1


class Thing(Entity, soft_delete=True, expose="all"):
    parent_id: UUID | None = reference("self", default=None)
    name: str = field(max_length=50, unique=True, search=True)
    integer: int = field()
    number: float = field()
    amount: Decimal = field(digits=20, places=4)
    flag: bool = field()
    day: date = field()
    moment: datetime = field()
    clock: time = field()
    span: timedelta = field()
    key: UUID = field()
    blob: bytes = field(max_length=20)
    mood: Mood = field()
    grade: Grade = field()
    word: Literal["a", "b"] = field()
    digit: Literal[1, 2] = field()
    numbers: list[float] = field()
    amounts: list[Decimal] = field(digits=20, places=4)
    moments: list[datetime] = field()
    spans: list[timedelta] = field()
    keys: list[UUID] = field()
    blobs: list[bytes] = field()
    moods: list[Mood] = field()
    document: Part = field()
    loose: dict[str, Any] = field()


MOMENT = datetime(2026, 11, 21, 9, 5, 0, 250_000, UTC)
KEY = UUID("018f3c2a-0000-7000-8000-000000000001")
VALUES: dict[str, Any] = {
    "integer": 2**53 + 1,
    "number": 2.0,
    "amount": Decimal("99999999999999.9900"),
    "flag": True,
    "day": date(2026, 11, 21),
    "moment": MOMENT,
    "clock": time(9, 5, 0, 250_000),
    "span": timedelta(days=1, seconds=1),
    "key": KEY,
    "blob": b"\x00\xffa",
    "mood": Mood.BAD,
    "grade": Grade.HIGH,
    "word": "b",
    "digit": 2,
    "numbers": [1.0, 1.5],
    "amounts": [Decimal("99999999999999.9900"), Decimal("0.1000")],
    "moments": [MOMENT, MOMENT.replace(microsecond=0)],
    "spans": [timedelta(minutes=1), timedelta(microseconds=1)],
    "keys": [KEY],
    "blobs": [b"\x01"],
    "moods": [Mood.GOOD, Mood.BAD],
    "document": Part(
        config=MOMENT,
        default=time(9, 5),
        cls=Decimal("99999999999999.99"),
        function=2.0,
        expected=KEY,
        metadata=Mood.GOOD,
        type=[MOMENT],
        serialization={"type": MOMENT},
    ),
    "loose": {"text": "a", "number": 1.5, "none": None, "list": [1, True]},
}

TEXTS: dict[str, Any] = {
    "integer": "9007199254740993",
    "number": "2",
    "amount": '"99999999999999.9900"',
    "flag": "true",
    "day": '"2026-11-21"',
    "moment": '"2026-11-21T09:05:00.25+00:00"',
    "clock": '"09:05:00.25"',
    "span": "86401",
    "key": f'"{KEY}"',
    "blob": '"00ff61"',
    "mood": '"bad"',
    "grade": "9",
    "word": '"b"',
    "digit": "2",
    "numbers": "[1,1.5]",
    "amounts": '["99999999999999.9900","0.1000"]',
    "moments": '["2026-11-21T09:05:00.25+00:00","2026-11-21T09:05:00+00:00"]',
    "spans": "[60,1e-06]",
    "keys": f'["{KEY}"]',
    "blobs": '["01"]',
    "moods": '["good","bad"]',
    "document": (
        '{"cls":"99999999999999.99","config":"2026-11-21T09:05:00.25+00:00","default":"09:05:00","expected":'
        f'"{KEY}","function":2,"metadata":"good","serialization":{{"type":"2026-11-21T09:05:00.25+00:00"}},'
        '"type":["2026-11-21T09:05:00.25+00:00"]}'
    ),
    "loose": '{"list":[1,true],"none":null,"number":1.5,"text":"a"}',
}
"""The JSON of each value, without blanks, the names of documents in their order."""

everything = Application("everything", [Thing], roles={"admin": ["*"]})


class Report(BaseModel):
    """A model of the application's own, with a record's values."""

    model_config = ConfigDict(ser_json_bytes="hex", ser_json_timedelta="float")

    integer: int
    number: float
    amount: Decimal
    flag: bool
    day: date
    moment: datetime
    clock: time
    key: UUID
    blob: bytes
    mood: Mood
    grade: Grade
    word: Literal["a", "b"]
    digit: Literal[1, 2]
    numbers: list[float]
    amounts: list[Decimal]
    moments: list[datetime]
    keys: list[UUID]
    moods: list[Mood]
    document: Part
    loose: dict[str, Any]


def _report(thing: Thing) -> Report:
    return Report(**{name: getattr(thing, name) for name in Report.model_fields})


@everything.query(requires=None)
async def whole(session: Session, id: UUID) -> Thing:
    """A record."""
    return await session.get(Thing, id)


@everything.query(requires=None)
async def paged(session: Session) -> Page[Thing]:
    """Records."""
    return await session.list(Thing)


@everything.query(requires=None)
async def reported(session: Session, id: UUID) -> Report:
    """A model."""
    return _report(await session.get(Thing, id))


@everything.query(requires=None)
async def mapped(session: Session, id: UUID) -> dict[str, Report]:
    """A mapping of models."""
    return {"type": _report(await session.get(Thing, id))}


@everything.query(requires=None)
async def untyped(session: Session, id: UUID) -> dict[str, Any]:
    """Moments of no declared type."""
    thing = await session.get(Thing, id)
    return {"moment": thing.moment, "moments": thing.moments, "clock": thing.clock}


@everything.query(requires=None, stream=True)
async def streamed(session: Session) -> AsyncIterator[Thing]:
    """Records one by one."""
    for thing in await session.list(Thing):
        yield thing


class Line(BaseModel):
    """Numbers in a model of the application's own."""

    type: Decimal = Decimal(0)
    default: int = 0
    nested: "list[Line]" = []
    named: dict[str, Decimal] = {}
    either: int | Decimal | None = None
    strict: Strict | None = None
    loose: dict[str, Any] = {}


class Numbers(BaseModel):
    """What came of numbers: their texts."""

    texts: list[str]


@everything.query(requires=None)
async def decimals(
    session: Session,
    one: Decimal | None = None,
    many: list[Decimal] = [],  # noqa: B006  # never changed
    whole: int | None = None,
    line: Line | None = None,
    either: Decimal | str | None = None,
) -> Numbers:
    """The Decimals and ints that a call has brought."""
    found: list[Any] = [one, *many, whole, either]
    lines = [] if line is None else [line, *line.nested]
    for each in lines:
        found += [each.type, each.default, *each.named.values(), each.either]
        found += [] if each.strict is None else [each.strict.amount]
    return Numbers(texts=[str(value) for value in found if value not in (None, 0)])


@everything.command(requires=None)
async def noted(transaction: Transaction, one: Decimal) -> Numbers:
    """A command that can be called with an idempotency key."""
    return Numbers(texts=[str(one)])


@everything.command(requires=None)
async def united(unit: UnitOfWork, id: UUID, version: int, changes: dict[str, Any]) -> None:
    """Changes a record in a unit of work."""
    unit.update((Thing, id, version), **changes)
