"""The statements of search, and the part of a list's statement that narrows it to what a search finds.

Only functions of the engine read what search keeps: operators of text search are not leakproof, so under row-level
security they would lose their index. The records themselves are read here, under the policy, as everywhere.
"""

from collections.abc import Sequence
from uuid import UUID

from freehold.model.shapes import Shape
from freehold.sql.filters import visible
from freehold.sql.identifiers import Schemas, literal
from freehold.sql.reads import row_json
from freehold.sql.statements import Arguments, Statement, in_context

__all__ = ["search_statement"]


def search_statement(
    shapes: Sequence[Shape], text: str, limit: int, schemas: Schemas, *, last: tuple[int, str, UUID] | None = None
) -> Statement:
    """The records that a search finds, the best first, and one more than the limit where there are more.

    Columns: `entity`, `record_id`, `rank`, `sought` (the words that were looked up) and `j`, the record as JSON; null where
    the row is not to be seen.

    Args:
        shapes: what each entity's records bring; these entities are searched.
        text: what is searched for, as it was given.
        limit: of the page.
        schemas: their names.
        last: rank, entity and id after which the page begins.
    """
    arguments = Arguments()
    query = arguments.add(text, "text")
    names = arguments.add([shape.entity.name for shape in shapes], "text[]")
    rank, entity, id = last or (None, None, None)
    place = f"{arguments.add(rank, 'integer')}, {arguments.add(entity, 'text')}, {arguments.add(id, 'uuid')}"
    records = " ".join(f"when {literal(shape.entity.name)} then {_record(shape, schemas)}" for shape in shapes)
    body = (
        f"select h.entity, h.record_id, h.rank, h.sought, case h.entity {records} end as j "
        f"from {schemas.own('search_hits')}(e.organization_id, {query}, {names}, {place}, {limit + 1}) as h "
        "order by h.rank desc, h.entity, h.record_id"
    )
    return Statement(in_context(schemas, body), tuple(arguments.values))


def _record(shape: Shape, schemas: Schemas) -> str:
    table = schemas.table(shape.entity.table)
    return (
        f"(select {row_json(shape, 't', Arguments(), schemas)} from {table} as t "
        f"where {visible(shape.entity, 't')} and t.id = h.record_id)"
    )
