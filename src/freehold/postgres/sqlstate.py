"""PostgreSQL's errors as Freehold's, in one place.

An SQLSTATE says what kind of thing went wrong, a constraint's name says where. PostgreSQL's details are not passed on:
they hold values of rows.
"""

import asyncio
from collections.abc import Mapping

import asyncpg

from freehold.errors import (
    ConfigurationError,
    DatabaseError,
    ForbiddenError,
    FreeholdError,
    HistoryError,
    IdempotencyError,
    IsolationError,
    ReferenceError,
    SerializationError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
    UniqueError,
    ValidationError,
)
from freehold.model.registry import Constraint
from freehold.postgres.metering import AnswerOverrunError

__all__ = ["DRIVER_ERRORS", "UNTIMELY", "reported", "translated", "without_effect"]

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a call between the server's last words and the end of the connection
    OSError,
    asyncio.TimeoutError,
)
"""What a call of the driver can raise."""

UNTIMELY = "FH309"
"""The SQLSTATE of a message whose seal was made too long ago, or for a time to come; see `freehold.model.seal`."""

_UNAVAILABLE = {
    "53100": "the database's disk is full; free space there, nothing was written",
    "53200": "the database is out of memory",
    "53300": "the database has no connection free; lower the pools' sizes or raise max_connections",
    "57P01": "the database is shutting down",
    "57P02": "the database crashed and is recovering",
    "57P03": "the database is starting up",
    "57P05": "the connection was idle for too long and was closed",
}


def translated(
    error: BaseException, constraints: Mapping[str, Constraint], seconds: float | None = None
) -> FreeholdError:
    """The error to raise for one of the driver's.

    Args:
        error: one of `DRIVER_ERRORS`.
        constraints: what the names of constraints stand for.
        seconds: the call's bound, for the message of a timeout.
    """
    found = _translated(error, constraints, seconds)
    # An error of the statement undoes it. One of the connection says nothing of what was sent before.
    found.unanswered = getattr(error, "severity_en", None) not in ("ERROR", "WARNING")
    return found


def without_effect(error: FreeholdError) -> FreeholdError:
    """The same error of what changes nothing whether or not the server did it: connecting, or beginning a transaction."""
    error.unanswered = False
    return error


def reported(problem: Mapping[str, str], constraints: Mapping[str, Constraint]) -> FreeholdError:
    """The same for an error that a function caught and told of.

    Args:
        problem: its `state`, `message`, `constraint`, `table` and `column`.
        constraints: what the names of constraints stand for.
    """
    letters = {"state": "C", "message": "M", "constraint": "n", "table": "t", "column": "c"}
    fields = {letter: problem[name] for name, letter in letters.items() if problem.get(name)}
    return translated(asyncpg.PostgresError.new({"S": "ERROR", "V": "ERROR", **fields}), constraints)


def _translated(error: BaseException, constraints: Mapping[str, Constraint], seconds: float | None) -> FreeholdError:
    if isinstance(error, asyncpg.PostgresError):
        return _from_sqlstate(error, constraints, seconds)
    if isinstance(error, asyncio.TimeoutError):
        return TimeoutError(
            f"the statement took longer than {seconds:g} s and was cancelled"
            if seconds
            else "the statement took too long and was cancelled",
            seconds=seconds,
            hint="narrow the query, or give the session a longer timeout; before you repeat a write, read whether it was made",
        )
    if isinstance(error, AnswerOverrunError):
        return TooLargeError.of("the answer", error.most)
    if isinstance(error, asyncpg.InterfaceError) and "the server expects" in str(error):
        return ValidationError.single(
            (), f"the statement and its values do not fit: {error}", "arguments", subject="sql"
        )
    if isinstance(error, asyncpg.InternalClientError):
        return UnavailableError("the database has ended the connection", hint="retry")
    return UnavailableError(
        f"the database cannot be reached: {error}", hint="check that it runs and is reachable, then retry"
    )


def _from_sqlstate(
    error: asyncpg.PostgresError, constraints: Mapping[str, Constraint], seconds: float | None
) -> FreeholdError:
    state = str(error.sqlstate or "")
    message = str(getattr(error, "message", None) or error)
    if state in ("23505", "23503", "23001", "23514", "23502", "23P01"):
        return _from_constraint(error, state, message, constraints)
    if state == "57014":
        bound = f" than {seconds:g} s" if seconds else " than its bound"
        return TimeoutError(
            f"the statement took longer{bound} and was cancelled", seconds=seconds, hint="a write was rolled back"
        )
    if state == "55P03":
        return TimeoutError("a lock was not free in time", hint="retry; another transaction holds the row or table")
    if state == "42501":
        if "row-level security" in message:
            return IsolationError("the call would write outside of its organization, and was refused")
        return ForbiddenError(
            f"the database role may not do this: {message}",
            hint="the application role reads and writes rows of its tables only",
        )
    if state in ("25006", "25001"):
        return ForbiddenError("a hand-written query only reads", hint="use create, update and delete to write")
    if state == "FH104":
        return TooLargeError.of("the answer", int(getattr(error, "detail", None) or 0))
    if state == "FH204":
        return HistoryError(message, hint="ask for a later moment; 'freehold log prune' removed what was before")
    if state == "FH100":
        return ValidationError.single((), message, "not_in_the_past", subject="moment")
    if state == "FH206":
        return IdempotencyError(message, hint="use a new key for other changes; nothing was written")
    if state == "FH300":
        return ForbiddenError(message, hint="remove what is left in it first")
    if state == UNTIMELY:
        return UnavailableError(
            message, hint="retry; where it goes on, look at the clocks of the program and of the database"
        )
    if state == "FH301":
        return IsolationError(message, hint="open the session with a Context")
    return _from_class(state, message, error)


_SERIALIZATION = {
    "40001": "the transaction cannot stand beside one that was committed meanwhile, and was rolled back",
    "40P01": "the transaction and another one waited for each other's locks, and this one was rolled back",
}


def _without_values(message: str) -> str:
    """A message about a value without the value, which stands in quotes: behind a colon, or in the middle."""
    before, quoted, rest = message.partition('"')
    after = rest.rpartition('"')[2] if '"' in rest else ""
    return before.rstrip(" :") + after if quoted else message


def _from_class(state: str, message: str, error: asyncpg.PostgresError) -> FreeholdError:
    if state in _SERIALIZATION:
        # PostgreSQL's message says what kind of conflict it was; it names no row.
        return SerializationError(
            f"{_SERIALIZATION[state]}: {message}",
            sqlstate=state,
            hint="repeat the whole transaction, as database.run does",
        )
    if state in _UNAVAILABLE or state[:2] in ("08", "57", "58"):
        return UnavailableError(_UNAVAILABLE.get(state, f"the database cannot serve: {message}"), hint="retry later")
    if state == "42P11":  # a hand-written query is opened as a cursor, which takes one statement that reads
        return ValidationError.single((), "must be one select", "not_a_select", subject="sql")
    if state[:2] == "42" or state == "0A000":
        position = getattr(error, "position", None) or getattr(error, "internal_position", None)
        return ValidationError.single(
            (), message + (f" (at character {position})" if position else ""), "sql", subject="sql"
        )
    if state[:2] in ("22", "54"):
        # What follows is the value, which may be one that the caller is not to see, or the context's seal.
        return ValidationError.single((), _without_values(message), f"data_{state}", subject="a value")
    if state[:2] == "28":
        return ConfigurationError(
            f"the database refused the login: {message}", hint="check user and password of the connection URL"
        )
    if state == "26000":  # each name is used by one connection alone, so it is not the program that has forgotten it
        return ConfigurationError(
            "a prepared statement is gone: something between this program and PostgreSQL does not keep them",
            hint="add ?prepared=off to the connection URL, or prepared=False to the Address",
        )
    if state == "3D000":
        return ConfigurationError(message, hint="create the database, or correct the name in the connection URL")
    return DatabaseError(message, sqlstate=state, hint="retry the whole transaction" if state[:2] == "40" else None)


def _from_constraint(
    error: asyncpg.PostgresError, state: str, message: str, constraints: Mapping[str, Constraint]
) -> FreeholdError:
    name = str(getattr(error, "constraint_name", None) or "")
    table = str(getattr(error, "table_name", None) or "record")
    schema = getattr(error, "schema_name", None)
    known = constraints.get(f"{schema}.{name}") or constraints.get(f"{table}.{name}") or constraints.get(name)
    entity = known.entity if known else table
    fields = known.fields if known else ()
    if state == "23505":
        return UniqueError(entity, fields or (name,), constraint=name)
    if state in ("23503", "23001"):
        field = fields[0] if fields else name
        target = known.target if known else "record"
        if state == "23001" or message.startswith("update or delete"):
            return ReferenceError(
                f"{target} cannot go: {entity} records refer to it by {field}",
                entity=entity,
                field=field,
                hint=f"remove or change those {entity} first",
            )
        if message.endswith("a deleted record"):
            return ReferenceError(
                f"{entity}.{field}: the {target} is deleted",
                entity=entity,
                field=field,
                hint=f"restore that {target} first, or refer to another",
            )
        return ReferenceError(
            f"{entity}.{field}: there is no such {target}",
            entity=entity,
            field=field,
            hint=f"give the id of an existing {target}",
        )
    if state == "23502":
        column = str(getattr(error, "column_name", None) or "")
        return ValidationError.single((column,), "must not be null", "missing", subject=entity)
    return ValidationError.single(fields, f"breaks the rule {name}", "check", subject=entity)
