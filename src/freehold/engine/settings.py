"""What the application role's connections start with."""

from collections.abc import Mapping

from freehold.engine.blocks import Roles
from freehold.postgres.connections import Connection
from freehold.sql.identifiers import Schemas, literal, quoted

__all__ = ["CLOSED", "DISCREET", "configure_role", "role_settings"]

_SETTINGS = {
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "10s",
    "client_connection_check_interval": "2s",
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",  # JSON has bytes and floats as they are printed
    "extra_float_digits": "1",
    "default_transaction_isolation": "read committed",  # writers that meet are told by versions, not by failing
    "row_security": "on",
    "jit": "off",  # compiling a list's plan takes longer than the list; and so that it is as on the embedded server
    "log_parameter_max_length_on_error": "0",  # a statement's values are records and seals: they are not for the server's log
}
DISCREET = {"log_parameter_max_length": 150000, "auto_explain.log_parameter_max_length": 160000}
"""What keeps a statement's values out of the server's log as well, and from which version on. Only a superuser may set it, or a
role with that privilege (`grant set on parameter`). The doctor reports a server on which it is not set and values are logged."""

CLOSED = ("pg_cancel_backend", "pg_terminate_backend", "pg_logical_emit_message")
"""Functions of PostgreSQL's that reach other sessions, or whoever decodes the log, and that everybody may call at first."""

_OPEN = """
select format('revoke execute on function pg_catalog.%I(%s) from public', p.proname, pg_get_function_identity_arguments(p.oid)) as statement
from pg_proc p cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any ($1) and a.grantee = 0
"""

_ACTUAL = """
select quote_ident(d.datname) as name, coalesce(s.setconfig, '{}') as settings, current_setting('server_version_num')::int as version,
    r.rolsuper as superuser, has_parameter_privilege('log_parameter_max_length', 'set') as discreet
from pg_database d join pg_roles r on r.rolname = current_user left join pg_db_role_setting s
    on s.setdatabase = d.oid and s.setrole = (select oid from pg_roles where rolname = $1)
where d.datname = current_database()
"""


def role_settings(schemas: Schemas) -> Mapping[str, str]:
    """What answers depend on is set on the role in its database, so that it holds behind a transaction pooler too."""
    # Hand-written queries name tables without a schema; temporary tables, which anybody can make, come last.
    return {**_SETTINGS, "search_path": f"{quoted(schemas.application)}, pg_temp"}


async def configure_role(connection: Connection, schemas: Schemas, roles: Roles) -> None:
    """Sets what is not set so already. A superuser also takes from everybody what must be nobody's in this database."""
    rows = await connection.fetch(_ACTUAL, roles.application)
    actual = dict(str(setting).split("=", 1) for setting in rows[0]["settings"])
    discreet = {
        name: "0"
        for name, since in DISCREET.items()
        if rows[0]["version"] >= since and (rows[0]["superuser"] or ("." not in name and rows[0]["discreet"]))
    }
    for name, value in {**role_settings(schemas), **discreet}.items():
        # PostgreSQL keeps the quotes of a list's names only where they are needed.
        if actual.get(name, "").replace('"', "") != value.replace('"', ""):
            shown = value if name == "search_path" else literal(value)
            await connection.execute(
                f"alter role {quoted(roles.application)} in database {rows[0]['name']} set {name} = {shown}"
            )
    if rows[0]["superuser"]:
        for row in await connection.fetch(_OPEN, list(CLOSED)):
            await connection.execute(row["statement"])
