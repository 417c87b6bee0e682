"""Data of embedded servers whose project is gone.

As root, the data of a project in a closed folder is put elsewhere (`Folder.place`). When the project is deleted, it stays there. The
file `owner` beside it says whose it is; data of a release that did not write the file gets it when its server is started again.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from freehold.postgres.folder import OWNER, ROOM
from freehold.postgres.postmaster import Postmaster, is_listening

__all__ = ["Home", "homes", "remove"]

State = Literal["gone", "used", "running", "unknown"]
_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Home:
    """Data of an embedded server that is not in the project's folder.

    Args:
        path: where it is.
        project: the folder that it belongs to; None where nothing says it.
        state: `gone`: the project's folder is not there, or has other data now. Only this is ever removed. `used`: the project is there.
            `running`: a server runs on it. `unknown`: nothing says whose it is.
    """

    path: Path
    project: Path | None
    state: State

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.lstat().st_size for file in self.path.rglob("*") if file.is_file() and not file.is_symlink())


def homes(rooms: tuple[Path, ...] | None = None) -> Iterator[Home]:
    """All such data of this user, by path.

    Args:
        rooms: where to look; by default where embedded servers put it.
    """
    for room in rooms or (ROOM, Path(tempfile.gettempdir()) / "freehold"):
        found = sorted(room.iterdir()) if room.is_dir() and not room.is_symlink() else []
        for path in found:
            if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink() and _ours(path):
                project = _project(path)
                yield Home(path, project, _state(path, project))


def remove(home: Home) -> bool:
    """Removes data of a project that is gone; looks once more first.

    Returns:
        Whether it was removed: not where a server has been started on it, or the project is there again.
    """
    if _state(home.path, _project(home.path)) != "gone":
        return False
    shutil.rmtree(home.path)
    return True


def _ours(path: Path) -> bool:
    return path.lstat().st_uid == os.geteuid()


def _project(home: Path) -> Path | None:
    note = home / OWNER
    if note.is_symlink() or not note.is_file() or not _ours(note):
        return None
    text = os.fsdecode(note.read_bytes()).strip("\n")
    return Path(text) if text.startswith("/") else None


def _state(home: Path, project: Path | None) -> State:
    data = home / "data"
    server = Postmaster.read(data)
    if (server is not None and server.serves(data)) or is_listening(home / "socket"):
        return "running"
    if project is None:
        return "unknown"
    if not project.exists():
        return "gone"
    try:
        lines = os.fsdecode((project / "location").read_bytes()).splitlines()
    except FileNotFoundError:
        return "used"  # it is being made, or somebody has moved the file
    return "gone" if len(lines) == 2 and lines[1] != str(home) else "used"
