"""Lists of choices in the database: of every type that a choice may have."""

from enum import IntEnum, StrEnum
from typing import Literal

import pytest

from freehold import Application, Database, Entity, errors, field
from tests.conftest import Server, new_context
from tests.probe import connect, scratch


class Level(IntEnum):
    low = 1
    high = 2


class Color(StrEnum):
    red = "red"
    mixed = "red,green"


class Sample(Entity):
    numbers: list[Literal[1, 2, 3]] = field(default=[])
    levels: list[Level] = field(default=[])
    words: list[Literal["a", "b"]] = field(default=[])
    colors: list[Color] = field(default=[])
    number: Literal[1, 2, 3] = 1
    level: Level | None = None


samples = Application("samples", [Sample])
VALUES = {"numbers": [3, 1], "levels": [Level.high], "words": ["b"], "colors": [Color.mixed, Color.red]}


async def test_lists_of_choices_are_kept_found_and_bounded(server: Server) -> None:
    async with scratch(server, samples) as name, Database.open(server.address(name), samples, size=2) as database:
        session = database.session(await new_context(database))
        made = await session.create(Sample, **VALUES, number=2, level=Level.low)
        await session.create(Sample)
        found = await session.get(Sample, made.id)
        assert {field: getattr(found, field) for field in VALUES} == VALUES
        assert isinstance(found.levels[0], Level)
        for where in ({"numbers": {"contains": 3}}, {"levels": {"contains": 2}}, {"colors": {"contains": "red,green"}}):
            assert [each.id for each in await session.list(Sample, where=where)] == [made.id]
        async with connect(server.admin_address(name)) as admin:
            for column, wrong in (("numbers", "{4}"), ("levels", "{3}"), ("words", "{c}"), ("colors", "{red,green}")):
                with pytest.raises(errors.ValidationError, match="_check"):
                    await admin.execute(f"update app.samples set {column} = '{wrong}' where id = '{made.id}'")
        assert not await samples.setup(server.admin_address(name), {samples.roles.application: server.password})
