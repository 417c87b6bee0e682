"""Reads the `.sql` files of named blocks that lie beside their owners."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from freehold.model.seal import AHEAD, LIFETIME
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["Roles", "blocks"]


@dataclass(frozen=True)
class Roles:
    """The names of the two database roles.

    Args:
        owner: owns schemas and tables, and migrates; nobody logs in with it while serving.
        application: what the program connects as: no superuser, no owner, no BYPASSRLS.
    """

    owner: str = "freehold_owner"
    application: str = "freehold_app"


def blocks(package: str, name: str, schemas: Schemas, roles: Roles) -> Mapping[str, str]:
    """The blocks of a file by name, with the names of schemas and roles filled in.

    Args:
        package: where the file lies: `freehold.engine`.
        name: of the file.
        schemas: for `{engine}`, `{tables}`, `{tables_name}` and `{setting}`.
        roles: for `{owner}` and `{application}`. `{lifetime}` and `{ahead}` are the seconds of a seal.
    """
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    filled = text.format(
        engine=quoted(schemas.engine),
        tables=quoted(schemas.application),
        tables_name=schemas.application,
        setting=schemas.engine,
        owner=quoted(roles.owner),
        application=quoted(roles.application),
        lifetime=LIFETIME,
        ahead=AHEAD,
    )
    parts = re.split(r"^-- block: (\w+)$", filled, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
