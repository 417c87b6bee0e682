"""The account that PostgreSQL runs as: ourselves or, when we are root, an unprivileged account of its own.

PostgreSQL refuses to run as root, and `initdb` refuses an account that is not in the user database. As root we
therefore become the account `freehold`, made on first use; why that one, and what it may own, is in
docs/decisions/embedded-server.md. Programs are run and signals sent *as* that account, so that the kernel and not this
module decides what a server that has been broken into can reach.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from freehold.errors import ServerError

if sys.platform != "win32":
    import pwd

__all__ = ["Account"]

_SERVICE = "freehold"
_LAST_RESORT = "nobody"
_PROGRAM_FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"
# What a program needs of our environment to run. The rest stays here: it holds the application's keys, the server
# outlives us, and PG* variables would change what initdb and postgres do.
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs PostgreSQL's programs.

    Args:
        uid: the numeric user.
        gid: its numeric group.
        demoted: whether this is another account than our own, which is so exactly when we are root.
    """

    uid: int
    gid: int
    demoted: bool

    @classmethod
    def choose(cls, data: Path) -> "Account":
        """The account for the cluster in `data`: its owner when it exists, else the one to make it with.

        Raises:
            ServerError: the cluster belongs to another user, or there is no account to make it with.
        """
        owner = data.lstat() if data.is_dir() else None
        if os.geteuid() == 0:
            if owner is None:
                return _service()
            if owner.st_uid != 0:
                return cls(owner.st_uid, owner.st_gid, demoted=True)
        elif owner is None or owner.st_uid == os.geteuid():
            return cls(os.geteuid(), os.getegid(), demoted=False)
        raise ServerError(
            f"the cluster in {data} belongs to {named(owner.st_uid)}, and this process is {named(os.geteuid())}",
            hint="run as the user who made it, or choose another folder",
        )

    def run(self, command: Sequence[str], *, given: str | None = None, log: IO[bytes] | None = None) -> "Finished":
        """Run a program as this account to its end, in a session of its own so that Ctrl-C does not reach it.

        Args:
            command: the program and its arguments.
            given: its standard input; nothing if None.
            log: where its standard error goes; by default it is part of the answer.

        Raises:
            ServerError: the system does not let us become this account.
            OSError: the program cannot be run.
        """
        try:
            # `extra_groups` and `user` need root even to change nothing, so they are only given where we have it.
            return Finished.of(
                subprocess.run(  # noqa: S603 - a list, no shell; the programs are PostgreSQL's and /bin/sh
                    command,
                    input=given or "",
                    stdout=subprocess.PIPE,
                    stderr=log or subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    check=False,
                    cwd="/",
                    env=_environment(),
                    umask=0o077,
                    start_new_session=True,
                    user=self.uid if self.demoted else None,
                    group=self.gid if self.demoted else None,
                    extra_groups=[] if self.demoted else None,
                )
            )
        except OSError as error:
            # What cannot be run is EACCES or ENOENT; these two are the kernel's answers to becoming another user.
            if not self.demoted or error.errno not in (errno.EPERM, errno.EINVAL):
                raise
            raise ServerError(
                f"this process is root but may not become {named(self.uid)}: {error.strerror}",
                hint="run it as a normal user, or give its container the usual range of users",
            ) from error

    def adopt(self, folder: Path) -> None:
        """Give this account a folder that we have made ourselves."""
        if self.demoted:
            os.chown(folder, self.uid, self.gid, follow_symlinks=False)

    def version(self, program: str) -> "Finished":
        """What `program --version` prints, or why this account cannot run it: the way to it, or its libraries."""
        try:
            return self.run([program, "--version"])
        except OSError as error:
            return Finished(126, error.strerror or str(error))

    def can_write(self, folder: Path) -> bool:
        """Whether this account can make a file in the folder, tried out and not computed from permission bits."""
        return self.run(["/bin/sh", "-c", 'cd -- "$1" && : >probe && rm probe', "sh", str(folder)]).code == 0

    def signal(self, pid: int, name: str) -> None:
        """Send a signal, with this account's rights: a forged process id reaches nobody else's process."""
        self.run(["/bin/sh", "-c", 'kill -s "$1" "$2"', "sh", name, str(pid)])


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: its exit code and what it printed."""

    code: int
    output: str

    @classmethod
    def of(cls, process: "subprocess.CompletedProcess[str]") -> "Finished":
        """From the standard library's answer."""
        return cls(process.returncode, process.stdout)


def named(uid: int) -> str:
    """A user for a message: the name when there is one, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _environment() -> Mapping[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # LC_ALL: messages are English, which is what we quote, and macOS starts threads in postgres without it.
    return {"PATH": _PROGRAM_FOLDERS, **inherited, "LC_ALL": "C"}


def _service() -> Account:
    account = _lookup(_SERVICE)
    if account is None and (useradd := shutil.which("useradd", path=_PROGRAM_FOLDERS)):
        command = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        command += ["--shell", "/usr/sbin/nologin", _SERVICE]
        # Its failure is not ours: another process may have been faster, or the system may be read-only.
        subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - constants
        account = _lookup(_SERVICE)
    account = account or _lookup(_LAST_RESORT)
    if account is None:
        raise ServerError(
            "PostgreSQL does not run as root, and there is no account to run it as",
            hint=f"make one (useradd --system {_SERVICE}), or run as a normal user",
        )
    return account


def _lookup(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid, demoted=True) if entry.pw_uid != 0 else None
