"""Subjects that are not known yet: linked by a verified address, or made of what the token tells, where the issuer is trusted to."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from freehold import errors
from freehold.identity.calls import SystemCalls
from freehold.model.context import new_id
from tests.identity.conftest import Firm, World
from tests.identity.issuing import ISSUER, claims, token
from tests.probe import blocked

Connection = asyncpg.Connection
LINK = {"link_by_email": True}
PROVISION = {"provision": True}


def told(**more: Any) -> str:
    return f"Bearer {token(claims(**more), algorithm='EdDSA')}"


def verified(firm: Firm, **more: Any) -> dict[str, Any]:
    return {"sub": f"new-{firm.organization.slug}", "email": firm.user.email, "email_verified": True, **more}


def newcomer(firm: Firm, **more: Any) -> dict[str, Any]:
    email = f"new@{firm.organization.slug}.test"
    return verified(firm, **{"email": email, "name": "New", "org": firm.external, "role": "guest", **more})


async def forget(world: World, firm: Firm) -> None:
    await world.system.directory.unlink(ISSUER, "user", firm.subject)


async def externals(admin: Connection, firm: Firm) -> list[str]:
    rows = await admin.fetch("select external from freehold.externals where user_id = $1 order by 1", firm.user.id)
    return [row["external"] for row in rows]


async def test_nothing_is_linked_or_made_unless_the_issuer_is_trusted_to(
    world: World, admin: Connection, counted: Callable[[], list[str]]
) -> None:
    firm = await world.firm()
    await forget(world, firm)
    authenticator = world.authenticator()
    for one in (verified(firm), newcomer(firm)):
        with pytest.raises(errors.AuthenticationError):
            await authenticator.authenticate(told(**one))
    assert "adopt" not in counted()
    assert await externals(admin, firm) == []


async def test_programs_that_meet_a_subject_at_once_all_let_it_in(
    world: World, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm = await world.firm()
    await forget(world, firm)
    programs = [world.authenticator(trust=LINK) for _ in range(4)]
    together, answer = asyncio.Barrier(len(programs)), SystemCalls.answer

    async def gathered(self: SystemCalls, function: str, *arguments: Any, **options: Any) -> Any:
        if function == "adopt":
            await together.wait()
        return await answer(self, function, *arguments, **options)

    monkeypatch.setattr(SystemCalls, "answer", gathered)
    found = await asyncio.gather(*(program.authenticate(told(**verified(firm))) for program in programs))
    assert {principal.user_id for principal in found} == {firm.user.id}
    assert await externals(admin, firm) == [f"new-{firm.organization.slug}"]


async def test_a_verified_address_links_once(world: World, admin: Connection) -> None:
    firm = await world.firm()
    await forget(world, firm)
    authenticator = world.authenticator(trust=LINK)
    for wrong in ({"email_verified": False}, {"email_verified": None}, {"email": None}, {"email": "nobody@x.test"}):
        with pytest.raises(errors.AuthenticationError):
            await authenticator.authenticate(told(**verified(firm, **wrong)))
    principal = await authenticator.authenticate(told(**verified(firm, email=firm.user.email.upper())))
    assert (principal.user_id, principal.organization_id) == (firm.user.id, firm.organization.id)
    assert await externals(admin, firm) == [f"new-{firm.organization.slug}"]
    # From then on the subject counts, and the address does not.
    assert await authenticator.authenticate(told(**verified(firm, email="other@x.test")))
    with pytest.raises(errors.AuthenticationError):
        await authenticator.authenticate(told(**verified(firm, sub="somebody-else")))
    assert await externals(admin, firm) == [f"new-{firm.organization.slug}"]
    (row,) = await admin.fetch(
        "select reason, action from freehold.log where kind = 'identity' and entity = 'External' and record_id = $1 "
        "and new->>'external' = $2",
        firm.user.id,
        f"new-{firm.organization.slug}",
    )
    assert tuple(row) == ("authentication", "create")


async def test_of_two_subjects_with_one_address_one_is_linked(world: World, admin: Connection) -> None:
    firm = await world.firm()
    await forget(world, firm)
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute("select 1 from freehold.users where id = $1 for update", firm.user.id)
    tries = [
        asyncio.create_task(
            world.authenticator(trust=LINK).authenticate(told(**verified(firm, sub=f"{n}-{firm.organization.slug}")))
        )
        for n in range(2)
    ]
    await blocked(admin, 2)
    await transaction.rollback()
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in results) == ["AuthenticationError", "Principal"]
    assert len(await externals(admin, firm)) == 1


async def test_many_requests_of_a_new_subject_are_one_attempt(world: World, counted: Callable[[], list[str]]) -> None:
    firm = await world.firm()
    await forget(world, firm)
    authenticator = world.authenticator(trust=LINK)
    text = told(**verified(firm))
    counted().clear()
    found = await asyncio.gather(*(authenticator.authenticate(text) for _ in range(20)))
    assert {one.user_id for one in found} == {firm.user.id}
    assert counted().count("adopt") == 1


async def test_a_subject_that_cannot_be_linked_makes_few_messages(
    world: World, counted: Callable[[], list[str]]
) -> None:
    authenticator = world.authenticator(trust=LINK)
    text = told(sub=f"x{new_id()}", email="nobody@x.test", email_verified=True)
    counted().clear()
    for _ in range(50):
        with pytest.raises(errors.AuthenticationError):
            await authenticator.authenticate(text)
        world.now += 0.1
    assert counted().count("adopt") == 1


async def test_an_issuer_that_is_trusted_makes_users_and_members(world: World, admin: Connection) -> None:
    firm = await world.firm()
    authenticator = world.authenticator(trust=PROVISION)
    principal = await authenticator.authenticate(told(**newcomer(firm)))
    assert (principal.organization_id, principal.role) == (firm.organization.id, "guest")
    user = await world.system.find_user(f"new@{firm.organization.slug}.test")
    assert user is not None
    assert (principal.user_id, user.name) == (user.id, "New")
    rows = await admin.fetch(
        "select entity from freehold.log where reason = 'authentication' and record_id = $1 order by 1", user.id
    )
    assert [row["entity"] for row in rows] == ["External", "Membership", "User"]
    # The role stays what it was made as; a token narrows it and does not widen it.
    again = await authenticator.authenticate(told(**newcomer(firm, role="admin")))
    assert (again.role, again.permissions) == ("guest", {"*.get"})


async def test_a_known_user_becomes_a_member_where_the_token_says_so(world: World) -> None:
    firm, other = await world.firm(), await world.firm()
    authenticator = world.authenticator(trust=PROVISION)
    principal = await authenticator.authenticate(told(sub=firm.subject, org=other.external, role="guest"))
    assert (principal.user_id, principal.organization_id, principal.role) == (
        firm.user.id,
        other.organization.id,
        "guest",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": None},
        {"role": "No Role!"},
        {"org": None},
        {"org": "org-nobody"},
        {"email": None},
        {"email_verified": False},
    ],
)
async def test_what_the_token_does_not_tell_is_not_made(world: World, admin: Connection, wrong: dict[str, Any]) -> None:
    firm = await world.firm()
    with pytest.raises((errors.AuthenticationError, errors.ForbiddenError)):
        await world.authenticator(trust=PROVISION).authenticate(told(**newcomer(firm, **wrong)))
    assert await world.system.find_user(f"new@{firm.organization.slug}.test") is None
    assert len((await world.system.directory.members(firm.organization.id)).records) == 1


async def test_members_are_made_only_in_organizations_that_the_issuer_was_linked_to(world: World) -> None:
    firm = await world.firm()
    await world.system.directory.unlink(ISSUER, "organization", firm.external)
    for name in (firm.external, firm.organization.slug, str(firm.organization.id)):
        with pytest.raises(errors.AuthenticationError):
            await world.authenticator(trust=PROVISION).authenticate(told(**newcomer(firm, org=name)))
    assert len((await world.system.directory.members(firm.organization.id)).records) == 1


async def test_provisioning_takes_over_no_user_who_is_there(world: World, admin: Connection) -> None:
    firm, victim = await world.firm(), await world.firm()
    await forget(world, victim)
    one = newcomer(firm, email=victim.user.email)
    with pytest.raises(errors.AuthenticationError):
        await world.authenticator(trust=PROVISION).authenticate(told(**one))
    assert await externals(admin, victim) == []


async def test_who_was_removed_does_not_come_back_by_an_older_token(world: World) -> None:
    firm = await world.firm()
    world.time = datetime.now(UTC).timestamp()
    times = {"iat": int(world.time), "exp": world.time + 3600}
    authenticator = world.authenticator(trust=PROVISION)
    older = told(**newcomer(firm, **times))
    principal = await authenticator.authenticate(older)
    assert principal.user_id is not None
    await world.system.remove_member(firm.organization.id, principal.user_id)
    undated = told(**newcomer(firm, iat=None, exp=times["exp"]))
    for text in (older, undated):
        world.now += 20
        with pytest.raises(errors.ForbiddenError):
            await authenticator.authenticate(text)
    world.now += 20
    newer = told(**newcomer(firm, iat=int(world.time) + 20, exp=times["exp"]))
    assert await authenticator.authenticate(newer)


async def test_a_database_that_cannot_write_makes_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    firm = await world.firm()
    calls = world.system.calls.__class__
    answer = calls.answer

    async def failing(self: Any, function: str, *arguments: Any, **options: Any) -> Any:
        if function == "adopt":
            raise errors.UnavailableError("it only reads")
        return await answer(self, function, *arguments, **options)

    monkeypatch.setattr(calls, "answer", failing)
    with pytest.raises(errors.AuthenticationError):
        await world.authenticator(trust=PROVISION).authenticate(told(**newcomer(firm)))
