"""The seal: no organization and no actor but the context's own, whatever SQL somebody gets to run."""

import hashlib
import hmac
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Address, Context, Database, Session
from freehold.errors import ConfigurationError, IsolationError
from freehold.model.context import new_id
from freehold.model.seal import Seal
from tests.conftest import Server, new_context
from tests.probe import enter, plain, scratch, sealed
from tests.world import Contact, Customer, application

SET = "select set_config('freehold.organization_id', $1, true), set_config('freehold.context', $2, true)"

Connection = asyncpg.Connection


@pytest.fixture
async def rivals(rival: Session) -> Customer:
    return await rival.create(Customer, name="zebra of the rival")


async def forged(acme: Session, rival: Session) -> dict[str, tuple[str, str]]:
    """Settings that somebody with acme's seal, but without the key, could make."""
    ours, theirs = acme.context, rival.context
    own = sealed(ours)
    return {
        "no context": (str(theirs.organization_id), ""),
        "no seal": (str(theirs.organization_id), theirs.as_setting),
        "our seal, divided later": (f"{ours.organization_id}{ours.as_setting[0]}", own[:64] + ours.as_setting[1:]),
        "our seal, divided earlier": (
            str(ours.organization_id)[:-1],
            f"{own[:64]}{str(ours.organization_id)[-1]}{ours.as_setting}",
        ),
        "our seal, their organization": (str(theirs.organization_id), own),
        "our seal, their context": (str(theirs.organization_id), own[:64] + theirs.as_setting),
        "our organization, another actor": (str(ours.organization_id), own[:64] + theirs.as_setting),
        "a seal of another key": (str(theirs.organization_id), Seal("another secret").apply(theirs)),
        "in other letters": (str(theirs.organization_id).upper(), own),
        "half a seal": (str(theirs.organization_id), sealed(theirs)[1:]),
    }


async def test_settings_without_their_seal_show_nothing(
    raw: Connection, acme: Session, rival: Session, rivals: Customer, subtests: pytest.Subtests
) -> None:
    for what, settings in (await forged(acme, rival)).items():
        for statement in (
            "select * from app.customers",
            "select * from freehold.log",
            "update app.customers set name = 'x'",
        ):
            with subtests.test(f"{what}: {statement}"):
                async with raw.transaction():
                    await raw.execute(SET, *settings)
                    with pytest.raises(asyncpg.PostgresError) as caught:
                        await raw.fetch(statement)
                assert caught.value.sqlstate == "FH301"
                assert "zebra" not in str(vars(caught.value))
    assert (await rival.get(Customer, rivals.id)).name == "zebra of the rival"


async def test_the_right_seal_is_what_counts(raw: Connection, rival: Session, rivals: Customer) -> None:
    async with raw.transaction():
        await raw.execute(SET, str(rival.context.organization_id), sealed(rival.context))
        assert await raw.fetchval("select name from app.customers") == rivals.name


async def test_an_actor_cannot_be_forged_into_the_log(raw: Connection, acme: Session) -> None:
    """RETURNING runs before the trigger that logs, and after the policy that let the row in."""
    customer = await acme.create(Customer, name="x")
    forged = sealed(acme.context).replace(str(acme.context.user_id), str(UUID(int=1)))
    async with raw.transaction():
        await enter(raw, acme.context)
        with pytest.raises(asyncpg.PostgresError) as caught:
            await raw.execute(
                "insert into app.contacts (customer_id, name) values ($2, 'x') returning set_config('freehold.context', $1, true)",
                forged,
                customer.id,
            )
    assert caught.value.sqlstate == "FH301"
    assert await acme.count(Contact) == 0


@pytest.mark.parametrize(
    "change",
    [
        "set_config('freehold.organization_id', :its, true)",
        "set_config('freehold.organization_id', :its, false)",
        "set_config('freehold.organization_id', '', true) || freehold.enter(:its::uuid, current_setting('freehold.context'))",
        "set_config('freehold.organization_id', '', true) || freehold.enter(:its::uuid, '{}')",
    ],
)
async def test_a_hand_written_query_cannot_change_its_organization(
    acme: Session, rival: Session, rivals: Customer, change: str
) -> None:
    changed = f"with c as materialized (select {change} as x)"
    statement = (
        f"{changed} select name from c cross join lateral (select name from customers offset 0) t where x is not null"
    )
    with pytest.raises(IsolationError):
        await acme.sql(None, statement, its=str(rival.context.organization_id))
    assert await acme.sql(None, "select name from customers") == []


@pytest.mark.parametrize(
    "call",
    [
        "find_organization(:slug, :slug)",
        "find_user(:slug, :slug)",
        "find_membership(:slug, :slug, :slug)",
        "create_organization(:slug, :slug, 'x')",
    ],
)
async def test_a_hand_written_query_that_leaves_its_organization_does_no_system_work(
    acme: Session, database: Database, call: str
) -> None:
    other = await database.system("tests").create_organization(
        name="Other", slug=f"other-{acme.context.organization_id}"
    )
    left = "with c as materialized (select set_config('freehold.organization_id', '', true) as x) "
    with pytest.raises(IsolationError):
        await acme.sql(
            None, f"{left} select x, (select freehold.{call}::text where x = '') as found from c", slug=other.slug
        )


async def test_the_application_role_cannot_read_the_keys_or_seal(raw: Connection, acme: Session) -> None:
    for statement in ("select * from freehold.seals", "select freehold.sealed(gen_random_uuid(), '{}')"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await raw.fetch(statement)


async def test_the_owner_can_seal(admin: Connection, acme: Session) -> None:
    await acme.create(Customer, name="x")
    async with admin.transaction():
        await admin.execute("set local role freehold_owner")
        await admin.execute("select freehold.enter($1, freehold.sealed($1, '{}'))", acme.context.organization_id)
        assert await admin.fetchval("select count(*) from app.customers") == 1


async def set_up(server: Server, name: str, secret: str | None = None) -> None:
    await application.setup(server.admin_address(name), {application.roles.application: server.password}, secret=secret)


async def names(address: Address, context: Context, secret: str) -> list[str]:
    async with Database.open(address, application, size=1, secret=secret) as database:
        return [customer.name for customer in await database.session(context).list(Customer)]


async def test_a_program_with_another_secret_does_not_start(server: Server) -> None:
    async with scratch(server) as name:
        with pytest.raises(ConfigurationError, match="another secret") as caught:
            async with Database.open(server.address(name), application, size=1, secret="not the one"):
                pass
        assert "freehold setup" in str(caught.value.hint)


async def test_a_new_secret_counts_and_the_one_before_it_still_does(server: Server) -> None:
    async with scratch(server) as name:
        async with Database.open(server.address(name), application, size=1) as database:
            context = await new_context(database)
            await database.session(context).create(Customer, name="x")
            for secret in ("the second one", "the second one"):
                await set_up(server, name, secret)
                assert await names(server.address(name), context, secret) == ["x"]
                assert await database.session(context).count(Customer) == 1  # it runs on with the first
            await set_up(server, name, "the third one")
            with pytest.raises(IsolationError):
                await database.session(context).count(Customer)
        assert await names(server.address(name), context, "the second one") == ["x"]
        assert await names(server.address(name), context, "the third one") == ["x"]
        await set_up(server, name, "the second one")
        async with plain(server.admin_address(name)) as own:
            assert await own.fetchval("select count(*) from freehold.seals") == 2
        assert await names(server.address(name), context, "the third one") == ["x"]


@pytest.mark.parametrize("secret", ["short", "", None])
async def test_a_secret_that_is_none_is_refused(server: Server, secret: Any) -> None:
    with pytest.raises(ConfigurationError, match="8 characters"):
        await application.setup(server.admin, {}, secret=secret)


def test_where_an_address_has_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert Address(url="postgresql://a:b%40c@h/d").secret == "b@c"
    assert Address(url="postgresql://h/d?user=a&password=q").secret == "q"
    assert Address(url="postgresql://a:b@h/d", password="p").secret == "p"
    assert Address(url="postgresql://a@h/d").secret is None
    monkeypatch.setenv("PGPASSWORD", "from outside")
    assert Address(host="h").secret == "from outside"


def test_a_seal_is_the_hmac_of_what_it_vouches_for() -> None:
    context = Context(new_id(), new_id(), request_id="näher")
    key = hashlib.pbkdf2_hmac("sha256", b"a secret of the program", b"freehold.seal", 20_000)
    seal = Seal("a secret of the program", lambda: 7.9)
    for told, found in [
        (context.as_setting, seal.apply(context)),
        ('{"as_of":"x"}', seal.apply(context, '{"as_of":"x"}')),
    ]:
        vouched = hmac.digest(key, f"{context.organization_id}0000000007{told}".encode(), "sha256").hex()
        assert found == f"{vouched}0000000007{told}"
    told = "0000000007system:tidying up"
    assert seal.prove("tidying up") == hmac.digest(key, told.encode(), "sha256").hex() + told
