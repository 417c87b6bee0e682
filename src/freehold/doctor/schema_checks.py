"""Checks of keys, indexes, constraints and the log's partitions."""

from freehold.doctor.findings import Check

__all__ = ["IN_DEFAULT", "SCHEMA_CHECKS"]

_HOME = "join pg_class c on c.oid = {relation} join pg_namespace n on n.oid = c.relnamespace and n.nspname = $2"
_TABLE = "format('%I.%I', n.nspname, c.relname)"
_UNUSED = (
    "exists (select from pg_namespace where nspname = $1) and exists (select from pg_roles where rolname in ($3, $4))"
)
_ORGANIZATION = "(select a.attnum from pg_attribute a where a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped)"

SCHEMA_CHECKS = (
    Check(
        "FD401",
        "warning",
        "a reference has no index: deleting what it refers to reads the whole table",
        f"select {_TABLE} || '.' || quote_ident(k.conname) as object, pg_get_constraintdef(k.oid) as evidence, "
        f"format('create index on %s (%s)', {_TABLE}, (select string_agg(quote_ident(a.attname), ', ' order by place) "
        "from unnest(k.conkey) with ordinality u (num, place) join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num)) as mend "
        f"from pg_constraint k {_HOME.format(relation='k.conrelid')} where k.contype = 'f' and {_UNUSED} and not exists ("
        "select from pg_index i where i.indrelid = k.conrelid and i.indisvalid and i.indpred is null "
        "and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey) order by 1",
    ),
    Check(
        "FD402",
        "error",
        "a unique key holds across organizations: it tells one what another has",
        f"select quote_ident(n.nspname) || '.' || quote_ident(x.relname) as object, pg_get_indexdef(i.indexrelid) as evidence, "
        f"case when k.oid is not null then format('alter table %s drop constraint %I', {_TABLE}, k.conname) "
        "else format('drop index %I.%I', n.nspname, x.relname) end as mend "
        f"from pg_index i join pg_class x on x.oid = i.indexrelid {_HOME.format(relation='i.indrelid')} "
        "left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = c.oid "
        f"where i.indisunique and {_UNUSED} and not ({_ORGANIZATION} = any (i.indkey::int2[])) order by 1",
    ),
    Check(
        "FD403",
        "error",
        "a reference does not include the organization: it can lead into another one",
        f"select {_TABLE} || '.' || quote_ident(k.conname) as object, pg_get_constraintdef(k.oid) as evidence, "
        f"format('alter table %s drop constraint %I', {_TABLE}, k.conname) as mend "
        f"from pg_constraint k {_HOME.format(relation='k.conrelid')} where k.contype = 'f' and {_UNUSED} "
        f"and not ({_ORGANIZATION} = any (k.conkey)) order by 1",
    ),
    Check(
        "FD404",
        "warning",
        "an index was not finished, and is not used",
        "select format('%I.%I', n.nspname, c.relname) as object, pg_get_indexdef(i.indexrelid) as evidence, "
        "format('reindex index %I.%I', n.nspname, c.relname) as mend from pg_index i join pg_class c on c.oid = i.indexrelid "
        "join pg_namespace n on n.oid = c.relnamespace where n.nspname in ($1, $2) and not i.indisvalid order by 1",
    ),
    Check(
        "FD405",
        "warning",
        "a constraint was not checked on the rows that were there before it",
        "select format('%I.%I.%I', n.nspname, c.relname, k.conname) as object, pg_get_constraintdef(k.oid) as evidence, "
        "format('alter table %I.%I validate constraint %I', n.nspname, c.relname, k.conname) as mend from pg_constraint k "
        "join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname in ($1, $2) and not k.convalidated order by 1",
    ),
    Check(
        "FD406",
        "warning",
        "a sequence has used up more than half of its numbers",
        "select format('%I.%I', schemaname, sequencename) as object, format('%s of %s', last_value, max_value) as evidence, "
        "format('alter sequence %I.%I as bigint maxvalue 9223372036854775807', schemaname, sequencename) as mend from pg_sequences "
        "where schemaname in ($1, $2) and not cycle and last_value > max_value / 2 order by 1",
    ),
    Check(
        "FD407",
        "warning",
        "the log has no partition for next month",
        "select format('%I.log', $1::text) as object, 'there is no log_' || to_char(month, 'YYYY_MM') as evidence, "
        "format('select %I.extend_log(3)', $1::text) as mend from (select (now() at time zone 'UTC') + interval '1 month' as month) m "
        "where to_regclass(format('%I.log', $1::text)) is not null and to_regclass(format('%I.%I', $1::text, 'log_' || to_char(month, 'YYYY_MM'))) is null",
    ),
)

# Months of the rows that lie in the default partition. Read as the owner, apart from the others: the application role may not.
IN_DEFAULT = Check(
    "FD408",
    "warning",
    "changes lie in the log's default partition, where their month cannot be pruned",
    "select to_char(at at time zone 'UTC', 'YYYY_MM') as month, count(*)::text as rows from {engine}.log_default group by 1 order by 1",
)
