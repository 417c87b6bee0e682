"""From a credential to a principal: what it permits, for which organization, and how soon it ends."""

import asyncio
import gc
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from freehold import errors
from freehold.identity.authentication import Authenticator
from freehold.identity.development import DevelopmentKeys
from freehold.identity.lookups import AHEAD
from freehold.identity.principal import Origin
from freehold.identity.roles import Roles
from tests.identity.conftest import Firm, World
from tests.identity.issuing import KEYS, NOW, claims, token
from tests.probe import shown
from tests.world import Customer

Connection = asyncpg.Connection
SECOND = 1.0
"""Within which everything must take effect."""


def bearer(text: str) -> str:
    return f"Bearer {text}"


def told(firm: Firm, **more: Any) -> str:
    return bearer(token(claims(sub=firm.subject, **more), algorithm="EdDSA"))


async def refused(authenticator: Authenticator, authorization: str | None, organization: str | None = None) -> str:
    with pytest.raises(errors.AuthenticationError) as caught:
        await authenticator.authenticate(authorization, organization)
    return shown(caught.value)


async def test_a_key_stands_for_its_member(world: World) -> None:
    firm = await world.firm("member")
    made = await world.system.keys.create(firm.organization.id, name="script", user_id=firm.user.id)
    principal = await world.authenticator().authenticate(bearer(made.secret))
    assert (principal.organization_id, principal.user_id, principal.role) == (
        firm.organization.id,
        firm.user.id,
        "member",
    )
    assert principal.permissions == {"customers.*", "*.list"}
    assert principal.credential == f"key:{made.key.id}"
    async with world.database.session(principal.context(Origin(client_ip="192.0.2.9"))) as session:
        customer = await session.create(Customer, name="by key")
        (change,) = await session.history(customer)
    assert (change.actor_id, change.client_ip) == (firm.user.id, "192.0.2.9")


async def test_a_key_of_the_organization_stands_for_nobody_but_itself(world: World) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="sync", role="guest")
    principal = await world.authenticator().authenticate(bearer(made.secret))
    assert (principal.user_id, principal.role, principal.permissions) == (None, "guest", {"*.get"})
    async with world.database.session(principal.context(Origin())) as session:
        (change,) = await session.history(await session.create(Customer, name="by the sync"))
    assert change.actor_id == made.key.id  # nobody else could have done it


@pytest.mark.parametrize(
    ("role", "scopes", "expected"),
    [
        ("member", ["customers.list"], {"customers.list"}),
        ("member", ["*"], {"customers.*", "*.list"}),
        ("member", ["orders.*"], {"orders.list"}),
        ("member", ["orders.delete", "*.delete"], {"customers.delete"}),
        ("guest", ["customers.create"], set()),
        ("member", [], set()),
        ("nobody_knows", ["*"], set()),
    ],
)
async def test_scopes_narrow_and_never_widen(world: World, role: str, scopes: list[str], expected: set[str]) -> None:
    firm = await world.firm(role)
    made = await world.system.keys.create(firm.organization.id, name="x", user_id=firm.user.id, scopes=scopes)
    principal = await world.authenticator().authenticate(bearer(made.secret))
    assert principal.permissions == expected


async def test_a_token_stands_for_its_user(world: World) -> None:
    firm = await world.firm()
    authenticator = world.authenticator()
    for more, organization in (
        ({}, None),  # the only one
        ({}, firm.organization.slug),
        ({}, str(firm.organization.id)),
        ({}, str(firm.organization.id).upper()),
        ({"org": firm.external}, None),
        ({"org": firm.organization.slug}, firm.organization.slug),
        ({"org": firm.external}, str(firm.organization.id)),
    ):
        principal = await authenticator.authenticate(told(firm, **more), organization)
        assert (principal.organization_id, principal.user_id) == (firm.organization.id, firm.user.id)
        assert (principal.role, principal.permissions) == ("admin", {"*"})
        assert principal.credential == f"user:{firm.user.id}"


async def test_a_token_narrows_and_never_widens(world: World) -> None:
    firm = await world.firm("member")
    authenticator = world.authenticator()
    for more, expected in (
        ({"role": "admin"}, {"customers.*", "*.list"}),
        ({"role": "guest"}, {"customers.get"}),
        ({"role": "nobody_knows"}, set()),
        ({"permissions": ["*"]}, {"customers.*", "*.list"}),
        ({"permissions": ["orders.*"]}, {"orders.list"}),
        ({"permissions": []}, set()),
    ):
        principal = await authenticator.authenticate(told(firm, **more))
        assert (principal.role, principal.permissions) == ("member", expected)


async def test_a_user_of_several_organizations_chooses(world: World) -> None:
    one, two, rival = await world.firm(), await world.firm(), await world.firm()
    await world.system.add_member(two.organization.id, one.user.id, role="guest")
    authenticator = world.authenticator()
    with pytest.raises(errors.RequestError, match="Freehold-Organization") as caught:
        await authenticator.authenticate(told(one))
    assert caught.value.status == 400
    for firm, role in ((one, "admin"), (two, "guest")):
        principal = await authenticator.authenticate(told(one), firm.organization.slug)
        assert (principal.organization_id, principal.role) == (firm.organization.id, role)
        principal = await authenticator.authenticate(told(one, org=firm.external))
        assert (principal.organization_id, principal.role) == (firm.organization.id, role)
    with pytest.raises(errors.ForbiddenError):
        await authenticator.authenticate(told(one), rival.organization.slug)


async def test_an_organization_that_is_not_ones_own_is_as_one_that_is_absent(world: World) -> None:
    firm, rival = await world.firm(), await world.firm()
    authenticator = world.authenticator()
    answers = set()
    for name in (
        rival.organization.slug,
        str(rival.organization.id),
        rival.external,
        "there-is-none",
        "00000000-0000-7000-8000-000000000000",
        "",
        "x" * 10_000,
        "' or true --",
        f"{firm.organization.slug},{rival.organization.slug}",
        f"{firm.organization.slug}\x00",
        "*",
    ):
        with pytest.raises(errors.ForbiddenError) as caught:
            await authenticator.authenticate(told(firm), name)
        answers.add(str(caught.value))
    assert len(answers) == 1
    for name in (rival.external, rival.organization.slug, str(rival.organization.id), "org-nobody", "' or true --"):
        with pytest.raises(errors.ForbiddenError) as caught:
            await authenticator.authenticate(told(firm, org=name))
        answers.add(str(caught.value))
    assert len(answers) == 1
    assert str(rival.organization.id) not in shown(caught.value)


async def test_header_and_credential_must_not_contradict(world: World) -> None:
    firm, other = await world.firm(), await world.firm()
    await world.system.add_member(other.organization.id, firm.user.id)
    made = await world.system.keys.create(firm.organization.id, name="x", user_id=firm.user.id)
    authenticator = world.authenticator()
    answers = set()
    for header in (other.organization.slug, str(other.organization.id), "there-is-none"):
        for credential in (bearer(made.secret), told(firm, org=firm.external)):
            with pytest.raises(errors.ForbiddenError) as caught:
                await authenticator.authenticate(credential, header)
            answers.add(str(caught.value))
    assert len(answers) == 1
    for header in (firm.organization.slug, str(firm.organization.id)):
        assert await authenticator.authenticate(bearer(made.secret), header)


async def test_a_stranger_hears_one_answer(world: World, counted: Callable[[], list[str]]) -> None:
    firm = await world.firm()
    keys = world.system.keys
    revoked = await keys.create(firm.organization.id, name="x", role="admin")
    await keys.revoke(revoked.key.id)
    expired = await keys.create(
        firm.organization.id, name="x", role="admin", expires_at=datetime.now(UTC) - timedelta(seconds=1)
    )
    good = await keys.create(firm.organization.id, name="x", role="admin")
    authenticator = world.authenticator()
    before = len(counted())
    unlooked = [
        None, "", "Bearer", "Bearer ", "Basic YTpi", good.secret, f"Token {good.secret}", bearer(f"{good.secret}x"),
        bearer(good.secret[:-1]), bearer(good.secret.upper()), bearer(good.secret.replace("_", "-")), bearer("fh_"),
        bearer("fh_' or '1'='1"), bearer(f"{good.secret} {good.secret}"), bearer("fhdev_abcdefgh_" + "x" * 43), bearer("x" * 100_000),
        bearer("a.b.c"), told(firm, exp=NOW - 3600), told(firm, aud="other"), bearer("\ud800"), bearer("fh_ключ"),
        told(firm).replace("Bearer", "Bearer\x00"), bearer(token(claims(sub=firm.subject), key=KEYS["ES256"], header={"kid": "no"})),
    ]  # fmt: skip
    answers = {await refused(authenticator, text) for text in unlooked}
    assert len(counted()) == before  # none of them reaches the database
    answers |= {await refused(authenticator, bearer(made.secret)) for made in (revoked, expired)}
    answers |= {
        await refused(authenticator, bearer(good.secret[:-1] + ("a" if good.secret[-1] != "a" else "b"))),
        await refused(authenticator, bearer(token(claims(sub="nobody")))),
        await refused(authenticator, bearer(token(claims(sub="' or true --")))),
    }
    assert len(answers) == 1
    (answer,) = answers
    assert not any(word in answer for word in (good.secret, firm.organization.slug, "revoked", "expired", "unknown"))
    assert await authenticator.authenticate(f"bearer   {good.secret} ")


async def test_no_secret_is_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", role="admin")
    authenticator = world.authenticator()
    await authenticator.authenticate(bearer(made.secret))
    await world.system.keys.revoke(made.key.id)
    world.now = SECOND
    await refused(authenticator, bearer(made.secret))
    text = told(firm, aud="other")
    await refused(authenticator, text)
    assert "revoked" in caplog.text
    for secret in (made.secret, made.secret[12:], text[7:]):
        assert secret not in caplog.text
    assert made.secret not in repr(made)
    assert made.secret not in f"{made}"


async def ends(world: World, credential: str, end: Callable[[], Any], error: type[Exception]) -> None:
    """Takes something back while two processes use it, and sees it end in both within the second, on a clock of its own."""
    processes = [world.authenticator(), world.authenticator()]
    for _ in range(3):  # in steady use, renewed behind the requests
        for process in processes:
            await process.authenticate(credential)
        world.now += AHEAD + 0.05
        await asyncio.sleep(0)
    for process in processes:
        await process.authenticate(credential)
    await end()
    world.now += SECOND
    for process in processes:
        with pytest.raises(error):
            await process.authenticate(credential)


async def test_a_revoked_key_ends_within_a_second(world: World) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", role="admin")
    await ends(world, bearer(made.secret), lambda: world.system.keys.revoke(made.key.id), errors.AuthenticationError)


async def test_a_removed_members_key_and_token_end_within_a_second(world: World) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", user_id=firm.user.id)

    async def remove() -> None:
        assert await world.system.remove_member(firm.organization.id, firm.user.id)

    await ends(world, bearer(made.secret), remove, errors.AuthenticationError)
    await world.system.add_member(firm.organization.id, firm.user.id)
    world.now += SECOND
    await refused(world.made[0], bearer(made.secret))  # the key does not come back with the member
    await ends(world, told(firm), remove, errors.ForbiddenError)
    with pytest.raises(errors.ForbiddenError):
        await world.made[0].authenticate(told(firm), firm.organization.slug)


async def test_a_changed_role_counts_within_a_second(world: World) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", user_id=firm.user.id)
    authenticator = world.authenticator()
    for credential in (bearer(made.secret), told(firm)):
        assert (await authenticator.authenticate(credential)).permissions == {"*"}
    await world.system.change_role(firm.organization.id, firm.user.id, "guest")
    world.now += SECOND
    for credential in (bearer(made.secret), told(firm)):
        principal = await authenticator.authenticate(credential)
        assert (principal.role, principal.permissions) == ("guest", {"*.get"})


async def test_revoked_tokens_end_within_a_second_and_newer_ones_count(world: World) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", user_id=firm.user.id)
    world.time = datetime.now(UTC).timestamp()  # the database's own time is the one of the revocation
    times = {"iat": int(world.time), "exp": world.time + 3600}
    await ends(world, told(firm, **times), lambda: world.system.revoke_tokens(firm.user.id), errors.AuthenticationError)
    authenticator = world.made[0]
    await refused(authenticator, told(firm, **{**times, "iat": None}))
    await refused(authenticator, told(firm, **times, org=firm.external))
    assert await authenticator.authenticate(told(firm, **{**times, "iat": int(world.time) + 20}))
    assert await authenticator.authenticate(bearer(made.secret))


async def test_an_unlinked_subject_ends_within_a_second(world: World) -> None:
    firm = await world.firm()
    directory = world.system.directory
    await ends(
        world,
        told(firm),
        lambda: directory.unlink("https://id.example", "user", firm.subject),
        errors.AuthenticationError,
    )


async def test_a_key_that_expires_ends_though_it_is_known(world: World) -> None:
    firm = await world.firm()
    expires = datetime.now(UTC) + timedelta(hours=1)
    made = await world.system.keys.create(firm.organization.id, name="x", role="admin", expires_at=expires)
    authenticator = world.authenticator()
    world.time = expires.timestamp() - 1
    assert await authenticator.authenticate(bearer(made.secret))
    world.time = expires.timestamp()
    await refused(authenticator, bearer(made.secret))


async def test_use_makes_few_messages(world: World, counted: Callable[[], list[str]]) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", role="admin")
    authenticator = world.authenticator()
    counted().clear()
    credentials = [bearer(made.secret), told(firm), bearer("fh_abcdefgh_" + "x" * 43)]
    for _ in range(100):
        await asyncio.gather(*(authenticator.authenticate(text) for text in credentials), return_exceptions=True)
    await authenticator.close()
    assert counted() == ["authenticate", "note_keys"]


async def test_when_a_key_was_used_is_noted_once_a_minute(
    world: World, admin: Connection, counted: Callable[[], list[str]]
) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", role="admin")
    select = "select last_used_at from freehold.keys where id = $1"
    assert await admin.fetchval(select, made.key.id) is None
    counted().clear()
    processes = [world.authenticator(), world.authenticator()]
    for step in range(20):
        world.now = step * 1.0
        for process in processes:
            await process.authenticate(bearer(made.secret))
    for process in processes:
        await process.close()
    first = await admin.fetchval(select, made.key.id)
    assert first is not None
    assert counted().count("note_keys") <= 2
    again = world.authenticator()
    await again.authenticate(bearer(made.secret))  # within the minute
    await again.close()
    assert await admin.fetchval(select, made.key.id) == first
    await admin.execute(
        "update freehold.keys set last_used_at = last_used_at - interval '61 s' where id = $1", made.key.id
    )
    later = world.authenticator()
    await later.authenticate(bearer(made.secret))
    await later.close()
    assert await admin.fetchval(select, made.key.id) > first
    (listed,) = (await world.system.keys.list(firm.organization.id)).records
    assert listed.last_used_at is not None


async def test_without_the_database_nobody_is_let_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", role="admin")
    authenticator = world.authenticator()
    credentials = [bearer(made.secret), told(firm), bearer("fh_abcdefgh_" + "x" * 43)]
    for text in credentials[:2]:
        await authenticator.authenticate(text)

    async def away(*arguments: Any, **options: Any) -> Any:
        raise errors.UnavailableError("the database cannot be reached")

    with monkeypatch.context() as patched:
        patched.setattr(type(world.database.store.pool), "fetch", away)
        world.now += SECOND
        for text in credentials:
            with pytest.raises(errors.UnavailableError):
                await authenticator.authenticate(text)
    for text in credentials[:2]:
        assert await authenticator.authenticate(text)


async def test_a_database_that_does_not_answer_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.identity.authentication.SECONDS", 0.01)
    authenticator = world.authenticator()
    never = asyncio.Event()

    async def silent(*arguments: Any, **options: Any) -> Any:
        await never.wait()

    monkeypatch.setattr(type(world.database.store.pool), "fetch", silent)
    with pytest.raises(errors.UnavailableError):
        await authenticator.authenticate(bearer("fh_abcdefgh_" + "x" * 43))


async def test_development_keys_are_known_only_where_they_were_given(world: World) -> None:
    firm, other = await world.firm("member"), await world.firm()
    keys = DevelopmentKeys()
    secret = keys.add(firm.organization.slug, firm.user.email)
    stranger = keys.add(firm.organization.slug, other.user.email)
    assert secret.startswith("fhdev_")
    authenticator = world.authenticator(development=keys)
    principal = await authenticator.authenticate(bearer(secret))
    assert (principal.organization_id, principal.user_id) == (firm.organization.id, firm.user.id)
    assert (principal.role, principal.permissions) == ("member", {"customers.*", "*.list"})
    assert principal.credential == f"development:{firm.organization.slug}-1"
    with pytest.raises(errors.ForbiddenError):
        await authenticator.authenticate(bearer(secret), other.organization.slug)
    for wrong in (stranger, f"{secret}x", secret[:-1], "fhdev_", "fhdev_\ud800", "fhdev_ключ"):
        await refused(authenticator, bearer(wrong))
    await refused(world.authenticator(), bearer(secret))
    await refused(world.authenticator(development=DevelopmentKeys()), bearer(secret))


async def test_without_declared_roles_every_role_may_all(world: World) -> None:
    firm = await world.firm("anything")
    principal = await world.authenticator(roles=Roles()).authenticate(told(firm, role="whatever"))
    assert principal.permissions == {"*"}


async def test_closing_leaves_nothing_behind(world: World) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", role="admin")
    before = asyncio.all_tasks()  # the database's own go on
    authenticator = world.authenticator()
    waiting = asyncio.create_task(authenticator.authenticate(bearer(made.secret)))
    await asyncio.sleep(0)
    await authenticator.close()
    await asyncio.gather(waiting, return_exceptions=True)
    gc.collect()
    assert asyncio.all_tasks() - before == set()
