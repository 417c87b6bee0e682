"""The generated functions of each entity, and the policies, triggers and grants of its table.

Each write is one call: it enters the context, changes one record, and answers with what the record is now. What is
expected to happen (the version has moved on, the record is not there) is an answer, not an exception, so that no
record's content gets into the server's log of errors.

Names: a function answers with columns that are called like the fields, and PL/pgSQL makes a variable of each. A field may be
called like anything in a function's body, such as `found`, `t` or `select`. So a body follows these rules:
- It writes to those variables by their numbers, `$4`. Its own variables begin with an underscore, which fields cannot.
- Each column is written with its table's alias: PL/pgSQL takes a word with a point for no scalar variable.
- It does not read FOUND, which a field may hide. A statement returns `true` for that.
- It has no statement with a keyword of PL/pgSQL that is not reserved in its midst (`get diagnostics`, `#variable_conflict`):
  PL/pgSQL looks such a word up among the variables first. At the beginning of a statement it does not.
- A row as a whole is `t.*`: `t` alone could be a column.

Concurrency: an update or delete names the version it expects in its WHERE clause. Two that race serialise on the row's
lock; the second one re-evaluates the clause on the new row (READ COMMITTED), matches nothing, and answers with the
conflict. So of all writers that read one version, exactly one succeeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from freehold.engine.blocks import Roles
from freehold.engine.counters import counter_objects
from freehold.engine.increments import INCREMENT, increment_function
from freehold.engine.references import reference_objects
from freehold.engine.search import search_objects
from freehold.engine.tables import declared_default
from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.registry import Registry
from freehold.sql.identifiers import Schemas, literal, quoted
from freehold.sql.reads import json_columns

__all__ = ["action_call", "entity_function", "entity_function_name", "entity_objects", "entity_parts", "function_drops"]


def entity_function(schemas: Schemas, entity: EntityDescription, action: str) -> str:
    """The quoted name of the function that does an action on an entity: get, create, update, delete, restore, purge, or
    each of these but get for all records of a unit of work, such as create_all."""
    return schemas.own(entity_function_name(entity, action))


def entity_function_name(entity: EntityDescription, action: str) -> str:
    """The same without its schema."""
    return f"{entity.table}_{action}"


@lru_cache(maxsize=4096)
def action_call(entity: EntityDescription, schemas: Schemas, action: str, *, as_json: bool = False) -> str:
    """The statement that calls an entity's function: its public fields as columns, after the outcome of a change.

    The columns are named, so that this release's code goes on while the next release's functions, which may answer with
    more of them, are there already.

    Args:
        entity: whose.
        schemas: the names.
        action: get, create, update, delete, restore or purge.
        as_json: the record is one column `body`, a JSON object, beside `id`, `version` and, of a write, `position`: the number
            of its transaction.
    """
    taken = {"get": 3, "create": 3, "update": 5}.get(action, 4)
    outcome = "" if action in ("get", "create") else "t._outcome, "
    parameters = ", ".join(f"${number}" for number in range(1, taken + 1))
    columns = _names(entity.public, "t.")
    if as_json:
        # The row of the function made JSON outside of it costs no more than a function that answers with JSON.
        body = f"(select row_to_json(_x) from (select {json_columns(entity.public, 't')}) as _x) as body"
        position = "" if action == "get" else ", pg_current_xact_id_if_assigned() as position"
        columns = f"t.id, t.version, {body}{position}"
    return f"select {outcome}{columns} from {entity_function(schemas, entity, action)}({parameters}) as t"


def entity_objects(entity: EntityDescription, schemas: Schemas, roles: Roles, registry: Registry) -> list[str]:
    """The statements that make all derived objects of an entity, in order; each can be repeated.

    Args:
        entity: whose.
        schemas, roles: the names.
        registry: the declarations.
    """
    return [statement for part in entity_parts(entity, schemas, roles, registry).values() for statement in part]


def entity_parts(entity: EntityDescription, schemas: Schemas, roles: Roles, registry: Registry) -> dict[str, list[str]]:
    """The same by what they make, in this order. The first, isolation, takes the table for itself."""
    return {
        "isolation": _isolation(entity, schemas),
        "privileges": _privileges(entity, schemas, roles),
        "triggers": _triggers(entity, schemas),
        "references": reference_objects(entity, schemas, registry),
        "search": search_objects(entity, schemas),
        "counters": counter_objects(entity, schemas, registry.counters_of(entity)),
        "functions": _functions(entity, schemas, roles),
    }


def _functions(entity: EntityDescription, schemas: Schemas, roles: Roles) -> list[str]:
    statements = [*function_drops(entity, schemas), _get(entity, schemas), _create(entity, schemas)]
    statements.append(_create_all(entity, schemas))
    for change in _changes(entity, schemas):
        statements += [_change(entity, schemas, change), _change_all(entity, schemas, change)]
    if entity.incrementable:
        statements.append(increment_function(entity, schemas))
    return [*statements, *_function_grants(entity, schemas, roles)]


@dataclass(frozen=True)
class _Change:
    """What an action does to a record.

    Args:
        action: its name.
        sets: what it sets besides the bookkeeping; None where it removes the record.
        guard: the condition on a record `t` that it needs, besides the expected version.
        patched: whether it takes changes of fields.
        many_patched: whether it does where it is about many records.
    """

    action: str
    sets: str | None
    guard: str
    patched: bool = False
    many_patched: bool = False


def _changes(entity: EntityDescription, schemas: Schemas) -> list[_Change]:
    """The actions on records that are there, by what the entity allows."""
    alive = "t.deleted_at is null" if entity.soft_delete else "true"
    found = []
    if entity.changeable:
        found.append(_Change("update", None, alive, patched=True, many_patched=True))
    if not entity.soft_delete:
        return [*found, _Change("delete", None, "true")]
    return [
        *found,
        _Change("delete", f"deleted_at = {schemas.own('now')}()", alive),
        # Of a unit of work: a record that is restored and changed in it changes once.
        _Change("restore", "deleted_at = null", "t.deleted_at is not null", many_patched=bool(entity.changeable)),
        _Change("purge", None, "true"),
    ]


def _isolation(entity: EntityDescription, schemas: Schemas) -> list[str]:
    table = schemas.table(entity.table)
    owned = f"organization_id = (select {schemas.own('organization_id')}())"
    return [
        f"alter table {table} enable row level security",
        f"alter table {table} force row level security",
        f"drop policy if exists tenant on {table}",
        f"create policy tenant on {table} using ({owned}) with check ({owned})",
    ]


def _privileges(entity: EntityDescription, schemas: Schemas, roles: Roles) -> list[str]:
    table, application = schemas.table(entity.table), quoted(roles.application)
    # The keys and who made a record never change: no statement could, by mistake or not, move it or escape the log.
    fixed = {"organization_id", "id", "created_at", "created_by"}
    written = [name for name in entity.fields if name not in entity.counters]
    columns = ", ".join(quoted(name) for name in written if name not in fixed)
    # A counter is the database's alone: a new row begins with none.
    insert = f"insert ({', '.join(map(quoted, written))})" if entity.counters else "insert"
    return [
        f"revoke all on {table} from public, {application}",
        f"grant select, {insert}, delete, update ({columns}) on {table} to {application}",
    ]


def _triggers(entity: EntityDescription, schemas: Schemas) -> list[str]:
    table, name = schemas.table(entity.table), literal(entity.name)
    hidden = "".join(f", {literal(key.column)}" for key in entity.index_keys)
    removal = literal("purge" if entity.soft_delete else "delete")
    update = "log_update_soft" if entity.soft_delete else "log_update"
    return [
        f"create or replace trigger log_create after insert on {table} referencing new table as new_rows "
        f"for each statement execute function {schemas.own('log_create')}({name}{hidden})",
        f"create or replace trigger log_update after update on {table} referencing old table as old_rows new table as new_rows "
        f"for each statement execute function {schemas.own(update)}({name}{hidden})",
        f"create or replace trigger log_delete after delete on {table} referencing old table as old_rows "
        f"for each statement execute function {schemas.own('log_delete')}({name}, {removal}{hidden})",
        f"select {schemas.own('note_entities')}()",
    ]


def _names(fields: Sequence[FieldDescription], prefix: str = "") -> str:
    return ", ".join(prefix + quoted(field.name) for field in fields)


def _answer(entity: EntityDescription) -> str:
    """The parameters in which a function answers with a record: its public fields."""
    return ", ".join(f"out {quoted(field.name)} {_type(field)}" for field in entity.public)


def _answered(entity: EntityDescription, before: int) -> str:
    """The same parameters by their numbers, where so many parameters stand before them."""
    return ", ".join(f"${number}" for number, _ in enumerate(entity.public, before + 1))


def _type(field: FieldDescription) -> str:
    return "integer" if field.base and field.name == "version" else field.sql_type


def _get(entity: EntityDescription, schemas: Schemas) -> str:
    """A record by id; all its fields are null where it is not there.

    The call that is made most: as a function it takes less of the server than as a statement (docs/decisions/one-message.md).
    """
    alive = " and t.deleted_at is null" if entity.soft_delete else ""
    return f"""
create function {entity_function(schemas, entity, "get")}(uuid, text, uuid, {_answer(entity)})
language plpgsql volatile parallel unsafe as $freehold$
declare _entered uuid := {schemas.own("enter")}($1, $2);
begin
    select {_names(entity.public, "t.")} into {_answered(entity, 3)} from {schemas.table(entity.table)} as t
    where t.organization_id = $1 and t.id = $3{alive};
end $freehold$"""


def _create(entity: EntityDescription, schemas: Schemas) -> str:
    now = f"{schemas.own('now')}()"
    given = ", ".join(_given(field, "$3") for field in entity.given)
    return f"""
create function {entity_function(schemas, entity, "create")}(uuid, text, jsonb, {_answer(entity)})
language plpgsql volatile parallel unsafe as $freehold$
declare _entered uuid := {schemas.own("enter")}($1, $2); _actor uuid := {schemas.own("actor_id")}();
begin
    insert into {schemas.table(entity.table)} as t
        (organization_id, id, version, created_at, created_by, updated_at, updated_by, {_names(entity.given)})
    select $1, coalesce(r.id, {schemas.own("new_id")}()), 1, {now}, _actor, {now}, _actor, {given}
    from jsonb_populate_record(null::{schemas.table(entity.table)}, $3) as r
    returning {_names(entity.public, "t.")} into {_answered(entity, 3)};
end $freehold$"""


def _given(field: FieldDescription, payload: str) -> str:
    """What a new row has: the payload's value, or the default where the release that made the payload did not know the field."""
    column, default = quoted(field.name), declared_default(field)
    if default is None:
        return f"r.{column}"
    return f"case when {payload} ? {literal(field.name)} then r.{column} else {default} end"


def _patch(entity: EntityDescription, patch: str) -> str:
    """Sets all changeable columns: to what the patch says, or to what they are."""
    columns = _names(entity.changeable)
    return f"({columns}) = (select {_names(entity.changeable, 'r.')} from jsonb_populate_record(t.*, {patch}) as r)"


def _bookkeeping(schemas: Schemas) -> str:
    return f"version = t.version + 1, updated_at = {schemas.own('now')}(), updated_by = {schemas.own('actor_id')}()"


def _change(entity: EntityDescription, schemas: Schemas, change: _Change) -> str:
    """A function that changes one record of an expected version, or removes it.

    It answers `done` with the record as it is now (or, where it is gone, as it was); `conflict` with the current record;
    `state` where the record is deleted (or, for restore, is not); or `absent`.
    """
    table, guard = schemas.table(entity.table), change.guard
    expected = f"t.organization_id = $1 and t.id = $3 and t.version = $4 and {guard}"
    sets = _patch(entity, "$5") if change.patched else change.sets
    statement = (
        f"delete from {table} as t" if sets is None else f"update {table} as t set {sets}, {_bookkeeping(schemas)}"
    )
    before, after = _following(entity, schemas, change, expected, "array[$3]")
    answered = _answered(entity, 6 if change.patched else 5)
    return f"""
create function {entity_function(schemas, entity, change.action)}
    (uuid, text, uuid, integer{", jsonb" if change.patched else ""}, out _outcome text, {_answer(entity)})
language plpgsql volatile parallel unsafe as $freehold$
declare _found boolean; _in_state boolean; _ids uuid[]; _moments timestamptz[]; _entered uuid := {schemas.own("enter")}($1, $2);
begin
    {before}
    {statement} where {expected} returning true, {_names(entity.public, "t.")} into _found, {answered};
    if _found then
        _outcome := 'done';
        {after}
        return;
    end if;
    select true, {guard}, {_names(entity.public, "t.")} into _found, _in_state, {answered}
    from {table} as t where t.organization_id = $1 and t.id = $3;
    _outcome := case when _found is null then 'absent' when not _in_state then 'state' else 'conflict' end;
end $freehold$"""


def _following(
    entity: EntityDescription, schemas: Schemas, change: _Change, expected: str, ids: str, into: str = "perform "
) -> tuple[str, str]:
    """What is done before and after a change for the records that refer to what is deleted or restored."""
    table = f"{literal(schemas.table(entity.table))}::regclass"
    deletion = f"{schemas.own('follow_deletion')}($1, {table}"
    if change.action == "update":
        return "", ""
    selected = f"from {schemas.table(entity.table)} as t where {expected} for update"
    if change.action == "restore":
        found = f"select array_agg(o.id), array_agg(o.deleted_at) into _ids, _moments from (select t.id, t.deleted_at {selected}) as o;"
        return found, f"{into}{schemas.own('follow_restoration')}($1, {table}, _ids, _moments);"
    if change.sets is not None:
        return "", f"{into}{deletion}, {ids}, true);"
    return (
        f"""if exists (select from {schemas.own("references_to")}({table})) then
        select array_agg(o.id) into _ids from (select t.id {selected}) as o;
        if _ids is not null then
            {into}{deletion}, _ids, false);
        end if;
    end if;""",
        "",
    )


def _create_all(entity: EntityDescription, schemas: Schemas) -> str:
    """Inserts the records of a unit of work; each payload has the same keys."""
    now = f"{schemas.own('now')}()"
    table = schemas.table(entity.table)
    given = ", ".join(_given(field, "($2->0)") for field in entity.given)
    return f"""
create function {entity_function(schemas, entity, "create_all")}(uuid, jsonb) returns jsonb
language plpgsql volatile parallel unsafe as $freehold$
declare _actor uuid := {schemas.own("actor_id")}();
begin
    insert into {table} as t
        (organization_id, id, version, created_at, created_by, updated_at, updated_by, {_names(entity.given)})
    select $1, r.id, 1, {now}, _actor, {now}, _actor, {given}
    from jsonb_populate_recordset(null::{table}, $2) as r;
    return null;
end $freehold$"""


def _change_all(entity: EntityDescription, schemas: Schemas, change: _Change) -> str:
    """Changes the records of a unit of work, each of its expected version: all, or it fails. Answers what it touched besides.

    Locked in the order of their ids, so that two units of work that meet wait for each other and do not deadlock.
    """
    table = schemas.table(entity.table)
    source = "jsonb_to_recordset($2) as s (id uuid, version integer, changes jsonb)"
    expected = f"t.organization_id = $1 and t.id = s.id and t.version = s.version and {change.guard}"
    sets = ", ".join(
        part for part in (change.sets, _patch(entity, "s.changes") if change.many_patched else None) if part
    )
    if sets:
        statement = f"update {table} as t set {sets}, {_bookkeeping(schemas)} from {source} where {expected}"
    else:
        statement = f"delete from {table} as t using {source} where {expected}"
    among = f"(t.id, t.version) in (select s.id, s.version from {source})"
    before, after = _following(
        entity,
        schemas,
        change,
        f"t.organization_id = $1 and {change.guard} and {among}",
        "array(select (s.value->>'id')::uuid from jsonb_array_elements($2) as s)",
        into="_touched := ",
    )
    return f"""
create function {entity_function(schemas, entity, f"{change.action}_all")}(uuid, jsonb) returns jsonb
language plpgsql volatile parallel unsafe as $freehold$
declare _done integer; _ids uuid[]; _moments timestamptz[]; _touched jsonb;
begin
    if jsonb_array_length($2) > 1 then
        perform from {table} as t where t.organization_id = $1 and t.id in (select s.id from {source}) order by t.id for no key update;
    end if;
    {before}
    {statement};
    get diagnostics _done = row_count;
    if _done < jsonb_array_length($2) then
        raise exception 'a record is not as expected' using errcode = 'FH201';
    end if;
    {after}
    return _touched;
end $freehold$"""


def _signatures(entity: EntityDescription, schemas: Schemas) -> list[str]:
    """The functions of an entity, with the types of what they take."""
    taken = {"get": "uuid, text, uuid", "create": "uuid, text, jsonb", "create_all": "uuid, jsonb"}
    for change in _changes(entity, schemas):
        taken[change.action] = "uuid, text, uuid, integer" + (", jsonb" if change.patched else "")
        taken[f"{change.action}_all"] = "uuid, jsonb"
    if entity.incrementable:
        taken["increment"] = INCREMENT
    return [f"{entity_function(schemas, entity, action)}({types})" for action, types in taken.items()]


def function_drops(entity: EntityDescription, schemas: Schemas) -> list[str]:
    """What a function answers cannot be replaced: the columns may differ from the last time."""
    return [f"drop function if exists {signature}" for signature in _signatures(entity, schemas)]


def _function_grants(entity: EntityDescription, schemas: Schemas, roles: Roles) -> list[str]:
    statements = []
    for signature in _signatures(entity, schemas):
        statements += [
            f"revoke all on function {signature} from public",
            f"grant execute on function {signature} to {quoted(roles.application)}",
        ]
    return statements
