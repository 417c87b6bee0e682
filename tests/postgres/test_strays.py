"""Data of embedded servers whose project is gone: it is found and removed, and nothing else is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freehold.cli import server as command
from freehold.cli.commands import commands
from freehold.postgres import strays
from freehold.postgres.account import Account
from freehold.postgres.folder import Folder
from freehold.postgres.strays import Home, homes, remove


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where data is looked for."""
    made = tmp_path / "room"
    made.mkdir()
    monkeypatch.setattr(command, "homes", lambda: homes((made,)))
    return made


def kept(room: Path, number: int, project: Path | None) -> Path:
    """Data of a project; the project's folder says where it is, if it is there."""
    home = room / f"{number:016x}-00000000"
    (home / "data").mkdir(parents=True)
    (home / "data" / "PG_VERSION").write_text("18\n")
    if project is not None:
        (home / "owner").write_text(f"{project}\n")
        if project.exists():
            (project / "location").write_text(f"{project}\n{home}\n")
    return home


def states(room: Path) -> dict[Path, str]:
    return {home.path: home.state for home in homes((room,))}


def test_only_what_is_gone_is_removed(room: Path, tmp_path: Path) -> None:
    there, again = tmp_path / "there", tmp_path / "again"
    there.mkdir()
    again.mkdir()
    gone = kept(room, 1, tmp_path / "gone")
    used = kept(room, 2, there)
    unknown = kept(room, 3, None)
    replaced = kept(room, 4, again)
    newer = kept(room, 5, again)  # the folder was deleted and made anew
    moved = kept(room, 6, there)
    (there / "location").write_text(f"{there}\n{used}\n")
    busy = kept(room, 7, tmp_path / "gone too")
    (room / "something else").mkdir()
    (room / f"{8:016x}-00000000").symlink_to(there)
    data = busy / "data"
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", "-D", str(data)], stdin=subprocess.PIPE
    ) as server:
        (data / "postmaster.pid").write_text(f"{server.pid}\n{data}\n")
        expected = {
            gone: "gone", used: "used", unknown: "unknown", replaced: "gone", newer: "used", moved: "gone", busy: "running"
        }  # fmt: skip
        assert states(room) == expected
        assert [home.path for home in homes((room,)) if remove(home)] == [gone, replaced, moved]
        server.communicate()
    assert states(room) == {used: "used", unknown: "unknown", newer: "used", busy: "gone"}
    assert there.is_dir()


def test_a_project_that_has_come_back_keeps_its_data(room: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    home = kept(room, 1, project)
    (seen,) = homes((room,))
    assert seen == Home(home, project, "gone")
    project.mkdir()
    assert not remove(seen)
    assert home.is_dir()


def test_the_command_asks_and_tells(room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner()
    assert "nothing to remove" in run.invoke(commands, ["server", "clean"]).output
    home = kept(room, 1, tmp_path / "gone")
    told = json.loads(run.invoke(commands, ["server", "clean", "--json"]).stdout)
    assert told == {"found": [{"path": str(home), "project": str(tmp_path / "gone"), "state": "gone"}], "removed": []}
    assert run.invoke(commands, ["server", "clean"]).exit_code == 1  # nobody is there to ask
    monkeypatch.setattr(os, "isatty", lambda _: True)
    assert run.invoke(commands, ["server", "clean"], input="n\n").exit_code == 1
    assert home.is_dir()
    result = run.invoke(commands, ["server", "clean"], input="y\n")
    assert (result.exit_code, home.exists()) == (0, False)
    kept(room, 2, tmp_path / "gone")
    told = json.loads(run.invoke(commands, ["server", "clean", "--yes", "--json"]).stdout)
    assert (len(told["removed"]), list(room.iterdir())) == (1, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's data is put elsewhere")
def test_data_that_is_put_elsewhere_says_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Path("/tmp") / f"freehold-strays-{os.getpid()}"  # the server's account passes through it
    monkeypatch.setattr("freehold.postgres.folder.ROOM", elsewhere)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    try:
        folder = Folder(closed / "project")
        home = folder.place(Account.choose(folder.home / "data"))
        if home == folder.path:
            pytest.skip("the account can reach the temporary folder")
        assert [(each.project, each.state) for each in strays.homes((elsewhere,))] == [(folder.path, "used")]
        (home / "owner").unlink()
        assert folder.home == home  # as an earlier release has left it
        shutil.rmtree(folder.path)
        assert [each.state for each in strays.homes((elsewhere,))] == ["gone"]
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)
