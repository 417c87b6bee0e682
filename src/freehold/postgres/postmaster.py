"""What `postmaster.pid` tells of a running server, and whether it is true.

PostgreSQL writes the file on start and removes it on a clean stop. After a crash it lies: the process is gone, or its
number belongs to another program by now; and in a copied folder it speaks of another cluster.
"""

import os
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PORT", "Postmaster", "is_answering", "is_listening"]

PORT = 5432
"""It only makes the name of the socket, which is alone in its folder."""

_ANSWER = 1.0
_EXEC_READS = 100
"""A millisecond apart."""
# Length and code; "Message Formats" in PostgreSQL's manual, chapter "Frontend/Backend Protocol".
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A server, as its `postmaster.pid` describes it. Lines not written yet are empty.

    Args:
        pid: its process.
        data: the data directory that it was started with.
        directory: the folder of its socket.
        status: `starting`, `ready` or `stopping`.

    Source: src/include/utils/pidfile.h of PostgreSQL.
    """

    pid: int
    data: Path
    directory: Path | None
    status: str

    @classmethod
    def read(cls, data: Path) -> "Postmaster | None":
        """What the file in the data directory says, if there is one that has been begun."""
        return cls.read_file(data / "postmaster.pid")

    @classmethod
    def read_file(cls, file: Path) -> "Postmaster | None":
        """The same of one file; the lock beside the socket begins with the same lines."""
        try:
            lines = file.read_text().splitlines()
        except FileNotFoundError:
            return None
        if len(lines) < 2 or not lines[0].isdecimal():
            return None
        lines += [""] * (8 - len(lines))
        return cls(int(lines[0]), Path(lines[1]), Path(lines[4]) if lines[4] else None, lines[7].strip())

    @property
    def ready(self) -> bool:
        """Whether it accepts sessions, by its own account."""
        return self.status == "ready"

    def serves(self, data: Path) -> bool:
        """Whether the process is there and is a server on this data directory, by its command line.

        A number that the system has given to another program since is thereby not taken for the server; neither is a
        zombie, which has no command line, nor the server of the folder that this one was copied from.
        """
        return _has_argument(self.pid, os.fsencode(data))

    def forget_if_replaced(self, file: Path, data: Path) -> None:
        """Remove the file it was read from, if its number now belongs to a program that does not serve this data.

        PostgreSQL cannot tell that program from a server and would refuse to start, typically after a reboot. A number
        that belongs to nobody it clears away itself. Its other guard, the shared memory segment found by the data
        directory's inode, still stops a second server on the same data.
        """
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return
        except PermissionError:
            pass
        if not self.serves(data):
            file.unlink(missing_ok=True)


def is_listening(directory: Path) -> bool:
    """Whether a process accepts connections on the server's socket in this folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(str(directory / f".s.PGSQL.{PORT}"))
        except BlockingIOError:
            return True  # so busy that its queue is full
        except OSError:
            return False
    return True


def is_answering(directory: Path) -> bool:
    """Whether a PostgreSQL server answers on its socket in this folder.

    A connection alone does not tell: for a moment the kernel accepts them for a server that has been killed. So it is
    asked whether it speaks TLS, which any server answers with one letter before it looks at who is asking.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_ANSWER)
        try:
            client.connect(str(directory / f".s.PGSQL.{PORT}"))
            client.sendall(_SSL_REQUEST)
            return client.recv(1) in (b"N", b"S")
        except OSError:
            return False


def _command_line(process: Path) -> list[bytes]:
    """A process's arguments; none for one that is gone, or only waits for its parent to notice that it is.

    In the middle of an exec a living process has none either, for a moment: so what is empty is read again.
    """
    for _ in range(_EXEC_READS):
        try:
            line = (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return []
        if line or state in ("Z", "X"):
            return line.split(b"\0")
        time.sleep(0.001)
    return []


def _has_argument(pid: int, argument: bytes) -> bool:
    proc = Path("/proc")
    if (proc / "self").exists():
        return argument in _command_line(proc / str(pid))
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]  # macOS has no /proc
    return argument in subprocess.run(command, capture_output=True, check=False).stdout  # noqa: S603 - no shell
