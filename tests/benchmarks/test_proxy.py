"""The benchmarks' proxy: it delays, and changes nothing else."""

import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "proxy.py"
ONE_WAY = 0.02


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: the path of a unix socket has about 100 characters at most.
    with TemporaryDirectory(prefix="fh-") as name:
        yield Path(name)


@pytest.fixture
def echo(folder: Path) -> Iterator[Path]:
    """A server that sends back what it gets."""
    path = folder / "back"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve(connection: socket.socket) -> None:
        # The proxy may close while an answer is under way.
        with closing(connection), suppress(OSError):
            while chunk := connection.recv(65536):
                connection.sendall(chunk)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def proxy(folder: Path, echo: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    front = folder / "front"
    command = [sys.executable, "-I", str(SCRIPT), str(echo), str(front), str(ONE_WAY * 1e6)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        yield process, front
        process.stdin.close()
        assert process.wait(10) == 0


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def received(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    return bytes(data)


def test_adds_its_delay_both_ways(proxy):
    with connected(proxy[1]) as connection:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            connection.sendall(b"x")
            received(connection, 1)
            times.append(time.perf_counter() - started)
    assert min(times) >= 2 * ONE_WAY
    assert statistics.median(times) < 4 * ONE_WAY


def test_chunks_do_not_wait_for_each_other(proxy):
    with connected(proxy[1]) as connection:
        started = time.perf_counter()
        for _ in range(20):
            connection.sendall(b"x")
            time.sleep(0.002)  # apart, so that they are chunks of their own
        received(connection, 20)
        taken = time.perf_counter() - started
    assert taken < 20 * 2 * ONE_WAY / 2


def test_passes_on_more_than_the_buffers_hold(proxy):
    sent = bytes(range(256)) * 40_000
    with connected(proxy[1]) as connection:
        writer = threading.Thread(target=connection.sendall, args=[sent])
        writer.start()
        time.sleep(0.2)  # nobody reads: the buffers on the way fill up
        assert received(connection, len(sent)) == sent
        writer.join()


def test_passes_on_the_end_of_a_connection(proxy):
    with connected(proxy[1]) as one, connected(proxy[1]) as other:
        one.sendall(b"bye")
        one.shutdown(socket.SHUT_WR)
        assert len(received(one, 100)) <= 3  # it ends; the proxy closes both ways at once, as PostgreSQL does
        other.sendall(b"still here")
        assert received(other, 10) == b"still here"


def test_ends_when_its_parent_does(proxy):
    process, _ = proxy
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 0
