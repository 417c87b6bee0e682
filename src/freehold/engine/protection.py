"""What isolation rests on in the database: noted by set-up, compared on opening.

A program that opens a database cannot know whether somebody has switched row-level security off since, added a policy, or
replaced the gate. So set-up notes how these are when it has made them, and opening asks the database whether they still are:
one query, whose answer names what differs.
"""

import re
from collections.abc import Iterable, Sequence

from freehold.errors import ConfigurationError, RoleError
from freehold.postgres.connections import Connection, Pool
from freehold.sql.identifiers import Schemas, literal

__all__ = ["check_protection", "is_altered", "noting"]

_FUNCTION = re.compile(r'create (?:or replace )?function (?:"?\w+"?)\."?(\w+)"?\s*\(', re.IGNORECASE)
_POLICY = re.compile(r'create policy (\w+) on (?:"?\w+"?)\."?(\w+)"?', re.IGNORECASE)
_REPLACED = {"now"}
"""A test's database has another body there (`freehold.testing`)."""


def noting(statements: Iterable[str], schemas: Schemas) -> str:
    """The statement that notes how the functions and policies are that these statements have made.

    Args:
        statements: of a set-up.
        schemas: where it makes them.
    """
    text = "\n".join(statements)
    functions = sorted(set(_FUNCTION.findall(text)) - _REPLACED)
    policies = sorted({f"{name}.{table}" for name, table in _POLICY.findall(text)})
    return f"select {schemas.own('keep_protection')}({_array(functions)}, {_array(policies)})"


def _array(names: Iterable[str]) -> str:
    return f"array[{', '.join(map(literal, names))}]::text[]"


async def is_altered(connection: Connection, schemas: Schemas, tables: Sequence[str]) -> bool:
    """Whether anything is not as set-up has left it.

    Args:
        connection: of an administrator who may act as the owner.
        schemas: of the application.
        tables: those of the entities.
    """
    found = await connection.fetch(f"select {schemas.own('altered')}($1) as objects", list(tables))
    return bool(found[0]["objects"])


async def check_protection(pool: Pool, schemas: Schemas, tables: Sequence[str]) -> None:
    """Makes sure that row-level security, the policies and the gate are as set-up has left them.

    Raises:
        RoleError: something was changed; it says what.
        ConfigurationError: the database was set up by an earlier release.
    """
    if (await pool.fetch("select to_regproc($1) is null as earlier", [schemas.own("altered")]))[0]["earlier"]:
        raise ConfigurationError(
            "the database was set up by an earlier release",
            hint="run 'freehold setup' or 'freehold migrate up' with an administrator's URL, then start again",
        )
    changed = (await pool.fetch(f"select {schemas.own('altered')}($1) as objects", [list(tables)]))[0]["objects"]
    if changed:
        more = f" and {len(changed) - 10} more" if len(changed) > 10 else ""
        raise RoleError(
            f"isolation does not hold: not as set up any more are {', '.join(changed[:10])}{more}",
            hint="run 'freehold setup' or 'freehold migrate up' with an administrator's URL; a policy that was added is dropped by hand "
            "(freehold doctor tells the statement)",
        )
