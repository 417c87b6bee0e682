"""What a server for development runs on: an embedded PostgreSQL that is as declared, and keys for who is there.

The keys are made of secrets in the server's folder, so they stay the same as long as that does, and are known nowhere else.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.app import Application
from freehold.database import Database
from freehold.identity.development import DevelopmentKeys
from freehold.identity.system import System
from freehold.postgres.connections import Address, connect
from freehold.postgres.server import EmbeddedServer

__all__ = ["Development", "Known", "prepared"]

SHOWN = 5
"""Organizations that get a key."""


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody who can call.

    Args:
        organization: its slug.
        email, role: the member's.
        key: for development.
    """

    organization: str
    email: str
    role: str
    key: str


@dataclass(frozen=True, slots=True)
class Development:
    """What there is to serve with.

    Args:
        database: opened.
        keys: that an authenticator should know.
        known: whose they are.
    """

    database: Database
    keys: DevelopmentKeys
    known: tuple[Known, ...]


@asynccontextmanager
async def prepared(
    folder: Path | str, application: Application, *, report: Callable[[str], None]
) -> AsyncIterator[Development]:
    """Starts (or joins) the PostgreSQL server in a folder, brings its schema to what is declared, and opens it.

    Args:
        folder: the server's; made when it is not there.
        application: what is served.
        report: is called with each thing that migrations do.

    Raises:
        ServerError: the server cannot be made or started.
        ConfigurationError, MigrationError: its tables are of other declarations.
    """
    async with await EmbeddedServer.start(folder) as server:
        administrator = Address(**_arguments(server))
        role = application.roles.application
        password = server.secret(role)
        if application.migrations is not None and await _is_set_up(administrator, application):
            await _migrate(administrator, application, application.migrations, report)
        await application.setup(administrator, {role: password})
        address = Address(**{**_arguments(server), "user": role, "password": password})
        async with Database.open(address, application) as database:
            keys = DevelopmentKeys()
            yield Development(database, keys, await _known(database, server, keys))


def _arguments(server: EmbeddedServer) -> dict[str, Any]:
    return server.connection().as_arguments()


async def _is_set_up(administrator: Address, application: Application) -> bool:
    async with connect(administrator) as connection:
        rows = await connection.fetch(
            "select to_regnamespace(quote_ident($1)) is not null as there", application.schemas.engine
        )
        return bool(rows[0]["there"])


async def _migrate(
    administrator: Address, application: Application, folder: Path, report: Callable[[str], None]
) -> None:
    # Here and not above: Alembic takes as long to import as all of the rest, and is needed where there are revisions only.
    from freehold.engine.migrations.work import Migrations

    migrations = Migrations(application.plan(), folder)
    async with connect(administrator) as connection, connect(administrator) as observer, migrations.locked(connection):
        work = await migrations.work_up(connection)
        if not work.empty:
            await migrations.run(connection, observer, work, report=report)


async def _known(database: Database, server: EmbeddedServer, keys: DevelopmentKeys) -> tuple[Known, ...]:
    """The first members of the first organizations, with a key each; where there is nobody, somebody is made."""
    system = database.system("development")
    organizations = (await system.directory.organizations(limit=SHOWN)).records
    if not organizations:
        await _populate(system, database.application)
        organizations = (await system.directory.organizations(limit=SHOWN)).records
    found = []
    for organization in organizations:
        for member in (await system.directory.members(organization.id, limit=1)).records:
            secret = f"fhdev_{server.secret(f'key-{organization.slug}')}"
            key = keys.add(organization.slug, member.email, secret=secret)
            found.append(Known(organization.slug, member.email, member.role, key))
    return tuple(found)


async def _populate(system: System, application: Application) -> None:
    granted = application.grants.grants
    role = "admin" if granted is None or "admin" in granted else next(iter(granted), "member")
    organization = await system.create_organization(name="Acme", slug="acme")
    user = await system.find_user("ada@acme.example") or await system.create_user(email="ada@acme.example", name="Ada")
    await system.add_member(organization.id, user.id, role=role)
