"""Freehold's server: `python -m benchmarks.web.freehold NAME SETTINGS` serves `application`, or the CRM of the scale benchmark."""

import asyncio
import sys
from datetime import datetime
from importlib import import_module
from pathlib import Path

from examples.renoz.entities import application as crm

from benchmarks.web.entities import METRICS, Customer, Order
from benchmarks.web.peers.model import Metrics
from benchmarks.web.settings import Settings
from freehold import Application, Session
from freehold.identity.issuers import Claims, Issuer
from freehold.postgres.server import ServerAddress
from freehold.server import Settings as ServerSettings
from freehold.server import asgi
from freehold.server.listening import bind
from freehold.server.serving import Stop, loop_factory, serve_one, signals

NAMES = ("application", "crm")


def issuer(settings: Settings) -> Issuer:
    """The issuer whose tokens all contenders believe; its keys are read from a file."""
    return Issuer(
        settings.issuer,
        settings.audience,
        Path(settings.jwks),
        ["RS256"],
        claims=Claims(organization="organization_id", role="role"),
        link_by_email=True,
    )


def made(name: str, settings: Settings) -> Application:
    """The application of a name, which accepts the issuer's tokens."""
    if name == "crm":
        import_module("examples.renoz.functions")  # declares them
        crm.issuers = (issuer(settings),)
        return crm
    application = Application("benchmarks", entities=[Customer, Order], issuers=[issuer(settings)])
    application.query(metrics, name="customers.metrics")
    return application


async def metrics(session: Session, since: datetime) -> Metrics:
    """The dashboard's figures.

    Args:
        since: from when on customers are new.
    """
    return (await session.sql(Metrics, METRICS, since=since))[0]


async def serve(application: Application, settings: Settings) -> None:
    """As `freehold serve` does with one worker; no access log, as the peers have none."""
    address = ServerAddress(settings.host, settings.port, settings.user, settings.password, settings.database)
    server = asgi(application, url=address.url, settings=ServerSettings(access_log=False), size=settings.pool)
    stop = Stop()
    with bind("127.0.0.1", settings.listen) as bound, signals(stop):
        await serve_one(server, bound, stop)


if __name__ == "__main__":
    if sys.argv[1] not in NAMES:
        raise SystemExit(f"there is no application {sys.argv[1]!r}; there are {', '.join(NAMES)}")
    told = Settings.read(sys.argv[2])
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(made(sys.argv[1], told), told))
