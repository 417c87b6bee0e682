"""The comparison of servers: what is driven, counted and refused, and that the Python peers do the same work."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest
from benchmarks.web import driver
from benchmarks.web.checks import DifferentAnswerError, refusals
from benchmarks.web.contenders import CONTENDERS, Contender, Served, served
from benchmarks.web.driver import Job, Load, RefusedError, drive, parsed
from benchmarks.web.entities import application
from benchmarks.web.measure import Measured, Plan, Setting, Turn, compared, measure, opened
from benchmarks.web.peers.callers import NotAuthenticatedError, verifier
from benchmarks.web.settings import Settings
from benchmarks.web.workloads import WORKLOADS, Workload
from benchmarks.web.world import World, prepared

from freehold import Database
from freehold.postgres.server import ServerAddress
from tests.conftest import Server
from tests.probe import scratch

SIZES = {"reads": 900, "figures": 60, "writes": 2_100}
ID = "01942557-8400-7000-8002-0000000006c0"
SECONDS = 0.2
"""wrk makes whole seconds of it."""
LOAD = Load(10, 1.0, 100, 0, 0, "", 1.0, 2.0, 3.0, 4.0)


class Records:
    """A server that keeps versions of records, says what it was asked, and refuses what it is told to."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.bodies: list[str] = []
        self.request_ids: set[str] = set()
        self.paths: set[str] = set()
        self.refuses = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, *lines = head.decode().split("\r\n")
                headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
                body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
                status, answer = self.answer(*request.split()[:2], headers, body)
                text = json.dumps(answer)
                writer.write(f"HTTP/1.1 {status} Said\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: str) -> tuple[int, object]:
        assert headers["authorization"] == "Bearer token"
        self.request_ids.add(headers["x-request-id"])
        self.paths.add(path)
        if self.refuses and len(self.bodies) + 1 >= self.refuses:
            return 503, {"title": "no"}
        self.bodies.append(body)
        if method == "PATCH":
            known = path.rpartition("/")[2]
            if headers["if-match"] != f'"{self.versions[known]}"':
                return 409, {"version": self.versions[known]}
            self.versions[known] += 1
            return 200, {"organization_id": "0", "id": known, "version": self.versions[known]}
        return (201 if method == "POST" else 200), {"data": []}


@pytest.fixture
async def records() -> AsyncIterator[tuple[Records, int]]:
    state = Records()
    async with await asyncio.start_server(state.serve, "127.0.0.1", 0) as listener:
        yield state, listener.sockets[0].getsockname()[1]


@pytest.fixture(params=["wrk", "sockets"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both drivers, where both are there."""
    if request.param == "sockets":
        monkeypatch.setattr(driver.shutil, "which", lambda _: None)
    elif shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    return str(request.param)


async def test_updates_name_the_version_that_each_record_has(
    way: str, records: tuple[Records, int], tmp_path: Path
) -> None:
    state, port = records
    ids = [f"0194-{number:04x}" for number in range(40)]
    state.versions = dict.fromkeys(ids, 7)
    job = Job("update", "/api/customers", "token", ids, [7] * len(ids), '{"credit": "1.~"}')
    load = await drive(job, tmp_path, port, 4, SECONDS)
    made = sum(state.versions.values()) - 7 * len(ids)
    assert load.requests <= made <= load.requests + 4
    assert load.requests > 0
    assert state.request_ids == {job.request_id}
    assert 0 < load.p50 <= load.p95 <= load.p99 <= load.longest


async def test_a_version_that_has_passed_fails_the_benchmark(
    way: str, records: tuple[Records, int], tmp_path: Path
) -> None:
    state, port = records
    state.versions = {"aa": 1, "bb": 2, "cc": 1}  # wrk makes one request that it does not send
    job = Job("update", "/api/customers", "token", ["aa", "bb", "cc"], [1, 1, 1], '{"credit": "1.~"}')
    with pytest.raises(RefusedError, match=r"409 .*version"):
        await drive(job, tmp_path, port, 1, SECONDS)


async def test_new_records_differ(way: str, records: tuple[Records, int], tmp_path: Path) -> None:
    state, port = records
    load = await drive(Job("create", "/api/customers", "token", body='{"name": "n ~"}'), tmp_path, port, 2, SECONDS)
    assert load.requests > 0
    assert len(set(state.bodies)) == len(state.bodies) >= load.requests
    assert json.loads(state.bodies[0])["name"].startswith("n ")


async def test_any_refused_request_fails_the_benchmark(way: str, records: tuple[Records, int], tmp_path: Path) -> None:
    state, port = records
    state.refuses = 5
    with pytest.raises(RefusedError, match="refused"):
        await drive(Job("any", "/api/customers", "token", ["a-1", "b-2"]), tmp_path, port, 1, SECONDS)
    assert state.paths <= {"/api/customers/a-1", "/api/customers/b-2"}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no such file",
        json.dumps({"requests": 1}),
        json.dumps({**LOAD.__dict__, "requests": 0}),
        json.dumps({**LOAD.__dict__, "lost": 1}),
        json.dumps({**LOAD.__dict__, "refused": 1}),
    ],
)
def test_a_driver_that_failed_is_no_result(line: str) -> None:
    with pytest.raises(RefusedError):
        parsed(f"Running 1s test\n{line}\n")


def test_ratios_are_taken_within_rounds() -> None:
    def turns(*rates: int) -> list[Turn]:
        return [Turn(Load(rate, 1.0, 1, 0, 0, "", 1.0, 2.0, 3.0, 4.0), 0.5, 0.25, 2**20) for rate in rates]

    ours, peer = Measured(CONTENDERS[0], turns(100, 300, 30)), Measured(CONTENDERS[1], turns(50, 100, 30))
    assert ours.ratio(peer) == 2.0
    assert ours.rate == 100
    assert ours.server == pytest.approx(5000)
    assert Setting(WORKLOADS[0], 16, [peer, ours]).ours is ours
    assert Setting(WORKLOADS[0], 16, [peer]).ours is None


@pytest.fixture
async def small(server: Server) -> AsyncIterator[World]:
    """The comparison's world with few customers."""
    async with scratch(server, application) as name:
        where, admin = server.address(name, application), server.admin
        address, administrator = (
            ServerAddress(str(each.host), each.port or 5432, str(each.user), str(each.password), name)
            for each in (where, admin)
        )
        async with (
            Database.open(where, application, size=2) as database,
            prepared(database, address, administrator, SIZES) as here,
        ):
            yield here


async def test_freehold_and_the_python_peers_do_the_same_work(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = [each for each in CONTENDERS if each.name not in ("fastify", "starlette-kept")]
    away = Contender("away", "Away", lambda _: ["false"], lambda: "not installed")
    async with opened(small, [*peers, away]) as taking_part:
        assert taking_part.absent == [("Away", "not installed")]
        for workload in WORKLOADS:
            await compared(small, workload, taking_part.servers)
        plan = Plan(rounds=1, seconds=1, connections=(2,))
        numbered = type(taking_part)(taking_part.servers[3:], (), count(5, 5))
        (setting,) = [each async for each in measure(small, numbered, plan, lambda name: name == "http_update")]
        assert setting.measured[0].rate > 0
        assert setting.measured[0].contender.name == "starlette-asyncpg"
        create = next(each for each in WORKLOADS if each.action == "create")
        with pytest.raises(DifferentAnswerError, match="the log has 0 writes"):
            await create.verify(small, await create.job(small, 1), LOAD, 1)


async def test_servers_that_answer_differently_are_not_compared(small: World) -> None:
    async def content(_: World, server: Served) -> object:
        return server.port // 10

    async def job(_: World, turn: int) -> Job:
        return Job("same", "/", "token", seed=turn)

    workload = Workload("http_other", "Other", job, content)
    servers = [Served(CONTENDERS[place], port, 0) for place, port in enumerate((80, 81, 92))]
    await compared(small, workload, servers[:2])
    with pytest.raises(DifferentAnswerError, match="FastAPI, asyncpg by hand answers\n9\nFreehold\n8"):
        await compared(small, workload, servers)


async def test_a_server_that_refuses_nothing_is_not_compared(small: World, records: tuple[Records, int]) -> None:
    state, port = records
    state.answer = lambda *_: (200, {"data": []})  # type: ignore[method-assign]
    with pytest.raises(DifferentAnswerError, match="answers no token with 200"):
        await refusals(small, Served(CONTENDERS[0], port, 0))


async def test_a_server_that_does_not_start_says_why(small: World) -> None:
    broken = Contender("broken", "Broken", lambda _: ["sh", "-c", "echo no such module; exit 3"])
    async with AsyncExitStack() as stack:
        with pytest.raises(RuntimeError, match=r"Broken does not listen: no such module"):
            await stack.enter_async_context(served(small.site, broken))


async def test_peers_verify_each_token(small: World) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    settings = Settings.read(small.site.settings("peer", 1, 1))
    context, good = small.tenants["reads"].context, small.tenants["reads"].token
    for verify in (verifier(settings), verifier(Settings.read(small.site.settings("kept", 1, 1, keep_tokens=60.0)))):
        for _ in range(2):
            assert verify(f"Bearer {good}").organization_id == context.organization_id
        stranger = small.site.token(context, generate_private_key(public_exponent=65537, key_size=2048))
        for token in (None, "", "Bearer", f"Basic {good}", f"Bearer {stranger}", f"Bearer {good}x"):
            with pytest.raises(NotAuthenticatedError):
                verify(token)
