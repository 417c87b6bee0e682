"""The benchmark of the import: measured in a process of its own, on what was measured."""

from pathlib import Path

import pytest
from examples.renoz.retail.sample import VARIABLE, write_sample
from rich.console import Console

from benchmarks import invoices, report


async def test_the_import_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = tmp_path / "retail.csv.gz"
    write_sample(sample, lines=300)
    monkeypatch.setenv(VARIABLE, str(sample))
    outcome = await invoices.measure()
    assert outcome.imported["adds_up"]
    assert outcome.imported["file"]["lines"] >= 300
    assert outcome.peak > 2**20
    assert set(outcome.phases) == {"lines read", "products, customers, orders", "order lines"}
    console = Console(record=True, width=200)
    report.print_import(console, outcome)
    assert "met" in console.export_text()
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    assert [path.name for path in report.write_import(outcome)] == ["import.json"]
