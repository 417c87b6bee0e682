"""One context's handle on the database.

The class is the list of everything that can be done with records, and so longer than others; it only passes on to the
modules that do it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, TypeVar, overload
from uuid import UUID

from pydantic import BaseModel

from freehold.errors import HistoryError, TransactionError
from freehold.model.context import Context
from freehold.model.entity import Entity, Input
from freehold.store.bulk import BulkWrites
from freehold.store.delivery import Savepoints
from freehold.store.history import Change, history
from freehold.store.increments import increment
from freehold.store.messages import Messenger, checked_id, forgotten
from freehold.store.past import PastSession, look_back
from freehold.store.queries import explain, query
from freehold.store.reader import Reader
from freehold.store.reads import Reads
from freehold.store.revert import revert
from freehold.store.search import SearchPage, search
from freehold.store.store import Store
from freehold.store.transaction import DEADLINE, Isolation, Transactional, checked_terms, held
from freehold.store.unit import Commit, UnitOfWork
from freehold.store.writer import Target, Writer

__all__ = ["Session", "Transaction"]

EntityT = TypeVar("EntityT", bound=Entity)
ModelT = TypeVar("ModelT", bound=BaseModel)


class Session(Reads, BulkWrites):
    """Reads and writes of one organization, on behalf of one actor. Every call is one message to the database.

    Get one from `Database.session`; it holds no connection between calls and may be used by concurrent tasks.

    Args:
        store: what the database's sessions share.
        context: who asks.
        timeout: seconds each call may take; None is the database's bound.
        messenger: sends its calls; made from the other arguments where it is not given.
        read_only: whether it refuses to write.
    """

    def __init__(
        self,
        store: Store,
        context: Context,
        *,
        timeout: float | None = None,
        messenger: Messenger | None = None,
        read_only: bool = False,
    ) -> None:
        super().__init__(messenger or Messenger(store, context, timeout, read_only=read_only))
        self._writer = Writer(self._messenger)

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._messenger.open = False

    @property
    def writer(self) -> Writer:
        """What its writes of single records go through: for functions that answer with JSON."""
        return self._writer

    @property
    def store(self) -> Store:
        """What the database's sessions share: for tools that look behind them."""
        return self._messenger.store

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", read_only: bool = False, deadline: float = DEADLINE
    ) -> AsyncIterator["Transaction"]:
        """A transaction in which all its calls run, on one connection that it holds.

            async with session.transaction() as transaction:
                item = await transaction.get(Item, id, for_update=True)
                await transaction.update(item, stock=item.stock - 1)

        It commits where the block ends, and is rolled back where an exception leaves it. Calls of this session go on beside it.

        Args:
            isolation: `"read_committed"`: each call reads what is committed when it begins. `"repeatable_read"`: all read what was
                committed at the transaction's begin. `"serializable"`: moreover, it is as if transactions ran one after the other.
            read_only: whether it refuses to write.
            deadline: seconds from begin to end, at most a day; then it is rolled back.

        Raises:
            SerializationError: it cannot stand beside another transaction; repeat it as a whole, as `Database.run` does.
            TransactionError: a call has failed whose error was caught inside of the block; nothing was kept.
            TimeoutError: the deadline has passed; nothing was kept.
            UnavailableError: no connection came free in time, or it was lost; nothing was kept.
        """
        terms = checked_terms(isolation, read_only or self._messenger.read_only, deadline)
        async with held(self._messenger, terms) as messenger:
            yield Transaction(messenger.store, messenger.context, messenger=messenger)

    @overload
    async def sql(
        self, model: type[ModelT], statement: Any, /, *, limit: int = 1_000, **values: Any
    ) -> Sequence[ModelT]: ...
    @overload
    async def sql(
        self, model: None, statement: Any, /, *, limit: int = 1_000, **values: Any
    ) -> Sequence[dict[str, Any]]: ...
    async def sql(
        self, model: type[BaseModel] | None, statement: Any, /, *, limit: int = 1_000, **values: Any
    ) -> Sequence[Any]:
        """A hand-written query: read-only, under row-level security, with named parameters that are always bound.

            await session.sql(Monthly, "select count(*) as orders from orders where created_at >= :since", since=start)

        Args:
            model: what each row becomes; None for dicts. Rows travel as PostgreSQL's JSON: select an interval as
                `extract(epoch from ...)` and a bytea as `encode(..., 'hex')` where the model has a timedelta or bytes.
            statement: SQL with `:name` parameters, or a SQLAlchemy Core select. Tables need no schema.
            limit: rows at most, 1 to 10,000; more are an error, not a cut.
            values: the parameters. One named `limit` needs another name.

        Raises:
            ValidationError: the SQL is wrong, a parameter is missing, or a row does not fit the model.
            ForbiddenError: it writes.
        """
        return await query(self._messenger, model, statement, values, limit)

    async def explain(self, statement: Any, /, **values: Any) -> Mapping[str, Any]:
        """PostgreSQL's plan for a hand-written query, as its JSON; the query is not run."""
        return await explain(self._messenger, statement, values)

    @overload
    async def search(
        self, text: str, *, in_: type[EntityT], limit: int = 20, after: str | None = None
    ) -> SearchPage[EntityT]: ...
    @overload
    async def search(
        self, text: str, *, in_: Sequence[type[Entity]] | None = None, limit: int = 20, after: str | None = None
    ) -> SearchPage[Entity]: ...
    async def search(self, text: str, *, in_: Any = None, limit: int = 20, after: str | None = None) -> SearchPage[Any]:
        """The records in which all words of a text are found, the best first.

            page = await session.search("acme lon", in_=[Customer, Contact])
            page[0].record, page[0].fragments[0].html()

        Each word counts as itself and as the beginning of a word; case and accents do not count, and there are no operators. A
        word that begins none of the organization's is replaced by those most like it.

        Args:
            text: at most 1,000 characters and 20 words; without any word it finds nothing.
            in_: an entity, or several; None for all that have searchable fields.
            limit: hits at most, 1 to 1,000.
            after: the `next` cursor of the page before this one.

        Raises:
            ValidationError: the text is too long or no text, or an entity has no searchable fields.
            CursorError: the cursor was edited or belongs to another search.
        """
        return await search(self._messenger, text, in_=in_, limit=limit, after=after)

    async def create(self, entity: type[EntityT], input: Input | None = None, /, **values: Any) -> EntityT:
        """Creates a record: `create(Customer, name="Acme")` or `create(Customer, Customer.Create(name="Acme"))`.

        Raises:
            ValidationError: a field is unknown, missing or not valid; each with its path.
            UniqueError: a record with the same unique value exists.
            ReferenceError: a reference points to no record of this organization.
        """
        return await self._writer.create(entity, input, values)

    async def update(self, record: Target[EntityT], patch: Input | None = None, /, **changes: Any) -> EntityT:
        """Changes a record: `update(customer, credit=5)` or `update((Customer, id, version), credit=5)`.

        Args:
            record: as it was read; or the entity, id and version that are expected.
            patch: an `Entity.Patch`, in place of changes by name.
            changes: the fields that change.

        Returns:
            The record as it is now.

        Raises:
            ConcurrencyError: the record has another version; the error holds the current record.
            NotFoundError: it is not there, or deleted.
            ValidationError, UniqueError, ReferenceError: as in `create`.
        """
        return await self._writer.update(record, patch, changes)  # type: ignore[return-value]  # of the target's class

    async def delete(self, record: Target[EntityT]) -> EntityT:
        """Deletes a record of an expected version; where deletion is soft it can be restored.

        Returns:
            The record as it is now, or as it was last.

        Raises:
            ConcurrencyError, NotFoundError: as in `update`.
            ReferenceError: records refer to it that may not lose it.
        """
        return await self._writer.change("delete", record)  # type: ignore[return-value]  # of the target's class

    async def restore(self, record: Target[EntityT]) -> EntityT:
        """Brings a deleted record back. Errors as in `delete`, and UniqueError where its place was taken."""
        return await self._writer.change("restore", record)  # type: ignore[return-value]  # of the target's class

    async def purge(self, record: Target[EntityT]) -> EntityT:
        """Removes a record for good, deleted before or not. Its history stays. Errors as in `delete`."""
        return await self._writer.change("purge", record)  # type: ignore[return-value]  # of the target's class

    async def increment(
        self,
        entity: type[Entity],
        id: UUID,
        amounts: Mapping[str, int | Decimal] | None = None,
        /,
        *,
        ack: Literal["durable", "memory"] = "durable",
        **named: int | Decimal,
    ) -> None:
        """Adds to numbers of a record: `increment(Resource, id, views=1, likes=-1)`.

        It names no version and makes none; `updated_at` and `updated_by` stay. What many callers add at the same time is written
        together, so that a record that all of them count on holds nobody up. In a transaction it is a statement like others, and
        committed with it.

        Args:
            entity: the record's.
            id: the record's.
            amounts: by field, int or Decimal; negative ones subtract. Null counts as 0.
            ack: `"durable"` returns when it is committed. `"memory"` returns at once: it is committed soon after, and at the latest when
                the database is closed; what cannot be is told in the program's log and in `Database.increments`.
            named: more amounts. A field that is called `ack` must be in `amounts`.

        Raises:
            NotFoundError: the record is not there, or deleted.
            ValidationError: a field cannot be incremented, or the sum breaks a rule of the entity.
            UnavailableError: too many increments wait already. With `ack="memory"` only this one, and wrong amounts, are raised.
        """
        await increment(self._messenger, entity, id, ack, {**(amounts or {}), **named})

    def unit_of_work(self, key: str | None = None) -> UnitOfWork:
        """Changes of many records that are made together or not at all, in one message.

            async with session.unit_of_work() as unit:
                order = unit.add(Order, customer_id=customer.id, number="A-7")
                unit.update(customer, status="active")

        It commits at the end of the block, unless an exception leaves it; or earlier, with `await unit.commit()`.

        Args:
            key: an idempotency key, 1 to 200 characters, of this organization: a commit with a key that was used before
                writes nothing and returns what the first one did. It is remembered for two days at least.
        """
        return UnitOfWork(self._messenger, key)

    async def settle(self, unit_id: UUID | str) -> Commit | None:
        """What became of a unit of work: its commit; None where there was none, and there never will be one.

        Args:
            unit_id: an error's `unit_id`, or the `id` of a unit whose commit was cancelled. Of a commit that was `repeated` nothing is
                noted: the first one's was.

        Raises:
            OutcomeUnknownError: the database cannot be asked.
            HistoryError: it is older than two days, and nothing is known of it any more.
        """
        id = checked_id(unit_id, "unit of work")
        self._messenger.check_open()
        row = await self._messenger.settle(id)
        if row is None and forgotten(id):
            raise HistoryError(
                f"what became of the unit of work {id} is not known any more: notes are kept for two days",
                hint="look at the records, or at the log of its request",
            )
        return None if row is None else Commit(id, row["xid"], row["at"])

    @asynccontextmanager
    async def as_of(self, moment: datetime) -> AsyncIterator[PastSession]:
        """What this session would have read at a moment: records, lists, filters, includes and aggregates as they were.

            async with session.as_of(yesterday) as past:
                before = await past.get(Customer, id)

        A transaction is told whole or not at all: it is seen if it was committed before the moment. What a moment has told once, it
        tells from then on, also where a transaction that was under way is committed later. A field that was not declared yet is None,
        and not in the record's `model_fields_set`.

        Args:
            moment: with a time zone.

        Raises:
            HistoryError: the log has been pruned since.
            ValidationError: the moment has no time zone, or is in the future.
        """
        messenger = await look_back(self._messenger, moment)
        try:
            yield PastSession(messenger, moment)
        finally:
            messenger.open = False

    async def history(
        self,
        target: Entity | tuple[type[Entity], UUID] | type[Entity] | None = None,
        *,
        actor_id: UUID | str | None = None,
        request_id: str | None = None,
        limit: int = 50,
        before: int | None = None,
        private: bool = False,
    ) -> tuple[Change, ...]:
        """Changes, newest first: of a record (also when it is gone), an entity, an actor or a request, or of any of these together.

            await session.history(customer)
            await session.history(Order, actor_id=ada.id)
            await session.history(request_id=request_id)

        Args:
            target: the record, (entity, id), or the entity; None for all entities.
            actor_id: only changes made on behalf of this user.
            request_id: only changes that this request made.
            limit: changes at most, 1 to 1,000.
            before: only changes before this position: the last change's position continues the list.
            private: whether the diffs tell private fields.

        Raises:
            ValidationError: nothing says whose changes, or an argument is wrong.
        """
        return await history(
            self._messenger,
            target,
            actor_id=actor_id,
            request_id=request_id,
            limit=limit,
            before=before,
            private=private,
        )

    async def revert(self, record: Target[EntityT], to_version: int) -> EntityT:
        """Gives a record the values that it had in an earlier version; they become a new version.

        Immutable fields, and fields that were not declared then, stay as they are.

        Args:
            record: as it was read; or the entity, id and version that are expected.
            to_version: the version to go back to.

        Returns:
            The record as it is now.

        Raises:
            HistoryError: the log does not have that version.
            ValidationError: the old values clash with what is there now: a reference to a record that is gone, a unique value
                that another record has, a value that the declaration does not allow any more. All clashes at once.
            ConcurrencyError, NotFoundError: as in `update`.
        """
        return await revert(self._messenger, self._writer, record, to_version)  # type: ignore[return-value]  # of the target's class

    @asynccontextmanager
    async def _whole(self, deadline: float) -> AsyncIterator[tuple[Messenger, Reader, Savepoints]]:
        async with self.transaction(deadline=deadline) as transaction:
            yield transaction._messenger, transaction._reader, transaction


class Transaction(Transactional, Session):
    """All calls of a session in one transaction; get one from `Session.transaction`.

    Calls of concurrent tasks take turns. A call that PostgreSQL refuses ends the transaction, or the savepoint that it is in;
    what is an answer (a record that is not there or has another version, input that is not valid) does not.
    """

    def __init__(self, store: Store, context: Context, *, messenger: Messenger) -> None:
        super().__init__(store, context, messenger=messenger)
        self._read_only = self._transaction.terms.read_only

    @asynccontextmanager
    async def transaction(self, **_: Any) -> AsyncIterator["Transaction"]:  # Any: whatever a session's takes
        """Is refused: what could be undone by itself inside of a transaction is a savepoint."""
        raise TransactionError(
            "a transaction cannot be begun inside of another one", hint="async with transaction.savepoint(): ..."
        )
        yield self

    @property
    def _savepoints(self) -> Savepoints:
        return self

    @asynccontextmanager
    async def _whole(self, deadline: float) -> AsyncIterator[tuple[Messenger, Reader, Savepoints]]:  # noqa: ARG002  # it has its own
        async with self.savepoint():
            yield self._messenger, self._reader, self
