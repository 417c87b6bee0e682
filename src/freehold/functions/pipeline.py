"""What happens when a function is called.

A call goes through stages, in this order, and each hands a plain value to the next:

    limit      may this caller ask once more now?         Call -> Admission
    parse      are the arguments what is declared?        Call -> Parameters
    authorise  may this caller call this function?        Call -> Context
    execute    do it; a command is committed              Context, Parameters -> value
    answer     the value as JSON                          value -> Answer

Whoever verified the credential has made the principal before (`authenticate`: `freehold.identity.authentication`). Limits
come first, so that a flood costs little. Authorising comes after parsing and before anything is read.

A query's session refuses to write. A command's unit of work, or its transaction, is committed when the function has returned and
its result can be told; where the function raises, or is cancelled, nothing was written.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from time import perf_counter
from typing import Any, Protocol

from freehold import errors
from freehold.errors import AuthenticationError, ForbiddenError, FreeholdError
from freehold.functions.admission import Admission, AdmittedStream, received
from freehold.functions.arguments import NONE, Arguments
from freehold.functions.declaration import Function, Parameters
from freehold.functions.idempotency import once
from freehold.functions.results import Answer
from freehold.identity.principal import Origin, Principal
from freehold.identity.system import System
from freehold.model.bounds import USUAL_BOUNDS
from freehold.model.context import Context
from freehold.model.permissions import permits
from freehold.store.running import Backoff
from freehold.store.session import Session, Transaction

__all__ = ["Call", "Limiter", "Pipeline", "Sessions", "Timings"]

LONGEST = 30.0
"""Seconds that a call may take whose function says nothing."""


class Timings(dict[str, float]):
    """Seconds by stage, in the order in which they were passed."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what happens inside."""
        start = perf_counter()
        try:
            yield
        finally:
            self[name] = perf_counter() - start


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function.

    Args:
        function: what is called.
        arguments: as they arrived.
        principal: who calls; None for nobody known, who may call public functions.
        origin: where the call comes from.
        key: an idempotency key: a repeated call with it gets the first one's answer.
        timings: filled while it runs.
        content: the bytes of a file, where the function takes one.
    """

    function: Function
    arguments: Arguments = NONE
    principal: Principal | None = None
    origin: Origin = field(default_factory=Origin)
    key: str | None = None
    timings: Timings = field(default_factory=Timings)
    content: AsyncIterator[bytes] | None = None


class Sessions(Protocol):
    """What opens sessions: a database."""

    def session(self, context: Context, *, timeout: float | None = None, read_only: bool = False) -> Session:
        """A session on behalf of a context."""
        ...

    def system(self, reason: str) -> System:
        """Work across organizations."""
        ...


class Limiter(Protocol):
    """Decides who may call now."""

    async def admit(self, call: Call) -> Admission:
        """Lets a call in, at once or after a while.

        Raises:
            LimitError: it may not; says when it may.
        """
        ...


Work = Callable[[Transaction], Awaitable[Answer]]
"""Runs a command in a transaction."""


class Pipeline:
    """Runs calls.

    Args:
        sessions: the database.
        limiter: who may call now; None lets everybody.
        timeout: seconds that a call may take whose function says nothing.
        most: bytes that an answer may have.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        limiter: Limiter | None = None,
        timeout: float = LONGEST,
        most: int = USUAL_BOUNDS.bytes,
    ) -> None:
        self._sessions = sessions
        self._limiter = limiter
        self._timeout = timeout
        self._most = most

    async def run(self, call: Call) -> Answer:
        """Calls a function.

        Raises:
            FreeholdError: whatever stage refuses; nothing was done then.
        """
        timings, marks = call.timings, [perf_counter()]

        def passed(stage: str) -> None:
            marks.append(perf_counter())
            timings[stage] = marks[-1] - marks[-2]

        admission = None if self._limiter is None else await self._limiter.admit(call)
        streams = False
        try:
            passed("limit")
            parameters = await call.arguments.parsed(call.function)
            passed("parse")
            context = authorise(call)
            passed("authorise")
            if call.content is not None and admission is not None:
                admission.stream()
                call = replace(call, content=received(call.content, admission))
            answer = await self._executed(call, context, parameters, passed)
            passed("answer")
            if answer.stream is not None and admission is not None:
                admission.stream()
                streams = True
                return replace(answer, stream=AdmittedStream(answer.stream, admission))
            return answer
        finally:
            if admission is not None and not streams:
                admission.end()

    async def _executed(
        self, call: Call, context: Context | None, parameters: Parameters, passed: Callable[[str], None]
    ) -> Answer:
        function = call.function
        seconds = function.timeout or self._timeout
        if function.stream:
            return Answer(stream=self._items(function, context, parameters, seconds))
        bound = asyncio.timeout(seconds)
        try:
            async with bound:
                return await self._ran(call, context, parameters, seconds, passed)
        except TimeoutError:
            if not bound.expired():  # it is the function's own
                raise
            raise errors.TimeoutError(
                f"{function.name} took longer than {seconds:g} s", seconds=seconds, hint=_after_timeout(function)
            ) from None

    async def _ran(
        self,
        call: Call,
        context: Context | None,
        parameters: Parameters,
        seconds: float,
        passed: Callable[[str], None],
    ) -> Answer:
        function = call.function
        if context is None:
            if call.key is not None and function.kind == "command":
                raise errors.RequestError(
                    f"{function.name} is public and takes no idempotency key: a key belongs to a caller",
                    hint="call without one",
                )
            value = await self._public(function, parameters)
            passed("execute")
            return self._bounded(function, value)
        if function.kind == "query":
            session = self._sessions.session(context, timeout=seconds, read_only=True)
            value = await function.call(session, **function.values(parameters))
            passed("execute")
            return self._bounded(function, value)
        session = self._sessions.session(context, timeout=seconds)
        answer = await self._command(call, session, parameters, seconds)
        passed("execute")
        return answer

    def _bounded(self, function: Function, value: Any) -> Answer:
        """The answer of a function that has written nothing, and so may be refused for its length."""
        answer = function.result.answer(value)
        if len(answer.body) > self._most and function.kind == "query":
            raise errors.TooLargeError.of(f"the answer of {function.name}", self._most)
        return answer

    async def _command(self, call: Call, session: Session, parameters: Parameters, seconds: float) -> Answer:
        function = call.function
        if function.content:
            return await _taken(call, session, parameters)
        if call.key is not None:
            return await _repeated(function, session, _once(call, call.key, parameters), seconds)
        if function.idempotent == "key":
            raise errors.RequestError(
                f"{function.name} needs an idempotency key",
                hint="send a new one with each new call, the same when you repeat it",
            )
        if function.takes == "session":
            return function.result.answer(await function.call(session, **function.values(parameters)))
        if function.takes == "unit":
            return await _in_unit(function, session, parameters)
        return await _repeated(function, session, lambda held: _in_transaction(function, held, parameters), seconds)

    async def _public(self, function: Function, parameters: Parameters) -> Any:
        values = function.values(parameters)
        if function.takes == "system":
            return await function.call(self._sessions.system(f"function {function.name}"), **values)
        return await function.call(**values)

    async def _items(
        self, function: Function, context: Context | None, parameters: Parameters, seconds: float
    ) -> AsyncIterator[bytes]:
        """The items of a stream, each as JSON; the next one is made when this one was taken."""
        given = () if context is None else (self._sessions.session(context, timeout=seconds, read_only=True),)
        items = function.call(*given, **function.values(parameters))
        try:
            async for item in items:
                yield function.result.write(item)
        finally:
            await items.aclose()


def authorise(call: Call) -> Context | None:
    """The context of a caller who may call the function; None for a public one.

    Raises:
        AuthenticationError: nobody is known, and the function is not public.
        ForbiddenError: the caller's role or key does not grant the permission.
    """
    function, principal = call.function, call.principal
    if function.public:
        return None
    if principal is None:
        raise AuthenticationError(
            f"{function.name} needs a credential", hint="send Authorization: Bearer <token or key>"
        )
    if function.permission is not None and not permits(principal.permissions, function.permission):
        raise ForbiddenError(
            f"{function.name} needs the permission {function.permission}, which the role {principal.role} or the key does not grant",
            hint="ask an administrator of the organization",
        )
    return principal.context(call.origin)


async def _taken(call: Call, session: Session, parameters: Parameters) -> Answer:
    """A command that takes a file. What it does may be many transactions, and is told apart by the file itself."""
    function = call.function
    if call.key is not None:
        raise errors.RequestError(
            f"{function.name} takes no idempotency key: repeated with the same file, it does nothing twice",
            hint="call without one",
        )
    if call.content is None:
        raise errors.RequestError(f"{function.name} needs a file", status=411, hint="send it as the body")
    return function.result.answer(await function.call(session, call.content, **function.values(parameters)))


async def _in_unit(function: Function, session: Session, parameters: Parameters) -> Answer:
    """A command with a unit of work, committed when it has returned. Its records are as they are stored by then."""
    async with session.unit_of_work() as unit:
        value = await function.call(unit, **function.values(parameters))
        answer = function.result.answer(value)  # before the commit: what cannot be answered is not done
    if function.result.records:
        answer = function.result.answer(value)
    commit = unit.committed
    return _positioned(answer, None if commit is None else commit.position)


async def _in_transaction(function: Function, transaction: Transaction, parameters: Parameters) -> Answer:
    """A command inside of a transaction that somebody else ends."""
    if function.takes == "unit":
        return await _in_unit(function, transaction, parameters)
    return function.result.answer(await function.call(transaction, **function.values(parameters)))


def _once(call: Call, key: str, parameters: Parameters) -> Work:
    """The call of a command with an idempotency key."""
    function, principal = call.function, call.principal

    async def work(held: Transaction) -> Answer:
        if principal is None:  # only public functions are called by nobody, and they take no key
            raise AuthenticationError(f"{function.name} needs a credential")
        return await once(
            principal, key, function, parameters, held, lambda: _in_transaction(function, held, parameters)
        )

    return work


async def _repeated(function: Function, session: Session, work: Work, seconds: float) -> Answer:
    """A command in a transaction, again where it lost against another one and says that it may be run again."""
    pauses = Backoff()
    for attempt in count(1):
        try:
            async with session.transaction(deadline=seconds) as transaction:
                return await work(transaction)
        except errors.SerializationError:
            if attempt >= function.attempts:
                raise
            await asyncio.sleep(pauses.pause(attempt))
    raise AssertionError  # the last attempt returns or raises


def _positioned(answer: Answer, position: int | None) -> Answer:
    if position is None or answer.position is not None:
        return answer
    object.__setattr__(
        answer, "position", position
    )  # made for this call alone; a copy would cost as much as the parsing
    return answer


def _after_timeout(function: Function) -> str:
    if function.kind == "query":
        return "ask for less, or later"
    return (
        "nothing was written, unless the time ended within the commit: repeat it with an idempotency key, or look first"
    )


def described(error: BaseException) -> FreeholdError:
    """An error as callers may be told of it: one of Freehold's, or nothing but that there was one."""
    if isinstance(error, FreeholdError):
        return error
    return errors.InternalError("the program has failed", hint="its log tells more, by the id of the request")
