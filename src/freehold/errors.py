"""Every error that Freehold raises, and its code.

    FreeholdError
    ├── ConfigurationError        FH001  the program is set up wrongly
    │   ├── DeclarationError      FH002  an entity is declared wrongly (raised at import)
    │   ├── RoleError             FH003  isolation cannot hold with this database role
    │   ├── ServerError           FH004  the embedded server cannot be made or started
    │   └── MigrationError        FH005  a revision cannot be planned or run
    ├── ValidationError           FH100  input is wrong; all issues at once
    │   └── CursorError           FH101  a page cursor is foreign, edited or of another query
    ├── FileError                 FH102  a file cannot be read to its end, or written
    ├── RequestError              FH103  a request cannot be read
    ├── TooLargeError             FH104  an answer would be larger than its bound
    ├── NotFoundError             FH200  no such record in this organization
    ├── ConcurrencyError          FH201  the record's version is not the expected one
    ├── UniqueError               FH202  another record has this value
    ├── ReferenceError            FH203  a reference points nowhere, or something still points here
    ├── HistoryError              FH204  the log does not reach back that far
    ├── CommitError               FH205  several changes of a unit of work cannot be made; nothing was written
    ├── IdempotencyError          FH206  the idempotency key was used for other changes
    ├── ToleranceError            FH207  more items failed than were tolerated; everything was rolled back
    ├── SerializationError        FH208  the transaction lost against another one; it can be repeated as a whole
    ├── TransactionError          FH209  the transaction has failed or ended, and takes no more calls
    ├── BulkError                 FH210  a bulk call ended before its items did; part of it is committed
    ├── ForbiddenError            FH300  the context may not do this
    │   └── IsolationError        FH301  the call would leave its organization, or has no context
    ├── AuthenticationError       FH302  there is no credential, or it is not valid
    ├── TimeoutError              FH400  the statement took longer than its bound
    ├── UnavailableError          FH401  the database cannot be reached, or has no connection free
    ├── OutcomeUnknownError       FH402  whether a write was committed cannot be found out now
    ├── LimitError                FH403  the caller has asked for more than it may for now
    ├── InternalError             FH500  a program's own error, of which callers are told nothing
    └── DatabaseError             FH900  the database reported what has no error of its own here

Codes are grouped (0 set-up, 1 input, 2 state, 3 rights, 4 availability, 5 the program's own, 9 the rest) and never reused. They have five
characters so that SQL functions can raise them as SQLSTATE.

The module is longer than others because the tree is read as one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "AuthenticationError",
    "BulkError",
    "CommitError",
    "ConcurrencyError",
    "ConfigurationError",
    "CursorError",
    "DatabaseError",
    "DeclarationError",
    "FileError",
    "ForbiddenError",
    "FreeholdError",
    "HistoryError",
    "IdempotencyError",
    "InternalError",
    "IsolationError",
    "Issue",
    "LimitError",
    "MigrationError",
    "NotFoundError",
    "OutcomeUnknownError",
    "Problem",
    "ReferenceError",
    "RequestError",
    "RoleError",
    "SerializationError",
    "ServerError",
    "TimeoutError",
    "ToleranceError",
    "TooLargeError",
    "TransactionError",
    "UnavailableError",
    "UniqueError",
    "ValidationError",
]


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with an input.

    Args:
        path: where, outermost first: `("lines", 3, "quantity")`; empty for the input as a whole.
        message: what was wrong and what to do, for a person.
        code: what was wrong, for a program, in snake case: `"string_too_long"`.
    """

    path: tuple[str | int, ...]
    message: str
    code: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", tuple(map(_step, self.path[:MOST_STEPS])))
        if len(self.message) > LONGEST_MESSAGE:
            object.__setattr__(self, "message", self.message[: LONGEST_MESSAGE - 1] + "…")

    @property
    def field(self) -> str:
        """The path as one string: `lines.3.quantity`."""
        return ".".join(map(str, self.path))

    def as_dict(self) -> dict[str, Any]:
        """The issue as JSON-able values."""
        return {"path": list(self.path), "message": self.message, "code": self.code}


MOST_STEPS, LONGEST_MESSAGE = 50, 1_000
"""Steps of an issue's path, and characters of its message."""
MOST_ISSUES, LISTED = 100, 20
"""Issues that an error keeps, and those that its message lists."""


def _step(step: str | int) -> str | int:
    """A step of a path, which may be a name that a stranger chose: not too long, and of characters that UTF-8 can hold."""
    if isinstance(step, int):
        return step
    cut = step if len(step) <= 100 else step[:99] + "…"
    return cut.encode("utf-8", "backslashreplace").decode()


class FreeholdError(Exception):
    """The root of the tree.

    Args:
        message: what went wrong, in one sentence.
        hint: what to do about it, where there is something.
    """

    code: ClassVar[str] = "FH000"

    unanswered: bool = False
    """Whether the server may have done what was asked: the message was sent, and no answer to it came."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.message} [{self.code}]"
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (test workers, queues); their constructors take other arguments than Exception's.
        return _restored, (type(self), self.args, self.__dict__)

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-able values: code, message, hint and what its class adds."""
        return {"code": self.code, "error": type(self).__name__, "message": self.message, "hint": self.hint}


def _restored(cls: type[FreeholdError], arguments: tuple[Any, ...], state: Mapping[str, Any]) -> FreeholdError:
    error = cls.__new__(cls)
    error.args = arguments
    error.__dict__.update(state)
    return error


class ConfigurationError(FreeholdError):
    """The program is set up wrongly; nothing was started."""

    code = "FH001"


class DeclarationError(ConfigurationError):
    """An entity is declared wrongly. Names the class, the field, and what to write instead."""

    code = "FH002"


class RoleError(ConfigurationError):
    """The database role is one on which isolation cannot hold (superuser, BYPASSRLS, owner of the tables)."""

    code = "FH003"


class ServerError(ConfigurationError):
    """The embedded server cannot be made or started."""

    code = "FH004"


class MigrationError(ConfigurationError):
    """A revision cannot be read, planned or run. What was done before it stays, and the next run goes on there."""

    code = "FH005"


class ValidationError(FreeholdError):
    """Input is wrong. All issues are listed, each with its path; of more than 100, the first 100 and how many more there are.

    Args:
        issues: at least one.
        subject: what was validated, for the message: an entity's or an argument's name.
    """

    code = "FH100"

    def __init__(self, issues: Sequence[Issue], *, subject: str = "input", hint: str | None = None) -> None:
        self.issues = _first_issues(issues)
        self.subject = subject
        told = [f"{issue.field}: {issue.message}" if issue.path else issue.message for issue in self.issues[:LISTED]]
        if len(self.issues) > LISTED:
            told.append(f"and {len(self.issues) - LISTED} more issues")
        super().__init__(f"{subject} is not valid: {'; '.join(told)}", hint=hint)

    @classmethod
    def single(cls, path: Sequence[str | int], message: str, code: str, *, subject: str = "input") -> "ValidationError":
        """The error for one issue."""
        return cls([Issue(tuple(path), message, code)], subject=subject)

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-able values, with its issues."""
        return {**super().as_dict(), "issues": [issue.as_dict() for issue in self.issues]}


def _first_issues(issues: Sequence[Issue]) -> tuple[Issue, ...]:
    """As many issues as a person reads, and how many more there are."""
    if len(issues) <= MOST_ISSUES + 1:  # the last one may say so already
        return tuple(issues)
    more = Issue((), f"and {len(issues) - MOST_ISSUES:,} more things are wrong with it", "more_issues")
    return (*issues[:MOST_ISSUES], more)


class CursorError(ValidationError):
    """A page cursor was edited, was made for another query or organization, or is none at all."""

    code = "FH101"


class FileError(FreeholdError):
    """A file cannot be read to its end, or written: it is not there, truncated, or of another format or encoding.

    Args:
        name: of the file.
        message: what is wrong with it.
        line: the line, from 1 on, where there is one.
    """

    code = "FH102"

    def __init__(self, name: str, message: str, *, line: int | None = None, hint: str | None = None) -> None:
        super().__init__(f"{name}{'' if line is None else f', line {line}'}: {message}", hint=hint)
        self.name = name
        self.line = line


class RequestError(FreeholdError):
    """A request cannot be read: its body, its headers, its method.

    Args:
        status: the HTTP status that says so: 400, 404, 405, 406, 408, 409, 411, 413, 414, 415, 417, 422, 428, 431, 501 or 505.
    """

    code = "FH103"

    def __init__(self, message: str, *, status: int = 400, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class TooLargeError(FreeholdError):
    """An answer would be larger than its bound, and nothing of it was kept. `AnswerBounds` has the bounds.

    Args:
        most: bytes that the answer may have.
    """

    code = "FH104"

    def __init__(self, message: str, *, most: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.most = most

    @classmethod
    def of(cls, what: str, most: int) -> "TooLargeError":
        """The error for an answer with more bytes than it may have.

        Args:
            what: the answer, for the message: `"the answer"`.
            most: its bound in bytes.
        """
        return cls(
            f"{what} is larger than {most:,} bytes",
            most=most,
            hint="ask for fewer records, fewer fields (select) or fewer relations (include); an export has no such bound",
        )

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-able values, with the bound."""
        return {**super().as_dict(), "most": self.most}


class NotFoundError(FreeholdError):
    """There is no such record in this organization: absent, deleted, or another organization's (the same answer)."""

    code = "FH200"

    def __init__(self, entity: str, id: object, *, hint: str | None = None) -> None:
        super().__init__(f"{entity} {id} does not exist", hint=hint)
        self.entity = entity
        self.id = id


class ConcurrencyError(FreeholdError):
    """The record has been changed since it was read.

    Args:
        entity: the entity's name.
        id: the record's id.
        expected: the version that the call named.
        actual: the version that the record has.
        current: the record as it is now, as an entity.
    """

    code = "FH201"

    def __init__(self, entity: str, id: object, *, expected: int, actual: int, current: Any) -> None:
        super().__init__(
            f"{entity} {id} has version {actual}, not the expected {expected}",
            hint="read it again, apply the change to what is there now, and retry",
        )
        self.entity = entity
        self.id = id
        self.expected = expected
        self.actual = actual
        self.current = current  # Any: an Entity, which lives in a higher room

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-able values, without the current record (serialise `current` where it may be shown)."""
        return {**super().as_dict(), "id": str(self.id), "expected": self.expected, "actual": self.actual}


class UniqueError(FreeholdError):
    """Another record of this organization has the same value under a unique key.

    Args:
        entity: the entity's name.
        fields: the fields of the key.
    """

    code = "FH202"

    def __init__(self, entity: str, fields: Sequence[str], *, constraint: str) -> None:
        named = ", ".join(fields)
        super().__init__(
            f"{entity} with this {named} exists already", hint=f"choose another {named}, or update that record"
        )
        self.entity = entity
        self.fields = tuple(fields)
        self.constraint = constraint


class ReferenceError(FreeholdError):
    """A reference points to no record of this organization, or records still point to one that should go."""

    code = "FH203"

    def __init__(self, message: str, *, entity: str, field: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.entity = entity
        self.field = field


class HistoryError(FreeholdError):
    """What was at that moment, or in that version, cannot be told: the log was pruned, or never had it."""

    code = "FH204"


@dataclass(frozen=True, slots=True)
class Problem:
    """One change of a unit of work that cannot be made.

    Args:
        entity: the entity's name.
        id: the record's id.
        error: why: what a write of this record alone would have raised.
    """

    entity: str
    id: object
    error: FreeholdError

    def as_dict(self) -> dict[str, Any]:
        """The problem as JSON-able values."""
        return {"entity": self.entity, "id": str(self.id), **self.error.as_dict()}


class CommitError(FreeholdError):
    """Several changes of a unit of work cannot be made. Nothing was written. (Where it is one, its own error is raised.)

    Args:
        problems: all of them, in the order in which the unit would have made the changes.
    """

    code = "FH205"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        shown = "; ".join(problem.error.message for problem in self.problems[:10])
        more = f"; and {len(self.problems) - 10} more" if len(self.problems) > 10 else ""
        super().__init__(
            f"{len(self.problems)} changes cannot be made: {shown}{more}",
            hint="nothing was written; mend all of them (see .problems) and commit again",
        )

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-able values, with its problems."""
        return {**super().as_dict(), "problems": [problem.as_dict() for problem in self.problems]}


class IdempotencyError(FreeholdError):
    """The idempotency key was used before, for other changes. Nothing was written."""

    code = "FH206"


class ToleranceError(FreeholdError):
    """More items failed than were tolerated, and everything was rolled back.

    Args:
        failures: each item that failed, with its error.
        total: how many items were tried.
        tolerate: the share of them that might have failed, 0 to 1.
    """

    code = "FH207"

    def __init__(self, failures: Sequence[Any], *, total: int, tolerate: float) -> None:
        super().__init__(
            f"{len(failures)} of {total} items failed, more than the tolerated share of {tolerate:g}; everything was rolled back",
            hint="look at the error's failures, mend those items, and try all of them again",
        )
        self.failures = tuple(failures)  # Any: what the call names a failure, which lives in a higher room
        self.total = total
        self.tolerate = tolerate

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-able values, with the counts; the items stay in `failures`."""
        return {**super().as_dict(), "failed": len(self.failures), "total": self.total, "tolerate": self.tolerate}


class SerializationError(FreeholdError):
    """The transaction cannot stand beside another one (a conflict, a deadlock), and was rolled back as a whole.

    `Database.run` repeats it.

    Args:
        sqlstate: PostgreSQL's code: 40001 a conflict, 40P01 a deadlock.
    """

    code = "FH208"

    def __init__(self, message: str, *, sqlstate: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate


class TransactionError(FreeholdError):
    """A transaction takes no more calls, because one of them failed or it has ended; or it is used in another's place."""

    code = "FH209"


class BulkError(FreeholdError):
    """A bulk call ended before its items did, and what it had done until then is committed. `__cause__` is why it ended.

    Where nothing was committed, the call raises the cause itself.

    Args:
        cause: what ended the call: the items' own exception, or what the database reported.
        result: what was done until then, a `BulkResult`.
    """

    code = "FH210"

    def __init__(self, cause: BaseException, *, result: Any) -> None:
        super().__init__(
            f"the call ended after {result.done} items, of which {result.failed} failed: {type(cause).__name__}: {cause}"[
                :1_000
            ],
            hint="what the error's result tells is committed; go on with the items that are not in its outcomes",
        )
        self.result = result  # Any: a BulkResult, which lives in a higher room

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-able values, with the counts; the items stay in `result`."""
        return {**super().as_dict(), "done": self.result.done, "failed": self.result.failed}


class ForbiddenError(FreeholdError):
    """The context may not do this."""

    code = "FH300"


class IsolationError(ForbiddenError):
    """The call has no context, or would leave its organization."""

    code = "FH301"


class AuthenticationError(FreeholdError):
    """There is no credential, or it is not valid. Which of several reasons it is, a stranger is not told."""

    code = "FH302"


class TimeoutError(FreeholdError):
    """A statement took longer than its bound and was cancelled, or a lock was not free in time.

    The hint tells about writes: whether one was rolled back, or has to be looked for before it is repeated.
    """

    code = "FH400"

    def __init__(self, message: str, *, seconds: float | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


class UnavailableError(FreeholdError):
    """The database cannot be reached, is shutting down, or no connection came free in time."""

    code = "FH401"


class OutcomeUnknownError(FreeholdError):
    """A write was sent, its reply was lost, and the database could not be asked in time whether it was committed.

    Args:
        unit_id: of the unit of work: `Session.settle` tells later whether it was committed, and sees to it that it never
            will be where it was not.
    """

    code = "FH402"

    def __init__(self, unit_id: object) -> None:
        super().__init__(
            "the connection was lost after a write was sent, and the database cannot be reached to see whether it was committed",
            hint=f"ask session.settle({str(unit_id)!r}) when the database is back, before you repeat the write",
        )
        self.unit_id = unit_id

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-able values, with the unit's id."""
        return {**super().as_dict(), "unit_id": str(self.unit_id)}


class LimitError(FreeholdError):
    """The caller has asked for more than it may for now. Nothing was done.

    Args:
        retry_after: seconds after which it may ask again.
    """

    code = "FH403"

    def __init__(self, message: str, *, retry_after: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-able values, with the seconds to wait."""
        return {**super().as_dict(), "retry_after": self.retry_after}


class InternalError(FreeholdError):
    """An error of the program itself, of which callers are told nothing: what it was is in the program's log."""

    code = "FH500"


class DatabaseError(FreeholdError):
    """The database reported an error that has no class of its own here.

    Args:
        sqlstate: PostgreSQL's five-character code.
        details: what else PostgreSQL said that is safe to show.
    """

    code = "FH900"

    def __init__(
        self, message: str, *, sqlstate: str, hint: str | None = None, details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate
        self.details = dict(details or {})
