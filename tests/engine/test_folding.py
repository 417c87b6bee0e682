"""Case does not count, by one definition: in Python and in PostgreSQL, for each letter and each place of it."""

import asyncio
import io
import os
import unicodedata
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold import Application, Database, Entity, Session, Unique, errors, field, reference
from freehold.model.folding import FOLDED, folded
from freehold.postgres.connections import connect
from freehold.transfer import import_file
from freehold.transfer.formats import Format
from tests.conftest import Server, new_context
from tests.engine.migrating import Site, entity
from tests.probe import scratch


class Street(Entity):
    name: str = field(max_length=60, unique=True, ignore_case=True)
    length: int = field(default=0)


class House(Entity, unique=[Unique("street_id", "label", ignore_case=["label"])]):
    street_id: UUID = reference(Street)
    label: str = field(max_length=60)


town = Application("town", [Street, House])
LETTERS = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
"""All that a text can hold."""
ALIKE = [
    ("Straße", "STRASSE"), ("Straße", "STRAẞE"), ("ΟΔΟΣ", "οδος"), ("οδος", "οδοσ"), ("ﬁnance", "FINANCE"), ("İzmir", "i\u0307zmir"),
    ("\u212aelvin", "kelvin"), ("\u212bngström", "ÅNGSTRÖM"), ("ǅ", "ǆ"), ("ŉ", "ʼN"), ("Ꭰ", "ꭰ"), ("𐐀", "𐐨"), ("ſ", "S"),
    ("ΐ", "\u0399\u0308\u0301"),
]  # fmt: skip
UNLIKE = [("Izmir", "ızmir"), ("cafe", "café"), ("ﬁ", "fl"), ("é", "e\u0301"), ("a", "b")]


def test_each_letter_is_folded_as_unicode_says() -> None:
    different = [letter for letter in LETTERS if folded(letter) != letter.casefold()]
    # A Python of a newer Unicode knows letters that came after the table.
    assert unicodedata.unidata_version != "14.0.0" or different == []
    assert [letter for letter in FOLDED if folded(letter) != letter.casefold()] == []


@given(st.text())
def test_a_folded_text_is_folded(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert folded(text) == "".join(map(folded, text))


@pytest.fixture(scope="module")
def town_name(server: Server) -> str:
    """This worker's database of the town."""
    name = f"tests_town_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    asyncio.run(server.create_database(name, town))
    return name


async def unlike(server: Server, name: str, texts: Sequence[str]) -> list[str]:
    """The texts that PostgreSQL folds otherwise than Python."""
    async with connect(server.admin_address(name)) as connection:
        found = await connection.fetch(
            "select given from unnest($1::text[], $2::text[]) as u (given, wanted) where freehold.folded(given) is distinct from wanted",
            list(texts), [folded(text) for text in texts],
        )  # fmt: skip
    return [row["given"] for row in found]


async def test_postgresql_folds_every_letter_as_python_does(server: Server, town_name: str) -> None:
    assert await unlike(server, town_name, LETTERS) == []


async def test_postgresql_folds_letters_beside_each_other_as_python_does(server: Server, town_name: str) -> None:
    neighbours = ["a", "A", "Σ", "ς", "ß", "\u0307", " ", "-", "中"]
    pairs = [pair for letter in FOLDED for other in neighbours for pair in (letter + other, other + letter, letter * 2)]
    words = ["".join(LETTERS[start : start + 997]) for start in range(0, len(LETTERS), 997)]
    assert await unlike(server, town_name, [*pairs, *words, "", " "]) == []


async def test_the_function_does_not_depend_on_the_locale(server: Server, town_name: str) -> None:
    async with connect(server.admin_address(town_name)) as connection:
        for collation in ('"C"', '"default"', '"POSIX"'):
            (row,) = await connection.fetch(f"select freehold.folded('ÄΣİẞ' collate {collation}) as text")
            assert row["text"] == "äσi\u0307ss"


@pytest.fixture
async def session(server: Server, town_name: str) -> AsyncIterator[Session]:
    async with (
        Database.open(server.address(town_name, town), town, size=3) as database,
        database.session(await new_context(database)) as session,
    ):
        yield session


@pytest.mark.parametrize(("one", "other"), ALIKE)
async def test_texts_that_differ_in_case_are_one_key(session: Session, one: str, other: str) -> None:
    street = await session.create(Street, name=one)
    with pytest.raises(errors.UniqueError):
        await session.create(Street, name=other)
    with pytest.raises(errors.UniqueError):
        async with session.unit_of_work() as unit:
            unit.add(Street, name=other)
    third = await session.create(Street, name="another")
    with pytest.raises(errors.UniqueError):
        await session.update(third, name=other)

    again = await session.create_many(Street, [{"name": other, "length": 5}], on_duplicate="update", key="name")
    assert (again.created, again.updated) == (0, 1)
    assert (await session.get(Street, street.id)).length == 5
    both = await session.create_many(
        Street, [{"name": f"x{text}", "length": 1} for text in (one, other)], on_duplicate="skip", key="name"
    )
    assert (both.created, both.skipped) == (1, 1)

    changed = await session.update(await session.get(Street, street.id), name="elsewhere")
    await session.create(Street, name=other)
    with pytest.raises(errors.ValidationError):
        await session.revert(changed, 1)

    lines = f"street,label\n{one},1\n{other},2\n".encode()
    result = await import_file(session, House, io.BytesIO(lines), form=Format("csv"), mapping={"street": "street.name"})
    assert (result.created, result.refused) == (2, 0)


@pytest.mark.parametrize(("one", "other"), UNLIKE)
async def test_other_texts_are_two_keys(session: Session, one: str, other: str) -> None:
    street = await session.create(Street, name=one)
    await session.create(Street, name=other)
    await session.create(House, street_id=street.id, label=one)
    await session.create(House, street_id=street.id, label=other)


FOLDED_KEY, OLD_KEY = "{engine}.folded(name)", 'lower((name COLLATE \\"default\\"))'
"""What a revision of today says of the key, and what one of an older release said."""


def release() -> Application:
    return Application("shop", [entity("Item", {"name": (str, field(max_length=20, unique=True, ignore_case=True))})])


@pytest.fixture
async def site(server: Server, tmp_path: Path) -> AsyncIterator[Site]:
    async with scratch(server, None) as name:
        yield Site(server, name, tmp_path / "migrations")


async def test_a_revision_makes_the_index_of_an_older_release_again(site: Site) -> None:
    first = await site.new(release(), "first")
    assert first is not None
    assert FOLDED_KEY in first.read_text()
    first.write_text(first.read_text().replace(FOLDED_KEY, OLD_KEY))
    await site.run(release(), lambda migrations, connection: migrations.work_up(connection, to=site.id()))
    assert [each.kind for each in await site.differences(release()) if each.structural] == ["index"]
    second = await site.new(release(), "second")
    assert second is not None
    await site.up(release())
    assert await site.differences(release()) == []
    await site.down(release(), site.id())
    await site.up(release())
    assert await site.differences(release()) == []


async def older(site: Site, *names: str) -> None:
    """A database that an older release has set up."""
    await site.setup(release())
    async with connect(site.address) as connection:
        await connection.execute("drop index app.items_name_key")
        await connection.execute(
            'create unique index items_name_key on app.items (organization_id, (lower(name collate "default") collate "C"))'
        )
        await connection.execute("update freehold.settings set value = 'older' where name = 'installed'")
        await connection.execute("alter table app.items disable trigger all")
        for name in names:
            organization = "00000000-0000-7000-8000-000000000001"
            insert = "insert into app.items (organization_id, name, created_by) values ($1::uuid, $2, null)"
            await connection.fetch(f"{insert} returning 1 as one", organization, name)


async def test_a_set_up_makes_the_index_of_an_older_release_again(site: Site) -> None:
    await older(site, "Weg", "Straße")
    await site.setup(release())
    assert await site.differences(release()) == []


async def test_a_set_up_tells_which_records_are_the_same_now(site: Site) -> None:
    await older(site, "Straße", "Strasse")
    with pytest.raises(errors.ConfigurationError) as caught:
        await site.setup(release())
    assert "items_name_key" in caught.value.message
    async with connect(site.address) as connection:
        query = str(caught.value.hint).partition(": ")[2]
        (row,) = await connection.fetch(query)
        assert row["ids"] is not None
        (index,) = await connection.fetch("select pg_get_indexdef('app.items_name_key'::regclass) as text")
        assert "lower(" in index["text"]
