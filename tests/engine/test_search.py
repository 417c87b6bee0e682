"""What the database does for search: its tokenizer, its triggers, taking up what is there already, and going without extensions."""

from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold import Application, Database, Entity, field
from freehold.engine.search import tokenizer
from freehold.model.words import IGNORED, LOWERED, PAIRED, SEPARATING, SINGLE, SPELLED, words
from freehold.sql.identifiers import Schemas
from tests import probe
from tests.conftest import Server, new_context

EDGES = sorted(
    {
        chr(point)
        for ranges in (IGNORED, PAIRED, SEPARATING, SINGLE)
        for r in ranges
        for point in (r[0] - 1, *r, r[1] + 1)
    }
    - {"\x7f"}
)
LETTERS = st.sampled_from([*EDGES, *LOWERED, *SPELLED, *"aZ9 .-'İﬁ½ŉǅ한가ｱﾞÅé\u0301"])
TEXTS = st.text(LETTERS, max_size=12) | st.text(
    # Python's and PostgreSQL's Unicode may differ in age: characters that both know.
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cn", "Cs", "Co")),
    max_size=12,
)


async def test_python_and_the_database_agree_on_every_character(admin: "asyncpg.Connection[Any]") -> None:
    singles = [chr(point) for point in range(1, 0x30000) if not 0xD800 <= point <= 0xDFFF and chr(point).isprintable()]
    rows = await admin.fetch(
        "select c, freehold.search_split('a' || c || 'b' || c) as words from unnest($1::text[]) as c", singles
    )
    wrong = [
        (hex(ord(row["c"])), row["words"], made)
        for row in rows
        if row["words"] != (made := [word.text for word in words(f"a{row['c']}b{row['c']}")])
    ]
    assert wrong == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(TEXTS, min_size=50, max_size=100))
async def test_python_and_the_database_agree(admin: "asyncpg.Connection[Any]", texts: list[str]) -> None:
    rows = await admin.fetch("select t, freehold.search_split(t) as words from unnest($1::text[]) as t", texts)
    for row in rows:
        # Order of marks may differ, where they count at all.
        assert list(map(sorted, row["words"])) == [sorted(word.text) for word in words(row["t"])], row["t"]


async def test_the_tokenizer_depends_on_no_locale(server: Server) -> None:
    text = "ÄÖÜ ЁЛКА ΩΜΈΓΑ İI ß 東京都 👍x"
    async with probe.plain(server.admin) as connection:
        await connection.execute("drop database if exists search_locale")
        await connection.execute(
            "create database search_locale template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C' locale_provider libc"
        )
    try:
        async with probe.plain(server.admin_address("search_locale")) as connection:
            await connection.execute('create schema "freehold"')
            await connection.execute(tokenizer(Schemas()))
            assert await connection.fetchval("select freehold.search_split($1)", text) == [w.text for w in words(text)]
    finally:
        async with probe.plain(server.admin) as connection:
            await connection.execute("drop database search_locale with (force)")


def declared(*searchable: str) -> Application:
    """The same table, with other fields to search."""

    class Note(Entity):
        title: str = field(max_length=100, search="title" in searchable)
        text: str = field(max_length=100, search="text" in searchable)

    return Application("notes", [Note])


async def test_what_is_there_is_taken_up_when_a_field_becomes_searchable(server: Server) -> None:
    none, title, both = declared(), declared("title"), declared("title", "text")
    async with probe.scratch(server, none) as name:
        address, admin = server.address(name, none), server.admin_address(name)
        passwords = {none.roles.application: server.password}
        (note,) = none.registry.entities.values()
        async with Database.open(address, none, size=1) as database:
            context = await new_context(database)
            await database.session(context).create(note.cls, title="Alpha", text="Omega")
            other = await new_context(database)
            await database.session(other).create(note.cls, title="Alpha", text="Omega")
        for application, found in ((title, ["alpha"]), (both, ["alpha", "omega"]), (title, ["alpha"])):
            await application.setup(admin, passwords)
            async with Database.open(address, application, size=1) as database:
                session = database.session(context)
                for word in ("alpha", "omega"):
                    assert len(await session.search(word)) == (word in found), (word, found)
                assert await session.count(*application.registry.entities["Note"].cls.__mro__[:1]) == 1
        await none.setup(admin, passwords)
        async with probe.plain(admin) as connection:
            assert await connection.fetchval("select count(*) from freehold.search") == 0
            assert await connection.fetchval("select relforcerowsecurity from pg_class where relname = 'notes'")


async def test_a_second_set_up_takes_nothing_up_anew(server: Server) -> None:
    both = declared("title", "text")
    async with probe.scratch(server, both) as name, probe.plain(server.admin_address(name)) as connection:
        await connection.execute("update freehold.settings set value = 'older' where name = 'installed'")
        before = await connection.fetchval("select xmin::text from freehold.settings where name = 'search.Note'")
        await both.setup(server.admin_address(name), {both.roles.application: server.password})
        assert (
            await connection.fetchval("select xmin::text from freehold.settings where name = 'search.Note'") == before
        )


async def test_an_update_of_other_fields_does_not_touch_the_document(
    admin: "asyncpg.Connection[Any]", acme: Any
) -> None:
    from tests.world import Customer

    customer = await acme.create(Customer, name="Untouched")
    document = "select ctid::text || xmin::text from freehold.search where record_id = $1"
    before = await admin.fetchval(document, customer.id)
    customer = await acme.update(customer, visits=7, status="active")
    assert await admin.fetchval(document, customer.id) == before
    await acme.update(customer, name="Touched")
    assert await admin.fetchval(document, customer.id) != before


async def test_without_extensions_search_knows_words_and_beginnings(server: Server) -> None:
    both = declared("title", "text")
    async with (
        probe.scratch(server, both) as name,
        Database.open(server.address(name, both), both, size=1) as database,  # opening later would find it changed
        probe.plain(server.admin_address(name)) as connection,
    ):
        await connection.execute("drop extension pg_trgm, btree_gin cascade")
        # As where the extensions are not on the disk: the block falls back to a look-up that answers nothing.
        await connection.execute(
            "set role freehold_owner; create or replace function freehold.search_similar(organization uuid, sought text) "
            "returns setof text language sql stable as $$ select word from freehold.search_words where false $$"
        )
        session = database.session(await new_context(database))
        await session.create(both.registry.entities["Note"].cls, title="Logistics", text="")
        assert [len(await session.search(text)) for text in ("logistics", "logi", "logistisc")] == [1, 1, 0]


async def test_a_long_text_is_bounded(acme: Any, admin: "asyncpg.Connection[Any]") -> None:
    lexemes = await admin.fetchval(
        "select freehold.search_lexemes('k:', array(select 'w' || n from generate_series(1, 20000) n), 'A')"
    )
    assert lexemes.count("'") == 10_000
