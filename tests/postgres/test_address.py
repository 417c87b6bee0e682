"""Addresses, and what the driver's connections do and leave on the server."""

from dataclasses import replace
from urllib.parse import quote

import asyncpg
import pytest

from freehold import Address, errors
from tests.conftest import Server


@pytest.fixture
def address(server: Server, database_name: str) -> Address:
    return server.address(database_name)


def url(address: Address, query: str) -> str:
    login = f"{quote(str(address.user))}:{quote(str(address.password), safe='')}"
    return (
        f"postgresql://{login}@/{address.database}?host={quote(str(address.host), safe='')}&port={address.port}{query}"
    )


@pytest.mark.parametrize(
    ("query", "argument", "kept"),
    [
        ("", None, True),
        ("&prepared=on", None, True),
        ("&prepared=off", None, False),
        ("&prepared=off", True, True),
        ("&prepared=on", False, False),
        ("", False, False),
    ],
)
async def test_the_url_and_the_argument_say_whether_statements_are_prepared(
    address: Address, query: str, argument: bool | None, kept: bool
) -> None:
    connection = await Address(url=url(address, query), prepared=argument).open()
    try:
        await connection.fetch("select 'this one'")
        names = await connection.fetch(
            "select name from pg_prepared_statements where statement like '%this one%' and name <> ''"
        )
        assert any(row["name"].startswith("freehold_") for row in names) == kept
    finally:
        connection.terminate()


@pytest.mark.parametrize("word", ["", "no", "0", "Off"])
async def test_another_word_is_an_error_that_names_both(address: Address, word: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="neither on nor off") as caught:
        await Address(url=url(address, f"&prepared={word}")).open()
    assert "prepared=off" in str(caught.value.hint)
    assert str(address.password) not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql:///shop?prepared=off", "postgresql:///shop"),
        (
            "postgresql://a:p%40s@/shop?host=%2Frun%2Fpg&prepared=off&port=5",
            "postgresql://a:p%40s@/shop?host=%2Frun%2Fpg&port=5",
        ),
        ("postgresql://one:1,two:2/shop?sslmode=require&prepared=off", "postgresql://one:1,two:2/shop?sslmode=require"),
        ("postgresql://a@h/prepared", "postgresql://a@h/prepared"),
    ],
)
def test_the_driver_gets_the_url_without_the_option(given: str, driver: str) -> None:
    assert Address(url=given)._split() == (driver, False if "=off" in given else None)


async def test_no_two_programs_use_the_same_names(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a pooler that mixes them, a name that two use would run one's statement for the other."""
    names = []
    for _ in range(2):
        monkeypatch.setattr(asyncpg.connection, "_uid", 2_000_000)  # it counts alike in each program
        connection = await address.open()
        names.append({row["name"] for row in await connection.fetch("select name from pg_prepared_statements")})
        connection.terminate()
    assert all(names)
    assert not names[0] & names[1]


@pytest.mark.parametrize("prepared", [True, False])
async def test_looking_up_a_type_changes_no_setting_of_the_connection(address: Address, prepared: bool) -> None:
    connection = await replace(address, prepared=prepared).open()
    try:
        assert await connection.fetchval("select $1::inet[]", ["192.0.2.1"])
        sessions = await connection.fetch("select name from pg_settings where source = 'session'")
        assert not {row["name"] for row in sessions} & {"jit"}
        assert not connection.is_in_transaction()
    finally:
        connection.terminate()
