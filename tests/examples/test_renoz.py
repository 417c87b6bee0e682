"""The reference application: its load can be repeated, its tour is right and leaves nothing, its check finds what is wrong."""

import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from io import StringIO
from pathlib import Path

import pytest
from examples.renoz.data import ORGANIZATIONS, generate
from examples.renoz.demo import as_json, prepare, take_tour
from examples.renoz.entities import application
from examples.renoz.load import enter, load
from examples.renoz.retail.sample import VARIABLE, write_sample
from examples.renoz.service import checks, lines, running
from examples.renoz.service.client import Client
from examples.renoz.service.running import Service
from examples.renoz.service.visit import Visit, receive, visit
from examples.renoz.tour import STEPS, World, walk
from examples.renoz.views import VIEWS
from rich.console import Console

from freehold import Address, Database
from freehold.errors import ConfigurationError
from freehold.postgres.connections import connect
from freehold.postgres.server import EmbeddedServer
from freehold.server.serving import Stop
from tests.conftest import Server

SCALE = 0.1
LONG = ("proved", "what_calls_cost")
"""Steps that take much longer than all others."""
ROOT = Path(__file__).parents[2]
_numbers = itertools.count()


@pytest.fixture
async def name(server: Server) -> AsyncIterator[str]:
    """A database of the test's own, with the application's schema."""
    name = f"renoz_{os.getpid()}_{next(_numbers)}"
    await server.create_database(name, application)
    yield name
    async with connect(server.admin) as connection:
        await connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture
async def renoz(server: Server, name: str) -> AsyncIterator[Database]:
    async with Database.open(server.address(name, application), application) as database:
        yield database


async def counts(server: Server, name: str) -> dict[str, int]:
    """How many rows each table has, and how far the log has got for records that are there."""
    tables = [entity.table for entity in application.registry.entities.values()]
    counted = ", ".join(f"(select count(*) from app.{table}) as {table}" for table in tables)
    there = " union ".join(f"select id from app.{table}" for table in tables)
    log = f"(select max(position) from freehold.log where kind = 'change' and record_id in ({there})) as log_position"
    async with connect(server.admin_address(name)) as connection:
        return dict((await connection.fetch(f"select {counted}, {log}"))[0])


async def prepared(database: Database, stack: AsyncExitStack) -> World:
    return await prepare(database, stack, scale=SCALE, console=Console(quiet=True))


async def test_each_step_is_as_the_data_says_and_a_second_run_changes_nothing(
    server: Server, name: str, renoz: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        first = await take_tour(await prepared(renoz, stack), Console(quiet=True), check=True)
        there = await counts(server, name)
        quick = [each for each in STEPS if each.name not in LONG]
        monkeypatch.setattr("examples.renoz.tour.STEPS", quick)
        second = await take_tour(await prepared(renoz, stack), Console(quiet=True), check=True)
    assert [(result.step.name, result.differences) for result in first] == [(step.name, []) for step in STEPS]
    assert [result.differences for result in second] == [[]] * len(quick)
    assert await counts(server, name) == there
    assert there["order_lines"] == sum(len(generate(profile, SCALE).lines) for profile in ORGANIZATIONS)


async def test_a_load_of_what_is_there_writes_nothing_at_all(server: Server, name: str, renoz: Database) -> None:
    async with AsyncExitStack() as stack:
        await prepared(renoz, stack)
        async with connect(server.admin_address(name)) as connection:
            before = await connection.fetch("select max(position) as position, count(*) as changes from freehold.log")
            await prepared(renoz, stack)
            after = await connection.fetch("select max(position) as position, count(*) as changes from freehold.log")
    assert dict(after[0]) == dict(before[0])


async def test_a_load_that_was_killed_is_finished_by_the_next(server: Server, name: str, renoz: Database) -> None:
    data = generate(ORGANIZATIONS[0], SCALE)
    seen = 0

    def stop_half_way(found: int, created: int) -> None:
        nonlocal seen
        seen += found + created
        if seen > data.size // 2:
            raise KeyError("killed")

    async with renoz.session(await enter(renoz, data.profile)) as session:
        with pytest.raises(KeyError, match="killed"):
            await load(session, data, stop_half_way)
        created = await load(session, data, lambda found, created: None)
        again = await load(session, data, lambda found, created: None)
    there = await counts(server, name)
    del there["log_position"]
    assert 0 < created < data.size
    assert (sum(there.values()), again) == (data.size, 0)


async def test_two_loads_at_once_make_each_record_once(server: Server, name: str, renoz: Database) -> None:
    data = generate(ORGANIZATIONS[0], SCALE)
    async with renoz.session(await enter(renoz, data.profile)) as session:
        made = await asyncio.gather(*(load(session, data, lambda found, created: None) for _ in range(2)))
    there = await counts(server, name)
    del there["log_position"]
    assert sum(made) == sum(there.values()) == data.size
    assert all(made)


AURORA = "organization_id = (select id from freehold.organizations where slug = 'aurora')"
TAMPERING = {
    "first_page": f"""update app.customers set name = 'Somebody else' where id = (
        select id from app.customers where {AURORA} and status = 'active' order by credit_limit desc, name limit 1)""",
    "summary": f"""delete from app.activities where {AURORA} and customer_id = (
        select id from app.customers where {AURORA} and number = 'C-00008')""",
    "figures": f"""update app.orders set status = 'cancelled' where id = (
        select id from app.orders where {AURORA} and status = 'delivered' limit 1)""",
    "crossing_tenants": "alter table app.customers disable row level security",
}
"""What an administrator might do, by the step that must notice."""


@pytest.mark.parametrize("step", TAMPERING)
async def test_the_check_finds_what_is_wrong(
    server: Server, name: str, renoz: Database, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [each for each in STEPS if each.name not in LONG]  # what is tampered with, others of them must notice
    monkeypatch.setattr("examples.renoz.tour.STEPS", steps)
    async with AsyncExitStack() as stack:
        world = await prepared(renoz, stack)
        async with connect(server.admin_address(name)) as connection:
            await connection.execute(TAMPERING[step])
        results = [result async for result in walk(world, check=True)]
    assert step in [result.step.name for result in results if result.differences]
    assert len(results) == len(steps)
    assert json.loads(as_json(results, 1.0))["passed"] is False


def test_each_step_can_be_shown_and_its_code_is_python() -> None:
    assert [step.name for step in STEPS] == list(VIEWS)
    for step in STEPS:
        compile("async def shown():\n" + textwrap.indent(f"{step.code}\npass", "    "), step.name, "exec")


PORT = 18_000


async def visited(world: World) -> Visit:
    session = world.sessions["aurora"]
    return await visit(world.database, session, world.data, Console(quiet=True), port=PORT)


async def test_each_function_answers_over_http_and_the_lines_work(
    server: Server, name: str, renoz: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        world = await prepared(renoz, stack)
        there = await counts(server, name)
        seen = await visited(world)
        assert [(each.request, each.differences) for each in seen.seen if each.differences] == []
        assert [(each.line.says, each.differences) for each in seen.ran if each.differences] == []
        assert seen.passed
        monkeypatch.setattr(shutil, "which", lambda name: None)  # where there is no curl
        monkeypatch.setattr("examples.renoz.service.visit.check_all", nothing)
        monkeypatch.setattr("examples.renoz.service.visit.uncalled", lambda client: [])
        again = await visited(world)
        assert [(each.line.says, each.differences) for each in again.ran] == [(each.line.says, []) for each in seen.ran]
        assert await counts(server, name) == there  # the playground is gone
    told = json.dumps(seen.as_dict())
    assert "fhdev_" not in told


async def nothing(case: checks.Case) -> None:
    pass


async def test_the_check_of_the_server_finds_what_is_wrong(
    server: Server, name: str, renoz: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def few(case: checks.Case) -> None:
        await checks._queries(case)
        await checks._strangers(case)

    monkeypatch.setattr("examples.renoz.service.visit.check_all", few)
    async with AsyncExitStack() as stack:
        world = await prepared(renoz, stack)
        async with connect(server.admin_address(name)) as connection:
            await connection.execute(TAMPERING["summary"])
            await connection.execute("alter table app.customers disable row level security")
        seen = await visited(world)
    wrong = {each.function for each in seen.seen if each.differences}
    assert "customers.summary" in wrong
    assert "orders.confirm" in seen.uncalled
    assert not seen.passed


class Screen(StringIO):
    """What was printed, and when a text is."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self.awaited = awaited
        self.shown = asyncio.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.awaited in self.getvalue():
            self.shown.set()
        return written


async def test_the_demo_serves_until_it_is_interrupted(server: Server, name: str, renoz: Database) -> None:
    screen = Screen("Serving until Ctrl-C")
    console = Console(file=screen, width=100)
    async with AsyncExitStack() as stack:
        world = await prepared(renoz, stack)
        there = await counts(server, name)
        taken = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        port = taken.getsockname()[1]
        serving = asyncio.create_task(receive(renoz, world.sessions["aurora"], console, port=port))
        await asyncio.wait([serving, asyncio.create_task(screen.shown.wait())], return_when=asyncio.FIRST_COMPLETED)
        assert f"Port {port} is taken" in screen.getvalue()
        commands = [line for line in screen.getvalue().splitlines() if line.startswith("curl ")]
        ran = await lines.run_line(lines.Line("as it is printed", commands[0], 200, '"data"'))
        assert ran.differences == []
        os.kill(os.getpid(), signal.SIGINT)
        await serving
        assert await counts(server, name) == there
    assert screen.getvalue().rstrip().endswith("Stopped. What ran was finished.")


def test_where_no_port_is_free_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "TRIED", 1)
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as taken,
        pytest.raises(ConfigurationError, match="no port from") as caught,
    ):
        running.free_port(taken.getsockname()[1])
    assert "--port" in str(caught.value)


def test_a_server_that_does_not_answer_is_a_difference() -> None:
    async def asked() -> list[str]:
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        service = Service(address, {"aurora": "fhdev_x"}, Stop(), asyncio.current_task())  # type: ignore[arg-type]
        async with Client(service) as client:
            await client.ask("healthz", "GET", "/healthz")
            return client.seen[0].differences

    assert asyncio.run(asked()) == ["expected status 200, got 0"]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.renoz.demo", *arguments]
    with tempfile.NamedTemporaryFile(suffix=".csv.gz") as file:
        write_sample(Path(file.name), lines=500)  # the real data takes a minute
        environment = os.environ | {VARIABLE: file.name}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )


def test_a_path_that_is_a_file_is_one_readable_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for arguments in (["--path", str(file)], ["--path", str(file), "--json"]):
        done = demo(*arguments)
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr
        assert "FH004" in done.stdout + done.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's account can pass through; pytest's own cannot be."""
    path = Path(tempfile.mkdtemp(prefix="renoz-")).resolve()
    path.chmod(0o711)
    yield path / "demo"
    shutil.rmtree(path)


async def test_the_command_succeeds_and_fails_where_the_data_was_changed(folder: Path) -> None:
    async with await EmbeddedServer.start(folder) as server:
        done = await asyncio.to_thread(demo, "--check", "--json", "--path", str(folder))
        assert (done.returncode, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        assert (told["passed"], told["import"]["adds_up"]) == (True, True)
        assert told["import"]["file"]["lines"] >= 500
        where = server.connection()
        async with connect(Address(url=where.url)) as connection:
            await connection.execute("update app.orders set paid_on = null")
        done = await asyncio.to_thread(demo, "--check", "--path", str(folder))
    assert done.returncode == 1
    assert "overdue: expected" in done.stdout
    assert "Not as expected: late_payers, figures." in done.stdout, done.stdout[-3_000:]
