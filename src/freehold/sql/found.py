"""The rows of an entity that a search finds, in place of its table, for lists and counts.

What is rare is found by its ids, from the index of search. What is common (more than `MOST` records) is looked for the
other way round: rows are read in the list's own order and asked one by one, so that a page is full after few of them.
Which of the two it is, the database decides in the same message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from freehold.model.description import EntityDescription
from freehold.sql.identifiers import Schemas, literal
from freehold.sql.statements import Arguments

__all__ = ["Found", "found_rows"]

MOST = 5_000
"""Records up to which a list is read by the ids that were found."""


@dataclass(frozen=True, slots=True)
class Found:
    """Parts of a statement whose rows `t` are narrowed by a search.

    Args:
        before: what stands before its `select`.
        ways: the conditions by which a page is read, each on its own, of which one holds for nothing; none without a search.
        every: the condition by which all are counted.
    """

    before: str = ""
    ways: tuple[str, ...] = ()
    every: str = "true"

    def page(self, rows: str, order: str, limit: int, stretches: Sequence[str] = (), *, merged: str) -> str:
        """The first rows of a select, in an order.

        Args:
            rows: the select, up to the end of its conditions.
            order: of `t`, as an index has it.
            limit: how many.
            stretches: conditions on the rows, no two of which hold for one row; none for all rows.
            merged: the same order by the columns that the select brings, for parts that are put together.
        """
        conditions = [
            "".join(f" and ({part})" for part in parts if part)
            for parts in product(stretches or ("",), self.ways or ("",))
        ]
        # Each part has the order and the limit for itself, so that it is planned for them.
        parts = [f"{rows}{condition} order by {order} limit {limit}" for condition in conditions]
        if len(parts) == 1:
            return parts[0]
        return f"select t.* from ({' union all '.join(f'({part})' for part in parts)}) as t order by {merged} limit {limit}"


def found_rows(entity: EntityDescription, text: str | None, arguments: Arguments, schemas: Schemas) -> Found:
    """How a search narrows the rows `t` of an entity."""
    if text is None:
        return Found()
    query, name = arguments.add(text, "text"), literal(entity.name)
    return Found(
        f"with _search as materialized (select * from {schemas.own('search_set')}(e.organization_id, {query}, {name}, {MOST})) ",
        (
            "t.id = any ((select s.ids from _search as s)::uuid[])",
            f"(select s.ids from _search as s) is null and {schemas.own('search_matches')}"
            f"(e.organization_id, {name}, t.id, (select s.needed from _search as s))",
        ),
        f"t.id in (select {schemas.own('search_ids')}(e.organization_id, {query}, {name}))",
    )
