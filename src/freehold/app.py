"""The composition root: what an application declares, and the database that serves it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pydantic_core import from_json

from freehold.engine.blocks import Roles as DatabaseRoles
from freehold.engine.columns import check_columns
from freehold.engine.install import Plan, create_roles, install, plan
from freehold.engine.roles import check_role
from freehold.engine.seals import check_seal, keep_seal
from freehold.errors import ConfigurationError, IsolationError
from freehold.functions.arguments import Arguments
from freehold.functions.declaration import OWN_NAME, Idempotent, Kind, Options, Rate, declare
from freehold.functions.exposed import exposed
from freehold.functions.idempotency import SQL as ANSWERS
from freehold.functions.idempotency import IdempotencyKeys
from freehold.functions.manifest import manifest_of
from freehold.functions.pipeline import LONGEST, Call, Limiter, Pipeline
from freehold.functions.registry import Functions
from freehold.identity.administration import Administration
from freehold.identity.development import DevelopmentKeys
from freehold.identity.issuers import Issuer
from freehold.identity.principal import Principal
from freehold.identity.roles import Roles
from freehold.identity.system import CONSTRAINTS, SQL, System
from freehold.model.context import Context
from freehold.model.entity import Entity
from freehold.model.pages import CursorSigner
from freehold.model.registry import Registry
from freehold.model.seal import Seal
from freehold.model.shapes import Shapes
from freehold.postgres.connections import Address, Connection, Pool, connect
from freehold.postgres.server import EmbeddedServer
from freehold.sql.identifiers import Schemas
from freehold.store.coalescer import Coalescer, IncrementFigures
from freehold.store.running import ATTEMPTS, run
from freehold.store.session import Session, Transaction
from freehold.store.store import Store
from freehold.store.transaction import DEADLINE, Isolation
from freehold.transfer.chunks import SQL as TRANSFER

if TYPE_CHECKING:
    from freehold.identity.authentication import Authenticator

__all__ = ["Application", "Database"]

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
    ) -> None:
        self.name = name
        self.registry = Registry(entities)
        self.functions = Functions(exposed(self.registry))
        self.issuers = tuple(issuers)
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

    async def setup(self, administrator: Address, passwords: dict[str, str], *, secret: str | None = None) -> bool:
        """Creates roles and schema in a database.

        Args:
            administrator: a superuser, or the database's owner with CREATEROLE.
            passwords: by role name; the application role needs one to log in.
            secret: seals contexts; by default the application role's password. See `freehold.model.seal`.

        Returns:
            Whether anything was done; False where the schema is there already.

        Raises:
            ConfigurationError: there is neither a secret nor a password of 8 characters or more.
        """
        seal = Seal(passwords.get(self.roles.application) if secret is None else secret)
        async with connect(administrator) as connection:
            if not await self._roles_ready(administrator, connection, passwords):
                await create_roles(connection, self.roles, passwords)
            changed = await install(connection, self.plan(), self.schemas, self.roles)
            if changed and self.migrations is not None:
                await _stamp(self, connection, self.migrations)
            await keep_seal(connection, self.schemas, seal)
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


class Database:
    """A database that serves an application. Open it with `Database.open` or `Database.embedded`."""

    def __init__(self, application: Application, store: Store) -> None:
        self.application = application
        self._store = store

    @property
    def increments(self) -> IncrementFigures:
        """What became of increments since the database was opened: how many wait, and how many were lost."""
        increments = self._store.increments
        return IncrementFigures() if increments is None else increments.figures

    @property
    def store(self) -> Store:
        """What its sessions share: for tools that look behind them."""
        return self._store

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        address: str | Address,
        application: Application,
        *,
        size: int = 10,
        wait: float = 10.0,
        timeout: float = 30.0,
        secret: str | None = None,
    ) -> AsyncIterator["Database"]:
        """Connects to a database that `freehold setup` has prepared.

        Args:
            address: `postgresql://user:password@host:port/database` of the application role, or an `Address`.
            application: what is served.
            size: connections at most.
            wait: seconds a call waits for a connection.
            timeout: seconds a statement may take.
            secret: seals contexts, where set-up was given one; by default the address's password.

        Raises:
            RoleError: the role is one on which isolation cannot hold.
            ConfigurationError: the schema is missing, the address wrong, or the secret not the one of the set-up.
            UnavailableError: the server cannot be reached.
        """
        if not isinstance(address, Address) and not (isinstance(address, str) and address):
            raise ConfigurationError(
                f"a database's address is a URL or an Address, not {address!r}"[:120],
                hint="postgresql://user:password@host:port/database",
            )
        where = Address(url=address) if isinstance(address, str) else address
        constraints = {**application.registry.constraints, **CONSTRAINTS}
        async with Pool(where, constraints, size=size, wait=wait, timeout=timeout) as pool:
            await check_role(pool, application.schemas, application.roles)
            seal = Seal(where.secret if secret is None else secret)
            await check_columns(pool, application.plan())
            await check_seal(pool, application.schemas, seal)
            await pool.fetch_row(f"select {application.schemas.own('extend_log')}(3)", [])
            shapes, signer = Shapes(application.registry), CursorSigner(seal.cursor_key)
            increments = Coalescer(wait=wait)
            store = Store(pool, application.registry, application.schemas, shapes, signer, seal, increments)
            try:
                yield cls(application, store)
            finally:
                if store.increments is not None:
                    await store.increments.close()

    @classmethod
    @asynccontextmanager
    async def embedded(
        cls, path: Path | str, application: Application, *, size: int = 10, timeout: float = 30.0
    ) -> AsyncIterator["Database"]:
        """Starts (or joins) the PostgreSQL server in a folder, prepares the schema, and connects.

        For development, demos and tests. The server stops when its last user leaves.

        Args:
            path: the server's folder; made when it is not there.
            application: what is served.
            size, timeout: as in `open`.

        Raises:
            ServerError: the server cannot be made or started.
            ConfigurationError: its tables are of other declarations.
        """
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(await EmbeddedServer.start(path))
            roles = application.roles
            password = server.secret(roles.application)
            admin = server.connection()
            administrator = Address(
                host=admin.host, port=admin.port, user=admin.user, password=admin.password, database=admin.database
            )
            await application.setup(administrator, {roles.application: password})
            address = Address(
                host=admin.host, port=admin.port, user=roles.application, password=password, database=admin.database
            )
            yield await stack.enter_async_context(cls.open(address, application, size=size, timeout=timeout))

    def session(self, context: Context, *, timeout: float | None = None, read_only: bool = False) -> Session:
        """A session on behalf of a context.

        Args:
            context: who asks.
            timeout: seconds each call may take; None is the database's bound.
            read_only: whether it refuses to write.

        Raises:
            IsolationError: there is no context.
        """
        return Session(self._store, context, timeout=timeout, read_only=read_only)

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        principal: Principal | None,
        key: str | None = None,
        content: AsyncIterator[bytes] | None = None,
    ) -> Any:
        """Calls a function of the application as somebody, as the server would.

            await database.call("customers.list", {"where": {"status": "active"}}, principal=principal)

        Args:
            name: the function's.
            arguments: by name.
            principal: who calls; None for nobody known.
            key: an idempotency key.
            content: the bytes of a file, where the function takes one.

        Returns:
            The result as JSON-able values; of a stream a list of its items; of a file its bytes.

        Raises:
            NotFoundError: there is no such function.
            FreeholdError: whatever the call is refused with.
        """
        function = self.application.functions[name]
        call = Call(function, Arguments.of_values(arguments or {}), principal, key=key, content=content)
        answer = await self.pipeline().run(call)
        if answer.stream is not None and function.media:
            return b"".join([part async for part in answer.stream])
        if answer.stream is not None:
            return [from_json(item) async for item in answer.stream]
        return from_json(answer.body)

    def pipeline(self, *, limiter: Limiter | None = None, timeout: float = LONGEST) -> Pipeline:
        """What runs calls of the application's functions here.

        Args:
            limiter: who may call now; None lets everybody.
            timeout: seconds that a call may take whose function says nothing.
        """
        return Pipeline(self, limiter=limiter, keys=IdempotencyKeys(), timeout=timeout)

    async def run(
        self,
        context: Context,
        work: Callable[[Transaction], Awaitable[ResultT]],
        *,
        attempts: int = ATTEMPTS,
        deadline: float = DEADLINE,
        isolation: Isolation = "read_committed",
    ) -> ResultT:
        """Does work in a transaction, and all of it again where the transaction met another one or lost its connection.

            async def book(transaction: Transaction) -> Booking: ...

            booking = await database.run(context, book, isolation="serializable")

        It is tried again after a SerializationError and after a connection that was lost before the commit, in which cases
        nothing was kept. The pauses between attempts are random, below a bound that doubles from 20 ms to 2 s. The work must not
        do anything outside of the transaction that may not happen twice.

        Args:
            context: who asks.
            work: is given the transaction.
            attempts: how often it is tried, at most 100.
            deadline: seconds for all attempts together.
            isolation: as in `Session.transaction`.

        Returns:
            What the work returned, when the transaction is committed.

        Raises:
            TransactionError: it was called inside of a transaction.
            FreeholdError, Exception: what the last attempt raised. A note of the error tells how often it was tried.
        """
        return await run(self.session(context), work, attempts=attempts, deadline=deadline, isolation=isolation)

    def system(self, reason: str) -> System:
        """Work across organizations: making them, their users and contexts. The log keeps the reason."""
        if isinstance(reason, Context):
            raise IsolationError("system work needs a reason, not a context")
        return System(self._store.pool, self._store.schemas, self._store.seal, reason)

    def administration(self, context: Context) -> Administration:
        """What a member may do with the members, keys and invitations of its own organization.

        Args:
            context: who does it: what it permits bounds what can be given away.

        Raises:
            IsolationError: there is no context.
        """
        if not isinstance(context, Context):
            raise IsolationError("it needs the context of a member", hint="Context(organization_id=..., user_id=...)")
        store = self._store
        return Administration(store.pool, store.schemas, store.seal, context, self.application.grants)

    def authenticator(self, *, development: DevelopmentKeys | None = None) -> "Authenticator":
        """Verifies the credentials of callers, by the application's issuers and roles. Close it at the end.

        Args:
            development: keys for development, which nothing that strangers can reach should be given.
        """
        # Here and not above: a program that verifies no tokens needs no cryptography, which takes long to import.
        from freehold.identity.authentication import Authenticator

        application = self.application
        return Authenticator(
            self.system("authentication"),
            roles=application.grants,
            issuers=application.issuers,
            development=development,
        )


async def _stamp(application: Application, connection: Connection, folder: Path) -> None:
    # Here and not above: Alembic takes as long to import as all of the rest, and a program that serves does not need it.
    from freehold.engine.migrations.work import Migrations

    migrations = Migrations(application.plan(), folder)
    if not (await migrations.status(connection)).adopted:
        await migrations.stamp(connection)
