"""What all sessions of one database share."""

from dataclasses import dataclass

from freehold.model.pages import CursorSigner
from freehold.model.registry import Registry
from freehold.model.shapes import Shapes
from freehold.postgres.connections import Pool
from freehold.sql.identifiers import Schemas

__all__ = ["Store"]


@dataclass(frozen=True)
class Store:
    """The parts that a session works with.

    Args:
        pool: connections as the application role.
        registry: the entities.
        schemas: the names of the schemas.
        shapes: parses what a read brings, and keeps the classes for it.
        signer: signs pages' cursors.
    """

    pool: Pool
    registry: Registry
    schemas: Schemas
    shapes: Shapes
    signer: CursorSigner
