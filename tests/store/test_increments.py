"""Increments: summed, durable when they are said to be, and nobody's error is another's."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from freehold import Context, Database, Session, errors
from freehold.model.context import new_id
from freehold.store.coalescer import Coalescer, Increment, Outcome
from tests.conftest import Server, new_context
from tests.counted import Bookmark, Resource, application
from tests.probe import blocked, plain, until
from tests.world import Customer

Connection = asyncpg.Connection


async def made(session: Session, **values: Any) -> UUID:
    """A new record's id."""
    record = await session.create(Resource, name="one", **values)
    return record.id


def at_once(session: Session, number: int, id: UUID, **amounts: Any) -> "asyncio.Future[list[Any]]":
    """So many increments of one record that run together; what each brought."""
    calls = [session.increment(Resource, id, **amounts) for _ in range(number)]
    return asyncio.gather(*calls, return_exceptions=True)


@asynccontextmanager
async def held(admin: Connection, *ids: UUID) -> AsyncIterator[None]:
    """Records that are locked until the block ends."""
    transaction = admin.transaction()
    await transaction.start()
    try:
        await admin.fetch("select from app.resources where id = any ($1) order by id for update", ids)
        yield
    finally:
        await transaction.rollback()


async def waiting(database: Database, number: int) -> None:
    """Until so many increments wait."""

    async def reached() -> bool:
        return database.increments.waiting == number

    await until(reached, f"{number} increments wait")


async def held_back(database: Database, number: int) -> None:
    """Until so many increments wait behind a message that waits for a lock."""
    increments = database.store.increments
    assert increments is not None

    async def reached() -> bool:
        return sum(len(lane.held.queue) for lane in increments._lanes.values()) == number

    await until(reached, f"{number} increments wait behind a lock")


class TestOne:
    async def test_it_adds_and_is_no_version(self, shelf: Session) -> None:
        before = await shelf.create(Resource, name="one", views=5, credit=Decimal("1.50"))
        await shelf.increment(Resource, before.id, views=2, credit=Decimal("-0.25"))
        after = await shelf.get(Resource, before.id)
        assert (after.views, after.credit, after.version) == (7, Decimal("1.25"), 1)
        assert (after.updated_at, after.updated_by, after.likes) == (before.updated_at, before.updated_by, None)
        await shelf.update(before, name="of the version that was read")

    async def test_null_counts_as_nothing(self, shelf: Session) -> None:
        id = await made(shelf)
        await shelf.increment(Resource, id, views=1)
        assert (await shelf.get(Resource, id)).likes is None
        await shelf.increment(Resource, id, likes=-3)
        assert (await shelf.get(Resource, id)).likes == -3

    async def test_the_log_tells_who_added_what(self, shelf: Session) -> None:
        id = await made(shelf)
        await shelf.increment(Resource, id, views=3)
        change, _ = await shelf.history((Resource, id))
        context = shelf._messenger.context
        assert (change.action, change.version, change.diff) == ("update", 1, {"views": (0, 3)})
        assert (change.actor_id, change.request_id) == (context.user_id, context.request_id)
        assert (change.client_ip, change.user_agent) == (context.client_ip, context.user_agent)

    async def test_a_record_that_is_not_there(self, library: Database, shelf: Session) -> None:
        stranger = library.session(await new_context(library))
        theirs = await made(stranger)
        gone = await made(shelf)
        await shelf.delete((Resource, gone, 1))
        for id, hint in ((new_id(), None), (theirs, None), (gone, "it is deleted; restore it first")):
            with pytest.raises(errors.NotFoundError) as caught:
                await shelf.increment(Resource, id, views=1)
            assert (caught.value.id, caught.value.hint) == (id, hint)
        assert (await stranger.get(Resource, theirs)).views == 0
        assert (await shelf.get(Resource, gone, deleted=True)).views == 0

    @pytest.mark.parametrize(
        ("amounts", "path", "message"),
        [
            ({}, (), "names no field; give at least one amount"),
            ({"views": "many"}, ("views",), "valid integer"),
            ({"views": 1.5}, ("views",), "integer"),
            ({"views": True}, ("views",), "boolean"),
            ({"views": None}, ("views",), "integer"),
            ({"views": 2**63}, ("views",), "less than or equal"),
            ({"credit": Decimal("0.001")}, ("credit",), "decimal place"),
            ({"credit": float("nan")}, ("credit",), "finite"),
            ({"marks": 1}, ("marks",), "is a counter, which the database keeps; change the records that it counts"),
            ({"name": 1}, ("name",), "cannot be incremented; increment adds to int and Decimal fields that may change: views,"),
            ({"ratio": 1}, ("ratio",), "cannot be incremented"),
            ({"serial": 1}, ("serial",), "cannot be incremented"),
            ({"version": 1}, ("version",), "cannot be incremented"),
            ({"veiws": 1}, ("veiws",), "is no field of Resource; did you mean 'views'?"),
            ({"views": 1, "x": 1, "name": 1}, ("x",), "is no field of Resource"),
        ],
    )  # fmt: skip
    async def test_wrong_amounts_are_told_before_anything_is_sent(
        self, library: Database, shelf: Session, amounts: dict[str, Any], path: tuple[str, ...], message: str
    ) -> None:
        for ack in ("durable", "memory"):
            with pytest.raises(errors.ValidationError) as caught:
                await shelf.increment(Resource, new_id(), ack=ack, **amounts)  # type: ignore[arg-type]
            assert caught.value.issues[0].path == path
            assert message in caught.value.issues[0].message
        assert library.increments.messages == 0

    async def test_a_wrong_call(self, shelf: Session) -> None:
        with pytest.raises(errors.ValidationError, match="must be a UUID"):
            await shelf.increment(Resource, "x", views=1)  # type: ignore[arg-type]
        with pytest.raises(errors.ValidationError, match="must be 'durable' or 'memory', not 'soon'"):
            await shelf.increment(Resource, new_id(), ack="soon", views=1)  # type: ignore[arg-type]
        async with shelf:
            pass
        with pytest.raises(errors.IsolationError, match="the session is closed"):
            await shelf.increment(Resource, new_id(), views=1)

    async def test_it_is_refused_where_the_entity_has_no_number(self, shelf: Session) -> None:
        with pytest.raises(errors.ValidationError, match="there is none"):
            await shelf.increment(Bookmark, new_id(), kind=1)  # type: ignore[arg-type]


class TestTogether:
    async def test_many_callers_are_one_message(self, library: Database, shelf: Session) -> None:
        id = await made(shelf)
        assert await at_once(shelf, 200, id, views=1, likes=2) == [None] * 200
        record = await shelf.get(Resource, id)
        assert (record.views, record.likes) == (200, 400)
        figures = library.increments
        assert (figures.made, figures.waiting, figures.refused, figures.lost) == (200, 0, 0, 0)
        assert figures.messages == 1
        assert len(await shelf.history((Resource, id))) == 2

    async def test_those_that_come_meanwhile_go_with_the_next(
        self, library: Database, shelf: Session, keeper: Connection
    ) -> None:
        id, other = await made(shelf), await made(shelf)
        async with held(keeper, id, other):
            first = at_once(shelf, 1, id, views=1)
            await blocked(keeper, 1)
            assert library.increments.messages == 2  # one that waits for no lock, and then one that does
            next_ = asyncio.gather(at_once(shelf, 50, id, views=1), at_once(shelf, 50, other, views=1))
            await waiting(library, 101)
        await asyncio.gather(first, next_)
        assert library.increments.messages <= 4
        assert [(await shelf.get(Resource, each)).views for each in (id, other)] == [51, 50]

    async def test_a_record_that_somebody_holds_holds_up_nobody_else(
        self, library: Database, shelf: Session, keeper: Connection
    ) -> None:
        id, other = await made(shelf), await made(shelf)
        async with held(keeper, id):
            stuck = at_once(shelf, 3, id, views=1)
            await blocked(keeper, 1)
            for _ in range(3):
                more = at_once(shelf, 3, id, views=1)
                assert await at_once(shelf, 3, other, views=1) == [None] * 3
                assert not more.done()
            assert (await shelf.get(Resource, other)).views == 9
            results = at_once(shelf, 2, new_id(), views=1)
            assert {type(result) for result in await results} == {errors.NotFoundError}
        assert await stuck == [None] * 3
        await waiting(library, 0)
        assert (await shelf.get(Resource, id)).views == 12

    async def test_nobody_elses_record_is_missing_because_one_is(self, shelf: Session) -> None:
        id, gone = await made(shelf), await made(shelf)
        await shelf.delete((Resource, gone, 1))
        strange = new_id()
        results = await asyncio.gather(
            *(shelf.increment(Resource, each, views=1) for each in (id, gone, strange, id, gone)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [
            type(None), errors.NotFoundError, errors.NotFoundError, type(None), errors.NotFoundError,
        ]  # fmt: skip
        assert (await shelf.get(Resource, id)).views == 2

    async def test_only_those_that_break_a_rule_fail(self, library: Database, shelf: Session) -> None:
        ids = [await made(shelf, stock=1) for _ in range(40)]
        wrong = {3, 17, 39}
        calls = [shelf.increment(Resource, id, stock=-2 if n in wrong else -1, views=1) for n, id in enumerate(ids)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        for number, (result, id) in enumerate(zip(results, ids, strict=True)):
            record = await shelf.get(Resource, id)
            if number in wrong:
                assert isinstance(result, errors.ValidationError)
                assert result.issues[0].path == ("stock",)
                assert (record.stock, record.views) == (1, 0)
            else:
                assert result is None
                assert (record.stock, record.views) == (0, 1)
        assert (library.increments.made, library.increments.refused) == (37, 3)
        assert library.increments.messages < 40

    async def test_of_those_that_race_for_the_last_ones_just_enough_succeed(self, shelf: Session) -> None:
        id = await made(shelf, stock=10)
        results = await at_once(shelf, 25, id, stock=-1)
        assert results.count(None) == 10
        assert all(isinstance(result, errors.ValidationError) for result in results if result is not None)
        assert (await shelf.get(Resource, id)).stock == 0

    async def test_a_sum_that_no_column_holds_fails_alone(self, shelf: Session) -> None:
        id, other = await made(shelf, views=2**62), await made(shelf)
        results = await asyncio.gather(
            shelf.increment(Resource, id, views=2**62), shelf.increment(Resource, other, views=1),
            shelf.increment(Resource, other, views=2**63 - 1), return_exceptions=True,
        )  # fmt: skip
        assert isinstance(results[0], errors.ValidationError)
        assert results.count(None) == 1
        assert (await shelf.get(Resource, id)).views == 2**62

    async def test_each_actor_is_named_for_what_is_theirs(self, library: Database, shelf: Session) -> None:
        id = await made(shelf)
        own = shelf._messenger.context
        users = [own.user_id, new_id(), new_id(), None]
        sessions = [
            library.session(replace(own, user_id=user, request_id=f"r{n}"))
            for n, user in enumerate(users)
            for _ in range(1)
        ]
        await asyncio.gather(*(session.increment(Resource, id, views=n + 1) for n, session in enumerate(sessions)))
        *changes, _ = await shelf.history((Resource, id))
        told = {(c.actor_id, c.request_id, c.diff["views"][1] - c.diff["views"][0]) for c in changes}
        assert told == {(user, f"r{n}", n + 1) for n, user in enumerate(users)}
        assert library.increments.messages == 1

    async def test_several_requests_of_one_actor_are_one_change_of_no_request(
        self, library: Database, shelf: Session
    ) -> None:
        id = await made(shelf)
        own = shelf._messenger.context
        sessions = [library.session(replace(own, request_id=f"r{n}", client_ip=f"192.0.2.{n}")) for n in range(3)]
        await asyncio.gather(*(session.increment(Resource, id, views=1) for session in sessions))
        change, _ = await shelf.history((Resource, id))
        assert (change.actor_id, change.diff, change.client_ip) == (own.user_id, {"views": (0, 3)}, None)
        assert change.request_id not in {"r0", "r1", "r2"}

    async def test_organizations_never_share_a_message(self, library: Database, shelf: Session) -> None:
        rival = library.session(await new_context(library))
        mine, theirs = await made(shelf), await made(rival)
        results = await asyncio.gather(
            *(session.increment(Resource, id, views=1) for session in (shelf, rival) for id in (mine, theirs)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [
            type(None),
            errors.NotFoundError,
            errors.NotFoundError,
            type(None),
        ]
        assert (await shelf.get(Resource, mine)).views == 1
        assert (await rival.get(Resource, theirs)).views == 1
        assert library.increments.messages == 2
        (change, _) = await shelf.history((Resource, mine))
        assert change.actor_id == shelf._messenger.context.user_id

    async def test_an_update_that_waited_for_an_increment_keeps_it(self, shelf: Session, keeper: Connection) -> None:
        """The increment makes no new version, so the update is of the version that it expects; it must not set the number back."""
        record = await shelf.create(Resource, name="one")
        async with held(keeper, record.id):
            increment = asyncio.ensure_future(shelf.increment(Resource, record.id, views=5))
            await blocked(keeper, 1)
            update = asyncio.ensure_future(shelf.update(record, name="two"))
            await blocked(keeper, 2)
        await asyncio.gather(increment, update)
        now = await shelf.get(Resource, record.id)
        assert (now.name, now.views, now.version) == ("two", 5, 2)

    async def test_programs_that_meet_on_many_records_do_not_deadlock(
        self, server: Server, library_name: str, library: Database, shelf: Session, keeper: Connection
    ) -> None:
        """Both wait for all records; every other one is let go before the rest, so that each could take what the other needs next."""
        ids = sorted([await made(shelf) for _ in range(20)])
        address = server.address(library_name, application)
        async with (
            Database.open(address, application, size=2) as other,
            plain(server.admin_address(library_name)) as second,
        ):
            beside = other.session(shelf._messenger.context)
            async with held(second, *ids[1::2]):
                async with held(keeper, *ids[::2]):
                    calls = [shelf.increment(Resource, id, views=1) for id in ids]
                    calls += [beside.increment(Resource, id, views=1) for id in reversed(ids)]
                    together = asyncio.gather(*calls)
                    await blocked(keeper, 2)
                await blocked(keeper, 2)
            await together
            assert (library.increments.messages, other.increments.messages) == (2, 2)  # none was sent again
        assert [(await shelf.get(Resource, id)).views for id in ids] == [2] * 20

    async def test_more_records_than_a_message_takes(self, library: Database, shelf: Session) -> None:
        async with _statement(shelf, library) as run:
            await run("insert into app.resources (name) select 'many' from generate_series(1, 1200)")
        page = await shelf.list(Resource, select=["name"], limit=1_000)
        ids = [record.id for record in page]
        await asyncio.gather(*(shelf.increment(Resource, id, views=1) for id in ids))
        assert await shelf.count(Resource, {"views": 1}) == 1_000
        assert library.increments.messages == 2


@asynccontextmanager
async def _statement(session: Session, database: Database) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    from tests import probe

    async with plain(database.store.pool.address) as connection:

        async def run(text: str) -> None:
            await probe.run(connection, session._messenger.context, text)

        yield run


class TestInATransaction:
    async def test_it_is_committed_with_it(self, library: Database, shelf: Session) -> None:
        id = await made(shelf)
        async with shelf.transaction() as transaction:
            for ack in ("durable", "memory"):
                await transaction.increment(Resource, id, views=2, ack=ack)  # type: ignore[arg-type]
            assert (await transaction.get(Resource, id)).views == 4
            assert (await shelf.get(Resource, id)).views == 0
        assert (await shelf.get(Resource, id)).views == 4
        assert library.increments.messages == 0

    async def test_it_is_undone_with_it(self, shelf: Session) -> None:
        id = await made(shelf, stock=1)

        async def refused() -> None:
            async with shelf.transaction() as transaction:
                await transaction.increment(Resource, id, views=1)
                await transaction.increment(Resource, id, stock=-2)

        async def absent() -> None:
            async with shelf.transaction() as transaction:
                await transaction.increment(Resource, id, views=1)
                await transaction.increment(Resource, new_id(), views=1)

        with pytest.raises(errors.ValidationError):
            await refused()
        with pytest.raises(errors.NotFoundError):
            await absent()
        record = await shelf.get(Resource, id)
        assert (record.views, record.stock) == (0, 1)


class TestMemory:
    async def test_it_returns_at_once_and_is_made_behind(
        self, library: Database, shelf: Session, keeper: Connection
    ) -> None:
        id = await made(shelf)
        async with held(keeper, id):
            for _ in range(10):
                await shelf.increment(Resource, id, views=1, ack="memory")
            assert library.increments.waiting == 10
            await blocked(keeper, 1)
            assert (await shelf.get(Resource, id)).views == 0
        await waiting(library, 0)
        assert (await shelf.get(Resource, id)).views == 10

    async def test_a_session_that_is_closed_meanwhile_is_named_all_the_same(self, library: Database) -> None:
        context = await new_context(library)
        async with library.session(context) as session:
            id = await made(session)
            await session.increment(Resource, id, views=1, ack="memory")
        await waiting(library, 0)
        change, _ = await library.session(context).history((Resource, id))
        assert (change.actor_id, change.request_id) == (context.user_id, context.request_id)

    async def test_closing_the_database_makes_those_that_wait(
        self, server: Server, library_name: str, shelf: Session, keeper: Connection
    ) -> None:
        id = await made(shelf)
        context = shelf._messenger.context
        stack = Database.open(server.address(library_name, application), application, size=2)
        other = await stack.__aenter__()
        session = other.session(context)
        async with held(keeper, id):
            for _ in range(30):
                await session.increment(Resource, id, views=1, ack="memory")
            await blocked(keeper, 1)
            for _ in range(30):
                await session.increment(Resource, id, views=1, ack="memory")
            closing = asyncio.ensure_future(stack.__aexit__(None, None, None))
            await asyncio.sleep(0)
            assert not closing.done()
            with pytest.raises(errors.UnavailableError, match="the database was closed"):
                await session.increment(Resource, id, views=1, ack="memory")
        await closing
        assert (await shelf.get(Resource, id)).views == 60
        assert (other.increments.made, other.increments.lost) == (60, 0)

    async def test_what_cannot_be_made_is_told(
        self, library: Database, shelf: Session, caplog: pytest.LogCaptureFixture
    ) -> None:
        id, strange = await made(shelf, stock=1), new_id()
        with caplog.at_level(logging.ERROR, "freehold.increments"):
            await shelf.increment(Resource, strange, views=4, ack="memory")
            await shelf.increment(Resource, id, stock=-5, ack="memory")
            await shelf.increment(Resource, id, stock=-1, ack="memory")
            await waiting(library, 0)
        assert (library.increments.lost, library.increments.made, library.increments.refused) == (2, 1, 0)
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 2
        organization = shelf._messenger.context.organization_id
        assert any(f"{strange} of organization {organization}: views +4" in text for text in told)
        assert any(f"{id} of organization {organization}: stock -5" in text for text in told)

    async def test_what_is_not_made_in_time_when_the_database_closes_is_told(
        self, library: Database, shelf: Session, keeper: Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        id = await made(shelf)
        async with held(keeper, id):
            await shelf.increment(Resource, id, views=1, ack="memory")
            await blocked(keeper, 1)
            durable = asyncio.ensure_future(shelf.increment(Resource, id, views=1))
            await shelf.increment(Resource, id, views=1, ack="memory")
            await waiting(library, 3)
            assert library.store.increments is not None
            await library.store.increments.close(within=0.01)
            with pytest.raises(errors.UnavailableError, match="closed before the increment was made for sure"):
                await durable
            assert (library.increments.lost, library.increments.refused, library.increments.waiting) == (2, 1, 0)
        assert caplog.text.count(f"{id} of organization") == 2

    async def test_a_lock_that_lasts_is_waited_for_again(self, library: Database, keeper: Connection) -> None:
        """Who waits is told; what nobody waits for is sent until the record is free."""
        session = library.session(await new_context(library), timeout=0.1)
        id = await made(session)
        async with held(keeper, id):
            await session.increment(Resource, id, views=1, ack="memory")
            with pytest.raises(errors.TimeoutError):
                await session.increment(Resource, id, views=100)
        await waiting(library, 0)
        assert (await session.get(Resource, id)).views == 1
        assert (library.increments.made, library.increments.refused, library.increments.lost) == (1, 1, 0)


class TestEnd:
    """What is left when time is up, whatever it was in the middle of."""

    async def test_each_increment_is_settled_once(self) -> None:
        """One of two has been refused by itself, the other is under way by itself, and a third one is held."""
        coalescer, never, begun = Coalescer(capacity=3, share=3), asyncio.Event(), asyncio.Event()
        context = Context(new_id())
        first, second, third = sorted(new_id() for _ in range(3))

        async def send(batch: Sequence[Increment], wait: bool) -> Sequence[Outcome]:
            if len(batch) > 1:
                raise errors.UniqueError("Resource", ["name"], constraint="x")
            if batch[0].id == first:
                return [errors.NotFoundError("Resource", first)]
            if batch[0].id == third and not wait:
                return ["locked"]
            if batch[0].id == second:
                begun.set()
            await never.wait()
            return [None]

        for id in (third, second, first):
            one = Increment(context, id, {"views": 1})
            await coalescer.add("lane", "Resource", one, send, durable=False)
        await begun.wait()
        await coalescer.close(within=0)
        figures = coalescer.figures
        assert (figures.waiting, figures.lost, figures.made) == (0, 3, 0)
        assert (coalescer._room._value, coalescer._lanes) == (3, {})

    async def test_a_defect_leaves_nobody_waiting(self, caplog: pytest.LogCaptureFixture) -> None:
        coalescer = Coalescer()

        async def send(batch: Sequence[Increment], wait: bool) -> Sequence[Outcome]:
            raise ZeroDivisionError("of the program")

        one = Increment(Context(new_id()), new_id(), {"views": 1})
        with pytest.raises(errors.UnavailableError, match="of the program"):
            await coalescer.add("lane", "Resource", one, send, durable=True)
        assert "ZeroDivisionError" in caplog.text
        assert not coalescer._lanes


class TestRoom:
    """The queue is bounded: who finds it full waits, and not for ever."""

    @pytest.fixture
    async def tight(self, library: Database) -> Coalescer:
        """The store's increments with room for few."""
        coalescer = Coalescer(capacity=6, share=4, wait=0.05)
        object.__setattr__(library.store, "increments", coalescer)
        return coalescer

    async def test_who_finds_no_room_waits_and_fails_in_the_end(
        self, library: Database, shelf: Session, keeper: Connection, tight: Coalescer
    ) -> None:
        id = await made(shelf)
        async with held(keeper, id):
            for _ in range(4):
                await shelf.increment(Resource, id, views=1, ack="memory")
            for ack in ("memory", "durable"):
                with pytest.raises(
                    errors.UnavailableError, match=r"no room for an increment came free in 0\.05 s; 4 wait"
                ):
                    await shelf.increment(Resource, id, views=1, ack=ack)  # type: ignore[arg-type]
            assert library.increments.waiting == 4
        await waiting(library, 0)
        assert (await shelf.get(Resource, id)).views == 4
        await shelf.increment(Resource, id, views=1)

    async def test_who_waits_gets_the_room_that_comes_free(
        self, library: Database, shelf: Session, keeper: Connection, tight: Coalescer
    ) -> None:
        tight._wait = 20.0
        id = await made(shelf)
        async with held(keeper, id):
            for _ in range(4):
                await shelf.increment(Resource, id, views=1, ack="memory")
            more = at_once(shelf, 20, id, views=1)
            await blocked(keeper, 1)
            assert library.increments.waiting == 4
        assert await more == [None] * 20
        assert (await shelf.get(Resource, id)).views == 24
        assert not tight._lanes

    async def test_one_organization_does_not_take_all_the_room(
        self, library: Database, shelf: Session, keeper: Connection, tight: Coalescer
    ) -> None:
        rival = library.session(await new_context(library))
        mine, theirs = await made(shelf), await made(rival)
        async with held(keeper, mine):
            for _ in range(4):
                await shelf.increment(Resource, mine, views=1, ack="memory")
            await rival.increment(Resource, theirs, views=1)
        await waiting(library, 0)
        assert (await rival.get(Resource, theirs)).views == 1
        assert (await shelf.get(Resource, mine)).views == 4


class TestCancellation:
    async def test_one_who_is_cancelled_takes_nobody_along(
        self, library: Database, shelf: Session, keeper: Connection
    ) -> None:
        """One is cancelled while the message is under way (it is made), one while it waits (it is not)."""
        id = await made(shelf)
        async with held(keeper, id):
            sent = [asyncio.ensure_future(shelf.increment(Resource, id, views=1)) for _ in range(3)]
            await blocked(keeper, 1)
            queued = [asyncio.ensure_future(shelf.increment(Resource, id, views=100)) for _ in range(3)]
            await held_back(library, 3)
            sent[0].cancel()
            queued[1].cancel()
            await asyncio.wait([sent[0], queued[1]])
        results = await asyncio.gather(*sent, *queued, return_exceptions=True)
        assert [type(result) for result in results].count(asyncio.CancelledError) == 2
        assert results.count(None) == 4
        await waiting(library, 0)
        assert (await shelf.get(Resource, id)).views == 203

    async def test_one_who_is_cancelled_while_waiting_for_room_leaves_none_taken(
        self, library: Database, shelf: Session, keeper: Connection
    ) -> None:
        coalescer = Coalescer(capacity=2, share=2, wait=20)
        object.__setattr__(library.store, "increments", coalescer)
        id = await made(shelf)
        async with held(keeper, id):
            for _ in range(2):
                await shelf.increment(Resource, id, views=1, ack="memory")
            late = asyncio.ensure_future(shelf.increment(Resource, id, views=100))
            await blocked(keeper, 1)
            late.cancel()
            await asyncio.wait([late])
        await waiting(library, 0)
        assert await at_once(shelf, 5, id, views=1) == [None] * 5
        assert (await shelf.get(Resource, id)).views == 7
        assert not coalescer._lanes


async def test_adding_nothing_writes_nothing(acme: Session) -> None:
    customer = await acme.create(Customer, name="x")
    await acme.increment(Customer, customer.id, visits=0)
    await acme.increment(Customer, customer.id, visits=0, credit=Decimal(0))
    assert [change.action for change in await acme.history(customer)] == ["create"]
    await acme.increment(Customer, customer.id, visits=0, credit=Decimal(1))
    assert dict((await acme.history(customer))[0].diff) == {"credit": (Decimal(0), Decimal(1))}
    with pytest.raises(errors.NotFoundError):
        await acme.increment(Customer, UUID(int=1), visits=0)
