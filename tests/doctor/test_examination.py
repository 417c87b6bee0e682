"""Each check is broken once, found, mended by its own statement, and then gone."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from freehold.doctor.examination import examine
from freehold.doctor.findings import Finding, Report
from tests.conftest import Server
from tests.probe import plain, scratch
from tests.world import application


@pytest.fixture
async def name(server: Server) -> AsyncIterator[str]:
    async with scratch(server) as name:
        yield name


@pytest.fixture
async def master(server: Server, name: str) -> AsyncIterator[asyncpg.Connection]:
    """The administrator, in the scratch database."""
    async with plain(server.admin_address(name)) as connection:
        yield connection


async def examined(server: Server, name: str) -> Report:
    return await examine(server.admin_address(name), application)


def of(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


async def test_a_database_as_set_up_has_nothing_wrong(server: Server, name: str) -> None:
    report = await examined(server, name)
    assert [f for f in report.findings if f.level != "note"] == []
    assert not of(report, "FD001")


BROKEN: dict[str, tuple[str, str, str]] = {
    "no synchronous commit": (
        "FD104",
        "alter role freehold_app in database {name} set synchronous_commit = off",
        "synchronous_commit",
    ),
    "no statement timeout": (
        "FD106",
        "alter role freehold_app in database {name} set statement_timeout = 0",
        "statement_timeout",
    ),
    "no timeout of idle transactions": (
        "FD107",
        "alter role freehold_app in database {name} set idle_in_transaction_session_timeout = 0",
        "idle_in_transaction_session_timeout",
    ),
    "compiled plans": ("FD108", "alter role freehold_app in database {name} set jit = on", "jit"),
    "another owner": ("FD203", "alter table app.orders owner to postgres", "table app.orders"),
    "creating in a schema": ("FD204", "grant create on schema app to public", "schema app"),
    "row-level security off": ("FD301", "alter table app.orders disable row level security", "app.orders"),
    "partition granted": ("FD301", "grant select on freehold.log_default to freehold_app", "freehold.log_default"),
    "row-level security not forced": ("FD302", "alter table app.orders no force row level security", "app.orders"),
    "policy for all": ("FD303", "create policy more on app.orders using (true)", "app.orders.more"),
    "policy replaced": (
        "FD303",
        "drop policy tenant on app.orders; create policy tenant on app.orders using (true)",
        "app.orders.tenant",
    ),
    "no policy": ("FD304", "drop policy tenant on app.orders", "app.orders"),
    "policy for each row": (
        "FD305",
        "alter policy tenant on app.orders using (organization_id = freehold.organization_id()) with check (organization_id = freehold.organization_id())",
        "app.orders",
    ),
    "trigger disabled": ("FD306", "alter table app.orders disable trigger log_update", "app.orders.log_update"),
    "trigger dropped": ("FD306", "drop trigger log_delete on app.orders", "app.orders.log_delete"),
    "view of its owner": ("FD309", "create view app.overview as select * from app.orders", "app.overview"),
    "materialized view": (
        "FD310",
        "create materialized view app.kept as select * from app.orders; grant select on app.kept to freehold_app",
        "app.kept",
    ),
    "function without search_path": (
        "FD311",
        "create function app.f() returns int language sql security definer as 'select 1'; alter function app.f() owner to freehold_owner",
        "app.f()",
    ),
    "function of a superuser": (
        "FD312",
        "create function app.f(integer) returns int language sql security definer set search_path = pg_catalog, pg_temp as 'select 1'",
        "app.f(integer)",
    ),
    "reference without index": (
        "FD401",
        "create table app.extra (organization_id uuid, id uuid, order_id uuid, constraint extra_fkey foreign key (organization_id, order_id) "
        "references app.orders (organization_id, id)); alter table app.extra owner to freehold_owner",
        "app.extra.extra_fkey",
    ),
    "unique index": ("FD402", "create unique index loose on app.orders (number)", "app.loose"),
    "unique constraint": ("FD402", "alter table app.orders add constraint loose unique (number)", "app.loose"),
    "reference without organization": (
        "FD403",
        "create unique index loose on app.orders (id); alter table app.contacts add column order_id uuid; "
        "alter table app.contacts add constraint loose_fkey foreign key (order_id) references app.orders (id)",
        "app.contacts.loose_fkey",
    ),
    "invalid index": (
        "FD404",
        "update pg_index set indisvalid = false where indexrelid = 'app.orders_number_key'::regclass",
        "app.orders_number_key",
    ),
    "constraint not validated": (
        "FD405",
        "alter table app.orders add constraint later check (total < 10) not valid",
        "app.orders.later",
    ),
    "sequence at its end": (
        "FD406",
        "create sequence app.numbers as smallint; select setval('app.numbers', 20000)",
        "app.numbers",
    ),
    "no partition ahead": (
        "FD407",
        "do $$ begin execute 'drop table freehold.log_' || to_char((now() at time zone 'UTC') + interval '1 month', 'YYYY_MM'); end $$",
        "freehold.log",
    ),
    "rows in the default partition": (
        "FD408",
        "insert into freehold.log (at, entity, action) values ('2001-12-05', 'Order', 'create'), ('2002-02-05', 'Order', 'create')",
        "freehold.log_default",
    ),
    "grant of a column": (
        "FD320",
        "grant update (organization_id) on app.orders to freehold_app",
        "grant table app.orders.organization_id to freehold_app",
    ),
    "grant to everybody": ("FD320", "grant select on app.orders to public", "grant table app.orders to public"),
    "grant taken away": (
        "FD320",
        "revoke insert on app.orders from freehold_app",
        "grant table app.orders to freehold_app",
    ),
    "grant added": (
        "FD320",
        "grant delete on freehold.organizations to freehold_app",
        "grant table freehold.organizations to freehold_app",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_broken_is_found_and_mended(server: Server, name: str, master: Any, what: str) -> None:
    code, script, object_ = BROKEN[what]
    await master.execute(script.format(name=name))
    report = await examined(server, name)
    found = [finding for finding in of(report, code) if finding.object == object_]
    assert len(found) == 1, [finding.as_dict() for finding in report.findings]
    assert found[0].mend
    await master.execute(found[0].mend)
    report = await examined(server, name)
    assert not [finding for finding in of(report, code) if finding.object == object_]
