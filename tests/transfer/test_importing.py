"""Imports into the database: what becomes of rows, exactly once, and in no other organization."""

import asyncio
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from freehold import Database, Session
from freehold.errors import FileError, FreeholdError, UnavailableError, ValidationError
from freehold.transfer import ImportProgress, format_of, import_file
from tests.probe import run as run_in
from tests.transfer.files import written
from tests.world import Contact, Customer, Order

PEOPLE = ["name,email,credit", *(f"Customer {number},c{number}@acme.example,{number}.50" for number in range(25))]


async def names(session: Session) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = await session.list(Customer, order_by="name", limit=1_000, after=after)
        found += [customer.name for customer in page]
        if (after := page.next) is None:
            return found


async def state(session: Session) -> list[Any]:
    """All that an import leaves: values and versions, without ids and times."""
    rows = await session.sql(
        None, "select name, email, credit, version, tags from customers order by name, email", limit=10_000
    )
    return [tuple(map(str, row.values())) for row in rows]


async def test_rows_become_records_and_bad_ones_are_told(acme: Session, rival: Session, tmp_path: Path) -> None:
    lines = [
        "name,email,credit,born",
        "Acme,a@acme.example,12.50,2026-06-15",
        "Beta,,0,",
        ",,-1,soon",
        "Beta,A@Acme.example,0,",
        "x,y",
    ]
    report = tmp_path / "refused.jsonl"
    result = await import_file(acme, Customer, written(tmp_path, lines), errors=report)
    assert (result.rows, result.created, result.refused, result.repeated) == (5, 2, 3, 0)
    told = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(entry["line"], entry["field"], entry["code"]) for entry in told] == [
        (4, "born", "date_invalid"),
        (4, "name", "missing"),
        (4, "credit", "greater_than_equal"),
        (5, "email", "FH202"),
        (6, "", "ragged"),
    ]
    assert told[0]["row"] == {"name": "", "email": "", "credit": "-1", "born": "soon"}
    assert [refused.line for refused in result.first_refused] == [4, 5, 6]
    assert await names(acme) == ["Acme", "Beta"]
    changes = await acme.history(Customer)
    assert {change.request_id for change in changes} == {result.request_id}
    assert await rival.count(Customer) == 0


async def test_a_second_run_of_the_same_import_writes_nothing(acme: Session, tmp_path: Path) -> None:
    path = written(tmp_path, PEOPLE)
    first = await import_file(acme, Customer, path, chunk=10)
    before = await state(acme)
    again = await import_file(acme, Customer, path, chunk=10)
    assert (again.created, again.repeated, again.rows) == (first.created, 25, 25)
    assert await state(acme) == before
    other = await import_file(acme, Customer, path, chunk=10, run="second")
    assert (other.created, other.refused, other.repeated) == (0, 25, 0)  # the addresses are taken


async def test_another_organization_is_another_import(acme: Session, rival: Session, tmp_path: Path) -> None:
    path = written(tmp_path, PEOPLE)
    await import_file(acme, Customer, path)
    theirs = await import_file(rival, Customer, path)
    assert (theirs.created, theirs.repeated) == (25, 0)
    assert await acme.count(Customer) == await rival.count(Customer) == 25


async def test_a_key_updates_what_is_there(acme: Session, tmp_path: Path) -> None:
    kept = await acme.create(Customer, name="Old", email="C1@acme.example", visits=7, tags=["vip"])
    same = await acme.create(Customer, name="Customer 2", email="c2@acme.example", credit=Decimal("2.50"))
    result = await import_file(acme, Customer, written(tmp_path, PEOPLE), key="email")
    assert (result.created, result.updated, result.unchanged) == (23, 1, 1)
    now = await acme.get(Customer, kept.id)
    assert (now.name, now.visits, now.tags, now.version) == ("Customer 1", 7, ["vip"], 2)
    assert (await acme.get(Customer, same.id)).version == 1


@pytest.mark.parametrize(("on_duplicate", "counts"), [("skip", (24, 1, 0)), ("error", (24, 0, 1))])
async def test_a_key_that_is_skipped_or_refused(
    acme: Session, tmp_path: Path, on_duplicate: Any, counts: tuple[int, int, int]
) -> None:
    kept = await acme.create(Customer, name="Old", email="c1@acme.example")
    result = await import_file(acme, Customer, written(tmp_path, PEOPLE), key="email", on_duplicate=on_duplicate)
    assert (result.created, result.skipped, result.refused) == counts
    assert (await acme.get(Customer, kept.id)).name == "Old"


async def test_references_are_looked_up_by_a_unique_field(acme: Session, rival: Session, tmp_path: Path) -> None:
    mine = await acme.create(Customer, name="Mine", email="Info@Acme.example")
    await rival.create(Customer, name="Theirs", email="info@rival.example")
    gone = await acme.create(Customer, name="Gone", email="gone@acme.example")
    await acme.delete(gone)
    lines = [
        "No,Customer,total",
        "1,INFO@acme.example,1",
        "2,info@rival.example,1",
        "3,gone@acme.example,1",
        "4,,1",
        "5,nobody,1",
    ]
    mapping = {"No": "number", "Customer": "customer.email"}
    result = await import_file(acme, Order, written(tmp_path, lines), mapping=mapping)
    assert (result.created, result.refused) == (1, 4)
    assert [(refused.line, refused.issues[0].code) for refused in result.first_refused] == [
        (3, "reference_not_found"), (4, "reference_not_found"), (5, "missing"), (6, "reference_not_found"),
    ]  # fmt: skip
    (order,) = await acme.list(Order)
    assert (order.number, order.customer_id) == ("1", mine.id)
    same = [
        str(refused.issues[0].message).replace("info@rival.example", "nobody") for refused in result.first_refused[::3]
    ]
    assert same[0] == same[1]  # another organization's record is one that does not exist


async def test_rows_may_refer_to_rows_of_the_same_file(tmp_path: Path, server: Any) -> None:
    from freehold import Application
    from tests.conftest import new_context
    from tests.probe import scratch
    from tests.transfer.staff import Employee

    application = Application("staff", [Employee])
    lines = ["name,manager.name", "Carol,Bob", "Bob,Ada", "Ada,", "Dora,Nobody", "Eve,Dora"]
    async with (
        scratch(server, application) as name,
        Database.open(server.address(name, application), application) as database,
    ):
        session = database.session(await new_context(database))
        result = await import_file(session, Employee, written(tmp_path, lines))
        assert (result.created, result.refused) == (3, 2)
        bob = await session.find(Employee, {"name": "Bob"}, include={"manager": True})
        assert bob is not None
        assert bob.manager is not None
        assert bob.manager.name == "Ada"
        lines = ["name,handle,manager.handle", "Fay,FAY,", "Gus,gus,Fay", "Hal,hal,fAY"]
        assert (await import_file(session, Employee, written(tmp_path, lines, "more.csv"))).created == 3
        assert await session.count(Employee, {"manager.handle": "fay"}) == 2


async def test_a_dry_run_tells_the_same_and_writes_nothing(
    acme: Session, tmp_path: Path, admin: asyncpg.Connection
) -> None:
    await acme.create(Customer, name="Old", email="c1@acme.example")
    before = await state(acme)
    lines = [*PEOPLE, "Customer 3,c3@acme.example,99", ",,", "x"]
    path = written(tmp_path, lines)
    dry = await import_file(acme, Customer, path, key="email", chunk=7, dry_run=True, errors=tmp_path / "dry.csv")
    assert await state(acme) == before
    assert (
        await admin.fetchval("select count(*) from freehold.log where request_id = $1", dry.request_id) == 1
    )  # the one above
    wet = await import_file(acme, Customer, path, key="email", chunk=7, errors=tmp_path / "wet.csv")
    told = {"first_refused", "dry_run"}
    assert {k: v for k, v in dry.as_dict().items() if k not in told} == {
        k: v for k, v in wet.as_dict().items() if k not in told
    }
    assert (tmp_path / "dry.csv").read_text() == (tmp_path / "wet.csv").read_text()
    assert (dry.created, dry.updated, dry.refused) == (24, 2, 2)


async def test_nothing_is_written_where_the_header_does_not_fit(acme: Session, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="colour"):
        await import_file(acme, Customer, written(tmp_path, ["name,colour", "Acme,red"]))
    with pytest.raises(ValidationError, match="email: is in the key"):
        await import_file(acme, Customer, written(tmp_path, ["name", "Acme"]), key="email")
    with pytest.raises(ValidationError, match="unique key"):
        await import_file(acme, Customer, written(tmp_path, ["name", "Acme"]), key="name")
    assert await acme.count(Customer) == 0


async def test_a_file_that_was_cut_off_is_finished_by_the_whole_one(
    acme: Session, rival: Session, tmp_path: Path
) -> None:
    lines = ["name,email", *(f"Customer {number},{number:x}@{number * 7919}.example" for number in range(500))]
    whole = written(tmp_path, lines, "whole.csv.gz")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(whole.read_bytes()[:-1_500])
    with pytest.raises(FileError, match="cut off") as caught:
        await import_file(acme, Customer, cut, chunk=100)
    there = await acme.count(Customer)
    assert 0 < there < 500
    assert there % 100 == 0  # no chunk that is not whole
    assert f"the {there} rows before it are settled" in str(caught.value.hint)
    result = await import_file(acme, Customer, whole, chunk=100)
    assert (result.created, result.repeated) == (500, there)
    await import_file(rival, Customer, whole, chunk=100)
    assert await state(acme) == await state(rival)


async def test_two_runs_at_once_write_once(acme: Session, tmp_path: Path) -> None:
    path = written(tmp_path, ["name", *(f"Customer {number}" for number in range(60))])
    results = await asyncio.gather(*(import_file(acme, Customer, path, chunk=5) for _ in range(3)))
    assert await acme.count(Customer) == 60
    assert sum(result.rows - result.repeated for result in results) == 60
    assert {result.created for result in results} == {60}


async def test_a_chunk_whose_reply_was_lost_is_not_written_twice(
    acme: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit happens and its answer does not come: the chunk is tried again, and found to be there."""
    from freehold.transfer import chunks

    real, lost = chunks._claimed, [True, False, True]

    async def commits_and_loses(session: Session, chunk: Any, work: Any) -> Any:
        async with session.transaction() as transaction:
            answer = await real(transaction, chunk, work)
        if lost and lost.pop():
            raise UnavailableError("the connection was lost")
        return answer

    tried = chunks._tried

    class Losing:
        def __init__(self, session: Session) -> None:
            self.session = session

        def transaction(self, **_: Any) -> Any:
            return self

        async def __aenter__(self) -> Session:
            return self.session

        async def __aexit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(chunks, "_claimed", commits_and_loses)
    monkeypatch.setattr(chunks, "_tried", lambda session, *rest: tried(Losing(session), *rest))  # type: ignore[arg-type]
    result = await import_file(
        acme, Customer, written(tmp_path, ["name", *(f"C{number}" for number in range(30))]), chunk=10
    )
    assert not lost
    assert (result.created, result.repeated) == (30, 20)
    assert await acme.count(Customer) == 30


async def test_json_lines_pipes_and_constants(acme: Session) -> None:
    data = b'{"name": "Acme", "profile": {"language": "de"}, "patience": 1.5}\n{"name": "Beta", "colour": 1}\n{"credit": 1}\n'
    form = format_of("-", format="jsonl")
    result = await import_file(acme, Customer, io.BytesIO(data), form=form, constants={"tags": "a;b", "visits": 3})
    assert (result.created, result.refused) == (1, 2)
    (customer,) = await acme.list(Customer)
    assert (customer.profile.language, customer.visits, customer.tags) == ("de", 3, ["a", "b"])


async def test_progress_is_told_after_each_chunk(acme: Session, tmp_path: Path) -> None:
    told: list[ImportProgress] = []
    path = written(tmp_path, [*PEOPLE, "x"])
    await import_file(acme, Customer, path, chunk=10, progress=told.append)
    assert [(step.rows, step.refused) for step in told] == [(10, 0), (20, 0), (26, 1)]
    assert told[-1].position == told[-1].size == path.stat().st_size


async def test_an_empty_file_of_rows(acme: Session, tmp_path: Path) -> None:
    assert (await import_file(acme, Customer, written(tmp_path, ["name"]))).rows == 0
    assert (await import_file(acme, Customer, written(tmp_path, [], "none.jsonl"))).rows == 0


@pytest.mark.parametrize("chunk", [0, 10_001, True, "7"])
async def test_a_chunk_that_is_none(acme: Session, tmp_path: Path, chunk: Any) -> None:
    with pytest.raises(ValidationError):
        await import_file(acme, Customer, written(tmp_path, PEOPLE), chunk=chunk)


async def test_the_note_of_a_chunk_is_the_organizations_own(
    acme: Session, rival: Session, tmp_path: Path, raw: asyncpg.Connection
) -> None:
    await import_file(acme, Customer, written(tmp_path, PEOPLE))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await raw.fetch("select * from freehold.imported")
    with pytest.raises(asyncpg.PostgresError, match="needs an organization"):
        await raw.fetch("select freehold.claim_chunk(freehold.new_id())")
    answer = await run_in(raw, rival.context, "select freehold.settle_chunk(freehold.new_id(), '{}')")
    assert answer[0][0] is False


async def test_a_report_that_cannot_be_written_is_told_before_anything(acme: Session, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        await import_file(acme, Customer, written(tmp_path, PEOPLE), errors=tmp_path / "no" / "such" / "place.csv")
    with pytest.raises(FreeholdError):
        await import_file(acme, Customer, written(tmp_path, PEOPLE), errors=tmp_path / "report.txt")
    assert await acme.count(Customer) == 0


async def test_a_compressed_report(acme: Session, tmp_path: Path) -> None:
    report = tmp_path / "refused.csv.gz"
    await import_file(acme, Customer, written(tmp_path, ["name", "a" * 300]), errors=report)
    assert gzip.decompress(report.read_bytes()).decode().splitlines()[1].startswith("2,name,string_too_long,")


async def test_contacts_with_a_reference_by_id(acme: Session, tmp_path: Path) -> None:
    customer = await acme.create(Customer, name="Acme")
    path = written(tmp_path, ["name,customer_id", f"Ada,{customer.id}", "Bob,nonsense"])
    result = await import_file(acme, Contact, path)
    assert (result.created, [refused.issues[0].field for refused in result.first_refused]) == (1, ["customer_id"])


async def test_an_organization_that_has_imported_can_be_removed(
    database: Database, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    from tests.conftest import new_context

    session = database.session(await new_context(database))
    organization = session.context.organization_id
    await import_file(session, Customer, written(tmp_path, ["name", "Acme"]))
    noted = "select count(*) from freehold.imported where organization_id = $1"
    assert await admin.fetchval(noted, organization) == 1
    for customer in await session.list(Customer):
        await session.purge(customer)
    await admin.execute("delete from freehold.memberships where organization_id = $1", organization)
    assert await database.system("tests").remove_organization(organization)
    assert await admin.fetchval(noted, organization) == 0


KEYS: dict[str, tuple[str | tuple[str, ...], list[str], dict[str, int]]] = {
    # a key, the lines of a file, and how many rows are refused for each reason
    "a single field": ("email", ["name,email", "A,a@x.example", "B,", "C,c@x.example"], {"empty_key": 1}),
    "several fields": (
        ("customer_id",),
        ["name,customer_id,is_primary", "A,{0},true", "B,{0},false", "C,{1},", "D,,true"],
        {"outside_key": 2, "missing": 1},
    ),
}


@pytest.mark.parametrize("name", KEYS)
async def test_an_import_by_key_can_be_repeated(acme: Session, tmp_path: Path, name: str) -> None:
    key, lines, expected = KEYS[name]
    entity = Customer if key == "email" else Contact
    parents = [await acme.create(Customer, name="parent") for _ in range(2)]
    file = written(tmp_path, [line.format(*(parent.id for parent in parents)) for line in lines])
    counts = []
    for run in ("first", "second"):
        report = tmp_path / f"{run}.jsonl"
        await import_file(acme, entity, file, key=key, run=run, errors=report)
        told = [json.loads(line)["code"] for line in report.read_text().splitlines()]
        assert {code: told.count(code) for code in told} == expected
        counts.append(await acme.count(entity))
    assert counts[0] == counts[1]
