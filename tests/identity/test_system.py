"""Organizations, users and memberships: made by explicit system work, logged with its reason, and seen by their members only."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Context, Database, Membership, Organization, Session, User, errors
from freehold.identity.system import System
from freehold.model.context import new_id
from tests.conftest import new_context
from tests.probe import run, shown
from tests.world import Customer

Connection = asyncpg.Connection


@pytest.fixture
def system(database: Database) -> System:
    return database.system("tests of identity")


@pytest.fixture
def word() -> str:
    """A name that nothing else has."""
    return f"w{new_id().hex}"


async def test_an_organization_is_made_and_found(system: System, word: str) -> None:
    made = await system.create_organization(name="Änne & Co ✓", slug=word)
    assert isinstance(made, Organization)
    assert (made.name, made.slug, made.id.version) == ("Änne & Co ✓", word, 7)
    assert await system.find_organization(word) == made
    assert await system.find_organization(word.upper()) is None
    with pytest.raises(Exception, match="frozen"):
        made.name = "other"


async def test_a_user_is_found_by_the_address_in_any_case(system: System, word: str) -> None:
    made = await system.create_user(email=f"Ada@{word}.TEST", name="Ada")
    assert isinstance(made, User)
    assert made.email == f"ada@{word}.test"
    for email in (f"ada@{word}.test", f"ADA@{word.upper()}.test"):
        assert await system.find_user(email) == made


async def test_a_member_gets_a_context(system: System, word: str) -> None:
    organization = await system.create_organization(name="x", slug=word)
    user = await system.create_user(email=f"a@{word}.test", name="A")
    member = await system.add_member(organization.id, user.id)
    assert isinstance(member, Membership)
    assert (member.organization_id, member.user_id, member.role) == (organization.id, user.id, "member")
    context = await system.context(
        organization=word,
        user=user.email.upper(),
        permissions=frozenset({"read"}),
        request_id="r",
        client_ip="192.0.2.1",
        user_agent="agent",
    )
    assert context == Context(organization.id, user.id, "member", frozenset({"read"}), "r", "192.0.2.1", "agent")
    changed = await system.add_member(organization.id, user.id, role="owner")
    assert (changed.role, changed.created_at) == ("owner", member.created_at)
    assert (await system.context(organization=word, user=user.email)).role == "owner"
    one, two = [await system.context(organization=word, user=user.email) for _ in "ab"]
    assert one.request_id != two.request_id


async def test_who_is_no_member_gets_one_answer(system: System, word: str) -> None:
    organization = await system.create_organization(name="x", slug=word)
    other = await system.create_organization(name="y", slug=f"{word}-y")
    user = await system.create_user(email=f"a@{word}.test", name="A")
    await system.add_member(other.id, user.id)
    answers = set()
    for slug, email in (
        (word, user.email),  # both there, no membership
        (word, f"nobody@{word}.test"),
        ("there-is-none", user.email),
        ("there-is-none", f"nobody@{word}.test"),
    ):
        with pytest.raises(errors.ForbiddenError) as caught:
            await system.context(organization=slug, user=email)
        answers.add((type(caught.value), str(caught.value).replace(email, "E").replace(slug, "S")))
    assert len(answers) == 1
    assert str(organization.id) not in shown(caught.value)


@pytest.mark.parametrize("organization", [None, 5, "", "x" * 10_000, "a\x00b", b"x", UUID(int=1), "' or true --", "%"])
async def test_what_no_slug_looks_like_is_no_organization(system: System, organization: Any) -> None:
    assert await system.find_organization(organization) is None
    assert await system.find_user(organization) is None
    with pytest.raises(errors.ForbiddenError):
        await system.context(organization=organization, user="a@b.test")


async def test_what_is_taken_is_refused(system: System, word: str) -> None:
    made = await system.create_organization(name="first", slug=word)
    with pytest.raises(errors.UniqueError) as caught:
        await system.create_organization(name="second", slug=word)
    assert (caught.value.entity, caught.value.fields) == ("Organization", ("slug",))
    assert "first" not in shown(caught.value)
    await system.create_user(email=f"a@{word}.test", name="A")
    with pytest.raises(errors.UniqueError) as caught:
        await system.create_user(email=f"A@{word}.test", name="B")
    assert (caught.value.entity, caught.value.fields) == ("User", ("email",))
    assert await system.find_organization(word) == made


async def test_of_those_who_want_one_name_one_gets_it(system: System, word: str) -> None:
    results = await asyncio.gather(
        *(system.create_organization(name=str(n), slug=word) for n in range(8)), return_exceptions=True
    )
    made = [result for result in results if isinstance(result, Organization)]
    assert len(made) == 1
    assert {type(result) for result in results if result not in made} == {errors.UniqueError}
    assert await system.find_organization(word) == made[0]


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    **{
        f"slug {slug!r:.20}": ("create_organization", {"name": "x", "slug": slug}, "slug")
        for slug in ("", "-a", "a-", "A", "a b", "a_b", "ä", "x" * 64, "a\n", "a\x00", None, 5, "a.b", "a/b")
    },
    **{
        f"name {name!r:.20}": ("create_organization", {"name": name, "slug": "fine"}, "name")
        for name in ("", "x" * 201, "a\x00b", None, 5, "\ud800")
    },
    **{
        f"email {email!r:.20}": ("create_user", {"email": email, "name": "x"}, "email")
        for email in (
            "",
            "a",
            "a@",
            "@b",
            "a@b@c",
            "a b@c.test",
            "a@\x00",
            "a@b\n",
            "x" * 321 + "@a.test",
            None,
            5,
            "\ud800@a.test",
        )
    },
    "user's name": ("create_user", {"email": "a@b.test", "name": ""}, "name"),
    **{
        f"role {role!r:.20}": (
            "add_member",
            {"organization_id": UUID(int=1), "user_id": UUID(int=1), "role": role},
            "role",
        )
        for role in ("", "Admin", "1st", "a-b", "a b", "x" * 64, "a\n", None, 5)
    },
    "organization": ("add_member", {"organization_id": "x", "user_id": UUID(int=1)}, "organization_id"),
    "member": ("add_member", {"organization_id": UUID(int=1), "user_id": None}, "user_id"),
}


async def test_bad_input_is_named(system: System, admin: Connection, subtests: pytest.Subtests) -> None:
    tables = ("organizations", "users", "memberships")
    count = f"select {' + '.join(f'(select count(*) from freehold.{table})' for table in tables)}"
    before = await admin.fetchval(count)
    for what, (call, arguments, field) in WRONG.items():
        with subtests.test(what):
            with pytest.raises(errors.ValidationError) as caught:
                await getattr(system, call)(**arguments)
            assert {issue.path[0] for issue in caught.value.issues} == {field}
    assert await admin.fetchval(count) == before


async def test_a_membership_needs_both_sides(system: System, word: str) -> None:
    organization = await system.create_organization(name="x", slug=word)
    user = await system.create_user(email=f"a@{word}.test", name="A")
    for arguments, field in (((new_id(), user.id), "organization_id"), ((organization.id, new_id()), "user_id")):
        with pytest.raises(errors.ReferenceError) as caught:
            await system.add_member(*arguments)
        assert (caught.value.entity, caught.value.field) == ("Membership", field)


@pytest.mark.parametrize("reason", ["", None, 5, "x" * 501, "a\x00", b"x"])
def test_system_work_names_its_reason(database: Database, reason: Any) -> None:
    with pytest.raises(errors.ValidationError, match="reason"):
        database.system(reason)


async def test_a_context_is_no_reason(database: Database) -> None:
    with pytest.raises(errors.IsolationError):
        database.system(await new_context(database))  # type: ignore[arg-type]


async def test_the_log_keeps_what_was_done_and_why(database: Database, admin: Connection, word: str) -> None:
    system = database.system(f"ticket {word}")
    organization = await system.create_organization(name="x", slug=word)
    user = await system.create_user(email=f"a@{word}.test", name="A")
    await system.add_member(organization.id, user.id)
    with pytest.raises(errors.UniqueError):
        await system.create_organization(name="x", slug=word)
    rows = await admin.fetch("select * from freehold.log where reason = $1 order by position", f"ticket {word}")
    assert [(row["entity"], row["action"], row["organization_id"], row["record_id"]) for row in rows] == [
        ("Organization", "create", organization.id, organization.id),
        ("User", "create", None, user.id),
        ("Membership", "create", organization.id, user.id),
    ]


async def test_a_member_sees_its_organization_and_its_fellows_only(
    database: Database, system: System, acme: Session, rival: Session, raw: Connection
) -> None:
    fellow = await system.create_user(email=f"b@{new_id().hex}.test", name="B")
    await system.add_member(acme.context.organization_id, fellow.id, role="reader")
    assert [row["id"] for row in await acme.sql(None, "select id from freehold.organizations")] == [
        str(acme.context.organization_id)
    ]
    users = {row["id"] for row in await acme.sql(None, "select id from freehold.users")}
    assert users == {str(acme.context.user_id), str(fellow.id)}
    members = await acme.sql(None, "select user_id, role from freehold.memberships")
    assert {(row["user_id"], row["role"]) for row in members} == {
        (str(acme.context.user_id), "admin"),
        (str(fellow.id), "reader"),
    }
    for table in ("organizations", "users", "memberships"):
        assert await raw.fetch(f"select * from freehold.{table}") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await run(raw, acme.context, f"delete from freehold.{table}")


async def test_a_user_of_two_organizations_tells_neither_of_the_other(
    database: Database, system: System, acme: Session, rival: Session
) -> None:
    assert acme.context.user_id is not None
    await system.add_member(rival.context.organization_id, acme.context.user_id, role="guest")
    assert len(await rival.sql(None, "select * from freehold.users")) == 2
    seen = await rival.sql(None, "select * from freehold.memberships")
    assert {row["organization_id"] for row in seen} == {str(rival.context.organization_id)}
    assert len(await acme.sql(None, "select * from freehold.users")) == 1
    assert len(await acme.sql(None, "select * from freehold.memberships")) == 1


async def test_system_work_within_a_context_is_refused(acme: Session, raw: Connection, word: str) -> None:
    for call in (
        f"create_organization('x', '{word}', 'x')",
        f"create_user('{word}@x.test', 'x', 'x')",
        "add_member(freehold.organization_id(), freehold.actor_id(), 'owner', 'x')",
        "find_organization('x', 'x')",
        "find_user('x', 'x')",
        "find_membership('x', 'x', 'x')",
    ):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await run(raw, acme.context, f"select freehold.{call}")
        assert caught.value.sqlstate == "FH301"
    (member,) = await acme.sql(None, "select role from freehold.memberships")
    assert member["role"] == "admin"


async def test_an_organization_goes_when_nothing_is_left_in_it(database: Database) -> None:
    system, name = database.system("closing"), f"gone-{new_id()}"
    organization = await system.create_organization(name="Gone", slug=name)
    user = await system.create_user(email=f"{name}@x.test", name="Ada")
    await system.add_member(organization.id, user.id)
    async with database.session(await system.context(organization=name, user=user.email)) as session:
        customer = await session.create(Customer, name="the last one")
        with pytest.raises(errors.ForbiddenError, match="still has records"):
            await system.remove_organization(organization.id)
        with pytest.raises(errors.ForbiddenError, match="still a member"):
            await system.remove_user(user.id)
        await session.purge(customer)
    assert await system.remove_organization(organization.id)
    assert await system.find_organization(name) is None
    assert await system.remove_user(user.id)
    assert not await system.remove_organization(organization.id)
    assert not await system.remove_user(user.id)
