"""The manifest from the command line, and what of a change of it breaks callers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import TARGET, run

SHOP = "tests.functions.shop:shop"


def test_it_is_printed_or_written(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    code, text, _ = run("manifest", TARGET)
    assert (code, json.loads(text)["manifest"]) == (0, 1)
    assert run("manifest", "show", TARGET)[1] == text
    assert run("manifest", "--output", str(file), TARGET) == (0, "", "")
    assert file.read_text() == text
    assert run("manifest", environment={"FREEHOLD_APPLICATION": TARGET})[1] == text
    code, out, _ = run("manifest", TARGET, "--output", str(tmp_path / "no" / "where"))
    assert (code, json.loads(out)["code"]) == (1, "FH001")


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_the_same_declarations_are_the_same_bytes_in_every_process(seed: str) -> None:
    code = "from freehold.cli import main; main()"
    answer = subprocess.run(
        [sys.executable, "-c", code, "manifest", SHOP],
        capture_output=True, timeout=60, check=True, env={**os.environ, "PYTHONHASHSEED": seed},
    )  # fmt: skip
    assert answer.stdout == run("manifest", SHOP)[1].encode()


def test_a_change_is_told_with_whether_it_breaks(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    text = run("manifest", SHOP)[1]
    old.write_text(text)
    assert run("manifest", "diff", str(old), SHOP) == (0, "Nothing that callers see has changed.\n", "")
    assert run("manifest", "diff", str(old), environment={"FREEHOLD_APPLICATION": SHOP})[0] == 0

    changed = json.loads(text)
    function = next(each for each in changed["functions"] if each["name"] == "customers.named")
    function["parameters"]["properties"]["limit"]["maximum"] = 50
    new.write_text(json.dumps(changed))
    code, out, _ = run("manifest", "diff", str(old), str(new))
    assert (code, "Breaks callers" in out, "maximum is 50, was 100" in out) == (3, True, True)
    code, out, _ = run("manifest", "diff", str(new), str(old), "--json")
    told = {"where": "function customers.named", "path": "parameters.limit", "change": "maximum is 100, was 50"}
    assert (code, json.loads(out)) == (0, {"breaking": False, "differences": [{"breaking": False, **told}]})


def test_what_is_no_manifest_is_one_readable_error(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    for text, says in (("{", "is no JSON"), ("[]", "none of version 1"), ('{"manifest": 9}', "none of version 1")):
        wrong.write_text(text)
        code, _, err = run("manifest", "diff", str(wrong), SHOP)
        assert (code, says in err) == (1, True)
    assert run("manifest", "diff", str(tmp_path / "nowhere"), SHOP)[0] == 1
