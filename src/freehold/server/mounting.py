"""Inside of other frameworks: sessions for their routes, and errors as the API tells them."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.database import Database
from freehold.errors import ConfigurationError, ForbiddenError, FreeholdError
from freehold.identity.principal import Principal
from freehold.model.permissions import pattern_problem, permits
from freehold.server.edge import Edge
from freehold.server.exchange import Exchange
from freehold.server.problems import MEDIA, problem_details
from freehold.store.session import Session

__all__ = ["Authenticates", "Mounted", "answer_problem"]


class Authenticates(Protocol):
    """What verifies credentials: an `Authenticator`, or a stand-in of a test."""

    async def authenticate(self, authorization: str | None, organization: str | None = None) -> Principal:
        """Who calls.

        Raises:
            AuthenticationError: there is no credential, or it is not valid.
            ForbiddenError: the caller does not belong to the organization.
        """
        ...


async def answer_problem(request: Request, error: Exception) -> Response:  # noqa: ARG001  # as Starlette calls it
    """Answers an error of Freehold's as the API does; an exception handler for Starlette and FastAPI.

    app.add_exception_handler(FreeholdError, answer_problem)
    """
    if not isinstance(error, FreeholdError):
        raise error
    told = problem_details(error)
    headers = {name.decode(): value.decode() for name, value in told.headers}
    return Response(told.body, told.status, headers, media_type=MEDIA)


class Mounted(ABC):
    """What routes of the outer application get from a server that is mounted in it: `WebApplication` is one.

    Its methods are dependencies for FastAPI:

        crm = asgi(application, url=...)
        crm.attach(app, "/crm")

        @app.get("/dashboard")
        async def dashboard(session: Annotated[Session, Depends(crm.session)]): ...
    """

    _edge: Edge

    @property
    @abstractmethod
    def database(self) -> Database:
        """The database that it serves from."""

    @property
    @abstractmethod
    def authenticator(self) -> Authenticates:
        """Who verifies credentials."""

    @abstractmethod
    def lifespan(self, app: object = None) -> AbstractAsyncContextManager[None]:
        """The server's life."""

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""

    async def principal(self, connection: HTTPConnection) -> Principal:
        """Who calls a route, verified as the API does it. A dependency for FastAPI.

        Raises:
            AuthenticationError: there is no credential, or it is not valid.
            ForbiddenError: the caller does not belong to the organization.
            RequestError: a header was sent twice.
        """
        return (await self._verified(connection.scope))[1]

    async def session(self, connection: HTTPConnection) -> AsyncIterator[Session]:
        """A session on behalf of who calls a route, closed when it has answered. A dependency for FastAPI.

        Raises:
            FreeholdError: as `principal`.
        """
        async with self.opened_session(connection.scope) as session:
            yield session

    def requires(self, permission: str) -> Callable[[HTTPConnection], AsyncIterator[Session]]:
        """A dependency as `session`, for callers who have a permission.

        Args:
            permission: such as `customers.update`.

        Raises:
            ConfigurationError: that is no permission.
        """
        if "*" in permission or pattern_problem(permission):
            raise ConfigurationError(f"{permission!r} is no permission"[:200], hint="such as 'customers.update'")

        async def session(connection: HTTPConnection) -> AsyncIterator[Session]:
            async with self.opened_session(connection.scope, permission) as opened:
                yield opened

        return session

    @asynccontextmanager
    async def opened_session(self, scope: Scope, permission: str | None = None) -> AsyncIterator[Session]:
        """A session on behalf of who makes a request. For any framework: the ASGI scope tells of the request.

        Args:
            scope: of the request.
            permission: that the caller must have; None for none.

        Raises:
            FreeholdError: as `principal`; ForbiddenError without the permission.
        """
        exchange, principal = await self._verified(scope)
        if permission is not None and not permits(principal.permissions, permission):
            raise ForbiddenError(f"this needs the permission {permission}", hint="ask an administrator for it")
        async with self.database.session(principal.context(exchange.origin)) as session:
            yield session

    def attach(self, app: Starlette, path: str) -> None:
        """Mounts the server in a Starlette or FastAPI application: its addresses, its lifespan, and its errors.

        Args:
            app: the outer application, before it has started.
            path: such as `/crm`.
        """
        app.mount(path, self)
        app.add_exception_handler(FreeholdError, answer_problem)
        outer = app.router.lifespan_context

        @asynccontextmanager
        async def both(running: Any) -> AsyncIterator[Any]:
            async with self.lifespan(), outer(running) as state:
                yield state

        app.router.lifespan_context = both

    def mounted_at(self, path: str) -> ASGIApp:
        """The server for a framework that takes the prefix off the path and does not tell of it, as Litestar does.

            asgi("/crm", is_mount=True, copy_scope=True)(crm.mounted_at("/crm"))

        Args:
            path: where it is mounted.
        """

        async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
            raw = scope.get("raw_path")
            if scope["type"] == "http" and raw:  # what the client asked for, which the framework leaves as it was
                asked = unquote(raw.partition(b"?")[0].decode("latin-1"))
                scope = {**scope, "path": asked, "root_path": scope.get("root_path", "") + path}
            await self(scope, receive, send)

        return mounted

    async def _verified(self, scope: Scope) -> tuple[Exchange, Principal]:
        exchange = self._edge.opened(scope)
        self._edge.check(exchange, scope["headers"])
        authorization, organization = (
            _text(exchange.headers.get(name)) for name in (b"authorization", b"freehold-organization")
        )
        return exchange, await self.authenticator.authenticate(authorization, organization)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
