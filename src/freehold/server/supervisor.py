"""Several processes that serve on one port, and the one that looks after them.

Authority: the supervisor's process. It binds the port and hands it to its workers, which accept from it as they have time. A
worker is started anew when it ends or says nothing any more. It stops when the supervisor says so, or is gone: the pipe
between them tells.

Failures: where a worker cannot start at first, nothing serves, and the error is the supervisor's. Later it is tried again, in
growing intervals, while the others go on.
"""

import asyncio
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from freehold.errors import FreeholdError, InternalError
from freehold.server.application import WebApplication
from freehold.server.metrics import SharedFigures
from freehold.server.serving import Stop, loop_factory, serve_one
from freehold.server.settings import Settings

__all__ = ["Make", "Supervisor"]

Make = Callable[[SharedFigures | None], WebApplication]
"""Makes what a process serves. It is sent to the workers, so it is a function of a module, or a partial of one."""

BEAT = 1.0
"""Seconds between two signs of life of a worker."""
SILENT = 60.0
"""Seconds without one after which a worker is taken for hung, and killed."""
CLOSING = 10.0
"""Seconds that a worker may take to close, beyond those in which requests may go on."""
LONGEST_PAUSE = 10.0

_log = logging.getLogger("freehold.server")


@dataclass(slots=True)
class Worker:
    """A process that serves.

    Args:
        number: its place; the one that replaces it has the same.
        process: itself.
        pipe: to it. It hears the end of this.
        started, heard: when, by the monotonic clock.
        ready: whether it has accepted connections.
        error: why it could not start.
    """

    number: int
    process: SpawnProcess
    pipe: Connection
    started: float
    heard: float
    ready: bool = False
    error: FreeholdError | None = None


class Supervisor:
    """Looks after workers.

    Args:
        make: makes what they serve.
        bound: where they listen. It is closed.
        workers: how many.
        settings: for how long they may go on.
        listening: is called once, when all are ready.
        silent: seconds after which a worker that gives no sign is killed.
    """

    def __init__(
        self,
        make: Make,
        bound: socket.socket,
        workers: int,
        settings: Settings,
        *,
        listening: Callable[[], None] = lambda: None,
        silent: float = SILENT,
    ) -> None:
        self._make = make
        self._bound = bound
        self._settings = settings
        self._listening = listening
        self._silent = silent
        self._number = workers
        self._workers: dict[int, Worker] = {}
        self._due: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="freehold-workers-"))
        self._spawn = multiprocessing.get_context("spawn")
        self._asked = 0
        self._told = False

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, and until what runs then has ended.

        Raises:
            FreeholdError: no worker can start.
        """
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            for number in range(self._number):
                self._start(number)
            while not self._asked:
                self._turn(reader)
        finally:
            self._end()
            signal.set_wakeup_fd(woken)
            for signal_number, handler in before.items():
                signal.signal(signal_number, handler)
            os.close(reader)
            os.close(writer)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked += 1

    def _start(self, number: int) -> None:
        ours, theirs = self._spawn.Pipe()
        shared = SharedFigures(self._folder, number)
        process = self._spawn.Process(
            target=_work, args=(self._make, self._bound, shared, theirs), name=f"worker {number}"
        )
        process.start()
        theirs.close()
        now = time.monotonic()
        self._workers[number] = Worker(number, process, ours, now, now)

    def _turn(self, reader: int) -> None:
        """Waits until something happens, at most a second, and sees to it."""
        watched: list[Connection | int] = [reader]
        for worker in self._workers.values():
            watched += [worker.process.sentinel, worker.pipe] if not worker.pipe.closed else [worker.process.sentinel]
        wait(watched, timeout=0.2 if self._due else 1.0)
        now = time.monotonic()
        for worker in list(self._workers.values()):
            self._hear(worker, now)
            if not worker.process.is_alive():
                self._replace(worker, now)
            elif worker.ready and now - worker.heard > self._silent:
                _log.error("worker %d gives no sign of life and is killed", worker.number)
                worker.process.kill()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._start(number)
        if not self._told and len(self._workers) == self._number and all(w.ready for w in self._workers.values()):
            self._told = True
            self._listening()

    def _hear(self, worker: Worker, now: float) -> None:
        try:
            while not worker.pipe.closed and worker.pipe.poll():
                said = worker.pipe.recv()
                worker.heard = now
                worker.ready = worker.ready or said == "ready"
                if isinstance(said, FreeholdError):
                    worker.error = said
        except (EOFError, OSError):
            worker.pipe.close()

    def _replace(self, worker: Worker, now: float) -> None:
        """Has another one take the place of a worker that has ended.

        Raises:
            FreeholdError: it could not start, and none has served yet.
        """
        worker.process.join()
        worker.pipe.close()
        del self._workers[worker.number]
        code = worker.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if not self._told and not worker.ready:
            raise worker.error or InternalError(f"a worker {how} before it served", hint="the log has more")
        pause = 0.0 if now - worker.started > LONGEST_PAUSE else max(0.1, 2 * self._pauses.get(worker.number, 0.0))
        self._pauses[worker.number] = pause = min(pause, LONGEST_PAUSE)
        self._due[worker.number] = now + pause
        why = f": {worker.error.message}" if worker.error is not None else ""
        _log.error("worker %d (process %s) %s%s; another takes its place", worker.number, worker.process.pid, how, why)

    def _end(self) -> None:
        """Stops the workers, and kills those that do not stop in time."""
        self._bound.close()  # theirs too, as soon as they have; from then on the system refuses connections
        for worker in self._workers.values():
            worker.process.terminate()
        settings = self._settings
        end = time.monotonic() + settings.announce_seconds + settings.drain_seconds + CLOSING
        insisted = False
        while running := [worker for worker in self._workers.values() if worker.process.is_alive()]:
            if self._asked > 1 and not insisted:
                insisted = True
                for worker in running:
                    worker.process.terminate()
            if time.monotonic() > end:
                for worker in running:
                    _log.error("worker %d does not stop and is killed", worker.number)
                    worker.process.kill()
            wait([worker.process.sentinel for worker in running], timeout=0.2)
        for worker in self._workers.values():
            worker.process.join()
            worker.pipe.close()


def _work(make: Make, bound: socket.socket, shared: SharedFigures, pipe: Connection) -> None:
    """A worker's process."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all of a terminal's processes; the supervisor tells when
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            server = make(shared)
            runner.run(_serve(server, bound, pipe))
        except FreeholdError as error:
            pipe.send(error)
            raise SystemExit(1) from None


async def _serve(server: WebApplication, bound: socket.socket, pipe: Connection) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop)

    def hear() -> None:  # the supervisor says nothing: what there is to hear is that it is gone
        loop.remove_reader(pipe.fileno())
        stop()

    async def beat() -> None:
        with suppress(OSError):  # the supervisor is gone, which `hear` finds out too
            while True:
                await asyncio.sleep(BEAT)
                pipe.send("alive")

    loop.add_reader(pipe.fileno(), hear)
    beating = asyncio.create_task(beat())
    try:
        await serve_one(server, bound, stop, lambda: pipe.send("ready"))
    finally:
        beating.cancel()
        loop.remove_reader(pipe.fileno())
