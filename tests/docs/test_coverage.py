"""The manual tells of everything that there is."""

import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main

import freehold
from freehold import errors
from freehold.cli.commands import commands
from freehold.model.filters import OPERATORS
from freehold.model.kinds import SCALARS
from freehold.model.permissions import pattern_problem
from freehold.server import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, to the next one of its level."""
    level = heading.split(" ")[0]
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^{level} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no {heading!r}"
    return found[1]


def cli(group: Any = None, above: str = "") -> dict[str, Any]:
    """All commands, those of groups as `group command`."""
    group = typer.main.get_command(commands) if group is None else group
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = hasattr(command, "commands")
        found |= cli(command, f"{above}{name} ") if inner else {f"{above}{name}": command}
    return found


def test_every_command_and_option_is_on_the_page() -> None:
    page = read("cli.md")
    for name, command in cli().items():
        told = section(page, f"## freehold {name}")
        for parameter in command.params:
            named = parameter.metavar or parameter.name.upper()
            shown = parameter.opts if parameter.param_type_name == "option" else [named]
            for option in shown:
                assert option in told, f"freehold {name}: {option}"
            for variable in [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []:
                assert variable in told, f"freehold {name}: {variable}"


def test_the_page_tells_of_no_command_that_is_not_there() -> None:
    told = re.findall(r"^## freehold ([\w -]+)$", read("cli.md"), re.MULTILINE)
    assert sorted(told) == sorted(cli())


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))], ids=str)
def test_commands_in_the_text_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shell = [line.strip() for line in text.splitlines() if line.startswith("    ")] + re.findall(r"`([^`\n]+)`", text)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    known = cli()
    for line in shell:
        if found := re.match(r"make ([a-z]\w*)", line):
            assert found[1] in targets, line
        if (found := re.match(r"freehold ([a-z]\w*)( [a-z][\w-]*)?(.*)", line)) and "://" not in line:
            name = found[1] if found[1] in known else f"{found[1]}{found[2] or ''}"
            groups = {command.split()[0] for command in known if " " in command}
            assert name in known or name in groups, line
            parameters = known[name].params if name in known else []
            options = {option for parameter in parameters for option in parameter.opts}
            assert set(re.findall(r"--[\w-]+", line)) <= options, line


def test_help_lists_every_command() -> None:
    code = "from freehold.cli import main; main()"
    answer = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert all(name.split()[0] in answer.stdout for name in cli())


def test_every_public_name_is_in_the_reference() -> None:
    told = set(
        re.findall(r"^::: freehold\.(\w+)$", "\n".join(p.read_text() for p in DOCS.glob("reference/*.md")), re.M)
    )
    assert set(freehold.__all__) <= told


def test_every_error_and_code_is_on_the_page() -> None:
    rows = re.findall(r"^\| (FH\d{3}) \| `(\w+)` \|", read("errors.md"), re.MULTILINE)
    actual = {
        (error.code, name)
        for name in errors.__all__
        if isinstance(error := getattr(errors, name), type) and issubclass(error, errors.FreeholdError)
    }
    assert set(rows) == actual
    assert len(rows) == len(actual)


def tree(text: str) -> dict[str, str]:
    """The errors of a drawn tree, each with the one that it stands under."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in text.splitlines():
        if drawn := re.match(r"^    ([│├└─ ]*)(\w+Error)\b", line):
            depth = len(drawn[1]) // 4
            found[drawn[2]] = above[depth - 1] if depth else ""
            above[depth:] = [drawn[2]]
    return found


def test_the_trees_of_errors_are_the_classes() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    actual = {
        error.__name__: "" if error is errors.FreeholdError else error.__bases__[0].__name__
        for error in classes
        if isinstance(error, type) and issubclass(error, errors.FreeholdError)
    }
    assert tree(section(read("errors.md"), "## The tree")) == actual
    assert tree(errors.__doc__ or "") == actual


def test_the_groups_of_codes_are_told_alike() -> None:
    groups = re.compile(r"0 set-up, .*?9 the rest")
    told = [groups.search(" ".join(text.split())) for text in (read("errors.md"), errors.__doc__ or "")]
    assert told[0] is not None
    assert told[1] is not None
    assert told[0][0] == told[1][0]
    assert {code[2] for code in re.findall(r"FH\d{3}", read("errors.md"))} == set(re.findall(r"(\d) ", told[0][0]))


def shown(value: object) -> set[str]:
    """How a page may write a default."""
    if isinstance(value, bool) or value is None:
        return {str(value), "none"} if value is None else {str(value)}
    if isinstance(value, int | float):
        return {f"{value:,g}" if value < 1e6 else f"{value:,.0f}"}
    if value == ():
        return {"none"}
    return {f"{type(value).__name__}()", str(value)}


def test_the_defaults_of_settings_are_the_servers() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section(read("guide/serving.md"), "## Settings"), re.MULTILINE)
    actual = Settings()
    wrong = {name: told for name, told in rows if told.replace("`", "") not in shown(getattr(actual, name))}
    assert len(rows) == len(fields(Settings))
    assert wrong == {}


def test_the_defaults_of_options_are_the_commands() -> None:
    page, compared = read("cli.md"), 0
    for name, command in cli().items():
        for options, meaning in re.findall(
            r"^\| (`-.*?) \|[^|]*\| (.*) \|$", section(page, f"## freehold {name}"), re.MULTILINE
        ):
            told = re.search(r"(?:`([^`]+)`|([\d,.]+)) by default", meaning)
            option = re.findall(r"--[\w-]+", options)[0]
            (parameter,) = [each for each in command.params if option in each.opts]
            default = parameter.default
            if default is None:  # of an option that stands for a setting: the setting's
                own = option.removeprefix("--")
                default = next((getattr(Settings(), f.name) for f in fields(Settings) if f.name.startswith(own)), None)
            if told and default is not None and not callable(default):  # else the command finds it itself
                compared += 1
                assert (told[1] or told[2]) in {*shown(default), str(default)}, f"freehold {name} {option}"
    assert compared > 15


PERMISSIONS = re.compile(r"""\b(?:permissions|requires|scopes?)=(?:frozenset\()?([\[{(]?(?:\s*["'][^"']*["'],?)+)""")


@pytest.mark.parametrize("folder", ["docs", "examples", "src"])
def test_permissions_are_written_in_one_form(folder: str) -> None:
    found = []
    for path in [*(ROOT / folder).rglob("*.md"), *(ROOT / folder).rglob("*.py")]:
        for names in PERMISSIONS.findall(path.read_text(encoding="utf-8")):
            found += re.findall(r"""["']([^"']*)["']""", names)
    wrong = [name for name in found if pattern_problem(name)]
    assert wrong == []
    assert found or folder == "examples"


def test_the_tables_of_rooms_are_the_contract() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    layers = [re.findall(r"\w+", layer) for layer in reversed(contract["layers"])]
    there = {path.stem for path in (ROOT / "src" / "freehold").iterdir() if not path.name.startswith(("_", "py.typed"))}
    wanted = {number: set(rooms) & there for number, rooms in enumerate(layers) if set(rooms) & there}
    assert set().union(*wanted.values()) == there
    for page in ("docs/architecture.md", "CONTRIBUTING.md"):
        table = section((ROOT / page).read_text(encoding="utf-8"), "## Rooms")
        rows = re.findall(r"^\| (\d+) \| (`.*?`) \|", table, re.MULTILINE)
        assert {int(number): set(re.findall(r"`(\w+)`", rooms)) for number, rooms in rows} == wanted, page
    drawn = re.search(r"^ {12}cli.*? errors$", section(read("architecture.md"), "## Rooms"), re.MULTILINE | re.DOTALL)
    assert drawn is not None
    lines = [re.split(r" {8,}(?=\w)", line.strip())[0] for line in drawn[0].splitlines()]
    named = [set(re.findall(r"\(?(\w+)\)?", line)) for line in lines]
    assert named == [set(layer) for layer in reversed(layers)]


def test_contributing_fits_on_one_screen() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=str)
def test_a_page_tells_each_thing_once(page: Path) -> None:
    headings = re.findall(r"^#+ .*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(set(headings))


def test_every_operator_is_in_the_table() -> None:
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", read("guide/filters.md"), re.MULTILINE))))
    assert told == set(OPERATORS)


def test_every_type_and_option_of_a_field_is_told() -> None:
    page = read("guide/entities.md")
    types = section(page, "## Types")
    assert all(f"| `{scalar.__name__}` |" in types for scalar in SCALARS)
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", section(page, "## Options of a field"), re.M)))
    assert set(named) == set(freehold.field.__kwdefaults__)


def test_every_setting_of_the_server_is_told() -> None:
    told = re.findall(r"^\| `(\w+)` \|", section(read("guide/serving.md"), "## Settings"), re.MULTILINE)
    assert sorted(told) == sorted(each.name for each in fields(Settings))


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
