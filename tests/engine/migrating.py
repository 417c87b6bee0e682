"""What the tests of migrations share: declarations that change, and short ways to write and run revisions."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from freehold import Address, Application, Entity, Index, field, reference
from freehold.engine.catalog import Difference, differences
from freehold.engine.migrations.authoring import author
from freehold.engine.migrations.folder import Folder
from freehold.engine.migrations.undertaking import Work
from freehold.engine.migrations.work import Migrations
from freehold.postgres.connections import connect
from tests.conftest import Server


def entity(name: str, body: dict[str, tuple[Any, Any]], **options: Any) -> type[Entity]:
    """A class with fields, each a type and what `field()` or `reference()` says."""
    annotations = {key: kind for key, (kind, _) in body.items()}
    values = {key: declaration for key, (_, declaration) in body.items()}
    return type(Entity)(name, (Entity,), {"__annotations__": annotations, "__module__": __name__, **values}, **options)


CUSTOMER: dict[str, tuple[Any, Any]] = {
    "name": (str, field(max_length=100, index=True)),
    "credit": (Decimal, field(default=Decimal(0), digits=12, places=2, ge=0)),
}
ORDER: dict[str, tuple[Any, Any]] = {"number": (str, field(max_length=30, unique=True)), "total": (int, field(ge=0))}


def first() -> Application:
    """The first release."""
    customer = entity("Customer", CUSTOMER, soft_delete=True)
    order = entity("Order", {"customer_id": (UUID, reference(customer)), **ORDER})
    return Application("shop", [customer, order])


def second() -> Application:
    """The next one: nullable and defaulted fields, an index, an entity, a wider length, a reference."""
    customer = entity(
        "Customer",
        CUSTOMER | {
            "name": (str, field(max_length=200, index=True)),
            "segment": (str, field(default="none", max_length=20)),
            "note": (str | None, field(default=None)),
            "tags": (list[str], field(default_factory=list)),
        },
        soft_delete=True,
        indexes=[Index("segment", "name")],
    )  # fmt: skip
    order = entity("Order", {"customer_id": (UUID, reference(customer)), **ORDER, "paid": (bool, field(default=False))})
    product = entity(
        "Product", {"title": (str, field(max_length=50)), "maker_id": (UUID | None, reference(customer, default=None))}
    )
    return Application("shop", [customer, order, product])


def shop(**fields: tuple[Any, Any]) -> Application:
    """One entity with fields."""
    return Application("shop", [entity("Order", fields)])


class Site:
    """A database and a folder that are migrated."""

    def __init__(self, server: Server, name: str, folder: Path, user: str | None = None) -> None:
        self.server, self.name, self.folder, self.user = server, name, folder, user
        self.said: list[str] = []

    @property
    def address(self) -> Address:
        """Of whoever administers: by default the superuser, else a role whose password is its name."""
        address = self.server.admin_address(self.name)
        return address if self.user is None else replace(address, user=self.user, password=self.user)

    def id(self, number: int = 0) -> str:
        """A revision's id, by its place."""
        return Folder(self.folder).revisions[number].id

    async def setup(self, app: Application) -> None:
        await app.setup(self.address, {app.roles.application: self.server.password})

    def migrations(self, app: Application) -> Migrations:
        return Migrations(app.plan(), self.folder)

    async def new(self, app: Application, title: str = "change", **options: Any) -> Path | None:
        async with connect(self.address) as connection:
            return await author(connection, app.plan(), self.migrations(app).folder, title, **options)

    async def planned(self, app: Application, to: str | None = None) -> Work:
        async with connect(self.address) as connection:
            return await self.migrations(app).work_up(connection, to=to)

    async def up(self, app: Application, **options: Any) -> Work:
        return await self.run(app, lambda migrations, connection: migrations.work_up(connection), **options)

    async def down(self, app: Application, to: str | None = None) -> Work:
        return await self.run(app, lambda migrations, connection: migrations.work_down(connection, to=to))

    async def run(self, app: Application, plan: Callable[[Migrations, Any], Any], **options: Any) -> Work:
        migrations = self.migrations(app)
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(connect(self.address))
            observer = await stack.enter_async_context(connect(self.address))
            await stack.enter_async_context(migrations.locked(connection, wait=options.pop("wait", 20)))
            work: Work = await plan(migrations, connection)
            report = options.pop("report", self.said.append)
            if not work.empty:
                await migrations.run(connection, observer, work, report=report, **options)
            return work

    async def differences(self, app: Application) -> Sequence[Difference]:
        async with connect(self.address) as connection:
            return await differences(connection, app.plan(), app.schemas, app.roles)
