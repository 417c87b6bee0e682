"""The rows of entities as they were at a moment.

The log keeps each row as it was before each change. So a row at a moment is what the first change after that moment
found; a row that has not changed since is what it is now; and a row that the first change made was not there. Only what
has changed since the moment is looked up in the log: a moment in the near past costs little, however long the log is.
"""

from dataclasses import dataclass

from freehold.model.description import EntityDescription
from freehold.model.index_keys import IndexKey
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["Past"]


@dataclass(frozen=True)
class Past(Schemas):
    """The schemas with the rows of a moment, which the context tells.

    Args:
        absent: the columns that were not there yet, as (table, column); they are null.
    """

    absent: frozenset[tuple[str, str]] = frozenset()

    def rows(self, entity: EntityDescription) -> str:
        """The rows that were there at `e.moment`."""
        table, log = self.table(entity.table), self.own("log")

        def columns(alias: str, id: str) -> str:
            own = [
                f"null::{field.sql_type} as {quoted(name)}"
                if (entity.table, name) in self.absent
                else f"{id} as id"
                if name == "id"
                else f"{alias}.{quoted(name)}"
                for name, field in entity.fields.items()
            ]
            return ", ".join([*own, *(self._key(entity, key, alias) for key in entity.index_keys)])

        # What had not been committed when the moment was marked had not been done, whenever its transaction began.
        changed = (
            f"{self.changes(entity)} and l.at > e.floor and (l.at > e.moment or l.xid = any (e.late) or not "
            "(pg_visible_in_snapshot(l.xid, e.seen) or l.position <= e.settled or l.xid is not distinct from e.own))"
        )
        # Older rows have the names and types that held when they were written.
        now = f"{self.own('as_now')}(null::{table}, {self.relation(entity)}, x.position, x.old)"
        old = f"case when x.position < {self.shaped(entity)} then {now} else x.old end"
        # The id comes from the log's own column, so that a condition on it reaches the log's index.
        return (
            f"(select {columns('n', 'n.id')} from {table} as n where n.organization_id = e.organization_id "
            f"and not exists (select from {log} as l where {changed} and l.record_id = n.id) "
            f"union all select {columns('r', 'x.record_id')} from "
            f"(select distinct on (l.record_id) l.record_id, l.position, l.old from {log} as l where {changed} "
            "order by l.record_id, l.position) as x "
            f"cross join lateral jsonb_populate_record(null::{table}, {old}) as r where x.old is not null)"
        )

    def _key(self, entity: EntityDescription, key: IndexKey, alias: str) -> str:
        """The column that stands in for a Decimal; the log does not keep it."""
        absent = (entity.table, key.field) in self.absent
        value = f"null::{key.sql}" if absent else key.expression(f"{alias}.{quoted(key.field)}")
        return f"{value} as {quoted(key.column)}"

    @property
    def entry(self) -> str:
        """Enters the context and checks that the log reaches back to its moment."""
        return f"{self.own('enter_past')}($1::uuid, $2::text) as e"
