"""Inside of FastAPI, Starlette and Litestar."""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from freehold import Database, Session
from freehold.errors import AuthenticationError, ConfigurationError, ForbiddenError, FreeholdError
from freehold.identity.principal import Principal
from freehold.server import Settings, answer_problem, problem_details
from freehold.server.application import WebApplication
from tests.conftest import new_context
from tests.server.serving import Api
from tests.world import Customer, application

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports another package, which uses what SQLAlchemy calls outdated
    from litestar import Litestar, asgi, get
    from litestar import Request as LitestarRequest
    from litestar import Response as LitestarResponse


class Tokens:
    """Verifies credentials from a list of its own."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}

    async def authenticate(self, authorization: str | None, organization: str | None = None) -> Principal:
        principal = self.known.get(authorization or "")
        if principal is None:
            raise AuthenticationError("there is no valid credential")
        if organization not in (None, str(principal.organization_id)):
            raise ForbiddenError("no member")
        return principal


@pytest.fixture
async def tokens(database: Database) -> Tokens:
    found = Tokens()
    for name, permissions in (("ada", {"*"}), ("eve", {"customers.get"})):
        context = await new_context(database)
        async with database.session(context) as session:
            await session.create(Customer, name=f"{name}'s customer")
        found.known[f"Bearer {name}"] = Principal(
            context.organization_id, context.user_id, "admin", frozenset(permissions), f"user:{name}"
        )
    return found


@pytest.fixture
def crm(database: Database, tokens: Tokens) -> WebApplication:
    return WebApplication(application, database=database, settings=Settings(), authenticator=tokens, api=Api())


@asynccontextmanager
async def client(app: Any, lifespan: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose lifespan runs."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with lifespan, httpx.AsyncClient(transport=transport, base_url="http://test") as found:
        yield found


def ada(**headers: str) -> dict[str, str]:
    return {"authorization": "Bearer ada", **headers}


async def check_routes(client: httpx.AsyncClient, tokens: Tokens) -> None:
    """A route `/names` with a session, and the server at `/crm`."""
    for name in ("ada", "eve"):
        answer = await client.get("/names", headers={"authorization": f"Bearer {name}"})
        assert answer.json() == [f"{name}'s customer"]
    for headers in ({}, {"authorization": "Bearer nobody"}):
        answer = await client.get("/names", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "FH302"
    other = str(tokens.known["Bearer eve"].organization_id)
    answer = await client.get("/names", headers=ada(**{"freehold-organization": other}))
    assert (answer.status_code, answer.json()["code"]) == (403, "FH300")
    twice = [("authorization", "Bearer ada"), ("authorization", "Bearer eve")]
    assert (await client.get("/names", headers=twice)).status_code == 400
    for path in ("/crm/healthz", "/crm/readyz", "/crm/api/echo"):
        answer = await client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await client.get("/crm/nothing")).json()["code"] == "FH103"


async def test_fastapi(crm: WebApplication, tokens: Tokens) -> None:
    lived: list[str] = []

    @asynccontextmanager
    async def own(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        assert crm.database  # is there for the application's own start
        lived.append("start")
        yield {"mine": "kept"}
        lived.append("stop")

    app = FastAPI(lifespan=own)
    crm.attach(app, "/crm")

    @app.get("/names")
    async def names(session: Annotated[Session, Depends(crm.session)]) -> list[str]:
        return [customer.name async for customer in listed(session)]

    @app.get("/updates")
    async def updates(session: Annotated[Session, Depends(crm.requires("customers.update"))]) -> str:
        return str(session.context.role)

    @app.get("/me")
    async def me(principal: Annotated[Principal, Depends(crm.principal)]) -> str:
        return principal.credential

    async with client(app, app.router.lifespan_context(app)) as found:
        await check_routes(found, tokens)
        assert (await found.get("/updates", headers=ada())).json() == "admin"
        answer = await found.get("/updates", headers={"authorization": "Bearer eve"})
        assert answer.status_code == 403
        assert "customers.update" in answer.json()["detail"]
        assert (await found.get("/me", headers=ada())).json() == "user:ada"
        document = (await found.get("/openapi.json")).json()
        assert document["paths"]["/names"]["get"].get("parameters") is None
    assert lived == ["start", "stop"]
    with pytest.raises(ConfigurationError, match="not started"):
        _ = crm.database


async def listed(session: Session) -> AsyncIterator[Customer]:
    for customer in await session.list(Customer):
        yield customer


async def test_starlette(crm: WebApplication, tokens: Tokens) -> None:
    async def names(request: Any) -> JSONResponse:
        async with crm.opened_session(request.scope) as session:
            return JSONResponse([customer.name async for customer in listed(session)])

    app = Starlette(
        routes=[Route("/names", names), Mount("/crm", crm)],
        lifespan=crm.lifespan,
        exception_handlers={FreeholdError: answer_problem},
    )
    async with client(app, app.router.lifespan_context(app)) as found:
        await check_routes(found, tokens)


async def test_litestar(crm: WebApplication, tokens: Tokens) -> None:
    mounted = asgi("/crm", is_mount=True, copy_scope=True)(crm.mounted_at("/crm"))

    @get("/names")
    async def names(request: LitestarRequest[Any, Any, Any]) -> list[str]:
        async with crm.opened_session(request.scope) as session:
            return [customer.name async for customer in listed(session)]

    def told(request: LitestarRequest[Any, Any, Any], error: FreeholdError) -> LitestarResponse[bytes]:
        problem = problem_details(error)
        headers = {name.decode(): value.decode() for name, value in problem.headers}
        return LitestarResponse(
            problem.body, status_code=problem.status, headers=headers, media_type="application/problem+json"
        )

    app = Litestar(
        [mounted, names],
        lifespan=[crm.lifespan],
        exception_handlers={FreeholdError: told},
        openapi_config=None,
        logging_config=None,
    )
    async with client(app, app.lifespan()) as found:
        await check_routes(found, tokens)


async def test_a_route_gets_the_request_s_own_context(crm: WebApplication, tokens: Tokens) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "headers": [(b"authorization", b"Bearer ada"), (b"x-request-id", b"r-7"), (b"user-agent", b"tests/3")],
        "client": ("192.0.2.9", 1),
    }
    async with crm.lifespan(), crm.opened_session(scope) as session:
        created = await session.create(Customer, name="New")
        change = (await session.history(created))[0]
        assert (change.request_id, change.client_ip, change.user_agent) == ("r-7", "192.0.2.9", "tests/3")


async def test_without_its_lifespan_a_route_fails_clearly(crm: WebApplication) -> None:
    connection = HTTPConnection(
        {"type": "http", "method": "GET", "path": "/", "headers": [(b"authorization", b"Bearer ada")]}
    )
    with pytest.raises(ConfigurationError, match="lifespan"):
        await anext(crm.session(connection))


def test_a_dependency_names_one_permission(crm: WebApplication) -> None:
    for wrong in ("customers.*", "", "Customers.update"):
        with pytest.raises(ConfigurationError, match="no permission"):
            crm.requires(wrong)


async def test_an_error_that_is_not_ours_is_not_answered() -> None:
    with pytest.raises(ZeroDivisionError):
        await answer_problem(None, ZeroDivisionError())  # type: ignore[arg-type]
