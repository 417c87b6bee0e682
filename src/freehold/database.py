"""A database that serves an application: sessions on it, work across organizations, and calls of functions."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from freehold.app import Application
from freehold.engine.columns import check_columns
from freehold.engine.protection import check_protection
from freehold.engine.roles import check_role
from freehold.engine.seals import check_seal
from freehold.engine.upkeep import Upkeep
from freehold.errors import ConfigurationError, IsolationError
from freehold.functions.arguments import Arguments
from freehold.functions.pipeline import LONGEST, Call, Limiter, Pipeline
from freehold.identity.administration import Administration
from freehold.identity.development import DevelopmentKeys
from freehold.identity.principal import Principal
from freehold.identity.system import CONSTRAINTS, System
from freehold.model.context import Context
from freehold.model.numbers import parsed
from freehold.model.pages import CursorSigner
from freehold.model.seal import Seal
from freehold.model.shapes import Shapes
from freehold.postgres.connections import Address, Pool
from freehold.postgres.server import EmbeddedServer
from freehold.store.coalescer import Coalescer, IncrementFigures
from freehold.store.running import ATTEMPTS, run
from freehold.store.session import Session, Transaction
from freehold.store.store import Store
from freehold.store.transaction import DEADLINE, Isolation

if TYPE_CHECKING:
    from freehold.identity.authentication import Authenticator

__all__ = ["Database"]

ResultT = TypeVar("ResultT")
CallT = TypeVar("CallT", bound=Callable[..., Any])


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
        # Freehold's own tables may be called like the application's: their constraints are told by their schema.
        own = {f"{application.schemas.engine}.{name}": constraint for name, constraint in CONSTRAINTS.items()}
        constraints = {**CONSTRAINTS, **application.registry.constraints, **own}
        async with Pool(where, constraints, size=size, wait=wait, timeout=timeout) as pool:
            await check_role(pool, application.schemas, application.roles)
            await pool.measure()
            seal = Seal(where.secret if secret is None else secret, pool.clock.now)
            plan = application.plan()
            await check_columns(pool, plan)
            await check_protection(
                pool, application.schemas, [each.table for each in application.registry.entities.values()]
            )
            await check_seal(pool, application.schemas, seal)
            shapes, signer = Shapes(application.registry, most=application.bounds.bytes), CursorSigner(seal.cursor_key)
            increments = Coalescer(wait=wait)
            store = Store(
                pool, application.registry, application.schemas, shapes, signer, seal, increments, application.bounds
            )
            async with Upkeep(pool, application.schemas).running():
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
            return [parsed(item) async for item in answer.stream]
        return parsed(answer.body)

    def pipeline(self, *, limiter: Limiter | None = None, timeout: float = LONGEST) -> Pipeline:
        """What runs calls of the application's functions here.

        Args:
            limiter: who may call now; None lets everybody.
            timeout: seconds that a call may take whose function says nothing.
        """
        return Pipeline(self, limiter=limiter, timeout=timeout, most=self.application.bounds.bytes)

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
