"""The pieces of work that contenders are compared in, and what the project set out to reach in each."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from random import Random
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from benchmarks.contenders.driver import Driver, driver
from benchmarks.contenders.freehold import Freehold, freehold
from benchmarks.contenders.handwritten import HandWritten, handwritten
from benchmarks.contenders.increments import (
    CoalescedIncrements,
    OrmUpdates,
    SingleUpdates,
    coalesced,
    coalesced_by_user,
    mapped,
    single,
)
from benchmarks.contenders.model import CUSTOMERS, FIELDS, PAGE, Edit
from benchmarks.contenders.orm import Orm, orm
from benchmarks.contenders.repository import Repository, repository
from benchmarks.contenders.units import (
    FreeholdUnits,
    HandWrittenUnits,
    OrmUnits,
    Placed,
    freehold_units,
    handwritten_units,
    orm_units,
)
from benchmarks.harness import Argument, Benchmark, Call, Contender, Target
from benchmarks.world import World
from freehold.postgres.server import ServerAddress

Worker = TypeVar("Worker")
EDITED = 2_000
"""Customers that the edits are spread over."""


def contender(
    name: str,
    label: str,
    opened: Callable[[World, ServerAddress, int], AbstractAsyncContextManager[Sequence[Worker]]],
    method: Callable[[Worker, Argument], Any],
) -> Contender[Argument, Any]:
    """A contender whose workers do their call with a method. What it answers differs by contender, hence Any."""

    @asynccontextmanager
    async def workers(world: World, address: ServerAddress, count: int) -> AsyncIterator[Sequence[Call[Argument, Any]]]:
        async with opened(world, address, count) as each:
            yield [_bound(method, worker) for worker in each]

    return Contender(name, label, workers)


def _bound(method: Callable[[Worker, Argument], Any], worker: Worker) -> Call[Argument, Any]:
    """The method as the worker's own, so that a call costs no more than a method call."""
    bound: Call[Argument, Any] = getattr(worker, method.__name__)
    return bound


def any_customer(world: World, worker: int, _: int) -> Iterator[UUID]:
    random = Random(worker)
    while True:
        yield world.customers[random.randrange(len(world.customers))].id


def nothing(_world: World, _worker: int, _workers: int) -> Iterator[None]:
    while True:
        yield None


def own_edit(world: World, worker: int, workers: int) -> Iterator[Edit]:
    """Edits of customers that no other worker edits."""
    own = world.customers[worker:EDITED:workers]
    random = Random(worker)
    while True:
        yield Edit(own[random.randrange(len(own))], Decimal(random.randrange(10_000_000)) / 100)


def made(edit: Edit, answer: Any) -> None:
    """Keep the version for the next edit of the customer; if this one is repeated, it is to change something again."""
    edit.customer.version = value(answer, "version")
    edit.credit += 1


def value(answer: Any, name: str) -> Any:
    """Entities, models and mapped objects alike have the fields as attributes, and the driver's rows by name."""
    return answer[name] if isinstance(answer, asyncpg.Record) else getattr(answer, name)


def record(_: object, answer: Any) -> dict[str, object]:
    """All fields."""
    return {name: value(answer, name) for name in FIELDS}


def edited(edit: Edit, answer: Any) -> dict[str, object]:
    """The record, with what must differ from answer to answer in relation to the edit."""
    return record(None, answer) | {
        "credit": value(answer, "credit") - edit.credit,
        "version": value(answer, "version") - edit.version,
        "updated_at": value(answer, "updated_at") > value(answer, "created_at"),
    }


def records(_: object, answer: Sequence[Any]) -> list[dict[str, object]]:
    if len(answer) != PAGE:
        raise AssertionError(f"a page of {PAGE} has {len(answer)}")
    return [record(None, each) for each in answer]


def records_of_json(_: object, answer: bytes) -> list[dict[str, object]]:
    """Decimals may be numbers or strings and times be spelled in two ways; the values are the same."""
    return records(None, CUSTOMERS.validate_json(answer))


def placed(edit: Edit, answer: Placed) -> dict[str, object]:
    """Orders have ids of their own."""
    return {"version": answer.version - edit.version, "order": answer.order_id.version}


def targets(asyncpg: float, orm: float | None = None) -> list[Target]:
    """The issue's targets: on the socket with one connection, and three times asyncpg through the proxy."""
    reach = [Target("asyncpg", "socket", 1, asyncpg), Target("asyncpg", "proxy", 1, 3.0)]
    if orm is not None:
        reach.append(Target("sqlalchemy", "socket", 1, orm))
    return reach


FREEHOLD = ("freehold", "Freehold")
DRIVER = ("driver", "the driver alone, Freehold's statement")
ASYNCPG = ("asyncpg", "asyncpg, hand-written, Pydantic")
SQLALCHEMY = ("sqlalchemy", "SQLAlchemy async ORM")
REPOSITORY = ("advanced-alchemy", "advanced-alchemy repository")

POINT_READ = Benchmark(
    name="point_read",
    title="One customer by id, as an object",
    contenders=[
        contender(*FREEHOLD, freehold, Freehold.point_read),
        contender(*ASYNCPG, handwritten, HandWritten.point_read),
        contender(*SQLALCHEMY, orm, Orm.point_read),
        contender(*REPOSITORY, repository, Repository.point_read),
    ],
    arguments=any_customer,
    content=record,
    targets=targets(asyncpg=2.0, orm=4.0),
)
LIST_JSON = Benchmark(
    name="list_json",
    title="The 50 newest customers, as JSON",
    contenders=[
        contender(*FREEHOLD, freehold, Freehold.list_json),
        contender("asyncpg", "asyncpg, hand-written, JSON by Pydantic", handwritten, HandWritten.list_json),
        contender("asyncpg-json", "asyncpg, hand-written, JSON in SQL", handwritten, HandWritten.list_json_in_sql),
        contender("sqlalchemy", "SQLAlchemy async ORM, JSON by Pydantic", orm, Orm.list_json),
        contender("advanced-alchemy", "advanced-alchemy, JSON by Pydantic", repository, Repository.list_json),
    ],
    arguments=nothing,
    content=records_of_json,
    targets=targets(asyncpg=2.0),
    retained=50,
)
LIST_ENTITIES = Benchmark(
    name="list_entities",
    title="The 50 newest customers, as objects",
    contenders=[
        contender(*FREEHOLD, freehold, Freehold.list_entities),
        contender(*DRIVER, driver, Driver.list_rows),
        contender(*ASYNCPG, handwritten, HandWritten.list_entities),
        contender(*SQLALCHEMY, orm, Orm.list_entities),
        contender(*REPOSITORY, repository, Repository.list_entities),
    ],
    arguments=nothing,
    content=records,
    targets=targets(asyncpg=1.5),
    retained=50,
)
UPDATE = Benchmark(
    name="update",
    title="One field of a customer, from an expected version, audited",
    contenders=[
        contender(*FREEHOLD, freehold, Freehold.update),
        contender(*DRIVER, driver, Driver.update),
        contender(*ASYNCPG, handwritten, HandWritten.update),
        contender("sqlalchemy", "SQLAlchemy ORM, update ... returning", orm, Orm.update),
        contender("sqlalchemy-flush", "SQLAlchemy ORM, get and flush", orm, Orm.get_and_flush),
        contender("advanced-alchemy", "advanced-alchemy, repository.update", repository, Repository.update),
    ],
    arguments=own_edit,
    content=edited,
    settle=made,
    targets=targets(asyncpg=1.4, orm=3.0),
)
COUNTED = 1_000
"""Customers that increments are spread over, where they are spread."""
CALLERS = 64


def hot_customer(world: World, _worker: int, _workers: int) -> Iterator[UUID]:
    while True:
        yield world.customers[0].id


def counted_customer(world: World, worker: int, _: int) -> Iterator[UUID]:
    random = Random(worker)
    while True:
        yield world.customers[random.randrange(COUNTED)].id


def increments(name: str, title: str, arguments: Callable[[World, int, int], Iterator[UUID]]) -> Benchmark[UUID, None]:
    """Increments by many callers."""
    return Benchmark(
        name=name,
        title=title,
        contenders=[
            contender("freehold", "Freehold, callers of one user", coalesced, CoalescedIncrements.increment),
            contender(
                "freehold-users", "Freehold, each of another user", coalesced_by_user, CoalescedIncrements.increment
            ),
            contender("asyncpg", "asyncpg, an update each", single, SingleUpdates.increment),
            contender("sqlalchemy", "SQLAlchemy ORM, an update each", mapped, OrmUpdates.increment),
        ],
        arguments=arguments,
        content=lambda _, answer: answer,
        targets=[Target("asyncpg", "socket", CALLERS, 20.0)],
        workers=(CALLERS,),
        weighed=False,
    )


INCREMENTS_HOT = increments("increments_hot", "One number of one customer, incremented durably, audited", hot_customer)
INCREMENTS = increments(
    "increments", f"One number of {COUNTED:,} customers, incremented durably, audited", counted_customer
)
UNIT = Benchmark(
    name="unit",
    title="An order, its five lines and the customer's credit: 7 rows in 3 tables, audited",
    contenders=[
        contender(*FREEHOLD, freehold_units, FreeholdUnits.place),
        contender("asyncpg", "asyncpg, a statement per table", handwritten_units, HandWrittenUnits.place),
        contender("asyncpg-each", "asyncpg, lines by executemany", handwritten_units, HandWrittenUnits.place_each),
        contender("asyncpg-rows", "asyncpg, a statement per row", handwritten_units, HandWrittenUnits.place_one_by_one),
        contender("sqlalchemy", "SQLAlchemy ORM, unit of work", orm_units, OrmUnits.place),
    ],
    arguments=own_edit,
    content=placed,
    settle=made,
    targets=[
        Target("sqlalchemy", "socket", 1, 2.0),
        Target("asyncpg", "socket", 1, 1.0),
        Target("asyncpg", "socket", 8, 0.85),
        Target("asyncpg", "proxy", 1, 4.0),
        Target("asyncpg-rows", "proxy", 1, 4.0),
    ],
)
# A benchmark's arguments and answers are its own, hence Any.
WORKLOADS: Sequence[Benchmark[Any, Any]] = (
    POINT_READ,
    LIST_JSON,
    LIST_ENTITIES,
    UPDATE,
    UNIT,
    INCREMENTS_HOT,
    INCREMENTS,
)
