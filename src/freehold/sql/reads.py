"""The statements of reads. Each is one statement, whatever it includes.

Answers with relations, selections and answers that stay JSON are JSON that PostgreSQL made. Plain records come as rows of
columns: that is the faster way to objects (docs/decisions/rows-and-json.md).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.filters import EVERYTHING, Filter
from freehold.model.pages import Sort
from freehold.model.shapes import Included, Shape
from freehold.sql.filters import condition, joined, visible
from freehold.sql.found import found_rows
from freehold.sql.identifiers import Schemas, quoted
from freehold.sql.locks import Lock
from freehold.sql.statements import Arguments, Statement, in_context

__all__ = [
    "count_statement",
    "exists_statement",
    "get_rows_statement",
    "get_shape_statement",
    "get_statement",
    "json_columns",
    "list_rows_statement",
    "list_statement",
    "row_json",
    "shortened",
]


def row_json(shape: Shape, alias: str, arguments: Arguments, schemas: Schemas) -> str:
    """The expression for a row as a JSON object of the shape."""
    return f"(select row_to_json(_x) from (select {_brought(shape, alias, arguments, schemas)}) as _x)"


def _brought(shape: Shape, alias: str, arguments: Arguments, schemas: Schemas) -> str:
    """The columns of the shape."""
    columns = [json_columns(shape.fields, alias)] if shape.fields else []  # a table that was not there yet had none
    columns += [f"{_included(item, alias, arguments, schemas)} as {quoted(item.name)}" for item in shape.included]
    return ", ".join(columns)


@lru_cache(maxsize=4096)
def json_columns(fields: tuple[FieldDescription, ...], alias: str) -> str:
    """Columns in their JSON shapes, for a row that becomes a JSON object."""
    return ", ".join(
        f"{field.kind.as_json(f'{alias}.{quoted(field.name)}')} as {quoted(field.name)}" for field in fields
    )


def _included(item: Included, outer: str, arguments: Arguments, schemas: Schemas) -> str:
    target, inner = item.relation.target, arguments.alias()
    where = (
        f"from {schemas.rows(target)} as {inner} where {visible(target, inner)} and {joined(item.relation, outer, inner)} "
        f"and ({condition(item.condition, inner, arguments, schemas)})"
    )
    if item.count:
        return f"(select count(*) {where})"
    if not item.relation.many:
        return f"(select {row_json(item.shape, inner, arguments, schemas)} {where})"
    rows = arguments.alias()
    row = row_json(item.shape, rows, arguments, schemas)
    found = f"(select {inner}.* {where} order by {_order(item.sorts, inner)} limit {item.limit}) as {rows}"
    if item.most is None:
        return f"(select coalesce(json_agg({row}), '[]') from {found})"
    # The bytes so far are counted row by row, so that no more are made than may be answered. `offset 0` has each row made once.
    made = f"(select {row} as j from {found} offset 0) as _m"
    counted = f"(select _m.j, sum(octet_length(_m.j::text)) over (rows unbounded preceding) as size from {made}) as _c"
    within = f"_c.size <= {item.most} or {schemas.own('too_large')}({item.most})"
    return f"(select coalesce(json_agg(_c.j), '[]') from {counted} where {within})"


def get_statement(shape: Shape, ids: Sequence[UUID], schemas: Schemas, *, deleted: bool = False) -> Statement:
    """Some records by id, as one JSON array in column `rows` (null when there is none)."""
    return _by_id(shape, ids, schemas, deleted, as_json=True)


def get_rows_statement(
    shape: Shape, ids: Sequence[UUID], schemas: Schemas, *, deleted: bool = False, lock: Lock | None = None
) -> Statement:
    """Some records by id, a row of columns each."""
    return _by_id(shape, ids, schemas, deleted, as_json=False, lock=lock)


def get_shape_statement(shape: Shape, id: UUID, schemas: Schemas) -> Statement:
    """One record by id with what its shape brings: `version`, and `body`, its JSON object. See `action_call` for plain ones."""
    arguments = Arguments()
    found = f"{visible(shape.entity, 't')} and t.id = {arguments.add(id, 'uuid')}"
    row = row_json(shape, "t", arguments, schemas)
    body = f"select t.version, {row} as body from {schemas.rows(shape.entity)} as t where {found}"
    return Statement(in_context(schemas, body), tuple(arguments.values))


def _by_id(
    shape: Shape, ids: Sequence[UUID], schemas: Schemas, deleted: bool, *, as_json: bool, lock: Lock | None = None
) -> Statement:
    single = len(ids) == 1
    text = _by_id_text(shape, schemas, deleted, single=single, as_json=as_json, lock=lock)
    return Statement(text, (ids[0] if single else list(ids),))


@lru_cache(maxsize=4096)
def _by_id_text(
    shape: Shape, schemas: Schemas, deleted: bool, *, single: bool, as_json: bool, lock: Lock | None
) -> str:
    # One id has a text of its own: `= any` is planned anew for each call, because a short array looks cheaper than the average.
    found = "t.id = $3::uuid" if single else "t.id = any ($3::uuid[])"
    brought = (
        f"json_agg({row_json(shape, 't', Arguments(), schemas)}) as rows"
        if as_json
        else _plain_columns(shape.fields, "t")
    )
    where = f"{visible(shape.entity, 't', deleted=deleted)} and {found}"
    body = f"select {brought} from {schemas.rows(shape.entity)} as t where {where}"
    if (
        lock is not None
    ):  # in the order of the ids, so that two that lock the same records wait for each other in one direction only
        body = _locked(f"{body} order by t.id", lock)
    return in_context(schemas, body)


def _locked(select: str, lock: Lock) -> str:
    """A select whose rows are locked, as one that can be given a limit."""
    return f"select t.* from ({select}{lock.clause}) as t"


@lru_cache(maxsize=4096)
def _plain_columns(fields: tuple[FieldDescription, ...], alias: str) -> str:
    return ", ".join(f"{alias}.{quoted(field.name)}" for field in fields)


def count_statement(
    entity: EntityDescription, filter_: Filter, schemas: Schemas, *, search: str | None = None, deleted: bool = False
) -> Statement:
    """The number of matching records, in column `count`."""
    arguments = Arguments()
    found = found_rows(entity, search, arguments, schemas)
    where = f"{_matching(entity, filter_, arguments, schemas, deleted)} and {found.every}"
    return Statement(in_context(schemas, f"select count(*) as count {where}"), tuple(arguments.values))


def exists_statement(
    entity: EntityDescription, filter_: Filter, schemas: Schemas, *, deleted: bool = False
) -> Statement:
    """Whether a record matches, in column `found`."""
    arguments = Arguments()
    where = _matching(entity, filter_, arguments, schemas, deleted)
    # Not `exists`, which has no order: its plan may look for the organization among all rows of all others, and is quick only
    # where many are its own. In the order of the primary key the rows are those of the organization.
    body = f"select (select true {where} order by t.id limit 1) is not null as found"
    return Statement(in_context(schemas, body), tuple(arguments.values))


def list_statement(
    shape: Shape,
    filter_: Filter,
    sorts: Sequence[Sort],
    limit: int,
    schemas: Schemas,
    *,
    search: str | None = None,
    start: Sequence[Any] | None = None,
    backward: bool = False,
    total: bool = False,
    deleted: bool = False,
    lock: Lock | None = None,
) -> Statement:
    """One page and, if there is one, the row beyond it, each as JSON; in reversed order where it is read backward.

    Columns: `j`, the row as a JSON object; `k`, a JSON array of its order fields, where the shape leaves one of them out; and
    `total`, where it was asked for: then there is always a row, with null in `j` where the page is empty.

    Args:
        shape: what each row brings.
        filter_: which rows.
        sorts: the order; ends in the id.
        search: only rows that this search finds.
        limit: rows of the page. It stands in the text, because a plan for an unknown limit is a bad one.
        start: the order fields of the row after (or before) which the page begins.
        backward: whether the page lies before `start`.
        total: whether to count all that match.
        deleted: whether deleted rows are in.
        lock: locks the rows of the page. The one beyond it is not read then, and does not go with a search or a total.
    """
    return _page(shape, filter_, sorts, limit, schemas, search, start, backward, total, deleted, lock, as_json=True)


def shortened(statement: Statement, most: int) -> Statement:
    """A `list_statement` whose page ends with the row by which its JSON has so many bytes; it has one row at least.

    Args:
        statement: without a total.
        most: bytes.
    """
    counted = (
        f"select q.*, sum(octet_length(q.j::text)) over (rows unbounded preceding) as size from ({statement.text}) as q"
    )
    text = f"select c.* from ({counted}) as c where c.size - octet_length(c.j::text) < {most}"
    return Statement(text, statement.arguments)


def list_rows_statement(
    shape: Shape,
    filter_: Filter,
    sorts: Sequence[Sort],
    limit: int,
    schemas: Schemas,
    *,
    search: str | None = None,
    start: Sequence[Any] | None = None,
    backward: bool = False,
    total: bool = False,
    deleted: bool = False,
    lock: Lock | None = None,
) -> Statement:
    """The same as `list_statement`, but as rows of columns. An empty page with a total is a row of nulls and the total."""
    return _page(shape, filter_, sorts, limit, schemas, search, start, backward, total, deleted, lock, as_json=False)


def _page(
    shape: Shape,
    filter_: Filter,
    sorts: Sequence[Sort],
    limit: int,
    schemas: Schemas,
    search: str | None,
    start: Sequence[Any] | None,
    backward: bool,
    total: bool,
    deleted: bool,
    lock: Lock | None,
    *,
    as_json: bool,
) -> Statement:
    if shape.plain and start is None and search is None and lock is None and filter_ == EVERYTHING:
        return _first_page(shape, tuple(sorts), limit, schemas, backward, total, deleted, as_json)
    return _listed(
        shape, filter_, sorts, limit, schemas, search, start, backward, total, deleted, lock, as_json=as_json
    )


@lru_cache(maxsize=4096)
def _first_page(
    shape: Shape,
    sorts: tuple[Sort, ...],
    limit: int,
    schemas: Schemas,
    backward: bool,
    total: bool,
    deleted: bool,
    as_json: bool,
) -> Statement:
    """The usual page: its text is built once."""
    return _listed(
        shape, EVERYTHING, sorts, limit, schemas, None, None, backward, total, deleted, None, as_json=as_json
    )


def _listed(
    shape: Shape,
    filter_: Filter,
    sorts: Sequence[Sort],
    limit: int,
    schemas: Schemas,
    search: str | None,
    start: Sequence[Any] | None,
    backward: bool,
    total: bool,
    deleted: bool,
    lock: Lock | None,
    *,
    as_json: bool,
) -> Statement:
    entity, arguments = shape.entity, Arguments()
    ways, found = _ways(sorts, backward), found_rows(entity, search, arguments, schemas)
    where = _matching(entity, filter_, arguments, schemas, deleted)
    stretches = () if start is None else _stretches(ways, start, arguments)
    columns = "t.*" if as_json else _plain_columns(shape.fields, "t")
    order, merged = _order(ways, "t"), _order(ways, "t", indexed=False)
    if lock is None:
        body = found.page(f"select {columns} {where}", order, limit + 1, stretches, merged=merged)
    else:  # rows of a union cannot be locked, and one beyond the page is not to be
        beyond = [" or ".join(f"({stretch})" for stretch in stretches)] if stretches else ()
        body = _locked(found.page(f"select {columns} {where}", order, limit, beyond, merged=merged), lock)
    if as_json:
        body = _as_json(shape, ways, body, arguments, schemas)
    if total:
        counted = (
            f"select count(*) as total {_matching(entity, filter_, arguments, schemas, deleted)} and {found.every}"
        )
        body = f"select p.*, c.total from ({counted}) as c left join lateral ({body}) as p on true"
    return Statement(in_context(schemas, found.before + body), tuple(arguments.values))


def _as_json(shape: Shape, ways: Sequence[Sort], body: str, arguments: Arguments, schemas: Schemas) -> str:
    """The rows of a select as JSON objects, and their order fields where the objects do not tell them."""
    if shape.tells(ways):
        # Whole rows made JSON at once: a subselect for each row takes a tenth longer.
        return f"select row_to_json(_x) as j from (select {_brought(shape, 't', arguments, schemas)} from ({body}) as t) as _x"
    row = f"{row_json(shape, 't', arguments, schemas)} as j"
    keys = ", ".join(sort.field.kind.as_json(f"t.{quoted(sort.field.name)}") for sort in ways)
    return f"select {row}, json_build_array({keys}) as k from ({body}) as t"


def _ways(sorts: Sequence[Sort], backward: bool) -> list[Sort]:
    """The order in which a page is read."""
    return [Sort(sort.field, sort.descending != backward, sort.nulls_first != backward) for sort in sorts]


def _matching(entity: EntityDescription, filter_: Filter, arguments: Arguments, schemas: Schemas, deleted: bool) -> str:
    return (
        f"from {schemas.rows(entity)} as t where {visible(entity, 't', deleted=deleted)} "
        f"and ({condition(filter_, 't', arguments, schemas)})"
    )


def _order(sorts: Sequence[Sort], alias: str, *, indexed: bool = True) -> str:
    """An order, by the columns that indexes have; otherwise by the fields' own."""

    def one(sort: Sort) -> str:
        direction = " desc" if sort.descending else ""
        # PostgreSQL's default is nulls as the highest; said only where it differs, so that plain indexes serve.
        nulls = (
            ""
            if sort.nulls_first == sort.descending or not sort.field.nullable
            else f" nulls {'first' if sort.nulls_first else 'last'}"
        )
        column = sort.field.index_column if indexed else sort.field.name
        return f"{alias}.{quoted(column)}{direction}{nulls}"

    return ", ".join(map(one, sorts))


def _stretches(sorts: Sequence[Sort], start: Sequence[Any], arguments: Arguments) -> Sequence[str]:
    """The conditions of which one holds for each row that comes after the start in the order.

    Where all fields have one direction and only the first may be null, each of them is a stretch of an index: rows with the
    first field and rows without it lie apart there, and one condition for both would read all that lies before the start.
    """
    first, rest = sorts[0], sorts[1:]
    if len({sort.descending for sort in sorts}) > 1 or any(sort.field.nullable for sort in rest):
        return [_beyond(sorts, start, arguments)]
    column = f"t.{quoted(first.field.index_column)}"
    if start[0] is None:
        behind = [f"{column} is not null"] if first.nulls_first else []
        return [f"{column} is null and {_after(rest, start[1:], arguments)}", *behind]
    # A comparison with a null is not true: the nulls are left out of it.
    behind = [f"{column} is null"] if first.field.nullable and not first.nulls_first else []
    return [_after(sorts, start, arguments), *behind]


def _after(sorts: Sequence[Sort], start: Sequence[Any], arguments: Arguments) -> str:
    """One comparison of all fields, which have one direction (seek method: use-the-index-luke.com/no-offset)."""
    columns = ", ".join(f"t.{quoted(sort.field.index_column)}" for sort in sorts)
    values = ", ".join(_value(sort, value, arguments) for sort, value in zip(sorts, start, strict=True))
    return f"({columns}) {'<' if sorts[0].descending else '>'} ({values})"


def _beyond(sorts: Sequence[Sort], start: Sequence[Any], arguments: Arguments) -> str:
    """The condition that a row comes after the start, whatever the directions and wherever nulls are."""
    columns = [f"t.{quoted(sort.field.index_column)}" for sort in sorts]
    # Beyond in the first field, or equal there and beyond in the second, and so on; built from
    # the last field, so that only values that the text names become arguments.
    beyond: str | None = None
    for sort, column, value in reversed(list(zip(sorts, columns, start, strict=True))):
        further = _further(sort, column, value, arguments)
        if beyond is not None:
            equal = f"{column} is null" if value is None else f"{column} = {_value(sort, value, arguments)}"
            beyond = f"{equal} and ({beyond})" if further is None else f"{further} or {equal} and ({beyond})"
        else:
            beyond = further
    first, leading = sorts[0], ""
    if start[0] is not None and not (first.field.nullable and not first.nulls_first):
        # Implied by the rest, and what lets an index start at the right place.
        operator = "<=" if first.descending else ">="
        leading = f"{columns[0]} {operator} {_value(first, start[0], arguments)} and "
    return f"{leading}({beyond or 'false'})"


def _further(sort: Sort, column: str, value: Any, arguments: Arguments) -> str | None:
    """The condition that one field lies beyond a value in its direction; None where nothing can."""
    if value is None:
        return f"{column} is not null" if sort.nulls_first else None
    beyond = f"{column} {'<' if sort.descending else '>'} {_value(sort, value, arguments)}"
    return f"({beyond} or {column} is null)" if sort.field.nullable and not sort.nulls_first else beyond


def _value(sort: Sort, value: Any, arguments: Arguments) -> str:
    """The value of an order field as an argument, in the form of the column that the order uses."""
    key = sort.field.index_key
    return arguments.add(key.at_most(value), key.sql) if key else arguments.add(value, sort.field.kind.sql_type)
