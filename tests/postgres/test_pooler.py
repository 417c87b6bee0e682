"""Behind PgBouncer, which gives each transaction any of a few server connections: no answer is another's, nothing stays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import pytest

from freehold import Address, Database, Session, Transaction, errors
from freehold.postgres.connections import Pool
from tests.conftest import Server, new_context
from tests.pgbouncer import ABSENT, Pooler, keeps_prepared_statements, pooler, program
from tests.postgres.test_pool import running, serves, sleep, sound
from tests.probe import plain, scratch, until
from tests.world import Contact, Customer, application

pytestmark = pytest.mark.skipif(program() is None, reason=ABSENT)

CALLS = 10_000

Connection = asyncpg.Connection


@pytest.fixture
async def behind(server: Server, database_name: str) -> AsyncIterator[Pooler]:
    """Two server connections in transaction mode, and no prepared statements."""
    async with pooler(server, database_name) as running:
        yield running


@pytest.fixture
def direct(server: Server, database_name: str) -> Address:
    """The address without the pooler."""
    return server.address(database_name)


@pytest.fixture
def mark() -> str:
    """A word to find a test's statements by."""
    return f"mark_{uuid4().hex}"


async def refused(address: Address) -> str:
    with pytest.raises(errors.ConfigurationError) as caught:
        async with Database.open(address, application, size=2):
            pytest.fail("it was opened")
    return str(caught.value)


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_a_pooler_that_does_not_keep_prepared_statements_is_refused_unless_one_says_what_to_do(
    server: Server, database_name: str, direct: Address, mode: str
) -> None:
    async with pooler(server, database_name, mode=mode) as running:
        told = await refused(running.behind(direct))
        assert "prepared=off" in told
        assert "prepared=on" in told
        for prepared in (False, True):
            async with Database.open(running.behind(direct, prepared), application, size=1):
                pass
        host = f"host={running.folder}&port=6432"
        login = f"postgresql://{direct.user}:{direct.password}@/{database_name}"
        async with Database.open(f"{login}?{host}&prepared=off", application, size=1):
            pass
        async with Database.open(f"{login}?prepared=on&{host}", application, size=1):
            pass


@dataclass
class Side:
    """One organization, and what it must see.

    Args:
        name: in every text of its records.
        sessions: one in each program.
        customers: each has one contact.
    """

    name: str
    sessions: list[Session]
    customers: list[Customer]

    @property
    def contacts(self) -> set[str]:
        """The names of its contacts that last."""
        return {f"contact of {customer.name}" for customer in self.customers}


async def side_of(name: str, programs: list[Database]) -> Side:
    context = await new_context(programs[0])
    sessions = [database.session(context) for database in programs]
    customers = [await sessions[0].create(Customer, name=f"{name} {number}") for number in range(10)]
    for customer in customers:
        await sessions[0].create(Contact, customer_id=customer.id, name=f"contact of {customer.name}")
    return Side(name, sessions, customers)


async def right(side: Side, other: Side, number: int, turn: int, version: int) -> int:
    """One call, which knows its one right answer. Answers the version that the customer then has."""
    customer, theirs, session = side.customers[number], other.customers[number], side.sessions[number % 2]
    match turn % 8:
        case 0:
            found = await session.get(Customer, customer.id)
            assert (found.id, found.name, found.version) == (customer.id, customer.name, version)
        case 1:
            page = await session.list(Contact, limit=100, include=["customer"])
            assert {each.name for each in page if "passing" not in each.name} == side.contacts
            assert {each.organization_id for each in page} == {customer.organization_id}
            assert all(side.name in each.name for each in page)
            assert all(each.customer.name in each.name for each in page)
        case 2:
            with pytest.raises(errors.NotFoundError):
                await session.get(Contact, theirs.id)
        case 3:
            rows = await session.sql(None, "select name, visits from customers where name <> :other", other=theirs.name)
            assert {row["name"] for row in rows} == {each.name for each in side.customers}
        case 4:
            assert await session.count(Contact, {"customer.name": theirs.name}) == 0
            assert await session.count(Customer, {"name": customer.name}) == 1
        case 5:
            made = await session.create(Contact, customer_id=customer.id, name=f"passing of {customer.name} {turn}")
            assert (made.name, made.customer_id) == (f"passing of {customer.name} {turn}", customer.id)
            assert (await session.delete(made)).id == made.id
        case 6:
            with pytest.raises(errors.ConcurrencyError) as caught:
                await session.update((Customer, customer.id, 2**30), name="x")
            current = caught.value.current
            assert isinstance(current, Customer)
            assert (current.id, current.version) == (customer.id, version)
        case _:
            changed = await session.update((Customer, customer.id, version), visits=turn)
            assert (changed.id, changed.visits, changed.name) == (customer.id, turn, customer.name)
            return changed.version
    return version


@pytest.mark.parametrize("prepared", [False, True], ids=["without prepared statements", "with prepared statements"])
async def test_ten_thousand_calls_of_two_organizations_over_two_server_connections(
    server: Server, prepared: bool
) -> None:
    """Two programs with more connections than the pooler has; reads and writes of two entities, all interleaved."""
    if prepared and not keeps_prepared_statements():
        pytest.skip("this PgBouncer is older than 1.21: it does not keep prepared statements")
    async with AsyncExitStack() as stack:
        name = await stack.enter_async_context(scratch(server))
        behind = await stack.enter_async_context(pooler(server, name, kept=200 if prepared else 0))
        address = behind.behind(server.address(name), None if prepared else False)
        programs = [await stack.enter_async_context(Database.open(address, application, size=6)) for _ in range(2)]
        acme, rival = await side_of("acme", programs), await side_of("rival", programs)

        async def work(side: Side, other: Side, number: int) -> None:
            version = 1
            for turn in range(CALLS // 20):
                version = await right(side, other, number, turn + number, version)

        await asyncio.gather(
            *(work(*sides, number) for sides in ((acme, rival), (rival, acme)) for number in range(10))
        )
        for program_ in programs:
            await sound(program_._store.pool)
        admin = await stack.enter_async_context(plain(server.admin_address(name)))
        pids = await admin.fetchval(
            "select count(*) from pg_stat_activity where usename = $1 and datname = $2", address.user, name
        )
        assert pids == 2


class Held:
    """Both server connections, each kept busy by a client's transaction until it is let go."""

    def __init__(self, clients: list[Connection]) -> None:
        self._clients = clients

    async def keep(self, number: int) -> int:
        """Keeps the one that is free, and tells its process."""
        await self._clients[number].execute("begin")
        return int(await self._clients[number].fetchval("select pg_backend_pid()"))

    @asynccontextmanager
    async def free(self, number: int) -> AsyncIterator[None]:
        """Lets one go for a while."""
        await self._clients[number].execute("rollback")
        yield
        await self.keep(number)


@asynccontextmanager
async def held(behind: Pooler, direct: Address) -> AsyncIterator[Held]:
    async with AsyncExitStack() as stack:
        clients = [await behind.behind(direct, False).open() for _ in range(2)]
        for client in clients:
            stack.callback(client.terminate)
        both = Held(clients)
        assert len({await both.keep(number) for number in range(2)}) == 2
        yield both


async def test_a_statement_of_another_program_with_the_same_name_is_never_executed(
    behind: Pooler, direct: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two programs count their statements alike, and the pooler gives the second one the server connection of the first."""
    async with (
        held(behind, direct) as servers,
        Pool(behind.behind(direct, True), {}, size=1) as one,
        Pool(behind.behind(direct, True), {}, size=1) as two,
    ):
        monkeypatch.setattr(asyncpg.connection, "_uid", 1_000_000)
        async with servers.free(0):
            assert await one.fetch_row("select 'one ' || $1 as said", ["!"]) == ("one !",)
        monkeypatch.setattr(asyncpg.connection, "_uid", 1_000_000)
        async with servers.free(1):
            assert await two.fetch_row("select 'two ' || $1 as said", ["!"]) == ("two !",)
        async with servers.free(0):
            with pytest.raises(errors.ConfigurationError, match="prepared=off"):
                await two.fetch_row("select 'two ' || $1 as said", ["!"])


async def test_an_unnamed_statement_of_another_program_is_never_executed(behind: Pooler, direct: Address) -> None:
    async with (
        held(behind, direct) as servers,
        Pool(behind.behind(direct, False), {}, size=1) as one,
        Pool(behind.behind(direct, False), {}, size=1) as two,
    ):
        for number in (0, 1, 0, 1):
            async with servers.free(number):
                assert await one.fetch_row("select 'one ' || $1 as said", ["!"]) == ("one !",)
            async with servers.free(1 - number):
                assert await two.fetch_row("select 'two ' || $1 as said", ["!"]) == ("two !",)


async def test_a_timeout_and_a_cancellation_end_the_statement_on_the_server(
    behind: Pooler, direct: Address, admin: Connection, mark: str
) -> None:
    async with Pool(behind.behind(direct, False), {}, size=4, timeout=0.3) as pool:
        with pytest.raises(errors.TimeoutError):
            await pool.fetch_row(sleep(mark), [])
        await running(admin, mark, 0)
        tasks = [asyncio.ensure_future(pool.fetch_row(sleep(mark), [], timeout=60)) for _ in range(2)]
        await running(admin, mark, 2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await running(admin, mark, 0)
        assert all(await asyncio.gather(*(serves(pool) for _ in range(20))))
        await sound(pool)


async def test_a_call_that_waits_in_the_pooler_is_bounded_and_hurts_nobody(
    behind: Pooler, direct: Address, admin: Connection, mark: str
) -> None:
    async with Pool(behind.behind(direct, False), {}, size=6) as pool:
        busy = [asyncio.ensure_future(pool.fetch_row(f"select 1, pg_sleep(1.5) /* {mark} */", [])) for _ in range(2)]
        await running(admin, mark, 2)
        waiting = asyncio.ensure_future(pool.fetch_row("select 1", []))
        await until(lambda: asyncio.sleep(0, pool._open == 3 and not pool._idle), "the call has a connection")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(10):
            with pytest.raises(errors.TimeoutError):
                await pool.fetch_row("select 1", [], timeout=0.1)
        assert all(await asyncio.gather(*busy))  # neither was cancelled in their place
        assert all(await asyncio.gather(*(serves(pool) for _ in range(20))))
        await sound(pool)


async def test_values_that_the_driver_refuses_hold_no_server_connection(
    server: Server, database_name: str, direct: Address
) -> None:
    async with (
        pooler(server, database_name, servers=1) as behind,
        Pool(behind.behind(direct, False), {}, size=1) as one,
        Pool(behind.behind(direct, False), {}, size=1) as other,
    ):
        for arguments in ([object()], [], [1, 2]):
            with pytest.raises(errors.ValidationError):
                await one.fetch_row("select $1::int", arguments)
            assert await other.fetch_row("select 1", [], timeout=5)
        with pytest.raises(errors.FreeholdError):
            await one.fetch_row("select nonsense", [])
        assert await other.fetch_row("select 1", [], timeout=5)


async def test_a_schema_can_be_set_up_through_it(server: Server) -> None:
    async with scratch(server, None) as name, pooler(server, name) as behind:
        through = behind.behind(server.admin_address(name), False)
        role = application.roles.application
        assert await application.setup(through, {role: server.password})
        assert not await application.setup(through, {role: server.password})
        async with Database.open(behind.behind(server.address(name), False), application) as database:
            session = database.session(await new_context(database))
            assert await session.get(Customer, (await session.create(Customer, name="x")).id)


_LEFT = """
select array(select name || '=' || setting from pg_settings where source = 'session' and name !~ '^transaction_' and name <> all ($1))
    || array(select name from unnest(array['freehold.organization_id', 'freehold.context']) name where current_setting(name, true) <> '')
    || array(select 'prepared ' || statement from pg_prepared_statements where statement not like '%pg_prepared_statements%')
    || array(select 'lock ' || locktype from pg_locks where pid = pg_backend_pid() and locktype = 'advisory')
    || array(select 'temporary ' || relname from pg_class where relnamespace = pg_my_temp_schema()) as found
"""

_POOLERS_OWN = ["application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings"]
"""What PgBouncer itself sets, for each client anew."""


async def test_calls_leave_nothing_on_the_server_connection(server: Server) -> None:
    """Nothing that another organization's call, or another program of the same role, would find."""
    async with scratch(server) as name, pooler(server, name, servers=1) as behind:
        address = behind.behind(server.address(name), False)
        async with Database.open(address, application, size=3) as database, Pool(address, {}, size=1) as looking:
            acme, rival = await side_of("acme", [database] * 2), await side_of("rival", [database] * 2)
            for turn in range(8):
                await right(acme, rival, 0, turn, 1)
            with pytest.raises(errors.FreeholdError):
                await acme.sessions[0].sql(None, "select set_config('search_path', 'pg_catalog', false), 1 / 0")
            await acme.sessions[0].sql(None, "select set_config('search_path', 'pg_catalog', false)")
            await acme.sessions[0].sql(None, "select set_config('extra_float_digits', '-15', false)")
            (row,) = await looking.fetch(_LEFT, [_POOLERS_OWN])
            assert row["found"] == []


async def test_another_clients_time_zone_is_not_ours(server: Server) -> None:
    async with scratch(server) as name, pooler(server, name, servers=1) as behind:
        address = behind.behind(server.address(name), False)
        async with Database.open(address, application, size=1) as database:
            session = database.session(await new_context(database))
            made = await session.create(Customer, name="x")
            before = await session.list(Customer, as_json=True)
            settings = {"TimeZone": "Asia/Tokyo", "DateStyle": "German"}
            other = await asyncpg.connect(
                host=address.host, port=address.port, user=address.user, password=address.password, database=name,
                statement_cache_size=0, server_settings=settings,
            )  # fmt: skip
            try:
                assert await other.fetchval("select current_setting('TimeZone')") == "Asia/Tokyo"
                assert (await session.list(Customer, as_json=True)).json == before.json
                assert await session.get(Customer, made.id) == made
            finally:
                other.terminate()


@pytest.mark.parametrize("prepared", [False, True], ids=["without prepared statements", "with prepared statements"])
async def test_transactions_keep_a_server_connection_to_their_end(server: Server, prepared: bool) -> None:
    """Four at a time over two server connections, with locks, savepoints, some that fail, and other calls between them."""
    if prepared and not keeps_prepared_statements():
        pytest.skip("this PgBouncer is older than 1.21: it does not keep prepared statements")
    async with AsyncExitStack() as stack:
        name = await stack.enter_async_context(scratch(server))
        behind = await stack.enter_async_context(pooler(server, name, kept=200 if prepared else 0))
        address = behind.behind(server.address(name), None if prepared else False)
        database = await stack.enter_async_context(Database.open(address, application, size=6))
        sessions = [database.session(await new_context(database)) for _ in range(2)]
        counters = [await session.create(Customer, name="counter") for session in sessions]

        def twin(transaction: Transaction) -> Callable[[int], Awaitable[Customer]]:
            return lambda _: transaction.create(Customer, name="x", email="x@x.test")

        async def work(side: int, number: int) -> None:
            session = sessions[side]
            for turn in range(10):
                try:
                    async with session.transaction(deadline=20) as transaction:
                        found = await transaction.get(Customer, counters[side].id, for_update=True)
                        await transaction.update(found, visits=found.visits + 1)
                        made = await transaction.each([1, 2], twin(transaction), tolerate=0.5)
                        assert [type(each.error) for each in made.failures] == [errors.UniqueError]
                        await transaction.purge(made.results[0])
                        assert await transaction.sql(None, "select visits from customers") == [
                            {"visits": found.visits + 1}
                        ]
                        if (turn + number) % 3 == 0:
                            raise KeyError(turn)
                except KeyError:
                    pass
                assert await session.count(Customer) == 1

        await asyncio.gather(*(work(side, number) for side in range(2) for number in range(3)))
        kept = sum((turn + number) % 3 != 0 for number in range(3) for turn in range(10))
        for session, counter in zip(sessions, counters, strict=True):
            assert (await session.get(Customer, counter.id)).visits == kept
        await sound(database.store.pool)
        # Nothing of a transaction's bounds is on the server connections that others get.
        for _ in range(4):
            row = await database.store.pool.fetch_row("select current_setting('statement_timeout') as t", [])
            assert row is not None
            assert row["t"] == "1min"
