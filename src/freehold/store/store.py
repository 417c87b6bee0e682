"""What all sessions of one database share."""

from dataclasses import dataclass, field

from freehold.model.bounds import USUAL_BOUNDS, AnswerBounds
from freehold.model.pages import CursorSigner
from freehold.model.registry import Registry
from freehold.model.seal import Seal
from freehold.model.shapes import Shape, Shapes
from freehold.postgres.connections import Pool
from freehold.sql.identifiers import Schemas
from freehold.store.coalescer import Coalescer
from freehold.store.rows import RowReader

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
        seal: seals contexts.
        increments: brings increments of many callers together; None where each is made by itself.
        bounds: what one answer may hold.
    """

    pool: Pool
    registry: Registry
    schemas: Schemas
    shapes: Shapes
    signer: CursorSigner
    seal: Seal
    increments: Coalescer | None = None
    bounds: AnswerBounds = USUAL_BOUNDS
    _readers: dict[Shape, RowReader] = field(default_factory=dict, init=False, repr=False)

    def reader(self, shape: Shape) -> RowReader:
        """What makes entities of the rows of a plain shape."""
        reader = self._readers.get(shape)
        if reader is None:
            reader = self._readers[shape] = RowReader(shape)
        return reader
