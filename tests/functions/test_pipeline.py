"""Calls of functions, without a server: what is parsed, authorised, committed, and what is not."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from pydantic_core import from_json

from freehold import Database, Principal, errors
from freehold.functions.arguments import Arguments
from freehold.functions.pipeline import Call, Pipeline, Timings
from freehold.identity.principal import Origin
from tests.functions.conftest import as_role
from tests.functions.shop import reached, shop
from tests.world import Customer, Order


async def count(database: Database, caller: Principal, entity: Any = Customer) -> int:
    async with database.session(caller.context(Origin())) as session:
        return await session.count(entity)


async def made(database: Database, caller: Principal, name: str = "Acme", **more: Any) -> Customer:
    async with database.session(caller.context(Origin())) as session:
        return await session.create(Customer, name=name, **more)


async def test_a_query_answers_by_its_type(shop_database: Database, ada: Principal, eve: Principal) -> None:
    await made(shop_database, ada, credit=5)
    await made(shop_database, ada, credit=10)
    await made(shop_database, eve, credit=1_000)
    assert await shop_database.call("customers.figures", principal=ada) == {
        "customers": 2,
        "credit": "15.00",
        "best": None,
    }
    assert await shop_database.call("customers.figures", {"least": "7"}, principal=ada) == {
        "customers": 1,
        "credit": "10.00",
        "best": None,
    }


async def test_a_page_has_data_and_cursors(shop_database: Database, ada: Principal) -> None:
    for name in ("a", "b", "c"):
        await made(shop_database, ada, name)
    arguments = {"names": ["a", "b", "c"], "limit": 2, "order": "name"}
    page = await shop_database.call("customers.named", arguments, principal=ada)
    assert [row["name"] for row in page["data"]] == ["a", "b"]
    assert page["previous"] is None
    assert isinstance(page["next"], str)
    assert "tax_number" not in page["data"][0]


async def test_all_that_is_wrong_with_the_arguments_is_told_at_once(shop_database: Database, ada: Principal) -> None:
    with pytest.raises(errors.ValidationError) as caught:
        await shop_database.call("customers.named", {"names": "x", "limit": 1000, "colour": 1}, principal=ada)
    assert {issue.field for issue in caught.value.issues} == {"names", "limit", "colour"}
    with pytest.raises(errors.ValidationError, match="names: is required"):
        await shop_database.call("customers.named", principal=ada)


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        ({"names": ["a", "b"], "limit": ["5"]}, {"names": ["a", "b"], "limit": 5, "order": None}),
        ({"names": ["a"], "order": ["-name"]}, {"names": ["a"], "limit": 50, "order": "-name"}),
    ],
)
def test_texts_become_what_the_types_say(texts: dict[str, list[str]], values: dict[str, Any]) -> None:
    function = shop.functions["customers.named"]
    assert function.values(Arguments.of_texts(texts).parse(function)) == values


def test_texts_of_documents_are_json() -> None:
    function = shop.functions["orders.place"]
    lines = '{"number": "A", "total": "5"}'
    with pytest.raises(errors.ValidationError, match="customer: is given more than once"):
        Arguments.of_texts({"customer": ["a", "b"], "lines": [lines]}).parse(function)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"names": ["a"], "names": ["b"]}', "names 'names' twice"),
        (b'{"names": ["a"], "limit": NaN}', "NaN is no JSON"),
        (b"{", "no JSON"),
        (b"\xff", "no UTF-8"),
        (b'{"names":' + b"[" * 10_000, "nested too deeply"),
        (b'{"limit": ' + b"9" * 10_000 + b"}", "no JSON"),
    ],
)
def test_json_that_is_none_or_means_two_things_is_refused(body: bytes, told: str) -> None:
    with pytest.raises(errors.RequestError, match=told):
        Arguments.of_json(body).parse(shop.functions["customers.named"])


async def test_who_lacks_the_permission_is_refused_and_nothing_happens(shop_database: Database, ada: Principal) -> None:
    guest = as_role(ada, "guest")
    with pytest.raises(errors.ForbiddenError, match=r"orders\.place"):
        await shop_database.call("orders.place", {"customer": "x", "lines": []}, principal=guest)
    with pytest.raises(errors.AuthenticationError):
        await shop_database.call("orders.place", {"customer": "x", "lines": []}, principal=None)
    assert await count(shop_database, ada) == 0
    assert (await shop_database.call("whoami", principal=guest))["role"] == "guest"


SNEAKY = ["sneaky", "sneaky_sql", "sneaky_unit", "sneaky_transaction", "sneaky_many"]


@pytest.mark.parametrize("name", SNEAKY)
async def test_a_query_cannot_write(shop_database: Database, ada: Principal, name: str) -> None:
    with pytest.raises(errors.ForbiddenError):
        await shop_database.call(f"customers.{name}", principal=ada)
    assert await count(shop_database, ada) == 0


async def test_a_query_cannot_count(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    with pytest.raises(errors.ForbiddenError):
        await shop_database.call("customers.sneaky_count", {"id": customer.id}, principal=ada)
    async with shop_database.session(ada.context(Origin())) as session:
        assert (await session.get(Customer, customer.id)).visits == 0


async def test_a_command_is_committed_before_it_answers(shop_database: Database, ada: Principal) -> None:
    lines = [{"number": "A-1", "total": "5.00"}, {"number": "A-2", "total": 7}]
    answer = await shop_database.call("orders.place", {"customer": "Acme", "lines": lines}, principal=ada)
    assert (answer["name"], answer["version"]) == ("Acme", 1)
    assert await count(shop_database, ada, Order) == 2


async def test_a_command_that_raises_has_done_nothing(shop_database: Database, ada: Principal) -> None:
    arguments = {"customer": "Acme", "lines": [], "fail": True}
    with pytest.raises(RuntimeError):
        await shop_database.call("orders.place", arguments, principal=ada)
    assert await count(shop_database, ada) == 0
    customer = await made(shop_database, ada)
    with pytest.raises(RuntimeError):
        await shop_database.call("customers.visit", {"id": customer.id, "fail": True}, principal=ada)
    assert (await shop_database.call("customers.visit", {"id": customer.id}, principal=ada))["visits"] == 1


async def test_a_command_under_a_lock_loses_no_visit(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    calls = [shop_database.call("customers.visit", {"id": customer.id}, principal=ada) for _ in range(8)]
    answers = await asyncio.gather(*calls)
    assert sorted(answer["visits"] for answer in answers) == list(range(1, 9))


async def test_another_organization_s_record_is_an_absent_one(
    shop_database: Database, ada: Principal, eve: Principal
) -> None:
    customer = await made(shop_database, ada)
    with pytest.raises(errors.NotFoundError):
        await shop_database.call("customers.visit", {"id": customer.id}, principal=eve)
    async with shop_database.session(ada.context(Origin())) as session:
        assert (await session.get(Customer, customer.id)).version == 1


async def test_a_stream_is_made_as_it_is_taken(shop_database: Database, ada: Principal) -> None:
    for number in range(25):
        await made(shop_database, ada, f"c{number:02}")
    call = Call(shop.functions["customers.stream"], principal=ada)
    answer = await Pipeline(shop_database).run(call)
    assert answer.stream is not None
    items = answer.stream
    first = from_json(await anext(items))
    assert first["name"] == "c00"
    assert reached == ["c00"]
    await items.aclose()  # type: ignore[attr-defined]  # it is a generator
    whole = await shop_database.call("customers.stream", principal=ada)
    assert [row["name"] for row in whole] == [f"c{number:02}" for number in range(25)]


async def test_what_is_public_needs_nobody(shop_database: Database, ada: Principal) -> None:
    assert await shop_database.call("hello", {"name": "Ada"}, principal=None) == "hello, Ada"
    assert await shop_database.call("organizations.exists", {"slug": "nowhere"}, principal=None) is False


async def test_a_call_that_takes_too_long_is_ended(shop_database: Database, ada: Principal) -> None:
    with pytest.raises(errors.TimeoutError, match=r"sleepy took longer than 0\.2 s"):
        await shop_database.call("sleepy", principal=ada)
    assert reached == ["woken"]


async def test_what_is_not_declared_is_not_answered(shop_database: Database, ada: Principal) -> None:
    assert set(await shop_database.call("more_than_declared", principal=ada)) == {"customers", "credit", "best"}


async def test_a_function_s_own_time_out_is_not_the_call_s(shop_database: Database, ada: Principal) -> None:
    with pytest.raises(TimeoutError, match="printer"):
        await shop_database.call("impatient", principal=ada)


async def test_a_command_whose_result_cannot_be_answered_has_done_nothing(
    shop_database: Database, ada: Principal
) -> None:
    with pytest.raises(errors.InternalError):
        await shop_database.call("customers.mistake", principal=ada)
    assert await count(shop_database, ada) == 0


async def test_a_result_of_another_type_is_told_without_it(shop_database: Database, ada: Principal) -> None:
    with pytest.raises(errors.InternalError) as caught:
        await shop_database.call("broken", principal=ada)
    assert "secret" not in str(caught.value)


async def test_an_unknown_function_is_told_with_a_suggestion(shop_database: Database, ada: Principal) -> None:
    with pytest.raises(errors.NotFoundError, match=r"customers\.figures"):
        await shop_database.call("customers.figure", principal=ada)


async def test_a_call_that_needs_a_key_is_refused_without_one(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    with pytest.raises(errors.RequestError, match="idempotency key"):
        await shop_database.call("customers.pay", {"id": customer.id, "amount": 5}, principal=ada)
    assert reached == []


async def test_each_stage_is_timed_in_its_order(shop_database: Database, ada: Principal) -> None:
    timings = Timings()
    await Pipeline(shop_database).run(Call(shop.functions["whoami"], principal=ada, timings=timings))
    assert list(timings) == ["limit", "parse", "authorise", "execute", "answer"]
    assert all(seconds >= 0 for seconds in timings.values())


async def test_the_log_tells_who_called(shop_database: Database, ada: Principal) -> None:
    origin = Origin("request-7", "192.0.2.9", "curl/8")
    arguments = Arguments.of_values({"customer": "Acme", "lines": []})
    await Pipeline(shop_database).run(Call(shop.functions["orders.place"], arguments, ada, origin))
    async with shop_database.session(ada.context(Origin())) as session:
        (change,) = await session.history(request_id="request-7")
    assert (change.actor_id, change.client_ip, change.user_agent) == (ada.user_id, "192.0.2.9", "curl/8")


def test_decimals_travel_as_texts() -> None:
    function = shop.functions["customers.figures"]
    assert function.values(Arguments.of_json(b'{"least": "0.10"}').parse(function)) == {"least": Decimal("0.10")}


async def test_the_answer_of_a_query_has_a_bound_and_that_of_a_command_has_none(
    shop_database: Database, ada: Principal
) -> None:
    pipeline = Pipeline(shop_database, most=100)
    name = (await made(shop_database, ada, name="x" * 100)).name
    named = Arguments.of_values({"names": [name], "limit": 1})
    with pytest.raises(errors.TooLargeError, match=r"customers\.named is larger than 100 bytes"):
        await pipeline.run(Call(shop.functions["customers.named"], named, ada))
    place = Arguments.of_values({"customer": "long" * 40, "lines": []})
    answer = await pipeline.run(Call(shop.functions["orders.place"], place, ada))
    assert len(answer.body) > 100
