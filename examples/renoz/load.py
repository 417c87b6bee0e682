"""Brings the sample data into a database, and does nothing where it is there already.

A row is known by its natural key (a customer by its number, an order line by its order and position), which the tables
hold unique per organization. So a load that was killed is finished by the next one, two loads at once do not collide,
and a load of what is there costs a few reads. Ids could not serve: the database's are made at creation, as an
application's are.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from examples.renoz.data import Dataset, Row
from examples.renoz.entities import Activity, Address, Contact, Customer, InventoryItem, Order, OrderLine, Product
from freehold import Context, Database, Entity, Session
from freehold.errors import ForbiddenError, UniqueError

__all__ = ["enter", "load"]

WORKERS = 8
"""Creations under way at once; each waits for its own commit."""
PAGE = 1_000

Advance = Callable[[int, int], None]
"""Is told how many rows more were found, and how many more were created."""
Ids = dict[tuple[Any, ...], UUID]
"""The ids of an entity's records by the values of their natural keys, as they are stored."""
Known = dict[type[Entity], dict[Any, UUID]]
"""The ids of records, by entity and by what rows call them."""


class Tenant(Protocol):
    """An organization and its user."""

    @property
    def slug(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def user_email(self) -> str: ...
    @property
    def user_name(self) -> str: ...


REFERENCES: dict[str, type[Entity]] = {
    "customer": Customer,
    "parent": Customer,
    "contact": Contact,
    "product": Product,
    "order": Order,
}


@dataclass(frozen=True)
class Stage:
    """Rows that can be loaded together, since they only refer to rows of earlier stages.

    Args:
        entity: what they become.
        key: the names of the natural key, as in the rows.
        rows: takes them out of a dataset.
    """

    entity: type[Entity]
    key: tuple[str, ...]
    rows: Callable[[Dataset], list[Row]]

    @property
    def columns(self) -> list[str]:
        """The key as it is stored."""
        return [f"{name}_id" if name in REFERENCES else name for name in self.key]

    def stored_key(self, values: Row) -> tuple[Any, ...]:
        """The values of the key's columns."""
        return tuple(values[column] for column in self.columns)


STAGES = (
    Stage(Customer, ("number",), lambda data: [row for row in data.customers if row["parent"] is None]),
    Stage(Customer, ("number",), lambda data: [row for row in data.customers if row["parent"] is not None]),
    Stage(Contact, ("customer", "email"), lambda data: data.contacts),
    Stage(Address, ("customer", "label"), lambda data: data.addresses),
    Stage(Product, ("sku",), lambda data: data.products),
    Stage(InventoryItem, ("warehouse", "product"), lambda data: data.inventory),
    Stage(Order, ("number",), lambda data: data.orders),
    Stage(OrderLine, ("order", "position"), lambda data: data.lines),
    Stage(Activity, ("source_key",), lambda data: data.activities),
)


async def enter(database: Database, profile: Tenant) -> Context:
    """The context of an organization's user; makes the two when they are not there."""
    system = database.system(reason="renoz demo")
    try:
        return await system.context(organization=profile.slug, user=profile.user_email, user_agent="renoz/1")
    except ForbiddenError:
        organization = await system.find_organization(profile.slug)
        if organization is None:
            organization = await system.create_organization(name=profile.name, slug=profile.slug)
        user = await system.find_user(profile.user_email)
        if user is None:
            user = await system.create_user(email=profile.user_email, name=profile.user_name)
        await system.add_member(organization.id, user.id, role="admin")
    return await system.context(organization=profile.slug, user=profile.user_email, user_agent="renoz/1")


async def load(session: Session, data: Dataset, advance: Advance) -> int:
    """Creates the rows that are not there.

    Args:
        session: of the organization.
        data: its rows.
        advance: is told how many rows more were found, and how many more were created.

    Returns:
        How many were created.
    """
    known: Known = {entity: {} for entity in REFERENCES.values()}
    created = 0
    for stage in STAGES:
        rows = [(_name(stage, row), _resolved(row, known)) for row in stage.rows(data)]
        there = await _read_keys(session, stage)
        missing = [values for _, values in rows if stage.stored_key(values) not in there]
        advance(len(rows) - len(missing), 0)
        made, collisions = await _create_all(session, stage, missing, advance)
        created += len(made)
        there |= made
        if collisions:
            there |= await _read_keys(session, stage)
            for key, error in collisions.items():
                if key not in there:  # it was no other load that was faster
                    raise error
        if stage.entity in known:
            known[stage.entity] |= {name: there[stage.stored_key(values)] for name, values in rows}
    return created


def _name(stage: Stage, row: Row) -> Any:
    """What other rows call a row: its natural key, alone or as a tuple."""
    key = tuple(row[name] for name in stage.key)
    return key[0] if len(key) == 1 else key


def _resolved(row: Row, known: Known) -> Row:
    """The row with ids in place of the natural keys by which it refers to others."""
    values = dict(row)
    for name in row.keys() & REFERENCES.keys():
        referred = values.pop(name)
        values[f"{name}_id"] = None if referred is None else known[REFERENCES[name]][referred]
    return values


async def _read_keys(session: Session, stage: Stage) -> Ids:
    """The ids of all the entity's records by their keys; deleted ones too, which nobody wants back."""
    found: Ids = {}
    cursor = None
    while True:
        page = await session.list(stage.entity, select=stage.columns, limit=PAGE, after=cursor, deleted=True)
        found |= {stage.stored_key(vars(row)): row.id for row in page}
        cursor = page.next
        if cursor is None:
            return found


async def _create_all(
    session: Session, stage: Stage, rows: Sequence[Row], advance: Advance
) -> tuple[Ids, dict[tuple[Any, ...], UniqueError]]:
    """Creates rows, several at a time. Returns the new ids, and the errors of the rows that were taken meanwhile."""
    pending = iter(rows)
    made: Ids = {}
    collisions: dict[tuple[Any, ...], UniqueError] = {}

    async def work() -> None:
        for row in pending:
            try:
                record = await session.create(stage.entity, **row)
            except UniqueError as error:
                collisions[stage.stored_key(row)] = error
                advance(1, 0)
            else:
                made[stage.stored_key(row)] = record.id
                advance(0, 1)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(WORKERS, len(rows))):
                group.create_task(work())
    except ExceptionGroup as failures:  # the first failure cancelled the other workers
        raise failures.exceptions[0] from None
    return made, collisions
