"""What one attempt of a proof is, and what it may use.

A list of attempts is a function from a world to attempts; `freehold.doctor.proof.LISTS` names them. A new way to read or write
gets its attempts there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from freehold.doctor.sides import Record, Side
from freehold.engine.blocks import Roles
from freehold.errors import FreeholdError
from freehold.model.description import EntityDescription
from freehold.model.registry import Registry
from freehold.model.seal import Seal
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas

__all__ = ["Attempt", "Expected", "Gives", "World", "answer", "answers"]

Expected = Literal["nothing of theirs", "refused", "as for what is not there"]
"""What an attempt must meet with: an answer without any mark of the other organization; an error; or the very answer that it
gets where the other organization has no such records."""

Gives = Literal["ids", "organization", "names", "mark", "values"]
"""What an attempt knows of the other organization and tells itself, so that it is no leak where it comes back."""


@dataclass
class World:
    """Where attempts are made.

    Args:
        own: the attacker.
        prey: the other organization, or the phantom that stands for it.
        registry, schemas, roles, seal: of the database.
        plain: a connection of the application role that is not Freehold's, without a cache of statements.
    """

    own: Side
    prey: Side
    registry: Registry
    schemas: Schemas
    roles: Roles
    seal: Seal
    plain: Connection

    @property
    def entities(self) -> Iterator[EntityDescription]:
        """The entities that both sides have records of."""
        return (
            entity
            for name, entity in self.registry.entities.items()
            if self.own.records.get(name) and self.prey.records.get(name)
        )

    def ours(self, entity: EntityDescription) -> list[Record]:
        """The attacker's records."""
        return self.own.records[entity.name]

    def theirs(self, entity: EntityDescription) -> list[Record]:
        """The prey's records."""
        return self.prey.records[entity.name]

    @asynccontextmanager
    async def connection(self, *, entered: bool = False) -> AsyncIterator[Connection]:
        """The plain connection. What is done there is undone.

        Args:
            entered: whether it is in the attacker's context, under its own seal.
        """
        async with self.plain.rehearsal():
            if entered:
                await self.enter(self.plain, self.own)
            yield self.plain
        await self.plain.execute("discard all")

    async def enter(self, connection: Connection, side: Side) -> None:
        """Puts a connection's transaction into a side's context."""
        text = f"select {self.schemas.own('enter')}($1, $2)"
        await connection.fetch(text, side.organization, self.seal.apply(side.context))


@dataclass(frozen=True)
class Attempt:
    """One way that is tried to reach another organization.

    Args:
        group: calls of a session, hand-written SQL, plain connections, the catalogue.
        name: of the attempt, unique.
        expected: what it must meet with.
        run: makes it; its answer, or the error that it got, is searched.
        gives: what of the other organization it tells itself.
        compared: whether the answer must be the same as when the other organization had nothing; not where the answer tells
            of moments or positions.
    """

    group: str
    name: str
    expected: Expected
    run: Callable[[World], Awaitable[Any]] = field(compare=False)
    gives: Sequence[Gives] = ()
    compared: bool = True


async def answer(call: Awaitable[Any]) -> Any:
    """What a call answers, or the error that it raises."""
    try:
        return await call
    except FreeholdError as error:
        return error


async def answers(calls: Sequence[Awaitable[Any]]) -> list[Any]:
    """What calls answer, one after the other."""
    return [await answer(call) for call in calls]
