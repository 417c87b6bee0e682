"""The function that adds to the numbers of an entity's records: for many callers at once, as one unit of work.

It takes the records' ids, and for each actor what is added on their behalf, each with a sealed context of its own: so the
log names who did it, and no actor's increments are counted as another's. All records are locked first, in the order of
their ids: two calls that meet wait for each other and do not deadlock, and what is not there is known before anything is
written.
"""

from freehold.model.description import EntityDescription, FieldDescription
from freehold.sql.identifiers import Schemas, quoted

__all__ = ["INCREMENT", "increment_call", "increment_function"]

INCREMENT = "uuid, text, uuid, uuid[], jsonb, boolean"
"""The types that the function takes: organization, context, unit of work, the records' ids, the groups
(`[{"context": ..., "rows": [{"id": ..., "views": 3}]}]`), and whether to wait for locks."""


def increment_call(entity: EntityDescription, schemas: Schemas) -> str:
    """The statement that calls the function. Its `answer` tells `absent`, `deleted` and `locked`, each with ids, where there are some."""
    return f"select answer, xid, at from {_name(entity, schemas)}($1, $2, $3, $4, $5, $6)"


def increment_function(entity: EntityDescription, schemas: Schemas) -> str:
    """The statement that makes the function. Version, updated_at and updated_by stay: an increment is no new version.

    A record that stays as it is, because zero is added to it, is not written and not logged.
    """
    table = schemas.table(entity.table)
    gone, alive = ("t.deleted_at is not null", " and t.deleted_at is null") if entity.soft_delete else ("false", "")
    sets = ", ".join(f"{quoted(field.name)} = {_sum(field)}" for field in entity.incrementable)
    differs = " or ".join(f"t.{quoted(field.name)} is distinct from {_sum(field)}" for field in entity.incrementable)
    columns = ", ".join(f"{quoted(field.name)} {field.kind.sql}" for field in entity.incrementable)
    chosen = f"from {table} as t where t.organization_id = $1 and t.id = any ($4)"
    locked = f"select t.id, {gone} as gone {chosen} order by t.id for no key update"
    return f"""
create function {_name(entity, schemas)}({INCREMENT}, out answer json, out xid xid8, out at timestamptz)
language plpgsql volatile parallel unsafe as $freehold$
declare
    _here uuid[];
    _deleted uuid[];
    _locked uuid[];
    _absent uuid[];
    _group jsonb;
    _entered uuid := {schemas.own("enter")}($1, $2);
begin
    if $6 then
        select array_agg(o.id), array_agg(o.id) filter (where o.gone) into _here, _deleted from ({locked}) as o;
    else
        select array_agg(o.id), array_agg(o.id) filter (where o.gone) into _here, _deleted from ({locked} skip locked) as o;
    end if;
    _here := coalesce(_here, '{{}}');
    if cardinality(_here) < cardinality($4) then
        if not $6 then
            select array_agg(t.id) into _locked {chosen} and t.id <> all (_here);
        end if;
        _absent := array(select i from unnest($4) as i where i <> all (_here) and i <> all (coalesce(_locked, '{{}}')));
    end if;
    for _group in select value from jsonb_array_elements($5) loop
        _entered := {schemas.own("enter")}($1, _group->>'context');
        update {table} as t set {sets}
        from jsonb_to_recordset(_group->'rows') as d (id uuid, {columns})
        where t.organization_id = $1 and t.id = d.id and t.id = any (_here){alive} and ({differs});
    end loop;
    answer := json_strip_nulls(json_build_object('absent', _absent, 'deleted', _deleted, 'locked', _locked));
    select u.xid, u.at into xid, at from {schemas.own("open_unit")}($3, null, null, answer) as u;
end $freehold$"""


def _name(entity: EntityDescription, schemas: Schemas) -> str:
    return schemas.own(f"{entity.table}_increment")


def _sum(field: FieldDescription) -> str:
    """What a field is afterwards. A null counts as zero where something is added to it, if only zero."""
    column = quoted(field.name)
    if not field.nullable:
        return f"t.{column} + coalesce(d.{column}, 0)"
    return f"case when d.{column} is null then t.{column} else coalesce(t.{column}, 0) + d.{column} end"
