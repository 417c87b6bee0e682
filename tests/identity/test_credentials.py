"""Keys, invitations and members: as system work, and as members do it in their own organization."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Context, Database, errors
from freehold.identity.administration import Administration
from freehold.identity.credentials import digest
from freehold.identity.system import System
from freehold.model.context import new_id
from tests.identity.conftest import ROLES, Firm, World
from tests.probe import blocked, hold, run, shown

Connection = asyncpg.Connection


@pytest.fixture
def system(database: Database) -> System:
    return database.system("tests of credentials")


def administration(
    world: World, firm: Firm, *permissions: str, user: UUID | None = None, role: str = "admin"
) -> Administration:
    store = world.database.store
    context = Context(
        firm.organization.id, user or firm.user.id, role, frozenset(permissions), "r-1", "192.0.2.1", "tests"
    )
    return Administration(store.pool, store.schemas, store.seal, context, ROLES)


async def changes(admin: Connection, organization: UUID) -> list[tuple[Any, ...]]:
    """What the log tells of credentials, in order."""
    rows = await admin.fetch(
        "select entity, action, actor_id, reason from freehold.log where organization_id = $1 and kind = 'identity' order by position",
        organization,
    )
    return [tuple(row) for row in rows]


async def test_a_secret_is_told_once_and_kept_as_its_hash(world: World, admin: Connection) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="script", role="guest", scopes=["b.*", "a.list"])
    invited = await world.system.invitations.create(firm.organization.id, email="Bob@Firm.TEST", role="guest")
    assert made.secret.startswith(f"{made.key.prefix}_")
    assert len(made.secret) == len("fh_") + 8 + 1 + 43
    assert (made.key.scopes, made.key.role, made.key.user_id) == (frozenset({"b.*", "a.list"}), "guest", None)
    assert invited.invitation.email == "bob@firm.test"
    for table, secret in (("keys", made.secret), ("invitations", invited.token)):
        rows = await admin.fetch(
            f"select hash, to_jsonb(k)::text as all from freehold.{table} k where hash = decode($1, 'hex')",
            digest(secret),
        )
        assert len(rows) == 1
        assert secret not in rows[0]["all"]
        assert secret[12:] not in rows[0]["all"]
    logged = await admin.fetch("select new from freehold.log where organization_id = $1", firm.organization.id)
    dumped = json.dumps([dict(row) for row in logged])
    for secret in (made.secret, invited.token):
        assert secret not in dumped
        assert digest(secret) not in dumped
    secrets = {(await world.system.keys.create(firm.organization.id, name="x", role="guest")).secret for _ in range(20)}
    assert len(secrets) == 20


async def test_what_was_done_is_logged_with_its_reason(world: World, admin: Connection) -> None:
    firm = await world.firm()
    system = world.database.system("ticket 812")
    id = firm.organization.id
    made = await system.keys.create(id, name="x", user_id=firm.user.id)
    await system.invitations.create(id, email="b@x.test")
    await system.change_role(id, firm.user.id, "guest")
    await system.directory.rename_organization(id, name="Other")
    await system.remove_member(id, firm.user.id)
    told = [one for one in await changes(admin, id) if one[3] == "ticket 812"]
    assert [(entity, action) for entity, action, _, _ in told] == [
        ("Key", "create"), ("Invitation", "create"), ("Membership", "update"), ("Organization", "update"),
        ("Membership", "delete"), ("Key", "update"),
    ]  # fmt: skip
    assert not await system.remove_member(id, firm.user.id)
    assert not await system.remove_member(id, new_id())
    assert await system.keys.revoke(made.key.id)
    assert len([one for one in await changes(admin, id) if one[3] == "ticket 812"]) == 6  # it was revoked already


WRONG: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "a name": ("keys", {"name": "", "role": "guest"}, {"name"}),
    "a long name": ("keys", {"name": "x" * 201, "role": "guest"}, {"name"}),
    "a role": ("keys", {"name": "x", "role": "Admin!"}, {"role"}),
    "neither user nor role": ("keys", {"name": "x"}, set()),
    "both": ("keys", {"name": "x", "role": "guest", "user_id": UUID(int=1)}, set()),
    "scopes": ("keys", {"name": "x", "role": "guest", "scopes": ["a b"]}, {"scopes"}),
    "scopes in SQL": ("keys", {"name": "x", "role": "guest", "scopes": ["x'; drop table y"]}, {"scopes"}),
    "too many scopes": ("keys", {"name": "x", "role": "guest", "scopes": [f"a.b{n}" for n in range(101)]}, {"scopes"}),
    "an expiry without a zone": ("keys", {"name": "x", "role": "guest", "expires_at": datetime(2030, 1, 1)}, {"expires_at"}),  # noqa: DTZ001
    "an address": ("invitations", {"email": "nobody"}, {"email"}),
    "an invited role": ("invitations", {"email": "a@b.test", "role": "1"}, {"role"}),
    "a lifetime": ("invitations", {"email": "a@b.test", "lifetime": timedelta(0)}, {"lifetime"}),
    "a long lifetime": ("invitations", {"email": "a@b.test", "lifetime": timedelta(days=91)}, {"lifetime"}),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
async def test_bad_input_is_named(system: System, what: str) -> None:
    part, arguments, fields = WRONG[what]
    with pytest.raises(errors.ValidationError) as caught:
        await getattr(system, part).create(new_id(), **arguments)
    assert {issue.path[0] for issue in caught.value.issues if issue.path} == fields


async def test_a_key_needs_its_organization_and_its_member(world: World) -> None:
    firm, other = await world.firm(), await world.firm()
    with pytest.raises(errors.ReferenceError) as caught:
        await world.system.keys.create(new_id(), name="x", role="guest")
    assert caught.value.field == "organization_id"
    for user in (new_id(), other.user.id):
        with pytest.raises(errors.ReferenceError) as caught:
            await world.system.keys.create(firm.organization.id, name="x", user_id=user)
        assert caught.value.field == "user_id"
    with pytest.raises(errors.ReferenceError):
        await world.system.invitations.create(new_id(), email="a@b.test")


async def test_a_key_that_is_made_while_its_member_goes_is_not_left(
    world: World, admin: Connection, raw: Connection
) -> None:
    """The removal waits for the key, and takes it along; or the key finds no member."""
    firm = await world.firm()
    id = firm.organization.id
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute("select 1 from freehold.memberships where organization_id = $1 for update", id)
    making = asyncio.create_task(world.system.keys.create(id, name="x", user_id=firm.user.id))
    await blocked(admin, 1)
    removing = asyncio.create_task(world.system.remove_member(id, firm.user.id))
    await blocked(admin, 2)
    await transaction.rollback()
    made, removed = await asyncio.gather(making, removing, return_exceptions=True)
    assert removed is True
    left = (await world.system.keys.list(id)).records
    assert isinstance(made, errors.ReferenceError) if not left else left[0].revoked_at is not None


async def test_lists_come_in_pages(world: World) -> None:
    firm, rival = await world.firm(), await world.firm()
    system, id = world.system, firm.organization.id
    made = [(await system.keys.create(id, name=str(n), role="guest")).key.id for n in range(5)]
    await system.keys.create(rival.organization.id, name="theirs", role="guest")
    found, after = [], None
    while True:
        page = await system.keys.list(id, limit=2, after=after)
        found += [key.id for key in page.records]
        after = page.next
        if after is None:
            break
    assert found == sorted(made)
    for n in range(3):
        user = await system.create_user(email=f"m{n}@{firm.organization.slug}.test", name=str(n))
        await system.add_member(id, user.id)
        await system.invitations.create(id, email=f"i{n}@x.test")
    first = await system.directory.members(id, limit=3)
    rest = await system.directory.members(id, limit=3, after=first.next)
    assert sorted(member.name for member in (*first.records, *rest.records)) == ["0", "1", "2", "Ada"]
    assert rest.next is None
    assert len((await system.invitations.list(id)).records) == 3
    organizations = await system.directory.organizations(limit=1_000)
    assert {firm.organization, rival.organization} <= set(organizations.records) or organizations.next
    assert len((await system.directory.users(limit=2)).records) == 2
    for limit in (0, 1_001, "5", True, None):
        with pytest.raises(errors.ValidationError, match="limit"):
            await system.keys.list(id, limit=limit)  # type: ignore[arg-type]
    for wrong in ("x", 5):
        with pytest.raises(errors.ValidationError):
            await system.keys.list(id, after=wrong)  # type: ignore[arg-type]
        with pytest.raises(errors.ValidationError):
            await system.keys.list(wrong)  # type: ignore[arg-type]


async def test_new_names(world: World) -> None:
    firm, other = await world.firm(), await world.firm()
    directory = world.system.directory
    slug = f"n{new_id().hex}"
    renamed = await directory.rename_organization(firm.organization.id, name="New", slug=slug)
    assert (renamed.name, renamed.slug) == ("New", slug)
    assert (await directory.rename_organization(firm.organization.id, name="Newer")).slug == slug
    with pytest.raises(errors.UniqueError):
        await directory.rename_organization(firm.organization.id, slug=other.organization.slug)
    assert (await directory.rename_user(firm.user.id, name="Grace")).name == "Grace"
    for call in (
        directory.rename_organization(new_id(), name="x"),
        directory.rename_user(new_id(), name="x"),
        world.system.change_role(firm.organization.id, new_id(), "guest"),
    ):
        with pytest.raises(errors.NotFoundError):
            await call
    with pytest.raises(errors.ValidationError):
        await directory.rename_user(firm.user.id, name="")


async def test_links_to_what_an_issuer_calls_us(world: World) -> None:
    firm, other = await world.firm(), await world.firm()
    directory = world.system.directory
    assert not await directory.link_user("https://id.example", firm.subject, firm.user.id)  # it is there
    with pytest.raises(errors.UniqueError):
        await directory.link_user("https://id.example", firm.subject, other.user.id)
    with pytest.raises(errors.ReferenceError):
        await directory.link_organization("https://id.example", f"x{new_id()}", new_id())
    assert await directory.unlink("https://id.example", "user", firm.subject)
    assert not await directory.unlink("https://id.example", "user", firm.subject)
    assert await directory.link_user("https://id.example", firm.subject, other.user.id)


# Invitations


async def test_an_invitation_makes_a_member(world: World) -> None:
    firm = await world.firm()
    email = f"Bob@{firm.organization.slug}.test"
    made = await world.system.invitations.create(firm.organization.id, email=email, role="guest")
    member = await world.system.invitations.accept(made.token, name="Bob")
    assert (member.organization_id, member.role) == (firm.organization.id, "guest")
    user = await world.system.find_user(email)
    assert user is not None
    assert (user.id, user.name) == (member.user_id, "Bob")
    (kept,) = (await world.system.invitations.list(firm.organization.id)).records
    assert kept.accepted_at is not None
    assert not await world.system.invitations.revoke(kept.id)


async def test_a_member_that_is_invited_again_keeps_the_role(world: World) -> None:
    firm = await world.firm("admin")
    made = await world.system.invitations.create(firm.organization.id, email=firm.user.email, role="guest")
    member = await world.system.invitations.accept(made.token, name="Somebody else")
    assert (member.user_id, member.role) == (firm.user.id, "admin")
    assert await world.system.find_user(firm.user.email) == firm.user


async def refused(world: World, token: str) -> str:
    with pytest.raises(errors.ForbiddenError) as caught:
        await world.system.invitations.accept(token)
    return shown(caught.value)


async def test_an_invitation_that_has_ended_is_as_one_that_never_was(world: World, admin: Connection) -> None:
    firm = await world.firm()
    invitations = world.system.invitations

    async def invited(n: int) -> Any:
        return await invitations.create(firm.organization.id, email=f"b{n}@{firm.organization.slug}.test")

    accepted, revoked, expired, replaced = [await invited(n) for n in range(4)]
    await invitations.accept(accepted.token)
    assert await invitations.revoke(revoked.invitation.id)
    await admin.execute("update freehold.invitations set expires_at = now() where id = $1", expired.invitation.id)
    newer = await invitations.create(firm.organization.id, email=replaced.invitation.email)
    removed = await invited(5)
    user = await world.system.create_user(email=removed.invitation.email, name="x")
    await world.system.add_member(firm.organization.id, user.id)
    await world.system.remove_member(
        firm.organization.id, user.id
    )  # who is removed does not come back by an old invitation
    tokens = [one.token for one in (accepted, revoked, expired, replaced, removed)]
    tokens += ["", "fhinv_", "fhinv_" + "x" * 43, "' or true --", newer.token.upper(), f"{newer.token} ", "x\x00"]
    assert len({await refused(world, token) for token in tokens}) == 1
    with pytest.raises(errors.ValidationError):
        await invitations.accept("x" * 201)
    assert await invitations.accept(newer.token)


async def test_of_two_who_accept_one_invitation_one_does(world: World, admin: Connection) -> None:
    firm = await world.firm()
    made = await world.system.invitations.create(firm.organization.id, email=f"b@{firm.organization.slug}.test")
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute("select 1 from freehold.invitations where id = $1 for update", made.invitation.id)
    tries = [asyncio.create_task(world.system.invitations.accept(made.token, name=str(n))) for n in range(3)]
    await blocked(admin, 3)
    await transaction.rollback()
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in results) == ["ForbiddenError", "ForbiddenError", "Membership"]
    members = (await world.system.directory.members(firm.organization.id)).records
    assert len(members) == 2


async def test_revoking_while_it_is_accepted_leaves_one_truth(world: World, admin: Connection) -> None:
    firm = await world.firm()
    made = await world.system.invitations.create(firm.organization.id, email=f"b@{firm.organization.slug}.test")
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute("select 1 from freehold.invitations where id = $1 for update", made.invitation.id)
    revoking = asyncio.create_task(world.system.invitations.revoke(made.invitation.id))
    await blocked(admin, 1)
    accepting = asyncio.create_task(world.system.invitations.accept(made.token))
    await blocked(admin, 2)
    await transaction.rollback()
    revoked, accepted = await asyncio.gather(revoking, accepting, return_exceptions=True)
    (kept,) = (await world.system.invitations.list(firm.organization.id)).records
    assert (kept.revoked_at is None) != (kept.accepted_at is None)
    assert bool(revoked) == (kept.revoked_at is not None)
    assert isinstance(accepted, errors.ForbiddenError) == (kept.accepted_at is None)


# What members do in their own organization


async def test_a_member_makes_and_revokes_keys_and_invitations(world: World, admin: Connection) -> None:
    firm, rival = await world.firm(), await world.firm()
    own, theirs = administration(world, firm, "*"), administration(world, rival, "*")
    made = await own.create_key(name="mine", scopes=["customers.*"])
    shared = await own.create_key(name="sync", role="guest")
    invited = await own.invite(email="b@x.test", role="member")
    assert (made.key.user_id, made.key.created_by, made.key.organization_id) == (
        firm.user.id, firm.user.id, firm.organization.id,
    )  # fmt: skip
    assert (shared.key.role, shared.key.user_id) == ("guest", None)
    assert invited.invitation.invited_by == firm.user.id
    assert {key.id for key in (await own.keys()).records} == {made.key.id, shared.key.id}
    assert [one.email for one in (await own.invitations()).records] == ["b@x.test"]
    assert [one.user_id for one in (await own.members()).records] == [firm.user.id]
    told = await changes(admin, firm.organization.id)
    assert [one[:3] for one in told if one[0] != "External"] == [
        ("Key", "create", firm.user.id), ("Key", "create", firm.user.id), ("Invitation", "create", firm.user.id),
    ]  # fmt: skip
    # Another organization sees nothing of it, and ends none of it.
    for page in (await theirs.keys(), await theirs.invitations()):
        assert page.records == ()
    assert not await theirs.revoke_key(made.key.id)
    assert not await theirs.revoke_invitation(invited.invitation.id)
    principal = await world.authenticator().authenticate(f"Bearer {made.secret}")
    assert (principal.user_id, principal.permissions) == (firm.user.id, {"customers.*"})
    assert await own.revoke_key(made.key.id)
    assert await own.revoke_invitation(invited.invitation.id)
    with pytest.raises(errors.AuthenticationError):
        await world.authenticator().authenticate(f"Bearer {made.secret}")
    with pytest.raises(errors.ForbiddenError):
        await world.system.invitations.accept(invited.token)


@pytest.mark.parametrize(
    ("granted", "arguments"),
    [
        (("customers.*",), {"scopes": ["*"]}),
        (("customers.*",), {"scopes": ["orders.list"]}),
        (("customers.*",), {"scopes": ["*.list"]}),
        (("*.list",), {"scopes": ["customers.*"]}),
        (("customers.list",), {"scopes": ["customers.list", "customers.get"]}),
        ((), {"scopes": ["customers.list"]}),
        (("customers.*",), {"role": "admin", "scopes": ["*"]}),
    ],
)
async def test_nobody_makes_a_key_that_permits_more(
    world: World, granted: tuple[str, ...], arguments: dict[str, Any]
) -> None:
    firm = await world.firm()
    with pytest.raises(errors.ForbiddenError, match="more than you may"):
        await administration(world, firm, *granted).create_key(name="x", **arguments)
    assert (await world.system.keys.list(firm.organization.id)).records == ()


async def test_a_key_permits_what_its_maker_may_where_nothing_is_said(world: World) -> None:
    firm = await world.firm()
    own = administration(world, firm, "customers.*", "orders.list")
    for arguments in ({}, {"role": "admin"}):
        made = await own.create_key(name="x", **arguments)  # type: ignore[arg-type]
        assert made.key.scopes == {"customers.*", "orders.list"}
        principal = await world.authenticator().authenticate(f"Bearer {made.secret}")
        assert principal.permissions == {"customers.*", "orders.list"}


async def test_a_database_hands_out_both(world: World, database: Database) -> None:
    """The application of the tests declares no roles, so that every member may all."""
    firm = await world.firm("guest")
    context = Context(firm.organization.id, firm.user.id, permissions=frozenset({"*"}))
    made = await database.administration(context).create_key(name="x")
    authenticator = database.authenticator()
    principal = await authenticator.authenticate(f"Bearer {made.secret}")
    await authenticator.close()
    assert (principal.user_id, principal.permissions) == (firm.user.id, {"*"})
    for wrong in (None, firm.organization.id, "acme"):
        with pytest.raises(errors.IsolationError):
            database.administration(wrong)  # type: ignore[arg-type]


async def test_nobody_invites_to_a_role_that_permits_more(world: World) -> None:
    firm = await world.firm()
    for granted, role in ((("customers.*", "*.list"), "admin"), (("customers.*",), "member"), ((), "guest")):
        with pytest.raises(errors.ForbiddenError, match="more than you may"):
            await administration(world, firm, *granted).invite(email="b@x.test", role=role)
    assert (await world.system.invitations.list(firm.organization.id)).records == ()
    assert await administration(world, firm, "customers.*", "*.list").invite(email="b@x.test", role="member")


def content(firm: Firm, **more: Any) -> str:
    told = {"name": "x", "prefix": "fh_x", "hash": "ab" * 32, "role": "admin", "user_id": None, **more}
    return json.dumps({**told, "organization_id": str(firm.organization.id)})


async def test_injected_sql_makes_no_key(world: World, raw: Connection) -> None:
    """Neither within a context that reads, nor for another member or organization, nor as system work."""
    firm, rival = await world.firm(), await world.firm()
    session = world.database.session(Context(firm.organization.id, firm.user.id))
    for call in (
        f"freehold.own_key_create('{firm.organization.id}', current_setting('freehold.context'), '{content(firm)}')",
        f"freehold.create_key('{content(firm)}', 'x')",
        "freehold.authenticate('[]', 'x')",
        "freehold.system_page('keys', null, 5, null, 'x')",
    ):
        with pytest.raises(errors.ForbiddenError):
            await session.sql(None, f"select {call}")
    with pytest.raises(errors.ForbiddenError):
        await session.sql(None, "select hash from freehold.keys")
    with pytest.raises(errors.ForbiddenError):
        await session.sql(None, "select * from freehold.externals")
    await hold(raw, Context(firm.organization.id, firm.user.id))
    for call, values in (
        ("own_key_create($1, current_setting('freehold.context'), $2)", (rival.organization.id, content(rival))),
        (
            "own_key_create($1, current_setting('freehold.context'), $2)",
            (firm.organization.id, content(firm, user_id=str(rival.user.id), role=None)),
        ),
        ("own_page($1, current_setting('freehold.context'), 'keys', 5, null)", (rival.organization.id,)),
    ):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await raw.fetch(f"select freehold.{call}", *values)
        assert caught.value.sqlstate == "FH301"
    for page in (
        await world.system.keys.list(firm.organization.id),
        await world.system.keys.list(rival.organization.id),
    ):
        assert page.records == ()


FUNCTIONS = [
    "rename_organization(gen_random_uuid(), 'x', 'x', 'x')", "rename_user(gen_random_uuid(), 'x', 'x')",
    "change_role(gen_random_uuid(), gen_random_uuid(), 'x', 'x')", "remove_member(gen_random_uuid(), gen_random_uuid(), 'x')",
    "revoke_tokens(gen_random_uuid(), 'x')", "create_key('{}', 'x')", "revoke_key(gen_random_uuid(), 'x')",
    "create_invitation('{}', 'x')", "revoke_invitation(gen_random_uuid(), 'x')", "accept_invitation('ab', 'x', 'x')",
    "link_external('x', 'user', 'x', gen_random_uuid(), 'x')", "unlink_external('x', 'user', 'x', 'x')",
    "system_page('users', null, 5, null, 'x')", "authenticate('[]', 'x')", "note_keys('{}', 'x')", "adopt('{}', true, true, 'x')",
]  # fmt: skip


async def test_system_work_needs_the_seal_and_no_context(world: World, raw: Connection) -> None:
    context = Context((await world.firm()).organization.id)
    for call in FUNCTIONS:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await raw.fetch(f"select freehold.{call}")
        assert caught.value.sqlstate == "FH301", call
        with pytest.raises(asyncpg.PostgresError) as caught:
            await run(raw, context, f"select freehold.{call}")
        assert caught.value.sqlstate == "FH301", call
    for table in ("keys", "invitations", "externals", "revocations"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await run(raw, context, f"delete from freehold.{table}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await raw.fetch(f"select * from freehold.{table}")


async def test_members_read_the_keys_of_their_organization(world: World) -> None:
    firm, rival = await world.firm(), await world.firm()
    await world.system.keys.create(firm.organization.id, name="ours", role="guest")
    await world.system.keys.create(rival.organization.id, name="theirs", role="guest")
    session = world.database.session(Context(firm.organization.id))
    assert await session.sql(None, "select name from freehold.keys") == [{"name": "ours"}]


async def test_credentials_go_with_their_organization(world: World, admin: Connection) -> None:
    firm = await world.firm()
    made = await world.system.keys.create(firm.organization.id, name="x", user_id=firm.user.id)
    await world.system.invitations.create(firm.organization.id, email="b@x.test")
    await world.system.remove_member(firm.organization.id, firm.user.id)
    assert await world.system.remove_organization(firm.organization.id)
    assert await world.system.remove_user(firm.user.id)
    for table in ("keys", "invitations", "externals", "revocations"):
        column = "user_id" if table == "revocations" else "organization_id"
        id = firm.user.id if table == "revocations" else firm.organization.id
        assert await admin.fetchval(f"select count(*) from freehold.{table} where {column} = $1", id) == 0
    with pytest.raises(errors.AuthenticationError):
        await world.authenticator().authenticate(f"Bearer {made.secret}")
    assert datetime.now(UTC) > made.key.created_at
