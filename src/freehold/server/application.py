"""The server as an ASGI application: what it consists of, and its life.

Authority: the lifespan. A database that it opened it closes, when the requests that run have ended; one that it was given it
leaves open. Nothing is answered before the lifespan has begun.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hmac import compare_digest

from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.app import Application
from freehold.database import Database
from freehold.errors import ConfigurationError, FreeholdError, RequestError, UnavailableError
from freehold.functions.limits import CallLimiter
from freehold.postgres.connections import Address
from freehold.server.addresses import Proxies
from freehold.server.api import Api
from freehold.server.documentation import Documentation
from freehold.server.edge import Edge, Observer
from freehold.server.exchange import Exchange, exchange_of
from freehold.server.health import Readiness
from freehold.server.logs import AccessLog
from freehold.server.metrics import Metrics, SharedFigures
from freehold.server.mounting import Authenticates, Mounted
from freehold.server.origins import with_cors
from freehold.server.problems import problem_details
from freehold.server.settings import Settings
from freehold.server.tracing import Tracing

__all__ = ["WebApplication", "asgi"]

_OWN = {"/healthz": "healthz", "/readyz": "readyz", "/metrics": "metrics"}
"""What is answered here, and the names by which logs tell of it."""


def asgi(
    application: Application,
    *,
    url: str | Address | None = None,
    database: Database | None = None,
    settings: Settings | None = None,
    authenticator: Authenticates | None = None,
    secret: str | None = None,
    size: int = 10,
) -> "WebApplication":
    """An ASGI application that serves an application's functions.

        server = asgi(application, url=os.environ["FREEHOLD_URL"])

    Args:
        application: what is served.
        url: of the application role; the database is opened when the server starts, and closed when it stops.
        database: one that the caller has opened, in place of the URL.
        settings: how it behaves.
        authenticator: who verifies credentials; by default one made from the application's issuers and roles.
        secret: seals contexts, as in `Database.open`.
        size: connections to PostgreSQL at most, as in `Database.open`.

    Raises:
        ConfigurationError: there is neither a URL nor a database, or both.
    """
    return WebApplication(
        application,
        url=url,
        database=database,
        settings=settings,
        authenticator=authenticator,
        secret=secret,
        size=size,
    )


class WebApplication(Mounted):
    """What `asgi` makes. It can be called by any ASGI server, and mounted in any ASGI framework.

    Where the framework does not run the lifespan of what is mounted in it, run it in your own:

        async with server.lifespan():
            ...

    Args: as of `asgi`; and `api`, what answers below `/api`, in place of the application's functions.
    """

    def __init__(
        self,
        application: Application,
        *,
        url: str | Address | None = None,
        database: Database | None = None,
        settings: Settings | None = None,
        authenticator: Authenticates | None = None,
        secret: str | None = None,
        size: int = 10,
        api: ASGIApp | None = None,
        shared: SharedFigures | None = None,
    ) -> None:
        if (url is None) == (database is None):
            raise ConfigurationError(
                "a server needs a database's URL, or a database that is open: one of the two",
                hint="asgi(application, url=os.environ['FREEHOLD_URL'])",
            )
        self.application = application
        self.settings = settings or Settings()
        self._given_authenticator = self._authenticator = authenticator
        self._url = url
        self._given = database
        self._secret = secret
        self._size = size
        self._database: Database | None = None
        self._given_api = self._api = api
        batch = self.settings.batch_size
        self._documentation = Documentation(application.manifest, batch=batch) if self.settings.docs else None
        self._limiter: CallLimiter | None = None
        self._readiness: Readiness | None = None
        self._announced = 0.0
        self.metrics = Metrics(self._gauges, self._totals, shared)
        self._metrics_readers = Proxies(self.settings.metrics_networks())
        self._edge = Edge(self._answer, self.settings, self._observers())
        self._tracing = Tracing() if self.settings.tracing else None
        edge = self._edge if self._tracing is None else self._tracing.around(self._edge)
        self._outermost = with_cors(edge, self.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._outermost(scope, receive, send)

    @property
    def database(self) -> Database:
        """The database that it serves from.

        Raises:
            ConfigurationError: the server was not started.
        """
        if self._database is None:
            raise _not_started()
        return self._database

    @property
    def authenticator(self) -> Authenticates:
        """Who verifies credentials.

        Raises:
            ConfigurationError: the server was not started.
        """
        if self._authenticator is None:
            raise _not_started()
        return self._authenticator

    @property
    def draining(self) -> bool:
        """Whether it is about to stop."""
        return self._edge.draining

    def announce_stop(self) -> None:
        """Has `/readyz` say that it should get no more requests, and ends each connection with its next answer."""
        if not self._edge.draining:
            self._announced = time.monotonic()
        self._edge.draining = True

    def give_up(self) -> None:
        """Cancels the requests that run."""
        self._edge.cancel()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:  # noqa: ARG002  # frameworks pass themselves
        """Opens the database and what belongs to it, and closes it when the requests that run have ended.

        Args:
            app: the outer application: some frameworks hand it to a lifespan. It is not used.

        Raises:
            RoleError, ConfigurationError, UnavailableError: as `Database.open`.
        """
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._edge.draining = False
            try:
                async with self._edge.watching(), self._keeping_figures():
                    try:
                        yield
                    finally:
                        self.announce_stop()
                        settings = self.settings
                        end = self._announced + settings.announce_seconds + settings.drain_seconds
                        await self._edge.drained(max(end - time.monotonic(), 0.0))
                        self.give_up()
                        await self._edge.drained(1.0)
            finally:
                self._database = None

    async def _open(self, stack: AsyncExitStack) -> None:
        """Opens what is not given: the database, who verifies credentials, and the API over both."""
        database = self._given
        if database is None:
            opened = Database.open(self._url or "", self.application, size=self._size, secret=self._secret)
            database = await stack.enter_async_context(opened)
        self._database = database
        self._readiness = Readiness(database)
        if self._tracing is not None:
            self._tracing.observe(database.store.pool)
        self._authenticator = self._given_authenticator
        if self._authenticator is None:
            own = database.authenticator()
            stack.push_async_callback(own.close)
            self._authenticator = own
        if self._given_api is None:
            limits, connections = self.settings.limits, database.store.pool.figures.size
            self._limiter = None if limits is None else CallLimiter(limits, connections=connections)
            self._api = Api(self.application, database, self._authenticator, self.settings, self._limiter)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan, as ASGI servers ask for it."""
        await receive()
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self.lifespan())
            except FreeholdError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        name = _OWN.get(exchange.path)
        if name is not None and (name != "metrics" or self._shows_metrics(exchange)):
            exchange.state["function"] = name
            await self._tell(name, scope, send)
        elif self._documentation is not None and self._documentation.answers(exchange.path):
            exchange.state["function"] = "documentation"
            await self._documentation(scope, receive, send)
        elif self._api is not None and exchange.path.startswith("/api/"):
            await self._api(scope, receive, send)
        else:
            raise RequestError("there is nothing at this address", status=404)

    def _shows_metrics(self, exchange: Exchange) -> bool:
        """Whether who asks may read the figures."""
        settings = self.settings
        if settings.metrics is True:
            return True
        token, given = settings.metrics_token, exchange.headers.get(b"authorization", b"")
        if token is not None and compare_digest(given, b"Bearer " + token.encode()):
            return True
        return exchange.client_ip is not None and self._metrics_readers.trusts(exchange.client_ip)

    async def _tell(self, name: str, scope: Scope, send: Send) -> None:
        """Answers what is asked of the server itself."""
        if scope["method"] not in ("GET", "HEAD"):
            told = problem_details(RequestError("this address can only be read", status=405, hint="use GET"))
            headers = [*told.all_headers, (b"allow", b"GET, HEAD")]
            await _send(scope, send, told.status, headers, told.body)
            return
        if name == "metrics":
            accept = exchange_of(scope).headers.get(b"accept", b"").decode("latin-1")
            body, media = self.metrics.text(accept)
            await _send(scope, send, 200, _content(body, media), body)
            return
        if name == "readyz":
            await self._check_ready()
        await _send(scope, send, 200, _content(b"ok\n", "text/plain; charset=utf-8"), b"ok\n")

    async def _check_ready(self) -> None:
        problem: str | None = "the server was not started"
        if self.draining:
            problem = "the server is being stopped"
        elif self._readiness is not None:
            problem = await self._readiness.problem()
        if problem is not None:
            raise UnavailableError(problem)

    def _observers(self) -> list[Observer]:
        found: list[Observer] = []
        if self.settings.metrics or self.settings.metrics_token is not None:
            found.append(self.metrics)
        if self.settings.access_log:
            found.append(AccessLog(self.settings))
        return found

    @asynccontextmanager
    async def _keeping_figures(self) -> AsyncIterator[None]:
        """Writes this worker's figures for the others, every second and in the end."""

        async def keep() -> None:
            while True:
                self.metrics.keep()
                await asyncio.sleep(1.0)

        task = asyncio.create_task(keep())
        try:
            yield
        finally:
            task.cancel()
            self.metrics.keep()

    def _gauges(self) -> dict[str, float]:
        found: dict[str, float] = {
            "requests_in_flight": len(self._edge.running),
            "memory_bytes": _memory(),
            "cpu_seconds": time.process_time(),
        }
        if self._database is not None:
            pool = self._database.store.pool.figures
            found |= {
                "pool_size": pool.size,
                "pool_open": pool.open,
                "pool_idle": pool.idle,
                "pool_waiting": pool.waiting,
            }
            found["increments_waiting"] = self._database.increments.waiting
        if self._limiter is not None:
            limits = self._limiter.figures
            found |= {
                "calls_working": limits.working,
                "calls_waiting": limits.waiting,
                "refusals_held": limits.held,
                "streams_open": limits.streams,
                "organizations_active": limits.organizations,
            }
        return found

    def _totals(self) -> dict[str, float]:
        found: dict[str, float] = {}
        if self._database is not None:
            found["increments_lost"] = self._database.increments.lost
        if self._limiter is not None:
            limits = self._limiter.figures
            found |= {"calls_admitted": limits.admitted, "calls_queued": limits.waited}
            found |= {f"calls_refused_{reason}": count for reason, count in limits.refused.items()}
        return found


def _not_started() -> ConfigurationError:
    return ConfigurationError(
        "the server was not started: its lifespan has not begun",
        hint="where it is mounted, run 'async with server.lifespan():' in the lifespan of the outer application",
    )


def _memory() -> int:
    """Resident bytes of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # one line of the kernel's
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _content(body: bytes, media: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", media.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]


async def _send(scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
