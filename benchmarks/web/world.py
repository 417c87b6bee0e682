"""Where the servers are compared: three organizations in a database of their own, and tokens that the servers believe."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import asyncpg
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.scale_load import postmaster
from benchmarks.web.entities import application
from benchmarks.web.settings import ALGORITHM, AUDIENCE, ISSUER, Settings
from benchmarks.world import CONTEXT, LOAD, machine_of
from freehold import Context, Database
from freehold.model.seal import Seal
from freehold.postgres.server import EmbeddedServer, ServerAddress

__all__ = ["FOLDER", "LAST", "SIZES", "Site", "Tenant", "World", "prepared", "site", "world"]

FOLDER = Path(".freehold/web")
"""The embedded server's; removing it has the next run begin anew."""
EMAIL = "ada@example.test"
"""The one user's."""
SIZES = {"reads": 20_000, "figures": 2_000, "writes": 10_000}
"""The organizations, and their customers when a run begins."""
LAST = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=SIZES["figures"])
"""When the youngest customer was made of whom there are figures."""
ORDERS = """
    insert into app.orders (organization_id, customer_id, number, status, total, placed_at)
    select organization_id, id, 'O-' || place || '-' || n,
        (array['draft', 'confirmed', 'shipped', 'delivered', 'delivered', 'cancelled'])[1 + (place + n) % 6],
        ((place * 7919 + n * 104729) % 1000000)::numeric / 100, created_at + n * interval '1 day'
    from (select organization_id, id, created_at, row_number() over (order by id) as place
        from app.customers where organization_id = $1) c, generate_series(1, 3) n"""
CREATED = "delete from app.customers where organization_id = $1 and created_at > '2025-12-31'"
TABLES = ("app.customers", "app.orders")

Connection = Any  # asyncpg has no type information


@dataclass(frozen=True)
class Site:
    """Where servers find their database, and the issuer whose tokens they believe.

    Args:
        address: of the application's role.
        folder: for the files of a run.
        key: the issuer's.
    """

    address: ServerAddress
    folder: Path
    key: RSAPrivateKey

    def settings(self, name: str, listen: int, pool: int, keep_tokens: float = 0.0) -> Path:
        """The file of settings for a server's process."""
        seal = hashlib.pbkdf2_hmac("sha256", self.address.password.encode(), b"freehold.seal", 20_000).hex()
        public_key, jwks = str(self.folder / "key.pem"), str(self.folder / "jwks.json")
        where = self.address
        told = Settings(
            listen, where.host, where.port, where.user, where.password, where.database, pool, seal, public_key, jwks,
            keep_tokens=keep_tokens,
        )  # fmt: skip
        return told.write(self.folder / f"{name}.json")

    def token(self, context: Context, key: RSAPrivateKey | None = None) -> str:
        """A token of the context's user, as an identity provider makes it; good for a day.

        Args:
            context: whose it is.
            key: what it is signed with, in place of the issuer's.
        """
        now = datetime.now(UTC)
        told = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(context.user_id),
            "email": EMAIL,
            "email_verified": True,
            "organization_id": str(context.organization_id),
            "role": context.role,
            "iat": now,
            "exp": now + timedelta(days=1),
        }
        return jwt.encode(told, key or self.key, ALGORITHM, headers={"kid": "benchmarks"})


@contextmanager
def site(address: ServerAddress) -> Iterator[Site]:
    """A new key, published in a folder that is there as long as this is open."""
    with TemporaryDirectory(prefix="freehold-web-") as folder:
        key = generate_private_key(public_exponent=65537, key_size=2048)
        _publish(key.public_key(), Path(folder))
        yield Site(address, Path(folder), key)


@dataclass(frozen=True)
class Tenant:
    """An organization, and the token of its one user."""

    context: Context
    token: str


@dataclass(frozen=True)
class World:
    """What all servers share.

    Args:
        site: where they find it.
        administrator: of the superuser.
        tenants: by the names in `SIZES`.
        postmaster: the process of PostgreSQL whose children serve connections, where it is on this machine.
        machine: what the figures were measured on.
    """

    site: Site
    administrator: ServerAddress
    tenants: Mapping[str, Tenant]
    postmaster: int | None
    machine: Mapping[str, str]

    async def customers(self, tenant: str, count: int, skipped: int = 0) -> list[tuple[UUID, int]]:
        """Ids and versions, as they are now, of some of the customers that were loaded."""
        text = (
            "select id, version from app.customers where organization_id = $1 and created_at < '2025-12-31' "
            "order by id offset $2 limit $3"
        )
        rows = await self.asked(text, self.tenants[tenant].context.organization_id, skipped, count)
        return [(UUID(bytes=row["id"].bytes), row["version"]) for row in rows]

    async def asked(self, text: str, *values: object) -> list[Any]:
        """The rows of a statement of the superuser's."""
        connection = await asyncpg.connect(**self.administrator.as_arguments())
        try:
            rows: list[Any] = await connection.fetch(text, *values)
            return rows
        finally:
            await connection.close()


@asynccontextmanager
async def world(folder: Path = FOLDER) -> AsyncIterator[World]:
    """Start the server in a folder, and prepare its database."""
    async with await EmbeddedServer.start(folder) as server, Database.embedded(folder, application) as database:
        administrator = server.connection()
        address = server.connection(application.roles.application, administrator.database)
        async with prepared(database, address, administrator) as here:
            yield here


@asynccontextmanager
async def prepared(
    database: Database, address: ServerAddress, administrator: ServerAddress, sizes: Mapping[str, int] = SIZES
) -> AsyncIterator[World]:
    """Load what is missing, take away what earlier runs created, and make a key."""
    seal = Seal(address.password)
    with site(address) as here:
        tenants = {}
        for number, name in enumerate(sizes, start=1):
            context = await _member(database, name)
            await _load(address, number, context, seal, sizes[name], orders=name == "figures")
            tenants[name] = Tenant(context, here.token(context))
        await _settle(administrator, [tenant.context.organization_id for tenant in tenants.values()])
        connection: Connection = await asyncpg.connect(**address.as_arguments())
        try:
            process = await postmaster(connection)
        finally:
            await connection.close()
        yield World(here, administrator, tenants, process, await machine_of(address))


def _publish(key: RSAPublicKey, folder: Path) -> None:
    """The public key in both forms that servers want."""
    (folder / "key.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    numbers = key.public_numbers()
    parts = {name: _base64(getattr(numbers, name)) for name in ("n", "e")}
    known = {"kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": "benchmarks", **parts}
    (folder / "jwks.json").write_text(json.dumps({"keys": [known]}))


def _base64(number: int) -> str:
    return urlsafe_b64encode(number.to_bytes(-(-number.bit_length() // 8))).decode().rstrip("=")


async def _member(database: Database, name: str) -> Context:
    """The organization of this name, and the one user of them all as its member."""
    slug, email = f"web-{name}", EMAIL
    system = database.system(reason="benchmarks")
    organization = await system.find_organization(slug)
    if organization is None:
        organization = await system.create_organization(name=f"Benchmark of {name}", slug=slug)
    user = await system.find_user(email) or await system.create_user(email=email, name="Ada")
    await system.add_member(organization.id, user.id, role="admin")
    return await system.context(organization=slug, user=email, request_id="load", user_agent="benchmarks")


async def _load(
    address: ServerAddress, number: int, context: Context, seal: Seal, customers: int, *, orders: bool
) -> None:
    """Fill an organization, as the application's role; one that has customers is left as it is."""
    connection: Connection = await asyncpg.connect(**address.as_arguments())
    try:
        async with connection.transaction():
            await connection.execute(CONTEXT, str(context.organization_id), seal.apply(context))
            if await connection.fetchval("select exists (select from app.customers)"):
                return
            await connection.execute(LOAD, context.organization_id, str(number), customers)
            if orders:
                await connection.execute(ORDERS, context.organization_id)
    finally:
        await connection.close()


async def _settle(administrator: ServerAddress, organizations: list[UUID]) -> None:
    """Begin as the first run did: without what was created since, with statistics, and with little left to autovacuum."""
    connection: Connection = await asyncpg.connect(**administrator.as_arguments())
    try:
        for organization in organizations:
            await connection.execute(CREATED, organization)
        for table in TABLES:
            await connection.execute(f"vacuum (analyze) {table}")
        await connection.execute("checkpoint")
    finally:
        await connection.close()
