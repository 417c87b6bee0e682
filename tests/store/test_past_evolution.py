"""The past of declarations that have changed since: what does not fit them any more is told, or refused by name.

One database, which the first release wrote and the second one reads; no test changes a record that another one looks at.
"""

import asyncio
import enum
import os
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from freehold import Address, Application, Context, Database, Entity, Include, Session, errors, field, reference
from freehold.postgres.connections import connect
from tests.conftest import Server, new_context
from tests.probe import plain
from tests.store.test_past import clock


class Grade(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Paper(BaseModel):
    color: str = "red"


class Exam(Entity):
    grade: Grade = field(default=Grade.GOOD)


class Parcel(Entity):
    size: str = field(max_length=20)
    name: str = field(max_length=20, default="x")


class Letter(Entity):
    paper: Paper = field(default=Paper())


class Vault(Entity):
    pin: str | None = field(max_length=20, default=None, private=True)
    label: str | None = field(max_length=20, default=None)


class Badge(Entity):
    code: str | None = field(max_length=20, default=None, private=True)


class Client(Entity, table="people"):
    name: str = field(max_length=20)


class House(Entity):
    name: str = field(max_length=20)


first = Application("evolution", [Exam, Parcel, Letter, Vault, Badge, Client, House])
Old = SimpleNamespace(Exam=Exam, Parcel=Parcel, Letter=Letter, Vault=Vault, Badge=Badge, Client=Client, House=House)
OldGrade, OldPaper = Grade, Paper


class Grade(enum.Enum):  # type: ignore[no-redef]  # the same names, a release later
    GOOD = "good"


class Paper(BaseModel):  # type: ignore[no-redef]
    color: str = "red"
    weight: int


class Exam(Entity):  # type: ignore[no-redef]
    grade: Grade = field(default=Grade.GOOD)


class Parcel(Entity):  # type: ignore[no-redef]
    size: int = field()
    name: str = field(max_length=20, default="x")


class Letter(Entity):  # type: ignore[no-redef]
    paper: Paper


class Vault(Entity):  # type: ignore[no-redef]
    pin: str | None = field(max_length=3, default=None, private=True)
    label: str = field(max_length=20)


class Badge(Entity):  # type: ignore[no-redef]
    code: int | None = field(default=None, private=True)


class Person(Entity, table="people"):
    name: str = field(max_length=20)


class House(Entity):  # type: ignore[no-redef]
    name: str = field(max_length=20)
    town: str = field(max_length=20, default="Ulm")
    rooms: int = field(default=3)


class Door(Entity):
    house_id: UUID = reference(House)
    color: str = field(max_length=20)


second = Application("evolution", [Exam, Parcel, Letter, Vault, Badge, Person, House, Door])

EVOLUTION = """
alter table app.exams drop constraint exams_grade_check, add constraint exams_grade_check check (grade in ('good'));
alter table app.parcels drop constraint parcels_size_check, alter size type bigint using 7;
alter table app.letters alter paper drop default;
alter table app.badges drop constraint badges_code_check, alter code type bigint using 7;
alter table app.vaults drop constraint vaults_pin_check, add constraint vaults_pin_check check (char_length(pin) <= 3),
    alter label set not null;
alter table app.houses add town text collate "C" not null default 'Ulm', add rooms bigint not null default 3,
    add constraint houses_town_check check (char_length(town) <= 20);
"""


@dataclass
class Written:
    """What the first release left."""

    name: str
    address: Address
    context: Context
    moment: datetime
    records: dict[str, Any]


async def write(server: Server, name: str) -> Written:
    await server.create_database(name, first)
    async with plain(server.admin_address(name)) as admin:
        async with Database.open(server.address(name), first, size=1) as database:
            context = await new_context(database)
            session = database.session(context)
            made = {
                "exam": await session.create(Old.Exam, grade=OldGrade.BAD),
                "parcel": await session.create(Old.Parcel, size="large"),
                "letter": await session.create(Old.Letter),
                "vault": await session.create(Old.Vault, pin="123456"),
                "badge": await session.create(Old.Badge, code="top secret"),
                "client": await session.create(Old.Client, name="ada"),
            }
            for house in "abcde":
                await session.create(Old.House, name=house)
            moment = await clock(admin)
            records = {
                "exam": await session.update(made["exam"], grade=OldGrade.GOOD),
                "parcel": await session.update(made["parcel"], size="small"),
                "letter": await session.update(made["letter"], paper=OldPaper(color="blue")),
                "vault": await session.update(made["vault"], pin=None, label="x"),
                "badge": await session.update(made["badge"], code=None),
                "client": await session.update(made["client"], name="ada two"),
            }
        await admin.execute(EVOLUTION)
        await admin.execute("""update app.letters set paper = '{"color": "blue", "weight": 3}'""")
    await second.setup(server.admin_address(name), {second.roles.application: server.password})
    return Written(name, server.address(name), context, moment, records)


async def drop(server: Server, name: str) -> None:
    async with connect(server.admin) as connection:
        await connection.execute(f'drop database if exists "{name}" with (force)')


@pytest.fixture(scope="module")
def written(server: Server) -> Iterator[Written]:
    name = f"tests_evolution_{os.getpid()}"
    try:
        yield asyncio.run(write(server, name))
    finally:
        asyncio.run(drop(server, name))


@pytest.fixture
async def session(written: Written) -> AsyncIterator[Session]:
    """The second release's session."""
    async with Database.open(written.address, second, size=1) as database:
        yield database.session(written.context)


async def told_or_named(reading: Awaitable[Any], name: str) -> Any:
    """What was read; or None, where an error of ours says which field is in the way."""
    try:
        return await reading
    except errors.FreeholdError as error:
        assert name in str(error)  # noqa: PT017  # one of two right outcomes
        return None


async def test_rows_with_a_value_that_the_enum_lost(session: Session, written: Written) -> None:
    async with session.as_of(written.moment) as past:
        await told_or_named(past.list(Exam), "grade")


async def test_json_with_a_value_that_the_enum_lost(session: Session, written: Written) -> None:
    async with session.as_of(written.moment) as past:
        await told_or_named(past.list(Exam, with_total=True), "grade")


async def test_history_tells_a_value_that_the_enum_lost_as_it_was(session: Session, written: Written) -> None:
    change, _ = await session.history((Exam, written.records["exam"].id))
    assert change.diff == {"grade": ("bad", Grade.GOOD)}


async def test_a_revert_to_a_value_that_the_enum_lost_names_the_field(session: Session, written: Written) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await session.revert((Exam, written.records["exam"].id, 2), 1)
    assert [issue.path for issue in caught.value.issues] == [("grade",)]


async def test_rows_of_a_column_whose_type_has_changed(session: Session, written: Written) -> None:
    async with session.as_of(written.moment) as past:
        await told_or_named(past.list(Parcel), "size")


async def test_history_of_a_column_whose_type_has_changed_tells_the_values_as_they_are_in_the_log(
    session: Session, written: Written
) -> None:
    change, _ = await session.history((Parcel, written.records["parcel"].id))
    assert change.diff == {"size": ("large", "small")}


async def test_history_of_an_actor_is_told_although_one_column_has_changed(session: Session, written: Written) -> None:
    found = await session.history(actor_id=written.context.user_id)
    assert {change.entity for change in found} >= {"Exam", "House"}


async def test_a_revert_of_a_column_whose_type_has_changed_names_the_field(session: Session, written: Written) -> None:
    with pytest.raises(errors.FreeholdError, match="size"):
        await session.revert((Parcel, written.records["parcel"].id, 2), 1)


async def test_a_private_column_whose_type_has_changed_is_not_quoted(session: Session, written: Written) -> None:
    told = ""
    async with session.as_of(written.moment) as past:
        try:
            await past.list(Badge)
        except errors.FreeholdError as error:
            told += f"{error} {error.as_dict()}"
    try:
        await session.history(Badge)
    except errors.FreeholdError as error:
        told += f"{error} {error.as_dict()}"
    assert "top secret" not in told


async def test_rows_with_a_document_that_does_not_fit_its_model_any_more(session: Session, written: Written) -> None:
    async with session.as_of(written.moment) as past:
        await told_or_named(past.list(Letter), "paper")


async def test_a_revert_to_a_document_that_does_not_fit_its_model_names_the_field(
    session: Session, written: Written
) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await session.revert((Letter, written.records["letter"].id, 2), 1)
    assert [issue.path[0] for issue in caught.value.issues] == ["paper"]


async def test_a_revert_names_all_that_is_not_allowed_any_more_and_no_value(session: Session, written: Written) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await session.revert((Vault, written.records["vault"].id, 2), 1)
    assert {issue.path for issue in caught.value.issues} == {("pin",), ("label",)}
    assert "123456" not in f"{caught.value} {caught.value.as_dict()}"


async def test_a_null_of_a_field_that_is_required_by_now_is_told_in_rows_and_in_json(
    session: Session, written: Written
) -> None:
    async with session.as_of(written.moment) as past:
        rows = (await past.list(Vault)).records
        assert [vault.label for vault in rows] == [None]
        assert (await past.list(Vault, with_total=True)).records == rows


async def test_the_past_of_a_class_that_was_renamed_is_told_or_refused(session: Session, written: Written) -> None:
    async with session.as_of(written.moment) as past:
        found = await told_or_named(past.list(Person), "Person")
    assert found is None or [person.name for person in found] == ["ada"]


async def test_the_history_of_a_class_that_was_renamed_is_told(session: Session, written: Written) -> None:
    assert len(await session.history((Person, written.records["client"].id))) == 2


@pytest.mark.parametrize("asked", [{}, {"with_total": True}, {"select": ["name"]}], ids=str)
async def test_pages_sorted_by_a_column_that_did_not_exist_go_on(
    session: Session, written: Written, asked: dict[str, Any]
) -> None:
    names: list[str] = []
    async with session.as_of(written.moment) as past:
        page = await past.list(House, order_by="town", limit=2, **asked)
        names += [house.name for house in page]
        while page.next:
            page = await past.list(House, order_by="town", limit=2, after=page.next, **asked)
            names += [house.name for house in page]
    assert sorted(names) == list("abcde")


async def test_aggregates_of_columns_that_did_not_exist_are_null(session: Session, written: Written) -> None:
    async with session.as_of(written.moment) as past:
        (group,) = await past.aggregate(House, group_by=["town"], sum=["rooms"], max=["town"])
    assert (group.keys, group.count, group.sum, group.max) == ({"town": None}, 5, {"rooms": None}, {"town": None})


async def test_a_table_that_did_not_exist_is_empty(session: Session, written: Written) -> None:
    async with session.as_of(written.moment) as past:
        assert (await past.list(Door)).records == ()
        page = await past.list(Door, order_by="color", with_total=True)
        assert (page.records, page.total) == ((), 0)
        assert (await past.list(Door, order_by="color", as_json=True)).json == b"[]"
        assert (await past.list(Door, select=["color"])).records == ()
        assert (await past.list(Door, where={"house.name": "a"})).records == ()
        assert (await past.list(House, where={"doors.color": "x"})).records == ()
        assert await past.aggregate(Door, group_by=["color"]) == ()
        assert (await past.count(Door), await past.exists(Door)) == (0, False)
        with pytest.raises(errors.NotFoundError):
            await past.get(Door, written.records["exam"].id)


async def test_a_table_that_did_not_exist_is_empty_with_its_relations_too(session: Session, written: Written) -> None:
    async with session.as_of(written.moment) as past:
        assert (await past.list(Door, include={"house": True})).records == ()


async def test_before_the_first_set_up_everything_is_empty_with_its_relations_too(session: Session) -> None:
    async with session.as_of(datetime(2000, 1, 1, tzinfo=UTC)) as past:
        assert (await past.list(House)).records == ()
        assert (await past.list(House, include={"doors": "count"})).records == ()


@pytest.mark.parametrize("how", [True, "count", Include(order_by="color")], ids=str)
async def test_a_relation_to_a_table_that_did_not_exist_is_empty(session: Session, written: Written, how: Any) -> None:
    async with session.as_of(written.moment) as past:
        houses = (await past.list(House, include={"doors": how})).records
    assert len(houses) == 5
    assert {getattr(house, "doors_count" if how == "count" else "doors") for house in houses} == {
        0 if how == "count" else ()
    }
