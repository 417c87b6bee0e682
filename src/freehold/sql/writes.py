"""The statements of bulk writes: many records of one entity, one JSON value as the answer.

They run inside of the engine's function `write`, after the context was entered: $1 is what the call sends, as jsonb, $2
the organization. Rows are locked in one order (that of their ids, or of the unique key that they may meet at), so that
two calls that meet on several rows wait for each other instead of ending in a deadlock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from freehold.model.description import EntityDescription
from freehold.model.fields import Unique
from freehold.model.filters import Filter
from freehold.model.values import to_sql_text
from freehold.sql.filters import condition
from freehold.sql.identifiers import Schemas, literal, quoted
from freehold.sql.keys import compared, conflict_target, covered, equal
from freehold.sql.statements import Arguments

__all__ = [
    "Duplicates",
    "Matching",
    "changed_text",
    "insert_text",
    "matching",
    "matching_text",
    "moved_text",
    "removed_text",
    "update_text",
]


@dataclass(frozen=True)
class Duplicates:
    """What happens to a record whose unique key another one has.

    Args:
        key: the unique key; None is any of the entity's, and only for `skip`.
        action: `skip` leaves the other one as it is, `update` changes it.
        fields: that an update sets; where it sets none, the other one stays as it is.
        mixed: whether the rows give different ones of these fields.
    """

    key: Unique | None
    action: Literal["skip", "update"]
    fields: tuple[str, ...] = ()
    mixed: bool = False


@lru_cache(maxsize=1024)
def insert_text(entity: EntityDescription, schemas: Schemas, duplicates: Duplicates | None = None) -> str:
    """Inserts rows: $1 is `{"rows": [{"id": ..., field: ...}]}`, in the order of their ids.

    Without `duplicates` the answer is how many rows there are now; a row that breaks a rule fails the statement. With them
    it is a list of those that were not inserted: `[their id, what happened, the other record's id, its version]`. What
    happened is `updated`, `unchanged`, `skipped`, or `superseded` by a later row with the same key; or `later`, where rows
    with the same key give different fields: then this one has to be sent again, after this statement.

    Where the rows give different fields, $1 has `{"given": {id: [field, ...]}}` too, the fields in one order.
    """
    if duplicates is None:
        insert = f"{_insert(entity, schemas)} from {_given(entity, schemas)} as g returning 1"
        return f"with written as ({insert}) select to_json(count(*)) from written"
    if duplicates.key is None:
        insert = f"{_insert(entity, schemas)} from given as g order by g.id on conflict do nothing returning t.id"
        missing = "select from written as w where w.id = g.id"
        return (
            f"with given as materialized (select g.* from {_given(entity, schemas)} as g), written as ({insert}) "
            f"select coalesce(json_agg(json_build_array(g.id, 'skipped', null, null)), '[]') "
            f"from given as g where not exists ({missing})"
        )
    return _upsert(entity, schemas, duplicates, duplicates.key)


def _given(entity: EntityDescription, schemas: Schemas) -> str:
    return f"jsonb_populate_recordset(null::{schemas.table(entity.table)}, $1->'rows')"


def _insert(entity: EntityDescription, schemas: Schemas) -> str:
    own, given = _names([field.name for field in entity.given]), _names([field.name for field in entity.given], "g.")
    actor, now = _actor(schemas), f"{schemas.own('now')}()"
    return (
        f"insert into {schemas.table(entity.table)} as t "
        f"(organization_id, id, version, created_at, created_by, updated_at, updated_by, {own}) "
        f"select $2, g.id, 1, {now}, {actor}, {now}, {actor}, {given}"
    )


def _names(fields: Sequence[str], prefix: str = "") -> str:
    return ", ".join(prefix + quoted(name) for name in fields)


def _upsert(entity: EntityDescription, schemas: Schemas, duplicates: Duplicates, key: Unique) -> str:
    keys = [f"_key{number}" for number in range(len(key.fields))]
    order = ", ".join(compared(key, "g", name, schemas) for name in key.fields)
    told = ", ".join(
        f"{compared(key, 't', name, schemas)} as {alias}" for name, alias in zip(key.fields, keys, strict=True)
    )
    updates = duplicates.action == "update" and duplicates.fields
    written = (
        f"{_insert(entity, schemas)} from given as g {'where g._sent ' if updates else ''}order by {order}, g.id "
        f"on conflict {conflict_target(entity, key, schemas)} {_on_conflict(schemas, duplicates)} "
        f"returning t.id, t.version, ({covered(key, 't')}) as _covered, {told}"
    )
    given = f"select g.*, {_turn(key, duplicates, schemas)} from {_given(entity, schemas)} as g"
    same = " and ".join(
        f"w.{alias} = {compared(key, 'g', name, schemas)}" for name, alias in zip(key.fields, keys, strict=True)
    )
    unwritten = "updated" if duplicates.action == "update" else "skipped"
    otherwise = "unchanged" if duplicates.action == "update" else "skipped"
    told_apart = "case when g._later then 'later' when not g._sent then 'superseded' " if updates else "case "
    return (
        f"with given as materialized ({given}), written as ({written}) "
        f"select coalesce(json_agg(json_build_array(g.id, {told_apart}when w.id is not null then '{unwritten}' else '{otherwise}' end, "
        f"coalesce(w.id, o.id), coalesce(w.version, o.version)) order by g.id), '[]') "
        f"from given as g left join written as made on made.id = g.id left join written as w on w._covered and {same} "
        f"left join lateral ({_other(entity, schemas, key)}) as o on w.id is null "
        f"where made.id is null"
    )


def _turn(key: Unique, duplicates: Duplicates, schemas: Schemas) -> str:
    """Which of the rows with one key is sent now: PostgreSQL changes no row twice in one statement.

    The last one, where all give the same fields: it has all that the others give. Otherwise the first one, and the others
    are to be sent later. A row that the key is not about is alone.
    """
    alone = f"case when {covered(key, 'g')} then null else g.id end"
    window = f"partition by {', '.join(compared(key, 'g', name, schemas) for name in key.fields)}, {alone}"
    if not duplicates.mixed:
        return f"row_number() over ({window} order by g.id desc) = 1 as _sent, false as _later"
    given = "jsonb_extract_path_text($1, 'given', g.id::text)"
    mixed = f"min({given}) over ({window}) <> max({given}) over ({window})"
    first = f"row_number() over ({window} order by g.id) = 1"
    last = f"row_number() over ({window} order by g.id desc) = 1"
    return f"case when {mixed} then {first} else {last} end as _sent, {mixed} and not {first} as _later"


def _on_conflict(schemas: Schemas, duplicates: Duplicates) -> str:
    if duplicates.action == "skip" or not duplicates.fields:
        return "do nothing"
    values = [_new_value(name, mixed=duplicates.mixed) for name in duplicates.fields]
    set_ = ", ".join(f"{quoted(name)} = {value}" for name, value in zip(duplicates.fields, values, strict=True))
    differs = f"({_names(duplicates.fields, 't.')}) is distinct from ({', '.join(values)})"
    return f"do update set {set_}, {_bookkeeping(schemas)} where {differs}"


def _new_value(name: str, *, mixed: bool) -> str:
    column = quoted(name)
    if not mixed:
        return f"excluded.{column}"
    given = f"jsonb_extract_path($1, 'given', excluded.id::text) ? '{name}'"  # a field's name is a plain one
    return f"case when {given} then excluded.{column} else t.{column} end"


def _bookkeeping(schemas: Schemas) -> str:
    return f"version = t.version + 1, updated_at = {schemas.own('now')}(), updated_by = {_actor(schemas)}"


def _actor(schemas: Schemas) -> str:
    """Who acts; as a query of its own, so that it is asked once for a statement and not for each row."""
    return f"(select {schemas.own('actor_id')}())"


def _other(entity: EntityDescription, schemas: Schemas, key: Unique) -> str:
    """The record that had the key before.

    Not where the key ignores case: `folded` is not leakproof, so that under row-level security no index serves it.
    """
    if key.ignore_case:
        return "select null::uuid as id, null::integer as version"
    same = [equal(entity.fields[name], "t", "g") for name in key.fields] + [covered(key, "t")]
    same += ["t.deleted_at is null"] if entity.soft_delete else []
    return (
        f"select t.id, t.version from {schemas.table(entity.table)} as t where t.organization_id = $2 and w.id is null "
        f"and made.id is null and {' and '.join(same)} limit 1"
    )


@lru_cache(maxsize=1024)
def update_text(entity: EntityDescription, schemas: Schemas, fields: tuple[str, ...]) -> str:
    """Changes records of expected versions: $1 is `[{"id": ..., "version": ..., "changes": {field: ...}}]`.

    The answer lists those that were not changed: `[id, what happened, version]`. What happened is `unchanged` where the
    record has these values already, `conflict` where it has another version, `deleted`, or `absent`. The version is that
    of the row when it was locked, so it is the one that won, also where another transaction has just ended.

    Args:
        entity: of the records.
        schemas: the names of the schemas.
        fields: all that some of the changes give.
    """
    table = schemas.table(entity.table)
    given = (
        "select (i->>'id')::uuid as id, (i->>'version')::integer as version, i->'changes' as changes "
        "from jsonb_array_elements($1) as i"
    )
    alive = "t.deleted_at is null" if entity.soft_delete else "true"
    found = (
        f"select t.id, t.version, {alive} as alive, g.version as expected, jsonb_populate_record(t.*, g.changes) as new "
        f"from given as g join {table} as t on t.organization_id = $2 and t.id = g.id "
        f"order by t.id for {_lock(entity, fields)} of t"
    )
    new = ", ".join(f"(f.new).{quoted(name)}" for name in fields)
    set_ = ", ".join(f"{quoted(name)} = (f.new).{quoted(name)}" for name in fields)
    changed = (
        f"update {table} as t set {set_}, {_bookkeeping(schemas)} from found as f "
        f"where t.organization_id = $2 and t.id = f.id and t.version = f.version and f.version = f.expected and f.alive "
        f"and ({_names(fields, 't.')}) is distinct from ({new}) returning t.id"
    )
    what = (
        "case when f.id is null then 'absent' when not f.alive then 'deleted' "
        "when f.version <> f.expected then 'conflict' else 'unchanged' end"
    )
    return (
        f"with given as materialized ({given}), found as materialized ({found}), changed as ({changed}) "
        f"select coalesce(json_agg(json_build_array(g.id, {what}, f.version)), '[]') "
        f"from given as g left join found as f on f.id = g.id left join changed as c on c.id = g.id where c.id is null"
    )


def _lock(entity: EntityDescription, fields: Sequence[str]) -> str:
    """What an update of these fields will take: the stronger lock where it changes a key that references could name."""
    keyed = {name for key in entity.unique_keys.values() for name in key.fields}
    return "update" if keyed & set(fields) else "no key update"


@dataclass(frozen=True)
class Matching:
    """A filter whose values are in `$1->'where'`.

    Args:
        condition: on the rows `t`, in the context `e`.
        values: as JSON has them.
    """

    condition: str
    values: tuple[Any, ...]  # Any: of every kind


class JsonArguments(Arguments):
    """Collects values that a statement reads from the JSON array `$1->'where'`."""

    def add(self, value: Any, sql_type: str) -> str:
        """The reference to a value: `($1->'where'->>2)::numeric`."""
        self.values.append(to_sql_text(value))
        place = f"$1->'where'->{len(self.values) - 1}"
        if sql_type.endswith("[]"):
            return f"(array(select jsonb_array_elements_text({place})::{sql_type.removesuffix('[]')}))"
        return f"({place}#>>'{{}}')::{sql_type}"


def matching(filter_: Filter, schemas: Schemas) -> Matching:
    """A filter for the statements of `changed_text` and `removed_text`."""
    arguments = JsonArguments()
    return Matching(condition(filter_, "t", arguments, schemas), tuple(arguments.values))


def changed_text(
    entity: EntityDescription, schemas: Schemas, of: Matching, fields: tuple[str, ...], *, after: bool, named: bool
) -> str:
    """Changes the next records that match: $1 is `{"where", "changes": {field: ...}, "limit", "after", "ids"}`.

    The answer lists them in the order of their ids: `{"items": [[id, "updated" or "unchanged", version]]}`.

    Args:
        entity: of the records.
        schemas: the names of the schemas.
        of: the filter.
        fields: that change.
        after: whether only ids after one are asked for.
        named: whether only these ids are.
    """
    new = "jsonb_populate_record(t.*, $1->'changes') as new"
    found = _matching(entity, schemas, of, f"t.id, t.version, {new}", _lock(entity, fields), after, named)
    set_ = ", ".join(f"{quoted(name)} = (f.new).{quoted(name)}" for name in fields)
    differs = f"({_names(fields, 't.')}) is distinct from ({', '.join(f'(f.new).{quoted(name)}' for name in fields)})"
    changed = (
        f"update {schemas.table(entity.table)} as t set {set_}, {_bookkeeping(schemas)} from found as f "
        f"where t.organization_id = $2 and t.id = f.id and {differs} returning t.id, t.version"
    )
    item = "f.id, case when c.id is null then 'unchanged' else 'updated' end, coalesce(c.version, f.version)"
    return (
        f"with found as materialized ({found}), changed as ({changed}) "
        f"select json_build_object('items', coalesce(json_agg(json_build_array({item}) order by f.id), '[]')) "
        "from found as f left join changed as c on c.id = f.id"
    )


def matching_text(entity: EntityDescription, schemas: Schemas, of: Matching, *, after: bool) -> str:
    """The ids of the next records that match, as a list; they are locked. $1 is as in `changed_text`."""
    found = _matching(entity, schemas, of, "t.id", "update", after, named=False)
    return f"select coalesce(json_agg(f.id order by f.id), '[]') from ({found}) as f"


def removed_text(
    entity: EntityDescription, schemas: Schemas, of: Matching, action: str, *, after: bool, named: bool
) -> str:
    """Deletes or purges the next records that match: $1 is as in `changed_text`, the answer as that of `moved_text`."""
    found = _matching(entity, schemas, of, "t.id, t.version", "update", after, named)
    items = f"(select jsonb_agg(jsonb_build_object('id', f.id, 'version', f.version)) from ({found}) as f)"
    return _moved(entity, schemas, action, items)


@lru_cache(maxsize=1024)
def moved_text(entity: EntityDescription, schemas: Schemas, action: str) -> str:
    """Deletes, restores or purges records of expected versions: $1 is `[{"id": ..., "version": ...}]`.

    The answer is `{"items": [[id, what happened, version]], "touched": [{"table", "action", "ids"}]}`. What happened is
    `done`, `conflict` where it has another version, `deleted` or `alive` where it is not what the action is for, or `absent`.
    """
    return _moved(entity, schemas, action, "$1")


def _moved(entity: EntityDescription, schemas: Schemas, action: str, items: str) -> str:
    table = f"{literal(schemas.table(entity.table))}::regclass"
    soft = literal(entity.soft_delete)
    return f"select {schemas.own('change_state')}($2, {table}, {literal(action)}, {soft}, {items})::json"


def _matching(
    entity: EntityDescription, schemas: Schemas, of: Matching, columns: str, lock: str, after: bool, named: bool
) -> str:
    """The next records that match, in the order of their ids, locked."""
    conditions = ["t.organization_id = e.organization_id", f"({of.condition})"]
    conditions += ["t.deleted_at is null"] if entity.soft_delete else []
    conditions += ["t.id > ($1->>'after')::uuid"] if after else []
    conditions += ["t.id = any (array(select jsonb_array_elements_text($1->'ids')::uuid))"] if named else []
    return (
        f"select {columns} from (select $2::uuid as organization_id) as e join {schemas.table(entity.table)} as t "
        f"on {' and '.join(conditions)} order by t.id limit ($1->>'limit')::integer for {lock} of t"
    )
