"""The folder of an embedded server: who uses it, its passwords, and where its data is.

    folder/             the invoking user's
    ├── lock            held exclusively while someone starts or stops the server
    ├── users           held shared by every user; whoever can take it exclusively is the last
    ├── secrets/        one password per file, 0600
    ├── server.log      and server.log.1
    ├── location        only where the data had to go elsewhere: for which folder, and where
    ├── data/           the cluster; the server's account's
    └── socket/         the socket; the server's account's

Both locks are `flock` on an open file: the kernel releases them when a process dies however it dies, two holders in one
process count as two, and children that are executed do not inherit them.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from freehold.errors import ServerError
from freehold.postgres.account import Account, named

__all__ = ["OWNER", "ROOM", "Folder", "make_folder", "room"]

_LOG_LIMIT = 8 * 1024 * 1024
_POLL = 0.01
ROOM = Path("/var/lib/freehold")
"""Where data goes that cannot be in the project's folder."""
OWNER = "owner"
"""The file beside such data that says whose it is."""


class Folder:
    """An embedded server's folder.

    Args:
        path: the folder; made, with its parents, when it is absent.

    Raises:
        ServerError: it is a file, belongs to another user, or cannot be made or written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().resolve()
        if "\n" in str(self.path):
            raise ServerError(f"the path {str(self.path)!r} contains a line break", hint="choose another folder")
        present = next(part for part in (self.path, *self.path.parents) if part.exists())
        if not present.is_dir():
            raise ServerError(f"{present} is a file, and the server needs a folder", hint="choose another path")
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # As root, the server's account must be able to pass through; what is secret inside is closed in itself.
            make_folder(self.path, 0o711 if os.geteuid() == 0 else 0o700)

    # -- locks -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, deadline: float) -> Iterator[None]:
        """Be the only one who starts or stops the server.

        Args:
            deadline: until when to wait, in seconds of `time.monotonic()`.

        Raises:
            ServerError: another process held it for too long.
        """
        with self._open("lock") as file:
            while not _try_lock(file, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"another process has been starting or stopping the server in {self.path} for too long",
                        hint=f"find it with: fuser {self.path / 'lock'}",
                    )
                time.sleep(_POLL)
            yield

    def enter(self) -> IO[bytes]:
        """Become a user of the server, until the answer is closed. Call with the lock held."""
        file = self._open("users")
        fcntl.flock(file, fcntl.LOCK_SH)  # waits for nobody: it is only held exclusively under the lock
        return file

    def is_last(self, user: IO[bytes]) -> bool:
        """Whether there is no other user. Call with the lock held, when leaving: it gives up the user's own hold."""
        return _try_lock(user, fcntl.LOCK_EX)

    # -- secrets -----------------------------------------------------------------------------------------------------

    def secret(self, name: str) -> str:
        """The password of this name, made at random on first use.

        Raises:
            ServerError: the name is not made of letters, digits, `_` and `-`, or the file is not ours.
        """
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}", name):
            raise ServerError(f"{name!r} cannot name a secret", hint="use letters, digits, '_' and '-'")
        folder = self.path / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not self.has_secret(name):
            with self._open("secrets/.lock") as guard:
                fcntl.flock(guard, fcntl.LOCK_EX)
                if not self.has_secret(name):
                    self._write(f"secrets/{name}", secrets.token_urlsafe(24))
        return self._read(f"secrets/{name}")

    def has_secret(self, name: str) -> bool:
        """Whether the password of this name has been made."""
        return (self.path / "secrets" / name).exists()

    # -- log ---------------------------------------------------------------------------------------------------------

    def log(self) -> IO[bytes]:
        """The server's log, to append to, shortened first when it has grown long.

        It is shortened in place, also under a running server: that one appends, so it goes on at the new end.
        """
        file = self._open("server.log")
        if (size := file.seek(0, os.SEEK_END)) > _LOG_LIMIT:
            file.seek(size - _LOG_LIMIT)
            with self._open("server.log.1") as previous:
                previous.truncate(0)
                previous.write(file.read())
            file.truncate(0)
        return file

    # -- where the data is -------------------------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        """Where the data is: here, or where `place` has put it.

        Raises:
            ServerError: it was put elsewhere, and is gone from there, or belongs to another folder.
        """
        if not (self.path / "location").exists():
            return self.path
        owner, home = self._read("location").splitlines()
        remedy = f"or delete {self.path / 'location'} to begin with an empty database"
        if owner != str(self.path):
            raise ServerError(
                f"{self.path} was moved or copied: its data is in {home} and belongs to {owner}",
                hint=f"move it back, {remedy}",
            )
        if not Path(home).is_dir():
            raise ServerError(
                f"the data of {self.path} was in {home}, which is gone",
                hint=f"bring it back (in a container: keep it on a volume), {remedy}",
            )
        self._note_owner(Path(home))  # a release before did not
        return Path(home)

    def _note_owner(self, home: Path) -> None:
        if not (home / OWNER).exists() and home.stat().st_uid == os.geteuid():
            (home / OWNER).write_bytes(os.fsencode(f"{self.path}\n"))

    def place(self, account: Account) -> Path:
        """Decide where a new cluster's data goes, and remember it. Call with the lock held.

        Here, if the account can write here; else in a room for such cases, since the permissions of the folders above
        are not ours to change.
        """
        if (self.path / "location").exists() or _suits(self.path, account):
            return self.home
        # A new name each time: where this folder was removed and made anew, the old one's data may still lie there.
        digest = hashlib.sha256(str(self.path).encode()).hexdigest()[:16]
        home = room(account) / f"{digest}-{secrets.token_hex(4)}"
        if not make_folder(home, 0o711):
            raise ServerError(f"{home} is not ours", hint="remove it, or choose another folder for the server")
        self._note_owner(home)  # before the location: data that has one always says whose it is
        self._write("location", f"{self.path}\n{home}\n")
        return home

    # -- files -------------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> str:
        with self._open(name) as file:
            file.seek(0)
            return os.fsdecode(file.read())

    def _write(self, name: str, text: str) -> None:
        # Written aside and renamed: a reader sees the whole text or none, also after a crash.
        with self._open(f"{name}.draft") as draft:
            draft.truncate(0)
            draft.write(os.fsencode(text))
            draft.flush()
            os.fsync(draft.fileno())
        (self.path / f"{name}.draft").rename(self.path / name)

    def _open(self, name: str) -> IO[bytes]:
        """Open a file of ours, never through a link and never another user's.

        Others may be able to write in this folder (a shared checkout, a temporary folder), so what lies in it is not
        ours just because it has the right name.
        """
        try:
            descriptor = os.open(
                self.path / name, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except PermissionError as error:
            if not (self.path / name).exists():
                raise
            raise self._foreign(name) from error
        file = os.fdopen(descriptor, "a+b")
        if os.fstat(descriptor).st_uid != os.geteuid():
            file.close()
            raise self._foreign(name)
        return file

    def _foreign(self, name: str) -> ServerError:
        owner = (self.path / name).lstat().st_uid
        return ServerError(
            f"{self.path} belongs to {named(owner)}, and this process is {named(os.geteuid())}",
            hint="run as the user who made it, or choose another folder",
        )


def room(account: Account) -> Path:
    """A folder of ours that the account can pass through, for what cannot be where the user wants it.

    Raises:
        ServerError: there is none.
    """
    for folder in (ROOM, Path(tempfile.gettempdir()) / "freehold"):
        with contextlib.suppress(OSError):  # not possible here; the next may be
            if make_folder(folder, 0o711) and _suits(folder, account):
                return folder
    raise ServerError(
        f"neither {ROOM} nor {tempfile.gettempdir()} can be used by {named(account.uid)}",
        hint="choose a folder that every user can pass through, or run as a normal user",
    )


def make_folder(folder: Path, mode: int) -> bool:
    """Make a folder with this mode whatever the umask, or judge the one that is there.

    Returns:
        Whether the folder is really ours: not a link, and nobody else can write in it or has put it there.
    """
    try:
        folder.mkdir(mode=mode)
        folder.chmod(mode)
    except FileExistsError:
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return True


def _suits(folder: Path, account: Account) -> bool:
    """Whether the account can have a folder of its own in this one."""
    if not account.demoted:
        return True
    trial = Path(tempfile.mkdtemp(prefix="trial-", dir=folder))
    try:
        account.adopt(trial)
        return trial.stat().st_uid == account.uid and account.can_write(trial)
    except PermissionError:
        return False  # a file system that knows no owners
    finally:
        trial.rmdir()


def _try_lock(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
