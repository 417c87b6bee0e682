"""Writes the file's contents: an organization for each country, several chunks of several organizations at a time.

Every record has a natural key (a product its code, a customer and an order their numbers, a line its order and place), so a
run that was killed is finished by the next one, and one that finds everything there writes nothing.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from examples.renoz.entities import Customer, Order, OrderLine, Product
from examples.renoz.load import enter
from examples.renoz.retail.credits import link_credits
from examples.renoz.retail.lines import Line, read_lines
from examples.renoz.retail.survey import CENT, Country, Found, Survey, Totals, amount_of, slug_of, survey
from freehold import Database, Entity, Session
from freehold.errors import Issue
from freehold.transfer.report import Refused, Report, report_to

__all__ = ["Imported", "Progress", "import_retail"]

CHUNK = 1_000
"""Lines of one call."""
IN_FLIGHT = 3
"""Calls at a time: PostgreSQL works on them while the next lines are read."""
PAGE = 1_000

Progress = Callable[[str, int, int], None]
"""Is told what is done, how much of it, and how much there is in all."""
Values = dict[str, Any]  # Any: a field's value; which it is, the entity's input schema checks


@dataclass(frozen=True)
class Imported:
    """What came of it.

    Args:
        file: the lines of the file.
        accepted, refused: of them; they add up to the file.
        stored: what the database has of them, asked after the import.
        reasons: why lines were refused; a line may have several.
        organizations: one for each country.
        records: how many they have, by entity.
        linked: credit orders that refer to the order that they take back.
        credits: all credit orders.
    """

    file: Totals
    accepted: Totals
    refused: Totals
    stored: Totals
    reasons: Mapping[str, int]
    organizations: int
    records: Mapping[str, int]
    linked: int
    credits: int

    @property
    def adds_up(self) -> bool:
        """Whether the file is what was accepted and what was refused, and the database has what was accepted."""
        return (
            self.file.lines == self.accepted.lines + self.refused.lines
            and self.file.value == self.accepted.value + self.refused.value
            and self.stored == self.accepted
        )


@dataclass
class _Place:
    """A country's organization, and the ids of what is in it."""

    country: Country
    session: Session
    orders: dict[str, UUID] = field(default_factory=dict)
    products: dict[str, UUID] = field(default_factory=dict)


async def import_retail(
    database: Database, path: Path, *, errors: Path | None = None, progress: Progress | None = None
) -> Imported:
    """Imports the file.

    Args:
        database: of the CRM.
        path: the file.
        errors: where the lines that are refused are told.
        progress: is told how far it is.

    Raises:
        FileError: the file cannot be read; nothing was written where it is cut off.
    """
    progress = progress or _tell_nobody
    with report_to(errors) as report:
        found = await asyncio.to_thread(_surveyed, path, report, progress)
        size = found.accepted.lines + found.refused.lines
        file = Totals(size, found.accepted.value + found.refused.value)
        async with _places(database, found) as places:
            await _write_heads(places.values(), progress)
            lacking = {slug: place for slug, place in places.items() if not await _complete(place)}
            if lacking:
                await _LineWriter(lacking, found, report, progress).run(path)
            linked = [await link_credits(place.session) for place in places.values()]
            stored = Totals()
            records: Counter[str] = Counter()
            for place in places.values():
                lines, value, counted = await _stored(place.session)
                stored.lines, stored.value = stored.lines + lines, stored.value + value
                records.update(counted)
    return Imported(
        file, found.accepted, found.refused, stored, dict(found.reasons.most_common()), len(places), dict(records),
        sum(there for there, _ in linked), sum(of for _, of in linked),
    )  # fmt: skip


def _surveyed(path: Path, report: Report, progress: Progress) -> Survey:
    def lines() -> Iterable[Line]:
        for count, line in enumerate(read_lines(path), 1):
            if count % 10_000 == 0:
                progress("lines read", count, 0)
            yield line

    found = survey(lines(), lambda line: report.add(Refused(line.row.line, line.issues, line.row.values)))
    size = found.accepted.lines + found.refused.lines
    progress("lines read", size, size)
    return found


def _tell_nobody(_what: str, _done: int, _size: int) -> None:
    """Nobody asked."""


@asynccontextmanager
async def _places(database: Database, found: Survey) -> AsyncIterator[dict[str, _Place]]:
    places = {}
    for slug, country in found.countries.items():
        places[slug] = _Place(country, database.session(await enter(database, country)))
    yield places


async def _write_heads(places: Iterable[_Place], progress: Progress) -> None:
    """Products, customers and orders: the lines refer to them."""
    places = list(places)
    size = sum(len(p.country.products) + len(p.country.customers) + len(p.country.orders) for p in places)
    done = 0
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def write(place: _Place) -> None:
        nonlocal done
        async with gate:
            for entity, key, rows in _heads(place.country):
                there = await _ids(place.session, entity, key)
                missing = [row for row in rows if row[key] not in there]
                if entity is Order:
                    customers = await _ids(place.session, Customer, "number")
                    missing = [row | {"customer_id": customers[row.pop("customer")]} for row in missing]
                if missing:  # also where more is there, of another file
                    result = await place.session.create_many(entity, missing, on_duplicate="skip", key=key)
                    if result.failures:
                        raise result.failures[0].error or RuntimeError("a failure without an error")
                done += len(rows)
                progress("products, customers, orders", done, size)
            place.orders = await _ids(place.session, Order, "number")
            place.products = {sku.casefold(): id for sku, id in (await _ids(place.session, Product, "sku")).items()}

    async with asyncio.TaskGroup() as group:
        for place in places:
            group.create_task(write(place))


def _heads(country: Country) -> list[tuple[type[Entity], str, Sequence[Values]]]:
    """The rows of a country's products, customers and orders, each with the field that they are known by."""
    products = [
        {
            "sku": sku,
            "name": name,
            "category": "goods" if sku[:1].isdigit() else "service",
            "price": price.quantize(CENT),
        }
        for sku, name, price in country.products.values()
    ]
    customers = [
        {
            "number": f"R-{number}",
            "name": f"Customer {number}",
            "status": "active",
            "segment": "retailer",
            "customer_since": since,
        }
        for number, since in country.customers.items()
    ]
    orders = [_order(number, order) for number, order in country.orders.items()]
    return [(Product, "sku", products), (Customer, "number", customers), (Order, "number", orders)]


def _order(number: str, order: Found) -> Values:
    return {
        "customer": f"R-{order.customer}",
        "number": number,
        "kind": "credit" if number.startswith("C") else "sale",
        "status": "delivered",
        "placed_on": order.day,
        "currency": "GBP",
        "subtotal": order.total,
        "total": order.total,
    }


async def _ids(session: Session, entity: type[Entity], key: str) -> dict[str, UUID]:
    """The ids of all records by what they are known by."""
    ids: dict[str, UUID] = {}
    after = None
    while True:
        page = await session.list(entity, select=[key], limit=PAGE, after=after)
        ids |= {getattr(row, key): row.id for row in page}
        after = page.next
        if after is None:
            return ids


@dataclass
class _LineWriter:
    """Reads the file a second time, and writes the lines that are accepted.

    Args:
        places: by slug, those that lack lines.
        found: judges the lines.
        report: is told what the database refuses.
        progress: is told how far it is.
    """

    places: Mapping[str, _Place]
    found: Survey
    report: Report
    progress: Progress
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT))
    waiting: dict[str, list[tuple[Line, Values]]] = field(default_factory=dict)
    positions: Counter[str] = field(default_factory=Counter)
    done: int = 0

    async def run(self, path: Path) -> None:
        async with asyncio.TaskGroup() as group:
            for line in read_lines(path):
                slug = slug_of(line.country)
                if self.found.judge(line) and slug in self.places:
                    self.positions[line.invoice] += 1
                    rows = self.waiting.setdefault(slug, [])
                    rows.append((line, _values(self.places[slug], line, self.positions[line.invoice])))
                    if len(rows) == CHUNK:
                        await self._send(group, slug)
            for slug in list(self.waiting):
                await self._send(group, slug)

    async def _send(self, group: asyncio.TaskGroup, slug: str) -> None:
        """Has the lines of a place written; waits while too many are on their way."""
        await self.gate.acquire()
        group.create_task(self._write(self.places[slug], self.waiting.pop(slug)))

    async def _write(self, place: _Place, rows: Sequence[tuple[Line, Values]]) -> None:
        try:
            result = await place.session.create_many(
                OrderLine, [values for _, values in rows], on_duplicate="skip", key=("order_id", "position")
            )
        finally:
            self.gate.release()
        for failure in result.failures:
            _refuse(self.found, self.report, rows[failure.index][0], str(failure.error))
        self.done += len(rows)
        self.progress("order lines", self.done, self.found.accepted.lines)


def _values(place: _Place, line: Line, position: int) -> Values:
    return {
        "order_id": place.orders[line.invoice],
        "product_id": place.products[line.stock.casefold()],
        "position": position,
        "quantity": abs(line.quantity or 0),
        "unit_price": line.price,
        "amount": amount_of(line),
    }


def _refuse(found: Survey, report: Report, line: Line, reason: str) -> None:
    """A line that broke no rule of the file, but one of the declarations."""
    found.accepted.lines -= 1
    found.accepted.value -= line.value
    found.refused.add(line)
    found.reasons["not_stored"] += 1
    report.add(Refused(line.row.line, [Issue((), reason, "not_stored")], line.row.values))


async def _complete(place: _Place) -> bool:
    """Whether an earlier run has written all lines of a country."""
    return await place.session.count(OrderLine) == place.country.lines


async def _stored(session: Session) -> tuple[int, Decimal, Mapping[str, int]]:
    """How many lines an organization has, what they are worth, and how many records of each kind there are."""
    (row,) = await session.sql(
        None,
        "select count(*) as lines, coalesce(sum(l.quantity * l.unit_price * case o.kind when 'credit' then -1 else 1 end), 0)::text "
        "as value from order_lines l join orders o on o.id = l.order_id",
    )
    counted = {entity.__name__: await session.count(entity) for entity in (Customer, Product, Order)}
    return row["lines"], Decimal(row["value"]), counted | {"OrderLine": row["lines"]}
