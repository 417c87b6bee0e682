"""Serves in a process that is started anew when the code changes. For development.

The port stays open in between: who connects meanwhile is answered by the next process. Code that does not start is told of, and
the next change is waited for.
"""

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from freehold.errors import FreeholdError, InternalError

__all__ = ["Reloader", "Watch"]

EVERY = 0.3
"""Seconds between two looks at the files."""
PATIENCE = 10.0
"""Seconds that a process has to end."""

Work = Callable[[socket.socket, Connection, bool], None]
"""What the process does: it listens, says "ready" or sends the error, and ends when SIGTERM comes or the pipe's end. The last
argument is whether it is the first one. It is a function of a module, or a partial of one."""


class Watch:
    """The Python files of folders, but for hidden folders and environments.

    Args:
        folders: where to look.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._known = self._look()

    def changed(self) -> list[Path]:
        """The files that are new, other or gone since the last call."""
        found = self._look()
        changed = {path for path, state in found.items() if self._known.get(path) != state}
        changed |= self._known.keys() - found.keys()
        self._known = found
        return sorted(changed)

    def _look(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for path in self._files():
            try:
                state = path.stat()
            except OSError:
                continue  # an editor has put another one in its place, or will in a moment
            found[path] = (state.st_mtime_ns, state.st_size)
        return found

    def _files(self) -> Iterator[Path]:
        for folder in self._folders:
            for path, inner, names in os.walk(folder):
                inner[:] = [name for name in inner if not _foreign(Path(path), name)]
                yield from (Path(path, name) for name in names if name.endswith(".py"))


def _foreign(path: Path, name: str) -> bool:
    return name.startswith((".", "__pycache__")) or name == "node_modules" or (path / name / "pyvenv.cfg").exists()


class Reloader:
    """Keeps a process running with the newest code.

    Args:
        work: what it does.
        bound: where it listens.
        watch: the files.
        told: is called with the files that have changed.
        failed: is called with the error where code cannot start.
    """

    def __init__(
        self,
        work: Work,
        bound: socket.socket,
        watch: Watch,
        *,
        told: Callable[[Sequence[Path]], None],
        failed: Callable[[FreeholdError], None],
    ) -> None:
        self._work = work
        self._bound = bound
        self._watch = watch
        self._told = told
        self._failed = failed
        self._spawn = multiprocessing.get_context("spawn")
        self._stopped = False
        self._served = False

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT.

        Raises:
            FreeholdError: the first process cannot start.
        """
        with self._signals():
            process, pipe = self._start()
            try:
                while not self._stopped:
                    wait([process.sentinel, pipe] if process.is_alive() else [], timeout=EVERY)
                    self._hear(process, pipe)
                    changed = self._watch.changed()
                    if changed and not self._stopped:
                        self._told(changed)
                        _end(process, pipe)
                        process, pipe = self._start()
            finally:
                _end(process, pipe)

    def _start(self) -> tuple[SpawnProcess, Connection]:
        ours, theirs = self._spawn.Pipe()
        process = self._spawn.Process(target=self._work, args=(self._bound, theirs, not self._served))
        process.start()
        theirs.close()
        return process, ours

    def _hear(self, process: SpawnProcess, pipe: Connection) -> None:
        """Takes in what the process has said.

        Raises:
            FreeholdError: it cannot start, and none before it could.
        """
        error: FreeholdError | None = None
        try:
            while not pipe.closed and pipe.poll():
                said = pipe.recv()
                self._served = self._served or said == "ready"
                error = said if isinstance(said, FreeholdError) else error
        except (EOFError, OSError):
            pipe.close()
            process.join(PATIENCE)
        if error is None and not self._served and not process.is_alive():
            error = InternalError("the application does not start", hint="see above")
        if error is not None:
            if not self._served:
                raise error
            self._failed(error)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(_signal: int, _frame: FrameType | None) -> None:
            self._stopped = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _end(process: SpawnProcess, pipe: Connection) -> None:
    until = time.monotonic() + PATIENCE
    process.terminate()
    process.join(max(until - time.monotonic(), 0))
    if process.is_alive():
        process.kill()
        process.join()
    pipe.close()
