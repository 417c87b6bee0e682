"""Relations, counters, keys, indexes, checks, tables and classes of any name."""

import asyncio
import io
import os
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from freehold import Database, Include, Principal, Session, field, reference
from freehold.engine.reconcile import reconcile
from freehold.errors import ConcurrencyError, DeclarationError, ReferenceError, UniqueError, ValidationError
from freehold.identity.principal import Origin
from freehold.model import description, names
from freehold.postgres.connections import connect
from freehold.testing import Factory
from freehold.transfer import export_file, import_file
from freehold.transfer.formats import Format
from tests.conftest import Server, new_context
from tests.names.gathering import entity
from tests.names.village import COUNTED, NAMED, WORDS, Counted, Leaf, Near, NearBy, Root, Tagged, village
from tests.probe import plain
from tests.server.calling import Callers, calling


@pytest.fixture(scope="session")
def village_name(server: Server) -> str:
    """This worker's database, made anew for the run."""
    name = f"village_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    asyncio.run(server.create_database(name, village))
    return name


@pytest.fixture
async def opened(server: Server, village_name: str) -> AsyncIterator[Database]:
    """That database, opened as the application role."""
    async with Database.open(server.address(village_name, village), village, size=4) as database:
        yield database


@pytest.fixture
async def ada(opened: Database) -> Principal:
    """An administrator of a new organization."""
    context = await new_context(opened)
    permissions = village.grants.permissions("admin")
    return Principal(context.organization_id, context.user_id, "admin", permissions, f"user:{context.user_id}")


@pytest.fixture
async def session(opened: Database, ada: Principal) -> AsyncIterator[Session]:
    """A session of hers."""
    async with opened.session(ada.context(Origin())) as session:
        yield session


@pytest.fixture
async def call(opened: Database, ada: Principal) -> AsyncIterator[Callers]:
    """Calls as hers over HTTP."""
    async with calling(opened, ada=ada) as callers:
        yield callers


async def test_relations(session: Session, call: Callers) -> None:
    roots = {word: await session.create(Root, name=word) for word in WORDS}
    leaf = await Factory(session).create(Leaf, **roots)
    assert {word: getattr(leaf, f"{word}_id") for word in WORDS} == {word: root.id for word, root in roots.items()}
    whole = (await session.list(Leaf, include=dict.fromkeys(WORDS, True)))[0]
    assert {word: getattr(whole, word).name for word in WORDS} == {word: word for word in WORDS}
    async with session.as_of(leaf.created_at) as past:
        then = (await past.list(Leaf, include=list(WORDS)))[0]
        assert {word: getattr(then, word).name for word in WORDS} == {word: word for word in WORDS}
    for word, root in roots.items():
        where = {f"{word}.name": word, "and": [{f"{word}.id": root.id}]}
        assert [each.id for each in await session.list(Leaf, where=where)] == [leaf.id]
        back = {word: Include(order_by=f"-{word}_id", where={f"{word}.name": word}, limit=2)}
        found = (await session.list(Root, where={f"{word}.{word}.name": word, "id": root.id}, include=back))[0]
        assert [each.id for each in getattr(found, word)] == [leaf.id]
        counted = (await session.list(Root, where={"id": root.id}, include={word: "count"}))[0]
        assert getattr(counted, f"{word}_count") == 1
        place = f"/api/roots?where.{word}.name={leaf.name}&include={word}&select=name&order=name"
        answer = await call("ada", "GET", place)
        assert answer.is_success, answer.text
        (told,) = answer.json()["data"]
        assert (told[word][0][f"{word}_id"], told["name"]) == (str(root.id), word)
    with pytest.raises(ReferenceError):
        await session.delete(roots["found"])
    file = io.BytesIO()
    await export_file(session, Leaf, file, form=Format("csv"), fields=["name", *(f"{word}.name" for word in WORDS)])
    await import_file(
        session,
        Leaf,
        io.BytesIO(file.getvalue()),
        form=Format("csv"),
        mapping={f"{w}.name": f"{w}.name" for w in WORDS},
    )
    other = (await session.list(Leaf, order_by="-created_at"))[0]
    assert {word: getattr(other, f"{word}_id") for word in WORDS} == {word: root.id for word, root in roots.items()}


async def test_counters_keys_indexes_and_checks(session: Session) -> None:
    counted = await session.create(Counted, name="counted")
    values: dict[str, Any] = {"counted_id": counted.id, "user": "ada", "collation": "Straße", "excluded": "one"}
    tagged = await session.create(Tagged, **values)
    with pytest.raises(UniqueError) as caught:
        await session.create(Tagged, **{**values, "user": "eve", "collation": "STRASSE", "excluded": "other"})
    assert caught.value.fields == ("collation",)
    await session.create_many(
        Tagged, [{**values, "collation": f"c{n}", "excluded": f"e{n}", "found": n} for n in range(2, 5)]
    )
    again = {**values, "collation": "changed", "excluded": "changed"}
    for key in (("found", "t", "user"), "collation"):
        result = await session.create_many(Tagged, [again], on_duplicate="update", key=key)
        assert (result.updated, result.unchanged) == ((1, 0) if key != "collation" else (0, 1))
    result = await session.create_many(
        Tagged,
        [{**again, "excluded": "CHANGED", "found": 9, "collation": "c9"}],
        on_duplicate="skip",
        key=("excluded", "r"),
    )
    assert result.skipped == 1
    found = await session.get(Counted, counted.id)
    assert {word: getattr(found, word) for word in COUNTED} == {word: 1 if word == "found" else 4 for word in COUNTED}
    assert len(await session.search("chang", in_=Tagged)) == 1
    page = await session.list(Tagged, where={"select": 1}, order_by=["order", "new", "user"], limit=2)
    assert (
        len(
            await session.list(Tagged, where={"select": 1}, order_by=["order", "new", "user"], limit=2, after=page.next)
        )
        == 2
    )
    for wrong in ({"user": "nobody"}, {"select": -1}, {"order": 100}):
        with pytest.raises(ValidationError) as refused:
            await session.update(await session.get(Tagged, tagged.id), **wrong)
        assert refused.value.issues[0].path == tuple(wrong)


async def test_counters_are_mended(session: Session, server: Server, village_name: str) -> None:
    counted = await session.create(Counted, name="counted")
    await session.create(Tagged, counted_id=counted.id, user="ada", collation="one", excluded="one")
    async with plain(server.admin_address(village_name)) as admin, admin.transaction():
        await admin.execute("set local session_replication_role = replica")
        wrong = ", ".join(f'"{word}" = 7' for word in COUNTED)
        await admin.execute(f"update app.counted set {wrong} where id = $1", counted.id)
    async with connect(server.admin_address(village_name)) as connection:
        found = reconcile(connection, village.registry, village.schemas, village.roles, write=True)
        assert {drift.field for drift in [each async for each in found] if drift.record_id == counted.id} == set(
            COUNTED
        )
    mended = await session.get(Counted, counted.id)
    assert {word: getattr(mended, word) for word in COUNTED} == dict.fromkeys(COUNTED, 1)


async def test_tables(session: Session, opened: Database, call: Callers) -> None:
    for cls in NAMED:
        table = cls.__entity__.table
        one = await session.create(cls, name="one")
        with pytest.raises(UniqueError) as caught:
            await session.create(cls, name="one")
        assert (caught.value.entity, caught.value.fields) == (cls.__name__, ("name",))
        changed = await session.update(one, name="two")
        with pytest.raises(ConcurrencyError):
            await session.update(one, name="three")
        async with session.unit_of_work() as unit:
            unit.delete(changed)
            unit.add(cls, name="three")
        await session.restore((await session.list(cls, deleted=True, where={"name": "two"}))[0])
        assert await session.sql(None, f'select count(*) as n from "{table}"') == [{"n": 2}]
        assert len((await call("ada", "GET", f"/api/{table}")).json()["data"]) == 2
        assert [change.action for change in await session.history(cls, limit=2)] == ["restore", "create"]
    system = opened.system("tests")
    email = f"{session.context.organization_id}@users.test"
    await system.create_user(email=email, name="Eve")
    with pytest.raises(UniqueError) as caught:
        await system.create_user(email=email, name="Eve")
    assert (caught.value.entity, caught.value.fields) == ("User", ("email",))


async def test_constraints_of_one_name(session: Session) -> None:
    for cls, name in ((Near, "by_far"), (NearBy, "far")):
        with pytest.raises(ValidationError) as caught:
            await session.create(cls, cls.Create.model_construct({name}, **{name: -1}))
        assert (caught.value.subject, caught.value.issues[0].path) == (cls.__name__, (name,))


async def test_a_count_does_not_hide_a_field(session: Session) -> None:
    for relation in ("taken", "twice"):
        with pytest.raises(ValidationError) as caught:
            await session.list(Root, include={relation: "count"})
        assert [issue.code for issue in caught.value.issues] == ["count_taken"]


@pytest.mark.parametrize("name", ["and", "copy", "count", "Upper", "model_x", "größe", "x" * 41])
def test_names_of_relations_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(DeclarationError, match="the name is "):
        entity(
            {
                "name": (str, field(max_length=5)),
                "root_id": (UUID | None, reference("self", default=None, reverse=name)),
            }
        )


@pytest.mark.parametrize(
    ("name", "table"), [("Größe", "x"), ("Probe", "pg_class"), ("Probe", "log"), ("Probe", "Upper"), ("X" * 101, "x")]
)
def test_names_of_classes_and_tables_are_refused_with_the_reason(name: str, table: str) -> None:
    with pytest.raises(DeclarationError, match=r"must be|begins with pg_|is Freehold's"):
        entity({"name": (str, field(max_length=5))}, name=name, expose="all", table=table)


def test_two_constraints_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "constraint_name", lambda table, parts, suffix: f"{table}_{suffix}")
    for fields, checks in (
        ({"a": (int, field()), "b": (int, field())}, {}),
        ({"a": (int, field())}, {"x": "a > 0", "y": "a > 1"}),
    ):
        with pytest.raises(DeclarationError, match="share the name"):
            entity(fields, checks=checks)


def test_no_function_of_freehold_is_called_like_one_of_a_table() -> None:
    """Both are in one schema. Where a name is taken, the table's name is refused."""
    plan = village.plan()
    made = re.compile(r'create (?:or replace )?function "?freehold"?\."?(\w+)"?')
    own = {name for statement in plan.setup for name in made.findall(statement)}
    actions = {
        name.removeprefix(f"{cls.__entity__.table}_")
        for cls in (Leaf, Root, Counted, Tagged)
        for statement in plan.derived
        for name in made.findall(statement)
        if name.startswith(f"{cls.__entity__.table}_")
    }
    assert {"get", "create_all", "increment", "tally_create", "search_rebuild", "refer_restore"} <= actions
    taken = {name.removesuffix(f"_{action}") for name in own for action in actions if name.endswith(f"_{action}")}
    assert taken == names._OURS
