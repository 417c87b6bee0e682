"""What keeps declared counters: triggers on the table whose records are counted.

The triggers count what happens from their transaction on. The rows that are there before are counted afterwards, in steps
(`freehold.engine.reconcile`); a setting notes which declarations have been counted.

They are statement triggers with transition tables: a statement changes each record's counter once, however many rows it
is about. Counters are locked in the order of their records' ids, so that statements that meet wait for each other and do
not deadlock. The functions run as the owner, because the application role may not write a counter, and under the row-level
security of the context that the statement has.

The triggers come after those of the log, by their names: where an entity counts its own records, the change of the record is
logged before that of its counter.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from freehold.model.counters import Counter
from freehold.model.description import EntityDescription
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = ["Counts", "counter_drops", "counter_objects", "declared", "setting"]

_EVENTS = {
    "create": ("insert", "referencing new table as new_rows"),
    "update": ("update", "referencing old table as old_rows new table as new_rows"),
    "delete": ("delete", "referencing old table as old_rows"),
}
_ROWS = {"create": ("new",), "update": ("new", "old"), "delete": ("old",)}
_HEAD = "language plpgsql security definer set search_path = pg_catalog, pg_temp as $freehold$"


def counter_objects(entity: EntityDescription, schemas: Schemas, counters: Sequence[Counter]) -> list[str]:
    """The statements that have an entity's records counted, or that they are not any more; each can be repeated.

    Args:
        entity: whose records are counted.
        schemas: the names of the schemas.
        counters: which count them.
    """
    if not counters:
        noted = literal(setting(entity))
        return [*counter_drops(entity, schemas), f"delete from {schemas.own('settings')} where name = {noted}"]
    table = schemas.table(entity.table)
    statements = []
    for event, (change, rows) in _EVENTS.items():
        function = _function(entity, schemas, event)
        statements += [
            f"create or replace function {function}() returns trigger {_HEAD}{_tally(schemas, counters, event)}",
            f"create or replace trigger tally_{event} after {change} on {table} {rows} for each statement execute function {function}()",
            f"revoke all on function {function}() from public",
        ]
    earlier = f"drop function if exists {_function(entity, schemas, 'recount')}()"  # an earlier release counted by it
    return [*statements, earlier, _begun(entity, schemas, counters)]


def setting(entity: EntityDescription) -> str:
    """The name of the setting that notes the counters of an entity's records."""
    return f"counters.{entity.name}"


def declared(entity: EntityDescription, counters: Sequence[Counter]) -> str:
    """What the setting says once all rows are counted: where it says anything else, the rows are to be counted anew."""
    return json.dumps([[c.name, c.reference.name, list(c.where.items()), entity.soft_delete] for c in counters])


def counter_drops(entity: EntityDescription, schemas: Schemas) -> list[str]:
    """The statement that ends the counting of an entity's records, with its triggers; its table may be gone already."""
    functions = ", ".join(f"{_function(entity, schemas, event)}()" for event in (*_EVENTS, "recount"))
    return [f"drop function if exists {functions} cascade"]


@dataclass(frozen=True)
class Counts:
    """The numbers that the counters of one entity should have, for a few records of one organization.

    Each counted table is read once for each reference: a group for each record, and a filtered count for each counter.

    Args:
        counters: of one entity.
        schemas: the names of the schemas.
    """

    counters: Sequence[Counter]
    schemas: Schemas

    @property
    def columns(self) -> str:
        """What each counter `k0, k1, ...` of the record `t` says, and what `c0, c1, ...` there is."""
        return "".join(
            f", t.{quoted(each.field.name)} as k{place}, coalesce(_c{place}, 0) as c{place}"
            for place, each in enumerate(self.counters)
        )

    @property
    def source(self) -> str:
        """The records `t` with their groups. `$1` is the organization, `$2` the array of the records' ids."""
        joins = "".join(f" left join ({text}) as g{place} on g{place}.id = t.id" for place, text in self._groups())
        table = self.schemas.table(self.counters[0].entity.table)
        return f"{table} as t{joins} where t.organization_id = $1 and t.id = any ($2)"

    def _groups(self) -> Iterator[tuple[int, str]]:
        keys = dict.fromkeys((each.counted.table, each.reference.name) for each in self.counters)
        for number, (table, reference) in enumerate(keys):
            counts = "".join(
                f", count(*) filter (where {_counts(each, 'r')}) as _c{place}"
                for place, each in enumerate(self.counters)
                if (each.counted.table, each.reference.name) == (table, reference)
            )
            column = f"r.{quoted(reference)}"
            yield (
                number,
                f"select {column} as id{counts} from {self.schemas.table(table)} as r "
                f"where r.organization_id = $1 and {column} = any ($2) group by {column}",
            )


def _function(entity: EntityDescription, schemas: Schemas, event: str) -> str:
    return schemas.own(f"{entity.table}_tally_{event}")


def _counts(counter: Counter, row: str) -> str:
    """The condition that a row counts."""
    conditions = ["true"] if not counter.counted.soft_delete else [f"{row}.deleted_at is null"]
    for name, value in counter.where.items():
        conditions.append(f"{row}.{quoted(name)} " + ("is null" if value is None else f"= {literal(value)}"))
    return " and ".join(conditions[1:] if conditions[0] == "true" and len(conditions) > 1 else conditions)


def _by_entity(counters: Sequence[Counter]) -> dict[str, list[Counter]]:
    """The counters of each entity that has some, by its table."""
    groups: dict[str, list[Counter]] = {}
    for counter in counters:
        groups.setdefault(counter.entity.table, []).append(counter)
    return groups


def _tally(schemas: Schemas, counters: Sequence[Counter], event: str) -> str:
    """The body of a trigger's function."""
    groups = _by_entity(counters)
    most = max(map(len, groups.values()))
    changes = "\n".join(f"    _c{place} bigint[];" for place in range(most))
    parts = "".join(_tally_entity(schemas, table, group, event) for table, group in groups.items())
    return f"""
declare
    _organizations uuid[];
    _ids uuid[];
{changes}
begin{parts}
    return null;
end $freehold$"""


def _tally_entity(schemas: Schemas, name: str, counters: Sequence[Counter], event: str) -> str:
    """Adds what a statement changed to the counters of one entity's records."""
    table, numbers = schemas.table(name), range(len(counters))
    terms = " union all\n            ".join(
        _term(counters, reference, row)
        for row in _ROWS[event]
        for reference in dict.fromkeys(c.reference.name for c in counters)
    )
    summed = ", ".join(f"sum(u.c{place})::bigint as c{place}" for place in numbers)
    some = " or ".join(f"sum(u.c{place}) <> 0" for place in numbers)
    aggregated = "".join(f", array_agg(s.c{place} order by s.organization_id, s.id)" for place in numbers)
    into = "".join(f", _c{place}" for place in numbers)
    sets = ", ".join(
        f"{quoted(c.field.name)} = t.{quoted(c.field.name)} + d.c{place}" for place, c in enumerate(counters)
    )
    columns = "".join(f", c{place}" for place in numbers)
    return f"""
    select array_agg(s.organization_id order by s.organization_id, s.id), array_agg(s.id order by s.organization_id, s.id){aggregated}
    into _organizations, _ids{into} from (
        select u.organization_id, u.id, {summed} from (
            {terms}
        ) as u where u.id is not null group by u.organization_id, u.id having {some}
    ) as s;
    if cardinality(_ids) > 1 then
        perform from {table} as t join unnest(_organizations, _ids) as d (organization_id, id)
            on t.organization_id = d.organization_id and t.id = d.id order by t.organization_id, t.id for no key update of t;
    end if;
    if _ids is not null then
        update {table} as t set {sets} from unnest(_organizations, _ids{into}) as d (organization_id, id{columns})
        where t.organization_id = d.organization_id and t.id = d.id;
    end if;"""


def _term(counters: Sequence[Counter], reference: str, row: str) -> str:
    """What each row of a transition table adds to the counters that count it by a reference."""
    sign = "" if row == "new" else "-"
    values = ", ".join(
        f"case when {_counts(counter, 'r')} then {sign}1 else 0 end as c{place}"
        if counter.reference.name == reference
        else f"0 as c{place}"
        for place, counter in enumerate(counters)
    )
    return f"select r.organization_id, r.{quoted(reference)} as id, {values} from {row}_rows as r"


def _begun(entity: EntityDescription, schemas: Schemas, counters: Sequence[Counter]) -> str:
    """Notes new counters where no row is there that they could miss: the triggers have locked the counted table already."""
    names = dict.fromkeys((entity.table, *(each.entity.table for each in counters)))
    empty = " and ".join(f"pg_relation_size({literal(schemas.table(name))}) = 0" for name in names)
    noted, told = literal(setting(entity)), literal(declared(entity, counters))
    return (
        f"insert into {schemas.own('settings')} select {noted}, {told} where {empty} "
        "on conflict (name) do update set value = excluded.value"
    )
