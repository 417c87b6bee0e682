"""Several calls of one caller in one request.

    {"calls": [{"id": "a", "function": "customers.get", "arguments": {"id": "018f..."}},
               {"id": "b", "function": "customers.update", "arguments": {...}, "key": "an idempotency key"}]}

Each call goes through the whole pipeline by itself: it is limited, parsed and authorised on its own, and is a transaction of its
own. So some may succeed where others fail; what must happen together or not at all is one command, and no batch.

Calls begin in their order. Queries that stand next to each other run at the same time, a few at once; a command begins when all
before it have ended, and ends before the next one begins. So a query sees what the commands before it have written.

All answers together have a bound in bytes. A query whose answer does not fit any more has an error in its place, and calls that
begin afterwards are not made. A command that was made always has its answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from freehold.errors import FreeholdError, Issue, RequestError, TooLargeError, ValidationError
from freehold.functions.arguments import THREADED, Arguments, checked_json
from freehold.functions.pipeline import Call, Pipeline, described
from freehold.functions.registry import Functions
from freehold.functions.results import Answer
from freehold.identity.principal import Origin, Principal
from freehold.model.bounds import USUAL_BOUNDS
from freehold.model.issues import validation_error
from freehold.model.numbers import written

__all__ = ["MOST", "Batch", "BatchCall", "BatchCalls", "Outcome", "results"]

_log = logging.getLogger("freehold.functions")

MOST = 50
"""Calls of one batch, where nothing else is said."""
TOGETHER = 4
"""Queries that run at the same time."""


class BatchCall(BaseModel):
    """One call of a batch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="By which its result is told; its place in the list where it is not given."
    )
    function: Annotated[str, Field(max_length=200, description="What is called.")]
    arguments: dict[str, Any] = Field(default={}, description="Its arguments by name.")
    key: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="An idempotency key: a repeated call with it gets the first one's answer."
    )


class BatchCalls(BaseModel):
    """What a batch is asked with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calls: list[BatchCall] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call: an answer, or an error.

    Args:
        id: the call's own, or its place.
        function: its name.
        answer: what came of it.
        error: why nothing did.
    """

    id: str
    function: str
    answer: Answer | None = None
    error: FreeholdError | None = None


class Batch:
    """Runs batches.

    Args:
        pipeline: runs each call.
        functions: of the application.
        most: calls of one batch.
        most_bytes: bytes of all their answers together.
    """

    def __init__(
        self, pipeline: Pipeline, functions: Functions, *, most: int = MOST, most_bytes: int = USUAL_BOUNDS.batch
    ) -> None:
        self._pipeline = pipeline
        self._functions = functions
        self._most = most
        self._most_bytes = most_bytes

    async def run(self, body: bytes, principal: Principal | None, origin: Origin) -> list[Outcome]:
        """Calls what a body asks for.

        Args:
            body: JSON, as the module shows.
            principal: who calls; None for nobody known.
            origin: where the request comes from.

        Returns:
            An outcome for each call, in their order. A call's error is one of them, and not raised.

        Raises:
            RequestError: the body is no JSON.
            ValidationError: it is no batch, or too long; nothing was called then.
        """
        calls = await asyncio.to_thread(self._parsed, body) if len(body) >= THREADED else self._parsed(body)
        outcomes: list[Outcome] = []
        room = _Room(self._most_bytes)
        for reads, group in groupby(enumerate(calls), lambda placed: self._reads(placed[1][0])):
            runs = [
                partial(self._outcome, place, call, arguments, principal, origin, room)
                for place, (call, arguments) in group
            ]
            outcomes += await _together(runs, TOGETHER if reads else 1)
        return outcomes

    def _parsed(self, body: bytes) -> Sequence[tuple[BatchCall, bytes]]:
        """The calls that a body asks for, each with its arguments as JSON."""
        given = checked_json(body)
        calls = given.get("calls") if isinstance(given, dict) else None
        if isinstance(calls, list) and len(calls) > self._most:
            told = f"has {len(calls):,} calls, and may have {self._most:,}; send several batches"
            raise ValidationError.single(("calls",), told, "too_long", subject="batch")
        try:
            parsed = BatchCalls.model_validate(given).calls
        except pydantic.ValidationError as error:
            raise validation_error(error, "batch") from None
        ids = [_id(place, call) for place, call in enumerate(parsed)]
        first = {id: place for place, id in reversed(list(enumerate(ids)))}
        repeated = [place for place, id in enumerate(ids) if first[id] != place]
        if repeated:
            message = "is another call's too; give each its own, or none"
            raise ValidationError(
                [Issue(("calls", place, "id"), message, "repeated") for place in repeated], subject="batch"
            )
        return [(call, written(call.arguments, ascii=True).encode()) for call in parsed]

    def _reads(self, call: BatchCall) -> bool:
        function = self._functions.get(call.function)
        return function is None or function.kind == "query"

    async def _outcome(
        self,
        place: int,
        call: BatchCall,
        arguments: bytes,
        principal: Principal | None,
        origin: Origin,
        room: "_Room",
    ) -> Outcome:
        id = _id(place, call)
        try:
            room.check()
            function = self._functions[call.function]
            if function.stream or function.media or function.content:
                raise RequestError(f"{function.name} is about a stream", hint="call it by itself, not in a batch")
            asked = Call(function, Arguments.of_json(arguments), principal, origin, call.key)
            answer = await self._pipeline.run(asked)
            room.take(len(answer.body), refusable=function.kind == "query")
            return Outcome(id, function.name, answer)
        except FreeholdError as error:
            return Outcome(id, call.function, error=error)
        except Exception as error:  # noqa: BLE001  # whatever a function raises is its own call's
            _log.exception("%s has failed in a batch of the request %s", call.function, origin.request_id)
            return Outcome(id, call.function, error=described(error))


class _Room:
    """The bytes that are left for the answers of a batch.

    Args:
        most: of all of them.
    """

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def check(self) -> None:
        """Whether another call may be made.

        Raises:
            TooLargeError: the answers before it have taken all the room.
        """
        if self._left <= 0:
            raise self._full("the call was not made: the answers before it have taken the room for")

    def take(self, size: int, *, refusable: bool) -> None:
        """Takes room for an answer.

        Raises:
            TooLargeError: there is not so much, and the answer is one that may be left out. No room is left then.
        """
        if size > self._left and refusable:
            self._left = 0
            raise self._full("the answer and those before it do not fit into")
        self._left -= size

    def _full(self, what: str) -> TooLargeError:
        hint = "send several batches, or ask for less in each call"
        return TooLargeError(f"{what} {self._most:,} bytes", most=self._most, hint=hint)


def results(outcomes: Sequence[Outcome], told: Callable[[FreeholdError], Mapping[str, Any]]) -> bytes:
    """The outcomes as JSON: `{"results": [{"id": "a", "result": ...}, {"id": "b", "problem": {...}}]}`.

    Args:
        outcomes: of `Batch.run`.
        told: an error as callers are told of it, JSON-able.
    """
    return b'{"results":[%b]}' % b",".join(_result(outcome, told) for outcome in outcomes)


def _result(outcome: Outcome, told: Callable[[FreeholdError], Mapping[str, Any]]) -> bytes:
    if outcome.error is not None or outcome.answer is None:
        error = outcome.error or RequestError("the call was not made")
        return to_json({"id": outcome.id, "problem": told(error)}, fallback=str)
    answer = outcome.answer
    more = {"version": answer.version, "created": answer.created, "repeated": answer.repeated or None}
    head = to_json({"id": outcome.id} | {name: value for name, value in more.items() if value is not None})
    return b'%b,"result":%b}' % (head[:-1], answer.body)


def _id(place: int, call: BatchCall) -> str:
    return str(place) if call.id is None else call.id


async def _together(runs: Sequence[Callable[[], Awaitable[Outcome]]], most: int) -> list[Outcome]:
    """Runs calls, so many at the same time, and gives what they return in their order."""
    places = asyncio.Semaphore(most)

    async def one(run: Callable[[], Awaitable[Outcome]]) -> Outcome:
        async with places:
            return await run()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(run)) for run in runs]
    return [task.result() for task in tasks]
