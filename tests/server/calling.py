"""Callers of the shop over HTTP, without sockets."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from freehold import Database, Principal
from freehold.errors import AuthenticationError, ForbiddenError
from freehold.server import Settings
from freehold.server.application import WebApplication


class Tokens:
    """Knows callers by words, in place of an authenticator."""

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        self._principals = dict(principals)
        self.asked = 0

    async def authenticate(self, authorization: str | None, organization: str | None = None) -> Principal:
        self.asked += 1
        principal = self._principals.get((authorization or "").removeprefix("Bearer "))
        if principal is None:
            raise AuthenticationError("the credential is not valid", hint="send Authorization: Bearer <token or key>")
        if organization not in (None, str(principal.organization_id)):
            raise ForbiddenError("the caller is no member of the organization")
        return principal


@asynccontextmanager
async def calling(
    database: Database, settings: Settings | None = None, *, root_path: str = "", **principals: Principal
) -> AsyncIterator["Callers"]:
    """A server that was started, and callers by name."""
    tokens = Tokens(principals)
    server = WebApplication(
        database.application,
        database=database,
        settings=settings or Settings(docs=True, metrics=True),
        authenticator=tokens,
    )
    async with server.lifespan():
        transport = httpx.ASGITransport(
            server, raise_app_exceptions=False, root_path=root_path, client=("192.0.2.9", 5)
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield Callers(client, server, tokens)


class Callers:
    """Sends requests as somebody."""

    def __init__(self, client: httpx.AsyncClient, server: WebApplication, tokens: Tokens) -> None:
        self.client = client
        self.server = server
        self.tokens = tokens

    async def __call__(self, who: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        """A request; `who` is the token that is sent."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers["authorization"] = f"Bearer {who}"
        return await self.client.request(method, path, headers=headers, **more)
