"""What is told of the checks, and the shape of SARIF."""

import re
from pathlib import Path

from freehold.doctor import CHECKS, Finding, Report, sarif

PAGE = Path(__file__).parents[2] / "docs/guide/doctor.md"


def test_every_check_is_in_the_table() -> None:
    rows = re.findall(r"^\| (FD\d{3}) \| (\w+) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(check.code, check.level, check.title) for check in CHECKS]


def test_codes_are_used_once() -> None:
    assert len({check.code for check in CHECKS}) == len(CHECKS)


def test_findings_are_sarif() -> None:
    """What the schema of SARIF 2.1.0 requires, and that results point at their rules."""
    finding = Finding("FD301", "error", "title", "app.orders", "seen", "alter table x")
    log = sarif(Report([finding, Finding("FD001", "note", "t", "o", "e", None)], 2))
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]


def test_a_level_counts_with_those_above_it() -> None:
    report = Report([Finding("FD401", "warning", "t", "o", "e", None)], 1)
    assert [report.at_least(level) for level in ("error", "warning", "note")] == [False, True, True]
