"""The files of the guide's page, as a user would copy them, run."""

import re

import pytest

from tests.testing.test_plugin import ROOT, session

__all__ = ["session"]


def test_the_guide_runs(session: pytest.Pytester) -> None:
    page = (ROOT / "docs" / "guide" / "testing.md").read_text(encoding="utf-8")
    files = re.findall(r"^```\w+\n# (\w+\.\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["pytest.ini", "shop.py", "test_shop.py"]
    for name, text in files:
        (session.path / name).write_text(text, encoding="utf-8")
    session.runpytest_subprocess("-p", "freehold.testing.plugin", timeout=120).assert_outcomes(passed=3)
