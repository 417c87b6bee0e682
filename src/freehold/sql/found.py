"""The rows of an entity that a search finds, in place of its table, for lists and counts.

What is rare is found by its ids, from the index of search. What is common (more than `MOST` records) is looked for the
other way round: rows are read in the list's own order and asked one by one, so that a page is full after few of them.
Which of the two it is, the database decides in the same message.
"""

from dataclasses import dataclass

from freehold.model.description import EntityDescription
from freehold.sql.identifiers import Schemas, literal
from freehold.sql.statements import Arguments

__all__ = ["Found", "found_rows"]

MOST = 5_000
"""Records up to which a list is read by the ids that were found."""


@dataclass(frozen=True, slots=True)
class Found:
    """Parts of a statement.

    Args:
        before: what stands before its `select`.
        page: what a page of rows is read from.
        all: what all rows are counted from.
    """

    before: str
    page: str
    all: str


def found_rows(entity: EntityDescription, text: str | None, arguments: Arguments, schemas: Schemas) -> Found:
    """What the rows of an entity are read from, where a search narrows them; the table itself where there is none."""
    table, name = schemas.rows(entity), literal(entity.name)
    if text is None:
        return Found("", table, table)
    query = arguments.add(text, "text")
    own = f"select r.* from {table} as r where r.organization_id = e.organization_id"
    asked = f"{schemas.own('search_matches')}(e.organization_id, {name}, r.id, (select s.needed from _search as s))"
    return Found(
        f"with _search as materialized (select * from {schemas.own('search_set')}(e.organization_id, {query}, {name}, {MOST})) ",
        f"({own} and r.id = any ((select s.ids from _search as s)::uuid[]) "
        f"union all {own} and (select s.ids from _search as s) is null and {asked})",
        f"({own} and r.id in (select {schemas.own('search_ids')}(e.organization_id, {query}, {name})))",
    )
