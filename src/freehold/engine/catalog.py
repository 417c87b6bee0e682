"""How a database differs from the declarations, as PostgreSQL prints both.

The declared side is made really: in a transaction that is rolled back, under other names of schemas, which are then
replaced in what is printed. So a definition is never compared with text that was written here, which PostgreSQL would
print in another way, and in another way again after the next release.

Authority: the declarations. Rows, and the partitions of the log, which come and go by the month, are not compared.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Literal

from freehold.engine.blocks import Roles
from freehold.engine.migrations.literals import mapped
from freehold.engine.plan import Plan
from freehold.engine.settings import DISCREET, role_settings
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, quoted

__all__ = [
    "SHADOW",
    "STRUCTURE",
    "Catalog",
    "Difference",
    "compared",
    "declared_catalog",
    "differences",
    "printed_shadow",
    "read_catalog",
]

Catalog = Mapping[tuple[str, str], str]
"""Definitions as PostgreSQL prints them, by kind and object."""

STRUCTURE = frozenset({"table", "column", "constraint", "index", "sequence"})
"""The kinds that revisions change. All others are derived: they are made again from the declarations."""

SHADOW = Schemas("fh_shadow_engine", "fh_shadow_tables")
"""Under these names the declared schema is made to be printed. They are never committed."""

_TEXT = files("freehold.engine").joinpath("catalog.sql").read_text(encoding="utf-8")

_ROLES = """
select r.rolname::text as name, concat_ws(', ', case when r.rolsuper then 'superuser' end, case when r.rolbypassrls then 'bypassrls' end,
    case when r.rolcreaterole then 'createrole' end, case when r.rolcreatedb then 'createdb' end,
    case when r.rolreplication then 'replication' end) as attributes,
    array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid order by 1) as member_of,
    coalesce((select s.setconfig from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase
        where s.setrole = r.oid and d.datname = current_database()), '{}') as settings
from pg_roles r where r.rolname = any ($1)
"""

_PARTITION = re.compile(r"(?<=\.)log_(\d{4}_\d{2})\b")


@dataclass(frozen=True)
class Difference:
    """One object in which a database differs from the declarations.

    Args:
        kind: schema, extension, table, column, constraint, index, sequence, view, type; owner, security (row-level security), policy,
            trigger, rule, function, grant, default grant; role, membership, setting.
        object: which: `app.customers.name`; for a grant `table app.customers to somebody`.
        what: missing (declared and not there), unexpected (there and not declared), or different.
        declared: the definition that is declared; None where it is unexpected.
        actual: the definition that is there; None where it is missing.
        own: whether somebody made it beside the declarations, so that it is left alone.
    """

    kind: str
    object: str
    what: Literal["missing", "unexpected", "different"]
    declared: str | None
    actual: str | None
    own: bool = False

    @property
    def structural(self) -> bool:
        """Whether a revision has to mend it; else `freehold migrate up` does by itself."""
        return self.kind in STRUCTURE

    def __str__(self) -> str:
        name = f"{_KINDS.get(self.kind, self.kind)} {self.object}"
        if self.what == "missing":
            return f"{name} is declared but not in the database"
        if self.what == "unexpected":
            return f"{name} is in the database but not declared" + (f": {self.actual}" if self.kind == "grant" else "")
        if self.kind == "function":
            return f"{name} is not as declared"
        return f"{name} is declared as {self.declared} but is {self.actual}"


_KINDS = {"security": "row-level security of", "owner": "the owner of"}


async def differences(
    connection: Connection, plan: Plan, schemas: Schemas, roles: Roles, known: frozenset[str] | None = None
) -> list[Difference]:
    """All differences between a database and the declarations, in the order of kind and object.

    Args:
        connection: of an administrator who may act as the owner. Nothing of what is done there stays.
        plan: the declarations.
        schemas, roles: the names in the database.
        known: the names of what revisions made of declarations; None where that is to be told from what is there.

    Raises:
        ForbiddenError: the role may not create schemas, or act as the owner.
    """
    async with connection.rehearsal():
        actual = await read_catalog(connection, schemas, roles)
        declared = await declared_catalog(connection, plan.under(schemas))
    found = compared(declared, actual)
    return [replace(each, own=True) if _own(each, actual, schemas, known) else each for each in found]


def _own(each: Difference, actual: Catalog, schemas: Schemas, known: frozenset[str] | None) -> bool:
    """Whether somebody made it, and not an earlier declaration. What widens access is never left alone."""
    place, _, name = each.object.replace('"', "").partition(".")
    application = place == schemas.application
    if each.what != "unexpected":
        return False
    match each.kind:
        case "view" | "type" | "extension" | "sequence":
            return True
        case "function":
            return application
        case "trigger":
            return application and not name.rpartition(".")[2].startswith(_OURS)
        case "table" | "column" | "constraint" | "index" if not application:
            return True
        case "table" | "column" | "constraint" | "index" if known is not None:
            return name not in known
        case "table":
            return ("policy", f"{each.object}.tenant") not in actual
        case "column":
            return " generated as " in str(each.actual) and not name.rpartition(".")[2].startswith("_")
        case "constraint" | "index":
            return not _declarable(name, str(each.actual))
    return False


_OURS = ("log_", "search_", "tally_")


def _declarable(name: str, definition: str) -> bool:
    """Whether a declaration could have made a constraint or index, by its name and form."""
    table, _, own = name.partition(".")
    named = own.startswith(table[:40]) and own.endswith(("_idx", "_key", "_check", "_rule", "_fkey", "_pkey"))
    return named and re.match(r"EXCLUDE|UNIQUE|CREATE .* USING (?!btree \(organization_id)", definition) is None


def compared(declared: Catalog, actual: Catalog, kinds: Iterable[str] | None = None) -> list[Difference]:
    """The differences between two catalogues.

    Args:
        declared, actual: to be compared.
        kinds: only these; None for all.
    """
    wanted = None if kinds is None else set(kinds)
    found = []
    for key in sorted({*declared, *actual}):
        kind, name = key
        if wanted is not None and kind not in wanted:
            continue
        # The partitions of the log are made by the month: what holds for the default one holds for each of them.
        pattern = (kind, _PARTITION.sub("log_default", name))
        expected, there = declared.get(pattern), actual.get(key)
        if expected == there or (pattern != key and there is None):
            continue
        what: Literal["missing", "unexpected", "different"] = (
            "missing" if there is None else "unexpected" if expected is None else "different"
        )
        found.append(Difference(kind, name, what, expected, there))
    return _told_once(found)


def _told_once(found: Sequence[Difference]) -> list[Difference]:
    """Without what is on or in an object that is itself unexpected: it stays and goes with that."""
    strange = {each.object for each in found if each.what == "unexpected" and each.kind in _WHOLE}
    return [
        each
        for each in found
        if each.what != "unexpected" or each.kind in _WHOLE - {"column"} or not (set(_around(each)) & strange)
    ]


_WHOLE = {"table", "view", "sequence", "type", "function", "column"}


def _around(each: Difference) -> Iterator[str]:
    """The objects that one is on or in; for what is on a whole object, that object."""
    name = each.object
    if each.kind == "grant":
        name = name.split(" ", 1)[1].rsplit(" to ", 1)[0]
    if each.kind not in _WHOLE:
        yield name
    if "(" not in name:
        yield name.rpartition(".")[0]
        yield name.rpartition(".")[0].rpartition(".")[0]


async def declared_catalog(connection: Connection, plan: Plan) -> Catalog:
    """The catalogue that the declarations make. To be called within a rehearsal: it creates the shadow schemas.

    Args:
        connection: of an administrator who may act as the owner.
        plan: the declarations, with the names that the schemas have in the database.
    """
    await connection.execute(";\n".join(text.strip().rstrip(";") for text in plan.under(SHADOW).statements()))
    printed = await printed_shadow(connection, plan.schemas)
    return {**printed, **_declared_roles(plan.schemas, plan.roles)}


async def printed_shadow(connection: Connection, schemas: Schemas) -> Catalog:
    """What is in the shadow schemas, under the names that it would have in the database."""
    names = _real(schemas)
    printed = await _printed(connection, SHADOW)
    return {
        (kind, _renamed(name, names)): _retold(kind, name, text, names, SHADOW)
        for (kind, name), text in printed.items()
    }


async def read_catalog(connection: Connection, schemas: Schemas, roles: Roles) -> Catalog:
    """The catalogue of a database. To be called within a transaction: it sets the search path to its end."""
    # Constants in functions may hold any name: both sides are retold alike.
    names = _real(schemas)
    found = await _printed(connection, schemas)
    printed = {(kind, name): _retold(kind, name, text, names, schemas) for (kind, name), text in found.items()}
    for row in await connection.fetch(_ROLES, [roles.owner, roles.application]):
        name = str(row["name"])
        printed["role", name] = row["attributes"] or "no attributes"
        if name == roles.application:
            printed |= {("membership", f"of {name} in {group}"): "member" for group in row["member_of"]}
            printed |= {
                ("setting", f"{name}.{key}"): value
                for key, value in _settings(row["settings"]).items()
                if key not in DISCREET
            }
    return printed


async def _printed(connection: Connection, schemas: Schemas) -> dict[tuple[str, str], str]:
    await connection.execute("set local search_path = pg_catalog")
    rows = await connection.fetch(_TEXT, [schemas.engine, schemas.application])
    unquoted = {quoted(name): name for name in (schemas.engine, schemas.application)}
    found = {}
    for row in rows:
        kind, name = str(row["kind"]), _renamed(str(row["object"]), unquoted)
        found[kind, name] = _retold(kind, name, str(row["definition"]), unquoted, schemas)
    return found


def _real(schemas: Schemas) -> dict[str, str]:
    """What the schemas' names become, whichever of the two pairs was printed, and however it was quoted."""
    pairs = ((SHADOW.engine, schemas.engine), (SHADOW.application, schemas.application))
    unquoted = {quoted(name): name for pair in pairs for name in pair}
    return unquoted | dict(pairs)


def _retold(kind: str, name: str, text: str, names: Mapping[str, str], schemas: Schemas) -> str:
    """A definition under other names of schemas. Constants of the application's columns and constraints stay as they are."""
    if kind in ("column", "constraint", "index") and name.startswith(f"{schemas.application}."):
        return mapped(text, lambda part: _renamed(part, names))
    return _renamed(text, names)


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for name, other in names.items():
        text = text.replace(name, other)
    return text


def _declared_roles(schemas: Schemas, roles: Roles) -> Catalog:
    found = {("role", name): "no attributes" for name in (roles.owner, roles.application)}
    settings = _settings(f"{name}={value}" for name, value in role_settings(schemas).items())
    return found | {("setting", f"{roles.application}.{name}"): value for name, value in settings.items()}


def _settings(pairs: Iterable[str]) -> dict[str, str]:
    """Settings by name, without the quotes that PostgreSQL keeps or drops as it thinks fit."""
    return {name: value.replace('"', "") for name, _, value in (str(pair).partition("=") for pair in pairs)}
