"""Starts the CRM's server beside the demo's database, and stops it so that no request is lost."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from examples.renoz.data import ORGANIZATIONS
from examples.renoz.entities import application
from freehold import Database
from freehold.errors import ConfigurationError, ForbiddenError
from freehold.identity.development import DevelopmentKeys
from freehold.server import Settings, asgi
from freehold.server.listening import address_of, bind
from freehold.server.serving import Stop, serve_one, signals

__all__ = ["HOST", "PORT", "Service", "served"]

HOST = "127.0.0.1"
PORT = 8000
TRIED = 50
"""Ports that are tried, one after the other."""
VIEWER = "vera@aurora.example"


@dataclass(frozen=True)
class Service:
    """A server that runs.

    Args:
        address: where: `http://127.0.0.1:8000`.
        keys: development keys: of `aurora` and `harbour` for an administrator, and of `viewer`, who only reads in Aurora.
        stop: asks it to stop.
        running: ends when it has stopped.
    """

    address: str
    keys: Mapping[str, str]
    stop: Stop
    running: "asyncio.Task[None]"

    async def until_stopped(self) -> None:
        """Returns when it was stopped: by Ctrl-C, or by SIGTERM. What runs then is finished first."""
        with signals(self.stop):
            await asyncio.wait([self.running])


@asynccontextmanager
async def served(database: Database, *, port: int = PORT, settings: Settings | None = None) -> AsyncIterator[Service]:
    """Serves the CRM until the block ends.

    Args:
        database: of the demo, with its organizations.
        port: the first one that is tried.
        settings: of the server.

    Raises:
        ConfigurationError: no port is free.
    """
    await _enrol_viewer(database)
    development = DevelopmentKeys()
    keys = {profile.slug: development.add(profile.slug, profile.user_email) for profile in ORGANIZATIONS}
    keys["viewer"] = development.add(ORGANIZATIONS[0].slug, VIEWER)
    authenticator = database.authenticator(development=development)
    server = asgi(
        application,
        database=database,
        settings=settings or Settings(development=True, docs=True, metrics=True),
        authenticator=authenticator,
    )
    bound = free_port(port)
    ready, stop = asyncio.Event(), Stop()
    running = asyncio.create_task(serve_one(server, bound, stop, ready.set))
    started = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([running, started], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        yield Service(address_of(bound), keys, stop, running)
    finally:
        started.cancel()
        stop()
        await running
        await authenticator.close()


def free_port(first: int) -> socket.socket:
    """A socket bound to the first port that is free.

    Raises:
        ConfigurationError: none of those that are tried is; or the first may not be used.
    """
    for port in range(first, min(first + TRIED, 65_536)):
        try:
            return bind(HOST, port)
        except ConfigurationError as error:
            if "is taken" not in error.message:
                raise
    raise ConfigurationError(
        f"no port from {first} to {min(first + TRIED, 65_536) - 1} is free", hint="choose another one: --port 9000"
    )


async def _enrol_viewer(database: Database) -> None:
    """Makes a member of Aurora who only reads, where there is none."""
    system = database.system(reason="renoz demo")
    slug = ORGANIZATIONS[0].slug
    try:
        await system.context(organization=slug, user=VIEWER)
    except ForbiddenError:
        organization = await system.find_organization(slug)
        if organization is None:
            raise
        user = await system.find_user(VIEWER) or await system.create_user(email=VIEWER, name="Vera Okafor")
        await system.add_member(organization.id, user.id, role="viewer")
