"""A proxy in a process of its own that makes a unix socket as far away as a network would.

    python benchmarks/proxy.py BACK FRONT ONE_WAY_MICROSECONDS

Connections to the socket file FRONT are passed on to BACK. Every chunk is delivered a fixed time after it arrived, in
both directions, and chunks do not wait for each other: like a network, and unlike a sleep between reads, it delays and
does not limit the rate. `ready` is printed once it listens; it ends when its standard input is closed, so that it never
outlives the benchmark.

The delay is the same for every chunk, so one queue in order of arrival is also in order of delivery. The wait is
`select` with microseconds (`epoll` in Python has milliseconds), with the kernel's timer slack turned down from 50 us to
nothing, and the last stretch before a delivery is polled, since waking up late is the main error. What it really adds
is measured, not assumed: see `benchmarks/world.py`.
"""

import contextlib
import ctypes
import select
import socket
import sys
from collections import deque
from pathlib import Path
from time import perf_counter

CHUNK = 1 << 18
POLLED = 25e-6
"""Seconds before a delivery that are polled instead of slept."""
PR_SET_TIMERSLACK = 29


class Peer:
    """One end of a connection, and what could not yet be written to it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.other: Peer
        self.backlog = bytearray()
        self.ended = False
        self.closed = False

    def fileno(self) -> int:
        return self.connection.fileno()

    def write(self, data: bytes | bytearray) -> None:
        """Write at once what the socket takes, and keep the rest in order."""
        if self.closed:
            return
        if self.backlog:
            self.backlog += data
            data, self.backlog = self.backlog, bytearray()
        try:
            sent = self.connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self.backlog = bytearray(data[sent:])

    def read(self) -> bytes:
        """What has arrived; empty at the end of the stream, which is read once."""
        try:
            data = self.connection.recv(CHUNK)
        except OSError:
            data = b""
        self.ended = not data
        return data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.connection.close()


class Proxy:
    """Pairs of connections, and one queue of what is on its way."""

    def __init__(self, back: str, front: str, delay: float) -> None:
        self.back = back
        self.delay = delay
        self.peers: list[Peer] = []
        self.on_its_way: deque[tuple[float, Peer, bytes]] = deque()
        self.listener = socket.socket(socket.AF_UNIX)
        Path(front).unlink(missing_ok=True)
        self.listener.bind(front)
        self.listener.listen(64)

    def serve(self) -> None:
        """Pass chunks on until standard input is closed."""
        standard_input = sys.stdin.fileno()
        while True:
            writers = [peer for peer in self.peers if peer.backlog]
            readers = [standard_input, self.listener, *(peer for peer in self.peers if not peer.ended)]
            readable, writable, _ = select.select(readers, writers, [], self.wait())
            arrived = perf_counter()
            for source in readable:
                if source == standard_input:
                    return
                if source is self.listener:
                    self.accept()
                elif isinstance(source, Peer) and not source.closed:
                    self.on_its_way.append((arrived + self.delay, source.other, source.read()))
            for peer in writable:
                peer.write(b"")
            self.deliver()
            self.peers = [peer for peer in self.peers if not peer.closed]

    def wait(self) -> float | None:
        """Seconds to sleep: nothing on its way, for ever; something nearly due, not at all."""
        if not self.on_its_way:
            return None
        return max(0.0, self.on_its_way[0][0] - perf_counter() - POLLED)

    def deliver(self) -> None:
        """Write what is due; an end of stream closes both ends once all before it is written."""
        while self.on_its_way and self.on_its_way[0][0] <= perf_counter():
            _, sink, data = self.on_its_way.popleft()
            if data:
                sink.write(data)
            else:
                sink.close()
                sink.other.close()

    def accept(self) -> None:
        connection, _ = self.listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self.back)
        except OSError:
            connection.close()
            server.close()
            return
        one, other = Peer(connection), Peer(server)
        one.other, other.other = other, one
        self.peers += (one, other)


def sharpen_timers() -> None:
    """Ask Linux to wake this process at the time it asked for; elsewhere the polling has to do."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def main() -> None:
    back, front, microseconds = sys.argv[1:]
    sharpen_timers()
    proxy = Proxy(back, front, float(microseconds) / 1e6)
    print("ready", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        proxy.serve()


if __name__ == "__main__":
    main()
