"""PgBouncer before the test server."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from freehold import Address
from tests.conftest import Server
from tests.probe import until
from tests.world import application

VARIABLE = "FREEHOLD_PGBOUNCER"
"""The environment variable that names the program."""

ABSENT = f"there is no PgBouncer: install it (Debian: apt-get install pgbouncer) or name the program in {VARIABLE}"

_PORT = 6432


def program() -> str | None:
    """The program, where there is one."""
    return os.environ.get(VARIABLE) or shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def keeps_prepared_statements() -> bool:
    """Whether it knows prepared statements in transaction mode."""
    said = subprocess.run([str(program()), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    assert found is not None, said
    return (int(found[1]), int(found[2])) >= (1, 21)


@dataclass(frozen=True)
class Pooler:
    """A running PgBouncer.

    Args:
        folder: its socket's.
        process: itself.
    """

    folder: Path
    process: "subprocess.Popen[bytes]"

    def behind(self, address: Address, prepared: bool | None = None) -> Address:
        """An address of the same login, through the pooler."""
        return replace(address, host=str(self.folder), port=_PORT, prepared=prepared)


@asynccontextmanager
async def pooler(
    server: Server, database: str, *, mode: str = "transaction", servers: int = 2, kept: int = 0, more: str = ""
) -> AsyncIterator[Pooler]:
    """PgBouncer for one database.

    Args:
        server: what it is before.
        database: the one that it serves.
        mode: what a client keeps a server connection for.
        servers: connections to the server at most, for each role.
        kept: max_prepared_statements, where it has that.
        more: lines of its configuration.
    """
    folder = Path(tempfile.mkdtemp(prefix="fh-"))
    # It refuses to be root, and only the server's account gets at the server's socket.
    account = os.stat(str(server.admin.host)) if os.path.isdir(str(server.admin.host)) else os.stat(folder)
    as_root = os.geteuid() == 0
    uid = (account.st_uid or 65534) if as_root else os.geteuid()
    (folder / "users").write_text(
        "".join(
            f'"{user}" "{password}"\n'
            for user, password in (
                (application.roles.application, server.password),
                (server.admin.user, server.admin.password),
            )
        )
    )
    (folder / "configuration").write_text(
        f"[databases]\n{database} = host={server.admin.host} port={server.admin.port}\n[pgbouncer]\n"
        f"listen_addr =\nlisten_port = {_PORT}\nunix_socket_dir = {folder}\nauth_type = scram-sha-256\n"
        f"auth_file = {folder}/users\nlogfile = {folder}/log\npidfile = {folder}/pid\npool_mode = {mode}\n"
        f"default_pool_size = {servers}\nmax_client_conn = 200\n"
        + (f"max_prepared_statements = {kept}\n" if keeps_prepared_statements() else "")
        + more
    )
    if as_root:
        for path in (folder, folder / "users", folder / "configuration"):
            os.chown(path, uid, -1)
    process = subprocess.Popen(
        [str(program()), "-q", str(folder / "configuration")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **({"user": uid, "extra_groups": []} if as_root else {}),  # type: ignore[arg-type]
    )
    running = Pooler(folder, process)
    try:

        async def listens() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(str(folder / f".s.PGSQL.{_PORT}")) == 0

        await until(listens, "PgBouncer listens")
        yield running
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)
