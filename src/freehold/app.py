"""The composition root: what an application declares, and the set-up of a database for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from freehold.engine.blocks import Roles as DatabaseRoles
from freehold.engine.install import Plan, create_roles, install, plan
from freehold.engine.seals import keep_seal
from freehold.engine.upkeep import keep_log
from freehold.errors import ConfigurationError
from freehold.functions.declaration import OWN_NAME, Idempotent, Kind, Options, Rate, declare
from freehold.functions.exposed import exposed
from freehold.functions.idempotency import SQL as ANSWERS
from freehold.functions.manifest import manifest_of
from freehold.functions.registry import Functions
from freehold.identity.issuers import Issuer
from freehold.identity.roles import Roles
from freehold.identity.system import SQL
from freehold.model.bounds import USUAL_BOUNDS, AnswerBounds
from freehold.model.entity import Entity
from freehold.model.registry import Registry
from freehold.model.seal import Seal
from freehold.postgres.connections import Address, Connection, connect
from freehold.sql.identifiers import Schemas
from freehold.transfer.chunks import SQL as TRANSFER

if TYPE_CHECKING:
    pass

__all__ = ["Application"]

ResultT = TypeVar("ResultT")
CallT = TypeVar("CallT", bound=Callable[..., Any])


class Application:
    """All that one application declares.

    Args:
        name: of the application.
        entities: its entities; references must lead from one of them to another.
        engine_schema, schema: the names of Freehold's schema and of the tables' schema.
        owner_role, application_role: the names of the database roles.
        migrations: the folder of revisions; with it, an empty database that is set up is noted to be at the newest one.
        roles: which role of a member grants which permissions: `{"admin": ["*"], "sales": ["customers.*", "*.list"]}`; None grants
            every permission to every member.
        issuers: whose tokens are accepted.
        bounds: what one answer may hold.

    Raises:
        DeclarationError: the entities do not fit together.
    """

    def __init__(
        self,
        name: str,
        entities: Iterable[type[Entity]],
        *,
        engine_schema: str = "freehold",
        schema: str = "app",
        owner_role: str = "freehold_owner",
        application_role: str = "freehold_app",
        migrations: Path | str | None = None,
        roles: Roles | Mapping[str, Iterable[str]] | None = None,
        issuers: Iterable[Issuer] = (),
        bounds: AnswerBounds = USUAL_BOUNDS,
    ) -> None:
        self.name = name
        self.registry = Registry(entities)
        self.functions = Functions(exposed(self.registry))
        self.issuers = tuple(issuers)
        self.bounds = bounds
        self.grants = roles if isinstance(roles, Roles) else Roles(roles)
        self.schemas = Schemas(engine_schema, schema)
        self.roles = DatabaseRoles(owner_role, application_role)
        self.migrations = None if migrations is None else Path(migrations)

    @overload
    def query(
        self,
        call: CallT,
        /,
        *,
        name: str | None = None,
        requires: Any = OWN_NAME,
        public: bool = False,
        cache: float | None = None,
        live: bool = False,
        timeout: float | None = None,
        rate_limit: Rate | Sequence[Rate] = (),
        stream: bool = False,
    ) -> CallT: ...
    @overload
    def query(
        self,
        call: None = None,
        /,
        *,
        name: str | None = None,
        requires: Any = OWN_NAME,
        public: bool = False,
        cache: float | None = None,
        live: bool = False,
        timeout: float | None = None,
        rate_limit: Rate | Sequence[Rate] = (),
        stream: bool = False,
    ) -> Callable[[CallT], CallT]: ...
    def query(
        self,
        call: CallT | None = None,
        /,
        *,
        name: str | None = None,
        requires: Any = OWN_NAME,
        public: bool = False,
        cache: float | None = None,
        live: bool = False,
        timeout: float | None = None,
        rate_limit: Rate | Sequence[Rate] = (),
        stream: bool = False,
    ) -> Any:
        """Declares a function that reads, which callers reach by its name.

            @application.query(name="customers.owing")
            async def owing(session: Session, least: Decimal) -> Page[Customer]:
                \"\"\"Customers that owe more than an amount.

                Args:
                    least: the amount.
                \"\"\"
                return await session.list(Customer, where={"orders.total": {"gte": least}})

        Its session refuses to write. The function itself stays as it is, to be called from Python.

        Args:
            call: the function; without it this is a decorator with options.
            name: by which it is called: one dot at most; by default the function's own.
            requires: the permission that a caller needs; by default the one of the function's name. None lets every member call it.
            public: whether it is called without a credential. Then there is no organization: its first parameter may be a `System`.
            cache: seconds for which a client may keep the answer.
            live: whether it may be subscribed to.
            timeout: seconds that it may take, at most 300.
            rate_limit: how often it may be called.
            stream: whether it is an asynchronous generator, whose items are sent one by one.

        Raises:
            DeclarationError: the signature or an option is wrong, or another function has its name.
        """
        options = Options(
            name=name,
            requires=requires,
            public=public,
            cache=cache,
            live=live,
            timeout=timeout,
            rate_limit=rate_limit,
            stream=stream,
        )
        return self._declared("query", call, options)

    @overload
    def command(
        self,
        call: CallT,
        /,
        *,
        name: str | None = None,
        requires: Any = OWN_NAME,
        public: bool = False,
        idempotent: Idempotent = False,
        timeout: float | None = None,
        rate_limit: Rate | Sequence[Rate] = (),
        attempts: int = 1,
    ) -> CallT: ...
    @overload
    def command(
        self,
        call: None = None,
        /,
        *,
        name: str | None = None,
        requires: Any = OWN_NAME,
        public: bool = False,
        idempotent: Idempotent = False,
        timeout: float | None = None,
        rate_limit: Rate | Sequence[Rate] = (),
        attempts: int = 1,
    ) -> Callable[[CallT], CallT]: ...
    def command(
        self,
        call: CallT | None = None,
        /,
        *,
        name: str | None = None,
        requires: Any = OWN_NAME,
        public: bool = False,
        idempotent: Idempotent = False,
        timeout: float | None = None,
        rate_limit: Rate | Sequence[Rate] = (),
        attempts: int = 1,
    ) -> Any:
        """Declares a function that writes, which callers reach by its name.

            @application.command(name="customers.block")
            async def block(unit: UnitOfWork, id: UUID, reason: str) -> Customer:
                customer = await unit.get(Customer, id)
                unit.update(customer, status="blocked", credit_limit=0)
                unit.add(Activity, customer_id=id, kind="note", subject=reason)
                return customer

        What its unit of work has collected is committed when it returns, and before the answer is sent; where it raises, nothing
        was written. With `transaction: Transaction` as its first parameter it reads and writes in a transaction of its own.

        Args:
            call, name, requires, public, timeout, rate_limit: as in `query`.
            idempotent: whether calling it twice does what calling it once does, so that clients may repeat it; `"key"` demands an
                idempotency key of each call.
            attempts: how often a function with a transaction is run where it loses against another one, at most 10.

        Raises:
            DeclarationError: the signature or an option is wrong, or another function has its name.
        """
        options = Options(
            name=name,
            requires=requires,
            public=public,
            idempotent=idempotent,
            timeout=timeout,
            rate_limit=rate_limit,
            attempts=attempts,
        )
        return self._declared("command", call, options)

    def _declared(self, kind: Kind, call: CallT | None, options: Options) -> Any:
        def declared(function: CallT) -> CallT:
            self.functions.add(declare(function, kind, options))
            return function

        return declared if call is None else declared(call)

    def plan(self) -> Plan:
        """The statements that make the schema."""
        return plan(self.registry, self.schemas, self.roles, rooms=[*SQL, TRANSFER, ANSWERS])

    def manifest(self) -> dict[str, Any]:
        """All that is declared, as JSON-able values: what generators read. See `freehold.functions.manifest`."""
        return manifest_of(self.name, self.registry, list(self.functions), self.grants)

    async def setup(
        self,
        administrator: Address,
        passwords: dict[str, str],
        *,
        secret: str | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> bool:
        """Creates roles and schema in a database.

        Args:
            administrator: a superuser, or the database's owner with CREATEROLE.
            passwords: by role name; the application role needs one to log in.
            secret: seals contexts; by default the application role's password. See `freehold.model.seal`.
            report: is called with a line of text now and then while the rows of new counters are counted.

        Returns:
            Whether anything was done; False where the schema is there already.

        Raises:
            ConfigurationError: there is neither a secret nor a password of 8 characters or more.
        """
        seal = Seal(passwords.get(self.roles.application) if secret is None else secret)
        async with connect(administrator) as connection:
            if not await self._roles_ready(administrator, connection, passwords):
                await create_roles(connection, self.roles, passwords)
            made = None if self.migrations is None else await _revised(self, connection, self.migrations)
            changed = await install(connection, self.plan(), self.schemas, self.roles, report, made)
            if changed and self.migrations is not None:
                await _stamp(self, connection, self.migrations)
            await keep_seal(connection, self.schemas, seal)
            await keep_log(connection, self.schemas)
            return changed

    async def _roles_ready(self, administrator: Address, connection: Connection, passwords: dict[str, str]) -> bool:
        """Whether the roles are there and let in with these passwords: roles belong to the whole server, and two
        programs that alter one at the same moment fail."""
        names = [self.roles.owner, self.roles.application]
        rows = await connection.fetch(
            "select 1 from pg_roles where rolname = any ($1) and not rolsuper and not rolbypassrls", names
        )
        if len(rows) < len(names):
            return False
        for name, password in passwords.items():
            try:
                async with connect(replace(administrator, user=name, password=password)):
                    pass
            except ConfigurationError:
                return False
        return True


async def _revised(application: Application, connection: Connection, folder: Path) -> list[str] | None:
    from freehold.engine.migrations.work import Migrations  # late for the same reason as below

    return await Migrations(application.plan(), folder).fresh(connection)


async def _stamp(application: Application, connection: Connection, folder: Path) -> None:
    # Here and not above: Alembic takes as long to import as all of the rest, and a program that serves does not need it.
    from freehold.engine.migrations.work import Migrations

    migrations = Migrations(application.plan(), folder)
    if not (await migrations.status(connection)).adopted:
        await migrations.stamp(connection)
