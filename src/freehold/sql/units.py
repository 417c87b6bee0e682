"""The statement that commits a unit of work: one message, whatever it changes."""

from collections.abc import Sequence
from functools import lru_cache

from freehold.sql.identifiers import Schemas

__all__ = ["commit_statement", "diagnosis_statement"]


@lru_cache(maxsize=1024)
def commit_statement(functions: Sequence[str], schemas: Schemas) -> str:
    """Notes the unit and calls a function for each batch of it, in order, unless its key was used before.

    Parameters: $1 the organization, $2 the context, $3 the unit's id, $4 its idempotency key, $5 the digest of what it
    asks for, $6 what it answers, and from $7 on each batch's rows as JSON. Functions in a list of columns are called from
    left to right.

    Args:
        functions: the quoted name of each batch's function; a tuple.
        schemas: where the engine is.
    """
    calls = "".join(
        f", case when u.fresh then {function}(e.organization_id, ${place}::jsonb) end as touched_{place}"
        for place, function in enumerate(functions, 7)
    )
    noted = f"{schemas.own('open_unit')}($3::uuid, $4::text, $5::bytea, $6::json)"
    body = f"select u.fresh, u.xid, u.at, u.told as answer{calls} from {noted} as u offset 0"
    return f"select p.* from {schemas.entry} cross join lateral ({body}) as p"


def diagnosis_statement(schemas: Schemas) -> str:
    """Tells what is wrong with which row of which batch; $3 are the batches as JSON."""
    return f"select {schemas.own('diagnose')}($1::uuid, $2::text, $3::jsonb) as problems"
