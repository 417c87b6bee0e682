"""The folder of revisions: files in one line, each following the one before it.

Alembic reads the files and knows their order. Two heads are refused instead of merged: in one line it is always known
which revision comes next, also for those who have one of the two already.
"""

import secrets
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from alembic.operations.ops import MigrateOperation
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from freehold.engine.migrations.recording import recorded
from freehold.errors import FreeholdError, MigrationError

__all__ = ["Folder", "Revision"]


@dataclass(frozen=True)
class Revision:
    """One file of the folder.

    Args:
        id: as the file says.
        title: the first line of its docstring.
        path: of the file.
        module: what it defines.
    """

    id: str
    title: str
    path: Path
    module: Any  # Any: a module with upgrade() and downgrade()

    def operations(self, direction: str) -> list[MigrateOperation]:
        """What it does on the way up or down.

        Raises:
            MigrationError: it raises, or asks for what is not there.
        """
        name = "upgrade" if direction == "up" else "downgrade"
        function = getattr(self.module, name, None)
        if not callable(function):
            raise MigrationError(f"{self.path.name} has no function {name}()", hint=f"write def {name}() -> None:")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return recorded(function)
        except FreeholdError as error:
            raise MigrationError(f"{self._where(error)}: {error.message}", hint=error.hint) from error
        except Exception as error:
            hint = f"mend {name}() in this file; nothing was run"
            raise MigrationError(
                f"{self._where(error)} raises {type(error).__name__}: {_first_line(error)}", hint=hint
            ) from error

    def _where(self, error: Exception) -> str:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.path)
        ]
        return f"{self.path.name}, line {lines[-1]}" if lines else self.path.name


class Folder:
    """The revisions of a folder.

    Args:
        path: of the folder; it need not be there yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).resolve()

    @cached_property
    def revisions(self) -> Sequence[Revision]:
        """All of them, oldest first.

        Raises:
            MigrationError: a file cannot be read, follows one that is not there, or there are two heads.
        """
        if not self.path.is_dir():
            return ()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # of Alembic's: a revision that is there twice, or follows none that is there
            try:
                scripts = ScriptDirectory(self.path, version_locations=[self.path])
                heads = scripts.get_heads()
                line = list(scripts.walk_revisions()) if len(heads) == 1 else []
            except Exception as error:
                raise self._unreadable(error) from error
        if len(heads) > 1:
            files = " and ".join(sorted(Path(scripts.get_revision(head).path).name for head in heads))
            raise MigrationError(
                f"the revisions have two heads: {files}",
                hint="let one follow the other: write the other's id into its down_revision",
            )
        return [self._revision(script) for script in reversed(line)]

    @property
    def head(self) -> str | None:
        """The id of the newest revision; None where there is none."""
        return self.revisions[-1].id if self.revisions else None

    def index(self, revision: str | None) -> int:
        """How many revisions lead to one: 0 for None.

        Raises:
            MigrationError: the folder does not know it.
        """
        for number, known in enumerate(self.revisions):
            if known.id == revision:
                return number + 1
        if revision is None:
            return 0
        raise MigrationError(
            f"the folder {self.path} knows no revision {revision}",
            hint="run the release that has it, or name one that 'freehold migrate status' lists",
        )

    def add(self, title: str, written: Callable[[str, str | None], str]) -> Path:
        """Writes a new revision at the head.

        Args:
            title: for people; the file's name is made of it.
            written: makes the file's text of the revision's id and the one that it follows.
        """
        number = len(self.revisions) + 1
        revision = f"{number:04d}_{secrets.token_hex(2)}"
        slug = "_".join("".join(char if char.isalnum() else " " for char in title.lower()).split())[:50].strip("_")
        path = self.path / f"{revision}_{slug or 'revision'}.py"
        self.path.mkdir(parents=True, exist_ok=True)
        path.write_text(written(revision, self.head), encoding="utf-8")
        self.__dict__.pop("revisions", None)
        return path

    def _revision(self, script: Script) -> Revision:
        if not isinstance(script.down_revision, str | None) or script.dependencies:
            raise MigrationError(
                f"{Path(script.path).name} follows several revisions",
                hint="revisions are one line: name one down_revision",
            )
        return Revision(
            script.revision, (script.doc or script.revision).splitlines()[0], Path(script.path), script.module
        )

    def _unreadable(self, error: Exception) -> MigrationError:
        """What is wrong with the folder, with the file that it is wrong with where that can be told."""
        hint = "mend that file; nothing was run"
        if isinstance(error, SyntaxError) and error.filename:
            return MigrationError(f"{Path(error.filename).name}, line {error.lineno}: {error.msg}", hint=hint)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent == self.path]
        if frames:
            place = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}"
            return MigrationError(f"{place} raises {type(error).__name__}: {_first_line(error)}", hint=hint)
        if isinstance(error, KeyError | RevisionError | CommandError | Warning):
            return MigrationError(
                f"the revisions of {self.path} do not fit together: {_first_line(error)}",
                hint="each file's down_revision is the id of one other file, and no id is there twice",
            )
        return MigrationError(f"the folder {self.path} cannot be read: {_first_line(error)}", hint=hint)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
