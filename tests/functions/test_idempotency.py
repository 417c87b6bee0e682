"""Idempotency keys: one call, one effect, one answer, whatever is repeated or cut."""

import asyncio
from decimal import Decimal

import asyncpg
import pytest

from freehold import Database, Principal, errors
from freehold.functions import idempotency
from freehold.functions.arguments import Arguments
from freehold.functions.pipeline import Call
from freehold.functions.results import Answer
from freehold.identity.principal import Origin
from tests.conftest import Server, new_context
from tests.faults.proxy import Fault, Once, proxy
from tests.functions.conftest import as_role, principal
from tests.functions.shop import reached, shop
from tests.world import Customer


async def called(database: Database, caller: Principal | None, name: str, key: str, **values: object) -> Answer:
    call = Call(shop.functions[name], Arguments.of_values(values), caller, key=key)
    return await database.pipeline().run(call)


async def made(database: Database, caller: Principal) -> Customer:
    async with database.session(caller.context(Origin())) as session:
        return await session.create(Customer, name="Acme", credit=0)


async def credit(database: Database, caller: Principal, customer: Customer) -> Decimal:
    async with database.session(caller.context(Origin())) as session:
        return (await session.get(Customer, customer.id)).credit


async def count(database: Database, caller: Principal) -> int:
    async with database.session(caller.context(Origin())) as session:
        return await session.count(Customer)


async def test_a_repeated_call_gets_the_same_answer_and_does_nothing(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    first = await called(shop_database, ada, "customers.pay", "k", id=customer.id, amount=5)
    again = await called(shop_database, ada, "customers.pay", "k", id=customer.id, amount="5")
    assert (first.repeated, again.repeated) == (False, True)
    assert first.body == again.body
    assert await credit(shop_database, ada, customer) == 5
    assert reached == ["pay"]


async def test_a_unit_of_work_is_answered_again_too(shop_database: Database, ada: Principal) -> None:
    lines = [{"number": "A", "total": "5"}]
    first = await called(shop_database, ada, "orders.place", "k", customer="Acme", lines=lines)
    again = await called(shop_database, ada, "orders.place", "k", customer="Acme", lines=lines)
    assert (again.body, again.version, again.created) == (first.body, first.version, first.created)
    assert again.repeated
    assert await count(shop_database, ada) == 1


async def test_a_key_is_for_one_call(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    await called(shop_database, ada, "customers.pay", "k", id=customer.id, amount=5)
    with pytest.raises(errors.IdempotencyError):
        await called(shop_database, ada, "customers.pay", "k", id=customer.id, amount=6)
    with pytest.raises(errors.IdempotencyError):
        await called(shop_database, ada, "customers.visit", "k", id=customer.id)
    assert await credit(shop_database, ada, customer) == 5


async def test_a_key_is_one_caller_s(shop_database: Database, ada: Principal, eve: Principal) -> None:
    bob = Principal(ada.organization_id, ada.user_id, "admin", ada.permissions, "key:another")
    answers = [
        await called(shop_database, caller, "orders.place", "k", customer=name, lines=[])
        for caller, name in ((ada, "ada's"), (bob, "bob's"), (eve, "eve's"))
    ]
    assert [answer.repeated for answer in answers] == [False, False, False]
    assert [name in answer.body.decode() for name, answer in zip(("ada's", "bob's", "eve's"), answers, strict=True)]
    assert (await count(shop_database, ada), await count(shop_database, eve)) == (2, 1)


async def test_of_many_at_once_one_is_run(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    calls = [called(shop_database, ada, "customers.pay", "k", id=customer.id, amount=5) for _ in range(8)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    refused = [outcome for outcome in outcomes if not isinstance(outcome, Answer)]
    assert len({answer.body for answer in answers}) == 1
    assert [answer.repeated for answer in answers].count(False) == 1
    assert {(type(error), getattr(error, "status", 0)) for error in refused} <= {(errors.RequestError, 409)}
    assert await credit(shop_database, ada, customer) == 5
    assert reached == ["pay"]


async def test_who_comes_while_the_first_one_works_does_not_wait(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    session = shop_database.session(ada.context(Origin()))
    async with session.transaction() as transaction:
        await transaction.get(
            Customer, customer.id, for_update=True
        )  # so the first call waits, inside of its transaction
        first = asyncio.create_task(called(shop_database, ada, "customers.pay", "k", id=customer.id, amount=5))
        while "pay" not in reached:
            await asyncio.sleep(0)
        with pytest.raises(errors.RequestError) as caught:
            await called(shop_database, ada, "customers.pay", "k", id=customer.id, amount=5)
        assert caught.value.status == 409
        assert not first.done()
    assert not (await first).repeated
    assert await credit(shop_database, ada, customer) == 5


async def test_a_call_that_failed_may_be_made_again(shop_database: Database, ada: Principal) -> None:
    with pytest.raises(RuntimeError):
        await called(shop_database, ada, "orders.place", "k", customer="Acme", lines=[], fail=True)
    assert await count(shop_database, ada) == 0
    answer = await called(shop_database, ada, "orders.place", "k", customer="Acme", lines=[])
    assert not answer.repeated
    assert await count(shop_database, ada) == 1


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "schlüssel"])
async def test_what_is_no_key_is_refused(shop_database: Database, ada: Principal, key: str) -> None:
    with pytest.raises(errors.RequestError, match="1 to 200 visible"):
        await called(shop_database, ada, "orders.place", key, customer="Acme", lines=[])
    assert await count(shop_database, ada) == 0


async def test_a_public_command_takes_no_key(shop_database: Database) -> None:
    with pytest.raises(errors.RequestError, match="takes no idempotency key"):
        await called(shop_database, None, "organizations.exists", "k", slug="x")


async def test_who_may_not_call_learns_nothing_by_a_key(shop_database: Database, ada: Principal) -> None:
    await called(shop_database, ada, "orders.place", "k", customer="Acme", lines=[])
    with pytest.raises(errors.ForbiddenError):
        await called(shop_database, as_role(ada, "guest"), "orders.place", "k", customer="Acme", lines=[])


async def test_answers_are_forgotten_after_two_days(
    shop_database: Database, ada: Principal, admin: asyncpg.Connection
) -> None:
    for key in ("old", "young"):
        await called(shop_database, ada, "orders.place", key, customer=key, lines=[])
    old = (
        "update freehold.answers set at = now() - interval '2 days 1 second' where organization_id = $1 and key = 'old'"
    )
    await admin.execute(old, ada.organization_id)
    await admin.execute("select freehold.forget_answers()")
    assert not (await called(shop_database, ada, "orders.place", "old", customer="old", lines=[])).repeated
    assert (await called(shop_database, ada, "orders.place", "young", customer="young", lines=[])).repeated


async def test_an_answer_that_cannot_be_kept_is_not_given(
    shop_database: Database, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "LARGEST_ANSWER", 10)
    with pytest.raises(errors.RequestError, match="nothing was done"):
        await called(shop_database, ada, "orders.place", "k", customer="Acme", lines=[])
    assert await count(shop_database, ada) == 0


@pytest.mark.parametrize("point", ["before", "torn", "sent", "lost", "part"])
@pytest.mark.parametrize("mark", [b"k-cut", b"media", b"commit"])
async def test_a_cut_connection_makes_no_second_payment(
    server: Server, database_name: str, shop_database: Database, mark: bytes, point: str
) -> None:
    caller = principal(await new_context(shop_database))
    customer = await made(shop_database, caller)
    async with proxy(server.address(database_name)) as way, Database.open(way.address, shop, size=2) as database:
        await called(database, caller, "customers.pay", "warm", id=customer.id, amount=1)
        way.decide = Once(mark, Fault(point))  # type: ignore[arg-type]  # one of its points
        for _ in range(20):
            try:
                answer = await called(database, caller, "customers.pay", "k-cut", id=customer.id, amount=5)
                break
            except (errors.UnavailableError, errors.OutcomeUnknownError, errors.RequestError):
                await asyncio.sleep(0.05)
        else:
            pytest.fail("never answered")
    assert way.cuts == 1
    assert answer.body == b'"6.00"'
    assert await credit(shop_database, caller, customer) == 6
