"""Exports: what is written is read again as the same, in every format, and nothing else comes along."""

import gzip
import io
import json
from datetime import UTC, date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold import AnswerBounds, Application, Database, Session
from freehold.errors import FileError, FreeholdError, ValidationError
from freehold.store.reader import Reader
from freehold.transfer import Format, export_file, import_file
from freehold.transfer.formats import guarded, unguarded
from tests.conftest import Server, new_context
from tests.world import Contact, Customer, Level, Order

OWN = [name for name in Customer.Create.model_fields if name not in ("tax_number", "code")]
SIGNS = "=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20"
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=20) | st.text(
    SIGNS + "1a, ", max_size=6
)
VALUES = st.fixed_dictionaries(
    {"name": TEXT.filter(bool)},
    optional={
        "email": st.none() | TEXT,
        "level": st.sampled_from(Level),
        "credit": st.decimals(0, 10**9, places=2),
        "visits": st.integers(-(2**63), 2**63 - 1),
        "rating": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "born": st.none() | st.dates(),
        "seen_at": st.none() | st.datetimes(timezones=st.just(UTC)),
        "opens": st.none() | st.times(),
        "patience": st.none() | st.timedeltas(timedelta(days=-90_000), timedelta(days=90_000)),
        "photo": st.none() | st.binary(max_size=20),
        "newsletter": st.none() | st.booleans(),
        "tags": st.lists(TEXT, max_size=4),
        "scores": st.lists(st.decimals(-10_000, 10_000, places=3), max_size=3),
        "profile": st.builds(lambda text: {"language": text, "theme": {"size": 3, "ratio": "0.10"}}, st.none() | TEXT),
        "external": st.none() | st.uuids(),
    },
)


async def exported(session: Session, entity: Any, form: Format, **options: Any) -> bytes:
    file = io.BytesIO()
    await export_file(session, entity, file, form=form, **options)
    return file.getvalue()


def told(customer: Customer) -> dict[str, Any]:
    return {name: getattr(customer, name) for name in OWN}


@pytest.mark.parametrize(
    "form",
    [
        Format("csv", null="\\N"),
        Format("csv", null="\\N", guard=False),
        Format("jsonl"),
        Format("csv", null="NULL", encoding="utf-16", delimiter="\t"),
        Format("jsonl", compressed=True),
    ],
    ids=str,
)
async def test_what_was_exported_is_imported_as_the_same(database: Database, form: Format) -> None:
    @given(
        st.lists(
            VALUES, min_size=1, max_size=5, unique_by=lambda values: (values.get("email") or str(id(values))).lower()
        )
    )
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def tried(values: list[dict[str, Any]]) -> None:
        found.append(values)

    found: list[list[dict[str, Any]]] = []
    tried()
    for values in found:
        if any(form.null in (each.get("name"), each.get("email")) for each in values):
            continue  # the cell that stands for null is null
        here, there = (
            database.session(await new_context(database)),
            database.session(await new_context(database)),
        )
        made = await here.create_many(Customer, values)
        if made.failures:  # addresses that are the same in lower case
            continue
        data = await exported(here, Customer, form, fields=OWN)
        result = await import_file(there, Customer, io.BytesIO(data), form=form)
        assert [refused.issues for refused in result.first_refused] == []
        before, after = [await session.list(Customer, order_by="id", limit=50) for session in (here, there)]
        for one, other in zip(before, after, strict=True):
            assert {n: v for n, v in told(other).items() if v != getattr(one, n)} == {
                n: v for n, v in told(one).items() if v != getattr(other, n)
            }


@given(TEXT)
@settings(max_examples=500, deadline=None)
def test_no_guarded_cell_is_a_formula_and_each_text_comes_back(text: str) -> None:
    cell = guarded(text)
    assert unguarded(cell) == text
    assert (
        cell[:1] not in SIGNS.replace("'", "") or cell == "" or cell[1:].replace(".", "").replace(",", "").isdecimal()
    )
    assert cell == text or text.lstrip("'")[:1] in SIGNS


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "-", "+", "'=1", "-1-cmd"]
)
def test_each_beginning_of_a_formula_is_guarded(text: str) -> None:
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a", "-5", "+4930123", "-1.5", "-1,5", "'", "'a", "''", "1-1", " =1", "a=b"])
def test_what_is_no_formula_stays(text: str) -> None:
    assert guarded(text) == unguarded(text) == text


async def test_pages_of_every_length_bring_each_record_once(acme: Session, rival: Session, tmp_path: Path) -> None:
    await acme.create_many(Customer, ({"name": f"Customer {number:04}", "credit": number} for number in range(1_500)))
    await rival.create(Customer, name="Theirs")
    seen: list[int] = []
    path = tmp_path / "customers.csv.gz"
    result = await export_file(
        acme,
        Customer,
        path,
        fields=["name", "credit"],
        order_by="-credit",
        where={"credit": {"gte": 10}},
        progress=seen.append,
    )
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert lines == ["name,credit", *(f"Customer {number:04},{number}.00" for number in range(1_499, 9, -1))]
    assert (result.records, result.columns, seen[-1]) == (1_490, ("name", "credit"), 1_490)
    assert seen == [10, 50, 210, 850, 1_490]
    assert list(tmp_path.iterdir()) == [path]


SMALL_PAGES = Application("tests", [Customer, Contact, Order], bounds=AnswerBounds(bytes=20_000, page=10_000))


@pytest.mark.parametrize("size", [100, 4_000, 15_000, 30_000])
async def test_pages_end_by_their_bytes(
    server: Server, database_name: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Whatever records weigh: no page has more than its bytes and one record, and each record comes once."""
    pages: list[tuple[int, int]] = []
    listed = Reader.list

    async def noted(self: Reader, *arguments: Any, limit: int, **more: Any) -> Any:
        page = await listed(self, *arguments, limit=limit, **more)
        pages.append((limit, len(page.json or b"")))
        return page

    async with Database.open(server.address(database_name), SMALL_PAGES) as database:
        session = database.session(await new_context(database))
        rows = [{"name": f"{n:03}", "tags": ["y" * size if n % 7 else "small"]} for n in range(60)]
        await session.create_many(Customer, rows)
        monkeypatch.setattr(Reader, "list", noted)
        for form, order in ((Format("jsonl"), "name"), (Format(), "-name")):
            pages.clear()
            data = await exported(session, Customer, form, order_by=order, fields=["name", "tags"])
            names = [line["name"] for line in map(json.loads, data.splitlines())] if form.name == "jsonl" else None
            found = names or [line.split(",")[0] for line in data.decode().splitlines()[1:]]
            assert found == sorted((row["name"] for row in rows), reverse=order[0] == "-")
            assert max(length for _, length in pages) < 10_000 + size + 1_000
            assert pages[0][0] == 10
            if size > 10_000:
                assert pages[5][0] <= 3  # PostgreSQL is asked for no more than will be taken


async def test_private_fields_only_where_they_are_asked_for(acme: Session) -> None:
    await acme.create(Customer, name="Acme", tax_number="DE-secret")
    assert b"secret" not in await exported(acme, Customer, Format("jsonl"))
    assert b"tax_number" not in await exported(acme, Customer, Format())
    with pytest.raises(ValidationError, match="is private"):
        await exported(acme, Customer, Format(), fields=["name", "tax_number"])
    assert b"DE-secret" in await exported(acme, Customer, Format(), private=True)
    customer = await acme.find(Customer, {"name": "Acme"})
    assert customer is not None
    await acme.create(Order, customer_id=customer.id, number="1", total=1)
    with pytest.raises(ValidationError, match="is private"):
        await exported(acme, Order, Format(), fields=["customer.tax_number"])


async def test_fields_across_a_reference_are_imported_again(acme: Session, rival: Session) -> None:
    for session in (acme, rival):
        customer = await session.create(Customer, name="Acme", email="info@acme.example")
    contact = await acme.create(Contact, customer_id=(await acme.list(Customer))[0].id, name="Ada")
    await acme.create(Order, customer_id=contact.customer_id, contact_id=contact.id, number="1", total=Decimal("1.50"))
    await acme.create(Order, customer_id=contact.customer_id, number="2", total=2)
    fields = ["number", "total", "customer.email", "contact.name"]
    data = await exported(acme, Order, Format(), fields=fields, order_by="number")
    assert data.decode().splitlines() == [
        "number,total,customer.email,contact.name",
        "1,1.50,info@acme.example,Ada",
        "2,2.00,info@acme.example,",
    ]
    result = await import_file(rival, Order, io.BytesIO(data), form=Format(), mapping={"contact.name": ""})
    assert (result.created, result.left_out) == (2, ("contact.name",))
    assert {order.customer_id for order in await rival.list(Order)} == {customer.id}


async def test_the_past_and_the_deleted(acme: Session) -> None:
    first = await acme.create(Customer, name="Before")
    moment = first.created_at
    await acme.delete(await acme.update(first, name="After"))
    assert await exported(acme, Customer, Format(), fields=["name"]) == b"name\r\n"
    assert await exported(acme, Customer, Format(), fields=["name"], deleted=True) == b"name\r\nAfter\r\n"
    async with acme.as_of(moment) as past:
        assert await exported(past, Customer, Format(), fields=["name"]) == b"name\r\nBefore\r\n"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"fields": ["nothing"]},
        {"fields": []},
        {"fields": ["customer.nothing"]},
        {"fields": ["nobody.name"]},
        {"where": {"nothing": 1}},
        {"order_by": "nothing"},
    ],
)
async def test_what_does_not_fit_leaves_no_file(acme: Session, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        await export_file(acme, Order, tmp_path / "orders.csv", **options)
    assert list(tmp_path.iterdir()) == []


async def test_a_place_that_cannot_be_written_to(acme: Session, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        await export_file(acme, Customer, tmp_path / "no" / "such.csv")
    with pytest.raises(FreeholdError, match="format"):
        await export_file(acme, Customer, tmp_path / "customers")
    await acme.create(Customer, name="Ł")
    with pytest.raises(FileError, match="latin-1 has no character 'Ł'"):
        await export_file(acme, Customer, tmp_path / "customers.csv", form=Format(encoding="latin-1"))
    assert list(tmp_path.iterdir()) == []


async def test_an_export_that_fails_leaves_the_file_before_it(acme: Session, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("before")
    await acme.create(Customer, name="Ł")
    with pytest.raises(FileError):
        await export_file(acme, Customer, path, form=Format(encoding="ascii"))
    assert path.read_text() == "before"


async def test_json_shapes(acme: Session) -> None:
    await acme.create(
        Customer, name="Acme", photo=b"\xff", patience=timedelta(seconds=1.5), credit=Decimal("1.10"), born=date(2026, 6, 15),
        opens=time(9, 30), external=UUID(int=7), level=Level.HIGH,
    )  # fmt: skip
    (record,) = [json.loads(line) for line in (await exported(acme, Customer, Format("jsonl"))).splitlines()]
    assert record["photo"] == "ff"
    assert record["patience"] == 1.5
    assert record["credit"] == "1.10"
    assert record["level"] == "high"
    assert list(record)[:3] == ["id", "name", "email"]
