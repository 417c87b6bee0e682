"""Idempotency keys: a command that is called again with the same key is not run again, and gets the same answer.

Authority: a row of the table `answers`, which is written in the command's own transaction. So the answer is remembered if and
only if what the command did is committed, whatever is cut in between. A call that fails is undone together with its row, and
may be made again with the same key.

States of a key, for one caller in one organization: unused; taken, while a transaction works under it; answered. Who finds it
taken is refused at once and does not wait, because a client that repeats early would otherwise hold a second connection for
as long as the first call runs. Who finds it answered by another call is refused for good.

The source is draft-ietf-httpapi-idempotency-key-header. What HTTP has of it is in `freehold.server`.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from pydantic_core import from_json, to_json

from freehold.errors import IdempotencyError, RequestError
from freehold.functions.declaration import Function, Parameters
from freehold.functions.results import Answer
from freehold.identity.principal import Principal
from freehold.store.session import Transaction

__all__ = ["LONGEST_KEY", "SQL", "digest_of", "once"]

SQL = ("freehold.functions", "answers.sql")
"""The statements that make what this module needs."""
LONGEST_KEY = 200
"""Characters of a key."""
LARGEST_ANSWER = 1_000_000
"""Bytes of an answer that is remembered."""


async def once(
    principal: Principal,
    key: str,
    function: Function,
    parameters: Parameters,
    transaction: Transaction,
    run: Callable[[], Awaitable[Answer]],
) -> Answer:
    """The answer of the first call with a key: run now, or remembered.

    Args:
        principal: who calls.
        key: chosen by the caller.
        function: what is called.
        parameters: with what.
        transaction: in which it is run, and its answer is kept.
        run: makes the call.

    Raises:
        RequestError: the key is none (400), or a call with it is under way (409); or the answer is too large to be kept.
        IdempotencyError: the key was used for another call.
    """
    check_key(key)
    messenger = transaction._messenger
    schemas = messenger.store.schemas
    entered = f"select c.* from {schemas.entry} cross join lateral"
    caller = principal.credential
    claim = await messenger.call(
        f"{entered} {schemas.own('claim_key')}($3, $4, $5) as c", (caller, key, digest_of(function, parameters))
    )
    if claim["state"] != "fresh":
        return _remembered(claim)
    answer = await run()
    if len(answer.body) > LARGEST_ANSWER:
        raise RequestError(
            f"the answer has more than {LARGEST_ANSWER:,} bytes, too many to be kept for a repeated call; nothing was done",
            hint="call without an idempotency key, or for less at once",
        )
    told = to_json({name: getattr(answer, name) for name in _KEPT})
    await messenger.call(
        f"{entered} {schemas.own('keep_answer')}($3, $4, $5, $6) as c", (caller, key, told, answer.body)
    )
    return answer


_KEPT = ("media", "version", "created", "position")


def _remembered(claim: Any) -> Answer:  # Any: the driver's row
    if claim["state"] == "busy":
        raise RequestError(
            "a call with this idempotency key is under way",
            status=409,
            hint="wait for its answer, or repeat this in a moment to get it",
        )
    if claim["state"] == "other":
        raise IdempotencyError("the idempotency key was used for another call", hint="use a new key for each new call")
    told = from_json(claim["told"])
    created = told["created"]
    return Answer(
        claim["body"],
        media=told["media"],
        version=told["version"],
        created=None if created is None else UUID(created),
        position=told["position"],
        repeated=True,
    )


def check_key(key: str) -> None:
    """Whether a text can be a key.

    Raises:
        RequestError: it is too long, empty, or has characters that do not show.
    """
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise RequestError(
            f"an idempotency key has 1 to {LONGEST_KEY} visible ASCII characters",
            hint='send a new UUID with each new call: Idempotency-Key: "8e03978e-40d5-43dd-bc93-6894a57f9324"',
        )


def digest_of(function: Function, parameters: Parameters) -> bytes:
    """Tells calls apart: by the function and by what it was given. The same arguments in other words are the same."""
    given = parameters.model_dump_json(exclude_unset=True)
    return hashlib.sha256(f"{function.name}\n{given}".encode()).digest()
