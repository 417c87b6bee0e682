"""Makes derived objects again where they are not as declared: policies, triggers, functions, grants, roles.

What somebody added and what widens access (a policy, a grant, a rule, a function in the engine's schema) is taken away. What
somebody added beside that (a view, a trigger, a table) stays, and `freehold migrate check` tells of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from freehold.engine.catalog import Difference
from freehold.engine.functions import entity_parts
from freehold.engine.plan import Plan
from freehold.engine.references import REFERENCE_TRIGGERS
from freehold.engine.settings import role_settings
from freehold.sql.identifiers import literal, quoted

__all__ = ["Mending", "mended", "mended_engine", "mending_hint"]


@dataclass(frozen=True)
class Mending:
    """Statements that make derived objects again.

    Args:
        change: in words.
        sql: the statements.
        lock: the strongest lock; empty where others notice nothing.
        administrative: whether only an administrator may, and not the owner.
    """

    change: str
    sql: tuple[str, ...]
    lock: str = ""
    administrative: bool = False


_PARTS = {
    "security": "isolation", "policy": "isolation", "trigger": "triggers", "function": "functions", "grant": "privileges",
}  # fmt: skip
_LOCKS = {
    "isolation": "ACCESS EXCLUSIVE", "triggers": "SHARE ROW EXCLUSIVE", "references": "SHARE ROW EXCLUSIVE",
    "search": "ACCESS EXCLUSIVE", "counters": "ACCESS EXCLUSIVE",
}  # fmt: skip


def mended(found: Iterable[Difference], plan: Plan) -> list[Mending]:
    """What has to be run so that derived objects are as declared, once the tables are.

    Args:
        found: all differences.
        plan: the declarations.
    """
    derived = _derived(found)
    # A function goes after the triggers that call it.
    functions = [each for each in derived if each.kind == "function"]
    removals = _removals([each for each in derived if each.kind != "function" and not _in_engine(each, plan)], plan)
    return [
        *_roles(derived, plan), *removals, *_entities(derived, plan), *_removals(functions, plan), *_forgotten(functions, plan),
    ]  # fmt: skip


def _forgotten(functions: Sequence[Difference], plan: Plan) -> Iterator[Mending]:
    """What search still knows of entities that are gone."""
    if any(each.what == "unexpected" and "_search_" in each.object for each in functions):
        names = ", ".join(literal(name) for name in ("", *plan.registry.entities))
        settings = ", ".join(literal(f"search.{name}") for name in ("", *plan.registry.entities))
        own = plan.schemas.own
        yield Mending(
            "take entities that are gone out of search",
            (
                f"delete from {own('search')} where entity not in ({names})",
                f"delete from {own('settings')} where name like 'search.%' and name not in ({settings})",
            ),
        )


def mended_engine(found: Iterable[Difference], plan: Plan) -> list[Mending]:
    """What has to be run first, so that the engine's own objects are there: tables build on them."""
    found = list(found)
    removals = list(_removals([each for each in _derived(found) if _in_engine(each, plan)], plan))
    if any(_of_engine(each, plan) for each in found):
        lock = "ACCESS EXCLUSIVE on the engine's tables"
        return [*removals, Mending("make the engine's own objects again", tuple(plan.setup), lock)]
    return removals


def _derived(found: Iterable[Difference]) -> list[Difference]:
    """Those that are not structural. What is on a table or column that nobody declares goes when that does."""
    found = list(found)
    strange = {each.object for each in found if each.kind in ("table", "column", "view") and each.what == "unexpected"}
    return [each for each in found if not each.structural and not _within(each, strange)]


def _in_engine(each: Difference, plan: Plan) -> bool:
    """Whether it is the engine's own. An entity's functions lie there too, and go with its table."""
    if each.kind == "grant" and each.object.startswith("schema "):
        return True
    return _subject(each).startswith(f"{plan.schemas.engine}.") and each.kind != "function"


def _subject(each: Difference) -> str:
    return each.object.split(" ", 1)[1].rsplit(" to ", 1)[0] if each.kind == "grant" else each.object


def _within(each: Difference, strange: set[str]) -> bool:
    name = _subject(each)
    return name in strange or (each.kind in ("policy", "rule", "trigger") and name.rsplit(".", 1)[0] in strange)


def _table(each: Difference, plan: Plan) -> str | None:
    """The entity's table that a difference is about, where it is one."""
    name = _subject(each)
    if name.startswith(f"{plan.schemas.application}."):
        table = name.split(".")[1].strip('"')
        return table if table in plan.tables else None
    for entity in plan.registry.entities.values():
        if name.replace('"', "").startswith(
            tuple(f"{plan.schemas.engine}.{entity.table}_{action}(" for action in _ACTIONS)
        ):
            return entity.table
    return None


_SEARCH = ("search_create", "search_update", "search_delete", "search_rebuild")
_TALLY = ("tally_create", "tally_update", "tally_delete", "tally_recount")
_WRITES = ("create", "update", "delete", "restore", "purge")
_ACTIONS = (
    "get",
    *_WRITES,
    *(f"{action}_all" for action in _WRITES),
    "increment",
    *_SEARCH,
    *_TALLY,
    *REFERENCE_TRIGGERS,
)


def _of_engine(each: Difference, plan: Plan) -> bool:
    """Whether the engine's own SQL makes the object, and makes it again."""
    if each.what == "unexpected" or each.kind not in _MADE or _table(each, plan) is not None:
        return False
    return each.what == "missing" or not each.structural


_MADE = {"schema", "security", "policy", "trigger", "function", "grant", "table", "sequence", "index"}


def _entities(derived: Sequence[Difference], plan: Plan) -> Iterator[Mending]:
    wanted: dict[str, set[str]] = {}
    for each in derived:
        table = _table(each, plan)
        if table is not None and (part := _part(each)) is not None:
            wanted.setdefault(table, set()).add(part)
    for entity in plan.registry.entities.values():
        parts = entity_parts(entity, plan.schemas, plan.roles, plan.registry)
        for part, statements in parts.items():
            if part in wanted.get(entity.table, ()):
                lock = f"{_LOCKS[part]} on {entity.table}" if part in _LOCKS else ""
                yield Mending(f"make the {part} of {entity.table} again", tuple(statements), lock)


def _part(each: Difference) -> str | None:
    """Which part of an entity's objects makes the object; None where none does."""
    if (each.kind in ("trigger", "function") and ".search_" in each.object) or "_search_" in _subject(each):
        return "search"  # which also takes away what is there of an entity that is not searched any more
    if (each.kind == "trigger" and ".tally_" in each.object) or "_tally_" in _subject(each):
        return "counters"  # likewise of an entity that is not counted any more
    if (each.kind == "trigger" and ".refer_" in each.object) or "_refer_" in _subject(each):
        return "references"  # likewise of an entity that refers to nothing any more
    if each.what == "unexpected":
        return None
    if each.kind == "grant" and each.object.startswith(("function ", "procedure ")):
        return "functions"
    return _PARTS.get(each.kind)


def _removals(derived: Sequence[Difference], plan: Plan) -> Iterator[Mending]:
    for each in derived:
        if (statement := _removal(each, plan)) is not None:
            lock = f"ACCESS EXCLUSIVE on {_on(each)}" if each.kind in ("policy", "rule", "owner") else ""
            yield Mending(_words(each), (statement,), lock, administrative=each.kind in ("owner", "default grant"))


def _words(each: Difference) -> str:
    if each.kind == "grant":
        return f"take back: {each.actual} on {each.object}"
    return (
        f"give {each.object} back to {each.declared}" if each.kind == "owner" else f"drop the {each.kind} {each.object}"
    )


def _on(each: Difference) -> str:
    return each.object.rsplit(".", 1)[0] if each.kind in ("policy", "rule") else each.object


def _removal(each: Difference, plan: Plan) -> str | None:
    """The statement that takes away what was added, or the whole of what was widened: it is given again afterwards."""
    table, name = _named(each, plan)
    match each.kind:
        case "grant" if each.what != "missing":
            kind, rest = each.object.split(" ", 1)
            target, grantee = rest.rsplit(" to ", 1)
            parts = _requoted(target, plan).split(".")
            if kind == "table" and len(parts) == 3:
                return f"revoke all ({parts[2]}) on table {parts[0]}.{parts[1]} from {grantee} cascade"
            return f"revoke all on {kind} {_requoted(target, plan)} from {grantee} cascade"
        case "policy" if each.what == "unexpected":
            return f"drop policy {name} on {table}"
        case "rule" if each.what == "unexpected":
            return f"drop rule {name} on {table}"
        case "function" if each.what == "unexpected" and each.object.startswith(f"{plan.schemas.engine}."):
            return f"drop function if exists {_requoted(each.object, plan)}"
        case "owner" if each.what == "different":
            kind = "routine" if "(" in each.object else "table"
            return f"alter {kind} {_requoted(each.object, plan)} owner to {each.declared}"
        case "default grant" if each.what == "unexpected":
            schema, role = each.object.removeprefix("schema ").rsplit(" by ", 1)
            grantees = sorted(
                {entry.split("=")[0] or "public" for entry in str(each.actual).strip("{}").split(",")} - {role}
            )
            return "; ".join(
                f"alter default privileges for role {role} in schema {quoted(schema)} revoke all on {kind} from {', '.join(grantees)}"
                for kind in ("tables", "sequences", "functions", "types")
            )
    return None


def _named(each: Difference, plan: Plan) -> tuple[str, str]:
    table, _, name = _requoted(each.object, plan).rpartition(".")
    return table, name


def _requoted(name: str, plan: Plan) -> str:
    """A name as SQL takes it: the schemas' names were printed without quotes."""
    for schema in (plan.schemas.engine, plan.schemas.application):
        if name == schema:
            return quoted(schema)
        if name.startswith(f"{schema}."):
            return quoted(schema) + name[len(schema) :]
    return name


def _roles(derived: Sequence[Difference], plan: Plan) -> Iterator[Mending]:
    application = plan.roles.application
    settings = role_settings(plan.schemas)
    for each in derived:
        statement = None
        if each.kind == "role" and each.what == "different":
            statement = (
                f"alter role {quoted(each.object)} nosuperuser nobypassrls nocreaterole nocreatedb noreplication"
            )
        elif each.kind == "membership":
            statement = f"revoke {quoted(each.object.removeprefix(f'of {application} in '))} from {quoted(application)}"
        elif each.kind == "setting":
            name = each.object.removeprefix(f"{application}.")
            value = settings.get(name)
            shown = str(value) if name == "search_path" else literal(value)
            change = f"reset {quoted(name)}" if value is None else f"set {name} = {shown}"
            text = f"alter role {quoted(application)} in database %I {change}"
            statement = f"do $do$ begin execute format({literal(text)}, current_database()); end $do$"
        if statement is not None:
            yield Mending(f"set the {each.kind} {each.object} again", (statement,), administrative=True)


def mending_hint(each: Difference, plan: Plan) -> str:
    """What to do about a difference."""
    if each.own:
        return "nothing: it is left alone"
    if each.structural:
        return {
            "missing": "freehold migrate up, or a new revision: freehold migrate new",
            "unexpected": "declare it and write a revision, or drop it",
            "different": "freehold migrate new, or change it back",
        }[each.what]
    if mended([each], plan) or mended_engine([each], plan):
        return "freehold migrate up"
    return f"drop the {each.kind}, or keep it in a schema of its own"
