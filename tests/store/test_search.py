"""Search: what is found, in which order, how it stays in step, and that no other organization is ever in it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Application, Database, Entity, Session, field, reference
from freehold.errors import ConfigurationError, CursorError, IsolationError, ValidationError
from tests import probe
from tests.conftest import Server, new_context


class Firm(Entity, soft_delete=True):
    name: str = field(max_length=200, search=True, index=True)
    town: str | None = field(default=None, max_length=100, search=True)
    notes: str | None = field(default=None, search=True)
    tags: list[str] = field(default_factory=list, search=True)
    secret: str | None = field(default=None, max_length=100, private=True)
    size: int = field(default=0)


class Person(Entity):
    firm_id: UUID | None = reference(Firm, on_delete="cascade", default=None)
    name: str = field(max_length=100, search=True)


class Mute(Entity):
    text: str = field(max_length=100)


searched = Application("searched", [Firm, Person, Mute])


@pytest.fixture(scope="module")
def searched_name(server: Server) -> str:
    import os

    name = f"searched_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    asyncio.run(server.create_database(name, searched))
    return name


@pytest.fixture
async def found(server: Server, searched_name: str) -> AsyncIterator[Database]:
    async with Database.open(server.address(searched_name, searched), searched, size=4) as database:
        yield database


@pytest.fixture
async def ours(found: Database) -> AsyncIterator[Session]:
    async with found.session(await new_context(found)) as session:
        yield session


@pytest.fixture
async def theirs(found: Database) -> AsyncIterator[Session]:
    async with found.session(await new_context(found)) as session:
        yield session


@pytest.fixture
async def plain(server: Server, searched_name: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    async with probe.plain(server.address(searched_name, searched)) as connection:
        yield connection


@pytest.fixture
async def owner(server: Server, searched_name: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    async with probe.plain(server.admin_address(searched_name)) as connection:
        yield connection


async def names(session: Session, text: str, **more: Any) -> list[str]:
    return [hit.record.name for hit in await session.search(text, **more)]  # type: ignore[attr-defined]


async def test_words_and_beginnings_in_any_order_and_field(ours: Session) -> None:
    await ours.create(Firm, name="Acme Tools", town="London")
    await ours.create(Firm, name="Acme Lights", town="Paris")
    assert await names(ours, "lon acme") == ["Acme Tools"]
    assert await names(ours, "ACME") == ["Acme Tools", "Acme Lights"] or len(await names(ours, "ACME")) == 2
    assert await names(ours, "acme rome") == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Łódź Straße", "lodz strasse"),
        ("Øresund Ægir", "oresund aegir"),
        ("Café Zoë", "cafe zoe"),
        ("Cafe Zoe", "Café ZOË"),
        ("ΟΔΟΣ Ωμέγα", "οδοσ ωμεγα"),
        ("ЁЛКА", "елка"),
        ("東京都庁", "京都"),
        ("東京都庁", "庁"),
        ("ラーメン屋", "メン"),
        ("شَرِكَة النور", "شركة النو"),
        ("한국어 회사", "한국"),
        ("party 🎉 time", "🎉"),
        ("thumbs 👍🏽", "👍"),
        ("สวัสดีครับ", "ดีครับ"),
        ("O'Brien & Sons", "o'brien"),
        ("ada@acme.example", "ada@acme"),
        ("50 % off", "50%"),
        ("x" * 60, "x" * 50),
    ],
)
async def test_scripts_accents_and_signs(ours: Session, name: str, text: str) -> None:
    await ours.create(Person, name=name)
    assert await names(ours, text, in_=Person) == [name]


@pytest.mark.parametrize("text", ["", " ", "...", "'\"", "& | ! () :* <->", "\t\n"])
async def test_nothing_to_search_for_finds_nothing(ours: Session, text: str) -> None:
    await ours.create(Firm, name="Acme")
    page = await ours.search(text)
    assert (page.records, page.next) == ((), None)
    assert len(await ours.list(Firm, search=text)) == 0
    assert (await ours.list(Firm, search=text, with_total=True)).total == 0
    assert await ours.count(Firm, search=text) == 0


@pytest.mark.parametrize(
    "text", ["acme & rome", "!acme", "acme:*", "'acme'", "acme\\", "acme <-> tools", "the acme", 'a"cme']
)
async def test_operators_are_no_operators(ours: Session, text: str) -> None:
    await ours.create(Firm, name="Acme Tools")
    page = await ours.search(text)
    assert all(hit.record.name == "Acme Tools" for hit in page)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("word " * 10_000, "1,000 characters"),
        (" ".join(f"w{n}" for n in range(21)), "20 words"),
        ("a\x00b", "NUL"),
        ("a\ud800b", "surrogates"),
        (None, "must be a str"),
        (5, "must be a str"),
        (b"acme", "must be a str"),
        (["acme"], "must be a str"),
    ],
)
async def test_bad_texts(ours: Session, text: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        await ours.search(text)
    if text is not None:
        with pytest.raises(ValidationError, match=said):
            await ours.list(Firm, search=text)


async def test_entities_without_searchable_fields_are_told_which_have_some(ours: Session) -> None:
    with pytest.raises(ValidationError, match=r"Mute has no searchable fields; those that have some: Firm, Person"):
        await ours.search("x", in_=[Firm, Mute])
    with pytest.raises(ValidationError, match="Firm, Person"):
        await ours.list(Mute, search="x")
    for wrong in ("Firm", [], [Firm, "Person"], 5):
        with pytest.raises(ValidationError, match="entity or a list of entities"):
            await ours.search("x", in_=wrong)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError):
        await ours.search("x", in_=int)  # type: ignore[call-overload]


async def test_an_application_without_searchable_fields_says_so(server: Server) -> None:
    class Silent(Entity):
        text: str = field(max_length=10)

    silent = Application("silent", [Silent])
    async with (
        probe.scratch(server, silent) as name,
        Database.open(server.address(name, silent), silent, size=1) as database,
    ):
        with pytest.raises(ConfigurationError, match="no entity has searchable fields"):
            await database.session(await new_context(database)).search("x")


async def test_the_best_come_first(ours: Session) -> None:
    await ours.create(Firm, name="Zebra Other", notes="acme is mentioned")
    await ours.create(Firm, name="Acmeville")
    await ours.create(Firm, name="Something", town="Acme")
    await ours.create(Firm, name="Acme")
    page = await ours.search("acme")
    assert [hit.record.name for hit in page] == ["Acme", "Something", "Zebra Other", "Acmeville"]
    assert [hit.rank for hit in page] == sorted((hit.rank for hit in page), reverse=True)


async def test_one_or_several_or_all_entities(ours: Session) -> None:
    firm = await ours.create(Firm, name="Nova")
    person = await ours.create(Person, name="Nova Reed", firm_id=firm.id)
    everywhere = await ours.search("nova")
    assert [(hit.entity, hit.id) for hit in everywhere] == [("Firm", firm.id), ("Person", person.id)]
    assert [hit.record for hit in everywhere] == [firm, person]
    assert [hit.record for hit in await ours.search("nova", in_=Person)] == [person]
    assert len(await ours.search("nova", in_=[Person, Firm, Person])) == 2


async def test_fragments_mark_what_was_found(ours: Session) -> None:
    filler = "lorem ipsum " * 30
    await ours.create(Firm, name="Émile <b>Acmé</b> & Söhne", notes=f"{filler}the ACME company {filler}")
    (hit,) = await ours.search("acme")
    name, notes = hit.fragments
    assert (name.field, name.html()) == ("name", "Émile &lt;b&gt;<mark>Acmé</mark>&lt;/b&gt; &amp; Söhne")
    assert name.text == "Émile <b>Acmé</b> & Söhne"
    assert notes.text.startswith("…")
    assert notes.text.endswith("…")
    assert "<mark>ACME</mark>" in notes.html()
    assert len(notes.text) < 200


async def test_pages_go_through_all_hits_once(ours: Session) -> None:
    made = {(await ours.create(Person, name=f"Page {n % 3}")).id for n in range(11)}
    seen: list[UUID] = []
    after = None
    while True:
        page = await ours.search("page", limit=4, after=after)
        seen += [hit.id for hit in page]
        after = page.next
        if after is None:
            break
    assert len(seen) == 11
    assert set(seen) == made


async def test_a_cursor_belongs_to_its_organization_words_and_entities(ours: Session, theirs: Session) -> None:
    for _ in range(3):
        await ours.create(Person, name="Cursor")
        await theirs.create(Person, name="Cursor")
    cursor = (await ours.search("cursor", limit=1)).next
    assert cursor is not None
    assert len(await ours.search("CURSOR ", limit=1, after=cursor)) == 1
    with pytest.raises(CursorError):
        await theirs.search("cursor", limit=1, after=cursor)
    with pytest.raises(CursorError):
        await ours.search("cursors", limit=1, after=cursor)
    with pytest.raises(CursorError):
        await ours.search("cursor", in_=Person, limit=1, after=cursor)
    listed = (await ours.list(Person, limit=1)).next
    for foreign in (cursor[:-2], listed, "x", 5):
        with pytest.raises(CursorError):
            await ours.search("cursor", after=foreign)  # type: ignore[arg-type]
    first = await ours.list(Person, search="cursor", limit=1)
    with pytest.raises(CursorError):
        await ours.list(Person, search="other", limit=1, after=first.next)
    with pytest.raises(CursorError):
        await ours.list(Person, limit=1, after=first.next)


async def test_in_step_with_every_kind_of_change(ours: Session) -> None:
    firm = await ours.create(Firm, name="Before")
    assert await names(ours, "before") == ["Before"]
    firm = await ours.update(firm, name="After")
    assert (await names(ours, "before"), await names(ours, "after")) == ([], ["After"])
    firm = await ours.update(firm, size=3)
    assert await names(ours, "after") == ["After"]
    firm = await ours.update(firm, tags=["steel", "glass"])
    assert await names(ours, "glass") == ["After"]
    firm = await ours.delete(firm)
    assert await names(ours, "after") == []
    assert len(await ours.list(Firm, search="after", deleted=True)) == 0
    firm = await ours.restore(firm)
    assert await names(ours, "after") == ["After"]
    await ours.purge(firm)
    assert await names(ours, "after") == []


async def test_a_deleted_record_that_changes_stays_away(ours: Session, plain: "asyncpg.Connection[Any]") -> None:
    firm = await ours.delete(await ours.create(Firm, name="Hidden"))
    await probe.run(plain, ours.context, "update app.firms set name = 'Hidden2' where id = $1", firm.id)
    assert await names(ours, "hidden") == []
    await probe.run(
        plain, ours.context, "insert into app.firms (name, tags, size, deleted_at) values ('Hidden3', '{}', 1, now())"
    )
    assert await names(ours, "hidden3") == []


async def test_in_step_with_raw_sql_and_cascades(ours: Session, plain: "asyncpg.Connection[Any]") -> None:
    firm = await ours.create(Firm, name="Parent")
    await ours.create(Person, name="Child", firm_id=firm.id)
    await probe.run(
        plain, ours.context, "insert into app.persons (name) select 'Bulk ' || n from generate_series(1, 30) n"
    )
    assert len(await ours.search("bulk", limit=50)) == 30
    await probe.run(plain, ours.context, "update app.persons set name = 'Changed' where name like 'Bulk 1%'")
    assert (len(await ours.search("bulk", limit=50)), len(await ours.search("changed", limit=50))) == (19, 11)
    await ours.purge(firm)
    assert await names(ours, "child") == []


async def test_what_is_rolled_back_is_not_found(ours: Session, plain: "asyncpg.Connection[Any]") -> None:
    transaction = plain.transaction()
    await transaction.start()
    await probe.enter(plain, ours.context)
    await plain.execute("insert into app.persons (name) values ('Ghost')")
    await transaction.rollback()
    assert await names(ours, "ghost") == []


async def test_private_fields_are_never_found(ours: Session) -> None:
    await ours.create(Firm, name="Open", secret="xyzzyplugh")
    assert await names(ours, "xyzzyplugh") == []
    assert await names(ours, "xyzzyplgh") == []


async def test_typing_errors(ours: Session) -> None:
    await ours.create(Firm, name="Logistics Partners")
    page = await ours.search("logistisc")
    assert ([hit.record.name for hit in page], page.words) == (["Logistics Partners"], ("logistics",))
    assert page[0].fragments[0].html() == "<mark>Logistics</mark> Partners"
    assert await names(ours, "logistisc partnrs") == ["Logistics Partners"]
    assert await names(ours, "qqqqqq") == []
    assert [firm.name for firm in await ours.list(Firm, search="logistisc")] == ["Logistics Partners"]


async def test_nothing_of_another_organization(ours: Session, theirs: Session) -> None:
    """Not by a hit, a correction, a rank, a total, or an error."""
    before = await ours.create(Firm, name="Alpha Works")
    ranks = [hit.rank for hit in await ours.search("alpha")]
    for n in range(20):
        await theirs.create(Firm, name=f"Alpha Zanzibar {n}")
    assert [(hit.id, hit.rank) for hit in await ours.search("alpha")] == [(before.id, ranks[0])]
    for text in ("zanzibar", "zan", "zanzibra", "alpha zanzibar"):
        page = await ours.search(text)
        assert (page.records, "zanzibar" in page.words and "zanzibar" not in text) == ((), False)
        assert len(await ours.list(Firm, search=text)) == 0
        assert await ours.count(Firm, search=text) == 0
    assert len(await theirs.search("zanzibra", limit=50)) == 20


async def test_typing_errors_are_mended_with_the_organizations_own_words(ours: Session, theirs: Session) -> None:
    """Neither the other's nearer words take the places of ours, nor does it matter that the other has the mistyped word."""
    await ours.create(Firm, name="Zanzibox")
    for n in range(6):
        await theirs.create(Firm, name=f"Xanzibra{n} Zanzibrx{n}")
    await theirs.create(Firm, name="Zanzibra")
    page = await ours.search("zanzibra")
    assert ([hit.record.name for hit in page], page.words) == (["Zanzibox"], ("zanzibox",))


async def test_raw_sql_reaches_no_other_organization(
    ours: Session, theirs: Session, plain: "asyncpg.Connection[Any]"
) -> None:
    target = await theirs.create(Firm, name="Treasure")
    key = "select freehold.search_key($1)"
    hits = "select * from freehold.search_hits($1, $2, '{Firm}', null, null, null, 10)"
    us, them = ours.context.organization_id, theirs.context.organization_id
    assert await probe.run(plain, ours.context, hits, us, "treasure") == []
    for statement, values in (
        (hits, (them, "treasure")),
        (hits, (None, "treasure")),
        ("select * from freehold.search_set($1, 'treasure', 'Firm', 10)", (them,)),
        ("select freehold.search_ids($1, 'treasure', 'Firm')", (them,)),
        ("select freehold.search_matches($1, 'Firm', $2, to_tsquery('x'))", (them, target.id)),
    ):
        with pytest.raises(asyncpg.PostgresError, match="organization of the context"):
            await probe.run(plain, ours.context, statement, *values)
    for statement in (
        "select * from freehold.search",
        "select * from freehold.search_words",
        "delete from freehold.search",
        "select freehold.search_similar(gen_random_uuid(), 'treasur')",
        "select freehold.search_queries(gen_random_uuid(), 'treasur')",
        "select freehold.search_learn(gen_random_uuid(), '{x}')",
        "select freehold.firms_search_rebuild()",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await probe.run(plain, ours.context, statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await probe.run(plain, ours.context, key, them)
    with pytest.raises(asyncpg.PostgresError):  # without any context
        await plain.fetch(hits, them, "treasure")


async def test_lexemes_slipped_into_a_query_are_words(
    ours: Session, theirs: Session, plain: "asyncpg.Connection[Any]", owner: "asyncpg.Connection[Any]"
) -> None:
    """Also with the other's key: a look-up names the organization besides."""
    target = await theirs.create(Firm, name="Treasure")
    lexeme = await owner.fetchval("select freehold.search_key($1) || 'treasure'", theirs.context.organization_id)
    query = f"'{lexeme}' | x"
    assert (await ours.search(query)).records == ()
    asked = "select freehold.search_matches($1, 'Firm', $2, $3::text::tsquery)"
    (row,) = await probe.run(plain, ours.context, asked, ours.context.organization_id, target.id, f"'{lexeme}'")
    assert row[0] is False


async def test_lists_combine_search_with_everything(ours: Session) -> None:
    for n in range(12):
        firm = await ours.create(Firm, name=f"Combi {n:02}", size=n, town="Rome" if n % 2 else "Oslo")
        await ours.create(Person, name=f"Worker {n}", firm_id=firm.id)
    await ours.create(Firm, name="Else")
    page = await ours.list(
        Firm,
        search="combi rome",
        where={"size": {"gte": 3}},
        order_by="-size",
        limit=3,
        with_total=True,
        include={"persons": "count"},
    )
    assert ([firm.size for firm in page], page.total) == ([11, 9, 7], 5)
    assert page[0].persons_count == 1  # type: ignore[attr-defined]
    rest = await ours.list(
        Firm, search="combi rome", where={"size": {"gte": 3}}, order_by="-size", limit=3, after=page.next
    )
    assert [firm.size for firm in rest] == [5, 3]
    back = await ours.list(
        Firm, search="combi rome", where={"size": {"gte": 3}}, order_by="-size", limit=3, before=rest.previous
    )
    assert [firm.size for firm in back] == [11, 9, 7]
    assert [row.size for row in await ours.list(Firm, search="combi", select=["size"], order_by="size", limit=2)] == [
        0,
        1,
    ]
    assert await ours.count(Firm, search="combi") == 12
    assert await ours.count(Firm, {"town": "Oslo"}, search="combi") == 6


async def test_a_list_of_a_common_word_is_the_same(ours: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound rows are asked one by one; the answer is that of ids."""
    for n in range(6):
        await ours.create(Firm, name=f"Common {n}", size=n)
    await ours.create(Firm, name="Rare", size=9)
    few = await ours.list(Firm, search="common", order_by="-size", limit=4, with_total=True)
    monkeypatch.setattr("freehold.sql.found.MOST", 3)
    many = await ours.list(Firm, search="common", order_by="-size", limit=4, with_total=True)
    assert ([f.size for f in many], many.total) == ([5, 4, 3, 2], 6) == ([f.size for f in few], few.total)


async def test_a_past_session_has_no_search(ours: Session) -> None:
    firm = await ours.create(Firm, name="Then")
    async with ours.as_of(firm.created_at) as past:
        with pytest.raises(ValidationError, match="finds what is there now"):
            await past.list(Firm, search="then")


async def test_a_closed_session_does_not_search(found: Database) -> None:
    async with found.session(await new_context(found)) as session:
        pass
    with pytest.raises(IsolationError):
        await session.search("x")


async def test_writers_of_the_same_new_word_do_not_wait_for_each_other(
    server: Server, searched_name: str, ours: Session, theirs: Session, plain: "asyncpg.Connection[Any]"
) -> None:
    async with plain.transaction():
        await probe.enter(plain, ours.context)
        await plain.execute("insert into app.persons (name) values ('Simultaneous')")
        async with asyncio.timeout(probe.PATIENCE):
            await ours.create(Person, name="Simultaneous")
            await theirs.create(Person, name="Simultaneous")
    assert len(await ours.search("simultaneous")) == 2
    assert (await ours.search("simultanous")).words == ("simultaneous",)


async def test_the_plans_use_the_index(
    ours: Session, plain: "asyncpg.Connection[Any]", owner: "asyncpg.Connection[Any]"
) -> None:
    """Row-level security is forced on the owner too, as whom search runs."""
    crowd = "insert into app.persons (name) select 'Planned ' || md5(n::text) from generate_series(1, 5000) n"
    await probe.run(plain, ours.context, crowd)
    await owner.execute("analyze freehold.search")
    async with owner.transaction():
        await owner.execute("set local role freehold_owner")
        forms = "select needed::text from freehold.search_queries($1, $2)"
        for text in ("a1", "a1 planned"):
            query = await owner.fetchval(forms, ours.context.organization_id, text)
            rows = await owner.fetch(
                "explain select record_id from freehold.search where organization_id = $1 and document @@ $2::text::tsquery",
                ours.context.organization_id,
                query,
            )
            assert any("Index Scan on search_document_idx" in row[0] for row in rows), rows
