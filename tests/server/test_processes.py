"""Real processes: how they stop, and what happens when they are killed."""

import asyncio
import os
import signal
from pathlib import Path

import httpx

from tests.conftest import Server
from tests.server.running import running, until
from tests.server.test_metrics import values


async def test_what_runs_is_answered_and_nothing_new_is_accepted(
    server: Server, database_name: str, tmp_path: Path
) -> None:
    async with running(server.address(database_name), tmp_path) as served:
        slow = asyncio.create_task(served.client.get("/api/wait"))
        await served.waits()
        served.stop()
        await served.refuses()
        assert not slow.done()
        served.go()
        answer = await slow
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert await served.ended() == 0


async def test_readiness_tells_of_the_end_before_it_comes(server: Server, database_name: str, tmp_path: Path) -> None:
    async with running(server.address(database_name), tmp_path, announce_seconds=60) as served:
        assert (await served.client.get("/readyz")).status_code == 200
        served.stop()

        async def told() -> bool:
            return (await served.client.get("/readyz")).status_code == 503

        await until(told)
        answer = await served.client.get("/api/pid")  # a load balancer may not have noticed yet
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        served.stop()  # who insists does not have to wait
        assert await served.ended() == 0


async def test_what_does_not_end_in_time_is_told_so(server: Server, database_name: str, tmp_path: Path) -> None:
    async with running(server.address(database_name), tmp_path, drain_seconds=0.05) as served:
        slow = asyncio.create_task(served.client.get("/api/wait"))
        await served.waits()
        served.stop()
        answer = await slow
        assert (answer.status_code, answer.json()["code"]) == (503, "FH401")
        assert await served.ended() == 0


async def test_workers_are_replaced_and_stop_together(server: Server, database_name: str, tmp_path: Path) -> None:
    async with running(server.address(database_name), tmp_path, workers=2, metrics=True) as served:

        async def pid() -> int:
            async with httpx.AsyncClient(base_url=served.url, timeout=20) as fresh:
                return int((await fresh.get("/api/pid")).json()["pid"])

        killed = await pid()
        assert killed != served.process.pid
        os.kill(killed, signal.SIGKILL)
        found: set[int] = set()

        async def two() -> bool:
            found.add(await pid())
            return len(found - {killed}) == 2

        await until(two)
        text = (await served.client.get("/metrics")).text
        workers = {key[1] for key in values(text) if key[0] == "freehold_pool_open"}
        assert workers == {"0", "1"}
        slow = asyncio.create_task(served.client.get("/api/wait"))
        await served.waits()
        served.stop()
        await served.refuses()
        served.go()
        assert (await slow).status_code == 200
        assert await served.ended() == 0
        assert "killed by signal 9" in (tmp_path / "log").read_text()
        for number in found - {killed}:
            assert gone(number)


async def test_a_hung_worker_is_killed_and_replaced(server: Server, database_name: str, tmp_path: Path) -> None:
    async with running(server.address(database_name), tmp_path, workers=2, silent=3) as served:
        hung = asyncio.create_task(served.client.get("/api/hang"))
        try:
            await hung
        except httpx.RemoteProtocolError:
            pass
        else:
            raise AssertionError("it answered")
        assert (await served.client.get("/api/pid")).status_code == 200
        assert "gives no sign of life" in (tmp_path / "log").read_text()


async def test_workers_do_not_outlive_their_supervisor(server: Server, database_name: str, tmp_path: Path) -> None:
    async with running(server.address(database_name), tmp_path, workers=2) as served:
        worker = (await served.client.get("/api/pid")).json()["pid"]
        served.process.kill()
        await until(lambda: gone(worker))


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has asked about yet has too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


# Connections


async def send(port: int, *parts: bytes) -> bytes:
    """What comes back for these bytes, until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


async def later(port: int, part: bytes) -> bytes:
    """What comes back for these bytes on a connection on which a request has been answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /api/pid HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(20):
            await reader.readuntil(b"}")
            writer.write(part)
            return await reader.read()
    finally:
        writer.close()


async def test_connections_are_bounded(server: Server, database_name: str, tmp_path: Path) -> None:
    settings = {
        "keep_alive": 0.2,
        "header_timeout": 0.2,
        "header_limit": 2_000,
        "body_timeout": 0.2,
        "body_limit": 1_000,
    }
    async with running(server.address(database_name), tmp_path, **settings) as served:
        assert await send(served.port) == b""  # nothing was asked
        assert b"408" in (await send(served.port, b"GET / HTTP/1.1\r\nhost: x\r\n")).splitlines()[0]
        assert b"408" in (await send(served.port, b"GET / HT")).splitlines()[0]
        assert await later(served.port, b"") == b""  # it was kept for a while
        assert b"408" in (await later(served.port, b"GET /api/pid HTTP/1.1\r\n")).splitlines()[0]
        long = b"GET / HTTP/1.1\r\nHost: test\r\nx: " + b"a" * 3_000 + b"\r\n\r\n"
        assert b"431" in (await send(served.port, long)).splitlines()[0]
        endless = await send(served.port, b"GET / HTTP/1.1\r\nx: ", *[b"a" * 10_000] * 20)
        assert endless == b"reset" or b"431" in endless.splitlines()[0]
        assert b"400" in (await send(served.port, b"nonsense\r\n\r\n")).splitlines()[0]
        slow = await send(served.port, b"POST /api/body HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nab")
        assert b"408" in slow.splitlines()[0]
        expecting = b"POST /api/body HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999\r\n\r\n"
        answer = await send(served.port, expecting)
        assert b"413" in answer.splitlines()[0]
        assert b"100 Continue" not in answer
        split = [b"GET /api/pid HTTP/1.1\r\n", b"host: x\r\nconnection: close\r\n", b"\r\n"]
        assert b"200" in (await send(served.port, *split)).splitlines()[0]
        kept = b"GET /api/pid HTTP/1.1\r\nhost: x\r\n\r\n" * 3
        answer = await send(served.port, kept, b"GET /api/pid HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200") == 4
