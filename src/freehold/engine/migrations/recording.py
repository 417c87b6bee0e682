"""What a revision's functions would do, as operation objects: nothing is run while a revision is read."""

from collections.abc import Callable
from typing import Any, NoReturn

from alembic.operations import Operations
from alembic.operations.ops import CreateTableOp, MigrateOperation
from alembic.runtime.migration import MigrationContext

from freehold.engine.plan import DIALECT
from freehold.errors import MigrationError

__all__ = ["compiled", "recorded"]


def _context() -> MigrationContext:
    return MigrationContext.configure(dialect=DIALECT, opts={"as_sql": True, "literal_binds": True})


def recorded(function: Callable[[], Any]) -> list[MigrateOperation]:
    """The operations that a revision's `upgrade` or `downgrade` asks for, in order.

    Raises:
        MigrationError: it asks for a connection, which is not there while a revision is planned.
        Exception: whatever the function itself raises.
    """
    context = _context()
    found: list[MigrateOperation] = []

    def invoke(operation: MigrateOperation) -> Any:  # Any: Alembic gives back the table that it creates
        found.append(operation)
        return operation.to_table(context) if isinstance(operation, CreateTableOp) else None

    with Operations.context(context) as operations:
        operations.invoke = invoke  # type: ignore[method-assign]  # instead of running it
        operations.get_bind = _no_connection  # type: ignore[method-assign]
        operations.run_async = _no_connection  # type: ignore[method-assign]
        operations.batch_alter_table = _no_connection  # type: ignore[method-assign]
        function()
    return found


def _no_connection(*_: Any, **__: Any) -> NoReturn:
    raise MigrationError(
        "a revision has no connection: it is planned before anything is run",
        hint="write what it does as operations, or as SQL: op.execute('update ... set ...')",
    )


def compiled(operation: MigrateOperation) -> list[str]:
    """The statements of an operation. They name the engine's schema as `{engine}`, and no other."""
    context = _context()
    statements: list[str] = []
    context.impl.static_output = statements.append  # type: ignore[assignment,method-assign]  # instead of printing it
    Operations(context).invoke(operation)
    return [statement.strip().rstrip(";").strip() for statement in statements]
