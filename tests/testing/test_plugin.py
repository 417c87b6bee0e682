"""The plugin in sessions of pytest's own: tests as an application would have them."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from freehold.postgres.connections import connect
from freehold.testing.plugin import TestDatabases

ROOT = Path(__file__).parents[2]

ENTITIES = """
from freehold import Application, Entity, field, reference
from uuid import UUID

class Customer(Entity, soft_delete=True):
    name: str = field(max_length=100, unique=True)
    visits: int = field(default=0)

class Order(Entity):
    customer_id: UUID = reference(Customer)

application = Application("shop", [Customer, Order])
"""

STRICT = "asyncio_mode = strict"
AUTO = "asyncio_mode = auto"


@pytest.fixture
def session(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, freehold_databases: TestDatabases
) -> pytest.Pytester:
    """A folder with an application, in which pytest runs without this repository's settings; the server runs already."""
    monkeypatch.syspath_prepend(pytester.path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{pytester.path}")
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(shop=ENTITIES)
    return pytester


def run(session: pytest.Pytester, *arguments: str, settings: str = AUTO, apart: bool = False) -> pytest.RunResult:
    """A run, in a process of its own or in this one, which takes less time."""
    told = settings.replace("; ", "\n")
    session.makeini(
        "[pytest]\nfreehold_application = shop:application\nasyncio_default_fixture_loop_scope = function\n"
        f"filterwarnings = error\n{told}\n"
    )
    if apart:
        return session.runpytest_subprocess("-p", "freehold.testing.plugin", *arguments, timeout=120)
    return session.runpytest_inprocess("-p", "freehold.testing.plugin", *arguments)


def test_tests_of_an_application(session: pytest.Pytester) -> None:
    session.makepyfile(
        test_shop="""
import asyncio
import pytest
from datetime import UTC, datetime, timedelta
from freehold import Database, errors
from freehold.testing import Factory
from shop import Customer, Order, application

@pytest.fixture
async def acme(as_organization):
    return await as_organization("acme", role="admin", permissions=["orders.approve"], client_ip="192.0.2.1")

both = pytest.mark.parametrize(
    "isolation", [pytest.param(name, marks=pytest.mark.freehold(isolation=name)) for name in ("copy", "rollback")]
)

@both
@pytest.mark.parametrize("again", [1, 2])
async def test_nothing_of_another_test_is_there(acme, database, again, isolation):
    assert await acme.count(Customer, deleted=True) == 0
    await acme.create(Customer, name="Hopper")
    assert await database.system("tests").find_organization("rival") is None

@both
async def test_the_context_is_as_asked(acme, as_organization, isolation):
    context = acme.context
    assert (context.role, context.permissions, context.client_ip) == ("admin", {"orders.approve"}, "192.0.2.1")
    bob = await as_organization("acme", user="bob", role="clerk")
    assert bob.context.organization_id == context.organization_id
    assert bob.context.user_id != context.user_id
    customer = await bob.create(Customer, name="Hopper")
    assert customer.created_by == bob.context.user_id
    assert (await acme.get(Customer, customer.id)).name == "Hopper"
    (change,) = await acme.history(customer)
    assert change.actor_id == bob.context.user_id

@both
async def test_organizations_take_turns_and_see_their_own(acme, as_organization, database, isolation):
    rival = await as_organization("rival")
    hers = await Factory(rival).create(Order)
    for turn in range(3):
        mine = await acme.create(Customer, name=f"mine {turn}")
        assert await rival.count(Customer) == 1
        assert await acme.sql(None, "select name from customers order by name limit 1") == [{"name": "mine 0"}]
        assert [row["name"] for row in await rival.sql(None, "select name from customers")] == ["name 1"]
        with pytest.raises(errors.NotFoundError):
            await acme.get(Order, hers.id)
        with pytest.raises(errors.NotFoundError):
            await rival.update((Customer, mine.id, mine.version), visits=1)
    assert await database.system("tests").find_organization("rival") is not None  # refused inside of a context

@both
async def test_a_failed_call_leaves_nothing_and_the_next_one_works(acme, isolation):
    await acme.create(Customer, name="Hopper")
    for _ in range(2):
        with pytest.raises(errors.UniqueError):
            await acme.create(Customer, name="Hopper")
    with pytest.raises(errors.ForbiddenError):
        await acme.sql(None, "insert into customers (name) values ('x') returning name")
    with pytest.raises(errors.ValidationError):
        await acme.sql(None, "selec")
    customer = await acme.find(Customer, {"name": "Hopper"})
    await acme.update(customer, visits=1)
    assert await acme.count(Customer) == 1

@both
async def test_a_call_that_was_given_up_leaves_nothing(acme, isolation):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await acme.sql(None, "select pg_sleep(30)")
    await acme.create(Customer, name="Hopper")
    assert await acme.count(Customer) == 1

@both
async def test_calls_at_once(acme, isolation):
    customer = await acme.create(Customer, name="Hopper")
    results = await asyncio.gather(*(acme.update(customer, visits=n) for n in range(5)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ConcurrencyError"] * 4 + ["Customer"]
    assert await asyncio.gather(*(acme.get(Customer, customer.id) for _ in range(3)))

@both
async def test_increments(acme, isolation):
    one, two = [await acme.create(Customer, name=name) for name in ("Hopper", "Lovelace")]
    await asyncio.gather(*(acme.increment(Customer, one.id, visits=1) for _ in range(5)))
    with pytest.raises(errors.NotFoundError):
        await acme.increment(Customer, acme.context.organization_id, visits=1)
    async with acme.transaction() as transaction:
        await transaction.increment(Customer, one.id, visits=1)
        await acme.increment(Customer, two.id, visits=1)
    assert [(await acme.get(Customer, each.id)).visits for each in (one, two)] == [6, 1]

@both
async def test_the_time(acme, clock, isolation):
    before = datetime.now(UTC) - timedelta(minutes=1)
    first = await acme.create(Customer, name="first")
    second = await acme.create(Customer, name="second")
    assert before < first.created_at < second.created_at
    noon = datetime(2024, 2, 29, 12, tzinfo=UTC)
    await clock.set(noon)
    third = await acme.create(Customer, name="third")
    assert third.created_at == third.updated_at == noon == clock.moment
    assert (await acme.history(third))[0].at == noon
    assert await clock.advance(timedelta(days=1)) == noon + timedelta(days=1)
    third = await acme.update(third, visits=1)
    gone = await acme.delete(third)
    assert third.created_at == noon
    assert gone.deleted_at == third.updated_at == noon + timedelta(days=1)
    assert await acme.count(Customer, {"created_at": {"lt": before}}, deleted=True) == 1
    async with acme.as_of(noon + timedelta(hours=1)) as past:
        then = await past.get(Customer, third.id)
    assert (then.name, then.visits) == ("third", 0)
    async with acme.as_of(noon - timedelta(hours=1)) as past:
        assert await past.count(Customer) == 0
    with pytest.raises(errors.ValidationError, match="no moment in the past"):
        async with acme.as_of(noon + timedelta(days=2)) as past:
            await past.count(Customer)
    with pytest.raises(errors.ValidationError, match="time zone"):
        await clock.set(datetime(2024, 1, 1))
    await clock.reset()
    assert (await acme.create(Customer, name="fourth")).created_at > before

@both
async def test_the_time_is_the_real_one_again(acme, isolation):
    assert (await acme.create(Customer, name="x")).created_at.year > 2024

@both
async def test_transactions(acme, as_organization, database, isolation):
    rival = await as_organization("rival")
    async with acme.transaction(isolation="serializable") as transaction:
        made = await transaction.create(Customer, name="Hopper")
        with pytest.raises(errors.UniqueError):
            async with transaction.savepoint():
                await transaction.create(Customer, name="Lovelace")
                await transaction.create(Customer, name="Hopper")
        assert await transaction.get(Customer, made.id, for_update=True) == made
        assert await transaction.sql(None, "select name from customers") == [{"name": "Hopper"}]
        found = await asyncio.gather(*(transaction.get(Customer, made.id) for _ in range(3)))
        assert found == [made] * 3
        with pytest.raises(errors.TransactionError, match="inside of another"):
            async with transaction.transaction():
                pass
    assert await rival.count(Customer) == 0
    with pytest.raises(KeyError):
        async with acme.transaction() as transaction:
            await transaction.update(made, visits=5)
            raise KeyError
    with pytest.raises(errors.TransactionError, match="has ended|was rolled back"):
        await transaction.count(Customer)
    assert await acme.get(Customer, made.id) == made
    with pytest.raises(errors.TransactionError, match="exists already"):
        async with acme.transaction() as transaction:
            await transaction.update(made, visits=5)
            with pytest.raises(errors.UniqueError):
                await transaction.create(Customer, name="Hopper")
            with pytest.raises(errors.TransactionError, match="takes no more calls"):
                await transaction.count(Customer)
    assert await acme.get(Customer, made.id) == made
    async with acme.transaction(read_only=True) as transaction:
        with pytest.raises(errors.ForbiddenError):
            async with transaction.savepoint():
                await transaction.update(made, visits=5)
        assert await transaction.count(Customer) == 1
    hers = await rival.create(Customer, name="Hopper")

    async def work(transaction):
        result = await transaction.each(["a", "Hopper", "b"], lambda name: transaction.create(Customer, name=name), tolerate=0.4)
        return len(result.failures)

    assert await database.run(acme.context, work) == 1
    with pytest.raises(errors.TransactionError, match="inside of a transaction"):
        async with acme.transaction():
            await database.run(acme.context, work)
    assert await acme.count(Customer) == 3
    assert list(await rival.list(Customer)) == [hers]

@both
async def test_units_of_work_in_a_transaction(acme, isolation):
    async with acme.transaction() as transaction:
        async with transaction.unit_of_work() as unit:
            made = unit.add(Customer, name="Hopper")
            unit.add(Customer, name="Lovelace")
        with pytest.raises(errors.UniqueError):
            async with transaction.unit_of_work() as unit:
                unit.update(made, visits=1)
                unit.add(Customer, name="Hopper")
        assert (await transaction.get(Customer, made.id)).visits == 0
        await transaction.create(Customer, name="Noether")
    with pytest.raises(errors.CommitError):
        async with acme.unit_of_work() as unit:
            unit.add(Customer, name="Hopper")
            unit.add(Customer, name="Noether")
    assert sorted([each.name for each in await acme.list(Customer)]) == ["Hopper", "Lovelace", "Noether"]

@both
async def test_calls_beside_a_transaction_see_their_own_organization(acme, as_organization, isolation):
    rival = await as_organization("rival")
    async with acme.transaction() as transaction:
        made = await transaction.create(Customer, name="Hopper")
        assert await rival.count(Customer) == 0
        await rival.create(Customer, name="Hopper")
        with pytest.raises(errors.NotFoundError):
            await rival.get(Customer, made.id)
        assert await transaction.count(Customer) == 1
        await transaction.update(made, visits=1)
    assert (await acme.get(Customer, made.id)).visits == 1

@both
async def test_many_records(acme, as_organization, isolation):
    rival = await as_organization("rival")
    made = await acme.create_many(Customer, [{"name": name} for name in ("a", "b", "a", "c")], chunk=3)
    assert [outcome.action for outcome in made.outcomes] == ["created", "created", "failed", "created"]
    with pytest.raises(errors.ToleranceError):
        await acme.create_many(Customer, [{"name": "d"}, {"name": "c"}], atomic=True)
    first, second = [(outcome.id, 1) for outcome in made.outcomes][:2]
    assert (await acme.update_many(Customer, [(first, {"visits": 1}), (second, {"name": "c"})])).failed == 1
    assert (await rival.update_where(Customer, {}, everything=True, visits=9)).done == 0
    assert (await acme.delete_where(Customer, {"visits": 1})).deleted == 1
    async with acme.transaction() as transaction:
        assert (await transaction.delete_many(Customer, [second, first])).deleted == 1
    assert [each.name for each in await acme.list(Customer)] == ["c"]

@both
async def test_transactions_of_tasks_do_not_mix(acme, isolation):
    async def work(n):
        async with acme.transaction() as transaction:
            await transaction.create(Customer, name=f"{n}")
            await asyncio.sleep(0)
            if n % 2:
                raise KeyError(n)
            await transaction.create(Customer, name=f"{n} again")

    await asyncio.gather(*(work(n) for n in range(4)), return_exceptions=True)
    assert sorted([each.name for each in await acme.list(Customer)]) == ["0", "0 again", "2", "2 again"]

@both
async def test_a_transaction_that_was_given_up_leaves_nothing(acme, isolation):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            async with acme.transaction() as transaction:
                await transaction.create(Customer, name="Hopper")
                await transaction.sql(None, "select pg_sleep(30)")
    assert await acme.count(Customer) == 0
    await acme.create(Customer, name="Hopper")

@pytest.mark.freehold(isolation="copy")
async def test_a_program_opens_the_database_by_itself(acme, database_address):
    async with Database.open(database_address, application) as other:
        await other.session(acme.context).create(Customer, name="of another program")
    assert await acme.count(Customer) == 1

@pytest.mark.freehold(isolation="rollback")
async def test_what_a_transaction_cannot_do_says_so(database, request):
    with pytest.raises(errors.ConfigurationError, match="another connection would see nothing"):
        request.getfixturevalue("database_address")
    with pytest.raises(errors.ConfigurationError, match="listen of a pool needs connections of its own"):
        database._store.pool.listen
"""
    )
    run(session).assert_outcomes(passed=34)
    run(session, "-n2", apart=True, settings=f"{AUTO}; freehold_isolation = rollback").assert_outcomes(passed=34)


LOOPS = """
import asyncio
import pytest
import pytest_asyncio
from freehold.testing import Factory
from shop import Customer

{fixture}
async def customer(as_organization):
    return await Factory(await as_organization()).create(Customer)

{marks}
class TestLoops:
    @pytest.mark.parametrize("again", [1, 2])
    async def test_it(self, again, customer, as_organization, database):
        acme = await as_organization("acme")
        assert await acme.get(Customer, customer.id) == customer
        assert await asyncio.gather(*(acme.count(Customer) for _ in range(4))) == [1] * 4

    @pytest.mark.freehold(isolation="rollback")
    async def test_that(self, customer, as_organization):
        assert await (await as_organization("acme")).count(Customer) == 1
"""


@pytest.mark.parametrize(
    ("settings", "fixture", "marks"),
    [
        (AUTO, "@pytest.fixture", ""),
        (STRICT, "@pytest_asyncio.fixture", "@pytest.mark.asyncio"),
        (STRICT, "@pytest_asyncio.fixture(loop_scope='session')", "@pytest.mark.asyncio(loop_scope='session')"),
        (AUTO, "@pytest_asyncio.fixture(loop_scope='class')", "@pytest.mark.asyncio(loop_scope='class')"),
        (f"{AUTO}; asyncio_default_test_loop_scope = module", "@pytest_asyncio.fixture(loop_scope='module')", ""),
        (STRICT, "@pytest.fixture", "@pytest.mark.anyio\n@pytest.mark.parametrize('anyio_backend', ['asyncio'])"),
    ],
    ids=["auto", "strict", "session", "class", "module", "anyio"],
)
def test_loops(session: pytest.Pytester, settings: str, fixture: str, marks: str) -> None:
    session.makepyfile(test_loops=LOOPS.format(fixture=fixture, marks=marks))
    run(session, settings=settings).assert_outcomes(passed=3)


def test_another_loop_is_an_error_that_says_so(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
import pytest, pytest_asyncio
from shop import Customer

@pytest_asyncio.fixture(loop_scope="function")
async def acme(as_organization):
    return await as_organization()

@pytest.mark.asyncio(loop_scope="session")
async def test_it(acme):
    pass
"""
    )
    result = run(session)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*opened in another event loop than this call runs in*", "*the same loop scope*"])


def test_what_is_set_wrongly_says_so(session: pytest.Pytester) -> None:
    session.makepyfile(
        """
import pytest

@pytest.mark.freehold(isolation="magic")
async def test_isolation(database): ...

@pytest.mark.freehold("copy")
async def test_marker(database): ...
"""
    )
    result = run(session)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*isolation is 'copy' or 'rollback', not 'magic'*", "*write @pytest.mark.freehold(*"])
    for told in ("", "shop:nothing", "nowhere:application", "shop:Customer"):
        session.makepyfile("async def test_it(database): ...")
        result = run(session, "-o", f"freehold_application={told}", "-k", "test_it")
        assert result.parseoutcomes().get("errors") == 1
        result.stdout.fnmatch_lines(["*freehold_application*"])


async def names(databases: TestDatabases) -> set[str]:
    async with connect(databases.server.admin) as connection:
        rows = await connection.fetch("select datname::text as name from pg_database")
    return {str(row["name"]) for row in rows}


async def test_what_a_killed_run_left_is_dropped_by_the_next(
    session: pytest.Pytester, freehold_databases: TestDatabases
) -> None:
    mine = freehold_databases.empty()  # of a run that goes on
    session.makepyfile(
        """
import os
def test_it(database_address):
    print("it was", database_address.database, flush=True)
    os._exit(9)
"""
    )
    result = await asyncio.to_thread(run, session, "-s", apart=True)
    assert result.ret == 9
    (left,) = re.findall(r"it was (\w+)", result.stdout.str())
    assert {left, mine} <= await names(freehold_databases)
    session.makepyfile("async def test_it(database): ...")
    (await asyncio.to_thread(run, session, "-k", "test_it", apart=True)).assert_outcomes(passed=1)
    assert {left, mine} & await names(freehold_databases) == {mine}
    freehold_databases.drop(mine)
