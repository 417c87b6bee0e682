"""Creating many records of an entity whose fields are all plain: their JSON comes from the model directly."""

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pydantic
import pytest

from freehold import Application, Context, Database, Entity, Session, errors, field
from freehold.model.context import new_id
from freehold.store.bulk_create import Payloads
from tests.conftest import Server
from tests.probe import scratch


class Colour(enum.Enum):
    RED = "red"
    NONE = "no colour"


class Thing(Entity):
    name: str = field(max_length=100)
    number: int | None = field(default=None)
    price: Decimal | None = field(default=None, digits=12, places=2)
    open: bool | None = field(default=None)
    day: date | None = field(default=None)
    at: datetime | None = field(default=None)
    hour: time | None = field(default=None)
    other: UUID | None = field(default=None)
    colour: Colour = field(default=Colour.RED)
    size: Literal["s", "m"] = field(default="s")
    tags: list[str] = field(default_factory=list)
    prices: list[Decimal] = field(default_factory=list, digits=12, places=2)
    colours: list[Colour] = field(default_factory=list)
    moments: list[datetime] = field(default_factory=list)
    secret: str | None = field(default=None, max_length=100, private=True)


class Weight(Entity):
    grams: float | None = field(default=None)


application = Application("plain", entities=[Thing, Weight])
VALUES: list[dict[str, Any]] = [
    {"name": "\\ \" ' \u2028 ä 🐘 </script>"},
    {"number": 2**63 - 1},
    {"number": -(2**63)},
    {"price": Decimal("9999999999.99")},
    {"price": Decimal("-0.10")},
    {"open": False},
    {"day": date(1, 1, 1)},
    {"day": date(9999, 12, 31)},
    {"at": datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=timezone(timedelta(hours=-7, minutes=-30)))},
    {"hour": time(23, 59, 59, 999999)},
    {"other": new_id()},
    {"colour": Colour.NONE, "size": "m"},
    {"tags": ["", "a,b", '"', "{}", "null", "NULL"]},
    {"prices": [Decimal("0.10"), Decimal(7)], "colours": [Colour.NONE, Colour.RED]},
    {"moments": [datetime(2026, 1, 1, tzinfo=UTC)], "secret": "kept"},
]


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[Session]:
    async with (
        scratch(server, application) as name,
        Database.open(server.address(name, application), application, size=2) as database,
        database.session(Context(new_id(), request_id="plain")) as session,
    ):
        yield session


async def test_a_value_is_stored_as_a_single_write_stores_it(server: Server) -> None:
    async with opened(server) as session:
        given = [{"name": "x", **values} for values in VALUES]
        result = await session.create_many(Thing, given)
        assert result.created == len(given)
        for values, outcome in zip(given, result.outcomes, strict=True):
            assert outcome.id is not None
            many = await session.get(Thing, outcome.id, private=True)
            one = await session.create(Thing, **values)
            single = await session.get(Thing, one.id, private=True)
            differ = {"id", "created_at", "updated_at"}
            assert many.model_dump(exclude=differ) == single.model_dump(exclude=differ)
            assert many.secret == values.get("secret")  # which a dump leaves out
            for name, value in values.items():
                assert getattr(many, name) == value, name


async def test_what_was_not_validated_is_refused_alone_or_taken_as_a_single_write_takes_it(server: Server) -> None:
    class Loud(Thing.Create):  # type: ignore[name-defined,misc]  # made at run time
        extra: str = "x"

        @pydantic.field_serializer("name")
        def shout(self, value: str) -> str:
            return value.upper()

    plain = Thing.Create(name="plain").__dict__
    items = [
        Thing.Create.model_construct(**{**plain, "name": "a\udcff"}),
        Thing.Create.model_construct(**{**plain, "number": "no number"}),
        Thing.Create.model_construct(**{**plain, "number": object()}),
        Loud(name="quiet"),
        Thing.Create(name="fine"),
    ]
    async with opened(server) as session:
        result = await session.create_many(Thing, items)
        assert [each.index for each in result.failures] == [0, 1, 2]
        assert all(isinstance(each.error, errors.ValidationError) for each in result.failures)
        assert [each.name for each in (await session.list(Thing, order_by="id")).records] == ["quiet", "fine"]
        nan = Weight.Create.model_construct(grams=float("nan"))
        told = await session.create_many(Weight, [{"grams": 0.1}, nan])
        assert (told.created, [each.index for each in told.failures]) == (1, [1])


def test_an_item_has_a_bound_in_bytes() -> None:
    made = Thing.Create.model_construct(**{**Thing.Create(name="x").__dict__, "name": "x" * 17_000_000})
    with pytest.raises(errors.ValidationError) as caught:
        Payloads(application.registry[Thing]).created(new_id(), made)
    assert [issue.code for issue in caught.value.issues] == ["too_long"]
