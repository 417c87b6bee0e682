"""The Online Retail data in the CRM: every line is accepted or refused with a reason, and the totals add up."""

import asyncio
import csv
import gzip
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from examples.renoz.entities import Order, OrderLine, Product, application
from examples.renoz.load import enter
from examples.renoz.retail.importing import Imported, import_retail
from examples.renoz.retail.lines import COLUMNS, read_lines
from examples.renoz.retail.sample import retail_file, write_sample
from examples.renoz.retail.survey import Country, Survey, survey

from freehold import Database
from freehold.errors import FileError
from freehold.postgres.connections import connect
from tests.conftest import Server
from tests.examples.test_renoz import counts, name, renoz
from tests.transfer.files import written
from tests.transfer.killed import POINTS

__all__ = ["name", "renoz"]  # the fixtures of the demo's tests

KILLS = int(os.environ.get("FREEHOLD_KILLS", "24")) // 4
HEADER = ",".join(COLUMNS)
GOOD = "536365,85123A,HEART,6,2010-12-01T08:26:00,2.55,17850,United Kingdom"


def surveyed(path: Path) -> tuple[Survey, list[tuple[int, list[str]]]]:
    refused: list[tuple[int, list[str]]] = []
    found = survey(
        read_lines(path), lambda line: refused.append((line.row.line, [issue.code for issue in line.issues]))
    )
    return found, refused


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "retail.csv.gz"
    write_sample(path, lines=1_500)
    return path


async def contents(server: Server, name: str) -> list[Any]:
    """All that an import leaves, without ids and times."""
    statement = """
        select g.slug, c.number, o.number, o.kind, o.version, o.total, o.placed_on, r.number, p.sku, p.name, p.price,
            l.position, l.quantity, l.unit_price, l.amount, l.version
        from app.order_lines l join app.orders o on o.id = l.order_id join app.customers c on c.id = o.customer_id
            join app.products p on p.id = l.product_id join freehold.organizations g on g.id = l.organization_id
            left join app.orders r on r.id = o.credits_id
        order by g.slug, o.number, l.position"""
    async with connect(server.admin_address(name)) as connection:
        return [tuple(row.values()) for row in await connection.fetch(statement)]


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        (GOOD, None),
        (GOOD.replace("17850", ""), ["customer_missing"]),
        (GOOD.replace("HEART", "").replace("17850", ""), ["customer_missing", "description_missing"]),
        (GOOD.replace("2.55", "-2.55"), ["price_negative"]),
        (GOOD.replace("2.55", "0"), None),
        (GOOD.replace("2.55", "0.001"), None),
        (GOOD.replace("2.55", "1e3"), ["price_invalid"]),
        (GOOD.replace("2.55", "NaN"), ["price_invalid"]),
        (GOOD.replace(",6,", ",-6,"), ["quantity_negative"]),
        (GOOD.replace(",6,", ",0,"), ["quantity_zero"]),
        (GOOD.replace(",6,", ",٦,"), ["quantity_invalid"]),
        ("C" + GOOD.replace(",6,", ",-6,"), None),
        ("C" + GOOD, ["quantity_positive"]),
        ("A" + GOOD[:].replace("HEART", "Adjust bad debt"), ["adjustment"]),
        ("X" + GOOD, ["invoice_invalid"]),
        (GOOD.replace("2010-12-01", "2010-13-01"), ["date_invalid"]),
        (GOOD.replace("85123A", ""), ["stockcode_missing"]),
        (GOOD.replace("United Kingdom", ""), ["country_missing"]),
        (GOOD.replace("17850", "178501"), ["customer_invalid"]),
        (GOOD.replace(",United Kingdom", ""), ["ragged"]),
    ],
)
def test_the_rules(tmp_path: Path, line: str, codes: list[str] | None) -> None:
    found, refused = surveyed(written(tmp_path, [HEADER, line]))
    assert refused == ([] if codes is None else [(2, codes)])
    assert found.accepted.lines + found.refused.lines == 1


def test_an_invoice_is_of_one_customer(tmp_path: Path) -> None:
    _, refused = surveyed(
        written(tmp_path, [HEADER, GOOD, GOOD.replace("17850", "17851"), GOOD.replace("United Kingdom", "EIRE"), GOOD])
    )
    assert refused == [(3, ["invoice_of_two"]), (4, ["invoice_of_two"])]


@pytest.mark.parametrize(
    ("country", "slug"),
    [("United Kingdom", "united-kingdom"), ("EIRE", "eire"), ("?", "unnamed"), ("Côte d'Ivoire", "c-te-d-ivoire")],
)
def test_slugs(country: str, slug: str) -> None:
    assert Country(country).slug == slug


def test_the_real_file_adds_up(tmp_path: Path) -> None:
    path, real = retail_file(tmp_path)
    found, _ = surveyed(path)
    if not real:
        pytest.skip("the real file is not there; its sample adds up")
    assert (found.accepted.lines, found.refused.lines) == (406_829, 135_080)
    assert (found.accepted.value, found.refused.value) == (Decimal("8300065.814"), Decimal("1447682.12"))
    assert len(found.countries) == 38


async def test_every_line_is_in_the_database_or_in_the_report(renoz: Database, sample: Path, tmp_path: Path) -> None:
    report = tmp_path / "refused.csv"
    imported = await import_retail(renoz, sample, errors=report)
    assert imported.adds_up
    lines = gzip.decompress(sample.read_bytes()).decode("latin-1").splitlines()
    assert imported.file.lines == len(lines) - 1
    refused = {int(row["line"]) for row in csv.DictReader(report.read_text().splitlines())}
    assert len(refused) == imported.refused.lines
    assert {
        "customer_missing",
        "description_missing",
        "price_negative",
        "ragged",
        "encoding",
    } <= imported.reasons.keys()
    good = sum(  # counted by other means: what plain Python makes of the lines that are not in the report
        Decimal(cells[3]) * Decimal(cells[5])
        for number, cells in enumerate(csv.reader(lines), 1)
        if number > 1 and number not in refused
    )
    assert imported.stored.value == good


async def test_a_second_run_changes_nothing(server: Server, name: str, renoz: Database, sample: Path) -> None:
    first = await import_retail(renoz, sample)
    there = await counts(server, name)
    assert await import_retail(renoz, sample) == first
    assert await counts(server, name) == there


async def test_each_country_sees_its_own(renoz: Database, sample: Path) -> None:
    imported = await import_retail(renoz, sample)
    found, _ = surveyed(sample)
    assert imported.organizations == len(found.countries) > 3
    for country in found.countries.values():
        async with renoz.session(await enter(renoz, country)) as session:
            assert await session.count(OrderLine) == country.lines
            assert await session.count(Order) == len(country.orders)


async def credits(renoz: Database, tmp_path: Path, lines: list[str]) -> tuple[Imported, dict[str, str | None]]:
    imported = await import_retail(renoz, written(tmp_path, [HEADER, *lines]))
    async with renoz.session(await enter(renoz, Country("Spain"))) as session:
        orders = await session.list(Order, where={"kind": "credit"}, include=["credits"])
        return imported, {order.number: order.credits.number if order.credits else None for order in orders}


async def test_a_credit_order_refers_to_the_latest_order_that_has_all_of_it(renoz: Database, tmp_path: Path) -> None:
    def line(number: str, stock: str, quantity: int, day: int, customer: int = 12_000) -> str:
        return f"{number},{stock},GOODS,{quantity},2011-01-{day:02}T10:00:00,1.5,{customer},Spain"

    imported, linked = await credits(
        renoz,
        tmp_path,
        [
            line("500001", "10001", 10, 1), line("500001", "10002", 5, 1),
            line("500002", "10001", 10, 2),
            line("500003", "10001", 3, 3), line("500003", "10001", 3, 3),
            line("500004", "10001", 99, 4, 12_001),
            line("C50005", "10001", -1, 5), line("C500051", "10001", -5, 5),
            line("C500052", "10001", -7, 5), line("C500053", "10002", -5, 5), line("C500054", "10001", -11, 5),
            line("C500055", "10001", -1, 1), line("C500056", "d", -1, 5),
            line("C500057", "10001", -10, 5), line("C500057", "10002", -1, 5),
            line("500006", "10001", 50, 6),
        ],
    )  # fmt: skip
    assert imported.adds_up
    assert imported.reasons == {"invoice_invalid": 1}
    assert linked == {
        "C500051": "500003",  # both of its lines together
        "C500052": "500002",
        "C500053": "500001",
        "C500054": None,  # no order has as many
        "C500055": "500001",  # later ones were not placed yet
        "C500056": None,  # a discount
        "C500057": "500001",
    }


async def test_products_are_known_by_their_code_in_any_case(renoz: Database, tmp_path: Path) -> None:
    lines = [
        HEADER,
        GOOD,
        GOOD.replace("85123A", "85123a").replace("HEART", "BIG HEART").replace("2.55", "3"),
        GOOD.replace("2.55", "0"),
    ]
    await import_retail(renoz, written(tmp_path, lines))
    async with renoz.session(await enter(renoz, Country("United Kingdom"))) as session:
        (product,) = await session.list(Product)
        assert (product.sku, product.name, product.price) == ("85123A", "HEART", Decimal(3))
        (order,) = await session.list(Order, include=["lines"])
        assert [line.amount for line in sorted(order.lines, key=lambda line: line.position)] == [
            Decimal("15.30"),
            Decimal(18),
            Decimal(0),
        ]
        assert order.total == Decimal("33.30")


async def test_a_smaller_file_goes_in_beside_a_larger_one(renoz: Database, tmp_path: Path) -> None:
    await import_retail(renoz, written(tmp_path, [HEADER, GOOD, GOOD.replace("85123A", "22222")]))
    other = GOOD.replace("536365", "536366").replace("85123A", "33333")
    await import_retail(renoz, written(tmp_path, [HEADER, other]))
    async with renoz.session(await enter(renoz, Country("United Kingdom"))) as session:
        assert {product.sku for product in await session.list(Product)} == {"85123A", "22222", "33333"}
        assert await session.count(Order) == 2


async def test_a_file_that_is_cut_off_writes_nothing(server: Server, name: str, renoz: Database, sample: Path) -> None:
    sample.write_bytes(sample.read_bytes()[:-100])
    with pytest.raises(FileError, match="cut off"):
        await import_retail(renoz, sample)
    assert (await counts(server, name))["order_lines"] == 0
    sample.write_bytes(b"a,b\n")
    with pytest.raises(FileError, match="has no column InvoiceNo"):
        await import_retail(renoz, sample)


@pytest.fixture
async def second(server: Server) -> AsyncIterator[str]:
    """Another database."""
    other = f"retail_{os.getpid()}"
    await server.create_database(other, application)
    yield other
    async with connect(server.admin) as connection:
        await connection.execute(f'drop database "{other}" with (force)')


async def test_an_import_that_is_killed_ends_as_an_undisturbed_one(
    server: Server, name: str, second: str, renoz: Database, sample: Path
) -> None:
    await import_retail(renoz, sample)
    address = server.address(second, application)
    told = {
        "address": {part: getattr(address, part) for part in ("host", "port", "user", "password", "database")},
        "file": str(sample),
    }
    chance = random.Random(7)
    kills = 0
    while kills < KILLS:
        told |= {"number": chance.randint(10, 130), "point": chance.choice(POINTS)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.examples.retail_killed", json.dumps(told), stdout=asyncio.subprocess.PIPE
        )
        await process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
        if process.returncode == 0:
            break  # all is there: later messages are only reads
        kills += 1
    async with Database.open(address, application) as database:
        assert (await import_retail(database, sample)).adds_up
    assert await contents(server, second) == await contents(server, name)
    assert kills
