"""Findings and outcomes as SARIF 2.1.0 (OASIS), which code scanners and their sites read.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from freehold.doctor.examination import CHECKS
from freehold.doctor.findings import Check, Finding, Report

__all__ = ["sarif"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(report: Report) -> dict[str, Any]:
    """A log file with one run: the checks as rules, the findings as results at objects of the database."""
    rules = list(CHECKS)
    driver = {
        "name": "freehold doctor",
        "version": version("freehold"),
        "rules": [_rule(check) for check in rules],
    }
    places = {check.code: place for place, check in enumerate(rules)}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": list(_results(report.findings, places))}],
    }


def _rule(check: Check) -> dict[str, Any]:
    return {
        "id": check.code,
        "shortDescription": {"text": check.title},
        "defaultConfiguration": {"level": check.level},
    }


def _results(findings: Iterable[Finding], places: dict[str, int]) -> Iterable[dict[str, Any]]:
    for finding in findings:
        mend = f" To mend it: {finding.mend}" if finding.mend else ""
        yield {
            "ruleId": finding.code,
            "ruleIndex": places[finding.code],
            "level": finding.level,
            "message": {"text": f"{finding.object}: {finding.title} ({finding.evidence}).{mend}"},
            "locations": [{"logicalLocations": [{"fullyQualifiedName": finding.object}]}],
            "partialFingerprints": {"object/v1": f"{finding.code}:{finding.object}"},
        }
