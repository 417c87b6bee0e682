"""What the factories make is accepted, whatever was declared."""

import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from freehold import Application, Database, Entity, Unique, errors, field, reference
from freehold.testing import Factory
from freehold.testing.organizations import Organizations
from freehold.testing.plugin import TestDatabases
from tests.world import Contact, Customer, Order


async def test_a_record_comes_with_those_that_it_needs(as_organization: Organizations) -> None:
    session = await as_organization()
    factory = Factory(session)
    order = await factory.create(Order, total=5)
    assert order.total == Decimal(5)
    assert (await session.get(Customer, order.customer_id)).name == "name 1"
    assert order.contact_id is None
    assert await session.count(Customer) == 1


async def test_everything_can_be_given(as_organization: Organizations) -> None:
    session = await as_organization()
    factory = Factory(session)
    customer = await factory.create(Customer, name="Hopper Ltd", status="vip", credit=3)
    order = await factory.create(Order, customer=customer, number="A-1")
    other = await factory.create(Order, customer_id=customer.id)
    assert (customer.name, customer.status, order.number) == ("Hopper Ltd", "vip", "A-1")
    assert order.customer_id == other.customer_id == customer.id
    assert await session.count(Customer) == 1
    with pytest.raises(errors.ValidationError, match="total"):
        await factory.create(Order, customer=customer, total="much")
    with pytest.raises(errors.ConfigurationError, match="no field 'totall'; did you mean 'total'"):
        await factory.create(Order, totall=1)


async def test_full_records_have_a_value_in_every_field_but_circles(as_organization: Organizations) -> None:
    session = await as_organization()
    factory = Factory(session, full=True)
    contact = await factory.create(Contact)
    order = await factory.create(Order)
    (customer,) = (await session.list(Customer, where={"id": contact.customer_id}, private=True)).records
    assert [name for name in Customer.__entity__.fields if getattr(customer, name) is None] == ["deleted_at"]
    assert contact.manager_id is None
    assert order.contact_id is not None


async def test_two_runs_make_the_same_and_two_seeds_do_not(as_organization: Organizations) -> None:
    made = []
    for slug, seed in (("one", 0), ("two", 0), ("three", 1)):
        factory = Factory(await as_organization(slug), seed=seed, full=True)
        records = [await factory.create(Order) for _ in range(3)]
        made.append([record.model_dump(include={"number", "total", "placed_on"}) for record in records])
    assert made[0] == made[1]
    assert not [record for record in made[2] if record in made[0]]


async def test_a_value_that_another_took_is_passed_over(as_organization: Organizations) -> None:
    session = await as_organization()
    first = await Factory(session).create_many(Order, 3)
    second = await Factory(session).create_many(Order, 3)
    assert len({order.number for order in [*first, *second]}) == 6
    with pytest.raises(errors.UniqueError):
        await Factory(session).create(Order, number=first[0].number)


async def test_definitions_hold_for_all_records_of_a_factory(as_organization: Organizations) -> None:
    session = await as_organization()
    factory = Factory(session)
    factory.define(Order, number=lambda number: f"A-{number:04}", total=7)
    factory.define(Customer, status="vip", credit=1)
    orders = await factory.create_many(Order, 2)
    assert [(order.number, order.total) for order in orders] == [("A-0001", 7), ("A-0002", 7)]
    assert (await factory.create(Order, total=8)).total == 8
    assert {customer.status for customer in await session.list(Customer)} == {"vip"}
    with pytest.raises(errors.ConfigurationError, match="no field"):
        factory.define(Customer, statuss="vip")


async def test_a_broken_check_says_whose_it_is_to_mend(as_organization: Organizations) -> None:
    factory = Factory(await as_organization())
    with pytest.raises(errors.ValidationError) as caught:
        await factory.create(Customer, status="vip")
    assert "factory.define(Customer" in str(caught.value)


async def test_build_makes_input_without_a_database() -> None:
    factory = Factory()
    built = factory.build(Order, total=3)
    assert isinstance(built, Order.Create)
    assert isinstance(built.customer_id, UUID)  # type: ignore[attr-defined]
    assert Factory().build(Customer) == Factory().build(Customer)
    with pytest.raises(errors.ConfigurationError, match="no session"):
        await factory.create(Order)


class Circle(Entity):
    square_id: UUID = reference("Square")


class Square(Entity):
    circle_id: UUID = reference(Circle)


async def test_records_that_need_each_other_are_an_error_that_names_them(freehold_databases: TestDatabases) -> None:
    circles = Application("circles", [Circle, Square])
    name = freehold_databases.copy(circles)
    try:
        async with Database.open(freehold_databases.server.address(name, circles), circles, size=1) as database:
            with pytest.raises(errors.ConfigurationError, match="Circle needs Square needs Circle") as caught:
                await Factory(await Organizations(database)()).create(Circle)
            assert caught.value.hint == "give circle_id"
    finally:
        freehold_databases.drop(name)


async def test_an_entity_of_another_application_is_refused(as_organization: Organizations) -> None:
    with pytest.raises(errors.ConfigurationError, match="Circle is no entity of this application"):
        await Factory(await as_organization()).create(Circle)


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Box(BaseModel):
    label: str
    width: int
    inner: Color
    notes: list[str]
    depth: int | None


class Narrow(Entity, unique=[Unique("color", "side")]):
    color: Color = field()
    side: Literal["left", "right"] = field()
    bit: bool = field(default=False)
    box: Box = field()


async def test_narrow_keys_are_used_up_and_then_said_to_be() -> None:
    factory = Factory()
    made = [factory.build(Narrow) for _ in range(4)]
    assert len({(one.color, one.side) for one in made}) == 4  # type: ignore[attr-defined]
    with pytest.raises(errors.ConfigurationError, match="no more values for Narrow: color and side"):
        factory.build(Narrow)


@pytest.mark.parametrize(
    ("pattern", "bounds"),
    [
        (r"^[A-Z]-\d{5}$", {}),
        (r"^[^@\s]+@[^@\s]+\.[^@\s]+$", {"min_length": 20}),
        (r"^(?:GET|POST) /\w+(/\w+)*$", {"min_length": 12, "max_length": 13}),
        (r"\d{2,}", {"min_length": 9}),
        (r"^#?[0-9a-f]{6}$", {}),
        (r"^.$", {}),
        (r"^[\w.-]{3}[^a-z0-9]$", {}),
    ],
)
def test_texts_match_their_pattern(pattern: str, bounds: dict[str, int]) -> None:
    bounds = {"max_length": 60, **bounds}
    entity = type("Made", (Entity,), {"code": field(pattern=pattern, **bounds), "__annotations__": {"code": str}})
    factory = Factory()
    codes = [factory.build(entity).code for _ in range(20)]  # type: ignore[attr-defined]
    assert len(set(codes)) > 1


async def test_distinct_texts_of_a_pattern(as_organization: Organizations) -> None:
    entity: Any = type(
        "Made",
        (Entity,),
        {"code": field(pattern=r"^[A-C]\d$", max_length=2, unique=True), "__annotations__": {"code": str}},
    )
    factory = Factory()
    assert len({factory.build(entity).code for _ in range(30)}) == 30  # type: ignore[attr-defined]
    with pytest.raises(errors.ConfigurationError, match="no more values"):
        factory.build(entity)


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", r"^[a-z]{3}$"])
def test_what_cannot_be_made_is_to_be_given(pattern: str) -> None:
    entity: Any = type(
        "Made",
        (Entity,),
        {"code": field(pattern=pattern, min_length=4, max_length=9), "__annotations__": {"code": str}},
    )
    with pytest.raises(errors.ConfigurationError, match=r"Made.code[\s\S]*give code"):
        Factory().build(entity)


# -- any declaration ---------------------------------------------------------------------------------------------------

moments = st.integers(2, 3_652_000).map(lambda days: datetime(1, 1, 1, tzinfo=UTC) + timedelta(days, 3, 5))


@st.composite
def limits(draw: st.DrawFn, values: Any, exclusive: bool = True) -> dict[str, Any]:
    """Two bounds that leave room between them."""
    low, high = sorted([draw(values), draw(values)])
    bounds: dict[str, Any] = {}
    if draw(st.booleans()):
        bounds["gt" if exclusive and low != high and draw(st.booleans()) else "ge"] = low
    if draw(st.booleans()):
        bounds["le"] = high
    return bounds


@st.composite
def lengths(draw: st.DrawFn, most: int) -> dict[str, int]:
    low = draw(st.integers(0, most))
    return {"min_length": low, "max_length": draw(st.integers(max(low, 1), most))}


@st.composite
def fields(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    """A type and the options of its field."""
    kind = draw(
        st.sampled_from(
            [str, bytes, int, float, Decimal, date, datetime, time, timedelta, bool, UUID, "choice", "list", "json"]
        )
    )
    options: dict[str, Any] = {}
    if kind in (str, bytes):
        options = draw(lengths(60))
    elif kind is int:
        options = draw(limits(st.integers(-(2**63), 2**63 - 1)))
    elif kind is float:
        options = draw(limits(st.floats(-1e12, 1e12).map(lambda number: round(number, 3)), exclusive=False))
    elif kind is Decimal:
        digits = draw(st.integers(1, 40))
        places = draw(st.integers(0, digits))
        most = 10**digits - 1
        options = draw(limits(st.integers(-most, most).map(lambda n: Decimal(f"{n}e-{places}"))))
        options |= {"digits": digits, "places": places}
    elif kind is date:
        options = draw(limits(st.dates()))
    elif kind is datetime:
        options = draw(limits(moments))
    elif kind is time:
        options = draw(limits(st.times()))
    elif kind is timedelta:
        options = draw(limits(st.timedeltas(timedelta(days=-98_000), timedelta(days=98_000))))
    elif kind == "choice":
        kind = draw(st.sampled_from([Color, Literal["a", "b", "c"], Literal[3, 5]]))
    elif kind == "list":
        item = draw(st.sampled_from([str, int, Decimal, date, bool, UUID, Color, bytes]))
        kind, options = list[item], draw(lengths(5))  # type: ignore[valid-type]
        options |= {"digits": 6, "places": 2} if item is Decimal else {}
    elif kind == "json":
        kind = draw(st.sampled_from([Box, dict[str, Any]]))
    scalar = kind not in (Box, dict[str, Any]) and not str(kind).startswith("list")
    roomy = kind in (bool, UUID, datetime) or (kind is str and options["max_length"] > 2)
    if scalar and roomy and kind is not bool and draw(st.integers(0, 3)) == 0:
        options["unique"] = True
        options |= (
            {draw(st.sampled_from(["ignore_case", "lowercase"])): True} if kind is str and draw(st.booleans()) else {}
        )
    if kind in (datetime,) and options.get("unique") and options.keys() & {"ge", "gt", "le"}:
        del options["unique"]
    options |= {name: True for name in ("private", "immutable") if draw(st.integers(0, 4)) == 0}
    if draw(st.booleans()):
        kind, options["default"] = kind | None, None
    return kind, options


@st.composite
def declarations(draw: st.DrawFn) -> list[type[Entity]]:
    """Entities that refer to those before them."""
    made: list[type[Entity]] = []
    for number in range(draw(st.integers(2, 5))):
        wanted = {f"field_{place}": draw(fields()) for place in range(draw(st.integers(2, 12)))}
        body: dict[str, Any] = {name: field(**options) for name, (_, options) in wanted.items()}
        types: dict[str, Any] = {name: kind for name, (kind, _) in wanted.items()}
        if made and draw(st.booleans()):
            body["other_id"] = reference(draw(st.sampled_from(made)), unique=draw(st.booleans()))
            types["other_id"] = UUID
        soft = draw(st.booleans())
        body |= {"__annotations__": types, "__module__": __name__}
        made.append(type(Entity)(f"Kind{number}", (Entity,), body, soft_delete=soft))
    return made


@given(entities=declarations(), full=st.booleans(), seed=st.integers(0, 50))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
async def test_whatever_is_declared_can_be_made(
    freehold_databases: TestDatabases, entities: list[type[Entity]], full: bool, seed: int
) -> None:
    application = Application("generated", entities)
    server = freehold_databases.server
    name = freehold_databases.empty()
    try:
        await application.setup(server.admin_address(name), {application.roles.application: server.password})
        async with Database.open(server.address(name, application), application, size=2) as database:
            factory = Factory(await Organizations(database)(), seed=seed, full=full)
            for entity in entities:
                for _ in range(4):
                    await factory.create(entity)
    finally:
        freehold_databases.drop(name)
