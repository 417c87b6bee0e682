"""Make a cluster, start the server on it, and stop it: one data directory, and only the holder of the folder's lock.

Making is all or nothing: `initdb` works in a folder aside, which is then renamed. Starting is by double fork, in a
session of its own: the server is nobody's child, so neither Ctrl-C in the starter's terminal nor the starter's end
reaches it. PostgreSQL itself watches over the rest: it removes a stale `postmaster.pid`, recovers after a crash, and
refuses to start while a process of the last run still holds the data.
"""

import contextlib
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from freehold.errors import ServerError
from freehold.postgres.account import Account, Finished
from freehold.postgres.binaries import VARIABLE, Binaries
from freehold.postgres.postmaster import PORT, Postmaster, is_answering, is_listening

__all__ = ["SUPERUSER", "Cluster"]

SUPERUSER = "postgres"

# A socket's address holds 104 bytes on macOS, and more on Linux; the file's own name and its end take 15 of them.
_LONGEST = 104 - len(f"/.s.PGSQL.{PORT}") - 1
_POLL = 0.005
_TAIL = 12
_CONFIGURATION = "freehold.conf"
# Durable as in production, sized for a laptop. Written anew on each start, so that an upgrade of Freehold takes effect;
# the user's own settings go in by ALTER SYSTEM, which PostgreSQL reads last.
_SETTINGS = f"""\
# Written by Freehold on each start. Change settings with ALTER SYSTEM.
include_if_exists = 'postgresql.conf'

listen_addresses = ''
port = {PORT}
unix_socket_directories = '{{socket}}'
unix_socket_permissions = 0700
max_connections = 100
password_encryption = 'scram-sha-256'

fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = '128MB'
random_page_cost = 1.1
jit = off
timezone = 'UTC'

# To the folder's server.log. Neither statements nor the details of errors, which quote rows and passwords.
log_destination = 'stderr'
logging_collector = off
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_statement = 'none'
log_min_duration_statement = -1
log_min_error_statement = 'panic'
log_error_verbosity = 'terse'
log_checkpoints = off
lc_messages = 'C'
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data directory.

    Args:
        home: the folder that it is in; its socket is there too, where the name is short enough.
        account: whose it is.
    """

    home: Path
    account: Account

    @property
    def data(self) -> Path:
        """The data directory itself."""
        return self.home / "data"

    # -- make --------------------------------------------------------------------------------------------------------

    def make(self, binaries: Binaries, major: int, password: str) -> None:
        """Make the cluster with `initdb`, whole or not at all.

        Args:
            binaries: the programs.
            major: their version.
            password: the superuser's; it travels through a pipe and is never in a file here.

        Raises:
            ServerError: `initdb` failed; what it had made is removed.
        """
        for abandoned in self.home.glob("initdb-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.home))
        try:
            self.account.adopt(staging)
            command = [binaries.initdb, "--pgdata", str(staging / "data"), "--username", SUPERUSER]
            command += ["--auth", "scram-sha-256", "--pwfile", "/dev/stdin", "--data-checksums", "--encoding", "UTF8"]
            command += _locale(major)
            # Through cat: the pipe is then made by the account itself, which may not open one of root's by name.
            done = self.account.run(["/bin/sh", "-c", 'cat | "$@"', "sh", *command], given=f"{password}\n")
            if done.code != 0:
                raise self._not_made(done)
            (staging / "data").rename(self.data)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _not_made(self, done: Finished) -> ServerError:
        said = [line for line in done.output.splitlines() if "error:" in line or "FATAL" in line or "PANIC" in line]
        reason = "; ".join(said) or done.output.strip()[-400:] or f"it ended with code {done.code}"
        return ServerError(
            f"PostgreSQL's initdb could not make a cluster in {self.home}: {reason}", hint=self._free_space(done.output)
        )

    def _free_space(self, output: str) -> str | None:
        free = shutil.disk_usage(self.home).free
        if "No space left" in output or free < 64 * 1024 * 1024:
            return f"free some disk space: {free // 1024**2} MB are left at {self.home}, and a new cluster takes 64 MB"
        if "does not exist" in output and "effective user" in output:
            return "initdb needs the user in the user database: add it to /etc/passwd"
        return None

    def check(self, binaries: Binaries, major: int) -> None:
        """Find out whether the data directory is a cluster of this version.

        Raises:
            ServerError: it is not.
        """
        try:
            made_by = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError as error:
            raise ServerError(
                f"{self.data} is not a PostgreSQL cluster", hint="choose another folder, or move that one away"
            ) from error
        if made_by != str(major):
            raise ServerError(
                f"the cluster in {self.home} was made by PostgreSQL {made_by}, and the programs in "
                f"{binaries.directory} ({binaries.origin}) are version {major}",
                hint=f"set {VARIABLE} to the bin folder of a PostgreSQL {made_by}, or dump the data with that one and "
                "load it into a new folder",
            )

    # -- find --------------------------------------------------------------------------------------------------------

    @property
    def _socket(self) -> Path:
        return self.home / "socket"

    def socket_directory(self) -> Path:
        """A folder for the socket that only the account can enter, made if it is absent; root can enter any.

        In the home if the socket's name then fits into an address (see `_LONGEST`), else in the
        temporary folder.

        Raises:
            ServerError: there is no safe one.
        """
        if len(os.fsencode(self._socket)) <= _LONGEST and re.fullmatch(r"[\w/.+@ -]+", str(self._socket)):
            self._own(self._socket)
            return self._socket
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"freehold-{self.account.uid}-{digest}"
        try:
            self._own(short)
        except ServerError:
            # Another user has put something there, to be in our way or worse. Any name does: the server records it.
            short = Path(tempfile.mkdtemp(prefix="freehold-"))
            self.account.adopt(short)
        return short

    def _own(self, folder: Path) -> None:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if (found := folder.lstat()).st_uid == os.geteuid():  # made just now, or by a start that was killed here
            self.account.adopt(folder)
            found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.account.uid or found.st_mode & 0o077:
            raise ServerError(
                f"{folder} is to hold the server's socket, but others can enter it, or it is not the server's",
                hint="remove it",
            )

    def find(self, deadline: float) -> Path | None:
        """The socket's folder of the server that runs, once it is ready; None when none runs.

        Raises:
            ServerError: one runs, but does not become ready, or end, before the deadline.
        """
        while (postmaster := Postmaster.read(self.data)) is not None:
            # The recorded folder is only believed of a server on this very data: a copied folder names its original's.
            recorded = postmaster.directory if postmaster.data == self.data else None
            directory = recorded or self._socket
            if postmaster.ready and is_answering(directory):
                return directory
            if not is_listening(directory) and not postmaster.serves(self.data):
                return None
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the server in {self.home} (process {postmaster.pid}) is {postmaster.status or 'starting'} "
                    f"and cannot be reached at {directory}",
                    hint=f"wait, or end it with: kill -INT {postmaster.pid}",
                )
            time.sleep(_POLL)
        return None

    # -- start -------------------------------------------------------------------------------------------------------

    def start(self, binaries: Binaries, directory: Path, log: IO[bytes], deadline: float) -> None:
        """Start the server and wait until it is ready. Call only after `find` has found none.

        Args:
            binaries: the programs, of the cluster's version.
            directory: the socket's folder, from `socket_directory`.
            log: where it writes.
            deadline: until when to wait, in seconds of `time.monotonic()`.

        Raises:
            ServerError: it ended, or did not become ready in time and was stopped; with its last words.
        """
        if is_listening(directory):
            raise ServerError(
                f"another process listens on {directory}/.s.PGSQL.{PORT}",
                hint=f"find it with: fuser {directory}/.s.PGSQL.{PORT}",
            )
        for file in (self.data / "postmaster.pid", directory / f".s.PGSQL.{PORT}.lock"):
            if (recorded := Postmaster.read_file(file)) is not None:
                recorded.forget_if_replaced(file, self.data)
        self._configure(directory)
        said = ""
        while time.monotonic() < deadline:
            begin = log.seek(0, os.SEEK_END)
            pid = self._launch(binaries, log)
            if self._becomes_ready(pid, deadline):
                return
            log.seek(begin)
            said = log.read().decode(errors="replace")
            # After kill -9 of the server its children take a moment to notice and go; PostgreSQL waits for that.
            if "still in use" not in said:
                break
            time.sleep(_POLL * 10)
        if time.monotonic() < deadline:
            message = f"the server in {self.home} ended before it was ready"
        else:
            message = f"the server in {self.home} was not ready in time, and was stopped"
        raise ServerError(
            "\n  ".join([f"{message}; its last words:", *(said.splitlines()[-_TAIL:] or ["(none)"])]),
            hint=self._free_space(said),
        )

    def _configure(self, directory: Path) -> None:
        # As root we write where an unprivileged account rules: O_NOFOLLOW and O_EXCL, so that no link leads us astray.
        folder = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            draft = f"{_CONFIGURATION}.draft"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=folder)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
            with os.fdopen(descriptor, "w") as file:
                file.write(_SETTINGS.format(socket=directory))
                if self.account.demoted:
                    os.fchown(descriptor, self.account.uid, self.account.gid)
            os.rename(draft, _CONFIGURATION, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(folder)

    def _launch(self, binaries: Binaries, log: IO[bytes]) -> int:
        configuration = self.data / _CONFIGURATION
        command = [binaries.postgres, "-D", str(self.data), "-c", f"config_file={configuration}"]
        done = self.account.run(["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command], log=log)
        return int(done.output)

    def _becomes_ready(self, pid: int, deadline: float) -> bool:
        """Wait for the started process to say that it is ready; if it does not in time, stop it."""
        started = Postmaster(pid, self.data, None, "")

        def settled() -> bool:
            found = Postmaster.read(self.data)
            return (found is not None and found.pid == pid and found.ready) or not started.serves(self.data)

        if not _wait(settled, deadline):
            self._end(started, time.monotonic() + 5)
        found = Postmaster.read(self.data)
        return found is not None and found.pid == pid and found.ready

    # -- stop --------------------------------------------------------------------------------------------------------

    def stop(self, deadline: float) -> None:
        """Stop the server, if one runs: sessions are ended, and everything is on disk when this returns.

        Raises:
            ServerError: it did not end before the deadline.
        """
        postmaster = Postmaster.read(self.data)
        if postmaster is None or not postmaster.serves(self.data):
            return  # gone, or in another container, whose processes cannot be reached from this one
        self.account.signal(postmaster.pid, "INT")
        if not _wait(lambda: not postmaster.serves(self.data), deadline):
            raise ServerError(
                f"the server in {self.home} (process {postmaster.pid}) does not stop",
                hint=f"its log says why; end it with: kill -QUIT {postmaster.pid}",
            )
        if postmaster.directory is not None and postmaster.directory != self._socket:
            with contextlib.suppress(OSError):  # a short-lived folder in a temporary one: its rest does no harm
                postmaster.directory.rmdir()

    def _end(self, postmaster: Postmaster, deadline: float) -> None:
        self.account.signal(postmaster.pid, "INT")
        if not _wait(lambda: not postmaster.serves(self.data), deadline):
            self.account.signal(postmaster.pid, "KILL")
            _wait(lambda: not postmaster.serves(self.data), deadline + 5)


def _locale(major: int) -> list[str]:
    # The same order and the same case everywhere, whatever locales the system has or lacks.
    if major >= 17:
        return ["--locale-provider", "builtin", "--locale", "C.UTF-8"]
    return ["--locale", "C" if sys.platform == "darwin" else "C.UTF-8"]


def _wait(condition: Callable[[], bool], deadline: float) -> bool:
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
