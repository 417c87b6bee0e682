"""The statements that read the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from freehold.model.description import EntityDescription
from freehold.model.shapes import Shape
from freehold.sql.identifiers import Schemas, literal, quoted
from freehold.sql.keys import compared
from freehold.sql.reads import row_json
from freehold.sql.statements import Arguments, Statement, in_context

__all__ = ["Wanted", "changes_statement", "clashes_statement", "version_statement"]


@dataclass(frozen=True)
class Wanted:
    """Which changes.

    Args:
        shapes: what of each entity's rows is told.
        record_id, actor_id, request_id: only of these, where given.
        before: only at earlier positions.
        limit: changes at most.
        gone: whether columns that are not there any more are told too.
    """

    shapes: Sequence[Shape]
    record_id: UUID | None
    actor_id: UUID | None
    request_id: str | None
    before: int | None
    limit: int
    gone: bool


def changes_statement(wanted: Wanted, schemas: Schemas) -> Statement:
    """Changes, newest first, each as a JSON object in column `j`."""
    arguments = Arguments()
    conditions = []
    if wanted.record_id is not None:
        conditions.append(f"l.record_id = {arguments.add(wanted.record_id, 'uuid')}")
    if wanted.actor_id is not None:
        conditions.append(f"l.actor_id = {arguments.add(wanted.actor_id, 'uuid')}")
    if wanted.request_id is not None:
        conditions.append(f"l.request_id = {arguments.add(wanted.request_id, 'text')}")
    if wanted.before is not None:
        conditions.append(f"l.position < {arguments.add(wanted.before, 'bigint')}")
    before, entity, changes = _of(wanted.shapes, arguments, schemas)
    found = (
        f"select l.*, {entity} as known from {schemas.own('log')} as l where {' and '.join([changes, *conditions])} "
        f"order by l.position desc limit {wanted.limit}"
    )
    told = (
        "select l.position, l.known as entity, l.record_id, l.action, l.version, "
        "l.at, l.actor_id, l.request_id, l.client_ip, l.user_agent, "
        f"{_rows(wanted, 'old', arguments, schemas)} as old, {_rows(wanted, 'new', arguments, schemas)} as new "
        f"from ({found}) as l order by l.position desc"
    )
    body = f"{before}select row_to_json(c) as j from ({told}) as c"
    return Statement(in_context(schemas, body), tuple(arguments.values))


def _of(shapes: Sequence[Shape], arguments: Arguments, schemas: Schemas) -> tuple[str, str, str]:
    """What stands before the statement, the name of a change's entity today, and the condition that it is one of these."""
    if len(shapes) == 1:
        return "", literal(shapes[0].entity.name), schemas.changes(shapes[0].entity)
    names = arguments.add([shape.entity.name for shape in shapes], "text[]")
    known = f"select n.name, k.alias, k.span from unnest({names}) as n (name) cross join lateral {schemas.own('names_of')}(n.name) as k"
    same = "from _known as k where k.alias = l.entity and coalesce(l.position <@ k.span, true)"
    condition = f"l.entity = any ((select array_agg(k.alias) from _known as k)::text[]) and exists (select {same})"
    return (
        f"with _known as materialized ({known}) ",
        f"(select k.name {same} limit 1)",
        f"l.organization_id = e.organization_id and l.kind = 'change' and {condition}",
    )


def _rows(wanted: Wanted, column: str, arguments: Arguments, schemas: Schemas) -> str:
    """A logged row, whatever its entity."""
    rows = {shape.entity.name: _row(shape, column, arguments, schemas, gone=wanted.gone) for shape in wanted.shapes}
    if len(rows) == 1:
        return next(iter(rows.values()))
    return f"case l.known {' '.join(f'when {literal(name)} then {row}' for name, row in rows.items())} end"


def _row(
    shape: Shape, column: str, arguments: Arguments, schemas: Schemas, *, gone: bool = False, exact: bool = True
) -> str:
    """A logged row as JSON, under the names that its columns have now. What they cannot hold is told as it is in the log.

    Args:
        gone: whether columns that are not there any more are told too, as an object under the name ''.
        exact: whether a value that a column could hold with a loss, such as fewer places, counts as one that it cannot hold.
    """
    # Through the row type, so that a value has the same JSON shape as in every other answer.
    row = row_json(shape, "r", arguments, schemas)
    table, relation = schemas.table(shape.entity.table), schemas.relation(shape.entity)
    names = ", ".join([literal(field.name) for field in shape.fields] + ([literal("")] if gone else []))
    older = f"l.position < {schemas.shaped(shape.entity)}"
    data = f"case when {older} then {schemas.own('renamed')}({relation}, l.position, l.{column}) else l.{column} end"
    unfit = f"case when {older} then {schemas.own('unfit')}(null::{table}, d.data, {literal(exact)}) else '{{}}' end"
    told = "u.data || jsonb_strip_nulls(jsonb_build_object('', d.data -> ''))" if gone else "u.data"
    odd = f"select jsonb_object_agg(o.key, o.value) from jsonb_each({told}) as o where o.key in ({names})"
    return (
        f"(select {row}::jsonb || coalesce(({odd}), '{{}}') from (select {data} as data offset 0) as d "
        f"cross join lateral (select {unfit} as data offset 0) as u "
        f"cross join lateral jsonb_populate_record(null::{table}, d.data - array(select jsonb_object_keys(u.data))) as r "
        f"where l.{column} is not null)"
    )


def version_statement(shape: Shape, id: UUID, version: int, schemas: Schemas) -> Statement:
    """A record as it was in a version, from the log: column `row`, and the names of the columns it had then in `had`."""
    arguments = Arguments()
    row = _row(shape, "new", arguments, schemas)
    renamed = f"{schemas.own('renamed')}({schemas.relation(shape.entity)}, l.position, l.new)"
    body = (
        f"select {row} as row, array(select jsonb_object_keys({renamed})) as had "
        f"from {schemas.own('log')} as l where {schemas.changes(shape.entity)} "
        f"and l.record_id = {arguments.add(id, 'uuid')} and l.version = {arguments.add(version, 'integer')} "
        "and l.new is not null order by l.position desc limit 1"
    )
    return Statement(in_context(schemas, body), tuple(arguments.values))


def clashes_statement(
    entity: EntityDescription, targets: Sequence[tuple[str, str]], id: UUID, payload: str, schemas: Schemas
) -> Statement:
    """What stands in the way of giving a record these values: a column for each reference and unique key, true where it does.

    Args:
        entity: of the record.
        targets: its references: (field, table).
        id: of the record.
        payload: the values as JSON.
        schemas: the names of the schemas.
    """
    arguments = Arguments()
    values = arguments.add(payload, "text")
    columns = [
        f"m.{quoted(field)} is not null and not exists (select from {schemas.table(table)} as o "
        f"where o.organization_id = t.organization_id and o.id = m.{quoted(field)}) as {quoted(field)}"
        for field, table in targets
    ]
    for name, key in entity.unique_keys.items():
        same = [f"{compared(key, 'o', field, schemas)} = {compared(key, 'm', field, schemas)}" for field in key.fields]
        for field, value in key.where.items():
            holds = "is null" if value is None else f"= {literal(value)}"
            same += [f"o.{quoted(field)} {holds}", f"m.{quoted(field)} {holds}"]
        alive = " and o.deleted_at is null" if entity.soft_delete else ""
        columns.append(
            f"exists (select from {schemas.table(entity.table)} as o where o.organization_id = t.organization_id "
            f"and o.id <> t.id and {' and '.join(same)}{alive}) as {quoted(name)}"
        )
    table = schemas.table(entity.table)
    body = (
        f"select {', '.join(columns) or 'true'} from {table} as t cross join lateral jsonb_populate_record(t.*, {values}::jsonb) as m "
        f"where t.organization_id = e.organization_id and t.id = {arguments.add(id, 'uuid')}"
    )
    return Statement(in_context(schemas, body), tuple(arguments.values))
