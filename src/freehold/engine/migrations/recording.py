"""What a revision's functions would do, as operation objects: nothing is run while a revision is read."""

import copy
from collections.abc import Callable
from typing import Any, NoReturn

from alembic.operations import Operations
from alembic.operations.ops import AlterColumnOp, CreateTableOp, MigrateOperation
from alembic.runtime.migration import MigrationContext
from sqlalchemy.schema import ExecutableDDLElement

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
        found.extend(_parts(operation))
        return operation.to_table(context) if isinstance(operation, CreateTableOp) else None

    with Operations.context(context) as operations:
        operations.invoke = invoke  # type: ignore[method-assign]  # instead of running it
        operations.get_bind = _no_connection  # type: ignore[method-assign]
        operations.run_async = _no_connection  # type: ignore[method-assign]
        operations.batch_alter_table = _no_connection  # type: ignore[method-assign]
        function()
    return found


def _parts(operation: MigrateOperation) -> list[MigrateOperation]:
    """A change of type and default as three: the old default goes first, which may have no conversion of its own."""
    if (
        not isinstance(operation, AlterColumnOp)
        or operation.modify_type is None
        or operation.modify_server_default is False
    ):
        return [operation]
    table, column = operation.table_name, operation.column_name
    typed = copy.copy(operation)
    typed.modify_server_default = False
    parts: list[MigrateOperation] = [
        AlterColumnOp(table, column, existing_type=operation.existing_type, modify_server_default=None),
        typed,
    ]
    if operation.modify_server_default is not None:
        name = operation.modify_name or column
        default = operation.modify_server_default
        parts.append(AlterColumnOp(table, name, existing_type=operation.modify_type, modify_server_default=default))
    return parts


def _no_connection(*_: Any, **__: Any) -> NoReturn:
    raise MigrationError(
        "a revision has no connection: it is planned before anything is run",
        hint="write what it does as operations, or as SQL: op.execute('update ... set ...')",
    )


def compiled(operation: MigrateOperation) -> list[str]:
    """The statements of an operation. They name the engine's schema as `{engine}`, and no other."""
    context = _context()
    statements: list[str] = []

    # Alembic's own would replace tabs, also in constants, and take a colon in a person's SQL for a parameter.
    def kept(construct: Any, *_: Any, **__: Any) -> None:  # Any: of SQLAlchemy's many kinds of statement
        if isinstance(construct, str):
            statements.append(construct.replace("\\:", ":"))
            return
        options = {} if isinstance(construct, ExecutableDDLElement) else {"compile_kwargs": {"literal_binds": True}}
        statements.append(str(construct.compile(dialect=DIALECT, **options)))

    context.impl._exec = kept  # type: ignore[method-assign]  # the one place that all statements pass
    Operations(context).invoke(operation)
    return [statement.strip().rstrip(";").strip() for statement in statements]
