"""Refuses a database whose tables are older than the code."""

from freehold.engine.plan import Plan
from freehold.errors import ConfigurationError
from freehold.postgres.connections import Pool
from freehold.sql.identifiers import quoted

__all__ = ["check_columns"]

_MISSING = """
select u.table_name || '.' || u.column_name as name from unnest($2::text[], $3::text[]) as u (table_name, column_name)
where not exists (
    select from pg_attribute a join pg_class c on c.oid = a.attrelid
    where c.relnamespace = to_regnamespace($1) and c.relname = u.table_name and a.attname = u.column_name and not a.attisdropped)
order by 1
"""


async def check_columns(pool: Pool, plan: Plan) -> None:
    """Makes sure that all columns are there that the code reads and writes. More of them are no harm.

    Raises:
        ConfigurationError: the database is older than the code; the message lists what is missing.
    """
    tables, columns = [table for table, _ in plan.columns], [column for _, column in plan.columns]
    rows = await pool.fetch(_MISSING, [quoted(plan.schemas.application), tables, columns])
    if rows:
        names = [str(row["name"]) for row in rows]
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        raise ConfigurationError(
            f"the database is older than the code: it lacks {', '.join(names[:10])}{more}",
            hint="run 'freehold migrate up' with an administrator's URL, then start again",
        )
