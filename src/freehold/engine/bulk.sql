-- What bulk calls need beside statements that they build themselves. {engine} is the engine's schema, {application} the application's role.

-- block: bulk
-- Deletes, restores or purges records of expected versions, and follows the references to them. Runs as its caller, under the caller's policies.
-- Several statements, because each has to see what the one before it did. Records are locked in the order of their ids.
create or replace function {engine}.change_state(organization uuid, target regclass, action text, soft boolean, items jsonb) returns jsonb
language plpgsql volatile parallel unsafe as $$
declare
    _now timestamptz := {engine}.now();
    _deleted_at text := case when soft then 't.deleted_at' else 'null::timestamptz' end;
    _told jsonb;
    _ids uuid[];
    _moments timestamptz[];
    _touched jsonb := '[]';
begin
    execute format('with given as (
            select (i.value->>''id'')::uuid as id, (i.value->>''version'')::integer as version from jsonb_array_elements($2) as i
        ), found as materialized (
            select t.id, t.version, %s as deleted_at from %s t
            where t.organization_id = $1 and t.id = any (array(select g.id from given g)) order by t.id for update
        ), judged as (
            select g.id, f.version, f.deleted_at, case when f.id is null then ''absent''
                when $3 = ''delete'' and f.deleted_at is not null then ''deleted'' when $3 = ''restore'' and f.deleted_at is null then ''alive''
                when f.version <> g.version then ''conflict'' else ''done'' end as what
            from given g left join found f on f.id = g.id
        )
        select coalesce(jsonb_agg(jsonb_build_array(j.id, j.what, j.version) order by j.id), ''[]''),
            array_agg(j.id) filter (where j.what = ''done''), array_agg(j.deleted_at) filter (where j.what = ''done'')
        from judged j', _deleted_at, target)
    into _told, _ids, _moments using organization, coalesce(items, '[]'), action;
    if _ids is null then
        return jsonb_build_object('items', _told, 'touched', _touched);
    end if;
    if soft and action <> 'purge' then
        execute format('update %s t set deleted_at = $3, version = t.version + 1, updated_at = $4, updated_by = $5
            where t.organization_id = $1 and t.id = any ($2)', target)
        using organization, _ids, case when action = 'delete' then _now end, _now, {engine}.actor_id();
        if action = 'delete' then
            _touched := {engine}.follow_deletion(organization, target, _ids, true);
        else
            _touched := {engine}.follow_restoration(organization, target, _ids, _moments);
        end if;
    else
        _touched := {engine}.follow_deletion(organization, target, _ids, false);
        execute format('delete from %s t where t.organization_id = $1 and t.id = any ($2)', target) using organization, _ids;
    end if;
    return jsonb_build_object('items', _told, 'touched', _touched);
end $$;

revoke all on function {engine}.change_state(uuid, regclass, text, boolean, jsonb) from public;
grant execute on function {engine}.change_state(uuid, regclass, text, boolean, jsonb) to {application};
