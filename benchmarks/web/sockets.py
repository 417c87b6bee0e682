"""The driver where wrk is not installed: `python -I sockets.py PORT CONNECTIONS SECONDS JOB`, without any package.

It does what `load.lua` has wrk do, and prints the same line. Python takes several times the processor time of wrk for it,
on the cores that the server wants too.
"""

import asyncio
import json
import random
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ID = re.compile(rb'"id": *"([0-9a-f-]+)"')
VERSION = re.compile(rb'"version": *(\d+)')
TIMEOUT = 10.0
"""Seconds in which an answer must have come when the time is over."""


class Load:
    """Makes the requests of a job and reads the answers, for all connections.

    Args:
        job: as the driver writes it.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.latencies: list[float] = []
        self.bytes = self.refused = self.lost = 0
        self.complaint = ""
        self.over = False
        self._free: deque[tuple[str, int]] = deque(zip(job.get("ids", ()), job.get("versions", ()), strict=False))
        makers: dict[str, Callable[[], Iterator[bytes]]] = {
            "same": self._same, "any": self._any, "create": self._create, "update": self._update,
        }  # fmt: skip
        self.requests = makers[job["kind"]]()

    def _request(self, method: str, path: str, body: str = "", *headers: str) -> bytes:
        token, request_id = self.job["token"], self.job["request_id"]
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}"]
        lines += [f"X-Request-Id: {request_id}", *headers]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body.encode())}"]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def _same(self) -> Iterator[bytes]:
        request = self._request("GET", self.job["path"])
        while True:
            yield request

    def _any(self) -> Iterator[bytes]:
        requests = [self._request("GET", f"{self.job['path']}/{each}") for each in self.job["ids"]]
        chance = random.Random(self.job["seed"])
        while True:
            yield requests[chance.randrange(len(requests))]

    def _create(self) -> Iterator[bytes]:
        number = 0
        while True:
            number += 1
            yield self._request("POST", self.job["path"], self.job["body"].replace("~", str(number)))

    def _update(self) -> Iterator[bytes]:
        while True:
            known, version = self._free.popleft()
            body = self.job["body"].replace("~", str(version % 100))
            yield self._request("PATCH", f"{self.job['path']}/{known}", body, f'If-Match: "{version}"')

    def answered(self, status: int, body: bytes, latency: float) -> None:
        """Count an answer; a record that was updated is free again."""
        self.latencies.append(latency)
        self.bytes += len(body)
        found = ID.search(body), VERSION.search(body)
        wanted = self.job["kind"] != "update" or (status == 200 and None not in found)
        if not 200 <= status <= 299 or not wanted:
            self.refused += 1
            self.complaint = f"{status} {body[:200].decode(errors='replace')}"
        elif self.job["kind"] == "update" and found[0] and found[1]:
            self._free.append((found[0][1].decode(), int(found[1][1])))


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete.

    Args:
        load: where requests come from.
        ended: told when the connection has nothing under way any more.
    """

    def __init__(self, load: Load, ended: "asyncio.Future[None]") -> None:
        self._load = load
        self._ended = ended
        self._received = bytearray()
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def _send(self) -> None:
        if self._load.over:
            self._transport.close()
            return
        self._waiting = True
        self._started = perf_counter()
        self._transport.write(next(self._load.requests))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self._received, 0, head)
        if length is None:  # nothing that is measured is answered in chunks
            self._load.complaint = "an answer without Content-Length"
            self._transport.abort()
            return
        end = head + 4 + int(length[1])
        if len(self._received) < end:
            return
        body = bytes(self._received[head + 4 : end])
        status = int(self._received[9:12])
        del self._received[:end]
        self._waiting = False
        self._load.answered(status, body, perf_counter() - self._started)
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lost += self._waiting
        if not self._ended.done():
            self._ended.set_result(None)


async def drive(port: int, connections: int, seconds: float, job: dict[str, Any]) -> dict[str, Any]:
    """Load a server for some time; what is under way at the end is waited for and counted."""
    load = Load(job)
    loop = asyncio.get_running_loop()
    endings = [loop.create_future() for _ in range(connections)]
    started = perf_counter()
    for ended in endings:
        await loop.create_connection(lambda ended=ended: Connection(load, ended), "127.0.0.1", port)  # type: ignore[misc]
    loop.call_later(seconds, setattr, load, "over", True)
    _, late = await asyncio.wait(endings, timeout=seconds + TIMEOUT)
    return summary(load, perf_counter() - started, len(late))


def summary(load: Load, seconds: float, late: int) -> dict[str, Any]:
    """The line that is printed."""
    ordered = sorted(load.latencies) or [0.0]
    at = {f"p{p}": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)] * 1e6) for p in (50, 95, 99)}
    return {
        "requests": len(load.latencies), "seconds": seconds, "bytes": load.bytes, "refused": load.refused,
        "lost": load.lost + late, "complaint": load.complaint, **at, "longest": round(ordered[-1] * 1e6),
    }  # fmt: skip


if __name__ == "__main__":
    port, connections, seconds, job = sys.argv[1:]
    print(
        json.dumps(asyncio.run(drive(int(port), int(connections), float(seconds), json.loads(Path(job).read_text()))))
    )
