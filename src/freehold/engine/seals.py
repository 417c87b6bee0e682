"""The keys in the database by which it knows the program's seal."""

from freehold.errors import ConfigurationError, IsolationError
from freehold.model.context import Context, new_id
from freehold.model.seal import Seal
from freehold.postgres.connections import Connection, Pool
from freehold.sql.identifiers import Schemas

__all__ = ["check_seal", "keep_seal"]

KEPT = 2
"""Keys that count: the newest, and the one before it, with which programs run that have not been started again yet."""


async def keep_seal(connection: Connection, schemas: Schemas, seal: Seal) -> None:
    """Makes a seal count, and all but the one before it count no longer.

    A secret that somebody else knows by now is replaced twice: the one before the newest counts as well.

    Args:
        connection: of whoever may act as the owner.
        schemas: where the engine is.
        seal: the program's.
    """
    table = schemas.own("seals")
    inner, outer = seal.pads
    async with connection.transaction():
        await connection.execute(f"lock table {table} in share row exclusive mode")
        known = await connection.fetch(
            f"select inner_key = $1 as same from {table} order by made_at desc limit 1", inner
        )  # a quoted name
        if known and known[0]["same"]:
            return
        await connection.fetch(f"delete from {table} where inner_key = $1", inner)
        await connection.fetch(
            f"insert into {table} select $1, $2, greatest(clock_timestamp(), max(made_at) + interval '1 microsecond') from {table}",
            inner,
            outer,
        )  # the newest, even where the clock has gone back
        await connection.fetch(
            f"delete from {table} where made_at < (select min(made_at) from (select made_at from {table} "
            f"order by made_at desc limit {KEPT}) as kept)"
        )


async def check_seal(pool: Pool, schemas: Schemas, seal: Seal) -> None:
    """Makes sure that the database believes the program's contexts.

    Raises:
        ConfigurationError: it was set up with another secret.
    """
    nobody = Context(organization_id=new_id())
    text = f"select {schemas.own('organization_id')}() from {schemas.own('enter')}($1, $2)"
    try:
        await pool.fetch_row(text, lambda: (nobody.organization_id, seal.apply(nobody)))
    except IsolationError as error:
        raise ConfigurationError(
            "the database does not know the seal of this program's contexts: it was set up with another secret",
            hint="run 'freehold setup' with this password (or FREEHOLD_SEAL), or start the program with that one",
        ) from error
