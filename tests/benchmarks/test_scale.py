"""The data of the scale benchmark: all of it is loaded once, however often the load is interrupted, and stays in its organization."""

from benchmarks.scale_data import chunks, customer_id, number, sizes
from benchmarks.scale_load import Loader, load, member
from examples.renoz.entities import Activity, Contact, Customer, Order, OrderLine, Product, application
from rich.console import Console

from freehold import Database
from freehold.model.seal import Seal
from freehold.postgres.server import ServerAddress
from tests.conftest import Server
from tests.probe import plain, scratch

CUSTOMERS = 600


def test_every_customer_is_in_one_chunk() -> None:
    for customers in (CUSTOMERS, 20_000, 1_000_000):
        expected = sizes(customers)
        assert sum(expected) == customers
        assert len(expected) == 50
        found = [set[int]() for _ in expected]
        for chunk in chunks(customers):
            ordinals = set(range(chunk.first, chunk.end))
            assert not found[chunk.organization] & ordinals
            found[chunk.organization] |= ordinals
        assert [len(ordinals) for ordinals in found] == expected
    assert sizes(1_000_000)[0] >= 500_000


def test_numbers_sort_like_ordinals_and_are_valid() -> None:
    ordinals = [0, 9, 10, 99_999, 100_000, 1_099_999]
    assert sorted(map(number, ordinals)) == [number(ordinal) for ordinal in ordinals]
    for ordinal in ordinals:
        Customer.Create(number=number(ordinal), name="valid")


async def test_an_interrupted_load_is_finished_by_the_next(server: Server) -> None:
    async with scratch(server, application) as name:
        where = server.address(name, application)
        address = ServerAddress(str(where.host), where.port or 5432, str(where.user), str(where.password), name)
        async with Database.open(where, application, size=2) as database:
            contexts = [await member(database, ordinal) for ordinal in range(50)]
            interrupted = Loader(address, Seal(address.password), contexts)
            async with plain(where) as connection:
                missing = await interrupted.missing(connection, chunks(CUSTOMERS))
                assert missing == chunks(CUSTOMERS)
                for chunk in missing[::3]:
                    await interrupted.insert(connection, chunk)
            assert 0 < interrupted.customers < CUSTOMERS
            _, loaded = await load(database, address, CUSTOMERS, Console(quiet=True))
            assert loaded.rows > CUSTOMERS - interrupted.customers
            _, again = await load(database, address, CUSTOMERS, Console(quiet=True))
            assert again.rows == 0
            for ordinal in (0, 1, 49):
                session, size = database.session(contexts[ordinal]), sizes(CUSTOMERS)[ordinal]
                assert await session.count(Customer) == size
                assert (await session.get(Customer, customer_id(ordinal, size - 1))).number == number(size - 1)
                assert await session.count(Contact) >= size
            large = database.session(contexts[0])
            assert await large.count(Order) == await large.count(OrderLine) > 0
            assert await large.count(Activity) > 0
            assert await large.count(Product) == 200
            change = (await large.history((Customer, customer_id(0, 0))))[0]
            assert (change.action, change.request_id) == ("create", "load")
