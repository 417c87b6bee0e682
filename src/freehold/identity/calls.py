"""How system work is sent: a function of the database, its arguments, and the program's seal on the reason."""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

import pydantic
from pydantic import BaseModel
from pydantic_core import from_json

from freehold.errors import ValidationError
from freehold.identity.records import Listing
from freehold.model.issues import validation_error
from freehold.model.seal import Seal
from freehold.postgres.connections import Pool
from freehold.sql.identifiers import Schemas

__all__ = ["LIST_LIMIT", "SystemCalls", "checked", "checked_id", "checked_limit", "listing"]

LIST_LIMIT = 1_000
"""Records of a list at most."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class SystemCalls:
    """Calls of the functions that work across organizations.

    Args:
        pool: connections as the application role.
        schemas: where the functions are.
        seal: proves to the database that the program asks.
        reason: why, for the log: `"sign-up"`, `"ticket 812"`.

    Raises:
        ValidationError: the reason is no text of 1 to 500 characters.
    """

    def __init__(self, pool: Pool, schemas: Schemas, seal: Seal, reason: str) -> None:
        if not isinstance(reason, str) or not 1 <= len(reason) <= 500 or "\x00" in reason:
            raise ValidationError.single(("reason",), "must say in 1 to 500 characters why", "reason", subject="system")
        self._pool = pool
        self._schemas = schemas
        self._seal = seal
        self._reason = reason

    async def answer(
        self, function: str, *arguments: Any, timeout: float | None = None
    ) -> Any:  # Any: bound by the driver
        """What a function answers. The sealed reason is its last argument.

        Args:
            function: its name in the engine's schema.
            arguments: the others.
            timeout: seconds; None is the pool's bound.
        """
        places = ", ".join(f"${place}" for place in range(1, len(arguments) + 2))
        text = f"select {self._schemas.own(function)}({places}) as answer"  # a quoted name
        row = await self._pool.fetch_row(text, lambda: (*arguments, self._seal.prove(self._reason)), timeout=timeout)
        return None if row is None else row["answer"]

    async def record(self, cls: type[ModelT], function: str, *arguments: Any) -> ModelT | None:
        """The record that a function answers, as JSON; None where it is null."""
        found = await self.answer(function, *arguments)
        return None if found is None else cls.model_validate_json(found)

    async def page(
        self, cls: type[ModelT], what: str, organization_id: UUID | None, limit: int, after: UUID | None
    ) -> Listing[ModelT]:
        """A page of a list.

        Raises:
            ValidationError: the limit is not 1 to 1,000, or an id is none.
        """
        most = checked_limit(limit)
        found = await self.answer(
            "system_page", what, organization_id, most + 1, None if after is None else checked_id(after, "after")
        )
        return listing(cls, from_json(found), most)


def listing(cls: type[ModelT], found: Sequence[Any], most: int) -> Listing[ModelT]:
    """A page of what was found, of which the last one only tells that there is more."""
    records = tuple(cls.model_validate(item) for item in found[:most])
    key = "user_id" if "user_id" in cls.model_fields and "id" not in cls.model_fields else "id"
    return Listing(records, getattr(records[-1], key) if len(found) > most else None)


def checked(cls: type[ModelT], **values: Any) -> ModelT:
    """Values of a caller, as the model that says what they must be."""
    try:
        return cls.model_validate(values)
    except pydantic.ValidationError as error:
        raise validation_error(error, cls.__name__.removeprefix("Create")) from None


def checked_id(id: UUID, name: str = "id") -> UUID:
    """An id of a caller."""
    if not isinstance(id, UUID):
        raise ValidationError.single((name,), f"must be a UUID, not {id!r}"[:120], "uuid_type", subject="system")
    return id


def checked_limit(limit: int) -> int:
    """How many records a list may have."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LIST_LIMIT:
        raise ValidationError.single(
            ("limit",), f"must be a number from 1 to {LIST_LIMIT:,}", "limit", subject="system"
        )
    return limit
