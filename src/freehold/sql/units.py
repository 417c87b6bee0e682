"""The statement that commits a unit of work: one message, whatever it changes."""

from collections.abc import Sequence
from functools import lru_cache

from freehold.sql.identifiers import Schemas

__all__ = ["commit_statement", "diagnosis_statement", "keyed_statement"]


FORGETTING = 0.0005
"""The share of commits that remove notes which nobody asks for any more."""
FIRST, FIRST_KEYED = 4, 7
"""The parameters from which on the batches' rows are told."""


@lru_cache(maxsize=1024)
def commit_statement(functions: Sequence[str], schemas: Schemas) -> str:
    """Notes the unit and calls a function for each batch of it, in order.

    Parameters: $1 the organization, $2 the context, $3 the unit's id, and then each batch's rows as JSON. Functions in a
    list of columns are called from left to right.

    Args:
        functions: the quoted name of each batch's function; a tuple.
        schemas: where the engine is.
    """
    calls = "".join(
        f", {function}(e.organization_id, ${place}::jsonb) as touched_{place - FIRST}"
        for place, function in enumerate(functions, FIRST)
    )
    noted = f"insert into {schemas.own('units')} (organization_id, id) select e.organization_id, $3::uuid from e"
    return (
        f"with e as materialized (select * from {schemas.entry}), noted as ({noted}) "
        f"select pg_current_xact_id() as xid, {schemas.own('now')}() as at{calls}, "
        f"case when random() < {FORGETTING} then {schemas.own('forget_units')}() end as forgotten from e"
    )


@lru_cache(maxsize=1024)
def keyed_statement(functions: Sequence[str], schemas: Schemas) -> str:
    """The same with an idempotency key: $4 is the key, $5 the digest of what the unit asks for, $6 what it answers. Nothing
    is called, and `fresh` is false, where the key was used before."""
    calls = "".join(
        f", case when u.fresh then {function}(e.organization_id, ${place}::jsonb) end as touched_{place - FIRST_KEYED}"
        for place, function in enumerate(functions, FIRST_KEYED)
    )
    noted = f"{schemas.own('open_unit')}($3::uuid, $4::text, $5::bytea, $6::json)"
    body = f"select u.fresh, u.xid, u.at, u.told as answer{calls} from {noted} as u offset 0"
    return f"select p.* from {schemas.entry} cross join lateral ({body}) as p"


def diagnosis_statement(schemas: Schemas) -> str:
    """Tells what is wrong with which row of which batch; $3 are the batches as JSON."""
    return f"select {schemas.own('diagnose')}($1::uuid, $2::text, $3::jsonb) as problems"
