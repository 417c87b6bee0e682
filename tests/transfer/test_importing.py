"""Imports into the database."""

from pathlib import Path

from freehold import Session
from freehold.transfer import import_file
from tests.transfer.files import written
from tests.world import Customer


async def test_rows_become_records(acme: Session, tmp_path: Path) -> None:
    path = written(tmp_path, ["name,email,credit", "Acme,a@acme.example,12.50", "Beta,,0", ",,1"])
    result = await import_file(acme, Customer, path)
    assert (result.rows, result.created, result.refused) == (3, 2, 1)
    assert [issue.field for issue in result.first_refused[0].issues] == ["name"]
    assert sorted(customer.name for customer in await acme.list(Customer)) == ["Acme", "Beta"]
