"""What the application role may do in the database, compared with a list: what is not expected is a defect."""

from typing import Any

import asyncpg

from tests.world import application

Connection = asyncpg.Connection

CHANGE = "uuid, text, uuid, integer"
FUNCTIONS = {
    "enter(uuid, text)",
    "organization_id()",
    "context()",
    "actor_id()",
    "now()",
    "new_id()",
    "extend_log(integer)",
    "keep_log()",
    "mark_of(timestamp with time zone, boolean)",
    "late(uuid, timestamp with time zone, pg_snapshot, bigint, bigint)",
    "log_begins()",
    "enter_past(uuid, text)",
    "absent_columns(timestamp with time zone)",
    "altered(text[])",
    "leave_nothing()",
    "younger_columns(text, timestamp with time zone)",
    "known_as(text)",
    "names_of(text)",
    "shaped_at(regclass)",
    "renamed(regclass, bigint, jsonb)",
    "unfit(anyelement, jsonb, boolean)",
    "held(jsonb, jsonb, boolean)",
    "as_now(anyelement, regclass, bigint, jsonb)",
    "folded(text)",
    "read(uuid, text, text, jsonb, integer)",
    "read(uuid, text, text, jsonb, integer, bigint)",
    "too_large(bigint)",
    "explain(uuid, text, text, jsonb)",
    "forget_units()",
    "open_unit(uuid, text, bytea, json)",
    "settle_unit(uuid)",
    "references_to(regclass)",
    "logged_as(regclass)",
    "follow_deletion(uuid, regclass, uuid[], boolean)",
    "follow_restoration(uuid, regclass, uuid[], timestamp with time zone[])",
    "write(uuid, text, uuid, text, jsonb)",
    "change_state(uuid, regclass, text, boolean, jsonb)",
    "diagnose(uuid, text, jsonb)",
    "create_organization(text, text, text)",
    "create_user(text, text, text)",
    "add_member(uuid, uuid, text, text)",
    "find_organization(text, text)",
    "find_user(text, text)",
    "find_membership(text, text, text)",
    "remove_organization(uuid, text)",
    "remove_user(uuid, text)",
    "remove_member(uuid, uuid, text)",
    "change_role(uuid, uuid, text, text)",
    "revoke_tokens(uuid, text)",
    "rename_organization(uuid, text, text, text)",
    "rename_user(uuid, text, text)",
    "link_external(text, text, text, uuid, text)",
    "unlink_external(text, text, text, text)",
    "system_page(text, uuid, integer, uuid, text)",
    "create_key(jsonb, text)",
    "revoke_key(uuid, text)",
    "create_invitation(jsonb, text)",
    "revoke_invitation(uuid, text)",
    "accept_invitation(text, text, text)",
    "authenticate(jsonb, text)",
    "note_keys(uuid[], text)",
    "adopt(jsonb, boolean, boolean, text)",
    "own_key_create(uuid, text, jsonb)",
    "own_key_revoke(uuid, text, uuid)",
    "own_invitation_create(uuid, text, jsonb)",
    "own_invitation_revoke(uuid, text, uuid)",
    "own_page(uuid, text, text, integer, uuid)",
    "claim_chunk(uuid)",
    "settle_chunk(uuid, json)",
    "claim_key(text, text, bytea)",
    "keep_answer(text, text, json, bytea)",
    "search_hits(uuid, text, text[], integer, text, uuid, integer)",
    "search_set(uuid, text, text, integer)",
    "search_matches(uuid, text, uuid, tsquery)",
    "search_ids(uuid, text, text)",
    *(f"{table}_get(uuid, text, uuid)" for table in ("customers", "contacts", "orders")),
    *(f"{table}_create(uuid, text, jsonb)" for table in ("customers", "contacts", "orders")),
    *(f"{table}_update({CHANGE}, jsonb)" for table in ("customers", "contacts", "orders")),
    *(
        f"{table}_{action}_all(uuid, jsonb)"
        for table in ("customers", "contacts", "orders")
        for action in ("create", "update", "delete")
    ),
    *(f"{table}_{action}_all(uuid, jsonb)" for table in ("customers", "contacts") for action in ("restore", "purge")),
    *(f"{table}_increment(uuid, text, uuid, uuid[], jsonb, boolean)" for table in ("customers", "orders")),
    *(f"{table}_delete({CHANGE})" for table in ("customers", "contacts", "orders")),
    *(f"{table}_{action}({CHANGE})" for table in ("customers", "contacts") for action in ("restore", "purge")),
}
"""Of the engine's schema, that the application role may execute."""

DEFINER = {
    "forget_units",
    "open_unit",
    "settle_unit",
    "logged_as",
    "known_as",
    "names_of",
    "shaped_at",
    "renamed",
    "younger_columns",
    "absent_columns",
    "altered",
    "log_begins",
    "organization_id",
    "extend_log",
    "keep_log",
    "mark_of",
    "settle_log",
    "log_create",
    "log_update",
    "log_update_soft",
    "log_delete",
    "log_system",
    "create_organization",
    "create_user",
    "add_member",
    "find_organization",
    "find_user",
    "find_membership",
    "remove_organization",
    "remove_user",
    "remove_member",
    "change_role",
    "revoke_tokens",
    "rename_organization",
    "rename_user",
    "link_external",
    "unlink_external",
    "system_page",
    "create_key",
    "revoke_key",
    "create_invitation",
    "revoke_invitation",
    "accept_invitation",
    "authenticate",
    "note_keys",
    "adopt",
    "log_identity",
    "own_key_create",
    "own_key_revoke",
    "own_invitation_create",
    "own_invitation_revoke",
    "claim_chunk",
    "settle_chunk",
    "forget_imported",
    "claim_key",
    "keep_answer",
    "forget_answers",
    "search_hits",
    "search_set",
    "search_matches",
    "search_ids",
    "customers_search_create",
    "customers_search_update",
    "customers_search_delete",
}
"""The functions that run as the owner."""

TABLES = {
    "app.customers": {"SELECT", "INSERT", "DELETE"},
    "app.contacts": {"SELECT", "INSERT", "DELETE"},
    "app.orders": {"SELECT", "INSERT", "DELETE"},
    "freehold.log": {"SELECT"},
    "freehold.organizations": {"SELECT"},
    "freehold.users": {"SELECT"},
    "freehold.memberships": {"SELECT"},
}
"""The privileges of the application role on whole tables; none on any other."""

_FUNCTIONS = """
select p.proname::text as name, format('%s(%s)', p.proname, oidvectortypes(p.proargtypes)) as signature,
    p.prosecdef as definer, l.lanname::text as language, pg_get_userbyid(p.proowner)::text as owner,
    coalesce(p.proconfig, '{}') as settings, has_function_privilege($1, p.oid, 'execute') as executable,
    has_function_privilege('public', p.oid, 'execute') as public
from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_language l on l.oid = p.prolang
where n.nspname = any ($2)
"""
_RELATIONS = """
select format('%s.%s', n.nspname, c.relname) as name, c.relkind::text as kind,
    c.relrowsecurity as enabled, c.relforcerowsecurity as forced, pg_get_userbyid(c.relowner)::text as owner,
    array(select p from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
          where c.relkind in ('r', 'p', 'v') and has_table_privilege($1, c.oid, p)) as privileges,
    c.relkind = 'S' and has_sequence_privilege($1, c.oid, 'usage, select, update') as sequence,
    array(select a.attname::text from pg_attribute a
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p')
          and has_column_privilege($1, c.oid, a.attnum, 'update')) as changeable
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('app', 'freehold') and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
"""

ROLE = application.roles.application
OWNER = application.roles.owner


async def functions(admin: Connection) -> list[Any]:
    return list(await admin.fetch(_FUNCTIONS, ROLE, ["app", "freehold"]))


async def relations(admin: Connection) -> dict[str, Any]:
    return {row["name"]: row for row in await admin.fetch(_RELATIONS, ROLE)}


async def test_exactly_the_expected_functions_are_executable(admin: Connection) -> None:
    assert {row["signature"] for row in await functions(admin) if row["executable"]} == FUNCTIONS


async def test_no_function_is_executable_for_everybody(admin: Connection) -> None:
    assert [row["signature"] for row in await functions(admin) if row["public"]] == []


async def test_exactly_the_expected_functions_run_as_the_owner(admin: Connection) -> None:
    rows = await functions(admin)
    assert {row["name"] for row in rows if row["definer"]} == DEFINER
    assert {row["owner"] for row in rows} == {OWNER}


async def test_what_runs_as_the_owner_takes_no_name_from_the_caller(admin: Connection) -> None:
    """The manual, "Writing SECURITY DEFINER Functions Safely": pg_temp is searched first unless it is named last."""
    wrong = [
        (row["signature"], row["settings"])
        for row in await functions(admin)
        if row["definer"] and "search_path=pg_catalog, pg_temp" not in row["settings"]
    ]
    assert wrong == []


async def test_exactly_the_expected_privileges_on_tables(admin: Connection) -> None:
    rows = await relations(admin)
    assert {name: set(row["privileges"]) for name, row in rows.items() if row["privileges"]} == TABLES
    assert [name for name, row in rows.items() if row["sequence"]] == []
    assert {row["owner"] for row in rows.values()} == {OWNER}


async def test_keys_and_origin_of_a_row_cannot_be_updated(admin: Connection) -> None:
    rows = await relations(admin)
    for entity in application.registry.entities.values():
        fixed = {"organization_id", "id", "created_at", "created_by"}
        assert set(rows[f"app.{entity.table}"]["changeable"]) == set(entity.fields) - fixed
    others = [name for name, row in rows.items() if row["changeable"] and not name.startswith("app.")]
    assert others == []


async def test_of_credentials_all_but_the_hashes_can_be_read(admin: Connection) -> None:
    rows = await admin.fetch(
        "select c.relname::text as name, c.relrowsecurity and c.relforcerowsecurity as secured, "
        "array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        "and not has_column_privilege($1, c.oid, a.attnum, 'select')) as hidden "
        "from pg_class c where c.oid = any (array['freehold.keys', 'freehold.invitations', 'freehold.externals', "
        "'freehold.revocations']::regclass[]) order by 1",
        ROLE,
    )
    assert [(row["name"], row["secured"]) for row in rows] == [
        (name, True) for name in ("externals", "invitations", "keys", "revocations")
    ]
    hidden = {row["name"]: row["hidden"] for row in rows}
    assert hidden["keys"] == hidden["invitations"] == ["hash"]
    assert {"issuer", "external"} <= set(hidden["externals"])
    assert {"user_id", "until"} <= set(hidden["revocations"])
    readable = await admin.fetch(
        "select distinct table_name::text as name from information_schema.column_privileges "
        "where grantee = $1 and table_schema = 'freehold' and privilege_type = 'SELECT'",
        ROLE,
    )
    whole = {name.removeprefix("freehold.") for name in TABLES if name.startswith("freehold.")}
    assert {row["name"] for row in readable} == whole | {"keys", "invitations"}


async def test_every_table_that_can_be_read_is_under_forced_row_level_security(admin: Connection) -> None:
    rows = await relations(admin)
    open_ = [name for name, row in rows.items() if row["privileges"] and not (row["enabled"] and row["forced"])]
    assert open_ == []
    assert len([row for row in rows.values() if row["kind"] == "r" and row["name"].startswith("app.")]) == 3


async def test_the_policies_are_the_expected_ones(admin: Connection) -> None:
    rows = await admin.fetch(
        "select schemaname || '.' || tablename as name, policyname::text as policy, "
        "roles::text[] as roles, cmd, qual, with_check from pg_policies where schemaname in ('app', 'freehold')"
    )
    own = "(organization_id = ( SELECT freehold.organization_id() AS organization_id))"
    tables = [row for row in rows if row["name"].startswith("app.")]
    assert {(row["name"], row["cmd"], row["qual"], row["with_check"]) for row in tables} == {
        (f"app.{entity.table}", "ALL", own, own) for entity in application.registry.entities.values()
    }
    assert len(tables) == 3
    engine = {(row["name"], row["policy"]): (row["cmd"], row["roles"]) for row in rows if row not in tables}
    assert engine == {
        ("freehold.log", "tenant"): ("SELECT", [ROLE]),
        ("freehold.log", "append"): ("INSERT", [OWNER]),
        ("freehold.units", "tenant"): ("INSERT", [ROLE]),
        ("freehold.units", "system"): ("ALL", [OWNER]),
        ("freehold.answers", "system"): ("ALL", [OWNER]),
        **{(f"freehold.{name}", "engine"): ("ALL", [OWNER]) for name in ("search", "search_words")},
        **{
            (f"freehold.{name}", "tenant"): ("SELECT", [ROLE])
            for name in ("organizations", "users", "memberships", "keys", "invitations")
        },
        **{
            (f"freehold.{name}", "system"): ("ALL", [OWNER])
            for name in ("organizations", "users", "memberships", "keys", "invitations", "externals", "revocations")
        },
    }


async def test_the_role_can_create_nothing_and_become_nobody(admin: Connection) -> None:
    schemas = await admin.fetch(
        "select nspname::text from pg_namespace where has_schema_privilege($1, oid, 'create') and nspname !~ '^pg_'",
        ROLE,
    )
    assert schemas == []
    assert not await admin.fetchval("select has_database_privilege($1, current_database(), 'create')", ROLE)
    (role,) = await admin.fetch("select * from pg_roles where rolname = $1", ROLE)
    for power in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication"):
        assert role[power] is False
    members = "select m.rolname::text from pg_roles m where pg_has_role($1, m.oid, 'member') and m.rolname <> $1"
    assert await admin.fetch(members, ROLE) == []
    (owner,) = await admin.fetch("select * from pg_roles where rolname = $1", OWNER)
    assert (owner["rolsuper"], owner["rolbypassrls"], owner["rolcanlogin"]) == (False, False, False)


async def test_functions_are_in_trusted_languages(admin: Connection) -> None:
    assert {row["language"] for row in await functions(admin)} == {"sql", "plpgsql"}
