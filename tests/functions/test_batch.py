"""Several calls in one request."""

import asyncio
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from freehold import Database, Principal, Session, Transaction, errors
from freehold.functions.admission import Admission
from freehold.functions.batch import Batch, Outcome, results
from freehold.functions.declaration import Options, declare
from freehold.functions.pipeline import Call, Pipeline
from freehold.functions.registry import Functions
from freehold.identity.principal import Origin
from tests.functions.conftest import as_role
from tests.functions.shop import reached, shop
from tests.functions.test_pipeline import count, made


async def sent(database: Database, caller: Principal | None, *calls: dict[str, Any], most: int = 50) -> list[Outcome]:
    batch = Batch(database.pipeline(), shop.functions, most=most)
    return await batch.run(to_json({"calls": list(calls)}), caller, Origin("request-b"))


async def test_each_call_has_its_own_result_in_order(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    outcomes = await sent(
        shop_database,
        ada,
        {"id": "read", "function": "customers.get", "arguments": {"id": str(customer.id)}},
        {"function": "customers.update", "arguments": {"id": str(customer.id), "version": 1, "changes": {"visits": 5}}},
        {"id": "again", "function": "customers.get", "arguments": {"id": str(customer.id)}},
        {"id": "stale", "function": "customers.update", "arguments": {"id": str(customer.id), "version": 1, "changes": {"visits": 6}}},
        {"id": "wrong", "function": "customers.update", "arguments": {"version": 0}},
        {"id": "unknown", "function": "customers.gett"},
        {"id": "made", "function": "customers.create", "arguments": {"values": {"name": "Bolt"}}},
    )  # fmt: skip
    told = from_json(results(outcomes, lambda error: error.as_dict()))["results"]
    assert [item["id"] for item in told] == ["read", "1", "again", "stale", "wrong", "unknown", "made"]
    assert [item["result"]["visits"] for item in told[:3]] == [0, 5, 5]
    assert [item["problem"]["code"] for item in told[3:6]] == ["FH201", "FH100", "FH200"]
    assert {issue["path"][0] for issue in told[4]["problem"]["issues"]} == {"id", "version", "changes"}
    assert (told[6]["version"], told[6]["created"]) == (1, told[6]["result"]["id"])
    assert await count(shop_database, ada) == 2


async def test_each_call_is_authorised_on_its_own(shop_database: Database, ada: Principal, eve: Principal) -> None:
    customer = await made(shop_database, eve)
    guest = as_role(ada, "guest")
    outcomes = await sent(
        shop_database,
        guest,
        {"function": "customers.create", "arguments": {"values": {"name": "x"}}},
        {"function": "customers.get", "arguments": {"id": str(customer.id)}},
        {"function": "hello"},
    )
    assert [type(outcome.error) for outcome in outcomes] == [errors.ForbiddenError, errors.NotFoundError, type(None)]
    assert await count(shop_database, ada) == 0
    (nobody, public) = await sent(shop_database, None, {"function": "customers.list"}, {"function": "hello"})
    assert isinstance(nobody.error, errors.AuthenticationError)
    assert public.answer is not None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[]", "valid dictionary|mapping|object"),
        (b'{"calls": []}', r"calls: "),
        (b'{"calls": [{"function": "hello"}, {"functon": "hello"}]}', r"calls\.1\.function: is required"),
        (b'{"calls": [{"function": "hello", "arguments": []}]}', r"calls\.0\.arguments"),
        (b'{"calls": [{"function": "hello", "id": "a"}, {"function": "hello", "id": "a"}]}', r"calls\.1\.id"),
        (b'{"calls": [{"function": "hello"}, {"function": "hello", "id": "0"}]}', r"calls\.1\.id"),
        (b'{"calls": [' + b",".join([b'{"function": "hello"}'] * 51) + b"]}", "51 calls, and may have 50"),
        (b'{"calls": [{"function": "hello", "organization_id": "x"}]}', r"calls\.0\.organization_id"),
    ],
)
async def test_what_is_no_batch_is_refused_as_a_whole(
    shop_database: Database, ada: Principal, body: bytes, told: str
) -> None:
    with pytest.raises(errors.ValidationError, match=told):
        await Batch(shop_database.pipeline(), shop.functions).run(body, ada, Origin())
    with pytest.raises(errors.RequestError, match="twice"):
        await Batch(shop_database.pipeline(), shop.functions).run(b'{"calls": 1, "calls": 2}', ada, Origin())


@pytest.mark.parametrize("name", ["customers.stream", "customers.export", "customers.import"])
async def test_streams_and_files_are_refused_in_a_batch(shop_database: Database, ada: Principal, name: str) -> None:
    (outcome,) = await sent(shop_database, ada, {"function": name})
    assert isinstance(outcome.error, errors.RequestError)
    assert reached == []


async def test_a_program_s_own_error_is_one_call_s(shop_database: Database, ada: Principal) -> None:
    order = {"customer": "x", "lines": [], "fail": True}
    outcomes = await sent(shop_database, ada, {"function": "orders.place", "arguments": order}, {"function": "hello"})
    told = results(outcomes, lambda error: error.as_dict())
    assert b"secret" not in told
    assert isinstance(outcomes[0].error, errors.InternalError)
    assert from_json(told)["results"][1]["result"] == "hello, you"


async def test_each_call_is_limited_on_its_own(shop_database: Database, ada: Principal) -> None:
    admitted: list[str] = []
    ended: list[str] = []

    class Two:
        async def admit(self, call: Call) -> Admission:
            if len(admitted) == 2:
                raise errors.LimitError("enough", retry_after=1)
            admitted.append(call.function.name)
            return Ending()

    class Ending:
        def end(self) -> None:
            ended.append("hello")

        def stream(self) -> None: ...
        async def resume(self) -> None: ...
        def pause(self) -> None: ...

    batch = Batch(Pipeline(shop_database, limiter=Two()), shop.functions)
    body = to_json({"calls": [{"function": "hello"}] * 3})
    outcomes = await batch.run(body, ada, Origin())
    assert [type(outcome.error) for outcome in outcomes] == [type(None), type(None), errors.LimitError]
    assert len(ended) == 2


async def test_neighbouring_queries_run_together_and_commands_one_by_one(
    shop_database: Database, ada: Principal
) -> None:
    events: list[str] = []
    met = asyncio.Barrier(2)

    async def meet(session: Session, name: str) -> str:
        await met.wait()  # two must be here at the same time, or neither goes on
        events.append(f"query {name}")
        return name

    async def write(transaction: Transaction, name: str) -> str:
        events.append(f"begin {name}")
        await asyncio.sleep(0)
        events.append(f"end {name}")
        return name

    functions = Functions(
        [declare(meet, "query", Options(requires=None)), declare(write, "command", Options(requires=None))]
    )
    calls = [
        {"function": name, "arguments": {"name": str(number)}}
        for number, name in enumerate(["meet", "meet", "write", "write", "meet", "meet"])
    ]
    async with asyncio.timeout(30):
        outcomes = await Batch(Pipeline(shop_database), functions).run(to_json({"calls": calls}), ada, Origin())
    assert [from_json(outcome.answer.body) for outcome in outcomes if outcome.answer] == list("012345")
    assert set(events[:2]) == {"query 0", "query 1"}
    assert events[2:6] == ["begin 2", "end 2", "begin 3", "end 3"]
    assert set(events[6:]) == {"query 4", "query 5"}


async def test_a_repeated_key_is_one_execution(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    call = {"function": "customers.pay", "arguments": {"id": str(customer.id), "amount": 5}, "key": "k1"}
    outcomes = await sent(shop_database, ada, call, {**call, "id": "again"})
    told = from_json(results(outcomes, lambda error: error.as_dict()))["results"]
    assert [item["result"] for item in told] == ["5.00", "5.00"]
    assert told[1]["repeated"] is True
    assert reached == ["pay"]


async def test_the_answers_of_a_batch_have_a_bound_together(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    batch = Batch(shop_database.pipeline(), shop.functions, most_bytes=10_000)
    get = {"function": "customers.get", "arguments": {"id": str(customer.id)}}
    change = {
        "function": "customers.update",
        "arguments": {"id": str(customer.id), "version": 1, "changes": {"tags": ["x" * 5_000] * 3}},
    }
    calls = [get, change, get, {"function": "customers.create", "arguments": {"values": {"name": "late"}}}]
    before, changed, large, late = await batch.run(to_json({"calls": calls}), ada, Origin("request-b"))
    assert before.answer is not None
    assert changed.answer is not None  # it was made, and has its answer
    assert isinstance(large.error, errors.TooLargeError)
    assert isinstance(late.error, errors.TooLargeError)
    assert "not made" in str(late.error)
    assert await count(shop_database, ada) == 1  # nor was it


async def test_queries_of_a_batch_take_room_in_common(shop_database: Database, ada: Principal) -> None:
    customer = await made(shop_database, ada)
    batch = Batch(shop_database.pipeline(), shop.functions, most_bytes=10_000)
    get = {"function": "customers.get", "arguments": {"id": str(customer.id)}}
    outcomes = await batch.run(to_json({"calls": [get] * 50}), ada, Origin("request-b"))
    assert 0 < sum(len(outcome.answer.body) for outcome in outcomes if outcome.answer is not None) <= 10_000
    assert {type(outcome.error) for outcome in outcomes if outcome.answer is None} == {errors.TooLargeError}
