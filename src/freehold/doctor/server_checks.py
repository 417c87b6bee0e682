"""Checks of the server, its settings and what runs on it."""

from freehold.doctor.findings import Check, Level

__all__ = ["SERVER_CHECKS"]


def _setting(code: str, level: Level, title: str, name: str, wrong: str, right: str) -> Check:
    """A setting of the server that has a wrong value."""
    return Check(
        code,
        level,
        title,
        f"select name as object, format('%s = %s', name, setting) as evidence, "
        f"'alter system set {name} = {right}; select pg_reload_conf()' as mend from pg_settings where name = '{name}' and setting {wrong}",
    )


# What is set for the role in this database, for the role, for the database, or for all.
_OF_ROLE = """
with levels as (
    select s.setconfig as settings, case when s.setrole <> 0 and s.setdatabase <> 0 then 1 when s.setrole <> 0 then 2 when s.setdatabase <> 0 then 3 else 4 end as rank
    from pg_db_role_setting s
    where s.setrole in (0, (select oid from pg_roles where rolname = $4)) and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
), told as (
    select distinct on (1) split_part(setting, '=', 1) as name, split_part(setting, '=', 2) as value from levels, unnest(settings) as setting order by 1, rank
), effective as (
    select p.name, coalesce(t.value, p.reset_val) as value from pg_settings p left join told t on t.name = p.name
)
"""


def _of_role(code: str, level: Level, title: str, name: str, wrong: str, right: str) -> Check:
    """A setting that the application role's connections start with, and that has a wrong value."""
    return Check(
        code,
        level,
        title,
        _OF_ROLE + f"select name as object, format('%s = %s for %s', name, value, $4::text) as evidence, "
        f"format('alter role %I in database %I set {name} = %L', $4::text, current_database(), '{right}') as mend "
        f"from effective where name = '{name}' and {wrong}",
    )


SERVER_CHECKS = (
    Check(
        "FD101",
        "error",
        "the server is older than PostgreSQL 15",
        "select 'server' as object, version() as evidence, null as mend where current_setting('server_version_num')::int < 150000",
    ),
    _setting("FD102", "error", "a power failure can destroy the database", "fsync", "= 'off'", "on"),
    _setting("FD103", "error", "a power failure can destroy pages", "full_page_writes", "= 'off'", "on"),
    _of_role(
        "FD104",
        "error",
        "acknowledged commits can be lost in a crash",
        "synchronous_commit",
        "value in ('off', 'false')",
        "on",
    ),
    Check(
        "FD105",
        "error",
        "the database's encoding cannot hold all text",
        "select datname as object, pg_encoding_to_char(encoding) as evidence, null as mend from pg_database "
        "where datname = current_database() and pg_encoding_to_char(encoding) <> 'UTF8'",
    ),
    _of_role(
        "FD106", "warning", "a statement may run without end", "statement_timeout", "value in ('0', '0s', '0ms')", "60s"
    ),
    _of_role(
        "FD107",
        "warning",
        "a transaction may stay open without end",
        "idle_in_transaction_session_timeout",
        "value in ('0', '0s', '0ms')",
        "60s",
    ),
    _of_role(
        "FD108",
        "note",
        "compiling plans costs short statements more than it saves",
        "jit",
        "value in ('on', 'true')",
        "off",
    ),
    _setting("FD109", "error", "dead rows stay, and transaction numbers run out", "autovacuum", "= 'off'", "on"),
    Check(
        "FD110",
        "warning",
        "almost all connections are taken",
        "select 'max_connections' as object, format('%s of %s', count(*), current_setting('max_connections')) as evidence, null as mend "
        "from pg_stat_activity where backend_type = 'client backend' having count(*) > 0.8 * current_setting('max_connections')::int",
    ),
    Check(
        "FD111",
        "warning",
        "a backup that reads all tables may run out of locks",
        "select 'max_locks_per_transaction' as object, format('%s tables and indexes, room for %s locks', count(*), m.room) as evidence, "
        "format('alter system set max_locks_per_transaction = %s', 2 * current_setting('max_locks_per_transaction')::int) as mend "
        "from pg_class c, (select current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int as room) m "
        "where c.relkind in ('r', 'p', 'i', 'I') group by m.room having count(*) > m.room",
    ),
    Check(
        "FD112",
        "warning",
        "the server's log gets the values of statements: records, and the seals of contexts",
        _OF_ROLE + ", logged as (select value from effective where name = 'log_parameter_max_length' and value <> '0') "
        "select name as object, format('%s = %s for %s, and log_parameter_max_length = %s', name, effective.value, $4::text, logged.value) as evidence, "
        "format('alter role %I in database %I set log_parameter_max_length = 0', $4::text, current_database()) as mend "
        "from effective, logged where (name = 'log_statement' and effective.value = 'all') "
        "or (name in ('log_min_duration_statement', 'log_min_duration_sample') and effective.value <> '-1')",
    ),
    Check(
        "FD501",
        "warning",
        "a transaction runs for long: dead rows stay, and whoever follows the log waits for it",
        "select format('process %s', pid) as object, format('%s, %s, for %s s: %s', usename, state, "
        "extract(epoch from clock_timestamp() - xact_start)::bigint, left(query, 100)) as evidence, "
        "format('select pg_terminate_backend(%s)', pid) as mend from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend' "
        "and xact_start < clock_timestamp() - make_interval(secs => $5) order by xact_start",
    ),
    Check(
        "FD502",
        "warning",
        "a prepared transaction was never ended, and holds its locks",
        "select gid as object, format('prepared by %s at %s', owner, prepared) as evidence, format('rollback prepared %L', gid) as mend "
        "from pg_prepared_xacts where database = current_database() and prepared < clock_timestamp() - make_interval(secs => $5)",
    ),
    Check(
        "FD503",
        "warning",
        "a replication slot that nobody reads keeps log files and dead rows",
        "select slot_name as object, format('%s, inactive, %s', slot_type, coalesce('xmin ' || xmin, 'catalog_xmin ' || catalog_xmin, "
        "'keeps the log from ' || restart_lsn)) as evidence, format('select pg_drop_replication_slot(%L)', slot_name) as mend "
        "from pg_replication_slots where not active and not temporary and (xmin is not null or catalog_xmin is not null or restart_lsn is not null)",
    ),
)
