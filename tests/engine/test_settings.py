"""What the application role's connections start with: what answers depend on is not left to the server's configuration."""

from datetime import UTC, datetime, timedelta

from freehold import Database, Session
from freehold.engine.settings import role_settings
from tests.conftest import Server, new_context
from tests.probe import plain, scratch
from tests.world import Customer, application

ODD = {
    "TimeZone": "Asia/Tokyo",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "default_transaction_isolation": "serializable",
    "row_security": "off",
    "jit": "on",
    "search_path": "pg_catalog",
    "statement_timeout": "1h",
    "lock_timeout": "1h",
    "idle_in_transaction_session_timeout": "1h",
    "client_connection_check_interval": "0",
    "log_parameter_max_length_on_error": "-1",
}


async def answers(session: Session) -> bytes:
    """All that is printed of a record: by list, history and hand-written SQL."""
    await session.create(
        Customer, name="x", rating=1 / 3, photo=b"\x00\xff\\", patience=timedelta(days=3, seconds=1.5),
        seen_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )  # fmt: skip
    page = await session.list(Customer, select=["rating", "photo", "patience", "seen_at"], as_json=True)
    query = (
        "select rating, photo, patience, seen_at, current_setting('transaction_isolation') as isolation from customers"
    )
    return page.json + repr(await session.sql(None, query)).encode()


async def test_answers_do_not_depend_on_the_configuration_of_the_database(server: Server) -> None:
    assert ODD.keys() == role_settings(application.schemas).keys()
    told = []
    for odd in ({}, ODD):
        async with scratch(server) as name, plain(server.admin_address(name)) as admin:
            for setting, value in odd.items():
                await admin.execute(f"alter database \"{name}\" set {setting} = '{value}'")
            async with Database.open(server.address(name), application, size=1) as database:
                told.append(await answers(database.session(await new_context(database))))
    assert b"0.3333333333333333" in told[0]
    assert b"read committed" in told[0]
    without_ids = [text.partition(b'"rating"')[2] for text in told]
    assert without_ids[0] == without_ids[1]
