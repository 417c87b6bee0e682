"""What surrounds every request: who asks from where, bounds, errors, headers, and what is told of it afterwards.

These are one middleware and not ten, because each layer around a request costs it as much as what most of them do. What
happens to a request, in order: its ids and address are found; requests that are too large, ambiguous or too many are refused;
the application answers, within bounds of time and of the body's length; what it raises becomes a problem; the answer gets
headers and is compressed; then observers are told.

Failures: an exception that is none of Freehold's is logged with its traceback under the request's id, and the caller gets 500
and nothing else. If an answer has begun already, the connection is closed, so that nobody takes the part for the whole.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain
from re import compile as pattern
from time import perf_counter

import uuid_utils
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold import errors
from freehold.errors import FreeholdError, InternalError, RequestError, UnavailableError
from freehold.server.addresses import Proxies
from freehold.server.exchange import Exchange
from freehold.server.problems import problem_details, status_of
from freehold.server.reply import AbortedError, Reply
from freehold.server.settings import Settings

__all__ = ["Edge", "Observer"]

Observer = Callable[[Exchange], None]
"""Is told of each request when it has been answered."""

_log = logging.getLogger("freehold.server")
_SAFE = pattern(rb"[A-Za-z0-9._~:/+=@-]{1,200}")
_ONCE = (
    b"authorization",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"expect",
    b"freehold-organization",
    b"host",
    b"idempotency-key",
    b"if-match",
    b"x-request-id",
)
"""Headers of which two would be taken differently by different programs."""
_FRAMED = ("1.1", "1.0")
"""Versions of HTTP in which headers say whether there is a body."""


class Edge:
    """The outermost layer.

    Args:
        app: what answers.
        settings: its bounds.
        observers: are told of each request in the end.
    """

    def __init__(self, app: ASGIApp, settings: Settings, observers: Sequence[Observer] = ()) -> None:
        self._app = app
        self._settings = settings
        self._observers = tuple(observers)
        self._proxies = Proxies(settings.networks())
        self.running: set[Exchange] = set()
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request; passes on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = self.opened(scope)
        reply = Reply(exchange, send, self._settings, secure=scope.get("scheme") == "https", closing=self.draining)
        self.running.add(exchange)
        try:
            self.check(exchange, scope["headers"])
            await self._app(scope, exchange.bounded(receive), reply)
        except FreeholdError as error:
            await self._failed(reply, error)
        except asyncio.CancelledError:
            await self._cancelled(exchange, reply)
        except AbortedError:
            raise
        except Exception as error:  # noqa: BLE001  # the last place that can: it is logged, and answered with 500
            await self._failed(reply, error)
        finally:
            self.running.discard(exchange)
            for observer in self._observers:
                observer(exchange)
            exchange.close()

    def opened(self, scope: Scope) -> Exchange:
        """What is known of a request before anything is done."""
        settings = self._settings
        headers = scope["headers"]
        found = dict(headers)
        state = scope.get("state")
        if state is None:
            state = scope["state"] = {}
        exchange = Exchange(scope["method"], _path(scope), found, state)
        exchange.framed = scope.get("http_version", "1.1") in _FRAMED
        given = found.get(b"x-request-id")
        safe = given is not None and _SAFE.fullmatch(given)
        exchange.request_id = given.decode("ascii") if given is not None and safe else str(uuid_utils.uuid7())
        client = scope.get("client")
        exchange.client_ip = client[0] if client else None
        if self._proxies:
            self._look_behind(exchange, scope)
        agent = found.get(b"user-agent")
        exchange.user_agent = None if agent is None else agent.decode("latin-1")
        exchange.body_limit = settings.body_limit
        exchange.body_timeout = settings.body_timeout
        exchange.body_rate = settings.body_rate
        exchange.deadline = exchange.began + settings.request_timeout
        exchange.task = asyncio.current_task()
        return exchange

    def _look_behind(self, exchange: Exchange, scope: Scope) -> None:
        """Takes the word of proxies that are trusted."""
        peer = exchange.client_ip or "unix"
        if not self._proxies.trusts(peer):
            return
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        found = self._proxies.client(peer, forwarded.decode("latin-1"))
        exchange.client_ip = None if found == "unix" else found
        if exchange.headers.get(b"x-forwarded-proto") in (b"https", b"http"):
            scope["scheme"] = exchange.headers[b"x-forwarded-proto"].decode()

    def check(self, exchange: Exchange, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Refuses what is too large, ambiguous, or too much at once.

        Raises:
            RequestError: 431, 417 or 400.
            UnavailableError: too many requests are under way.
        """
        settings = self._settings
        if len(headers) > settings.header_count or sum(map(len, chain.from_iterable(headers))) > settings.header_limit:
            raise RequestError(
                f"the request's headers are more than {settings.header_count} or longer than {settings.header_limit:,} bytes",
                status=431,
                hint="send fewer and shorter ones",
            )
        if len(headers) != len(exchange.headers):
            names = [name for name, _ in headers]
            for name in _ONCE:
                if names.count(name) > 1:
                    raise RequestError(f"the header {name.decode()} was sent more than once", hint="send it once")
        expected = exchange.headers.get(b"expect")
        if expected is not None and expected.lower() != b"100-continue":
            raise RequestError(
                "the header Expect asks for what is not known here",
                status=417,
                hint="leave it out, or send 100-continue",
            )
        if len(self.running) > settings.concurrency:
            raise UnavailableError("the server works on as many requests as it can", hint="try again in a moment")

    async def _failed(self, reply: Reply, error: Exception) -> None:
        exchange = reply.exchange
        told = error if isinstance(error, FreeholdError) else InternalError("an unexpected exception")
        if status_of(told) == 500:
            _log.error(
                "request %s: %s in %s", exchange.request_id, type(error).__name__, exchange.function, exc_info=error
            )
        if exchange.status:
            raise AbortedError from None
        await reply.problem(problem_details(told, request_id=exchange.request_id))

    async def _cancelled(self, exchange: Exchange, reply: Reply) -> None:
        """Tells why, where it was the server that has cancelled the request."""
        if not (exchange.expired or self.draining):
            raise asyncio.CancelledError
        if exchange.task is not None:
            exchange.task.uncancel()
        if exchange.status:
            raise AbortedError from None
        told: FreeholdError = UnavailableError("the server is being stopped", hint="send the request again")
        if exchange.expired:
            seconds = self._settings.request_timeout
            told = errors.TimeoutError(
                "no answer was ready in time",
                seconds=seconds,
                hint="ask for less at once; look whether a write was done before it is repeated",
            )
        await reply.problem(problem_details(told, request_id=exchange.request_id))

    def cancel(self) -> None:
        """Ends the requests that run."""
        for exchange in tuple(self.running):
            if exchange.task is not None:
                exchange.task.cancel()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Ends requests that take too long, while it is entered."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(self) -> None:
        # One task that looks at all requests every now and then: a timer for each of them costs them 4 microseconds.
        settings = self._settings
        pause = min(0.5, settings.request_timeout / 4, settings.write_timeout / 4)
        while True:
            await asyncio.sleep(pause)
            now = perf_counter()
            for exchange in tuple(self.running):
                late = not exchange.status and now > exchange.deadline
                stuck = exchange.writing and now - exchange.writing > settings.write_timeout
                if (late or stuck) and not exchange.expired and exchange.task is not None:
                    exchange.expired = True
                    exchange.task.cancel()

    async def drained(self, seconds: float) -> bool:
        """Waits until no request runs any more.

        Returns:
            Whether that was so in time.
        """
        until = perf_counter() + seconds
        while self.running and perf_counter() < until:  # noqa: ASYNC110  # requests should not pay for an event
            await asyncio.sleep(0.02)
        return not self.running


def _path(scope: Scope) -> str:
    """The path below the prefix under which the server is mounted; a proxy may have taken the prefix off already."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if not root or not path.startswith(root):
        return path
    rest = path[len(root) :]
    return rest if rest[:1] == "/" else path if rest else "/"
